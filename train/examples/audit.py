"""What exactly is trained on, token by token: `reer-sft audit=true`.

Reads ids and masks as training does, loads the tokenizer alone, and writes nothing. Knows nothing of trainers.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence

from reer.config import SftConfig
from reer.layout import Encoded
from reer.run.launch import DONE

from ..arguments.trainer import max_length
from .data import TrainingExample, to_rows
from .work import Work

HEAD, TAIL = 12, 6
"""Tokens shown at the beginning and at the end of each part: the seams are where mistakes sit."""
_SUPERVISED, _CONTEXT, _TITLE, _RESET = "\033[32m", "\033[2m", "\033[1m", "\033[0m"


def audit(config: SftConfig, work: Work) -> int:
    """Show the shortest, the median and the longest example, and what all of them add up to.

    Raises:
        DataError: an example does not teach the model to end its turn.
    """
    paint = _coloured if sys.stdout.isatty() and "NO_COLOR" not in os.environ else _plain
    tokenizer = work.layout.tokenizer
    end = tokenizer.hf.decode([tokenizer.end_of_turn])  # type: ignore[attr-defined]
    for example in _telling(work.training):
        (row,) = to_rows([example], tokenizer.end_of_turn)
        mask = row["completion_mask"]
        print(paint(_TITLE, f"{example.id}: {len(mask)} tokens, {sum(mask)} of them supervised"))
        print("position       id  part      supervised  token")
        for line, supervised in _lines(example.encoded, mask, tokenizer.hf.decode):  # type: ignore[attr-defined]
            print(paint(_SUPERVISED if supervised else _CONTEXT, line))
        print()
    _totals(config, work, end)
    return DONE


def spans(encoded: Encoded) -> dict[str, tuple[int, int]]:
    """Begin and end of each part, in tokens; the parts that are there."""
    bounds = (0, encoded.thinking, encoded.answer, encoded.end, len(encoded.ids))
    parts = zip(("prompt", "thinking", "answer", "end"), bounds, bounds[1:], strict=False)
    return {name: (begin, end) for name, begin, end in parts if begin < end}


def _telling(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    ordered = sorted(examples, key=lambda example: len(example.encoded.ids))
    return [ordered[n] for n in sorted({0, len(ordered) // 2, len(ordered) - 1})]


def _lines(encoded: Encoded, mask: Sequence[int], decode: Callable[[list[int]], str]) -> Iterator[tuple[str, int]]:
    """A line for each token, with its mask; of a long part, its beginning and its end."""
    for part, (begin, end) in spans(encoded).items():
        left_out = end - begin - HEAD - TAIL
        for at in range(begin, end):
            if left_out > 1 and begin + HEAD <= at < end - TAIL:
                if at == begin + HEAD:
                    yield f"{'...':>8}  {'...':>7}  {part:<8}  {left_out:,} more", mask[at]
                continue
            token = encoded.ids[at]
            yield f"{at:>8}  {token:>7}  {part:<8}  {'yes' if mask[at] else 'no':<10}  {decode([token])!r}", mask[at]


def _totals(config: SftConfig, work: Work, end_of_turn: str) -> None:
    tokens = dict.fromkeys(("prompt", "thinking", "answer", "end"), 0)
    for example in work.training:
        for part, (begin, end) in spans(example.encoded).items():
            tokens[part] += end - begin
    everything = sum(tokens.values())
    share = 1 - tokens["prompt"] / everything
    left_out = (
        f"{len(work.held_out)} held out, {len(work.prepared.too_long)} longer than {max_length(config):,} tokens"
    )
    broken = len(work.prepared.quarantined)
    what = "rows" if work.prepared.tally.rows("general") else "trajectories"
    thinking = config.mix.thinking or config.data.variant
    print(f"trained on {len(work.training):>12,}  {what} ({thinking}); {left_out}, {broken} broken")
    for part, count in tokens.items():
        print(f"{part:<10} {count:>12,}  tokens, {'not ' if part == 'prompt' else ''}supervised")
    print(f"all        {everything:>12,}  tokens, {share:.1%} of them supervised")
    print(f"Every example ends with {end_of_turn!r}, supervised. A token shown as \ufffd is part of a character.")
    print("(audit: no model was loaded, nothing was written)")


def _coloured(style: str, line: str) -> str:
    return f"{style}{line}{_RESET}"


def _plain(style: str, line: str) -> str:
    return line
