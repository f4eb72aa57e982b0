"""Reading pairs: every broken row is set aside by name, the rest goes on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reer.errors import DataError
from reer.files.pairs import read_pairs, to_example
from reer.text import digest, digest_of_texts, is_cjk, language_of, words

GOOD = {"id": "a", "query": "q", "answer": "An answer."}


def write(path, *lines):
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n")
    return path


def rows(path):
    return [(q.row, q.reason) for q in read_pairs(path).quarantined]


def test_the_packaged_samples_are_clean():
    pairs, held_out = read_pairs(None), read_pairs(None, default="eval_pairs.jsonl")
    assert (len(pairs.examples), len(held_out.examples)) == (24, 8)
    assert not pairs.quarantined + held_out.quarantined
    assert {e.language for e in pairs.examples} == {"en"}
    assert all(100 <= len(e.answer.split()) <= 600 for e in pairs.examples)
    works = [{e.source.partition(";")[0] for e in part.examples} for part in (pairs, held_out)]
    assert not works[0] & works[1]


def test_broken_rows_are_named_and_the_rest_is_read(tmp_path):
    path = write(
        tmp_path / "p.jsonl",
        json.dumps(GOOD),
        '{"id": "b", "query": ',
        json.dumps({"query": "q"}),
        json.dumps({"query": "q", "answer": "  "}),
        json.dumps({"query": "q", "answer": ["list"]}),
        json.dumps(GOOD),
        b'{"query": "\xff", "answer": "y"}',
        "[1]",
        json.dumps({"query": "q", "answer": "nul \0"}),
        json.dumps({"query": "q2", "answer": "Another."}),
    )
    assert rows(path) == [
        (2, "broken JSON: Expecting value (column 21)"),
        (3, "'answer' is missing"),
        (4, "'answer' is empty"),
        (5, "'answer' is list, not text"),
        (6, "id 'a' occurs twice (first in row 1)"),
        (7, "not UTF-8 (byte 12)"),
        (8, "not a JSON object"),
        (9, "'answer' holds a NUL byte"),
    ]
    assert [e.answer for e in read_pairs(path).examples] == ["An answer.", "Another."]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.jsonl", None, "no such file"),
        ("p.jsonl", b"", "no usable row: it is empty"),
        ("p.jsonl", b"\xff\xfe{\x00", "is UTF-16; save it as UTF-8"),
        ("p.jsonl", b"{}\n", "no usable row; row 1: 'query' is missing"),
        ("p.txt", b"a,b\n", "unknown kind of file"),
        ("p.csv", b"a,b\n", "no usable row: it is empty"),
        ("p.csv", b"", "no usable row: it is empty"),
        ("p.json", b"{}", "holds no list of rows"),
        ("p.json", b"[", "broken JSON"),
        ("p.parquet", b"nothing", "is no Parquet file"),
    ],
)
def test_a_file_without_usable_rows_is_one_sentence(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_pairs(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_columns_ride_along_and_other_names_are_understood():
    example = to_example({"index": 7, "question": "q", "solution": "<think>\nplan\n</think>\n\nText.", "stars": 5})
    assert (example.query, example.answer) == ("q", "Text.")
    assert example.extra == {"index": 7, "stars": 5, "thinking": "plan"}


def test_messages_give_the_last_turn():
    turns = [("system", "s"), ("user", "q"), ("assistant", "Text.")]
    example = to_example({"messages": [{"role": r, "content": c} for r, c in turns]})
    assert (example.query, example.answer) == ("q", "Text.")


def test_an_absent_id_is_made_from_the_content():
    one, same, other = (to_example({"query": "q", "answer": a}) for a in ("x", "x", "y"))
    assert one.id == same.id != other.id


def test_parquet_and_json_hold_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist([GOOD]), tmp_path / "p.parquet")
    (tmp_path / "p.json").write_text(json.dumps([GOOD]))
    assert read_pairs(tmp_path / "p.parquet").examples == read_pairs(tmp_path / "p.json").examples


def test_limit_takes_the_first_usable_rows(tmp_path):
    path = write(tmp_path / "p.jsonl", "broken", *(json.dumps(GOOD | {"id": str(n)}) for n in range(5)))
    assert [e.id for e in read_pairs(path, 2).examples] == ["0", "1"]


@given(st.text())
def test_an_id_made_of_texts_is_the_hash_of_their_json(text):
    assert digest_of_texts(text, "x") == digest(text, "x") == digest_of_texts(*[text, "x"])
    assert digest_of_texts("x", text) != digest_of_texts("x" + text)


@given(st.text(alphabet="ab Z9,.。，雪夜の㍿ﾊ豈'\U0001f600\n"))
def test_language_is_counted_in_words_and_characters(text):
    found = words(text)
    assert language_of(text) == ("zh" if sum(map(is_cjk, found)) > len(found) / 2 else "en")


@pytest.mark.parametrize(("text", "language"), [("A word of 中文 here", "en"), ("大雪三日 snow", "zh"), ("", "en")])
def test_language_is_that_of_most_of_the_answer(text, language):
    assert language_of(text) == language
