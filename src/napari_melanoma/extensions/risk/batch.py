"""Risk prediction for many slides and patches.

Writes ``risk.json`` for each input and one table for all; an error in one input is recorded and does not stop the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.classify import explain_unused
from napari_melanoma.classification.comparators import COMPARATOR_METHODS
from napari_melanoma.classification.prediction import EMPTY_HEATMAP
from napari_melanoma.core.context import Cancelled, Milestone, Progress, RunContext
from napari_melanoma.core.errors import DiskFull, InputError, SaveError, describe_error
from napari_melanoma.core.files import back_up_file, write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.validity import Validity
from napari_melanoma.extensions.risk.contributions import PARTS
from napari_melanoma.extensions.risk.inputs import RiskCase, make_patch_case, read_slide_case
from napari_melanoma.extensions.risk.maps import (
    MAP_FOLDER,
    compose_patch_maps,
    explain_patches,
    remove_risk_maps,
    write_risk_map,
)
from napari_melanoma.extensions.risk.patches import PatchImage, cut_slide_patches, read_patch_image
from napari_melanoma.extensions.risk.prediction import (
    ComparatorPrediction,
    KnownDepth,
    MissingValuesError,
    RiskOptions,
    RiskPrediction,
)
from napari_melanoma.extensions.risk.predictor import load_risk_model, predict_risk, relevant_columns
from napari_melanoma.imaging.masks import draw_heatmap
from napari_melanoma.io.results import RESULT, RISK_FILE, RISK_TABLE, read_table, write_rgb, write_table
from napari_melanoma.lesion.patient_data import PatientTable
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.detection import is_slide
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import (
    SlideFolderNames,
    list_folder_names,
    record_slide,
    slide_name,
)

NOT_ANALYZED = (
    "{} has neither a measured thickness nor an analysis, and patches are cut at the tumor. Measure the thickness in "
    "the Slide dock, or name a model that detects the tumor with --slide-model (none is included), or cut patches over "
    "all tissue with --cover tissue."
)
SHARE_COLUMNS = tuple(f"share_{name}" for name in PARTS)
COMPARATOR_COLUMNS = tuple(f"probability_{name}_alone" for name in (*COMPARATOR_METHODS, "image"))
LEADING_COLUMNS = (
    "case",
    "file",
    "status",
    "error",
    "probability",
    "probability_low",
    "probability_high",
    "valid",
    "validity",
    "verdict",
)
DEPTH_COLUMNS = ("depth_mm", "depth_low_mm", "depth_high_mm", "depth_from", "depth_reader")
RISK_COLUMNS = (
    *LEADING_COLUMNS,
    *DEPTH_COLUMNS,
    *SHARE_COLUMNS,
    "probability_nothing_known",
    *COMPARATOR_COLUMNS,
    "patches",
    "missing",
    "warnings",
    "model",
)


@dataclass(frozen=True)
class RiskOutcome:
    """Result of one input: its prediction, or an error.

    ``depth``, ``comparisons``: the thickness and the predictions of the comparators, which may be available without a
    prediction. ``validity``: of these, if there is no prediction. ``warnings``: of the prediction and of the input.
    """

    name: str
    path: Path
    prediction: RiskPrediction | None = None
    error: str = ""
    depth: KnownDepth | None = None
    validity: Validity | None = None
    comparisons: dict[str, ComparatorPrediction] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["done", "failed"]:
        return "done" if self.prediction is not None else "failed"


@dataclass(frozen=True)
class RiskSummary:
    """Numbers of successful and failed inputs, and the path of the table."""

    done: int
    failed: int
    table: Path
    outcomes: list[RiskOutcome] = field(default_factory=list)


def _ignore_outcome(outcome: RiskOutcome) -> None:
    """Default callback."""


def case_name(path: Path) -> str:
    """Return the name of an input in the table."""
    return slide_name(path) if is_slide(path) else path.stem


def assess_risk_of_files(
    paths: Sequence[Path],
    out: Path,
    options: RiskOptions,
    metadata: PatientTable,
    *,
    run: RunContext,
    on_outcome: Callable[[RiskOutcome], None] = _ignore_outcome,
) -> RiskSummary:
    """Predict the risk for slides and patches, one after the other; rows of earlier runs stay in the table.

    ``out``: folder of the results; slides that were analyzed there are not analyzed again. ``on_outcome``: called after
    each input.
    """
    model = load_risk_model(options.model)
    _check_heatmaps(model, options)
    patients = (metadata.patient_data(case_name(path)) for path in paths)
    if unused := explain_unused(model.info.name, relevant_columns(model), patients):
        run.report(Milestone(0, len(paths), f"Warning: {unused}"))
    folders, outcomes = SlideFolderNames(out, list_folder_names(out)), list[RiskOutcome]()
    shared = _SharedInputs(model, options, metadata)
    rows_by_case = _read_earlier_rows(out / RISK_TABLE)
    for number, path in enumerate(paths):
        run.check()
        run.report(Progress(number, len(paths), f"Analyzing {path.name}"))
        outcomes.append(_assess_file(path, folders.folder_for(path), shared, run))
        name = outcomes[-1].name
        added = {column: cell for column, cell in rows_by_case.get(name, {}).items() if column not in RISK_COLUMNS}
        rows_by_case[name] = {**added, **_result_row(outcomes[-1])}
        columns = dict.fromkeys((*RISK_COLUMNS, *(name for row in rows_by_case.values() for name in row)))
        write_table(out / RISK_TABLE, rows_by_case.values(), tuple(columns))
        on_outcome(outcomes[-1])
    failed = sum(outcome.prediction is None for outcome in outcomes)
    return RiskSummary(len(outcomes) - failed, failed, out / RISK_TABLE, outcomes)


@dataclass(frozen=True)
class _SharedInputs:
    """Model, options and clinical metadata, which all inputs share."""

    model: Classifier
    options: RiskOptions
    metadata: PatientTable


def _assess_file(path: Path, folder: Path, shared: _SharedInputs, run: RunContext) -> RiskOutcome:
    """Predict the risk for one input; errors are recorded for this input only."""
    try:
        record_slide(folder, path)  # so that an input of the same name gets another folder and row, also later
        metadata = shared.metadata.patient_data(case_name(path))
        case, patches = (
            _slide_inputs(path, folder, metadata, shared, run)
            if is_slide(path)
            else (make_patch_case(metadata), [read_patch_image(path, metadata, shared.options)])
        )
        prediction = predict_risk(patches, case, shared.model, shared.options)
        content = {"file": path.name, **prediction.to_json()}
        remove_risk_maps(folder)
        write_json(folder / RISK_FILE, content)
    except (Cancelled, DiskFull):
        raise
    except Exception as error:  # noqa: BLE001 - any error of a library concerns this input only
        return _record_failure(path, folder, error)
    notes = _write_heatmaps(path, folder, patches, content, shared, run) if shared.options.heatmap else ()
    return RiskOutcome(
        folder.name,
        path,
        prediction,
        depth=prediction.depth,
        comparisons=prediction.comparators,
        warnings=(*prediction.warnings, *notes),
    )


def _check_heatmaps(model: Classifier, options: RiskOptions) -> None:
    """Raise an error if the model does not have one of the methods, before anything is computed."""
    if options.heatmap:
        from napari_melanoma.classification.explanation import check_method

        for method in options.heatmap:
            check_method(model, method)


def _write_heatmaps(
    path: Path,
    folder: Path,
    patches: Sequence[PatchImage],
    content: dict[str, Any],
    shared: _SharedInputs,
    run: RunContext,
) -> tuple[str, ...]:
    """Write the heatmaps of a prediction, that of a single image also as a picture; return messages for the user.

    ``content``: of ``risk.json``. A failure leaves the prediction valid.
    """
    notes = []
    try:
        if is_slide(path):
            record_slide(folder, path, record_name=True)
        for method in dict.fromkeys(shared.options.heatmap):
            maps = explain_patches(shared.model, [patch.rgb for patch in patches], content["known"], method, run)
            if not any(heat.any() for heat in maps):
                notes.append(f"{method}: {EMPTY_HEATMAP.format(target=content['positive'])}")
            boxes, size = _locate_patches(path, patches)
            write_risk_map(folder, content, method, compose_patch_maps(maps, boxes, size))
            if not is_slide(path):
                write_rgb(folder / MAP_FOLDER / f"{method}.png", draw_heatmap(patches[0].rgb, maps[0]))
    except (Cancelled, DiskFull):
        raise
    except Exception as error:  # noqa: BLE001 - the prediction is valid without heatmaps
        notes.append(f"the heatmaps could not be computed: {describe_error(error)}")
    return tuple(notes)


def _locate_patches(path: Path, patches: Sequence[PatchImage]) -> tuple[list[Box], tuple[int, int]]:
    """Return the boxes of patches, and the size of the slide or image that they are parts of, in pixels."""
    if is_slide(path):
        with open_slide(path) as slide:
            full = slide.info.levels[0]
            return [patch.box for patch in patches if patch.box is not None], (full.height, full.width)
    height, width = patches[0].rgb.shape[:2]
    return [Box(0, 0, height, width)], (height, width)


def _record_failure(path: Path, folder: Path, error: Exception) -> RiskOutcome:
    """Return the outcome of an input that failed, and back up its previous prediction without its heatmaps."""
    remove_risk_maps(folder)
    notes = back_up_outdated_result(folder)
    if isinstance(error, MissingValuesError):
        return RiskOutcome(
            folder.name,
            path,
            error=str(error),
            depth=error.depth,
            validity=error.validity,
            comparisons=error.comparisons,
            warnings=notes,
        )
    return RiskOutcome(folder.name, path, error=describe_error(error), warnings=notes)


def back_up_outdated_result(folder: Path) -> tuple[str, ...]:
    """Back up the previous prediction in a folder, so that it is not mistaken for the one that failed.

    Returns messages for the user; empty if there was no prediction.
    """
    if not (folder / RISK_FILE).is_file():
        return ()
    try:
        return (f"the previous prediction is outdated: it was backed up as {back_up_file(folder / RISK_FILE).name}",)
    except SaveError as error:
        return (f"the previous prediction in {RISK_FILE} is outdated, and could not be backed up: {error}",)


def _slide_inputs(
    path: Path, folder: Path, metadata: dict[str, str], shared: _SharedInputs, run: RunContext
) -> tuple[RiskCase, list[PatchImage]]:
    """Collect the inputs of a slide; if it has neither a thickness line nor a result, analyze it first if asked to."""
    from napari_melanoma.slides.analysis import analyze_slide

    options = shared.options
    case = read_slide_case(folder, metadata, options.reader)
    if not case.lines and not (folder / RESULT).is_file():
        if options.slide_model:
            scale = {"mpp": options.mpp, "mpp_y": options.mpp_y}
            analyze_slide(path, folder, SlideOptions(model=options.slide_model, **scale), run)
            case = read_slide_case(folder, metadata, options.reader)
        elif options.cover == "selected":
            raise InputError(NOT_ANALYZED.format(path.name))
    return case, cut_slide_patches(path, case.lines, case.analysis, options)


def _read_earlier_rows(path: Path) -> dict[str, Mapping[str, object]]:
    """Read the rows of a table of earlier runs by case; a file that is not such a table is backed up."""
    if not path.is_file():
        return {}
    try:
        return {row["case"]: row for row in read_table(path)}
    except (InputError, KeyError) as error:
        if isinstance(error.__cause__, OSError):  # such as an unavailable network share; the table may be valid
            raise
        back_up_file(path)
        return {}


def _result_row(outcome: RiskOutcome) -> dict[str, object]:
    """Return the row of an input in the table, by ``RISK_COLUMNS``."""
    prediction = outcome.prediction
    row: dict[str, object] = {
        "case": outcome.name,
        "file": outcome.path.name,
        "status": outcome.status,
        "error": outcome.error,
        "warnings": "; ".join(outcome.warnings),
    }
    row |= {f"probability_{name}_alone": comparator.probability for name, comparator in outcome.comparisons.items()}
    if (depth := outcome.depth) is not None:
        low, high = depth.interval_mm or (None, None)
        row |= zip(DEPTH_COLUMNS, (depth.mm, low, high, depth.source, depth.reader), strict=True)
    if (validity := outcome.validity if prediction is None else prediction.validity) is not None:
        row |= validity.to_columns()
    if prediction is None:
        return row
    low, high = prediction.interval or (None, None)
    shares = {f"share_{name}": f"{share:.4f}" for name, share in (prediction.shares or {}).items()}
    return {
        **row,
        "probability": prediction.probability,
        "probability_low": low,
        "probability_high": high,
        "verdict": prediction.headline,
        **shares,
        "probability_nothing_known": prediction.without,
        "patches": len(prediction.patches),
        "missing": "; ".join(prediction.missing),
        "model": prediction.model["name"],
    }
