"""Dermoscopic, macroscopic or neither: recognized from the appearance of a photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from napari_melanoma.core.parsing import read_json
from napari_melanoma.imaging.color import DARK, illuminated_rectangle, to_lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ModalityKind = Literal["dermoscopic", "macroscopic", "neither"]
MODALITY_KINDS: tuple[ModalityKind, ...] = get_args(ModalityKind)
COEFFICIENTS = Path(__file__).with_name("modality.json")
CERTAIN_FROM = 0.9  # from which probability on somebody is bothered with a warning
MAX_DEVIATIONS = 4.0  # standard deviations at which a value is held: beyond them nothing was fitted


@dataclass(frozen=True)
class ModalityEstimate:
    """What a picture looks like, and how probable that is among the three kinds."""

    kind: ModalityKind
    probability: float

    @property
    def is_certain(self) -> bool:
        """Whether it is probable enough to say something about it."""
        return self.probability >= CERTAIN_FROM


def recognize_modality(rgb: NDArray[np.uint8]) -> ModalityEstimate:
    """Say which kind of photograph a picture looks like.

    ``rgb``: uint8 (row, column, channel=3), sRGB, of any size.
    """
    whole = _recognize_uncropped(rgb)
    part = crop_to_circle(rgb) if whole.kind == "neither" else None
    inner = None if part is None else _recognize_uncropped(part)
    return whole if inner is None or inner.kind == "neither" else inner


def certain_modality(estimate: ModalityEstimate, stated: str | None = None) -> str | None:
    """Give the kind of a photograph where it is certain.

    Returns the stated kind, else the recognized one (``neither`` included); None where the check is not sure.
    """
    return stated or (estimate.kind if estimate.is_certain else None)


def modality_warning(estimate: ModalityEstimate, modalities: Sequence[str], stated: str | None = None) -> str:
    """Say in a sentence that a photograph and a model that outlines lesions do not go together.

    Empty where nothing is odd, or where the check is not sure.
    """
    kind = certain_modality(estimate, stated)
    if kind == "neither":
        return "This looks like no photograph of a skin lesion, so its mask may mean nothing."
    if kind is None or not modalities or kind in modalities:
        return ""
    seems = "is" if stated else "looks like"
    return (
        f"This {seems} a {kind.replace('_', ' ')} photograph, and the model was trained on {' and '.join(modalities)} "
        "ones alone: check its mask with care, or choose a model for this kind."
    )


def _recognize_uncropped(rgb: NDArray[np.uint8]) -> ModalityEstimate:
    """Say which kind a picture looks like, the black around it included."""
    probability = _probabilities(np.array(list(appearance_features(rgb).values())))
    best = int(probability.argmax())
    return ModalityEstimate(MODALITY_KINDS[best], float(probability[best]))


def _probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each kind, from the values of ``appearance`` in their order."""
    mean, deviation, weights, offset = _coefficients()
    scaled = np.clip((values - mean) / deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
    scores = np.exp(scaled @ weights + offset - (scaled @ weights + offset).max())
    return scores / scores.sum()


@cache
def _coefficients() -> tuple[NDArray[np.float64], ...]:
    """Mean and deviation of each value, weights (value, kind), and offset of each kind."""
    fitted = read_json(COEFFICIENTS)
    rows = np.array(list(fitted["values"].values()))
    return rows[:, 0], rows[:, 1], rows[:, 2:], np.array(fitted["offset"])


SIDE = 64
SUBSAMPLED_SIDE = 4 * SIDE
RINGS = (0.0, 0.35, 0.7, 1.0, 1.2, 1.5)
HUES = 8
COLORLESS_CHROMA = 6.0  # CIELAB chroma below which a hue is chance
PERCENTILES = (5, 25, 50, 75, 95)
CHANNELS = ("lightness", "green_red", "blue_yellow")


def appearance_features(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """Describe a photograph in numbers.

    ``rgb``: uint8 (row, column, channel=3), sRGB, of any size. Returns the same names in the same order for every
    photograph. Colours are in CIELAB.
    """
    lab = to_lab(_shrink(rgb))
    found: dict[str, float] = {}
    for part in (_percentile_features(lab), _ring_features(lab), _hue_features(lab), _texture_features(lab[..., 0])):
        found.update(part)
    return found


def crop_to_circle(rgb: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Cut the black around a circle away, such as that of a dermoscope.

    ``rgb``: uint8 (row, column, channel=3), sRGB, of any size. A view of what is inside the circle. None where there is
    no such circle.
    """
    part = illuminated_rectangle(to_lab(_shrink(rgb))[..., 0])
    if part is None:
        return None
    rows, columns = (
        slice(side.start * length // SIDE, side.stop * length // SIDE)
        for side, length in zip(part, rgb.shape[:2], strict=True)
    )
    return rgb[rows, columns] if min(rgb.shape[:2]) >= SIDE else None  # of fewer pixels too little would be left


def _shrink(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink to 64 x 64: first every n-th pixel, which costs nothing, then averaging over what is left."""
    step = max(1, min(rgb.shape[:2]) // SUBSAMPLED_SIDE)
    every = np.ascontiguousarray(rgb[::step, ::step])
    from PIL import Image  # the docks import this module when they open

    return np.asarray(Image.fromarray(every).resize((SIDE, SIDE), Image.Resampling.BOX))


def _percentile_features(lab: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Say how each channel is distributed."""
    for index, channel in enumerate(CHANNELS):
        for level, value in zip(PERCENTILES, np.percentile(lab[..., index], PERCENTILES), strict=True):
            yield f"{channel}_{level}", float(value)
        yield f"{channel}_deviation", float(lab[..., index].std())


def _ring_features(lab: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Say how colours change from the centre to the corners, where dermoscopes are dark and lesions are not."""
    axis = (np.arange(SIDE) + 0.5) / (SIDE / 2) - 1
    radius = np.hypot(axis[:, None], axis[None, :])
    overall = lab.reshape(-1, 3).mean(axis=0)
    for number, (inner, outer) in enumerate(pairwise(RINGS)):
        inside = lab[(radius >= inner) & (radius < outer)]
        for channel, value in zip(CHANNELS, inside.mean(axis=0) - overall, strict=True):
            yield f"ring{number}_{channel}", float(value)
        yield f"ring{number}_deviation", float(inside[:, 0].std())
        yield f"ring{number}_dark", float((inside[:, 0] < DARK).mean())


def _hue_features(lab: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Say which hues occur and how colourful they are."""
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    hue = np.arctan2(lab[..., 2], lab[..., 1])
    bins = ((hue / (2 * np.pi) * HUES) % HUES).astype(int)
    colourful = chroma >= COLORLESS_CHROMA
    for number in range(HUES):
        yield f"hue{number}", float((colourful & (bins == number)).mean())
    yield "colourless", float(1 - colourful.mean())
    yield "chroma_mean", float(chroma.mean())
    yield "chroma_deviation", float(chroma.std())


def _texture_features(lightness: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Say how much changes at four scales, how much of it abruptly, and whether along rows and columns."""
    for size in (1, 2, 4, 8):
        side = SIDE // size
        coarse = lightness.reshape(side, size, side, size).mean(axis=(1, 3))
        down = np.abs(coarse[2:, 1:-1] - coarse[:-2, 1:-1])
        across = np.abs(coarse[1:-1, 2:] - coarse[1:-1, :-2])
        steps = np.hypot(down, across)
        mean = float(steps.mean())
        yield f"steps{size}_mean", mean
        yield f"steps{size}_95", float(np.percentile(steps, 95))
        yield f"steps{size}_aligned", float(np.abs(down - across).mean()) / (mean + 1)
        yield f"steps{size}_still", float((steps < 1).mean())
