"""Many slides and patches, from files to ``risk.json`` each and one table; a bad one stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import DiskFull, InputError, SaveError, describe_error
from napari_melanoma.core.files import back_up_file, normalize_name, write_json
from napari_melanoma.io.results import RESULT, RISK_FILE, RISK_TABLE, read_slide_result, write_table
from napari_melanoma.risk.comparators import COMPARATOR_METHODS
from napari_melanoma.risk.inputs import (
    PatchImage,
    RiskCase,
    case_of_patch,
    case_of_slide,
    cut_slide_patches,
    read_patch_image,
)
from napari_melanoma.risk.prediction import (
    PARTS,
    ComparatorPrediction,
    MissingValuesError,
    RiskDepth,
    RiskOptions,
    RiskPrediction,
)
from napari_melanoma.risk.predictor import load_risk_model, predict_risk
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import is_slide
from napari_melanoma.slides.result_folder import SlideFolderNames, record_slide, slide_name

if TYPE_CHECKING:
    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.lesion.patient_data import PatientTable

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
    """What became of one input: its answer; or why there is none, and what can be said all the same.

    ``warnings`` are those of the answer, and what else a reader should know.
    """

    name: str
    path: Path
    prediction: RiskPrediction | None = None
    error: str = ""
    depth: RiskDepth | None = None
    comparisons: dict[str, ComparatorPrediction] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["done", "failed"]:
        """In a word."""
        return "done" if self.prediction is not None else "failed"


@dataclass(frozen=True)
class RiskSummary:
    """How many were answered and how many failed, and where the table is."""

    done: int
    failed: int
    table: Path
    outcomes: list[RiskOutcome] = field(default_factory=list)


def _ignore_outcome(outcome: RiskOutcome) -> None:
    """Take an outcome and do nothing with it."""


def case_name(path: Path) -> str:
    """Return what a table calls an input."""
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
    """Tell the risk of slides and patches, one after the other."""
    model = load_risk_model(options.model)
    folders, outcomes = _RiskFolders(out), list[RiskOutcome]()
    for number, path in enumerate(paths):
        run.check()
        run.report(Progress(number, len(paths), f"Looking at {path.name}"))
        outcomes.append(_assess_one(path, folders.folder_for(path), _RiskInputs(model, options, metadata), run))
        write_table(out / RISK_TABLE, [_result_row(one) for one in outcomes], RISK_COLUMNS)
        on_outcome(outcomes[-1])
    failed = sum(one.prediction is None for one in outcomes)
    return RiskSummary(len(outcomes) - failed, failed, out / RISK_TABLE, outcomes)


@dataclass(frozen=True)
class _RiskInputs:
    """What all inputs share."""

    model: Classifier
    options: RiskOptions
    metadata: PatientTable


class _RiskFolders:
    """Gives each input a folder of its own below ``out``; a slide the one that holds its results."""

    def __init__(self, out: Path) -> None:
        self._out, self._slides, self._taken = out, SlideFolderNames(out), set[str]()

    def folder_for(self, path: Path) -> Path:
        """Choose the folder of one input."""
        if is_slide(path):
            folder = self._slides.folder_for(path)
        else:
            names = (path.stem, *(f"{path.stem}-{number}" for number in range(2, len(self._taken) + 3)))
            folder = self._out / next(name for name in names if normalize_name(name) not in self._taken)
        self._taken.add(normalize_name(folder.name))
        return folder


def _assess_one(path: Path, folder: Path, at: _RiskInputs, run: RunContext) -> RiskOutcome:
    """Tell the risk of one input; what is wrong with it is its own."""
    slide = is_slide(path)
    try:
        form = at.metadata.patient_data(case_name(path))
        known, pictures = _slide_inputs(path, folder, form, at, run) if slide else _patch_inputs(path, form, at)
        answer = predict_risk(pictures, known, at.model, at.options)
        write_json(folder / RISK_FILE, {"file": path.name, **answer.to_json()})
    except (Cancelled, DiskFull):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises is of this input; the others go on
        return _record_failure(path, folder, error)
    notes = _write_explanation_maps(path, folder, at.model, run) if slide and at.options.maps else ()
    warnings = (*answer.warnings, *notes)
    return RiskOutcome(folder.name, path, answer, depth=answer.depth, comparisons=answer.beside, warnings=warnings)


def _record_failure(path: Path, folder: Path, error: Exception) -> RiskOutcome:
    """Say that there is no answer; one of before is put aside, so that nobody takes it for this one."""
    notes = back_up_outdated_result(folder)
    if isinstance(error, MissingValuesError):
        return RiskOutcome(
            folder.name, path, error=str(error), depth=error.depth, comparisons=error.comparisons, warnings=notes
        )
    return RiskOutcome(folder.name, path, error=describe_error(error), warnings=notes)


def back_up_outdated_result(folder: Path) -> tuple[str, ...]:
    """Take care that an answer of before is not taken for one that was asked for now and refused.

    What was done, in words; empty where there was no answer.
    """
    if not (folder / RISK_FILE).is_file():
        return ()
    try:
        return (
            f"the answer of before is none to what was asked now: it is kept as {back_up_file(folder / RISK_FILE).name}",
        )
    except SaveError as error:
        return (f"{RISK_FILE} there is the answer of before, and could not be put aside: {error}",)


def _write_explanation_maps(path: Path, folder: Path, model: Classifier, run: RunContext) -> tuple[str, ...]:
    """Show on a slide where the network looked and what spoke for its answer; say why not, where it cannot be.

    The answer stands without them. A network without attention has one map.
    """
    from napari_melanoma.risk.slide import explain_slide_risk
    from napari_melanoma.risk.slide_files import MAP_METHODS as MAPS

    try:
        record_slide(folder, path, record_name=True)
        for method in MAPS:
            asked = {"slide": str(path), "folder": str(folder), "model": str(model.info.path), "method": method}
            with suppress(InputError):
                explain_slide_risk(asked, run)
    except (Cancelled, DiskFull):
        raise
    except Exception as error:  # noqa: BLE001 - the answer stands without them
        return (f"the maps could not be drawn: {describe_error(error)}",)
    return ()


def _patch_inputs(path: Path, form: dict[str, str], at: _RiskInputs) -> tuple[RiskCase, list[PatchImage]]:
    """A picture that is one patch."""
    return case_of_patch(form), [read_patch_image(path, form, at.options)]


def _slide_inputs(
    path: Path, folder: Path, form: dict[str, str], at: _RiskInputs, run: RunContext
) -> tuple[RiskCase, list[PatchImage]]:
    """Patches of a slide, which is analyzed first where nobody has measured or analyzed it."""
    known = case_of_slide(folder, form, at.options.reader)
    if not known.lines and not (folder / RESULT).is_file():
        _analyze_slide_first(path, folder, at.options, run)
        known = case_of_slide(folder, form, at.options.reader)
    return known, cut_slide_patches(path, known.lines, read_slide_result(folder), at.options)


def _analyze_slide_first(path: Path, folder: Path, options: RiskOptions, run: RunContext) -> None:
    """Analyze a slide, so that one knows where its tumor is."""
    from napari_melanoma.slides.analysis import analyze_slide

    record_slide(folder, path)
    analyze_slide(path, folder, SlideOptions(model=options.slide_model, mpp=options.mpp), run)


def _result_row(outcome: RiskOutcome) -> dict[str, object]:
    """A line of the table."""
    answer = outcome.prediction
    first: dict[str, object] = {
        "case": outcome.name,
        "file": outcome.path.name,
        "status": outcome.status,
        "error": outcome.error,
        "warnings": "; ".join(outcome.warnings),
    }
    first |= {f"probability_{name}_alone": one.probability for name, one in outcome.comparisons.items()}
    if outcome.depth is not None:
        first |= _depth_columns(outcome.depth)
    if answer is None:
        return first
    low, high = answer.interval or (None, None)
    shares = {f"share_{name}": f"{share:.4f}" for name, share in (answer.shares or {}).items()}
    return {
        **first,
        "probability": answer.probability,
        "probability_low": low,
        "probability_high": high,
        **answer.validity.to_columns(),
        "verdict": answer.headline,
        **shares,
        "probability_nothing_known": answer.without,
        "patches": len(answer.patches),
        "missing": "; ".join(answer.missing),
        "model": answer.model["name"],
    }


def _depth_columns(depth: RiskDepth) -> dict[str, object]:
    """The thickness in a line of the table."""
    least, most = depth.interval_mm or (None, None)
    values = (depth.mm, least, most, depth.source, depth.reader)
    return dict(zip(DEPTH_COLUMNS, values, strict=True))
