"""The import arrows of the house: each layer imports only layers above, heavy libraries stay inside functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    ["types", "errors"],
    ["state"],
    ["config", "layout", "objective", "segment", "ledger", "prompts", "leak", "outputs", "manifest", "diff"],
    ["pairs", "backend", "tracking"],
    ["propose", "policy", "cost", "estimate", "filters"],
    ["search"],
    ["trajectories", "execute"],
    ["launch", "results", "overview", "plots", "score_plots", "views", "answers", "evaluation", "report"],
    ["synthesize"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "deepspeed", "vllm", "matplotlib", "wandb", "accelerate"}
SOURCES = sorted(path for package in ("reer", "train", "eval") for path in (ROOT / package).rglob("*.py"))


def imports(tree, *, everywhere):
    """Imported modules with the imported names; only those at the top of the file unless `everywhere`."""
    nodes = ast.walk(tree) if everywhere else [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.module or "", alias.name) for alias in node.names)


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def layer_of(path):
    parts = path.relative_to(ROOT / "reer").with_suffix("").parts
    return None if parts == ("__init__",) else parts[0]


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "reer")], ids=lambda p: p.stem)
def test_reer_imports_only_layers_above(path):
    own = layer_of(path)
    if own is None:
        return
    assert own in LEVEL, f"{own} has no place in the house: add it to a layer"
    for module, name in imports(parsed(path), everywhere=False):
        assert module.partition(".")[0] not in ("train", "eval")
        if not module.startswith("reer"):
            continue
        target = module.split(".")[1] if "." in module else name
        if target in LEVEL and target != own:
            assert LEVEL[target] <= LEVEL[own], f"{own} imports {target}, which stands below it"


@pytest.mark.parametrize("path", [p for p in SOURCES if not p.is_relative_to(ROOT / "reer")], ids=lambda p: p.stem)
def test_train_and_eval_know_reer_and_not_each_other(path):
    own = path.relative_to(ROOT).parts[0]
    other = {"train": "eval", "eval": "train"}[own]
    assert not [m for m, _ in imports(parsed(path), everywhere=True) if m.partition(".")[0] == other]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_heavy_libraries_are_imported_inside_functions(path):
    if path.name in ("callbacks.py", "packing.py"):  # subclass the trainer's own; imported inside functions
        return
    found = {module.partition(".")[0] for module, _ in imports(parsed(path), everywhere=False)}
    assert not found & HEAVY


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_module_says_what_it_is(path):
    tree = parsed(path)
    assert not tree.body or ast.get_docstring(tree), f"{path} has no docstring"
