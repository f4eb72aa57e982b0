"""The page shows what a trajectory is worth, and leaves out what was not measured."""

import json

from hydra import compose, initialize_config_module

from reer import synthesize
from reer.config import SynthesizeConfig, load, register


def page_of(folder, *overrides):
    """The page of two fake pairs, and what the summary says of their worth."""
    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        given = ["experiment=fake", "data.limit=2", f"run_dir={folder}", *overrides]
        synthesize.run(load(compose("synthesize", overrides=given), SynthesizeConfig))
    summary = json.loads((folder / "summary.json").read_text())
    return (folder / "report.html").read_text(), summary["worth"]


def test_what_was_measured_stands_in_a_table_and_beside_each_answer(tmp_path):
    page, worth = page_of(tmp_path, "search.worth.blind=2", "search.worth.decorative=0.05")
    mean, idle = worth["a_prob"]["mean"], worth["decorative"]
    assert f'<td class="n">{100 * mean:.1f}%</td><td class="n roomy">2</td><td class="n">0</td>' in page
    assert f"{idle['plain']['decorative']} of {idle['plain']['segments']} others" in page
    assert page.count("<dt>Gain over 2 blind thinkings</dt>") == page.count("<dt>Decorative segments (") == 2


def test_what_was_not_measured_is_left_out(tmp_path):
    page, worth = page_of(tmp_path)
    assert f"{100 * worth['a_lex']['mean']:.1f}%" in page
    assert "blind" not in page.partition('<section id="provenance">')[0]
    assert "Decorative" not in page
    assert worth["decorative"] == {"mean": None, "n": 0, "missing": 2} | {
        kind: {"segments": 0, "decorative": 0} for kind in ("reflecting", "plain")
    }
