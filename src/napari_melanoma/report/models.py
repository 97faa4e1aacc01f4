"""The figure of several models side by side: each metric with its interval, and the differences from the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from napari_melanoma.report.comparison import Interval

COLOURS = ("#3b6fa0", "#d08000", "#3d8f6c", "#a8327c")


def draw_models(
    models: Sequence[tuple[str, Mapping[str, Interval], Mapping[str, Interval]]], metrics: Sequence[str], path: Path
) -> None:
    """Draw how each model does and by how much it differs from the first."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 1.4 + 0.5 * len(models)), layout="constrained")
    values, changes = figure.subplots(1, 2, sharey=True)
    for number, metric in enumerate(metrics):
        offset = 0.22 * (number - (len(metrics) - 1) / 2)
        colour = COLOURS[number % len(COLOURS)]
        for row, (_, found, difference) in enumerate(models):
            label = metric if row == 0 else None
            _draw(values, found.get(metric), row + offset, colour, label)
            _draw(changes, difference.get(metric), row + offset, colour, None)
    values.set_yticks(range(len(models)), [name for name, *_ in models])
    values.set_ylim(len(models) - 0.5, -0.5)
    values.set_xlabel("mean over images, 95 % interval")
    changes.axvline(0, color="#999999", linewidth=0.8)
    changes.set_xlabel(f"less {models[0][0]}, paired, 95 % interval")
    for axis in (values, changes):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color="#e4e4e0", linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=len(metrics), fontsize=8, frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw(axis: Any, found: Interval | None, row: float, colour: str, label: str | None) -> None:  # noqa: ANN401
    """Draw one estimate with its interval."""
    if found is not None:
        axis.plot([found.low, found.high], [row, row], color=colour, linewidth=1.8)
        axis.plot([found.mean], [row], "o", color=colour, markersize=4, label=label)
