"""Every command on the pages is run, made small by words behind it, or composed where it cannot be run (REASONS)."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_module

from reer.config import (
    CollectConfig,
    EvaluationConfig,
    MixingConfig,
    PlanningConfig,
    SftConfig,
    SynthesizeConfig,
    load,
    register,
)
from reer.run.overrides import as_typed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "conf").rglob("*.md"))]
VIEWS: dict[str, Any] = {
    "collect": CollectConfig, "synthesize": SynthesizeConfig, "mix": MixingConfig, "sft": SftConfig,
    "plan": PlanningConfig, "evaluate": EvaluationConfig,
}  # fmt: skip
MODULES = {"collect": "collect.run", "synthesize": "reer.synthesize", "mix": "train.mix", "sft": "train.sft",
           "plan": "train.plan", "evaluate": "eval.run", "compare": "eval.compare", "report": "reer.page.report",
           "export": "reer.files.export.run"}  # fmt: skip
FILLED = {
    "source.path=FOLDER": "source.path=texts", "generator.model_name=…": "generator.model_name=m", "generator.base_url=http://…":
    "generator.base_url=http://127.0.0.1:9/v1", "judge.backend.model_name=…": "judge.backend.model_name=m",
    "judge.judges.gpt.backend.model_name=…": "judge.judges.gpt.backend.model_name=m",
    "judge.judges.local.backend.model.path=…": "judge.judges.local.backend.model.path=m",
}  # fmt: skip
"""What a reader puts in the place of such words; a … alone stands for further ones."""
SMALL = {
    "collect": "backend@generator=fake backend@scorer=fake",
    "synthesize": "backend@generator=fake backend@scorer=fake data.limit=2 search.max_steps=2",
    "mix": "mix.general.path=pairs.jsonl mix.general.schema=null mix.general.licence=CC0-1.0",
    "sft": "model.path={model} model.dtype=float32 model.device=cpu trainer=demo ++trainer.args.max_steps=1 "
    "++trainer.args.max_length=2048 data.limit=2",
    "plan": "",
    "evaluate": "backend@evaluate.backend=fake backend@scorer=fake backend@judge.backend=fake benchmark.limit=2 "
    "benchmark.path=sample evaluate.model_path=null",
}
REASONS = {
    "backend@generator=openai": "asks a server: tests/test_any_server.py",
    "backend@scorer=openai": "asks a server: tests/test_any_server.py",
    "judge=openai": "asks a server: tests/eval/judging",
    "judge=panel": "asks a server: tests/eval/judging",
    "backend@draft=hf": "loads a model of the hub: tests/run/test_draft.py",
    "+model@generator.model": "loads a model of gigabytes beside the scorer's",
    "submitit_slurm": "needs Slurm: tests/run/test_points.py takes submitit's local launcher",
    "executor=ray": "needs Ray: tests/run/executor",
    "source=longwriter_6k": "fetches a dataset of the hub",
    "scale=tiny": "an hour: tests/scripts/experiments compose every row at every scale",
    "reer-sft experiment=deepwriter_8b": "eight GPUs: reer-plan with the same words is run",
}
"""Why a command that holds such words is composed alone."""
OTHERS = {
    "./scripts/demo": "tests/test_chain.py runs it in small",
    "./scripts/test": "runs these tests",
    "scripts/reproduce": "tests/scripts/experiments/test_reproduce.py",
    "scripts/sweep": "tests/scripts/experiments/test_sweeping.py",
    "scripts/wandb_link": "tests/run/tracking/test_lineage.py",
    "scripts/bench/": "measures, for minutes or on a GPU",
}
"""Commands that are no stage, and what runs them."""


def commands() -> Iterator[tuple[str, str]]:
    """Every command in a block of code, by its page."""
    for page in PAGES:
        for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S):
            for line in re.sub(r"\\\n\s*", " ", block if kind in ("", "bash") else "").splitlines():
                if re.match(r"reer-\w+ |(\.venv/bin/python )?(\./)?scripts/\w", line):
                    yield page.stem, re.sub(r"\s+#.*", "", line).strip()


STAGES = [(page, line) for page, line in commands() if line.startswith("reer-")]
RUN = [(page, line) for page, line in STAGES if not any(words in line for words in REASONS)]


def words_of(line: str) -> tuple[str, list[str]]:
    """Stage and arguments."""
    program, *words = (FILLED.get(word, word) for word in shlex.split(line))
    return program.removeprefix("reer-"), [word for word in words if word != "…"]


@pytest.mark.parametrize(("page", "line"), [found for found in commands() if found not in STAGES])
def test_what_is_no_stage_is_run_by_another_test(page: str, line: str) -> None:
    [program] = [word for word in line.split() if "scripts/" in word]
    assert any(other in program for other in OTHERS)
    assert (ROOT / program).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(
        r"\b(?:tests|scripts|reer|train|eval|collect|conf|examples)/[a-z0-9_/-]+\.(?:py|jsonl?|yaml)\b", text
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_reason_is_needed() -> None:
    assert not [words for words in REASONS if not any(words in line for _, line in STAGES)]
    assert len(RUN) >= 30


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), [found for found in STAGES if found not in RUN])
def test_a_command_that_cannot_be_run_here_composes(page: str, line: str) -> None:
    stage, words = words_of(line)
    if "-m" in words:  # of a sweep its first point; its launcher is Hydra's
        words = [word.partition(",")[0] for word in words if word != "-m" and "launcher" not in word]
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        config = compose(
            stage, overrides=as_typed([word for word in words if word != "-m" and "launcher" not in word]).arguments
        )
    assert load(config, VIEWS[stage]).stage == stage


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages name."""
    folder = tmp_path_factory.mktemp("pages")
    shipped = ROOT / "reer" / "files" / "data" / "pairs.jsonl"
    rows = [json.loads(line) for line in shipped.read_text(encoding="utf-8").splitlines()][:8]
    asked = [{"instruction": row["query"], "input": "", "output": row["answer"]} for row in rows]
    (folder / "alpaca.json").write_text(json.dumps(asked), encoding="utf-8")
    lines(folder / "pairs.jsonl", [row | {"thinking": "I begin with a picture.\n\nThen I end."} for row in rows])
    dolly = [{"instruction": r["query"], "context": "", "response": r["answer"], "category": "creative_writing"}
             for r in rows]  # fmt: skip
    lines(folder / "dolly.jsonl", dolly)
    table = pa.Table.from_pylist([{"query": row["query"], "answer": row["answer"]} for row in rows])
    (folder / "shards").mkdir()
    pq.write_table(table, folder / "shards" / "1.parquet")
    posts = [["title", "body"], *([row["query"], row["answer"]] for row in rows)]
    quoted = [",".join('"' + field.replace('"', '""') + '"' for field in row) for row in posts]
    (folder / "posts.csv").write_text("\n".join(quoted), encoding="utf-8")
    rubric = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8").partition("`criteria.yaml`")[2]
    (folder / "criteria.yaml").write_text(rubric.partition("```yaml\n")[2].partition("```")[0], encoding="utf-8")
    (folder / "texts").mkdir()
    text = "\n\n".join(row["answer"] for row in rows)
    (folder / "texts" / "one.md").write_text(text, encoding="utf-8")
    thought = [{"prompt": [{"role": "user", "content": row["query"]}],
                "solution": f"<think>\nI begin.\n</think>\n\n{row['answer']}"} for row in rows]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(thought), folder / "deepwriting20k.parquet")
    return folder


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


Stage = Callable[..., tuple[int, str, str]]


def before(stage: str, words: list[str], run: Stage) -> None:
    """What the stages before would have made, where the command reads it."""
    named = any(word.startswith(("data.trajectories=", "source.path=", "data.path=")) for word in words)
    if "data=collected" in words:
        name = next(word for word in words if word.startswith("name="))
        run("collect", name, "source.path=pairs.jsonl")
    if stage in ("mix", "sft", "export") and not named:
        run("synthesize", "name=mine", *SMALL["synthesize"].split())
    if stage in ("compare", "report"):
        for label in ("base", "tuned"):
            run("evaluate", "name=mine", f"evaluate.label={label}", *SMALL["evaluate"].split())
    if any(word.startswith("answers=") for word in words):
        run("evaluate", "name=before", *SMALL["evaluate"].split(), *(w for w in words if w.startswith("benchmark=")))
        [answers] = Path("runs/before").rglob("answers.jsonl")
        shutil.copy(answers, "any.jsonl")


@pytest.mark.slow
@pytest.mark.usefixtures("keyless")
@pytest.mark.parametrize(("page", "line"), RUN)
def test_a_command_on_a_page_runs(
    page: str, line: str, command: Stage, workplace: Path, tmp_path: Path, tiny_model: Path
) -> None:
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)

    def run(stage: str, *words: str) -> tuple[int, str, str]:
        code, said, told = command(import_module(MODULES[stage]).main, *words)
        assert code in (0, 2), f"{stage} {words}: {told}"
        return code, said, told

    stage, words = words_of(line)
    before(stage, words, run)
    keys = {word.partition("=")[0] for word in words}
    small = SMALL.get(stage, "").format(model=tiny_model).split()
    words = [word.replace("/models/mine", str(tiny_model)) for word in words]
    run(stage, *words, *(word for word in small if word.lstrip("+").partition("=")[0] not in keys))
