"""What training takes, by arithmetic: bytes on a GPU and in the host, FLOPs per token, seconds and GPU-hours.

Knows precisions, optimisers, ZeRO and offloading. Its inputs are counts (`shape.py`: parameters, and what autograd
keeps of a layer); knows nothing of configs, libraries and files. Bytes are plain numbers, 1 GB is 10^9 of them.
"""

from dataclasses import dataclass, field

STATE_BYTES = {
    "adamw_torch": 8, "adamw_torch_fused": 8, "paged_adamw_32bit": 8, "stable_adamw": 8,
    "adamw_8bit": 2, "adamw_bnb_8bit": 2, "adamw_torch_8bit": 2, "paged_adamw_8bit": 2, "adamw_torch_4bit": 1,
    "lion_32bit": 4, "paged_lion_32bit": 4, "lion_8bit": 1, "paged_lion_8bit": 1, "sgd": 0,
}  # fmt: skip
"""Bytes of optimiser state per float32 parameter, by `trainer.args.optim`: two moments of Adam, one of Lion."""

TILE = (4096, 32768)
"""Tokens and vocabulary entries whose logits trl's chunked loss has at once (trl/kernels/chunked_logprob.py)."""
WITHOUT_TRITON = 29
"""Bytes beside each of these logits where the tile is worked on in plain torch, one tensor a step (traced)."""
CONTEXT = 0.6e9
"""Bytes that CUDA and its libraries take before the first tensor (assumed; 0.5 to 0.7 GB on recent drivers)."""
PROCESS = 3e9
"""Bytes of host memory of one training process besides the model: Python, torch, the data (assumed)."""
FRAGMENTED = 0.05
"""Share of what comes and goes that the allocator cannot use (assumed)."""
MATMUL = 0.81
"""Share of its data sheet that a GPU reaches in matrix products of this size: 798 of 989 TFLOP/s, measured on an H100;
of other cards assumed."""
CPU_ADAM = 2e9
"""Parameters a second that an optimiser on the host updates, on all of its cores (assumed)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Counts of one model; with adapters, `trainable` are the adapters' and all others leave them out."""

    total: int
    trainable: int
    layers: int
    matrices: int
    """Weights of the linear maps in the layers: what a token is multiplied with, and what 4 bits are made of."""
    head: int
    """Weights of the output layer: vocabulary x hidden size. Tied to the embedding they are stored once."""
    largest: int
    """Parameters of the largest single module."""
    attention: int
    """Width of a layer's queries: heads x size of a head."""
    hidden: int
    trains_head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Bytes that autograd keeps for one micro-batch, besides weights and gradients; traced by `shape.trace`."""

    layer: int
    """From the forward to the backward of one layer; under gradient checkpointing its input alone."""
    forward: int
    """The same while the forward still runs: under autocast also the layer's weights in the lower precision."""
    rest: int
    """Outside the layers: embeddings, last norm, positions."""
    live: int
    """Of a model of one layer at the worst moment of its backward, its `layer` and `rest` included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a model is trained, as far as memory goes."""

    tokens: int
    """Of one micro-batch on one GPU."""
    gpus: int = 1
    stage: int | None = None
    """ZeRO stage; None: no DeepSpeed."""
    compute_bytes: int = 2
    """Of a number in the arithmetic."""
    weight_bytes: float = 2
    """Of a weight as it is held; with adapters, of the frozen ones."""
    quantised_bytes: float | None = None
    """Of a weight of the linear maps, where they are held in 4 bits."""
    trained_bytes: int = 2
    """Of a weight that is trained."""
    state_bytes: float = 8
    accumulates: bool = False
    """Several micro-batches make a step."""
    chunked: bool = True
    """The loss is computed in tiles; else all logits are there at once."""
    adapters: bool = False
    offload_optimizer: bool = False
    offload_weights: bool = False
    offload_activations: bool = False
    gathered: float = 1e9
    """Parameters that ZeRO-3 keeps gathered at most (stage3_max_live_parameters)."""
    bucket: float = 0
    """Gradients that are reduced together (reduce_bucket_size), twice where communication overlaps."""
    sub_group: float = 1e9
    """Parameters that ZeRO-3 updates at once."""
    on_cpu: bool = False
    """One process without a GPU."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by part at the moment when most are in use."""

    parts: dict[str, float]
    moment: str
    host: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """On one GPU."""
        return sum(self.parts.values())

    @property
    def offloads(self) -> bool:
        """Whether the host holds what a GPU would."""
        return not self.host.keys() <= {"processes", "while loading"}

    @property
    def allocated(self) -> float:
        """Of it, what torch's allocator hands out: without the context and what is lost to fragmentation."""
        return sum(size for part, size in self.parts.items() if part not in ("CUDA context", "fragmentation"))


def memory(parameters: Parameters, kept: Kept, setup: Setup) -> Memory:
    """The peak over the moments of one optimiser step, with what holds throughout."""
    held = model_states(parameters, setup)
    moments = _one_process(parameters, kept, setup, held) if setup.on_cpu else _moments(parameters, kept, setup, held)
    moment = max(moments, key=lambda name: sum(moments[name].values()))
    passing = sum(size for part, size in moments[moment].items() if part != "gradients")
    parts = held | moments[moment] | {"fragmentation": FRAGMENTED * passing}
    if not setup.on_cpu:
        parts["CUDA context"] = CONTEXT
    offloaded = kept.layer * parameters.layers if setup.offload_activations else 0
    return Memory({part: size for part, size in parts.items() if size}, moment, host(parameters, setup, offloaded))


def _moments(parameters: Parameters, kept: Kept, setup: Setup, held: dict[str, float]) -> dict[str, dict[str, float]]:
    """What comes and goes on a GPU. Between the begin and the end of the backward every layer frees what it kept and
    adds its gradients, so one of the two ends is the worse."""
    activations = kept.layer * parameters.layers + kept.rest
    in_forward = (kept.forward - kept.layer) * parameters.layers
    if setup.offload_activations:
        activations, in_forward = kept.rest + 5 * kept.layer, 0  # trl keeps the five newest on the GPU
    whole = held["gradients"]
    before = whole if setup.accumulates or setup.stage == 3 else 0.0
    head = parameters.head * setup.trained_bytes * parameters.trains_head if before < whole else 0.0
    return {
        "loss": {
            "gradients": before,
            "activations": activations + in_forward,
            "loss": loss_bytes(parameters, setup),
        },
        "begin of the backward": {
            "gradients": before + head,
            "activations": activations,
            "layer in work": kept.live - kept.layer - kept.rest,
        },
        "end of the backward": {"gradients": whole, "layer in work": kept.live},
        "update": {"gradients": whole, "update": update_bytes(parameters, setup)},
    }


def _one_process(
    parameters: Parameters, kept: Kept, setup: Setup, held: dict[str, float]
) -> dict[str, dict[str, float]]:
    """The same on a CPU, whose C library keeps what is freed in pieces below 32 MB for the process: gradients and
    layers reuse one another's room, and the loss, made of larger pieces, comes on top of the most they ever took."""
    head = parameters.head * setup.trained_bytes * parameters.trains_head
    gradients, loss = held["gradients"] - head, loss_bytes(parameters, setup)
    activations = kept.layer * parameters.layers + kept.rest
    work = kept.live - kept.layer - kept.rest
    before = gradients if setup.accumulates else 0.0
    return {
        "begin of the backward": {
            "gradients": before,
            "activations": activations,
            "layer in work": work,
            "loss": loss + (head if setup.accumulates else 0),
        },
        "end of the backward": {"gradients": gradients, "layer in work": kept.live, "loss": loss},
    }


def model_states(parameters: Parameters, setup: Setup) -> dict[str, float]:
    """Bytes on one GPU that weights, gradients and optimiser take, and the buffers that move them."""
    shards = [setup.gpus if (setup.stage or 0) >= stage else 1 for stage in (1, 2, 3)]
    trainable = parameters.trainable
    weights = weight_bytes(parameters, setup)
    master = 4.0 * trainable if setup.stage else 0.0
    gradients = setup.trained_bytes * trainable / shards[1]
    buffers = setup.bucket * setup.trained_bytes if setup.stage else 0.0
    if not setup.stage and setup.gpus > 1:
        buffers = gradients  # DistributedDataParallel reduces them in buckets of its own
    gathered = min(parameters.total, setup.gathered + parameters.largest) * setup.compute_bytes
    return {
        "weights": 0.0 if setup.offload_weights else weights / shards[2],
        "gradients": 0.0 if setup.offload_optimizer else gradients,
        "float32 master weights": 0.0 if setup.offload_optimizer else master / shards[0],
        "optimiser states": 0.0 if setup.offload_optimizer else setup.state_bytes * trainable / shards[0],
        "gathered layers": gathered if setup.stage == 3 and (setup.gpus > 1 or setup.offload_weights) else 0.0,
        "buffers": buffers,
    }


def weight_bytes(parameters: Parameters, setup: Setup) -> float:
    """Of the whole model, before it is divided."""
    if not setup.adapters:
        return setup.trained_bytes * parameters.total
    matrices = setup.weight_bytes if setup.quantised_bytes is None else setup.quantised_bytes
    frozen = matrices * parameters.matrices + setup.weight_bytes * (parameters.total - parameters.matrices)
    one_matrix = 0.0 if setup.quantised_bytes is None else setup.compute_bytes * parameters.largest
    return frozen + one_matrix + setup.trained_bytes * parameters.trainable


def loss_bytes(parameters: Parameters, setup: Setup) -> float:
    """Most that the output layer takes, forward or backward, its weight's gradient included."""
    vocabulary = parameters.head // parameters.hidden
    size, tokens = setup.compute_bytes, setup.tokens
    if not setup.chunked:  # logits, and in float32 their log-softmax and two gradients
        return (size + 12) * tokens * vocabulary
    weight = 0
    if parameters.trains_head:  # summed up in float32
        weight = (4 if setup.trained_bytes == 4 else 4 + setup.trained_bytes) * parameters.head
    tile = min(tokens, TILE[0]) * min(vocabulary, TILE[1])
    beside = WITHOUT_TRITON if setup.on_cpu else 0
    return tile * (size + beside) + weight + (4 + size) * tokens * parameters.hidden


def update_bytes(parameters: Parameters, setup: Setup) -> float:
    """What an optimiser step needs for itself: DeepSpeed makes float32 copies of the gradients."""
    if setup.stage is None or setup.offload_optimizer:
        return 0.0
    own = parameters.trainable / setup.gpus
    return 4.0 * (min(own, setup.sub_group) if setup.stage == 3 else own)


def host(parameters: Parameters, setup: Setup, activations: float) -> dict[str, float]:
    """Bytes of host memory over all processes of the run, at the larger of loading and training."""
    if setup.on_cpu:
        return {}
    whole = weight_bytes(parameters, setup) if setup.stage is None else setup.compute_bytes * parameters.total
    loading = whole * (1 if setup.stage == 3 else setup.gpus)
    states = (4 + 4 + setup.state_bytes) * parameters.trainable if setup.offload_optimizer else 0.0
    weights = setup.compute_bytes * parameters.total if setup.offload_weights else 0.0
    parts = {
        "processes": PROCESS * setup.gpus,
        "master weights, gradients, optimiser states": states,
        "weights": weights,
        "activations": activations * setup.gpus,
    }
    extra = max(0.0, loading - sum(parts.values()) + parts["processes"])
    return {part: size for part, size in {**parts, "while loading": extra}.items() if size}


def forward_flops(parameters: Parameters, context: float) -> float:
    """Floating-point operations of one token's forward, half of the attention matrix masked (causal)."""
    return 2.0 * (parameters.matrices + parameters.head) + attention_flops(parameters, context)


def attention_flops(parameters: Parameters, context: float) -> float:
    """Of scores and weighted values: 4 x width x layers for each token seen, on average half the context."""
    return 2.0 * context * parameters.attention * parameters.layers


def training_flops(parameters: Parameters, context: float) -> float:
    """Forward and backward of one token, by the usual count: three forwards, nothing recomputed."""
    return 3 * forward_flops(parameters, context)


def executed_flops(
    parameters: Parameters, context: float, *, checkpointing: bool, adapters: bool, full_matrix: float | None = None
) -> float:
    """What is really computed per token: with recomputed layers, and without gradients of frozen weights.

    `full_matrix`: tokens of the row, where attention multiplies all of them with all and masks afterwards.
    """
    attention = attention_flops(parameters, context if full_matrix is None else 2 * full_matrix)
    layers, head = 2.0 * parameters.matrices, 2.0 * parameters.head
    weights = 0.0 if adapters else layers + head
    recomputed = (layers + attention if checkpointing else 0.0) + head  # the chunked loss makes its logits twice
    return 2 * (layers + head) + 3 * attention + weights + recomputed


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One training run, as far as time goes."""

    tokens: float
    """Of all epochs."""
    steps: int
    gpus: int
    flops: float
    """Executed per token."""
    speed: float
    """FLOPs a second that one GPU reaches."""
    update: float = 0.0
    """Seconds a step that an optimiser on the host takes, while the GPUs wait."""

    @property
    def seconds(self) -> float:
        return self.tokens * self.flops / (self.speed * self.gpus) + self.steps * self.update

    @property
    def tokens_per_second(self) -> float:
        """Of one GPU, waiting included."""
        return self.tokens / self.seconds / self.gpus

    @property
    def gpu_hours(self) -> float:
        return self.seconds * self.gpus / 3600
