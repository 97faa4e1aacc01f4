"""Recovery of unsaved corrections: save them after each edit, and offer to restore them after a crash."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFrame, QPushButton, QVBoxLayout

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import atomic_file, move, write_json
from napari_melanoma.core.formatting import format_time_ago
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.mask_record import get_mask_origin, mark_painted
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.lesion.analyzed_lesions import AnalyzedLesion, LesionStore, result_for_mask
from napari_melanoma.ui.viewer import layers
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource, get_pixel_size
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.style import named, quiet_label, row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.analyzed_lesions import ReplaceMask
    from napari_melanoma.ui.lesion.layers import LesionLayers


RECOVERY_DAYS = 30
RECOVERY_FORMAT = 1
AUTOSAVE_DELAY_MS = 600


class RecoveredLesion(NamedTuple):
    """Corrections to restore: the predicted result, the corrected mask, and strokes that were not applied.

    ``mask``: bool (row, column). ``scribbles``: uint8 (row, column), 1 inside and 2 outside the lesion.
    ``mask_digest``, ``image_digest``: the digests of the predicted mask and of the photograph's pixels. ``chosen``: a
    point in the lesion that the user selected. ``saved_at``: Unix time in seconds. ``folder``: the recovery folder.
    ``origin``: the part of the provenance that describes the corrected mask.
    """

    result: LesionResult
    mask_digest: str
    image_digest: str
    chosen: tuple[int, int] | None
    mask: NDArray[np.bool_]
    scribbles: NDArray[np.uint8] | None
    saved_at: float
    folder: Path
    origin: Mapping[str, object] = MappingProxyType({})


def recovery_root() -> Path:
    """Return the folder that contains all recovery folders."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "recovery"


def recovery_folder(digest: str, identity: str) -> Path:
    """Return the recovery folder of an open photograph; ``digest``: of its pixels."""
    return recovery_root() / f"{digest[:32]}-{identity[:16]}"


def save_recovery(
    folder: Path,
    result: LesionResult,
    mask: NDArray[np.bool_],
    chosen: tuple[int, int] | None,
    scribbles: NDArray[np.uint8] | None,
) -> None:
    """Write a recovery folder; call this in a thread.

    ``mask``: bool (row, column), the current mask. ``scribbles``: uint8 (row, column), strokes that are not
    applied yet.
    """
    import numpy as np

    probability = folder / f"probability-{result.model.fingerprint[:16]}.npy"
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
        "chosen": chosen,
        "origin": get_mask_origin(
            mark_painted(result.provenance) if (mask != result.mask).any() else result.provenance
        ),
        "shape": list(mask.shape),
        "saved_at": time.time(),
        "owner": _current_process(),
    }
    write_json(folder / "recovery.json", values)


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
    except (OSError, EOFError, ValueError, KeyError, TypeError, ConfigError, zipfile.BadZipFile, zlib.error):
        return None  # incomplete or older files are ignored silently


def _read_recovery(digest: str, folder: Path, values: dict[str, Any], photograph: Photograph) -> RecoveredLesion | None:
    """Read a recovery folder; None if the image has another size."""
    import numpy as np

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
    result = derive_result(photograph, probability, options, ModelStamp(**values["model"]), chosen)
    result.compute_properties()
    strokes = scribbles if scribbles.shape == shape else None
    return RecoveredLesion(
        result,
        array_fingerprint(result.mask),
        digest,
        chosen,
        mask,
        strokes,
        values["saved_at"],
        folder,
        get_mask_origin(values.get("origin") or {}),  # recovery files of earlier versions have none
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


def discard_unsaved(store: LesionStore) -> None:
    """Discard unsaved corrections and their recovery folders."""
    for identity, lesion in store.lesions.items():
        if lesion.unsaved:
            lesion.unsaved = False
            remove_recovery(recovery_folder(lesion.image_digest, identity))


def save_unsaved(store: LesionStore) -> None:
    """Write unsaved corrections to recovery folders."""
    for identity, lesion in store.lesions.items():
        labels = store.mask(identity)
        if lesion.unsaved and labels is not None:
            folder = recovery_folder(lesion.image_digest, identity)
            save_recovery(folder, lesion.result, labels.data != 0, lesion.chosen, store.strokes(identity))


def remove_saved_recoveries(store: LesionStore) -> None:
    """Remove the recovery folders of photographs without unsaved corrections; called when the dock closes."""
    for identity, lesion in store.lesions.items():
        if not lesion.unsaved:
            remove_recovery(recovery_folder(lesion.image_digest, identity))


class LesionAutosave(QObject):
    """Writes, finds and removes recovery folders in a thread, one at a time."""

    recovery_found = Signal(str, object)  # identity of the photograph, RecoveredLesion
    failed = Signal(object)  # Exception

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._latest = LatestJobQueue(self, delay_ms=AUTOSAVE_DELAY_MS)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)

    def save(self, identity: str, store: LesionStore) -> None:
        """Write the corrections of a photograph after a delay; a new request replaces a pending one."""

        def prepare() -> JobFunction | None:
            lesion, labels = store.lesions.get(identity), store.mask(identity)
            strokes = store.strokes(identity)
            if lesion is None or labels is None or not (lesion.unsaved or strokes is not None):
                return None
            return partial(_save, lesion, recovery_folder(lesion.image_digest, identity), labels.data != 0, strokes)

        self._latest.submit(f"keep {identity}", prepare)

    def save_removed(
        self, identity: str, lesion: AnalyzedLesion, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None
    ) -> None:
        """Write the unsaved corrections of a photograph that was removed.

        ``mask``: bool (row, column), the last mask. ``strokes``: uint8 (row, column); None if there were none.
        """
        folder = recovery_folder(lesion.image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_save_removed, lesion, folder, mask, strokes))

    def remove(self, identity: str, store: LesionStore) -> None:
        """Remove the recovery folder of a photograph whose corrections are saved or undone."""
        folder = recovery_folder(store.lesions[identity].image_digest, identity)
        self._latest.submit(f"keep {identity}", lambda: partial(_remove, folder))

    def discard(self, recovered: RecoveredLesion) -> None:
        """Remove recovered corrections that the user discards."""
        self._latest.submit(f"discard {recovered.folder}", lambda: partial(_remove, recovered.folder))

    def adopt(self, identity: str, recovered: RecoveredLesion) -> None:
        """Assign recovered corrections to an open photograph."""
        folder = recovery_folder(recovered.image_digest, identity)
        self._latest.submit(f"adopt {identity}", lambda: partial(_adopt, recovered, folder))

    def find_recovered(self, identity: str, source: LayerPhotographSource, others: Collection[str]) -> None:
        """Search for recovered corrections of a photograph; the pixels are read only if there are recovery folders."""
        self._latest.submit(f"look {identity}", lambda: partial(_find_recovered, identity, source, others))

    def _on_done(self, recovery: tuple[str, RecoveredLesion] | None) -> None:
        if recovery is not None:
            self.recovery_found.emit(*recovery)


def _save(
    lesion: AnalyzedLesion, folder: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    run.check()
    save_recovery(folder, lesion.result, mask, lesion.chosen, strokes)


def _save_removed(
    lesion: AnalyzedLesion, folder: Path, mask: NDArray[np.bool_], strokes: NDArray[np.uint8] | None, run: RunContext
) -> None:
    if lesion.unsaved or strokes is not None or array_fingerprint(mask) != lesion.mask_digest:
        _save(lesion, folder, mask, strokes, run)
    else:
        _remove(folder, run)


def _remove(folder: Path, run: RunContext) -> None:
    run.check()
    remove_recovery(folder)


def _adopt(recovered: RecoveredLesion, folder: Path, run: RunContext) -> None:
    run.check()
    adopt_recovery(recovered, folder)


def _find_recovered(
    identity: str, source: LayerPhotographSource, others: Collection[str], run: RunContext
) -> tuple[str, RecoveredLesion] | None:
    run.check()
    prune_recoveries()
    if not any(recovery_root().glob("*/recovery.json")):
        return None
    photograph = source.read()
    recovered = find_recovery(array_fingerprint(photograph.rgb), photograph, others)
    return None if recovered is None else (identity, recovered)


class LesionRecovery(QObject):
    """Restores recovered corrections in the layers of a photograph."""

    def __init__(
        self,
        store: LesionStore,
        lesion_layers: LesionLayers,
        replace_mask: ReplaceMask,
        get_shared_options: Callable[[], LesionOptions],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._get_shared_options = get_shared_options
        self._store = store
        self._layers = lesion_layers
        self._replace_mask = replace_mask

    def restore(self, identity: str, recovered: RecoveredLesion) -> None:
        """Restore recovered corrections; Ctrl+Z goes back to the current or the predicted mask."""
        analyzed, image_digest = self._store.lesions.get(identity), recovered.image_digest
        if analyzed is not None and analyzed.image_digest == image_digest and self._store.mask(identity) is not None:
            self._restore_mask(identity, recovered)
        elif self._store.image(identity) is not None:
            lesion = AnalyzedLesion.from_model(
                recovered.result, recovered.image_digest, recovered.mask_digest, recovered.chosen
            )
            self._store.lesions[identity] = replace(lesion, default_options=self._get_shared_options())
            self._layers.add_layers(identity, partial(self._restore_mask, identity, recovered))

    def _restore_mask(self, identity: str, recovered: RecoveredLesion) -> None:
        image = self._store.image(identity)
        if image is None:
            return
        if recovered.scribbles is not None:
            strokes = layers.get_scribbles_layer(self._store.viewer, image)
            self._layers.editable_layer_added.emit(strokes)
            layers.add_strokes(strokes, recovered.scribbles)
        photograph = replace(recovered.result.photograph, pixel_size=get_pixel_size(image))
        base = replace(recovered.result, photograph=photograph)

        def make_result(result: LesionResult, mask: NDArray[np.uint8]) -> LesionResult:
            return replace(result_for_mask(base, recovered.mask), provenance={**base.provenance, **recovered.origin})

        self._replace_mask(identity, make_result, recovered.chosen)


class RecoveryNotice(QFrame):
    """Offers to restore or discard recovered corrections of the photograph."""

    # Both with the identity of the photograph and the RecoveredLesion.
    accepted = Signal(str, object)
    discarded = Signal(str, object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._offers: dict[str, RecoveredLesion] = {}
        self._identity: str | None = None
        self._label = quiet_label()
        restore = named(QPushButton("Restore"), "recover", "Restore", "Restore the unsaved corrections")
        discard = named(QPushButton("Discard"), "recover_discard", "Discard", "Delete the unsaved corrections")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        layout.addWidget(row(restore, discard))
        restore.clicked.connect(self._on_restore)
        discard.clicked.connect(self._on_discard)
        self.hide()

    def add_offer(self, identity: str, recovered: RecoveredLesion) -> None:
        """Add recovered corrections, offered when their photograph is selected."""
        self._offers[identity] = recovered
        self.set_photograph(self._identity)

    def remove_offer(self, identity: str) -> None:
        """Remove the offer for a photograph; it is repeated when the photograph is opened again."""
        self._offers.pop(identity, None)
        self.set_photograph(self._identity)

    def set_photograph(self, identity: str | None) -> None:
        """Show the offer for a photograph, if there is one."""
        self._identity = identity
        recovered = None if identity is None else self._offers.get(identity)
        if recovered is not None:
            time_ago = format_time_ago(time.time() - recovered.saved_at)
            self._label.setText(f"This photograph has unsaved corrections from {time_ago}.")
        self.setVisible(recovered is not None)

    def _on_restore(self) -> None:
        self._close_offer(self.accepted)

    def _on_discard(self) -> None:
        self._close_offer(self.discarded)

    def _close_offer(self, signal: object) -> None:
        identity = self._identity
        recovered = None if identity is None else self._offers.pop(identity, None)
        self.set_photograph(identity)
        if recovered is not None:
            signal.emit(identity, recovered)  # type: ignore[attr-defined]
