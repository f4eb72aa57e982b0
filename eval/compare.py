"""The command reer-compare: models on the prompts that all of them answered, judged by the same judges.

Reads the scores of finished evaluations; asks no model. Numbers of different judges, wordings or data are refused,
never subtracted.
"""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, NoReturn

from reer.errors import RunDirError, UserError
from reer.files.results import Evaluation, Row, read_evaluations, read_runs, served_models
from reer.page.report import common_folder, write_page
from reer.run.manifest import write_json
from reer.text import seed_of
from reer.types import FORMAT_VERSION

from .scoring.families import families, family_of
from .scoring.lifts import compare_lifts, lines_of
from .scoring.table import signed
from .statistics import holm, kendall_tau, length_adjusted, paired_difference, within_prompt_correlation

SAME = {
    "judges": "judged by",
    "rubric": "judged by the rubric",
    "prompts": "judged with the prompts",
    "weights": "scored with the weights",
    "data.version": "asked the data of version",
    "data.files": "asked the data files",
    "scale": "scored on the scale",
}
"""What must agree between results that are compared, and how a sentence says it."""
Names = Sequence[str]
Weights = Mapping[str, float]
"""By id of the prompts that all models have scores on."""


def main() -> NoReturn:
    """The console command reer-compare."""
    parser = argparse.ArgumentParser(prog="reer-compare", description="Differences between evaluated models.")
    parser.add_argument("run_dirs", metavar="RUN_DIR", type=Path, nargs="+", help="e.g. runs/demo/evaluate-base")
    parser.add_argument("--out", type=Path, help="default: comparison.json in the folder above all RUN_DIRs")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap and the permutation test (default: 0)")
    options = parser.parse_args()
    try:
        runs = read_runs(options.run_dirs)
        target = options.out or common_folder(runs) / "comparison.json"
        comparison = compare(read_evaluations([run for run in runs if run.stage == "evaluate"]), options.seed)
        write_json(target, comparison)
        page = write_page(options.run_dirs, target.with_name("report.html"))
    except UserError as error:
        print(f"reer-compare: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        print(f"reer-compare: {target} cannot be written ({error.strerror or error})", file=sys.stderr)
        sys.exit(1)
    print(table(comparison))
    print(f"comparison     {target}")
    print(f"page           {page}")
    sys.exit(0)


def compare(evaluations: Sequence[Evaluation], seed: int) -> dict[str, Any]:
    """The content of comparison.json: on every benchmark, the models in the order given.

    Raises:
        RunDirError: no two models share a benchmark, a run has no scores, or two differ in judge, wording or data.
    """
    by_benchmark: dict[str, list[Evaluation]] = defaultdict(list)
    for evaluation in evaluations:
        by_benchmark[evaluation.benchmark].append(evaluation)
    compared = {name: found for name, found in by_benchmark.items() if len(found) > 1}
    if not compared:
        raise RunDirError("there is nothing to compare: no two of these run folders hold the same benchmark")
    for found in compared.values():
        refuse_unlike(found)
    return {
        "benchmarks": {name: _benchmark(found, seed) for name, found in compared.items()},
        "seed": seed,
        "format_version": FORMAT_VERSION,
    }


def refuse_unlike(evaluations: Sequence[Evaluation]) -> None:
    """Raises: RunDirError: two of them differ in something that makes their scores incomparable, or one has none."""
    first = evaluations[0]
    for evaluation in evaluations:
        if not evaluation.scores:
            raise RunDirError(f"{evaluation.run.path} holds no scores.jsonl: finish its evaluation first")
        if "mean_of" not in evaluation.result:
            raise RunDirError(
                f"{evaluation.run.path} was summarised by an earlier version: run steps=[summarise] again"
            )
        for key, said in SAME.items():
            ours, theirs = (_at(e.result, key) for e in (first, evaluation))
            if ours != theirs:
                raise RunDirError(
                    f"{first.run.path} and {evaluation.run.path} cannot be compared: "
                    f"one was {said} {_plain(ours)}, the other {_plain(theirs)}"
                )
        _refuse_other_settings(first, evaluation)


def _refuse_other_settings(first: Evaluation, other: Evaluation) -> None:
    """Raises: RunDirError: a judge was asked in another way; what a run does not say is not held against it."""
    ours, theirs = _settings(first), _settings(other)
    for judge, called in sorted(ours.keys() & theirs.keys()):
        a, b = ours[judge, called], theirs[judge, called]
        if a != b:
            raise RunDirError(
                f"{first.run.path} and {other.run.path} cannot be compared: {judge} was {called} ({a}, and {b})"
            )


def _settings(evaluation: Evaluation) -> dict[tuple[str, str], str]:
    """How each judge was asked, and what a difference in it is called."""
    judges = evaluation.result.get("by_judge") or {}
    rows = [row for rows in evaluation.verdicts.values() for row in rows]
    repeats = {judge: str(row["repeats"]) for judge, row in judges.items() if row.get("repeats")}
    settings = {row["judge"]: row["settings"] for row in rows if row.get("settings")}
    served = {judge: ", ".join(names) for judge, names in served_models(rows).items()}
    facts = {
        "asked with other repeats": repeats,
        "asked with other settings": settings,
        "served by another model": served,
    }
    return {(judge, called): value for called, values in facts.items() for judge, value in values.items()}


def _at(result: Row, key: str) -> Any:
    value: Any = result
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return sorted(value) if key == "judges" and isinstance(value, list) else value


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value) if not isinstance(value, dict) else ", ".join(f"{k} {v}" for k, v in sorted(value.items()))


def _benchmark(evaluations: Sequence[Evaluation], seed: int) -> dict[str, Any]:
    models = [evaluation.label for evaluation in evaluations]
    scores = {evaluation.label: _complete(evaluation) for evaluation in evaluations}
    shared = [name for name in scores[models[0]] if all(name in scores[model] for model in models)]
    if not shared:
        raise RunDirError(f"{', '.join(models)} have no prompt of {evaluations[0].benchmark} with scores in common")
    result = evaluations[0].result
    criteria = list(result.get("scores") or ())
    weights = _weights(scores[models[0]], shared, result.get("mean_of"))
    pairs = [_pair(a, b, scores, weights, criteria, seed) for a, b in combinations(models, 2)]
    _correct(pairs)
    return {
        "models": models,
        "scores_of": {e.label: e.scores_hash for e in evaluations},
        "judges": result.get("judges") or [],
        "scale": result.get("scale"),
        "n": len(shared),
        "asked": max(len(evaluation.scores) for evaluation in evaluations),
        "overall": {model: _mean(scores[model], weights) for model in models},
        "pairs": pairs,
        "length": _length(models, scores, shared),
        "lift": compare_lifts(evaluations, seed),
        **_judges(evaluations, scores, weights),
    }


def _complete(evaluation: Evaluation) -> dict[str, Row]:
    return {name: row for name, row in evaluation.scores.items() if row.get("overall") is not None}


def _mean(rows: Mapping[str, Row], weights: Weights, judge: str | None = None) -> float | None:
    """Mean of the overall scores; of one judge's, where every prompt has them."""
    scores = {name: _overall(rows[name], judge) for name in weights}
    if None in scores.values():
        return None
    return fmean(weights[name] * score for name, score in scores.items() if score is not None)


def _overall(row: Row, judge: str | None) -> float | None:
    given = row if judge is None else (row.get("by_judge") or {}).get(judge) or {}
    return given.get("overall")


def _weights(rows: Mapping[str, Row], shared: Names, facet: str | None) -> dict[str, float]:
    """What each shared prompt counts, 1 on average: the same, or in such a way that the groups of a facet do."""
    groups = {name: rows[name]["groups"].get(facet) for name in shared}
    size = Counter(groups.values())
    return {name: len(shared) / len(size) / size[group] for name, group in groups.items()}


def _pair(
    a: str, b: str, scores: Mapping[str, Mapping[str, Row]], weights: Weights, criteria: Sequence[str], seed: int
) -> dict[str, Any]:
    """Differences b − a: overall, by criterion, and of the overall score by group of prompts."""
    rows, shared = (scores[a], scores[b]), list(weights)

    def difference(part: str, of: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        return asdict(paired_difference(of[0], of[1], seed_of(seed, a, b, part)))

    overall = [{name: weights[name] * row[name]["overall"] for name in shared} for row in rows]
    by_criterion = {
        criterion: difference(criterion, [_criterion(row, criterion, shared) for row in rows])
        for criterion in _criteria(rows, shared, criteria)
    }
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    for (facet, group), names in _groups(rows[0], shared).items():
        of = [{name: row[name]["overall"] for name in names} for row in rows]
        groups[facet][group] = difference(f"{facet}/{group}", of)
    return {"a": a, "b": b, "overall": difference("overall", overall), "scores": by_criterion, "groups": dict(groups)}


def _criteria(rows: Sequence[Mapping[str, Row]], shared: Names, named: Sequence[str]) -> list[str]:
    """Of the criteria that all items share, those that every prompt has, applicable or not."""
    return [c for c in named if all(c in (row[name].get("scores") or {}) for row in rows for name in shared)]


def _criterion(rows: Mapping[str, Row], criterion: str, shared: Names) -> dict[str, float]:
    scores = {name: rows[name]["scores"][criterion] for name in shared}
    return {name: score for name, score in scores.items() if score is not None}


def _groups(rows: Mapping[str, Row], shared: Names) -> dict[tuple[str, str], list[str]]:
    """Prompts by facet and group, of facets that split them at all."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in shared:
        for facet, group in (rows[name].get("groups") or {}).items():
            found[facet, str(group)].append(name)
    split = {facet for facet, _ in found if sum(other == facet for other, _ in found) > 1}
    return {key: names for key, names in sorted(found.items()) if key[0] in split}


def _correct(pairs: Sequence[dict[str, Any]]) -> None:
    """Put Holm's p-value beside each raw one: over the pairs, and over pairs and criteria, or groups of a facet."""
    families: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for pair in pairs:
        families["overall"].append(pair["overall"])
        families["scores"] += pair["scores"].values()
        for facet, groups in pair["groups"].items():
            families[f"groups/{facet}"] += groups.values()
    for tests in families.values():
        tested = [test for test in tests if test["p"] is not None]
        for test, adjusted in zip(tested, holm([test["p"] for test in tested]), strict=True):
            test["p_holm"] = adjusted


def _length(models: Names, scores: Mapping[str, Mapping[str, Row]], shared: Names) -> dict[str, Any]:
    """Scores at one length beside raw ones; a prompt counts once, whatever its weight.

    Left out: prompts that a model left unanswered. Their floor says nothing of length.
    """
    written = [name for name in shared if all(scores[model][name].get("words") for model in models)]
    if not written:
        nothing = dict.fromkeys(models)
        return {
            "n": 0,
            "words": nothing,
            "raw": nothing,
            "adjusted": nothing,
            "per_doubling": None,
            "within_prompt": None,
        }
    given = [[scores[model][name]["overall"] for name in written] for model in models]
    words = [[scores[model][name]["words"] for name in written] for model in models]
    effect = length_adjusted(given, words)
    by_prompt = [list(map(list, zip(*table, strict=True))) for table in (given, words)]
    return {
        "n": len(written),
        "words": {model: fmean(row) for model, row in zip(models, words, strict=True)},
        "raw": {model: fmean(row) for model, row in zip(models, given, strict=True)},
        "adjusted": dict(zip(models, effect.adjusted, strict=True)),
        "per_doubling": effect.slope,
        "within_prompt": within_prompt_correlation(by_prompt[0], by_prompt[1]),
    }


def _judges(
    evaluations: Sequence[Evaluation], scores: Mapping[str, Mapping[str, Row]], weights: Weights
) -> dict[str, Any]:
    """How each judge ranks the models, whether judges agree on it, and whether one favours its own family."""
    models = [evaluation.label for evaluation in evaluations]
    means: dict[str, dict[str, float]] = {}
    for judge in evaluations[0].result.get("judges") or ():
        row = {model: _mean(scores[model], weights, judge) for model in models}
        if None not in row.values():
            means[judge] = row  # type: ignore[assignment]
    taus = {f"{a} and {b}": kendall_tau(list(means[a].values()), list(means[b].values()))
            for a, b in combinations(means, 2)}  # fmt: skip
    known = {evaluation.label: family_of(evaluation.label, _model_path(evaluation)) for evaluation in evaluations}
    return {"by_judge": means, "kendall_tau": taus, "families": families(means, known)}


def _model_path(evaluation: Evaluation) -> str:
    described = ((evaluation.run.manifest.get("models") or {}).get("evaluated") or {}).get("model")
    return str(described or "")


def table(comparison: Row) -> str:
    """The comparison as text for the terminal."""
    lines: list[str] = []
    for name, found in comparison["benchmarks"].items():
        lines.append(
            f"{name}: {found['n']} of {found['asked']} prompts shared, judged by {', '.join(found['judges'])}"
        )
        for pair in found["pairs"]:
            lines.append(f"  {pair['b']} - {pair['a']:<24} difference [95 %]            p      p (Holm)")
            lines += [_line(key, test) for key, test in pair["scores"].items()]
            lines += [
                _line(f"{facet} {key}", test) for facet, tests in pair["groups"].items() for key, test in tests.items()
            ]
            lines.append(_line("overall", pair["overall"]))
        length = found["length"]
        if length["per_doubling"] is not None:
            adjusted = ", ".join(f"{model} {score:.3f}" for model, score in length["adjusted"].items())
            lines.append(f"  at one length: {adjusted} ({length['per_doubling']:+.3f} per doubling of the words)")
        lines += lines_of(found["lift"])
        lines += [f"  model ranks of {pair}: Kendall's tau {tau:+.2f}"
                  for pair, tau in found["kendall_tau"].items() if tau is not None]  # fmt: skip
    return "\n".join(lines)


def _line(name: str, test: Row) -> str:
    shown = name.replace("_", " ")[:28]
    if test["mean"] is None:
        return f"    {shown:<28}–"
    p, adjusted = (f"{test[key]:.4f}" if test.get(key) is not None else "–" for key in ("p", "p_holm"))
    return f"    {shown:<28}{signed(test):<28}{p:>8}{adjusted:>12}"


if __name__ == "__main__":
    main()
