"""Two small works and a book in two languages, and a server that asks for their passages as a good writer would: each
query is of its own passage, a first try is now and then as bad as good models write it, and the judge is honest."""

import json
import re
from collections import Counter

from books_made import epub
from chat_server import completion, says

THINGS = ("lamp", "boat", "orchard", "letter", "bridge", "violin", "winter", "market")
CHINESE = ("灯", "船", "桥", "雪", "茶", "琴")
FLAWS = {
    "leaked": "Write a tale that begins so: {start}",
    "judged": "Write a speech for a general who has lost a battle, stern in tone, near 200 words long.",
    "prompt_residue": "Write something as calm in tone as this passage is, for the same readers.",
    "too_short": "Write a tale.",
}


def passage(thing, n):
    line = "The {0}{1}x{2} of street{1}x{2} was seen by neighbour{1}x{2} before bell{1}x{2}."
    return " ".join([f"The {thing} was old.", *(line.format(thing, n, i) for i in range(9))])


def chinese(thing, n):
    streets = "甲乙丙丁戊己庚辛壬"
    return "".join(
        f"{thing}在{streets[i]}巷第{n}家，邻人{streets[-i]}来看它，说了第{n}{i}句话，又慢慢回去了。" for i in range(9)
    )


def write_works(folder):
    """Files whose names say `test` and `eval`, which must not matter; a heading above each passage."""
    folder.mkdir()
    halves = {"test.txt": THINGS[:4], "eval_notes.md": THINGS[4:]}
    for name, things in halves.items():
        parts = [f"# The {thing.title()}\n\n{passage(thing, n)}" for n, thing in enumerate(things)]
        (folder / name).write_text("\n\n\n".join(parts) + "\n", encoding="utf-8")
    pages = {f"c{n}.xhtml": f"<h2>卷一 {thing}</h2><p>{chinese(thing, n)}</p>" for n, thing in enumerate(CHINESE)}
    epub(folder / "book.epub", pages, title="街谈", author="某人", language="zh", rights="Public domain")


def query_of(text):
    for thing in CHINESE:
        if text.startswith(f"{thing}在"):
            return f"请写一篇平静的街巷小品，题材是{thing}，给成年人读，篇幅在三百字以内，要写到来看的人。"
    thing = re.match(r"The (\w+) ", text).group(1)
    return f"Write a calm sketch for grown readers about an aged {thing} and its visitors, near 200 words, no speech."


class Writer:
    """What `ChatServer.instead` may be. `flawed`: under which name the first try of an English passage is refused."""

    def __init__(self, flawed=True):
        self.flawed, self.tries = flawed, Counter()

    def __call__(self, body):
        shown = body["messages"][-1]["content"]
        if found := re.search(r"<request>\n(.*)\n</request>\n\n<reply>\n(.*)\n</reply>", shown, re.DOTALL):
            query, text = found.groups()
            return completion(says(json.dumps({"fit": 5 if query == query_of(text) else 1})))
        if "<task>" in shown and (found := re.search(r"<text>\n(.*)\n</text>", shown, re.DOTALL)):
            return completion(says(f"<task>\n{self.ask(found.group(1))}\n</task>"))
        return None

    def ask(self, text):
        self.tries[text] += 1
        if self.flawed and self.tries[text] == 1 and text.startswith("The "):
            place = [text.startswith(f"The {thing} ") for thing in THINGS].index(True)
            flaw = [*FLAWS][place % len(FLAWS)]
            return FLAWS[flaw].format(start=" ".join(text.split()[:20]))
        return query_of(text)
