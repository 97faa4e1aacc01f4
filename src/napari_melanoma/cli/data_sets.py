"""``data``, the verbs about whole data sets: import, merge, split, and pictures that occur twice."""

from __future__ import annotations

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
    add_verb,
    examples,
)
from napari_melanoma.cli.session import command_session

if TYPE_CHECKING:
    from napari_melanoma.data.duplicates import Duplicate

MAX_NAMED = 10  # pairs that are told one by one; all of them with --out or --json
SOURCES_HELP = examples(
    "napari-melanoma data sources",
    "napari-melanoma data sources --json",
    "List the public sets that can be imported: where to get each, its licence, and what its folder should hold.",
)
IMPORT_HELP = examples(
    "napari-melanoma data import isic2017 downloads/isic2017 --out isic2017",
    "napari-melanoma data import table clinic.csv --map clinic.toml --out clinic",
    "Make a data set of a public set as it was downloaded, unpacked or not, of a folder of your own, or of a table "
    "alone. Columns and words are brought to ours, and what is not understood is said. The same command goes on after "
    "a stop; what cannot be taken is named.",
)
MERGE_HELP = examples(
    "napari-melanoma data merge isic2016 isic2017 isic2018 --out dermoscopic",
    "napari-melanoma data merge pad dermofit --out macroscopic --keep-duplicates",
    "Make one data set of several. Rows about one image become one, and what they contradict each other in is listed. "
    "Of a picture that several have, one is taken: that of the split that is kept back the most, so that nothing that "
    "is judged on is learnt from.",
)
SPLIT_HELP = examples(
    "napari-melanoma data split dataset --val 0.1 --test 0.2",
    "napari-melanoma data split dataset --test 0.2 --folds 5",
    "Write the column split of a data set: images of a patient and images of the same picture together, the diagnoses "
    "in each split as they are in all. With --folds also the column fold, for a cross-validation of all that is not "
    "kept apart as test. Images that have a split or a fold keep it, unless with --replace.",
)
DUPLICATES_HELP = examples(
    "napari-melanoma data duplicates dataset",
    "napari-melanoma data duplicates isic2017 isic2018 --out pairs.csv",
    "Find images that show the same picture, within a data set or across several, also where size, compression or "
    "tint differ. The exit code is 1 where such a pair is in two splits.",
)
Out = Annotated[Path, typer.Option("--out", "-o", metavar="DATASET", help="The new data set; must not exist.")]
DataSet = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")]
DataSets = Annotated[list[Path], typer.Argument(metavar="DATASET...", help="Folders of data sets.")]


def sources(json: Json = False, debug: Debug = False) -> None:
    """List the sets that can be imported."""
    with command_session(json, debug) as current:
        from napari_melanoma.data.sources import list_sources as listed

        found = [source.spec for source in listed().values()]
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
        Path, typer.Argument(metavar="DIR", help="Folder that it was downloaded or unpacked into, or a table.")
    ],
    out: Out,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="TOML that says what its columns and words mean.")
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

        current.after_stop = "What was imported is kept: run the same command again to go on."
        mapping = read_mapping(map_) if map_ else NO_MAPPING
        source_ = find_source(source)
        options = SourceImportOptions(mapping, no_patients, parse_values(mask_values))
        found = import_source(source_, folder, out, options, run=current.run)
        for image, reason in found.faults:
            current.report.emit("failed", f"failed: {image}: {reason}", image=image, error=reason)
        if found.found < found.expected:
            what = "images" if found.images else "rows"
            said = f"the folder has {found.found} of the {found.expected} {what} of the complete set"
            current.report.emit("note", f"note: {said}", found=found.found, expected=found.expected)
        if found.left:
            said = f"{found.left} rows of its tables are left out, as their images are not there"
            current.report.emit("note", f"note: {said}", left=found.left)
        for about, said in found.notes:
            current.report.emit("note", f"note: {about}: {said}", about=about, said=said)
        text = f"{found.images} images, {found.masks} with a mask" if found.images else f"{found.rows} rows, no images"
        text += f": data set in {out}; next: napari-melanoma data check {out}"
        text = f"{len(found.faults)} could not be taken; {text}" if found.faults else text
        values = {name: value for name, value in vars(found).items() if name not in ("faults", "notes")}
        current.finish(text, some_failed=bool(found.faults), out=str(out), failed=len(found.faults), **values)


def merge(
    datasets: DataSets,
    out: Out,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Take a picture from each data set that has it.")
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
        for about, said in found.notes:
            current.report.emit("note", f"note: {about}: {said}", about=about, said=said)
        counts = ", ".join(f"{n} of {name}" for name, n in found.rows.items())
        text = f"{sum(found.rows.values())} rows ({counts}), {sum(found.images.values())} with an image"
        text += f": data set in {out}"
        if found.joined:
            text += f"; {found.joined} rows joined to another one about the same image"
        if found.conflicts:
            text += f"; {len(found.conflicts)} contradictions, what was taken is in {out}/conflicts.csv"
        if found.left_out:
            text += f"; {len(found.left_out)} left out as another shows the same picture ({out}/left_out.csv)"
        text += f"; next: napari-melanoma data check {out}"
        values = {name: getattr(found, name) for name in ("rows", "images", "joined")}
        values |= {"left_out": len(found.left_out), "conflicts": len(found.conflicts)}
        current.finish(text, out=str(out), **values)


def split(
    dataset: DataSet,
    val: Annotated[float | None, typer.Option(help="Share of the patients to tune or judge on.")] = None,
    test: Annotated[float | None, typer.Option(help="Share of the patients that is kept apart to the end.")] = None,
    folds: Annotated[int | None, typer.Option(help="Deal the others out to so many folds.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed, another split.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Draw anew also for images that have a split.")] = False,
    no_look: Annotated[
        bool, typer.Option("--no-look", help="Do not look for images that show the same picture.")
    ] = False,
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
            said = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
            text = f"{name}: {sum(counts.values())} images of {found.groups[name]} groups ({said})"
            current.report.emit_item("split", text, split=name, groups=found.groups[name], diagnoses=counts)
        for name, counts in sorted(found.folds.items(), key=lambda item: int(item[0])):
            said = ", ".join(f"{what} {n}" for what, n in sorted(counts.items()))
            text = f"fold {name}: {sum(counts.values())} images ({said})"
            current.report.emit_item("fold", text, fold=int(name), diagnoses=counts)
        together = (
            f"; {_count_pairs(len(found.duplicates))} of the same picture kept together" if found.duplicates else ""
        )
        changed = f"{found.changed} image{'' if found.changed == 1 else 's'} got another split"
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
    """Find the same pictures."""
    with command_session(json, debug, allow_outside) as current:
        from napari_melanoma.data.dataset import read_datasets
        from napari_melanoma.data.duplicates import find_duplicates
        from napari_melanoma.data.merging import PAIR_COLUMNS, tabulate_duplicate
        from napari_melanoma.io.results import write_table

        current.after_stop = "Nothing was written; what was read is remembered."
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
        show = f"show{'s' if len(found) == 1 else ''} the same picture"
        text = f"{_count_pairs(len(found))} of {len(samples)} images {show}, {leaks} in two splits{more}"
        text = text if found else f"none of {len(samples)} images shows the same picture as another"
        current.finish(text, some_failed=bool(leaks), pairs=len(found), in_two_splits=leaks)


def _count_pairs(count: int) -> str:
    """Count pairs."""
    return f"{count} pair{'' if count == 1 else 's'}"


def _format_pair(pair: Duplicate) -> str:
    """Name two images, and what is the matter with them."""
    one, two = (f"{s.domain}/{s.image_id}" + (f" ({s.split})" if s.split else "") for s in (pair.first, pair.second))
    return f"same picture: {one} and {two}, likeness {pair.likeness:.2f}"


def add_commands(app: typer.Typer) -> None:
    """Add these verbs to ``data``."""
    add_verb(app, "sources", sources, SOURCES_HELP)
    add_verb(app, "import", import_, IMPORT_HELP)
    add_verb(app, "merge", merge, MERGE_HELP)
    add_verb(app, "split", split, SPLIT_HELP)
    add_verb(app, "duplicates", duplicates, DUPLICATES_HELP)
