"""Segmentation of a photograph by prompts: clicks, strokes, a box and a previous mask to be corrected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.masks import bounding_box, grow_box, label_components
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.imaging.prompts import PROMPT_MAPS, Point, Prompts, apply_prompts, draw_click
from napari_melanoma.lesion.segmentation import LesionPrediction, Segmenter, to_logit
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import normalize_images, restore_size

Features = dict[str, "NDArray[np.float32]"]  # of a photograph, by level
HALF = 0.5  # from the corner of a pixel to its center
GRID = 7  # simulated clicks along each side of the photograph in the search for lesions
CLICKS_PER_PASS = 7
MIN_PEAK = 0.2  # lesion probability from which a maximum between the points of the grid is clicked as well
PEAK_SHARE = 48  # the least distance between such maxima is the side of the network's input divided by this number
MAX_PEAKS = 64
BORDER = 2  # pixels of the network's input around a proposal in which its border is uncertain
MAX_LOGIT = 30.0  # larger logits give the same probability
MIN_QUALITY = 0.6  # least predicted Jaccard index of a proposed lesion
MAX_AREA = 0.7  # share of the photograph above which a mask is not that of a lesion
MAX_OVERLAP = 0.3  # share of the smaller of two proposals that may overlap the other one
CONFIRMING_MARGIN = 0.5  # around a proposal in the crop that confirms it, as a share of its longer side
MIN_CONFIRMED = 0.75  # share of a proposal that is found without a click, and of the found lesion in the proposal


class PromptedSegmenter(Segmenter):
    """A bundle's network that segments by prompts."""

    @staticmethod
    def check_bundle(info: BundleInfo) -> None:
        """Raise BundleError for a model that does not support prompts."""
        Segmenter.check_bundle(info)
        if not info.config.answers_prompts:
            raise BundleError(
                f"'{info.name}' does not segment by clicks, expected a model that does, such as lesion-click."
            )

    def encode_input(self, square: NDArray[np.uint8]) -> Features:
        """Compute the features of a photograph, which are the same for all prompts.

        ``square``: uint8 (side, side, channel), as returned by ``prepare_network_input``.
        """
        return self.network.run("encode", image=normalize_images([square], self.info.config))

    def decode(self, features: Features, maps: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict the masks for several sets of prompts for one photograph.

        ``features``: from ``encode_input``. ``maps``: float32 (batch, map, side, side), each set drawn by
        ``Prompts.to_maps``. Returns the logits of each hypothesis, float32 (batch, hypothesis, side, side), and their
        predicted Jaccard indices, float32 (batch, hypothesis).
        """
        output = self.network.run("decode", **features, maps=maps)
        return output["logits"], 1 / (1 + np.exp(-output["quality"]))

    def answer(self, features: Features, prompts: Prompts, shape: tuple[int, int]) -> PromptedMasks:
        """Segment by prompts.

        ``features``: from ``encode_input``. ``shape``: (rows, columns) of the photograph. Raises InputError if a
        click or the box lies outside the photograph.
        """
        prompts.check(shape)
        config = self.info.config
        logits, qualities = self.decode(features, prompts.to_maps(shape, config.input_size)[None])
        return PromptedMasks(logits[0], qualities[0], shape, prompts, config.threshold)


@dataclass(frozen=True, eq=False)
class PromptedMasks:
    """The hypotheses of a network for the mask that the prompts mean.

    ``logits``: float32 (hypothesis, side, side), of the network's input size. ``qualities``: float32 (hypothesis,), the
    predicted Jaccard index of each. ``shape``: of the photograph, (rows, columns). ``threshold``: probability from
    which a pixel belongs to the lesion.
    """

    logits: NDArray[np.float32]
    qualities: NDArray[np.float32]
    shape: tuple[int, int]
    prompts: Prompts
    threshold: float

    @property
    def best(self) -> int:
        """The index of the hypothesis with the highest predicted quality."""
        return int(self.qualities.argmax())

    @property
    def margins(self) -> NDArray[np.float32]:
        """The logits minus that of the threshold, float32 (hypothesis, side, side): negative outside the lesion."""
        return self.logits - np.float32(to_logit(self.threshold))

    @property
    def by_area(self) -> list[int]:
        """The indices of the hypotheses, from the smallest mask to the largest."""
        return [int(index) for index in np.argsort((self.margins >= 0).sum((1, 2)), kind="stable")]

    def probability(self, index: int) -> NDArray[np.float32]:
        """Return the probability of a hypothesis, float32 (row, column) in [0, 1], of the photograph's size."""
        return restore_size(self.logits[index], self.shape)

    def prediction(self, index: int) -> LesionPrediction:
        """Return a hypothesis as the input of an analysis."""
        return LesionPrediction(self.probability(index), prompts=self.prompts)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return the mask of a hypothesis, bool (row, column), which agrees with each click and stroke.

        The best hypothesis, which is shown first, changes a previous mask only where prompts contradict it; the others,
        which users select, replace it.
        """
        inside = self.probability(index) >= self.threshold
        return apply_prompts(inside, self.prompts, everywhere=index != self.best)

    @cached_property
    def best_mask(self) -> NDArray[np.bool_]:
        """The mask of the hypothesis with the highest predicted quality, bool (row, column)."""
        return self.mask(self.best)


class Prompter:
    """Segments one photograph by prompts; its features are computed once, when they are first needed.

    ``rgb``: uint8 (row, column, channel), sRGB, of any size.
    """

    def __init__(self, model: PromptedSegmenter, rgb: NDArray[np.uint8]) -> None:
        config = model.info.config
        self.model = model
        self.shape = (rgb.shape[0], rgb.shape[1])
        self._rgb = rgb
        self._input = prepare_network_input(rgb, config.input_size, config.preprocessing)

    @cached_property
    def _features(self) -> Features:
        return self.model.encode_input(self._input)

    def encode(self) -> None:
        """Compute the features in advance, so that the first prompts take no longer than further ones."""
        _ = self._features

    def segment(self, prompts: Prompts) -> PromptedMasks:
        """Segment by all prompts for a lesion, not only by the latest one.

        Raises InputError if a click or the box lies outside the photograph.
        """
        return self.model.answer(self._features, prompts, self.shape)

    def find_all(self) -> list[FoundLesion]:
        """Propose the lesions of the photograph: the best masks for simulated clicks that do not overlap.

        Clicks are placed on a grid, then at points between the grid where a mask shows a lesion that is not proposed
        yet. As a click on healthy skin also gives a mask, a proposal is kept only if it is also found without a click
        in the part of the photograph around it. Returns the lesion with the highest predicted quality first.
        """
        side = self.model.info.config.input_size
        centers = ((np.arange(GRID) + HALF) * side / GRID).astype(int)
        search = _LesionSearch(self.model, self._features, self.shape)
        search.click([(int(row), int(column)) for row in centers for column in centers])
        search.click(search.find_peaks())
        return [lesion for lesion in search.select_proposals() if self._is_confirmed(lesion)]

    def _is_confirmed(self, lesion: FoundLesion) -> bool:
        """Whether a lesion is also found without a click in the part of the photograph around it."""
        box, scale = bounding_box(lesion.inside), np.array(self.shape) / lesion.inside.shape
        assert box is not None, "the seed is inside"
        top, left = np.floor(np.array([box.top, box.left]) * scale).astype(int).tolist()
        height, width = np.ceil(np.array([box.height, box.width]) * scale).astype(int).tolist()
        part = grow_box(Box(top, left, height, width), math.ceil(CONFIRMING_MARGIN * max(height, width)), self.shape)
        hypotheses = Prompter(self.model, np.ascontiguousarray(self._rgb[part.slices])).segment(Prompts())
        mask = hypotheses.margins[hypotheses.best] >= 0
        centers = (np.arange(len(mask)) + HALF) / len(mask)  # of the pixels of the mask, as a share of its side
        rows, columns = (part.top + centers * part.height) / scale[0], (part.left + centers * part.width) / scale[1]
        proposal = lesion.inside[np.ix_(rows.astype(int), columns.astype(int))]
        labels, count = label_components(mask)
        touched = np.zeros(count + 1, bool)
        touched[labels[proposal & mask]] = True  # other lesions nearby have proposals of their own
        touched[0] = False
        mask = touched[labels]
        pixel = math.ceil(len(mask) * max(scale[0] / part.height, scale[1] / part.width))  # of the proposal
        if not mask.any():
            return False
        return min(_share_near(mask, proposal, pixel), _share_near(proposal, mask, pixel)) >= MIN_CONFIRMED


class FoundLesion(NamedTuple):
    """A proposed lesion.

    ``logits``: float16 (side, side), of the network's input size. ``quality``: the predicted Jaccard index. ``seed``:
    a point of the photograph in the lesion. ``inside``: bool (side, side), the part of the mask at the seed.
    """

    logits: NDArray[np.float16]
    quality: float
    seed: Point
    inside: NDArray[np.bool_]


class _LesionSearch:
    """Simulated clicks, several in one pass, and the lesions that they find; in pixels of the network's input."""

    def __init__(self, model: PromptedSegmenter, features: Features, shape: tuple[int, int]) -> None:
        self._model = model
        self._features = features
        self._side = model.info.config.input_size
        self._scale = np.array(shape) / self._side
        self._threshold = to_logit(model.info.config.threshold)
        self._candidates: list[FoundLesion] = []
        self._highest = np.full((self._side, self._side), -np.inf, np.float32)  # the highest logit of any click

    def click(self, pixels: Sequence[tuple[int, int]]) -> None:
        """Click at pixels, each (row, column)."""
        for start in range(0, len(pixels), CLICKS_PER_PASS):
            batch = pixels[start : start + CLICKS_PER_PASS]
            maps = np.zeros((len(batch), PROMPT_MAPS, self._side, self._side), np.float32)
            for click_map, pixel in zip(maps, batch, strict=True):
                draw_click(click_map[0], *pixel)
            for pixel, logits, qualities in zip(batch, *self._model.decode(self._features, maps), strict=True):
                for hypothesis, quality in zip(logits, qualities, strict=True):
                    self._add(pixel, hypothesis, float(quality))

    def _add(self, pixel: tuple[int, int], logits: NDArray[np.float32], quality: float) -> None:
        """Add the part of a hypothesis at the click, if it may be a lesion."""
        mask = logits >= self._threshold
        if mask.mean() > MAX_AREA:
            return
        np.maximum(self._highest, logits, out=self._highest)
        if quality >= MIN_QUALITY and mask[pixel]:
            parts, _ = label_components(mask)
            seed = Point(*((np.array(pixel) + HALF) * self._scale - HALF).tolist())
            clipped = np.clip(logits, -MAX_LOGIT, MAX_LOGIT).astype(np.float16)
            self._candidates.append(FoundLesion(clipped, quality, seed, parts == parts[pixel]))

    def find_peaks(self) -> list[tuple[int, int]]:
        """Find pixels (row, column) where a click has shown a lesion that is not proposed."""
        from scipy.ndimage import binary_dilation
        from skimage.feature import peak_local_max

        remaining = self._highest.copy()
        for lesion in self.select_proposals():
            remaining[binary_dilation(lesion.inside, iterations=BORDER)] = -np.inf
        peaks = peak_local_max(
            remaining,
            min_distance=max(2, self._side // PEAK_SHARE),
            threshold_abs=to_logit(MIN_PEAK),
            exclude_border=False,
            num_peaks=MAX_PEAKS,
        )
        return [(int(row), int(column)) for row, column in peaks]

    def select_proposals(self) -> list[FoundLesion]:
        """Return the candidates, the highest quality first, without those that overlap much with a better one."""
        proposals: list[FoundLesion] = []
        areas: list[int] = []
        for candidate in sorted(self._candidates, key=lambda lesion: -lesion.quality):
            area = int(candidate.inside.sum())
            overlaps = (
                int((candidate.inside & proposal.inside).sum()) / min(area, proposal_area)
                for proposal, proposal_area in zip(proposals, areas, strict=True)
            )
            if all(overlap <= MAX_OVERLAP for overlap in overlaps):
                proposals.append(candidate)
                areas.append(area)
        return proposals


def _share_near(mask: NDArray[np.bool_], other: NDArray[np.bool_], pixels: int) -> float:
    """Return the share of a mask that is at most some pixels away from another mask; both bool (row, column)."""
    from scipy.ndimage import distance_transform_edt

    return float((distance_transform_edt(~other)[mask] <= pixels).mean())


def load_any_segmenter(info: BundleInfo) -> Segmenter:
    """Load a segmentation model, as a ``PromptedSegmenter`` if it supports prompts."""
    return (PromptedSegmenter if info.config.answers_prompts else Segmenter).load(info)


def require_prompts(model: object) -> PromptedSegmenter:
    """Return the loaded model if it supports prompts; otherwise raise BundleError."""
    if isinstance(model, PromptedSegmenter):
        return model
    name = getattr(getattr(model, "info", None), "name", "the model")
    raise BundleError(f"'{name}' does not segment by clicks, expected a model that does, such as lesion-click.")
