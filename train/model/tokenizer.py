"""The tokenizer beside the trained weights, in a form that older readers take as well, and with the same ids.

transformers 5 writes what only transformers 5 reads: a class of its own name, tokens under a key that 4.x expects to
hold something else, a chat template in a file that 4.x looks for only since 4.52. Whether the folder gives the ids of
training is tried on it: transformers 5 takes the rules of some model types from their class and not from the file.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reer.backend.models import locate
from reer.backend.stored import stored_file
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import ModelConfig
from reer.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EVERYWHERE = "PreTrainedTokenizerFast"
"""The class that takes tokenizer.json as it stands, under this name in transformers 4 and 5."""
_OF_THIS_PROCESS = ("backend", "is_local", "local_files_only")
PROBES = (
    "The old man and the sea.",
    "  two  blanks,\ttabs\t\tand\n\n\nlines \r\n at the end ",
    "it's we'll I'VE don't o'clock",
    "1234567890 3.14159 1,000,000 2024-01-01",
    "cafe\u0301 A\u030angstro\u0308m \u1112\u1161\u11ab",  # decomposed
    "caf\u00e9 na\u00efve \ufb01ne \u2167 \u2460",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6211\u5148\u60f3\u4e00\u60f3\u3002",
    "\u65e5\u672c\u8a9e\u3068\ud55c\uad6d\uc5b4 \u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f415\u200d\U0001f9ba \U0001f44d\U0001f3fd \u2014 \u201cquoted\u201d",
    "<think>\nFirst, a picture.\n</think>\n\nThe night",
    "def f(x):\n    return {'a': x ** 2}  # done",
    "\u00a0\u2003\u3000wide\u200b",
    "",
)
"""Texts whose ids part where a normalizer, a pattern of splits or a prefix differs."""
_TURNS = [{"role": "user", "content": "Write a fable."}, {"role": "assistant", "content": "A fox saw grapes."}]


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> str | None:
    """Write it into a model's folder; tells a text that has other ids when the folder is read, None where none has."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    if not file.exists():
        return None
    settings = json.loads(file.read_text(encoding="utf-8"))
    own, fast = settings["tokenizer_class"], (folder / "tokenizer.json").exists()
    different: str | None = None
    for name in [EVERYWHERE, own] if fast else [own]:
        _write(file, _readable(settings, tokenizer) | {"tokenizer_class": name})
        different = _difference(tokenizer, folder)
        if different is None:
            break
    return different


def check_saving(config: ModelConfig, tokenizer: ChatTokenizer) -> None:
    """Before anything is trained: would the saved model's tokenizer give the ids that are trained on?

    Raises:
        ModelError: it would not.
    """
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as folder:
        AutoConfig.from_pretrained(locate(config), revision=config.revision).save_pretrained(folder)
        different = save_tokenizer(tokenizer.hf, Path(folder))
    if different is not None:
        raise ModelError(
            f"model {config.path}: its tokenizer, saved and read again, gives other ids, as for {different!r}: the "
            f"trained model would not be asked what it was trained on; save its tokenizer with this transformers "
            f"first, and search and train with that"
        )


def copy_sentencepiece(config: ModelConfig, folder: Path) -> None:
    """The base model's tokenizer.model, which llama.cpp's converter asks for where there is one."""
    if found := stored_file(locate(config), config.revision, "tokenizer.model"):
        shutil.copyfile(found, folder / "tokenizer.model")


def _readable(settings: dict[str, Any], tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """tokenizer_config.json with the words of transformers 4 beside those of 5, which reads both."""
    made = {key: value for key, value in settings.items() if key not in _OF_THIS_PROCESS}
    if isinstance(extra := made.pop("extra_special_tokens", None), list):
        made["additional_special_tokens"] = extra
    template = tokenizer.chat_template
    if isinstance(template, dict):
        made["chat_template"] = [{"name": name, "template": text} for name, text in template.items()]
    elif template:
        made["chat_template"] = template
    made["clean_up_tokenization_spaces"] = bool(tokenizer.clean_up_tokenization_spaces)
    return made


def _write(file: Path, settings: dict[str, Any]) -> None:
    file.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _difference(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> str | None:
    """A text whose ids differ between the tokenizer in memory and that of the folder."""
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(folder)
    texts = [*PROBES, tokenizer.apply_chat_template(_TURNS, tokenize=False, add_generation_prompt=True)]
    for text in texts:
        for special in (False, True):
            if tokenizer.encode(text, add_special_tokens=special) != again.encode(text, add_special_tokens=special):
                return str(text)
    chat = again.apply_chat_template(_TURNS, tokenize=False, add_generation_prompt=True)
    return None if chat == texts[-1] else str(chat)
