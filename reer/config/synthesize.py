"""What reer-synthesize reads: prompts, search, filters."""

from dataclasses import dataclass, field

from reer.config.data import DataConfig, LayoutConfig
from reer.config.engines import BackendConfig
from reer.config.run import ExecutorConfig, RunConfig


@dataclass(kw_only=True)
class PromptsConfig:
    """Which prompt files the search uses."""

    set: str = "standard"
    """Folder of reer/method/prompts/LANGUAGE/, or a path to a folder of your own (needs initial.md and rewrite.md; for
    search.start=skeleton also skeleton.md and expand.md, for search.start=blind and search.worth.blind also
    blind.md)."""


@dataclass(kw_only=True)
class SamplingConfig:
    temperature: float = 0.8
    top_p: float = 0.95
    max_tokens: int = 512


@dataclass(kw_only=True)
class SegmentConfig:
    """Sizes in tokens of the scorer."""

    min_tokens: int = 16
    """Shorter pieces join their neighbour."""
    max_tokens: int = 256
    """Longer paragraphs are cut: between list items or lines, else at sentence ends."""


@dataclass(kw_only=True)
class LeakConfig:
    """How much of y may stand in z before a candidate is rejected."""

    enabled: bool = True
    longest_run: int = 12
    """Longest run of words (Chinese: characters) of y found in z."""
    containment: float = 0.1
    """Share of y's n-grams found in z."""
    ngram: int = 3
    """Words of an n-gram. With 3, every fourth word of a copy can be changed and it is still seen; plans that share
    names and key words with y stay under 0.04 (tests/method/guards/test_copy_attack.py)."""


@dataclass(kw_only=True)
class EchoConfig:
    """How much of the prompt's own words may stand in what was drawn with it (reer/method/guards/echo.py)."""

    enabled: bool = True
    longest_run: int = 8
    """Longest run of words (Chinese: characters) of the prompt's fixed text."""
    containment: float = 0.34
    """Share of one sentence's n-grams that stand in the prompt's fixed text."""
    ngram: int = 2
    """Words of an n-gram. With 2, honest sentences stay under 0.32 whatever the prompt, and of the shipped prompts'
    own with every seventh word changed one in twenty passes (tests/method/guards/test_echo.py)."""


@dataclass(kw_only=True)
class ObjectiveConfig:
    """What the search minimises: the mean NLL over all of y, unless told otherwise. That is recorded beside it."""

    kind: str = "mean_nll"
    """mean_nll, in nats per token; mean_prob: 1 - the mean probability of a token (the reward of RLPR, arXiv
    2506.18254, so that lower is better), from 0 to 1."""
    clip: float | None = None
    """Most nats that one token may count (the authors' code: 2)."""
    skip_opening: bool = False
    """Leave out the first part of y, as the authors' code does: paragraphs until 100 characters are together."""


@dataclass(kw_only=True)
class WorthConfig:
    """What is measured of the final trajectory, once the search is over (reer/method/worth/). It changes no search."""

    blind: int = 0
    """Thinkings drawn from the query alone and scored, to compare with (0: none). The gain over them is the mean of
    NLL(y | x, z_blind) minus NLL(y | x, z)."""
    decorative: float | None = None
    """Nats per answer token by which a segment's removal has to change the NLL, else the segment counts as decorative
    (null: not measured). Costs one score per segment."""


@dataclass(kw_only=True)
class SearchConfig:
    """z* = argmin NLL(y | x, z): a first trajectory, then segment-by-segment rewrites (paper, section 3)."""

    start: str = "direct"
    """direct: the first trajectory is drawn from query and answer; skeleton: an abstract plan of the answer is drawn
    first, then the thinking from query and plan, without sight of the answer (arXiv 2602.14469); blind: it is drawn
    from the query alone. Rewrites see the answer, whatever the start."""
    first_samples: int = 4
    """First trajectories drawn; the best valid one is refined."""
    first_rounds: int = 1
    """How often so many are drawn, unless a budget ends it (best of N)."""
    compose: bool = False
    """After each round, also score the trajectory that takes from all drafts so far, for every passage of the answer,
    the piece after which that passage was likeliest. Needs prompts that draw passage by passage (compact, brief)."""
    candidates: int = 4
    """Rewrites drawn per step (K)."""
    order: str = "forward"
    """Of the segments in a sweep: forward (the paper's), backward, random, or attribution: the segment whose removal
    changes the NLL most comes first."""
    sweeps: int = 1
    """How often every segment may be visited."""
    edits: list[str] = field(default_factory=list)
    """What else is tried on a visited segment, with no model writing: delete, merge (with the next)."""
    max_steps: int = 10
    """Segments visited in all; with `edits`, a deletion or a merge that is tried is one, too."""
    accept: str = "lower"
    """lower: the best candidate, if it lowers the NLL; random: any of the candidates and the original (a control)."""
    min_gain: float = 0.0
    """By how much a rewrite has to lower the objective, in its unit (nats per token)."""
    max_tokens: int | None = None
    """Stop an example at the step where it has cost about so many tokens, generated, prefilled and scored together."""
    max_seconds: float | None = None
    """The same in seconds of the models' time."""
    threshold: float = 0.25
    """Stop once the objective is below this, in its unit (nats per token)."""
    relative_threshold: float | None = None
    """Stop once thinking has taken this share of the objective away: (without thinking - now) / without."""
    patience: int | None = None
    """Stop after so many steps in a row that kept the original."""
    screen: int | None = None
    """Of the candidates of a step, and of first drafts, so many go to the scorer: those the draft (backend@draft=...)
    finds likeliest. Only the scorer's numbers decide."""
    audit: int | None = None
    """Every n-th rewrite of a pair (chance says which is the first) is scored whole all the same, to see whether the
    draft's best held the winner."""
    multi_start: int | None = None
    """So many of the best first drafts are refined in turns, on one budget; the worse half is dropped again and again
    until the best is alone (successive halving)."""
    attempts: int = 3
    """Rounds of `first_samples` draws (and `first_rounds`, unless a budget ends them) before an example without a
    valid first trajectory is quarantined."""
    first: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_tokens=2048))
    rewrite: SamplingConfig = field(default_factory=SamplingConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    leak: LeakConfig = field(default_factory=LeakConfig)
    echo: EchoConfig = field(default_factory=EchoConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    worth: WorthConfig = field(default_factory=WorthConfig)


@dataclass(kw_only=True)
class FilterConfig:
    """Which trajectories are dropped after the search, by name (reer/method/guards/filters.py); null: it is off."""

    tags: bool = False
    """Residue of a prompt's tags."""
    asker: bool = False
    """Talk to whoever asked ("hope this helps", 希望…有帮助)."""
    echo: float | None = None
    """Largest share of a sentence's n-grams that may stand in the prompts' own text."""
    wrong_language: float | None = None
    """Least share of words in the answer's script."""
    min_words: int | None = None
    max_words: int | None = None
    lists: float | None = None
    """Largest share of lines that are list items or end without a sentence."""
    repetition: float | None = None
    """Largest share of all trigrams that the three commonest may make up."""
    loops: float | None = None
    """Largest share of trigrams that stood before."""
    exploring_end: float | None = None
    """Length of the end, as a share of the text, in which nothing may still be doubted or searched for."""
    past_tense: float | None = None
    """Most sentences, as a share, that may tell what the writer did."""
    longest_run: int | None = None
    """Longest run of the answer's words."""
    containment: float | None = None
    """Largest share of the answer's n-grams."""
    min_gain: float | None = None
    """Least NLL(y|x) - NLL(y|x, z), in nats per answer token."""
    min_relative_gain: float | None = None
    """Least of the same as a share of NLL(y|x): 0.1 wants a tenth of the nats gone."""


@dataclass(kw_only=True)
class SynthesizeConfig(RunConfig):
    """What reer-synthesize reads."""

    data: DataConfig = field(default_factory=DataConfig)
    generator: BackendConfig = field(default_factory=BackendConfig)
    scorer: BackendConfig = field(default_factory=BackendConfig)
    draft: BackendConfig | None = None
    """A second, smaller scorer that ranks candidates for the first (search.screen)."""
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
