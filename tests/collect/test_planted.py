"""Among clean pairs of the shipped kinds: near-duplicates, leaks of an evaluation file and broken rows, all found."""

import json
import random
import sys

import pytest

from collect.keep.written import FILES
from collect.run import main
from reer.run.executor import processes

SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
LENGTHS = (150, 12, 20, 40, 5)
"""Words of an evaluation prompt; one of fewer than eight is guarded as a whole."""


class Writer:
    """Texts of made-up words and Chinese characters, by seed; nothing is shared but by chance."""

    def __init__(self):
        self.random = random.Random(16)
        self.words = ["".join(self.random.choices(SYLLABLES, k=self.random.randint(1, 4))) for _ in range(4000)]
        self.characters = [chr(code) for code in range(0x4E00, 0x4E00 + 2000)]

    def tokens(self, language, count):
        return self.random.choices(self.characters if language == "zh" else self.words, k=count)

    def changed(self, tokens, language, places):
        """The same with so many words replaced, each by another."""
        new = list(tokens)
        for place in places:
            new[place] = self.tokens(language, 1)[0] + ("" if language == "zh" else "x")
        return new

    def spread(self, count, every):
        """One place in each full run of so many, at a random spot of it."""
        return [start + self.random.randrange(every) for start in range(0, count - every + 1, every)]


def joined(tokens, language):
    if language == "zh":
        return "".join(t + "，" * (n % 11 == 10) for n, t in enumerate(tokens)) + "。"
    return " ".join(t + "," * (n % 13 == 12) for n, t in enumerate(tokens)) + "."


def row(name, query, answer, language):
    return {"id": name, "query": joined(query, language), "answer": joined(answer, language), "language": language}


def language(n):
    return "zh" if n % 2 else "en"


BROKEN = [
    "{", "[1, 2", "null", "7", '"text"', "[]", "{}", "not json", '{"id": "a"}', '{"query": "q"}', '{"answer": "a"}',
    '{"query": "", "answer": "a"}', '{"query": "q", "answer": ""}', '{"query": "q", "answer": "  "}',
    '{"query": 3, "answer": "a"}', '{"query": "q", "answer": ["a"]}', '{"query": "q", "answer": null}',
    '{"query": "q", "answer": "\\ud800"}', '{"id": "clean0", "query": "q", "answer": "again"}',
    b'{"query": "caf\xe9", "answer": "a"}',
]  # fmt: skip


def planted():
    """Rows, the lines of the file, and the evaluation prompts."""
    made = Writer()
    clean = [(made.tokens(language(n), 20), made.tokens(language(n), 260 + n % 90)) for n in range(500)]
    near = []
    for n in range(50):  # up to six words of 280 and more, each in five runs: a Jaccard of 0.8 and more
        query, answer = clean[n]
        places = made.spread(len(answer), len(answer) // 7)[: n % 7]
        near.append((query, made.changed(answer, language(n), places)))
    prompts = [made.tokens(language(n // 2), LENGTHS[n % 5]) for n in range(40)]
    leaks = []
    for n in range(30):
        shown = prompts[n]
        if n % 3:  # one word in each twenty; shorter ones are exact
            shown = made.changed(shown, language(n // 2), made.spread(len(shown), 20))
        answer = made.tokens(language(n // 2), 200)
        inside = n // 5 % 2 and len(shown) >= 12
        leaks.append((made.tokens(language(n // 2), 20), shown + answer) if inside else (shown, answer))
    rows = [row(f"clean{n}", *pair, language(n)) for n, pair in enumerate(clean)]
    rows += [row(f"near{n}", *pair, language(n)) for n, pair in enumerate(near)]
    rows += [row(f"leak{n}", *pair, language(n // 2)) for n, pair in enumerate(leaks)]
    return rows, [joined(tokens, language(n // 2)) for n, tokens in enumerate(prompts)]


@pytest.fixture
def collect(monkeypatch, tmp_path):
    """Runs the command on what is planted; returns the folder it wrote."""
    rows, prompts = planted()
    lines = [json.dumps(one, ensure_ascii=False).encode() for one in rows]
    lines += [line if isinstance(line, bytes) else line.encode() for line in BROKEN]
    (tmp_path / "pairs.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"prompt": one}) + "\n" for one in prompts))

    def call(name):
        options = [f"source.path={tmp_path}/pairs.jsonl", f"decontaminate.paths=[{tmp_path}/mine.jsonl]"]
        monkeypatch.setattr(sys, "argv", ["reer-collect", f"run_dir={tmp_path}/{name}", *options])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 2
        return tmp_path / name

    return call


def test_everything_planted_is_found_and_clean_rows_stay(collect):
    folder = collect("run")
    read = {name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()] for name in FILES}
    reasons = {one["row"]["id"]: one["reason"] for one in read["rejected"]}
    assert [n for n in range(50) if reasons.get(f"near{n}") != "near_duplicates"] == []
    assert [n for n in range(30) if reasons.get(f"leak{n}") != "contaminated"] == []
    assert [one["row"] for one in read["quarantine"]] == [*range(581, 581 + len(BROKEN))]
    assert len({one["reason"] for one in read["quarantine"]}) >= 10
    kept = {one["id"] for one in read["pairs"] + read["held_out"]}
    assert len([n for n in range(500) if f"clean{n}" not in kept]) <= 5


def test_several_processes_write_the_same_bytes(collect, monkeypatch):
    monkeypatch.setattr("collect.run.cores", lambda: 1)
    alone = collect("alone")
    monkeypatch.setattr("collect.run.cores", lambda: 2)
    monkeypatch.setattr(processes, "HERE", 1)
    begun = []
    monkeypatch.setattr(processes, "_pool", lambda *of, pool=processes._pool: begun.append(of) or pool(*of))
    together = collect("together")
    assert [of[1] for of in begun] == [2]
    for name in FILES:
        assert (together / f"{name}.jsonl").read_bytes() == (alone / f"{name}.jsonl").read_bytes()
