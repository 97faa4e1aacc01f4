"""Draw the figures of a reproduced paper, compare predicted depths with measured ones, and write the HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.table_schema import READER_COLUMN
from napari_melanoma.evaluation.classes import compute_curves
from napari_melanoma.extensions.papers.comparisons import format_percent
from napari_melanoma.extensions.papers.image_figures import (
    ReportPicture,
    draw_augmentations,
    draw_explanations,
    draw_grid,
    draw_stages,
)
from napari_melanoma.extensions.papers.kinds import read_scores
from napari_melanoma.extensions.papers.paper_rows import (
    PARTS,
    RowResult,
    TableLine,
    describe_conditions,
    is_in_size_figure,
    read_pictures,
    results_by_table,
    table_lines,
)
from napari_melanoma.extensions.papers.papers import Paper, PaperTable, Row
from napari_melanoma.extensions.papers.planning import PICTURES, ReproductionContext, ReproductionFolder
from napari_melanoma.figures.evaluation import (
    curve_style,
    plot_bars,
    plot_bland_altman,
    plot_confusion,
    plot_depths,
    plot_reliability,
    plot_roc,
    save_figure,
)
from napari_melanoma.figures.page import Block, Items, ReportTable, Section, Text, png_uri, write_analysis
from napari_melanoma.figures.page import Figure as Plot
from napari_melanoma.io.results import read_table
from napari_melanoma.metrics.agreement import (
    MIN_CASES,
    DepthIntervals,
    bland_altman,
    depth_metrics,
    intraclass_correlation,
)
from napari_melanoma.metrics.class_metrics import ClassPredictions
from napari_melanoma.metrics.overlap import count_class_pairs
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.training.monitor import MONITORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

MARKERS = "osD^vPX"
MARKS = 8  # markers per curve
NARROW = 3.0  # ratio of the ends of an axis of losses up to which it has more ticks
MIN_DISTANCE = 0.03  # minimum distance between points, relative to the axis
OURS, PAPERS = "this reproduction, with 95 % intervals", "the paper"
TITLES = {"validation_jaccard": "Jaccard index, validation"}
SIZE = "Points of nearly the same size are shifted slightly so that they do not overlap."


def draw_figures(context: ReproductionContext, results: Sequence[RowResult]) -> list[ReportPicture]:
    """Draw all figures of a reproduction, in the order of the page."""
    metric, folder, pictures = context.paper.file.chosen_by, context.folder.figures, list[ReportPicture]()
    if sized := [item for item in results if is_in_size_figure(context, item)]:
        path = folder / f"{metric.lower()}-against-size.png"
        draw_size(context.paper, sized, path)
        about = f"{SIZE} {describe_conditions(context, sized)}"
        pictures.append(ReportPicture(f"{metric} against size", path, about))
    pictures += draw_learning_curves(context, results)
    for role, images in context.data.items():
        shown = [item for item in results if item.row.file.evaluated == role and not item.row.kind.cross_validated]
        if samples := _sample_pictures(context, [item for item in shown if item.row.grid is None]):
            path = folder / f"samples-{role.lower()}.png"
            names = ", ".join(images.names)
            draw_samples(samples, names, path)
            title, about = f"Sample predictions on {names} (role {role})", describe_conditions(context, shown)
            pictures.append(ReportPicture(title, path, about))
    pictures += draw_augmentations(context)
    pictures += draw_predictions(context, [item for item in results if item.row.file.kind == "classification"])
    pictures += draw_stages(context, results)
    pictures += draw_bars(context, results)
    return [*pictures, *draw_explanations(context, results), *depth_pictures(_claimed_first(context, results), folder)]


def row_number(paper: Paper, row: Row) -> int:
    """Return the number of a row, by which it has the same color and marker in every figure."""
    return list(dict.fromkeys(known.file.title for known in paper.rows.values())).index(row.file.title)


def _claimed_first(context: ReproductionContext, results: Sequence[RowResult]) -> list[RowResult]:
    """Return the results that are in tables, beginning with the rows of the paper's claims."""
    claimed = [rows.row for claim in context.paper.file.claims for rows in claim.rows]
    rows = [item for item in results if item.row.file.table]
    return sorted(rows, key=lambda item: item.row.name not in claimed)


# The metric against the number of parameters, and learning curves.


def draw_size(paper: Paper, results: Sequence[RowResult], path: Path) -> None:
    """Plot the paper's metric against the number of parameters; the paper's results are in a separate panel."""
    from matplotlib.figure import Figure

    metric, published = paper.file.chosen_by, dict[int, tuple[float, float]]()
    for item in results:
        value = item.row.file.paper.get("", {}).get(metric)
        if value is not None and item.row.file.parameters is not None:
            published[row_number(paper, item.row)] = (item.row.file.parameters, value)
    count = 2 if published else 1
    figure = Figure(figsize=(4.1 * count + 3, 4.2), layout="constrained")
    panels = figure.subplots(1, count, squeeze=False)[0]
    for item, x in zip(results, spread_sizes([item.parameters or 0 for item in results]), strict=True):
        estimate = item.estimates[metric]
        mean, low, high = (100 * value for value in (estimate.mean, estimate.low, estimate.high))
        style = {**_style(row_number(paper, item.row)), "linestyle": ""}
        panels[0].errorbar([x], [mean], [[mean - low], [high - mean]], label=item.title, capsize=3, **style)
    _size_axes(panels[0], OURS, metric)
    if published:
        positions = spread_sizes([parameters for parameters, _ in published.values()])
        for x, (number, (_, value)) in zip(positions, published.items(), strict=True):
            panels[1].plot([x], [value], **_style(number), markerfacecolor="none")
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


def _style(number: int) -> dict[str, Any]:
    """Return the style of a row: color, line style and marker."""
    color, line = curve_style(number)
    marker = MARKERS[(number + number // len(MARKERS)) % len(MARKERS)]
    return {"color": color, "marker": marker, "linestyle": line, "markersize": 5.5}


def _size_axes(axes: Axes, title: str, metric: str) -> None:
    """Label the axes of a panel."""
    axes.set_xscale("log")
    _few_ticks(axes.xaxis, "{:g}M", 1e6)
    axes.margins(x=0.1, y=0.12)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="parameters", ylabel=f"{metric}, per cent")
    axes.spines[["top", "right"]].set_visible(False)


def _few_ticks(axis: Axis, number_format: str, unit: float = 1.0, ticks: Sequence[float] = (1, 2, 5)) -> None:
    """Set the ticks of a logarithmic axis, in multiples of a unit; ``ticks``: of each power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number_format.format(value / unit)))


# Task, and whether rows are cross-validated, to file and title of the figure of their learning curves.
LEARNING_CURVES = {
    ("segmentation", False): ("curves.png", "Learning curves"),
    ("segmentation", True): ("curves-of-folds.png", "Learning curves, segmentation of the folds"),
    ("classification", True): ("curves-of-classifiers.png", "Learning curves, classifiers"),
}
CURVES = "Losses are comparable only between rows with the same loss."
FIRST_FOLD = "Curves of the first fold."
MONITORED = "For {}, which has no validation images, the curves are those of the test images."
SINGLE_EPOCH = "Not shown, since they are trained for a single epoch: {}."


def draw_learning_curves(context: ReproductionContext, results: Sequence[RowResult]) -> Iterator[ReportPicture]:
    """Draw the learning curves of all rows that train a network."""
    trained = [item for item in results if item.row.file.train and item.row.file.predictor == "network"]
    for (task, crossed), (file, figure_title) in LEARNING_CURVES.items():
        shown = [item for item in trained if (item.row.task, item.row.kind.cross_validated) == (task, crossed)]
        curves = {item.title: _learning_curve(context.folder, item.row) for item in shown}
        several = {title: epochs for title, epochs in curves.items() if len(epochs) > 1}
        if not several:
            continue
        monitor, path = MONITORS[task], context.folder.figures / file
        numbers = {item.title: row_number(context.paper, item.row) for item in shown}
        draw_curves(several, numbers, (monitor.name, TITLES.get(monitor.name, f"{monitor.title}, validation")), path)
        single = [title for title, epochs in curves.items() if len(epochs) == 1]
        unvalidated = [
            item.row.file.title
            for item in shown
            if item.row.values["full"].get("data", {}).get("validation_fraction") == 0
        ]
        notes = [CURVES, *[FIRST_FOLD] * crossed, *map(MONITORED.format, unvalidated)]
        notes += [SINGLE_EPOCH.format(", ".join(single))] if single else []
        yield ReportPicture(figure_title, path, " ".join([*notes, describe_conditions(context, shown)]))


def _learning_curve(folder: ReproductionFolder, row: Row) -> list[dict[str, float]]:
    """Read the epochs of a row; for cross-validated rows those of the first fold."""
    place = folder.row(row.name)
    path = (place.fold(1) if row.kind.cross_validated else place).run.path / "metrics.csv"
    rows = read_table(path) if path.is_file() else []
    return [{key: float(value) for key, value in row.items()} for row in rows]


def draw_curves(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    numbers: Mapping[str, int],
    monitored: tuple[str, str],
    path: Path,
) -> None:
    """Plot the learning curves of rows: loss on training and validation images, and the monitored metric.

    ``curves``: title of a row to its epochs, each a row of ``metrics.csv``. ``numbers``: title to the number of the
    row. ``monitored``: column and label of the metric.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(14, 4.5), layout="constrained")
    panels = figure.subplots(1, 3)
    panels[1].sharey(panels[0])
    losses = {"loss": "training loss", "validation_loss": "validation loss"}
    for axes, (key, label) in zip(panels, (*losses.items(), monitored), strict=True):
        for title, rows in curves.items():
            number = numbers[title]
            epochs, step = [row["epoch"] + 1 for row in rows], max(1, len(rows) // MARKS)
            marks = (number % step, step)  # at different epochs for different curves
            values = [row[key] for row in rows]
            axes.plot(epochs, values, **_style(number), markevery=marks, linewidth=1.4, label=title)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    if all(row[key] > 0 for rows in curves.values() for row in rows for key in losses):  # rows may have other losses
        for axes in panels[:2]:
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            few = (1, 1.5, 2, 3, 5, 7) if high > NARROW * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
            _few_ticks(axes.yaxis, "{:g}", ticks=few)
    figure.legend(*panels[2].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    save_figure(figure, path)


# Sample predictions, and the metric that the paper shows as bars.


def draw_samples(rows: Mapping[str, Mapping[str, NDArray[np.uint8]]], names: str, path: Path) -> None:
    """Draw the predictions of every row for the same few images, in the colors of P4; ``names``: of the data sets."""
    title = f"{names}: yellow true positive, red false positive, green false negative"
    draw_grid(list(rows.items()), path, title=title)


def _sample_pictures(
    context: ReproductionContext, results: Sequence[RowResult]
) -> dict[str, dict[str, NDArray[np.uint8]]]:
    """Read the pictures for ``draw_samples`` of rows that are evaluated on the same images; empty if there are none."""
    pictures = {item.title: read_pictures(context.folder.row(item.row.name).evaluated / PICTURES) for item in results}
    shown = {name for each in pictures.values() for name in each}
    photographs = {name: rgb for name, rgb in read_pictures(context.folder.photographs).items() if name in shown}
    return {"Photograph": photographs, **pictures} if photographs else {}


def draw_bars(context: ReproductionContext, all_results: Sequence[RowResult]) -> Iterator[ReportPicture]:
    """Draw the metric that the paper shows as bars, for each part of the images."""
    bars, results = context.paper.file.bars, {item.row.name: item for item in all_results}
    if bars is None:
        return
    for part in dict.fromkeys(part for item in results.values() for part in item.parts):
        rows = [results[name].select_part(part) for name in bars.rows if name in results]
        rows = [item for item in rows if bars.metric in item.estimates]
        if len(rows) > 1:
            path = context.folder.figures / f"bars-{part or 'all'}.png"
            values = {item.title: item.estimates[bars.metric] for item in rows}
            colors = [curve_style(row_number(context.paper, item.row))[0] for item in rows]
            plot_bars(values, f"{bars.metric}, 95 % interval", path, middle=0.5, colors=colors)
            title = f"{bars.title}: {PARTS.get(part, 'all images')}"
            yield ReportPicture(title, path, describe_conditions(context, rows))


# Figures of classifiers, for each table.

POOLED = "All folds together; each image is predicted by a model that was not trained on its fold."
THRESHOLD = "{} is predicted from a probability of one half, as trained, as in the papers, not at the operating point."
BINS = "Bins with equal numbers of images, with 95 % intervals (Wilson 1927)."
SHOWN = "As many {} as others of each data set, as input to the networks; black frame: true negative."


def draw_predictions(context: ReproductionContext, results: Sequence[RowResult]) -> Iterator[ReportPicture]:
    """Draw the figures of each table of classifiers, in the order of the page."""
    for name, table, rows in results_by_table(context.paper, results):
        conditions = describe_conditions(context, rows)
        lines = [line for line in table_lines(rows) if line.domains]
        for picture in (*draw_table(context, name, table, lines), *_draw_samples(context, name, table, rows)):
            yield replace(picture, about=f"{picture.about} {conditions}".strip())


def draw_table(
    context: ReproductionContext, name: str, table: PaperTable, lines: Sequence[TableLine]
) -> Iterator[ReportPicture]:
    """Draw ROC curves, confusion matrices and reliability diagrams of the rows of a table."""
    folder, target = context.folder.figures, context.paper.target_of(lines[0].result.row)
    paths = {kind: folder / f"{kind}-{name}.png" for kind in ("roc", "confusion", "reliability")}
    panels, matrices, bins = dict[str, list[Any]](), dict[str, Any](), dict[str, Any]()
    for line in lines:
        images, row, test_set = line.result.images, line.result.row, ", ".join(line.set_names)
        as_trained, calibrated = read_scores(images, "as_trained"), read_scores(images, "probability")
        if as_trained is None or calibrated is None:
            continue
        title = f"{line.result.title}\non {test_set}"
        matrices[title] = count_class_pairs(as_trained.predicted, as_trained.labels, 2)
        if len({*as_trained.scores}) == 1:
            continue
        if row.file.predictor == "network":
            bins[title] = {"as trained": _scored(as_trained), "calibrated": _scored(calibrated)}
        if len({*as_trained.labels}) > 1:
            name_and_auc = f"{line.result.title}: AUC {format_percent(line.result.estimates['AUC'])}"
            curve = replace(compute_curves(as_trained, "")[0], name=name_and_auc)
            panels.setdefault(test_set, []).append(replace(curve, number=row_number(context.paper, row)))
    if panels:
        plot_roc(panels, paths["roc"])
        is_fitted = any(line.result.row.file.is_fitted for line in lines)
        yield ReportPicture(f"ROC curves: {table.title}", paths["roc"], POOLED if is_fitted else "")
    if matrices:
        plot_confusion(matrices, ("other", target), paths["confusion"])
        yield ReportPicture(
            f"Confusion matrices: {table.title}", paths["confusion"], THRESHOLD.format(target.capitalize())
        )
    if bins:
        plot_reliability(bins, paths["reliability"])
        yield ReportPicture(f"Reliability diagrams: {table.title}", paths["reliability"], BINS)


def _scored(predictions: ClassPredictions) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return predictions.scores, predictions.truth


def _draw_samples(
    context: ReproductionContext, name: str, table: PaperTable, rows: Sequence[RowResult]
) -> Iterator[ReportPicture]:
    """Draw the predictions of the networks of a table for a few images."""
    networks = [item for item in rows if item.row.file.predictor == "network"]
    read = {item.title: read_pictures(context.folder.row(item.row.name).evaluated / PICTURES) for item in networks}
    if pictures := {title: found for title, found in read.items() if found}:
        path = context.folder.figures / f"samples-{name}.png"
        sets = ", ".join(dict.fromkeys(name for images in context.cross_validated.values() for name in images.names))
        draw_samples(pictures, sets, path)
        positives = table.positives or context.paper.file.positives
        yield ReportPicture(f"Sample predictions: {table.title}", path, SHOWN.format(positives))


# Predicted and measured depths.

LIMITS = ("mean difference, mm", "95 % limits, mm")
COLUMNS = ("Row", "Images", "n", "MAE, mm", "SD of the absolute error, mm", "Relative error, %", "Pearson r", *LIMITS)
AGREEMENT_COLUMNS = ("Depths", "Images", "n", "ICC", *LIMITS, "Relative difference, %")
AGREEMENT_NOTE = (
    "ICC: intraclass correlation of single readings, absolute agreement, ICC(2,1). Differences: second minus first, "
    "with 95 % limits of agreement (Bland and Altman); relative: mean of their absolute values, each divided by the "
    "first."
)
DRAWN = "Predicted minus measured. Beyond the height of a patch the deepest point is not visible."
PREDICTION = "prediction"


class DepthPredictions(NamedTuple):
    """Depths of the images of a row, or of a part of them, in mm, float64 (image,) each; NaN where unknown.

    ``part``: name of the part. ``groups``: the patient or lesion of each image. ``readings``: of each reader by name,
    and then the prediction.
    """

    title: str
    part: str
    measured: NDArray[np.float64]
    groups: list[str]
    readings: Mapping[str, NDArray[np.float64]]

    def pairs(self) -> Iterator[tuple[tuple[str, str], NDArray[np.float64], NDArray[np.float64]]]:
        """Yield the names and depths of each pair of readers, or of a reader and the prediction, on common images."""
        pairs = sorted(combinations(self.readings.items(), 2), key=lambda pair: (pair[0][0], pair[1][0]))
        for (first, one), (second, other) in pairs:
            known = ~(np.isnan(one) | np.isnan(other))
            if known.sum() >= MIN_CASES:
                yield (first, second), one[known], other[known]


def collect_depth_predictions(results: Sequence[RowResult]) -> Iterator[DepthPredictions]:
    """Read the predicted depths of rows, for each part of the images with measured depths."""
    for item in results:
        for part in item.parts:
            every = item.select_part(part).images
            images = [one for one in every if one.get("depth_predicted_mm") and one.get("depth_mm")]
            if len(images) < MIN_CASES:
                continue
            readers = sorted(name for name in images[0] if READER_COLUMN.fullmatch(name))
            names = {f"reader {name.rpartition('_')[2]}": name for name in readers} | {PREDICTION: "depth_predicted_mm"}
            depths = {name: _read_depths(images, column) for name, column in names.items()}
            groups = [one["group"] for one in images]
            measured = _read_depths(images, "depth_mm")
            yield DepthPredictions(item.title, PARTS.get(part, "all"), measured, groups, depths)


def _read_depths(images: Sequence[Mapping[str, str]], column: str) -> NDArray[np.float64]:
    return np.array([float(one[column] or "nan") for one in images])


def depth_table(paper: Paper, results: Sequence[RowResult]) -> ReportTable | None:
    """Create the table of predicted depths with the paper's result; None if no row or the paper predicts no depth."""
    rows = [_depth_row(depths) for depths in collect_depth_predictions(results)]
    result = paper.file.depth
    if not rows or result is None:
        return None
    numbers = (f"{result.mae_mm:g}", f"{result.sd_mm:g}", f"{result.relative_percent:g}")
    first = ("the paper's module", "", "", *numbers, "", "", "")
    return ReportTable(result.title, COLUMNS, (first, *rows), notes=tuple(filter(None, [result.note])))


def _depth_row(depths: DepthPredictions) -> tuple[str, ...]:
    """Return a line of the depth table."""
    predicted, unknown = depths.readings[PREDICTION], np.full(len(depths.measured), np.nan)
    metrics = depth_metrics(DepthIntervals(predicted, unknown, unknown), depths.measured, depths.groups)
    error = np.abs(predicted - depths.measured)
    return (
        depths.title,
        depths.part,
        str(len(error)),
        _format_estimate(metrics["depth_mae_mm"]),
        f"{error.std(ddof=1):.2f}",
        _relative_percent(predicted, depths.measured),
        _format_estimate(metrics["depth_r"]),
        f"{metrics['depth_bias_mm'].mean:+.2f}",
        f"{metrics['depth_low_mm'].mean:+.2f} to {metrics['depth_high_mm'].mean:+.2f}",
    )


def agreement_table(results: Sequence[RowResult]) -> ReportTable | None:
    """Create the table of the agreement of predictions and readers; None if no row predicts depths that readers read.

    Readers are compared with each other once for each part of the images.
    """
    rows = dict[tuple[str, str], tuple[str, ...]]()
    for depths in collect_depth_predictions(results):
        for (reader, other), first, second in depths.pairs():
            names = f"{reader} and {depths.title if other == PREDICTION else other}"
            agreement = bland_altman(first, second)
            cells = (
                str(len(first)),
                _format_estimate(intraclass_correlation(np.stack([first, second], axis=1))),
                f"{agreement.bias.mean:+.2f}",
                f"{agreement.low.mean:+.2f} to {agreement.high.mean:+.2f}",
                _relative_percent(second, first),
            )
            rows.setdefault((names, depths.part), (names, depths.part, *cells))
    if not rows:
        return None
    return ReportTable("Agreement with the readers", AGREEMENT_COLUMNS, tuple(rows.values()), notes=(AGREEMENT_NOTE,))


def _relative_percent(mm: NDArray[np.float64], reference_mm: NDArray[np.float64]) -> str:
    """Format the mean absolute difference in percent of the reference, without references of 0 mm."""
    known = reference_mm > 0
    share = np.mean(np.abs(mm - reference_mm)[known] / reference_mm[known]) if known.any() else math.nan
    return f"{100 * share:.0f}"


def _format_estimate(estimate: Estimate) -> str:
    """Format an estimate with its interval."""
    return f"{estimate.mean:.2f} ({estimate.format_interval('.2f')})"


def depth_pictures(results: Sequence[RowResult], folder: Path) -> list[ReportPicture]:
    """Draw predicted and measured depths of the first row that predicts one, and its agreement with the readers."""
    rows = list(collect_depth_predictions(results))
    if not rows:
        return []
    path = folder / "depth.png"
    first_row = [depths for depths in rows if depths.title == rows[0].title]
    plot_depths(
        {f"{depths.title}: {depths.part}": (depths.readings[PREDICTION], depths.measured) for depths in first_row}, path
    )
    pictures = [ReportPicture("Predicted and measured depth", path, DRAWN)]
    evaluated = first_row[-1]  # the untouched part, if any
    for names, first, second in evaluated.pairs():
        path = folder / f"agreement-{'-'.join(names).replace(' ', '-')}.png"
        plot_bland_altman(bland_altman(first, second), names, path, items="patches")
        about = f"{evaluated.title}: {evaluated.part}"
        pictures.append(ReportPicture(f"Depth: {' and '.join(names)}", path, about))
    return pictures


# The HTML page.

PATH_NOTE = "Paths are relative to the folder of this page; data sets are listed by name only."


class NextStep(NamedTuple):
    """A recommended next step and its command."""

    text: str
    command: str


def write_page(
    title: str,
    about: Sequence[str],
    tables: Sequence[ReportTable],
    pictures: Sequence[ReportPicture],
    steps: Sequence[NextStep],
    path: Path,
) -> None:
    """Write a self-contained HTML file; each text in ``about`` is a paragraph."""
    blocks: list[Block] = [Text(text, quiet=True) for text in about]
    blocks += [table.to_section() for table in tables]
    for picture in pictures:
        note = (Text(picture.about, quiet=True),) if picture.about else ()
        blocks.append(Section(picture.title, (Plot(png_uri(picture.path), picture.title, plot=True), *note)))
    if steps:
        blocks.append(Section("Next steps", (Text(PATH_NOTE, quiet=True), Items(tuple(steps)))))
    write_analysis(path, title, "", blocks)
