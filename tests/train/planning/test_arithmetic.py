import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.planning.arithmetic import (
    Kept,
    Memory,
    Parameters,
    Schedule,
    Setup,
    attention_flops,
    executed_flops,
    forward_flops,
    loss_bytes,
    memory,
    model_states,
    training_flops,
)

GB = 1e9
QWEN3_8B = Parameters(
    total=8_190_735_360,
    trainable=8_190_735_360,
    layers=36,
    matrices=36 * (4096 * (4096 + 2 * 1024 + 4096) + 3 * 4096 * 12288),
    head=151_936 * 4096,
    largest=151_936 * 4096,
    attention=32 * 128,
    hidden=4096,
    trains_head=True,
)
"""By hand, from the model's config.json."""
KEPT = Kept(layer=134_217_728, forward=134_217_728, rest=545_456_128, live=4_878_761_984)


def states(**setup: float) -> dict[str, float]:
    return model_states(QWEN3_8B, Setup(**{"tokens": 16384, **setup}))  # type: ignore[arg-type]


def test_sixteen_bytes_a_parameter() -> None:
    """bf16 weights 16.4 + gradients 16.4 + float32 master 32.8 + Adam 65.5 = 131 GB."""
    found = states(stage=2, gpus=1)
    rounded = {part: round(size / GB, 1) for part, size in found.items() if size}
    assert rounded == {
        "weights": 16.4,
        "gradients": 16.4,
        "float32 master weights": 32.8,
        "optimiser states": 65.5,
    }
    assert sum(found.values()) / GB == pytest.approx(131.05, abs=0.01)


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "rest"),
    [(1, 16.38, 16.38, 12.29), (2, 16.38, 2.05, 12.29), (3, 2.05, 2.05, 12.29)],
)
def test_what_each_zero_stage_divides_over_eight(stage: int, weights: float, gradients: float, rest: float) -> None:
    found = states(stage=stage, gpus=8)
    assert found["weights"] / GB == pytest.approx(weights, abs=0.01)
    assert found["gradients"] / GB == pytest.approx(gradients, abs=0.01)
    assert (found["float32 master weights"] + found["optimiser states"]) / GB == pytest.approx(rest, abs=0.01)


def test_offloaded_states_are_those_of_deepspeeds_own_estimate() -> None:
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs as estimate

    sizes = {"total_params": QWEN3_8B.total, "largest_layer_params": QWEN3_8B.largest, "additional_buffer_factor": 1}
    for weights in (False, True):
        on_host, on_gpu, _ = estimate(**sizes, cpu_offload=True, cpu_offload_params=weights)
        setup = Setup(tokens=1, stage=3, offload_optimizer=True, offload_weights=weights)
        host = memory(QWEN3_8B, KEPT, setup).host
        assert sum(host.values()) - host["processes"] == pytest.approx(on_host)
        gathered = 4 * QWEN3_8B.largest
        assert model_states(QWEN3_8B, setup)["weights"] == pytest.approx(on_gpu - gathered)


def test_data_parallel_processes_hold_everything_and_their_gradients_twice() -> None:
    one, two = states(weight_bytes=4, trained_bytes=4), states(weight_bytes=4, trained_bytes=4, gpus=2)
    assert sum(two.values()) == sum(one.values()) + one["gradients"]


def test_four_bits_hold_only_the_linear_maps() -> None:
    adapters = 174_587_904
    lora = Parameters(**{**_fields(QWEN3_8B), "trainable": adapters, "trains_head": False})
    setup = Setup(tokens=1, adapters=True, trained_bytes=2, quantised_bytes=0.5)
    one_matrix = 2 * lora.largest  # unpacked to be multiplied with
    wanted = 0.5 * lora.matrices + 2 * (lora.total - lora.matrices) + one_matrix + 2 * adapters
    assert model_states(lora, setup)["weights"] == wanted
    assert wanted / GB == pytest.approx(7.56, abs=0.01)


@pytest.mark.parametrize(("context", "gigaflops"), [(8192, 52.7), (16384, 59.9), (32768, 74.4)])
def test_flops_of_a_token(context: int, gigaflops: float) -> None:
    assert training_flops(QWEN3_8B, context) / 1e9 == pytest.approx(gigaflops, abs=0.05)
    by_hand = 6 * (QWEN3_8B.matrices + QWEN3_8B.head) + 6 * context * 4096 * 36
    assert training_flops(QWEN3_8B, context) == by_hand


def test_what_is_executed_beyond_the_usual_count() -> None:
    forward, head = forward_flops(QWEN3_8B, 8192), 2 * QWEN3_8B.head
    plain = executed_flops(QWEN3_8B, 8192, checkpointing=False, adapters=False)
    assert plain == 3 * forward + head  # the loss makes its logits again
    again = executed_flops(QWEN3_8B, 8192, checkpointing=True, adapters=False)
    assert again == plain + forward - head
    frozen = executed_flops(QWEN3_8B, 8192, checkpointing=False, adapters=True)
    assert frozen == plain - (forward - attention_flops(QWEN3_8B, 8192))
    masked = executed_flops(QWEN3_8B, 4096, checkpointing=False, adapters=False, full_matrix=8192)
    assert masked - plain == 3 * attention_flops(QWEN3_8B, 8192)


def test_logits_of_a_long_row_are_what_tiles_spare() -> None:
    """16,384 x 151,936 logits: 5 GB in bfloat16, and three float32 tensors of 10 GB while the loss is worked out."""
    whole = loss_bytes(QWEN3_8B, Setup(tokens=16384, chunked=False))
    tiles = loss_bytes(QWEN3_8B, Setup(tokens=16384))
    assert whole / GB == pytest.approx(4.98 + 3 * 9.96, abs=0.02)
    weight, hidden = 6 * QWEN3_8B.head, 6 * 16384 * 4096
    assert tiles == 4096 * 32768 * 2 + weight + hidden


def test_the_peak_is_the_worst_of_the_moments() -> None:
    """Short rows: the update, with float32 copies of the gradients; long ones: the loss or the backward."""
    tiny = Kept(layer=1, forward=1, rest=1, live=3)
    short = memory(QWEN3_8B, tiny, Setup(tokens=1, stage=2))
    assert short.moment == "update"
    assert short.parts["update"] == 4 * QWEN3_8B.total
    zero3 = Setup(tokens=16384, stage=3, gpus=8)
    assert memory(QWEN3_8B, KEPT, zero3).moment == "loss"
    wide = Kept(layer=KEPT.layer, forward=KEPT.forward, rest=KEPT.rest, live=2 * KEPT.live)
    assert memory(QWEN3_8B, wide, zero3).moment == "begin of the backward"
    assert memory(QWEN3_8B, KEPT, Setup(tokens=16384)).moment == "end of the backward"


def test_the_allocator_sees_neither_the_context_nor_what_is_lost() -> None:
    found = memory(QWEN3_8B, KEPT, Setup(tokens=16384))
    assert found.total - found.allocated == pytest.approx(found.parts["CUDA context"] + found.parts["fragmentation"])


setups = st.builds(
    Setup,
    tokens=st.integers(1, 40_000),
    gpus=st.sampled_from([1, 2, 8]),
    stage=st.sampled_from([None, 1, 2, 3]),
    trained_bytes=st.sampled_from([2, 4]),
    accumulates=st.booleans(),
    chunked=st.booleans(),
    on_cpu=st.booleans(),
)


def total(setup: Setup, kept: Kept = KEPT) -> float:
    return memory(QWEN3_8B, kept, setup).total


def changed(setup: Setup, **fields: float) -> Setup:
    return Setup(**{**_fields(setup), **fields})  # type: ignore[arg-type]


def _fields(value: Setup | Parameters) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


@given(setups, st.integers(1, 40_000))
def test_more_tokens_never_take_less(setup: Setup, more: int) -> None:
    assert total(changed(setup, tokens=setup.tokens + more)) >= total(setup)


def divided(setup: Setup) -> float:
    """States and buffers, without the layers that ZeRO-3 gathers anew each time."""
    found = model_states(QWEN3_8B, setup)
    return sum(size for part, size in found.items() if part != "gathered layers")


@given(setups)
def test_a_higher_stage_never_takes_more_for_the_states(setup: Setup) -> None:
    sizes = [divided(changed(setup, stage=stage)) for stage in (1, 2, 3)]
    assert sizes == sorted(sizes, reverse=True)


@given(setups.filter(lambda setup: setup.stage is not None))
def test_more_gpus_never_hold_more_each(setup: Setup) -> None:
    assert divided(changed(setup, gpus=2 * setup.gpus)) < divided(setup)


@given(setups)
def test_no_part_is_negative(setup: Setup) -> None:
    found: Memory = memory(QWEN3_8B, KEPT, setup)
    assert all(size > 0 for size in [*found.parts.values(), *found.host.values()])


def test_a_schedule_is_tokens_times_work_over_speed() -> None:
    one = Schedule(tokens=1e6, steps=10, gpus=1, flops=60e9, speed=300e12)
    assert one.seconds == 200
    assert one.tokens_per_second == 5000
    eight = Schedule(tokens=1e6, steps=10, gpus=8, flops=60e9, speed=300e12)
    assert (eight.seconds, eight.gpu_hours) == (25, one.gpu_hours)
    waiting = Schedule(tokens=1e6, steps=10, gpus=1, flops=60e9, speed=300e12, update=4)
    assert waiting.seconds == 240
    assert waiting.tokens_per_second == pytest.approx(1e6 / 240)
