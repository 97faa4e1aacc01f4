"""Commands ``data ...``: import, check, merge, split and report data sets; extract tiles and features from them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    ConfigOptions,
    MaskValues,
    NoPatients,
    OptionValues,
    add_command,
    drop_unset,
    format_help,
)
from napari_melanoma.cli.session import CommandSession, values_without
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count, format_names

if TYPE_CHECKING:
    from napari_melanoma.data.check import DataCheck
    from napari_melanoma.data.dataset_report import DomainShift
    from napari_melanoma.data.duplicates import Duplicate
    from napari_melanoma.data.mask_import import MaskImportReport
    from napari_melanoma.slides.tile_sets import TileReport


DECLARED = ("mapping", "no_patients", "values")  # options of an import that are not those of its configuration
MAX_LISTED_PAIRS = 10  # of duplicate images; --out and --json list all of them

SOURCES_HELP = format_help(
    "napari-melanoma data sources",
    "napari-melanoma data sources --json",
    "List the public data sets that can be imported: source, license, and expected content of the folder.",
)
IMPORT_HELP = format_help(
    "napari-melanoma data import isic2017 downloads/isic2017 --out isic2017",
    "napari-melanoma data import coco annotated --metadata patients.csv --out dataset",
    "Create a data set from a downloaded public set, unpacked or not, from your own folder, or from a table "
    "alone. Columns and words are harmonized, and unrecognized ones are listed. The same command continues after "
    "an interruption; images that cannot be imported are listed.",
)
MERGE_HELP = format_help(
    "napari-melanoma data merge isic2016 isic2017 isic2018 --out dermoscopic",
    "napari-melanoma data merge pad dermofit --out macroscopic --keep-duplicates",
    "Merge several data sets into one. Rows about one image are joined, and contradictions are listed. "
    "Of duplicate images one is kept: from the test set before the validation and the training set, so that no test "
    "image is trained on.",
)
SPLIT_HELP = format_help(
    "napari-melanoma data split dataset --val 0.1 --test 0.2",
    "napari-melanoma data split dataset --test 0.2 --folds 5",
    "Write the column split of a data set: images of a patient and duplicate images stay together, and each split is "
    "stratified by diagnosis. With --folds also write the column fold, for cross-validation of all images outside the "
    "test set. Images that have a split or a fold keep it, except with --replace; if a requested split would have no "
    "image for that reason, nothing is changed.",
)
DUPLICATES_HELP = format_help(
    "napari-melanoma data duplicates dataset",
    "napari-melanoma data duplicates isic2017 isic2018 --out pairs.csv",
    "Find duplicate images within a data set or across several, even if size, compression or "
    "tint differ. The exit code is 1 if such a pair is in two splits.",
)
REPORT_HELP = format_help(
    "napari-melanoma data report dataset",
    "napari-melanoma data report isic2017 pad_ufes ph2 --out report",
    "Describe data sets: diagnoses, sites, ages, sizes, splits, missing values, and the license. With --out "
    "FOLDER also write a page with figures: how the sources differ, how well a classifier separates them and by which "
    "features, and duplicate images. The page contains no photographs. With --out FILE.md only the text is written.",
)
HARMONIZE_HELP = format_help(
    "napari-melanoma data harmonize HAM10000_metadata.csv --out harmonized.csv --source ham10000",
    "napari-melanoma data harmonize patients.csv --out harmonized.csv --map columns.toml",
    "Harmonize the columns and words of a table: CSV with commas, semicolons or tabs, in UTF-8, "
    "UTF-16 or Windows-1252. No row is lost; unrecognized values are kept in separate columns and counted.",
)
IMPORT_MASKS_HELP = format_help(
    "napari-melanoma data import-masks masks --images photographs --metadata patients.csv --out dataset",
    "napari-melanoma data import-masks annotations.json --images photographs --class lesion --no-patients -o set",
    "Import masks from other programs into a data set: a folder of PNG or TIFF files, COCO, labelme or GeoJSON. "
    "Matches masks and photographs by name, unites the objects of an image, and lists what does not match. The same "
    "command again, or with more masks, adds what is new.",
)
CHECK_HELP = format_help(
    "napari-melanoma data check dataset",
    "napari-melanoma data check dataset --json",
    "Check a data set: counts, review states, groups, splits, sizes, unreadable files, masks of another size, "
    "duplicate images, unrecognized words, impossible values. The exit code is 1 if a fault is found.",
)
EXPORT_HELP = format_help(
    "napari-melanoma data export nnunet dataset --out Dataset501_Lesion",
    "napari-melanoma data export label-studio dataset --out for-review --unreviewed",
    "Export a data set for other programs. Reviewed masks and those of sets without reviews are exported, and "
    "rejected images are not; what is left out is listed. Images are copied, or become PNG if other programs would "
    "show them differently. OUT appears when it is complete. Images that cannot be read are listed, and the exit "
    "code is 1.",
)
LesionValues = Annotated[
    str | None,
    typer.Option(
        metavar="VALUES",
        help="Values of a multi-valued mask that mark the lesion: numbers or names separated by commas, or 'all' "
        "(every value except 0).",
    ),
]
TILES_HELP = format_help(
    "napari-melanoma data tiles slides --regions results --out tiles --mpp 0.5 --tile-px 224",
    "napari-melanoma data tiles section.svs --regions section.geojson --out tiles --class Tumor=melanoma --class Skin",
    "Extract tiles from the annotated regions of slides into a data set: an image and a label image per tile, and a "
    "table with class, slide, position and split of each tile; tiles of a patient are in the same split. tiles.json "
    "describes the tiles for training. A slide without regions is reported and the others are processed (exit code 1).",
)
SLIDES_HELP = format_help(
    "napari-melanoma data slides slides --table patients.csv --out cohort",
    "napari-melanoma data slides slides --table patients.xlsx --results results --out slides",
    "Prepare a folder of slides and a table of their patients for training a model of whole slides with patient data. "
    "Columns and words are harmonized. No slide is opened: the features of slides are computed when the training "
    "starts. Slides and rows without a counterpart, and unknown values, are reported.",
)
FEATURES_HELP = format_help(
    "napari-melanoma data features dataset",
    "napari-melanoma data features dataset --model lesion-small --out features.csv",
    "Measure every lesion of a data set by its mask, and its distance from the other lesions of the same "
    "patient, as a table with one row per image. With a model, also compare the embeddings of the images. The same "
    "command continues after an interruption.",
)
NewDataSet = Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set; must not exist.")]
DataSet = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")]
DataSets = Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Folders of data sets.")]
app = typer.Typer(help="Import, merge, split and check data sets.", no_args_is_help=True, rich_markup_mode=None)


def sources(current: CommandSession) -> None:
    """List the public data sets that can be imported."""
    from napari_melanoma.data.collections import SOURCES

    specs = [source.spec for source in SOURCES.members.values()]
    for spec in specs:
        layout = "\n".join(f"    {line}" for line in spec.layout.splitlines())
        text = f"{spec.name}: {SOURCES.label(spec.name)} ({spec.licence})\n  from {spec.url}\n{layout}"
        current.report.emit_item("source", text, **vars(spec))
    current.finish(
        f"{len(specs)} sources; next: napari-melanoma data import SOURCE DIR --out DATASET", count=len(specs)
    )


def import_(
    current: Annotated[CommandSession, "accept_damaged"],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of a set: napari-melanoma data sources.")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of the downloaded or unpacked files, or a table.")
    ],
    out: NewDataSet,
    options: Annotated[
        OptionValues,
        ConfigOptions("data.dataset_import:SourceImportOptions", without=DECLARED, names={"classes": "--class"}),
    ],
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="TOML file that maps its columns and words.")
    ] = None,
    no_patients: NoPatients = False,
    mask_values: MaskValues = None,
) -> None:
    """Import a public set."""
    from napari_melanoma.data.collections import find_source
    from napari_melanoma.data.dataset_import import SourceImportOptions, import_source

    current.after_stop = "What was imported is kept: run the same command again to continue."
    data_source = find_source(source)
    chosen = SourceImportOptions.parse(_declare(options, map_, no_patients, mask_values), "the command line")
    imported = import_source(data_source, folder, out, chosen, run=current.run)
    current.report_failures(imported.faults)
    current.report_notes(imported.leaks, "fault")
    current.report_notes(imported.notes)
    text = (
        f"{imported.images} images, {imported.masks} with a mask"
        if imported.images
        else f"{imported.rows} rows, no images"
    )
    text += f": data set in {out}; next: napari-melanoma data check {out}"
    text = f"{len(imported.faults)} could not be imported; {text}" if imported.faults else text
    values = values_without(imported, "faults", "leaks", "notes")
    some_failed = bool(imported.faults or imported.leaks)
    current.finish(text, some_failed=some_failed, out=str(out), failed=len(imported.faults), **values)


def _declare(options: OptionValues, map_: Path | None, no_patients: bool, values: str | None) -> OptionValues:
    return {**options, **drop_unset(mapping=map_, values=values), "no_patients": no_patients}


def list_data_exports() -> str:
    """List the formats for the help, including those of plug-ins."""
    from napari_melanoma.data.exports import DATA_EXPORTS

    # \b keeps the line breaks of its paragraph.
    return "\n\n\b\nFormats:\n" + "\n".join(f"  {name:13}{DATA_EXPORTS.label(name)}" for name in DATA_EXPORTS.members)


def export(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged"],
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help="Name of a format, listed below.")],
    dataset: DataSet,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The new folder; must not exist.")],
    options: Annotated[OptionValues, ConfigOptions("data.exports:DataExportOptions", names={"classes": "--class"})],
) -> None:
    """Export a data set for other programs."""
    from napari_melanoma.data.exports import DataExportOptions, export_dataset, find_data_export

    current.after_stop = "Nothing was written."
    chosen = DataExportOptions.parse(options, "the command line")
    exported = export_dataset(dataset, find_data_export(format_), out, chosen, run=current.run)
    current.report_failures(exported.faults)
    for reason, count in exported.left_out.items():
        current.report.emit("left_out", f"left out: {reason}: {count}", what=reason, count=count)
    current.report_notes(exported.notes)
    classes = ", ".join(f"{name} ({', '.join(map(str, values))})" for name, values in exported.classes.items())
    text = f"{format_count(exported.images, 'image')}, {exported.masks} with a mask (classes: {classes}): {out}"
    text = f"{len(exported.faults)} could not be exported; {text}" if exported.faults else text
    values = values_without(exported, "faults", "left_out", "notes")
    current.finish(text, some_failed=bool(exported.faults), out=str(out), failed=len(exported.faults), **values)


def merge(
    current: Annotated[CommandSession, "allow_outside"],
    datasets: DataSets,
    out: NewDataSet,
    options: Annotated[OptionValues, ConfigOptions("data.merging:MergeOptions")],
) -> None:
    """Merge data sets."""
    from napari_melanoma.data.merging import MergeOptions, merge_datasets

    chosen = MergeOptions.parse(options, "the command line")
    merged = merge_datasets(datasets, out, chosen, run=current.run)
    current.report_notes(merged.notes)
    counts = ", ".join(f"{n} of {name}" for name, n in merged.rows.items())
    text = f"{sum(merged.rows.values())} rows ({counts}), {sum(merged.images.values())} with an image"
    text += f": data set in {out}"
    if merged.joined:
        text += f"; {merged.joined} rows joined with another row of the same image"
    if merged.conflicts:
        text += f"; {len(merged.conflicts)} contradictions, listed with the chosen values in {out}/conflicts.csv"
    if merged.left_out:
        text += f"; {len(merged.left_out)} duplicate images left out ({out}/left_out.csv)"
    text += f"; next: napari-melanoma data check {out}"
    values = {name: getattr(merged, name) for name in ("rows", "images", "joined")}
    values |= {"left_out": len(merged.left_out), "conflicts": len(merged.conflicts)}
    current.finish(text, out=str(out), **values)


def split(
    current: Annotated[CommandSession, "allow_outside"],
    dataset: DataSet,
    options: Annotated[OptionValues, ConfigOptions("data.splits:SplitOptions")],
) -> None:
    """Split a data set."""
    from napari_melanoma.data.splits import SplitOptions, split_dataset

    current.after_stop = "Nothing was changed."
    chosen = SplitOptions.parse(options, "the command line")
    result = split_dataset(dataset, chosen, run=current.run)
    for name, counts in sorted(result.counts.items()):
        diagnoses = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
        text = f"{name}: {sum(counts.values())} images of {result.groups[name]} groups ({diagnoses})"
        current.report.emit_item("split", text, split=name, groups=result.groups[name], diagnoses=counts)
    for name, counts in sorted(result.folds.items(), key=lambda item: int(item[0])):
        diagnoses = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
        text = f"fold {name}: {sum(counts.values())} images ({diagnoses})"
        current.report.emit_item("fold", text, fold=int(name), diagnoses=counts)
    for question in result.questions:
        current.report.emit_item("question", question, question=question)
    text = f"{format_count(result.changed, 'image')} assigned to a new split"
    if result.duplicates:
        text += f"; {format_count(len(result.duplicates), 'pair')} of duplicate images kept together"
    text += f": {dataset}; next: napari-melanoma data check {dataset}"
    current.finish(text, dataset=str(dataset), changed=result.changed, duplicates=len(result.duplicates))


def duplicates(
    current: Annotated[CommandSession, "allow_outside"],
    datasets: DataSets,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="CSV", help="Table of all pairs to write.")] = None,
    across: Annotated[
        bool, typer.Option("--across", help="Only pairs of different data sets, none within one.")
    ] = False,
) -> None:
    """Find duplicate images."""
    from napari_melanoma.data.duplicates import find_dataset_duplicates
    from napari_melanoma.data.merging import PAIR_COLUMNS, tabulate_duplicate
    from napari_melanoma.io.results import check_replaceable, write_table

    current.after_stop = "Nothing was written; the images that were read are cached."
    if out is not None:
        check_replaceable(out, PAIR_COLUMNS)
    samples, pairs = find_dataset_duplicates(datasets, current.run, across=across)
    if out is not None:
        write_table(out, [tabulate_duplicate(pair) for pair in pairs], PAIR_COLUMNS)
    for pair in pairs if current.as_json else pairs[:MAX_LISTED_PAIRS]:
        current.report.emit("same", _format_pair(pair), **tabulate_duplicate(pair))
    leaks = sum(pair.leaks for pair in pairs)
    where = f"; listed in {out}" if out else "; --out pairs.csv lists all" if len(pairs) > MAX_LISTED_PAIRS else ""
    text = f"no duplicates among {len(samples)} images"
    if pairs:
        count = format_count(len(pairs), "pair")
        text = f"{count} of duplicates among {len(samples)} images, {leaks} in two splits{where}"
    current.finish(text, some_failed=bool(leaks), pairs=len(pairs), in_two_splits=leaks)


def _format_pair(pair: Duplicate) -> str:
    first, second = (
        f"{sample.domain}/{sample.image_id}" + (f" ({sample.split})" if sample.split else "")
        for sample in (pair.first, pair.second)
    )
    return f"duplicate images: {first} and {second}, similarity {pair.similarity:.2f}"


def report(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged"],
    datasets: DataSets,
    options: Annotated[
        OptionValues, ConfigOptions("data.dataset_report_page:DataReportOptions", names={"duplicates": "--no-look"})
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the page, or a Markdown file.")
    ] = None,
) -> None:
    """Describe data sets."""
    if out is not None and out.suffix.lower() != ".md":
        _write_page(current, datasets, out, options)
    elif options:
        raise InputError(
            "the options of the page have no effect without a page. Add --out FOLDER for it, or leave them out."
        )
    else:
        _write_text(current, datasets, out)


def _write_text(current: CommandSession, datasets: list[Path], out: Path | None) -> None:
    from napari_melanoma.core.files import write_text
    from napari_melanoma.data.dataset import check_distinct_datasets
    from napari_melanoma.data.dataset_report import describe_dataset, format_markdown

    check_distinct_datasets(datasets)
    descriptions = [describe_dataset(dataset, run=current.run) for dataset in datasets]
    texts = [format_markdown(description) for description in descriptions]
    if out is not None:
        write_text(out, "\n".join(texts))
    for description, text in zip(descriptions, texts, strict=True):
        current.report.emit_item("data", text, **vars(description))
    images = sum(description.images for description in descriptions)
    folders = ", ".join(map(str, datasets))
    current.finish(f"written to {out}" if out else f"{images} images in {folders}", images=images)


def _write_page(current: CommandSession, datasets: list[Path], out: Path, values: OptionValues) -> None:
    from napari_melanoma.data.dataset import require_outside_datasets
    from napari_melanoma.data.dataset_report_page import DataReportOptions, make_data_report, write_report

    current.after_stop = "Nothing was written; the images that were read are cached."
    options = DataReportOptions.parse(values, "the command line")
    require_outside_datasets(out, datasets)
    current.lock_folder(out)
    data_report = make_data_report(datasets, options, run=current.run)
    page = write_report(data_report, out)
    for shift in data_report.shifts:
        current.report.emit("shift", _format_shift(shift), **asdict(shift))
    rows = data_report.whole.rows
    text = f"{format_count(rows, 'row')} of {format_count(len(data_report.sources), 'source')}: {page}"
    current.finish(text, out=str(out), rows=rows)


def _format_shift(shift: DomainShift) -> str:
    """Describe how well a classifier separates two sources."""
    features = ", ".join(name for name, _ in shift.feature_aucs[:3])
    return f"{shift.first} and {shift.second}: AUC {shift.auc[shift.family]} by {shift.family}, mainly by {features}"


def harmonize(
    current: CommandSession,
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
) -> None:
    """Harmonize a table."""
    from napari_melanoma.data.collections import find_source
    from napari_melanoma.data.harmonize import HarmonizeOptions, harmonize_table
    from napari_melanoma.data.table_mapping import TableMapping, read_mapping

    current.after_stop = "Nothing was written."
    options = HarmonizeOptions(
        source=find_source(source).spec.name if source else "",
        mapping=read_mapping(mapping) if mapping else TableMapping(),
    )
    harmonized = harmonize_table(table, out, options, run=current.run)
    for original, columns in harmonized.columns.items():
        if (original,) != columns:
            current.report.emit_item(
                "column", f"{original} -> {', '.join(columns)}", source=original, target=list(columns)
            )
    current.report_notes([*harmonized.describe_unrecognized(), *harmonized.describe_findings()])
    recognized, unchanged = len(harmonized.columns), len(harmonized.own)
    text = f"{harmonized.rows} rows, {recognized} columns recognized, {unchanged} kept unchanged: {out}"
    text += f"; next: napari-melanoma data check {out}"
    current.finish(text, out=str(out), rows=harmonized.rows, **values_without(harmonized, "rows", "columns"))


def import_masks(
    current: Annotated[CommandSession, "accept_damaged"],
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder or file of masks.")],
    images: Annotated[Path, typer.Option("--images", metavar="FOLDER", help="Folder of the photographs.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="Data set; created if missing.")],
    options: Annotated[
        OptionValues,
        ConfigOptions(
            "data.mask_import:MaskImportOptions",
            without=DECLARED,
            names={"classes": "--class"},
        ),
    ],
    map_: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="TOML file that maps the table's columns and words."),
    ] = None,
    no_patients: NoPatients = False,
    values: LesionValues = None,
) -> None:
    """Import masks."""
    from napari_melanoma.data import mask_import

    chosen = mask_import.MaskImportOptions.parse(_declare(options, map_, no_patients, values), "the command line")
    current.after_stop = f"What was imported stays in {out}: run the same command again to continue."
    report = mask_import.import_masks(masks, images, out, chosen, run=current.run)
    _report_import(current, report, out)


def _report_import(current: CommandSession, report: MaskImportReport, out: Path) -> None:
    current.report_failures(report.faults)
    current.report_notes(report.leaks, "fault")
    current.report_notes(report.notes)
    counts = [f"{format_count(len(report.added), 'mask')} imported"]
    counts += [f"{len(report.faults)} did not match"] if report.faults else []
    for count, noun, outcome in (
        (len(report.kept), "reviewed image", "kept (use --replace to replace them)"),
        (len(report.without_mask), "photograph", "without a mask"),
    ):
        counts += [f"{format_count(count, noun)} {outcome}"] if count else []
    written = f"data set in {out}; next: napari-melanoma data check {out}" if out.exists() else "nothing was written"
    text = f"{', '.join(counts)}: {written}"
    values = values_without(report, "faults", "leaks", "notes")
    some_failed = bool(report.faults or report.leaks)
    current.finish(text, some_failed=some_failed, out=str(out), failed=len(report.faults), **values)


def check(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged"],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set, or a table alone.")],
) -> None:
    """Check a data set."""
    from napari_melanoma.data.check import check_data

    current.after_stop = "Nothing was written."
    result = check_data(dataset, run=current.run)
    values = values_without(result, "faults", "notes")
    current.report.emit_item("data", "\n".join(_format_counts(result)), **values)
    current.report_notes(result.faults, "fault")
    current.report_notes(result.notes)
    text = f"No faults in {dataset}."
    if result.faults:
        text = f"{format_count(len(result.faults), 'fault')} found: correct them and check again."
    elif result.notes:
        text = f"No faults in {dataset}; {format_count(len(result.notes), 'note')} to review."
    current.finish(text, some_failed=bool(result.faults), dataset=str(dataset), faults=len(result.faults))


def _format_counts(data: DataCheck) -> list[str]:
    rows = f"{data.rows} rows, " if data.rows != data.images else ""
    lines = [f"{rows}{data.images} images, {data.masks} with a mask, {data.usable} for training, {data.groups} groups"]
    for title, counts in (("reviews", data.reviews), ("splits", data.splits), ("diagnoses", data.diagnoses)):
        if counts:
            lines.append(f"{title}: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    if data.longer_side_px:
        (shorter_min, *_, shorter_max), (longer_min, *_, longer_max) = data.shorter_side_px, data.longer_side_px
        lines.append(f"sides: {shorter_min} to {shorter_max} px (shorter), {longer_min} to {longer_max} px (longer)")
    if data.lesion_percent:
        least, median, most = data.lesion_percent
        lines.append(f"lesion: {least:.1f} to {most:.1f} % of the image, median {median:.1f} %")
    return lines


def tiles(
    current: CommandSession,
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE...", help="Slides, folders or patterns.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set; must not exist.")],
    options: Annotated[
        OptionValues,
        ConfigOptions("slides.tile_sets:TileDataOptions", names={"classes": "--class NAME[=WORD]"}),
    ],
    regions: Annotated[
        list[Path] | None,
        typer.Option(
            "--regions",
            metavar="PATH",
            help="GeoJSON of a slide, a folder of results, or a folder of GeoJSON named after slides; each of several "
            "is one reader's. Next to the slides by default.",
        ),
    ] = None,
    patients: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Table with image_id (the slide's stem), patient_id and other patient data."),
    ] = None,
) -> None:
    """Extract tiles from annotated slides."""
    from napari_melanoma.lesion.patient_data import PatientTable
    from napari_melanoma.slides.reading.detection import find_slides
    from napari_melanoma.slides.tile_sets import TileDataOptions, make_tile_data, table_name

    chosen = TileDataOptions.parse(options, "the command line")
    current.after_stop = "No data set was created: run the same command again."
    paths = find_slides(slides)
    table = PatientTable({}, patients)
    for about, note in table.unrecognized:
        current.report.emit("note", f"note: column '{about}' of {patients}: {note}", about=about, message=note)
    patient_data = {
        table_name(path): table.patient_data(table_name(path)) or table.patient_data(path.stem) for path in paths
    }
    if patients is not None and (missing := [name for name, values in patient_data.items() if not values]):
        note = f"{format_names(missing)} not in {patients}: each counts as a patient of its own"
        current.report.emit("note", f"note: {note}", message=note)
    report = make_tile_data(paths, regions or [], out, chosen, run=current.run, patients=patient_data)
    _report_tiles(current, report, out)


def _report_tiles(current: CommandSession, report: TileReport, out: Path) -> None:
    current.report_failures(report.faults, "slide")
    current.report_notes(report.notes)
    counts = ", ".join(f"{name or 'several classes'} {count}" for name, count in report.classes.items())
    splits = ", ".join(f"{name} {count}" for name, count in sorted(report.splits.items()))
    total = f"{format_count(report.tiles, 'tile')} of {format_count(report.slides, 'slide')}"
    text = f"{total} ({counts}; {splits}): data set in {out}; next: select it in "
    text += f"the Train dock, or napari-melanoma recipes write classify-tiles --data {out} --out recipe.toml"
    values = values_without(report, "faults", "notes")
    current.finish(text, some_failed=bool(report.faults), out=str(out), failed=len(report.faults), **values)


def slides(
    current: Annotated[CommandSession, "allow_outside"],
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE...", help="Slides, folders or patterns.")],
    table: Annotated[
        Path,
        typer.Option(
            metavar="TABLE",
            help="CSV or XLSX with a row for each slide: its file (image_id, slide or file), patient_id, outcome, age, "
            "sex, site, depth_mm ...",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DATASET", help="The data set; may be the folder of the slides.")
    ],
    results: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Results of the slides, whose measured depths precede those of the table."),
    ] = None,
) -> None:
    """Prepare slides and patient data for training."""
    from napari_melanoma.runs.slide_datasets import RECIPE, make_slide_dataset
    from napari_melanoma.slides.reading.detection import find_slides

    current.after_stop = "No data set was created: run the same command again."
    report = make_slide_dataset(find_slides(slides), table, out, results=results, run=current.run)
    current.report_notes([("slides", note) for note in report.notes])
    depths = ", ".join(f"{count} from {source}" for source, count in sorted(report.depths.items()))
    text = f"{format_count(report.slides, 'slide')} of {format_count(report.patients, 'patient')}"
    text += f" (depth: {depths})" if depths else " (no depth)"
    text += f": data set in {out}; next: select it in the Train dock, or napari-melanoma recipes write {RECIPE} --data "
    text += f"{out} --out recipe.toml"
    current.finish(text, out=str(out), **values_without(report, "folder", "notes"))


def features(
    current: Annotated[CommandSession, "allow_outside", "accept_damaged", "backend", "device"],
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Table to write; features.csv in the data set.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Bundle whose encoder is used to compare images, too.")
    ] = None,
) -> None:
    """Measure lesions and compare them within patients."""
    from napari_melanoma.lesion.feature_table import FEATURES, FeatureOptions, compute_features

    table = out or dataset / FEATURES
    current.after_stop = "The measurements are kept: run the same command again to continue."
    result = compute_features(dataset, table, FeatureOptions(model=model), run=current.run)
    current.report_failures(result.faults)
    counts = [f"{result.measured} of {result.images} images measured"]
    counts += [f"{result.without_mask} without a mask"] if result.without_mask else []
    counts += [f"{result.without_image} without an image"] if result.without_image else []
    counts += [f"{len(result.faults)} failed"] if result.faults else []
    counts.append(f"lesions of {result.patients} patients compared")
    values = {**values_without(result, "faults"), "out": str(table), "failed": len(result.faults)}
    current.finish(f"{', '.join(counts)}: {table}", some_failed=bool(result.faults), **values)


add_command(app, "import-masks", import_masks, IMPORT_MASKS_HELP)
add_command(app, "check", check, CHECK_HELP)
add_command(app, "sources", sources, SOURCES_HELP)
add_command(app, "import", import_, IMPORT_HELP)
add_command(app, "export", export, EXPORT_HELP, more_help=list_data_exports)
add_command(app, "merge", merge, MERGE_HELP)
add_command(app, "split", split, SPLIT_HELP)
add_command(app, "duplicates", duplicates, DUPLICATES_HELP)
add_command(app, "tiles", tiles, TILES_HELP)
add_command(app, "slides", slides, SLIDES_HELP)
add_command(app, "features", features, FEATURES_HELP)
add_command(app, "report", report, REPORT_HELP)
add_command(app, "harmonize", harmonize, HARMONIZE_HELP)
