"""Many slides, from files to result folders and one table: one model for all, a bad slide stops nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.errors import BundleError, ConfigError, InputError, MelanomaError, SaveError
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.runs import RunContext
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.io.slides.opening import open_slide
from napari_melanoma.workflows.analyse_slide import analyse_slide, load_model
from napari_melanoma.workflows.slide_folders import SlideFolders, note_slide
from napari_melanoma.workflows.slide_options import SlideOptions

if TYPE_CHECKING:
    from napari_melanoma.inference.tiles import TileModel

__all__ = ["SlideStatus", "SlidesSummary", "analyse_slides"]

TABLE = "slides.csv"
CORNER_PX = 256
COLUMNS = (
    "slide",
    "file",
    "status",
    "error",
    "model",
    "probability",
    "probability_mean",
    "probability_maximum",
    "probability_top_k",
    "probability_attention",
    "lesions",
    "lesions_malignant",
    "lesion_area_mm2",
    "tissue_mm2",
    "breslow_mm",
    "t_category",
    "mpp",
    "tiles_done",
    "tiles_failed",
    "tiles_total",
    "warnings",
    "seconds",
)


@dataclass(frozen=True)
class SlideStatus:
    """What became of one slide: ``content`` is that of its ``result.json``, ``error`` says why there is none."""

    path: Path
    folder: Path
    status: Literal["done", "failed"]
    content: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class SlidesSummary:
    """How many slides were analysed and how many failed, where the table is, and how long it took."""

    done: int
    failed: int
    table: Path
    seconds: float


def _ignore(status: SlideStatus) -> None:
    """Take an outcome and do nothing with it."""


def analyse_slides(
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    *,
    run: RunContext,
    force: bool = False,
    tell: Callable[[SlideStatus], None] = _ignore,
) -> SlidesSummary:
    """Analyse slides one after the other with one model; what is done of each is kept and not done again.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        As ``find_slides`` lists them.
    out : pathlib.Path
        Receives ``slides.csv`` and a folder for each slide.
    options : SlideOptions
        How.
    run : RunContext
        Told of the progress, asked whether to go on.
    force : bool
        Begin again whatever is there.
    tell : callable, optional
        Receives what became of each slide.

    Returns
    -------
    SlidesSummary
        The counts.

    Raises
    ------
    BundleError, ConfigError
        Where there is no such model or class: that concerns all slides.
    SaveError, Cancelled
        Where the disk refuses, or the user stopped it; what is done is kept.
    """
    started, table = time.monotonic(), _Table(out / TABLE)
    models, counts, folders = _Models(options), {"done": 0, "failed": 0}, SlideFolders(out)
    for path, following in zip(paths, [*paths[1:], None], strict=True):
        run.check()
        with _warmed(following):
            status = _one(path, folders.place(path), models, run, force=force)
        counts[status.status] += 1
        table.put(status)
        tell(status)
    return SlidesSummary(counts["done"], counts["failed"], table.path, time.monotonic() - started)


class _Models:
    """The one model of all slides, loaded when the first slide needs it.

    Parameters
    ----------
    options : SlideOptions
        Name it.
    """

    def __init__(self, options: SlideOptions) -> None:
        self.options = options
        self._model: TileModel | None = None

    def fresh(self) -> TileModel:
        """Give the model with passes as large as asked for, whatever a slide before made of them."""
        if self._model is None:
            self._model = load_model(self.options)
        self._model.batch_size = self.options.batch_size
        return self._model


def _one(path: Path, folder: Path, models: _Models, run: RunContext, *, force: bool) -> SlideStatus:
    """Analyse one slide; a fault of its own is told, one that concerns all is raised."""
    note_slide(folder, path)
    try:
        outcome = analyse_slide(path, folder, models.options, run, load=models.fresh, force=force)
    except (BundleError, ConfigError, SaveError):
        raise
    except MelanomaError as error:
        return SlideStatus(path, folder, "failed", error=str(error))
    return SlideStatus(path, folder, "done", outcome.content)


@contextmanager
def _warmed(following: Path | None) -> Iterator[None]:
    """Open the next slide while this one is analysed, so that its first bytes are in the system's memory."""
    with ThreadPoolExecutor(1, thread_name_prefix="next slide") as pool:
        if following is not None:
            pool.submit(_touch, following)
        yield


def _touch(path: Path) -> None:
    """Open a slide and read a corner of its coarsest level; what is wrong with it is said when its turn comes."""
    with suppress(Exception), open_slide(path) as slide:
        stored = [index for index, level in enumerate(slide.info.levels) if not level.built]  # others cost a whole pass
        slide.read_region(stored[-1], Box(0, 0, CORNER_PX, CORNER_PX))


class _Table:
    """``slides.csv``: a row a slide, those of other slides kept.

    Parameters
    ----------
    path : pathlib.Path
        The table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, dict[str, Any]] = {}
        if path.exists():
            with suppress(InputError):
                self._rows = {row["slide"]: dict(row) for row in read_table(path) if "slide" in row}

    def put(self, status: SlideStatus) -> None:
        """Add or replace the row of a slide, and write the table."""
        self._rows[status.folder.name] = _row(status)
        write_table(self.path, [self._rows[name] for name in sorted(self._rows)], COLUMNS)


def _row(status: SlideStatus) -> dict[str, Any]:
    """Row of a slide."""
    content = status.content
    first = {"slide": status.folder.name, "file": status.path.name, "status": status.status, "error": status.error}
    if not content:
        return first
    target, lesions = content["target"], content["lesions"]
    scores = {f"probability_{method}": values.get(target) for method, values in content["scores"].items()}
    areas = [lesion["area_mm2"] for lesion in lesions if lesion["area_mm2"] is not None]
    same = (
        "probability",
        "tissue_mm2",
        "breslow_mm",
        "t_category",
        "tiles_done",
        "tiles_failed",
        "tiles_total",
        "seconds",
    )
    return {
        **first,
        **{name: value for name, value in scores.items() if name in COLUMNS},
        **{name: content[name] for name in same},
        "model": content["model"]["name"],
        "lesions": len(lesions),
        "lesions_malignant": sum(lesion["label"] == "malignant" for lesion in lesions),
        "lesion_area_mm2": sum(areas) if areas else None,
        "mpp": None if content["mpp"] is None else content["mpp"][1],
        "warnings": " ".join(content["warnings"]),
    }
