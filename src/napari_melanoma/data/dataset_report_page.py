"""The HTML report of data sets, which shows how their sources differ: figures, sections and measurements."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.core.formatting import format_count, rank_counts
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.dataset_report import (
    ALL_FEATURES,
    DESCRIBED,
    NO_SPLIT,
    DataSetReport,
    DomainShift,
    ReportRow,
    describe_rows,
    measure_domain_shifts,
    read_origin,
    read_report_rows,
)
from napari_melanoma.data.duplicates import Duplicate, find_duplicates
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.figures.page import Block, Figure, Notice, ReportTable, Section, Text, png_uri, write_analysis
from napari_melanoma.io.photographs import read_image_size
from napari_melanoma.io.thumbnails import read_thumbnail

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot

# The color-blind safe palette of Okabe and Ito, and two colors of Tol's; gray for unknown.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#882255", "#990000", "#f0e442")
GRAY = "#c9ccd0"
WIDTH = 9.0  # inches
MAX_WORDS = 9  # words of a column with their own color; others are combined
OTHERS_LABEL = "others"
MIN_AGES = 10  # known ages from which a source is drawn
AGE_BINS = np.arange(0, 101, 10)
MAX_PAIRS = 20  # pairs of duplicates that the page lists
STRONG_SHIFT_AUC, MODERATE_SHIFT_AUC = 0.95, 0.7  # from these AUCs on, sources differ strongly or in part
BOX_PLOT_HELP = "The bar shows the middle half of the images, the line the middle nine tenths, the mark the median."
THUMBNAIL_PX = 256
IMAGES_AT_ONCE = 64  # images between two checks for cancellation
MIN_WORD_COUNT = 20  # least number of rows with a word that is used as a feature
COLOR_FEATURES = {
    "lightness_50": "lightness",
    "lightness_deviation": "contrast",
    "green_red_50": "green to red",
    "blue_yellow_50": "blue to yellow",
    "chroma_mean": "colorfulness",
    "ring4_lightness": "lightness of the corners",
    "ring4_dark": "dark corners",
    "steps1_mean": "fine structure",
    "steps8_mean": "coarse structure",
}
"""Features of ``imaging.modality`` that users can interpret, and their names on the page."""
# Families of features
IMAGE, FILE, TABLE, MISSING = "colors and structure", "size and sharpness", "table", "missing values of the table"
NUMBER_COLUMNS = {"age": "age", "diameter_1_mm": "diameter (mm)", "fitzpatrick": "Fitzpatrick type"}
WORD_COLUMNS = ("sex", "site", "diagnosis")
Features = dict[str, dict[str, "NDArray[np.float64]"]]
"""Family to its features by name, each float (row,) with NaN if unknown."""


def draw_completeness(completeness: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the completeness of each column in each source.

    ``completeness``: source to column to the share of rows with a value, 0 to 1.
    """
    sources = list(completeness)
    columns = list(completeness[sources[0]])
    shares = np.array([[completeness[source][column] for column in columns] for source in sources])
    figure = _new_figure(1.2 + 0.36 * len(sources) + 0.5)
    axes = figure.subplots()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = "" if share == 0 else f"{100 * share:.0f}" if share in (0, 1) or share >= 0.01 else "<1"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if share > 0.6 else "#1c1f23")
    axes.set_yticks(range(len(sources)), sources)
    axes.set_xticks(range(len(columns)), [column.replace("_", " ") for column in columns], rotation=40, ha="right")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    _save_figure(figure, path)


def draw_shares(counts: Mapping[str, Mapping[str, int]], path: Path) -> None:
    """Draw the distribution of a column's words as stacked bars.

    ``counts``: name of a bar (a source or one of its splits) to word ("" for unknown) to the number of rows.
    """
    totals = Counter[str]()
    for counts_of_bar in counts.values():
        totals.update(counts_of_bar)
    words = sorted(
        (word for word in totals if word), key=lambda word: (word if word.isdigit() else "", -totals[word], word)
    )
    listed = words[:MAX_WORDS] if len(words) > MAX_WORDS + 1 else words
    figure = _new_figure(0.9 + 0.4 * len(counts) + 0.28 * ((len(listed) + 4) // 4))
    axes = figure.subplots()
    for position, counts_of_bar in enumerate(counts.values()):
        left, total = 0.0, sum(counts_of_bar.values())
        rare = sum(count for word, count in counts_of_bar.items() if word and word not in listed)
        for word, count in [
            *((word, counts_of_bar.get(word, 0)) for word in listed),
            (OTHERS_LABEL, rare),
            ("", counts_of_bar.get("", 0)),
        ]:
            color = _choose_color(word, listed)
            axes.barh(position, count / total, left=left, color=color, edgecolor="white", linewidth=0.5, height=0.7)
            left += count / total
    handles = [_legend_entry(_choose_color(word, listed), word) for word in listed]
    handles += [_legend_entry(_choose_color(OTHERS_LABEL, listed), OTHERS_LABEL)] * (len(listed) < len(words))
    handles += [_legend_entry(GRAY, "unknown")] * ("" in totals)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    axes.set_yticks(
        range(len(counts)), [f"{name}\n(n = {sum(counts_of_bar.values())})" for name, counts_of_bar in counts.items()]
    )
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, labelsize=8)
    _save_figure(figure, path)


def draw_ages(ages: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw the distribution of ages in each source, by decades; sources with few known ages are left out."""
    enough = {source: values for source, values in ages.items() if len(values) >= MIN_AGES}
    figure = _new_figure(3.2)
    axes = figure.subplots()
    for number, (source, values) in enumerate(enough.items()):
        shares = np.histogram(np.clip(values, 0, 99), AGE_BINS)[0] / len(values)
        style = ("-", "--", ":", "-.")[number // len(COLORS) % 4]
        label = f"{source} (n = {len(values)}, median {np.median(values):.0f})"
        axes.stairs(shares, AGE_BINS, color=COLORS[number % len(COLORS)], linewidth=2, linestyle=style, label=label)
    axes.set(xlabel="age in years", ylabel="share of rows", xlim=(0, 100))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    _save_figure(figure, path)


def draw_features(features: Mapping[str, NDArray[np.float64]], sources: Sequence[str], path: Path) -> None:
    """Draw the distribution of each feature in each source: median, quartiles, 5th and 95th percentile.

    ``features``: name to values, float (image,); NaN if unknown.
    """
    names = np.asarray(sources)
    known = np.any([np.isfinite(values) for values in features.values()], axis=0)
    order = list(dict.fromkeys(names[known].tolist()))  # a set without images has no features
    columns = 3
    rows = -(-len(features) // columns)
    figure = _new_figure(rows * (0.75 + 0.24 * len(order)))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(features) :]:
        axes.set_visible(False)
    for number, (axes, (feature, values)) in enumerate(zip(grid.flat, features.items(), strict=False)):
        parts = [values[(names == source) & np.isfinite(values)] for source in order]
        drawn = [(position, part) for position, part in enumerate(parts) if len(part)]
        for position, part in drawn:
            low, first, middle, third, high = np.percentile(part, [5, 25, 50, 75, 95])
            color = COLORS[position % len(COLORS)]
            axes.plot([low, high], [position, position], color=color, linewidth=1.2)
            axes.plot([first, third], [position, position], color=color, linewidth=7, solid_capstyle="butt")
            axes.plot([middle], [position], "|", color="#1c1f23", markersize=11, markeredgewidth=1.6)
        axes.set_title(feature, fontsize=9, loc="left")
        axes.set_yticks(range(len(order)), order if number % columns == 0 else [""] * len(order), fontsize=8)
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=7)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    _save_figure(figure, path)


def draw_feature_importance(
    feature_aucs: Mapping[str, Sequence[tuple[str, float]]], path: Path, limit: int = 8
) -> None:
    """Draw the features that separate sources best, in one panel for each pair of sources.

    ``feature_aucs``: pair to features with their AUC alone, the largest first.
    """
    columns = min(2, len(feature_aucs))
    rows = -(-len(feature_aucs) // columns)
    figure = _new_figure(rows * (0.8 + 0.22 * limit))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(feature_aucs) :]:
        axes.set_visible(False)
    for axes, (pair, features) in zip(grid.flat, feature_aucs.items(), strict=False):
        shown = features[:limit]
        axes.barh(range(len(shown)), [auc - 0.5 for _, auc in shown], left=0.5, color=COLORS[0], height=0.65)
        axes.set_xlim(0.5, 1)
        axes.set_yticks(range(len(shown)), [name for name, _ in shown], fontsize=8)
        axes.set_ylim(limit - 0.5, -0.5)
        axes.set_title(pair, fontsize=9, loc="left")
        axes.set_xlabel("AUC of this feature alone (0.5 is chance)", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    _save_figure(figure, path)


def _new_figure(height: float) -> Plot:
    from matplotlib.figure import Figure as Plot

    return Plot(figsize=(WIDTH, max(1.8, height)), layout="constrained")


def _save_figure(figure: Plot, path: Path) -> None:
    """Write a figure as PNG, without software metadata."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})


def _choose_color(word: str, shown: Sequence[str]) -> str:
    """Return the color of a word; dark gray for combined rare words, light gray for unknown."""
    if word == OTHERS_LABEL:
        return "#7d848c"
    return COLORS[shown.index(word) % len(COLORS)] if word else GRAY


def _legend_entry(color: str, label: str) -> object:
    from matplotlib.patches import Patch

    return Patch(color=color, label=label)


def _write_page(report: DataSourcesReport, path: Path, figures: Path) -> None:
    """Draw the figures of a report into the folder ``figures``, and write the page with texts and embedded figures."""
    whole = report.whole
    section_makers = (
        _sources_section,
        _missing_section,
        _classes_section,
        _ages_section,
        _sites_section,
        _features_section,
        _shift_section,
        _duplicates_section,
    )
    blocks: list[Block] = [*map(Notice, _list_warnings(report)), Notice(_describe_comparability(report), lead=True)]
    blocks += [section for make in section_makers for section in make(report, figures)]
    origin = ((name, whole.origin.get(name)) for name in ("licence", "url"))
    blocks += [Text(f"{name.capitalize()}: {value}", quiet=True) for name, value in origin if value]
    counts = f"{whole.rows} rows, {whole.images} images, {whole.masks} with a mask, {whole.patients} named patients"
    write_analysis(path, f"Data report: {whole.name}", counts, blocks, contents=True)


def _page_section(
    title: str, lines: Sequence[str] = (), figure: Path | None = None, tables: Sequence[ReportTable] = ()
) -> Section:
    """Return a section of the page: text, figure and tables; the tables are collapsed if there is a figure."""
    blocks: list[Block] = [*map(Text, lines)]
    blocks += [Figure(png_uri(figure), title, plot=True)] if figure else []
    for table in tables:
        section = table.to_section()
        blocks += [replace(section, folded=True)] if figure else section.blocks
    return Section(title, tuple(blocks))


def _describe_comparability(report: DataSourcesReport) -> str:
    if len(report.sources) < 2:
        return "There is only one source. Specify several data sets to compare them."
    if not report.shifts:
        return "The sources have too few patients, lesions or images to measure how well they can be separated."
    most = report.shifts[0]
    if most.family == ALL_FEATURES:
        return "The sources have no feature in common by which their separation can be measured."
    least = [shift for shift in report.shifts if shift.family == most.family][-1]
    text = f"{_name_pair(most)} are separated with an AUC of {most.auc[most.family]} by {most.family} alone. "
    if least is not most:
        text += f"The most similar sources are {_name_pair(least)} ({least.auc[least.family]}). "
    return text + _interpret_auc(most.auc[most.family].value)


def _interpret_auc(auc: float) -> str:
    """Explain what the AUC of the separation means for training and evaluation."""
    if auc >= STRONG_SHIFT_AUC:
        return (
            "Where classes differ between sources, a model may learn the source instead of the disease: evaluate each "
            "source separately."
        )
    if auc >= MODERATE_SHIFT_AUC:
        return "The sources differ in part: evaluate each separately, and check the features that separate them."
    return "The sources are similar in the measured features."


def _list_warnings(report: DataSourcesReport) -> list[str]:
    whole, warnings = report.whole, []
    if whole.in_two_splits:
        warnings.append(
            f"Patients, lesions or pictures in several splits: {len(whole.in_two_splits)}, such as "
            f"{whole.in_two_splits[0]}: test images were trained on. "
            "'napari-melanoma data split --replace' keeps them together."
        )
    if leaks := sum(pair.leaks for pair in report.duplicates or ()):
        warnings.append(
            f"{format_count(leaks, 'pair')} of the same picture in two splits: test images were trained on. "
            "'napari-melanoma data split --replace' keeps them together."
        )
    if whole.faults:
        warnings.append(f"{format_count(len(whole.faults), 'row')} could not be used, such as: {whole.faults[0]}")
    if whole.rows > whole.images:
        warnings.append(f"{format_count(whole.rows - whole.images, 'row')} without an image.")
    return warnings


def _sources_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    """Yield a table with the counts of each source."""
    rows = [_source_row(name, source_report) for name, source_report in report.sources.items()]
    if len(rows) > 1:
        rows.append(_source_row("all", report.whole))
    columns = ("source", "rows", "images", "masks", "patients", "lesions", "largest group", "malignant", "age, median")
    yield _page_section("Sources", tables=(ReportTable("Sources", columns, tuple(rows)),))


def _source_row(name: str, report: DataSetReport) -> tuple[str, ...]:
    target = report.counts["target"]
    known = sum(target.values())
    malignant = f"{target.get('1', 0)} of {known} ({100 * target.get('1', 0) / known:.0f} %)" if known else ""
    counts = (report.rows, report.images, report.masks, report.patients, report.lesions, report.largest_group)
    return (name, *map(str, counts), malignant, f"{report.age[1]:.0f}" if report.age else "")


def _missing_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    columns = [column for column in DESCRIBED if column not in ("source", "review")]
    completeness = {
        name: {column: 1 - source_report.missing[column] / source_report.rows for column in columns}
        for name, source_report in report.sources.items()
    }
    path = folder / "known.png"
    draw_completeness(completeness, path)
    rows = tuple(
        (column, *(str(source_report.missing[column]) for source_report in report.sources.values()))
        for column in columns
    )
    table = ReportTable("Rows without a value, by column", ("column", *report.sources), rows)
    yield _page_section("Completeness", ("Percentage of rows with a value.",), path, (table,))


def _classes_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    by_part: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in report.rows:
        by_part[row.source, row.values.get("split", "")][row.values.get("diagnosis", "")] += 1
    if all(set(counts) == {""} for counts in by_part.values()):
        return
    bars = {f"{source}, {split}" if split else source: counts for (source, split), counts in sorted(by_part.items())}
    path = folder / "classes.png"
    draw_shares(bars, path)
    splits = "" if list(report.whole.by_split) == [NO_SPLIT] else " and split"
    yield _page_section("Classes", (), path, (_counts_table(f"Rows with each diagnosis, by source{splits}", bars),))


def _ages_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    ages = {
        name: [float(row.values["age"]) for row in report.rows if row.source == name and row.values.get("age")]
        for name in report.sources
    }
    if any(len(values) >= MIN_AGES for values in ages.values()):
        path = folder / "ages.png"
        draw_ages(ages, path)
        yield _page_section("Ages", (), path)


def _sites_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    """Yield body sites, sexes and skin types by source."""
    for title, column in (("Body sites", "site"), ("Sex", "sex"), ("Skin types", "fitzpatrick")):
        bars: dict[str, Counter[str]] = defaultdict(Counter)
        for row in report.rows:
            bars[row.source][row.values.get(column, "")] += 1
        if any(set(counts) != {""} for counts in bars.values()):
            path = folder / f"{column}.png"
            draw_shares(bars, path)
            yield _page_section(title, (), path, (_counts_table(f"{title}: rows of each source", bars),))


def _features_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    """Yield the distributions of image and file properties."""
    measured = report.features[IMAGE] | report.features[FILE]
    shown = {name: values for name, values in measured.items() if np.isfinite(values).any()}
    if shown:
        path = folder / "features.png"
        draw_features(shown, [row.source for row in report.sampled_rows], path)
        count = int(np.any([np.isfinite(values) for values in shown.values()], axis=0).sum())
        drawn = f"Measured on {count} images, drawn at random from each source. {BOX_PLOT_HELP}"
        yield _page_section("Image properties", (drawn,), path)


def _shift_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    """Yield the AUC of the separation of sources, and the features that separate them."""
    if not report.shifts:
        return
    lines = [
        "A linear classifier predicts the source of images of patients that it was not trained on. An area under the "
        "curve (AUC) of 0.5 is chance, 1 is perfect separation. The 95 % interval is in brackets.",
    ]
    if report.too_small:
        lines.append(f"Too few patients: {', '.join(report.too_small)}.")
    path = folder / "domain_shift.png"
    draw_feature_importance({_name_pair(shift): shift.feature_aucs for shift in report.shifts}, path)
    families = [name for name in (*report.features, ALL_FEATURES) if any(name in shift.auc for shift in report.shifts)]
    rows = tuple(
        (_name_pair(shift), *map(str, shift.images), *(str(shift.auc[f]) if f in shift.auc else "" for f in families))
        for shift in report.shifts
    )
    columns = ("sources", "images", "against", *families)
    note = (
        "Logistic regression, 5 folds split by patient, intervals by bootstrap over patients. A dash means that one of "
        "the sources has no data."
    )
    yield _page_section(
        "Separation of sources", tuple(lines), None, (ReportTable("AUC", columns, rows, notes=(note,)),)
    )
    yield _page_section(
        "Features that separate sources",
        ("AUC of each feature alone; at least 0.5, because a lower value means the opposite direction.",),
        path,
    )


def _name_pair(shift: DomainShift) -> str:
    return f"{shift.first} and {shift.second}"


def _duplicates_section(report: DataSourcesReport, folder: Path) -> Iterator[Section]:
    if report.duplicates is None:
        return
    pairs = report.duplicates
    across = sum(pair.first.domain != pair.second.domain for pair in pairs)
    other_ids = sum(not pair.same_group for pair in pairs)
    line = f"{format_count(len(pairs), 'pair')} of images that show the same picture: {across} across sources, "
    line += f"{other_ids} with different patient or lesion ids, {sum(pair.leaks for pair in pairs)} in two splits."
    listed = sorted(pairs, key=lambda pair: (not pair.leaks, pair.same_group, -pair.similarity))[:MAX_PAIRS]
    rows = tuple(
        (
            pair.first.full_name,
            pair.second.full_name,
            f"{pair.similarity:.2f}",
            " and ".join(dict.fromkeys(split or "none" for split in (pair.first.split, pair.second.split))),
        )
        for pair in listed
    )
    notes = (f"Only the first {MAX_PAIRS} are shown; report.json lists all.",) if len(pairs) > MAX_PAIRS else ()
    tables = (ReportTable("Pairs", ("image", "same as", "similarity", "splits"), rows, notes=notes),) if rows else ()
    yield _page_section("Duplicate images", (line,), None, tables)


def _counts_table(title: str, bars: dict[str, Counter[str]]) -> ReportTable:
    """Return a table with the counts of a bar chart: words as rows, bars as columns."""
    words = Counter[str]()
    for counts in bars.values():
        words.update(counts)
    ordered = [*filter(None, rank_counts(words)), *[""] * ("" in words)]
    rows = tuple((word or "unknown", *(str(counts.get(word, 0)) for counts in bars.values())) for word in ordered)
    return ReportTable(title, ("", *bars), rows)


class DataReportOptions(Config):
    """Options of a data report."""

    images: int = Field(400, ge=20, description="number of images examined per source, chosen at random")
    duplicates: bool = Field(True, description="search for duplicate images")
    seed: int = Field(0, ge=0, description="random seed of image selection, folds and intervals")


@dataclass(frozen=True)
class DataSourcesReport:
    """Content of data sets, and differences between their sources.

    ``whole`` describes all rows, ``sources`` the rows of each source. ``sampled_rows`` are the rows whose images were
    measured, ``features`` their values. ``shifts`` describe how well sources can be separated, ``too_small`` the
    sources with too few patients for that. ``duplicates`` are pairs of duplicate images, None if not searched for.
    """

    whole: DataSetReport
    sources: dict[str, DataSetReport]
    rows: list[ReportRow]
    sampled_rows: list[ReportRow]
    features: Features
    shifts: list[DomainShift]
    too_small: list[str]
    duplicates: list[Duplicate] | None


def make_data_report(folders: Sequence[Path], options: DataReportOptions, *, run: RunContext) -> DataSourcesReport:
    """Analyze data sets, without writing anything."""
    rows, faults = read_report_rows(folders, run=run)
    by_source: dict[str, list[ReportRow]] = defaultdict(list)
    for row in rows:
        by_source[row.source].append(row)
    sampled = _sample_rows(by_source, options)
    features, sizes = measure_features(sampled, run)
    shifts, too_small = measure_domain_shifts(
        features, [row.source for row in sampled], [row.group for row in sampled], options.seed
    )
    samples = [
        Sample(row.values["image_id"], row.image, None, row.group, row.values.get("split", ""), row.source)
        for row in rows
        if row.image is not None
    ]
    name = ", ".join(folder.name for folder in folders)
    origin = read_origin(folders[0]) if len(folders) == 1 else {}
    whole = describe_rows(name, rows, sizes, faults, origin)
    return DataSourcesReport(
        whole=whole,
        sources={source: describe_rows(source, members) for source, members in by_source.items()},
        rows=rows,
        sampled_rows=sampled,
        features=features,
        shifts=shifts,
        too_small=too_small,
        duplicates=find_duplicates(samples, run) if options.duplicates else None,
    )


def write_report(report: DataSourcesReport, out: Path) -> Path:
    """Write the page, its figures and ``report.json`` into a folder; returns the path of the page."""
    values = {
        "format_version": 1,
        "all": _to_json(report.whole),
        "sources": {name: _to_json(source_report) for name, source_report in report.sources.items()},
        "images_looked_at": len(report.sampled_rows),
        "domain_shift": [asdict(shift) for shift in report.shifts],
        "too_small_for_it": report.too_small,
        "duplicates": None
        if report.duplicates is None
        else [
            {
                "first": pair.first.full_name,
                "second": pair.second.full_name,
                "similarity": pair.similarity,
                "in_two_splits": pair.leaks,
            }
            for pair in report.duplicates
        ],
    }
    write_json(out / "report.json", values)
    _write_page(report, out / "report.html", out / "figures")
    return out / "report.html"


def measure_features(rows: Sequence[ReportRow], run: RunContext) -> tuple[Features, list[tuple[int, int]]]:
    """Measure images, files, table values and their completeness.

    Returns the features by family, those of images NaN where the row has no readable image; and the width and height of
    the readable images.
    """
    measurements: list[dict[str, float]] = []
    with ThreadPoolExecutor(thread_name_prefix="measuring") as pool:
        for start in range(0, len(rows), IMAGES_AT_ONCE):
            run.check()
            measurements += pool.map(_measure_image, [row.image for row in rows[start : start + IMAGES_AT_ONCE]])
            run.report(Progress(len(measurements), len(rows), "Measuring images"))
    features: Features = {
        IMAGE: _to_columns(measurements, tuple(COLOR_FEATURES.values())),
        FILE: _to_columns(measurements, ("megapixels", "width to height", "sharpness", "bytes per pixel")),
        **_table_features(rows),
    }
    sizes = [(int(measured["width"]), int(measured["height"])) for measured in measurements if "width" in measured]
    return features, sizes


def _sample_rows(by_source: Mapping[str, Sequence[ReportRow]], options: DataReportOptions) -> list[ReportRow]:
    """Sample rows of each source; rows with an image only, if the source has any."""
    sampled: list[ReportRow] = []
    for members in by_source.values():
        with_image = [row for row in members if row.image is not None] or list(members)
        has_more = len(with_image) > options.images
        sampled += random.Random(options.seed).sample(with_image, options.images) if has_more else with_image
    return sampled


def _measure_image(image: Path | None) -> dict[str, float]:
    """Measure one image and its file; empty if it is missing or cannot be read."""
    from napari_melanoma.imaging.modality import appearance_features

    if image is None:
        return {}
    try:
        rgb = read_thumbnail(image, THUMBNAIL_PX)
        width, height = read_image_size(image) or rgb.shape[1::-1]
        if (width < height) != (rgb.shape[1] < rgb.shape[0]):  # the thumbnail is upright
            width, height = height, width
        appearance = appearance_features(rgb)
    except UnreadableImage:
        return {}
    gray = rgb.mean(axis=2)
    edges = np.abs(4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:])
    return {
        **{name: appearance[key] for key, name in COLOR_FEATURES.items()},
        "width": width,
        "height": height,
        "megapixels": width * height / 1e6,
        "width to height": width / height,
        "sharpness": float(edges.mean() / (gray.std() + 1)) if edges.size else np.nan,  # NaN for a thin strip
        "bytes per pixel": image.stat().st_size / (width * height),
    }


def _to_columns(measurements: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array([measured.get(name, np.nan) for measured in measurements]) for name in names}


def _table_features(rows: Sequence[ReportRow]) -> Features:
    """Return the values of the table as numbers, and whether they are known; rare words are left out."""
    values = [row.values for row in rows]
    features = {
        title: np.array([read_number(row.get(column, "")) for row in values])
        for column, title in NUMBER_COLUMNS.items()
    }
    missing = {f"{title} known": np.isfinite(column).astype(float) for title, column in features.items()}
    for column in WORD_COLUMNS:
        words = np.array([row.get(column, "") for row in values])
        missing[f"{column} known"] = (words != "").astype(float)
        for word in np.unique(words[words != ""]):
            if (words == word).sum() >= MIN_WORD_COUNT:
                features[f"{column} {word}"] = np.where(words == "", np.nan, words == word)
    return {TABLE: features, MISSING: missing}


def _to_json(report: DataSetReport) -> dict[str, object]:
    """Return a report for JSON.

    Missing values are a list, because counts with the key ``patient_id`` would look like patient data.
    """
    missing = [{"column": column, "rows": count} for column, count in report.missing.items()]
    return {**asdict(report), "missing": missing}
