"""Which keys of the schema hold a text, whatever groups are chosen. Found in the types, so a new key needs no list."""

import re
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from reer.config.engines import BACKENDS, BackendConfig
from reer.config.evaluate import JUDGES, JudgeConfig, PanelConfig
from reer.config.root import ReerConfig

_JUDGE_OF_PANEL = re.compile(r"judge\.judges\.[^.]+")
_ANY_JUDGE = "judge.judges.*"
_VARIANTS: dict[Any, list[type]] = {
    BackendConfig: list(BACKENDS.values()),
    BackendConfig | None: list(BACKENDS.values()),
    JudgeConfig: list(JUDGES.values()),
}
"""What a group may mount where the schema has its base."""


def is_text(key: str) -> bool:
    """Whether the value of a dotted key is a text. Keys of free dicts (`trainer.args`, ...) are none."""
    return _known(key) in text_keys()


def may_be_null(key: str) -> bool:
    """Whether null is a value of a text key."""
    return text_keys()[_known(key)]


@cache
def text_keys() -> dict[str, bool]:
    """Every dotted key with a text, and whether it may be null; `*` is any name (of a panel's judges, in a dict)."""
    return _texts_of(ReerConfig, "")


def _known(key: str) -> str:
    named = _JUDGE_OF_PANEL.sub(_ANY_JUDGE, key)
    return named if named in text_keys() else f"{named.rpartition('.')[0]}.*"


def _texts_of(schema: type, prefix: str) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for name, hint in get_type_hints(schema).items():
        key = f"{prefix}{name}"
        if hint is str or hint == str | None:
            found[key] = hint is not str
        elif is_dataclass(hint) or hint == BackendConfig | None:
            for variant in _VARIANTS.get(hint, [hint]):
                found |= _texts_of(variant, f"{key}.")
        elif get_origin(hint) is dict and get_args(hint)[1] is str:
            found[f"{key}.*"] = False
        elif get_origin(hint) is dict and get_args(hint)[1] is JudgeConfig:
            for judge in JUDGES.values():
                found |= _texts_of(judge, f"{key}.*.") if judge is not PanelConfig else {}
    return found
