"""The forms in which rows go out: which columns, of which types, and how a row fills them. One class per form.

Knows rows and columns; knows nothing of files. Ids are texts everywhere: `datasets` makes floats of large numbers.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from reer.errors import DataError
from reer.files.columns import Parts
from reer.files.pairs import identity_of
from reer.files.rows import BadRow
from reer.files.trajectories import arrow_schema, plain
from reer.text import language_code, language_of

Row = dict[str, Any]
ABOUT = ("language", "domain", "source", "licence")


class Form(Protocol):
    """How rows go out."""

    columns: Mapping[str, str]
    """Name -> what stands in it, for the card."""

    def schema(self, rows: Iterable[Mapping[str, Any]]) -> Any:
        """The Arrow schema; `rows` is walked through only where the columns are those of the source."""

    def fill(self, parts: Parts, split: str, index: int) -> Row:
        """One row. `index` counts from 0 in its split. Raises: BadRow: it cannot be written in this form."""


def base(parts: Parts) -> Row:
    """What every row has."""
    there = parts.there
    named = there.get("language")
    language = (language_code(str(named)) if named is not None else None) or language_of(parts.answer)
    return {
        "id": identity_of(parts),
        "query": parts.query,
        "answer": parts.answer,
        "history": [asdict(turn) for turn in parts.history],
        "language": language,
        **{name: str(there.get(name, "")) for name in ABOUT[1:]},
    }


def _types() -> tuple[Any, Any]:
    import pyarrow as pa

    return pa.string(), pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


_BASE = {
    "id": "of the pair",
    "query": "what was asked",
    "answer": "the known good answer",
    "history": "turns before the query, with `role` and `content`",
    "language": "two-letter code",
    "domain": "what it is about, where that is known",
    "source": "where query and answer come from",
    "licence": "of query and answer, as the source names it",
}


_SEARCHED = {
    "thinking": "the thinking that the search ended with",
    "origin": "trajectories, or general reasoning data mixed with them",
    "trajectory": "which of the pair's trajectories",
    "segments": "the thinking in the pieces that were rewritten",
    "first": "the thinking that the search began with",
    "nll": "mean NLL of the answer in nats per token: none (without thinking), first, final",
    "objective": "what was minimised, where that is not the NLL",
    "answer_tokens": "tokens of the answer",
    "leak": "how much of the answer stands in the thinking",
    "echo": "how much of the prompts' own text stands in it",
    "worth": "what the thinking is worth beside its NLL",
    "steps": "every step of the search, with its candidates and their NLL",
    "start": "which of several starts",
    "usage": "what the search cost, in tokens",
    "layout": "how query, thinking and answer were one text",
    "instruction": "text around the query",
    "generator": "model that wrote the thinking",
    "scorer": "model that scored it",
    "draft": "smaller model that ranked candidates",
    "seed": "of the run",
    "extra": "other columns of the pair, as JSON",
    "format_version": "of this contract",
}


class Answers:
    """Query and answer without the thinking."""

    columns: Mapping[str, str] = _BASE

    def schema(self, rows: Iterable[Mapping[str, Any]]) -> Any:
        import pyarrow as pa

        text, turns = _types()
        return pa.schema([(name, turns if name == "history" else text) for name in self.columns])

    def fill(self, parts: Parts, split: str, index: int) -> Row:
        return base(parts)


class Whole:
    """All columns: those of a search where the rows are trajectories, else what every row has and its thinking."""

    def __init__(self, *, searched: bool, steps: bool = True) -> None:
        self.searched = searched
        self._names = [name for name in arrow_schema().names if steps or name != "steps"] if searched else []
        names = self._names or [*_BASE, "thinking", "origin"]
        self.columns: Mapping[str, str] = {name: (_BASE | _SEARCHED)[name] for name in names}

    def schema(self, rows: Iterable[Mapping[str, Any]]) -> Any:
        import pyarrow as pa

        if self.searched:
            return pa.schema([arrow_schema().field(name) for name in self._names])
        text, turns = _types()
        return pa.schema([(name, turns if name == "history" else text) for name in self.columns])

    def fill(self, parts: Parts, split: str, index: int) -> Row:
        row = base(parts) | {"thinking": parts.thinking}
        if not self.searched:
            return row | {"origin": str(parts.row.get("origin") or "trajectories")}
        given = {name: parts.row.get(name) for name in self._names}
        extra = given.get("extra")
        given["extra"] = extra if extra is None or isinstance(extra, str) else _json(extra)
        return given | row


class DeepWriting:
    """The columns of DeepWriting-20K: `prompt`, a chat, and `solution`, the thinking in a block and the answer."""

    columns: Mapping[str, str] = {
        "id": _BASE["id"],
        "prompt": "turns with `content` and `role`, the query last",
        "solution": "`<think>`, the thinking, `</think>`, the answer",
        **{name: _BASE[name] for name in ABOUT},
    }

    def schema(self, rows: Iterable[Mapping[str, Any]]) -> Any:
        import pyarrow as pa

        text = pa.string()
        turns = pa.list_(pa.struct([("content", text), ("role", text)]))
        return pa.schema([(name, turns if name == "prompt" else text) for name in self.columns])

    def fill(self, parts: Parts, split: str, index: int) -> Row:
        row = base(parts)
        block = f"<think>\n{parts.thinking}\n</think>\n\n" if parts.thinking is not None else ""
        asked = [*row["history"], {"role": "user", "content": parts.query}]
        prompt = [{"content": turn["content"], "role": turn["role"]} for turn in asked]
        about = {name: row[name] for name in ("id", *ABOUT)}
        return about | {"prompt": prompt, "solution": block + parts.answer}


class AsItCame:
    """Rows that are in DeepWriting-20K's columns already: every column, and every text to the last blank."""

    def __init__(self, columns: Iterable[str]) -> None:
        self.columns: Mapping[str, str] = dict.fromkeys(columns, "as it came")

    def schema(self, rows: Iterable[Mapping[str, Any]]) -> Any:
        """Raises: DataError: a column is of one type in some rows and of another in others."""
        import pyarrow as pa

        found: Any = None
        for batch in _batches(rows, 256):
            self.columns = dict.fromkeys([*self.columns, *(name for row in batch for name in row)], "as it came")
            full = [{name: row.get(name) for name in self.columns} for row in batch]
            try:
                there = pa.Table.from_pylist(full).schema
                found = there if found is None else pa.unify_schemas([found, there], promote_options="default")
            except pa.ArrowException as error:
                raise DataError(f"a column has values of two types ({str(error).splitlines()[0]})") from error
        return found

    def fill(self, parts: Parts, split: str, index: int) -> Row:
        if not is_deepwriting(parts.row):
            raise BadRow("it lacks `prompt` or `solution`, which the rows before it have")
        return {name: parts.row.get(name) for name in self.columns}


class Verl:
    """What VeRL's data sets are made of."""

    columns: Mapping[str, str] = {
        "data_source": "where the row comes from; VeRL chooses the reward by it",
        "prompt": "turns with `role` and `content`, the query last",
        "ability": "the domain, or `writing`",
        "reward_model": "`style` is rule, `ground_truth` the known good answer",
        "extra_info": "`split`, `index`, and id, thinking, language, domain, licence",
    }
    _INFO = ("id", "thinking", "language", "domain", "licence")

    def schema(self, rows: Iterable[Mapping[str, Any]]) -> Any:
        import pyarrow as pa

        text, turns = _types()
        info = pa.struct([("split", text), ("index", pa.int64()), *((name, text) for name in self._INFO)])
        reward = pa.struct([("style", text), ("ground_truth", text)])
        types = {"prompt": turns, "reward_model": reward, "extra_info": info}
        return pa.schema([(name, types.get(name, text)) for name in self.columns])

    def fill(self, parts: Parts, split: str, index: int) -> Row:
        row = base(parts) | {"thinking": parts.thinking}
        return {
            "data_source": row["source"] or "reer",
            "prompt": [*row["history"], {"role": "user", "content": parts.query}],
            "ability": row["domain"] or "writing",
            "reward_model": {"style": "rule", "ground_truth": parts.answer},
            "extra_info": {"split": split, "index": index, **{name: row[name] for name in self._INFO}},
        }


def is_deepwriting(row: Any) -> bool:
    return isinstance(row, Mapping) and isinstance(row.get("solution"), str) and bool(row.get("prompt"))


def _deepwriting(first: Mapping[str, Any], steps: bool) -> Form:
    return AsItCame(first) if is_deepwriting(first) else DeepWriting()


FORMS: dict[str, Callable[[Mapping[str, Any], bool], Form]] = {
    "dataset": lambda first, steps: Whole(searched="first" in first and "nll" in first, steps=steps),
    "answers": lambda first, steps: Answers(),
    "deepwriting": _deepwriting,
    "verl": lambda first, steps: Verl(),
}
"""By name: from the first usable row, and whether steps are wanted, to the form."""


def _json(value: Any) -> str:
    return json.dumps(plain(value), ensure_ascii=False)


def _batches(rows: Iterable[Mapping[str, Any]], size: int) -> Iterable[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
