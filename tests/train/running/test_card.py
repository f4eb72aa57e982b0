"""The model card says what the model does and was trained on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reer.config import SftConfig
from train.sft import run

THINKS = (
    "It opens its turn with a think block",
    "thinking, answer and end of turn",
    "`<think>\\nTHINKING\\n</think>\\n\\nANSWER`",
    "for the answer given the query and the thinking, ",
    "for the thinking given the query.",
)
ANSWERS = (
    "It answers at once, without a think block.",
    "of them supervised: answer and end of turn",
    "`ANSWER` and the end-of-turn token",
    "for the answer given the query.",
)


@pytest.mark.parametrize("variant", ["final", "answer_only"])
def test_the_card_tells_a_model_that_thinks_from_its_control(
    make_config: Callable[..., SftConfig], tmp_path: Path, variant: str
) -> None:
    config = make_config(held_out=1)
    config.data.variant = variant
    assert run(config) == 0
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for phrase in THINKS:
        assert (phrase in card) == (variant == "final"), phrase
    for phrase in ANSWERS:
        assert (phrase in card) == (variant == "answer_only"), phrase
