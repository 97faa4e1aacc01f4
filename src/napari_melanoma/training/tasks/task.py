"""The base class of all tasks (a Lightning module), the optimizers, and a feature cache for frozen encoders.

Imports torch.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.models.torch_inference import memory_layout
from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.training.loader import EpochSampler, Loaders, Rank
from napari_melanoma.training.random_numbers import derive_seed
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.schedules import ScheduleSteps, schedules

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import DataLoader


NORMALIZATION_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
MOMENTUM = 0.9
MAX_CACHE_BYTES = 1 << 30  # for the feature maps of one encoder
MAX_CACHES = 2  # encoders
Groups = list[dict[str, Any]]  # parameter groups of an optimizer: "params" and "lr"


class Task(LightningModule):
    """A network in training; subclasses define loss and evaluation.

    After each epoch ``metrics`` holds ``loss``, ``validation_loss`` and the measures of the task, including its
    monitor, over the images of all processes.
    """

    _mean: Tensor
    _std: Tensor
    _idle: nn.Parameter | None

    def __init__(self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig) -> None:
        super().__init__()
        self.network = network.to(memory_format=memory_layout(self.device))
        self.recipe = recipe
        self.metrics: dict[str, float] = {}
        self.register_parameter("_idle", make_idle_weight(network))
        # Buffers follow the network to its device; they are not in checkpoints, as the bundle stores these values.
        self.register_buffer("_mean", 255 * torch.tensor(bundle.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(bundle.std).view(1, 3, 1, 1), persistent=False)
        self.training_means = RunningMeans("loss")
        self.resumed_at = (0, 0)  # epoch, and number of its steps that were finished before
        self._loss = torch.tensor(float("nan"))
        self._bad_batch: Tensor | None = None

    @abstractmethod
    def batch_loss(self, batch: Any) -> Tensor:  # noqa: ANN401 - each task has its own batches
        """Return the loss of an augmented batch, a scalar mean over the images."""

    @property
    def has_weights(self) -> bool:
        """Whether the network has weights; a baseline without weights runs for one epoch."""
        return self._idle is None

    def normalize(self, images: Tensor) -> Tensor:
        """Standardize images for the network, by the mean and spread in its bundle.

        ``images``: (batch, 3, row, column) in [0, 255]. Returns float32 of the same shape.
        """
        return ((images.float() - self._mean) / self._std).contiguous(memory_format=memory_layout(images.device))

    def to(self, *args: Any, **options: Any) -> Self:  # noqa: ANN401 - as torch declares it
        """Move the network, and arrange its weights for the device."""
        super().to(*args, **options)
        self.network.to(memory_format=memory_layout(self.device))
        return self

    def train(self, mode: bool = True) -> Self:
        """Switch to training; the recipe may freeze the statistics of normalization."""
        super().train(mode)
        if mode and self.recipe.model.freeze_normalisation:
            freeze_normalization(self)
        return self

    def set_loaders(self, loaders: Loaders, accumulate_batches: int) -> None:
        """Set the function that creates the loaders, and the number of micro-batches of a step.

        The loaders are created later, when the trainer knows the rank of this process.
        """
        self._loaders, self._accumulate_batches = loaders, accumulate_batches

    def train_dataloader(self) -> DataLoader:
        """Return this process's share of the training data."""
        loader = self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._accumulate_batches))[0]
        cast("EpochSampler", loader.sampler).resume_at(*self.resumed_at)
        return loader

    def val_dataloader(self) -> DataLoader:
        """Return this process's share of the validation data."""
        return self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._accumulate_batches))[1]

    def on_train_epoch_start(self) -> None:
        """Reset the means of an interrupted epoch."""
        self.training_means, self._bad_batch = RunningMeans("loss"), None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Seed the network's own random numbers (dropout), so that a resumed epoch repeats exactly."""
        torch.manual_seed(derive_seed(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
        """Return the loss of one batch."""
        loss = self.batch_loss(batch)
        self._loss = loss.detach()
        self.training_means.add(len(batch[0]), self._loss)
        self._record_bad_batch(batch_idx)
        return loss if self._idle is None else loss + 0 * self._idle

    def on_train_epoch_end(self) -> None:
        """Average the loss over the epoch."""
        self.metrics = {**self.training_means.reduce(self.device), **self.metrics}

    def last_loss(self) -> float:
        """Return the loss of the last batch, NaN before the first one; synchronizes with the device."""
        return float(self._loss)

    def first_bad_batch(self) -> int | None:
        """Return the first batch of this epoch with a non-finite loss, or None; synchronizes with the device."""
        batch = -1 if self._bad_batch is None else int(self._bad_batch)
        return batch if batch >= 0 else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Create optimizer and schedule; a pretrained encoder has a lower learning rate."""
        recipe = self.recipe
        encoder_module = find_encoder(self.network)
        encoder = list(encoder_module.parameters()) if encoder_module else []
        encoder_ids = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in encoder_ids]
        multiplier = 1.0 if recipe.model.start == "none" else recipe.encoder_rate
        rates = [recipe.learning_rate * multiplier, recipe.learning_rate]
        groups: list[dict[str, Any]] = [
            {"params": part, "lr": rate} for part, rate in zip((encoder, rest), rates, strict=True) if part
        ]
        optimizer = OPTIMIZERS[recipe.optimiser](groups, recipe.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = make_schedule(recipe, optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _record_bad_batch(self, batch_idx: int) -> None:
        """Record the first batch with a non-finite loss on the device, without synchronizing."""
        bad = torch.where(torch.isfinite(self._loss), -1, batch_idx)
        self._bad_batch = bad if self._bad_batch is None else torch.where(self._bad_batch >= 0, self._bad_batch, bad)


class RunningMeans:
    """Means of several quantities over the images of all processes."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._sums: Tensor | None = None

    def add(self, count: int, *values: Tensor) -> None:
        kind = torch.float32 if values[0].device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        new = torch.stack([torch.ones_like(values[0]), *values]).detach().to(kind) * count
        self._sums = new if self._sums is None else self._sums.to(new) + new

    def gather(self, device: torch.device) -> Tensor:
        """Return the sums of each process, (process, 1 + name), on the CPU; every process must call it."""
        sums = self._local_sums(device)
        gathered = [sums]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            gathered = [torch.empty_like(sums) for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather(gathered, sums)
        return torch.stack(gathered).cpu()

    def restore(self, sums: Tensor, rank: int, world_size: int) -> None:
        """Continue with the sums of ``gather``; those of another number of processes go to the first process."""
        if len(sums) == world_size:
            self._sums = sums[rank]
        else:
            self._sums = sums.sum(0) if rank == 0 else None

    def _local_sums(self, device: torch.device) -> Tensor:
        if self._sums is not None:
            return self._sums.to(device)
        kind = torch.float32 if device.type == "mps" else torch.float64
        return torch.zeros(len(self._names) + 1, dtype=kind, device=device)

    def reduce(self, device: torch.device) -> dict[str, float]:
        """Return the means over all processes by name and reset; every process must call it. NaN without images."""
        sums = self._local_sums(device).clone()
        self._sums = None
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        count, *totals = sums.tolist()
        return {name: total / count if count else float("nan") for name, total in zip(self._names, totals, strict=True)}


def adamw(groups: Groups, weight_decay: float) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""
    return torch.optim.AdamW(groups, weight_decay=weight_decay)


def adam(groups: Groups, weight_decay: float) -> Optimizer:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980), weight decay as a penalty in the loss."""
    return torch.optim.Adam(groups, weight_decay=weight_decay)


def sgd(groups: Groups, weight_decay: float) -> Optimizer:
    """Gradient descent with Nesterov's momentum of 0.9."""
    return torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[[Groups, float], Optimizer]] = {make.__name__: make for make in (adamw, adam, sgd)}


def make_idle_weight(network: nn.Module) -> nn.Parameter | None:
    """Return a dummy weight for a network without weights, so that a baseline can be trained like other networks.

    Multiplied by zero, it is added to the loss. None if the network has weights.
    """
    return None if any(True for _ in network.parameters()) else torch.nn.Parameter(torch.zeros(()))


def freeze_normalization(network: nn.Module) -> None:
    """Keep the statistics of batch normalization fixed, until the network is set to training again."""
    for module in network.modules():
        if isinstance(module, NORMALIZATION_LAYERS):
            module.eval()


def make_schedule(recipe: TrainRecipe, optimizer: Optimizer, steps: int) -> LRScheduler:
    cycle = max(1, round(recipe.cycle_epochs * steps / recipe.epochs))
    return schedules()[recipe.schedule].build(optimizer, ScheduleSteps(steps, cycle, recipe.cycle_growth))


def count_encoder_inputs(recipe: TrainRecipe) -> int:
    """Count the different inputs of a frozen encoder for each image over all epochs; 0 if they change with each epoch.

    Without augmentation these are the image and, if images are flipped, its mirror image; with augmentation, the
    ``augmented_versions`` of the recipe.
    """
    config = recipe.classification
    if (
        config is None
        or not config.freeze_encoder
        or config.mixup
        or config.cutmix
        or config.adaptation.method != "none"
    ):
        return 0
    return 1 + recipe.augmentation.flip if recipe.augmentation.is_off else config.augmented_versions


def cache_encoder(encoder: nn.Module, max_bytes: int = MAX_CACHE_BYTES, *, half: bool = False) -> None:
    """Cache the features of a frozen encoder, so that they are computed once for each image.

    Only the deepest map is cached, the one that classifiers use. Encoders with the same weights, such as those of the
    folds of a cross-validation, share a cache; at most two caches are kept. On a GPU nothing is cached, as computing
    the features is faster than the lookup.

    ``encoder``: maps float (batch, 3, row, column) to a list of maps, the deepest last; in evaluation mode, without
    gradients. Its weights must not change after the first call. ``half``: use a separate cache with maps rounded to
    half precision, which holds twice as many images.
    """
    forward, caches = encoder.forward, list[_EncoderCache]()

    def cached_forward(images: Tensor) -> list[Tensor]:
        if not caches:  # a resumed run loads its weights after the network is built
            caches.append(_find_cache(encoder, max_bytes, half=half))
        cache = caches[0]
        if images.device.type != "cpu" or (torch.is_grad_enabled() and images.requires_grad):
            return cast("list[Tensor]", forward(images))
        # Processors compute SHA-1 in hardware.
        keys = [hashlib.sha1(image.numpy().data, usedforsecurity=False).digest() for image in images.contiguous()]
        new = [index for index, key in enumerate(keys) if key not in cache.maps]
        if not new:
            return [torch.stack([cache.maps[key] for key in keys]).float()]
        with torch.inference_mode(False), torch.no_grad():  # cached maps may be used in training later
            maps = cast("list[Tensor]", forward(images[new]))[-1]
            maps = maps.half() if half else maps
        fresh = dict(zip((keys[index] for index in new), maps, strict=True))
        for key, feature_map in fresh.items():
            cache.add(key, feature_map)
        return [torch.stack([fresh[key] if key in fresh else cache.maps[key] for key in keys]).float()]

    encoder.forward = cached_forward  # keeps the names of the weights


def reuse_encoder_cache(encoder: nn.Module) -> None:
    """Use the feature cache of another encoder with the same weights, if there is one."""
    if _encoder_digest(encoder) in _ENCODER_CACHES:
        cache_encoder(encoder)


def clear_encoder_caches() -> None:
    """Discard all cached features; encoders in use start again with an empty cache."""
    for cache in _ENCODER_CACHES.values():
        cache.clear()
    _ENCODER_CACHES.clear()


class _EncoderCache:
    """The deepest feature map of each image, by the digest of the image."""

    def __init__(self, max_bytes: int) -> None:
        self.maps: dict[bytes, Tensor] = {}
        self._max_bytes, self._bytes = max_bytes, 0

    def add(self, key: bytes, feature_map: Tensor) -> None:
        """Store a map if there is room."""
        if self._bytes + feature_map.nbytes <= self._max_bytes:
            self.maps[key] = feature_map.clone()
            self._bytes += feature_map.nbytes

    def clear(self) -> None:
        self.maps.clear()
        self._bytes = 0


# By the digest of the encoder and the precision; the most recently used cache is last.
_ENCODER_CACHES: dict[bytes, _EncoderCache] = {}


def _find_cache(encoder: nn.Module, max_bytes: int, *, half: bool) -> _EncoderCache:
    """Find or create the cache of an encoder; the least recently used one is discarded."""
    digest = _encoder_digest(encoder) + (b"half" if half else b"")
    cache = _ENCODER_CACHES.pop(digest, None) or _EncoderCache(max_bytes)
    _ENCODER_CACHES[digest] = cache
    while len(_ENCODER_CACHES) > MAX_CACHES:
        del _ENCODER_CACHES[next(iter(_ENCODER_CACHES))]
    return cache


def _encoder_digest(encoder: nn.Module) -> bytes:
    digest = hashlib.blake2b(repr(encoder).encode(), digest_size=16)
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
