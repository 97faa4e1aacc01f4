"""What the Lesion dock knows of each photograph, and corrections that survive a crash."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.imaging.refinement import smooth_probability
from napari_melanoma.lesion.analysis import LesionOptions, find_uncertain_band, remeasure
from napari_melanoma.ui.viewer import photograph_layers
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.core.prediction_config import RoiConfig
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.analysis import LesionResult, ModelStamp

MASK_OPTIONS, ROI_OPTIONS = ("threshold", "refinement"), ("roi",)


class LesionStore:
    """A ``Lesion`` for each analysed photograph, by the identity of its layer."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.lesions: dict[str, AnalyzedLesion] = {}

    def image(self, identity: str) -> Image | None:
        """Find a photograph.

        None where it was removed.
        """
        return next(
            (
                image
                for image in photograph_layers.identify_photographs(self.viewer)
                if photograph_layers.get_identity(image) == identity
            ),
            None,
        )

    def source(self, identity: str) -> LayerPhotographSource | None:
        """Take a photograph from its layer.

        None where it was removed.
        """
        image = self.image(identity)
        return None if image is None else LayerPhotographSource.from_layer(image)

    def mask(self, identity: str) -> Labels | None:
        """Find the mask layer of an analysed photograph.

        None where there is none, or one that does not fit the photograph.
        """
        image, lesion = self.image(identity), self.lesions.get(identity)
        labels = None if image is None or lesion is None else photograph_layers.find_layer(self.viewer, image, "mask")
        if labels is None or lesion is None or labels.data.shape != lesion.result.mask.shape:
            return None
        return labels

    def mask_digest(self, identity: str) -> str | None:
        """Give the fingerprint of the mask that is shown, also where a dock of before made it.

        None where there is no mask.
        """
        if identity in self.lesions:
            return None if self.mask(identity) is None else self.lesions[identity].mask_digest
        left = self._existing_mask(identity)
        return None if left is None else array_fingerprint(left.data != 0)

    def is_corrected(self, identity: str) -> bool:
        """Say whether the mask that is shown is one that was drawn, also where a dock of before made it.

        False where there is no mask, or one that the model gave.
        """
        if identity in self.lesions:
            return self.lesions[identity].corrected and self.mask(identity) is not None
        left = self._existing_mask(identity)
        return (
            left is not None
            and bool(left.data.any())
            and photograph_layers.get_model_digest(left) != self.mask_digest(identity)
        )

    def _existing_mask(self, identity: str) -> Labels | None:
        """Find the mask of a photograph that this dock has not analysed."""
        image = self.image(identity)
        if image is None:
            return None
        left = photograph_layers.find_layer(self.viewer, image, "mask")
        shape = (image.data[0] if image.multiscale else image.data).shape[:2]
        return left if left is not None and left.data.shape == shape else None

    def orphaned_layer(self, identity: str, role: str) -> Labels | None:
        """Find a layer that was made from a photograph which was removed.

        None where it is gone as well.
        """
        layers = (layer for layer in self.viewer.layers if photograph_layers.get_identity(layer) == identity)
        return next((layer for layer in layers if photograph_layers.get_role(layer) == role), None)

    def unsaved_names(self) -> list[str]:
        """List the photographs whose corrections were not saved.

        Names of their layers; photographs that were removed are not counted.
        """
        images = (self.image(identity) for identity, lesion in self.lesions.items() if lesion.unsaved)
        return [image.name for image in images if image is not None]

    def discard_unsaved(self) -> None:
        """Remove what was kept of corrections that nobody wants."""
        for identity, lesion in self.lesions.items():
            if lesion.unsaved:
                lesion.unsaved = False
                remove_recovery(recovery_folder(lesion.image_digest, identity))

    def save_unsaved(self) -> None:
        """Write corrections as they are at this moment, to be offered another day."""
        for identity, lesion in self.lesions.items():
            labels = self.mask(identity)
            if lesion.unsaved and labels is not None:
                place = recovery_folder(lesion.image_digest, identity)
                save_recovery(place, lesion.result, labels.data != 0, lesion.chosen, self.strokes(identity))

    def remove_saved_recoveries(self) -> None:
        """Remove what was kept of photographs with nothing unsaved; called when the dock ends."""
        for identity, lesion in self.lesions.items():
            if not lesion.unsaved:
                remove_recovery(recovery_folder(lesion.image_digest, identity))

    def strokes(self, identity: str) -> NDArray[np.uint8] | None:
        """Copy the strokes that are drawn and not cleared.

        Returns uint8 (row, column); None where there are none.
        """
        image = self.image(identity)
        layer = None if image is None else photograph_layers.find_layer(self.viewer, image, "scribbles")
        return None if layer is None or not layer.data.any() else layer.data.copy()


Point = tuple[int, int]


def effective_threshold(model: ModelStamp, options: LesionOptions) -> float:
    """Say at which probability the lesion begins.

    In [0, 1].
    """
    return model.threshold if options.threshold is None else options.threshold


@dataclass(frozen=True)
class MaskOrigin:
    """How a mask came about: what a result says of it beside what is measured on it."""

    probability: NDArray[np.float32]
    model: ModelStamp
    options: LesionOptions
    chosen: Point | None
    corrected: bool
    provenance: dict[str, object]
    spread: NDArray[np.float32] | None = None

    @classmethod
    def from_result(cls, result: LesionResult, chosen: Point | None) -> MaskOrigin:
        """Keep of a result what is needed to have it again."""
        known = (result.probability, result.model, result.options, chosen, result.corrected, result.provenance)
        return cls(*known, result.spread)

    def restore(self, result: LesionResult, mask: NDArray[np.bool_], roi: RoiConfig) -> LesionResult:
        """Make the result of the mask again.

        ``mask``: bool (row, column), the mask that came about so. With the model, options and provenance that belong to
        the mask.
        """
        smoothing, smoothed = self.options.refinement.smoothing, result.smoothed
        if self.probability is not result.probability or smoothing != result.options.refinement.smoothing:
            smoothed = smooth_probability(self.probability, self.options.refinement)
        options = self.options.model_copy(update={"roi": roi})
        base = replace(
            result,
            probability=self.probability,
            smoothed=smoothed,
            threshold=effective_threshold(self.model, options),
            options=options,
            model=self.model,
            provenance=self.provenance,
            spread=self.spread,
        )
        restored = replace(remeasure(base, mask, options), corrected=self.corrected)
        if self.corrected:
            return restored
        band = find_uncertain_band(restored.prediction, mask, restored.threshold, options.refinement)
        return replace(restored, band=band)


MAX_ORIGINS = 100  # as many as napari takes back
MAX_PROBABILITIES = 3  # each is as large as the photograph


@dataclass(frozen=True)
class LesionUpdate:
    """What one computation found out about a photograph, to be taken over if the mask is still the same.

    ``before`` is the mask it started from, uint8 (row, column), ``where`` the pixels in which the new one differs;
    both are None where the mask does not change. ``digest`` is the new mask's fingerprint. A preview has contours
    (``others`` of lesions beside the mask) and no result; ``outdated`` says that the user drew in the meantime,
    ``restored`` that undo brought the mask back.
    """

    identity: str
    result: LesionResult | None = None
    contours: list[NDArray[np.float32]] | None = None
    mask_digest: str = ""
    chosen: Point | None = None
    previous_mask: NDArray[np.uint8] | None = None
    changed_pixels: tuple[NDArray[np.intp], ...] | None = None
    restored: bool = False
    outdated: bool = False
    other_contours: list[NDArray[np.float32]] | None = None


@dataclass
class AnalyzedLesion:
    """What the dock knows of one analysed photograph.

    ``origins`` says for each mask (by fingerprint) how it came about, so that undo brings back the model, the options
    and the controls along with the mask. ``standard`` are the options that held for all photographs when
    it was analyzed.
    """

    result: LesionResult
    image_digest: str
    mask_digest: str = ""
    chosen: Point | None = None
    origins: dict[str, MaskOrigin] = field(default_factory=dict)
    unsaved: bool = False
    default_options: LesionOptions = field(default_factory=LesionOptions)

    @classmethod
    def from_model(
        cls, result: LesionResult, image_digest: str, mask_digest: str, chosen: Point | None
    ) -> AnalyzedLesion:
        """Begin with a mask that the model gave.

        ``image_digest``, ``digest``: fingerprints of the photograph's pixels and of the mask. With nothing to save.
        """
        return cls(result, image_digest, mask_digest, chosen, {mask_digest: MaskOrigin.from_result(result, chosen)})

    @property
    def corrected(self) -> bool:
        """Whether the mask is one that was drawn, not one that the model gave."""
        return self.result.corrected

    @property
    def is_user_edited(self) -> bool:
        """Whether a person changed the mask of this photograph: by drawing, options of its own, or a choice.

        Options that were set for all photographs change no mask by hand.
        """
        model, options = self.result.model, self.result.options
        is_own = effective_threshold(model, options) != effective_threshold(model, self.default_options)
        is_own = is_own or options.refinement != self.default_options.refinement
        return self.corrected or is_own or self.chosen is not None

    @property
    def model_digests(self) -> frozenset[str]:
        """Fingerprints of the masks that a model gave: nobody drew them, so nothing is lost with one."""
        return frozenset(digest for digest, origin in self.origins.items() if not origin.corrected)

    def apply(self, update: LesionUpdate) -> None:
        """Take a change over."""
        assert update.result is not None
        drawn = update.mask_digest != self.mask_digest
        self.result, self.mask_digest, self.chosen = update.result, update.mask_digest, update.chosen
        if update.result.corrected:
            self.unsaved = self.unsaved or drawn
        else:
            self.unsaved = False
        self._add_origin(update.mask_digest, MaskOrigin.from_result(update.result, update.chosen))

    def _add_origin(self, digest: str, origin: MaskOrigin) -> None:
        """Know the origin of a mask; of long ago, and of more than a few models, it is forgotten."""
        before = self.origins.pop(digest, origin)
        self.origins[digest] = origin if before.corrected or not origin.corrected else before
        answers: dict[int, None] = {id(known.probability): None for known in reversed(self.origins.values())}
        kept = list(answers)[:MAX_PROBABILITIES]
        recent = [item for item in self.origins.items() if id(item[1].probability) in kept]
        self.origins = dict(recent[-MAX_ORIGINS:])


RECOVERY_DAYS = 30
RECOVERY_FORMAT = 1


@dataclass(frozen=True)
class RecoveredLesion:
    """What was found: the analysis as the model gave it, the corrected mask and the strokes, and when it was drawn.

    ``mask`` is bool, ``scribbles`` uint8 (0, 1, 2), both (row, column). ``digest`` and ``image_digest`` are the
    fingerprints of the model's mask and of the photograph's pixels, ``place`` is the folder.
    """

    result: LesionResult
    mask_digest: str
    image_digest: str
    chosen: tuple[int, int] | None
    mask: NDArray[np.bool_]
    scribbles: NDArray[np.uint8] | None
    saved_at: float
    folder: Path


def recovery_root() -> Path:
    """Folder of all recovery folders."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "recovery"


def recovery_folder(digest: str, identity: str) -> Path:
    """Say where the corrections of an open photograph are kept.

    ``digest``: fingerprint of the photograph's pixels.
    """
    return recovery_root() / f"{digest[:32]}-{identity[:16]}"


def save_recovery(
    folder: Path,
    result: LesionResult,
    mask: NDArray[np.bool_],
    chosen: tuple[int, int] | None,
    scribbles: NDArray[np.uint8] | None,
) -> None:
    """Write what is needed to go on after a crash; meant for a thread.

    ``mask``: bool (row, column), the mask as it is now. ``scribbles``: uint8 (row, column), strokes that are not
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
    about = {
        "format_version": RECOVERY_FORMAT,
        "probability": probability.name,
        "options": result.options.model_dump(mode="json"),
        "model": asdict(result.model),
        "chosen": chosen,
        "shape": list(mask.shape),
        "saved_at": time.time(),
        "owner": _current_process(),
    }
    write_json(folder / "recovery.json", about)


def find_recovery(digest: str, photograph: Photograph, others: Collection[str] = ()) -> RecoveredLesion | None:
    """Look for corrections of a photograph that were never saved; meant for a thread.

    ``digest``: fingerprint of the photograph's pixels. Returns the newest; None where there is nothing, or it belongs
    to a napari that still runs, or it cannot be read.
    """
    taken = {recovery_folder(digest, other) for other in others}
    found = (
        _find_recovery(digest, path, photograph)
        for path in recovery_root().glob(f"{digest[:32]}-*")
        if path not in taken
    )
    return max(filter(None, found), key=lambda one: one.saved_at, default=None)


def _find_recovery(digest: str, place: Path, photograph: Photograph) -> RecoveredLesion | None:
    """Read a folder that may be damaged, of another version, or another napari's."""
    try:
        about = read_json(place / "recovery.json")
        if about["format_version"] != RECOVERY_FORMAT or _is_running(about["owner"]):
            return None
        return _read_recovery(digest, place, about, photograph)
    except (OSError, EOFError, ValueError, KeyError, TypeError, ConfigError, zipfile.BadZipFile, zlib.error):
        return None  # a half-written or older file is no reason to bother anybody


def _read_recovery(digest: str, place: Path, about: dict[str, Any], photograph: Photograph) -> RecoveredLesion | None:
    """Read a recovery folder, or None where it is of an image of another size."""
    import numpy as np

    from napari_melanoma.lesion.analysis import LesionOptions, ModelStamp, derive_result

    shape = tuple(about["shape"])
    if shape != photograph.rgb.shape[:2]:
        return None
    with (place / "drawn.npz").open("rb") as file, np.load(file) as drawn:  # numpy leaves a damaged one open
        mask = np.unpackbits(drawn["mask"], count=shape[0] * shape[1]).reshape(shape).astype(bool)
        scribbles = drawn["scribbles"]
    probability = np.load(place / about["probability"]).astype(np.float32)
    options = LesionOptions.parse(about["options"], str(place))
    chosen = tuple(about["chosen"]) if about["chosen"] else None
    result = derive_result(photograph, probability, options, ModelStamp(**about["model"]), chosen)
    strokes = scribbles if scribbles.shape == shape else None
    return RecoveredLesion(
        result, array_fingerprint(result.mask), digest, chosen, mask, strokes, about["saved_at"], place
    )


def adopt_recovery(found: RecoveredLesion, folder: Path) -> None:
    """Make what was found the corrections of a photograph that is open now; where that fails, it is offered again."""
    if found.folder != folder and found.folder.is_dir():
        remove_recovery(folder)
        with suppress(OSError):
            found.folder.replace(folder)


def remove_recovery(folder: Path) -> None:
    """Remove what was kept of a photograph."""
    shutil.rmtree(folder, ignore_errors=True)


def prune_recoveries(days: float = RECOVERY_DAYS) -> None:
    """Remove what nobody asked for in a long time; meant for a thread."""
    for about in recovery_root().glob("*/recovery.json"):
        if time.time() - about.stat().st_mtime > 86400 * days:
            shutil.rmtree(about.parent, ignore_errors=True)


def _current_process() -> dict[str, float]:
    """Name this process, told apart from a later one that gets the same number."""
    import psutil

    return {"pid": os.getpid(), "created": psutil.Process().create_time()}


def _is_running(owner: dict[str, float]) -> bool:
    """Whether another napari that still runs keeps these corrections."""
    import psutil

    if owner["pid"] == os.getpid():
        return False
    try:
        return abs(psutil.Process(int(owner["pid"])).create_time() - owner["created"]) < 1
    except psutil.Error:
        return False


def have_equal_fields(first: LesionOptions, second: LesionOptions, names: tuple[str, ...]) -> bool:
    """Return whether two options agree in some fields."""
    return all(getattr(first, name) == getattr(second, name) for name in names)
