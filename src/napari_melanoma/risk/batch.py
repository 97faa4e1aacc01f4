"""Many slides and patches, from files to ``risk.json`` each and one table; a bad one stops nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import DiskFull, InputError, SaveError, in_words
from napari_melanoma.core.files import plain_name, put_aside, write_json
from napari_melanoma.io.results import RESULT, RISK, RISKS_TABLE, read_content, write_table
from napari_melanoma.risk.comparators import METHODS
from napari_melanoma.risk.inputs import (
    KnownCase,
    PatchPicture,
    known_of_patch,
    known_of_slide,
    patch_picture,
    slide_pictures,
)
from napari_melanoma.risk.prediction import PARTS, Beside, DepthUsed, GapsUnknown, RiskAnswer, RiskOptions
from napari_melanoma.risk.predictor import assess, load_risk_model
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import is_slide
from napari_melanoma.slides.result_folder import SlideFolders, name_of, note_slide

if TYPE_CHECKING:
    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.lesion.patient_data import Forms

SHARES = tuple(f"share_{name}" for name in PARTS)
BESIDE = tuple(f"probability_{name}_alone" for name in (*METHODS, "image"))
FIRST = (
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
DEPTH = ("depth_mm", "depth_low_mm", "depth_high_mm", "depth_from", "depth_reader")
COLUMNS = (*FIRST, *DEPTH, *SHARES, "probability_nothing_known", *BESIDE, "patches", "missing", "warnings", "model")


@dataclass(frozen=True)
class RiskOutcome:
    """What became of one input: its answer; or why there is none, and what can be said all the same.

    ``warnings`` are those of the answer, and what else a reader should know.
    """

    name: str
    path: Path
    answer: RiskAnswer | None = None
    error: str = ""
    depth: DepthUsed | None = None
    beside: dict[str, Beside] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def status(self) -> Literal["done", "failed"]:
        """In a word."""
        return "done" if self.answer is not None else "failed"


@dataclass(frozen=True)
class RiskSummary:
    """How many were answered and how many failed, and where the table is."""

    done: int
    failed: int
    table: Path
    outcomes: list[RiskOutcome] = field(default_factory=list)


def _ignore(outcome: RiskOutcome) -> None:
    """Take an outcome and do nothing with it."""


def case_name(path: Path) -> str:
    """Say what a table calls an input."""
    return name_of(path) if is_slide(path) else path.stem


def assess_files(
    paths: Sequence[Path],
    out: Path,
    options: RiskOptions,
    forms: Forms,
    *,
    run: RunContext,
    tell: Callable[[RiskOutcome], None] = _ignore,
) -> RiskSummary:
    """Tell the risk of slides and patches, one after the other."""
    model = load_risk_model(options.model)
    folders, outcomes = _Folders(out), list[RiskOutcome]()
    for number, path in enumerate(paths):
        run.check()
        run.report(Progress(number, len(paths), f"Looking at {path.name}"))
        outcomes.append(_one(path, folders.place(path), _At(model, options, forms), run))
        write_table(out / RISKS_TABLE, [_row(one) for one in outcomes], COLUMNS)
        tell(outcomes[-1])
    failed = sum(one.answer is None for one in outcomes)
    return RiskSummary(len(outcomes) - failed, failed, out / RISKS_TABLE, outcomes)


@dataclass(frozen=True)
class _At:
    """What all inputs share."""

    model: Classifier
    options: RiskOptions
    forms: Forms


class _Folders:
    """Gives each input a folder of its own below ``out``; a slide the one that holds its results."""

    def __init__(self, out: Path) -> None:
        self._out, self._slides, self._taken = out, SlideFolders(out), set[str]()

    def place(self, path: Path) -> Path:
        """Choose the folder of one input."""
        if is_slide(path):
            folder = self._slides.place(path)
        else:
            names = (path.stem, *(f"{path.stem}-{number}" for number in range(2, len(self._taken) + 3)))
            folder = self._out / next(name for name in names if plain_name(name) not in self._taken)
        self._taken.add(plain_name(folder.name))
        return folder


def _one(path: Path, folder: Path, at: _At, run: RunContext) -> RiskOutcome:
    """Tell the risk of one input; what is wrong with it is its own."""
    slide = is_slide(path)
    try:
        form = at.forms.of(case_name(path))
        known, pictures = _of_slide(path, folder, form, at, run) if slide else _of_patch(path, form, at)
        answer = assess(pictures, known, at.model, at.options)
        write_json(folder / RISK, {"file": path.name, **answer.to_json()})
    except (Cancelled, DiskFull):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises is of this input; the others go on
        return _refused(path, folder, error)
    notes = _draw_maps(path, folder, at.model, run) if slide and at.options.maps else ()
    warnings = (*answer.warnings, *notes)
    return RiskOutcome(folder.name, path, answer, depth=answer.depth, beside=answer.beside, warnings=warnings)


def _refused(path: Path, folder: Path, error: Exception) -> RiskOutcome:
    """Say that there is no answer; one of before is put aside, so that nobody takes it for this one."""
    notes = put_answer_aside(folder)
    if isinstance(error, GapsUnknown):
        return RiskOutcome(folder.name, path, error=str(error), depth=error.depth, beside=error.beside, warnings=notes)
    return RiskOutcome(folder.name, path, error=in_words(error), warnings=notes)


def put_answer_aside(folder: Path) -> tuple[str, ...]:
    """Take care that an answer of before is not taken for one that was asked for now and refused.

    What was done, in words; empty where there was no answer.
    """
    if not (folder / RISK).is_file():
        return ()
    try:
        return (f"the answer of before is none to what was asked now: it is kept as {put_aside(folder / RISK).name}",)
    except SaveError as error:
        return (f"{RISK} there is the answer of before, and could not be put aside: {error}",)


def _draw_maps(path: Path, folder: Path, model: Classifier, run: RunContext) -> tuple[str, ...]:
    """Show on a slide where the network looked and what spoke for its answer; say why not, where it cannot be.

    The answer stands without them. A network without attention has one map.
    """
    from napari_melanoma.risk.slide import slide_risk_map
    from napari_melanoma.risk.slide_files import METHODS as MAPS

    try:
        note_slide(folder, path, named=True)
        for method in MAPS:
            asked = {"slide": str(path), "folder": str(folder), "model": str(model.info.path), "method": method}
            with suppress(InputError):
                slide_risk_map(asked, run)
    except (Cancelled, DiskFull):
        raise
    except Exception as error:  # noqa: BLE001 - the answer stands without them
        return (f"the maps could not be drawn: {in_words(error)}",)
    return ()


def _of_patch(path: Path, form: dict[str, str], at: _At) -> tuple[KnownCase, list[PatchPicture]]:
    """A picture that is one patch."""
    return known_of_patch(form), [patch_picture(path, form, at.options)]


def _of_slide(
    path: Path, folder: Path, form: dict[str, str], at: _At, run: RunContext
) -> tuple[KnownCase, list[PatchPicture]]:
    """Patches of a slide, which is analysed first where nobody has measured or analysed it."""
    known = known_of_slide(folder, form, at.options.reader)
    if not known.lines and not (folder / RESULT).is_file():
        _analyse(path, folder, at.options, run)
        known = known_of_slide(folder, form, at.options.reader)
    return known, slide_pictures(path, known.lines, read_content(folder), at.options)


def _analyse(path: Path, folder: Path, options: RiskOptions, run: RunContext) -> None:
    """Analyse a slide, so that one knows where its tumour is."""
    from napari_melanoma.slides.analysis import analyse_slide

    note_slide(folder, path)
    analyse_slide(path, folder, SlideOptions(model=options.slide_model, mpp=options.mpp), run)


def _row(outcome: RiskOutcome) -> dict[str, object]:
    """A line of the table."""
    answer = outcome.answer
    first: dict[str, object] = {
        "case": outcome.name,
        "file": outcome.path.name,
        "status": outcome.status,
        "error": outcome.error,
        "warnings": "; ".join(outcome.warnings),
    }
    first |= {f"probability_{name}_alone": one.probability for name, one in outcome.beside.items()}
    if outcome.depth is not None:
        first |= _depth_cells(outcome.depth)
    if answer is None:
        return first
    low, high = answer.interval or (None, None)
    shares = {f"share_{name}": f"{share:.4f}" for name, share in (answer.shares or {}).items()}
    return {
        **first,
        "probability": answer.probability,
        "probability_low": low,
        "probability_high": high,
        **answer.validity.cells(),
        "verdict": answer.verdict,
        **shares,
        "probability_nothing_known": answer.without,
        "patches": len(answer.patches),
        "missing": "; ".join(answer.missing),
        "model": answer.model["name"],
    }


def _depth_cells(depth: DepthUsed) -> dict[str, object]:
    """The thickness in a line of the table."""
    least, most = depth.interval_mm or (None, None)
    values = (depth.mm, least, most, depth.source, depth.reader)
    return dict(zip(DEPTH, values, strict=True))
