import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from eval.run import run
from eval.validation.validate import known_agreement
from reer.config import (
    EvaluationConfig,
    ExecutorConfig,
    FakeBackendConfig,
    LikelihoodJudgeConfig,
    OpenAIJudgeConfig,
    PriceConfig,
    ValidateConfig,
)
from reer.errors import DataError, RunDirError
from reer.page.report import write_page
from reer.run.launch import DONE, PARTIAL

JUDGE = OpenAIJudgeConfig(backend=FakeBackendConfig(), repeats=2)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"id": f"t{n}", "query": "Write.", "text": f"Text number {n}.", "rater": rater, "criterion": name,
         "score": 1 + (n + k) % 5}
        for n in range(6) for k, rater in enumerate("ab") for name in ("depth", "clarity")
    ]  # fmt: skip
    path = tmp_path / "ratings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(data: Path, folder: Path, judge: Any = JUDGE, **validate: Any) -> EvaluationConfig:
    asked = ValidateConfig(data=str(data), run_dir=str(folder), **validate)
    return EvaluationConfig(run_dir=str(folder / "unused"), judge=judge, executor=ExecutorConfig(), validate=asked)


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "validation.json").read_text())
    return found


def test_the_judge_judges_what_people_rated(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "validate"
    assert run(config(data, folder)) == DONE
    found = result(folder)
    assert found["data"] | {"files": None} == {
        "name": "ratings", "texts": 6, "left_out": 0, "ratings": 24, "raters": 2, "files": None
    }  # fmt: skip
    assert found["judges"]["openai:fake"]["overall"]["n"] == 12
    assert len((folder / "verdicts.jsonl").read_text().splitlines()) == 12  # six texts, two repeats
    assert "openai:fake against 2 people on 6 texts of ratings" in capsys.readouterr().out
    assert not (folder / "unused").exists()


def test_it_goes_on_where_it_stopped(data: Path, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "validate"
    run(config(data, whole))
    run(config(data, folder, limit=2))
    rows = (folder / "verdicts.jsonl").read_text()
    run(config(data, folder))
    assert (folder / "verdicts.jsonl").read_text().startswith(rows)
    assert result(folder) == result(whole)


def test_a_cap_that_is_reached_leaves_a_part_that_says_so(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "validate"
    capped = OpenAIJudgeConfig(backend=FakeBackendConfig(), repeats=2, max_calls=5)
    assert run(config(data, folder, capped)) == PARTIAL
    found, said = result(folder)["judges"]["openai:fake"], capsys.readouterr().out
    assert found["asked"] == 12
    assert found["failures"] == {"not_judged": 7}
    assert "partial: 7 of 12 verdicts are missing (not_judged 7)" in said
    assert re.search(r"^  all .* 6$", said, re.M)  # two questions about the three texts that were begun
    assert run(config(data, folder)) == DONE
    said = capsys.readouterr().out
    assert re.search(r"^  all .* 12$", said, re.M)
    assert "partial" not in said


def test_fewer_repeats_are_those_of_a_fresh_run(data: Path, tmp_path: Path) -> None:
    once = OpenAIJudgeConfig(backend=FakeBackendConfig(), repeats=1)
    run(config(data, tmp_path / "fresh", once))
    run(config(data, tmp_path / "validate"))
    assert result(tmp_path / "validate") != result(tmp_path / "fresh")
    run(config(data, tmp_path / "validate", once))
    assert result(tmp_path / "validate") == result(tmp_path / "fresh")


def test_other_ratings_are_refused_in_the_same_folder(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "validate"
    run(config(data, folder))
    other = tmp_path / "other.jsonl"
    shutil.copy(data, other)
    with pytest.raises(RunDirError, match=r"validate\.data \(was .*ratings\.jsonl, now .*other\.jsonl\)"):
        run(config(other, folder))


def test_verdicts_that_fail_are_counted_and_left_out(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "validate"
    judge = OpenAIJudgeConfig(backend=FakeBackendConfig(faults=0.25), repeats=1)  # none is usable
    assert run(config(data, folder, judge)) == PARTIAL
    found = result(folder)["judges"]["openai:fake"]
    assert sum(found["failures"].values()) == 6
    assert found["overall"]["human_judge"]["mean"] is None


def test_a_dry_run_only_counts(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planned = config(data, tmp_path / "validate")
    planned.dry_run = True
    assert run(planned) == DONE
    said = capsys.readouterr().out
    assert "12 calls to openai:fake, 2 criteria each: about" in said
    assert "no price given" in said
    assert not (tmp_path / "validate").exists()


def test_a_dry_run_tells_tokens_and_dollars_of_what_is_missing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config(data, tmp_path / "validate", limit=2))
    price = PriceConfig(input=2.5, output=10.0)
    judge = OpenAIJudgeConfig(backend=FakeBackendConfig(), repeats=2, price=price, anchors=True)
    planned = config(data, tmp_path / "validate", judge)
    planned.dry_run = True
    capsys.readouterr()
    run(planned)
    said = capsys.readouterr().out
    assert "8 calls to openai:fake, 2 criteria each: about" in said
    assert "1,120 written; about $0.0" in said
    assert "anchors" not in said


def test_the_agreement_goes_with_the_scores(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "validate"
    assert known_agreement(folder, {"openai:fake": JUDGE}) == {}
    run(config(data, folder))
    known = known_agreement(folder, {"openai:fake": JUDGE, "openai:other": JUDGE})
    assert list(known) == ["openai:fake"]
    assert known["openai:fake"]["name"] == "ratings"
    assert known["openai:fake"]["alpha"] == result(folder)["judges"]["openai:fake"]["overall"]["human_judge"]
    (folder / "validation.json").write_text("{}")
    with pytest.raises(DataError, match=r"validation\.json: cannot be read"):
        known_agreement(folder, {})


def test_an_agreement_at_other_settings_does_not_go_with_the_scores(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "validate"
    run(config(data, folder))
    other = OpenAIJudgeConfig(backend=FakeBackendConfig(), temperature=1.0)
    assert known_agreement(folder, {"openai:fake": other}) == {}
    assert "openai:fake was validated with other settings (temperature=0.5 " in capsys.readouterr().out


def test_an_evaluation_of_the_experiment_carries_it(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "validate"
    run(config(data, folder))
    evaluation = config(data, folder)
    evaluation.validate.data = None
    evaluation.run_dir = str(tmp_path / "evaluate")
    evaluation.evaluate.backend = evaluation.scorer = FakeBackendConfig()
    run(evaluation)
    stored = json.loads((tmp_path / "evaluate/results.json").read_text())
    assert stored["benchmarks"]["reasoning"]["validation"]["openai:fake"]["texts"] == 6
    assert "agrees with people on ratings" in (tmp_path / "evaluate/report.html").read_text()


def test_the_page_shows_a_validation(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "validate"
    run(config(data, folder))
    page = write_page([folder], tmp_path / "report.html").read_text()
    assert "openai:fake against people" in page
    assert "6 texts, 24 ratings by 2 people" in " ".join(page.split())


def test_a_likelihood_judge_answers_yes_or_no(tiny_model: Path, tmp_path: Path) -> None:
    from reer.config import HFBackendConfig, ModelConfig

    rows = [{"id": f"t{n}", "text": f"Text {n}.", "rater": "a", "criterion": "q", "score": n % 2} for n in range(3)]
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = LikelihoodJudgeConfig(backend=HFBackendConfig(model=ModelConfig(path=str(tiny_model))))
    assert run(config(path, tmp_path / "validate", judge)) == DONE
    [found] = result(tmp_path / "validate")["judges"].values()
    assert found["level"] == "nominal"
    assert found["overall"]["accuracy"]["n"] == 3
