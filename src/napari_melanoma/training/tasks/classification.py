"""Classification with tables, depth and domain losses; imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import smooth_l1_loss

from napari_melanoma.metrics.ranking import area_under_roc
from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.training.adaptation import (
    DomainAdversary,
    coral_loss,
    pseudo_label_loss,
    ramp_up,
    swap_amplitudes,
)
from napari_melanoma.training.augment.batch import BatchAugmentation
from napari_melanoma.training.callbacks import DistributedRows
from napari_melanoma.training.class_loader import MixupSampler
from napari_melanoma.training.losses import make_class_loss
from napari_melanoma.training.monitor import MONITORS
from napari_melanoma.training.recipe import OTHER_DOMAIN_KEY, PARTNER_KEY, depth_metrics
from napari_melanoma.training.seeds import derive_seed
from napari_melanoma.training.tasks.task import Task, cache_encoder, has_constant_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork
    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.recipe import AdaptationConfig, ClassBatch, DepthTargetConfig, TrainRecipe

CHANCE_AUC = 0.5  # AUC where there is nothing to tell apart


class ClassificationTask(Task):
    """A network that learns which class a lesion is of, from its picture and its patient's data.

    After each epoch ``metrics`` holds ``loss``, ``tuning_loss``, ``tuning_auc`` and ``tuning_balanced_accuracy``: over
    the images of all processes at once, as a ranking has no mean over batches. Of a network that learns a depth also
    ``tuning_depth_mae_mm`` and ``tuning_depth_r``.

    ``network``: images, continuous values and categories to logits (batch, class); ``encode``, ``decide`` and ``embed``
    are its parts.
    """

    network: ClassifierNetwork
    _weights: Tensor | None

    def __init__(
        self,
        network: ClassifierNetwork,
        recipe: TrainRecipe,
        bundle: BundleConfig,
        counts: Sequence[int],
        domains: int = 1,
    ) -> None:
        super().__init__(network, recipe, bundle)
        assert recipe.classification is not None
        self._config = recipe.classification
        self._classes = len(bundle.classes)
        self._positive = bundle.classes.index(self._config.positive)
        weights = class_weights(counts) if self._config.class_weight == "balanced" else None
        self.register_buffer("_weights", weights, persistent=False)
        self._second = make_domain_loss(self._config.adaptation, network, domains)
        self._depth = DepthLoss(self._config.depth) if self._config.depth else None
        first = max(1, round(self._config.first_stage * recipe.epochs))
        dropped = float(bundle.options.get("image_dropout", 0))
        self._first = FirstStage(network, self._classes, first, dropped) if self._config.stages == 2 else None
        self._augment = ClassAugmentation(recipe)
        self._tuning = DistributedRows(2 * self._classes + 2)
        encoder = find_encoder(network)
        if encoder is not None and self._config.freeze_encoder:
            encoder.requires_grad_(False)
            if has_constant_inputs(recipe):
                cache_encoder(encoder)

    def forward(self, images: Tensor, continuous: Tensor, categories: Tensor) -> Tensor:
        """Give logits, float32 (batch, class), of images in [0, 255], (batch, 3, row, column), and encoded rows."""
        return self.network(self.normalize(images), continuous, categories).float()

    def train(self, mode: bool = True) -> Self:
        """Switch to learning; a frozen encoder stays in use, its statistics and dropout too."""
        super().train(mode)
        encoder = find_encoder(self.network)
        if mode and encoder is not None and self._config.freeze_encoder:
            encoder.eval()
        return self

    def loss(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Apply the loss of the recipe.

        ``logits``, ``shares``: float (batch, class); the shares of the classes sum to one.
        """
        asked = self._config
        criterion = make_class_loss(self.recipe.loss, self._weights, asked.focal_gamma, asked.label_smoothing)
        return criterion(logits, shares)

    def on_after_batch_transfer(self, batch: ClassBatch, dataloader_idx: int) -> ClassBatch:
        """Vary images on the device where the network is, while learning, and answers where images are mixed."""
        return self._augment(batch) if self.trainer.training else batch

    def batch_loss(self, batch: ClassBatch) -> Tensor:
        """Compare what the network says with the answers; images without any have a loss of their own."""
        maps = self._encode(batch.images)
        labelled, asked = len(batch.shares), self._config.adaptation
        answered = len(batch.images) if asked.method == "pseudo_labels" else labelled
        rows = batch.continuous[:answered], batch.categories[:answered]
        apart = [each.detach() for each in maps] if self._first is not None else maps
        logits = self.network.classify([each[:answered] for each in apart], *rows).float()
        loss = self.loss(logits[:labelled], batch.shares)
        done = self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        if answered > labelled:
            loss = loss + asked.strength * ramp_up(done) * pseudo_label_loss(logits[labelled:], asked.sure)
        if self._second is not None:
            loss = loss + self._second(self.network.embed(maps).float(), batch.domains, done)
        return loss if self._in_second_stage else loss + self._image_loss(maps, batch)

    @property
    def _in_second_stage(self) -> bool:
        """Whether all but the head is held."""
        return self._first is not None and self._first.is_over(self.current_epoch)

    def _encode(self, images: Tensor) -> list[Tensor]:
        """Maps of a batch; nothing goes back to them where they are held."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._in_second_stage):
            return self.network.encode(self.normalize(images))

    def _image_loss(self, maps: Sequence[Tensor], batch: ClassBatch) -> Tensor:
        """What image and depth learn by beside the network's own answer: nothing, in most recipes."""
        answered = [each[: len(batch.shares)] for each in maps]
        loss = maps[-1].new_zeros(())
        if self._first is not None:
            loss = loss + self.loss(self._first(self.network.embed(answered)).float(), batch.shares)
        if self._depth is not None:
            network = cast("BiomarkerNetwork", self.network)
            loss = loss + self._depth(network, network.predict_depth(answered).float(), batch.depth_mm)
        return loss

    def on_train_epoch_start(self) -> None:
        """Forget the numbers of an epoch that was broken off; hold what a second stage builds on."""
        super().on_train_epoch_start()
        if self._in_second_stage:
            freeze_first_stage(self.network)

    def validation_step(self, batch: ClassBatch, batch_idx: int) -> None:
        """Keep what is said of each image; processes with fewer images get empty batches at the end."""
        if not len(batch.images):
            return
        maps = self.network.encode(self.normalize(batch.images))
        logits = self.network.classify(maps, batch.continuous, batch.categories).float()
        depths = torch.stack([self._predicted_depth_mm(maps), batch.depth_mm.to(logits.device)], dim=1)
        self._tuning.add(batch.keys[:, 1], torch.cat([logits, batch.shares, depths], dim=1))

    def _predicted_depth_mm(self, maps: Sequence[Tensor]) -> Tensor:
        """The depth that the network tells, float32 (batch,) in mm; NaN of one that tells none."""
        if self._depth is None:
            return torch.full((len(maps[-1]),), torch.nan, device=maps[-1].device)
        network = cast("BiomarkerNetwork", self.network)
        return network.to_mm(network.predict_depth(maps)[:, 0].float())

    def on_validation_epoch_start(self) -> None:
        """Forget what was said in a validation that was broken off."""
        self._tuning = DistributedRows(2 * self._classes + 2)

    def on_validation_epoch_end(self) -> None:
        """Measure on all tuning images at once."""
        logits, shares, depths = self._tuning.gather(self.device).split([self._classes, self._classes, 2], dim=1)
        loss = float(self.loss(logits.to(self.device), shares.to(self.device)))
        labels, probabilities = shares.argmax(1).numpy(), logits.double().softmax(1).numpy()
        measured = (macro_auc(probabilities, labels, self._positive), balanced_accuracy(probabilities, labels))
        names = [name for name, _ in MONITORS["classification"].measures]
        told = depth_metrics(*depths.double().numpy().T)
        self.metrics = {"tuning_loss": loss, **dict(zip(names, measured, strict=True)), **told}


def class_weights(counts: Sequence[int]) -> Tensor:
    """Weigh classes so that each counts as much as any other, over all images.

    Returns float32 (class,), which sum to the number of images over these: their loss stays of the same size.
    """
    found = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
    return found.sum() / (len(found) * found)


def macro_auc(probabilities: NDArray[np.float64], labels: NDArray[np.int64], positive: int) -> float:
    """Say how well probabilities rank: the positive class of two, or the mean over classes, each against the rest.

    ``probabilities``: float (image, class). ``labels``: int64 (image,). One half where there is nothing to tell apart;
    classes that no image or every image is of are left out.
    """
    asked = [positive] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    told = [each for each in asked if 0 < (labels == each).sum() < len(labels)]
    return float(np.mean([area_under_roc(probabilities[:, each], labels == each) for each in told] or [CHANCE_AUC]))


def balanced_accuracy(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Average over the classes which share of their images is most probably of them.

    ``probabilities``: float (image, class). ``labels``: int64 (image,). In [0, 1]; over the classes that there are.
    """
    said = probabilities.argmax(1)
    return float(np.mean([(said[labels == each] == each).mean() for each in np.unique(labels)]))


FOURIER_SEED = 14  # what a seed is for, beside those of sampling
DISABLED_AUGMENTATIONS = {
    "elsewhere_probability": 0.0,
    "mosaic_probability": 0.0,
    "cutmix_probability": 0.0,
}  # they would lose the lesion


class ClassAugmentation:
    """Varies batches; what becomes of an image follows from the seed and its key."""

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        config = recipe.augmentation.model_copy(update=DISABLED_AUGMENTATIONS)
        self._augment = BatchAugmentation(config, recipe.model.input_size, recipe.seed)
        self._mixing = MixupSampler(recipe)
        self._seed = recipe.seed
        self._adaptation = recipe.classification.adaptation

    def __call__(self, batch: ClassBatch) -> ClassBatch:
        """Vary a batch.

        Returns images float32 in [0, 255] of the network's size; shares of what was mixed.
        """
        keys, count, seen = batch.keys, len(batch.keys), len(batch.domains)
        chosen = self._mixing.select(keys)
        behind = [keys]  # each of another domain, and each partner, is varied by a key that no other image has
        if seen > count:
            behind.append(keys + np.array([0, OTHER_DOMAIN_KEY]))
        behind.append(keys[chosen] + np.array([0, PARTNER_KEY]))
        varied, _ = self._augment(batch.images, batch.masks, np.concatenate(behind))
        images, partners, shares = varied[:seen], varied[seen:], batch.shares
        if self._adaptation.method == "fourier" and seen > count:
            images = self._swap_spectra(images[:count], images[count:], batch)
        depth = batch.depth_mm
        if len(chosen):
            images, shares = self._mix(batch, images, partners, chosen)
            places = torch.from_numpy(chosen).to(depth.device)
            depth = depth.index_fill(0, places, torch.nan)  # two pictures in one have none
        masks = batch.masks[:seen, :, :0, :0]
        return batch._replace(images=images, masks=masks, shares=shares, partner_shares=shares[:0], depth_mm=depth)

    def _swap_spectra(self, images: Tensor, others: Tensor, batch: ClassBatch) -> Tensor:
        """Give some of the images the low frequencies of the other domain, whose images are of no further use."""
        draws = np.array(
            [np.random.default_rng(derive_seed(self._seed, FOURIER_SEED, *key)).random() for key in batch.keys]
        )
        chosen = torch.from_numpy(draws < self._adaptation.strength).to(images.device)[:, None, None, None]
        return torch.where(chosen, swap_amplitudes(images, others, self._adaptation.reach), images)

    def _mix(
        self, batch: ClassBatch, images: Tensor, partners: Tensor, chosen: NDArray[np.intp]
    ) -> tuple[Tensor, Tensor]:
        """Mix the chosen images with their partners, and their answers in the same shares.

        The rows of the table stay those of the image itself, whose share is one half or more.
        """
        places = torch.from_numpy(chosen).to(images.device)
        cover = torch.from_numpy(self._mixing.blend_masks(batch.keys[chosen], images.shape[-1])).to(images.device)[
            :, None
        ]
        lent = cover.mean(dim=(2, 3))
        mixed = torch.lerp(images[places], partners, cover)
        shares = batch.shares[places] * (1 - lent) + batch.partner_shares * lent
        return images.index_copy(0, places, mixed), batch.shares.index_copy(0, places, shares)


BLANK_PX = 64  # of a blank image that shows how wide features are


class DomainLoss(nn.Module):
    """Adds to the loss of a batch what its features say of the domains; learns, where an adversary has to."""

    def __init__(self, config: AdaptationConfig, features: int, domains: int) -> None:
        super().__init__()
        self._strength = config.strength
        self.adversary = DomainAdversary(features, domains) if config.method == "adversarial" else None

    def forward(self, features: Tensor, domains: Tensor, progress: float) -> Tensor:
        """Give what is added to the loss, a scalar.

        ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0.
        """
        if self.adversary is None:
            return self._strength * coral_loss(features, domains)
        # The adversary itself learns at full speed; only what goes back to the encoder is weighed.
        self.adversary.strength = self._strength * ramp_up(progress)
        loss: Tensor = self.adversary(features, domains)
        return loss


def make_domain_loss(config: AdaptationConfig, network: ClassifierNetwork, domains: int) -> DomainLoss | None:
    """Make the second loss of a recipe.

    None where the method has none.
    """
    if config.method not in ("adversarial", "coral"):
        return None
    return DomainLoss(config, embedding_width(network), domains)


def embedding_width(network: ClassifierNetwork) -> int:
    """Say how many features a network compares pictures by, which a blank one shows."""
    training = network.training
    with torch.no_grad():
        features = network.eval().embed(network.encode(torch.zeros(1, 3, BLANK_PX, BLANK_PX)))
    network.train(training)
    return features.shape[1]


SECOND_STAGE_PARTS = ("fusion", "head")  # parts of a network that learn in both stages


class FirstStage(nn.Module):
    """A head of its own, by which the image learns the class in the first stage; no part of the model.

    The network's head learns beside it from the start, without a say in what the image learns, so that each epoch has
    answers that can be measured. In the second stage it learns alone. Of a network that tells a depth, this head gets
    the features of the image and not the depth: what that explains of the class, the image would not learn to see.
    """

    def __init__(self, network: ClassifierNetwork, classes: int, epochs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self._features = network.image_maps or embedding_width(network)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self._features, classes))
        self._epochs = epochs

    def is_over(self, epoch: int) -> bool:
        """Say whether an epoch is of the second stage."""
        return epoch >= self._epochs

    def forward(self, features: Tensor) -> Tensor:
        """Give logits, float (batch, class), of the image alone, float (batch, feature); the depth stands last."""
        found: Tensor = self.head(features[:, : self._features])
        return found


def freeze_first_stage(network: ClassifierNetwork) -> None:
    """Put all but the head out of learning's mode: statistics and dropout stay as in use."""
    for name, part in network.named_children():
        if name not in SECOND_STAGE_PARTS:
            part.eval()


MIN_LOG_VARIANCE = -6.0  # logarithm of the least variance: a twentieth of the spread of all depths


class DepthLoss(nn.Module):
    """Compares the depth that a network tells with what was measured, on the network's own scale."""

    def __init__(self, config: DepthTargetConfig) -> None:
        super().__init__()
        self._config = config

    def forward(self, network: BiomarkerNetwork, predicted: Tensor, mm: Tensor) -> Tensor:
        """Give what is added to the loss of the class, a scalar.

        ``told``: float (batch, 1 or 2), as ``told_depth`` gives it. ``mm``: float (batch,), NaN where nobody measured:
        those count nothing.
        """
        known = ~mm.isnan()
        true = network.standardize(mm.nan_to_num())
        if self._config.loss == "gaussian_nll":
            logarithm = predicted[:, 1].clamp(min=MIN_LOG_VARIANCE)
            each = 0.5 * (logarithm + (predicted[:, 0] - true).square() * (-logarithm).exp())
        else:
            each = smooth_l1_loss(predicted[:, 0], true, reduction="none")
        # Multiplied and not left out: every weight has a gradient, whichever cases a batch holds.
        return self._config.weight * (each * known).sum() / known.sum().clamp(min=1)
