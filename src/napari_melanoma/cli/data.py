"""``data``: import, check, merge, split and report data sets, and derive tiles, features and a baseline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.options import (
    AcceptDamaged,
    AllowOutside,
    ConfigOptions,
    Debug,
    Given,
    Json,
    MaskValues,
    NoPatients,
    add_verb,
    examples,
)
from napari_melanoma.cli.session import CommandSession, command_session, values_without
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.data.check import DataCheck
    from napari_melanoma.data.dataset_report import DomainShift
    from napari_melanoma.data.duplicates import Duplicate
    from napari_melanoma.data.mask_import import MaskImportReport
    from napari_melanoma.slides.tile_sets import TileReport


MAX_NAMED = 10  # pairs that are listed; all of them with --out or --json
BASELINE_METRICS = ("AUC", "AP", "ECE", "Brier", "macro_AUC", "class_balanced_accuracy")
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
REPORT_HELP = examples(
    "napari-melanoma data report dataset",
    "napari-melanoma data report isic2017 pad_ufes ph2 --out report",
    "Describe data sets: diagnoses, sites, ages, sizes, splits, missing values, and the license. With --out "
    "FOLDER also write a page with figures: how the sources differ, how well a classifier separates them and by which "
    "features, and duplicate images. The page contains no photographs. With --out FILE.md only the text is written.",
)
HARMONIZE_HELP = examples(
    "napari-melanoma data harmonize HAM10000_metadata.csv --out harmonized.csv --source ham10000",
    "napari-melanoma data harmonize patients.csv --out harmonized.csv --map columns.toml",
    "Harmonize the columns and words of a table: CSV with commas, semicolons or tabs, in UTF-8, "
    "UTF-16 or Windows-1252. No row is lost; unrecognized values are kept in separate columns and counted.",
)
IMPORT_MASKS_HELP = examples(
    "napari-melanoma data import-masks masks --images photographs --metadata patients.csv --out dataset",
    "napari-melanoma data import-masks annotations.json --images photographs --class lesion --no-patients -o set",
    "Import masks from other programs into a data set: a folder of PNG or TIFF files, COCO, labelme or GeoJSON. "
    "Matches masks and photographs by name, unites the objects of an image, and lists what does not match. The same "
    "command again, or with more masks, adds what is new.",
)
CHECK_HELP = examples(
    "napari-melanoma data check dataset",
    "napari-melanoma data check dataset --json",
    "Check a data set: counts, review states, groups, splits, sizes, unreadable files, masks of another size, "
    "duplicate images, unrecognized words, impossible values. The exit code is 1 if a fault is found.",
)
LesionValues = Annotated[
    str | None,
    typer.Option(
        metavar="VALUES",
        help="Values of a multi-valued mask that mark the lesion: numbers or names separated by commas, or 'all' "
        "(every value except 0).",
    ),
]
TILES_HELP = examples(
    "napari-melanoma data tiles slides --regions results --out tiles --mpp 0.5 --tile-px 224",
    "napari-melanoma data tiles section.svs --regions section.geojson --out tiles --class Tumor=melanoma --class Skin",
    "Extract tiles from the annotated regions of slides into a data set: an image and a label image per tile, and a "
    "table with class, slide, position and split of each tile; tiles of a patient are in the same split. tiles.json "
    "describes the tiles for training. A slide without regions is reported and the others are processed (exit code 1).",
)
FEATURES_HELP = examples(
    "napari-melanoma data features dataset",
    "napari-melanoma data features dataset --model lesion-small --out features.csv",
    "Measure every lesion of a data set by its mask, and its distance from the other lesions of the same "
    "patient, as a table with one row per image. With a model, also compare the embeddings of the images. The same "
    "command continues after an interruption.",
)
BASELINE_HELP = examples(
    "napari-melanoma data baseline data/isic2017 --target melanoma --columns age,sex",
    "napari-melanoma data baseline data/pad_ufes --target diagnosis --columns age,sex,site,itch --folds 10",
    "Measure how well the table of a data set predicts the target without images: the baseline for a classifier. "
    "Boosted trees (scikit-learn) are trained on the given columns, cross-validated with all rows of a patient in one "
    "fold.",
)
NewDataSet = Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set; must not exist.")]
DataSet = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")]
DataSets = Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Folders of data sets.")]
app = typer.Typer(help="Import, merge, split and check data sets.", no_args_is_help=True, rich_markup_mode=None)


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
        from napari_melanoma.data.dataset_import import SourceImportOptions, import_source
        from napari_melanoma.data.label_values import parse_values
        from napari_melanoma.data.sources import NO_MAPPING, find_source
        from napari_melanoma.data.table_mapping import read_mapping

        current.after_stop = "What was imported is kept: run the same command again to continue."
        mapping = read_mapping(map_) if map_ else NO_MAPPING
        source_ = find_source(source)
        options = SourceImportOptions(mapping, no_patients, parse_values(mask_values))
        found = import_source(source_, folder, out, options, run=current.run)
        current.report_failures(found.faults)
        if found.found < found.expected:
            what = "images" if found.images else "rows"
            note = f"the folder has {found.found} of the {found.expected} {what} of the complete set"
            current.report.emit("note", f"note: {note}", found=found.found, expected=found.expected)
        if found.left:
            note = f"{found.left} rows of its tables are left out because their images are missing"
            current.report.emit("note", f"note: {note}", left=found.left)
        current.report_notes(found.notes)
        text = f"{found.images} images, {found.masks} with a mask" if found.images else f"{found.rows} rows, no images"
        text += f": data set in {out}; next: napari-melanoma data check {out}"
        text = f"{len(found.faults)} could not be imported; {text}" if found.faults else text
        values = values_without(found, "faults", "notes")
        current.finish(text, some_failed=bool(found.faults), out=str(out), failed=len(found.faults), **values)


def merge(
    datasets: DataSets,
    out: NewDataSet,
    options: Annotated[Given, ConfigOptions("data.merging:MergeOptions")],
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Merge data sets."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.data.merging import MergeOptions, merge_datasets

        chosen = MergeOptions.parse(options, "the command line")
        found = merge_datasets(datasets, out, chosen, run=current.run)
        current.report_notes(found.notes)
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
    options: Annotated[Given, ConfigOptions("data.splits:SplitOptions")],
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Split a data set."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.data.splits import SplitOptions, split_dataset

        current.after_stop = "Nothing was changed."
        chosen = SplitOptions.parse(options, "the command line")
        found = split_dataset(dataset, chosen, run=current.run)
        for name, counts in sorted(found.counts.items()):
            diagnoses = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
            text = f"{name}: {sum(counts.values())} images of {found.groups[name]} groups ({diagnoses})"
            current.report.emit_item("split", text, split=name, groups=found.groups[name], diagnoses=counts)
        for name, counts in sorted(found.folds.items(), key=lambda item: int(item[0])):
            diagnoses = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
            text = f"fold {name}: {sum(counts.values())} images ({diagnoses})"
            current.report.emit_item("fold", text, fold=int(name), diagnoses=counts)
        text = f"{format_count(found.changed, 'image')} assigned to a new split"
        if found.duplicates:
            text += f"; {format_count(len(found.duplicates), 'pair')} of duplicate images kept together"
        text += f": {dataset}; next: napari-melanoma data check {dataset}"
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
        pairs = format_count(len(found), "pair")
        text = f"{pairs} of duplicates among {len(samples)} images, {leaks} in two splits{more}"
        text = text if found else f"no duplicates among {len(samples)} images"
        current.finish(text, some_failed=bool(leaks), pairs=len(found), in_two_splits=leaks)


def _format_pair(pair: Duplicate) -> str:
    one, two = (f"{s.domain}/{s.image_id}" + (f" ({s.split})" if s.split else "") for s in (pair.first, pair.second))
    return f"duplicate images: {one} and {two}, similarity {pair.likeness:.2f}"


def report(
    datasets: DataSets,
    options: Annotated[Given, ConfigOptions("data.report_page:DataReportOptions", names={"duplicates": "--no-look"})],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the page, or a Markdown file.")
    ] = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Describe data sets."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        if out is not None and out.suffix.lower() != ".md":
            _write_page(current, datasets, out, options)
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


def _write_page(current: CommandSession, datasets: list[Path], out: Path, given: Given) -> None:
    from napari_melanoma.data.dataset import require_outside_datasets
    from napari_melanoma.data.report_page import DataReportOptions, make_data_report, write_report

    current.after_stop = "Nothing was written; the images that were read are cached."
    options = DataReportOptions.parse(given, "the command line")
    require_outside_datasets(out, datasets)
    current.lock_folder(out)
    found = make_data_report(datasets, options, run=current.run)
    page = write_report(found, out)
    for shift in found.shifts:
        current.report.emit("shift", _format_shift(shift), **asdict(shift))
    rows = found.whole.rows
    text = f"{format_count(rows, 'row')} of {format_count(len(found.sources), 'source')}: {page}"
    current.finish(text, out=str(out), rows=rows)


def _format_shift(shift: DomainShift) -> str:
    """Describe how well a classifier separates two sources."""
    features = ", ".join(name for name, _ in shift.feature_aucs[:3])
    return f"{shift.first} and {shift.second}: AUC {shift.auc[shift.family]} by {shift.family}, mainly by {features}"


def harmonize(
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
        current.report_notes([*found.describe_unrecognized(), *found.describe_findings()])
        text = f"{found.rows} rows, {len(found.columns)} columns recognized, {len(found.own)} kept unchanged: {out}"
        text += f"; next: napari-melanoma data check {out}"
        current.finish(text, out=str(out), rows=found.rows, **values_without(found, "rows", "columns"))


def import_masks(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder or file of masks.")],
    images: Annotated[Path, typer.Option("--images", metavar="FOLDER", help="Folder of the photographs.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="Data set; created if missing.")],
    options: Annotated[
        Given,
        ConfigOptions(
            "data.mask_import:MaskImportOptions",
            without=("mapping", "no_patients", "values"),
            names={"classes": "--class"},
        ),
    ],
    map_: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="TOML file that maps the table's columns and words."),
    ] = None,
    no_patients: NoPatients = False,
    values: LesionValues = None,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Import masks."""
    with command_session(json, debug, accept_damaged=accept_damaged) as current:
        from napari_melanoma.data import mask_import
        from napari_melanoma.data.label_values import parse_values
        from napari_melanoma.data.table_mapping import TableMapping, read_mapping

        given: Given = {"no_patients": no_patients, "values": parse_values(values, keep=False)}
        given["mapping"] = read_mapping(map_) if map_ else TableMapping()
        chosen = mask_import.MaskImportOptions.parse({**options, **given}, "the command line")
        current.after_stop = f"What was imported stays in {out}: run the same command again to continue."
        report = mask_import.import_masks(masks, images, out, chosen, run=current.run)
        _report_import(current, report, out)


def _report_import(current: CommandSession, report: MaskImportReport, out: Path) -> None:
    current.report_failures(report.faults)
    for what, count in report.left_out.items():
        current.report.emit("left_out", f"left out: {count} {what}", what=what, count=count)
    current.report_notes(report.notes)
    counts = [f"{format_count(len(report.added), 'mask')} imported"]
    counts += [f"{len(report.faults)} did not match"] if report.faults else []
    for count, what, outcome in (
        (len(report.kept), "reviewed image", "kept (use --replace to replace them)"),
        (len(report.without_mask), "photograph", "without a mask"),
        (report.resized, "object", "scaled"),
        (report.points_cut_off, "point", "outside the image cut off"),
    ):
        counts += [f"{format_count(count, what)} {outcome}"] if count else []
    text = f"{', '.join(counts)}: data set in {out}; next: napari-melanoma data check {out}"
    values = values_without(report, "faults", "left_out", "notes")
    current.finish(text, some_failed=bool(report.faults), out=str(out), failed=len(report.faults), **values)


def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set, or a table alone.")],
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a data set."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.data.check import check_data

        current.after_stop = "Nothing was written."
        found = check_data(dataset, run=current.run)
        values = values_without(found, "faults", "notes")
        current.report.emit_item("data", "\n".join(_format_counts(found)), **values)
        current.report_notes(found.faults, "fault")
        current.report_notes(found.notes)
        text = f"No faults in {dataset}."
        if found.faults:
            text = f"{format_count(len(found.faults), 'fault')} found: correct them and check again."
        elif found.notes:
            text = f"No faults in {dataset}; {format_count(len(found.notes), 'note')} to review."
        current.finish(text, some_failed=bool(found.faults), dataset=str(dataset), faults=len(found.faults))


def _format_counts(found: DataCheck) -> list[str]:
    named = {"reviews": found.reviews, "splits": found.splits, "diagnoses": found.diagnoses}
    rows = f"{found.rows} rows, " if found.rows != found.images else ""
    counts = f"{found.images} images, {found.masks} with a mask, {found.usable} for training, {found.groups} groups"
    lines = [f"{rows}{counts}"]
    lines += [
        f"{what}: {', '.join(f'{name} {n}' for name, n in counts.items())}" for what, counts in named.items() if counts
    ]
    if found.longer_side_px:
        (short, *_, tall), (low, *_, high) = found.shorter_side_px, found.longer_side_px
        lines.append(f"sides: {short} to {tall} px (shorter), {low} to {high} px (longer)")
    if found.lesion_percent:
        least, middle, most = found.lesion_percent
        lines.append(f"lesion: {least:.1f} to {most:.1f} % of the image, median {middle:.1f} %")
    return lines


def tiles(
    slides: Annotated[list[str], typer.Argument(metavar="SLIDE...", help="Slides, folders or patterns.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set; must not exist.")],
    options: Annotated[
        Given,
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
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Extract tiles from annotated slides."""
    with command_session(json, debug) as current:
        from napari_melanoma.lesion.patient_data import PatientTable
        from napari_melanoma.slides.reading.opening import find_slides
        from napari_melanoma.slides.tile_sets import TileDataOptions, make_tile_data

        chosen = TileDataOptions.parse(options, "the command line")
        current.after_stop = "No data set was created: run the same command again."
        paths = find_slides(slides)
        table = PatientTable({}, patients)
        for about, note in table.unrecognized:
            current.report.emit("note", f"note: column '{about}' of {patients}: {note}", about=about, said=note)
        patient_data = {path.stem: table.patient_data(path.stem) for path in paths}
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


def features(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Table to write; features.csv in the data set.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Bundle whose encoder is used to compare images, too.")
    ] = None,
    allow_outside: AllowOutside = False,
    accept_damaged: AcceptDamaged = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure lesions and compare them within patients."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.lesion.feature_table import FEATURES, FeatureOptions, compute_features

        table = out or dataset / FEATURES
        current.after_stop = "The measurements are kept: run the same command again to continue."
        found = compute_features(dataset, table, FeatureOptions(model=model), run=current.run)
        current.report_failures(found.faults)
        counts = [f"{found.measured} of {found.images} images measured"]
        counts += [f"{found.without_mask} without a mask"] if found.without_mask else []
        counts += [f"{found.without_image} without an image"] if found.without_image else []
        counts += [f"{len(found.faults)} failed"] if found.faults else []
        counts.append(f"lesions of {found.patients} patients compared")
        values = {**values_without(found, "faults"), "out": str(table), "failed": len(found.faults)}
        current.finish(f"{', '.join(counts)}: {table}", some_failed=bool(found.faults), **values)


def baseline(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")],
    columns: Annotated[str, typer.Option("--columns", metavar="NAMES", help="Input columns, with commas.")],
    target: Annotated[str, typer.Option(help="Column with the target.")] = "melanoma",
    folds: Annotated[int, typer.Option(min=2, max=100, help="Number of cross-validation folds.")] = 5,
    seed: Annotated[int, typer.Option(help="Random seed of folds and trees.")] = 0,
    allow_outside: AllowOutside = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure how well the table alone predicts the target."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.evaluation.classifier_measurement import METRICS, class_estimates
        from napari_melanoma.evaluation.tabular_baseline import evaluate_baseline as measure

        current.after_stop = "Nothing was written."
        names = [name.strip() for name in columns.split(",") if name.strip()]
        found = measure(dataset, target, names, count=folds, seed=seed, run=current.run)
        estimates = {name: one for name, one in class_estimates(found.predictions).items() if name in BASELINE_METRICS}
        lines = [f"{name:24} {one}  {METRICS[name]}" for name, one in estimates.items()]
        values = {"metrics": {name: vars(one) for name, one in estimates.items()}, "columns": names}
        current.report.emit_item("baseline", "\n".join([*lines, ""]), **values)
        for note in found.notes:
            current.report.emit("note", f"note: {note}", said=note)
        predictions = found.predictions
        positive, count = predictions.positive, len(predictions.labels)
        text = (
            f"{positive} predicted from {', '.join(names)} alone, without images: AUC {estimates['AUC']}, over "
            f"{count} rows of {dataset.name} ({int(predictions.truth.sum())} {positive}), {folds} folds"
        )
        text += f"; {found.left_out} rows without a target left out" if found.left_out else ""
        current.finish(
            text,
            dataset=str(dataset),
            rows=count,
            left_out=found.left_out,
            faulty=found.faulty,
            positive=positive,
        )


add_verb(app, "import-masks", import_masks, IMPORT_MASKS_HELP)
add_verb(app, "check", check, CHECK_HELP)
add_verb(app, "sources", sources, SOURCES_HELP)
add_verb(app, "import", import_, IMPORT_HELP)
add_verb(app, "merge", merge, MERGE_HELP)
add_verb(app, "split", split, SPLIT_HELP)
add_verb(app, "duplicates", duplicates, DUPLICATES_HELP)
add_verb(app, "tiles", tiles, TILES_HELP)
add_verb(app, "features", features, FEATURES_HELP)
add_verb(app, "baseline", baseline, BASELINE_HELP)
add_verb(app, "report", report, REPORT_HELP)
add_verb(app, "harmonize", harmonize, HARMONIZE_HELP)
