"""Models whose embedding and output layer are one matrix, under adapters that change one of the two.

peft 0.21 trains such adapters rightly and merges them into the one matrix, which changes the other layer too: the
merged model is a wrong one. So the two are made two before training and before merging, and saved as two.
"""

import re
from typing import TYPE_CHECKING

from reer.errors import ConfigError

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


def untie_for(model: "PreTrainedModel", adapter: "LoraConfig | None") -> bool:
    """Give the output layer a matrix of its own where `adapter` changes it or the embedding; tells whether it did.

    Raises:
        ConfigError: it cannot be untied, or the adapter cannot be trained or merged.
    """
    if adapter is None:
        return False
    _refuse_on_the_output_layer(model, adapter)
    if not model.config.get_text_config().tie_word_embeddings:
        return False
    if adapter.trainable_token_indices is not None:
        raise ConfigError(
            "peft.args.trainable_token_indices: this model's embedding and output layer are one matrix, and trl "
            "cannot train a few of its rows: use peft.args.modules_to_save=[embed_tokens]"
        )
    targets, saved = _named(model, adapter.target_modules), _named(model, adapter.modules_to_save)
    kept = getattr(adapter, "ensure_weight_tying", False)
    if kept and targets:
        raise ConfigError(
            f"peft.args.ensure_weight_tying=true with {targets[0]} among target_modules: peft cannot merge what it "
            f"trains then; leave it out (the two matrices are untied), or use modules_to_save"
        )
    if kept or not (targets or saved):
        return False
    _untie(model, (targets or saved)[0])
    return True


def _refuse_on_the_output_layer(model: "PreTrainedModel", adapter: "LoraConfig") -> None:
    """Raises: ConfigError: trl would not train it, tied or not, since its loss multiplies with the weight itself."""
    head = model.get_output_embeddings()
    if found := [name for name in _named(model, adapter.target_modules) if model.get_submodule(name) is head]:
        raise ConfigError(
            f"peft.args.target_modules names {found[0]}, the output layer, whose adapter trl's loss would pass over: "
            f"train it whole with ++peft.args.modules_to_save=[{found[0].rpartition('.')[2]}], or leave it out"
        )


def _named(model: "PreTrainedModel", wanted: object) -> list[str]:
    """Of the embedding and the output layer those that a list of names, or a pattern, of peft's means."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    names = [name for name, module in model.named_modules() if any(module is end for end in ends)]
    if wanted is None or wanted == "all-linear":  # peft leaves the output layer out of it
        return []
    if isinstance(wanted, str):
        return [name for name in names if re.fullmatch(wanted, name)]
    assert isinstance(wanted, list | set | tuple)
    return [name for name in names if any(name == part or name.endswith(f".{part}") for part in wanted)]


def _untie(model: "PreTrainedModel", why: str) -> None:
    import torch

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if hasattr(embedding.weight, "ds_id"):
        raise ConfigError(
            f"peft.args names {why}, and this model's embedding and output layer are one matrix, which ZeRO-3 has "
            f"divided: leave it out of peft.args, or use deepspeed=zero2"
        )
    head.weight = torch.nn.Parameter(embedding.weight.detach().clone(), requires_grad=embedding.weight.requires_grad)
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
    model.tie_weights()  # it notes anew which weights are tied: none
