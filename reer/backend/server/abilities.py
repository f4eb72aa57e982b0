"""What a server takes: learned from its refusals, and shared by all who ask it.

A parameter is left out for good once a request without it was taken and the same request with it was not; that, with
the server's words, is said once. Knows requests as JSON; knows nothing of how they are sent.
"""

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reer.backend.server.told import address_of, say, words_of
from reer.config import OpenAIBackendConfig

if TYPE_CHECKING:
    from openai import APIStatusError

ENGINE = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""vLLM's and SGLang's own: unless told so they take the model's generation_config.json, which the protocol of no
experiment knows of. Top-p is always sent for the same reason."""
CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}
"""Their way to continue a turn that was begun."""
LIMIT, NEWER_LIMIT = "max_tokens", "max_completion_tokens"
_GROUPS: tuple[tuple[str, ...], ...] = (tuple(ENGINE), tuple(CONTINUE), ("seed",), ("n",), ("stop",), ("top_p",),
                                        ("temperature",))  # fmt: skip
"""What can be left out, together, and in the order of suspicion where the server does not say what it refuses."""


@dataclass(slots=True)
class Abilities:
    """Of one model on one server."""

    name: str
    continues: bool | None = None
    """A turn that was begun; None: not tried yet."""
    several: bool = False
    """Samples in one request."""
    root: str | None = None
    """What is served under the name, where the server tells."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Parameters that the server refuses, and its words."""
    taken: set[str] = field(default_factory=set)
    """Parameters that it has taken."""

    def fit(self, wanted: Mapping[str, Any], besides: Collection[str] = ()) -> dict[str, Any]:
        """A request without what the server refuses, and what is left out `besides`."""
        gone = self.left_out.keys() | besides
        body = {key: value for key, value in wanted.items() if key not in gone}
        return body | ({NEWER_LIMIT: wanted[LIMIT]} if LIMIT in gone else {})

    def suspects(self, error: "APIStatusError", body: Mapping[str, Any]) -> list[str]:
        """Parameters of a refused request that may be the reason: those that the server names, else those next in
        suspicion of which it has never taken one."""
        words = words_of(error.body)
        if LIMIT in body and NEWER_LIMIT in words:
            return [LIMIT]
        there = [group for group in _GROUPS if body.keys() & set(group)]
        named = [g for g in there if any(name == error.param or _names(words, name) for name in g)]
        if ("temperature",) in named and ("top_p",) in named:  # the two together, then, are what it refuses
            named.remove(("temperature",))
        if not named and not is_about_json(words):
            named = [group for group in there if not self.taken & set(group)][:1]
        return [name for group in named for name in group if name in body]

    def learn(self, body: Mapping[str, Any], refused: Mapping[str, str]) -> None:
        """A request was taken, after others that had the refused parameters as well."""
        self.taken |= body.keys()
        for words in dict.fromkeys(refused.values()):
            names = [name for name, why in refused.items() if why == words and name not in {*self.left_out, *CONTINUE}]
            if names:
                say(f"{self.name}: refuses {', '.join(names)} ({words}); left out from now on")
        self.left_out |= refused

    @property
    def manner(self) -> str:
        """How it is asked."""
        begun = "continues a begun turn" if self.continues else "continues no begun turn, asked by instruction"
        samples = "several samples in one request" if self.several else "one sample in a request"
        missing = [name for name in self.left_out if name not in CONTINUE]
        without = f", no {', '.join(missing)}" if missing else ""
        return f"{begun}, {samples}{without}"

    @property
    def sentence(self) -> str:
        return f"{self.name}: {self.manner}"

    def take(self, other: "Abilities") -> None:
        """What was found out of one of the servers."""
        self.continues, self.several, self.root = other.continues, other.several, other.root
        self.left_out |= other.left_out
        self.taken |= other.taken

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest; empty where nothing was asked."""
        if not self.taken:
            return {}
        unused = {"model", "messages", *(() if self.continues else CONTINUE), *(() if self.several else ("n",))}
        seeds = "of the first sample of a request" if self.several else "of each sample"
        return {
            "continues": self.continues,
            "seeds": "not sent" if "seed" in self.left_out else seeds,
            "sent": sorted(self.taken - unused - self.left_out.keys()),
            "left_out": dict(self.left_out),
        }


def abilities_of(config: OpenAIBackendConfig) -> Abilities:
    """Those of the server (or servers, which are alike) and model that a config names: what one role learns, all
    know."""
    return _known(address_of(config), config.model_name)


@functools.cache
def _known(address: str, model: str) -> Abilities:
    return Abilities(f"{model} at {address}")


def is_about_json(words: str) -> bool:
    """Whether a server complains of the schema it was to follow."""
    return any(word in words.lower() for word in ("response_format", "json_schema", "structured output", "guided"))


def _names(words: str, name: str) -> bool:
    """Whether a complaint names a parameter: a short name only counts in quotes or at the end of a path."""
    if len(name) > 1:
        return bool(re.search(rf"(?<![\w-]){name}(?![\w-])", words))
    return bool(re.search(rf"[\"'`]{name}[\"'`]|(?:body|parameters?|arguments?|supplied):? {name}\b", words))
