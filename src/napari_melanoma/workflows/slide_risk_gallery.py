"""What a network goes by: its features that tell most, and the places of a slide that excite each of them most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.biomarkers import Biomarker, discriminative
from napari_melanoma.analysis.patch_maps import strongest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.geometry import Box
    from napari_melanoma.inference.classification import Classifier

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
