"""Files of the risk prediction of a slide: prediction, explanation maps and gallery of features.

``risk.json`` in the folder of the slide is the prediction; the folder ``risk`` next to it contains maps and gallery.
These store a stamp of the prediction that they explain, and are ignored after a new prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import remove_file, save_error, write_json
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.depth.readings import latest_reading
from napari_melanoma.depth.tumor_maps import BENIGN_NAMES
from napari_melanoma.extensions.risk.inputs import make_slide_case
from napari_melanoma.io.results import RISK_FILE, read_risk_prediction, read_slide_result
from napari_melanoma.metrics.roc_curves import RankedFeature, rank_features
from napari_melanoma.slides.depth_readings import read_proposals
from napari_melanoma.slides.maps import find_strongest
from napari_melanoma.slides.slide_depth import UNKNOWN_DEPTH, KnownDepth, is_complete_risk
from napari_melanoma.slides.synoptic_files import read_depth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.depth.readings import SlideDepthProposals, SlideDepthReadings

RISK_FOLDER = "risk"  # folder of maps and gallery
GALLERY_FILE = "biomarkers.json"
MAP_METHODS = ("attention", "cam")


@dataclass(frozen=True)
class RiskMap:
    """An explanation map on the slide: attention of the network (``attention``) or CAM (``cam``).

    ``values``: float32 (row, column) in [0, 1], NaN outside the patches.
    """

    method: str
    values: NDArray[np.float32]
    placement: MapPlacement


@dataclass(frozen=True)
class StoredRisk:
    """The stored risk of a slide, and the current inputs of a new prediction.

    ``depth``: current depth from readings and analysis. ``n_patches``: number of thickness lines and lesions at which
    patches can be cut. ``result``, ``prediction``, ``gallery``: content of the JSON files; empty if there are none.
    ``fault``: why a file cannot be read; empty if all can.
    """

    depth: KnownDepth = UNKNOWN_DEPTH
    n_patches: int = 0
    result: Mapping[str, Any] = field(default_factory=dict)
    prediction: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[RiskMap, ...] = ()
    gallery: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""

    def with_depth(
        self, readings: SlideDepthReadings, proposals: SlideDepthProposals, row: Mapping[str, str]
    ) -> StoredRisk:
        """Return the same risk with the depth of other readings, proposals of the analysis, or patient data."""
        case = make_slide_case(latest_reading(readings), proposals, self.result, row)
        not_benign = [
            lesion
            for lesion in self.result.get("lesions") or ()
            if lesion.get("label") not in BENIGN_NAMES and lesion.get("seed_row_px") is not None
        ]
        return replace(self, depth=case.depth, n_patches=len(case.lines) + len(not_benign))


def read_risk(folder: Path) -> StoredRisk:
    """Read the risk of a slide; an unreadable prediction is reported in ``fault``."""
    try:
        readings, proposals = read_depth(folder), read_proposals(folder)
    except InputError as error:
        return StoredRisk(fault=str(error))
    risk = StoredRisk(result=read_slide_result(folder)).with_depth(readings, proposals, {})
    prediction = read_risk_prediction(folder / RISK_FILE)
    if not prediction:
        fault = f"{RISK_FILE} cannot be read. Estimate the risk again." if (folder / RISK_FILE).is_file() else ""
        return replace(risk, fault=fault)
    if not is_complete_risk(prediction):
        return replace(risk, fault=f"{RISK_FILE} has an unexpected format. Estimate the risk again.")
    read = (read_risk_map(folder, method, prediction) for method in MAP_METHODS)
    maps = tuple(risk_map for risk_map in read if risk_map is not None)
    return replace(risk, prediction=prediction, maps=maps, gallery=read_gallery(folder, prediction))


def prediction_stamp(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a prediction in the files of its explanations: model, patches and metadata."""
    boxes = [patch.get("box") for patch in prediction["patches"]]
    return {"model": prediction["model"]["fingerprint"], "boxes": boxes, "known": prediction["known"]}


def patch_boxes(prediction: Mapping[str, Any]) -> list[Box]:
    """Return the boxes of the patches of a prediction in pixels of the finest level."""
    return [Box(*(int(value) for value in patch["box"])) for patch in prediction["patches"] if patch.get("box")]


def read_risk_map(folder: Path, method: str, prediction: Mapping[str, Any]) -> RiskMap | None:
    """Read an explanation map; None if there is none for this prediction."""
    import tifffile

    metadata = read_object_or_empty(folder / RISK_FOLDER / f"{method}.json")
    if metadata.get("of") != prediction_stamp(prediction):
        return None
    try:
        top, left, step_y, step_x = (float(value) for value in metadata["place"])
        values = tifffile.imread(folder / RISK_FOLDER / f"{method}.tif")
        return RiskMap(method, values.astype("float32"), MapPlacement(top, left, step_y, step_x))
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError):
        return None


def write_risk_map(folder: Path, prediction: Mapping[str, Any], risk_map: RiskMap) -> Path:
    """Write an explanation map to ``risk/<method>.tif``, float32; position and stamp to ``risk/<method>.json``."""
    import tifffile

    metadata_path = folder / RISK_FOLDER / f"{risk_map.method}.json"
    try:
        metadata_path.parent.mkdir(exist_ok=True)
        remove_file(metadata_path)  # so that a partial file is not mistaken for a complete one
        tifffile.imwrite(metadata_path.with_suffix(".tif"), risk_map.values, compression="zlib", metadata=None)
    except OSError as error:
        raise save_error(metadata_path.with_suffix(".tif"), error) from error
    corner = (risk_map.placement.top, risk_map.placement.left, risk_map.placement.step_y, risk_map.placement.step_x)
    write_json(
        metadata_path,
        {"format_version": 1, "method": risk_map.method, "of": prediction_stamp(prediction), "place": corner},
    )
    return metadata_path.with_suffix(".tif")


def write_gallery(
    folder: Path, prediction: Mapping[str, Any], note: str, features: Sequence[Mapping[str, Any]]
) -> Path:
    """Write the gallery of features.

    ``note``: explanation for users. ``features``: as from ``rank_predicted_features``.
    """
    path = folder / RISK_FOLDER / GALLERY_FILE
    write_json(
        path, {"format_version": 1, "of": prediction_stamp(prediction), "note": note, "features": list(features)}
    )
    return path


def read_gallery(folder: Path, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Read the gallery of features of a slide; empty if there is none for this prediction."""
    gallery = read_object_or_empty(folder / RISK_FOLDER / GALLERY_FILE)
    return gallery if gallery.get("of") == prediction_stamp(prediction) else {}


MAX_FEATURES = 15  # P3
POSITIONS_PER_FEATURE = 5
POSITION_SHARE = 0.125  # side of a position as a share of a patch
GALLERY_NOTE = (
    "Features of the network, ranked by how well each alone separates its training cases (AUC with 95 % interval; "
    "q below 0.05: unlikely by chance). The positions show where each feature is strongest in the patches of the "
    "prediction."
)


def rank_predicted_features(
    model: Classifier, maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Rank the features of a network, and find where each is strongest.

    ``maps``: float32 (feature, row, column) of each patch, without those of the depth. ``boxes``: position of the
    patches, in pixels of the finest level. ``size``: height and width of the slide, in these pixels. Returns
    ``feature``, ``title``, ``auc`` with ``auc_interval``, ``q`` and ``places`` (``box`` and ``value``), the strongest
    first; empty if the bundle stores too few training cases.
    """
    reference = model.calibration.reference
    if reference is None or not len(reference.embeddings) or not maps:
        return []
    count = min(len(maps[0]), reference.embeddings.shape[1])  # an embedding may end with the predicted depth
    truth = reference.embedded_labels == model.calibration.positive_index
    values = reference.embeddings[:, :count].astype(np.float64)
    try:
        ranked = rank_features(values, truth, np.arange(len(values)).astype(str), MAX_FEATURES)
    except ValueError:  # too few cases of a class
        return []
    return [
        _feature_to_json(
            feature,
            find_strongest(
                [patch_maps[feature.feature_index] for patch_maps in maps],
                boxes,
                POSITION_SHARE,
                POSITIONS_PER_FEATURE,
                size,
            ),
        )
        for feature in ranked
    ]


def _feature_to_json(marker: RankedFeature, positions: list[tuple[Box, float]]) -> dict[str, Any]:
    auc = marker.auc
    direction = "higher" if auc.mean >= 0.5 else "lower"
    interval = f"{auc.low:.2f} to {auc.high:.2f}"
    title = f"Feature {marker.feature_index}: AUC {auc.mean:.2f} ({interval}), {direction} in metastasis"
    return {
        "feature": marker.feature_index,
        "title": f"{title}, q {marker.q:.2g}",
        "auc": auc.mean,
        "auc_interval": [auc.low, auc.high],
        "q": marker.q,
        "places": [{"box": [b.top, b.left, b.height, b.width], "value": value} for b, value in positions],
    }
