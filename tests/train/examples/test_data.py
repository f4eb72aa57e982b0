import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.backend.models import load_tokenizer
from reer.config import ColumnsConfig, DataConfig, ModelConfig
from reer.errors import ConfigError, DataError
from reer.layout import Layout
from reer.types import Example, Message
from train.examples.data import (
    VARIANTS,
    Prepared,
    find,
    prepare,
    refuse_dropped,
    refuse_unsupervised_end,
    split,
    to_rows,
)

THINK = "I will begin with a picture.\n\nThen, 慢慢地, I turn it 🐕 around."


@pytest.fixture
def layout(tiny_model: Path) -> Layout:
    return Layout("think", load_tokenizer(ModelConfig(path=str(tiny_model))))


def test_supervised_text_is_exactly_what_the_model_must_write(
    layout: Layout, trajectories: Path, pairs: list[Example]
) -> None:
    examples = prepare(trajectories, layout, 512).examples
    rows = to_rows(examples, layout.tokenizer.end_of_turn)
    assert len(rows) == len(pairs)
    for row, pair in zip(rows, pairs, strict=True):
        parts: dict[int, list[int]] = {0: [], 1: []}
        for token, supervised in zip(row["input_ids"], row["completion_mask"], strict=True):
            parts[supervised].append(token)
        decode = layout.tokenizer.hf.decode  # type: ignore[attr-defined]
        assert decode(parts[0]) == f"<|im_start|>user\n{pair.query}<|im_end|>\n<|im_start|>assistant\n"
        assert decode(parts[1]) == f"<think>\n{THINK}\n</think>\n\n{pair.answer}<|im_end|>"
        assert row["completion_mask"] == sorted(row["completion_mask"])  # prompt first, then all supervised


def test_ids_are_those_the_search_scores(layout: Layout, trajectories: Path, pairs: list[Example]) -> None:
    for example, pair in zip(prepare(trajectories, layout, 512).examples, pairs, strict=True):
        assert example.encoded == layout.encode(pair.query, THINK, pair.answer)


def test_too_long_is_dropped_and_counted_never_cut(layout: Layout, trajectories: Path) -> None:
    everything = prepare(trajectories, layout, 10_000).examples
    lengths = sorted(len(e.encoded.ids) for e in everything)
    limit = lengths[-1] - 1
    prepared = prepare(trajectories, layout, limit)
    assert [len(e.encoded.ids) for e in prepared.examples] == [n for n in map(_length, everything) if n <= limit]
    assert prepared.too_long == [e.id for e in everything if _length(e) > limit]
    assert prepared.too_long


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"query": "q", "thin', "broken JSON"),
        ("[1]", "not a JSON object"),
        ('{"query": "q", "thinking": "t"}', "'answer' is missing"),
        ('{"query": "q", "thinking": null, "answer": "a"}', "'thinking' is missing"),
        ('{"query": "q", "thinking": "t", "answer": " "}', "'answer' is empty"),
        ('{"query": "q", "thinking": "a </think> b", "answer": "a"}', "the thinking holds the tag </think>"),
        ('{"query": "q", "thinking": "t", "answer": "a<|im_end|>"}', "control token <|im_end|>"),
        ('{"query": "q", "thinking": "t", "answer": "\\ud83d"}', "half of a surrogate pair"),
    ],
)
def test_a_broken_row_is_set_aside_and_the_rest_goes_on(
    layout: Layout, trajectories: Path, line: str, reason: str
) -> None:
    lines = trajectories.read_text(encoding="utf-8").splitlines()
    trajectories.write_text("\n".join([lines[0], line, *lines[1:]]) + "\n", encoding="utf-8")
    prepared = prepare(trajectories, layout, 512)
    assert len(prepared.examples) == len(lines)
    (bad,) = prepared.quarantined
    assert (bad.file, bad.row) == ("trajectories.jsonl", 2)
    assert reason in bad.reason


def test_a_row_in_another_encoding_is_set_aside(layout: Layout, trajectories: Path) -> None:
    with trajectories.open("ab") as file:
        file.write('{"query": "q", "thinking": "t", "answer": "café"}\n'.encode("latin-1"))
    (bad,) = prepare(trajectories, layout, 512).quarantined
    assert bad.row == 5
    assert bad.reason.startswith("not UTF-8")


def test_files_that_cannot_be_used_are_named(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="none.jsonl: no such file: run reer-synthesize first"):
        find(str(path))
    path.write_text("\n")
    with pytest.raises(DataError, match="none.jsonl is empty"):
        prepare(path, layout, 512)
    path.write_text("{\n")
    with pytest.raises(DataError, match="none.jsonl has no usable row; row 1: broken JSON"):
        prepare(path, layout, 512)
    path.write_text(json.dumps({"query": "q", "thinking": "t", "answer": "a"}))
    with pytest.raises(DataError, match="no usable row: 1 exceed 8 tokens"):
        prepare(path, layout, 8)
    with pytest.raises(DataError, match="holds no file of rows"):
        prepare(tmp_path / "empty", layout, 8)
    path = path.rename(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="none.parquet: is no Parquet file"):
        prepare(path, layout, 8)


@pytest.mark.parametrize(("share", "refused"), [(0.24, True), (0.25, False)])
def test_training_is_refused_when_too_many_answers_would_be_lost(
    layout: Layout, trajectories: Path, share: float, refused: bool
) -> None:
    lengths = sorted(map(_length, prepare(trajectories, layout, 10_000).examples))
    limit = lengths[-1] - 1
    prepared = prepare(trajectories, layout, limit)  # one of four is longer
    if not refused:
        refuse_dropped(prepared, limit, share)
        return
    sentence = rf"1 of 4 trajectories \(25.0%\) exceed {limit} tokens, .*trainer.args.max_length={lengths[-1]},"
    with pytest.raises(DataError, match=sentence):
        refuse_dropped(prepared, limit, share)


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=30), limit=st.integers(1, 60), share=st.floats(0, 0.99)
)
def test_the_room_that_is_named_is_the_least_that_suffices(lengths: list[int], limit: int, share: float) -> None:
    def lost(room: int) -> int:
        return sum(length > room for length in lengths)

    prepared = Prepared(too_long=["id"] * lost(limit), lengths=lengths)
    if lost(limit) <= share * len(lengths):
        refuse_dropped(prepared, limit, share)
        return
    with pytest.raises(DataError) as refusal:
        refuse_dropped(prepared, limit, share)
    needed = int(str(refusal.value).partition("max_length=")[2].partition(",")[0])
    assert lost(needed) <= share * len(lengths) < lost(needed - 1)


def test_variants_differ_in_the_thinking_alone(layout: Layout, trajectories: Path, pairs: list[Example]) -> None:
    rows = [json.loads(line) for line in trajectories.read_text(encoding="utf-8").splitlines()]
    rows = [{**row, "first": {"thinking": f"First {row['id']}.", "segments": []}} for row in rows]
    trajectories.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for n, pair in enumerate(pairs):
        found = {variant: prepare(trajectories, layout, 512, variant).examples[n].encoded for variant in VARIANTS}
        assert found == {
            "final": layout.encode(pair.query, THINK, pair.answer),
            "first": layout.encode(pair.query, f"First {pair.id}.", pair.answer),
            "answer_only": layout.encode(pair.query, None, pair.answer),
        }
        (row,) = to_rows(
            prepare(trajectories, layout, 512, "answer_only").examples[n : n + 1], layout.tokenizer.end_of_turn
        )
        supervised = [i for i, m in zip(row["input_ids"], row["completion_mask"], strict=True) if m]
        assert layout.tokenizer.hf.decode(supervised) == f"{pair.answer}<|im_end|>"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="data.variant=last is unknown: choose one of final, first, answer_only"):
        prepare(trajectories, layout, 512, "last")


def test_a_variant_asks_only_for_the_texts_it_uses(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"query": "q", "answer": "a"}\n')
    assert prepare(path, layout, 512, "answer_only").examples[0].encoded == layout.encode("q", None, "a")
    with pytest.raises(DataError, match="no usable row; row 1: 'thinking' is missing"):
        prepare(path, layout, 512)
    with pytest.raises(DataError, match="no usable row; row 1: 'first.thinking' is missing"):
        prepare(path, layout, 512, "first")


def test_a_parquet_file_gives_what_the_jsonl_file_gives(layout: Layout, trajectories: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from reer.files.trajectories import arrow_schema

    rows = [json.loads(line) for line in trajectories.read_text(encoding="utf-8").splitlines()]
    rows = [{**row, "first": {"thinking": "A first plan.", "segments": []}, "steps": []} for row in rows]
    trajectories.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    table = trajectories.with_suffix(".parquet")
    pq.write_table(pa.Table.from_pylist([*rows, {"id": "no answer"}], schema=arrow_schema()), table)
    for variant in VARIANTS:
        prepared = prepare(table, layout, 512, variant)
        assert prepared.examples == prepare(trajectories, layout, 512, variant).examples
        (bad,) = prepared.quarantined
        assert (bad.file, bad.row, bad.reason) == ("trajectories.parquet", 5, "'query' is missing")


def test_held_out_depends_on_seed_and_ids_not_on_order(layout: Layout, trajectories: Path) -> None:
    examples = prepare(trajectories, layout, 512).examples
    training, held_out = split(examples, 2, seed=3)
    assert len(held_out) == 2
    assert {e.id for e in training} | {e.id for e in held_out} == {e.id for e in examples}
    assert {e.id for e in split(examples[::-1], 2, seed=3)[1]} == {e.id for e in held_out}
    assert len({frozenset(e.id for e in split(examples, 2, seed)[1]) for seed in range(20)}) > 1
    assert split(examples, 0, seed=3) == (examples, [])


def test_all_trajectories_of_a_pair_are_held_out_together(layout: Layout, trajectories: Path) -> None:
    examples = prepare(trajectories, layout, 512).examples
    training, held_out = split(examples + examples, 1, seed=0)
    assert len(held_out) == 2
    assert not {e.id for e in training} & {e.id for e in held_out}


def test_holding_everything_out_is_refused(layout: Layout, trajectories: Path) -> None:
    with pytest.raises(ConfigError, match="trainer.held_out=4 leaves none of 4"):
        split(prepare(trajectories, layout, 512).examples, 4, seed=0)


def test_an_unsupervised_end_of_turn_is_refused(layout: Layout, trajectories: Path) -> None:
    examples = prepare(trajectories, layout, 512).examples
    with pytest.raises(DataError, match="trajectory e0: the end of its turn is not supervised"):
        to_rows(examples, layout.tokenizer.end_of_turn + 1)


@pytest.mark.parametrize("packing", [False, True])
def test_a_collator_that_takes_the_end_of_turn_for_padding_is_refused(
    layout: Layout, trajectories: Path, packing: bool
) -> None:
    """transformers' own does, where both are one token; trl's does not."""
    from transformers import DataCollatorForLanguageModeling
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as Trl

    end = layout.tokenizer.end_of_turn
    examples = prepare(trajectories, layout, 512).examples
    rows = [
        {"input_ids": r["input_ids"], "labels": [i if m else -100 for i, m in zip(*r.values(), strict=True)]}
        for r in to_rows(examples, end)
    ]
    if packing:
        ids, labels = ([token for row in rows for token in row[key]] for key in ("input_ids", "labels"))
        lengths = [len(row["input_ids"]) for row in rows]
        refuse_unsupervised_end(
            [{"input_ids": ids, "labels": labels, "seq_lengths": lengths}], Trl(end, padding_free=True), end
        )
        return
    refuse_unsupervised_end(rows, Trl(pad_token_id=end), end)
    tokenizer = copy.deepcopy(layout.tokenizer.hf)  # type: ignore[attr-defined]
    tokenizer.pad_token = "<|im_end|>"
    masks_padding = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    with pytest.raises(ConfigError, match=rf"end of the turn \(token {end}\) in 0 of 4 examples"):
        refuse_unsupervised_end([{"input_ids": row["input_ids"]} for row in rows], masks_padding, end)


def _length(example: object) -> int:
    return len(example.encoded.ids)  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_the_turns_before_a_query_are_trained_behind_as_they_were_scored(
    layout: Layout, tmp_path: Path, form: str
) -> None:
    turns = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "Of cats."}]
    rows = [{"id": "a", "query": "q", "thinking": "t", "answer": "y", "history": turns},
            {"id": "b", "query": "q", "thinking": "t", "answer": "y", "history": None}]  # fmt: skip
    path = tmp_path / f"trajectories.{form}"
    if form == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    after, alone = prepare(path, layout, 512).examples
    assert after.encoded == layout.encode("q", "t", "y", (Message("system", "Rhyme."), Message("user", "Of cats.")))
    assert alone.encoded == layout.encode("q", "t", "y")


@pytest.mark.parametrize(
    ("history", "why"),
    [
        ("Rhyme.", "'history' is str, not a list of turns"),
        ([{"content": "Rhyme."}], "turn 1 is of the role None: only system, user and assistant speak"),
        ([{"role": "user", "content": None}], "turn 1 has no text"),
    ],
)
def test_a_history_that_is_none_is_set_aside_with_its_row(
    layout: Layout, tmp_path: Path, history: object, why: str
) -> None:
    path = tmp_path / "trajectories.jsonl"
    rows: list[dict[str, object]] = [{"query": "q", "thinking": "t", "answer": "y"}]
    rows.append(rows[0] | {"history": history})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    [broken] = prepare(path, layout, 512).quarantined
    assert (broken.row, broken.reason) == (2, why)


def test_deepwriting_and_other_published_rows_are_trained_on_without_a_search(layout: Layout, tmp_path: Path) -> None:
    rows = [
        {"question": "q", "solution": "<think>\nz\n</think>\n\ny"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
                      {"role": "assistant", "content": "y", "reasoning_content": "z"}]},
        {"prompt": [{"role": "user", "content": "q"}], "solution": "<think>\nz\n</think>\n\ny"},
        {"title": "q", "text": "y", "plan": "z"},
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prepared = prepare(path, layout, 512)
    plain, chat = layout.encode("q", "z", "y"), layout.encode("q", "z", "y", (Message("system", "s"),))
    assert [e.encoded for e in prepared.examples] == [plain, chat, plain]
    [bad] = prepared.quarantined
    assert (bad.row, bad.reason) == (
        4,
        "'query' is missing (there are: title, text, plan; data.columns.query=NAME says which)",
    )
    path.write_text(json.dumps(rows[3]) + "\n", encoding="utf-8")
    data = DataConfig(columns=ColumnsConfig(query="title", answer="text", thinking="plan"))
    named = prepare(path, layout, 512, data=data)
    assert named.examples[0].encoded == plain
    assert named.notes.told("rows.jsonl", "rows") == [
        "rows          rows.jsonl: title -> query, text -> answer, plan -> thinking (1 row)"
    ]
    data.columns.thinking = "plans"
    with pytest.raises(DataError, match=r"data.columns.thinking=plans: no row of .* \(there are: title, text, plan\)"):
        prepare(path, layout, 512, data=data)


def test_a_reply_without_thinking_is_trained_on_alone_and_that_is_said(layout: Layout, tmp_path: Path) -> None:
    """A pair under our own names is another thing: a trajectory that lost its thinking, or pairs taken for some."""
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "y"}]},
            {"prompt": "q", "completion": "<think>\nz\n</think>\n\ny"}, {"query": "q", "answer": "y"}]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    prepared = prepare(path, layout, 512)
    assert [e.encoded for e in prepared.examples] == [layout.encode("q", None, "y"), layout.encode("q", "z", "y")]
    assert [(bad.row, bad.reason) for bad in prepared.quarantined] == [(3, "'thinking' is missing")]
    assert prepared.notes.told("r", "rows")[-1] == "rows          r: no thinking in 1 row: trained on the answer alone"


def test_the_last_turn_alone_is_trained_behind_where_that_is_asked(layout: Layout, tmp_path: Path) -> None:
    turns = [("system", "s"), ("user", "q"), ("assistant", "<think>\nz\n</think>\n\ny")]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]}) + "\n")
    prepared = prepare(path, layout, 512, data=DataConfig(turns="last"))
    assert prepared.examples[0].encoded == layout.encode("q", "z", "y")
    assert prepared.notes.dropped_turns == 1
    with pytest.raises(ConfigError, match="data.turns=some is unknown"):
        prepare(path, layout, 512, data=DataConfig(turns="some"))
