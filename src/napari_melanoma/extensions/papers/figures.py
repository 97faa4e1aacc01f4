"""Draw the figures of a reproduced paper, compare predicted depths with measured ones, and write the HTML page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.table_schema import READER_COLUMN
from napari_melanoma.extensions.papers.image_figures import (
    ReportPicture,
    draw_augmentations,
    draw_explanations,
    draw_stages,
)
from napari_melanoma.extensions.papers.kinds import HALF, pool
from napari_melanoma.extensions.papers.paper_rows import (
    PARTS,
    RowResult,
    TableLine,
    describe_conditions,
    images_in_part,
    is_in_size_figure,
    list_parts,
    read_pictures,
    results_by_table,
    table_lines,
)
from napari_melanoma.extensions.papers.papers import Paper, PaperTable, Row, RowFile
from napari_melanoma.extensions.papers.planning import ReproductionContext, ReproductionFolder
from napari_melanoma.figures.evaluation import plot_bars, plot_bins, plot_bland_altman, plot_depths, save_figure
from napari_melanoma.figures.page import Block, Items, ReportTable, Section, Text, png_uri, write_analysis
from napari_melanoma.figures.page import Figure as Plot
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_table
from napari_melanoma.metrics.agreement import MIN_CASES, bland_altman, intraclass_correlation, weighted_pearson
from napari_melanoma.metrics.calibration import reliability_curve
from napari_melanoma.metrics.overlap import count_class_pairs
from napari_melanoma.metrics.statistics import Estimate, bootstrap_statistic, weighted_mean
from napari_melanoma.training.monitor import MONITORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


# Colors of Okabe and Ito (jfly.uni-koeln.de/color), without the yellow, which is faint on white.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
MARKERS = "osD^vPX"
LINES = ("-", "--", ":", "-.")
MARKS = 8  # markers per curve
NARROW = 3.0  # ratio of the ends of an axis below which it has more ticks
# Column of metrics.csv to the label of its axis.
LOSSES = {"loss": "training loss", "validation_loss": "validation loss"}
MIN_DISTANCE = 0.03  # minimum distance between points, relative to the axis
OURS, PAPERS = "this reproduction, with 95 % intervals", "the paper"


@dataclass(frozen=True)
class SizePoint:
    """A row in the figure of a metric against the number of parameters.

    ``number``: of the row, for its color and marker. ``mean``, ``low``, ``high``: the metric with its interval;
    ``paper``: the result of the paper; all in per cent.
    """

    title: str
    number: int
    parameters: float
    mean: float
    low: float
    high: float
    paper_parameters: float | None = None
    paper: float | None = None


def draw_size(points: Sequence[SizePoint], metric: str, path: Path) -> None:
    """Plot a metric against the number of parameters; the paper's results are in a separate panel."""
    from matplotlib.figure import Figure

    papers = [
        (point.number, point.paper_parameters, point.paper)
        for point in points
        if point.paper_parameters is not None and point.paper is not None
    ]
    count = 2 if papers else 1
    figure = Figure(figsize=(4.1 * count + 3, 4.2), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    x_positions = spread_sizes([point.parameters for point in points])
    for point, x in zip(points, x_positions, strict=True):
        spread = [[point.mean - point.low], [point.high - point.mean]]
        panels[0].errorbar([x], [point.mean], spread, label=point.title, capsize=3, **_style(point.number, ""))
    _size_axes(panels[0], OURS, metric)
    if papers:
        positions = spread_sizes([parameters for _, parameters, _ in papers])
        for x, (number, _, value) in zip(positions, papers, strict=True):
            panels[1].plot([x], [value], **_style(number, ""), markerfacecolor="none")
        _size_axes(panels[1], PAPERS, metric)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    save_figure(figure, path)


def spread_sizes(sizes: Sequence[float]) -> list[float]:
    """Move numbers on a logarithmic axis to the right so that points do not overlap; others are unchanged."""
    logarithms = [math.log10(size) for size in sizes]
    order = sorted(range(len(logarithms)), key=logarithms.__getitem__)
    min_gap = MIN_DISTANCE * max(logarithms[order[-1]] - logarithms[order[0]], MIN_DISTANCE) if order else 0.0
    moved, previous = list(sizes), -math.inf
    for index in order:
        if logarithms[index] - previous < min_gap:
            logarithms[index] = previous + min_gap
            moved[index] = 10 ** logarithms[index]
        previous = logarithms[index]
    return moved


def draw_curves(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    numbers: Mapping[str, int],
    watched: tuple[str, str],
    path: Path,
) -> None:
    """Plot the learning curves of rows: loss on training and validation images, and the monitored metric.

    ``curves``: title of a row to its epochs, each a row of ``metrics.csv``. ``numbers``: title to the number of the
    row. ``watched``: column and label of the metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(14, 4.5), layout="constrained")
    panels = figure.subplots(1, 3)
    panels[1].sharey(panels[0])
    for axes, (key, label) in zip(panels, (*LOSSES.items(), watched), strict=True):
        for title, rows in curves.items():
            number = numbers[title]
            epochs, step = [row["epoch"] + 1 for row in rows], max(1, len(rows) // MARKS)
            marks = (number % step, step)  # at different epochs for different curves
            style = _style(number, LINES[number // len(COLORS) % len(LINES)])
            axes.plot(epochs, [row[key] for row in rows], **style, markevery=marks, linewidth=1.4, label=title)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    if all(row[key] > 0 for rows in curves.values() for row in rows for key in LOSSES):  # rows may have other losses
        for axes in panels[:2]:
            axes.set_yscale("log")
            _few_ticks(axes.yaxis, "{:g}".format, _loss_ticks(*axes.get_ylim()))
    figure.legend(*panels[2].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    save_figure(figure, path)


def _loss_ticks(low: float, high: float) -> Sequence[float]:
    """Return the ticks of each decade on an axis of losses; more of them if the range is narrow."""
    return (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9) if high < NARROW * low else (1, 1.5, 2, 3, 5, 7)


def draw_samples(rows: Mapping[str, Mapping[str, NDArray[np.uint8]]], names: str, path: Path) -> None:
    """Draw the predictions of every row for the same few images, in the colors of P4.

    ``rows``: title of a row to name of an image to uint8 (row, column, channel); the photographs come first. ``names``:
    of the data sets, for the title.
    """
    from matplotlib.figure import Figure

    images = list(dict.fromkeys(name for pictures in rows.values() for name in pictures))
    figure = Figure(figsize=(1.4 * len(images) + 2.2, 1.35 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(f"{names}: yellow true positive, red false positive, green false negative", fontsize=9)
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for line, (title, pictures) in zip(grid, rows.items(), strict=True):
        for axes, name in zip(line, images, strict=True):
            axes.set_axis_off()
            if name in pictures:
                axes.imshow(pictures[name])
        line[0].text(-0.05, 0.5, title, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    save_figure(figure, path, dpi=110)


def _style(number: int, line: str) -> dict[str, Any]:
    """Return the style of a row: color and marker, a combination that only it has among 49 rows, and line style."""
    count = len(COLORS)
    marker = MARKERS[(number + number // count) % count]
    return {"color": COLORS[number % count], "marker": marker, "linestyle": line, "markersize": 5.5}


def _size_axes(axes: Axes, title: str, metric: str) -> None:
    """Label the axes of a panel."""
    axes.set_xscale("log")
    _few_ticks(axes.xaxis, lambda value: f"{value / 1e6:g}M")
    axes.margins(x=0.1, y=0.12)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="parameters", ylabel=f"{metric}, per cent")
    axes.spines[["top", "right"]].set_visible(False)


def _few_ticks(axis: Axis, format_tick: Callable[[float], str], ticks_per_decade: Sequence[float] = (1, 2, 5)) -> None:
    """Set the ticks of a logarithmic axis; ``ticks_per_decade``: multiples of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=ticks_per_decade))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: format_tick(value)))


MAX_COLUMNS = 4  # panels side by side


@dataclass(frozen=True, eq=False)
class OutOfFoldPredictions:
    """Out-of-fold predictions of a row for the images of one test set.

    ``number``: of the row. ``truth``: bool (image,): whether an image is of the positive class. ``probability``,
    ``calibrated``: float64 (image,), before and after calibration. ``auc``: text of the AUC for the legend.
    """

    title: str
    number: int
    truth: NDArray[np.bool_]
    probability: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    auc: str = ""


def draw_roc(panels: Mapping[str, Sequence[OutOfFoldPredictions]], path: Path) -> None:
    """Draw the ROC curves of rows, a panel for each test set."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    figure = Figure(figsize=(5.6 * len(panels), 5.8), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for row in rows:
            false_positive_rate, true_positive_rate, _ = roc_curve(row.truth, row.probability, drop_intermediate=False)
            color, line = COLORS[row.number % len(COLORS)], LINES[row.number // len(COLORS) % len(LINES)]
            label = f"{row.title}: {row.auc}" if row.auc else row.title
            axes.plot(
                false_positive_rate,
                true_positive_rate,
                color=color,
                linestyle=line,
                linewidth=1.3,
                label=label,
            )
        axes.set(title=name, xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False, fontsize=7, title="AUC")
    save_figure(figure, path, dpi=120)


def draw_confusion(rows: Sequence[OutOfFoldPredictions], path: Path, name: str) -> None:
    """Draw the confusion matrix of each row; ``name``: of the positive class."""
    figure, panels = _grid(len(rows))
    for axes, row in zip(panels, rows, strict=True):
        counts = count_class_pairs(row.probability >= HALF, row.truth, 2)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (truth, predicted), count in np.ndenumerate(counts):
            color = "white" if shares[truth, predicted] > 0.5 else "black"
            text = f"{count}\n{100 * shares[truth, predicted]:.0f} %"
            axes.text(predicted, truth, text, ha="center", va="center", fontsize=8, color=color)
        axes.set_title(row.title, fontsize=7)
        axes.set_xticks([0, 1], ["other", name], fontsize=7)
        axes.set_yticks([0, 1], ["other", name], fontsize=7, rotation=90, va="center")
        axes.set_xlabel("predicted", fontsize=7)
        axes.set_ylabel("true", fontsize=7)
    save_figure(figure, path, dpi=120)


def draw_reliability(rows: Sequence[OutOfFoldPredictions], path: Path, name: str) -> None:
    """Draw the reliability diagrams of rows, as trained and calibrated; ``name``: of the positive class."""
    figure, panels = _grid(len(rows))
    for axes, row in zip(panels, rows, strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for color, label, values in (
            (COLORS[1], "as trained", row.probability),
            (COLORS[0], "calibrated", row.calibrated),
        ):
            plot_bins(axes, reliability_curve(values, row.truth), color)
            axes.plot([], [], "o-", color=color, markersize=4, linewidth=1, label=label)
        axes.legend(frameon=False, fontsize=6, loc="upper left")
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_title(row.title, fontsize=7)
        axes.set_xlabel("predicted probability", fontsize=7)
        axes.set_ylabel(f"share of {name}", fontsize=7)
        axes.tick_params(labelsize=6)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path, dpi=120)


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """Create a figure with a grid of small panels, and return both."""
    from matplotlib.figure import Figure

    lines, wide = -(-count // MAX_COLUMNS), min(MAX_COLUMNS, count)
    figure = Figure(figsize=(2.9 * wide, 2.9 * lines), layout="constrained")
    panels = [*figure.subplots(lines, wide, squeeze=False).ravel()]
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


# The figures of a reproduction: which rows they show, and their notes.

CURVES = "Losses are comparable only between rows with the same loss."
FIRST_FOLD = "Curves of the first fold."
MONITORED = "For {}, which has no validation images, the curves are those of the test images."
TITLES = {"validation_jaccard": "Jaccard index, validation"}
SIZE = "Points of nearly the same size are shifted slightly so that they do not overlap."


def draw_figures(context: ReproductionContext, results: Sequence[RowResult]) -> list[ReportPicture]:
    """Draw all figures of a reproduction, in the order of the page."""
    metric, folder, pictures = context.paper.file.chosen_by, context.folder.figures, list[ReportPicture]()
    if sized := [item for item in results if is_in_size_figure(context, item)]:
        size = folder / f"{metric.lower()}-against-size.png"
        draw_size([_size_point(context.paper, item, metric) for item in sized], metric, size)
        about = f"{SIZE} {describe_conditions(context, sized)}"
        pictures.append(ReportPicture(f"{metric} against size", size, about))
    for curves in LEARNING_CURVES:
        pictures += _draw_curves(context, curves, results)
    for role, images in context.data.items():
        shown = [item for item in results if item.row.file.evaluated == role and not item.row.kind.cross_validated]
        if samples := _sample_pictures(context, role, [item for item in shown if item.row.grid is None]):
            path = folder / f"samples-{role.lower()}.png"
            draw_samples(samples, images.names, path)
            title, about = f"Sample predictions on {images.names} (role {role})", describe_conditions(context, shown)
            pictures.append(ReportPicture(title, path, about))
    pictures += draw_augmentations(context)
    pictures += draw_predictions(context, [item for item in results if item.row.file.kind == "classification"])
    pictures += draw_stages(context, results)
    pictures += _draw_bars(context, results)
    return [*pictures, *draw_explanations(context, results), *depth_pictures(_claimed_first(context, results), folder)]


def _row_number(paper: Paper, row: Row) -> int:
    """Return the number of a row, by which it has the same color and marker in every figure."""
    return list(dict.fromkeys(known.file.title for known in paper.rows.values())).index(row.file.title)


def _claimed_first(context: ReproductionContext, results: Sequence[RowResult]) -> list[RowResult]:
    """Return the results that are in tables, beginning with the rows of the paper's claims."""
    claimed = [rows.row for claim in context.paper.file.claims for rows in claim.rows]
    rows = [item for item in results if item.row.file.table]
    return sorted(rows, key=lambda item: item.row.name not in claimed)


def _draw_bars(context: ReproductionContext, all_results: Sequence[RowResult]) -> list[ReportPicture]:
    """Draw the metric that the paper shows as bars, for each part of the images."""
    bars, results = context.paper.file.bars, {item.row.name: item for item in all_results}
    if bars is None:
        return []
    pictures = []
    for part in dict.fromkeys(part for item in results.values() for part in list_parts(item)):
        rows = [results[name] for name in bars.rows if name in results]
        rows = [replace(item, images=images_in_part(item.images, part)) for item in rows]
        rows = [item for item in rows if bars.metric in item.estimates]
        if len(rows) > 1:
            images = PARTS.get(part, "all images")
            path = context.folder.figures / f"bars-{part or 'all'}.png"
            values = {item.title: item.estimates[bars.metric] for item in rows}
            colors = [COLORS[_row_number(context.paper, item.row) % len(COLORS)] for item in rows]
            plot_bars(values, f"{bars.metric}, 95 % interval", path, middle=0.5, colors=colors)
            pictures.append(ReportPicture(f"{bars.title}: {images}", path, describe_conditions(context, rows)))
    return pictures


@dataclass(frozen=True)
class LearningCurves:
    """A figure of learning curves of one task: of rows with one split, or of the first fold of cross-validated rows."""

    task: Literal["segmentation", "classification"]
    cross_validated: bool
    file: str
    title: str


LEARNING_CURVES = (
    LearningCurves("segmentation", False, "curves.png", "Learning curves"),
    LearningCurves("segmentation", True, "curves-of-folds.png", "Learning curves, segmentation of the folds"),
    LearningCurves("classification", True, "curves-of-classifiers.png", "Learning curves, classifiers"),
)


def _draw_curves(
    context: ReproductionContext, figure: LearningCurves, results: Sequence[RowResult]
) -> list[ReportPicture]:
    """Draw the learning curves of the rows of a figure."""
    rows = [item for item in results if item.row.file.train and item.row.file.predictor == "network"]
    shown = [
        item for item in rows if (item.row.task, item.row.kind.cross_validated) == (figure.task, figure.cross_validated)
    ]
    curves = {item.title: _learning_curve(context.folder, item.row.name, figure.cross_validated) for item in shown}
    several = {title: epochs for title, epochs in curves.items() if len(epochs) > 1}
    if not several:
        return []
    monitor, path = MONITORS[figure.task], context.folder.figures / figure.file
    numbers = {item.title: _row_number(context.paper, item.row) for item in shown}
    draw_curves(several, numbers, (monitor.name, TITLES.get(monitor.name, f"{monitor.title}, validation")), path)
    unvalidated = [
        item.row.file.title for item in shown if item.row.values["full"].get("data", {}).get("validation_fraction") == 0
    ]
    note = " ".join([CURVES, *[FIRST_FOLD] * figure.cross_validated, *map(MONITORED.format, unvalidated)])
    about = f"{note}{_not_drawn_text(curves)} {describe_conditions(context, shown)}"
    return [ReportPicture(figure.title, path, about)]


def _not_drawn_text(curves: Mapping[str, Sequence[object]]) -> str:
    """List the rows that have no curve; "" if there are none."""
    single = [title for title, rows in curves.items() if len(rows) == 1]
    return f" Not shown, since they are trained for a single epoch: {', '.join(single)}." if single else ""


def _size_point(paper: Paper, result: RowResult, metric: str) -> SizePoint:
    """Create the point of a row in the figure of the metric against size."""
    estimate, file = result.estimates[metric], result.row.file
    ends = (100 * estimate.mean, 100 * estimate.low, 100 * estimate.high)
    number, published = _row_number(paper, result.row), file.paper.get("", {}).get(metric)
    return SizePoint(result.title, number, result.parameters or 0, *ends, file.parameters, published)


def _learning_curve(folder: ReproductionFolder, name: str, cross_validated: bool) -> list[dict[str, float]]:
    """Read the epochs of a row; for cross-validated rows those of the first fold."""
    row = folder.row(name)
    path = (row.fold(1) if cross_validated else row).run.path / "metrics.csv"
    rows = read_table(path) if path.is_file() else []
    return [{key: float(value) for key, value in row.items()} for row in rows]


def _sample_pictures(
    context: ReproductionContext, role: str, results: Sequence[RowResult]
) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Read the pictures for ``draw_samples`` of rows that are evaluated on a role; empty without photographs."""
    samples = context.data[role].test_samples
    photographs = read_pictures(context.folder.photographs, samples)
    folders = {item.title: context.folder.row(item.row.name).pictures for item in results}
    predictions = {title: read_pictures(folder, samples) for title, folder in folders.items()}
    return {"Photograph": photographs, **predictions} if photographs else {}


# Figures of classifiers, for each table.

POOLED = "All folds together; each image is predicted by a model that was not trained on its fold."
CUT = "{} is predicted from a probability of one half, as trained, as in the papers, not at the operating point."
BINS = "Ten bins with equal numbers of images, with 95 % intervals (Wilson 1927)."
SHOWN = "As many {} as others of each data set, as input to the networks; black frame: true negative."


@dataclass(frozen=True, eq=False)
class _PlottedPredictions:
    """The predictions of a row for a test set; ``target``: the class that is predicted."""

    test_set: str
    predictions: OutOfFoldPredictions
    file: RowFile
    target: str

    @property
    def network(self) -> bool:
        """Whether a network made the predictions."""
        return self.file.predictor == "network"

    @property
    def varies(self) -> bool:
        """Whether the predictions differ between images, which curves need."""
        return len(set(self.predictions.probability)) > 1

    @property
    def has_roc(self) -> bool:
        """Whether a ROC curve is defined: predictions differ, and there are images of both classes."""
        return self.varies and len(set(self.predictions.truth)) > 1

    @property
    def titled(self) -> OutOfFoldPredictions:
        """The predictions with the test set in the title."""
        return replace(self.predictions, title=f"{self.predictions.title}\non {self.test_set}")


def draw_predictions(context: ReproductionContext, results: Sequence[RowResult]) -> list[ReportPicture]:
    """Draw the figures of each table of classifiers, in the order of the page."""
    pictures: list[ReportPicture] = []
    for name, table, rows in results_by_table(context.paper, results):
        shown = [_read_predictions(context.paper, line) for line in table_lines(rows) if line.domains]
        conditions = describe_conditions(context, rows)
        drawn = [*_draw_table(context, name, table, shown), *_draw_samples(context, name, table, rows)]
        pictures += [replace(picture, about=f"{picture.about} {conditions}".strip()) for picture in drawn]
    return pictures


def _read_predictions(paper: Paper, line: TableLine) -> _PlottedPredictions:
    pooled, row = pool(line.result.images), line.result.row
    area = line.result.estimates.get("AUC")
    auc = "" if area is None else f"{100 * area.mean:.1f} ({area.format_interval('.1f', factor=100)})"
    number = _row_number(paper, row)
    predictions = OutOfFoldPredictions(
        line.result.title, number, pooled.truth, pooled.as_trained, pooled.probability, auc
    )
    return _PlottedPredictions(", ".join(line.set_names), predictions, row.file, paper.target_of(row))


def _draw_table(
    context: ReproductionContext, name: str, table: PaperTable, shown: Sequence[_PlottedPredictions]
) -> Iterable[ReportPicture]:
    """Draw ROC curves, confusion matrices and reliability diagrams of the rows of a table."""
    roc, matrices, bins = (
        context.folder.figures / f"{kind}-{name}.png" for kind in ("roc", "confusion", "reliability")
    )
    panels: dict[str, list[OutOfFoldPredictions]] = {}
    for plotted in shown:
        if plotted.has_roc:
            panels.setdefault(plotted.test_set, []).append(plotted.predictions)
    if panels:
        draw_roc(panels, roc)
        is_fitted = any(one.file.is_fitted for one in shown if one.has_roc)
        yield ReportPicture(f"ROC curves: {table.title}", roc, POOLED if is_fitted else "")
    target = shown[0].target
    draw_confusion([one.titled for one in shown], matrices, target)
    yield ReportPicture(f"Confusion matrices: {table.title}", matrices, CUT.format(target.capitalize()))
    if networks := [one.titled for one in shown if one.network and one.varies]:
        draw_reliability(networks, bins, target)
        yield ReportPicture(f"Reliability diagrams: {table.title}", bins, BINS)


def _draw_samples(
    context: ReproductionContext, name: str, table: PaperTable, rows: Sequence[RowResult]
) -> Iterable[ReportPicture]:
    """Draw the predictions of the networks of a table for a few images."""
    pictures: dict[str, dict[str, NDArray[np.uint8]]] = {}
    for item in rows:
        folder = context.folder.row(item.row.name).pictures
        if item.row.file.predictor == "network" and folder.is_dir():
            paths = sorted(folder.rglob("*.png"))
            names = (path.relative_to(folder).with_suffix("").as_posix() for path in paths)
            pictures[item.title] = dict(zip(names, (read_photograph(path).rgb for path in paths), strict=True))
    if pictures:
        path = context.folder.figures / f"samples-{name}.png"
        sets = ", ".join(dict.fromkeys(name for images in context.cross_validated.values() for name in images.names))
        draw_samples(pictures, sets, path)
        positives = table.positives or context.paper.file.positives
        yield ReportPicture(f"Sample predictions: {table.title}", path, SHOWN.format(positives))


# Predicted and measured depths.

MEASURES = (
    "MAE, mm",
    "SD of the error, mm",
    "Relative error, %",
    "Pearson r",
    "mean difference, mm",
    "95 % limits, mm",
)
COLUMNS = ("Row", "Images", "n", *MEASURES)
AGREEMENT = ("ICC", "mean difference, mm", "95 % limits, mm", "Relative difference, %")
AGREEMENT_COLUMNS = ("Depths", "Images", "n", *AGREEMENT)
AGREEMENT_NOTE = (
    "ICC: intraclass correlation of single readings, absolute agreement, ICC(2,1). Differences: second minus first, "
    "with 95 % limits of agreement (Bland and Altman); relative: mean of their absolute values, each divided by the "
    "first."
)
DRAWN = "Predicted minus measured. Beyond the height of a patch the deepest point is not visible."


@dataclass(frozen=True, eq=False)
class PredictedDepths:
    """Predicted and measured depths of a row on one part of the images, in mm, float64 (image,) each.

    ``where``: name of the part. ``groups``: the patient or lesion of each image. ``readings_mm``: the depths that each
    reader measured, by name; NaN where a reader has none.
    """

    title: str
    where: str
    predicted_mm: NDArray[np.float64]
    true_mm: NDArray[np.float64]
    groups: list[str]
    readings_mm: Mapping[str, NDArray[np.float64]]

    def pairs(self) -> Iterator[DepthPair]:
        """Yield each pair of readers, and each reader with the prediction, if they have enough images in common."""
        for number, (reader, read) in enumerate(self.readings_mm.items()):
            yield from self._pair((reader, "prediction"), read, self.predicted_mm)
            for other in list(self.readings_mm)[number + 1 :]:
                yield from self._pair((reader, other), read, self.readings_mm[other])

    def _pair(
        self, names: tuple[str, str], first: NDArray[np.float64], second: NDArray[np.float64]
    ) -> Iterator[DepthPair]:
        known = ~(np.isnan(first) | np.isnan(second))
        if known.sum() >= MIN_CASES:
            yield DepthPair(names, first[known], second[known])


@dataclass(frozen=True, eq=False)
class DepthPair:
    """Two depths of the same images in mm, float64 (image,) each, and their names, such as ``reader 1``."""

    names: tuple[str, str]
    first_mm: NDArray[np.float64]
    second_mm: NDArray[np.float64]


def collect_depth_predictions(results: Sequence[RowResult]) -> Iterator[PredictedDepths]:
    """Read the predicted depths of rows, for each part of the images with measured depths."""
    for item in results:
        for part in list_parts(item):
            measured = [
                one
                for one in images_in_part(item.images, part)
                if one.get("depth_predicted_mm") and one.get("depth_mm")
            ]
            if len(measured) >= MIN_CASES:
                predicted, true = (
                    np.array([float(one[name]) for one in measured]) for name in ("depth_predicted_mm", "depth_mm")
                )
                groups = [one["group"] for one in measured]
                where = PARTS.get(part, "all")
                yield PredictedDepths(item.title, where, predicted, true, groups, _collect_readings(measured))


def _collect_readings(images: Sequence[Mapping[str, str]]) -> dict[str, NDArray[np.float64]]:
    """Read the depths of each reader from rows of ``per_image.csv``."""
    columns = sorted(name for name in images[0] if READER_COLUMN.fullmatch(name))
    return {
        f"reader {name.rpartition('_')[2]}": np.array([float(one[name] or "nan") for one in images]) for name in columns
    }


def depth_table(paper: Paper, results: Sequence[RowResult]) -> ReportTable | None:
    """Create the table of predicted depths with the paper's result; None if no row or the paper predicts no depth."""
    rows = [_depth_row(depths) for depths in collect_depth_predictions(results)]
    result = paper.file.depth
    if not rows or result is None:
        return None
    numbers = (f"{result.mae_mm:g}", f"{result.sd_mm:g}", f"{result.relative_percent:g}")
    first = ("the paper's module", "", "", *numbers, "", "", "")
    return ReportTable(result.title, COLUMNS, (first, *rows), notes=tuple(filter(None, [result.note])))


def agreement_table(results: Sequence[RowResult]) -> ReportTable | None:
    """Create the table of the agreement of predictions and readers; None if no row predicts depths that readers read.

    Readers are compared with each other once for each part of the images.
    """
    rows = dict[tuple[str, str], tuple[str, ...]]()
    for depths in collect_depth_predictions(results):
        for pair in depths.pairs():
            second = depths.title if pair.names[1] == "prediction" else pair.names[1]
            names = f"{pair.names[0]} and {second}"
            rows.setdefault((names, depths.where), (names, depths.where, *_describe_agreement(pair)))
    if not rows:
        return None
    return ReportTable("Agreement with the readers", AGREEMENT_COLUMNS, tuple(rows.values()), notes=(AGREEMENT_NOTE,))


def _describe_agreement(pair: DepthPair) -> tuple[str, ...]:
    """Return the cells of a pair, from the number of images on."""
    correlation = intraclass_correlation(np.stack([pair.first_mm, pair.second_mm], axis=1))
    agreement = bland_altman(pair.first_mm, pair.second_mm)
    limits = f"{agreement.low.mean:+.2f} to {agreement.high.mean:+.2f}"
    relative = f"{_relative_percent(pair.second_mm, pair.first_mm):.0f}"
    return (str(len(pair.first_mm)), _format_estimate(correlation), f"{agreement.bias.mean:+.2f}", limits, relative)


def _relative_percent(mm: NDArray[np.float64], reference_mm: NDArray[np.float64]) -> float:
    """Return the mean absolute difference in percent of the reference, without references of 0 mm."""
    known = reference_mm > 0
    return 100 * float(np.mean(np.abs(mm - reference_mm)[known] / reference_mm[known])) if known.any() else float("nan")


def depth_pictures(results: Sequence[RowResult], folder: Path) -> list[ReportPicture]:
    """Draw predicted and measured depths of the first row that predicts one, and its agreement with the readers."""
    rows = list(collect_depth_predictions(results))
    if not rows:
        return []
    path = folder / "depth.png"
    first_row = [depths for depths in rows if depths.title == rows[0].title]
    plot_depths(
        {f"{depths.title}: {depths.where}": (depths.predicted_mm, depths.true_mm) for depths in first_row}, path
    )
    pictures = [ReportPicture("Predicted and measured depth", path, DRAWN)]
    evaluated = first_row[-1]  # the untouched part, if any
    for pair in evaluated.pairs():
        path = folder / f"agreement-{'-'.join(pair.names).replace(' ', '-')}.png"
        plot_bland_altman(bland_altman(pair.first_mm, pair.second_mm), pair.names, path, items="patches")
        title = f"Depth: {pair.names[0]} and {pair.names[1]}"
        pictures.append(ReportPicture(title, path, f"{evaluated.title}: {evaluated.where}"))
    return pictures


def _depth_row(depths: PredictedDepths) -> tuple[str, ...]:
    """Return a line of the depth table."""
    agreement, error = bland_altman(depths.true_mm, depths.predicted_mm), np.abs(depths.predicted_mm - depths.true_mm)
    mean_error = bootstrap_statistic(partial(weighted_mean, error), depths.groups, bounds=(0, np.inf))
    correlation = bootstrap_statistic(
        partial(weighted_pearson, depths.predicted_mm, depths.true_mm), depths.groups, bounds=(-1, 1)
    )
    limits = f"{agreement.low.mean:+.2f} to {agreement.high.mean:+.2f}"
    cells = [
        _format_estimate(mean_error),
        f"{error.std(ddof=1):.2f}",
        f"{_relative_percent(depths.predicted_mm, depths.true_mm):.0f}",
        _format_estimate(correlation),
        f"{agreement.bias.mean:+.2f}",
        limits,
    ]
    return (depths.title, depths.where, str(len(error)), *cells)


def _format_estimate(estimate: Estimate) -> str:
    """Format an estimate with its interval."""
    return f"{estimate.mean:.2f} ({estimate.format_interval('.2f')})"


# The HTML page.

PATH_NOTE = "Paths are relative to the folder of this page; data sets are listed by name only."


@dataclass(frozen=True)
class NextStep:
    """A recommended next step and its command."""

    text: str
    command: str


@dataclass(frozen=True)
class ReproductionPage:
    """Content of the page, from top to bottom; each text in ``about`` is a paragraph."""

    title: str
    about: Sequence[str]
    tables: Sequence[ReportTable]
    pictures: Sequence[ReportPicture]
    steps: Sequence[NextStep]


def write_page(page: ReproductionPage, path: Path) -> None:
    """Write a self-contained HTML file."""
    blocks: list[Block] = [Text(text, quiet=True) for text in page.about]
    blocks += [table.to_section() for table in page.tables]
    for picture in page.pictures:
        note = (Text(picture.about, quiet=True),) if picture.about else ()
        blocks.append(Section(picture.title, (Plot(png_uri(picture.path), picture.title, plot=True), *note)))
    if page.steps:
        steps = Items(tuple((step.text, step.command) for step in page.steps))
        blocks.append(Section("Next steps", (Text(PATH_NOTE, quiet=True), steps)))
    write_analysis(path, page.title, "", blocks)
