"""What scripts/bench/sft says when memory does not suffice: its last line is the ratio, or why there is none."""

import argparse
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "bench"
MEASURED = {"speed": 300.0, "flops": 1e9, "bytes": 2e9, "planned": 2e9}
TOO_MUCH = {"error": "out of memory"}


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    loader = SourceFileLoader("bench_sft", str(SCRIPTS / "sft"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def arguments(**keys: object) -> argparse.Namespace:
    given = {"shape": "tiny", "context": 128, "rows": 4, "skip_long": True, "folder": "f", "overrides": []}
    return argparse.Namespace(**given | keys)


def lines(bench: ModuleType, capsys: pytest.CaptureFixture[str], **results: dict) -> list[str]:
    """The report where the ways have these results ("alone": the baseline with a batch of 1)."""

    def child(args: argparse.Namespace, way: str, alone: bool = False) -> dict:
        if way == "matmul":
            return {"flops": 1e12}
        return results.get("alone" if alone else way.replace(", ", "_").replace(" ", "_"), MEASURED)

    bench.child = child
    bench.report(arguments())
    return capsys.readouterr().out.splitlines()


def test_a_baseline_that_fits_is_not_repeated(bench: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines(bench, capsys, padded_whole_logits={**MEASURED, "speed": 200.0}, alone={})
    assert (len(said), said[-1]) == (7, "ratio 1.50x")


def test_a_baseline_whose_batch_does_not_fit_is_repeated_one_by_one(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    said = lines(bench, capsys, padded_whole_logits=TOO_MUCH, alone={**MEASURED, "speed": 150.0})
    assert said[5].split(maxsplit=3) == ["padded,", "whole", "logits", "out of memory"]
    assert said[6].startswith("the same, batch of 1           150")
    assert said[7] == "ratio 2.00x over the baseline with a batch of 1: its own batch does not fit"


@pytest.mark.parametrize(
    ("results", "sentence"),
    [
        (
            {"padded_whole_logits": TOO_MUCH, "alone": TOO_MUCH},
            "no ratio: the baseline is out of memory, with a batch of 1 too",
        ),
        ({"packed_tiles": TOO_MUCH}, "no ratio: the product itself is out of memory"),
    ],
)
def test_a_ratio_that_cannot_be_told_is_one_line(
    bench: ModuleType, capsys: pytest.CaptureFixture[str], results: dict[str, dict], sentence: str
) -> None:
    assert lines(bench, capsys, **results)[-1] == sentence


@pytest.mark.parametrize("alone", [False, True])
def test_one_at_a_time_a_step_has_as_many_examples(bench: ModuleType, alone: bool) -> None:
    config = bench.configured(arguments(alone=alone), cpu=True, packing=False, sizes=[32] * 16)
    args = config.trainer.args
    found = args["per_device_train_batch_size"], args.get("gradient_accumulation_steps", 1)
    assert found == ((1, 4) if alone else (4, 1))


@pytest.mark.parametrize(
    ("stderr", "ran_out"),
    [
        ("Traceback\n  ...\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 9 GiB\n", True),
        (
            "Traceback\n  ...\ntorch.AcceleratorError: CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`",
            True,
        ),
        ("Traceback\n  ...\nRuntimeError: DefaultCPUAllocator: can't allocate memory: you tried", True),
        ("a warning: this may run out of memory\nTraceback\n  ...\nValueError: no such key\n", False),
    ],
)
def test_running_out_of_memory_is_told_from_other_failures(bench: ModuleType, stderr: str, ran_out: bool) -> None:
    assert bench.out_of_memory(stderr) is ran_out
