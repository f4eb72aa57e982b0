"""The words of a command line, so that Hydra takes what was typed.

Hydra's grammar is made for lists, dicts and sweeps: a file name with a bracket, an apostrophe or a Chinese character
breaks it, and a name such as 1.10 becomes a number. Here such values are put into Hydra's own quotes before it reads
them. For a key whose type is a text (`reer.config.keys`) every value is, but for null, quotes, backslash escapes,
interpolations and, with -m, the commas of a sweep. For any other key only what Hydra could not read at all.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from hydra._internal.utils import get_args_parser  # Hydra has no public one
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import GrammarParseError

from reer.config.keys import is_text, may_be_null
from reer.config.load import refuse_folder
from reer.errors import ConfigError

_PLAIN = re.compile(r"(?!(?:null|true|false|inf|nan)$)[A-Za-z_][\w./-]*", re.ASCII | re.IGNORECASE)
"""Values of which the grammar makes nothing else, told without it: it is slow."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?", re.ASCII)
_QUOTED = re.compile(r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\s*(?=,|$)""", re.DOTALL)
_CHOICE = re.compile(r"\s*choice\s*\((.*)\)\s*", re.DOTALL)
_FUNCTION = re.compile(r"\s*(range|interval|glob|shuffle|sort|tag)\s*\(.*\)\s*", re.DOTALL)
_WORD_IN_LIST = re.compile(r"""[^][{},:'"\s](?:[^][{},:'"]*[^][{},:'"\s])?""")
_KEY = re.compile(r"(?:\+{1,2}|~)?[A-Za-z_]\w*(?:[./]\w+)*", re.ASCII)
"""Keys that the grammar reads for certain."""
_FAILED = object()


@dataclass(frozen=True)
class CommandLine:
    """What Hydra gets to read."""

    arguments: list[str]
    """Overrides first, so that they stand together: argparse wants that, and `name=mine -m seed=1,2` does not."""
    fixed: frozenset[str]
    """Keys that have one value: all of them, but for those that -m varies."""


def as_typed(arguments: list[str]) -> CommandLine:
    """The arguments of a command, with every override in a form that Hydra reads as it was typed.

    Raises:
        ConfigError: a word is not key=value, is not UTF-8, or begins an interpolation that does not end.
    """
    options = get_args_parser().parse_intermixed_args(arguments)
    multirun = bool(options.multirun) or "hydra.mode=MULTIRUN" in options.overrides
    words = options.overrides
    if options.shell_completion:
        os.environ["COMP_LINE"] = completable(os.environ.get("COMP_LINE", ""))
    else:
        words = [_rewritten(word, multirun) for word in words]
    given = set(map(id, options.overrides))  # an option's value may look the same
    fixed = [word for word in words if not (multirun and (read := parse(word)) and read.is_sweep_override())]
    for word in fixed:
        if multirun and word.startswith("name="):  # Hydra makes the sweep's folder before it composes a job
            refuse_folder("name", str(parse(word).value()))
    return CommandLine([*words, *(word for word in arguments if id(word) not in given)], frozenset(map(key_of, fixed)))


def completable(line: str) -> str:
    """A command line of which the last word is completed, without the finished ones that Hydra could not read."""
    *finished, last = line.split(" ")
    return " ".join([*(word for word in finished if "=" not in word or parse(word)), last])


def key_of(override: str) -> str:
    """The dotted key, or group, that an override is about: `group@package` is about the package."""
    key = override.partition("=")[0].lstrip("+~")
    return key.partition("@")[2] or key.replace("/", ".")


def parse(override: str) -> Any:
    """An override as Hydra parses it (its `Override`); None where it cannot."""
    try:
        return _parser().parse_override(override)
    except HydraException:
        return None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _rewritten(word: str, multirun: bool) -> str:
    key, equals, value = word.partition("=")
    _refuse(word, key, equals, value)
    if key.startswith("~") or _PLAIN.fullmatch(value):
        return word
    bare = key.lstrip("+")
    if is_text(bare):
        null = may_be_null(bare)
        return f"{key}={_each(value, lambda part: _text(part, null), multirun)}"
    if _is_group(bare):
        return f"{key}={_each(value, _choice_of_group, multirun)}"
    return word if _NUMBER.fullmatch(value) or parse(word) else f"{key}={_each(value, _any, multirun)}"


def _refuse(word: str, key: str, equals: str, value: str) -> None:
    """Raises: ConfigError: Hydra could make no key and value of it, or no file could hold it."""
    if any("\ud800" <= char <= "\udfff" for char in word):
        raise ConfigError(f"{word.encode('utf-8', 'backslashreplace').decode()}: its bytes are not UTF-8; rename it")
    if not equals and not key.startswith("~"):
        raise ConfigError(f"{word!r} is not of the form key=value (a value with blanks goes into quotes: 'key=a b')")
    if not _KEY.fullmatch(key) and parse(f"{key}{equals}{equals and 'x'}") is None:
        raise ConfigError(f"unknown key {key}")
    try:
        OmegaConf.create({"value": value} if "${" in value else {})
    except GrammarParseError as error:
        raise ConfigError(f"{word}: '${{' begins an interpolation without an end; write \\${{ for itself") from error


def _each(value: str, rewrite: Callable[[str], str], multirun: bool) -> str:
    """A value, or with -m every value of a sweep, rewritten. Sweeps by range() and the like stay as they are."""
    if not multirun:
        return rewrite(value)
    if listed := _CHOICE.fullmatch(value):
        value = listed.group(1)
    elif _FUNCTION.fullmatch(value) and parse(f"k={value}"):
        return value
    parts = _parts(value)
    return ",".join(rewrite(part.strip(" \t")) for part in parts) if len(parts) > 1 else rewrite(value)


def _parts(value: str) -> list[str]:
    """A sweep's values: what stands between commas that are in no quotes and no brackets."""
    parts, start, at, depth = [], 0, 0, 0
    balanced = all(value.count(left) == value.count(right) for left, right in ("()", "[]", "{}"))
    while at < len(value):
        if at == start and (quoted := _QUOTED.match(value, at)):
            at = quoted.end()
            continue
        depth += balanced * ((value[at] in "([{") - (value[at] in ")]}"))
        if value[at] == "," and depth <= 0:
            parts.append(value[start:at])
            start = at + 1
        at += 1
    return [*parts, value[start:]]


def _text(value: str, may_be_null: bool) -> str:
    """The value of a text key."""
    read = _read(value)
    quoted = _QUOTED.fullmatch(value) and isinstance(read, str)
    escaped = "\\" in value and isinstance(read, str) and read != value.strip(" \t")
    if quoted or escaped or read == value or (read is None and may_be_null):
        return value
    return _quote(value)


def _choice_of_group(value: str) -> str:
    """The option of a group: a text, a list of them, or null."""
    return value if _read(value) is None or isinstance(_read(value), list) else _text(value, True)


def _any(value: str) -> str:
    """The value of any other key; the texts in a list are quoted one by one."""
    if _read(value) is not _FAILED:
        return value
    if value.lstrip()[:1] in ("[", "{"):
        return _WORD_IN_LIST.sub(lambda word: _any(word.group()), value)
    return _quote(value)


def _read(value: str) -> Any:
    """What Hydra makes of one value; `_FAILED` where it makes nothing."""
    parsed = parse(f"k={value}")
    return _FAILED if parsed is None else parsed.value()


def _quote(text: str) -> str:
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _is_group(key: str) -> bool:
    conf = files("reer.conf")
    return "@" in key or "/" in key or ("." not in key and conf.joinpath(key).is_dir())
