"""Which rows a mix takes, and what is said of the others."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from searched import trajectory

from reer.config import DataConfig, GeneralConfig, LicenceConfig, MixConfig, MixingConfig
from reer.errors import ConfigError, DataError
from reer.files.pairs import Quarantined
from train.mixing.mix import Mixture
from train.mixing.rules import Entry
from train.mixing.settings import rules_of

Write = Callable[..., Path]


def mixture(path: Path, mix: MixConfig | None = None, *, allow: bool = False, seed: int = 0, **data: Any) -> Mixture:
    data_config = DataConfig(trajectories=str(path), **data)
    config = MixingConfig(stage="mix", run_dir="run", seed=seed, data=data_config, mix=mix or MixConfig())
    config.licence = LicenceConfig(unknown="allow" if allow else "refuse")
    return Mixture(path=path, data=config.data, rules=rules_of(config))


def taken(mixed: Mixture) -> list[Entry]:
    return [row for row in mixed.rows() if isinstance(row, Entry)]


def ids(mixed: Mixture) -> list[str]:
    return [entry.id for entry in taken(mixed)]


def reasons(mixed: Mixture) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (_, reason), n in mixed.tally.left_out.items():
        found[reason] += n
    return dict(found)


@pytest.fixture
def twelve(write: Write) -> Path:
    return write([trajectory(n) for n in range(12)])


@pytest.mark.parametrize(
    ("thinking", "text"), [("final", "word word"), ("first", "A first plan 1."), ("blind", "Blind 1."), ("none", None)]
)
def test_the_thinking_is_the_one_that_was_named(twelve: Path, thinking: str, text: str | None) -> None:
    assert [entry.thinking for entry in taken(mixture(twelve, MixConfig(thinking=thinking)))][1] == text


def test_thinking_and_variant_may_not_say_two_things(twelve: Path) -> None:
    assert taken(mixture(twelve, variant="first"))[0].thinking == "A first plan 0."
    assert taken(mixture(twelve, MixConfig(thinking="none"), variant="answer_only"))[0].thinking is None
    with pytest.raises(ConfigError, match="mix.thinking=blind and data.variant=first say two things: leave one out"):
        mixture(twelve, MixConfig(thinking="blind"), variant="first")


def test_blind_is_the_first_draw_of_a_blind_search_where_none_was_drawn_beside_it(write: Write) -> None:
    path = write([trajectory(n, worth=None) for n in range(2)])
    [*_, broken] = mixture(path, MixConfig(thinking="blind")).rows()
    assert isinstance(broken, Quarantined)
    assert broken.reason.startswith("no blind thinking is recorded (search.worth.blind=1")
    path.with_name("config.yaml").write_text("search: {start: blind}\n")
    assert taken(mixture(path, MixConfig(thinking="blind")))[1].thinking == "A first plan 1."
    refused = trajectory(0, worth={"blind": [{"text": "copied", "rejected": "leak"}]})
    [broken] = mixture(write([refused]), MixConfig(thinking="blind")).rows()
    assert isinstance(broken, Quarantined)
    assert broken.reason == "every blind thinking of it was refused"


def test_halves_by_length_are_of_one_size_and_apart_by_language(write: Write) -> None:
    english = [trajectory(n) for n in (0, 1, 2, 3, 4, 4, 4, 4, 4)]
    english = [row | {"id": f"e{n}"} for n, row in enumerate(english)]  # median 5 words: four below, none above
    chinese = [trajectory(90 + n, language="zh") for n in range(5)]  # longer than any English one
    path = write([*english, *chinese])
    long, short = (mixture(path, MixConfig(length=name)) for name in ("long", "short"))
    assert (set(ids(long)), set(ids(short))) == ({"t93", "t94"}, {"t90", "t91"})
    assert reasons(short)["more than the other half has (mix.length)"] == 4
    assert len(long.tally.listed) == 12


def test_rows_are_drawn_by_seed_and_id_not_by_order_and_more_keep_the_fewer(twelve: Path, write: Write) -> None:
    few, more, other = (mixture(twelve, MixConfig(rows=n, seed=s)) for n, s in ((4, 1), (7, 1), (4, 2)))
    found = set(ids(few))
    assert len(found) == 4
    assert found < set(ids(more))
    assert found != set(ids(other))
    rows = [json.loads(line) for line in twelve.read_text().splitlines()]
    assert set(ids(mixture(write(rows[::-1], "turned.jsonl"), MixConfig(rows=4, seed=1)))) == found
    assert set(ids(mixture(twelve, MixConfig(rows=4), seed=1))) == found  # the run's seed where the mix names none


def test_languages_domains_and_lengths(write: Write) -> None:
    path = write([*(trajectory(n) for n in range(4)), trajectory(4, language="German", domain=""), {"query": "?"}])
    cases = [
        (MixConfig(languages=["en"]), ["t0", "t1", "t2", "t3"]),
        (MixConfig(domains=["law", "finance_business"]), ["t1", "t2"]),
        (MixConfig(without_domains=["artistic", "FABLE"]), ["t1", "t2", "t4"]),
        (MixConfig(min_words=2, max_words=4), ["t1", "t2", "t3"]),
    ]
    for mix, wanted in cases:
        assert ids(mixture(path, mix)) == wanted
    mixed = mixture(path, MixConfig(domains=["law"]))
    assert len(list(mixed.rows())) == 2  # with the broken one
    assert reasons(mixed)["it names no domain (mix.domains)"] == 1
    without = mixture(path, MixConfig(without_domains=["law"]))
    list(without.rows())
    assert "1 trajectories name no domain and are not left out by mix.without_domains" in "\n".join(
        without.tally.told()
    )
    with pytest.raises(
        DataError, match=r"mix.without_domains: no row of .* is of these domains \(there are: Artistic,"
    ):
        list(mixture(path, MixConfig(without_domains=["poetry"])).rows())


def test_a_licence_decides_and_what_names_none_is_the_users_own(write: Write) -> None:
    names = ["MIT", "CC-BY-NC-4.0", "unknown", "", "All rights reserved"]
    path = write([trajectory(n, licence=name) for n, name in enumerate(names)])
    assert ids(mixture(path)) == ["t0", "t1", "t3"]
    assert ids(mixture(path, MixConfig(use="commercial"))) == ["t0", "t3"]
    assert ids(mixture(path, allow=True)) == ["t0", "t1", "t2", "t3"]
    mixed = mixture(path)
    list(mixed.rows())
    summary = mixed.tally.summary()
    assert [(row["licence"], row["rows"]) for row in summary["sources"]] == [
        ("MIT", 1), ("CC-BY-NC-4.0", 1), ("not named", 1),
    ]  # fmt: skip
    assert sum(row["rows"] for row in summary["left_out"]) == 2
    assert mixed.tally.listed[0] == {
        "status": "left_out",
        "id": "t2",
        "origin": "trajectories",
        "reason": "nobody knows its licence (licence.unknown=allow takes it)",
    }
    assert "mix           1 rows name no licence: taken as your own" in mixed.tally.told()


def test_unknown_is_own_where_the_pairs_were_collected_from_files(write: Write, tmp_path: Path) -> None:
    (tmp_path / "collect").mkdir()
    path = write([trajectory(0, licence="unknown")])
    path.with_name("config.yaml").write_text(f"data: {{path: {tmp_path}/collect/pairs.jsonl}}\n")
    for kind, wanted in (("files", ["t0"]), ("dataset", [])):
        (tmp_path / "collect" / "config.yaml").write_text(f"source: {{kind: {kind}}}\n")
        assert ids(mixture(path)) == wanted


@pytest.fixture
def general(write: Write) -> Path:
    rows = [
        {"id": n, "instruction": f"Sum {n}?", "response": f"<Thought>Add {n}.</Thought><Output>It is {n}.</Output>"}
        for n in range(40)
    ]
    return write([*rows, {"instruction": "Broken?", "response": "<Thought>on and on"}], "marco.jsonl")


def of_marco(path: Path, **other: Any) -> GeneralConfig:
    return GeneralConfig(path=str(path), schema="marco_o1", licence="Apache-2.0", **other)


@pytest.mark.parametrize(
    ("ratio", "rows", "expected"), [(0.5, None, 6), (2.0, None, 24), (9.0, None, 40), (3.0, 8, 6)]
)
def test_general_rows_come_by_ratio(
    twelve: Path, general: Path, ratio: float, rows: int | None, expected: int
) -> None:
    mixed = mixture(twelve, MixConfig(general=of_marco(general, ratio=ratio), rows=rows))
    entries = taken(mixed)
    found = [entry for entry in entries if entry.origin == "general"]
    assert len(found) == expected
    assert len(entries) - expected == (12 if rows is None else 2)
    assert {(e.source, e.licence, e.thinking is not None) for e in found} == {("marco.jsonl", "Apache-2.0", True)}
    told = "\n".join(mixed.tally.told())
    assert ("the ratio asks for 108 general rows; there were 40" in told) == (ratio == 9.0)
    assert mixed.tally.summary()["general_wanted"] == (6 if rows else round(12 * ratio))


def test_without_a_ratio_all_are_taken_and_a_cap_samples_both(twelve: Path, general: Path) -> None:
    everything = mixture(twelve, MixConfig(general=of_marco(general)))
    assert Counter(entry.origin for entry in taken(everything)) == {"trajectories": 12, "general": 40}
    assert len(ids(mixture(twelve, MixConfig(general=of_marco(general), rows=20)))) == 20


def test_general_rows_of_unknown_licence_are_refused_and_their_thinking_goes_with_the_control(
    twelve: Path, general: Path
) -> None:
    nobody = GeneralConfig(path=str(general), schema="marco_o1")
    for ratio in (None, 0.5):
        with pytest.raises(DataError, match=r"no row can be taken \(40: nobody knows its licence \("):
            ids(mixture(twelve, MixConfig(general=replace(nobody, ratio=ratio))))
    assert len(ids(mixture(twelve, MixConfig(general=replace(nobody, ratio=0.0))))) == 12
    control = taken(mixture(twelve, MixConfig(general=nobody, thinking="none"), allow=True))
    assert (len(control), {entry.thinking for entry in control}) == (52, {None})
    first = taken(mixture(twelve, MixConfig(general=nobody, thinking="first"), allow=True))
    assert (first[0].thinking, first[12].thinking) == ("A first plan 0.", "Add 0.")


@pytest.mark.parametrize(
    ("mix", "sentence"),
    [
        (MixConfig(thinking="last"), "mix.thinking=last is unknown: choose one of final, first, blind, none"),
        (MixConfig(length="middle"), "mix.length=middle is unknown: choose one of long, short"),
        (MixConfig(use="art"), "mix.use=art is unknown: choose one of research, commercial"),
        (
            MixConfig(general=GeneralConfig(path="x", schema="s2k")),
            "mix.general.schema=s2k is unknown: choose one of o",
        ),
        (MixConfig(general=GeneralConfig(ratio=1.0)), "mix.general.ratio=1.0: of what. mix.general.path=FILE or"),
        (MixConfig(domains=["&"]), "mix.domains holds a name without a letter"),
    ],
)
def test_a_mistake_is_one_sentence(twelve: Path, mix: MixConfig, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        mixture(twelve, mix)


def test_general_data_that_cannot_be_had_are_named(
    twelve: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"mix.general.path=.*none.jsonl: no such file"):
        list(mixture(twelve, MixConfig(general=GeneralConfig(path=str(tmp_path / "none.jsonl")))).rows())

    def refuse(*_: Any, **__: Any) -> Any:
        raise ConnectionError("Couldn't reach it")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(DataError, match="mix.general.hub=a/b: cannot be loaded .*offline. name a local copy"):
        list(mixture(twelve, MixConfig(general=GeneralConfig(hub="a/b"))).rows())


def test_a_dataset_of_the_hub_is_read_as_a_file_is(
    twelve: Path, general: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    rows = [json.loads(line) for line in general.read_text().splitlines()]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(rows))
    hub = GeneralConfig(hub="AIDC/marco", schema="marco_o1", licence="Apache-2.0", ratio=0.5)
    found = [entry for entry in taken(mixture(twelve, MixConfig(general=hub))) if entry.origin == "general"]
    wanted = [e.id for e in taken(mixture(twelve, MixConfig(general=of_marco(general, ratio=0.5))))[12:]]
    assert [entry.id for entry in found] == wanted
    assert {entry.source for entry in found} == {"AIDC/marco"}
