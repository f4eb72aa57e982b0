"""Keys in the environment stand in nothing that the whole chain leaves behind or says; names and texts that want to be
more than text are text."""

import json
import os
import subprocess
import sys

import pytest
from faulty_server import first_attempts, running

CANARY = "canary0123456789abcdef0123456789abcdef01"
KEYS = ("OPENAI_API_KEY", "WANDB_API_KEY", "HF_TOKEN", "KEY_OF_MY_OWN", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY")
SCRIPT = "<script>alert('from a pair')</script>"
IMAGE = "<img src=x onerror=alert(1)>"
PAIRS = [
    {
        "id": "../../outside",
        "query": f"Write of rain. {SCRIPT}",
        "answer": "The rain came at dusk. Nobody spoke of it.",
    },
    {
        "id": f"/etc/{IMAGE}",
        "query": "Write of snow.",
        "answer": f"The snow came at dusk. {IMAGE} Nobody spoke of it.",
    },
    {"id": "a/b/../c\\d", "query": "Write of salt.", "answer": "The salt came at dusk, and nobody spoke of it."},
]


@pytest.fixture(scope="module")
def left(tmp_path_factory, tiny_model):
    """The folder in which the chain ran, and all that it said. The server repeats the key in its errors."""
    inside = tmp_path_factory.mktemp("above") / "work" / "place"
    inside.mkdir(parents=True)
    (inside / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    environment = {**os.environ, **dict.fromkeys(KEYS, CANARY), "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    said = []

    def call(module, *overrides, codes=(0,)):
        command = [sys.executable, "-m", module, *overrides]
        done = subprocess.run(command, cwd=inside, capture_output=True, text=True, env=environment, check=False)
        said.extend((done.stdout, done.stderr))
        assert done.returncode in codes, done.stderr[-3000:]

    with running(began=True) as server:
        server.fault = first_attempts(["500 that repeats the key"], 0.5)
        on_server = ("model_name=m", f"base_url={server.url}", "api_key_env=KEY_OF_MY_OWN", "max_retries=1")
        call("reer.synthesize", "experiment=fake", "backend@generator=openai", "data=files", "data.path=pairs.jsonl",
             "tracking=wandb", "run_dir=synthesize", *(f"generator.{key}" for key in on_server))  # fmt: skip
        call("train.sft", f"model.path={tiny_model}", "data.trajectories=synthesize/trajectories.jsonl", "run_dir=sft",
             "trainer=demo", "model.max_length=1024", "model.device=cpu", "+trainer.args.max_steps=1",
             "tracking=wandb")  # fmt: skip
        call("eval.run", "experiment=fake", "backend@evaluate.backend=openai", "benchmark.limit=2", "tracking=wandb",
             "run_dir=evaluate", *(f"evaluate.backend.{key}" for key in on_server), codes=(0, 2))  # fmt: skip
        server.fault = lambda *_: "500 that repeats the key"
        call("reer.synthesize", "experiment=fake", "backend@generator=openai", "data=files", "data.path=pairs.jsonl",
             "run_dir=failed", *(f"generator.{key}" for key in on_server), codes=(1, 2))  # fmt: skip
        assert server.done["500 that repeats the key"] > 3
    call("reer.page.report", "synthesize", "sft", "evaluate", "--out", "all.html", codes=(0, 1, 2))
    return inside, said


@pytest.mark.slow
def test_no_key_is_left_anywhere(left):
    inside, said = left
    files = [path for path in inside.parents[1].rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".jsonl", ".json", ".yaml", ".html", ".parquet", ".wandb"}
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in "".join(said)
    assert "$KEY_OF_MY_OWN" in (inside / "failed" / "quarantine.jsonl").read_text(), "the server did repeat it"


@pytest.mark.slow
def test_ids_with_path_parts_lead_nowhere(left):
    inside, _ = left
    rows = [json.loads(line) for line in (inside / "synthesize" / "trajectories.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [pair["id"] for pair in PAIRS]
    outside = [path for path in inside.parents[1].rglob("*") if inside not in (path, *path.parents)]
    assert set(outside) <= {inside, inside.parent}
    assert not [path for path in inside.rglob("*") if "outside" in path.name or "onerror" in path.name]


@pytest.mark.slow
def test_texts_on_the_pages_are_text(left):
    inside, _ = left
    pages = [path.read_text(encoding="utf-8") for path in inside.rglob("*.html")]
    assert len(pages) >= 3
    assert any("from a pair" in page for page in pages)
    assert not [page for page in pages if SCRIPT in page or IMAGE in page]
