"""What a model says of each cell of a slide, and which of its classes are needed for a thickness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.breslow.roles import ClassRoles
from napari_melanoma.core.errors import InputError

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlace

SIDE_UM = 60.0  # over which naevus and melanoma are weighed against each other
COARSE_UM = 10.0
FINE_UM = 8.0


@dataclass(frozen=True)
class TissueMaps:
    """Probability of each class of each cell, (class, row, column): uint8 up to 255, or float up to 1.

    Cells of which nothing is known (not-a-number, or 0 in all classes) count as background.
    """

    probability: NDArray[Any]
    classes: tuple[str, ...]

    @classmethod
    def of_labels(cls, labels: NDArray[np.integer], classes: Sequence[str]) -> Self:
        """Take a label image for a map that is sure of itself.

        ``labels``: integers (row, column): index into ``classes``. Returns uint8.
        """
        sure = labels[None] == np.arange(len(classes))[:, None, None]
        return cls(sure.astype(np.uint8) * np.uint8(255), tuple(classes))

    @property
    def roles(self) -> ClassRoles:
        """Which class is what."""
        roles = ClassRoles.of(self.classes)
        if roles is None:
            raise InputError(
                f"a thickness needs a map with the classes background, epidermis and melanoma (or tumour), and this "
                f"one has {', '.join(self.classes)}: analyse the slide with a model that draws these."
            )
        return roles


@dataclass(frozen=True)
class Tissues:
    """What is where, all (row, column): bool ``tissue``, ``epidermis``, ``tumour``; ``chance`` of tumour, uint8.

    ``tumour`` is what is more like melanoma than like a naevus; ``chance`` is up to 255, and counts naevus too where
    melanoma prevails around.
    """

    tissue: NDArray[np.bool_]
    epidermis: NDArray[np.bool_]
    tumour: NDArray[np.bool_]
    chance: NDArray[np.uint8]


def tissues_of(maps: TissueMaps, cell_um: tuple[float, float]) -> Tissues:
    """Decide what each cell is: the likeliest class, and of lesions the one that prevails around.

    ``cell_um``: height and width of a cell in micrometres.
    """
    roles, values = maps.roles, _as_bytes(maps.probability)
    lesion = values[roles.malignant]
    if roles.benign >= 0:
        lesion = np.minimum(lesion.astype(np.uint16) + values[roles.benign], 255).astype(np.uint8)
    best, tissue = values[roles.background].copy(), np.zeros(lesion.shape, bool)
    for index in range(len(values)):
        if index not in (roles.background, roles.malignant, roles.benign):
            tissue |= values[index] > best
            np.maximum(best, values[index], out=best)
    tumour = lesion > best
    epidermis = (values[roles.epidermis] == best) & tissue & ~tumour
    tissue |= tumour
    if roles.benign >= 0:
        melanoma = _prevailing(values[roles.malignant], values[roles.benign], cell_um)
        tumour &= melanoma
        lesion = np.where(melanoma, lesion, 0).astype(np.uint8)
    return Tissues(tissue, epidermis, tumour, lesion)


def means(values: NDArray[Any], steps: Sequence[int]) -> NDArray[np.float32]:
    """Take means over blocks of cells; those at the far edges are of what there is.

    ``values``: numbers (row, column). Returns float32 (row, column).
    """
    below, beside = (-side % step for side, step in zip(values.shape, steps, strict=True))
    padded = np.pad(values, ((0, below), (0, beside)), mode="edge")
    rows, columns = padded.shape[0] // steps[0], padded.shape[1] // steps[1]
    return padded.reshape(rows, steps[0], columns, steps[1]).mean(axis=(1, 3), dtype=np.float32)


def _prevailing(
    malignant: NDArray[np.uint8], benign: NDArray[np.uint8], cell_um: tuple[float, float]
) -> NDArray[np.bool_]:
    """Where melanoma outweighs naevus, over all that is near; reckoned on coarse cells, for it is smooth."""
    from scipy import ndimage

    steps = [max(1, round(COARSE_UM / um)) for um in cell_um]
    sigma = [SIDE_UM / (um * step) for um, step in zip(cell_um, steps, strict=True)]
    near = [ndimage.gaussian_filter(means(values, steps), sigma) for values in (malignant, benign)]
    coarse = near[0] >= near[1]
    rows, columns = malignant.shape
    return np.repeat(np.repeat(coarse, steps[0], axis=0)[:rows], steps[1], axis=1)[:, :columns]


def refined(maps: TissueMaps, place: MapPlace) -> tuple[TissueMaps, MapPlace]:
    """Interpolate coarse maps, so that borders lie between cells where probabilities say so.

    ``place``: where it lies; with its pixel size. Returns the same on cells of at most ``FINE_UM``, linear between the
    centres of the cells that were there.
    """
    from scipy import ndimage

    cell = place.cell_um
    assert cell is not None
    times = [max(1, round(um / FINE_UM)) for um in cell]
    if max(times) == 1:
        return maps, place
    values = _as_bytes(maps.probability)
    finer = [ndimage.zoom(layer, times, order=1, mode="nearest", grid_mode=True) for layer in values]
    steps = place.step_y / times[0], place.step_x / times[1]
    return TissueMaps(np.stack(finer), maps.classes), replace(place, step_y=steps[0], step_x=steps[1])


def _as_bytes(probability: NDArray[Any]) -> NDArray[np.uint8]:
    """Probabilities up to 255."""
    if probability.dtype == np.uint8:
        return probability
    return np.rint(255 * np.clip(np.nan_to_num(probability), 0, 1)).astype(np.uint8)
