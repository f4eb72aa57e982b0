"""The forms of files that users bring: each holds the same rows."""

import gzip
import json

import pytest

from reer.errors import DataError
from reer.files import rows
from reer.files.pairs import read_pairs
from reer.files.rows import BadRow, read_rows

ROWS = [
    {"id": "a", "query": "Write of rain.", "answer": "Rain fell.\nAll night."},
    {"query": "写雨。", "answer": "雨下了。"},
]
TEXTS = [(row["query"], row["answer"]) for row in ROWS]


def texts(path):
    return [(e.query, e.answer) for e in read_pairs(path).examples]


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
    "open.json": lambda path: path.write_text('{"data": [\n' + ",\n".join(map(json.dumps, ROWS)) + "\n]}"),
    "last.json": lambda path: path.write_text(json.dumps({"meta": {"n": [1]}, "train": ROWS})),
    "stacked.json": lambda path: path.write_text("\n".join(json.dumps(row, indent=1) for row in ROWS)),
    "list.jsonl": lambda path: path.write_text(json.dumps(ROWS)),
    "pretty.jsonl": lambda path: path.write_text(json.dumps(ROWS, indent=2)),
    "bom.jsonl": lambda path: path.write_text("\ufeff\n" + lines()),
    "late.json": lambda path: path.write_text(json.dumps({"version": "1.0", "rows": ROWS})),
    "p.jsonl.gz": lambda path: path.write_bytes(gzip.compress(lines().encode())),
    "list.json.gz": lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode())),
    "p.jsonl.zst": as_zst,
    "p.csv": lambda path: path.write_text("query,answer\n" + quoted(TEXTS)),
    "sep.csv": lambda path: path.write_text("\ufeffsep=;\r\n\r\nquery;answer\r\n" + quoted(TEXTS, ";")),
    "header.csv": lambda path: path.write_text('"a;b\n;",query,answer\n' + quoted([("", *row) for row in TEXTS])),
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
    monkeypatch.setattr("reer.files.json_rows.CHUNK", 7)
    path = tmp_path / "list.json"
    path.write_text(json.dumps([*ROWS, 1234567890123, {"query": "]},[{", "answer": '"\\" 🐕'}], ensure_ascii=False))
    assert [row.value for row in read_rows(path)] == [*ROWS, 1234567890123, {"query": "]},[{", "answer": '"\\" 🐕'}]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('[{"query": "q"', "broken JSON after row 0"),
        ('[{"query": "q"} ?]', "broken JSON after row 1"),
        ("[]\n[]", "broken JSON: there is more behind the list"),
        ('{"a": [{}], "b": [{}]}', r"holds another list of rows \(b\)"),
        ('{"n": {}, "a": [{}], "b": [{}]}', r"holds several lists of rows \(a, b\)"),
        ("7", "holds no list of rows"),
    ],
)
def test_a_broken_list_is_one_sentence(tmp_path, content, why):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(DataError, match=rf"p\.json: {why}"):
        list(read_rows(tmp_path / "p.json"))


def test_a_broken_line_is_set_aside_whatever_the_file_is_called(tmp_path):
    for name in ("p.json", "p.jsonl"):
        (tmp_path / name).write_text('{"query": "q"\n' + lines())
        pairs = read_pairs(tmp_path / name)
        assert [(e.query, e.answer) for e in pairs.examples] == TEXTS
        assert [(q.row, q.text) for q in pairs.quarantined] == [(1, '{"query": "q"')]


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_a_line_that_is_too_long_is_set_aside_and_not_held(tmp_path, monkeypatch, name):
    monkeypatch.setattr(rows, "LONGEST", 100)
    monkeypatch.setattr(rows, "SHOWN", 5)
    fits = '"' + "b" * 97 + '"'
    content = f"{lines()}{fits}\n{'a' * 5000}\n{fits}".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    found = list(read_rows(tmp_path / name))
    assert [found[-3].value, found[-1].value] == [fits[1:-1]] * 2
    assert (found[-2].number, found[-2].text) == (len(found) - 1, "aaaaa")
    assert str(found[-2].value) == "has 5,001 bytes; the most that a row may have is 100"


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


def test_broken_rows_of_a_table_are_set_aside_as_they_stand(tmp_path):
    (tmp_path / "p.csv").write_bytes('query,answer\nq,a,b\nq2,a2\nq3,\xff\n"q4"x,a\n"q5","a\n5"\n'.encode("latin-1"))
    pairs = read_pairs(tmp_path / "p.csv")
    assert [(q.row, q.reason, q.text) for q in pairs.quarantined] == [
        (1, "3 fields under 2 columns", "q,a,b"),
        (3, "not UTF-8", "q3,?"),
        (4, "broken CSV: ',' expected after '\"'", '"q4"x,a'),
    ]
    assert [(e.query, e.answer) for e in pairs.examples] == [("q2", "a2"), ("q5", "a\n5")]
    (tmp_path / "p.csv").write_text('query,answer\nq,a\nq2,"never closed\nq3,a3\n')
    [lost] = read_pairs(tmp_path / "p.csv").quarantined
    assert (lost.reason, lost.text) == ("broken CSV: unexpected end of data", 'q2,"never closed\nq3,a3')


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("p.csv", "提问,答案\n甲,乙\n".encode("gb18030"), "is not UTF-8; save it as UTF-8"),
        ("p.csv", "query,answer\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("p.tsv", b"query\tquery\n", r"two columns have the same name \(query, query\)"),
        ("p.json", '[{"query": "é"}]'.encode("latin-1"), "not UTF-8"),
        ("p.jsonl.gz", gzip.compress(lines().encode() * 99)[:-20], "cannot be read"),
        ("p.jsonl.gz", gzip.compress(b"")[:10] + b"nothing at all", "cannot be read"),
        ("p.jsonl.zst", b"nothing", "cannot be read"),
        ("p.arrow", b"nothing", "is no Arrow stream"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}: {why}"):
        list(read_rows(tmp_path / name))


def test_shards_of_one_name_are_told_apart_and_so_are_ids_in_two_of_them(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0.jsonl").write_text(lines(ROWS[:1]))
    [twice] = read_pairs(tmp_path).quarantined
    assert twice.file == str(tmp_path / "b" / "0.jsonl")
    assert twice.reason == f"id 'a' occurs twice (first in row 1 of {tmp_path / 'a' / '0.jsonl'})"


def test_half_a_surrogate_pair_is_no_text_and_a_whole_one_is(tmp_path):
    texts_ = ['"a \\ud83d\\ude00"', '"a \\ud83d"', '{"b": ["\\uD83D"]}', '"no \\\\ud83d"']
    path = tmp_path / "p.jsonl"
    path.write_text("".join(f'{{"query": {text}, "answer": "a"}}\n' for text in texts_))
    values = [row.value for row in read_rows(path)]
    assert [isinstance(value, BadRow) for value in values] == [False, True, True, False]
    assert (values[0]["query"], values[3]["query"]) == ("a \U0001f600", "no \\ud83d")
    (tmp_path / "p.json").write_text("[" + ",".join(path.read_text().splitlines()) + "]")
    assert [str(row.value) for row in read_rows(tmp_path / "p.json")] == [str(value) for value in values]


def test_thousands_of_ids_are_told_apart(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines([{"id": n % 5000, "query": "q", "answer": "a"} for n in range(6000)]))
    pairs = read_pairs(path)
    assert [e.id for e in pairs.examples] == [str(n) for n in range(5000)]
    assert [q.reason for q in pairs.quarantined] == [
        f"id '{n}' occurs twice (first in row {n + 1})" for n in range(1000)
    ]
