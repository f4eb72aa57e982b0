"""The presets of datasets, on small local copies in the schema that the hub has."""

import json

import pytest
from hydra import compose, initialize_config_module

from collect.read.pairs import from_dataset
from reer.config import CollectConfig, load, register
from reer.errors import DataError
from reer.files.pairs import Notes, Quarantined

TURNS = [{"role": "user", "content": "Write a fable."}, {"role": "assistant", "content": "A fox came by."}]
ROWS = {
    "writing_prompts": {"prompt": "Write a fable.", "story": "A fox came by."},
    "wildchat": {
        "conversation_hash": "ab12",
        "conversation": [turn | {"language": "English", "redacted": False, "toxic": False} for turn in TURNS],
        "language": "English",
    },
    "longwriter_6k": {"messages": TURNS},
    "dolly": {
        "instruction": "Write a fable.", "context": "", "response": "A fox came by.", "category": "creative_writing"
    },
    "deepwriting_20k": {"prompt": TURNS[:1], "solution": "<think>\nA fox, maybe.\n</think>\n\nA fox came by."},
}  # fmt: skip
LICENCES = {
    "wildchat": "ODC-BY-1.0",
    "longwriter_6k": "Apache-2.0",
    "dolly": "CC-BY-SA-3.0",
    "deepwriting_20k": "unknown",
}


def source(tmp_path, name, rows):
    register()
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with initialize_config_module("reer.conf", version_base="1.3"):
        return load(compose("collect", overrides=[f"source={name}", f"source.path={path}"]), CollectConfig).source


@pytest.mark.parametrize("name", ROWS)
def test_a_row_in_the_schema_of_the_hub_is_a_pair(tmp_path, name):
    [pair] = from_dataset(source(tmp_path, name, [ROWS[name]]), Notes())
    assert (pair.query, pair.answer, pair.language) == ("Write a fable.", "A fox came by.", "en")
    assert pair.licence == LICENCES.get(name, pair.licence)
    assert pair.source
    assert (pair.extra.get("thinking") or "").strip() == ("A fox, maybe." if name == "deepwriting_20k" else "")


def test_a_broken_row_is_set_aside_and_a_copy_without_pairs_is_one_sentence(tmp_path):
    empty = ROWS["writing_prompts"] | {"story": ""}
    found = list(from_dataset(source(tmp_path, "writing_prompts", [empty, ROWS["writing_prompts"]]), Notes()))
    assert [type(row) is Quarantined for row in found] == [True, False]
    with pytest.raises(DataError, match="no usable row; row 1"):
        list(from_dataset(source(tmp_path, "writing_prompts", [empty]), Notes()))


def test_a_column_that_no_row_has_is_told_by_the_key_that_names_it(tmp_path):
    other = {"title": "Write a fable.", "body": "A fox came by."}
    with pytest.raises(DataError, match=r"^source\.columns\.query=prompt: no row of .* has that column"):
        list(from_dataset(source(tmp_path, "writing_prompts", [other]), Notes(group="source")))
