"""From config to the arguments of peft and bitsandbytes, whose own classes validate them."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from reer.config import PeftConfig, one_line
from reer.errors import ConfigError

from .trainer import refuse_unknown

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig


def adapter_arguments(config: PeftConfig) -> "LoraConfig | None":
    """peft.LoraConfig, or None where the whole model is trained.

    Raises:
        ConfigError: an unknown method or key, or a value that peft refuses.
    """
    if config.method is None:
        return None
    if config.method not in ("lora", "qlora"):
        raise ConfigError(f"peft.method={config.method} is unknown: choose lora, qlora or null")
    from peft import LoraConfig

    refuse_unknown(config.args, LoraConfig, "peft.args")
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **config.args})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"peft.args: {one_line(error)}") from error


def quantization_arguments(config: PeftConfig) -> "BitsAndBytesConfig | None":
    """transformers.BitsAndBytesConfig of qlora, or None.

    Raises:
        ConfigError: bitsandbytes is not there, or its config refuses a key or value.
    """
    if config.method != "qlora":
        return None
    from transformers import BitsAndBytesConfig

    if not installed("bitsandbytes"):
        raise ConfigError("peft=qlora needs bitsandbytes: pip install 'reer[qlora]'")
    refuse_unknown(config.quantization, BitsAndBytesConfig, "peft.quantization")
    try:
        return BitsAndBytesConfig(**config.quantization)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"peft.quantization: {one_line(error)}") from error


def installed(package: str) -> bool:
    return find_spec(package) is not None
