"""Figures of evaluations and comparisons: masks, subgroups, classifiers, agreement of readers, and depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.files import atomic_file
from napari_melanoma.imaging.masks import trace_contours
from napari_melanoma.metrics.agreement import BlandAltman, bland_altman
from napari_melanoma.metrics.calibration import Reliability, reliability_curve
from napari_melanoma.metrics.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = (255, 255, 0), (255, 0, 0), (0, 160, 0)
LEGEND = (("true positive", TRUE_POSITIVE), ("false positive", FALSE_POSITIVE), ("false negative", FALSE_NEGATIVE))
OVERLAY_OPACITY = 0.5  # of the colors over the photograph
CASES = ("best", "median", "worst")
CASE_SIDE_PX = 260  # longer side of an image in a figure of cases
MAX_SUBGROUPS = 60
INTERVAL_OPACITY = 0.15
CONTOUR_SIDE_PX = 320  # longer side of an image with contours
# Of different brightness, for color-blind users; the new model has the yellow of contours in other figures.
OLD_COLOR, NEW_COLOR, REFERENCE_COLOR = (214, 72, 160), (255, 221, 0), (92, 219, 240)
DARK = (25, 25, 25)
BLUE, ORANGE, GRAY, LINE_GRAY = "#3b6fa0", "#d08000", "#8a9097", "#999999"
COLORS = (BLUE, ORANGE, "#3d8f6c", "#a8327c", "#56b4e9", "#7f4f24", "#000000")
MAX_COLUMNS = 4  # panels side by side


@dataclass(frozen=True)
class EvaluatedCase:
    """One image of an evaluation, uint8 (row, column, channel), with two masks, bool (row, column)."""

    name: str
    dice: float
    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    reference: NDArray[np.bool_]


def comparison_image(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Color a mask against its reference as P4 does.

    ``mask``, ``reference``: bool (row, column). Returns uint8 (row, column, channel): true positive yellow, false
    positive red, false negative green, the rest black.
    """
    picture = np.zeros((*mask.shape, 3), np.uint8)
    picture[mask & reference] = TRUE_POSITIVE
    picture[mask & ~reference] = FALSE_POSITIVE
    picture[~mask & reference] = FALSE_NEGATIVE
    return picture


def plot_distribution(dice: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the distribution of the Dice index in each data set."""
    figure = _create_figure(7, 1.2 + 1.1 * len(dice))
    panels = figure.subplots(len(dice), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, dice.items(), strict=True):
        axes.hist(values, bins=np.linspace(0, 1, 41), color=BLUE)
        axes.axvline(float(np.mean(values)), color=ORANGE, label=f"mean {np.mean(values):.3f}")
        axes.set_title(f"{name} (n = {len(values)})", loc="left", fontsize=10)
        axes.legend(loc="upper left", fontsize=8, frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylabel("images")
    panels[-1].set_xlabel("Dice index of an image")
    save_figure(figure, path, dpi=150)


def overlay_image(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw the colors of ``comparison_image`` over the photograph in gray.

    ``rgb``: uint8 (row, column, channel=3). ``mask``, ``reference``: bool (row, column). Returns uint8 (row, column,
    channel=3).
    """
    colors = comparison_image(mask, reference)
    gray = np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2)
    inside = (mask | reference)[..., None]
    return np.where(inside, (1 - OVERLAY_OPACITY) * gray + OVERLAY_OPACITY * colors, gray).astype(np.uint8)


def plot_cases(cases: Mapping[str, Sequence[EvaluatedCase]], path: Path) -> None:
    """Draw selected images, each next to its comparison with the reference, with a legend of the colors."""
    from matplotlib.patches import Patch

    rows = max(1, *(len(items) for items in cases.values()))
    figure = _create_figure(4.2 * len(cases), 0.9 + 1.75 * rows)
    panels = figure.subplots(rows, 2 * len(cases), squeeze=False)
    for axes in panels.ravel():
        axes.set_axis_off()
    for column, (heading, items) in enumerate(cases.items()):
        for row, item in enumerate(items):
            title = f"{heading}: " if row == 0 else ""
            _plot_case((panels[row, 2 * column], panels[row, 2 * column + 1]), item, title)
    patches = [
        Patch(facecolor=f"#{red:02x}{green:02x}{blue:02x}", edgecolor="#666666", label=word)
        for word, (red, green, blue) in LEGEND
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    save_figure(figure, path, dpi=100)


def plot_subgroups(groups: Sequence[tuple[str, str, str, Estimate]], path: Path) -> None:
    """Draw the Jaccard index of each subgroup with its interval, colored by attribute; only the first 60.

    ``groups``: (data set, attribute, value, estimate).
    """
    shown = groups[:MAX_SUBGROUPS]
    figure = _create_figure(7.5, 1.0 + 0.22 * len(shown))
    axes = figure.subplots()
    attributes = list(dict.fromkeys((data, by) for data, by, *_ in shown))
    for row, (data, by, _, estimate) in enumerate(shown):
        color = (BLUE, ORANGE)[attributes.index((data, by)) % 2]
        axes.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=1.5)
        axes.plot([estimate.mean], [row], "o", color=color, markersize=4)
    axes.set_yticks(range(len(shown)), [f"{data}, {by}: {value}" for data, by, value, _ in shown], fontsize=7)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("Jaccard index, 95 % interval")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, dpi=120)


def _plot_case(panels: Sequence[Axes], item: EvaluatedCase, title: str) -> None:
    from PIL import Image

    overlay = overlay_image(item.rgb, item.mask, item.reference)
    for axes, picture in zip(panels, (item.rgb, overlay), strict=True):
        small = Image.fromarray(np.ascontiguousarray(picture))
        small.thumbnail((CASE_SIDE_PX, CASE_SIDE_PX))
        axes.imshow(np.asarray(small))
    panels[0].set_title(f"{title}{item.name[:24]}", fontsize=7, loc="left")
    panels[1].set_title(f"Dice {item.dice:.3f}", fontsize=7, loc="left")


def plot_bland_altman(agreement: BlandAltman, readers: tuple[str, str], path: Path, items: str = "slides") -> None:
    """Draw a Bland-Altman plot with bias, limits of agreement and their intervals."""
    figure = _create_figure(7, 4.6)
    axes = figure.subplots()
    axes.axhline(0, color="#e4e4e0", linewidth=0.8)
    for name, estimate, style in (
        ("upper limit", agreement.high, "--"),
        ("bias", agreement.bias, "-"),
        ("lower limit", agreement.low, "--"),
    ):
        axes.axhspan(estimate.low, estimate.high, color=BLUE, alpha=INTERVAL_OPACITY, linewidth=0)
        axes.axhline(estimate.mean, color=BLUE, linestyle=style, linewidth=1.2)
        words = f"{name} {estimate.mean:+.2f}"
        axes.annotate(
            words, (1, estimate.mean), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=8
        )
    axes.plot(agreement.means, agreement.differences, "o", color="#1c1f23", markersize=4, alpha=0.75)
    axes.set(xlabel=f"mean of {readers[0]} and {readers[1]} (mm)", ylabel=f"{readers[1]} minus {readers[0]} (mm)")
    axes.set_title(f"{len(agreement.means)} {items}; shaded: 95 % intervals", fontsize=9, color=GRAY, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


MALIGNANT_COLOR, BENIGN_COLOR = "#b35c00", "#0066a8"


@dataclass(frozen=True)
class LesionPoints:
    """The lesions of a plot: area and probability of each, and whether it is malignant."""

    areas: Sequence[float]
    probabilities: Sequence[float]
    malignant: Sequence[bool]


def plot_area_and_probability(points: LesionPoints, unit: str, title: str, path: Path, *, log_axis: bool) -> None:
    """Draw lesions by area and probability: disks for malignant ones, squares for benign ones."""
    figure = _create_figure(6.4, 4.4)
    axes = figure.subplots()
    areas, probabilities, malignant = map(np.asarray, (points.areas, points.probabilities, points.malignant))
    for name, marker, color, members in (
        ("malignant", "o", MALIGNANT_COLOR, malignant),
        ("benign", "s", BENIGN_COLOR, ~malignant),
    ):
        if members.any():
            axes.plot(areas[members], probabilities[members], marker, color=color, markersize=5, alpha=0.75, label=name)
    axes.set(xlabel=f"area ({unit})", ylabel="probability", ylim=(-0.03, 1.03), xscale="log" if log_axis else "linear")
    if not log_axis:
        axes.set_xlim(left=0)
    axes.set_title(title, fontsize=8, color=GRAY, loc="left", wrap=True)
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def draw_contours(
    rgb: NDArray[np.uint8],
    old: NDArray[np.bool_],
    new: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    side_px: int = CONTOUR_SIDE_PX,
) -> NDArray[np.uint8]:
    """Draw the contours of both models and of the reference on a small photograph.

    ``rgb``: uint8 (row, column, channel=3). ``old``, ``new``, ``reference``: bool (row, column): purple, yellow and
    blue. Returns uint8 (row, column, channel=3).
    """
    from PIL import Image, ImageDraw

    scale = side_px / max(rgb.shape[:2])
    size = tuple(max(1, round(length * scale)) for length in rgb.shape[1::-1])
    image = Image.fromarray(np.ascontiguousarray(rgb)).resize((size[0], size[1]), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for mask, color, width in ((reference, REFERENCE_COLOR, 1), (old, OLD_COLOR, 2), (new, NEW_COLOR, 2)):
        lines = [[((c + 0.5) * scale - 0.5, (r + 0.5) * scale - 0.5) for r, c in line] for line in trace_contours(mask)]
        for line in lines:
            draw.line(line, fill=DARK, width=width + 2, joint="curve")
        for line in lines:
            draw.line(line, fill=color, width=width, joint="curve")
    return np.array(image)


def plot_changes(images: Sequence[tuple[str, float, float]], intervals: Mapping[str, Estimate], path: Path) -> None:
    """Draw the Jaccard index of each image with both models, and the mean difference in each data set.

    ``images``: (data set, Jaccard index with the old model, with the new one). ``intervals``: data set to the mean of
    new minus old.
    """
    figure = _create_figure(9, 4.2)
    scatter, forest = figure.subplots(1, 2)
    scatter.plot([0, 1], [0, 1], color=LINE_GRAY, linewidth=0.8)
    markers = "os^Dv*"
    for number, name in enumerate(intervals):
        pairs = np.array(sorted((old, new) for domain, old, new in images if domain == name))
        scatter.plot(
            *pairs.T, markers[number % len(markers)], color=(BLUE, ORANGE)[number % 2], alpha=0.6, ms=4, label=name
        )
    scatter.set(
        xlabel="Jaccard index, old model", ylabel="Jaccard index, new model", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
    )
    scatter.set_aspect("equal")
    above = {"loc": "lower left", "bbox_to_anchor": (0, 1), "ncols": 3}  # inside the axes it would hide points
    scatter.legend(fontsize=8, frameon=False, **above)
    for row, estimate in enumerate(intervals.values()):
        forest.plot([estimate.low, estimate.high], [row, row], color=BLUE, linewidth=2)
        forest.plot([estimate.mean], [row], "o", color=BLUE)
    forest.axvline(0, color=LINE_GRAY, linewidth=0.8)
    forest.set_yticks(
        range(len(intervals)), [f"{name}\n(n = {estimate.count})" for name, estimate in intervals.items()]
    )
    forest.set_ylim(len(intervals) - 0.5, -0.5)
    forest.set_xlabel("Jaccard index: new minus old model, 95 % interval")
    forest.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def plot_models(
    models: Sequence[tuple[str, Mapping[str, Estimate], Mapping[str, Estimate]]],
    metrics: Mapping[str, str],
    path: Path,
) -> None:
    """Draw metrics of each model, and differences from the first model.

    ``models``: (model, its estimates by metric, the differences by metric). ``metrics``: metric to its title.
    """
    figure = _create_figure(9.5, 1.4 + 0.5 * len(models))
    values, changes = figure.subplots(1, 2, sharey=True)
    for number, (metric, title) in enumerate(metrics.items()):
        offset = 0.22 * (number - (len(metrics) - 1) / 2)
        color = COLORS[number % len(COLORS)]
        for row, (_, found, difference) in enumerate(models):
            label = title if row == 0 else None
            _plot_estimate(values, found.get(metric), row + offset, color, label)
            _plot_estimate(changes, difference.get(metric), row + offset, color, None)
    values.set_yticks(range(len(models)), [name for name, *_ in models])
    values.set_ylim(len(models) - 0.5, -0.5)
    values.set_xlabel("mean over images, 95 % interval")
    changes.axvline(0, color=LINE_GRAY, linewidth=0.8)
    changes.set_xlabel(f"difference from {models[0][0]} (paired), 95 % interval")
    for axes in (values, changes):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="#e4e4e0", linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=len(metrics), fontsize=8, frameon=False)
    save_figure(figure, path, dpi=120)


def _plot_estimate(axes: Axes, estimate: Estimate | None, row: float, color: str, label: str | None) -> None:
    if estimate is not None:
        axes.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=1.8)
        axes.plot([estimate.mean], [row], "o", color=color, markersize=4, label=label)


ScoredClass = tuple["NDArray[np.float64]", "NDArray[np.bool_]"]
"""Probability of the positive class, and whether each image is of it, (image,) each."""
MIN_BIN_IMAGES = 10  # bins with fewer are drawn faint, because their observed share is unreliable
STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True, eq=False)
class ClassifierCurve:
    """A ROC or precision-recall curve.

    ``x`` and ``y`` are float64 (point,); ``operating_point`` is (x, y), or None if it is not drawn. ``number``: of its
    color and line style; None: its place among the curves.
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    operating_point: tuple[float, float] | None = None
    number: int | None = None


def plot_roc(panels: Mapping[str, Sequence[ClassifierCurve]], path: Path) -> None:
    """Draw ROC curves with their operating points, a panel for each name; "" for a panel without a name."""
    figure, axes_of_panels = _create_square_axes(len(panels))
    for axes, (name, curves) in zip(axes_of_panels, panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color=LINE_GRAY, linewidth=0.8)
        _plot_curves(axes, curves, name)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    save_figure(figure, path)


def plot_precision_recall(curves: Sequence[ClassifierCurve], share: float, path: Path) -> None:
    """Draw precision-recall curves, and a line at ``share``, the share of positive images."""
    figure, (axes,) = _create_square_axes(1)
    axes.axhline(share, color=LINE_GRAY, linewidth=0.8)
    _plot_curves(axes, curves)
    axes.set(xlabel="sensitivity", ylabel="precision")
    save_figure(figure, path)


def plot_reliability(panels: Mapping[str, Mapping[str, ScoredClass]], path: Path) -> None:
    """Draw reliability diagrams, and below each the distribution of the probabilities.

    ``panels``: title of a panel, "" for none, to one or several sets of probabilities by name, "" for a single one.
    """
    lines, columns = -(-len(panels) // MAX_COLUMNS), min(MAX_COLUMNS, len(panels))
    figure = _create_figure(5.2 if len(panels) == 1 else 3.2 * columns, (6.2 if len(panels) == 1 else 4) * lines)
    grid = figure.subplots(2 * lines, columns, squeeze=False, sharex=True, height_ratios=(4, 1) * lines)
    for axes in grid.ravel():
        axes.set_axis_off()
    for number, (title, sets) in enumerate(panels.items()):
        line, column = divmod(number, MAX_COLUMNS)
        above, below = grid[2 * line, column], grid[2 * line + 1, column]
        above.plot([0, 1], [0, 1], color=LINE_GRAY, linewidth=0.8)
        for color, (name, (scores, truth)) in zip(COLORS, sets.items(), strict=False):
            plot_bins(above, reliability_curve(scores, truth), color)
            below.hist(scores, bins=np.linspace(0, 1, 41), color=color, alpha=1 / len(sets), label=name)
        above.set(ylabel="observed share, 95 % interval", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        above.set_title(title, fontsize=8)
        below.set(xlabel="probability", ylabel="images")
        if len(sets) > 1:
            below.legend(frameon=False, fontsize=7)
        for axes in (above, below):
            axes.set_axis_on()
            axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def plot_bins(axes: Axes, bins: Reliability, color: str) -> None:
    """Draw the points of a reliability diagram with intervals; bins with few images are faint and not connected."""
    has_many_images = bins.count >= MIN_BIN_IMAGES
    for members, strength in ((has_many_images, 1.0), (~has_many_images, 0.35)):
        axes.vlines(bins.predicted[members], bins.low[members], bins.high[members], color=color, alpha=strength)
        axes.plot(bins.predicted[members], bins.observed[members], "o", color=color, markersize=4, alpha=strength)
    broken = np.where(has_many_images, bins.observed, np.nan)  # NaN interrupts the line at bins with few images
    axes.plot(bins.predicted, broken, color=color, linewidth=1)


def plot_confusion(matrices: Mapping[str, NDArray[np.int64]], classes: Sequence[str], path: Path) -> None:
    """Draw confusion matrices with counts and shares of each true class.

    ``matrices``: title, "" for none, to int64 (true class, predicted class).
    """
    side = 2.6 + 0.9 * len(classes)
    lines, columns = -(-len(matrices) // MAX_COLUMNS), min(MAX_COLUMNS, len(matrices))
    figure = _create_figure((side + 0.6) * columns, side * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(matrices) :]:
        axes.set_axis_off()
    for axes, (title, counts) in zip(panels, matrices.items(), strict=False):
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            color = "white" if shares[row, column] > 0.55 else "#1c1f23"
            text = f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=10)
        axes.set_xticks(range(len(classes)), classes, rotation=30 if len(classes) > 2 else 0)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(title, fontsize=8)
    save_figure(figure, path)


def plot_bars(
    bars: Mapping[str, Estimate], label: str, path: Path, *, middle: float = 0.0, colors: Sequence[str] = ()
) -> None:
    """Draw estimates with their intervals, as bars that start at ``middle``.

    ``bars``: name to its estimate. ``label``: of the horizontal axis. ``colors``: of the bars; by default blue.
    """
    figure = _create_figure(7, 1.1 + 0.34 * len(bars))
    axes = figure.subplots()
    for row, (estimate, color) in enumerate(zip(bars.values(), colors or [BLUE] * len(bars), strict=True)):
        axes.barh(row, estimate.mean - middle, left=middle, color=color, alpha=0.35, height=0.6)
        axes.plot([estimate.low, estimate.high], [row, row], color=color, linewidth=1.8)
        axes.plot([estimate.mean], [row], "o", color=color, markersize=4)
    axes.axvline(middle, color=LINE_GRAY, linewidth=0.8)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def _create_square_axes(count: int) -> tuple[Figure, list[Axes]]:
    """Create a figure with square axes side by side, all from 0 to 1."""
    figure = _create_figure(5.6 * count, 5.6)
    panels = [*figure.subplots(1, count, squeeze=False)[0]]
    for axes in panels:
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_aspect("equal")
        axes.grid(color="#e4e4e0", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def curve_style(number: int) -> tuple[str, str]:
    """Return color and line style, a combination that only this number has of 28."""
    return COLORS[number % len(COLORS)], STYLES[number // len(COLORS) % len(STYLES)]


def _plot_curves(axes: Axes, curves: Sequence[ClassifierCurve], title: str = "") -> None:
    """Draw curves, distinguished by color and line style; ``title``: of the legend."""
    for place, curve in enumerate(curves):
        color, style = curve_style(place if curve.number is None else curve.number)
        axes.plot(curve.x, curve.y, style, color=color, linewidth=1.6, label=curve.name)
        if curve.operating_point is not None:
            axes.plot(*([value] for value in curve.operating_point), "o", color=color, markersize=6)
    axes.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), title=title or None)


def _create_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a figure, atomically."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


DepthPairs = tuple["NDArray[np.float64]", "NDArray[np.float64]"]
"""Predicted and measured depths in mm, float64 (image,) each."""


def plot_depths(panels: Mapping[str, DepthPairs], path: Path) -> None:
    """Plot predicted and measured depths, a row of three panels for each set of images.

    Left: predicted over measured depth. Middle: their difference over their mean with its 95 % limits (Bland and
    Altman 1986, doi:10.1016/S0140-6736(86)90837-8). Right: distribution of the errors.

    ``panels``: name of a set to its predicted and measured depths in mm, float64 (image,) each, of three images or
    more.
    """
    figure = _create_figure(12, 3.8 * len(panels))
    lines = figure.subplots(len(panels), 3, squeeze=False)
    for (left, middle, right), (name, (predicted, true)) in zip(lines, panels.items(), strict=True):
        _plot_scatter(left, predicted, true)
        _plot_depth_differences(middle, predicted, true)
        _plot_errors(right, predicted, true)
        left.set_title(name, fontsize=9, loc="left")
        for axes in (left, middle, right):
            axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, dpi=120)


def _plot_scatter(axes: Axes, predicted: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    most = float(max(predicted.max(), true.max())) * 1.04
    axes.plot([0, most], [0, most], color=GRAY, linewidth=0.8)
    axes.plot(true, predicted, "o", color=BLUE, markersize=3.5, alpha=0.6)
    axes.set(xlim=(0, most), ylim=(0, most), aspect="equal", xlabel="measured, mm", ylabel="predicted, mm")


def _plot_depth_differences(axes: Axes, predicted: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    agreement = bland_altman(true, predicted)
    axes.plot(agreement.means, agreement.differences, "o", color=BLUE, markersize=3.5, alpha=0.6)
    axes.axhline(0, color=GRAY, linewidth=0.8)
    axes.axhline(agreement.bias.mean, color=ORANGE, linewidth=1.2, label=f"mean {agreement.bias.mean:+.2f} mm")
    for limit in (agreement.low, agreement.high):
        label = f"95 % limit {limit.mean:+.2f} mm"
        axes.axhline(limit.mean, color=ORANGE, linewidth=1, linestyle="--", label=label)
    axes.set(xlabel="mean of both, mm", ylabel="predicted minus measured, mm")
    axes.legend(fontsize=7, frameon=False)


def _plot_errors(axes: Axes, predicted: NDArray[np.float64], true: NDArray[np.float64]) -> None:
    error = np.abs(predicted - true)
    axes.hist(error, bins=20, color=BLUE, alpha=0.6)
    axes.axvline(error.mean(), color=ORANGE, linewidth=1.4, label=f"mean {error.mean():.2f} mm")
    axes.axvline(
        np.median(error), color=ORANGE, linewidth=1.2, linestyle="--", label=f"median {np.median(error):.2f} mm"
    )
    axes.set(xlabel="absolute error, mm", ylabel="images")
    axes.legend(fontsize=7, frameon=False)
