"""Recognize the modality of a photograph from its appearance: dermoscopic, macroscopic or neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.imaging.color import DARK, black_around_view, find_picture, illuminated_rectangle, to_lab

ModalityKind = Literal["dermoscopic", "macroscopic", "neither"]
MODALITY_KINDS: tuple[ModalityKind, ...] = get_args(ModalityKind)
WEIGHTS = Path(__file__).with_name("modality.safetensors")
CERTAIN_FROM = 0.9  # probability from which a modality is certain enough for a warning
# Probability from which a model for macroscopic photographs is selected, which must not assess dermoscopic ones: of
# 3,024 dermoscopic photographs (cross-validated), by which it was selected, 21 have 0.9, 8 have 0.98, and none has it.
MACROSCOPIC_FROM = 0.995
ASSUMED: ModalityKind = "dermoscopic"  # modality of a photograph that is neither stated nor certain
MAX_DEVIATIONS = 4.0  # standard deviations to which values are clipped, as in the fit
SIDE = 64  # of the shrunk image, in pixels
SUBSAMPLED_SIDE = 4 * SIDE  # to about which an image is subsampled before averaging
RINGS = (0.0, 0.35, 0.7, 1.0, 1.2, 1.5)  # radii, as shares of half a side
HUES = 8  # bins
COLORLESS_CHROMA = 6.0  # CIELAB chroma below which a hue is random
PERCENTILES = (5, 25, 50, 75, 95)
CHANNELS = ("lightness", "green_red", "blue_yellow")


@dataclass(frozen=True)
class ModalityEstimate:
    """The recognized modality of an image, and its probability."""

    kind: ModalityKind
    probability: float

    @property
    def is_certain(self) -> bool:
        """Whether the probability is high enough to warn the user of a mismatch."""
        return self.probability >= CERTAIN_FROM


def recognize_modality(rgb: NDArray[np.uint8]) -> ModalityEstimate:
    """Recognize the modality of an image; if it seems to be neither, the part inside a circle of light is tried, too.

    Black bars and a rectangular frame are left out. ``rgb``: uint8 (row, column, channel=3), sRGB, of any size.
    """
    rgb = _without_frame(rgb)
    whole = _recognize_uncropped(rgb)
    part = crop_to_circle(rgb) if whole.kind == "neither" else None
    inner = None if part is None else _recognize_uncropped(part)
    return whole if inner is None or inner.kind == "neither" else inner


def _without_frame(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture inside a black frame; the whole image if the picture is round.

    Cropped to its square, any round picture would look like the view of a dermatoscope, whatever it shows.
    """
    picture = rgb[find_picture(rgb).slices]
    if picture.shape == rgb.shape:
        return rgb
    small = _shrink(picture)
    is_round = black_around_view(small, np.zeros(small.shape[:2], bool)).any()
    return rgb if is_round else picture


def certain_modality(estimate: ModalityEstimate, stated: str | None = None) -> str | None:
    """Return the stated modality, or else the recognized one (also ``neither``) if it is certain; otherwise None."""
    return stated or (estimate.kind if estimate.is_certain else None)


def shows_no_skin(estimate: ModalityEstimate, stated: str | None) -> bool:
    """Whether an image is certainly no photograph of skin, which stating a modality that is recognized cannot change.

    Slides and tiles of total-body photographs are not recognized.
    """
    return estimate.kind == "neither" and estimate.is_certain and stated in (None, *MODALITY_KINDS)


def select_modality(estimate: ModalityEstimate, stated: str | None = None) -> str:
    """Return the modality that selects a classifier: stated, recognized (also ``neither``), or assumed."""
    is_guess = estimate.kind == "macroscopic" and estimate.probability < MACROSCOPIC_FROM
    return stated or (ASSUMED if is_guess else estimate.kind)


def assumed_modality(estimate: ModalityEstimate, stated: str | None, modalities: Sequence[str]) -> str:
    """Return the modality that a classifier assumes a photograph to have: stated, recognized, or the usual one.

    A photograph that is probably, but not certainly macroscopic is assumed to be dermoscopic, except by a model for
    macroscopic photographs. ``modalities``: those of the model.
    """
    is_guess = estimate.kind == "macroscopic" and not estimate.is_certain and "macroscopic" not in modalities
    return stated or (ASSUMED if is_guess else estimate.kind)


def are_recognizable(modalities: Sequence[str]) -> bool:
    """Whether photographs of the modalities of a model are recognized: not those of slides, or unknown (empty)."""
    return bool(modalities) and {*modalities} <= {*MODALITY_KINDS}


def own_type_probability(estimate: ModalityEstimate, modalities: Sequence[str]) -> float | None:
    """Return the probability that a photograph has a modality of a model; None if it cannot be recognized."""
    if not are_recognizable(modalities):
        return None
    return estimate.probability if estimate.kind in modalities else 1.0 - estimate.probability


def modality_warning(estimate: ModalityEstimate, modalities: Sequence[str], stated: str | None = None) -> str:
    """Return a warning if the photograph is certainly of a modality that the segmentation model was not trained on.

    Otherwise empty. ``modalities``: those of the model.
    """
    kind = certain_modality(estimate, stated)
    if shows_no_skin(estimate, stated):
        return "This does not look like a photograph of a skin lesion: its mask may be meaningless."
    if kind is None or not modalities or kind in modalities:
        return ""
    seems = "is" if stated else "looks like"
    return (
        f"This {seems} a {kind.replace('_', ' ')} photograph, and the model was trained on {' and '.join(modalities)} "
        "photographs only: check its mask carefully, or choose a model for this modality."
    )


def _recognize_uncropped(rgb: NDArray[np.uint8]) -> ModalityEstimate:
    """Recognize the modality of a whole image, including black borders."""
    probability = _probabilities(np.array(list(appearance_features(rgb).values())))
    best = int(probability.argmax())
    return ModalityEstimate(MODALITY_KINDS[best], float(probability[best]))


def _probabilities(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of each modality, from the values of ``appearance_features`` in their order."""
    fitted = _weights()
    scaled = scale_features(values, fitted["mean"], fitted["deviation"])
    units = np.maximum(np.einsum("f,nfu->nu", scaled, fitted["hidden"]) + fitted["hidden_bias"], 0)
    scores = np.einsum("nu,nuk->nk", units, fitted["output"]) + fitted["output_bias"]
    logs = (scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)).mean(axis=0)
    return np.exp(logs - np.logaddexp.reduce(logs))


def scale_features(
    values: NDArray[np.float64], mean: NDArray[np.float64], deviation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Standardize features (..., feature) and clip what is far from all images of the fit."""
    return np.clip((values - mean) / deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)


@cache
def _weights() -> dict[str, NDArray[np.float64]]:
    """Read mean and deviation of each feature, and the layers of the networks."""
    from safetensors.numpy import load_file

    return {name: array.astype(np.float64) for name, array in load_file(WEIGHTS).items()}


def appearance_features(rgb: NDArray[np.uint8]) -> dict[str, float]:
    """Describe the appearance of a photograph in numbers.

    ``rgb``: uint8 (row, column, channel=3), sRGB, of any size. Returns values by name; names and their order are the
    same for every photograph. Colors are in CIELAB.
    """
    lab = to_lab(_shrink(rgb))
    features: dict[str, float] = {}
    for part in (_percentile_features(lab), _ring_features(lab), _hue_features(lab), _texture_features(lab[..., 0])):
        features.update(part)
    return features


def crop_to_circle(rgb: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """Crop the black around an illuminated circle, such as that of a dermatoscope.

    ``rgb``: uint8 (row, column, channel=3), sRGB, of any size. Returns a view of the part inside the circle; None if
    there is no such circle, or the image is small.
    """
    part = illuminated_rectangle(to_lab(_shrink(rgb))[..., 0])
    if part is None:
        return None
    rows, columns = (
        slice(side.start * length // SIDE, side.stop * length // SIDE)
        for side, length in zip(part, rgb.shape[:2], strict=True)
    )
    return rgb[rows, columns] if min(rgb.shape[:2]) >= SIDE else None  # a smaller image would have too few pixels left


def _shrink(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink to 64 x 64 pixels: first by taking every n-th pixel, which is fast, then by averaging."""
    from PIL import Image  # the docks import this module when they open, before any image

    step = max(1, min(rgb.shape[:2]) // SUBSAMPLED_SIDE)
    subsampled = np.ascontiguousarray(rgb[::step, ::step])
    return np.asarray(Image.fromarray(subsampled).resize((SIDE, SIDE), Image.Resampling.BOX))


def _percentile_features(lab: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Yield percentiles and standard deviation of each channel."""
    for index, channel in enumerate(CHANNELS):
        for level, value in zip(PERCENTILES, np.percentile(lab[..., index], PERCENTILES), strict=True):
            yield f"{channel}_{level}", float(value)
        yield f"{channel}_deviation", float(lab[..., index].std())


def _ring_features(lab: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Yield the change of color from the center to the corners, which are dark in the view of a dermatoscope."""
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
    """Yield the frequency of hues, and the chroma."""
    chroma = np.hypot(lab[..., 1], lab[..., 2])
    hue = np.arctan2(lab[..., 2], lab[..., 1])
    bins = ((hue / (2 * np.pi) * HUES) % HUES).astype(int)
    colorful = chroma >= COLORLESS_CHROMA
    for number in range(HUES):
        yield f"hue{number}", float((colorful & (bins == number)).mean())
    yield "colourless", float(1 - colorful.mean())
    yield "chroma_mean", float(chroma.mean())
    yield "chroma_deviation", float(chroma.std())


def _texture_features(lightness: NDArray[np.float32]) -> Iterator[tuple[str, float]]:
    """Yield gradients at four scales: their size, and how much they are aligned with rows and columns."""
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
