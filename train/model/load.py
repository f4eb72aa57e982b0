"""The model that is trained, as it is loaded for training.

Full fine-tuning keeps a float32 copy of the weights whatever `model.dtype` says: at learning rates such as 2e-5 most
updates are smaller than bfloat16 can add to a weight and would be lost. Who keeps it differs (`weights_dtype`).
`model.dtype` is the precision of the arithmetic and of the saved folder.
"""

from typing import TYPE_CHECKING

from reer.backend.models import explained, locate
from reer.backend.stored import own_settings
from reer.config import PeftConfig, SftConfig

from ..arguments.adapters import adapter_arguments, quantization_arguments
from ..arguments.trainer import model_arguments
from .tied import untie_for

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from trl import SFTTrainer


def weights_dtype(config: SftConfig, dtype: str) -> str:
    """The precision that trained weights are loaded in.

    float32, unless something else keeps small updates: DeepSpeed's own float32 copies, an optimiser that rounds
    stochastically (torchao, `bf16_stochastic_round`), or adapters, which peft keeps in float32 beside a frozen model.
    """
    stochastic = "bf16_stochastic_round=true" in str(config.trainer.args.get("optim_args", "")).lower()
    kept = config.peft.method is not None or config.deepspeed.config is not None or stochastic
    return dtype if kept else "float32"


def load_for_training(config: SftConfig, dtype: str) -> "PreTrainedModel":
    """A model of its own, its weights in `dtype`; the trainer moves it to its device (under ZeRO-3: its part).

    Raises:
        ModelError: it cannot be found or loaded.
        ConfigError: an argument of its loading is the stage's own, or adapters ask for what cannot be untied.
    """
    from transformers import AutoModelForCausalLM

    path, revision = locate(config.model), config.model.revision
    quantization = quantization_arguments(config.peft)
    with explained(config.model.path):
        model = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            generation_config=own_settings(path, revision),
            **({"quantization_config": quantization} if quantization else {}),
            **model_arguments(config.trainer.args.get("model_init_kwargs")),
        )
    untie_for(model, adapter_arguments(config.peft))
    return model


def keep_adapters_precise(trainer: "SFTTrainer", peft: PeftConfig) -> None:
    """Put qlora's adapters back into float32, as peft keeps those of lora.

    trl holds them in bfloat16, and so would Adam its moments: small updates would be lost. (DeepSpeed keeps float32
    copies of its own.)
    """
    if peft.method != "qlora" or trainer.is_deepspeed_enabled:
        return
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
