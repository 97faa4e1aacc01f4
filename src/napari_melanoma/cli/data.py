"""``data``: masks made elsewhere into a data set, and a data set looked over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_melanoma.cli.data_baseline import add_commands as add_baseline_to
from napari_melanoma.cli.data_features import add_commands as add_features_to
from napari_melanoma.cli.data_report import add_commands as add_report_to
from napari_melanoma.cli.data_sets import add_commands as add_sets_to
from napari_melanoma.cli.data_tables import add_commands as add_tables_to
from napari_melanoma.cli.data_tiles import add_commands as add_tiles_to
from napari_melanoma.cli.options import AcceptDamaged, AllowOutside, Debug, Json, NoPatients, add_verb, examples
from napari_melanoma.cli.session import CommandSession, command_session

if TYPE_CHECKING:
    from napari_melanoma.data.check import DataCheck
    from napari_melanoma.data.mask_import import MaskImportReport

IMPORT_HELP = examples(
    "napari-melanoma data import-masks masks --images photographs --metadata patients.csv --out dataset",
    "napari-melanoma data import-masks annotations.json --images photographs --class lesion --no-patients -o set",
    "Bring masks made elsewhere into a data set: a folder of PNG or TIFF files, COCO, labelme or GeoJSON. Matches "
    "masks and photographs by name, unites the objects of an image, and says what did not fit. The same command again, "
    "or with more masks, adds what is new.",
)
CHECK_HELP = examples(
    "napari-melanoma data check dataset",
    "napari-melanoma data check dataset --json",
    "Look a data set over: counts, review states, groups, splits, sizes, unreadable files, masks of another size, "
    "images that occur twice, words that are not understood, values that cannot be. The exit code is 1 where something "
    "is wrong.",
)
LesionValues = Annotated[
    str | None,
    typer.Option(
        metavar="VALUES",
        help="What is lesion in masks with several values: values or names with commas, or all (every value but 0).",
    ),
]
app = typer.Typer(help="Import, merge, split and look data sets over.", no_args_is_help=True, rich_markup_mode=None)


def import_masks(
    masks: Annotated[Path, typer.Argument(metavar="MASKS", help="Folder or file of masks.")],
    images: Annotated[Path, typer.Option("--images", metavar="FOLDER", help="Folder of the photographs.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="Data set; made where it is missing.")],
    format_: Annotated[str, typer.Option("--format", help="auto, png, coco, labelme or geojson.")] = "auto",
    class_: Annotated[
        list[str] | None, typer.Option("--class", help="Take objects of this class; may be given several times.")
    ] = None,
    class_is_diagnosis: Annotated[
        bool, typer.Option("--class-is-diagnosis", help="The objects' class is the image's diagnosis.")
    ] = False,
    resize: Annotated[bool, typer.Option("--resize", help="Scale masks of another size but the same aspect.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace masks that were accepted or corrected in the data set.")
    ] = False,
    review: Annotated[str, typer.Option(help="Review state: unreviewed, accepted, corrected, rejected.")] = "accepted",
    reviewer: Annotated[str, typer.Option(help="Who drew or checked the masks.")] = "",
    modality: Annotated[str | None, typer.Option(help="dermoscopic, macroscopic or tbp_tile.")] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Table with image_id, patient_id, lesion_id, diagnosis, age, sex, site ..."),
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="TOML that says what the table's columns and words mean."),
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
        current.after_stop = f"What was imported stays in {out}: run the same command again to go on."
        report = mask_import.import_masks(masks, images, out, options, run=current.run)
        _report_import(current, report, out)


def _report_import(current: CommandSession, report: MaskImportReport, out: Path) -> None:
    """Say what was imported and what did not fit."""
    for image, reason in report.faults:
        current.report.emit("failed", f"failed: {image}: {reason}", image=image, error=reason)
    for what, count in report.left_out.items():
        current.report.emit("left_out", f"left out: {count} {what}", what=what, count=count)
    for about, said in report.notes:
        current.report.emit("note", f"note: {about}: {said}", about=about, said=said)
    counts = [f"{len(report.added)} masks imported"]
    counts += [f"{len(report.faults)} did not fit"] if report.faults else []
    counts += [f"{len(report.kept)} images reviewed before and kept (--replace)"] if report.kept else []
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
    """Look a data set over."""
    with command_session(json, debug, allow_outside, accept_damaged) as current:
        from napari_melanoma.data.check import check_data

        current.after_stop = "Nothing was written."
        found = check_data(dataset, run=current.run)
        current.report.emit_item("data", "\n".join(_format_counts(found)), **_summary_values(found))
        for kind, things in (("fault", found.faults), ("note", found.notes)):
            for about, said in things:
                current.report.emit(kind, f"{kind}: {about}: {said}", about=about, said=said)
        faults = f"{len(found.faults)} fault{'' if len(found.faults) == 1 else 's'}"
        notes = f"{len(found.notes)} note{'' if len(found.notes) == 1 else 's'}"
        well = f"No faults in {dataset}; {notes} to review." if found.notes else f"Nothing is wrong with {dataset}."
        text = f"{faults} found: mend them, and check again." if found.faults else well
        current.finish(text, some_failed=bool(found.faults), dataset=str(dataset), faults=len(found.faults))


def _summary_values(found: DataCheck) -> dict[str, object]:
    """Everything but the faults and notes, which have lines of their own."""
    return {name: value for name, value in vars(found).items() if name not in ("faults", "notes")}


def _format_counts(found: DataCheck) -> list[str]:
    """The counts, for people."""
    named = {"reviews": found.reviews, "splits": found.splits, "diagnoses": found.diagnoses}
    rows = f"{found.rows} rows, " if found.rows != found.images else ""
    counts = f"{found.images} images, {found.masks} with a mask, {found.usable} to learn from, {found.groups} groups"
    lines = [f"{rows}{counts}"]
    lines += [
        f"{what}: {', '.join(f'{name} {n}' for name, n in counts.items())}" for what, counts in named.items() if counts
    ]
    if found.longer_side_px:
        (short, *_, tall), (low, *_, high) = found.shorter_side_px, found.longer_side_px
        lines.append(f"sides: {short} to {tall} px the shorter one, {low} to {high} px the longer one")
    if found.lesion_percent:
        least, middle, most = found.lesion_percent
        lines.append(f"lesion: {least:.1f} to {most:.1f} % of the image, median {middle:.1f} %")
    return lines


add_verb(app, "import-masks", import_masks, IMPORT_HELP)
add_verb(app, "check", check, CHECK_HELP)
add_sets_to(app)
add_tiles_to(app)
add_features_to(app)
add_baseline_to(app)
add_report_to(app)
add_tables_to(app)
