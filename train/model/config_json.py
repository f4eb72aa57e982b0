"""config.json in the words of transformers 4 beside those of transformers 5.

5 writes the base of the rotary positions where 4.x does not look: it takes 10,000 then, and the model is another one
without a word. The older keys are added, as long as transformers 5 reads the same from the file with them.
"""

import json
from pathlib import Path
from typing import Any


def add_older_keys(folder: Path) -> None:
    """Write `rope_theta`, `rope_scaling` and `torch_dtype` where they say what the newer keys say."""
    file = folder / "config.json"
    if not file.exists():  # of adapters alone
        return
    before, wanted = json.loads(file.read_text(encoding="utf-8")), _positions(folder)
    for without in ((), ("rope_scaling",), ("rope_scaling", "rope_theta", "rope_local_base_freq")):
        _write(file, _with_older(before, without))
        if _positions(folder) == wanted:
            return


def _with_older(config: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    older = {key: value for key, value in _older(config).items() if key not in without}
    nested = config.get("text_config")
    return config | older | ({"text_config": _with_older(nested, without)} if isinstance(nested, dict) else {})


def _older(config: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"torch_dtype": config["dtype"]} if config.get("dtype") else {}
    rope = config.get("rope_parameters") or {}
    whole = rope.get("full_attention", rope) if "rope_theta" not in rope else rope
    local = rope.get("sliding_attention") or {}
    scaling = {key: value for key, value in whole.items() if key not in ("rope_theta", "partial_rotary_factor")}
    made |= {key: whole[key] for key in ("rope_theta", "partial_rotary_factor") if key in whole}
    made |= {"rope_local_base_freq": local["rope_theta"]} if "rope_theta" in local else {}
    made |= {"rope_scaling": scaling} if whole.get("rope_type", "default") != "default" else {}
    return {key: value for key, value in made.items() if key not in config}


def _positions(folder: Path) -> Any:
    """How transformers 5 reads positions and precision from the folder."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    return getattr(config.get_text_config(), "rope_parameters", None), config.dtype


def _write(file: Path, config: dict[str, Any]) -> None:
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
