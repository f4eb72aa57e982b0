"""vLLM's engine as it is asked for: arguments of any plain kind, one engine per model; memory that does not suffice.

Without vLLM: what it is given is looked at, and what it raises is raised here. `test_vllm.py` runs a real one.
"""

import asyncio
import sys
from itertools import count
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from reer.backend import vllm
from reer.backend.models import load_model
from reer.config import ModelConfig, SynthesizeConfig, VLLMBackendConfig, load, register
from reer.errors import BackendError, ModelError


@pytest.fixture
def engines(monkeypatch):
    """The arguments of every engine that was started."""
    started = []
    monkeypatch.setattr(vllm, "Engine", lambda *given: started.append(given) or object())
    vllm._engine.cache_clear()
    yield started
    vllm._engine.cache_clear()


def config(**arguments):
    return VLLMBackendConfig(
        model=ModelConfig(path="some/model", dtype="float32", max_length=100), engine_args=arguments
    )


def plain(value):
    if isinstance(value, dict):
        return type(value) is dict and all(map(plain, value.values()))
    return type(value) in (list, int, float, str, bool) and (type(value) is not list or all(map(plain, value)))


@pytest.mark.parametrize("wrap", [lambda value: value, OmegaConf.create], ids=["plain", "OmegaConf"])
def test_arguments_may_be_dicts_and_lists_of_any_depth(engines, wrap):
    given = {"compilation_config": {"mode": 0, "cudagraph_capture_sizes": [1, 2, {"a": [3]}]}, "seed": 1}
    vllm.load_engine(config(**{key: wrap(v) if isinstance(v, dict) else v for key, v in given.items()}))
    [(_, _, _, _, arguments)] = engines
    assert arguments == given
    assert plain(arguments)


def test_roles_with_equal_arguments_share_an_engine_in_whatever_order_they_stand(engines):
    first = vllm.load_engine(config(a={"x": 1, "y": [1]}, b=2))
    assert vllm.load_engine(config(b=2, a={"y": [1], "x": 1})) is first
    assert vllm.load_engine(config(b=2, a={"y": [1, 2], "x": 1})) is not first
    assert len(engines) == 2


def test_an_engine_that_died_ends_the_run_and_one_that_refuses_only_the_request(monkeypatch):
    class EngineDeadError(Exception):
        pass

    class EngineGenerateError(Exception):
        pass

    async def generate(*given):
        raise given[1].pop()
        yield  # an asynchronous generator, as vLLM's is

    exceptions = SimpleNamespace(EngineDeadError=EngineDeadError, EngineGenerateError=EngineGenerateError)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(SamplingParams=lambda **given: [given.pop("error")]))
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.exceptions", exceptions)
    engine = object.__new__(vllm.Engine)
    engine.path, engine._llm, engine._numbers = "some/model", SimpleNamespace(generate=generate), count()
    with pytest.raises(ModelError, match="some/model has died: gone; the same command goes on"):
        asyncio.run(engine._run((1, 2), {"error": EngineDeadError("gone")}))
    with pytest.raises(BackendError, match="too long"):
        asyncio.run(engine._run((1, 2), {"error": EngineGenerateError("too long")}))


def test_the_command_line_gives_dicts_and_lists(engines):
    given = ["+generator.engine_args.compilation_config={mode: 0}", "+generator.engine_args.middleware=[a,b]"]
    overrides = ["backend@generator=vllm", "model.path=some/model", "model.dtype=float32", *given]
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        composed = compose("synthesize", overrides=overrides)
    vllm.load_engine(load(composed, SynthesizeConfig).generator)
    assert engines[0][-1] == {"compilation_config": {"mode": 0}, "middleware": ["a", "b"]}


# memory


def no_memory():
    from torch import OutOfMemoryError

    return OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.2 GiB free.\nSee ...")


@pytest.mark.parametrize(
    "raised",
    [no_memory, MemoryError, lambda: RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: ..."),
     lambda: RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ...")],
    ids=["torch", "Python", "CPU", "driver"],
)  # fmt: skip
@pytest.mark.parametrize("where", ["from_pretrained", "to"])
def test_a_model_that_does_not_fit_beside_another_is_one_sentence(tiny_model, monkeypatch, raised, where):
    import torch
    from transformers import AutoModelForCausalLM

    def fail(*args, **kwargs):
        raise raised()

    owner = AutoModelForCausalLM if where == "from_pretrained" else torch.nn.Module
    monkeypatch.setattr(owner, where, fail)
    with pytest.raises(ModelError, match=rf"^model {tiny_model} does not fit into .* memory of cpu: .*device") as it:
        load_model(ModelConfig(path=str(tiny_model), device="cpu", revision=f"{where} {raised().args}"))
    assert "\n" not in str(it.value)


def test_another_fault_at_load_is_not_called_a_lack_of_memory(tiny_model, monkeypatch):
    import torch

    def fail(*args, **kwargs):
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    with pytest.raises(RuntimeError, match="no kernel image"):
        load_model(ModelConfig(path=str(tiny_model), device="cpu", revision="another"))


@pytest.fixture
def failing(monkeypatch):
    """vLLM, as far as its engine can be started; `failing.error` says what that raises."""
    state = SimpleNamespace(error=None)

    def from_engine_args(arguments):
        if state.error:
            raise state.error
        return SimpleNamespace(vllm_config=None, shutdown=lambda: None)

    names = ("vllm", "vllm.engine", "vllm.engine.arg_utils", "vllm.v1", "vllm.v1.engine", "vllm.v1.engine.async_llm")
    for name in names:
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    sys.modules["vllm.engine.arg_utils"].AsyncEngineArgs = lambda **given: given
    sys.modules["vllm.v1.engine.async_llm"].AsyncLLM = SimpleNamespace(from_engine_args=from_engine_args)
    vllm._engine.cache_clear()
    yield state
    vllm._engine.cache_clear()


@pytest.mark.parametrize(
    "error",
    [no_memory(), RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}"),
     ValueError("Free memory on device cuda:0 (4.1/79.1 GiB) on startup is less than desired GPU memory utilization "
                "(0.92, 72.8 GiB).\nDecrease GPU memory utilization or reduce GPU memory used by other processes.")],
    ids=["torch", "engine", "share"],
)  # fmt: skip
def test_two_models_that_vllm_cannot_hold_are_one_sentence(failing, error):
    vllm.load_engine(config())
    failing.error = error
    with pytest.raises(ModelError, match=r"^vLLM cannot serve other/model: .*gpu_memory_utilization=0\.45") as it:
        vllm.load_engine(VLLMBackendConfig(model=ModelConfig(path="other/model", dtype="float32")))
    assert "\n" not in str(it.value)


def test_one_model_alone_is_not_told_of_a_share(failing):
    failing.error = ValueError("unknown argument\nfoo")
    with pytest.raises(ModelError, match=r"^vLLM cannot serve other/model: unknown argument foo$"):
        vllm.load_engine(VLLMBackendConfig(model=ModelConfig(path="other/model", dtype="float32")))
