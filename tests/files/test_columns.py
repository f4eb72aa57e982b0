"""The columns and conversations of this field's data sets, each taken for what it is."""

import json

import pytest

from reer.config import ColumnsConfig, DataConfig
from reer.errors import ConfigError, DataError
from reer.files.columns import take_apart
from reer.files.pairs import read_pairs, to_example
from reer.files.rows import BadRow
from reer.types import Message


def read(path, **data):
    columns = ColumnsConfig(**data.pop("columns", {}))
    return read_pairs(path, data=DataConfig(columns=columns, **data))


def texts(path, **data):
    return [(e.query, e.answer) for e in read(path, **data).examples]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


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
    "blank input": (ALPACA | {"input": "\n "}, ("Sum up.", "Short.", ())),
    "input alone": ({"input": "q", "output": "a"}, ("q", "a", ())),
    "trl text and turn": ({"prompt": "q", "completion": turns(("assistant", "a"))}, ("q", "a", ())),
    "reply beside a chat": ({"messages": CHAT[:4], "response": "a2"}, ("q2", "a2", SAID)),
    "question beside a chat": ({"prompt": "q1", "prompt_id": "7", "messages": CHAT}, ("q2", "a2", SAID)),
    "two forms of a chat": (
        {"messages": CHAT, "conversations": [{"from": t["role"], "value": t["content"]} for t in CHAT]},
        ("q2", "a2", SAID),
    ),
    "a chat as JSON": ({"messages": json.dumps(CHAT)}, ("q2", "a2", SAID)),
    "no chat": ({"query": "q", "answer": "a", "chat": "room 7"}, ("q", "a", ())),
    "empty system turn": ({"messages": [{"role": "system", "content": ""}, *CHAT[3:]]}, ("q2", "a2", ())),
    "system twice": ({"system": "s", "messages": CHAT}, ("q2", "a2", SAID)),
    "parts of a query": ({"query": [{"type": "text", "text": "q"}], "answer": "a"}, ("q", "a", ())),
    "nan": ({"query": "q", "answer": "a", "question": float("nan"), "output": []}, ("q", "a", ())),
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
        ({"query": "other", "messages": CHAT}, "'query' and 'messages' are two different texts for the query"),
        ({"messages": CHAT, "response": "b"}, "'response' and 'messages' are two different texts for the answer"),
        ({"messages": CHAT, "chat": CHAT[3:]}, "'messages' and 'chat' are two different texts for the conversation"),
        ({"messages": CHAT, "system": "t"}, "'system' and 'messages' are two different texts for the system turn"),
        ({"messages": [*CHAT, CHAT[2]]}, "ends with two assistant turns: which is the answer?"),
        ({"messages": CHAT[2:3]}, "holds no user turn before its last: there is no query"),
        ({"messages": [*CHAT[3:4], CHAT[4] | {"tool_calls": [{}]}]}, "turn 2 calls a tool"),
        ({"prompt": CHAT[:4]}, r"'answer' is missing \(there are: prompt; data.columns.answer=NAME says which\)"),
        ({"prompt": "q", "completion": CHAT[3:]}, "'completion' is no single assistant turn"),
        ({"query": "q", "answer": "<think>x</think>a", "thinking": "y"},
         "thinking and the block before the answer are two different texts for the thinking"),
        ({"query": "q", "answer": "a", "history": [["x"]]}, "'history' holds what is no pair of texts"),
        ({"text": "t"}, r"'query' is missing \(there are: text; data.columns.query=NAME says which\)"),
        ({"messages": CHAT[:4]}, "does not end with an assistant turn: it holds no answer"),
        ({"messages": [*CHAT, {"role": "tool", "content": "t"}]}, "turn 6 is of the role 'tool'"),
        ({"messages": turns(("user", None), ("assistant", "a"))}, "turn 1 has no text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, *CHAT[4:]]}, "a part of type image_url"),
        ({"query": "q", "answer": "<think>\nfor ever"}, "its think block is not closed"),
        ({"query": "q", "answer": "<think>\nx</think>\n "}, "empty after its think block"),
    ],
)  # fmt: skip
def test_what_nobody_can_tell_is_set_aside_with_its_reason(row, reason):
    with pytest.raises(BadRow, match=reason):
        take_apart(row)


def test_thinking_is_split_off_only_where_the_text_begins_with_it(tmp_path):
    block = take_apart({"query": "q", "answer": "<think>\nplan </think>\n\nText with </think> in it."})
    assert (block.thinking, block.answer) == ("plan ", "Text with </think> in it.")
    mention = take_apart({"query": "q", "answer": "First this. Then </think> is a tag."})
    assert (mention.thinking, mention.answer) == (None, "First this. Then </think> is a tag.")
    turn = {"role": "assistant", "content": "a", "reasoning_content": "plan"}
    assert take_apart({"messages": [*turns(("user", "q")), turn]}).thinking == "plan"
    assert to_example({"query": "q", "answer": "a", "thinking": "plan", "stars": None, "question": " "}).extra == {
        "thinking": "plan",
        "stars": None,
    }
    earlier = turns(("user", "q"), ("assistant", "<think>x</think>\n\na"), ("user", "q2"), ("assistant", "a2"))
    assert take_apart({"messages": earlier}).history[1].content == "a"
    (tmp_path / "p.jsonl").write_text(lines([{"messages": earlier}]))
    assert read(tmp_path / "p.jsonl").notes.told("p")[1:] == [
        "pairs         p: the thinking before earlier replies is left out of 1 row"
    ]


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("<think>\nz\n</think>\n\n    indented", ("z", "    indented")),
        (" <think>z</think> a", ("z", "a")),
        ("<think>z</think>\r\n \n a", ("z", " a")),
        ("<think>\n\n</think>\n\na", (None, "a")),
        ("z\n</think>\n\na", (None, "z\n</think>\n\na")),
        ("a <think>z</think>", (None, "a <think>z</think>")),
    ],
)
def test_what_follows_a_think_block_keeps_its_shape(answer, wanted):
    parts = take_apart({"query": "q", "answer": answer})
    assert (parts.thinking, parts.answer) == wanted


def test_a_column_reasoning_that_is_a_switch_is_no_thinking():
    row = {"query": "q", "answer": "<think>z</think>\n\na", "reasoning": "on"}
    assert (take_apart(row).thinking, take_apart(row).extra) == ("z", {"reasoning": "on"})
    assert take_apart({"query": "q", "answer": "a", "reasoning": "First this."}).thinking == "First this."


def test_columns_that_need_not_be_there_in_every_row(tmp_path):
    rows = [{"q": "q", "a": "a", "about": "c", "uid": 7, "id": "own"}, {"q": "q2", "a": "a2", "about": None}]
    (tmp_path / "p.jsonl").write_text(lines(rows))
    names = {"query": "q", "answer": "a", "context": "about", "id": "uid"}
    pairs = read(tmp_path / "p.jsonl", columns=names)
    assert [(e.query, e.answer) for e in pairs.examples] == [("q\n\nc", "a"), ("q2", "a2")]
    assert pairs.examples[0].id == "7"
    assert pairs.examples[0].extra == {"id": "own"}
    assert pairs.notes.told("p")[0] == "pairs         p: q+about -> query, a -> answer, uid -> id (1 row)"
    with pytest.raises(DataError, match=r"language=sprache: no row of .* \(there are: q, a, about, uid, id\)"):
        read(tmp_path / "p.jsonl", columns=names | {"language": "sprache"})


def test_a_chat_and_a_system_text_may_be_named(tmp_path):
    (tmp_path / "p.jsonl").write_text(lines([{"dialog": CHAT[1:], "persona": "s", "query": "x", "answer": "y"}]))
    [example] = read(tmp_path / "p.jsonl", columns={"messages": "dialog", "system": "persona"}).examples
    assert (example.query, example.answer, example.history) == ("q2", "a2", SAID)
    (tmp_path / "p.jsonl").write_text(lines([{"ask": CHAT[:4], "reply": CHAT[4:]}]))
    [example] = read(tmp_path / "p.jsonl", columns={"query": "ask", "answer": "reply"}).examples
    assert (example.query, example.answer, example.history) == ("q2", "a2", SAID)


def test_columns_may_be_named(tmp_path):
    (tmp_path / "p.jsonl").write_text(lines([{"title": "q", "body": "a", "query": "other", "n": 1}]))
    assert texts(tmp_path / "p.jsonl", columns={"query": "title", "answer": "body"}) == [("q", "a")]
    with pytest.raises(DataError, match=r"query=titel: no row of .* \(there are: title, body, query, n\)"):
        texts(tmp_path / "p.jsonl", columns={"query": "titel"})
    assert texts(tmp_path / "p.jsonl", columns={"answer": "body"}) == [("other", "a")]
    with pytest.raises(ConfigError, match=r"data\.turns=some is unknown"):
        texts(tmp_path / "p.jsonl", turns="some")


def test_what_was_taken_for_what_and_what_was_left_out_is_told(tmp_path):
    (tmp_path / "p.jsonl").write_text(
        lines([ALPACA, ALPACA | {"output": "b", "stars": 5}, {"messages": CHAT, "language": "Klingon"}])
    )
    pairs = read_pairs(tmp_path / "p.jsonl", data=DataConfig(turns="last"))
    assert pairs.notes.told("p.jsonl") == [
        "pairs         p.jsonl: instruction+input -> query, output -> answer (2 rows)",
        "pairs         p.jsonl: messages -> conversation (1 row)",
        "pairs         p.jsonl: riding along: stars",
        "pairs         p.jsonl: earlier turns are left out of 1 row (data.turns=last)",
        "pairs         p.jsonl: language 'Klingon' is not known (1 row): that of the answer is taken",
    ]
    assert pairs.notes.table() == [
        {"rows": 2, "parts": {"query": "instruction+input", "answer": "output"}},
        {"rows": 1, "parts": {"conversation": "messages"}},
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
