"""Many sequences through one forward without padding, each common beginning once: exact, on CPU and CUDA.

Sequences become runs of token ids. A run continues a path of earlier runs (of this forward, of one before, or kept
from an earlier call) and attends to them and to itself. Everything but attention sees one long sequence; attention
goes run by run, so nothing is padded and nothing masked is computed. Plugged into transformers as an attention
implementation of its own, which gets the runs as a keyword of the forward.

Knows token ids, keys and values; knows nothing of scores or texts.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from reer.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

NAME = "reer_packed"
PROBE = "The rain came at dusk, and nobody ran. She put the kettle on and waited for the others to come home."
TOLERANCE = {"float32": 1e-2, "bfloat16": 0.5, "float16": 0.1}
"""Largest difference of a log-probability from a plain forward's; a wrong mask gives whole nats."""
AHEAD = 256
"""Tokens kept past what a sequence shares: the edited segment, with which the next step's sequences will begin."""

CPU_FLASH = "_scaled_dot_product_flash_attention_for_cpu"
"""The ATen operator behind attention on a CPU; unlike the public function it tells the weights' sum, too."""

Ids = tuple[int, ...]


class DoesNotFit(ModelError):
    """A model that does more than this way of running it knows of."""


@dataclass(slots=True, eq=False)
class Run:
    """New token ids at the end of a path; where they may be continued, with their keys and values."""

    ids: Ids
    path: "Path"
    """What stands before them."""
    continued: bool
    row: int | None = None
    """Position in the sequence of its first token, where its hidden states are wanted."""
    owner: int = 0
    """Which of the sequences it belongs to."""
    at: int = 0
    """Where it lies in the forward that computes it."""
    layers: list[tuple["Tensor", "Tensor"]] = field(default_factory=list)
    """Keys and values [heads, tokens, width] by layer."""

    def hold(self, key: "Tensor", value: "Tensor", layer: int, layers: int) -> None:
        """Copy a layer's keys and values. One piece of memory holds all layers: many small ones that stay, made
        between large ones that go, would keep the memory of the large ones from being given back."""
        if not self.layers:
            parts = (part.new_empty(layers, *part.shape) for part in (key, value))
            self.layers = list(zip(*parts, strict=True))
        for held, part in zip(self.layers[layer], (key, value), strict=True):
            held.copy_(part)


@dataclass(frozen=True, slots=True)
class Path:
    """The beginning of a sequence as pieces of runs: (run, how many of its tokens)."""

    pieces: tuple[tuple[Run, int], ...] = ()

    def __len__(self) -> int:
        return sum(length for _, length in self.pieces)

    def cut(self, length: int) -> "Path":
        """Its first `length` tokens."""
        pieces: list[tuple[Run, int]] = []
        for run, tokens in self.pieces:
            if length > 0:
                pieces.append((run, min(tokens, length)))
            length -= tokens
        return Path(tuple(pieces))

    def then(self, run: Run) -> "Path":
        return Path((*self.pieces, (run, len(run.ids))))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sequence whose hidden states are wanted, from position `first` on."""

    ids: Ids
    first: int
    whole: bool = False
    """Whether it will be continued, so that all its keys and values are needed."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Hidden states [tokens, width] of one sequence from a position on."""

    owner: int
    first: int
    states: "Tensor"
    path: Path
    """The sequence up to the last of them."""


class Kept:
    """Beginnings of sequences whose keys and values stay for later calls; the least recently used go first."""

    def __init__(self, limit: int) -> None:
        """`limit` in tokens."""
        self.limit = limit
        self._sorted: list[Ids] = []
        self._paths: dict[Ids, Path] = {}
        self._used: dict[Ids, int] = {}
        self._clock = count()

    def longest(self, ids: Ids) -> Path:
        """The longest beginning of `ids` that is held; in sorted order it is a neighbour's."""
        at = bisect_left(self._sorted, ids)
        lengths = [(common(ids, near), near) for near in self._sorted[max(0, at - 1) : at + 1]]
        length, best = max(lengths, default=(0, ()))
        if not length:
            return Path()
        self._used[best] = next(self._clock)
        return self._paths[best].cut(length)

    def add(self, ids: Ids, path: Path) -> None:
        if ids not in self._paths:
            self._sorted.insert(bisect_left(self._sorted, ids), ids)
        self._paths[ids] = path
        self._used[ids] = next(self._clock)

    def trim(self) -> None:
        """Drop what exceeds the limit."""
        while self._paths and self.tokens > self.limit:
            oldest = min(self._used, key=self._used.__getitem__)
            self._sorted.remove(oldest)
            del self._paths[oldest], self._used[oldest]

    def clear(self) -> None:
        self._sorted.clear()
        self._paths.clear()
        self._used.clear()

    @property
    def tokens(self) -> int:
        """Tokens held; a run that several paths share counts once."""
        return sum({id(run): len(run.ids) for path in self._paths.values() for run, _ in path.pieces}.values())


class PackedForward:
    """The body of a causal language model, run over many sequences at once."""

    def __init__(self, model: "PreTrainedModel", budget: int, kept_tokens: int) -> None:
        """`budget`: new tokens of one forward; `kept_tokens`: tokens whose keys and values stay for later calls."""
        register(NAME, _attend)
        self.model = model
        self.budget = budget
        self.kept = Kept(kept_tokens)
        self.reused: list[int] = []
        """Of the latest call, by sequence: tokens that were not computed anew."""

    def hidden(self, wanted: Sequence[Wanted]) -> Iterator[list[Rows]]:
        """The wanted hidden states, forward by forward. Sequences that begin alike should be neighbours."""
        self.reused = []
        for batch in self._batches(self._plan(wanted)):
            states = self._forward(batch)
            rows = [r for r in batch if r.row is not None]
            yield [
                Rows(run.owner, run.row or 0, states[run.at : run.at + len(run.ids)], run.path.then(run))
                for run in rows
            ]
            self.kept.trim()

    def _plan(self, wanted: Sequence[Wanted]) -> Iterator[Run]:
        """Every sequence as runs that continue what it shares with its neighbour or with what is kept."""
        before: Ids = ()
        path_before = Path()
        for n, (ids, first, whole) in enumerate((w.ids, w.first, w.whole) for w in wanted):
            path = self.kept.longest(ids[:first])
            if (shared := common(ids[:first], before)) > len(path):
                path = path_before.cut(shared)
            self.reused.append(len(path))
            following = wanted[n + 1].ids if n + 1 < len(wanted) else ()
            keep = min(first, max(common(ids, following), len(path) + AHEAD))
            bounds = [len(path), max(keep, len(path)), first, len(ids)]
            yield from (runs := self._runs(n, ids, bounds, path, whole))
            before = ids[:keep]
            path_before = path if not runs else runs[-1].path.then(runs[-1]).cut(keep)
            self.kept.add(before, path_before)

    def _runs(self, owner: int, ids: Ids, bounds: Sequence[int], path: Path, whole: bool) -> list[Run]:
        """Runs between the bounds (reused | kept | prefix | wanted rows), none longer than the budget."""
        runs: list[Run] = []
        for part, (begin, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
            for at in range(begin, end, self.budget):
                piece = ids[at : min(end, at + self.budget)]
                last = at + len(piece) == bounds[-1]
                row = at if part == 2 else None
                runs.append(Run(piece, path, continued=whole or not last, row=row, owner=owner))
                path = path.then(runs[-1])
        return runs

    def _batches(self, runs: Iterable[Run]) -> Iterator[list[Run]]:
        batch: list[Run] = []
        size = 0
        for run in runs:
            if batch and size + len(run.ids) > self.budget:
                yield batch
                batch, size = [], 0
            run.at = size
            batch.append(run)
            size += len(run.ids)
        if batch:
            yield batch

    def _forward(self, batch: Sequence[Run]) -> "Tensor":
        """Hidden states [tokens, width] of the runs, one after the other."""
        import torch

        device = self.model.device
        ids = torch.tensor([[token for run in batch for token in run.ids]], device=device)
        places = torch.cat([torch.arange(len(run.path), len(run.path) + len(run.ids)) for run in batch])
        body = self.model.base_model
        with attention(body, NAME), torch.inference_mode():
            output = body(input_ids=ids, position_ids=places[None].to(device), use_cache=False, packed=batch)
        return output.last_hidden_state[0]


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def check_fit(model: "PreTrainedModel", ids: Ids, states: "Tensor") -> None:
    """Compare the hidden states [tokens, width] of the last positions of `ids` with a plain forward.

    Raises:
        DoesNotFit: what they say of the next tokens differs.
    """
    import torch

    with torch.inference_mode():
        plain = model(torch.tensor([ids], device=model.device)).logits[0, -len(states) :].float().log_softmax(-1)
        found = model.get_output_embeddings()(states).float().log_softmax(-1)
    worst = (plain - found).abs().max().item()
    if not worst <= TOLERANCE[str(model.dtype).removeprefix("torch.")]:
        raise DoesNotFit(f"{type(model).__name__} cannot be run packed: it is {worst:.2g} nats off a plain forward")


def register(name: str, attend: Callable[..., Any]) -> None:
    """Let transformers know an attention that makes its own masks."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(name, attend)
    AttentionMaskInterface.register(name, lambda *args, **kwargs: None)


@contextmanager
def attention(body: Any, name: str) -> Iterator[None]:
    """Another attention for one forward; other parts of the program may share the model."""
    before = body.config._attn_implementation
    body.config._attn_implementation = name
    try:
        yield
    finally:
        body.config._attn_implementation = before


def _attend(
    module: Any,
    query: "Tensor",
    key: "Tensor",
    value: "Tensor",
    attention_mask: None,
    scaling: float | None = None,
    packed: Sequence[Run] = (),
    **others: Any,
) -> tuple["Tensor", None]:
    """Attention of packed runs. query [1, heads, tokens, width], key and value [1, key heads, tokens, width]."""
    refuse_others(module, others)
    output = query.new_empty(query.shape[2], query.shape[1], value.shape[3])
    for run in packed:
        if run.continued:
            own = slice(run.at, run.at + len(run.ids))
            run.hold(key[0, :, own], value[0, :, own], module.layer_idx, module.config.num_hidden_layers)
    for run in packed:
        own = slice(run.at, run.at + len(run.ids))
        output[own] = _attend_run(query[:, :, own], key[:, :, own], value[:, :, own], run, module.layer_idx, scaling)
    return output[None], None


def refuse_others(module: Any, others: dict[str, Any]) -> None:
    """Raises: DoesNotFit: this attention is more than causal."""
    if any(others.get(name) is not None for name in ("sliding_window", "softcap", "s_aux")):
        raise DoesNotFit(f"{type(module).__name__} cannot be run packed: it attends in another way")


def _attend_run(
    query: "Tensor", key: "Tensor", value: "Tensor", run: Run, layer: int, scaling: float | None
) -> "Tensor":
    """[tokens, heads, width] of one run, which sees its path and, causally, itself."""
    import torch
    from torch.nn.attention.bias import causal_lower_right

    scaled_dot_product = torch.nn.functional.scaled_dot_product_attention
    groups = query.shape[1] // key.shape[1]
    own = key, value
    if not run.path.pieces:
        states = scaled_dot_product(query, *_repeated(own, groups), is_causal=True, scale=scaling)
    else:
        pieces = [(before.layers[layer], length) for before, length in run.path.pieces]
        path = tuple(torch.cat([held[part][None, :, :n] for held, n in pieces], dim=2) for part in (0, 1))
        if query.device.type == "cpu" and hasattr(torch.ops.aten, CPU_FLASH):
            states = _in_two_parts(query, path, own, scaling)
        else:
            both = [torch.cat(parts, dim=2) for parts in zip(path, own, strict=True)]
            mask = causal_lower_right(query.shape[2], both[0].shape[2]) if query.shape[2] > 1 else None
            states = scaled_dot_product(query, *_repeated(both, groups), attn_mask=mask, scale=scaling)
    return states[0].transpose(0, 1)


def _repeated(keys_and_values: Sequence["Tensor"], groups: int) -> list["Tensor"]:
    return [part.repeat_interleave(groups, dim=1) for part in keys_and_values]


def _in_two_parts(
    query: "Tensor", path: Sequence["Tensor"], own: Sequence["Tensor"], scaling: float | None
) -> "Tensor":
    """Attention to the path and, causally, to what is new, joined by how much each of them weighs.

    On a CPU, torch has no kernel for a causal mask that is longer than wide: it would make one, and compute what it
    hides. Neither part needs a mask.
    """
    import torch

    flash = getattr(torch.ops.aten, CPU_FLASH)
    heads = own[0].shape[1]
    # [query heads of a key head, key heads, tokens, width]: keys and values are not copied for each of them
    query = query[0].unflatten(0, (heads, -1)).transpose(0, 1)
    path, own = ([part.expand(len(query), -1, -1, -1) for part in parts] for parts in (path, own))
    before, weight_before = flash(query, *path, is_causal=False, scale=scaling)
    new, weight_new = flash(query, *own, is_causal=True, scale=scaling)
    share = torch.sigmoid(weight_before - weight_new).unsqueeze(-1)
    joined = torch.lerp(new.float(), before.float(), share.float()).to(query.dtype)
    return joined.transpose(0, 1).flatten(0, 1)[None]
