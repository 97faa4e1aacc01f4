"""What one step of learning costs here, in time and memory: measured on the network itself; imports torch late."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_melanoma.training.engine import accelerator, choose_precision

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_melanoma.training.recipe import TrainRecipe

PROBE = {"cpu": 2, "mps": 4, "cuda": 8}  # images of the measured step: a graphics card is idle with fewer
MOST_IMAGES = 16  # of smaller ones more are measured: what a step costs whatever its images would count too much
SIDE = {"cpu": 256, "mps": 512, "cuda": 512}  # of its input; a larger one costs more by its area
ENOUGH_S, MOST = 0.5, 5  # steps are repeated until they took so long together, or so often
MOMENTS = {"adamw": 2, "adam": 2, "sgd": 1}
FLOAT = 4

Clock = Callable[[], float]


@dataclass(frozen=True)
class StepCost:
    """What learning costs on this machine.

    ``image_s``: seconds for an image of a step: variation, forward and backward pass. ``update_s``: seconds for the
    optimiser, once a step. ``forward_s``: seconds for an image that is only answered.
    """

    image_s: float
    update_s: float
    forward_s: float
    image_bytes: int
    fixed_bytes: int
    device: str
    precision: str


def measure_step(recipe: TrainRecipe, clock: Clock = time.perf_counter) -> StepCost:
    """Run a few small steps of a recipe's network, with random weights on random images; gradients pile up unused.

    ``clock``: gives seconds.
    """
    device = accelerator(recipe)
    try:
        return _measured(recipe, device, clock)
    finally:  # of whoever goes on living, such as the viewer's worker, beside a training that needs the memory
        let_go(device)


def let_go(device: str) -> None:
    """Give memory that nothing uses any more back to a device."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def _measured(recipe: TrainRecipe, device: str, clock: Clock) -> StepCost:
    """Measure on a device."""
    import torch

    side = min(recipe.model.input_size, SIDE[device])
    larger = (recipe.model.input_size / side) ** 2
    model = recipe.model.model_copy(update={"input_size": side})
    trial = _Trial(recipe.model_copy(update={"model": model}), device)
    with _kept() as kept:
        trial.learn()
    apart = {parameter.untyped_storage().data_ptr() for parameter in trial.network.parameters()}
    saved = sum(size for place, size in kept.items() if place not in apart)
    learn_s = _seconds(trial.learn, device, clock)
    update_s = _seconds(trial.update, device, clock)
    with torch.inference_mode():
        trial.network.eval()
        forward_s = _seconds(trial.answer, device, clock)
    weights = FLOAT * sum(parameter.numel() for parameter in trial.network.parameters())
    copies = 2 + MOMENTS[recipe.optimiser] + (recipe.ema_decay > 0)
    return StepCost(
        image_s=larger * learn_s / trial.images,
        update_s=update_s,
        forward_s=larger * forward_s / trial.images,
        image_bytes=round(larger * saved / trial.images),
        fixed_bytes=weights * copies,
        device=device,
        precision=choose_precision(recipe),
    )


class _Trial:
    """A network with all that a step needs, and a few random images."""

    def __init__(self, recipe: TrainRecipe, device: str) -> None:
        import numpy as np
        import torch

        from napari_melanoma.models.zoo import build_network
        from napari_melanoma.training.augment.batch import BatchAugmentation
        from napari_melanoma.training.augment.partners import Partners
        from napari_melanoma.training.losses import make_class_loss, make_loss
        from napari_melanoma.training.optimisation import OPTIMISERS, idle_weight

        side = recipe.data.cache_size
        smaller = (SIDE[device] / min(recipe.model.input_size, SIDE[device])) ** 2
        self.images = min(round(PROBE[device] * smaller), max(PROBE[device], MOST_IMAGES))
        self._recipe, self._device = recipe, device
        self._mixed = choose_precision(recipe) == "bf16-mixed"
        network: nn.Module = build_network(recipe.model.architecture, recipe.model.options)
        self.network = network.to(device).to(memory_format=torch.channels_last).train()
        if recipe.model.freeze_normalisation:
            _freeze_normalisation(self.network)
        self._labels = len(recipe.classes)
        self._augment = BatchAugmentation(
            recipe.augmentation, recipe.model.input_size, recipe.seed, max(1, self._labels)
        )
        self._classifies = recipe.task == "classification"
        self._loss = make_class_loss(recipe.loss) if self._classifies else make_loss(recipe.loss)
        self._idle = idle_weight(self.network)
        _freeze_encoder(self.network, recipe)
        moving = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        weights = moving if self._idle is None else [self._idle]
        groups = [{"params": weights, "lr": recipe.learning_rate}]
        self._optimiser = OPTIMISERS[recipe.optimiser](groups, recipe.weight_decay)
        draw = torch.Generator().manual_seed(0)
        self._keys = np.stack([np.zeros(self.images, np.int64), np.arange(self.images)], axis=1)
        count = self.images + len(Partners(recipe.augmentation, recipe.seed, self.images).of(self._keys))
        pixels = torch.randint(256, (count, 4, side, side), dtype=torch.uint8, generator=draw).to(device)
        self._pixels, self._masks = pixels[:, :3], pixels[:, 3:]
        if self._labels:
            self._masks = self._masks % self._labels

    def learn(self) -> None:
        """Vary the images, answer, and go back."""
        images, masks = self._augment(self._pixels, self._masks, self._keys)
        logits = self._logits(images)
        softly = self._classifies or self._labels  # answers that cost as much as the true ones
        loss = self._loss(logits, logits.detach().softmax(dim=1) if softly else masks.float() / 255)
        (loss if self._idle is None else loss + 0 * self._idle).backward()

    def update(self) -> None:
        """Move the weights."""
        self._optimiser.step()

    def answer(self) -> None:
        """Answer without learning."""
        side = self._recipe.model.input_size
        self._logits(self._pixels[: self.images, :, :1, :1].float().expand(-1, -1, side, side))

    def _logits(self, images: Tensor) -> Tensor:
        import torch

        images = (images / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device, torch.bfloat16, enabled=self._mixed):
            if not self._classifies:
                return self.network(images).float()
            row = torch.zeros(len(images), 0, device=self._device)  # what a table adds costs next to nothing
            return self.network(images, row, row.long()).float()


@contextmanager
def _kept() -> Iterator[dict[int, int]]:
    """Note what is kept for the backward pass: the place of each piece of memory and its bytes."""
    import torch

    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:  # noqa: ANN401 - torch's signature
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def _freeze_normalisation(network: nn.Module) -> None:
    """Keep statistics as they are, as the task does; it takes another time."""
    from napari_melanoma.training.task import NORMALISATION

    for module in network.modules():
        if isinstance(module, NORMALISATION):
            module.eval()


def _freeze_encoder(network: nn.Module, recipe: TrainRecipe) -> None:
    """Let only what stands behind the encoder learn, where the recipe asks for it."""
    from napari_melanoma.models.zoo import encoder_of

    encoder = encoder_of(network)
    if encoder is not None and recipe.classification is not None and recipe.classification.freeze_encoder:
        encoder.requires_grad_(False)


def _seconds(work: Callable[[], None], device: str, clock: Clock) -> float:
    """Time what is done again and again; the quickest counts, for the others were disturbed."""
    times: list[float] = []
    while len(times) < MOST and sum(times) < ENOUGH_S:
        _wait(device)
        began = clock()
        work()
        _wait(device)
        times.append(clock() - began)
    return min(times)


def _wait(device: str) -> None:
    """Wait until a device has done all that it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
