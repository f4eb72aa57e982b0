"""Proposals: a first trajectory for a pair, rewrites of one segment, and what needs no model: edits, and drafts put
together.

Every reply is parsed and checked here; what is unusable carries the reason and is never scored. Knows prompts and
texts; knows nothing of scores.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reer.config import SamplingConfig, SearchConfig
from reer.errors import ConfigError, LayoutError
from reer.layout import Layout, conversation
from reer.method import segment
from reer.method.guards import echo, leak
from reer.method.prompts import Prompt, PromptSet
from reer.text import is_cjk, seed_of, words
from reer.types import Example, Failed, GenerateRequest, Generator, Message, Operation, Response, Trajectory, Usage

# A rewrite may grow, but not into a trajectory of its own.
MAX_GROWTH = 4


@dataclass(frozen=True, slots=True)
class Proposal:
    """A text to be scored, or the reason why it will not be."""

    text: str
    rejected: str | None = None
    pieces: tuple[str, ...] = ()
    """Of a whole trajectory that was drawn passage by passage: what each place has, empty where nothing was usable."""


class Proposer:
    """The generator, asked with the prompts of the example's language."""

    def __init__(
        self,
        generator: Generator,
        prompts: Callable[[str], PromptSet],
        layout: Layout,
        settings: SearchConfig,
        seed: int,
    ) -> None:
        self.generator = generator
        self.prompts = prompts
        self.layout = layout
        self.settings = settings
        self.seed = seed

    async def first(self, example: Example, attempt: int) -> tuple[list[Proposal], Usage]:
        """`first_samples` whole trajectories; drawn by part, the unusable sentences follow them with their reasons."""
        if self.settings.start == "skeleton":
            return await self._from_skeletons(example, attempt)
        prompt = self.prompts(example.language).first(self.settings.start)
        return await self._wholes(example, prompt, self.settings.first_samples, "first", attempt)

    async def blind(self, example: Example, count: int, *seed: object) -> tuple[list[Proposal], Usage]:
        """`count` whole trajectories by somebody who has not seen the answer."""
        return await self._wholes(example, self.prompts(example.language).first("blind"), count, *seed)

    def passages(self, example: Example) -> Sequence[str]:
        """The answer as the first trajectories are shown it, one place of theirs for each.

        Raises:
            ConfigError: they are shown it as a whole, or not at all.
        """
        prompts = self.prompts(example.language)
        check_compose(prompts, self.settings.start)
        return _shares(example, prompts.first(self.settings.start))

    def composed(self, example: Example, pieces: Sequence[str]) -> Proposal:
        """A whole trajectory of these pieces."""
        return self._checked(example, _whole(pieces))

    async def _wholes(
        self, example: Example, prompt: Prompt, count: int, *seed: object
    ) -> tuple[list[Proposal], Usage]:
        shares = _shares(example, prompt)
        drawn = []
        for place, share in enumerate(shares):
            seeds = [seed_of(self.seed, example.id, *seed, place, n) for n in range(count)]
            opener = _at(prompt.openers, place, len(shares)) if prompt.by_opener else prompt.opener(seeds[0])
            values = {"answer": example.answer, "part": share.strip(), "opener": opener}
            drawn.append(self._draw(example, prompt, opener, values, seeds, self.settings.first))
        pieces = await asyncio.gather(*drawn)
        usage = sum((spent for _, spent in pieces), Usage())
        checked = [[self._checked(example, piece) for piece in proposals] for proposals, _ in pieces]
        if not prompt.by_opener:
            return checked[0], usage
        wholes = [self._checked(example, _joined(checked, n)) for n in range(count)]
        return wholes + [piece for draws in checked for piece in draws if piece.rejected], usage

    async def _from_skeletons(self, example: Example, attempt: int) -> tuple[list[Proposal], Usage]:
        """A plan of the answer for every sample, then the thinking from each plan, without sight of the answer."""
        prompts = self.prompts(example.language)
        skeleton, expand = prompts.skeleton, prompts.expand
        assert skeleton is not None
        assert expand is not None
        seeds = [seed_of(self.seed, example.id, "skeleton", attempt, n) for n in range(self.settings.first_samples)]
        values = {"answer": example.answer}
        skeletons, usage = await self._draw(example, skeleton, "", values, seeds, self.settings.first)

        async def expanded(plan: Proposal, seed: int) -> tuple[list[Proposal], Usage]:
            if plan.rejected:
                return [_of_plan(plan)], Usage()
            values, seeds = {"skeleton": plan.text}, [seed_of(seed, "expand")]
            opener = expand.opener(seed)
            proposals, spent = await self._draw(example, expand, opener, values, seeds, self.settings.first)
            return [self._checked(example, proposal) for proposal in proposals], spent

        plans, drawn_again = skeletons[: len(seeds)], skeletons[len(seeds) :]
        drawn = await asyncio.gather(*(expanded(plan, seed) for plan, seed in zip(plans, seeds, strict=True)))
        found = [proposal for proposals, _ in drawn for proposal in proposals]
        return found + [_of_plan(plan) for plan in drawn_again], sum((spent for _, spent in drawn), usage)

    async def rewrite(
        self, example: Example, trajectory: Trajectory, index: int, step: int
    ) -> tuple[list[Proposal], Usage]:
        """`candidates` rewrites of one segment, each with the white space around it kept; drawn anew in every step."""
        original, count = trajectory.segments[index], len(trajectory.segments)
        prompt = self.prompts(example.language).rewrite
        seeds = [seed_of(self.seed, example.id, "rewrite", step, n) for n in range(self.settings.candidates)]
        opener = _at(prompt.openers, index, count) if prompt.by_part else prompt.opener(seeds[0])
        values = {
            "answer": example.answer,
            "before": "".join(trajectory.segments[:index]).strip(),
            "segment": original.strip(),
            "after": "".join(trajectory.segments[index + 1 :]).strip(),
        }
        if prompt.by_part:
            values["part"] = _at(segment.parts(example.answer, count), index, count).strip()
        texts, usage = await self._draw(example, prompt, opener, values, seeds, self.settings.rewrite)
        return [self._as_segment(example, trajectory, index, text) for text in texts], usage

    def edit(self, example: Example, trajectory: Trajectory, index: int, operation: Operation) -> Proposal:
        """The segment taken out, or made one with the next: a proposal that no model has to write."""
        text = "" if operation == "delete" else _merged(*trajectory.segments[index : index + 2])
        whole = trajectory.edited(operation, index, text).text
        return Proposal(text, "identical" if whole == trajectory.text else self._fault(example, whole))

    async def _draw(
        self,
        example: Example,
        prompt: Prompt,
        opener: str,
        values: dict[str, str],
        seeds: Sequence[int],
        sampling: SamplingConfig,
    ) -> tuple[list[Proposal], Usage]:
        """A proposal per seed; draws that failed and were made again follow them with their reasons."""
        tag, task = prompt.reply_tag, conversation.shown(example.query, example.history, example.language)
        stop = (f"</{tag}>",) if tag else ("\n",) if prompt.by_opener else ()
        request = GenerateRequest(
            messages=(Message("user", prompt.render(query=task, **values)),),
            seeds=tuple(seeds),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=stop,
            prefill=f"<{tag}>\n{opener}" if tag == "think" else opener,
        )
        [draws] = await self.generator.generate([request])
        usage = sum((draw.usage for draw in draws), Usage())
        proposals = [_result(draw, opener, tag) for draw in draws]
        if prompt.by_opener:
            proposals = [_unless_empty(_first_sentence(proposal), opener) for proposal in proposals]
        drawn_again = [Proposal("", fault) for draw in draws for fault in _faults_before(draw)]
        fixed = (*prompt.fixed, *conversation.heading(example.history, example.language))
        checked = [self._unless_echo(_unless_residue(proposal, prompt), fixed, opener) for proposal in proposals]
        return checked + drawn_again, usage

    def _unless_echo(self, proposal: Proposal, fixed: Sequence[str], opener: str) -> Proposal:
        """Refuse a text that repeats its prompt, or talks to whoever asked. The opener was given: it is no echo."""
        own, limits = proposal.text.removeprefix(opener), self.settings.echo
        if proposal.rejected or not limits.enabled:
            return proposal
        found = echo.talks_to_asker(own) or echo.echoes(echo.measure(own, fixed, limits.ngram), limits)
        return replace(proposal, rejected="echo") if found else proposal

    def _as_segment(self, example: Example, trajectory: Trajectory, index: int, proposal: Proposal) -> Proposal:
        original = trajectory.segments[index]
        text = segment.with_core(original, proposal.text)
        fault = proposal.rejected
        if fault is None and text == original:
            fault = "identical"
        if fault is None and len(words(text)) > MAX_GROWTH * max(20, len(words(original))):
            fault = "too_long"
        if fault is None:
            fault = self._fault(example, trajectory.edited("rewrite", index, text).text)
        return Proposal(text, fault)

    def _checked(self, example: Example, proposal: Proposal) -> Proposal:
        return proposal if proposal.rejected else replace(proposal, rejected=self._fault(example, proposal.text))

    def _fault(self, example: Example, thinking: str) -> str | None:
        """Why a whole trajectory may not be scored, if so."""
        try:
            self.layout.check("thinking", thinking)
        except LayoutError as error:
            return "tags" if "holds" in str(error) else "empty"
        limits = self.settings.leak
        return "leak" if leak.leaks(leak.measure(thinking, example.answer, limits.ngram), limits) else None


def check_compose(prompts: PromptSet, start: str) -> None:
    """Raises: ConfigError: what these prompts draw cannot be put together, passage by passage."""
    if start == "skeleton" or not prompts.first(start).by_part:
        raise ConfigError(
            "search.compose=true puts together what was drawn passage by passage: it needs search.start=direct "
            "and prompts whose initial.md shows {part} (prompts=compact, brief)"
        )


def _shares(example: Example, prompt: Prompt) -> Sequence[str]:
    """What of the answer each draw of a whole trajectory is shown; who has not seen it is shown nothing of it, and how
    often it is asked does not depend on it."""
    if prompt.by_part:
        return segment.parts(example.answer, len(prompt.openers))
    return [""] * len(prompt.openers) if prompt.by_opener else [example.answer]


def _at(items: Sequence[str], place: int, count: int) -> str:
    """The item that stands where `place` of `count` stands: the first first, the last last."""
    return items[round(place * (len(items) - 1) / max(1, count - 1))]


def _joined(places: Sequence[Sequence[Proposal]], sample: int) -> Proposal:
    """The n-th trajectory from the draws of each place. They are the n-th of the usable ones of its
    place, in turn where there are fewer; a place without any is left out."""
    usable = [[draw.text for draw in draws if draw.rejected is None] for draws in places]
    pieces = [draws[sample % len(draws)] if draws else "" for draws in usable]
    return _whole(pieces) if any(pieces) else places[0][sample]


def _whole(pieces: Sequence[str]) -> Proposal:
    return Proposal(" ".join(filter(None, pieces)), pieces=tuple(pieces))


def _merged(first: str, second: str) -> str:
    """Two segments as one paragraph."""
    between = "" if is_cjk(second.lstrip()[:1]) else " "
    return first.rstrip() + between + second.lstrip()


def _unless_residue(proposal: Proposal, prompt: Prompt) -> Proposal:
    """Refuse a text that talks of the request instead of the plan."""
    if proposal.rejected is None and prompt.talks_of_itself(proposal.text):
        return replace(proposal, rejected="prompt_residue")
    return proposal


def _first_sentence(proposal: Proposal) -> Proposal:
    """One passage, one sentence."""
    return replace(proposal, text=next(iter(segment.sentences(proposal.text)), "").strip())


def _of_plan(plan: Proposal) -> Proposal:
    """The thinking that an unusable plan does not become."""
    return replace(plan, rejected=f"skeleton: {plan.rejected}")


def _faults_before(draw: Response | Failed) -> tuple[str, ...]:
    """Of a draw that was made again: why. The last fault of a failed one is its own."""
    return draw.faults[:-1] if isinstance(draw, Failed) else draw.faults


def _result(draw: Response | Failed, opener: str, tag: str | None) -> Proposal:
    """The part of a reply that is the proposal."""
    if isinstance(draw, Failed):
        return Proposal("", draw.reason)
    text = draw.text
    if tag and tag != "think":
        _, opened, text = text.rpartition(f"<{tag}>")
        if not opened:
            return Proposal(draw.text.strip(), "no_tag")
        text = text.strip()
        opener = ""
    else:
        text = (text if draw.whole else f"{opener}{text}").strip()
    if tag and draw.finish_reason == "length":
        return Proposal(text, "truncated")
    if tag is None and draw.finish_reason == "length":
        text = _whole_sentences(text)
    return _unless_empty(Proposal(text), opener)


def _unless_empty(proposal: Proposal, opener: str) -> Proposal:
    """Refuse what says nothing behind the opener that was given."""
    if proposal.rejected is None and not words(proposal.text.removeprefix(opener.strip())):
        return Proposal("", "empty")
    return proposal


def _whole_sentences(text: str) -> str:
    """Without the last one where it was cut: a sentence has ended where another could begin."""
    return "".join(segment.sentences(f"{text.rstrip()} X")[:-1]).strip()
