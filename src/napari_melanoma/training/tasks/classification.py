"""Classification of images and whole slides, with tabular inputs, depth and domain adaptation; imports torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import combinations
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss

from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.data.bags import Bag
from napari_melanoma.metrics.roc_curves import ResampledScores
from napari_melanoma.models.blocks.bags import BagNetwork, PooledBag
from napari_melanoma.models.blocks.biomarker import BiomarkerNetwork
from napari_melanoma.models.blocks.classifier import ClassifierNetwork, RowNorm
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.training.augmentation import BatchAugmentation
from napari_melanoma.training.loader import ClassBatch, MixupSampler
from napari_melanoma.training.losses import make_class_loss
from napari_melanoma.training.monitor import MONITORS, measure_validation_depths
from napari_melanoma.training.random_numbers import derive_seed
from napari_melanoma.training.recipe import (
    OTHER_DOMAIN_KEY,
    PARTNER_KEY,
    AdaptationConfig,
    DepthTargetConfig,
    TrainRecipe,
)
from napari_melanoma.training.tasks.task import Task, cache_encoder, count_encoder_inputs
from napari_melanoma.training.whole_slides import BagBatch

CHANCE_AUC = 0.5  # AUC of data with a single class
FOURIER_SEED, VERSION_SEED = 14, 15  # separate these random numbers from other uses of the seed
# Switched off for classifiers, as they could remove the lesion from the view.
DISABLED_AUGMENTATIONS = {"elsewhere_probability": 0.0, "mosaic_probability": 0.0, "cutmix_probability": 0.0}
BLANK_PX = 64  # side of a blank image for measuring the width of the features
SECOND_STAGE_PARTS = ("fusion", "head")  # modules that are trained in both stages
MIN_LOG_VARIANCE = -6.0  # a standard deviation of a twentieth (exp(-3)) of the spread of all depths


class DistributedRows:
    """Rows of numbers, one for each image, collected by all processes; they stay on their device until gathered."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._indices: list[Tensor] = []
        self._rows: list[Tensor] = []

    def add(self, indices: NDArray[np.int64], rows: Tensor) -> None:
        """Add the rows of a batch.

        ``indices``: int64 (batch,), of the images. ``rows``: float (batch, columns).
        """
        self._indices.append(torch.from_numpy(indices))
        self._rows.append(rows.detach().float())

    def gather(self, device: torch.device) -> Tensor:
        """Return the rows of all processes and reset; every process must call it.

        Returns float32 (image, columns) on the CPU, in the order of the indices; each image must have been added by
        one process only.
        """
        indices = torch.cat([torch.empty(0, dtype=torch.int64), *self._indices]).to(device)
        rows = torch.cat([torch.empty(0, self._columns, device=device), *(row.to(device) for row in self._rows)])
        self._indices, self._rows = [], []
        count = (indices.max() + 1 if len(indices) else torch.zeros((), dtype=torch.int64, device=device)).clone()
        is_distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if is_distributed:
            torch.distributed.all_reduce(count, torch.distributed.ReduceOp.MAX)
        gathered = torch.zeros(int(count), self._columns, device=device)
        gathered[indices] = rows
        if is_distributed:
            torch.distributed.all_reduce(gathered)
        return gathered.cpu()


class ClassTask(Task):
    """A network trained to classify, with class weights; validation collects the predictions of all processes.

    ``counts``: training images of each class. ``extra_columns``: number of values for each image that validation
    collects besides logits and class shares.
    """

    extra_columns = 0
    _weights: Tensor | None

    def __init__(self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig, counts: Sequence[int]) -> None:
        super().__init__(network, recipe, bundle)
        assert recipe.classification is not None
        self._config = recipe.classification
        self._classes = len(bundle.classes)
        self._positive = bundle.classes.index(self._config.positive)
        weights = class_weights(counts) if self._config.class_weight == "balanced" else None
        self.register_buffer("_weights", weights, persistent=False)
        self._validation = DistributedRows(2 * self._classes + self.extra_columns)

    def loss(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Apply the loss of the recipe.

        ``logits``, ``shares``: float (batch, class); the shares of the classes sum to one.
        """
        config = self._config
        criterion = make_class_loss(self.recipe.loss, self._weights, config.focal_gamma, config.label_smoothing)
        return criterion(logits, shares)

    def on_validation_epoch_start(self) -> None:
        """Discard the predictions of an interrupted validation."""
        self._validation = DistributedRows(2 * self._classes + self.extra_columns)

    def on_validation_epoch_end(self) -> None:
        """Evaluate all validation images or slides together."""
        sizes = [self._classes, self._classes, self.extra_columns]
        logits, shares, extra = self._validation.gather(self.device).split(sizes, dim=1)
        loss = float(self.loss(logits.to(self.device), shares.to(self.device)))
        labels, probabilities = shares.argmax(1).numpy(), logits.double().softmax(1).numpy()
        measured = (macro_auc(probabilities, labels, self._positive), balanced_accuracy(probabilities, labels))
        names = [name for name, _ in MONITORS["classification"].measures]
        self.metrics = {"validation_loss": loss, **dict(zip(names, measured, strict=True)), **self.measure_extra(extra)}

    def measure_extra(self, columns: Tensor) -> dict[str, float]:
        return {}


class ClassificationTask(ClassTask):
    """A network trained to classify lesions from an image and clinical metadata.

    After each epoch ``metrics`` holds ``loss``, ``validation_loss``, ``validation_auc`` and ``validation_accuracy``,
    and with a depth target ``validation_depth_mae_mm`` and ``validation_depth_r``. They are computed over all images
    together, as an AUC cannot be averaged over batches.

    ``network``: maps images, continuous values and categories to logits (batch, class); ``encode``, ``classify`` and
    ``embed`` are its parts.
    """

    network: ClassifierNetwork
    extra_columns = 2  # predicted and measured depth

    def __init__(
        self,
        network: ClassifierNetwork,
        recipe: TrainRecipe,
        bundle: BundleConfig,
        counts: Sequence[int],
        domains: int = 1,
    ) -> None:
        super().__init__(network, recipe, bundle, counts)
        # The attribute names of these modules are keys in checkpoints: domain loss, and first of two stages.
        self._second = make_domain_loss(self._config.adaptation, network, domains)
        self._depth_loss = DepthLoss(self._config.depth) if self._config.depth else None
        first_epochs = max(1, round(self._config.first_stage * recipe.epochs))
        dropout = float(bundle.options.get("image_dropout", 0))
        self._first = FirstStage(network, self._classes, first_epochs, dropout) if self._config.stages == 2 else None
        self._augment = ClassAugmentation(recipe)
        encoder = find_encoder(network)
        if encoder is not None and self._config.freeze_encoder:
            encoder.requires_grad_(False)
            if count_encoder_inputs(recipe):
                cache_encoder(encoder, half=self._config.augmented_versions > 0)

    def forward(self, images: Tensor, continuous: Tensor, categories: Tensor) -> Tensor:
        """Return logits, float32 (batch, class), of images in [0, 255], (batch, 3, row, column), and encoded rows."""
        return self.network(self.normalize(images), continuous, categories).float()

    def train(self, mode: bool = True) -> Self:
        """Switch to training; a frozen encoder stays in evaluation mode, which fixes its statistics."""
        super().train(mode)
        encoder = find_encoder(self.network)
        if mode and encoder is not None and self._config.freeze_encoder:
            encoder.eval()
        return self

    def on_after_batch_transfer(self, batch: ClassBatch, dataloader_idx: int) -> ClassBatch:
        """Augment images, and mix labels, on the device of the network during training."""
        return self._augment(batch) if self.trainer.training else batch

    def batch_loss(self, batch: ClassBatch) -> Tensor:
        """Compute the loss, including the terms for unlabeled images."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._in_second_stage):
            maps = self.network.encode(self.normalize(batch.images))
        labeled, config = len(batch.shares), self._config.adaptation
        used = len(batch.images) if config.method == "pseudo_labels" else labeled
        rows = batch.continuous[:used], batch.categories[:used]
        head_maps = [feature_map.detach() for feature_map in maps] if self._first is not None else maps
        logits = self.network.classify([feature_map[:used] for feature_map in head_maps], *rows).float()
        loss = self.loss(logits[:labeled], batch.shares)
        done = self.trainer.global_step / max(1, int(self.trainer.estimated_stepping_batches))
        if used > labeled:
            loss = loss + config.strength * ramp_up(done) * pseudo_label_loss(logits[labeled:], config.sure)
        if self._second is not None:
            loss = loss + self._second(self.network.embed(maps).float(), batch.domains, done)
        return loss if self._in_second_stage else loss + self._image_loss(maps, batch)

    @property
    def _in_second_stage(self) -> bool:
        """Whether the run is in the second of two stages, in which only the head is trained."""
        return self._first is not None and self._first.is_over(self.current_epoch)

    def _image_loss(self, maps: Sequence[Tensor], batch: ClassBatch) -> Tensor:
        """Return the additional losses of the image module (first stage) and of the depth module; 0 in most recipes."""
        labeled = [feature_map[: len(batch.shares)] for feature_map in maps]
        loss = maps[-1].new_zeros(())
        if self._first is not None:
            loss = loss + self.loss(self._first(self.network.embed(labeled)).float(), batch.shares)
        if self._depth_loss is not None:
            network = cast("BiomarkerNetwork", self.network)
            loss = loss + self._depth_loss(network, network.predict_depth(labeled).float(), batch.depth_mm)
        return loss

    def on_train_epoch_start(self) -> None:
        """Reset the means of an interrupted epoch; in the second stage, freeze the modules of the first."""
        super().on_train_epoch_start()
        if self._in_second_stage:
            freeze_first_stage(self.network)

    def validation_step(self, batch: ClassBatch, batch_idx: int) -> None:
        """Store the predictions; processes with fewer images get empty batches at the end."""
        if not len(batch.images):
            return
        maps = self.network.encode(self.normalize(batch.images))
        logits = self.network.classify(maps, batch.continuous, batch.categories).float()
        depths = torch.stack([self._predicted_depth_mm(maps), batch.depth_mm.to(logits.device)], dim=1)
        self._validation.add(batch.keys[:, 1], torch.cat([logits, batch.shares, depths], dim=1))

    def _predicted_depth_mm(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the predicted depth, float32 (batch,) in mm; NaN without a depth target."""
        if self._depth_loss is None:
            return torch.full((len(maps[-1]),), torch.nan, device=maps[-1].device)
        network = cast("BiomarkerNetwork", self.network)
        return network.to_mm(network.predict_depth(maps)[:, 0].float())

    def measure_extra(self, columns: Tensor) -> dict[str, float]:
        return measure_validation_depths(*columns.double().numpy().T)


def class_weights(counts: Sequence[int]) -> Tensor:
    """Return class weights inversely proportional to the class frequencies.

    Returns float32 (class,). Their sum over the images equals the number of images, which keeps the scale of the loss.
    """
    frequencies = torch.tensor(counts, dtype=torch.float32).clamp(min=1)
    return frequencies.sum() / (len(frequencies) * frequencies)


def macro_auc(probabilities: NDArray[np.float64], labels: NDArray[np.int64], positive: int) -> float:
    """Return the AUC of the positive class if there are two classes, else the mean one-against-rest AUC.

    Classes that have no image or all images are skipped; 0.5 if none remains.

    ``probabilities``: float (image, class). ``labels``: int64 (image,).
    """
    candidates = [positive] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    classes = [index for index in candidates if 0 < (labels == index).sum() < len(labels)]
    weights = np.ones((1, len(labels)))
    areas = [ResampledScores(probabilities[:, index], labels == index, weights).auc()[0] for index in classes]
    return float(np.mean(areas or [CHANCE_AUC]))


def balanced_accuracy(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the mean recall over the classes that occur, in [0, 1].

    ``probabilities``: float (image, class). ``labels``: int64 (image,).
    """
    predicted = probabilities.argmax(1)
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


class ClassAugmentation:
    """Augments batches; the result for an image depends on the seed and its key only.

    If the recipe has ``augmented_versions``, the result is one of that many versions of the image. The versions depend
    on the pixels only: they are the same in all epochs and in all folds of a cross-validation.
    """

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.classification is not None
        config = recipe.augmentation.model_copy(update=DISABLED_AUGMENTATIONS)
        self._versions = recipe.classification.augmented_versions
        self._augment = BatchAugmentation(config, recipe.model.input_size, 0 if self._versions else recipe.seed)
        self._mixing = MixupSampler(recipe)
        self._seed = recipe.seed
        self._adaptation = recipe.classification.adaptation

    def __call__(self, batch: ClassBatch) -> ClassBatch:
        """Augment a batch.

        Returns images as float32 in [0, 255] of the network's size, and the label shares of mixed images; masks are
        empty, and partners are removed.
        """
        keys, labeled, without_partners = batch.keys, len(batch.keys), len(batch.domains)
        chosen = self._mixing.select(keys)
        all_keys = [keys]  # images of the other domain and partners get keys of their own
        if without_partners > labeled:
            all_keys.append(keys + np.array([0, OTHER_DOMAIN_KEY]))
        all_keys.append(keys[chosen] + np.array([0, PARTNER_KEY]))
        image_keys = np.concatenate(all_keys)
        if self._versions:
            image_keys = self._version_keys(batch.images, image_keys)
        augmented, _ = self._augment(batch.images, batch.masks, image_keys)
        images, partners, shares = augmented[:without_partners], augmented[without_partners:], batch.shares
        if self._adaptation.method == "fourier" and without_partners > labeled:
            images = self._swap_spectra(images[:labeled], images[labeled:], batch)
        depth = batch.depth_mm
        if len(chosen):
            images, shares = self._mix(batch, images, partners, chosen)
            indices = torch.from_numpy(chosen).to(depth.device)
            depth = depth.index_fill(0, indices, torch.nan)  # a mixture of two images has no depth
        masks = batch.masks[:without_partners, :, :0, :0]
        return batch._replace(images=images, masks=masks, shares=shares, partner_shares=shares[:0], depth_mm=depth)

    def _version_keys(self, images: Tensor, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Draw a version of each image; return int64 (image, 2): version, and number derived from the pixels."""
        versions = [derive_seed(self._seed, VERSION_SEED, *key) % self._versions for key in keys.tolist()]
        pixels = images.cpu().contiguous().numpy()
        digests = [hashlib.sha1(image.data, usedforsecurity=False).digest()[:7] for image in pixels]
        return np.stack([versions, [int.from_bytes(digest, "big") for digest in digests]], axis=1)

    def _swap_spectra(self, images: Tensor, other_images: Tensor, batch: ClassBatch) -> Tensor:
        """Replace the low frequencies of some images by those of the other domain."""
        draws = np.array(
            [np.random.default_rng(derive_seed(self._seed, FOURIER_SEED, *key)).random() for key in batch.keys]
        )
        chosen = torch.from_numpy(draws < self._adaptation.strength).to(images.device)[:, None, None, None]
        return torch.where(chosen, swap_amplitudes(images, other_images, self._adaptation.reach), images)

    def _mix(
        self, batch: ClassBatch, images: Tensor, partners: Tensor, chosen: NDArray[np.intp]
    ) -> tuple[Tensor, Tensor]:
        """Mix the chosen images with their partners, and their labels in the same shares.

        The tabular inputs are not mixed: the share of the image itself is one half or more.
        """
        indices = torch.from_numpy(chosen).to(images.device)
        pixel_shares = self._mixing.blend_masks(batch.keys[chosen], images.shape[-1])
        cover = torch.from_numpy(pixel_shares).to(images.device)[:, None]
        partner_share = cover.mean(dim=(2, 3))
        mixed = torch.lerp(images[indices], partners, cover)
        shares = batch.shares[indices] * (1 - partner_share) + batch.partner_shares * partner_share
        return images.index_copy(0, indices, mixed), batch.shares.index_copy(0, indices, shares)


class DomainLoss(nn.Module):
    """Adaptation term of the loss: CORAL, or an adversary with trainable weights."""

    def __init__(self, config: AdaptationConfig, features: int, domains: int) -> None:
        super().__init__()
        self._strength = config.strength
        self.adversary = DomainAdversary(features, domains) if config.method == "adversarial" else None

    def forward(self, features: Tensor, domains: Tensor, progress: float) -> Tensor:
        """Return the term, a scalar.

        ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0.
        """
        if self.adversary is None:
            return self._strength * coral_loss(features, domains)
        # The adversary itself trains at full strength; only the gradient to the encoder is weighted.
        self.adversary.strength = self._strength * ramp_up(progress)
        loss: Tensor = self.adversary(features, domains)
        return loss


def make_domain_loss(config: AdaptationConfig, network: ClassifierNetwork, domains: int) -> DomainLoss | None:
    """Return the adaptation loss of a recipe; None if the method has none."""
    if config.method not in ("adversarial", "coral"):
        return None
    return DomainLoss(config, embedding_width(network), domains)


def embedding_width(network: ClassifierNetwork) -> int:
    """Return the number of features of an embedding, measured with a blank image."""
    training = network.training
    with torch.no_grad():
        features = network.eval().embed(network.encode(torch.zeros(1, 3, BLANK_PX, BLANK_PX)))
    network.train(training)
    return features.shape[1]


class FirstStage(nn.Module):
    """An auxiliary head that trains the image module in the first stage of a two-stage training; not part of the model.

    The network's own head is trained in both stages, so that every epoch can be evaluated, but does not affect the
    image module. In the second stage only the network's own head is trained. The input of the auxiliary head excludes
    the depth: otherwise the image module would not learn what the depth explains.

    ``epochs``: of the first stage.
    """

    def __init__(self, network: ClassifierNetwork, classes: int, epochs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self._features = network.image_maps or embedding_width(network)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self._features, classes))
        self._epochs = epochs

    def is_over(self, epoch: int) -> bool:
        return epoch >= self._epochs

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, float (batch, class), of the image features, float (batch, feature), without the depth."""
        logits: Tensor = self.head(features[:, : self._features])
        return logits


def freeze_first_stage(network: ClassifierNetwork) -> None:
    """Set all modules but the head to evaluation mode, which fixes normalization statistics and disables dropout."""
    for name, part in network.named_children():
        if name not in SECOND_STAGE_PARTS:
            part.eval()


class DepthLoss(nn.Module):
    """Loss of predicted depths, on the scale of the network's depth output."""

    def __init__(self, config: DepthTargetConfig) -> None:
        super().__init__()
        self._config = config

    def forward(self, network: BiomarkerNetwork, predicted: Tensor, mm: Tensor) -> Tensor:
        """Return the depth term of the loss, a scalar.

        ``predicted``: float (batch, 1 or 2), as ``predict_depth`` returns it. ``mm``: float (batch,), NaN if unknown;
        such cases do not contribute.
        """
        is_known = ~mm.isnan()
        true = network.standardize(mm.nan_to_num())
        if self._config.loss == "gaussian_nll":
            log_variance = predicted[:, 1].clamp(min=MIN_LOG_VARIANCE)
            losses = 0.5 * (log_variance + (predicted[:, 0] - true).square() * (-log_variance).exp())
        else:
            losses = smooth_l1_loss(predicted[:, 0], true, reduction="none")
        # Multiplied, not filtered: every weight then has a gradient, whichever cases a batch contains.
        return self._config.weight * (losses * is_known).sum() / is_known.sum().clamp(min=1)


class BagTask(ClassTask):
    """A network trained to classify slides from the embeddings of their tiles, and patient data.

    After each epoch ``metrics`` holds ``loss``, ``validation_loss``, ``validation_auc`` and ``validation_accuracy``;
    validation uses all tiles of a slide.

    ``network``: maps a bag and its patient data to logits (class,).
    """

    network: BagNetwork

    def pool(self, bag: Bag) -> PooledBag:
        """Return the embedding of the slide, and the weights of all its tiles."""
        return self.network.pool_chunks(map(torch.from_numpy, bag.iter_embeddings()))

    def batch_loss(self, batch: BagBatch) -> Tensor:
        """Compute the loss from the sampled tiles of each slide."""
        embeddings = torch.stack([self.network.pool_chunks([tiles]).embedding for tiles in batch.bags])
        return self.loss(self.network.classify(embeddings, batch.continuous, batch.categories), batch.shares)

    def validation_step(self, batch: BagBatch, batch_idx: int) -> None:
        """Store the predictions; processes with fewer slides get empty batches at the end."""
        if len(batch.bags):
            embeddings = torch.stack([self.pool(bag).embedding for bag in batch.bags])
            logits = self.network.classify(embeddings, batch.continuous, batch.categories)
            self._validation.add(batch.keys[:, 1], torch.cat([logits, batch.shares.to(logits.device)], dim=1))


RAMP_STEEPNESS = 10.0  # gamma in Ganin et al. 2016
MAX_INTENSITY = 255.0
BATCH_NORM_LAYERS = (nn.BatchNorm2d, nn.BatchNorm3d)  # BatchNorm1d normalizes tabular inputs, which these batches lack


class _GradientReversal(torch.autograd.Function):
    """Identity in the forward pass; the backward pass negates and scales the gradient."""

    @staticmethod
    def forward(context: Any, features: Tensor, strength: float) -> Tensor:  # noqa: ANN401 - torch's own context
        context.strength = strength
        return features.view_as(features)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401 - torch's own context
        return -context.strength * gradient, None


def reverse_gradient(features: Tensor, strength: float = 1.0) -> Tensor:
    """Return the features unchanged; the backward pass multiplies their gradient by minus ``strength``."""
    unchanged: Tensor = _GradientReversal.apply(features, strength)
    return unchanged


def ramp_up(progress: float) -> float:
    """Return the strength of gradient reversal: 2 / (1 + exp(-10 progress)) - 1, as in Ganin et al. 2016.

    It is 0 at the start and near 1 from the middle on: an early reversal would disturb features that are not trained
    yet.

    ``progress``: share of the training that is done, 0 to 1.
    """
    return 2 / (1 + math.exp(-RAMP_STEEPNESS * progress)) - 1


class DomainAdversary(nn.Module):
    """A domain classifier behind a gradient reversal (Ganin et al. 2016).

    Training minimizes its loss with respect to its own layers and maximizes it with respect to the features.
    ``strength`` scales the reversed gradient and follows ``ramp_up`` during training.
    """

    def __init__(self, features: int, domains: int = 2, hidden: int = 64) -> None:
        super().__init__()
        self.strength = 1.0
        self.layers = nn.Sequential(nn.Linear(features, hidden), RowNorm(hidden), nn.ReLU(), nn.Linear(hidden, domains))

    def forward(self, features: Tensor, domains: Tensor) -> Tensor:
        """Return the cross-entropy of the predicted domains, a scalar.

        ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0.
        """
        return cross_entropy(self.layers(reverse_gradient(features, self.strength)).float(), domains)


def coral_loss(features: Tensor, domains: Tensor) -> Tensor:
    """Return the distance between the feature covariances of two domains, averaged over all pairs of domains.

    The distance is the squared Frobenius norm of the difference, divided by four times the squared number of features
    (Sun and Saenko 2016). Domains with fewer than two images in the batch are skipped; 0 for fewer than two domains.

    ``features``: float (batch, feature). ``domains``: int64 (batch,), counted from 0. Returns a scalar.
    """
    present, counts = torch.unique(domains, return_counts=True)
    covariances = [_covariance(features[domains == domain]) for domain in present[counts > 1]]
    distances = [(first - second).square().sum() for first, second in combinations(covariances, 2)]
    if not distances:
        return 0 * features.float().sum()
    return torch.stack(distances).mean() / (4 * features.shape[1] ** 2)


def _covariance(features: Tensor) -> Tensor:
    """Return the covariance of features, float32 (feature, feature), for any precision of the input."""
    with torch.autocast(features.device.type, enabled=False):
        centered = features.float() - features.float().mean(dim=0)
        return centered.T @ centered / (len(features) - 1)


def swap_amplitudes(images: Tensor, partners: Tensor, reach: float) -> Tensor:
    """Replace the low-frequency amplitudes of images by those of their partners and keep the phases.

    ``images``, ``partners``: (batch, channel, row, column), both uint8 or both float in [0, 255]. ``reach``:
    highest exchanged frequency, as a share of the shorter side. The result has the same dtype, shape and range.
    """
    with torch.autocast(images.device.type, enabled=False):
        spectrum, partner_spectrum = torch.fft.fft2(images.float()), torch.fft.fft2(partners.float())
        low = _low_frequency_mask(images.shape[-2:], reach, images)
        mixed_spectrum = torch.polar(torch.where(low, partner_spectrum.abs(), spectrum.abs()), spectrum.angle())
        mixed = torch.fft.ifft2(mixed_spectrum).real.clamp(0, MAX_INTENSITY)
    return mixed.to(images.dtype) if images.is_floating_point() else mixed.round().to(images.dtype)


def _low_frequency_mask(sides: torch.Size, reach: float, like: Tensor) -> Tensor:
    """Return which frequencies of a transform are exchanged, bool (row, column)."""
    within = int(reach * min(sides))
    rows, columns = (torch.fft.fftfreq(side, 1 / side, device=like.device).abs() <= within for side in sides)
    return rows[:, None] & columns[None, :]


def pseudo_label_loss(logits: Tensor, min_probability: float) -> Tensor:
    """Return the cross-entropy of confident predictions with their own most probable class as label.

    The sum is divided by the number of all images, so that a few confident predictions have little weight; 0 without
    confident predictions.

    ``logits``: float (image, class) of unlabeled images. ``min_probability``: of the most probable class.
    """
    with torch.no_grad():
        probability, label = logits.softmax(1).max(1)
    losses = cross_entropy(logits, label, reduction="none")
    return losses[probability >= min_probability].sum() / max(1, len(logits))


def update_batch_norm_statistics(network: nn.Module, batches: Iterable[Sequence[Tensor]]) -> int:
    """Replace the statistics of batch normalization by those of other images (AdaBN); weights do not change.

    Li et al. 2018, doi:10.1016/j.patcog.2018.03.005.

    ``batches``: arguments of the network for each batch. Returns the number of batches.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, BATCH_NORM_LAYERS) and module.running_mean is not None
    ]
    if not norms:
        raise ConfigError(
            "adabn needs an encoder with batch normalization, but this one has none. Choose another method."
        )
    before = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]
    count = 0
    with ExitStack() as stack, torch.no_grad():
        stack.callback(network.train, network.training)
        network.eval()
        for norm in norms:
            _reset_statistics(norm, stack)
        for batch in batches:
            network(*batch)
            count += 1
    if not count:
        for norm, state in zip(norms, before, strict=True):
            norm.load_state_dict(state)
        raise DataSetError("adabn needs images of the target domain, found none. Set a data set in `to`.")
    return count


def _reset_statistics(norm: nn.Module, stack: ExitStack) -> None:
    """Reset the statistics of a normalization layer and average them over all following batches."""
    stack.callback(setattr, norm, "momentum", norm.momentum)
    norm.reset_running_stats()  # type: ignore[operator] # torch types the methods of modules as tensors
    norm.momentum = None  # type: ignore[assignment] # None: cumulative average
    norm.train()
