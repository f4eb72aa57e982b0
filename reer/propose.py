"""Draw proposals from the generator: a first trajectory for a pair, and rewrites of one segment.

Every reply is parsed and checked here; what is unusable carries the reason and is never scored. Knows prompts and
texts; knows nothing of scores.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reer import leak, segment
from reer.config import SamplingConfig, SearchConfig
from reer.errors import LayoutError
from reer.layout import Layout
from reer.manifest import seed_of
from reer.prompts import Prompt, PromptSet
from reer.types import Example, GenerateRequest, Generator, Message, Response, Trajectory, Usage

# A rewrite may grow, but not into a trajectory of its own.
MAX_GROWTH = 4
_SENTENCE = re.compile(r".*[.!?…。！？][\"'”’」』）)\]]*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A text to be scored, or the reason why it will not be."""

    text: str
    rejected: str | None = None


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
        """`first_samples` whole trajectories."""
        prompt = self.prompts(example.language).initial
        seeds = [seed_of(self.seed, example.id, "first", attempt, n) for n in range(self.settings.first_samples)]
        values = {"query": example.query, "answer": example.answer}
        texts, usage = await self._draw(prompt, values, seeds, self.settings.first)
        return [Proposal(t.text, t.rejected or self._fault(example, t.text)) for t in texts], usage

    async def rewrite(self, example: Example, trajectory: Trajectory, index: int) -> tuple[list[Proposal], Usage]:
        """`candidates` rewrites of one segment, each with the white space around it kept."""
        original = trajectory.segments[index]
        prompt = self.prompts(example.language).rewrite
        seeds = [seed_of(self.seed, example.id, "rewrite", index, n) for n in range(self.settings.candidates)]
        values = {
            "query": example.query,
            "answer": example.answer,
            "before": "".join(trajectory.segments[:index]).strip(),
            "segment": original.strip(),
            "after": "".join(trajectory.segments[index + 1 :]).strip(),
        }
        texts, usage = await self._draw(prompt, values, seeds, self.settings.rewrite)
        return [self._as_segment(example, trajectory, index, text) for text in texts], usage

    async def _draw(
        self, prompt: Prompt, values: dict[str, str], seeds: Sequence[int], sampling: SamplingConfig
    ) -> tuple[list[Proposal], Usage]:
        opener = prompt.opener(seeds[0])
        tag = prompt.reply_tag
        request = GenerateRequest(
            messages=(Message("user", prompt.render(**values)),),
            seeds=tuple(seeds),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop=(f"</{tag}>",) if tag else (),
            prefill=f"<{tag}>\n{opener}" if tag == "think" else opener,
        )
        [responses] = await self.generator.generate([request])
        usage = sum((response.usage for response in responses), Usage())
        return [_result(response, opener, tag) for response in responses], usage

    def _as_segment(self, example: Example, trajectory: Trajectory, index: int, proposal: Proposal) -> Proposal:
        original = trajectory.segments[index]
        text = segment.with_core(original, proposal.text)
        fault = proposal.rejected
        if fault is None and text == original:
            fault = "identical"
        if fault is None and len(leak.words(text)) > MAX_GROWTH * max(20, len(leak.words(original))):
            fault = "too_long"
        if fault is None:
            fault = self._fault(example, trajectory.replace(index, text).text)
        return Proposal(text, fault)

    def _fault(self, example: Example, thinking: str) -> str | None:
        """Why a whole trajectory may not be scored, if so."""
        try:
            self.layout.check("thinking", thinking)
        except LayoutError as error:
            return "tags" if "holds" in str(error) else "empty"
        limits = self.settings.leak
        return "leak" if leak.leaks(leak.measure(thinking, example.answer, limits.ngram), limits) else None


def _result(response: Response, opener: str, tag: str | None) -> Proposal:
    """The part of a reply that is the proposal."""
    text = response.text
    if tag and tag != "think":
        _, opened, text = text.rpartition(f"<{tag}>")
        if not opened:
            return Proposal(response.text.strip(), "no_tag")
        text = text.strip()
    else:
        text = f"{opener}{text}".strip()
    if tag and response.finish_reason == "length":
        return Proposal(text, "truncated")
    if tag is None and response.finish_reason == "length":
        whole = _SENTENCE.match(text)
        text = whole.group() if whole else ""
    return Proposal(text, None if text else "empty")
