"""The rooms of the house and the arrows between them, as docs/architecture.md draws them, and how large they may be.

The picture is the rule: an import has to follow its arrows, and every arrow has to be an import.
"""

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("reer", "collect", "train", "eval")
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "deepspeed", "vllm", "matplotlib", "wandb", "accelerate",
         "ray"}  # fmt: skip
SUBCLASSES = ("train/running/callbacks.py", "train/running/packing.py")
"""They subclass the trainer's own, and are imported inside functions."""
ENTRIES, LINES = 12, 350
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*") if path.is_file() and path.suffix in ("", ".py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(path):
    return str(path.relative_to(ROOT))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(dotted):
    path = ROOT.joinpath(*dotted.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(path, *, everywhere=True):
    """Modules that a file imports, with what it takes of them; only at its top unless `everywhere`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree) if everywhere else tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (full if is_module(full := f"{module}.{a.name}") else module for a in node.names)


def ours(path):
    return [module for module in imports(path) if module.split(".")[0] in PACKAGES]


def room(module):
    return ".".join(module.split(".")[:2])


@cache
def drawn():
    """The arrows of the picture: room -> rooms it points to."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    [picture] = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    rooms = dict(re.findall(r"^ *(\w+)\[([\w.]+)", picture, re.MULTILINE))
    arrows = {target: set() for target in rooms.values()}
    for start, ends in re.findall(r"^ *(\w+) --> (.+)$", picture, re.MULTILINE):
        arrows[rooms[start]] |= {rooms[end.strip()] for end in ends.split("&")}
    return arrows


@cache
def below(start):
    """Every room that the arrows of the picture lead to."""
    found = set(drawn()[start])
    return found.union(*(below(next_) for next_ in found))


def test_the_picture_has_no_circle():
    tuple(TopologicalSorter(drawn()).static_order())


def test_the_picture_shows_every_room_and_no_other():
    there = {room(module_of(path)) for path in SOURCES} - set(PACKAGES)
    assert set(drawn()) == there


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_follow_the_arrows_of_the_picture(path):
    own = room(module_of(path))
    if own in PACKAGES:
        assert not ours(path)
        return
    wrong = {room(module) for module in ours(path)} - below(own) - {own, "reer"}
    assert not wrong, f"{name(path)} imports {sorted(wrong)}: no arrow of docs/architecture.md leads there"


def test_every_arrow_is_an_import():
    real = {(room(module_of(path)), room(module)) for path in SOURCES for module in ours(path)}
    assert not [(a, b) for a, ends in drawn().items() for b in ends if (a, b) not in real]


def test_no_module_imports_in_a_circle():
    """Imports inside functions count too."""
    graph = {module_of(path): set(ours(path)) - {module_of(path)} for path in SOURCES}
    doors = {module_of(path) for path in SOURCES if path.name == "__init__.py"}
    graph = {
        module: found - {door for door in doors if module.startswith(f"{door}.")} for module, found in graph.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_train_and_eval_know_reer_and_not_each_other_and_reer_neither():
    known = {"reer": {"reer"}, "collect": {"collect", "reer"}, "train": {"train", "reer"}, "eval": {"eval", "reer"}}
    for path in SOURCES:
        assert {module.split(".")[0] for module in ours(path)} <= known[module_of(path).split(".")[0]], path


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_heavy_libraries_are_imported_inside_functions(path):
    if name(path) not in SUBCLASSES:
        assert not {module.partition(".")[0] for module in imports(path, everywhere=False)} & HEAVY


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_module_says_what_it_is(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not tree.body or ast.get_docstring(tree), f"{name(path)} has no docstring"


@pytest.mark.parametrize("top", [*PACKAGES, "scripts"])
def test_every_folder_fits_in_one_look(top):
    for folder in [ROOT / top, *(path for path in (ROOT / top).rglob("*") if path.is_dir())]:
        entries = [path.name for path in folder.iterdir() if path.name != "__pycache__"]
        assert len(entries) <= ENTRIES, f"{name(folder)} has {len(entries)} entries"


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS, *TESTS], ids=name)
def test_no_file_is_longer_than_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


def defines(module, wanted):
    """Whether a module of ours has a sub-module or a name at its top (assigned, defined or imported)."""
    if is_module(f"{module}.{wanted}"):
        return True
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return path.exists() and bool(
        re.search(rf"^(?![ ]*#).*\b{wanted}\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("path", [*TESTS, *SCRIPTS, *EXAMPLES, *PAGES], ids=name)
def test_imports_inside_texts_resolve(path):
    """Programs that tests and pages hold as text are moved by nobody when a module moves."""
    found = re.findall(
        r"^ *from ((?:reer|collect|train|eval)\b[\w.]*) import ([\w, ]+)",
        path.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for module, names in found:
        for wanted in (one.split(" as ")[0].strip() for one in names.split(",")):
            assert defines(module, wanted), f"{name(path)}: from {module} import {wanted}"
