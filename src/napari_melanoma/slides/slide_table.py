"""Tables over many slides: ``slides.csv``, the states of slides in a folder, and the lesions of analyzed slides."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from napari_melanoma.core.context import REPORT_S, Progress, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import FileStamp, back_up_file, file_stamp, normalize_name
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.paths import folder_name
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.depth.shown_blocks import CHANGED
from napari_melanoma.io.results import read_slide_result, read_table, write_table
from napari_melanoma.io.slide_store import STORE
from napari_melanoma.slides.background_runs import SlideRunStatus, read_slide_run_status
from napari_melanoma.slides.lesion_files import SavedLesions, read_saved_lesions
from napari_melanoma.slides.lesions import LESION_CLASSES, is_lesion_area
from napari_melanoma.slides.result_folder import SOURCE, SlideFolderNames, list_folder_names, slide_name
from napari_melanoma.slides.results import score_method, slide_probability
from napari_melanoma.slides.synoptic_files import read_synoptic

TABLE, LOCK = "slides.csv", ".slides.lock"
LOCK_TIMEOUT_S = 60.0  # time to wait while another process writes the table
COLUMNS = (
    "slide",
    "file",
    "status",
    "error",
    "model",
    "probability",
    "probability_method",
    "probability_mean",
    "probability_maximum",
    "probability_top_k",
    "probability_attention",
    "valid",
    "validity",
    "target",
    "lesions",
    "lesions_malignant",
    "lesion_area_mm2",
    "tissue_mm2",
    "breslow_mm",
    "breslow_low_mm",
    "breslow_high_mm",
    "breslow_at_least",
    "t_category",
    "ulceration",
    "clark_estimate",
    "mpp",
    "tiles_done",
    "tiles_failed",
    "tiles_total",
    "warnings",
    "seconds",
)
CONTENT_COLUMNS = (  # copied from result.json
    "tissue_mm2",
    "breslow_mm",
    "t_category",
    "tiles_done",
    "tiles_failed",
    "tiles_total",
    "seconds",
)
AREA_COLUMNS = {"mm2": "area_mm2_{}", "percent": "area_percent_{}"}  # of each class of a tissue classifier
AREA_PREFIXES = tuple(column.format("") for column in AREA_COLUMNS.values())
Row = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlideStatus:
    """Outcome of the analysis of one slide.

    ``content``: that of ``result.json``; empty if the analysis failed. ``error``: the reason. ``already_done``: a
    matching result existed. ``keep_row``: the slide has another result, which must not be replaced, nor its row in the
    table. ``in_use``: another process analyzes the slide.
    """

    path: Path
    folder: Path
    status: Literal["done", "failed"]
    content: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    already_done: bool = False
    keep_row: bool = False
    in_use: bool = False


class SlideTable:
    """The table ``slides.csv``; it is read again before each change, as other processes may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, status: SlideStatus) -> None:
        """Add or replace the row of a slide, unless the existing row must be kept, and write the table."""
        if not status.keep_row:
            self.put_row(status_to_row(status))

    def put_row(self, row: Row) -> None:
        """Add or replace a row, and write the table."""
        self.put_rows([row])

    def put_rows(self, changed: Sequence[Row]) -> None:
        """Add or replace rows, and write the table if there are any."""
        if not changed:
            return
        with hold_lock(self.path.with_name(LOCK), LOCK_TIMEOUT_S):
            rows = {**self._read_rows(), **{row["slide"]: row for row in changed}}
            areas = dict.fromkeys(key for values in rows.values() for key in values if key.startswith(AREA_PREFIXES))
            write_table(self.path, [rows[name] for name in sorted(rows)], (*COLUMNS, *areas))

    def _read_rows(self) -> dict[str, Row]:
        """Read the rows by slide; a file that is not a valid table, such as after an edit by hand, is backed up."""
        if not self.path.exists():
            return {}
        try:
            return {row["slide"]: dict(row) for row in read_table(self.path)}
        except (InputError, KeyError) as error:
            if isinstance(error.__cause__, OSError):  # such as an unavailable network share; the table may be valid
                raise
            backup = back_up_file(self.path)
            log.warning("%s is not a table with a column 'slide'. It is backed up as %s.", self.path, backup.name)
            return {}


def status_to_row(status: SlideStatus) -> Row:
    """Return the row of a slide with ``COLUMNS``, and the areas of its classes; the first four if it failed."""
    content = status.content
    first = {"slide": status.folder.name, "file": status.path.name, "status": status.status, "error": status.error}
    if not content:
        return first
    target, lesions, depth = content["target"], content["lesions"] or (), content.get("depth") or {}
    depth_validity = Validity.from_json(depth.get("validity"))
    validity = read_validity(content).with_reasons(*([depth_validity] if depth_validity else []))
    low, high = content["breslow_interval_mm"] or (None, None)
    scores = {f"probability_{method}": values.get(target) for method, values in content["scores"].items()}
    areas = [lesion["area_mm2"] for lesion in lesions if lesion["area_mm2"] is not None]
    labels = [lesion["label"] for lesion in lesions]
    is_of_lesions = content["lesions"] is not None and bool(labels or target) and is_lesion_area(str(target or ""))
    return {
        **first,
        "probability": slide_probability(content),
        "probability_method": score_method(content),
        **{name: value for name, value in scores.items() if name in COLUMNS},
        **{name: content[name] for name in CONTENT_COLUMNS},
        **validity.to_columns(),
        "breslow_low_mm": low,
        "breslow_high_mm": high,
        "breslow_at_least": depth.get("at_least"),
        "ulceration": depth.get("ulceration"),
        "clark_estimate": depth.get("clark_estimate"),
        "model": content["model"]["name"],
        "target": target,
        "lesions": len(lesions) if content["lesions"] is not None and (target or lesions) else None,
        "lesions_malignant": labels.count("malignant") if is_of_lesions and {*labels} <= LESION_CLASSES else None,
        "lesion_area_mm2": sum(areas) if areas or (content["lesions"] == [] and target and content["mpp"]) else None,
        "mpp": None if content["mpp"] is None else content["mpp"][1],
        "warnings": " ".join(content["warnings"]),
        **{
            column.format(name): area[unit]
            for name, area in (content.get("areas") or {}).items()
            for unit, column in AREA_COLUMNS.items()
        },
    }


WorkItemState = Literal["waiting", "running", "stopped", "done", "failed", "signed"]


@dataclass(frozen=True)
class WorkItem:
    """One slide of the work list: its state, and a description for the user.

    In state ``signed``, the synoptic report of the slide is signed.
    """

    slide: Path
    state: WorkItemState
    description: str


class WorkItemReader:
    """Reads the states of slides from their result folders in ``out``.

    To find out whether a folder with the name of a slide belongs to it, the slide file is read. The result is cached
    until the file, or the slide recorded in the folder, changes.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        # Slide and its stamp to result folder and the stamp of its ``slide.json``.
        self._folders: dict[tuple[Path, FileStamp | None], tuple[Path, FileStamp | None]] = {}

    def read(self, slides: Sequence[Path], run: RunContext) -> dict[Path, WorkItem]:
        """Read the states of slides; a slide whose results cannot be read counts as failed."""
        existing = list_folder_names(self.out)
        found: dict[Path, WorkItem] = {}
        reported = monotonic()
        for slide in slides:
            run.check()
            if monotonic() - reported > REPORT_S:
                run.report(Progress(len(found), len(slides), "Reading the states of the slides"))
                reported = monotonic()
            try:
                found[slide] = _work_item(slide, self._find_folder(slide, existing))
            except (OSError, MelanomaError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                found[slide] = WorkItem(slide, "failed", f"results cannot be read: {reason}")
        return found

    def _find_folder(self, slide: Path, existing: Mapping[str, str]) -> Path | None:
        if normalize_name(folder_name(slide_name(slide))) not in existing:
            return None
        key = (slide, file_stamp(slide))
        cached = self._folders.get(key)
        if cached is not None and cached[0].is_dir() and cached[1] == file_stamp(cached[0] / SOURCE):
            return cached[0]
        folder = SlideFolderNames(self.out, existing).find_results(slide)
        if folder is None or not folder.is_dir():
            return None
        self._folders[key] = (folder, file_stamp(folder / SOURCE))
        return folder


def _work_item(slide: Path, results: Path | None) -> WorkItem:
    """Return the state of one slide; ``signed`` takes precedence unless the slide is being analyzed again.

    Raises InputError if its synoptic report or its readings are damaged: whether it is signed is unknown.
    """
    if results is None:
        return WorkItem(slide, "waiting", "waiting")
    item = _analysis_item(slide, results)
    if item.state == "running":
        return item
    report, changes = read_synoptic(results, slide=slide)
    if report is None or not report.is_signed:
        return item
    changed = ", changed after signature" if any(text.startswith(CHANGED) for text in changes) else ""
    return WorkItem(slide, "signed", f"signed by {report.signed_by}{changed}")


def _analysis_item(slide: Path, results: Path) -> WorkItem:
    if not (results / "events.jsonl").is_file() and not (results / STORE).is_dir():
        return WorkItem(slide, "waiting", "waiting")
    status = read_slide_run_status(results)
    state, content = status.state, read_slide_result(results)
    if state.active:
        return WorkItem(
            slide, "running", _describe_progress("paused" if state is RunState.paused else "running", status)
        )
    if state is RunState.failed:
        return WorkItem(slide, "failed", f"failed: {status.message}")
    if content and state is not RunState.cancelled:
        model = (content.get("model") or {}).get("name")
        return WorkItem(slide, "done", f"done with {model}" if model else "done")
    return WorkItem(slide, "stopped", _describe_progress("stopped", status))


def _describe_progress(word: str, status: SlideRunStatus) -> str:
    """Add the share of finished tiles to a word, if it is known."""
    return word if status.fraction is None else f"{word} {status.fraction:.0%}".replace("%", " %")


@dataclass(frozen=True)
class LesionRow:
    """A lesion in a table over slides; ``slide``: result folder of the slide.

    ``model``: name of the model. ``target``: class of the probability, which the class of the lesion need not be.
    """

    slide: Path
    model: str
    target: str
    index: int
    label: str
    area_px: float
    area_mm2: float | None
    probability: float


def read_slide_lesion_rows(folder: Path) -> list[LesionRow]:
    """Read the lesions of an analyzed slide; unknown probabilities are NaN."""
    model, saved = read_slide_result(folder).get("model") or {}, read_saved_lesions(folder) or SavedLesions(())
    return [
        LesionRow(
            slide=folder,
            model=str(model.get("name", "")),
            target=saved.target,
            index=one.index,
            label=one.label,
            area_px=one.area_px,
            area_mm2=one.area_mm2,
            probability=one.probability,
        )
        for one in saved.lesions
    ]
