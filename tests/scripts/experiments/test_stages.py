"""Equal work has one key, whichever rows ask for it; whatever changes a result changes the key."""

import pytest
from experiments.rows import read_table
from experiments.stages import Planner, hydra
from experiments.work import in_order


@pytest.fixture(autouse=True)
def _hydra():
    with hydra():
        yield


def plan(name, *experiments, extra=()):
    table = read_table(name, "smoke")
    others = {row.experiment: row for row in table.rows}
    planner = Planner("smoke", ("reasoning",), tuple(extra))
    return [{stage.folder: stage for stage in in_order([planner.evaluation(others[e], others)])} for e in experiments]


def keys(*stages):
    return [stage.key for stage in stages]


def test_rows_share_what_they_do_not_change():
    main, first, plain = plan("ablations", "main/deepwriter", "ablations/first_thinking", "ablations/no_reflection")
    assert list(main) == ["collect", "synthesize", "sft", "evaluate-deepwriter"]
    assert main["synthesize"].id == first["synthesize"].id != plain["synthesize"].id
    assert main["collect"].id == plain["collect"].id
    assert len({*keys(main["sft"], first["sft"], plain["sft"])}) == 3


def test_a_key_knows_files_by_content_and_forgets_what_changes_no_result(tmp_path):
    rows = tmp_path / "rows.jsonl"
    extra = (f"source.path={rows}",)

    def key(text, *more):
        rows.write_text(text)
        from experiments.stages import _loaded

        _loaded.cache_clear()
        return plan("ablations", "main/deepwriter", extra=(*extra, *more))[0]["sft"].key

    assert key("a") == key("a", "executor.concurrency=3", "tracking=wandb") != key("b")
    assert key("a") != key("a", "seed=1")


@pytest.mark.parametrize("given", ["rows.jsonl", "folder", "folder/*.jsonl"])
def test_a_key_knows_data_by_content_however_it_is_named(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()

    def key(text):
        for path in ("rows.jsonl", "folder/a.jsonl"):
            (tmp_path / path).write_text(text)
        return plan("ablations", "main/deepwriter", extra=[f"mix.general.path={given}"])[0]["sft"].key

    assert key("{}") == key("{}") != key("[]")


def test_a_budget_is_the_search_that_it_is_measured_on():
    [best] = plan("controls", "controls/best_of_n")
    [main] = plan("controls", "main/deepwriter")
    assert best["synthesize"].budget_of.id == main["synthesize"].id
    [other] = plan("controls", "controls/best_of_n", extra=["search.candidates=3"])
    assert other["synthesize"].key != best["synthesize"].key


def test_distillation_reads_the_answers_of_the_generator_and_searches_nothing():
    [found] = plan("controls", "controls/distillation")
    assert list(found) == ["collect", "evaluate-generator", "sft", "evaluate-distillation"]
    assert "steps=[respond]" in found["evaluate-generator"].words
    assert found["evaluate-generator"].benchmarks == ()
    assert found["evaluate-distillation"].benchmarks == ("reasoning",)
