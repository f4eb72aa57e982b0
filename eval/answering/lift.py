"""Reference lift: how much likelier a good answer is to the model under test, after thinking, than to the base model.

The thinkings z are sampled from the model under test, which never sees the reference answer y:
lift = NLL_base(y|x) - NLL_model(y|x), in nats per token of y. Of the model NLL_model(y|x) is -log of the mean of
p(y|x, z_n) over its thinkings (`thoughts.py`), or the plain NLL if it does not think. Needs no judge.
Knows generators and scorers by their protocols, and the layout.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from reer.config import BenchmarkConfig, LayoutConfig
from reer.errors import BackendError, ConfigError, LayoutError
from reer.layout import Encoded, Layout, build_layout
from reer.text import digest
from reer.types import Example, Generator, Scored, Scorer, ScoreRequest

from ..store import Row, Rows, fill
from .thoughts import Thought, facts, pooled_nll, think

LIFT_FIELDS = ("id", "pair", "status", "lift", "nll")
"""What a row of lift.jsonl has at least."""

Measure = Callable[[Example], Awaitable[Row]]


@dataclass(frozen=True, slots=True)
class LiftEngines:
    """The model under test, which thinks and scores, and the base model it is compared with (perhaps the same)."""

    generator: Generator
    model: Scorer
    base: Scorer


class Lifting:
    """Measures one example after the other."""

    def __init__(self, used: LiftEngines, layout: LayoutConfig, *, label: str, benchmark: BenchmarkConfig, seed: int):
        self._used, self._label, self._benchmark, self._seed = used, label, benchmark, seed
        self._layouts = build_layout(layout, used.model.tokenizer), build_layout(layout, used.base.tokenizer)

    async def measure(self, example: Example) -> Row:
        """A row of lift.jsonl.

        Raises:
            BackendError: a model call failed.
        """
        used, layouts = self._used, self._layouts
        thoughts = await think(example, used.generator, layouts[0], self._benchmark, self._seed)
        first = thoughts[0] if thoughts else Thought()
        named = {"model": self._label, "id": example.id, "pair": _hash(example), "thinking": first.text}
        return named | {"finish_reason": first.finish_reason} | await _compare(example, thoughts, used, layouts)


async def measure_lift(
    examples: Sequence[Example], lifts: Rows, lifting: Callable[[], Measure], *, concurrency: int
) -> dict[str, str]:
    """Measure every example that has no stored row; who measures is asked for only if there is one.

    Returns ids whose model calls failed, with the reason.
    """
    stored = current_lifts(lifts.rows, examples)
    missing = {example.id: example for example in examples if example.id not in stored}
    if not missing:
        return {}
    measure = lifting()
    return await fill(
        lifts, list(missing), lambda id_: measure(missing[id_]), concurrency=concurrency, title="reference lift"
    )


async def _compare(
    example: Example, thoughts: Sequence[Thought], used: LiftEngines, layouts: tuple[Layout, Layout]
) -> Row:
    """The NLLs in nats per answer token, or why there are none, and what became of each thought."""
    try:
        plain, base = (layout.encode(example.query, None, example.answer, example.history) for layout in layouts)
    except LayoutError as error:
        return _missing(str(error), thoughts)
    if _answer_ids(plain) != _answer_ids(base):
        raise ConfigError(
            "scorer and evaluated model split an answer into different tokens: no lift can be measured "
            "(model.path names the scorer)"
        )
    laid_out = [_laid_out(example, thought, layouts[0]) for thought in thoughts]
    exact = all(thought.failed == "empty" for thought, _ in laid_out)
    if not exact and not any(encoded for _, encoded in laid_out):
        return _missing(laid_out[0][0].reason, [thought for thought, _ in laid_out])
    of_model = _scored(used.model, plain, laid_out)
    if used.base is used.model:
        nll_model, scored = await of_model
        nll_base = nll_model
    else:
        (nll_model, scored), [found] = await asyncio.gather(of_model, used.base.score([base.score_request()]))
        nll_base = found.score.nll
    nlls = [thought.nll for thought in scored if thought.nll is not None]
    together = None if exact else pooled_nll(nlls, plain.answer_tokens)
    row: Row = {
        "status": "no_thinking" if exact else "ok",
        "reason": "the thinking is empty" if exact and thoughts else "",
        "nll": {"base": nll_base, "model": nll_model, "model_with_thinking": together},
        "lift": nll_base - (nll_model if together is None else together),
        "answer_tokens": plain.answer_tokens,
    }
    row["nll"]["one_thought"] = None if exact else fmean(nlls)
    return row | facts(scored, plain.answer_tokens) | ({"thinking_tokens": 0} if exact else {})


def _missing(reason: str, thoughts: Sequence[Thought]) -> Row:
    row: Row = {"status": "missing", "reason": reason, "nll": None, "lift": None, "answer_tokens": None}
    return row | facts(thoughts, None)


def _laid_out(example: Example, thought: Thought, layout: Layout) -> tuple[Thought, Encoded | None]:
    """A thought with its length, and the ids of the answer behind it; None where it has failed, now or before."""
    if thought.failed:
        return thought, None
    try:
        encoded = layout.encode(example.query, thought.text, example.answer, example.history)
    except LayoutError as error:
        return thought.without("not_laid_out", str(error)), None
    return replace(thought, tokens=len(layout.tokenizer.encode(thought.text))), encoded


async def _scored(
    model: Scorer, plain: Encoded, laid_out: Sequence[tuple[Thought, Encoded | None]]
) -> tuple[float, list[Thought]]:
    """NLL without thinking, and the thoughts with theirs; equal ones are scored once, all of them in one call.

    Raises:
        BackendError: the answer cannot be scored without thinking, or behind any thought.
    """
    requests = dict.fromkeys(encoded.score_request() for _, encoded in laid_out if encoded)
    first, *found = await _each(model, [plain.score_request(), *requests])
    if isinstance(first, BackendError):
        raise first
    errors = [result for result in found if isinstance(result, BackendError)]
    if errors and len(errors) == len(found):
        raise errors[0]
    results = dict(zip(requests, found, strict=True))
    thoughts = [
        _with(thought, results[encoded.score_request()]) if encoded else thought for thought, encoded in laid_out
    ]
    return first.score.nll, thoughts


async def _each(model: Scorer, requests: Sequence[ScoreRequest]) -> Sequence[Scored | BackendError]:
    """The result of each request; where one of several thoughts cannot be scored, the others are all the same."""

    async def alone(request: ScoreRequest) -> Scored | BackendError:
        try:
            return (await model.score([request]))[0]
        except BackendError as error:
            return error

    try:
        return await model.score(requests)
    except BackendError:
        if len(requests) < 3:  # the answer alone, and behind one thought
            raise
        return await asyncio.gather(*map(alone, requests))


def _with(thought: Thought, result: Scored | BackendError) -> Thought:
    if isinstance(result, BackendError):
        return thought.without("not_scored", str(result))
    return replace(thought, nll=result.score.nll)


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
