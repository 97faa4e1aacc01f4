"""Use a Labels layer of another plugin, or one painted by the user, as the mask of a photograph."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.mask_record import LABELS_LAYER, without_mask_origin
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompt_state import PromptStep, find_state
from napari_melanoma.ui.session.analyzed_lesion import AnalyzedLesion, MaskChange, RecoveredLesion
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource, get_shape
from napari_melanoma.ui.widgets.job import JobFunction, LatestJobQueue
from napari_melanoma.ui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.lesion_updates import LesionController
    from napari_melanoma.ui.session.open_photograph import OpenPhotograph

NO_MODEL_OPTION = "none"


class LabelsSource(NamedTuple):
    """The data for reading a Labels layer in another thread, collected on the GUI thread.

    ``matrix``: float64 (2, 3), which maps (row, column, 1) of the photograph to (row, column) of the labels. ``shape``:
    of the photograph, (rows, columns).
    """

    data: Any
    name: str
    photograph: str
    matrix: NDArray[np.float64]
    shape: tuple[int, int]

    @classmethod
    def from_layers(cls, labels: Labels, image: Image) -> LabelsSource:
        """Collect the data of a layer without copying; of a multiscale layer, the largest level."""
        data = labels.data[0] if labels.multiscale else labels.data
        shape = get_shape(image)
        matrix = map_pixels(image, labels, is_same_size=tuple(data.shape[-2:]) == shape)
        return cls(data, labels.name, image.name, matrix, shape)

    def are_inside(self, positions: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which pixels of the labels have their center on the photograph, bool (pixel,).

        ``positions``: their rows and columns, integers (2, pixel).
        """
        pixels = np.linalg.solve(self.matrix[:, :2], positions - self.matrix[:, 2:])
        inside = (pixels >= -0.5) & (pixels < np.array(self.shape)[:, None] - 0.5)
        return np.all(inside, axis=0)

    def read(self) -> NDArray[np.integer]:
        """Read the labels as integers (row, column) of the labels' own size; call this in a thread.

        Raises InputError if the layer has several planes, or no label.
        """
        if any(length != 1 for length in self.data.shape[:-2]):
            size = " x ".join(map(str, self.data.shape))
            raise InputError(
                f"expected a Labels layer with one plane (row, column), found '{self.name}' of {size}. Copy the plane "
                "of the photograph to a separate layer."
            )
        labels = np.asarray(self.data).reshape(self.data.shape[-2:])
        if not labels.any():
            raise InputError(
                f"expected labels in '{self.name}', found an empty layer. Paint the lesion in it, or use another layer."
            )
        return labels.astype(np.uint8) if labels.dtype == bool else labels


def map_pixels(image: Layer, labels: Layer, *, is_same_size: bool) -> NDArray[np.float64]:
    """Return the matrix that maps (row, column, 1) of a photograph to (row, column) of another layer, such as Labels.

    A layer of the photograph's size without scale and position is mapped pixel by pixel: other plugins often do not
    copy the scale of the image.
    """
    units = labels.units[-2:]
    factors = [_convert_unit(own, other) for own, other in zip(image.units[-2:], units, strict=True)]

    def to_labels(pixel: tuple[int, int]) -> NDArray[np.float64]:
        world = np.asarray(image.data_to_world(pixel))[-2:] * factors
        return np.asarray(labels.world_to_data(world))[-2:]

    is_plain = all(str(unit) == "pixel" for unit in units) and np.allclose(
        [labels.data_to_world((0,) * (labels.ndim - 2) + pixel)[-2:] for pixel in ((0, 0), (1, 0), (0, 1))],
        [(0, 0), (1, 0), (0, 1)],
    )
    if is_same_size and is_plain:
        return np.eye(2, 3)
    origin = to_labels((0, 0))
    return np.stack([to_labels((1, 0)) - origin, to_labels((0, 1)) - origin, origin], axis=1)


def _convert_unit(unit: Any, other: Any) -> float:  # noqa: ANN401 - units of pint, which napari depends on
    """Return the factor between two units of length; 1 if one of them is pixels, as napari draws them."""
    if unit.is_compatible_with("micrometer") and other.is_compatible_with("micrometer"):
        return float((1 * unit).to(other).magnitude)
    return 1.0


class AdoptedMask(NamedTuple):
    """The mask from a Labels layer, bool (row, column), of the photograph's size.

    ``labels``: number of labels in the mask. ``outside``, ``small``: numbers of ignored labels, which are outside the
    photograph or smaller than its pixels. ``step``: the state from which prompts correct the mask. ``first``: for a
    photograph that was not analyzed, a result without a model, to be restored with this mask; otherwise None.
    """

    name: str
    mask: NDArray[np.bool_]
    labels: int
    outside: int
    small: int
    step: PromptStep
    first: RecoveredLesion | None = None

    @property
    def origin(self) -> dict[str, object]:
        """The origin of the mask, for the provenance of a result."""
        return {LABELS_LAYER: {"name": self.name, "labels": self.labels}}

    def apply(self, lesion: AnalyzedLesion, previous_mask: NDArray[np.uint8]) -> MaskChange:
        """Return the change of an analyzed photograph to this mask."""
        provenance = {**without_mask_origin(lesion.result.provenance), **self.origin}
        origin = lesion.origin._replace(corrected=True, provenance=provenance, prompts=self.step, is_painted=False)
        return MaskChange(self.mask, origin)


def read_mask(
    source: LabelsSource,
    photograph: LayerPhotographSource | None,
    options: LesionOptions,
    run: RunContext,
) -> AdoptedMask:
    """Read the mask from a Labels layer; call this in a thread.

    ``photograph``: the photograph if it was not analyzed, else None. Raises InputError if no label has a pixel of the
    photograph.
    """
    from napari_melanoma.imaging.masks import resample_labels, separate_labels

    source_labels = source.read()
    run.check()
    labels = resample_labels(source_labels, source.matrix, source.shape)
    values = _list_labels(labels)
    ignored = np.setdiff1d(_list_labels(source_labels), values)
    small = _count_inside(source_labels, ignored, source) if ignored.size else 0
    if values.size == 0:
        rows, columns = source.shape
        problem = "smaller than one pixel of" if small else "outside"
        raise InputError(
            f"all labels of '{source.name}' are {problem} '{source.photograph}' ({rows} x {columns} pixels). Check "
            "scale and position of the layer, or select the photograph that it belongs to."
        )
    run.check()
    mask = separate_labels(labels)
    step = PromptStep.of(find_state(mask, None))
    adopted = AdoptedMask(source.name, mask, values.size, ignored.size - small, small, step)
    return adopted if photograph is None else adopted._replace(first=_make_first_result(adopted, photograph, options))


def _list_labels(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """List the labels other than 0; ``labels``: integers (row, column)."""
    from pandas import unique

    values: NDArray[np.integer] = unique(labels.ravel())
    return values[values != 0]


def _count_inside(labels: NDArray[np.integer], values: NDArray[np.integer], source: LabelsSource) -> int:
    """Count the labels, out of ``values``, that have the center of a pixel in the photograph.

    ``labels``: integers (row, column), of the layer's own size.
    """
    positions = np.nonzero(np.isin(labels, values))
    return int(_list_labels(labels[positions][source.are_inside(np.array(positions))]).size)


def _make_first_result(adopted: AdoptedMask, source: LayerPhotographSource, options: LesionOptions) -> RecoveredLesion:
    """Make the result of a photograph that was not analyzed, without a model, to be restored with this mask."""
    from napari_melanoma.lesion.analysis import NO_MODEL, derive_result

    photograph = source.read()
    empty = np.zeros(adopted.mask.shape, np.float32)
    without_model = options.model_copy(update={"model": NO_MODEL_OPTION, "flips": False})
    result = derive_result(photograph, empty, without_model, NO_MODEL)
    result.compute_properties()
    digest, steps = array_fingerprint(photograph.rgb), (None, adopted.step)
    return RecoveredLesion(result, digest, None, adopted.mask, origin=adopted.origin, prompts=steps)


class LabelsAdoption(QObject):
    """Reads Labels layers in a thread, and makes them the masks of photographs.

    ``adopted``: emitted with the session and a message when a layer has become the mask.
    """

    adopted = Signal(object, str)
    failed = Signal(object)  # Exception

    def __init__(self, controller: LesionController, status: StatusLine) -> None:
        super().__init__(controller.parent())
        self._controller, self._status = controller, status
        self._adopted: AdoptedMask | None = None  # read, but not shown yet
        self._latest = LatestJobQueue(self)
        self._latest.failed.connect(self._on_failed)
        controller.changed.connect(self._on_changed)

    def adopt(self, session: OpenPhotograph, labels: Labels) -> None:
        """Use a Labels layer as the mask of a photograph."""
        self._status.begin("adopting", "Reading the labels ...")
        source = LabelsSource.from_layers(labels, session.image)

        def prepare() -> JobFunction:
            photograph = session.source if session.mask is None and session.is_open else None
            return partial(read_mask, source, photograph, self._controller.options.get(session))

        self._latest.submit("read", prepare, partial(self._on_read, session))

    def _on_read(self, session: OpenPhotograph, adopted: AdoptedMask) -> None:
        self._status.end("adopting")
        self._adopted = adopted
        if session.mask is not None:
            self._controller.replace_mask(session, adopted.apply)
        elif adopted.first is not None:
            self._controller.restore(session, adopted.first)

    def _on_changed(self, session: OpenPhotograph) -> None:
        adopted, lesion = self._adopted, session.masked_lesion
        if adopted is not None and lesion is not None and lesion.prompts is adopted.step:
            self._adopted = None
            self.adopted.emit(session, describe_adoption(adopted, lesion.result))

    def _on_failed(self, error: Exception) -> None:
        self._status.end("adopting")
        self.failed.emit(error)


def describe_adoption(adopted: AdoptedMask, result: LesionResult) -> str:
    """Describe the new mask of a photograph, and which labels are not part of it."""
    lesions = len(result.mask_parts)
    parts = [f"The mask now comes from '{adopted.name}' and has {format_count(lesions, 'lesion')}."]
    if adopted.labels > lesions:
        parts.append(
            f"The layer has {adopted.labels} labels; those inside others or too small are not measured separately."
        )
    if adopted.outside:
        parts.append(f"Ignored {format_count(adopted.outside, 'label')} outside the photograph.")
    if adopted.small:
        parts.append(f"Ignored {format_count(adopted.small, 'label')} smaller than one pixel of the photograph.")
    parts.append("Ctrl+Z undoes this.")
    return " ".join(parts)
