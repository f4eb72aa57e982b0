"""What there is to train on: layout, examples and precision, as every process of a run reads them for itself."""

from dataclasses import dataclass

from reer.config import SftConfig
from reer.layout import Layout, build_layout

from ..arguments.trainer import Amount, max_length, one_gpu
from ..mixing.settings import rules_of
from .data import Prepared, TrainingExample, count, find, prepare, refuse_dropped, split


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Examples as token ids, divided into those trained on and those held out."""

    layout: Layout
    prepared: Prepared
    training: list[TrainingExample]
    held_out: list[TrainingExample]
    dtype: str
    """Of the arithmetic and of the saved model."""

    @property
    def amount(self) -> Amount:
        return Amount(len(self.training), count(self.training)[0], len(self.held_out))


def read(config: SftConfig) -> Work:
    """Encode every usable trajectory, and set some aside.

    Raises:
        DataError: no file, no usable row, or too many that are longer than the context.
        ConfigError: nothing would be left to train on.
    """
    trajectories = find(config.data.trajectories)
    if config.launch.processes == 1:  # several take a GPU each
        one_gpu(config.model.device)
    from reer.backend.models import load_tokenizer, resolve_dtype

    layout = build_layout(config.layout, load_tokenizer(config.model))
    rules = rules_of(config)
    prepared = prepare(trajectories, layout, max_length(config), config.data.variant, config.data, rules)
    refuse_dropped(prepared, max_length(config), config.trainer.max_dropped)
    training, held_out = split(prepared.examples, config.trainer.held_out, config.seed)
    dtype = resolve_dtype(config.model)
    return Work(layout=layout, prepared=prepared, training=training, held_out=held_out, dtype=dtype)
