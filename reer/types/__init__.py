"""The nouns of the project and the protocols between its parts.

Knows nothing but the standard library: every other module may import this one.
"""

from .data import Example, Message, Operation, Role, Score, Trajectory, Usage
from .events import (
    Asked,
    Attribution,
    Baseline,
    Candidate,
    Event,
    First,
    Start,
    Step,
    Tagged,
    Weighed,
    Whole,
    Worth,
)
from .models import (
    FAULTS,
    Failed,
    FinishReason,
    GenerateRequest,
    Generator,
    ObjectiveKind,
    Response,
    Scored,
    Scorer,
    ScoreRequest,
    Tokenizer,
    score_of,
)

FORMAT_VERSION = 1

__all__ = [
    "Asked",
    "Attribution",
    "Baseline",
    "Candidate",
    "Event",
    "Example",
    "FAULTS",
    "FORMAT_VERSION",
    "Failed",
    "FinishReason",
    "First",
    "GenerateRequest",
    "Generator",
    "Message",
    "ObjectiveKind",
    "Operation",
    "Response",
    "Role",
    "Score",
    "ScoreRequest",
    "Scored",
    "Scorer",
    "Start",
    "Step",
    "Tagged",
    "Tokenizer",
    "Trajectory",
    "Usage",
    "Weighed",
    "Whole",
    "Worth",
    "score_of",
]
