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
from napari_melanoma.core.placement import MapPlace
from napari_melanoma.io.results import RISK, read_content, read_object
from napari_melanoma.metrics.features import Biomarker, discriminative
from napari_melanoma.risk.inputs import HARMLESS, known_of_slide
from napari_melanoma.risk.prediction import DepthUsed
from napari_melanoma.slides.stitching import strongest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Classifier

BESIDE = "risk"  # folder of what explains the answer
GALLERY = "biomarkers.json"
METHODS = ("attention", "grad_cam")


@dataclass(frozen=True)
class RiskMap:
    """Where a network looked (``attention``) or what spoke for its answer (``grad_cam``), on the slide.

    ``values`` is float32 (row, column) in [0, 1], NaN outside of the patches.
    """

    method: str
    values: NDArray[np.float32]
    place: MapPlace


@dataclass(frozen=True)
class RiskKept:
    """All that is known beside a slide."""

    depth: DepthUsed
    row: dict[str, str] = field(default_factory=dict)
    places: int = 0
    answer: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[RiskMap, ...] = ()
    gallery: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""


def kept_risk(folder: Path) -> RiskKept:
    """Read what lies beside a slide.

    What cannot be read is left out, and named.
    """
    try:
        known = known_of_slide(folder, {}, None)
    except InputError as error:
        return RiskKept(DepthUsed(None, "unknown"), fault=str(error))
    lesions = read_content(folder).get("lesions") or ()
    harmful = [one for one in lesions if one.get("label") not in HARMLESS and one.get("seed_row_px") is not None]
    found = RiskKept(known.depth, known.row, len(known.lines) + len(harmful))
    answer = read_object(folder / RISK)
    if not answer:
        said = f"{RISK} cannot be read: estimate again." if (folder / RISK).is_file() else ""
        return RiskKept(found.depth, found.row, found.places, fault=said)
    if not _is_whole(answer):
        return RiskKept(found.depth, found.row, found.places, fault=f"{RISK} is of another form: estimate again.")
    maps = tuple(one for method in METHODS if (one := read_map(folder, method, answer)) is not None)
    return RiskKept(found.depth, found.row, found.places, answer, maps, read_gallery(folder, answer))


def stamp_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Say by what an explanation is known to be of an answer.

    Returns the network, its patches and what it was told.
    """
    boxes = [one.get("box") for one in answer["patches"]]
    return {"model": answer["model"]["fingerprint"], "boxes": boxes, "known": answer["known"]}


def boxes_of(answer: Mapping[str, Any]) -> list[Box]:
    """Give the patches that an answer rests on.

    In pixels of the finest level.
    """
    return [Box(*(int(side) for side in one["box"])) for one in answer["patches"] if one.get("box")]


def read_map(folder: Path, method: str, answer: Mapping[str, Any]) -> RiskMap | None:
    """Read where a network looked.

    None where it was not asked for, or is of another answer.
    """
    import tifffile

    about = read_object(folder / BESIDE / f"{method}.json")
    if about.get("of") != stamp_of(answer):
        return None
    try:
        top, left, step_y, step_x = (float(one) for one in about["place"])
        values = tifffile.imread(folder / BESIDE / f"{method}.tif")
        return RiskMap(method, values.astype("float32"), MapPlace(top, left, step_y, step_x))
    except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError):
        return None


def write_map(folder: Path, answer: Mapping[str, Any], found: RiskMap) -> Path:
    """Keep where a network looked.

    Returns ``risk/<method>.tif``, float32; beside it ``.json`` says where it lies and of which answer it is.
    """
    import tifffile

    about = folder / BESIDE / f"{found.method}.json"
    try:
        about.parent.mkdir(exist_ok=True)
        about.unlink(missing_ok=True)  # so that no half of it is taken for the whole
        tifffile.imwrite(about.with_suffix(".tif"), found.values, compression="zlib", metadata=None)
    except OSError as error:
        raise save_error(about.with_suffix(".tif"), error) from error
    corner = (found.place.top, found.place.left, found.place.step_y, found.place.step_x)
    write_json(about, {"format_version": 1, "method": found.method, "of": stamp_of(answer), "place": corner})
    return about.with_suffix(".tif")


def write_gallery(folder: Path, answer: Mapping[str, Any], note: str, features: Sequence[Mapping[str, Any]]) -> Path:
    """Keep what a network goes by."""
    path = folder / BESIDE / GALLERY
    write_json(path, {"format_version": 1, "of": stamp_of(answer), "note": note, "features": list(features)})
    return path


def read_gallery(folder: Path, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Read which places of a slide excite the features of a network most.

    Empty where it was not asked for, or is of another answer.
    """
    found = read_object(folder / BESIDE / GALLERY)
    return found if found.get("of") == stamp_of(answer) else {}


def _is_whole(answer: Mapping[str, Any]) -> bool:
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


FEATURES = 15  # P3
PLACES, SHARE = 5, 0.125  # places of each feature; side of one, as a share of a patch
NOTE = (
    "Features of the network, ranked by how well each alone tells its training cases apart (AUC with 95 % interval; "
    "q below 0.05: unlikely by chance). Places: where each is strongest in the patches that the answer rests on."
)


def told_features(
    model: Classifier, maps: Sequence[NDArray[np.float32]], boxes: Sequence[Box], size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Rank the features of a network, and find where each is strongest.

    ``maps``: float32 (feature, row, column) of each patch. ``boxes``: where the patches lie, in pixels of the slide's
    finest level. ``size``: height and width of the slide, in these pixels. Returns ``feature``, ``title``, ``auc`` with
    ``auc_interval``, ``q`` and ``places`` (``box`` and ``value``), the strongest first; none where the bundle remembers
    too few training cases.
    """
    reference = model.judge.reference
    if reference is None or not len(reference.embeddings) or not maps:
        return []
    there = min(len(maps[0]), reference.embeddings.shape[1])  # behind them stands what is told of the depth
    there = min(there, getattr(model.network, "image_features", there))
    truth = reference.embedded_labels == model.judge.positive
    values = reference.embeddings[:, :there].astype(np.float64)
    try:
        ranked = discriminative(values, truth, np.arange(len(values)).astype(str), FEATURES)
    except ValueError:  # too few cases of a class
        return []
    return [_told(one, strongest([each[one.place] for each in maps], boxes, SHARE, PLACES, size)) for one in ranked]


def _told(marker: Biomarker, places: list[tuple[Box, float]]) -> dict[str, Any]:
    """A feature in plain values."""
    auc = marker.auc
    way = "more" if auc.mean >= 0.5 else "less"
    title = f"Feature {marker.place}: AUC {auc.mean:.2f} ({auc.low:.2f} to {auc.high:.2f}), {way} of it in metastasis"
    return {
        "feature": marker.place,
        "title": f"{title}, q {marker.q:.2g}",
        "auc": auc.mean,
        "auc_interval": [auc.low, auc.high],
        "q": marker.q,
        "places": [{"box": [b.top, b.left, b.height, b.width], "value": value} for b, value in places],
    }
