"""What a dry run says."""

from pathlib import Path

from judging import answer_row

from eval.benchmarks import load
from eval.judging.judge import judges_of
from eval.plan import planned
from reer.config import (
    BenchmarkConfig,
    EvaluationConfig,
    FakeBackendConfig,
    LikelihoodJudgeConfig,
    OpenAIJudgeConfig,
    PanelConfig,
    PriceConfig,
)
from reer.run.manifest import write_jsonl
from reer.text import digest

FAKE = FakeBackendConfig()


def plan(tmp_path: Path, name: str, judge: OpenAIJudgeConfig | PanelConfig, **changes: object) -> str:
    benchmark = BenchmarkConfig(name=name, path=None if name == "reasoning" else "sample")
    config = EvaluationConfig(
        stage="evaluate",
        run_dir=str(tmp_path),
        benchmark=benchmark,
        judge=judge,
        **changes,  # type: ignore[arg-type]
    )
    return planned(load(benchmark), judges_of(judge), config)


def test_calls_tokens_and_dollars(tmp_path: Path) -> None:
    price = PriceConfig(input=2.5, output=10.0, as_of="2026-11-01")
    text = plan(tmp_path, "writingbench", OpenAIJudgeConfig(backend=FAKE, repeats=3, price=price))
    assert "120 calls to openai:fake, one criterion each" in text
    assert "about $" in text
    assert "prices of 2026-11-01" in text
    assert "no price given" in plan(tmp_path, "hellobench", OpenAIJudgeConfig(backend=FAKE))


def test_what_is_stored_is_not_planned_again(tmp_path: Path) -> None:
    items = load(BenchmarkConfig()).items
    write_jsonl(tmp_path / "answers.jsonl", [answer_row(item.id, prompt=item.query) for item in items[:3]])
    text = plan(tmp_path, "reasoning", OpenAIJudgeConfig(backend=FAKE, repeats=1))
    assert "answers               5 requests" in text
    assert "verdicts              8 calls" in text
    assert "reference lift        8 requests" in text
    done = {"status": "ok", "lift": 0.1, "nll": {}}
    pairs = [digest(item.query, item.reference.answer)[:16] for item in items[:3] if item.reference]
    rows = [{"id": item.id, "pair": pair} | done for item, pair in zip(items, pairs, strict=False)]
    write_jsonl(tmp_path / "lift.jsonl", rows)
    assert "reference lift        5 requests" in plan(tmp_path, "reasoning", OpenAIJudgeConfig(backend=FAKE))
    only = plan(tmp_path, "reasoning", OpenAIJudgeConfig(backend=FAKE), steps=["judge"])
    assert "requests" not in only


def test_thoughts_and_the_texts_behind_them_are_counted(tmp_path: Path) -> None:
    judge = OpenAIJudgeConfig(backend=FAKE)

    def told(n: int) -> str:
        benchmark = BenchmarkConfig(thoughts=n, thinking_tokens=100)
        config = EvaluationConfig(stage="evaluate", run_dir=str(tmp_path), benchmark=benchmark, judge=judge)
        return planned(load(benchmark), judges_of(judge), config)

    assert "reference lift        8 requests, at most 800 tokens generated; 24 texts scored" in told(1)
    assert (
        "reference lift        8 requests of 32 thoughts, at most 25,600 tokens generated; 272 texts scored"
        in told(32)
    )
    assert "reference lift        0 requests, at most 0 tokens generated; 16 texts scored" in told(0)


def test_calls_on_anchors_are_counted(tmp_path: Path) -> None:
    judge = OpenAIJudgeConfig(backend=FAKE, repeats=1, anchors=True)
    assert "verdicts             20 calls to openai:fake, 5 criteria each (12 of them on anchors)" in plan(
        tmp_path, "reasoning", judge
    )


def test_ids_of_given_answers_may_be_numbers(tmp_path: Path) -> None:
    items = load(BenchmarkConfig(name="writingbench", path="sample")).items
    write_jsonl(tmp_path / "given.jsonl", [{"id": int(item.id), "answer": "A text."} for item in items])
    judge = OpenAIJudgeConfig(backend=FAKE)
    text = plan(tmp_path, "writingbench", judge, answers=str(tmp_path / "given.jsonl"))
    assert "answers               8 given, 0 prompts without one" in text


def test_what_a_file_of_answers_leaves_out_is_neither_answered_nor_judged(tmp_path: Path) -> None:
    item = load(BenchmarkConfig()).items[0]
    (tmp_path / "given.jsonl").write_text(f'{{"id": "{item.id}", "answer": "A text."}}\n{{broken\n')
    text = plan(tmp_path, "reasoning", OpenAIJudgeConfig(backend=FAKE), answers=str(tmp_path / "given.jsonl"))
    assert "quarantined           1 rows of" in text
    assert "answers               1 given, 7 prompts without one" in text
    assert "verdicts              1 calls" in text
    assert "reference lift" not in text


def test_every_judge_of_a_panel_has_its_line(tmp_path: Path) -> None:
    panel = PanelConfig(judges={"a": OpenAIJudgeConfig(backend=FAKE), "b": LikelihoodJudgeConfig(backend=FAKE)})
    text = plan(tmp_path, "reasoning", panel)
    assert "by likelihood:fake" in text
    assert "calls to openai:fake" in text
