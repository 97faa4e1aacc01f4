"""Parts of the comparison of several models that do not depend on their task: names, table cells and texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import free_name
from napari_melanoma.metrics.statistics import INTERVAL_METHOD, Estimate

MODELS, TABLE, PAGE_NAME = "models.json", "models.csv", "comparison.html"
ESTIMATE_COLUMNS = ("mean", "low", "high", "difference", "difference_low", "difference_high")
INTERVAL_NOTE = (
    f"Intervals: {INTERVAL_METHOD}; of differences paired. With several comparisons, one in twenty intervals of equal "
    "models excludes 0 by chance."
)


def check_different_evaluations(folders: Sequence[Path]) -> None:
    """Reject fewer than two evaluations, or an evaluation that is named twice: its differences would all be 0."""
    if len(folders) < 2:
        raise InputError(f"a comparison needs two or more evaluations; {len(folders)} were named.")
    paths = [folder.resolve() for folder in folders]
    for number, path in enumerate(paths):
        if path in paths[:number]:
            raise InputError(f"{folders[number]} was named twice. Name two different evaluations.")


def distinct_names(own: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Return distinct names of models: their own, or those of their folders if models share a name."""
    taken: list[str] = []
    for name in folders if folders and len(set(own)) < len(own) else own:
        taken.append(free_name(name, {known.lower() for known in taken}))
    return taken


def estimate_cells(estimate: Estimate, change: Estimate | None) -> dict[str, object]:
    """Return the ``ESTIMATE_COLUMNS`` of a metric; ``change`` is the difference from the first model."""
    cells: dict[str, object] = {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
    if change is not None:
        cells |= {"difference": change.mean, "difference_low": change.low, "difference_high": change.high}
    return cells


def format_cell(estimate: Estimate | None, change: Estimate | None) -> str:
    """Format a metric and, except for the first model, the difference; empty if it was not measured."""
    if estimate is None:
        return ""
    return f"{estimate.mean:.3f}" + (f", {change.mean:+.3f} ({change.format_interval()})" if change else "")


def page_title(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]])


def lead_text(metric: str, model: str, estimate: Estimate, change: Estimate | None, first: str) -> str:
    """State the best model by a metric, and its difference from the first one."""
    text = f"Highest {metric}: {model}, {estimate}."
    if change:
        sure = "significant (interval excludes 0)" if change.low > 0 else "may be due to chance"
        text += f" Difference from {first}: {change.mean:+.3f} ({change.format_interval()}), {sure}."
    return text
