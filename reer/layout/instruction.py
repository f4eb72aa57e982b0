"""A text around the query in the user's turn (`layout.instruction`): ours by language, or a file of the user's own."""

import re
from collections.abc import Callable
from pathlib import Path

from reer.errors import PromptError
from reer.text import language_of

COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)
PLACEHOLDER = re.compile(r"\{(\w+)\}")
OURS = Path(__file__).with_name("instructions")


def load_instruction(name: str) -> Callable[[str], str]:
    """A text with `{query}` in it, as a function of the query; `default` is ours, in the query's language.

    Raises:
        PromptError: the file cannot be read, or shows something else than {query}.
    """
    if name == "default":
        texts = {language: _instruction(OURS / f"{language}.md") for language in ("en", "zh")}
        return lambda query: texts[language_of(query)].replace("{query}", query)
    text = _instruction(Path(name))
    return lambda query: text.replace("{query}", query)


def _instruction(path: Path) -> str:
    text = COMMENT.sub("", read_text(path)).strip()
    if (found := PLACEHOLDER.findall(text)) != ["query"]:
        raise PromptError(f"{path}: an instruction has to show {{query}} once and nothing else (found: {found})")
    return text


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: cannot be read ({error})") from error
