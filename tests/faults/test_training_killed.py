"""Training killed while it writes a checkpoint goes on from the last whole one to the same weights."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 4


@pytest.fixture(scope="module")
def command(tmp_path_factory, tiny_model):
    path = tmp_path_factory.mktemp("data") / "trajectories.jsonl"
    rows = [
        {"id": str(n), "query": f"Tell of the sea, number {n}.", "thinking": "I open with a picture.\n\nThen I go on.",
         "answer": f"The old man went out on the water {n} times before it was light."}
        for n in range(2 * STEPS)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(run_dir):
        return [sys.executable, "-m", "train.sft", f"run_dir={run_dir}", f"model.path={tiny_model}", "trainer=demo",
                f"data.trajectories={path}", "model.max_length=512", "model.device=cpu", "trainer.global_batch=2",
                f"+trainer.args.max_steps={STEPS}", "trainer.args.save_strategy=steps",
                "+trainer.args.save_steps=1"]  # fmt: skip

    return make


def call(command, folder):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def weights(run_dir):
    [found] = [load_file(path) for path in run_dir.glob("model/*.safetensors")]
    return found


def test_killed_at_each_checkpoint_it_ends_with_the_same_weights(command, tmp_path):
    """At every point one step at most is done again: the one whose checkpoint was cut short."""
    clean, killed = tmp_path / "clean", tmp_path / "killed"
    assert call(command(clean), tmp_path).wait() == 0
    for step in range(1, STEPS):
        process = call(command(killed), tmp_path)
        while process.poll() is None and not (killed / "checkpoints" / f"checkpoint-{step}").exists():
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (killed / "training.json").exists()
    assert call(command(killed), tmp_path).wait() == 0
    before, after = weights(clean), weights(killed)
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)
