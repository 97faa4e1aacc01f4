"""Ratings of how uncertain a model is for a photograph, by which users order their review."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import append_lines
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.mask_uncertainty import mask_disagreement, mean_entropy

if TYPE_CHECKING:
    from napari_melanoma.lesion.segmentation import Segmenter

UncertaintyMeasure = Literal["entropy", "disagreement"]
UNCERTAINTY_MEASURES: tuple[UncertaintyMeasure, ...] = get_args(UncertaintyMeasure)
ROW_TYPES = {  # of the file of ratings
    "path": str,
    "modified": float,
    "size": int,
    "score": float,
    "how": str,
    "lesion_found": bool,
    "image_sha256": str,
    "model": str,
    "model_fingerprint": str,
}


@dataclass(frozen=True)
class Rating:
    """The uncertainty of a model for one photograph.

    ``score`` is from 0 (certain) to 1, and 1 if no lesion was found. ``how``: the measure. ``image_sha256`` is the
    fingerprint of the photograph's pixels, by which a correction refers to the photograph.
    """

    score: float
    how: UncertaintyMeasure
    lesion_found: bool
    image_sha256: str
    model: str
    model_fingerprint: str


def rate_photograph(model: Segmenter, path: Path, measure: UncertaintyMeasure = "entropy") -> Rating:
    """Rate the uncertainty of a model for a photograph. Photographs with higher scores should be reviewed first.

    ``measure``: as defined in ``metrics.mask_uncertainty``; "disagreement" runs the network on eight orientations of
    the photograph.
    """
    if measure not in UNCERTAINTY_MEASURES:
        raise InputError(f"'{measure}' is not a measure of uncertainty: expected {' or '.join(UNCERTAINTY_MEASURES)}.")
    rgb = read_photograph(path).rgb
    score, lesion_found = score_pixels(model, rgb, measure)
    return Rating(score, measure, lesion_found, array_fingerprint(rgb), model.info.name, model.info.fingerprint)


def score_pixels(model: Segmenter, rgb: NDArray[np.uint8], measure: UncertaintyMeasure) -> tuple[float, bool]:
    """Rate a decoded photograph at the network's input size.

    ``rgb``: uint8 (row, column, channel), upright sRGB. Returns the score from 0 (certain) to 1, and whether any
    pixel reaches the model's threshold; if none does, the score is 1.
    """
    from napari_melanoma.lesion.segmentation import predict_view_logits, prepare_picture

    config = model.info.config
    square = prepare_picture(rgb, config)
    if measure == "disagreement":  # over all orientations: the views of photograph and transpose
        views, transposed = predict_view_logits(model, [square, np.ascontiguousarray(square.swapaxes(0, 1))])
        outputs = [*views, *transposed.swapaxes(-2, -1)]
    else:
        outputs = [*model.logits([square])]
    probabilities = [_sigmoid(output) for output in outputs]
    masks = [probability >= config.threshold for probability in probabilities]
    if not masks[0].any():
        return 1.0, False
    return (mask_disagreement(masks) if measure == "disagreement" else mean_entropy(probabilities[0])), True


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.reciprocal(1.0 + np.exp(-np.clip(logits, -30.0, 30.0)), dtype=np.float32)


def load_ratings(fingerprint: str, measure: str) -> dict[tuple[str, float, int], Rating]:
    """Return the stored ratings by a model, by path, modification time and size of the photograph.

    See ``store_rating``; lines that are damaged or were not written completely are left out.
    """
    ratings: dict[tuple[str, float, int], Rating] = {}
    try:
        lines = _ratings_file().read_bytes().split(b"\n")
    except OSError:
        return {}
    for line in lines:
        try:
            row = parse_json(line, "a rating")
        except ValueError:
            continue
        if isinstance(row, dict) and {name: type(value) for name, value in row.items()} == ROW_TYPES:
            key, rating = (row.pop("path"), row.pop("modified"), row.pop("size")), Rating(**row)
            if (rating.model_fingerprint, rating.how) == (fingerprint, measure):
                ratings[key] = rating
    return ratings


def store_rating(path: Path, modified: float, size: int, rating: Rating) -> None:
    """Add a rating to the file of the user's cache, so that the photograph need not be rated again in the next session.

    ``modified``, ``size``: modification time and bytes of the photograph before it was rated. Without write access,
    nothing is stored.
    """
    line = json.dumps({"path": str(path), "modified": modified, "size": size, **vars(rating)})
    with suppress(OSError):
        _ratings_file().parent.mkdir(parents=True, exist_ok=True)
        append_lines(_ratings_file(), [line])


def _ratings_file() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("napari-melanoma", appauthor=False) / "ratings.jsonl"
