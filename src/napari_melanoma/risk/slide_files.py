"""Files of the risk prediction of a slide: prediction, explanation maps and gallery of features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import remove_file, save_error, write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.map_placement import MapPlacement
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.validity import Validity, read_risk_validity
from napari_melanoma.depth.tumor_maps import BENIGN_NAMES
from napari_melanoma.io.results import RISK_FILE, read_slide_result
from napari_melanoma.metrics.roc_curves import RankedFeature, rank_features
from napari_melanoma.risk.inputs import case_of_slide
from napari_melanoma.risk.patches import DEEPEST_PATCH, LESION_PATCH
from napari_melanoma.risk.prediction import RiskDepth
from napari_melanoma.slides.maps import find_strongest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.depth.readings import DepthReading

RISK_FOLDER = "risk"  # folder of maps and gallery
GALLERY_FILE = "biomarkers.json"
MAP_METHODS = ("attention", "grad_cam")


@dataclass(frozen=True)
class RiskMap:
    """Attention of a network (``attention``) or the Grad-CAM of its prediction (``grad_cam``), on the slide.

    ``values`` is float32 (row, column) in [0, 1], NaN outside the patches.
    """

    method: str
    values: NDArray[np.float32]
    placement: MapPlacement


@dataclass(frozen=True)
class StoredRisk:
    """The stored risk of a slide: inputs, prediction, explanation maps and gallery of features."""

    depth: RiskDepth
    row: dict[str, str] = field(default_factory=dict)
    n_patches: int = 0
    prediction: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[RiskMap, ...] = ()
    gallery: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


PATCH_POSITIONS = {DEEPEST_PATCH: " at the deepest position", LESION_PATCH: " at a lesion"}
MEASURED_SOURCES = ("reader", "automatic")  # of a thickness that was measured along a line
SAME_MM = 1e-4  # tolerance for equal thicknesses


@dataclass(frozen=True)
class NetworkDepth:
    """The depth in mm that the network of a stored risk predicted from its first patch.

    ``patch`` describes the patch; ``known`` is the depth that was known at the time of the prediction. ``mpp`` is the
    scale that was set for the slide at that time; None if the scale of its file was used.
    """

    mm: float
    model: str
    validity: Validity
    patch: str
    known: RiskDepth
    mpp: float | None

    def describe(self, reading: DepthReading, size: PixelSize | None) -> str:
        """Describe the depth and its difference from a reading, or why the prediction is not valid.

        ``reading``: the current reading, else the first line of the analysis. ``size``: current pixel size.
        """
        by = f"Predicted by {self.model} from a patch{PATCH_POSITIONS.get(self.patch, '')}"
        if not self.validity.valid:
            return f"{by}: {self.validity.headline('')}."
        return f"{by}: {self.mm:.2f} mm{self._describe_difference(reading, size)}."

    def _describe_difference(self, reading: DepthReading, size: PixelSize | None) -> str:
        """Describe the difference from a confirmed reading, or state that the prediction is of another line."""
        before = self.known.mm if self.known.source in MEASURED_SOURCES else None
        is_same = before == reading.mm if before is None or reading.mm is None else abs(before - reading.mm) < SAME_MM
        if not is_same and self.known.reader not in ("", reading.reader):
            return ", of the line of another reader"
        if not is_same or self._is_rescaled(size):
            return f"{'' if before is None else ', of an earlier line'}; estimate the risk again"
        if reading.mm is None or not reading.when or reading.at_least or self.patch != DEEPEST_PATCH:
            return ""
        return f" ({self.mm - reading.mm:+.2f} mm)"

    def _is_rescaled(self, size: PixelSize | None) -> bool:
        """Whether the scale was changed since the prediction."""
        if size is None:
            return True
        if self.mpp is None:
            return size.source in ("given", "ruler")
        return not math.isclose(self.mpp, size.x_um, rel_tol=1e-6)


def read_network_depth(folder: Path) -> NetworkDepth | None:
    """Read the depth that the network of the stored risk of a slide predicted.

    None if there is none, or if the file is not complete.
    """
    found = read_object_or_empty(folder / RISK_FILE)
    if not _is_complete(found) or not found["patches"]:
        return None
    first, depth, mpp = found["patches"][0], found["depth"], found["options"].get("mpp")
    if first.get("depth_mm") is None:
        return None
    return NetworkDepth(
        float(first["depth_mm"]),
        str(found["model"].get("name") or "a network"),
        read_risk_validity(found),
        str(first.get("what", "")),
        RiskDepth(depth.get("mm"), depth.get("source", "unknown"), reader=str(depth.get("reader") or "")),
        mpp if _is_number(mpp) else None,
    )


def read_risk(folder: Path) -> StoredRisk:
    """Read the risk of a slide; unreadable files are left out and reported in ``fault``."""
    try:
        known = case_of_slide(folder, {}, None)
    except InputError as error:
        return StoredRisk(RiskDepth(None, "unknown"), fault=str(error))
    lesions = read_slide_result(folder).get("lesions") or ()
    harmful = [one for one in lesions if one.get("label") not in BENIGN_NAMES and one.get("seed_row_px") is not None]
    found = StoredRisk(known.depth, known.row, len(known.lines) + len(harmful))
    prediction = read_object_or_empty(folder / RISK_FILE)
    if not prediction:
        fault = f"{RISK_FILE} cannot be read. Estimate the risk again." if (folder / RISK_FILE).is_file() else ""
        return replace(found, fault=fault)
    if not _is_complete(prediction):
        return replace(found, fault=f"{RISK_FILE} has an unexpected format. Estimate the risk again.")
    maps = tuple(one for method in MAP_METHODS if (one := read_risk_map(folder, method, prediction)) is not None)
    return replace(found, prediction=prediction, maps=maps, gallery=read_gallery(folder, prediction))


def prediction_stamp(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Identify a prediction for its explanations: model, patches and metadata."""
    boxes = [one.get("box") for one in prediction["patches"]]
    return {"model": prediction["model"]["fingerprint"], "boxes": boxes, "known": prediction["known"]}


def patch_boxes(prediction: Mapping[str, Any]) -> list[Box]:
    """Return the patches of a prediction in pixels of the finest level."""
    return [Box(*(int(side) for side in one["box"])) for one in prediction["patches"] if one.get("box")]


def read_risk_map(folder: Path, method: str, prediction: Mapping[str, Any]) -> RiskMap | None:
    """Read an explanation map; None if there is none for this prediction."""
    import tifffile

    about = read_object_or_empty(folder / RISK_FOLDER / f"{method}.json")
    if about.get("of") != prediction_stamp(prediction):
        return None
    try:
        top, left, step_y, step_x = (float(one) for one in about["place"])
        values = tifffile.imread(folder / RISK_FOLDER / f"{method}.tif")
        return RiskMap(method, values.astype("float32"), MapPlacement(top, left, step_y, step_x))
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError):
        return None


def write_risk_map(folder: Path, prediction: Mapping[str, Any], risk_map: RiskMap) -> Path:
    """Write an explanation map to ``risk/<method>.tif``, float32, with its position and prediction in ``.json``."""
    import tifffile

    about = folder / RISK_FOLDER / f"{risk_map.method}.json"
    try:
        about.parent.mkdir(exist_ok=True)
        remove_file(about)  # so that a partial file is not mistaken for a complete one
        tifffile.imwrite(about.with_suffix(".tif"), risk_map.values, compression="zlib", metadata=None)
    except OSError as error:
        raise save_error(about.with_suffix(".tif"), error) from error
    corner = (risk_map.placement.top, risk_map.placement.left, risk_map.placement.step_y, risk_map.placement.step_x)
    write_json(
        about, {"format_version": 1, "method": risk_map.method, "of": prediction_stamp(prediction), "place": corner}
    )
    return about.with_suffix(".tif")


def write_gallery(
    folder: Path, prediction: Mapping[str, Any], note: str, features: Sequence[Mapping[str, Any]]
) -> Path:
    path = folder / RISK_FOLDER / GALLERY_FILE
    write_json(
        path, {"format_version": 1, "of": prediction_stamp(prediction), "note": note, "features": list(features)}
    )
    return path


def read_gallery(folder: Path, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Read the positions in a slide that activate each feature most; empty if there are none for this prediction."""
    found = read_object_or_empty(folder / RISK_FOLDER / GALLERY_FILE)
    return found if found.get("of") == prediction_stamp(prediction) else {}


def _is_complete(prediction: Mapping[str, Any]) -> bool:
    """Whether a prediction has all values that are shown."""
    model = prediction.get("model")
    kinds = {"patches": list, "known": dict, "beside": dict, "depth": dict, "options": dict, "verdict": str}
    return (
        _is_number(prediction.get("probability"))
        and isinstance(model, dict)
        and "fingerprint" in model
        and all(isinstance(prediction.get(name), kind) for name, kind in kinds.items())
        and all(isinstance(prediction.get(name) or [], list) for name in ("warnings", "missing"))
        and _is_number(prediction["depth"].get("mm") or 0)
        and all(map(_is_complete_patch, prediction["patches"]))
    )


def _is_complete_patch(patch: object) -> bool:
    return isinstance(patch, dict) and _is_number(patch.get("probability")) and _is_number(patch.get("depth_mm") or 0)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and math.isfinite(value)


MAX_FEATURES = 15  # P3
POSITIONS_PER_FEATURE, POSITION_SHARE = 5, 0.125  # positions of each feature; side of one as a share of a patch
GALLERY_NOTE = (
    "Features of the network, ranked by how well each alone separates its training cases (AUC with 95 % interval; "
    "q below 0.05: unlikely by chance). The positions show where each feature is strongest in the patches of the "
    "prediction."
)


def rank_predicted_features(
    model: Classifier, maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Rank the features of a network, and find where each is strongest.

    ``maps``: float32 (feature, row, column) of each patch. ``boxes``: position of the patches, in pixels of the finest
    level. ``size``: height and width of the slide, in these pixels. Returns ``feature``, ``title``, ``auc`` with
    ``auc_interval``, ``q`` and ``places`` (``box`` and ``value``), the strongest first; empty if the bundle stores
    too few training cases.
    """
    reference = model.calibration.reference
    if reference is None or not len(reference.embeddings) or not maps:
        return []
    # An embedding may end with the predicted depth, which has no map
    count = min(len(maps[0]), reference.embeddings.shape[1])
    count = min(count, getattr(model.network, "image_features", count))
    truth = reference.embedded_labels == model.calibration.positive_index
    values = reference.embeddings[:, :count].astype(np.float64)
    try:
        ranked = rank_features(values, truth, np.arange(len(values)).astype(str), MAX_FEATURES)
    except ValueError:  # too few cases of a class
        return []
    return [
        _feature_to_json(
            one, find_strongest([each[one.rank] for each in maps], boxes, POSITION_SHARE, POSITIONS_PER_FEATURE, size)
        )
        for one in ranked
    ]


def _feature_to_json(marker: RankedFeature, positions: list[tuple[Box, float]]) -> dict[str, Any]:
    auc = marker.auc
    direction = "higher" if auc.mean >= 0.5 else "lower"
    title = f"Feature {marker.rank}: AUC {auc.mean:.2f} ({auc.low:.2f} to {auc.high:.2f}), {direction} in metastasis"
    return {
        "feature": marker.rank,
        "title": f"{title}, q {marker.q:.2g}",
        "auc": auc.mean,
        "auc_interval": [auc.low, auc.high],
        "q": marker.q,
        "places": [{"box": [b.top, b.left, b.height, b.width], "value": value} for b, value in positions],
    }
