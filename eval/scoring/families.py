"""Whose relatives judge whom: each judge's mean scores by model family, and whether it favours its own.

Families are known by name alone; a model or judge whose name says nothing has none.
"""

import re
from collections.abc import Mapping
from statistics import fmean
from typing import Any

FAMILY = {
    "gpt": "OpenAI", "chatgpt": "OpenAI", "o1": "OpenAI", "o3": "OpenAI", "o4": "OpenAI", "claude": "Claude",
    "gemini": "Google", "gemma": "Google", "qwen": "Qwen", "qwq": "Qwen", "deepwriter": "Qwen", "llama": "Llama",
    "mistral": "Mistral", "mixtral": "Mistral", "ministral": "Mistral", "deepseek": "DeepSeek", "smollm": "SmolLM",
    "phi": "Phi", "glm": "GLM", "chatglm": "GLM", "longwriter": "GLM", "olmo": "OLMo", "granite": "Granite",
    "command": "Cohere", "grok": "Grok", "kimi": "Kimi", "internlm": "InternLM",
}  # fmt: skip
"""Family by the word, perhaps followed by digits, that a name holds."""

Means = Mapping[str, Mapping[str, float]]
"""Mean score by judge and model."""


def family_of(*names: str) -> str | None:
    """Family of a model, by the first of its names (labels, paths) that says one."""
    for name in names:
        for word in re.findall(r"o\d|[a-z]+", name.lower().rpartition("/")[2]):
            if word in FAMILY:
                return FAMILY[word]
    return None


def families(means: Means, models: Mapping[str, str | None]) -> dict[str, Any]:
    """Judge by model family; `models` gives each model's family.

    `own_family_bonus` of a judge: how much higher than the other judges it scores its own family, beyond how much
    higher than they it scores other families; None without other judges, or without models of both kinds. Models of
    no known family count as neither.
    """
    judges = {judge: family_of(judge) for judge in means}
    known = list(dict.fromkeys(family for family in models.values() if family))
    return {
        "models": dict(models),
        "judges": judges,
        "means": {
            judge: {family: fmean(row[model] for model in row if models[model] == family) for family in known}
            for judge, row in means.items()
        },
        "own_family_bonus": {judge: _bonus(judge, judges[judge], means, models) for judge in means},
    }


def _bonus(judge: str, own: str | None, means: Means, models: Mapping[str, str | None]) -> float | None:
    others = [row for name, row in means.items() if name != judge]
    if own is None or not others:
        return None
    ahead: dict[bool, list[float]] = {True: [], False: []}
    for model, score in means[judge].items():
        if models[model] is None:
            continue
        ahead[models[model] == own].append(score - fmean(row[model] for row in others))
    return fmean(ahead[True]) - fmean(ahead[False]) if ahead[True] and ahead[False] else None
