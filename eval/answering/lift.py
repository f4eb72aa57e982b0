"""Reference lift: how much likelier a good answer is to the model under test, after thinking, than to the base model.

The thinking z is sampled from the model under test, which never sees the reference answer y:
lift = NLL_base(y|x) - NLL_model(y|x, z), in nats per token of y. Needs no judge.
Knows generators and scorers by their protocols, and the layout.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reer.backend.server.chat import sound
from reer.config import BenchmarkConfig, LayoutConfig
from reer.errors import ConfigError, LayoutError
from reer.layout import THINK_CLOSE, Encoded, Layout, build_layout
from reer.text import digest, seed_of
from reer.types import Example, GenerateRequest, Generator, Response, Scorer

from ..store import Row, Rows, fill

LIFT_FIELDS = ("id", "pair", "status", "lift", "nll")
"""What a row of lift.jsonl has at least."""


@dataclass(frozen=True, slots=True)
class LiftEngines:
    """The model under test, which thinks and scores, and the base model it is compared with (perhaps the same)."""

    generator: Generator
    model: Scorer
    base: Scorer


async def measure_lift(
    examples: Sequence[Example],
    lifts: Rows,
    engines: Callable[[], LiftEngines],
    layout: LayoutConfig,
    *,
    label: str,
    benchmark: BenchmarkConfig,
    seed: int,
    concurrency: int,
) -> dict[str, str]:
    """Measure every example that has no stored row; the engines are built only if there is one.

    Returns ids whose model calls failed, with the reason.
    """
    stored = current_lifts(lifts.rows, examples)
    missing = {example.id: example for example in examples if example.id not in stored}
    if not missing:
        return {}
    used = engines()
    layouts = build_layout(layout, used.model.tokenizer), build_layout(layout, used.base.tokenizer)

    async def one(id_: str) -> Row:
        example = missing[id_]
        sample = await _think(example, used.generator, layouts[0], benchmark, seed)
        named = {"model": label, "id": id_, "pair": _hash(example), "thinking": sample.text.strip()}
        return named | {"finish_reason": sample.finish_reason} | await _compare(example, sample, used, layouts)

    return await fill(lifts, list(missing), one, concurrency=concurrency, title="reference lift")


async def _think(
    example: Example, generator: Generator, layout: Layout, benchmark: BenchmarkConfig, seed: int
) -> Response:
    request = GenerateRequest(
        messages=layout.turns(example.query, example.history),
        seeds=(seed_of(seed, "thinking", example.id),),
        max_tokens=benchmark.thinking_tokens,
        temperature=benchmark.temperature,
        top_p=benchmark.top_p,
        stop=(THINK_CLOSE,),
        prefill=layout.frame.before_thinking,
    )
    [[draw]] = await generator.generate([request])
    return sound(draw)


async def _compare(example: Example, sample: Response, used: LiftEngines, layouts: tuple[Layout, Layout]) -> Row:
    """The three NLLs in nats per answer token, or why there are none."""
    try:
        plain, base = (layout.encode(example.query, None, example.answer, example.history) for layout in layouts)
        thought = layouts[0].encode(example.query, sample.text.strip(), example.answer, example.history)
    except LayoutError as error:
        return {"status": "missing", "reason": str(error), "nll": None, "lift": None, "answer_tokens": None}
    if _answer_ids(plain) != _answer_ids(base):
        raise ConfigError("scorer and evaluated model split an answer into different tokens: no lift can be measured")
    of_model = used.model.score([plain.score_request(), thought.score_request()])
    if used.base is used.model:
        scored = await of_model
        scored_base = scored[0]
    else:
        scored, [scored_base] = await asyncio.gather(of_model, used.base.score([base.score_request()]))
    nll = {
        "base": scored_base.score.nll,
        "model": scored[0].score.nll,
        "model_with_thinking": scored[1].score.nll,
    }
    lift = nll["base"] - nll["model_with_thinking"]
    return {"status": "ok", "reason": "", "nll": nll, "lift": lift, "answer_tokens": plain.answer_tokens}


def current_lifts(rows: Sequence[Row], examples: Sequence[Example]) -> dict[str, Row]:
    """The stored row of each example, in the examples' order; rows on another query or answer are left out."""
    stored = {row["id"]: row for row in rows}
    return {e.id: stored[e.id] for e in examples if e.id in stored and stored[e.id]["pair"] == _hash(e)}


def _answer_ids(encoded: Encoded) -> tuple[int, ...]:
    return encoded.ids[encoded.answer : encoded.end]


def changed_pairs(rows: Sequence[Row], examples: Sequence[Example]) -> int:
    """Examples whose stored row is on another query or answer: they are measured anew."""
    return len({row["id"] for row in rows} & {example.id for example in examples}) - len(current_lifts(rows, examples))


def _hash(example: Example) -> str:
    before = [[turn.role, turn.content] for turn in example.history]
    return digest(*([before] if before else []), example.query, example.answer)[:16]
