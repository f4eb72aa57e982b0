"""How (turns, thinking, answer) become token ids: the one place that scoring, training and evaluation share.

What the scorer counts is what training supervises: `encode` gives both the same ids, with the spans
prompt | thinking | answer | end. The answer is tokenised on its own, so its tokens are the same for every candidate.
Knows a tokenizer only through `types.Tokenizer`; knows nothing of models.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reer.config import LayoutConfig
from reer.errors import ConfigError, LayoutError
from reer.layout.conversation import THINK_CLOSE, THINK_OPEN, spoken
from reer.layout.instruction import load_instruction
from reer.types import Message, ObjectiveKind, ScoreRequest, Tokenizer

KEPT = 256
"""Queries and answers whose ids are remembered: they come again with every candidate."""
_TAG = re.compile(r"</?(?:think|answer)>")


@dataclass(frozen=True, slots=True)
class Frame:
    """The fixed texts around thinking and answer."""

    before_thinking: str
    after_thinking: str
    before_answer: str
    after_answer: str


FRAMES = {
    # as in the released DeepWriting-20K
    "think": Frame("<think>\n", "\n</think>\n\n", "", ""),
    # as in the paper's figure 2
    "answer_tags": Frame("<think>\n", "\n</think>\n", "<answer>\n", "\n</answer>"),
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and where each part begins; parts are contiguous and cover all ids."""

    ids: tuple[int, ...]
    thinking: int
    """Start of the think block, its tags included; equals `answer` when there is none."""
    answer: int
    """Start of the answer's own tokens."""
    end: int
    """Start of what closes the turn: the frame's closing text, if any, and the end-of-turn token."""

    @property
    def answer_tokens(self) -> int:
        return self.end - self.answer

    def completion_mask(self) -> list[int]:
        """1 on every token the model has to produce itself: thinking, answer and end of turn."""
        return [0] * self.thinking + [1] * (len(self.ids) - self.thinking)

    def score_request(
        self, skip: int = 0, clip: float | None = None, kind: ObjectiveKind = "mean_nll"
    ) -> ScoreRequest:
        """The answer span, all of it and nothing else. What follows it cannot change its score and is left out.

        `skip`, `clip` and `kind` shape the objective reported beside the NLL of the whole span.
        """
        return ScoreRequest(self.ids[: self.end], self.answer, self.end, skip, clip, kind)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote, taken apart."""

    thinking: str | None
    answer: str
    well_formed: bool
    """One think block at the start, closed, with thinking in it and an answer after it."""


def build_layout(config: LayoutConfig, tokenizer: Tokenizer) -> "Layout":
    """The layout a config describes.

    Raises:
        ConfigError: an unknown name, or an instruction that holds control tokens.
        PromptError: an instruction file that cannot be used.
    """
    layout = Layout(config.name, tokenizer, load_instruction(config.instruction) if config.instruction else str)
    try:
        layout.check("query", layout.user_turn("?"))
    except LayoutError as error:
        raise ConfigError(f"layout.instruction={config.instruction}: {error}") from error
    return layout


class Layout:
    """A frame bound to a tokenizer."""

    def __init__(self, name: str, tokenizer: Tokenizer, user_turn: Callable[[str], str] = str) -> None:
        """`user_turn` makes what the user says last out of the query: by default, the query alone."""
        if name not in FRAMES:
            raise ConfigError(f"layout.name={name} is unknown: choose one of {', '.join(sorted(FRAMES))}")
        self.name = name
        self.frame = FRAMES[name]
        self.tokenizer = tokenizer
        self.user_turn = user_turn
        self._chat = functools.lru_cache(KEPT)(tokenizer.chat)
        self._encode = functools.lru_cache(KEPT)(tokenizer.encode)

    def turns(self, query: str, history: Sequence[Message] = ()) -> tuple[Message, ...]:
        """What a model is shown: the turns before the query, and what the user says now.

        What an earlier answer was thought up with is left out, as reasoning models' own templates do.
        """
        return (*map(spoken, history), Message("user", self.user_turn(query)))

    def prompt(self, query: str, history: Sequence[Message] = ()) -> tuple[int, ...]:
        """Ids up to where the assistant begins to write: the model's own template over the turns.

        Raises:
            LayoutError: a turn cannot be used, or the model's template does not take it.
        """
        self.check("query", query)
        turns = self.turns(query, history)
        for turn in turns[:-1]:
            self.check(f"{turn.role} turn before the query", turn.content, may_be_empty=turn.role == "system")
        return self._chat(turns)

    def encode(self, query: str, thinking: str | None, answer: str, history: Sequence[Message] = ()) -> Encoded:
        """Ids of one example; `thinking=None` puts the answer right after the prompt, with no think block.

        Raises:
            LayoutError: a text is empty, or holds NUL bytes, tags of the layout, or control tokens of the model; or
                the model's template or tokenizer does not take it.
        """
        self.check("answer", answer)
        encode = self._encode
        prompt = self.prompt(query, history)
        block: tuple[int, ...] = ()
        if thinking is not None:
            self.check("thinking", thinking)
            new = self.tokenizer.encode(thinking)
            block = encode(self.frame.before_thinking) + new + encode(self.frame.after_thinking)
        opening = prompt + block + _maybe(encode, self.frame.before_answer)
        body = encode(answer)
        closing = (*_maybe(encode, self.frame.after_answer), self.tokenizer.end_of_turn)
        return Encoded(opening + body + closing, len(prompt), len(opening), len(opening) + len(body))

    def parse(self, text: str) -> Reply:
        """Take a model's reply apart; without a closed think block all of it counts as the answer.

        A block that was opened and never closed leaves no answer at all.
        """
        head, closed, tail = text.partition(THINK_CLOSE)
        opened = head.lstrip().startswith(THINK_OPEN)
        if not closed:
            return Reply(head.strip() if opened else None, "" if opened else text.strip(), False)
        thinking = head.replace(THINK_OPEN, "", 1).strip()
        before, after = self.frame.before_answer.strip(), self.frame.after_answer.strip()
        answer = tail.strip().removeprefix(before).removesuffix(after).strip()
        well_formed = bool(opened and thinking and answer and not _TAG.search(thinking + answer))
        return Reply(thinking, answer, well_formed)

    def check(self, part: str, text: str, *, may_be_empty: bool = False) -> None:
        """Refuse texts that would not be read back as the text they are."""
        if not (may_be_empty or text.strip()):
            raise LayoutError(f"the {part} is empty")
        if "\0" in text:
            raise LayoutError(f"the {part} holds a NUL byte")
        for special in self.tokenizer.special_texts:
            if special in text:
                raise LayoutError(f"the {part} holds the model's control token {special}")
        if part in ("thinking", "answer") and (tag := _TAG.search(text)):
            raise LayoutError(f"the {part} holds the tag {tag.group()}")


def _maybe(encode, text: str) -> tuple[int, ...]:  # type: ignore[no-untyped-def]
    return encode(text) if text else ()
