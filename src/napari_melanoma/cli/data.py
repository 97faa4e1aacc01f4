"""``data``: import masks, check a data set, and derive tiles, features and a baseline from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import napari_melanoma.cli.data_sets as data_sets
from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, NoPatients, add_verb, examples
from napari_melanoma.cli.session import CommandSession, command_session
from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.data.check import DataCheck
    from napari_melanoma.data.mask_import import MaskImportReport
    from napari_melanoma.slides.tile_sets import TileReport

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
        help="Values of a multi-valued mask that are lesion: values or names with commas, or all (every value but 0).",
    ),
]
app = typer.Typer(help="Import, merge, split and check data sets.", no_args_is_help=True, rich_markup_mode=None)
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
BASELINE_METRICS = ("AUC", "AP", "ECE", "Brier", "macro_AUC", "class_balanced_accuracy")


def import_masks(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder or file of masks.")],
    images: Annotated[Path, typer.Option("--images", metavar="FOLDER", help="Folder of the photographs.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="Data set; created if missing.")],
    format_: Annotated[str, typer.Option("--format", help="auto, png, coco, labelme or geojson.")] = "auto",
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="Import objects of this class; may be given several times.")
    ] = None,
    class_is_diagnosis: Annotated[
        bool, typer.Option("--class-is-diagnosis", help="Use the class of the objects as the diagnosis of the image.")
    ] = False,
    resize: Annotated[bool, typer.Option("--resize", help="Scale masks of another size but the same aspect.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace accepted or corrected masks of the data set.")
    ] = False,
    review: Annotated[str, typer.Option(help="Review state: unreviewed, accepted, corrected, rejected.")] = "accepted",
    reviewer: Annotated[str, typer.Option(help="Name of the person who drew or checked the masks.")] = "",
    modality: Annotated[str | None, typer.Option(help="dermoscopic, macroscopic or tbp_tile.")] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Table with image_id, patient_id, lesion_id, diagnosis, age, sex, site ..."),
    ] = None,
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
        from napari_melanoma.data.masks.label_values import parse_values
        from napari_melanoma.data.table_mapping import TableMapping, read_mapping

        given = {
            "format": None if format_ == "auto" else format_,
            "classes": class_ or (),
            "class_is_diagnosis": class_is_diagnosis,
            "resize": resize,
            "replace": replace,
            "review": review,
            "reviewer": reviewer,
            "modality": modality,
            "metadata": metadata,
            "mapping": read_mapping(map_) if map_ else TableMapping(),
            "no_patients": no_patients,
            "values": parse_values(values, keep=False),
        }
        options = mask_import.MaskImportOptions.parse(given, "the command line")
        current.after_stop = f"What was imported stays in {out}: run the same command again to continue."
        report = mask_import.import_masks(masks, images, out, options, run=current.run)
        _report_import(current, report, out)


def _report_import(current: CommandSession, report: MaskImportReport, out: Path) -> None:
    for image, reason in report.faults:
        current.report.emit("failed", f"failed: {image}: {reason}", image=image, error=reason)
    for what, count in report.left_out.items():
        current.report.emit("left_out", f"left out: {count} {what}", what=what, count=count)
    for about, note in report.notes:
        current.report.emit("note", f"note: {about}: {note}", about=about, said=note)
    counts = [f"{len(report.added)} masks imported"]
    counts += [f"{len(report.faults)} did not match"] if report.faults else []
    counts += [f"{len(report.kept)} reviewed images kept (use --replace to replace them)"] if report.kept else []
    counts += [f"{len(report.without_mask)} photographs without a mask"] if report.without_mask else []
    counts += [f"{report.resized} objects scaled"] if report.resized else []
    counts += [f"{report.points_cut_off} points outside their image cut off"] if report.points_cut_off else []
    text = f"{', '.join(counts)}: data set in {out}; next: napari-melanoma data check {out}"
    values = {name: value for name, value in vars(report).items() if name not in ("faults", "left_out", "notes")}
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
        current.report.emit_item("data", "\n".join(_format_counts(found)), **_summary_values(found))
        for kind, messages in (("fault", found.faults), ("note", found.notes)):
            for about, message in messages:
                current.report.emit(kind, f"{kind}: {about}: {message}", about=about, said=message)
        faults = f"{len(found.faults)} fault{'' if len(found.faults) == 1 else 's'}"
        notes = f"{len(found.notes)} note{'' if len(found.notes) == 1 else 's'}"
        no_faults = f"No faults in {dataset}; {notes} to review." if found.notes else f"No faults in {dataset}."
        text = f"{faults} found: correct them and check again." if found.faults else no_faults
        current.finish(text, some_failed=bool(found.faults), dataset=str(dataset), faults=len(found.faults))


def _summary_values(found: DataCheck) -> dict[str, object]:
    """Return all values except faults and notes, which have their own lines."""
    return {name: value for name, value in vars(found).items() if name not in ("faults", "notes")}


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
    regions: Annotated[
        list[Path] | None,
        typer.Option(
            "--regions",
            metavar="PATH",
            help="GeoJSON of a slide, a folder of results, or a folder of GeoJSON named after slides; each of several "
            "is one reader's. Next to the slides by default.",
        ),
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="Micrometers per pixel of the tiles; 0.5 by default.")] = None,
    tile_px: Annotated[int | None, typer.Option(help="Side of a tile in pixels; 224 by default.")] = None,
    share: Annotated[
        float | None,
        typer.Option(help="Minimum share of a tile within regions, and within the class of the tile; 0.6 by default."),
    ] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Overlap of tiles as a share of the side; 0 by default.")
    ] = None,
    most: Annotated[int | None, typer.Option(help="Maximum tiles per class and slide; 400 by default.")] = None,
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME[=WORD]", help="A class to extract, renamed with =; all by default."),
    ] = None,
    rest: Annotated[str | None, typer.Option(help="Class outside all regions; Background by default.")] = None,
    readers: Annotated[
        str | None,
        typer.Option(help="If readers disagree: refuse (default), agree, or the name of the reader to use."),
    ] = None,
    held_out: Annotated[float | None, typer.Option(help="Share of patients in the test set; 0.2 by default.")] = None,
    patients: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Table with image_id (the slide's stem), patient_id and other patient data."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed of the tile selection.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Extract tiles from annotated slides."""
    with command_session(json, debug) as current:
        from napari_melanoma.lesion.patient_data import PatientTable
        from napari_melanoma.slides.reading.opening import find_slides
        from napari_melanoma.slides.tile_sets import TileDataOptions, make_tile_data

        given: dict[str, object] = {"mpp": mpp, "tile_px": tile_px, "share": share, "overlap": overlap}
        given |= {"most": most, "rest": rest, "classes": class_, "readers": readers, "held_out": held_out, "seed": seed}
        options = TileDataOptions.parse({k: v for k, v in given.items() if v is not None}, "the command line")
        current.after_stop = "No data set was created: run the same command again."
        paths = find_slides(slides)
        table = PatientTable({}, patients)
        for about, note in table.unrecognized:
            current.report.emit("note", f"note: column '{about}' of {patients}: {note}", about=about, said=note)
        patient_data = {path.stem: table.patient_data(path.stem) for path in paths}
        report = make_tile_data(paths, regions or [], out, options, run=current.run, patients=patient_data)
        _report_tiles(current, report, out)


def _report_tiles(current: CommandSession, report: TileReport, out: Path) -> None:
    for slide, reason in report.faults:
        current.report.emit("failed", f"failed: {slide}: {reason}", slide=slide, error=reason)
    for about, note in report.notes:
        current.report.emit("note", f"note: {about}: {note}", about=about, said=note)
    counts = ", ".join(f"{name or 'several classes'} {count}" for name, count in report.classes.items())
    splits = ", ".join(f"{name} {count}" for name, count in sorted(report.splits.items()))
    total = f"{format_count(report.tiles, 'tile')} of {format_count(report.slides, 'slide')}"
    text = f"{total} ({counts}; {splits}): data set in {out}; next: select it in "
    text += f"the Train dock, or napari-melanoma recipes write classify-tiles --data {out} --out recipe.toml"
    values = {name: value for name, value in vars(report).items() if name not in ("faults", "notes")}
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
        from napari_melanoma.lesion.patient_features import FEATURES, FeatureOptions, compute_features

        table = out or dataset / FEATURES
        current.after_stop = "The measurements are kept: run the same command again to continue."
        found = compute_features(dataset, table, FeatureOptions(model=model), run=current.run)
        for image, reason in found.faults:
            current.report.emit("failed", f"failed: {image}: {reason}", image=image, error=reason)
        counts = [f"{found.measured} of {found.images} images measured"]
        counts += [f"{found.without_mask} without a mask"] if found.without_mask else []
        counts += [f"{found.without_image} without an image"] if found.without_image else []
        counts += [f"{len(found.faults)} failed"] if found.faults else []
        counts.append(f"lesions of {found.patients} patients compared")
        values = {name: value for name, value in vars(found).items() if name != "faults"}
        values |= {"out": str(table), "failed": len(found.faults)}
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
        from napari_melanoma.evaluation.class_metrics import METRICS, class_estimates
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
add_verb(app, "sources", data_sets.sources, data_sets.SOURCES_HELP)
add_verb(app, "import", data_sets.import_, data_sets.IMPORT_HELP)
add_verb(app, "merge", data_sets.merge, data_sets.MERGE_HELP)
add_verb(app, "split", data_sets.split, data_sets.SPLIT_HELP)
add_verb(app, "duplicates", data_sets.duplicates, data_sets.DUPLICATES_HELP)
add_verb(app, "tiles", tiles, TILES_HELP)
add_verb(app, "features", features, FEATURES_HELP)
add_verb(app, "baseline", baseline, BASELINE_HELP)
add_verb(app, "report", data_sets.report, data_sets.REPORT_HELP)
add_verb(app, "harmonise", data_sets.harmonise, data_sets.HARMONISE_HELP)
