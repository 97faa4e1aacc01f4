"""The risk of a slide on disk, and the gallery of features that contribute most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import save_error, write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.placement import MapPlacement
from napari_melanoma.io.results import RISK_FILE, read_object, read_slide_result
from napari_melanoma.metrics.feature_ranking import RankedFeature, rank_features
from napari_melanoma.risk.inputs import BENIGN_LABELS, case_of_slide
from napari_melanoma.risk.prediction import RiskDepth
from napari_melanoma.slides.stitching import find_strongest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Classifier

RISK_FOLDER = "risk"  # folder of what explains the answer
GALLERY_FILE = "biomarkers.json"
MAP_METHODS = ("attention", "grad_cam")


@dataclass(frozen=True)
class RiskMap:
    """Where a network looked (``attention``) or what spoke for its answer (``grad_cam``), on the slide.

    ``values`` is float32 (row, column) in [0, 1], NaN outside of the patches.
    """

    method: str
    values: NDArray[np.float32]
    placement: MapPlacement


@dataclass(frozen=True)
class StoredRisk:
    """All that is known beside a slide."""

    depth: RiskDepth
    row: dict[str, str] = field(default_factory=dict)
    n_patches: int = 0
    prediction: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[RiskMap, ...] = ()
    gallery: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


def read_risk(folder: Path) -> StoredRisk:
    """Read what lies beside a slide.

    What cannot be read is left out, and named.
    """
    try:
        known = case_of_slide(folder, {}, None)
    except InputError as error:
        return StoredRisk(RiskDepth(None, "unknown"), fault=str(error))
    lesions = read_slide_result(folder).get("lesions") or ()
    harmful = [one for one in lesions if one.get("label") not in BENIGN_LABELS and one.get("seed_row_px") is not None]
    found = StoredRisk(known.depth, known.row, len(known.lines) + len(harmful))
    answer = read_object(folder / RISK_FILE)
    if not answer:
        said = f"{RISK_FILE} cannot be read: estimate again." if (folder / RISK_FILE).is_file() else ""
        return StoredRisk(found.depth, found.row, found.n_patches, fault=said)
    if not _is_complete(answer):
        return StoredRisk(
            found.depth, found.row, found.n_patches, fault=f"{RISK_FILE} is of another form: estimate again."
        )
    maps = tuple(one for method in MAP_METHODS if (one := read_risk_map(folder, method, answer)) is not None)
    return StoredRisk(found.depth, found.row, found.n_patches, answer, maps, read_gallery(folder, answer))


def prediction_stamp(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Say by what an explanation is known to be of an answer.

    Returns the network, its patches and what it was told.
    """
    boxes = [one.get("box") for one in prediction["patches"]]
    return {"model": prediction["model"]["fingerprint"], "boxes": boxes, "known": prediction["known"]}


def patch_boxes(prediction: Mapping[str, Any]) -> list[Box]:
    """Return the patches that an answer rests on.

    In pixels of the finest level.
    """
    return [Box(*(int(side) for side in one["box"])) for one in prediction["patches"] if one.get("box")]


def read_risk_map(folder: Path, method: str, prediction: Mapping[str, Any]) -> RiskMap | None:
    """Read where a network looked.

    None where it was not asked for, or is of another answer.
    """
    import tifffile

    about = read_object(folder / RISK_FOLDER / f"{method}.json")
    if about.get("of") != prediction_stamp(prediction):
        return None
    try:
        top, left, step_y, step_x = (float(one) for one in about["place"])
        values = tifffile.imread(folder / RISK_FOLDER / f"{method}.tif")
        return RiskMap(method, values.astype("float32"), MapPlacement(top, left, step_y, step_x))
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError):
        return None


def write_risk_map(folder: Path, prediction: Mapping[str, Any], risk_map: RiskMap) -> Path:
    """Keep where a network looked.

    Returns ``risk/<method>.tif``, float32; beside it ``.json`` says where it lies and of which answer it is.
    """
    import tifffile

    about = folder / RISK_FOLDER / f"{risk_map.method}.json"
    try:
        about.parent.mkdir(exist_ok=True)
        about.unlink(missing_ok=True)  # so that no half of it is taken for the whole
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
    """Keep what a network goes by."""
    path = folder / RISK_FOLDER / GALLERY_FILE
    write_json(
        path, {"format_version": 1, "of": prediction_stamp(prediction), "note": note, "features": list(features)}
    )
    return path


def read_gallery(folder: Path, prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Read which places of a slide excite the features of a network most.

    Empty where it was not asked for, or is of another answer.
    """
    found = read_object(folder / RISK_FOLDER / GALLERY_FILE)
    return found if found.get("of") == prediction_stamp(prediction) else {}


def _is_complete(answer: Mapping[str, Any]) -> bool:
    """Whether an answer has what is shown of it."""
    value, model = answer.get("probability"), answer.get("model")
    numbers = isinstance(value, int | float) and math.isfinite(value)
    kinds = {"patches": list, "known": dict, "beside": dict, "depth": dict, "options": dict, "verdict": str}
    return (
        numbers
        and isinstance(model, dict)
        and "fingerprint" in model
        and all(isinstance(answer.get(name), kind) for name, kind in kinds.items())
    )


MAX_FEATURES = 15  # P3
POSITIONS_PER_FEATURE, SHARE = 5, 0.125  # places of each feature; side of one, as a share of a patch
GALLERY_NOTE = (
    "Features of the network, ranked by how well each alone tells its training cases apart (AUC with 95 % interval; "
    "q below 0.05: unlikely by chance). Places: where each is strongest in the patches that the answer rests on."
)


def rank_predicted_features(
    model: Classifier, maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Rank the features of a network, and find where each is strongest.

    ``maps``: float32 (feature, row, column) of each patch. ``boxes``: where the patches lie, in pixels of the slide's
    finest level. ``size``: height and width of the slide, in these pixels. Returns ``feature``, ``title``, ``auc`` with
    ``auc_interval``, ``q`` and ``places`` (``box`` and ``value``), the strongest first; none where the bundle remembers
    too few training cases.
    """
    reference = model.calibration.reference
    if reference is None or not len(reference.embeddings) or not maps:
        return []
    there = min(len(maps[0]), reference.embeddings.shape[1])  # behind them stands what is told of the depth
    there = min(there, getattr(model.network, "image_features", there))
    truth = reference.embedded_labels == model.calibration.positive
    values = reference.embeddings[:, :there].astype(np.float64)
    try:
        ranked = rank_features(values, truth, np.arange(len(values)).astype(str), MAX_FEATURES)
    except ValueError:  # too few cases of a class
        return []
    return [
        _feature_to_json(
            one, find_strongest([each[one.rank] for each in maps], boxes, SHARE, POSITIONS_PER_FEATURE, size)
        )
        for one in ranked
    ]


def _feature_to_json(marker: RankedFeature, places: list[tuple[Box, float]]) -> dict[str, Any]:
    """A feature in plain values."""
    auc = marker.auc
    way = "more" if auc.mean >= 0.5 else "less"
    title = f"Feature {marker.rank}: AUC {auc.mean:.2f} ({auc.low:.2f} to {auc.high:.2f}), {way} of it in metastasis"
    return {
        "feature": marker.rank,
        "title": f"{title}, q {marker.q:.2g}",
        "auc": auc.mean,
        "auc_interval": [auc.low, auc.high],
        "q": marker.q,
        "places": [{"box": [b.top, b.left, b.height, b.width], "value": value} for b, value in places],
    }
