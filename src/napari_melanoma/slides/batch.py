"""Many slides, from files to result folders and one table: one model for all, a bad slide stops nothing."""

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
    """How many slides were analyzed and how many failed, where the table is, and how long it took."""

    done: int
    failed: int
    table: Path
    seconds: float


def _ignore_status(status: SlideStatus) -> None:
    """Take an outcome and do nothing with it."""


def analyze_slides(
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    *,
    run: RunContext,
    force: bool = False,
    on_status: Callable[[SlideStatus], None] = _ignore_status,
) -> SlidesSummary:
    """Analyze slides one after the other with one model; what is done of each is kept and not done again.

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
        Where the disk is full or refuses the table, or the user stopped it; what is done is kept. A disk that refuses
        the folder of one slide fails that slide.
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
    """The one model of all slides, loaded when the first slide needs it.

    Parameters
    ----------
    options : SlideOptions
        Name it.
    """

    def __init__(self, options: SlideOptions) -> None:
        self.options = options
        self._model: TileModel | None = None

    def get_reset(self) -> TileModel:
        """Return the model with passes and precision as asked for, whatever a slide before made of them.

        Returns
        -------
        TileModel
            Ready to be asked.

        Raises
        ------
        BundleError
            Where there is no such model, or its weights are not here or damaged.
        """
        if self._model is None:
            self._model = load_model(self.options)
        self._model.reset(self.options.batch_size)
        return self._model


def _analyze_one(path: Path, folder: Path, models: SharedTileModel, run: RunContext, *, force: bool) -> SlideStatus:
    """Analyze one slide; a fault of its own is told, one that concerns all is raised."""
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
    """Read both ends of a file, so that the system has them in memory when its turn comes; nobody waits for that."""
    Thread(target=_touch, args=(following,), name="next slide", daemon=True).start()


def _touch(path: Path) -> None:
    """Read where a slide says what it holds; what is wrong with it is said when its turn comes."""
    with suppress(OSError), path.open("rb") as file:
        file.read(WARM_BYTES)
        file.seek(max(file.tell(), file.seek(0, SEEK_END) - WARM_BYTES))
        file.read(WARM_BYTES)
