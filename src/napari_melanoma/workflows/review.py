"""How unsure a model is of a photograph, so that a person looks first where a correction helps most."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_melanoma.analysis.preprocessing import network_input
from napari_melanoma.analysis.uncertainty import disagreement, entropy
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.io.photographs import read_photograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.inference.flips import LogitModel

How = Literal["entropy", "disagreement"]
HOWS: tuple[How, ...] = get_args(How)
TURNS = 8  # four rotations, each also mirrored


@dataclass(frozen=True)
class Rating:
    """How unsure a model is of one photograph: ``score`` from 0 (sure) to 1, 1 also where it finds no lesion.

    ``image_sha256`` is the fingerprint of the photograph's pixels, by which corrections know it.
    """

    score: float
    how: How
    lesion_found: bool
    image_sha256: str
    model: str
    model_fingerprint: str


def rate(model: LogitModel, path: Path, how: How = "entropy") -> Rating:
    """Say how unsure a model is of a photograph.

    ``how``: ``analysis.uncertainty`` says what they measure; the second one runs the network eight times. Returns the
    higher its score, the sooner a look is worth it.
    """
    if how not in HOWS:
        raise InputError(f"'{how}' is no way to rate a photograph: expected {' or '.join(HOWS)}.")
    rgb = read_photograph(path).rgb
    score, found = score_pixels(model, rgb, how)
    return Rating(score, how, found, fingerprint(rgb), model.info.name, model.info.fingerprint)


def score_pixels(model: LogitModel, rgb: NDArray[np.uint8], how: How) -> tuple[float, bool]:
    """Rate a photograph that is in memory, at the network's own size.

    ``rgb``: uint8 (row, column, channel), upright sRGB. From 0 (sure) to 1; 1 where no lesion was found. Whether any
    pixel of the upright photograph reaches the model's threshold.
    """
    config = model.info.config
    square = network_input(rgb, config.input_size, config.preprocessing)
    turns = range(TURNS if how == "disagreement" else 1)
    answers = model.logits([np.ascontiguousarray(_turned(square, turn)) for turn in turns])
    probabilities = [_turned_back(_sigmoid(answer), turn) for turn, answer in zip(turns, answers, strict=True)]
    masks = [probability >= config.threshold for probability in probabilities]
    if not masks[0].any():
        return 1.0, False
    return (disagreement(masks) if how == "disagreement" else entropy(probabilities[0])), True


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits to probability."""
    return np.reciprocal(1.0 + np.exp(-np.clip(logits, -30.0, 30.0)), dtype=np.float32)


def _turned(image: NDArray, turn: int) -> NDArray:
    """One of the eight flips and rotations of a square image."""
    return np.rot90(image.swapaxes(0, 1) if turn >= TURNS // 2 else image, turn % 4)


def _turned_back(image: NDArray, turn: int) -> NDArray:
    """Undo ``_turned``."""
    back = np.rot90(image, -(turn % 4))
    return back.swapaxes(0, 1) if turn >= TURNS // 2 else back
