"""A Hugging Face tokenizer in the form that `reer.layout` needs: ids of texts, ids of chats, what ends a turn.

What a chat template does is found out by rendering it, never guessed from its name. Knows no weights.
"""

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, TemplateError

from reer.errors import LayoutError, ModelError
from reer.layout import THINK_CLOSE, THINK_OPEN, day
from reer.types import Message

from .seams import parts_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

_PROBE = "reer"
_QUESTION = Message("user", "?")
_BLOCK = re.compile(rf"(?:{THINK_OPEN}\s*)?{THINK_CLOSE}\s*\Z|{THINK_OPEN}\s*\Z")
"""A think block at the end of a prompt: closed and empty, or open."""
_TODAY = "strftime_now"
"""A function that transformers gives to templates, and that takes no other one's place: arguments are plain data."""
_TOLD = (
    "{% macro strftime_now(format) %}{{ told_dates[format] if format in told_dates else "
    "raise_exception('a date in a form that does not stand in the template') }}{% endmacro %}\n"
)
"""Before a template: a function of its own by that name."""
_SWITCHES = ("enable_thinking", "thinking")
"""What templates call the choice whether a model may think."""


class ChatTokenizer:
    """A Hugging Face tokenizer in the form that `reer.layout` needs."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        """Raises: ModelError: no chat template, no token that ends a turn, or texts that come back changed."""
        if not tokenizer.chat_template:
            raise ModelError(f"model {name} has no chat template; use an instruction model or add a template to it")
        self.hf = tokenizer
        # all_special_tokens alone misses control tokens that have no role of their own, such as turn headers
        control = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        self._parts = parts_of(tokenizer, name)
        self._unknown = None if tokenizer.unk_token_id == tokenizer.eos_token_id else tokenizer.unk_token_id
        self._template = str(tokenizer.get_chat_template())
        self._dates: tuple[str, ...] = ()
        self._switch: dict[str, bool] = {}
        try:
            self._dates = _dates(self._template)
            self._switch = self._thinking(name)
            self.end_of_turn = self._end_of_turn(name)
        except (LayoutError, TemplateError) as error:
            raise ModelError(f"model {name}: its chat template cannot be used: {error}") from error
        ends = str(tokenizer.convert_ids_to_tokens(self.end_of_turn))  # in some models it is not called special
        self.special_texts = tuple(dict.fromkeys([*tokenizer.all_special_tokens, *control, ends]))

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of a part of a text: none is added, wherever it stands.

        Raises:
            LayoutError: the tokenizer has no token for one of its characters.
        """
        ids = self._parts.encode(text)
        if self._unknown in ids:
            lost = next((c for c in text if self._unknown in self._parts.encode(c)), text[:20])
            raise LayoutError(f"the model's tokenizer has no token for {lost!r}")
        return ids

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        """The text that these ids add to what stands before them."""
        return self._parts.decode(ids, skip_special_tokens=skip_special_tokens)

    def chat(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Ids of the model's own template, as transformers and vLLM make them, without a think block at the end.

        Raises:
            LayoutError: the template refuses these turns, or leaves one out.
        """
        text = self._render(messages, opened=True, **self._switch)
        for turn in messages[:-1]:
            if turn.content.strip() not in text:
                raise LayoutError(f"the model's chat template leaves the {turn.role} turn out, or changes its text")
        if block := _BLOCK.search(text):  # reasoning models' templates write one themselves; the layout does that
            turns = self._render(messages, opened=False, **self._switch)
            if not text.startswith(turns) or block.start() >= len(turns):  # it is no part of what the user says
                text = text[: block.start()]
        return tuple(self.hf.encode(text, add_special_tokens=False))

    def _render(self, messages: Sequence[Message], *, opened: bool, **given: Any) -> str:
        turns = [{"role": m.role, "content": m.content} for m in messages]
        if self._dates:
            given |= {"chat_template": _TOLD + self._template, "told_dates": {d: day.strftime(d) for d in self._dates}}
        try:
            return str(self.hf.apply_chat_template(turns, tokenize=False, add_generation_prompt=opened, **given))
        except TemplateError as error:
            reason = " ".join(str(error).split())
            raise LayoutError(f"the model's chat template refuses these turns: {reason}") from error

    def _thinking(self, name: str) -> dict[str, bool]:
        """What the template is to be told where by itself it closes the think block before the model can think."""

        def closes(**switch: bool) -> bool:
            text = self._render([_QUESTION], opened=True, **switch)
            return bool((block := _BLOCK.search(text)) and THINK_CLOSE in block.group())

        if not closes():
            return {}
        switch = next(({key: True} for key in _SWITCHES if not closes(**{key: True})), {})
        serving = (
            f'serve it with chat_template_kwargs={{"{next(iter(switch))}": true}}'
            if switch
            else "a server's prompt has it, unless it is taken out of the template"
        )
        log.warning("model %s: its chat template puts an empty think block into every prompt; it is left out here, in "
                    "scoring, training and generation alike: %s", name, serving)  # fmt: skip
        return switch

    def _end_of_turn(self, name: str) -> int:
        """The control token that the template puts after an assistant's words (in base models not always EOS)."""
        turns = [_QUESTION, Message("assistant", _PROBE)]
        text = self._render(turns, opened=False, **self._switch)
        if _PROBE not in text:
            raise ModelError(f"model {name}: its chat template does not write what an assistant says")
        after = text.rpartition(_PROBE)[2].lstrip()
        if not after:  # some write it only where another turn follows
            after = self._render([*turns, _QUESTION], opened=False, **self._switch).rpartition(_PROBE)[2].lstrip()
        for token in self.hf.encode(after, add_special_tokens=False):
            if token in self._control_tokens():
                return int(token)
            if self.hf.decode([token]).strip():
                break
        raise ModelError(
            f"model {name}: its chat template ends the assistant's turn with no control token (what follows is "
            f"{after[:20]!r}) and no model would learn to stop: let the template write {{{{ eos_token }}}} there"
        )

    def _control_tokens(self) -> set[int]:
        """Tokens that no text is made of: the special ones, and added ones that are more than blanks."""
        hf = self.hf
        added = {id_ for id_, token in hf.added_tokens_decoder.items() if token.content.strip()}
        begins = {hf.unk_token_id, hf.bos_token_id} - {hf.eos_token_id}
        return (added | set(hf.all_special_ids)) - begins


def _dates(template: str) -> tuple[str, ...]:
    """The forms in which a template writes today's date; none where it does not."""
    if _TODAY not in template:
        return ()
    texts = {text[1:-1] for _, kind, text in Environment().lex(template) if kind == "string"}
    return tuple(sorted(text for text in texts if "%" in text))
