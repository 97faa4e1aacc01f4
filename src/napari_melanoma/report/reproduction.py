"""Figures and the page of a reproduced paper: the measure against size, curves of learning, sample outputs, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_file
from napari_melanoma.report.page import png_uri, write_html

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_melanoma.report.tables import Table

PAPER, OURS = "#d08000", "#3b6fa0"
LINES = ("-", "--", ":", "-.")
PAGE = """{% extends "page" %}
{% block title %}{{ title }}{% endblock %}
{% block width %}80rem{% endblock %}
{% block style %}
h1 { font-size: 1.5rem; } .quiet, table { font-size: .9rem; } table { width: auto; } td, th { vertical-align: top; }
td { font-variant-numeric: tabular-nums; }
{% endblock %}
{% block content %}
<h1>{{ title }}</h1>
{% for line in about %}<p class="quiet">{{ line }}</p>
{% endfor %}
{% for table in tables %}{{ table | safe }}
{% endfor %}
{% for name, data in figures %}<h2>{{ name }}</h2>
<p><img alt="{{ name }}" src="{{ data }}"></p>
{% endfor %}
{% endblock %}
"""


@dataclass(frozen=True)
class SizePoint:
    """A row in the figure of a measure against size.

    Parameters
    ----------
    title : str
        Of the row.
    parameters : float
        Of the network that was trained.
    mean, low, high : float
        The measure in per cent with its interval.
    paper_parameters, paper : float or None
        The paper's, where it says both.
    """

    title: str
    parameters: float
    mean: float
    low: float
    high: float
    paper_parameters: float | None = None
    paper: float | None = None


def draw_size(points: Sequence[SizePoint], metric: str, path: Path) -> None:
    """Draw a measure against the number of parameters, the paper's beside ours.

    Parameters
    ----------
    points : sequence of SizePoint
        One for each row.
    metric : str
        What is drawn, such as ``"TJA"``.
    path : pathlib.Path
        The PNG to write.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes = figure.subplots()
    for number, point in enumerate(points):
        spread = [[point.mean - point.low], [point.high - point.mean]]
        axes.errorbar([point.parameters], [point.mean], spread, fmt="o", color=OURS, capsize=3)
        _label(axes, number, point.title, (point.parameters, point.mean), OURS)
        if point.paper is not None and point.paper_parameters is not None:
            axes.plot([point.paper_parameters], [point.paper], "D", color=PAPER, markerfacecolor="none")
            _label(axes, number, point.title, (point.paper_parameters, point.paper), PAPER)
    axes.plot([], [], "o", color=OURS, label="ours, 95 % interval")
    axes.plot([], [], "D", color=PAPER, markerfacecolor="none", label="the paper's")
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set(xlabel="parameters", ylabel=f"{metric}, per cent")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)


def draw_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draw how each row learnt: its loss and the Jaccard index on the images that pick the epoch.

    Parameters
    ----------
    curves : mapping
        Title of a row to the rows of its ``metrics.csv``.
    path : pathlib.Path
        The PNG to write.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, key, label in zip(panels, ("loss", "tuning_jaccard"), ("loss", "Jaccard index, tuning"), strict=True):
        for number, (title, rows) in enumerate(curves.items()):
            epochs = [row["epoch"] + 1 for row in rows]
            axes.plot(epochs, [row[key] for row in rows], LINES[number // 10 % len(LINES)], marker=".", label=title)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    if curves:
        panels[1].legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130)


def draw_samples(rows: Mapping[str, Mapping[str, NDArray[np.uint8]]], path: Path) -> None:
    """Draw the answers of every row on the same few images, in P4's colours.

    Parameters
    ----------
    rows : mapping
        Title of a row to name of an image to uint8 (row, column, channel); the photographs come first.
    path : pathlib.Path
        The PNG to write.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for pictures in rows.values() for name in pictures))
    figure = Figure(figsize=(1.7 * len(names) + 2.2, 1.35 * len(rows) + 0.5), layout="constrained")
    figure.suptitle("Yellow found, red too much, green missed", fontsize=9)
    grid = figure.subplots(len(rows), len(names), squeeze=False)
    for line, (title, pictures) in zip(grid, rows.items(), strict=True):
        for axes, name in zip(line, names, strict=True):
            axes.set_axis_off()
            if name in pictures:
                axes.imshow(pictures[name])
        line[0].text(-0.05, 0.5, title, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)


def write_page(
    title: str, about: Sequence[str], tables: Sequence[Table], figures: Mapping[str, Path], path: Path
) -> None:
    """Write one HTML file that needs no other.

    Parameters
    ----------
    title : str
        Of the page.
    about : sequence of str
        Sentences below it.
    tables : sequence of Table
        What was found.
    figures : mapping
        Title to PNG.
    path : pathlib.Path
        The file.

    Raises
    ------
    SaveError
        Where it cannot be written.
    """
    pictures = [(name, png_uri(figure)) for name, figure in figures.items()]
    write_html(path, PAGE, title=title, about=about, tables=[t.html() for t in tables], figures=pictures)


def _label(axes: Axes, number: int, text: str, place: tuple[float, float], color: str) -> None:
    """Write the name of a point beside it; neighbours write above and below."""
    up = 7 if number % 2 == 0 else -13
    axes.annotate(text, place, (4, up), textcoords="offset points", fontsize=6.5, color=color)
