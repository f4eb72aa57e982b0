"""A set of prompts without the wording that tells the writer to keep off the answer's own: an ablation.

Being told not to copy may tie the thinking to the answer more (arXiv 2602.14469); the same prompts without those
sentences show what they do. The guards against copying stay on either way.
"""

import re
from pathlib import Path

from reer.method import prompts

WORDING = {
    "en": (
        " It is a sketch in your own words; do not take over sentences of the text.",
        ": do not quote it, do not take over its sentences, do not mention that it has been seen",
    ),
    "zh": ("这是用你自己的话打的草稿，不要搬用原文的句子。", "：不要引用，不要搬用它的句子，不要提到见过它"),
}
"""Wherever a line may break, it may break otherwise."""


def without(name: str, language: str, folder: Path) -> Path | None:
    """Write the files of a shipped set without that wording; None, and nothing written, where they have none of it."""
    source = Path(prompts.__file__).parent / language / name
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(source.glob("*.md"))}
    freed = {file: _freed(text, WORDING[language]) for file, text in texts.items()}
    if freed == texts:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in freed.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def _freed(text: str, wording: tuple[str, ...]) -> str:
    for phrase in wording:
        text = re.sub(r"\s+".join(map(re.escape, phrase.split(" "))), "", text)
    return text
