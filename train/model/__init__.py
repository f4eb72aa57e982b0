"""The model that is trained: loaded for training, and saved as a folder that others can load."""

from .load import keep_adapters_precise, load_for_training, weights_dtype
from .save import complete_model, save_trained
from .tokenizer import check_saving

__all__ = [
    "check_saving",
    "complete_model",
    "keep_adapters_precise",
    "load_for_training",
    "save_trained",
    "weights_dtype",
]
