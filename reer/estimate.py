"""What a search will cost, by arithmetic alone: nothing is loaded, nothing is written (`dry_run=true`).

Assumes 1.35 tokens per word (1 per Chinese character), thinking of 60 % of its token limit, segments half-way
between their limits, no early stop and no reuse of cached keys and values: an upper estimate.
"""

from collections.abc import Sequence

from reer.config import SynthesizeConfig
from reer.leak import is_cjk, words
from reer.prompts import load_set
from reer.types import Example, Usage

TOKENS_PER_WORD = 1.35
THINKING_SHARE = 0.6


def estimate(examples: Sequence[Example], config: SynthesizeConfig) -> str:
    """A short text for the terminal."""
    total = sum((cost(example, config) for example in examples), Usage())
    return (
        f"{len(examples)} examples, up to {config.search.max_steps} steps of {config.search.candidates} rewrites\n"
        f"requests   {total.calls:>12,}\n"
        f"generated  {total.generated_tokens:>12,} tokens\n"
        f"prefilled  {total.prefilled_tokens:>12,} tokens\n"
        f"scored     {total.scored_tokens:>12,} tokens\n"
        "(dry run: an estimate from word counts; nothing was run or written)"
    )


def cost(example: Example, config: SynthesizeConfig) -> Usage:
    """Predicted usage of one example."""
    search = config.search
    prompts = load_set(config.prompts.set, example.language)
    query, answer = tokens(example.query), tokens(example.answer)
    thinking = int(THINKING_SHARE * search.first.max_tokens)
    segment = (search.segment.min_tokens + search.segment.max_tokens) // 2
    segments = max(1, thinking // max(1, segment))
    steps = min(search.max_steps, search.sweeps * segments)
    removals = search.sweeps * segments if search.order == "attribution" else 0
    rewrite = min(search.rewrite.max_tokens, 2 * segment)
    sequence = query + thinking + answer
    return Usage(
        calls=2 + search.first_samples + steps * (1 + search.candidates) + removals,
        generated_tokens=search.first_samples * thinking + steps * search.candidates * rewrite,
        prefilled_tokens=tokens(prompts.initial.user)
        + query
        + answer
        + steps * (tokens(prompts.rewrite.user) + sequence + segment),
        scored_tokens=query + answer + (search.first_samples + steps * search.candidates + removals) * sequence,
    )


def tokens(text: str) -> int:
    """About how many tokens a text has."""
    found = words(text)
    characters = sum(map(is_cjk, found))
    return int(characters + TOKENS_PER_WORD * (len(found) - characters))
