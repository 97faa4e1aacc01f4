"""The figure of a search: how the trials went one after the other, and the result over each option."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
POINT, BEST, LINE = "#3b6fa0", "#d08000", "#777777"
LONGEST_LABEL = 24


@dataclass(frozen=True)
class Drawn:
    """A trial that came to an end: its number, its result in [0, 1], and each option as a number or a word."""

    number: int
    result: float
    options: dict[str, float | str]


def draw_search(
    trials: Sequence[Drawn], path: Path, logarithmic: Collection[str] = (), title: str = "tuning Jaccard"
) -> None:
    """Draw the result over the number of the trial, and over each option."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    names = list(trials[0].options)
    rows = -(-(1 + len(names)) // COLUMNS)
    figure = Figure(figsize=(4 * min(COLUMNS, 1 + len(names)), 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, min(COLUMNS, 1 + len(names)), squeeze=False, sharey=True).ravel()
    results = np.array([trial.result for trial in trials])
    best = int(results.argmax())
    _draw_course(grid[0], [trial.number for trial in trials], results, best)
    grid[0].set_ylabel(title)
    for axes, name in zip(grid[1:], names, strict=False):
        _draw_option(axes, [trial.options[name] for trial in trials], results, best)
        axes.set_title(name, loc="left", fontsize=10)
        if name in logarithmic:
            axes.set_xscale("log")  # with numbers as they are written in a recipe, and room between them
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    for axes in grid[1 + len(names) :]:
        axes.set_visible(False)
    for axes in grid:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _draw_course(axes: Axes, numbers: Sequence[int], results: np.ndarray[Any, Any], best: int) -> None:
    """Draw the result of each trial, and the best so far as a line."""
    from matplotlib.ticker import MaxNLocator

    axes.step(numbers, np.maximum.accumulate(results), where="post", color=LINE, linewidth=1, label="best so far")
    axes.scatter(numbers, results, s=18, color=POINT)
    axes.scatter(
        numbers[best], results[best], s=90, marker="*", color=BEST, zorder=3, label=f"best: {results[best]:.3f}"
    )
    axes.set_title("trial", loc="left", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _draw_option(axes: Axes, values: Sequence[float | str], results: np.ndarray[Any, Any], best: int) -> None:
    """Draw the result over a number, or over each word, with a dash at the mean of its trials."""
    places: list[float] = [value for value in values if not isinstance(value, str)]
    if len(places) < len(values):
        words = _in_order({str(value) for value in values})
        places = [words.index(str(value)) for value in values]
        for place in range(len(words)):
            mean = results[np.array(places) == place].mean()
            axes.hlines(mean, place - 0.3, place + 0.3, color=LINE, linewidth=1)
        shown = [word if len(word) <= LONGEST_LABEL else f"{word[:LONGEST_LABEL]}..." for word in words]
        axes.set_xticks(
            range(len(words)), shown, rotation=30 if len(words) > 2 else 0, ha="right" if len(words) > 2 else "center"
        )
        axes.set_xlim(-0.6, len(words) - 0.4)
    axes.scatter(places, results, s=18, color=POINT)
    axes.scatter(places[best], results[best], s=90, marker="*", color=BEST, zorder=3)


def _in_order(words: Collection[str]) -> list[str]:
    """Sort words, or numbers that stand for themselves by their size."""
    try:
        return sorted(words, key=float)
    except ValueError:
        return sorted(words)
