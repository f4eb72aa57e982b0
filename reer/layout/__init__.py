"""How (turns, thinking, answer) become token ids: the one place that scoring, training and evaluation share.

`encode` lays the parts out; `instruction` is a text that may stand around the query; `conversation` shows turns to a
reader; `day` is the date that templates are told.
"""

from reer.layout.conversation import THINK_CLOSE, THINK_OPEN
from reer.layout.encode import FRAMES, Encoded, Frame, Layout, Reply, build_layout
from reer.layout.instruction import load_instruction

__all__ = [
    "FRAMES",
    "THINK_CLOSE",
    "THINK_OPEN",
    "Encoded",
    "Frame",
    "Layout",
    "Reply",
    "build_layout",
    "load_instruction",
]
