"""Compare rows with each other, and the claims of a paper with our results."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from napari_melanoma.core.config import flatten_values
from napari_melanoma.extensions.papers.kinds import CALIBRATED, CHANCE
from napari_melanoma.extensions.papers.paper_rows import PARTS, RowResult
from napari_melanoma.extensions.papers.papers import Claim, ClaimRows, Paper, Role
from napari_melanoma.extensions.papers.split import UNTOUCHED
from napari_melanoma.metrics.statistics import Estimate


def format_percent(estimate: Estimate) -> str:
    """Format an estimate and its interval in per cent."""
    return f"{100 * estimate.mean:.1f} ({estimate.format_interval('.1f', factor=100)})"


def describe_differences(
    results: Sequence[RowResult], metrics: Sequence[str], all_results: Sequence[RowResult] = ()
) -> Iterator[str]:
    """Yield a sentence on the paired differences of each pair of rows to compare, for each part of the images.

    ``all_results``: those among which the second rows are; by default ``results``. Rows that have not learned are not
    compared.
    """
    results_by_name = {item.row.name: item for item in all_results or results}
    for item in results:
        for other in (results_by_name[name] for name in item.row.file.against if name in results_by_name):
            if reason := unlearned_rows((item, other)):
                yield f"{item.row.file.title} is not compared with {other.row.file.title}: {reason}."
                continue
            for part in item.parts:
                changes = paired_changes(other, item, part)
                differences = [
                    f"{m.removeprefix(CALIBRATED)} {_format_signed(changes[m])}" for m in metrics if m in changes
                ]
                if differences:
                    titles = f"{item.row.file.title} minus {other.row.file.title}"
                    where = f", {PARTS[part]}" if part else ""
                    yield f"{titles}, on the same images{where}: {', '.join(differences)}."


def paired_changes(other: RowResult, item: RowResult, part: str = "") -> dict[str, Estimate]:
    """Estimate the differences (``item`` minus ``other``) on common images of a part, with paired intervals."""
    other_images, item_images = (
        {(image["domain"], image["image_id"]): image for image in one.select_part(part).images} for one in (other, item)
    )
    common = [key for key in other_images if key in item_images]
    if not common:
        return {}
    return item.row.kind.estimates([item_images[key] for key in common], [other_images[key] for key in common])


def describe_controls(results: Sequence[RowResult], roles: Mapping[str, Role]) -> Iterator[str]:
    """Yield a sentence on whether each row with permuted labels is at chance level, for each part of the images."""
    for item in results:
        if roles[item.row.file.evaluated].control_of is None:
            continue
        for part in item.parts:
            area = item.select_part(part).estimates.get("AUC")
            if area is None:
                continue
            is_at_chance = area.low <= CHANCE <= area.high
            result = (
                "includes 50, as expected"
                if is_at_chance
                else "excludes 50: the labels are not independent of the images"
            )
            where = f", {PARTS[part]}" if part else ""
            yield f"{item.row.file.title}{where}: AUC {format_percent(area)}; its interval {result}."


def unlearned_rows(results: Iterable[RowResult]) -> str:
    """Name the rows that have not learned; "" if all have."""
    titles = [item.row.file.title for item in results if item.unlearned]
    return f"not learned: {'; '.join(titles)}" if titles else ""


def _format_signed(change: Estimate) -> str:
    """Format a difference in per cent."""
    return f"{100 * change.mean:+.1f} ({change.format_interval('+.1f', factor=100)})"


def describe_claims(paper: Paper, results: Sequence[RowResult]) -> list[str]:
    """State each claim of the paper, what its own table says of it, and compare it with our results."""
    sentences = []
    for claim in paper.file.claims:
        ours = list(_compare_grid(claim, results) if claim.best_values else _compare_with_results(claim, results))
        parts = [f"Claim of the paper: {claim.text}.", *filter(None, [claim.table]), *(ours or ["Not tested here."])]
        sentences.append(" ".join(parts))
    return sentences


def _compare_with_results(claim: Claim, results: Sequence[RowResult]) -> Iterator[str]:
    """Compare a claim with our results: with the paper's own networks, or else with those that stand in for them."""
    by_name = {item.row.name: item for item in results}
    complete = [rows for rows in claim.rows if all(name in by_name for name in (rows.row, *rows.over))]
    own = [rows for rows in complete if rows.own]
    for rows in own:
        yield from _judge_rows(claim, rows, by_name)
    if any(not unlearned_rows(_members(rows, by_name)) for rows in own):
        return
    for rows in complete:
        if not rows.own:
            yield f"No network of the paper has run and learned: {rows.network} stands in for it."
            yield from _judge_rows(claim, rows, by_name)


def _members(rows: ClaimRows, by_name: Mapping[str, RowResult]) -> list[RowResult]:
    return [by_name[name] for name in (rows.row, *rows.over)]


def _judge_rows(claim: Claim, rows: ClaimRows, by_name: Mapping[str, RowResult]) -> Iterator[str]:
    """Judge a claim by the results of some rows, on the untouched images if there are any, or else on all together."""
    by_name = {name: by_name[name].select_part(by_name[name].parts[-1]) for name in (rows.row, *rows.over)}
    compared = _members(rows, by_name)
    if reason := unlearned_rows(compared):
        yield f"With {rows.network}, it cannot be compared here: {reason}."
        return
    own_results = [item.estimates for item in compared]
    metrics = [m for m in claim.metrics if all(m in estimates for estimates in own_results)]
    if not metrics:
        return
    if claim.within is not None or claim.loses is not None:
        yield _judge_differences(claim, rows, by_name, metrics)
        return
    claimed, *others = own_results
    better = [m for m in metrics if all(claimed[m].mean > estimates[m].mean for estimates in others)]
    images = f"the {PARTS[UNTOUCHED]}" if UNTOUCHED in compared[0].parts else "all images together"
    where = f"Here, with {rows.network} and on {images}, it holds for"
    if len(better) == len(metrics):
        yield f"{where} {', '.join(metrics)}; see the intervals for the uncertainty."
    else:
        worse = ", ".join(f"{m} {100 * claimed[m].mean:.1f}" for m in metrics if m not in better)
        yield f"{where} {', '.join(better) or 'no metric'}, not for {worse}."


def _judge_differences(claim: Claim, rows: ClaimRows, by_name: Mapping[str, RowResult], metrics: Sequence[str]) -> str:
    """Compare the paired differences of two rows with the largest difference, or loss, that a claim states."""
    changes = paired_changes(by_name[rows.over[0]], by_name[rows.row])
    known = {metric: changes[metric] for metric in metrics if metric in changes}
    if not known:
        return f"With {rows.network}, it cannot be compared here: no image was measured in both rows."
    texts = ", ".join(f"{metric} {_format_signed(change)}" for metric, change in known.items())
    if claim.within is not None:
        limit, what = claim.within, ""
        beyond = [metric for metric, change in known.items() if abs(100 * change.mean) > limit]
    else:
        assert claim.loses is not None
        limit, what = claim.loses, "a loss of "
        beyond = [metric for metric, change in known.items() if 100 * change.mean <= -limit]
    larger = ", ".join(beyond)
    verdict = f"larger for {larger}" if larger else "all smaller"
    return f"Here, with {rows.network}, the differences are {texts}; compared with {what}{limit:g}, {verdict}."


def _compare_grid(claim: Claim, results: Sequence[RowResult]) -> Iterator[str]:
    """State for how many configurations of the grids the best values of the keys are the claimed ones."""
    metric = claim.metrics[0]
    means: dict[str, dict[tuple[Any, ...], float]] = defaultdict(dict)
    for item in results:
        values = flatten_values(item.row.values["full"])
        if item.row.grid and not item.unlearned and metric in item.estimates and {*claim.best_values} <= {*values}:
            others = {name: value for name, value in values.items() if name not in claim.best_values}
            found = tuple(values[key] for key in claim.best_values)
            means[json.dumps(others, sort_keys=True)][found] = item.estimates[metric].mean
    claimed = {*product(*claim.best_values.values())}
    compared = [by_value for by_value in means.values() if {*by_value} - claimed and {*by_value} & claimed]
    if compared:
        won = sum(
            max(mean for values, mean in by_value.items() if values in claimed)
            > max(mean for values, mean in by_value.items() if values not in claimed)
            for by_value in compared
        )
        yield (
            f"Here it holds for {won} of {len(compared)} configurations of the grids, by the {metric} of one training "
            "each."
        )
