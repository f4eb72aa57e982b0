"""How the two kinds of server that score are asked, and how their replies are read: vLLM's and SGLang's.

Knows ids and JSON; sends nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

UNREADABLE = (LookupError, TypeError, ValueError, AttributeError)
"""What a reply that lacks something raises when it is read."""
FLOOR, CEILING = -1000.0, 0.01
"""Nats between which a log-probability lies. -9999 is what vLLM and others write in place of minus infinity; a number
above zero is no logarithm of a probability but a logit, say (the ceiling leaves room for rounding)."""


class NoNumber(ValueError):
    """A stand-in for a log-probability: not finite, -9999, or above zero."""


def numbers(found: Sequence[Any]) -> list[float]:
    """The log-probabilities as floats. Raises: TypeError, NoNumber: one of them is none."""
    for one in found:
        if not math.isfinite(one) or not FLOOR < one < CEILING:
            raise NoNumber(f"a log-probability that is no number ({one:g})")
    return [float(one) for one in found]


class Dialect(Protocol):
    """How a kind of server is asked, and how its reply is read."""

    @property
    def name(self) -> str: ...

    @property
    def whole(self) -> bool:
        """Whether the whole text is run, wherever the span begins."""

    @property
    def no_cache(self) -> str:
        """How to serve without a prefix cache."""

    @property
    def no_parts(self) -> str:
        """How to serve so that a long prompt is run in one piece."""

    def url(self, base: str) -> str: ...

    def scoring(self, model: str, ids: Sequence[int], start: int) -> dict[str, Any]:
        """The body that asks for the log-probabilities of `ids[start:]`."""

    def logprobs(self, reply: Any, ids: Sequence[int], start: int) -> list[float]:
        """Of `ids[start:]`. Raises: LookupError, TypeError, ValueError: they are not there, or another token's."""

    def continuing(self, model: str, ids: Sequence[int], n: int) -> dict[str, Any]:
        """The body that asks for the likeliest continuation."""

    def continuation(self, reply: Any) -> tuple[list[int], list[float]]:
        """Its ids and their log-probabilities. Raises: as above, or AttributeError."""


@dataclass(frozen=True)
class VLLM:
    """`/v1/completions` with `prompt_logprobs`: for each position a dict by token id, null for the first."""

    name: str = "vLLM's prompt_logprobs"
    whole: bool = True
    no_cache: str = "--no-enable-prefix-caching"
    no_parts: str = "--no-enable-chunked-prefill"

    def url(self, base: str) -> str:
        return f"{base}/completions"

    def scoring(self, model: str, ids: Sequence[int], start: int) -> dict[str, Any]:
        return {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}

    def logprobs(self, reply: Any, ids: Sequence[int], start: int) -> list[float]:
        entries = reply["choices"][0]["prompt_logprobs"]
        if len(entries) != len(ids):
            raise ValueError(f"{len(entries)} entries for {len(ids)} tokens")
        return numbers([entries[n][str(ids[n])]["logprob"] for n in range(start, len(ids))])

    def continuing(self, model: str, ids: Sequence[int], n: int) -> dict[str, Any]:
        return {"model": model, "prompt": list(ids), "max_tokens": n, "temperature": 0, "logprobs": 1,
                "return_tokens_as_token_ids": True}  # fmt: skip

    def continuation(self, reply: Any) -> tuple[list[int], list[float]]:
        found = reply["choices"][0]["logprobs"]
        return [int(token.removeprefix("token_id:")) for token in found["tokens"]], numbers(found["token_logprobs"])


@dataclass(frozen=True)
class SGLang:
    """`/generate` with `logprob_start_len`: what stands before it is read from the server's prefix cache."""

    name: str = "SGLang's /generate"
    whole: bool = False
    no_cache: str = "--disable-radix-cache"
    no_parts: str = "--chunked-prefill-size -1"

    def url(self, base: str) -> str:
        return f"{base.removesuffix('/v1')}/generate"

    def scoring(self, model: str, ids: Sequence[int], start: int) -> dict[str, Any]:
        sampling = {"max_new_tokens": 1, "temperature": 0}
        # the entry at logprob_start_len itself is null
        return {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True,
                "logprob_start_len": start - 1}  # fmt: skip

    def logprobs(self, reply: Any, ids: Sequence[int], start: int) -> list[float]:
        entries = reply["meta_info"]["input_token_logprobs"][start - len(ids) :]
        if [entry[1] for entry in entries] != list(ids[start:]):
            raise ValueError("log-probabilities of other tokens")
        return numbers([entry[0] for entry in entries])

    def continuing(self, model: str, ids: Sequence[int], n: int) -> dict[str, Any]:
        return {"input_ids": list(ids), "sampling_params": {"max_new_tokens": n, "temperature": 0},
                "return_logprob": True}  # fmt: skip

    def continuation(self, reply: Any) -> tuple[list[int], list[float]]:
        entries = reply["meta_info"]["output_token_logprobs"]
        return [entry[1] for entry in entries], numbers([entry[0] for entry in entries])
