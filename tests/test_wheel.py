"""The wheel, installed elsewhere, brings its configs, prompts and data along, and exactly four names."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_its_top_level_names_are_exactly_ours(wheel):
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"reer", "collect", "train", "eval"}


@pytest.mark.slow
def test_it_works_where_no_checkout_is(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    environment = os.environ | {"PYTHONPATH": str(site)}

    def python(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python("-c", "import reer, train, eval; print(reer.__file__)").startswith(str(site))
    for stage in ("reer.synthesize", "train.sft", "eval.run"):
        assert "name: demo" in python("-m", stage, "--cfg", "job", "experiment=demo")
    row = python("-m", "reer.synthesize", "--cfg", "job", "experiment=ablations/no_reflection", "scale=tiny")
    assert "name: ablations/no_reflection" in row
    assert "2 of 2 kept" in python("-m", "reer.synthesize", "experiment=fake", "data.limit=2")
    python("-m", "reer.page.report", "runs/fake/synthesize")
    assert (tmp_path / "runs" / "fake" / "report.html").exists()
