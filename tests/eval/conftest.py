"""An undisturbed evaluation that many tests look at."""

from pathlib import Path

import pytest
from evaluating import FOLDER, Process, evaluate

from reer.run.launch import DONE


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Process]:
    """An undisturbed evaluation of the 8 packaged queries: its folder, and what it printed."""
    cwd = tmp_path_factory.mktemp("finished")
    process = evaluate(cwd)
    assert process.returncode == DONE, process.stderr
    return cwd / FOLDER, process
