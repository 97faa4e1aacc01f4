"""``data``, commands on whole data sets: import, merge, split, duplicates, report and harmonise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    AcceptDamaged,
    AllowOutside,
    Debug,
    Json,
    MaskValues,
    NoPatients,
    examples,
)
from napari_melanoma.cli.session import CommandSession, command_session

if TYPE_CHECKING:
    from napari_melanoma.data.domain_shift import DomainShift
    from napari_melanoma.data.duplicates import Duplicate

MAX_NAMED = 10  # pairs that are listed; all of them with --out or --json
SOURCES_HELP = examples(
    "napari-melanoma data sources",
    "napari-melanoma data sources --json",
    "List the public data sets that can be imported: source, license, and expected content of the folder.",
)
IMPORT_HELP = examples(
    "napari-melanoma data import isic2017 downloads/isic2017 --out isic2017",
    "napari-melanoma data import table clinic.csv --map clinic.toml --out clinic",
    "Create a data set from a downloaded public set, unpacked or not, from your own folder, or from a table "
    "alone. Columns and words are harmonized, and unrecognized ones are listed. The same command continues after "
    "an interruption; images that cannot be imported are listed.",
)
MERGE_HELP = examples(
    "napari-melanoma data merge isic2016 isic2017 isic2018 --out dermoscopic",
    "napari-melanoma data merge pad dermofit --out macroscopic --keep-duplicates",
    "Merge several data sets into one. Rows about one image are joined, and contradictions are listed. "
    "Of duplicate images one is kept: from the test set before the validation and the training set, so that no test "
    "image is trained on.",
)
SPLIT_HELP = examples(
    "napari-melanoma data split dataset --val 0.1 --test 0.2",
    "napari-melanoma data split dataset --test 0.2 --folds 5",
    "Write the column split of a data set: images of a patient and duplicate images stay together, and each split is "
    "stratified by diagnosis. With --folds also write the column fold, for cross-validation of all images outside the "
    "test set. Images that have a split or a fold keep it, except with --replace.",
)
DUPLICATES_HELP = examples(
    "napari-melanoma data duplicates dataset",
    "napari-melanoma data duplicates isic2017 isic2018 --out pairs.csv",
    "Find duplicate images within a data set or across several, even if size, compression or "
    "tint differ. The exit code is 1 if such a pair is in two splits.",
)
NewDataSet = Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set; must not exist.")]
DataSet = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")]
DataSets = Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Folders of data sets.")]
REPORT_HELP = examples(
    "napari-melanoma data report dataset",
    "napari-melanoma data report isic2017 pad_ufes ph2 --out report",
    "Describe data sets: diagnoses, sites, ages, sizes, splits, missing values, and the license. With --out "
    "FOLDER also write a page with figures: how the sources differ, how well a classifier separates them and by which "
    "features, and duplicate images. The page contains no photographs. With --out FILE.md only the text is written.",
)
HARMONISE_HELP = examples(
    "napari-melanoma data harmonise HAM10000_metadata.csv --out harmonised.csv --source ham10000",
    "napari-melanoma data harmonise patients.csv --out harmonised.csv --map columns.toml",
    "Harmonize the columns and words of a table: CSV with commas, semicolons or tabs, in UTF-8, "
    "UTF-16 or Windows-1252. No row is lost; unrecognized values are kept in separate columns and counted.",
)


def sources(json: Json = False, debug: Debug = False) -> None:
    """List the public data sets that can be imported."""
    with command_session(json, debug) as current:
        from napari_melanoma.data.sources import list_sources

        found = [source.spec for source in list_sources().values()]
        for spec in found:
            layout = "\n".join(f"    {line}" for line in spec.layout.splitlines())
            text = f"{spec.name}: {spec.title} ({spec.licence})\n  from {spec.url}\n{layout}"
            current.report.emit_item("source", text, **vars(spec))
        current.finish(
            f"{len(found)} sources; next: napari-melanoma data import SOURCE DIR --out DATASET", count=len(found)
        )


def import_(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a set: napari-melanoma data sources.")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the downloaded or unpacked files, or a table.")
    ],
    out: NewDataSet,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="TOML file that maps its columns and words.")
    ] = None,
    no_patients: NoPatients = False,
    mask_values: MaskValues = None,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Import a public set."""
    with command_session(json, debug, accept_damaged=accept_damaged) as current:
        from napari_melanoma.data.masks.label_values import parse_values
        from napari_melanoma.data.source_import import SourceImportOptions, import_source
        from napari_melanoma.data.sources import NO_MAPPING, find_source
        from napari_melanoma.data.table_mapping import read_mapping

        current.after_stop = "What was imported is kept: run the same command again to continue."
        mapping = read_mapping(map_) if map_ else NO_MAPPING
        source_ = find_source(source)
        options = SourceImportOptions(mapping, no_patients, parse_values(mask_values))
        found = import_source(source_, folder, out, options, run=current.run)
        for image, reason in found.faults:
            current.report.emit("failed", f"failed: {image}: {reason}", image=image, error=reason)
        if found.found < found.expected:
            what = "images" if found.images else "rows"
            note = f"the folder has {found.found} of the {found.expected} {what} of the complete set"
            current.report.emit("note", f"note: {note}", found=found.found, expected=found.expected)
        if found.left:
            note = f"{found.left} rows of its tables are left out because their images are missing"
            current.report.emit("note", f"note: {note}", left=found.left)
        for about, note in found.notes:
            current.report.emit("note", f"note: {about}: {note}", about=about, said=note)
        text = f"{found.images} images, {found.masks} with a mask" if found.images else f"{found.rows} rows, no images"
        text += f": data set in {out}; next: napari-melanoma data check {out}"
        text = f"{len(found.faults)} could not be imported; {text}" if found.faults else text
        values = {name: value for name, value in vars(found).items() if name not in ("faults", "notes")}
        current.finish(text, some_failed=bool(found.faults), out=str(out), failed=len(found.faults), **values)


def merge(
    datasets: DataSets,
    out: NewDataSet,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep duplicate images of different data sets.")
    ] = False,
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Merge data sets."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.data.merging import MergeOptions, merge_datasets

        options = MergeOptions(keep_duplicates=keep_duplicates)
        found = merge_datasets(datasets, out, options, run=current.run)
        for about, note in found.notes:
            current.report.emit("note", f"note: {about}: {note}", about=about, said=note)
        counts = ", ".join(f"{n} of {name}" for name, n in found.rows.items())
        text = f"{sum(found.rows.values())} rows ({counts}), {sum(found.images.values())} with an image"
        text += f": data set in {out}"
        if found.joined:
            text += f"; {found.joined} rows joined with another row of the same image"
        if found.conflicts:
            text += f"; {len(found.conflicts)} contradictions, listed with the chosen values in {out}/conflicts.csv"
        if found.left_out:
            text += f"; {len(found.left_out)} duplicate images left out ({out}/left_out.csv)"
        text += f"; next: napari-melanoma data check {out}"
        values = {name: getattr(found, name) for name in ("rows", "images", "joined")}
        values |= {"left_out": len(found.left_out), "conflicts": len(found.conflicts)}
        current.finish(text, out=str(out), **values)


def split(
    dataset: DataSet,
    val: Annotated[float | None, typer.Option(help="Share of the patients in the split val.")] = None,
    test: Annotated[float | None, typer.Option(help="Share of the patients in the test set.")] = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds for all other patients.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the split.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Also replace existing splits.")] = False,
    no_look: Annotated[bool, typer.Option("--no-look", help="Do not search for duplicate images.")] = False,
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Split a data set."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.data.splits import SplitOptions, split_dataset

        current.after_stop = "Nothing was changed."
        given = {"val": val, "test": test, "folds": folds, "seed": seed}
        given |= {"replace": replace or None, "look": False if no_look else None}
        options = SplitOptions.parse({k: v for k, v in given.items() if v is not None}, "the command line")
        found = split_dataset(dataset, options, run=current.run)
        for name, counts in sorted(found.counts.items()):
            diagnoses = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
            text = f"{name}: {sum(counts.values())} images of {found.groups[name]} groups ({diagnoses})"
            current.report.emit_item("split", text, split=name, groups=found.groups[name], diagnoses=counts)
        for name, counts in sorted(found.folds.items(), key=lambda item: int(item[0])):
            diagnoses = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
            text = f"fold {name}: {sum(counts.values())} images ({diagnoses})"
            current.report.emit_item("fold", text, fold=int(name), diagnoses=counts)
        together = (
            f"; {_count_pairs(len(found.duplicates))} of duplicate images kept together" if found.duplicates else ""
        )
        changed = f"{found.changed} image{'' if found.changed == 1 else 's'} assigned to another split"
        text = f"{changed}{together}: {dataset}; next: napari-melanoma data check {dataset}"
        current.finish(text, dataset=str(dataset), changed=found.changed, duplicates=len(found.duplicates))


def duplicates(
    datasets: DataSets,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="CSV", help="Table of all pairs to write.")] = None,
    across: Annotated[
        bool, typer.Option("--across", help="Only pairs of different data sets, none within one.")
    ] = False,
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find duplicate images."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.data.dataset import read_datasets
        from napari_melanoma.data.duplicates import find_duplicates
        from napari_melanoma.data.merging import PAIR_COLUMNS, tabulate_duplicate
        from napari_melanoma.io.results import write_table

        current.after_stop = "Nothing was written; the images that were read are cached."
        samples = read_datasets(datasets)
        names = sorted({sample.domain for sample in samples})
        parts = [names.index(sample.domain) for sample in samples] if across else None
        found = find_duplicates(samples, current.run, across=parts)
        if out is not None:
            write_table(out, [tabulate_duplicate(pair) for pair in found], PAIR_COLUMNS)
        for pair in found if json else found[:MAX_NAMED]:
            current.report.emit("same", _format_pair(pair), **tabulate_duplicate(pair))
        leaks = sum(pair.leaks for pair in found)
        more = f"; listed in {out}" if out else "; --out pairs.csv lists all" if len(found) > MAX_NAMED else ""
        text = f"{_count_pairs(len(found))} of duplicates among {len(samples)} images, {leaks} in two splits{more}"
        text = text if found else f"no duplicates among {len(samples)} images"
        current.finish(text, some_failed=bool(leaks), pairs=len(found), in_two_splits=leaks)


def _count_pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'}"


def _format_pair(pair: Duplicate) -> str:
    one, two = (f"{s.domain}/{s.image_id}" + (f" ({s.split})" if s.split else "") for s in (pair.first, pair.second))
    return f"duplicate images: {one} and {two}, similarity {pair.likeness:.2f}"


def report(
    datasets: Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Folders of data sets.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the page, or a Markdown file.")
    ] = None,
    images: Annotated[int | None, typer.Option(help="Number of images examined per source.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the image selection.")] = None,
    no_look: Annotated[bool, typer.Option("--no-look", help="Do not search for duplicate images.")] = False,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Describe data sets."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        if out is not None and out.suffix.lower() != ".md":
            given = {"images": images, "seed": seed, "duplicates": False if no_look else None}
            _write_page(current, datasets, out, {name: value for name, value in given.items() if value is not None})
        else:
            _write_text(current, datasets, out)


def _write_text(current: CommandSession, datasets: list[Path], out: Path | None) -> None:
    from napari_melanoma.core.files import write_text
    from napari_melanoma.data.dataset_report import describe_dataset, format_markdown

    found = [describe_dataset(dataset, run=current.run) for dataset in datasets]
    texts = [format_markdown(one) for one in found]
    if out is not None:
        write_text(out, "\n".join(texts))
    for one, text in zip(found, texts, strict=True):
        current.report.emit_item("data", text, **vars(one))
    images = sum(one.images for one in found)
    named = ", ".join(map(str, datasets))
    current.finish(f"written to {out}" if out else f"{images} images in {named}", images=images)


def _write_page(current: CommandSession, datasets: list[Path], out: Path, given: dict[str, object]) -> None:
    from napari_melanoma.data.report_page import DataReportOptions, make_data_report, write_report

    current.after_stop = "Nothing was written; the images that were read are cached."
    options = DataReportOptions.parse(given, "the command line")
    current.lock_folder(out)
    found = make_data_report(datasets, options, run=current.run)
    page = write_report(found, out)
    for shift in found.shifts:
        current.report.emit("shift", _format_shift(shift), **asdict(shift))
    rows, sources = found.whole.rows, len(found.sources)
    text = f"{rows} row{'' if rows == 1 else 's'} of {sources} source{'' if sources == 1 else 's'}: {page}"
    current.finish(text, out=str(out), rows=rows)


def _format_shift(shift: DomainShift) -> str:
    """Describe how well a classifier separates two sources."""
    features = ", ".join(name for name, _ in shift.rests_on[:3])
    return f"{shift.first} and {shift.second}: AUC {shift.auc[shift.family]} by {shift.family}, mainly by {features}"


def harmonise(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="CSV file, plain or compressed with gzip.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="The new table; replaced if it exists.")],
    source: Annotated[
        str,
        typer.Option(
            "--source", metavar="NAME", help="Public data set that the table belongs to: napari-melanoma data sources."
        ),
    ] = "",
    mapping: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="TOML file that maps its columns and words.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Harmonize a table."""
    with command_session(json, debug) as current:
        from napari_melanoma.data.harmonize import HarmonizeOptions, harmonize_table
        from napari_melanoma.data.sources import find_source
        from napari_melanoma.data.table_mapping import TableMapping, read_mapping

        current.after_stop = "Nothing was written."
        options = HarmonizeOptions(
            source=find_source(source).spec.name if source else "",
            mapping=read_mapping(mapping) if mapping else TableMapping(),
        )
        found = harmonize_table(table, out, options, run=current.run)
        for theirs, ours in found.columns.items():
            if (theirs,) != ours:
                current.report.emit_item("column", f"{theirs} -> {', '.join(ours)}", theirs=theirs, ours=list(ours))
        for about, note in [*found.describe_unrecognized(), *found.describe_findings()]:
            current.report.emit("note", f"note: {about}: {note}", about=about, said=note)
        text = f"{found.rows} rows, {len(found.columns)} columns recognized, {len(found.own)} kept unchanged: {out}"
        text += f"; next: napari-melanoma data check {out}"
        values = {name: value for name, value in vars(found).items() if name not in ("rows", "columns")}
        current.finish(text, out=str(out), rows=found.rows, **values)
