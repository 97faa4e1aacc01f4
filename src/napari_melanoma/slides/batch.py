"""Analyze many slides one after the other with one model; a slide that fails does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import SEEK_END
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from napari_melanoma.core.context import BATCH_ERRORS, RunContext
from napari_melanoma.core.errors import ResultsMismatch, describe_error
from napari_melanoma.slides.analysis import analyze_slide, load_model
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import SlideFolderNames, record_slide
from napari_melanoma.slides.table import TABLE, SlideStatus, SlideTable

if TYPE_CHECKING:
    from napari_melanoma.slides.tile_models import TileModel

__all__ = ["SharedTileModel", "SlidesSummary", "analyze_slides"]

WARM_BYTES = 4 << 20
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlidesSummary:
    """Numbers of analyzed and failed slides, path of the table, and duration."""

    done: int
    failed: int
    table: Path
    seconds: float


def _ignore_status(status: SlideStatus) -> None:
    """Default callback."""


def analyze_slides(
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    *,
    run: RunContext,
    force: bool = False,
    on_status: Callable[[SlideStatus], None] = _ignore_status,
) -> SlidesSummary:
    """Analyze slides one after the other with one model; finished results are kept.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        Slides, as listed by ``find_slides``.
    out : pathlib.Path
        Receives ``slides.csv`` and a folder for each slide.
    options : SlideOptions
        Options of the analysis.
    run : RunContext
        Receives progress; checked for cancellation.
    force : bool
        Start over, even if results exist.
    on_status : callable, optional
        Receives the status of each slide.

    Returns
    -------
    SlidesSummary
        The counts.

    Raises
    ------
    BundleError, ConfigError
        The model or class does not exist, which concerns all slides.
    SaveError, Cancelled
        The disk is full, the table cannot be written, or the user canceled; finished results are kept. An error in
        writing to the folder of one slide fails that slide only.
    """
    started, table = time.monotonic(), SlideTable(out / TABLE)
    models, counts, folders = SharedTileModel(options), {"done": 0, "failed": 0}, SlideFolderNames(out)
    for path, following in zip(paths, [*paths[1:], None], strict=True):
        run.check()
        if following is not None:
            _prefetch(following)
        status = _analyze_one(path, folders.folder_for(path), models, run, force=force)
        counts[status.status] += 1
        table.put(status)
        on_status(status)
    return SlidesSummary(counts["done"], counts["failed"], table.path, time.monotonic() - started)


class SharedTileModel:
    """The model shared by all slides, loaded for the first slide that needs it.

    Parameters
    ----------
    options : SlideOptions
        Options that name the model.
    """

    def __init__(self, options: SlideOptions) -> None:
        self.options = options
        self._model: TileModel | None = None

    def get_reset(self) -> TileModel:
        """Return the model with the requested number of passes and precision, which a previous slide may have changed.

        Returns
        -------
        TileModel
            Ready for prediction.

        Raises
        ------
        BundleError
            The model does not exist, or its weights are missing or damaged.
        """
        if self._model is None:
            self._model = load_model(self.options)
        self._model.reset(self.options.batch_size)
        return self._model


def _analyze_one(path: Path, folder: Path, models: SharedTileModel, run: RunContext, *, force: bool) -> SlideStatus:
    """Analyze one slide; errors that concern this slide only are recorded."""
    try:
        record_slide(folder, path)
        outcome = analyze_slide(path, folder, models.options, run, load=models.get_reset, force=force)
    except BATCH_ERRORS:
        raise
    except Exception as error:
        log.debug("%s failed", path, exc_info=True)
        return SlideStatus(
            path, folder, "failed", error=describe_error(error), keep_row=isinstance(error, ResultsMismatch)
        )
    return SlideStatus(path, folder, "done", outcome.content, already_done=outcome.already_done)


def _prefetch(following: Path) -> None:
    """Read both ends of a file in the background, so that the system has cached them when the slide is opened."""
    Thread(target=_touch, args=(following,), name="next slide", daemon=True).start()


def _touch(path: Path) -> None:
    """Read the parts of a file that hold its header; errors are reported when the slide is opened."""
    with suppress(OSError), path.open("rb") as file:
        file.read(WARM_BYTES)
        file.seek(max(file.tell(), file.seek(0, SEEK_END) - WARM_BYTES))
        file.read(WARM_BYTES)
