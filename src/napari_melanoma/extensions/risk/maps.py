"""Heatmaps of a risk prediction: of its patches, and composed on the slide or patch; and their files.

The folder ``risk`` next to ``risk.json`` has ``<method>.tif``, float32, and ``<method>.json`` with its position and a
stamp of the prediction that it explains: after another prediction, it is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import remove_file, save_error, write_json
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.imaging.masks import resize_map

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier

MAP_FOLDER = "risk"
# Those of ``explain`` in the order in which they are offered: title, and what it shows
MAP_METHODS = {
    "attention": ("attention", "The weight that the network gives to each position, for any prediction"),
    "cam": ("CAM", "Evidence for metastasis: the output of the network for each position of its last maps"),
    "grad_cam": ("Grad-CAM", "Evidence for metastasis: the last maps, weighted by their gradients; loads PyTorch"),
    "occlusion": ("occlusion", "Evidence for metastasis: decrease of the prediction if a part is covered; slow"),
    "integrated_gradients": ("integrated gradients", "Evidence for metastasis, pixel by pixel; loads PyTorch; slow"),
}
PATCH_CELLS = 96  # cells along the side of a patch; networks have no finer resolution
MAX_CELLS = 4096  # cells along each side of a composed map


@dataclass(frozen=True, eq=False)
class RiskMap:
    """A heatmap of the patches of a prediction, at their positions.

    ``values``: float32 (row, column), NaN outside the patches; 1 is the strongest evidence in any of them.
    """

    values: NDArray[np.float32]
    placement: MapPlacement

    @property
    def is_empty(self) -> bool:
        """Whether no position has evidence."""
        return not np.nan_to_num(self.values).any()

    def crop(self, box: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return the part in a box, float32 of ``shape`` (row, column), 0 outside the patches."""
        corners = self.placement.to_map([(box.top, box.left), (box.top + box.height, box.left + box.width)])
        (top, left), (bottom, right) = np.rint(corners).astype(int).clip(0)
        return resize_map(np.nan_to_num(self.values[top : max(bottom, top + 1), left : max(right, left + 1)]), shape)


def explain_patches(
    model: Classifier, patches: Sequence[NDArray[np.uint8]], row: Mapping[str, Any], method: str, run: RunContext
) -> list[NDArray[np.float32]]:
    """Compute the heatmap of each patch for the positive class; the maximum over all patches is 1.

    ``patches``: uint8 (row, column, channel=3). ``row``: patient data of the prediction. ``method``: of ``explain``.
    Returns float32 (row, column) of the size of each patch.
    """
    from napari_melanoma.classification.classifier import LesionInput
    from napari_melanoma.classification.explanation import compute_positive_evidence, place_in_photograph

    found = [
        compute_positive_evidence(model, LesionInput(rgb, None, row), method, None, run)
        for rgb in run.track(patches, "Computing the heatmap of the patches")
    ]
    strongest = max(float(heat.max(initial=0.0)) for heat, _ in found) or 1.0
    return [
        place_in_photograph((heat / strongest).astype(np.float32), box, (rgb.shape[0], rgb.shape[1]))
        for (heat, box), rgb in zip(found, patches, strict=True)
    ]


def compose_patch_maps(maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]) -> RiskMap:
    """Compose one map from those of patches; where two overlap, the larger value is used.

    ``maps``: float32 (row, column), at least one; each covers one of the boxes. ``boxes``: position of the patches in
    pixels of the finest level. ``size``: height and width of the slide in these pixels, outside of which it is NaN.
    """
    top, left = min(box.top for box in boxes), min(box.left for box in boxes)
    bottom, right = max(box.top + box.height for box in boxes), max(box.left + box.width for box in boxes)
    step_y = max(min(box.height for box in boxes) / PATCH_CELLS, (bottom - top) / MAX_CELLS)
    step_x = max(min(box.width for box in boxes) / PATCH_CELLS, (right - left) / MAX_CELLS)
    shape = max(1, round((bottom - top) / step_y)), max(1, round((right - left) / step_x))
    composed = np.full(shape, np.nan, np.float32)
    for values, box in zip(maps, boxes, strict=True):
        first = round((box.top - top) / step_y), round((box.left - left) / step_x)
        cells = max(1, round(box.height / step_y)), max(1, round(box.width / step_x))
        part = composed[first[0] : first[0] + cells[0], first[1] : first[1] + cells[1]]
        part[...] = np.fmax(part, resize_map(values, part.shape))
    rows, columns = (
        start + (np.arange(count) + 0.5) * step
        for start, count, step in ((top, shape[0], step_y), (left, shape[1], step_x))
    )
    composed[(rows < 0) | (rows > size[0])] = np.nan
    composed[:, (columns < 0) | (columns > size[1])] = np.nan
    return RiskMap(composed, MapPlacement(float(top), float(left), step_y, step_x))


def write_risk_map(folder: Path, prediction: Mapping[str, Any], method: str, risk_map: RiskMap) -> None:
    """Write a heatmap of a prediction, the content of ``risk.json``."""
    import tifffile

    metadata_path = folder / MAP_FOLDER / f"{method}.json"
    tiff_path = metadata_path.with_suffix(".tif")
    try:
        metadata_path.parent.mkdir(exist_ok=True)
        remove_file(metadata_path)  # so that a partial file is not mistaken for a complete one
        tifffile.imwrite(tiff_path, risk_map.values, compression="zlib", metadata=None)
    except OSError as error:
        raise save_error(tiff_path, error) from error
    place = risk_map.placement
    corner = [place.top, place.left, place.step_y, place.step_x]
    stamp = _stamp(prediction)
    write_json(metadata_path, {"format_version": 1, "method": method, "of": stamp, "place": corner})


def read_risk_maps(folder: Path, prediction: Mapping[str, Any]) -> dict[str, RiskMap]:
    """Read the heatmaps of a prediction by their method; those of other predictions and damaged ones are left out."""
    found = {method: _read_risk_map(folder / MAP_FOLDER / f"{method}.json", prediction) for method in MAP_METHODS}
    return {method: risk_map for method, risk_map in found.items() if risk_map is not None}


def _read_risk_map(metadata_path: Path, prediction: Mapping[str, Any]) -> RiskMap | None:
    metadata = read_object_or_empty(metadata_path)
    if metadata.get("of") != _stamp(prediction):
        return None
    import tifffile

    try:
        top, left, step_y, step_x = (float(value) for value in metadata["place"])
        values = tifffile.imread(metadata_path.with_suffix(".tif")).astype(np.float32)
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError):
        return None
    return RiskMap(values, MapPlacement(top, left, step_y, step_x)) if values.ndim == 2 else None


def remove_risk_maps(folder: Path) -> None:
    """Remove the heatmaps of earlier predictions."""
    for method in MAP_METHODS if (folder / MAP_FOLDER).is_dir() else ():
        for suffix in (".json", ".tif", ".png"):
            remove_file(folder / MAP_FOLDER / f"{method}{suffix}")


def _stamp(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a prediction in the files of its heatmaps: model, patches and patient data."""
    boxes = [None if (box := patch.get("box")) is None else list(box) for patch in prediction["patches"]]
    return {"model": prediction["model"]["fingerprint"], "boxes": boxes, "known": prediction["known"]}
