"""The step that lets the model under test answer the held-out queries, and takes its replies apart.

Knows a generator and a layout's frame; knows nothing of judges.
"""

from collections.abc import Awaitable, Callable, Sequence

from reer.backend.fake import FakeTokenizer
from reer.backend.server.chat import Refusal, sound
from reer.config import BenchmarkConfig, LayoutConfig
from reer.files.outputs import loops, word_count
from reer.layout import Layout, build_layout
from reer.text import seed_of
from reer.types import GenerateRequest, Generator, Response

from ..benchmarks.items import Item
from ..store import Row, Rows, fill

ANSWER_FIELDS = ("id", "prompt", "answer", "model", "benchmark", "finish_reason", "words", "well_formed", "loop")
"""What a row of answers.jsonl has at least."""
EPOCH = 0
"""Every query is answered once."""
Answer = Callable[[Item], Awaitable[Row]]
REFUSED: Row = {
    "thinking": None,
    "answer": "",
    "finish_reason": "refused",
    "tokens": None,
    "words": 0,
    "well_formed": False,
    "loop": False,
}
"""What is stored where the model under test declined to answer."""


def reply_parser(layout: LayoutConfig) -> Layout:
    """What takes a reply apart, which needs the frame and not the tokens."""
    return build_layout(layout, FakeTokenizer())


class Respondent:
    """A model that answers queries."""

    def __init__(self, generator: Generator, parser: Layout, *, label: str, benchmark: BenchmarkConfig, seed: int):
        self._generator, self._parser = generator, parser
        self._label, self._benchmark, self._seed = label, benchmark, seed

    async def answer(self, item: Item) -> Row:
        """A row of answers.jsonl. A refusal is an answer, and an empty one: were it left out, refusing would raise the
        mean.

        Raises:
            BackendError: the request failed.
        """
        benchmark = self._benchmark
        request = GenerateRequest(
            messages=self._parser.turns(item.query, item.history),
            seeds=(seed_of(self._seed, "answer", item.id, EPOCH),),
            max_tokens=benchmark.max_tokens,
            temperature=benchmark.temperature,
            top_p=benchmark.top_p,
        )
        named: Row = {"model": self._label, "id": item.id, "benchmark": benchmark.name}
        named |= {"epoch": EPOCH, "prompt": item.prompt}
        try:
            [[draw]] = await self._generator.generate([request])
            response = sound(draw)
        except Refusal:
            return named | REFUSED
        return named | taken_apart(response, self._parser)


async def respond(
    items: Sequence[Item], answers: Rows, answering: Callable[[], Answer], *, concurrency: int
) -> dict[str, str]:
    """Answer every query that has no stored answer; who answers is asked for only if there is one.

    Returns ids whose request failed, with the reason.
    """
    stored = current_answers(answers.rows, items)
    missing = {item.id: item for item in items if item.id not in stored}
    if not missing:
        return {}
    answer = answering()
    return await fill(
        answers, list(missing), lambda id_: answer(missing[id_]), concurrency=concurrency, title="answer"
    )


def taken_apart(response: Response, parser: Layout) -> Row:
    """What a reply says about itself, without any judge. An empty `answer` is a failed one."""
    reply = parser.parse(response.text)
    return {
        "thinking": reply.thinking,
        "answer": reply.answer,
        "finish_reason": response.finish_reason,
        "tokens": response.usage.generated_tokens,
        "words": word_count(reply.answer),
        "well_formed": reply.well_formed,
        "loop": loops(response.text),
    }


def current_answers(rows: Sequence[Row], items: Sequence[Item]) -> dict[str, Row]:
    """The stored answer of each item, in the items' order; answers to another prompt are left out."""
    stored = {row["id"]: row for row in rows}
    return {i.id: stored[i.id] for i in items if i.id in stored and stored[i.id]["prompt"] == i.prompt}


def changed_prompts(rows: Sequence[Row], items: Sequence[Item]) -> int:
    """Items whose stored answer is to another prompt: they are answered anew."""
    return len({row["id"] for row in rows} & {item.id for item in items}) - len(current_answers(rows, items))
