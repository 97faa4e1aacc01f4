"""Unsaved corrections: written to recovery files after each edit, found and restored after a crash."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import atomic_file, move, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.mask_record import get_mask_origin
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, RecoveredLesion
from napari_melanoma.ui.session.stated_values import StatedValues
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.signals import at_end

if TYPE_CHECKING:
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.ui.session.open_photograph import OpenPhotograph, PhotographSessions

AUTOSAVE_DELAY_MS = 600
RECOVERY_DAYS = 30
RECOVERY_FORMAT = 1
_open_sessions: list[PhotographSessions] = []  # of all Lesion docks of this process


def recovery_root() -> Path:
    """Return the folder that contains all recovery folders."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "recovery"


def recovery_folder(digest: str, identity: str) -> Path:
    """Return the recovery folder of an open photograph; ``digest``: of its pixels."""
    return recovery_root() / f"{digest[:32]}-{identity[:16]}"


def save_recovery(
    folder: Path, lesion: AnalyzedLesion, scribbles: NDArray[np.uint8] | None, stated: StatedValues
) -> None:
    """Write a recovery folder; call this in a thread.

    ``scribbles``: uint8 (row, column), strokes that are not applied yet. ``stated``: scale, type and patient data.
    """
    result, mask = lesion.result, lesion.result.mask
    probability = folder / f"probability-{array_fingerprint(result.probability)[:16]}.npy"
    if not probability.is_file():
        with atomic_file(probability) as temporary:
            np.save(temporary, result.probability.astype(np.float16))
    strokes = np.zeros((0, 0), np.uint8) if scribbles is None else scribbles
    with atomic_file(folder / "drawn.npz") as temporary:
        np.savez_compressed(temporary, mask=np.packbits(mask), scribbles=strokes)
    values = {
        "format_version": RECOVERY_FORMAT,
        "probability": probability.name,
        "options": result.options.model_dump(mode="json"),
        "model": asdict(result.model),
        "chosen": lesion.chosen,
        "is_predicted": not lesion.corrected,
        "origin": get_mask_origin(result.provenance),
        "shape": list(mask.shape),
        **stated.to_json(),
        "saved_at": time.time(),
        "owner": _current_process(),
    }
    write_json(folder / "recovery.json", values)
    for other in folder.glob("probability-*.npy"):
        if other != probability:  # of an earlier analysis
            other.unlink(missing_ok=True)


def find_recovery(digest: str, photograph: Photograph, others: Collection[str] = ()) -> RecoveredLesion | None:
    """Search for unsaved corrections of a photograph; call this in a thread.

    ``digest``: of the photograph's pixels. ``others``: identities of other open photographs. Returns the newest
    corrections; None if none can be read, or if another running napari is editing them.
    """
    open_folders = {recovery_folder(digest, other) for other in others}
    candidates = (
        _find_recovery(digest, path, photograph)
        for path in recovery_root().glob(f"{digest[:32]}-*")
        if path not in open_folders
    )
    return max(filter(None, candidates), key=lambda candidate: candidate.saved_at, default=None)


def _find_recovery(digest: str, folder: Path, photograph: Photograph) -> RecoveredLesion | None:
    """Read a recovery folder; None if it is damaged, of another version, or of another running napari."""
    try:
        values = read_json(folder / "recovery.json")
        if values["format_version"] != RECOVERY_FORMAT or _is_running(values["owner"]):
            return None
        return _read_recovery(digest, folder, values, photograph)
    except (MelanomaError, OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error):
        return None  # incomplete or older files are ignored silently


def _read_recovery(digest: str, folder: Path, values: dict[str, Any], photograph: Photograph) -> RecoveredLesion | None:
    """Read a recovery folder; None if the image has another size."""
    from napari_melanoma.lesion.analysis import ModelStamp, derive_result

    shape = tuple(values["shape"])
    if shape != photograph.rgb.shape[:2]:
        return None
    with (folder / "drawn.npz").open("rb") as file, np.load(file) as drawn:  # numpy does not close a damaged file
        mask = np.unpackbits(drawn["mask"], count=shape[0] * shape[1]).reshape(shape).astype(bool)
        scribbles = drawn["scribbles"]
    probability = np.load(folder / values["probability"]).astype(np.float32)
    options = LesionOptions.parse(values["options"], str(folder))
    chosen = tuple(values["chosen"]) if values["chosen"] else None
    stated = StatedValues.from_json(values)
    photograph = stated.describe(photograph)
    result = derive_result(photograph, probability, options, ModelStamp(**values["model"]), chosen)
    result.compute_properties()
    strokes = scribbles if scribbles.shape == shape else None
    return RecoveredLesion(
        result,
        digest,
        chosen,
        mask,
        strokes,
        values["saved_at"],
        folder,
        get_mask_origin(values["origin"]),
        stated=stated,
        is_predicted=values.get("is_predicted", False),
    )


def adopt_recovery(recovered: RecoveredLesion, folder: Path) -> None:
    """Move recovered corrections to the folder of an open photograph; if that fails, they are offered again."""
    if recovered.folder != folder and recovered.folder.is_dir():
        remove_recovery(folder)
        with suppress(OSError):
            move(recovered.folder, folder)


def remove_recovery(folder: Path) -> None:
    """Remove a recovery folder."""
    shutil.rmtree(folder, ignore_errors=True)


def prune_recoveries(days: float = RECOVERY_DAYS) -> None:
    """Remove recovery folders, also incomplete ones, that are older than ``days``; call this in a thread."""
    for folder in recovery_root().glob("*"):
        with suppress(OSError):  # removed by another napari in the meantime
            if time.time() - folder.stat().st_mtime > 86400 * days:
                remove_recovery(folder)


def _current_process() -> dict[str, float]:
    """Identify this process by PID and start time, since PIDs are reused."""
    import psutil

    return {"pid": os.getpid(), "created": psutil.Process().create_time()}


def _is_running(owner: dict[str, float]) -> bool:
    """Return whether the owner of a recovery folder is another process that is still running."""
    import psutil

    if owner["pid"] == os.getpid():
        return False
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - owner["created"]) < 1
    except psutil.Error:
        return False


def discard_unsaved(sessions: Iterable[OpenPhotograph]) -> None:
    """Discard unsaved corrections and strokes, and their recovery folders."""
    for session in sessions:
        lesion = session.followed_lesion
        if lesion is not None and session.has_unsaved_work:
            session.lesion = replace(lesion, stored_digest=lesion.mask_digest)
            remove_recovery(recovery_folder(session.lesion.image_digest, session.identity))


def save_unsaved(sessions: Iterable[OpenPhotograph]) -> None:
    """Write unsaved corrections and strokes to recovery folders."""
    for session in sessions:
        lesion = session.followed_lesion
        if lesion is not None and session.has_unsaved_work and session.mask is not None:
            folder = recovery_folder(lesion.image_digest, session.identity)
            save_recovery(folder, lesion, session.strokes, StatedValues.of(session))


def remove_saved_recoveries(sessions: Iterable[OpenPhotograph]) -> None:
    """Remove the recovery folders of photographs without unsaved work; called when the dock closes."""
    for session in sessions:
        if session.lesion is not None and not session.has_unsaved_work:
            remove_recovery(recovery_folder(session.lesion.image_digest, session.identity))


class LesionAutosave(QObject):
    """Writes, finds and removes recovery folders in a thread, one at a time."""

    failed = Signal(object)  # Exception

    def __init__(self, sessions: PhotographSessions, parent: QObject) -> None:
        super().__init__(parent)
        _open_sessions.append(sessions)
        at_end(self, partial(_open_sessions.remove, sessions))
        self._latest = LatestJobQueue(self, delay_ms=AUTOSAVE_DELAY_MS)
        self._latest.failed.connect(self.failed)

    def update(self, session: OpenPhotograph) -> None:
        """Write the unsaved corrections and strokes of a photograph after a delay, or remove its folder without any.

        A new request replaces a pending one.
        """

        def prepare() -> JobFunction | None:
            lesion = session.lesion
            is_needed = lesion is not None and (lesion.unsaved or session.has_unapplied_strokes)
            return self._prepare(session, session.strokes if is_needed else None) if session.is_open else None

        self._latest.submit(f"keep {session.identity}", prepare)

    def save_removed(self, session: OpenPhotograph, strokes: NDArray[np.uint8] | None) -> None:
        """Write the unsaved corrections of a photograph that was removed.

        ``strokes``: uint8 (row, column), those that are not applied; None if there were none.
        """
        self._latest.submit(f"keep {session.identity}", lambda: self._prepare(session, strokes))

    def _prepare(self, session: OpenPhotograph, strokes: NDArray[np.uint8] | None) -> JobFunction | None:
        lesion = session.lesion
        if lesion is None:
            return None
        folder = recovery_folder(lesion.image_digest, session.identity)
        if lesion.unsaved or strokes is not None:
            return _checked(save_recovery, folder, lesion, strokes, StatedValues.of(session))
        return _checked(remove_recovery, folder)

    def remove_saved(self, session: OpenPhotograph) -> None:
        """Remove the folder of a photograph that was removed and has been saved since, unless it has strokes."""
        if session.lesion is not None:
            folder = recovery_folder(session.lesion.image_digest, session.identity)
            self._latest.submit(f"saved {session.identity}", lambda: _checked(_remove_without_strokes, folder))

    def discard(self, recovered: RecoveredLesion) -> None:
        """Remove recovered corrections that the user discards."""
        self._latest.submit(f"discard {recovered.folder}", lambda: _checked(remove_recovery, recovered.folder))

    def adopt(self, identity: str, recovered: RecoveredLesion) -> None:
        """Assign recovered corrections to an open photograph."""
        folder = recovery_folder(recovered.image_digest, identity)
        self._latest.submit(f"adopt {identity}", lambda: _checked(adopt_recovery, recovered, folder))

    def find_recovered(self, session: OpenPhotograph) -> None:
        """Search for recovered corrections of a photograph; the pixels are read only if there are recovery folders."""

        def prepare() -> JobFunction:
            return _checked(_find_recovered, session.source, _list_open() - {session.identity})

        def show(recovered: RecoveredLesion | None) -> None:
            if recovered is not None:
                session.recovered = recovered

        self._latest.submit(f"look {session.identity}", prepare, show)


def _list_open() -> set[str]:
    """List the identities of the photographs that are open in a Lesion dock of this process."""
    images = (image for one in _open_sessions for image in photographs.identify_photographs(one.viewer))
    return {str(photographs.get_identity(image)) for image in images}


def _checked(work: Callable[..., object], *arguments: object) -> JobFunction:
    """Return a function that does the work, unless it was canceled."""

    def run_work(run: RunContext) -> object:
        run.check()
        return work(*arguments)

    return run_work


def _remove_without_strokes(folder: Path) -> None:
    try:
        with (folder / "drawn.npz").open("rb") as file, np.load(file) as drawn:
            has_strokes = bool(drawn["scribbles"].any())
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        has_strokes = False
    if not has_strokes:
        remove_recovery(folder)


def _find_recovered(source: LayerPhotographSource, others: Collection[str]) -> RecoveredLesion | None:
    prune_recoveries()
    if not any(recovery_root().glob("*/recovery.json")):
        return None
    photograph = source.read()
    return find_recovery(array_fingerprint(photograph.rgb), photograph, others)
