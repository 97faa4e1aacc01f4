"""The corrections data set as the docks use it, and what they remember of the reviewer."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.ui.shared_state import corrections_changed
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from napari_melanoma.data.corrections import Correction
    from napari_melanoma.data.dataset import Review
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

TRAINING_REVIEWS = ("accepted", "corrected")


@dataclass(frozen=True)
class CorrectionsIndex:
    """What a corrections folder says: its rows by the fingerprint of the photograph's pixels."""

    folder: Path
    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many rows a training can learn from."""
        return sum(row.get("review") in TRAINING_REVIEWS for row in self.rows.values())

    @property
    def diagnoses(self) -> list[str]:
        """The diagnoses that are given in it, each once."""
        return list(dict.fromkeys(said for row in self.rows.values() if (said := row.get("diagnosis", ""))))


@dataclass(frozen=True)
class ReviewDecision:
    """What a person says of a photograph, beside its mask.

    A diagnosis of None leaves what stands there, "" empties it. ``keeps_mask`` is for a photograph on which nobody drew
    now: a mask that stands in the corrections already stays there. ``with_others`` stores the other lesions that were
    found as well, because the user confirmed them.
    """

    review: Review
    reviewer: str
    diagnosis: str | None
    source: Path | None
    keep_mask: bool = False
    with_others: bool = False


@dataclass(frozen=True)
class StoredCorrection:
    """What was added or taken back: the row's ``image_id``, what was said, and what stands in the folder now."""

    image_id: str
    image_digest: str
    review: str
    index: CorrectionsIndex


class CorrectionsStore(QObject):
    """What a dock knows of the corrections, and does to them."""

    changed = Signal()
    undone = Signal(object)
    failed = Signal(object)

    def __init__(self, settings: ReviewSettings, parent: QObject) -> None:
        super().__init__(parent)
        self._settings = settings
        self.index = CorrectionsIndex(settings.corrections)
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_done)
        self._latest.failed.connect(self.failed)
        corrections_changed().changed.connect(self._on_changed)

    @property
    def busy(self) -> bool:
        """Whether the folder is being read or written."""
        return self._latest.busy

    @property
    def folder(self) -> Path:
        """Where the corrections are."""
        return self.index.folder

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._settings.corrections = folder
        self.index = CorrectionsIndex(folder)
        corrections_changed().changed.emit(folder)
        self.refresh()

    def refresh(self) -> None:
        """Read what stands in the folder now."""
        folder = self._settings.corrections
        self._latest.submit("read", lambda: partial(_load_index, folder))

    def reject(
        self, source: LayerPhotographSource, decision: ReviewDecision, callback: Callable[[StoredCorrection], None]
    ) -> None:
        """Say of a photograph that was not analysed that it is of no use."""
        folder = self.folder
        self._latest.submit(f"reject {source.name}", lambda: partial(_reject, folder, source, decision, callback))

    def undo(self) -> None:
        """Take the last change back."""
        folder = self.folder
        self._latest.submit("undo", lambda: partial(_undo, folder))

    def set_stored(self, stored: StoredCorrection) -> None:
        """Know of what was stored, and tell all docks."""
        self.index = stored.index
        corrections_changed().changed.emit(stored.index.folder)
        self.changed.emit()

    def _on_changed(self, folder: Path) -> None:
        self.refresh()

    def _on_done(self, done: Callable[[CorrectionsStore], None]) -> None:
        done(self)


def store_result(folder: Path, result: LesionResult, name: str, decision: ReviewDecision) -> StoredCorrection:
    """Add an analysed photograph to the corrections; meant for a thread."""
    from napari_melanoma.data.corrections import Correction
    from napari_melanoma.ui.lesion.controller import predict_default_mask

    predicted, mask = predict_default_mask(result), result.mask
    if decision.with_others and result.others is not None:
        predicted, mask = predicted | result.others, mask | result.others
    if decision.review == "corrected" and not (predicted != mask).any():
        decision = replace(decision, review="accepted")  # what was changed was changed back
    correction = Correction(
        name=name,
        rgb=result.photograph.rgb,
        mask=mask,
        review=decision.review,
        model=result.model.name,
        model_fingerprint=result.model.fingerprint,
        prediction=predicted,
        modality=result.photograph.modality,
        damage=result.photograph.damage,
    )
    return _add(folder, correction, decision)


def _add(folder: Path, correction: Correction, verdict: ReviewDecision) -> StoredCorrection:
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.data.corrections import Corrections

    said = replace(correction, reviewer=verdict.reviewer, diagnosis=verdict.diagnosis, source=verdict.source)
    if verdict.keep_mask:
        said = _with_stored_masks(folder, said)
    image_id = Corrections(folder).add(said)
    return StoredCorrection(image_id, array_fingerprint(correction.rgb), verdict.review, read_index(folder))


def _with_stored_masks(folder: Path, correction: Correction) -> Correction:
    """Give a correction with the masks, and the model that made them, that its row has already."""
    from napari_melanoma.core.errors import UnreadableImage
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.data.corrections import Corrections
    from napari_melanoma.io.results import read_mask

    row = Corrections(folder).find_row(array_fingerprint(correction.rgb)) or {}
    masks = {}
    for name in ("mask", "prediction"):
        with suppress(UnreadableImage):  # what is lost cannot be kept
            if path := row.get(f"{name}_path"):
                masks[name] = read_mask(folder / path)
    if "mask" not in masks:
        return correction
    return replace(
        correction,
        mask=masks["mask"],
        prediction=masks.get("prediction"),
        model=row.get("model", ""),
        model_fingerprint=row.get("model_fingerprint", ""),
    )


def read_index(folder: Path) -> CorrectionsIndex:
    """Read the table of a corrections folder; meant for a thread."""
    from napari_melanoma.data.corrections import Corrections

    rows = Corrections(folder).rows()
    return CorrectionsIndex(folder, {row["image_sha256"]: row for row in rows if row.get("image_sha256")})


def _load_index(folder: Path, run: RunContext) -> Any:  # noqa: ANN401 - what is done with it on the GUI thread
    standing = read_index(folder)

    def show(desk: CorrectionsStore) -> None:
        if standing.folder == desk.folder:
            desk.index = standing
            desk.changed.emit()

    return show


def _reject(
    folder: Path,
    source: LayerPhotographSource,
    verdict: ReviewDecision,
    then: Callable[[StoredCorrection], None],
    run: RunContext,
) -> Any:  # noqa: ANN401 - as above
    import numpy as np

    from napari_melanoma.data.corrections import Correction

    photograph = source.read()
    nothing = np.zeros(photograph.rgb.shape[:2], bool)
    correction = Correction(
        photograph.name,
        photograph.rgb,
        nothing,
        verdict.review,
        modality=photograph.modality,
        damage=photograph.damage,
    )
    stored = _add(folder, correction, verdict)
    return lambda desk: then(stored)


def _undo(folder: Path, run: RunContext) -> Any:  # noqa: ANN401 - as above
    from napari_melanoma.data.corrections import Corrections

    image_id = Corrections(folder).undo()
    standing = read_index(folder)

    def show(desk: CorrectionsStore) -> None:
        desk.index = standing
        corrections_changed().changed.emit(folder)
        desk.changed.emit()
        desk.undone.emit(image_id)

    return show


DIAGNOSES = (
    "melanoma",
    "nevus",
    "atypical nevus",
    "seborrheic keratosis",
    "basal cell carcinoma",
    "squamous cell carcinoma",
    "actinic keratosis",
    "solar lentigo",
    "lichenoid keratosis",
    "dermatofibroma",
    "vascular lesion",
)
MAX_RECENT_DIAGNOSES = 20


class ReviewSettings(DockSettings):
    """The values of ``Settings``, and those of the corrections and of the Review dock."""

    @property
    def reviewer(self) -> str:
        """Who reviews; the name of the account until the user gives another."""
        kept = str(self._store.value("corrections/reviewer", "") or "")
        if not kept:
            with suppress(OSError, KeyError, ImportError):  # an account without a name, as in some containers
                kept = getpass.getuser()
        return kept

    @reviewer.setter
    def reviewer(self, name: str) -> None:
        self._store.setValue("corrections/reviewer", name.strip())

    @property
    def corrections(self) -> Path:
        """The folder of the corrections; the user's own until another one is chosen."""
        from napari_melanoma.data.corrections import corrections_folder

        kept = str(self._store.value("corrections/folder", "") or "")
        return Path(kept) if kept else corrections_folder()

    @corrections.setter
    def corrections(self, folder: Path) -> None:
        self._store.setValue("corrections/folder", str(folder))

    @property
    def diagnoses(self) -> list[str]:
        """Diagnoses that were given before, the last one first, and then those of the public data sets."""
        return list(dict.fromkeys([*self._recent_diagnoses(), *DIAGNOSES]))

    def add_recent_diagnosis(self, diagnosis: str) -> None:
        """Offer a diagnosis first from now on."""
        if diagnosis:
            used = list(dict.fromkeys([diagnosis, *self._recent_diagnoses()]))[:MAX_RECENT_DIAGNOSES]
            self._store.setValue("corrections/diagnoses", json.dumps(used))

    @property
    def rating_method(self) -> str:
        """How photographs are rated; ``entropy`` by default."""
        return str(self._store.value("review/how", "entropy"))

    @rating_method.setter
    def rating_method(self, how: str) -> None:
        self._store.setValue("review/how", how)

    @property
    def review_folder(self) -> Path | None:
        """The folder that was reviewed last; None where it is gone."""
        kept = str(self._store.value("review/folder", "") or "")
        return Path(kept) if kept and Path(kept).is_dir() else None

    @review_folder.setter
    def review_folder(self, folder: Path) -> None:
        self._store.setValue("review/folder", str(folder))

    def _recent_diagnoses(self) -> list[str]:
        try:
            used = parse_json(str(self._store.value("corrections/diagnoses", "[]")), "the settings")
        except ValueError:  # edited by hand
            return []
        return [str(word) for word in used] if isinstance(used, list) else []
