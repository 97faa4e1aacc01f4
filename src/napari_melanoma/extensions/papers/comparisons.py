"""Compare rows with each other, and the claims of a paper with its own tables and with our results."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from napari_melanoma.core.config import flatten_values
from napari_melanoma.extensions.papers.kinds import CALIBRATED, CHANCE
from napari_melanoma.extensions.papers.paper_rows import PARTS, RowResult, images_in_part, list_parts
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
            for part in list_parts(item):
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
        {(image["domain"], image["image_id"]): image for image in images_in_part(one.images, part)}
        for one in (other, item)
    )
    common = [key for key in other_images if key in item_images]
    if not common:
        return {}
    return item.row.kind.changes([other_images[key] for key in common], [item_images[key] for key in common])


def describe_controls(results: Sequence[RowResult], roles: Mapping[str, Role]) -> Iterator[str]:
    """Yield a sentence on whether each row with permuted labels is at chance level, for each part of the images."""
    for item in results:
        if roles[item.row.file.evaluated].control_of is None:
            continue
        for part in list_parts(item):
            area = item.row.kind.estimates(images_in_part(item.images, part)).get("AUC")
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
    """Compare each claim of the paper with its own results and with ours, in a few sentences each."""
    sentences = []
    for claim in paper.file.claims:
        ours = list(_compare_grid(claim, results) if claim.best_values else _compare_with_results(claim, results))
        parts = [f"Claim of the paper: {claim.text}.", *_compare_with_table(paper, claim), *ours]
        sentences.append(" ".join(parts if ours else [*parts, "Not tested here."]))
    return sentences


ROUNDED = 0.5  # largest difference between a stated gain and that of the table, in per cent


def _compare_with_table(paper: Paper, claim: Claim) -> Iterator[str]:
    """Compare a claim with the paper's tables, for each data set that they list."""
    supported, contradictions = dict[str, None](), dict[str, None]()
    for rows in claim.rows:
        figures = [paper.rows[name].file.paper for name in (rows.row, *rows.over)]
        for data in claim.data or figures[0]:
            claimed, *others = (each.get(data, {}) for each in figures)
            where = f" on {data}" if len(figures[0]) > 1 else ""
            if not any(metric in claimed and metric in other for metric in claim.metrics for other in others):
                continue
            wrong = list(_table_contradictions(claim, claimed, others))
            contradictions |= dict.fromkeys(f"{text}{where}" for text in wrong)
            if not wrong:
                supported[where] = None
    if contradictions:
        also = f"supports this{' and'.join(supported)}, and " if any(supported) else ""
        yield f"Its own table {also}contradicts {'it' if also else 'this'}: {', '.join(contradictions)}."
    elif supported:
        yield "Its own table supports this."


def _table_contradictions(
    claim: Claim, claimed: Mapping[str, float], others: Sequence[Mapping[str, float]]
) -> Iterator[str]:
    """Yield the metrics of the paper's table that contradict a claim, with their values."""
    for metric in claim.metrics:
        values = [figures[metric] for figures in others if metric in figures]
        if metric not in claimed or not values:
            continue
        best = max(values)
        gain = claimed[metric] - best
        if not _holds(claim, gain):
            yield f"{metric} {best:.2f} compared with {claimed[metric]:.2f}"
        elif metric in claim.gains and abs(gain - claim.gains[metric]) > ROUNDED:
            yield f"{metric} {gain:+.2f} instead of {claim.gains[metric]:+g}"


def _holds(claim: Claim, gain: float) -> bool:
    """Return whether a difference to the other rows, in per cent, is as a claim states."""
    if claim.within is not None:
        return abs(gain) <= claim.within
    return gain > -claim.loses if claim.loses is not None else gain >= 0


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
    by_name = {name: _untouched(by_name[name]) for name in (rows.row, *rows.over)}
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
    images = f"the {PARTS[UNTOUCHED]}" if UNTOUCHED in list_parts(compared[0]) else "all images together"
    where = f"Here, with {rows.network} and on {images}, it holds for"
    if len(better) == len(metrics):
        yield f"{where} {', '.join(metrics)}; see the intervals for the uncertainty."
    else:
        worse = ", ".join(f"{m} {100 * claimed[m].mean:.1f}" for m in metrics if m not in better)
        yield f"{where} {', '.join(better) or 'no metric'}, not for {worse}."


def _untouched(item: RowResult) -> RowResult:
    """Return a result with its untouched images only, if it has any."""
    has_untouched = UNTOUCHED in list_parts(item)
    return replace(item, images=images_in_part(item.images, UNTOUCHED)) if has_untouched else item


def _judge_differences(claim: Claim, rows: ClaimRows, by_name: Mapping[str, RowResult], metrics: Sequence[str]) -> str:
    """Compare the paired differences of two rows with the largest difference, or loss, that a claim states."""
    changes = paired_changes(by_name[rows.over[0]], by_name[rows.row])
    known = {metric: changes[metric] for metric in metrics if metric in changes}
    texts = ", ".join(f"{metric} {_format_signed(change)}" for metric, change in known.items())
    larger = ", ".join(metric for metric, change in known.items() if not _holds(claim, 100 * change.mean))
    limit, what = (claim.within, "") if claim.loses is None else (claim.loses, "a loss of ")
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
        won = sum(max(by_value, key=by_value.__getitem__) in claimed for by_value in compared)
        yield (
            f"Here it holds for {won} of {len(compared)} configurations of the grids, by the {metric} of one training "
            "each."
        )


# Published figures, compared with each other.


def check_published(paper: Paper) -> Iterator[str]:
    """Yield a sentence for each contradiction within the figures that a paper prints."""
    published = dict[tuple[Any, ...], str]()  # rows for one line of the paper have the same figures: checked once
    for row in paper.rows.values():
        for data, figures in row.file.paper.items() if row.grid is None else ():
            published.setdefault((row.kind.name, row.file.table or "", data, *figures.items()), row.file.title)
    shares: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    jaccards: dict[str, dict[str, bool]] = defaultdict(dict)
    for (kind, table, data, *pairs), title in published.items():
        values = dict(pairs)
        if kind == "classification":
            yield from _impossible_accuracy(title, values)
            if share := implied_share(values):
                shares[table, data][title] = share
        elif "TJA" in values:
            jaccards[table][f"{title}, {data}" if data else title] = values["TJA"] == values["JA"]
    for each in shares.values():
        if max(low for low, _ in each.values()) > min(high for _, high in each.values()):
            listed = ", ".join(f"{title} {100 * (low + high) / 2:.1f} %" for title, (low, high) in each.items())
            yield f"Published rows of one table imply different shares of positive images: {listed}."
    for table, rows in jaccards.items():
        if equal := [name for name, is_equal in rows.items() if is_equal]:
            title = paper.file.tables[table].title
            yield (
                f"{title}: {len(equal)} of {len(rows)} published rows have the same TJA and JA, "
                f"which needs a Jaccard index of 0.65 or more in every image: {', '.join(equal)}."
            )
    for method in paper.file.literature.methods if paper.file.literature else ():
        yield from _impossible_accuracy(method.title, method.figures)


def _impossible_accuracy(title: str, figures: Mapping[str, float]) -> Iterator[str]:
    """Yield a sentence if an accuracy is not between sensitivity and specificity.

    With two classes, the accuracy is the mean of both, weighted by the share of each class.
    """
    if not {"AC", "SE", "SP"} <= figures.keys():
        return
    accuracy, ends = figures["AC"], sorted((figures["SE"], figures["SP"]))
    margin = 2 * _half_digit(figures) + 1e-9  # both figures are rounded
    if not ends[0] - margin <= accuracy <= ends[1] + margin:
        yield (
            f"{title}: an accuracy of {accuracy:.2f} is not possible for two classes with a sensitivity of "
            f"{figures['SE']:.2f} and a specificity of {figures['SP']:.2f}; it may refer to other classes."
        )


def _half_digit(figures: Mapping[str, float]) -> float:
    """Return half of the last printed digit of figures in per cent."""
    return 0.005 if any(value % 1 for value in figures.values()) else 0.5


def implied_share(figures: Mapping[str, float]) -> tuple[float, float] | None:
    """Return the share of positives, 0 to 1, that published figures imply, as the range that rounding allows.

    ``figures``: metrics in per cent: AC and SE, with SP or PR. None if they do not determine it.
    """
    other = "SP" if "SP" in figures else "PR"
    if not {"AC", "SE", other} <= figures.keys() or figures[other] == 0 or figures["SE"] == figures[other]:
        return None
    half = _half_digit(figures)
    shares = []
    for signs in product((-half, half), repeat=3):
        ac, se, third = (
            min(max((figures[name] + sign) / 100, 0), 1) for name, sign in zip(("AC", "SE", other), signs, strict=True)
        )
        shares.append((ac - third) / (se - third) if other == "SP" else (1 - ac) / (1 - 2 * se + se / third))
    low, high = min(shares), max(shares)
    return (low, high) if 0 <= low <= high <= 1 else None
