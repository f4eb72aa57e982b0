"""What users bring: the files, the columns and the conversations of this field, each taken for what it is."""

import gzip
import json

import pytest

from reer.config import DataConfig
from reer.errors import ConfigError, DataError
from reer.files.columns import take_apart
from reer.files.pairs import read_pairs, to_example
from reer.files.rows import BadRow, read_rows
from reer.types import Message

ROWS = [
    {"id": "a", "query": "Write of rain.", "answer": "Rain fell.\nAll night."},
    {"query": "写雨。", "answer": "雨下了。"},
]
TEXTS = [(row["query"], row["answer"]) for row in ROWS]


def texts(path, **data):
    return [(e.query, e.answer) for e in read_pairs(path, data=DataConfig(**data)).examples]


def lines(rows=ROWS):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_parquet(path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([{"id": None} | row for row in ROWS]), path)


def as_zst(path):
    import pyarrow as pa

    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as file:
        file.write(lines().encode())


def as_arrow(path):
    import pyarrow as pa

    table = pa.Table.from_pylist([{"id": None} | row for row in ROWS])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def quoted(rows, sign=","):
    return "".join(sign.join('"' + text.replace('"', '""') + '"' for text in row) + "\n" for row in rows)


FORMS = {
    "p.jsonl": lambda path: path.write_text(lines()),
    "p.ndjson": lambda path: path.write_text(lines()),
    "lines.json": lambda path: path.write_text(lines()),
    "list.json": lambda path: path.write_text(json.dumps(ROWS, indent=2)),
    "bom.json": lambda path: path.write_text("\ufeff" + json.dumps(ROWS)),
    "data.json": lambda path: path.write_text(json.dumps({"data": ROWS})),
    "late.json": lambda path: path.write_text(json.dumps({"version": "1.0", "rows": ROWS})),
    "p.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines().encode())),
    "list.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "p.jsonl.zst": as_zst,
    "p.csv": lambda path: path.write_text("query,answer\n" + quoted(TEXTS)),
    "excel.csv": lambda path: path.write_text("\ufeffquery;answer\n" + quoted(TEXTS, ";")),
    "p.tsv": lambda path: path.write_text("query\tanswer\n" + quoted(TEXTS, "\t")),
    "p.parquet": as_parquet,
    "p.arrow": as_arrow,
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_file_holds_the_same_rows(tmp_path, name):
    FORMS[name](tmp_path / name)
    assert texts(tmp_path / name) == TEXTS


def test_one_object_is_one_row(tmp_path):
    path = tmp_path / "one.json"
    path.write_text(
        json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})
    )
    assert texts(path) == [("q", "a")]


def test_a_long_list_is_read_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("reer.files.rows.CHUNK", 7)
    path = tmp_path / "list.json"
    path.write_text(json.dumps([*ROWS, 1234567890123, {"query": "]},[{", "answer": '"\\" 🐕'}], ensure_ascii=False))
    assert [row.value for row in read_rows(path)] == [*ROWS, 1234567890123, {"query": "]},[{", "answer": '"\\" 🐕'}]


@pytest.mark.parametrize("content", ['[{"query": "q"', '[{"query": "q"} ?]', '{"a": [{}], "b": [{}]}'])
def test_a_broken_list_is_one_sentence(tmp_path, content):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(DataError, match=r"p\.json: (broken JSON|holds another)"):
        list(read_rows(tmp_path / "p.json"))


def test_folders_and_patterns_are_read_in_the_order_of_their_numbers(tmp_path):
    for n in (10, 9, 1):
        (tmp_path / f"part-{n}.jsonl").write_text(lines([{"query": f"q{n}", "answer": "a"}]) + "broken\n")
    (tmp_path / "dataset_info.json").write_text("{}")
    for source in (tmp_path, tmp_path / "part-*.jsonl", tmp_path / "**" / "*.jsonl"):
        pairs = read_pairs(source)
        assert [e.query for e in pairs.examples] == ["q1", "q9", "q10"]
        assert [(q.file, q.row) for q in pairs.quarantined] == [(f"part-{n}.jsonl", 2) for n in (1, 9, 10)]


def test_a_folder_with_two_kinds_of_files_or_none_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="holds no file of rows"):
        read_pairs(tmp_path)
    (tmp_path / "a.jsonl").write_text(lines())
    (tmp_path / "a.csv").write_text("query,answer\nq,a\n")
    with pytest.raises(DataError, match=r"holds \.csv and \.jsonl files"):
        read_pairs(tmp_path)
    with pytest.raises(DataError, match="no file matches"):
        read_pairs(tmp_path / "*.parquet")


def test_broken_rows_of_a_table_are_set_aside(tmp_path):
    (tmp_path / "p.csv").write_bytes("query,answer\nq,a,b\nq2,a2\nq3,\xff\n".encode("latin-1"))
    pairs = read_pairs(tmp_path / "p.csv")
    assert [(q.row, q.reason) for q in pairs.quarantined] == [(1, "3 fields under 2 columns"), (3, "not UTF-8")]
    assert [e.query for e in pairs.examples] == ["q2"]


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


ALPACA = {"instruction": "Sum up.", "input": "A long text.", "output": "Short."}
CHAT = turns(("system", "s"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"))
SAID = (Message("system", "s"), Message("user", "q1"), Message("assistant", "a1"))
SCHEMAS = {
    "own": ({"query": "q", "answer": "a", "prompt": "other", "solution": "other"}, ("q", "a", ())),
    "null beside": ({"query": "q", "question": None, "answer": "a", "output": ""}, ("q", "a", ())),
    "null own": ({"query": None, "question": "q", "answer": "", "response": "a"}, ("q", "a", ())),
    "solution": ({"question": "q", "solution": "a"}, ("q", "a", ())),
    "equal": ({"question": "q", "prompt": "q", "completion": "a"}, ("q", "a", ())),
    "prompt": ({"prompt": "q", "response": "a"}, ("q", "a", ())),
    "alpaca": (ALPACA, ("Sum up.\n\nA long text.", "Short.", ())),
    "alpaca without": (ALPACA | {"input": ""}, ("Sum up.", "Short.", ())),
    "dolly": ({"instruction": "i", "context": "c", "response": "r", "category": "qa"}, ("i\n\nc", "r", ())),
    "story": ({"prompt": "[WP] A door.", "story": "It opened."}, ("[WP] A door.", "It opened.", ())),
    "messages": ({"messages": CHAT}, ("q2", "a2", SAID)),
    "sharegpt": (
        {"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"},
                           {"from": "gpt", "value": "a"}]},
        ("q", "a", (Message("system", "s"),)),
    ),
    "trl chat": ({"prompt": CHAT[:4], "completion": CHAT[4:]}, ("q2", "a2", SAID)),
    "chat and text": ({"prompt": CHAT[:4], "solution": "a2"}, ("q2", "a2", SAID)),
    "parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "!"}]},
                      {"role": "assistant", "content": [{"type": "text", "text": "a"}]}]},
        ("q!", "a", ()),
    ),
    "system column": ({"system": "s", "instruction": "q", "output": "a"}, ("q", "a", (Message("system", "s"),))),
    "history of pairs": ({"instruction": "q", "output": "a", "history": [["x", "y"]]},
                         ("q", "a", (Message("user", "x"), Message("assistant", "y")))),
    "our own history": ({"query": "q", "answer": "a", "history": turns(("user", "x"), ("assistant", "y"))},
                        ("q", "a", (Message("user", "x"), Message("assistant", "y")))),
    "own beside a chat": ({"query": "q", "answer": "a", "messages": CHAT}, ("q", "a", ())),
    "own of the same chat": ({"query": "q2", "answer": "a2", "messages": CHAT}, ("q2", "a2", SAID)),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_of_the_field_is_taken_for_what_it_is(name):
    row, wanted = SCHEMAS[name]
    parts = take_apart(row)
    assert (parts.query, parts.answer, parts.history) == wanted


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "q", "prompt": "p", "answer": "a"}, "'question' and 'prompt' are two different texts for the q"),
        ({"query": "q", "solution": "a", "output": "b"}, "'solution' and 'output' are two different texts for the a"),
        ({"instruction": "i", "question": "q", "output": "a"}, "'instruction' and 'question' are two different texts"),
        ({"text": "t"}, r"'query' is missing \(there are: text\)"),
        ({"messages": CHAT[:4]}, "does not end with a user turn and an assistant turn"),
        ({"messages": [*CHAT, {"role": "tool", "content": "t"}]}, "turn 6 is of the role 'tool'"),
        ({"messages": turns(("user", None), ("assistant", "a"))}, "'turn 1' is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, *CHAT[4:]]}, "a part of type image_url"),
        ({"query": "q", "answer": "<think>\nfor ever"}, "its think block is not closed"),
        ({"query": "q", "answer": "<think>\nx</think>\n "}, "empty after its think block"),
    ],
)  # fmt: skip
def test_what_nobody_can_tell_is_set_aside_with_its_reason(row, reason):
    with pytest.raises(BadRow, match=reason):
        take_apart(row)


def test_thinking_is_split_off_only_where_the_text_begins_with_it():
    block = take_apart({"query": "q", "answer": "<think>\nplan </think>\n\nText with </think> in it."})
    assert (block.thinking, block.answer) == ("plan ", "Text with </think> in it.")
    mention = take_apart({"query": "q", "answer": "First this. Then </think> is a tag."})
    assert (mention.thinking, mention.answer) == (None, "First this. Then </think> is a tag.")
    turn = {"role": "assistant", "content": "a", "reasoning_content": "plan"}
    assert take_apart({"messages": [*turns(("user", "q")), turn]}).thinking == "plan"
    assert to_example({"query": "q", "answer": "a", "thinking": "plan", "stars": 5}).extra == {
        "thinking": "plan",
        "stars": 5,
    }
    earlier = turns(("user", "q"), ("assistant", "<think>x</think>\n\na"), ("user", "q2"), ("assistant", "a2"))
    assert take_apart({"messages": earlier}).history[1].content == "a"


def test_columns_may_be_named(tmp_path):
    (tmp_path / "p.jsonl").write_text(lines([{"title": "q", "body": "a", "query": "other", "n": 1}]))
    assert texts(tmp_path / "p.jsonl", columns={"query": "title", "answer": "body"}) == [("q", "a")]
    with pytest.raises(DataError, match=r"there is no column 'titel' \(there are: title, body, query, n\)"):
        texts(tmp_path / "p.jsonl", columns={"query": "titel"})
    with pytest.raises(ConfigError, match=r"data\.columns\.qeury: a row has no such part"):
        texts(tmp_path / "p.jsonl", columns={"qeury": "title"})
    with pytest.raises(ConfigError, match=r"data\.turns=some is unknown"):
        texts(tmp_path / "p.jsonl", turns="some")


def test_what_was_taken_for_what_and_what_was_left_out_is_told(tmp_path):
    (tmp_path / "p.jsonl").write_text(
        lines([ALPACA, ALPACA | {"output": "b"}, {"messages": CHAT, "language": "Klingon"}])
    )
    pairs = read_pairs(tmp_path / "p.jsonl", data=DataConfig(turns="last"))
    assert pairs.notes.told("p.jsonl") == [
        "p.jsonl: instruction+input -> query, output -> answer (2 rows)",
        "p.jsonl: messages -> conversation (1 rows)",
        "p.jsonl: earlier turns of 1 rows are left out (data.turns=last)",
        "p.jsonl: language 'Klingon' of 1 rows is not known; that of the answer is taken",
    ]
    assert pairs.examples[2].history == ()
    assert read_pairs(None).notes.told("own") == []


@pytest.mark.parametrize(("value", "wanted"), [("x", "x"), (7, "7"), ("101.0", "101.0")])
def test_texts_and_whole_numbers_are_ids(value, wanted):
    assert to_example({"id": value, "query": "q", "answer": "a"}).id == wanted


@pytest.mark.parametrize("value", [None, float("nan"), 101.0, "", True, []])
def test_what_pandas_makes_of_ids_is_none(value):
    assert to_example({"id": value, "query": "q", "answer": "a"}).id == to_example({"query": "q", "answer": "a"}).id


@pytest.mark.parametrize(
    ("named", "wanted"),
    [("English", "en"), ("EN", "en"), ("en-US", "en"), ("eng", "en"), ("zh-CN", "zh"), ("zh_Hans", "zh"),
     ("cmn", "zh"),
     ("Chinese (Simplified)", "zh"), ("中文", "zh"), ("de-AT", "de"), ("French", "fr"),
     ("Klingon", "zh"), (None, "zh"), (" ", "zh")],
)  # fmt: skip
def test_languages_are_known_by_all_their_names(named, wanted):
    assert to_example({"query": "q", "answer": "大雪三日", "language": named}).language == wanted
