"""The stage reer-plan: what the training of the same words would take. Nothing is trained, downloaded or written.

config of reer-sft ─▶ setup (how the model is held) ─▶ shape (counted, traced) ─▶ arithmetic ─▶ a table
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reer.config import PlanningConfig
from reer.errors import ConfigError
from reer.run.launch import DONE, command
from reer.run.space import free

from .arguments.trainer import max_length
from .planning.arithmetic import (
    CONTEXT,
    CPU_ADAM,
    FRAGMENTED,
    MATMUL,
    PROCESS,
    Memory,
    Schedule,
    executed_flops,
    memory,
    training_flops,
)
from .planning.disk import disk, standing
from .planning.remedies import remedies
from .planning.setup import Reading, read

GB = 1e9


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU as sold."""

    gigabytes: float
    tflops: float
    """Of dense matrix products in bfloat16, by the data sheet."""


CARDS = {
    "a100": Card(80, 312),
    "a100_40gb": Card(40, 312),
    "b200": Card(180, 2250),
    "h100": Card(80, 989),
    "h200": Card(141, 989),
    "l40s": Card(48, 362),
    "rtx4090": Card(24, 165),
}
"""By NVIDIA's data sheets."""


def run(config: PlanningConfig) -> int:
    """Print the plan; returns an exit code."""
    card = find_card(config)
    print("\n".join(table(read(config), card)))
    return DONE


def find_card(config: PlanningConfig) -> Card:
    """The GPU of the plan.

    Raises:
        ConfigError: an unknown one.
    """
    plan = config.plan
    if plan.gpu not in CARDS:
        raise ConfigError(
            f"plan.gpu={plan.gpu} is unknown: choose one of {', '.join(CARDS)}; plan.gpu_memory and "
            f"plan.matmul_tflops describe any other"
        )
    known = CARDS[plan.gpu]
    return Card(plan.gpu_memory or known.gigabytes, known.tflops)


def needed(reading: Reading) -> Memory:
    """Memory of one GPU and of the host."""
    return memory(reading.parameters, reading.kept, reading.setup)


def schedule(reading: Reading, card: Card) -> Schedule:
    """Tokens, steps and speed of the whole run."""
    plan, setup, args, data = reading.config.plan, reading.setup, reading.args, reading.data
    flops = executed_flops(
        reading.parameters,
        data.context,
        checkpointing=args.gradient_checkpointing,
        adapters=setup.adapters,
        full_matrix=max_length(reading.config) if reading.kernel != "fused" else None,
    )
    peak = 1e12 * (plan.matmul_tflops or MATMUL * card.tflops)
    return Schedule(
        tokens=reading.tokens,
        steps=reading.steps,
        gpus=setup.gpus,
        flops=flops,
        speed=plan.utilisation * peak,
        update=reading.parameters.trainable / CPU_ADAM if setup.offload_optimizer else 0.0,
    )


def table(reading: Reading, card: Card) -> Iterator[str]:
    """The plan as lines of text."""
    need = needed(reading)
    yield from _head(reading)
    yield from _memory(reading, need, card)
    yield from _host(reading, need)
    yield from _disk(reading)
    yield from _time(reading, card)
    yield from _assumptions(reading, card)


def _head(reading: Reading) -> Iterator[str]:
    config, setup, args, parameters = reading.config, reading.setup, reading.args, reading.parameters
    how = {None: "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}[config.peft.method]
    sharing = "" if setup.stage is None else f", ZeRO-{setup.stage}"
    where = "on the CPU" if setup.on_cpu else f"on {setup.gpus} x {config.plan.gpu}"
    rows = "packed " if args.packing else ""
    yield (f"{config.model.path}: {how} in {reading.dtype}{sharing} {where}, "
           f"{args.per_device_train_batch_size} x {max_length(config):,} tokens {rows}at once")  # fmt: skip
    share = "all" if parameters.trainable == parameters.total else f"{_count(parameters.trainable)} of adapters"
    yield f"parameters        {_count(parameters.total):>9}   trained: {share}"


def _memory(reading: Reading, need: Memory, card: Card) -> Iterator[str]:
    setup = reading.setup
    yield f"\nmemory of {'the process' if setup.on_cpu else 'one GPU'} in GB (10^9 bytes), at its most: {need.moment}"
    for part, size in need.parts.items():
        yield _line(part, size)
    if setup.on_cpu:
        yield _line("total", need.total) + "   besides Python and its libraries"
    else:
        yield _line("total", need.total) + f"   of {card.gigabytes:g}: {_verdict(need.total, card.gigabytes)}"
    for words, other in _otherwise(reading):
        yield _line(f"total {words}", other.total)
    if not setup.on_cpu and need.total > card.gigabytes * GB:
        yield from _remedies(reading, card)


def _line(name: str, size: float) -> str:
    return f"  {name:<44}{size / GB:>8.2f}"


def _verdict(size: float, room: float) -> str:
    return f"fits, {room - size / GB:.1f} to spare" if size <= room * GB else "DOES NOT FIT"


def _otherwise(reading: Reading) -> Iterator[tuple[str, Memory]]:
    """The total, were one choice another."""
    on = reading.args.gradient_checkpointing
    yield f"{'without' if on else 'with'} gradient checkpointing", needed(reading.retraced(checkpointing=not on))
    yield "with whole logits", needed(replace(reading, setup=replace(reading.setup, chunked=False)))


def _remedies(reading: Reading, card: Card) -> Iterator[str]:
    found = list(remedies(reading, card.gigabytes * GB))
    for words, need in found:
        on_host = f", and {sum(need.host.values()) / GB:.0f} GB of host memory" if need.offloads else ""
        yield f"  fits with {words} ({need.total / GB:.1f} GB{on_host})"
    if not found:
        yield "  nothing that reer-plan knows makes it fit: take a larger card or a smaller model"


def _host(reading: Reading, need: Memory) -> Iterator[str]:
    if not need.host:
        return
    total, room = sum(need.host.values()), reading.config.plan.host_memory
    yield "\nmemory of the host in GB, all processes together"
    for part, size in need.host.items():
        yield _line(part, size)
    yield _line("total", total) + (f"   of {room:g}: {_verdict(total, room)}" if room else "")


def _disk(reading: Reading) -> Iterator[str]:
    run_dir = Path(reading.config.run_dir)
    need = disk(reading.parameters, reading.setup, standing(reading.args, reading.steps),
                merge=reading.config.peft.merge)  # fmt: skip
    yield f"\ndisk of {run_dir.parent} in GB, at the most that stands there at the same time"
    yield _line("one checkpoint: weights", need.weights)
    yield _line("one checkpoint: optimiser states", need.states)
    yield _line(f"{need.checkpoints} checkpoints at once", need.checkpoints * need.checkpoint) + _kept(reading)
    yield _line("model/", need.model)
    room = free(run_dir) / GB
    yield _line("total", need.total) + f"   of {room:.1f} free here: {_verdict(need.total, room)}"


def _kept(reading: Reading) -> str:
    limit, best = reading.args.save_total_limit, reading.args.load_best_model_at_end
    if limit is None:
        return "   all are kept (trainer.args.save_total_limit)"
    return f"   save_total_limit={limit}{', the best among them' if best else ''}, and the one being written"


def _time(reading: Reading, card: Card) -> Iterator[str]:
    if reading.setup.on_cpu and not reading.config.plan.matmul_tflops:
        yield "\ntime: give plan.matmul_tflops, what this machine reaches in matrix products"
        return
    run, data, price = schedule(reading, card), reading.data, reading.config.plan.price_per_gpu_hour
    usual = training_flops(reading.parameters, data.context)
    yield "\ntime"
    facts = {
        "tokens": (_count(run.tokens), f"{run.tokens / data.tokens:g} x {data.examples:,} examples"),
        "optimiser steps": (f"{run.steps:,}", f"of about {run.tokens / run.steps:,.0f} tokens"),
        "GFLOP a token": (f"{run.flops / 1e9:.1f}", f"executed ({usual / 1e9:.1f} where nothing is computed twice)"),
        "tokens/s of one GPU": (f"{run.tokens_per_second:,.0f}", ""),
        "hours": (f"{run.seconds / 3600:.2f}", ""),
        "GPU-hours": (f"{run.gpu_hours:.1f}", f"${run.gpu_hours * price:,.2f}" if price else ""),
    }
    for name, (value, remark) in facts.items():
        yield f"  {name:<44}{value:>8}   {remark}".rstrip()


def _assumptions(reading: Reading, card: Card) -> Iterator[str]:
    """What the numbers above rest on, and where each comes from."""
    plan, setup = reading.config.plan, reading.setup
    yield "\nassumed"
    yield f"  data             {reading.data.source}"
    yield "  activations      what autograd keeps of a layer, traced on tensors without data; nothing compiled"
    if reading.kernel == "masked":
        yield "  attention        sdpa with a mask multiplies whole rows and masks them afterwards; flash attention"
        yield "                   (trainer.args.model_init_kwargs.attn_implementation) spares that"
    yield f"  loss             {'in tiles (trl)' if setup.chunked else 'whole logits'}, every position supervised"
    if setup.on_cpu:
        yield f"  allocator        {FRAGMENTED:.0%} of what comes and goes is lost; glibc may hold a third more under"
        yield "                   adapters, unless MALLOC_MMAP_THRESHOLD_=65536 is in the environment"
        return
    yield f"  allocator        {FRAGMENTED:.0%} of what comes and goes is lost; CUDA itself takes {CONTEXT / GB:g} GB"
    yield f"  host             {PROCESS / GB:g} GB a process; the model is loaded there first"
    if plan.matmul_tflops:
        yield f"  matrix products  {plan.matmul_tflops:g} TFLOP/s (plan.matmul_tflops)"
    else:
        yield f"  matrix products  {MATMUL} of the {card.tflops:g} TFLOP/s of the data sheet, as measured on an H100"
        yield "                   (plan.matmul_tflops takes what scripts/bench/sft measures on yours)"
    yield f"  utilisation      {plan.utilisation:g} of that (plan.utilisation), communication included; torchtitan's"
    yield "                   published runs of Llama-3.1-8B on 8 H100 come to 0.37 to 0.48, by the same count"
    if setup.offload_optimizer:
        yield f"  optimiser        on the host, {CPU_ADAM / 1e9:g} B parameters a second, the GPUs waiting"
    if not plan.price_per_gpu_hour:
        yield "  price            none given (plan.price_per_gpu_hour)"


def _count(number: float) -> str:
    """Three digits and a unit."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


main = command("plan", PlanningConfig, run)

if __name__ == "__main__":
    main()
