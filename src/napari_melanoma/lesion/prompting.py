"""Segmentation of a photograph by prompts: clicks, strokes, a box and the mask to be corrected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.masks import bounding_box, grow_box, label_components
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.imaging.prompts import PROMPT_MAPS, Point, Prompts, apply_prompts, draw_click
from napari_melanoma.lesion.segmentation import LesionPrediction, Segmenter
from napari_melanoma.models.inference import memory_layout, restore_size, to_tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.models.blocks.prompted import PromptedUNet
    from napari_melanoma.models.bundle import BundleInfo

HALF = 0.5  # of a pixel
GRID = 7  # clicks in a row of the grid that proposes lesions
CLICKS_PER_PASS = 7
MIN_SHOWN = 0.2  # lesion probability in any answer from which a position between the points of the grid is clicked
PEAK_SHARE = 48  # the least distance between such positions is the side divided by this number
MAX_PEAKS = 64
BORDER = 2  # pixels of the network's size around a proposal in which its border is uncertain
MAX_LOGIT = 30.0  # larger logits are the same probability
MIN_QUALITY = 0.6  # predicted Jaccard index of a proposed lesion
MAX_SHARE = 0.7  # share of the photograph above which a mask is no lesion on skin
MAX_SHARED = 0.3  # share of the smaller of two proposals that both may have in common
CONFIRMING_MARGIN = 0.5  # around a proposal that is checked, as a share of its longer side
MIN_CONFIRMED = 0.75  # share of a proposal that is found without a click, and of the found lesion in the proposal


class PromptedSegmenter(Segmenter):
    """A bundle's network that answers prompts."""

    @staticmethod
    def check_bundle(info: BundleInfo) -> None:
        """Refuse a model that does not answer prompts."""
        Segmenter.check_bundle(info)
        if not info.config.answers_prompts:
            raise BundleError(
                f"'{info.name}' segments without prompts, expected a model that answers clicks, such as lesion-click."
            )

    def encode_input(self, square: NDArray[np.uint8]) -> list[Tensor]:
        """Compute the features that all prompts use; ``square``: from ``prepare_network_input``."""
        import torch

        with torch.inference_mode():
            return self._prompted.encode(to_tensor([square], self.info.config, self.device))

    def decode(
        self, features: Sequence[Tensor], maps: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Predict the masks for several sets of prompts for one photograph.

        ``maps``: float32 (batch, map, side, side), each drawn by ``Prompts.to_maps``. Returns the logits of each
        hypothesis, float32 (batch, hypothesis, side, side), and their predicted Jaccard indices, float32 (batch,
        hypothesis).
        """
        import torch

        with torch.inference_mode():
            repeated = [one.expand(len(maps), -1, -1, -1) for one in features]
            found = self._prompted.decode(
                repeated, torch.from_numpy(maps).to(self.device, memory_format=memory_layout(self.device))
            )
            return found.logits.float().cpu().numpy(), found.quality.float().sigmoid().cpu().numpy()

    def answer(self, features: Sequence[Tensor], prompts: Prompts, shape: tuple[int, int]) -> PromptedMasks:
        """Answer prompts about a photograph of (rows, columns).

        Raises InputError if a click or the box lies outside the photograph.
        """
        prompts.check(shape)
        config = self.info.config
        logits, qualities = self.decode(features, prompts.to_maps(shape, config.input_size)[None])
        return PromptedMasks(logits[0], qualities[0], shape, prompts, config.threshold)

    @property
    def _prompted(self) -> PromptedUNet:
        return cast("PromptedUNet", cast("Any", self._network).network)


@dataclass(frozen=True, eq=False)
class PromptedMasks:
    """The hypotheses of a network for the masks that are meant by prompts.

    ``logits``: float32 (hypothesis, side, side), of the network's size. ``qualities``: float32 (hypothesis,), the
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
        """The index of the hypothesis of the greatest predicted quality."""
        return int(self.qualities.argmax())

    @property
    def margins(self) -> NDArray[np.float32]:
        """The logits above that of the threshold, float32 (hypothesis, side, side): negative outside of the lesion."""
        return self.logits - np.float32(to_logit(self.threshold))

    @property
    def by_area(self) -> list[int]:
        """The indices of the hypotheses, from the smallest mask to the largest."""
        return [int(index) for index in np.argsort((self.margins >= 0).sum((1, 2)), kind="stable")]

    def probability(self, index: int) -> NDArray[np.float32]:
        """Return the lesion probability of each pixel, float32 (row, column) in [0, 1], of the photograph's size."""
        return restore_size(self.logits[index], self.shape)

    def prediction(self, index: int) -> LesionPrediction:
        """Return a hypothesis as the input of an analysis."""
        return LesionPrediction(self.probability(index), prompts=self.prompts)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return the mask of a hypothesis, bool (row, column), in agreement with each click and stroke.

        The best hypothesis, which is shown first, changes a previous mask only where prompts contradict it; the others,
        which a user selects, change it everywhere.
        """
        inside = self.probability(index) >= self.threshold
        return apply_prompts(inside, self.prompts, everywhere=index != self.best)

    @cached_property
    def best_mask(self) -> NDArray[np.bool_]:
        """The mask of the hypothesis of the greatest predicted quality, bool (row, column)."""
        return self.mask(self.best)


class Prompter:
    """Answers prompts for one photograph; its features are computed once, for the first prompts.

    ``rgb``: uint8 (row, column, channel), sRGB, of any size.
    """

    def __init__(self, model: PromptedSegmenter, rgb: NDArray[np.uint8]) -> None:
        config = model.info.config
        self.model = model
        self.shape = (rgb.shape[0], rgb.shape[1])
        self._rgb = rgb
        self._input = prepare_network_input(rgb, config.input_size, config.preprocessing)

    @cached_property
    def _features(self) -> list[Tensor]:
        return self.model.encode_input(self._input)

    def encode(self) -> None:
        """Compute the features, so that the first prompts are answered as fast as further ones."""
        _ = self._features

    def segment(self, prompts: Prompts) -> PromptedMasks:
        """Answer prompts: all that apply, not only the last one.

        Raises InputError if a click or the box lies outside the photograph.
        """
        return self.model.answer(self._features, prompts, self.shape)

    def find_all(self) -> list[FoundLesion]:
        """Propose the lesions of the photograph: the best answers to simulated clicks that do not overlap.

        Clicks are placed on a grid, then where any answer shows a lesion that is not proposed yet, to find lesions
        between the points of the grid. As a click on healthy skin also gives a mask, a proposal is kept only if it is
        also found without a click in the part of the photograph around it. Returns the most certain first.
        """
        side = self.model.info.config.input_size
        centers = ((np.arange(GRID) + HALF) * side / GRID).astype(int)
        search = _LesionSearch(self.model, self._features, self.shape)
        search.click([(int(row), int(column)) for row in centers for column in centers])
        search.click(search.find_places())
        return [one for one in search.found() if self._is_confirmed(one)]

    def _is_confirmed(self, found: FoundLesion) -> bool:
        """Whether a lesion is also found without a click in the part of the photograph around it."""
        box, scale = bounding_box(found.inside), np.array(self.shape) / found.inside.shape
        assert box is not None, "the seed is inside"
        top, left = np.floor(np.array([box.top, box.left]) * scale).astype(int).tolist()
        height, width = np.ceil(np.array([box.height, box.width]) * scale).astype(int).tolist()
        part = grow_box(Box(top, left, height, width), math.ceil(CONFIRMING_MARGIN * max(height, width)), self.shape)
        answer = Prompter(self.model, np.ascontiguousarray(self._rgb[part.slices])).segment(Prompts())
        seen = answer.margins[answer.best] >= 0
        steps = (np.arange(len(seen)) + HALF) / len(seen)
        rows, columns = (part.top + steps * part.height) / scale[0], (part.left + steps * part.width) / scale[1]
        inside = found.inside[np.ix_(rows.astype(int), columns.astype(int))]
        labels, count = label_components(seen)
        touched = np.zeros(count + 1, bool)
        touched[labels[inside & seen]] = True  # other lesions nearby have proposals of their own
        touched[0] = False
        seen = touched[labels]
        pixel = math.ceil(len(seen) * max(scale[0] / part.height, scale[1] / part.width))  # of the proposal
        if not seen.any():
            return False
        return min(_share_near(seen, inside, pixel), _share_near(inside, seen, pixel)) >= MIN_CONFIRMED


class FoundLesion(NamedTuple):
    """A proposed lesion.

    ``logits``: float16 (side, side), of the network's size. ``quality``: the predicted Jaccard index. ``seed``: a pixel
    of the photograph in it. ``inside``: bool (side, side), the part of the mask at the seed.
    """

    logits: NDArray[np.float16]
    quality: float
    seed: Point
    inside: NDArray[np.bool_]


class _LesionSearch:
    """Simulated clicks, several in one pass, and the lesions found by them; sizes are those of the network's input."""

    def __init__(self, model: PromptedSegmenter, features: Sequence[Tensor], shape: tuple[int, int]) -> None:
        self._model = model
        self._features = features
        self._side = model.info.config.input_size
        self._scale = np.array(shape) / self._side
        self._threshold = to_logit(model.info.config.threshold)
        self._candidates: list[FoundLesion] = []
        self._shown = np.full((self._side, self._side), -np.inf, np.float32)  # the highest logit of any answer

    def click(self, places: Sequence[tuple[int, int]]) -> None:
        """Click at places, each (row, column)."""
        for start in range(0, len(places), CLICKS_PER_PASS):
            part = places[start : start + CLICKS_PER_PASS]
            maps = np.zeros((len(part), PROMPT_MAPS, self._side, self._side), np.float32)
            for drawn, place in zip(maps, part, strict=True):
                draw_click(drawn[0], *place)
            for place, logits, qualities in zip(part, *self._model.decode(self._features, maps), strict=True):
                for one, quality in zip(logits, qualities, strict=True):
                    self._add(place, one, float(quality))

    def _add(self, place: tuple[int, int], logits: NDArray[np.float32], quality: float) -> None:
        """Add the part of an answer at the click."""
        mask = logits >= self._threshold
        if mask.mean() > MAX_SHARE:
            return
        np.maximum(self._shown, logits, out=self._shown)
        if quality >= MIN_QUALITY and mask[place]:
            parts, _ = label_components(mask)
            seed = Point(*((np.array(place) + HALF) * self._scale - HALF).tolist())
            kept = np.clip(logits, -MAX_LOGIT, MAX_LOGIT).astype(np.float16)
            self._candidates.append(FoundLesion(kept, quality, seed, parts == parts[place]))

    def find_places(self) -> list[tuple[int, int]]:
        """Find positions (row, column) where any answer shows a lesion that is not proposed."""
        from scipy.ndimage import binary_dilation
        from skimage.feature import peak_local_max

        shown = self._shown.copy()
        for one in self.found():
            shown[binary_dilation(one.inside, iterations=BORDER)] = -np.inf
        peaks = peak_local_max(
            shown,
            min_distance=max(2, self._side // PEAK_SHARE),
            threshold_abs=to_logit(MIN_SHOWN),
            exclude_border=False,
            num_peaks=MAX_PEAKS,
        )
        return [(int(row), int(column)) for row, column in peaks]

    def found(self) -> list[FoundLesion]:
        """Return the candidates, the highest quality first, without those that overlap much with a better one."""
        kept: list[FoundLesion] = []
        areas: list[int] = []
        for one in sorted(self._candidates, key=lambda found: -found.quality):
            area = int(one.inside.sum())
            shared = (
                int((one.inside & other.inside).sum()) / min(area, known)
                for other, known in zip(kept, areas, strict=True)
            )
            if all(share <= MAX_SHARED for share in shared):
                kept.append(one)
                areas.append(area)
        return kept


def _share_near(mask: NDArray[np.bool_], other: NDArray[np.bool_], pixels: int) -> float:
    """Return the share of a mask that is in another one or at most some pixels from it; both bool (row, column)."""
    from scipy.ndimage import distance_transform_edt

    return float((distance_transform_edt(~other)[mask] <= pixels).mean())


def to_logit(probability: float) -> float:
    """Return the logit of a probability in (0, 1)."""
    return math.log(probability / (1 - probability))


def load_any_segmenter(info: BundleInfo) -> Segmenter:
    """Load a segmentation model, as a ``PromptedSegmenter`` if it answers prompts."""
    return (PromptedSegmenter if info.config.answers_prompts else Segmenter).load(info)


def require_prompts(model: object) -> PromptedSegmenter:
    """Return a loaded model that answers prompts; raises BundleError for another one."""
    if isinstance(model, PromptedSegmenter):
        return model
    name = getattr(getattr(model, "info", None), "name", "the model")
    raise BundleError(f"'{name}' segments without prompts, expected a model that answers clicks, such as lesion-click.")
