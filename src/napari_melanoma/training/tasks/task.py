"""What every task shares as Lightning runs it: batches, optimizer, means; imports torch."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from lightning.pytorch import LightningModule
from torch import nn

from napari_melanoma.models.zoo import find_encoder
from napari_melanoma.training.loader import Rank
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.schedules import ScheduleSteps, schedules
from napari_melanoma.training.seeds import derive_seed

if TYPE_CHECKING:
    import numpy as np
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import DataLoader

    from napari_melanoma.models.bundle import BundleConfig
    from napari_melanoma.training.loader import Loaders

NORMALIZATION_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class Task(LightningModule):
    """A network that learns; the tasks say from what, and how well it does.

    After each epoch ``metrics`` holds ``loss``, ``tuning_loss`` and what the task measures, the value of its monitor
    among them: all over the images of all processes.
    """

    _mean: Tensor
    _std: Tensor
    _idle: nn.Parameter | None

    def __init__(self, network: nn.Module, recipe: TrainRecipe, bundle: BundleConfig) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.recipe = recipe
        self.metrics: dict[str, float] = {}
        self.register_parameter("_idle", make_idle_weight(network))
        # Buffers, so that they lie where the network does; not in checkpoints, for the bundle says them.
        self.register_buffer("_mean", 255 * torch.tensor(bundle.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_std", 255 * torch.tensor(bundle.std).view(1, 3, 1, 1), persistent=False)
        self._training_means = RunningMeans("loss")
        self._loss = torch.tensor(float("nan"))
        self._bad_batch: Tensor | None = None

    @abstractmethod
    def batch_loss(self, batch: Any) -> Tensor:  # noqa: ANN401 - each task has batches of its own
        """Give the loss of a batch that was varied.

        A scalar, the mean over the images.
        """

    @property
    def has_weights(self) -> bool:
        """Whether the network has weights; a baseline without any is looked at for one epoch."""
        return self._idle is None

    def normalize(self, images: Tensor) -> Tensor:
        """Bring images to what the network was made for.

        ``images``: in [0, 255], (batch, 3, row, column). Returns float32 of the same shape, channels last in memory.
        """
        return ((images.float() - self._mean) / self._std).contiguous(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> Self:
        """Switch to learning; statistics of normalisation stay as they are where the recipe says so."""
        super().train(mode)
        if mode and self.recipe.model.freeze_normalisation:
            for module in self.modules():
                if isinstance(module, NORMALIZATION_LAYERS):
                    module.eval()
        return self

    def set_loaders(self, loaders: Loaders, pieces: int) -> None:
        """Say where batches come from; which share this process gets is known when its trainer runs."""
        self._loaders, self._pieces = loaders, pieces

    def train_dataloader(self) -> DataLoader:
        """Give this process's share of what is learnt from."""
        return self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._pieces))[0]

    def val_dataloader(self) -> DataLoader:
        """Give this process's share of what picks the epoch."""
        return self._loaders(Rank(self.trainer.global_rank, self.trainer.world_size, self._pieces))[1]

    def on_train_epoch_start(self) -> None:
        """Forget the numbers of an epoch that was broken off."""
        self._training_means, self._bad_batch = RunningMeans("loss"), None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:  # noqa: ANN401
        """Seed what the network itself draws (dropout), so that a resumed epoch repeats exactly."""
        torch.manual_seed(derive_seed(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ANN401
        """Return the loss of one batch."""
        loss = self.batch_loss(batch)
        self._loss = loss.detach()
        self._training_means.add(len(batch[0]), self._loss)
        self._record_bad_batch(batch_idx)
        return loss if self._idle is None else loss + 0 * self._idle

    def on_train_epoch_end(self) -> None:
        """Take the mean over the epoch."""
        self.metrics = {**self._training_means.reduce(self.device), **self.metrics}

    def last_loss(self) -> float:
        """Read the loss of the last batch; waits for the device.

        Not a number before the first batch.
        """
        return float(self._loss)

    def first_bad_batch(self) -> int | None:
        """Say in which batch of this epoch the loss became no number; waits for the device.

        Counted from 0; None where it is a number still.
        """
        batch = -1 if self._bad_batch is None else int(self._bad_batch)
        return batch if batch >= 0 else None

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Make optimiser and schedule as the recipe says; an encoder that has learnt already moves more slowly."""
        recipe = self.recipe
        pretrained = find_encoder(self.network)
        encoder = list(pretrained.parameters()) if pretrained else []
        known = {id(parameter) for parameter in encoder}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        slower = 1.0 if recipe.model.start == "none" else recipe.encoder_rate
        rates = [recipe.learning_rate * slower, recipe.learning_rate]
        groups: list[dict[str, Any]] = [
            {"params": part, "lr": rate} for part, rate in zip((encoder, rest), rates, strict=True) if part
        ]
        optimiser = OPTIMIZERS[recipe.optimiser](groups, recipe.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = make_schedule(recipe, optimiser, steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _record_bad_batch(self, batch_idx: int) -> None:
        """Keep on the device in which batch the loss first was no number; nobody waits for it here."""
        bad = torch.where(torch.isfinite(self._loss), -1, batch_idx)
        self._bad_batch = bad if self._bad_batch is None else torch.where(self._bad_batch >= 0, self._bad_batch, bad)


class RunningMeans:
    """Means of several quantities over the same images; an image counts once, in whichever process it was."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._sums: Tensor | None = None

    def add(self, count: int, *values: Tensor) -> None:
        """Take the means of a batch."""
        kind = torch.float32 if values[0].device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        new = torch.stack([torch.ones_like(values[0]), *values]).detach().to(kind) * count
        self._sums = new if self._sums is None else self._sums + new

    def reduce(self, device: torch.device) -> dict[str, float]:
        """Give the means over all processes, and begin anew; every process must call it.

        Name to mean; not a number where there was no image.
        """
        sums = self._sums
        if sums is None:
            sums = torch.zeros(len(self._names) + 1, dtype=torch.float32 if device.type == "mps" else torch.float64)
        self._sums = None
        sums = sums.to(device)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        count, *totals = sums.tolist()
        return {name: total / count if count else float("nan") for name, total in zip(self._names, totals, strict=True)}


MOMENTUM = 0.9
Groups = list[dict[str, Any]]


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
    """Give a network that has no weights one that changes nothing: a baseline goes through a run like the others.

    To be added, times zero, to the loss; None where the network has weights.
    """
    return None if any(True for _ in network.parameters()) else torch.nn.Parameter(torch.zeros(()))


def make_schedule(recipe: TrainRecipe, optimizer: Optimizer, steps: int) -> LRScheduler:
    """Build the schedule of a recipe."""
    cycle = max(1, round(recipe.cycle_epochs * steps / recipe.epochs))
    return schedules()[recipe.schedule].build(optimizer, ScheduleSteps(steps, cycle, recipe.cycle_growth))


MAX_CACHE_BYTES = 1 << 30  # of the maps that one kind of encoder remembers
MAX_CACHES = 2  # kinds of encoders


def has_constant_inputs(recipe: TrainRecipe) -> bool:
    """Say whether a frozen encoder sees the same of an image in every epoch.

    False where it learns, or images are varied or mixed.
    """
    asked = recipe.classification
    if asked is None or not asked.freeze_encoder or asked.mixup or asked.cutmix or asked.adaptation.method != "none":
        return False
    return recipe.augmentation.is_off


def cache_encoder(encoder: nn.Module, most_bytes: int = MAX_CACHE_BYTES) -> None:
    """Let an encoder that does not learn look at each image once; other images are looked at as before.

    Only the deepest map is given then, which is what classifiers decide from. Encoders of the same weights, such as
    those of the folds of a cross-validation, share what they saw, as long as no third kind comes. On a graphics card
    nothing is remembered, as looking is quicker there than remembering.

    ``encoder``: float (batch, 3, row, column) to a list of maps, the deepest last; in evaluation mode, without
    gradients. Its weights must not change once it has looked.
    """
    look, found_once = encoder.forward, list[_EncoderCache]()

    def seen(images: Tensor) -> list[Tensor]:
        if not found_once:  # a run that is gone on with gets its weights after it is built
            found_once.append(_find_cache(encoder, most_bytes))
        memory = found_once[0]
        if images.device.type != "cpu" or (torch.is_grad_enabled() and images.requires_grad):
            return cast("list[Tensor]", look(images))
        keys = [_digest_of(image.numpy()) for image in images.contiguous()]
        new = [place for place, key in enumerate(keys) if key not in memory.known]
        if not new:
            return [torch.stack([memory.known[key] for key in keys])]
        with torch.inference_mode(False), torch.no_grad():  # of what is kept somebody may learn later
            found = cast("list[Tensor]", look(images[new]))[-1]
        fresh = dict(zip((keys[place] for place in new), found, strict=True))
        for key, one in fresh.items():
            memory.add(key, one)
        return [torch.stack([fresh[key] if key in fresh else memory.known[key] for key in keys])]

    encoder.forward = seen  # no weight gets another name by it


def reuse_encoder_cache(encoder: nn.Module) -> None:
    """Let an encoder use what others of the same weights remember, where there are such; else it looks as before."""
    if _digest(encoder) in _ENCODER_CACHES:
        cache_encoder(encoder)


def clear_encoder_caches() -> None:
    """Let go of all that encoders remember; those that still look begin anew."""
    for memory in _ENCODER_CACHES.values():
        memory.clear()
    _ENCODER_CACHES.clear()


class _EncoderCache:
    """What an encoder saw: digest of an image to its deepest map."""

    def __init__(self, most_bytes: int) -> None:
        self.known: dict[bytes, Tensor] = {}
        self._most, self._bytes = most_bytes, 0

    def add(self, key: bytes, one: Tensor) -> None:
        """Keep a map, where there is room."""
        if self._bytes + one.nbytes <= self._most:
            self.known[key] = one.clone()
            self._bytes += one.nbytes

    def clear(self) -> None:
        """Let go of all, and have room again."""
        self.known.clear()
        self._bytes = 0


_ENCODER_CACHES: dict[bytes, _EncoderCache] = {}  # by what the encoder is; the one asked for last stands last


def _find_cache(encoder: nn.Module, most_bytes: int) -> _EncoderCache:
    """Find what encoders like this one saw, or begin anew; the oldest is forgotten."""
    digest = _digest(encoder)
    memory = _ENCODER_CACHES.pop(digest, None) or _EncoderCache(most_bytes)
    _ENCODER_CACHES[digest] = memory
    while len(_ENCODER_CACHES) > MAX_CACHES:
        del _ENCODER_CACHES[next(iter(_ENCODER_CACHES))]
    return memory


def _digest_of(image: NDArray[np.float32]) -> bytes:
    """Name an image by its numbers; SHA-1, as processors have it built in."""
    return hashlib.sha1(image.data, usedforsecurity=False).digest()


def _digest(encoder: nn.Module) -> bytes:
    """Tell encoders apart: by what they are made of, and by their weights."""
    digest = hashlib.blake2b(repr(encoder).encode(), digest_size=16)
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
