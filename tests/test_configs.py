"""Every config in the house composes for every stage, and every mistake is one sentence."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from reer.config import (
    CollectConfig,
    EvaluationConfig,
    ExportingConfig,
    MixingConfig,
    PlanningConfig,
    SftConfig,
    SynthesizeConfig,
    load,
    register,
)
from reer.errors import ConfigError, RunDirError
from reer.run import launch

CONF = Path(__file__).parents[1] / "conf"
STAGES = {
    "collect": CollectConfig,
    "synthesize": SynthesizeConfig,
    "mix": MixingConfig,
    "sft": SftConfig,
    "plan": PlanningConfig,
    "export": ExportingConfig,
    "evaluate": EvaluationConfig,
}
GROUPS = sorted(
    (path.parent.name, path.stem) for path in CONF.glob("*/*.yaml") if path.parent.name not in ("backend", "data")
)
NEEDED = {("judge", "openai"): ["judge.backend.model_name=m"]}


@pytest.fixture(scope="module", autouse=True)
def _config_module():
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        yield


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_every_option_of_every_group_composes_and_loads(stage, group, option):
    overrides = [f"{group}={option}", *NEEDED.get((group, option), [])]
    config = load(compose(stage, overrides=overrides), STAGES[stage])
    assert config.stage == stage
    assert config.run_dir.startswith("runs/")


@pytest.mark.parametrize("role", ["generator", "scorer", "draft", "evaluate.backend", "judge.backend"])
@pytest.mark.parametrize("backend", ["hf", "openai", "fake"])
def test_every_backend_can_take_every_role(role, backend):
    overrides = [f"backend@{role}={backend}"] + ([f"{role}.model_name=m"] if backend == "openai" else [])
    config = compose("evaluate", overrides=overrides)
    assert OmegaConf.select(config, role).kind == backend


def test_roles_follow_the_model_group_unless_told_otherwise():
    overrides = ["model=qwen3_8b_base", "generator.model.path=other"]
    config = load(compose("synthesize", overrides=overrides), SynthesizeConfig)
    assert (config.generator.model.path, config.scorer.model.path) == ("other", "Qwen/Qwen3-8B-Base")
    assert config.scorer.model.dtype == "bfloat16"


def test_a_role_can_take_a_whole_model_of_its_own():
    overrides = ["+model@generator.model=qwen2_5_32b_instruct"]
    config = load(compose("synthesize", overrides=overrides), SynthesizeConfig)
    assert config.generator.model.path == "Qwen/Qwen2.5-32B-Instruct"
    assert config.scorer.model.path == "smollm2"


def test_stages_find_each_other_by_name():
    configs = {s: load(compose(s, overrides=["name=mine"]), view) for s, view in STAGES.items()}
    assert configs["sft"].data.trajectories == f"{configs['synthesize'].run_dir}/trajectories.jsonl"
    assert configs["evaluate"].evaluate.model_path == f"{configs['sft'].run_dir}/model"
    assert configs["evaluate"].run_dir == "runs/mine/evaluate-tuned/reasoning"


@pytest.fixture(scope="module")
def searches(_config_module):
    names = sorted(path.stem for path in (CONF / "search").glob("*.yaml"))
    return {name: load(compose("synthesize", overrides=[f"search={name}"]), SynthesizeConfig) for name in names}


def test_the_authors_search_brings_its_layout_and_no_other_search_does(searches):
    found = dict(searches)
    official = found.pop("official")
    assert (official.layout.name, official.layout.instruction) == ("answer_tags", "default")
    assert vars(official.search.objective) == {"kind": "mean_nll", "clip": 2.0, "skip_opening": True}
    assert (official.search.candidates, official.search.leak.enabled) == (2, False)
    assert (official.search.max_steps, official.search.threshold) == (10, 0.25)
    assert (found.pop("blind").search.start, official.search.start) == ("blind", "direct")
    for config in found.values():
        assert (config.layout.name, config.layout.instruction) == ("think", None)
        assert vars(config.search.objective) == {"kind": "mean_nll", "clip": None, "skip_opening": False}
        assert (config.search.start, config.search.edits) == ("direct", [])


def test_the_layout_can_be_chosen_against_the_search_and_without_it():
    def layout(*overrides):
        return load(compose("synthesize", overrides=list(overrides)), SynthesizeConfig).layout

    assert vars(layout("search=official", "layout=think")) == {"name": "think", "instruction": None, "date": None}
    assert vars(layout("layout=official")) == {"name": "answer_tags", "instruction": "default", "date": None}
    assert layout("search=official", "layout.instruction=mine.md").instruction == "mine.md"


@pytest.mark.parametrize("prompts", ["prompts=compact", "prompts=brief", "experiment=compare", "scale=tiny"])
@pytest.mark.parametrize("search", ["forward", "official"])
def test_prompts_for_one_paragraph_bring_segments_of_a_sentence_whatever_the_search(prompts, search):
    found = load(compose("synthesize", overrides=[prompts, f"search={search}"]), SynthesizeConfig).search
    assert (found.segment.min_tokens, found.segment.max_tokens, found.first.max_tokens) == (8, 40, 48)
    plain = load(compose("synthesize", overrides=["prompts=plain", f"search={search}"]), SynthesizeConfig).search
    assert plain.segment.min_tokens > 8


def test_best_of_n_draws_as_often_as_the_control_says_and_refines_nothing(searches):
    search = searches["best_of_n"].search
    assert (search.first_samples * search.first_rounds, search.max_steps) == (16, 0)
    assert {c.search.first_rounds for name, c in searches.items() if name not in ("best_of_n", "compose")} == {1}
    assert searches["compose"].search == replace(search, compose=True)


def test_a_panel_takes_judges_by_name():
    judges = ["judge=panel", "+judge@judge.judges.gpt=openai", "+judge@judge.judges.local=likelihood"]
    overrides = [*judges, "judge.judges.gpt.backend.model_name=big", "judge.judges.gpt.repeats=5"]
    config = load(compose("evaluate", overrides=overrides), EvaluationConfig)
    found = {key: (judge.kind, judge.backend.kind, judge.repeats) for key, judge in config.judge.judges.items()}
    assert found == {"gpt": ("openai", "openai", 5), "local": ("likelihood", "hf", 1)}


def test_a_benchmark_brings_the_sampling_of_its_protocol():
    found = {}
    for name in ("longbench_write", "hellobench", "writingbench"):
        config = load(compose("evaluate", overrides=[f"benchmark={name}"]), EvaluationConfig).benchmark
        found[name] = (config.max_tokens, config.temperature, config.top_p)
    assert found == {
        "longbench_write": (32768, 0.5, 1.0), "hellobench": (16384, 0.8, 1.0), "writingbench": (16000, 0.7, 0.8),
    }  # fmt: skip


def test_a_missing_value_is_named():
    with pytest.raises(ConfigError, match=r"missing value for data.path: give data.path=... on the command line"):
        load(compose("synthesize", overrides=["data=files"]), SynthesizeConfig)


def test_a_stage_does_not_ask_for_what_it_does_not_use():
    load(compose("synthesize", overrides=["judge=openai"]), SynthesizeConfig)
    with pytest.raises(ConfigError, match="judge.backend.model_name"):
        load(compose("evaluate", overrides=["judge=openai"]), EvaluationConfig)


def reer(*arguments, cwd, stage="reer.synthesize"):
    command = [sys.executable, "-m", stage, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("search.max_step=3", "unknown key search.max_step: did you mean search.max_steps?"),
        ("serch.max_steps=3", "unknown key serch.max_steps: did you mean search.max_steps?"),
        ("search.max_steps=ten", "search.max_steps=ten: Value 'ten' of type 'str' could not be converted to Integer"),
        ("layout=zigzag", "layout=zigzag is unknown: choose one of answer_tags, official, think"),
        ("search=typo", "unknown key search.max_stepz in search/typo.yaml: did you mean search.max_steps?"),
        ("search=wrong", "search.patience in search/wrong.yaml: Value 'x' of type 'str' could not be converted"),
        ("search.segment.min_words=3", "unknown key search.segment.min_words: did you mean search.segment.min_tok"),
        ("search.objective.clip=x", "search.objective.clip=x: Value 'x' of type 'str' could not be converted to Fl"),
        ("data.path=nowhere.jsonl", "nowhere.jsonl: no such file"),
        ("trainer.args.max_steps=3", "key trainer.args.max_steps is not in the config yet: write +trainer.args.max"),
        ("executor.resources={big: 1}", "key executor.resources is not in the config yet: write +executor.resources="),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_1(tmp_path, override, sentence):
    (tmp_path / "mine" / "search").mkdir(parents=True)
    (tmp_path / "mine" / "search" / "typo.yaml").write_text("max_stepz: 3\n")
    (tmp_path / "mine" / "search" / "wrong.yaml").write_text("patience: x\n")
    done = reer("--config-dir", "mine", "experiment=fake", override, cwd=tmp_path)
    assert done.returncode == launch.MISTAKE
    assert done.stderr.startswith(f"reer-synthesize: {sentence}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_help_and_cfg_need_no_heavy_library(tmp_path):
    code = (
        "import sys, runpy\n"
        "sys.argv = ['reer-synthesize', '--cfg', 'job', 'experiment=demo']\n"
        "try: runpy.run_module('reer.synthesize', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'matplotlib', 'wandb', 'openai'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "name: demo" in done.stdout


def test_a_run_folder_is_continued_only_with_the_same_settings(tmp_path):
    def config(*overrides):
        base = [f"run_dir={tmp_path}/run", "experiment=fake"]
        return load(compose("synthesize", overrides=[*base, *overrides]), SynthesizeConfig)

    launch.open_run_dir(config("data.limit=3"))
    launch.open_run_dir(config("data.limit=5", "executor.concurrency=2", "generator.latency=0.1", "tracking=wandb"))
    with pytest.raises(RunDirError, match=r"other settings: data.limit \(was 5, now 2\)"):
        launch.open_run_dir(config("data.limit=2"))
    with pytest.raises(RunDirError, match=r"search.threshold \(was 0.25, now 0.5\), seed \(was 0, now 1\)"):
        launch.open_run_dir(config("data.limit=5", "seed=1", "search.threshold=0.5"))
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").data.limit == 5


def test_a_run_folder_from_before_a_key_was_known_goes_on_as_it_began(tmp_path):
    def config(*overrides):
        return load(compose("synthesize", overrides=[f"run_dir={tmp_path}/run", *overrides]), SynthesizeConfig)

    frozen = launch.open_run_dir(config()) / "config.yaml"
    older = OmegaConf.load(frozen)
    del older.search.objective["kind"]
    del older.search["relative_threshold"]
    OmegaConf.save(older, frozen)
    launch.open_run_dir(config())
    OmegaConf.save(older, frozen)
    with pytest.raises(RunDirError, match=r"search.objective.kind \(was None, now mean_prob\)"):
        launch.open_run_dir(config("search.objective.kind=mean_prob"))


def test_a_run_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    config = load(compose("synthesize", overrides=[f"run_dir={tmp_path}/file/run"]), SynthesizeConfig)
    with pytest.raises(RunDirError, match=r"run_dir=.*/file/run cannot be written: Not a directory"):
        launch.open_run_dir(config)


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "deepspeed").glob("*.yaml")))
def test_deepspeed_accepts_every_option_of_its_group(name):
    from train.arguments.sharding import check_deepspeed

    config = load(compose("sft", overrides=[f"deepspeed={name}"]), SftConfig)
    if config.deepspeed.config is not None:
        check_deepspeed(config.deepspeed.config)
    assert (config.deepspeed.config is None) == (name == "none")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "peft").glob("*.yaml")))
def test_peft_and_transformers_accept_every_option_of_its_group(name, monkeypatch):
    from train.arguments.adapters import adapter_arguments, quantization_arguments

    monkeypatch.setattr(
        "train.arguments.adapters.installed", lambda package: True
    )  # bitsandbytes itself reads no config
    config = load(compose("sft", overrides=[f"peft={name}"]), SftConfig)
    adapter, quantization = adapter_arguments(config.peft), quantization_arguments(config.peft)
    assert (adapter is None) == (name == "none")
    assert (quantization is None) == (name != "qlora")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "experiment").glob("deepwriter_*.yaml")))
def test_trl_accepts_the_arguments_of_every_experiment(name):
    from train.arguments.trainer import Amount, trainer_arguments

    config = load(compose("sft", overrides=[f"experiment={name}"]), SftConfig)
    args = trainer_arguments(config, "bfloat16", Amount(examples=20_000, tokens=85_200_000, held_out=128))
    processes = {"deepwriter_8b": 8}.get(name, 1)
    assert config.launch.processes == processes
    packs = args.gradient_accumulation_steps * args.per_device_train_batch_size * processes
    assert packs * 20_000 / 5_201 == pytest.approx(96, rel=0.05)  # 5,201 packs of 16,384 tokens hold all of it
