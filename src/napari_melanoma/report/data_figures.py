"""Figures of a data set report: what is known, classes, ages, how features lie, what tells sources apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

# Okabe and Ito's colours, which colour-blind eyes tell apart, and two of Tol's; grey for what is not known.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#882255", "#999933", "#f0e442")
GREY = "#c9ccd0"
WIDTH = 9.0  # inches
MOST_WORDS = 9  # of one column; the rarer ones are taken together
REST = "others"
FEWEST_AGES = 10
AGE_BINS = np.arange(0, 101, 10)


def draw_known(known: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw how much of each column is known, source by source.

    ``known``: source to column to the share of its rows that say something, 0 to 1.
    """
    sources = list(known)
    columns = list(known[sources[0]])
    shares = np.array([[known[source][column] for column in columns] for source in sources])
    figure = _figure(1.2 + 0.36 * len(sources) + 0.5)
    axes = figure.subplots()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        said = "" if share == 0 else f"{100 * share:.0f}" if share in (0, 1) or share >= 0.01 else "<1"
        axes.text(column, row, said, ha="center", va="center", fontsize=8, color="white" if share > 0.6 else "#1c1f23")
    axes.set_yticks(range(len(sources)), sources)
    axes.set_xticks(range(len(columns)), [column.replace("_", " ") for column in columns], rotation=40, ha="right")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _save(figure, path)


def draw_shares(counts: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Draw how the rows of each source, or of each of its splits, divide among words, as one bar each."""
    totals: dict[str, int] = {}
    for found in counts.values():
        for word, count in found.items():
            totals[word] = totals.get(word, 0) + count
    words = sorted((word for word in totals if word), key=lambda word: (word if word.isdigit() else "", -totals[word]))
    shown = words[:MOST_WORDS] if len(words) > MOST_WORDS + 1 else words
    figure = _figure(0.9 + 0.4 * len(counts) + 0.28 * ((len(shown) + 4) // 4))
    axes = figure.subplots()
    for place, found in enumerate(counts.values()):
        left, total = 0.0, sum(found.values())
        rest = sum(count for word, count in found.items() if word and word not in shown)
        for word, count in [*((word, found.get(word, 0)) for word in shown), (REST, rest), ("", found.get("", 0))]:
            colour = _colour(word, shown)
            axes.barh(place, count / total, left=left, color=colour, edgecolor="white", linewidth=0.5, height=0.7)
            left += count / total
    handles = [_patch(_colour(word, shown), word) for word in shown]
    handles += [_patch(_colour(REST, shown), REST)] * (len(shown) < len(words))
    handles += [_patch(GREY, "not known")] * ("" in totals)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    axes.set_yticks(range(len(counts)), [f"{name}\n(n = {sum(found.values())})" for name, found in counts.items()])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=8)
    _save(figure, path)


def draw_ages(ages: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the ages of each source, as shares of ten years."""
    known = {source: values for source, values in ages.items() if len(values) >= FEWEST_AGES}
    figure = _figure(3.2)
    axes = figure.subplots()
    for number, (source, values) in enumerate(known.items()):
        shares = np.histogram(np.clip(values, 0, 99), AGE_BINS)[0] / len(values)
        style = ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
        label = f"{source} (n = {len(values)}, median {np.median(values):.0f})"
        axes.stairs(shares, AGE_BINS, color=COLOURS[number % len(COLOURS)], linewidth=2, linestyle=style, label=label)
    axes.set(xlabel="age in years", ylabel="share of the rows", xlim=(0, 100))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    _save(figure, path)


def draw_features(features: Mapping[str, NDArray[np.float64]], sources: Sequence[str], path: Path) -> None:
    """Draw how each feature is distributed in each source, side by side: median, quartiles, 5th and 95th percentile.

    ``features``: name to values, float (image,); NaN where they are not known.
    """
    names = np.asarray(sources)
    known = np.any([np.isfinite(values) for values in features.values()], axis=0)
    order = list(dict.fromkeys(names[known].tolist()))  # a set of which there is only a table has no look
    columns = 3
    rows = -(-len(features) // columns)
    figure = _figure(rows * (0.75 + 0.24 * len(order)))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(features) :]:
        axes.set_visible(False)
    for number, (axes, (feature, values)) in enumerate(zip(grid.flat, features.items(), strict=False)):
        parts = [values[(names == source) & np.isfinite(values)] for source in order]
        drawn = [(place, part) for place, part in enumerate(parts) if len(part)]
        for place, part in drawn:
            low, first, middle, third, high = np.percentile(part, [5, 25, 50, 75, 95])
            colour = COLOURS[place % len(COLOURS)]
            axes.plot([low, high], [place, place], color=colour, linewidth=1.2)
            axes.plot([first, third], [place, place], color=colour, linewidth=7, solid_capstyle="butt")
            axes.plot([middle], [place], "|", color="#1c1f23", markersize=11, markeredgewidth=1.6)
        axes.set_title(feature, fontsize=9, loc="left")
        axes.set_yticks(range(len(order)), order if number % columns == 0 else [""] * len(order), fontsize=8)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=7)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    _save(figure, path)


def draw_rests_on(rests_on: Mapping[str, Sequence[tuple[str, float]]], path: Path, most: int = 8) -> None:
    """Draw on which features it rests that sources are told apart, one panel a pair."""
    columns = min(2, len(rests_on))
    rows = -(-len(rests_on) // columns)
    figure = _figure(rows * (0.8 + 0.22 * most))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(rests_on) :]:
        axes.set_visible(False)
    for axes, (pair, features) in zip(grid.flat, rests_on.items(), strict=False):
        shown = features[:most]
        axes.barh(range(len(shown)), [auc - 0.5 for _, auc in shown], left=0.5, color=COLOURS[0], height=0.65)
        axes.set_xlim(0.5, 1)
        axes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=8)
        axes.set_ylim(most - 0.5, -0.5)
        axes.set_title(pair, fontsize=9, loc="left")
        axes.set_xlabel("AUC by this feature alone (0.5 is a guess)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _figure(height: float) -> Figure:
    """An empty figure of the page's width."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, max(1.8, height)), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, without the name of the program that drew it."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def _colour(word: str, shown: Sequence[str]) -> str:
    """Colour of a word: of the rarest taken together a dark grey, of what is not known a light one."""
    if word == REST:
        return "#7d848c"
    return COLOURS[shown.index(word) % len(COLOURS)] if word else GREY


def _patch(colour: str, label: str) -> object:
    """An entry of a legend."""
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)
