"""Data sets of slides that a run makes: embeddings of whole slides with patient data, and tiles of painted strokes.

The table of whole slides has a column ``slide_file``, the file of each slide. Its embeddings are computed into the
folder that the column ``result`` names, when a run needs them; a killed run continues where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import BATCH_ERRORS, NULL_CONTEXT, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, describe_error
from napari_melanoma.core.files import compose_name
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.paths import expand_user, real_path
from napari_melanoma.core.run_folder import RunPartContext
from napari_melanoma.data.bags import Bag
from napari_melanoma.data.dataset import write_dataset_table
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.runs import launching
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe
from napari_melanoma.slides.patient_data import read_patient_table, with_measured_depth
from napari_melanoma.slides.result_folder import SlideFolderNames, open_fingerprint, slide_name
from napari_melanoma.slides.tile_sets import read_tile_set
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueFitOptions
from napari_melanoma.slides.tissue_classifier.stroke_data_set import (
    START,
    check_strokes,
    make_stroke_data_set,
    split_strokes,
)
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.whole_slides import RESULT_COLUMN, SLIDE_COLUMN, find_slide_files

FEATURES_FOLDER = "features"
TABLE = "dataset.csv"
DEPTH_SOURCE = "depth_source"  # column: table, reader or automatic
RECIPE = "slide-patients"


@dataclass(frozen=True)
class SlideDatasetReport:
    """A new data set of slides.

    ``known``: number of slides with a value, by column. ``depths``: number of slides by source of the depth. ``notes``:
    sentences for the user.
    """

    folder: Path
    slides: int
    patients: int
    known: Mapping[str, int]
    depths: Mapping[str, int]
    notes: tuple[str, ...]


def make_slide_dataset(
    slides: Sequence[Path], table: Path, out: Path, *, results: Path | None = None, run: RunContext
) -> SlideDatasetReport:
    """Write a data set of slides with patient data; no slide is opened.

    Parameters
    ----------
    slides : sequence of pathlib.Path
        The slides, as listed by ``find_slides``.
    table : pathlib.Path
        CSV or XLSX with one row for each slide, whose file name is in a column ``image_id``, ``slide`` or ``file``.
        Columns and words are harmonized; further columns are kept.
    out : pathlib.Path
        Folder of the data set; may be that of the slides. A ``dataset.csv`` that this function made is replaced.
    results : pathlib.Path, optional
        Results of the slides from an earlier analysis. A depth that a reader or the analysis measured there takes
        precedence over the table.
    run : RunContext
        Receives progress; checked for cancellation.

    Returns
    -------
    SlideDatasetReport
        The numbers of slides, patients and known values.

    Raises
    ------
    DataSetError
        The table has no column with slides, none of the slides is in it, or several slides have the same name.
    """
    rows, notes = read_patient_table(table)
    by_name = {compose_name(slide_name(path)): path for path in slides}
    counts = Counter(compose_name(slide_name(path)) for path in {*slides})
    if same := [f"{name} ({path})" for name, path in by_name.items() if counts[name] > 1]:
        raise DataSetError(
            f"several slides have the same name, and the table names a slide without its folder: {format_names(same)}. "
            "Rename them, or make a data set of each folder."
        )
    matched = {name: path for name, path in by_name.items() if name in rows}
    if not matched:
        raise DataSetError(
            f"none of the {format_count(len(rows), 'slide')} in {table} ({format_names(rows)}) is among the "
            f"{format_count(len(by_name), 'slide')} found ({format_names(by_name)}). Enter the file names of the "
            "slides in the column 'slide'."
        )
    notes += _describe_unmatched(rows, by_name, table)
    written = [
        _dataset_row(slide_name(path), path, rows[name], out, results)
        for name, path in run.track(matched.items(), "Reading depths")
    ]
    notes += _describe_missing(written, table)
    out.mkdir(parents=True, exist_ok=True)
    _check_replaceable(out / TABLE)
    write_dataset_table(out / TABLE, written)
    columns = dict.fromkeys(name for row in written for name in row)
    return SlideDatasetReport(
        folder=out,
        slides=len(written),
        patients=len({row.get("patient_id") or row["image_id"] for row in written}),
        known={name: sum(bool(row.get(name)) for row in written) for name in columns},
        depths=Counter(row[DEPTH_SOURCE] for row in written if row.get(DEPTH_SOURCE)),
        notes=tuple(notes),
    )


def _dataset_row(name: str, path: Path, patient: Mapping[str, str], out: Path, results: Path | None) -> dict[str, str]:
    """Return the row of a slide, with the depth that was measured on it, if any."""
    folder = None if results is None else SlideFolderNames(results).find_results(path)
    row, source = with_measured_depth(patient, folder)
    row |= {"image_id": name, SLIDE_COLUMN: _relative(path, out), RESULT_COLUMN: f"{FEATURES_FOLDER}/{name}"}
    return {**row, DEPTH_SOURCE: source} if source else row


def _relative(path: Path, folder: Path) -> str:
    """Return the path of a slide relative to the data set if it is inside, else its absolute path."""
    try:
        return real_path(path).relative_to(real_path(folder)).as_posix()
    except ValueError:
        return str(real_path(path))


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a table that was not made for slides."""
    if path.is_file() and SLIDE_COLUMN not in next(iterate_rows(path), {SLIDE_COLUMN: ""}):
        raise DataSetError(f"{path} is the table of another data set. Select another folder for the new data set.")


def _describe_unmatched(rows: Mapping[str, object], slides: Mapping[str, object], table: Path) -> list[str]:
    notes = []
    if missing := [name for name in rows if name not in slides]:
        notes.append(f"{format_count(len(missing), 'slide')} of {table.name} not found: {format_names(missing)}.")
    if extra := [name for name in slides if name not in rows]:
        text = f"{format_count(len(extra), 'slide')} not in {table.name}, not used: {format_names(extra)}."
        notes.append(text)
    return notes


def _describe_missing(rows: Sequence[Mapping[str, str]], table: Path) -> list[str]:
    """Describe how many values of the patient data are unknown; they stay unknown and are never replaced by 0."""
    notes = []
    if not all(row.get("patient_id") for row in rows):
        notes.append(
            f"{table.name} does not name the patient of every slide (column 'patient_id'): such a slide counts as a "
            "patient of its own. If a patient has several slides, add the column, so that they are never in training "
            "and test set."
        )
    columns = dict.fromkeys(name for row in rows for name in row)
    names = [name for name in columns if find_column(name) and name != "sub_site"]  # which follows from the site
    unknown = {name: sum(not row.get(name) for row in rows) for name in names}
    parts = [f"{name} of {count}" for name, count in unknown.items() if count and name != "patient_id"]
    return [*notes, *([f"Unknown among {len(rows)} slides: {', '.join(parts)}."] if parts else [])]


def compute_embeddings(recipe: TrainRecipe, run: RunContext) -> int:
    """Compute the missing embeddings of the slides of a recipe; return the number of slides.

    Finished slides are kept, and a slide that was interrupted continues. An unreadable slide is reported after all
    others.
    """
    assert recipe.bags is not None
    missing = [
        (slide, folder)
        for name in recipe.data.datasets
        for folder, slide in find_slide_files(expand_user(name)).items()
        if not _has_embeddings(folder, slide)
    ]
    if not missing:
        return 0
    from napari_melanoma.slides.analysis import SharedTileModel, analyze_slide
    from napari_melanoma.slides.options import SlideOptions

    options = SlideOptions(model=recipe.bags.encoder)
    shared, faults = SharedTileModel(options), {}
    for number, (slide, folder) in enumerate(missing):
        run.check()
        part = RunPartContext(run, number, len(missing), f"Features of slide {number + 1} of {len(missing)}")
        try:
            analyze_slide(slide, folder, options, part, load=shared.get_reset)
        except BATCH_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - reported for all slides together
            faults[slide.name] = describe_error(error)
    if faults:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(faults.items())[:3])
        raise DataSetError(
            f"the features of {len(faults)} of {format_count(len(missing), 'slide')} cannot be computed. {reasons} "
            "Replace these slides, or remove their rows from dataset.csv; the features of the other slides are kept."
        )
    return len(missing)


def _has_embeddings(folder: Path, slide: Path | None = None) -> bool:
    """Whether a folder has all embeddings of its slide.

    ``slide``: also whether they are of this file as it is now, which is read; a missing file is no reason to doubt it.
    """
    try:
        bag = Bag.open(folder)
    except InputError:
        return False
    return slide is None or open_fingerprint(slide) in ("", bag.slide_fingerprint)


def describe_pending(folders: Iterable[Path]) -> str:
    """Describe how many slides have no embeddings yet; empty if all have.

    Slides whose files were replaced are found when a run starts: here no slide is read, as a recipe is checked at each
    edit.
    """
    pending = sum(not _has_embeddings(result) for path in folders for result in find_slide_files(path))
    return f"Features of {format_count(pending, 'slide')} are computed first." if pending else ""


DATA_SET = "strokes"  # the data set, in the run folder
SHIPPED_RECIPE, NAME = "paint-network", "tissue-network"


def prepare_network(
    slides: Sequence[PaintedSlideFile],
    out: Path,
    options: TissueFitOptions = TissueFitOptions(),  # noqa: B008 - immutable
    run: RunContext = NULL_CONTEXT,
) -> TrainRecipe:
    """Make the data set of a run that trains a network on the strokes of slides; return its recipe.

    ``out``: the run folder. A data set of the same strokes that it contains already is used, so that the same call
    continues after an interruption. ``options``: the candidates of the painted classifier that the network is compared
    with. Raises ``InputError`` if there are too few strokes to hold some back, or the data set is of others.
    """
    data = (out / DATA_SET).absolute()
    if not data.exists():
        out.mkdir(parents=True, exist_ok=True)
        make_stroke_data_set(split_strokes(slides), data, options, run)
    check_strokes(data, slides)
    tiles = read_tile_set(data)
    assert tiles is not None
    title = f"Tissue network: {', '.join(tiles.labels)}"
    recipe = find_shipped_recipe(SHIPPED_RECIPE).complete(
        [data],
        str(data / START),
        name=NAME,
        title=title,
        data={"validation_fraction": 0.0},  # all strokes that are not held back are trained on: no epoch is chosen
    )
    write_toml(out / launching.RECIPE, recipe)
    return recipe
