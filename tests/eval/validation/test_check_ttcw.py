"""scripts/checks/ttcw on a few verdicts whose sums are done by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "checks" / "ttcw"
GIVEN = {  # story, test: three experts
    ("0_NewYorker", 1): "YYY", ("1_NewYorker", 1): "YYN", ("0_GPT3.5", 1): "NNN", ("1_GPT3.5", 1): "YNN",
}  # fmt: skip


def check(
    folder: Path, majority: dict[tuple[str, int], str], given: dict[tuple[str, int], str] = GIVEN
) -> subprocess.CompletedProcess[str]:
    def rows(verdicts: dict[tuple[str, int], str]) -> str:
        said = {"Y": "Yes", "N": "No"}
        return json.dumps([
            {"story_id": story, "ttcw_idx": test, "binary_verdict": said[one]}
            for (story, test), all_ in verdicts.items()
            for one in all_
        ])  # fmt: skip

    inside = folder / "Art_or_Artifice" / "annotations"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "ttcw_annotations.json").write_text(rows(given))
    (inside / "ttcw_majority.json").write_text(rows(majority))
    return subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)


def test_shares_agreement_and_majorities_by_hand(tmp_path: Path) -> None:
    majority = {key: max("YN", key=votes.count) for key, votes in GIVEN.items()}
    done = check(tmp_path, majority)
    assert done.returncode == 0, done.stderr
    first, second, agreement, same = done.stdout.splitlines()
    assert first.split()[:2] == ["NewYorker", "83.3%"]
    assert second.split()[:3] == ["GPT3.5", "16.7%", "5.0"]
    # 12 values, 6 of them yes: observed disagreement (0 + 4 / 2 + 0 + 4 / 2) / 12, expected 2 * 6 * 6 / (12 * 11)
    assert float(agreement.split()[1]) == pytest.approx(1 - (4 / 12) / (72 / 132), abs=0.0006)
    assert same.split()[1:4] == ["4", "of", "4"]
    assert check(tmp_path, majority | {("0_GPT3.5", 1): "Y"}).returncode == 1


def test_a_writer_who_passes_nothing_and_no_professional(tmp_path: Path) -> None:
    nothing = {("0_NewYorker", 1): "YYY", ("0_GPT3.5", 1): "NNN"}
    done = check(tmp_path, {}, nothing)
    assert done.stdout.splitlines()[1].split()[:3] == ["GPT3.5", "0.0%", "–"]
    done = check(tmp_path, {}, {("0_GPT3.5", 1): "YNY"})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no story of NewYorker in it" in done.stderr


def test_a_folder_without_them_is_one_sentence(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no ttcw_annotations.json in it" in done.stderr
