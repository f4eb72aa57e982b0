"""Packing: several examples in one row, none of which may see another. What allows it, and the proof that it holds.

trl's best-fit packing keeps examples whole and numbers their tokens from 0 each; that numbering alone tells the model
where one ends. Whether attention heeds it is up to the model's code: in transformers 5.23 those of OPT, Falcon, BLOOM
and gpt-oss do not with `eager`, and no model does while it fills a cache. So the proof is made on the model that is
about to be trained, through the trainer's own collator: `PackingProbe`. Knows nothing of data and run folders.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from reer.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from trl import SFTConfig, SFTTrainer

ATTENTION = ("eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3", "flash_attention_4")
"""Implementations that packing allows; a flash-attention kernel from the hub (ORG/NAME) as well.

eager and sdpa get a mask of length x length (at 16,384 tokens 256 MiB as booleans), flex_attention its block mask,
flash attention the offsets of the examples. The first three are tested on a CPU; flash attention needs a GPU and was
not run here, so there the probe has the word.
"""
TOLERANCE = 0.01
"""Of the logits' standard deviation. On a CPU isolated examples differ by exactly 0, ones that see each other by 0.9
to 6 deviations; what lies between leaves room for kernels that do not add in the same order twice."""
_LENGTHS = (24, 23, 22)
"""Tokens of the three examples that the probe packs; best-fit decreasing puts the longest first."""

Forward = Callable[[dict[str, Any]], "torch.Tensor"]
"""A collated batch in, logits of shape (batch, length, vocabulary) out."""


def refuse_packing(args: "SFTConfig", attention: str | None, sequence_parallel: int = 1) -> None:
    """What is known to be wrong before any model runs.

    Raises:
        ConfigError: packing with a strategy, an attention implementation or a parallelism that mixes examples.
    """
    if not args.packing:
        return
    if args.packing_strategy == "wrapped":
        raise ConfigError("trainer.args.packing_strategy=wrapped cuts examples and lets them see each other: use bfd")
    if sequence_parallel > 1:
        raise ConfigError(
            "trainer.args.packing=true does not go with deepspeed.sequence_parallel: attention gets no mask there and "
            "packed examples would see each other; set trainer.args.packing=false"
        )
    if attention not in ATTENTION and "flash" not in (attention or "").partition("/")[2]:
        raise ConfigError(
            f"trainer.args.model_init_kwargs.attn_implementation={attention} is not known to keep packed examples "
            f"apart: choose one of {', '.join(ATTENTION)}, or set trainer.args.packing=false"
        )


def sees_neighbours(forward: Forward, collator: Callable[[list[dict[str, Any]]], dict[str, Any]], vocab: int) -> float:
    """How far an example's logits move when the examples packed before and after it become others.

    Two forwards of 69 tokens. The greatest difference over tokens and vocabulary, as a share of the logits' standard
    deviation: 0 where packed examples are apart.
    """
    draw = random.Random(0)  # not torch's: training goes on with the numbers it would have had

    def example(length: int) -> list[int]:
        return [draw.randrange(vocab) for _ in range(length)]

    first, middle, last = _LENGTHS
    kept = example(middle)
    seen, moved = (
        forward(collator([packed([example(first), kept, example(last)])]))[0, first : first + middle].float()
        for _ in range(2)
    )
    return float((seen - moved).abs().max() / seen.std().clamp(min=1e-12))


def packed(examples: Sequence[Sequence[int]]) -> dict[str, Any]:
    """A row as trl's best-fit packing makes it of whole examples."""
    ids = [token for example in examples for token in example]
    return {"input_ids": ids, "labels": ids, "seq_lengths": [len(example) for example in examples]}


class PackingProbe(TrainerCallback):  # type: ignore[misc]
    """Refuses to train where packed examples see each other. All processes run the same two small forwards."""

    def __init__(self, trainer: "SFTTrainer") -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        import torch

        trainer = self.trainer
        if not trainer.padding_free:
            return
        config = trainer.accelerator.unwrap_model(trainer.model).config
        try:
            share = sees_neighbours(self._forward, trainer.data_collator, config.get_text_config().vocab_size)
        except ValueError as error:  # layers that need a kernel to keep examples apart say so themselves
            raise ConfigError(
                f"trainer.args.packing=true: {str(error).partition('. ')[0]}; set it to false"
            ) from error
        worst = trainer.accelerator.gather(torch.tensor([share], device=args.device)).max().item()
        if not worst <= TOLERANCE:
            raise ConfigError(
                f"trainer.args.packing=true: packed examples see each other in this {config.model_type} model with "
                f"attention {config._attn_implementation} (their neighbours move the logits by {worst:.2f} standard "
                f"deviations): choose another trainer.args.model_init_kwargs.attn_implementation, or "
                f"trainer.args.packing=false"
            )

    def _forward(self, batch: Mapping[str, Any]) -> "torch.Tensor":
        """As the trainer calls the model, but without dropout and gradients."""
        import torch

        trainer, model = self.trainer, self.trainer.model_wrapped
        training = model.training
        inputs = trainer._prepare_inputs({key: value for key, value in batch.items() if key != "labels"})
        model.eval()
        try:
            with torch.no_grad(), trainer.compute_loss_context_manager():
                logits: torch.Tensor = model(**inputs, use_cache=False).logits
        finally:
            model.train(training)
        return logits
