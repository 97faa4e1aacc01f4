"""Segmentation by prompts as a Lightning module: a simulated user corrects the masks during training; imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, max_pool2d, mse_loss

from napari_melanoma.imaging.masks import bounding_box
from napari_melanoma.imaging.prompts import PROMPT_MAPS, draw_click, simulate_click
from napari_melanoma.models.blocks.prompted import Hypotheses, PromptedUNet
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.torch_inference import memory_layout
from napari_melanoma.training.loader import ImageBatch
from napari_melanoma.training.random_numbers import derive_seed
from napari_melanoma.training.recipe import PromptsConfig, TrainRecipe
from napari_melanoma.training.tasks.segmentation import SegmentationTask

# Separate these random numbers from other uses of the seed.
PROMPT_SEED, TURN_SEED, COMPOSITE_SEED = 21, 22, 23
COMPOSITE_IMAGES = 4  # images in a composite
# First prompts and their probabilities.
FIRST_PROMPTS = ("none", "click", "box", "stroke")
FIRST_SHARES = (0.45, 0.3, 0.15, 0.1)
OTHER_HYPOTHESES = 0.05  # weight of the mean over all hypotheses, so that each of them is trained
QUALITY_WEIGHT = 0.5  # of the error of the predicted qualities
PROMPTED_WEIGHT = 0.5  # of the loss around prompts; in the mean over all pixels these few have hardly any effect
PROMPTED_REACH = 1 / 48  # distance from prompts, as a share of the side of the network's input
CHOSEN_BY_USER = 0.3  # share of corrections that start from the best hypothesis instead of the proposed one
BOX_JITTER = 0.1  # share of the sides of a box
STEP = 2  # errors are searched in every second row and column
VALIDATION_CLICKS = 3


class DrawnClick(NamedTuple):
    """A click in pixels of the network's input; ``map_index``: 0 for inside the lesion, 1 for outside."""

    map_index: int
    row: int
    column: int


class SimulatedUser:
    """Simulates a user who prompts one lesion and corrects the masks that the network predicts.

    Without ``random``, the user is deterministic: no first prompt, and corrections by clicks in the middle of an error.

    ``truth``: bool (side, side). ``maps``: float32 (map, side, side), the prompts so far: clicks inside the lesion,
    clicks outside, boxes, and the current mask.
    """

    def __init__(self, truth: NDArray[np.bool_], random: np.random.Generator | None = None) -> None:
        self._truth = truth
        self._random = random
        self.maps = np.zeros((PROMPT_MAPS, *truth.shape), np.float32)

    def begin(self, *, prompted: bool) -> None:
        """Draw the first prompt at random.

        ``prompted``: a prompt is required, because it selects one of several lesions.
        """
        assert self._random is not None
        box = bounding_box(self._truth)
        if box is None:
            return
        shares = np.array(FIRST_SHARES) * ([0, 1, 1, 1] if prompted else [1, 1, 1, 1])
        kind = self._random.choice(FIRST_PROMPTS, p=shares / shares.sum())
        if kind == "click":
            self._click(np.zeros_like(self._truth))
        elif kind == "box":
            sides = np.array([box.height, box.width])
            top, left = np.array([box.top, box.left]) + self._jitter(sides)
            bottom, right = np.array([box.top + box.height, box.left + box.width]) + self._jitter(sides)
            rows, columns = (slice(max(0, int(low)), max(1, int(high))) for low, high in ((top, bottom), (left, right)))
            self.maps[2, rows, columns] = 1
        elif kind == "stroke":
            self._stroke(np.zeros_like(self._truth))

    def correct(self, probability: NDArray[np.float32]) -> None:
        """Add a click or a stroke where the mask is wrong; ``probability``: float32 (side, side)."""
        mask = probability > 0.5
        self.maps[3] = mask  # without probabilities, as in use
        if self._random is not None and self._random.random() < FIRST_SHARES[-1]:
            self._stroke(mask)
        else:
            self._click(mask)

    def chooses(self, probability: float) -> bool:
        """Decide at random whether the user selects the best hypothesis."""
        return self._random is not None and bool(self._random.random() < probability)

    def _click(self, mask: NDArray[np.bool_]) -> DrawnClick | None:
        """Draw a click on an error of a mask; None if there is no error."""
        click = simulate_click(self._truth[::STEP, ::STEP], mask[::STEP, ::STEP], self._random)
        if click is None:
            return None
        drawn = DrawnClick(int(not click.include), click.row * STEP, click.column * STEP)
        draw_click(self.maps[drawn.map_index], drawn.row, drawn.column)
        return drawn

    def _stroke(self, mask: NDArray[np.bool_]) -> None:
        """Click twice; if both clicks correct the same kind of error, join them by a stroke within the error."""
        first, second = self._click(mask), self._click(mask)
        if first is None or second is None or first.map_index != second.map_index:
            return
        error = (self._truth & ~mask) if first.map_index == 0 else (mask & ~self._truth)
        for share in np.linspace(0, 1, 16):
            row = round(first.row + share * (second.row - first.row))
            column = round(first.column + share * (second.column - first.column))
            if error[row, column]:
                draw_click(self.maps[first.map_index], row, column)

    def _jitter(self, sides: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self._random is not None
        return self._random.uniform(-BOX_JITTER, BOX_JITTER, 2) * sides


class PromptedSegmentationTask(SegmentationTask):
    """Trains a network for prompts, with a simulated user who corrects its masks a few times per image.

    The network predicts several masks (hypotheses) for an image. The loss is mainly that of the best one (Guzman-Rivera
    et al. 2012), so that they differ where readers disagree; the predicted quality of each is trained with its Jaccard
    index. After each epoch ``validation_jaccard`` and ``validation_dice`` are means over zero to three clicks, each in
    the middle of the largest error.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: TrainRecipe,
        bundle: BundleConfig,
        prompts: PromptsConfig,
        lesion_weight: float = 1.0,
    ) -> None:
        super().__init__(network, recipe, bundle, lesion_weight)
        self._prompts = prompts

    @property
    def _prompted(self) -> PromptedUNet:
        return cast("PromptedUNet", self.network.network)

    def on_after_batch_transfer(self, batch: ImageBatch, dataloader_idx: int) -> ImageBatch:
        """Augment images and masks, and make composites of some of them."""
        images, masks, keys = super().on_after_batch_transfer(batch, dataloader_idx)
        if not self.trainer.training:
            return images, masks, keys
        return *self._compose(images, masks, keys), keys

    def _select_composites(self, keys: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Choose the images of a batch that become composites, bool (batch,); none in batches of fewer than four."""
        if len(keys) < COMPOSITE_IMAGES:
            return np.zeros(len(keys), bool)
        seeds = [derive_seed(self.recipe.seed, COMPOSITE_SEED, *key) for key in keys]
        return np.array([np.random.default_rng(seed).random() for seed in seeds]) < self._prompts.composites

    def _compose(self, images: Tensor, masks: Tensor, keys: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Replace some images by a composite with three others at half size; only their own lesion stays masked."""
        chosen = np.flatnonzero(self._select_composites(keys)).tolist()
        if not chosen:
            return images, masks
        half = interpolate(images, scale_factor=0.5, mode="area")
        small = masks[..., ::2, ::2]
        rows, columns = half.shape[-2:]
        images, masks = images.clone(), masks.clone()
        for index in chosen:
            random = np.random.default_rng(derive_seed(self.recipe.seed, COMPOSITE_SEED, 1, *keys[index]))
            candidates = [other for other in range(len(half)) if other != index]
            others = random.choice(candidates, COMPOSITE_IMAGES - 1, replace=False)
            masks[index] = 0
            for position, source in enumerate(random.permutation([index, *others])):
                top, left = position // 2 * rows, position % 2 * columns
                images[index, :, top : top + rows, left : left + columns] = half[source]
                if source == index:
                    masks[index, :, top : top + rows, left : left + columns] = small[source]
        return images, masks

    def batch_loss(self, batch: ImageBatch) -> Tensor:
        """Compute the loss before and after the corrections of a batch.

        ``batch``: images in [0, 255], masks 0 to 255, and keys.
        """
        images, masks, keys = batch
        truth = masks.float() / 255
        seeds = [derive_seed(self.recipe.seed, PROMPT_SEED, *key) for key in keys]
        users = [
            SimulatedUser(mask, np.random.default_rng(seed))
            for mask, seed in zip((masks[:, 0] > 127).cpu().numpy(), seeds, strict=True)
        ]
        for user, composed in zip(users, self._select_composites(keys).tolist(), strict=True):
            user.begin(prompted=composed)
        turns = np.random.default_rng(derive_seed(self.recipe.seed, TURN_SEED, *keys[0])).integers(
            1, self._prompts.clicks, endpoint=True
        )
        features = self._prompted.encode(self.normalize(images))
        first = self._maps(users, features)
        self._simulate([feature_map.detach() for feature_map in features], users, truth, int(turns))
        # One pass for both, so that the batch statistics match the running means, which are used in evaluation.
        twice = [torch.cat([feature_map, feature_map]) for feature_map in features]
        maps, truth_twice = torch.cat([first, self._maps(users, features)]), torch.cat([truth, truth])
        hypotheses = self._prompted.decode(twice, maps)
        return self._hypotheses_loss(hypotheses, truth_twice) + PROMPTED_WEIGHT * _prompted_loss(
            hypotheses.logits, truth_twice, maps
        )

    @torch.no_grad()
    def _simulate(self, features: list[Tensor], users: Sequence[SimulatedUser], truth: Tensor, turns: int) -> None:
        """Correct the predictions ``turns`` times; batch statistics are not updated."""
        training = self.training
        self.eval()
        for _ in range(turns):
            hypotheses = self._decode(features, users)
            best = _jaccard(hypotheses.logits, truth).argmax(1)
            chosen_by_user = torch.tensor([user.chooses(CHOSEN_BY_USER) for user in users], device=best.device)
            correct_all(users, hypotheses.select(torch.where(chosen_by_user, best, hypotheses.quality.argmax(1))))
        self.train(training)

    def _maps(self, users: Sequence[SimulatedUser], features: list[Tensor]) -> Tensor:
        """Return the prompts so far as input of the network, on the device of the features."""
        maps = torch.from_numpy(np.stack([user.maps for user in users]))
        device = features[0].device
        return maps.to(device, memory_format=memory_layout(device))

    def _decode(self, features: list[Tensor], users: Sequence[SimulatedUser]) -> Hypotheses:
        return self._prompted.decode(features, self._maps(users, features))

    def _hypotheses_loss(self, hypotheses: Hypotheses, truth: Tensor) -> Tensor:
        """Return the loss of the hypotheses, mainly the best one, plus the error of the predicted qualities."""
        losses = torch.stack(
            [
                torch.stack([self.loss(logits[None, None], mask[None]) for logits in maps])
                for maps, mask in zip(hypotheses.logits, truth, strict=True)
            ]
        )
        overlap = (1 - OTHER_HYPOTHESES) * losses.amin(1) + OTHER_HYPOTHESES * losses.mean(1)
        quality = mse_loss(hypotheses.quality.sigmoid(), _jaccard(hypotheses.logits, truth))
        return overlap.mean() + QUALITY_WEIGHT * quality

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> None:
        """Add loss, Jaccard and Dice, as means over zero to three clicks."""
        images, masks, _ = batch
        if not len(images):
            return
        truth = (masks > 127).float()
        users = [SimulatedUser(mask) for mask in (masks[:, 0] > 127).cpu().numpy()]
        features = self._prompted.encode(self.normalize(images))
        values = []
        for turn in range(VALIDATION_CLICKS + 1):
            best = self._decode(features, users).best()
            jaccard = _jaccard(best, truth)
            dice = 2 * jaccard / (1 + jaccard)
            values.append(torch.stack([self.loss(best, truth), jaccard.mean(), dice.mean()]))
            if turn < VALIDATION_CLICKS:
                correct_all(users, best)
        self._validation.add(len(images), *torch.stack(values).mean(0))


def correct_all(users: Sequence[SimulatedUser], logits: Tensor) -> None:
    """Add a correction of each user to its maps; ``logits``: float (user, 1, row, column)."""
    for user, probability in zip(users, logits[:, 0].sigmoid().cpu().numpy(), strict=True):
        user.correct(probability)


def _prompted_loss(logits: Tensor, truth: Tensor, maps: Tensor) -> Tensor:
    """Return the mean cross-entropy of all hypotheses around clicks and strokes, which no hypothesis may contradict.

    ``logits``: (batch, hypothesis, row, column). ``truth``: (batch, 1, row, column). ``maps``: the prompts.
    """
    reach = max(1, round(PROMPTED_REACH * truth.shape[-1]))
    is_near = max_pool2d(maps[:, :2].amax(1, keepdim=True), 2 * reach + 1, 1, reach)
    entropy = binary_cross_entropy_with_logits(logits, truth.expand_as(logits), reduction="none")
    return (entropy * is_near).sum() / (is_near.sum() * logits.shape[1]).clamp(min=1)


def _jaccard(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the Jaccard index of each mask, (batch, hypothesis); ``logits``: (batch, hypothesis, row, column)."""
    predicted = logits.detach() > 0
    intersection = (predicted & (truth > 0.5)).sum((2, 3)).float()
    union = (predicted | (truth > 0.5)).sum((2, 3)).float()
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)
