"""An open photograph: its layer, and everything known about it as values; all open ones, and their options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import is_
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalGroupDescriptor

from napari_melanoma.core.context import KeptArray
from napari_melanoma.core.files import is_same_folder, normalize_name
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.ui.session.analyzed_lesion import (
    MASK_OPTIONS,
    ROI_OPTIONS,
    AnalyzedLesion,
    RecoveredLesion,
    follow_pixels,
    have_equal_fields,
)
from napari_melanoma.ui.session.image import ImageSession
from napari_melanoma.ui.session.patient_data import PatientData
from napari_melanoma.ui.session.stated_values import StatedValues
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
from napari_melanoma.ui.widgets.settings import DockSettings

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from napari_melanoma.classification.prediction import ClassPrediction, Method
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.lesion.prompting import PromptedMasks


DOCK_OPTIONS = ("model", "flips")  # fields of LesionOptions that apply to all photographs


class PredictionKey(NamedTuple):
    """What a prediction depends on: the model, the digests of photograph and mask, and the patient data.

    ``lesions``: their number; if there are several, each is also classified separately. ``modality``: the stated type
    of photograph. ``row``: sorted (column, text) of the harmonized table, only of columns that the model uses.
    """

    model: str
    image_digest: str
    mask_digest: str
    lesions: int = 1
    modality: str | None = None
    row: tuple[tuple[str, str], ...] = ()


class PredictionOutcome(NamedTuple):
    """A prediction, and one for each of several lesions, or an error message; without both, it was canceled."""

    key: PredictionKey
    prediction: ClassPrediction | None = None
    error: str = ""
    lesions: tuple[ClassPrediction, ...] = ()


class HeatmapKey(NamedTuple):
    """What a heatmap depends on; ``target``: the class that it explains."""

    prediction: PredictionKey
    method: Method
    target: str


@dataclass(frozen=True, eq=False)
class PredictionHeatmap:
    """A heatmap, ``values``, float32 (row, column) in [0, 1], or an error message; without both, it was canceled."""

    key: HeatmapKey
    values: NDArray[np.float32] | None = None
    error: str = ""

    def applies_to(self, key: HeatmapKey) -> bool:
        """Return whether it is the outcome for a key; what has failed is not repeated after each edit."""
        if self.error:
            return (self.key.prediction.model, self.key[1:]) == (key.prediction.model, key[1:])
        return self.key == key


class SavedPrediction(NamedTuple):
    """A saved prediction, with the digest of its mask.

    ``form``: the patient data, by column. ``is_same_model``: whether the model with this name is still the same.
    ``modality``: the stated type of the photograph.
    """

    prediction: ClassPrediction
    form: dict[str, str]
    mask_digest: str
    is_same_model: bool
    modality: str | None = None

    def describe_status(
        self, model: str, mask_digest: str | None, row: Mapping[str, str], modality: str | None = None
    ) -> str:
        """Describe when the prediction was saved, and what has changed since then.

        For example ``Saved on 2026-11-20 14:05 UTC. Outdated. Changed since then: the mask.``
        """
        changes = {
            "the mask": mask_digest not in (None, self.mask_digest),
            "the model": bool(model) and (model != self.prediction.model.name or not self.is_same_model),
            "the type of photograph": modality != self.modality,
            "the patient data": any(row.get(name) != self.form.get(name) for name in self.prediction.used_columns),
        }
        changed = ", ".join(name for name, has_changed in changes.items() if has_changed)
        created = str(self.prediction.provenance.get("created", ""))[:16].replace("T", " ")
        saved = f"Saved on {created} UTC." if created else "Saved earlier."
        return f"{saved} Outdated. Changed since then: {changed}." if changed else saved


class PendingPrompt(NamedTuple):
    """A prompt to be sent, and whether it begins another lesion."""

    prompt: PromptOptions
    is_new: bool = False


class PromptPixels(NamedTuple):
    """The pixels of a photograph; ``data``: of the layer when they were read."""

    photograph: Photograph
    digest: str
    data: object

    @property
    def kept(self) -> KeptArray:
        """The pixels for the worker."""
        return KeptArray(self.digest, self.photograph.rgb)


class PromptResponse(NamedTuple):
    """A response of the worker: its number, the fields of the ``ModelStamp`` of its model, and its masks.

    ``hypotheses``: the masks to choose from; None if all lesions were found.
    """

    number: int
    model: dict[str, Any]
    hypotheses: PromptedMasks | None


@dataclass(frozen=True, eq=False)
class PromptedPhotograph:
    """The requests for masks by prompts, and the last response.

    ``must_encode``: whether the worker should compute the features before the first prompt. ``pixels``: None before
    they were read. ``response``: None before the first.
    """

    pending: tuple[PendingPrompt, ...] = ()
    must_encode: bool = False
    pixels: PromptPixels | None = None
    response: PromptResponse | None = None


@dataclass(frozen=True)
class ReviewState:
    """What the user has decided about a photograph, and how it is stored in the corrections.

    ``diagnosis``: None if it was not edited. ``request``: the last one; an equal request is not repeated while the row
    is as it was stored. ``folder``, ``image_id``: in which and as which row it was stored last, unless undone. ``row``:
    the row then; empty if its mask is no longer stored. ``storing_digest``, ``stored_digest``: of the masks that are
    being stored and were stored last.
    """

    diagnosis: str | None = None
    request: tuple[object, ...] = ()
    folder: Path | None = None
    image_id: str = ""
    row: Mapping[str, str] = field(default_factory=dict)
    storing_digest: str = ""
    stored_digest: str = ""


@dataclass(frozen=True)
class SavedState:
    """Where the results of a photograph were saved.

    ``prepared``, ``version``: identify the results that are being saved and were saved last. ``folders``: those with a
    result of this photograph, with the digest of its pixels. ``folder``: saved to last; None if the result of another
    photograph has replaced it there.
    """

    prepared: tuple[object, ...] = ()
    version: tuple[object, ...] = ()
    folders: tuple[tuple[Path, str], ...] = ()
    folder: Path | None = None

    def add(self, folder: Path, image_digest: str) -> SavedState:
        """Return the state after the prepared result was saved."""
        # ``prepared`` is kept, as a second save may have been prepared already
        return replace(self, version=self.prepared, folders=(*self.folders, (folder, image_digest)), folder=folder)

    def remove(self, folder: Path) -> SavedState:
        """Return the state after another result has replaced that in a folder."""
        folders = tuple(item for item in self.folders if not _is_same_folder(item[0], folder))
        is_kept = self.folder is not None and not _is_same_folder(self.folder, folder)
        return replace(self, folders=folders, folder=self.folder if is_kept else None)

    def contains(self, folder: Path, image_digest: str) -> bool:
        """Whether a folder has a result of these pixels of the photograph, so that it may be replaced."""
        return any(digest == image_digest and _is_same_folder(other, folder) for other, digest in self.folders)


def _is_same_folder(one: Path, other: Path) -> bool:
    """Return whether two paths are the same folder; only paths that differ just in spelling are looked up on disk."""
    return normalize_name(str(one)) == normalize_name(str(other)) and is_same_folder(one, other)


@dataclass(eq=False)
class OpenPhotograph(ImageSession):
    """One open photograph; each field is an immutable value, and ``events`` has a signal for each.

    ``shown``: the layers show the current lesion. ``scale``: with units. ``is_searched``:
    whether unsaved corrections and a saved result were searched for. ``lesion``: None until the photograph is analyzed.
    ``restored``: scale, type and patient data that the user has not set; ``stated_changed``: they were restored.
    ``is_mask_edited``: the mask layer was edited, and ``lesion`` does not follow it yet. ``pending_options``: not
    applied to the lesion yet. ``recovered``: unsaved corrections that may be restored. ``saved_mask``: a
    sentence on the mask of users that was read from the saved result; empty if none was read.
    ``applied_strokes``: uint8 (row, column), the strokes with which the mask was made last; None for none.
    ``prompted``: requests for masks by clicks. ``classifier``: the model for its prediction; empty for none.
    ``patient_changed``: its patient data have changed. ``prediction_key``: of the current mask, patient data and model.
    ``prediction``: the last outcome, which may be of another key. ``heatmap``: the last one, which may be so, too.
    """

    shown = Signal()
    patient_changed = Signal()
    stated_changed = Signal()
    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor(
        equality_operators=dict.fromkeys(("applied_strokes", "image", "prediction", "prompted", "recovered"), is_)
    )

    viewer: Viewer
    image: Image
    identity: str
    scale: tuple[object, ...] = ()
    is_searched: bool = False
    lesion: AnalyzedLesion | None = None
    is_mask_edited: bool = False
    pending_options: LesionOptions | None = None
    classifier: str = ""
    prediction_key: PredictionKey | None = None
    prediction: PredictionOutcome | None = None
    saved_prediction: SavedPrediction | None = None
    heatmap: PredictionHeatmap | None = None
    prompted: PromptedPhotograph = field(default_factory=PromptedPhotograph)
    recovered: RecoveredLesion | None = None
    restored: StatedValues = field(default_factory=StatedValues)
    applied_strokes: NDArray[np.uint8] | None = None
    saved_mask: str = ""
    review: ReviewState = field(default_factory=ReviewState)
    saved: SavedState = field(default_factory=SavedState)

    @property
    def is_open(self) -> bool:
        """Whether the photograph is still in the viewer."""
        return photographs.find_photograph(self.viewer, self.identity) is not None

    @property
    def name(self) -> str:
        """The current name of the layer."""
        return str(self.image.name)

    @property
    def path(self) -> Path | None:
        """The file; None if the photograph was not read from one."""
        return photographs.get_path(self.image)

    @property
    def source(self) -> LayerPhotographSource:
        """The pixels and their scale, to be read in a thread."""
        return LayerPhotographSource.from_layer(self.image)

    @property
    def workspace(self) -> Workspace:
        """What is open in the viewer."""
        return Workspace.of(self.viewer)

    @property
    def patient_data(self) -> PatientData:
        """The patient data of the case and of the user."""
        return PatientData(self.image, self.path, self.workspace)

    @property
    def mask(self) -> Labels | None:
        """The mask layer of the lesion; None before the analysis, or if the layer is missing or of another size."""
        labels = None if self.lesion is None else self.existing_mask
        is_same_size = labels is not None and labels.data.shape == self.lesion.result.mask.shape
        return labels if is_same_size else None

    @property
    def existing_mask(self) -> Labels | None:
        """The mask layer, including one that a previous dock has left."""
        labels = photographs.find_layer(self.viewer, self.image, "mask") if self.is_open else None
        return labels if labels is not None and labels.data.shape == photographs.get_shape(self.image) else None

    @property
    def masked_lesion(self) -> AnalyzedLesion | None:
        """The lesion, if its mask layer exists."""
        return None if self.mask is None else self.lesion

    @property
    def mask_pixels(self) -> NDArray[np.bool_]:
        """The mask in its layer, bool (row, column), including one left by a previous dock; without pixels for none."""
        lesion, labels = self.masked_lesion, self.existing_mask
        if lesion is not None and not self.is_behind_mask:
            return lesion.result.mask
        return np.zeros((0, 0), bool) if labels is None else labels.data != 0

    @property
    def is_behind_mask(self) -> bool:
        """Whether the lesion must be derived again from the mask in its layer."""
        lesion, labels = self.lesion, self.mask
        return lesion is not None and labels is not None and not lesion.is_derived_from(labels.data)

    @property
    def followed_lesion(self) -> AnalyzedLesion | None:
        """The lesion of the mask as it is in its layer now, without the delay of a thread."""
        lesion, labels = self.lesion, self.mask
        return lesion if lesion is None or labels is None else follow_pixels(lesion, labels.data)

    @property
    def is_mask_changing(self) -> bool:
        """Whether mask, threshold or refinement have changed, and the lesion does not follow them yet."""
        lesion, options = self.lesion, self.pending_options
        if self.is_mask_edited and self.mask is not None:
            return True
        if lesion is None or options is None or lesion.corrected:
            return False
        return not have_equal_fields(options, lesion.result.options, MASK_OPTIONS)

    @property
    def current_prediction(self) -> PredictionOutcome | None:
        """The outcome for the current mask, patient data and model; None if there is none."""
        outcome = self.prediction
        return outcome if outcome is not None and outcome.key == self.prediction_key else None

    @property
    def is_corrected(self) -> bool:
        """Whether the mask was corrected, including one that ``lesion`` does not follow, or that a dock has left."""
        lesion, labels = self.lesion, self.existing_mask if self.lesion is None else self.mask
        if labels is None or (lesion is None and not labels.data.any()):
            return False
        digest = array_fingerprint(labels.data != 0)
        return (
            photographs.get_model_digest(labels) != digest if lesion is None else lesion.find_origin(digest).corrected
        )

    @property
    def has_unsaved_corrections(self) -> bool:
        """Whether corrections are not saved, also those of the mask layer that ``lesion`` does not follow yet."""
        lesion, labels = self.lesion, self.mask
        if lesion is None or labels is None:
            return lesion is not None and lesion.unsaved
        return lesion.is_unsaved(array_fingerprint(labels.data != 0))

    @property
    def has_unsaved_work(self) -> bool:
        """Whether corrections are not saved, or strokes not applied to the mask."""
        return self.has_unsaved_corrections or (self.lesion is not None and self.has_unapplied_strokes)

    @property
    def has_unapplied_strokes(self) -> bool:
        """Whether there are strokes, and the mask was not made with them; they stay in view after that."""
        strokes = self.strokes
        return strokes is not None and not self.has_applied(strokes)

    def has_applied(self, strokes: NDArray[np.uint8]) -> bool:
        """Return whether the mask was made with strokes, uint8 (row, column)."""
        return self.applied_strokes is not None and np.array_equal(strokes, self.applied_strokes)

    @property
    def strokes(self) -> NDArray[np.uint8] | None:
        """A copy of the strokes, uint8 (row, column); None if there are none."""
        layer = photographs.find_layer(self.viewer, self.image, "scribbles") if self.is_open else None
        return None if layer is None or not layer.data.any() else layer.data.copy()

    def orphaned_layer(self, role: str) -> Labels | None:
        """Find a derived layer after the photograph was removed; None if it was removed as well."""
        layers = (layer for layer in self.viewer.layers if photographs.get_identity(layer) == self.identity)
        return next((layer for layer in layers if photographs.get_role(layer) == role), None)


Session = TypeVar("Session", bound=OpenPhotograph, covariant=True)


class PhotographSessions(Generic[Session]):
    """The sessions of the photographs in a viewer; ``removed``: a photograph was closed.

    ``create``: returns the session for a layer with an identity.
    """

    removed = Signal(OpenPhotograph)

    def __init__(self, viewer: Viewer, create: Callable[[Viewer, Image, str], Session]) -> None:
        self.viewer, self._create = viewer, create
        self._sessions: dict[str, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        """Iterate over the sessions."""
        return iter(tuple(self._sessions.values()))

    def update(self) -> list[Session]:
        """Add the sessions of new photographs; return those of all photographs in the order of the layers."""
        sessions = []
        for image in photographs.identify_photographs(self.viewer):
            identity = str(photographs.get_identity(image))
            if identity not in self._sessions:
                self._sessions[identity] = self._create(self.viewer, image, identity)
            sessions.append(self._sessions[identity])
        return sessions

    def find(self, identity: str | None) -> Session | None:
        """Return the session of a photograph; None if it is not open."""
        return self._sessions.get(str(identity))

    def remove(self, session: OpenPhotograph) -> None:
        """Remove a session whose photograph was closed."""
        if self._sessions.pop(session.identity, None) is not None:
            self.removed.emit(session)
            session.end_parts()

    def set_saved(self, session: OpenPhotograph, folder: Path, image_digest: str) -> None:
        """Record that a folder contains the result of a photograph, in place of that of another one."""
        for other in (*self, session):
            other.saved = other.saved.remove(folder)
        session.saved = session.saved.add(folder, image_digest)

    @property
    def unsaved(self) -> list[Session]:
        """The sessions of open photographs with unsaved corrections or strokes that are not applied."""
        return [session for session in self if session.is_open and session.has_unsaved_work]


class PhotographOptions:
    """The options of the dock, which apply to photographs that are not analyzed yet; a result records its own.

    ``changed``: the model or the test-time augmentation has changed. ``edited``: the user has changed threshold,
    refinement or region of interest. ``get_dock_options``: returns options with the fields ``DOCK_OPTIONS`` as they are
    shown.
    """

    changed = Signal()
    edited = Signal(object)  # OpenPhotograph

    def __init__(self, settings: DockSettings, get_dock_options: Callable[[], LesionOptions]) -> None:
        self._settings, self._get_dock_options = settings, get_dock_options
        self.current = settings.options
        self.default_threshold = 0.5  # of the model that was used last

    def get(self, session: OpenPhotograph) -> LesionOptions:
        """Return the options for the next change of a photograph, which may not be applied to its lesion yet."""
        lesion = session.lesion
        options = self.current if lesion is None else session.pending_options or lesion.result.options
        options = copy_fields(options, self._get_dock_options(), DOCK_OPTIONS)
        return options.model_copy(update={"prompts": None})  # those of a click do not apply to the next analysis

    def edit(self, session: OpenPhotograph, options: LesionOptions) -> None:
        """Change threshold, refinement and region of interest of the dock; a result in view is not updated yet."""
        if session.lesion is not None:
            session.pending_options = options
        self._store(options, MASK_OPTIONS + ROI_OPTIONS)
        self.edited.emit(session)

    def update_dock_options(self) -> None:
        """Use the model and the test-time augmentation that the dock shows."""
        self._store(self._get_dock_options(), DOCK_OPTIONS)
        self.changed.emit()

    def _store(self, options: LesionOptions, names: tuple[str, ...]) -> None:
        """Change some fields, which are stored for the next session, except the threshold of one photograph."""
        self.current = copy_fields(self.current, options, names)
        self._settings.options = self.current.model_copy(update={"threshold": None})


def copy_fields(options: LesionOptions, source: LesionOptions, names: tuple[str, ...]) -> LesionOptions:
    """Return options with some fields copied from others."""
    return options.model_copy(update={name: getattr(source, name) for name in names})
