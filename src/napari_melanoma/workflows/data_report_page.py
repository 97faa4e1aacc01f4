"""A data set report in words, tables and figures: what its page says, part by part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.counting import counted
from napari_melanoma.data.domain_shift import EVERYTHING, DomainShift
from napari_melanoma.data.report import DESCRIBED, NO_SPLIT, DataSetReport, ReportRow
from napari_melanoma.report import data_figures as figures
from napari_melanoma.report.data_page import DataPage, Part
from napari_melanoma.report.tables import Table

if TYPE_CHECKING:
    from napari_melanoma.workflows.data_report import DataReport

NAMED = 20  # pairs and groups that are told one by one
CLEAR, PLAIN = 0.95, 0.7  # areas under the curve: told apart nearly always, and often
HOW_TO_READ = "The bar shows the middle half of the images, the line the middle nine tenths, the mark the median."


def page_of(report: DataReport, folder: Path) -> DataPage:
    """Put a report into words, and draw its figures."""
    whole = report.whole
    parts = (_sources, _missing, _classes, _ages, _sites, _looks, _shift, _same)
    return DataPage(
        title=f"Data report: {whole.name}",
        facts=f"{whole.rows} rows, {whole.images} images, {whole.masks} with a mask, {whole.patients} named patients",
        lead=_lead(report),
        parts=[part for make in parts for part in make(report, folder)],
        warnings=_warnings(report),
        notes=[f"{name.capitalize()}: {whole.origin[name]}" for name in ("licence", "url") if whole.origin.get(name)],
    )


def _lead(report: DataReport) -> str:
    """What to know first: whether the sources can be taken for one."""
    if len(report.sources) < 2:
        return "One source: there is nothing to compare. Name several data sets to see how they differ."
    if not report.shifts:
        return "The sources have too few patients, lesions or images to say how far they can be told apart."
    most = report.shifts[0]
    least = [shift for shift in report.shifts if shift.family == most.family][-1]
    said = f"{_pair(most)} are told apart with an AUC of {most.auc[most.family]} by {most.family} alone. "
    if least is not most:
        said += f"The most alike are {_pair(least)}, with {least.auc[least.family]}. "
    return said + _meaning(most.auc[most.family].value)


def _meaning(auc: float) -> str:
    """What an area under the curve means for training and evaluation."""
    if auc >= CLEAR:
        return (
            "A model may learn the source instead of the disease where classes differ between them: judge each apart."
        )
    if auc >= PLAIN:
        return "They differ in part: judge each apart, and look at the features that tell them apart."
    return "They look alike in what was measured."


def _warnings(report: DataReport) -> list[str]:
    """What to beware of."""
    whole, said = report.whole, []
    if whole.in_two_splits:
        said.append(
            f"{len(whole.in_two_splits)} of the patients, lesions or pictures are in several splits, such as "
            f"{whole.in_two_splits[0]}: what is judged on was learnt from. "
            "'napari-melanoma data split --replace' keeps them together."
        )
    if leaks := sum(pair.leaks for pair in report.duplicates or ()):
        said.append(
            f"{counted(leaks, 'pair')} of the same picture in two splits: what is judged on was learnt from. "
            "'napari-melanoma data split --replace' keeps them together."
        )
    if whole.faults:
        said.append(f"{counted(len(whole.faults), 'row')} could not be used, such as: {whole.faults[0]}")
    if whole.rows > whole.images:
        said.append(f"{counted(whole.rows - whole.images, 'row')} without an image.")
    return said


def _sources(report: DataReport, folder: Path) -> Iterator[Part]:
    """Where the rows come from."""
    rows = [_source_row(name, found) for name, found in report.sources.items()]
    if len(rows) > 1:
        rows.append(_source_row("all", report.whole))
    columns = ("source", "rows", "images", "masks", "patients", "lesions", "largest group", "malignant", "age, median")
    yield Part("Sources", tables=(Table("Sources", columns, tuple(rows)),))


def _source_row(name: str, found: DataSetReport) -> tuple[str, ...]:
    """Counts of one source."""
    target = found.counts["target"]
    known = sum(target.values())
    malignant = f"{target.get('1', 0)} of {known} ({target.get('1', 0) / known:.0%})" if known else ""
    counts = (found.rows, found.images, found.masks, found.patients, found.lesions, found.largest_group)
    return (name, *map(str, counts), malignant, f"{found.age[1]:.0f}" if found.age else "")


def _missing(report: DataReport, folder: Path) -> Iterator[Part]:
    """What is known, source by source."""
    asked = [column for column in DESCRIBED if column not in ("source", "review")]
    known = {n: {c: 1 - found.missing[c] / found.rows for c in asked} for n, found in report.sources.items()}
    path = folder / "known.png"
    figures.draw_known(known, path)
    rows = tuple((c, *(str(found.missing[c]) for found in report.sources.values())) for c in asked)
    table = Table("Rows that say nothing, by column", ("column", *report.sources), rows)
    yield Part("What is known", ("Per cent of the rows that say something.",), path, (table,))


def _classes(report: DataReport, folder: Path) -> Iterator[Part]:
    """Diagnoses by source and split."""
    bars: dict[str, Counter[str]] = {}
    for row in report.rows:
        split = row.values.get("split")
        name = f"{row.source}, {split}" if split else row.source
        bars.setdefault(name, Counter())[row.values.get("diagnosis", "")] += 1
    if all(set(found) == {""} for found in bars.values()):
        return
    bars = dict(sorted(bars.items(), key=lambda item: (item[0].split(", ")[0], item[0])))
    path = folder / "classes.png"
    figures.draw_shares(bars, path)
    splits = "" if list(report.whole.by_split) == [NO_SPLIT] else " and split"
    yield Part("Classes", (), path, (_counted(f"Rows with each diagnosis, by source{splits}", bars),))


def _ages(report: DataReport, folder: Path) -> Iterator[Part]:
    """Ages by source."""
    ages = {
        name: [float(r.values["age"]) for r in report.rows if r.source == name and r.values.get("age")]
        for name in report.sources
    }
    if any(len(known) >= figures.FEWEST_AGES for known in ages.values()):
        path = folder / "ages.png"
        figures.draw_ages(ages, path)
        yield Part("Ages", (), path)


def _sites(report: DataReport, folder: Path) -> Iterator[Part]:
    """Body sites, sexes and skin types by source."""
    for title, column in (("Body sites", "site"), ("Sex", "sex"), ("Skin types", "fitzpatrick")):
        bars = _by_source(report.rows, column)
        if any(set(found) != {""} for found in bars.values()):
            path = folder / f"{column}.png"
            figures.draw_shares(bars, path)
            yield Part(title, (), path, (_counted(f"{title}: rows of each source", bars),))


def _looks(report: DataReport, folder: Path) -> Iterator[Part]:
    """How images and files are distributed, side by side."""
    shown = {name: values for family in list(report.features)[:2] for name, values in report.features[family].items()}
    shown = {name: values for name, values in shown.items() if (values == values).any()}
    if shown:
        path = folder / "features.png"
        figures.draw_features(shown, [row.source for row in report.looked_at], path)
        count = int(np.any([np.isfinite(values) for values in shown.values()], axis=0).sum())
        drawn = f"Of {count} images, drawn at random from each source. {HOW_TO_READ}"
        yield Part("How the images differ", (drawn,), path)


def _shift(report: DataReport, folder: Path) -> Iterator[Part]:
    """How well the sources are told apart, and by what."""
    if not report.shifts:
        return
    lines = [
        "A linear classifier guesses the source of an image of a patient that it has not seen. An area under the curve "
        "(AUC) of 0.5 is a guess, 1 is always right. In brackets the 95 % interval.",
    ]
    if report.too_small:
        lines.append(f"Too few to be judged: {', '.join(report.too_small)}.")
    path = folder / "domain_shift.png"
    figures.draw_rests_on({_pair(shift): shift.rests_on for shift in report.shifts}, path)
    families = [name for name in (*report.features, EVERYTHING) if any(name in shift.auc for shift in report.shifts)]
    rows = tuple(
        (_pair(shift), *map(str, shift.images), *(str(shift.auc[f]) if f in shift.auc else "" for f in families))
        for shift in report.shifts
    )
    columns = ("sources", "images", "against", *families)
    note = (
        f"Logistic regression, 5 folds that keep patients together, intervals by a bootstrap over patients. {_left()}"
    )
    yield Part("How well sources are told apart", tuple(lines), None, (Table("AUC", columns, rows, notes=(note,)),))
    yield Part(
        "On what it rests",
        ("The features that tell the most by themselves: AUC by each alone, whichever way it points.",),
        path,
    )


def _left() -> str:
    """What a dash in that table means."""
    return "A dash says that one of the sources knows nothing there."


def _pair(shift: DomainShift) -> str:
    """Name two sources."""
    return f"{shift.first} and {shift.second}"


def _same(report: DataReport, folder: Path) -> Iterator[Part]:
    """Pictures that occur twice."""
    if report.duplicates is None:
        return
    pairs = report.duplicates
    across = sum(pair.first.domain != pair.second.domain for pair in pairs)
    apart = sum(not pair.same_group for pair in pairs)
    line = f"{counted(len(pairs), 'pair')} of images that show the same picture: {across} across sources, {apart} "
    line += f"under different names of patient or lesion, {sum(pair.leaks for pair in pairs)} in two splits."
    rows = tuple(
        (
            f"{p.first.domain}/{p.first.image_id}",
            f"{p.second.domain}/{p.second.image_id}",
            f"{p.likeness:.2f}",
            _splits(p.first.split, p.second.split),
        )
        for p in sorted(pairs, key=lambda pair: (not pair.leaks, pair.same_group, -pair.likeness))[:NAMED]
    )
    notes = (f"The first {NAMED}; all are in report.json.",) if len(pairs) > NAMED else ()
    tables = (Table("Pairs", ("image", "the same as", "likeness", "splits"), rows, notes=notes),) if rows else ()
    yield Part("The same pictures", (line,), None, tables)


def _splits(one: str, other: str) -> str:
    """Splits of two images."""
    return one if one == other else f"{one or 'none'} and {other or 'none'}"


def _by_source(rows: Sequence[ReportRow], column: str) -> dict[str, Counter[str]]:
    """Words of each source in a column, with their counts."""
    bars: dict[str, Counter[str]] = {}
    for row in rows:
        bars.setdefault(row.source, Counter())[row.values.get(column, "")] += 1
    return bars


def _counted(title: str, bars: dict[str, Counter[str]]) -> Table:
    """The counts behind bars, a row a word."""
    words = Counter[str]()
    for found in bars.values():
        words.update(found)
    ordered = [word for word, _ in words.most_common() if word] + [""] * ("" in words)
    rows = tuple((word or "not known", *(str(found.get(word, 0)) for found in bars.values())) for word in ordered)
    return Table(title, ("", *bars), rows)
