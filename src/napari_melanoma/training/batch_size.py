"""The largest useful batch, and the cost of one training step."""

from __future__ import annotations

import copy
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import psutil

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.models.inference import is_out_of_memory
from napari_melanoma.training.engine import accelerator, choose_precision, process_count

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_melanoma.training.recipe import TrainRecipe

MAX_BATCH, MIN_BATCH = 256, 2  # of one piece on one device; statistics of normalisation need two
USUAL_BATCH = 8  # images of a step at least, however slow, where memory and data allow: fewer learn unsteadily
SHARE_OF_IMAGES = 4  # an epoch of fewer than four steps learns badly
TOLERATED_SLOWDOWN = 1.1  # for an image than the quickest size; less is noise, on a machine that a person works at
GIVE_UP_SLOWDOWN = 1.5  # larger sizes are not tried after two that are that much slower
SHARE_OF_FREE_MEMORY = 0.5  # what a step on the processor may take of what is free: past that others are pushed out
MIN_REPEATS, MAX_REPEATS, ENOUGH_S = 3, 20, 0.2  # steps are repeated: the quickest of them was disturbed least
LONG_S = 2.0  # whatever takes so long is timed well enough at once
Clock = Callable[[], float]


def smallest_batch_size(recipe: TrainRecipe) -> int:
    """Give the fewest images that a step can be shared out with."""
    return MIN_BATCH * process_count(recipe) * recipe.pieces


def find_batch_size(
    network: nn.Module, recipe: TrainRecipe, images: int, run: RunContext, clock: Clock = time.perf_counter
) -> int:
    """Try real steps of 2, 4, 8 ... random images for each piece on a copy of the network.

    ``clock``: gives seconds. Returns images of a step over all devices: a power of two for each piece of each device,
    at most 256 for a device and at most a quarter of the images; the largest that fits and is not slower for an image
    than the quickest by more than 10 %, but at least 8 where memory and images allow.
    """
    if not any(True for _ in network.parameters()):  # no step to try
        return smallest_batch_size(recipe)
    parts = process_count(recipe) * recipe.pieces
    limit = min(MAX_BATCH // recipe.pieces, images // (SHARE_OF_IMAGES * parts))
    per_image: dict[int, float] = {}

    def look_at(size: int) -> int | None:
        """Time a size; give the memory that it took, or None where it has not enough."""
        run.check()
        try:
            seconds, taken = time_steps(network, recipe, size, clock)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        per_image[size] = min(seconds / size, per_image.get(size, math.inf))
        return taken

    size = MIN_BATCH
    while size <= limit:
        free = psutil.virtual_memory().available
        taken = look_at(size)
        if taken is None or 2 * taken > SHARE_OF_FREE_MEMORY * free or _is_too_slow(list(per_image.values())):
            break
        size *= 2
    for size in [size for size, seconds in per_image.items() if size * seconds < LONG_S]:
        look_at(size)  # once more, later: whatever disturbed it has ended, or disturbs the others as well
    release_memory(accelerator(recipe))
    return parts * _choose_size(per_image, parts)


def _is_too_slow(per_image: Sequence[float]) -> bool:
    """Say whether two sizes one after the other were far too slow; one alone may have been disturbed."""
    return len(per_image) > 2 and min(per_image[-2:]) > GIVE_UP_SLOWDOWN * min(per_image)


def _choose_size(per_image: Mapping[int, float], parts: int) -> int:
    """Choose among the sizes of a piece that were tried, from small to large."""
    if not per_image:
        return MIN_BATCH
    quickest = min(per_image.values())
    best = max(size for size, seconds in per_image.items() if seconds <= TOLERATED_SLOWDOWN * quickest)
    return max(best, next((size for size in per_image if parts * size >= USUAL_BATCH), max(per_image)))


def time_steps(network: nn.Module, recipe: TrainRecipe, size: int, clock: Clock) -> tuple[float, int]:
    """Run a step to warm up and some that count, on a copy of a network.

    ``size``: images, of random pixels. ``clock``: gives seconds. Bytes of main memory.
    """
    import torch

    device = accelerator(recipe)
    before = psutil.Process().memory_info().rss
    model = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameters())
    side, mixed = recipe.model.input_size, choose_precision(recipe) == "bf16-mixed"
    images = torch.rand(size, 3, side, side).to(device, memory_format=torch.channels_last)
    beside = _dummy_table_inputs(model, size, device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            loss = model(images, *beside).float().square().mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    step()
    times: list[float] = []
    while sum(times) < LONG_S and (len(times) < MIN_REPEATS or (len(times) < MAX_REPEATS and sum(times) < ENOUGH_S)):
        _synchronize(device)
        began = clock()
        step()
        _synchronize(device)
        times.append(clock() - began)
    return min(times), max(0, psutil.Process().memory_info().rss - before)


def _synchronize(device: str) -> None:
    """Wait until a device has done all that it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


PROBE_IMAGES = {"cpu": 2, "mps": 4, "cuda": 8}  # images of the measured step: a graphics card is idle with fewer
MAX_PROBE_IMAGES = 16  # of smaller ones more are measured: what a step costs whatever its images would count too much
PROBE_SIDE = {"cpu": 256, "mps": 512, "cuda": 512}  # of its input; a larger one costs more by its area
STEP_ENOUGH_S, MOST_STEPS = 0.5, 5  # steps are repeated until they took so long together, or so often
OPTIMIZER_STATES = {"adamw": 2, "adam": 2, "sgd": 1}
FLOAT_BYTES = 4


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
        return _measure_step(recipe, device, clock)
    finally:  # of whoever goes on living, such as the viewer's worker, beside a training that needs the memory
        release_memory(device)


def release_memory(device: str) -> None:
    """Give memory that nothing uses any more back to a device."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()


def _measure_step(recipe: TrainRecipe, device: str, clock: Clock) -> StepCost:
    """Measure on a device."""
    import torch

    side = min(recipe.model.input_size, PROBE_SIDE[device])
    larger = (recipe.model.input_size / side) ** 2
    model = recipe.model.model_copy(update={"input_size": side})
    trial = _StepProbe(recipe.model_copy(update={"model": model}), device)
    with _saved_tensor_sizes() as kept:
        trial.forward_backward()
    apart = {parameter.untyped_storage().data_ptr() for parameter in trial.network.parameters()}
    saved = sum(size for place, size in kept.items() if place not in apart)
    learn_s = _fastest_seconds(trial.forward_backward, device, clock)
    update_s = _fastest_seconds(trial.step_optimizer, device, clock)
    with torch.inference_mode():
        trial.network.eval()
        forward_s = _fastest_seconds(trial.predict, device, clock)
    weights = FLOAT_BYTES * sum(parameter.numel() for parameter in trial.network.parameters())
    copies = 2 + OPTIMIZER_STATES[recipe.optimiser] + (recipe.ema_decay > 0)
    return StepCost(
        image_s=larger * learn_s / trial.images,
        update_s=update_s,
        forward_s=larger * forward_s / trial.images,
        image_bytes=round(larger * saved / trial.images),
        fixed_bytes=weights * copies,
        device=device,
        precision=choose_precision(recipe),
    )


class _StepProbe:
    """A network with all that a step needs, and a few random images."""

    def __init__(self, recipe: TrainRecipe, device: str) -> None:
        import numpy as np
        import torch

        from napari_melanoma.models.zoo import build_network
        from napari_melanoma.training.augment.batch import BatchAugmentation
        from napari_melanoma.training.augment.random_numbers import PartnerSampler
        from napari_melanoma.training.losses import make_class_loss, make_loss
        from napari_melanoma.training.tasks.task import OPTIMIZERS, make_idle_weight

        side = recipe.data.cache_size
        smaller = (PROBE_SIDE[device] / min(recipe.model.input_size, PROBE_SIDE[device])) ** 2
        self.images = min(round(PROBE_IMAGES[device] * smaller), max(PROBE_IMAGES[device], MAX_PROBE_IMAGES))
        self._recipe, self._device = recipe, device
        self._mixed = choose_precision(recipe) == "bf16-mixed"
        network: nn.Module = build_network(recipe.model.architecture, recipe.model.options)
        self.network = network.to(device).to(memory_format=torch.channels_last).train()
        if recipe.model.freeze_normalisation:
            _freeze_normalization(self.network)
        self._labels = len(recipe.classes)
        self._augment = BatchAugmentation(
            recipe.augmentation, recipe.model.input_size, recipe.seed, max(1, self._labels)
        )
        self._classifies = recipe.task == "classification"
        self._loss = make_class_loss(recipe.loss) if self._classifies else make_loss(recipe.loss)
        self._idle = make_idle_weight(self.network)
        _freeze_encoder(self.network, recipe)
        moving = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        weights = moving if self._idle is None else [self._idle]
        groups = [{"params": weights, "lr": recipe.learning_rate}]
        self._optimizer = OPTIMIZERS[recipe.optimiser](groups, recipe.weight_decay)
        draw = torch.Generator().manual_seed(0)
        self._keys = np.stack([np.zeros(self.images, np.int64), np.arange(self.images)], axis=1)
        count = self.images + len(PartnerSampler(recipe.augmentation, recipe.seed, self.images).sample(self._keys))
        pixels = torch.randint(256, (count, 4, side, side), dtype=torch.uint8, generator=draw).to(device)
        self._pixels, self._masks = pixels[:, :3], pixels[:, 3:]
        if self._labels:
            self._masks = self._masks % self._labels

    def forward_backward(self) -> None:
        """Vary the images, answer, and go back."""
        images, masks = self._augment(self._pixels, self._masks, self._keys)
        logits = self._logits(images)
        softly = self._classifies or self._labels  # answers that cost as much as the true ones
        loss = self._loss(logits, logits.detach().softmax(dim=1) if softly else masks.float() / 255)
        (loss if self._idle is None else loss + 0 * self._idle).backward()

    def step_optimizer(self) -> None:
        """Move the weights."""
        self._optimizer.step()

    def predict(self) -> None:
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
def _saved_tensor_sizes() -> Iterator[dict[int, int]]:
    """Note what is kept for the backward pass: the place of each piece of memory and its bytes."""
    import torch

    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:  # noqa: ANN401 - torch's signature
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


def _freeze_normalization(network: nn.Module) -> None:
    """Keep statistics as they are, as the task does; it takes another time."""
    from napari_melanoma.training.tasks.task import NORMALIZATION_LAYERS

    for module in network.modules():
        if isinstance(module, NORMALIZATION_LAYERS):
            module.eval()


def _freeze_encoder(network: nn.Module, recipe: TrainRecipe) -> None:
    """Let only what stands behind the encoder learn, where the recipe asks for it."""
    from napari_melanoma.models.zoo import find_encoder

    encoder = find_encoder(network)
    if encoder is not None and recipe.classification is not None and recipe.classification.freeze_encoder:
        encoder.requires_grad_(False)


def _fastest_seconds(work: Callable[[], None], device: str, clock: Clock) -> float:
    """Time what is done again and again; the quickest counts, for the others were disturbed."""
    times: list[float] = []
    while len(times) < MOST_STEPS and sum(times) < STEP_ENOUGH_S:
        _synchronize(device)
        began = clock()
        work()
        _synchronize(device)
        times.append(clock() - began)
    return min(times)


Precision = Literal["fp32", "bf16"]
PRECISION_IMAGES = 2 * MIN_BATCH
PRECISION_ROUNDS = 2  # by turns: whatever else the machine does disturbs both
MIN_SPEEDUP = 1.1  # times as fast: for less nobody gives digits away


def find_precision(
    network: nn.Module, recipe: TrainRecipe, run: RunContext = NULL_CONTEXT, clock: Clock = time.perf_counter
) -> Precision:
    """Decide between float32 and bfloat16.

    ``clock``: gives seconds. On a processor with bfloat16, this where steps of a few images take a tenth less time in
    it than in float32.
    """
    chosen: Precision = "bf16" if choose_precision(recipe) == "bf16-mixed" else "fp32"
    learns = any(True for _ in network.parameters())
    if recipe.precision != "auto" or chosen == "fp32" or accelerator(recipe) != "cpu" or not learns:
        return chosen
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    try:
        for _ in range(PRECISION_ROUNDS):
            for precision, times in seconds.items():
                run.check()
                tried = recipe.model_copy(update={"precision": precision})
                times.append(time_steps(network, tried, PRECISION_IMAGES, clock)[0])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return "bf16"  # it takes less
    return "bf16" if min(seconds["fp32"]) >= MIN_SPEEDUP * min(seconds["bf16"]) else "fp32"


def _dummy_table_inputs(network: nn.Module, count: int, device: str) -> tuple[Tensor, ...]:
    """Zeros for the tabular inputs of a classifier, (row, input) and int64 (row, embedding); () for other networks."""
    import torch

    from napari_melanoma.models.blocks.classifier import ClassifierNetwork

    if not isinstance(network, ClassifierNetwork):
        return ()
    shape = network.tabular
    continuous = torch.zeros(count, shape.continuous, device=device)
    return continuous, torch.zeros(count, len(shape.cardinalities), dtype=torch.int64, device=device)
