"""Time training steps on this machine to find the cost of a recipe, the best batch size and the faster precision."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.models.inference import is_out_of_memory, memory_layout
from napari_melanoma.training.engine import accelerator, choose_precision, process_count, release_memory

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_melanoma.models.inference import Precision
    from napari_melanoma.training.recipe import TrainRecipe


LONG_S = 2.0  # a step of this duration needs no repetition
PROBE_IMAGES = {"cpu": 2, "mps": 4, "cuda": 8}  # images of the timed step; fewer leave a GPU idle
MAX_PROBE_IMAGES = 16  # smaller images are timed in larger numbers, so that fixed costs of a step weigh less
COUNTED_IMAGES = 2  # batch normalization needs two
PROBE_SIDE = {"cpu": 256, "mps": 512, "cuda": 512}  # input side; the cost of a larger input scales with its area
OPTIMIZER_STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers that an optimizer stores for each weight
FLOAT_BYTES = 4
Clock = Callable[[], float]


class Repeats(NamedTuple):
    """How often a step is timed.

    At least ``least`` times, then until the total reaches ``enough_s`` seconds or ``most`` times; no further repetition
    once the total reaches ``long_s``.
    """

    least: int
    most: int
    enough_s: float
    long_s: float = math.inf


PROBE_REPEATS, SIZE_REPEATS = Repeats(1, 5, 0.5), Repeats(3, 20, 0.2, LONG_S)


def fastest_seconds(
    step: Callable[[], None], device: str, clock: Clock = time.perf_counter, repeats: Repeats = PROBE_REPEATS
) -> float:
    """Repeat a step and return its shortest time; other programs may have slowed down the rest.

    ``clock``: returns seconds.
    """
    times: list[float] = []
    while sum(times) < repeats.long_s and (
        len(times) < repeats.least or (len(times) < repeats.most and sum(times) < repeats.enough_s)
    ):
        _synchronize(device)
        began = clock()
        step()
        _synchronize(device)
        times.append(clock() - began)
    return min(times)


def _synchronize(device: str) -> None:
    """Wait until a device has finished all queued work."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def time_steps(network: nn.Module, recipe: TrainRecipe, size: int, clock: Clock) -> tuple[float, int]:
    """Time training steps on a copy of a network, after one step to warm up.

    ``size``: number of random images. ``clock``: returns seconds. Returns the seconds of the fastest step, and the
    bytes of main memory that the steps took.
    """
    import torch

    device = accelerator(recipe)
    before = psutil.Process().memory_info().rss
    model = copy.deepcopy(network).to(device).to(memory_format=memory_layout(device)).train()
    optimizer = torch.optim.AdamW(model.parameters())
    side, mixed = recipe.model.input_size, choose_precision(recipe) == "bf16-mixed"
    images = torch.rand(size, 3, side, side).to(device, memory_format=memory_layout(device))
    table_inputs = _dummy_table_inputs(model, size, device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            loss = model(images, *table_inputs).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    seconds = fastest_seconds(step, device, clock, SIZE_REPEATS)
    return seconds, max(0, psutil.Process().memory_info().rss - before)


def _dummy_table_inputs(network: nn.Module, count: int, device: str) -> tuple[Tensor, ...]:
    """Zeros for the tabular inputs of a classifier, (row, input) and int64 (row, embedding); () for other networks."""
    import torch

    from napari_melanoma.models.blocks.classifier import ClassifierNetwork

    if not isinstance(network, ClassifierNetwork):
        return ()
    shape = network.tabular
    continuous = torch.zeros(count, shape.continuous, device=device)
    return continuous, torch.zeros(count, len(shape.cardinalities), dtype=torch.int64, device=device)


@dataclass(frozen=True)
class StepCost:
    """Cost of training on this machine.

    ``image_s``: seconds per image of a step: augmentation, forward and backward pass. ``update_s``: seconds of the
    optimizer per step. ``forward_s``: seconds per image for prediction only. ``image_bytes``: memory of the stored
    activations per image. ``fixed_bytes``: memory of weights, gradients and optimizer.
    """

    image_s: float
    update_s: float
    forward_s: float
    image_bytes: int
    fixed_bytes: int
    device: str
    precision: str


def measure_step(recipe: TrainRecipe, clock: Clock = time.perf_counter) -> StepCost:
    """Time a few small steps of a recipe's network, with random weights on random images.

    ``clock``: returns seconds.
    """
    device = accelerator(recipe)
    try:
        return _measure_step(recipe, device, clock)
    finally:  # a long-lived process, such as the viewer's worker, must not hold memory that a training needs
        release_memory(device)


def _measure_step(recipe: TrainRecipe, device: str, clock: Clock) -> StepCost:
    import torch

    side = min(recipe.model.input_size, PROBE_SIDE[device])
    area_ratio = (recipe.model.input_size / side) ** 2
    model = recipe.model.model_copy(update={"input_size": side})
    probe = _StepProbe(recipe.model_copy(update={"model": model}), device)
    with _saved_tensor_sizes() as saved_sizes:
        probe.forward_backward()
    saved = _activation_bytes(probe.network, saved_sizes)
    learn_s = fastest_seconds(probe.forward_backward, device, clock)
    update_s = fastest_seconds(probe.step_optimizer, device, clock)
    with torch.inference_mode():
        probe.network.eval()
        forward_s = fastest_seconds(probe.predict, device, clock)
    return StepCost(
        image_s=area_ratio * learn_s / probe.images,
        update_s=update_s,
        forward_s=area_ratio * forward_s / probe.images,
        image_bytes=round(area_ratio * saved / probe.images),
        fixed_bytes=_fixed_bytes(sum(parameter.numel() for parameter in probe.network.parameters()), recipe),
        device=device,
        precision=choose_precision(recipe),
    )


# Work of a byte that is written and read again, in floating-point operations. Counted operations alone would rank
# depthwise convolutions, which mostly move data, far too low.
BYTE_WORK = 16


@dataclass(frozen=True)
class StepCounts:
    """Work of a network for one image, counted without running it, to scale the measured cost of another network.

    ``operations``: of a prediction, floating point. ``activation_bytes``: of its layers. ``stored_bytes``: of those
    that a training step stores. ``parameters``: of the whole network.
    """

    operations: float
    activation_bytes: float
    stored_bytes: float
    parameters: int
    has_frozen_encoder: bool

    @property
    def prediction_work(self) -> float:
        """Relative time of a prediction."""
        return self.operations + BYTE_WORK * self.activation_bytes

    @property
    def training_work(self) -> float:
        """Relative time of a training step: the backward pass takes twice as long as the forward pass."""
        return self.prediction_work * (1 if self.has_frozen_encoder else 3)

    def resize(self, area_ratio: float) -> StepCounts:
        """Return the counts for images of another area."""
        per_image = {
            name: area_ratio * getattr(self, name) for name in ("operations", "activation_bytes", "stored_bytes")
        }
        return replace(self, **per_image)

    def scale(self, cost: StepCost, measured: StepCounts, recipe: TrainRecipe) -> StepCost:
        """Estimate the cost of a recipe with these counts from the cost of another network, with its own counts."""
        return StepCost(
            image_s=cost.image_s * self.training_work / measured.training_work,
            update_s=cost.update_s * self.parameters / measured.parameters,
            forward_s=cost.forward_s * self.prediction_work / measured.prediction_work,
            image_bytes=round(self.stored_bytes),
            fixed_bytes=_fixed_bytes(self.parameters, recipe),
            device=cost.device,
            precision=cost.precision,
        )


def count_step(recipe: TrainRecipe) -> StepCounts:
    """Count the work of a recipe's network at its input size; nothing is computed or allocated."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from napari_melanoma.models.zoo import build_network

    with torch.device("meta"):
        network = build_network(recipe.model.architecture, recipe.model.options)
    side = recipe.model.input_size
    images = torch.empty(COUNTED_IMAGES, 3, side, side, device="meta")
    counter = FlopCounterMode(display=False)
    inputs = (images, *_dummy_table_inputs(network, COUNTED_IMAGES, "meta"))
    with counter, _saved_tensor_sizes() as activations:
        network(*inputs)
    is_frozen = recipe.classification is not None and recipe.classification.freeze_encoder
    stored = activations
    if is_frozen:
        _freeze_encoder(network, recipe)
        with _saved_tensor_sizes() as stored:
            network(*inputs)
    return StepCounts(
        operations=counter.get_total_flops() / COUNTED_IMAGES,
        activation_bytes=_activation_bytes(network, activations) / COUNTED_IMAGES,
        stored_bytes=_activation_bytes(network, stored) / COUNTED_IMAGES,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        has_frozen_encoder=is_frozen,
    )


def _activation_bytes(network: nn.Module, saved_sizes: Mapping[int, int]) -> int:
    """Return the bytes of saved tensors that are no parameters."""
    parameters = {_storage_key(parameter) for parameter in network.parameters()}
    return sum(size for key, size in saved_sizes.items() if key not in parameters)


def _fixed_bytes(parameters: int, recipe: TrainRecipe) -> int:
    """Return the memory of weights, gradients and optimizer."""
    return FLOAT_BYTES * parameters * (2 + OPTIMIZER_STATES[recipe.optimiser] + (recipe.ema_decay > 0))


class _StepProbe:
    """A network with random weights, loss, augmentation, optimizer and a few random images, to time a step."""

    def __init__(self, recipe: TrainRecipe, device: str) -> None:
        import numpy as np
        import torch

        from napari_melanoma.models.zoo import build_network
        from napari_melanoma.training.augmentation import BatchAugmentation
        from napari_melanoma.training.losses import make_class_loss, make_loss
        from napari_melanoma.training.random_numbers import PartnerSampler
        from napari_melanoma.training.tasks.task import OPTIMIZERS, freeze_normalization, make_idle_weight

        side = recipe.data.cache_size
        area_ratio = (PROBE_SIDE[device] / min(recipe.model.input_size, PROBE_SIDE[device])) ** 2
        self.images = min(round(PROBE_IMAGES[device] * area_ratio), max(PROBE_IMAGES[device], MAX_PROBE_IMAGES))
        self._recipe, self._device = recipe, device
        self._mixed = choose_precision(recipe) == "bf16-mixed"
        network: nn.Module = build_network(recipe.model.architecture, recipe.model.options)
        self.network = network.to(device).to(memory_format=memory_layout(device)).train()
        if recipe.model.freeze_normalisation:
            freeze_normalization(self.network)
        self._labels = len(recipe.classes)
        self._augment = BatchAugmentation(
            recipe.augmentation, recipe.model.input_size, recipe.seed, max(1, self._labels)
        )
        self._classifies = recipe.task == "classification"
        self._loss = make_class_loss(recipe.loss) if self._classifies else make_loss(recipe.loss)
        self._idle = make_idle_weight(self.network)
        _freeze_encoder(self.network, recipe)
        trainable = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        weights = trainable if self._idle is None else [self._idle]
        groups = [{"params": weights, "lr": recipe.learning_rate}]
        self._optimizer = OPTIMIZERS[recipe.optimiser](groups, recipe.weight_decay)
        generator = torch.Generator().manual_seed(0)
        self._keys = np.stack([np.zeros(self.images, np.int64), np.arange(self.images)], axis=1)
        count = self.images + len(PartnerSampler(recipe.augmentation, recipe.seed, self.images).sample(self._keys))
        pixels = torch.randint(256, (count, 4, side, side), dtype=torch.uint8, generator=generator).to(device)
        self._pixels, self._masks = pixels[:, :3], pixels[:, 3:]
        if self._labels:
            self._masks = self._masks % self._labels

    def forward_backward(self) -> None:
        """Augment the images, predict, and run the backward pass."""
        images, masks = self._augment(self._pixels, self._masks, self._keys)
        logits = self._logits(images)
        soft_targets = self._classifies or self._labels  # as costly as real targets
        loss = self._loss(logits, logits.detach().softmax(dim=1) if soft_targets else masks.float() / 255)
        (loss if self._idle is None else loss + 0 * self._idle).backward()

    def step_optimizer(self) -> None:
        self._optimizer.step()

    def predict(self) -> None:
        side = self._recipe.model.input_size
        self._logits(self._pixels[: self.images, :, :1, :1].float().expand(-1, -1, side, side))

    def _logits(self, images: Tensor) -> Tensor:
        import torch

        images = (images / 127.5 - 1).contiguous(memory_format=memory_layout(self._device))
        with torch.autocast(self._device, torch.bfloat16, enabled=self._mixed):
            if not self._classifies:
                return self.network(images).float()
            no_values = torch.zeros(len(images), 0, device=self._device)  # the cost of tabular inputs is negligible
            return self.network(images, no_values, no_values.long()).float()


@contextmanager
def _saved_tensor_sizes() -> Iterator[dict[int, int]]:
    """Record the storage and size in bytes of each tensor that is saved for the backward pass."""
    import torch

    sizes: dict[int, int] = {}

    def pack(tensor: Any) -> Any:  # noqa: ANN401 - torch's signature
        sizes[_storage_key(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def _storage_key(tensor: Tensor) -> int:
    """Return a number that tensors with the same storage share; those on the device meta have no data pointer."""
    return tensor.untyped_storage()._cdata


def _freeze_encoder(network: nn.Module, recipe: TrainRecipe) -> None:
    """Freeze the encoder if the recipe requires it."""
    from napari_melanoma.models.zoo import find_encoder

    encoder = find_encoder(network)
    if encoder is not None and recipe.classification is not None and recipe.classification.freeze_encoder:
        encoder.requires_grad_(False)


MAX_BATCH, MIN_BATCH = 256, 2  # per micro-batch and device; batch normalization needs two
USUAL_BATCH = 8  # lower bound of a step if memory and data allow: training with smaller batches is unstable
MIN_STEPS = 4  # per epoch
TOLERATED_SLOWDOWN = 1.1  # time per image relative to the fastest size; smaller differences are noise
GIVE_UP_SLOWDOWN = 1.5  # stop after two sizes in a row that are this much slower
SHARE_OF_FREE_MEMORY = 0.5  # largest share of free main memory for a step; more would swap out other programs
PRECISION_IMAGES = 2 * MIN_BATCH
PRECISION_ROUNDS = 2  # alternating, so that a disturbance affects both precisions
MIN_SPEEDUP = 1.1  # a smaller gain is not worth the lost digits


def smallest_batch_size(recipe: TrainRecipe) -> int:
    """Return the fewest images that can be divided over the processes and micro-batches of a step."""
    return MIN_BATCH * process_count(recipe) * recipe.accumulate_batches


def find_batch_size(
    network: nn.Module, recipe: TrainRecipe, images: int, run: RunContext, clock: Clock = time.perf_counter
) -> int:
    """Time real steps of 2, 4, 8 ... random images per micro-batch on a copy of the network.

    ``clock``: returns seconds. Returns the images of a step over all devices: a power of two for each micro-batch,
    at most 256 for a device and at most a quarter of the images; the largest that fits and is not slower per image
    than the fastest by more than 10 %, but at least 8 if memory and images allow.
    """
    if not any(True for _ in network.parameters()):  # nothing to time
        return smallest_batch_size(recipe)
    parts = process_count(recipe) * recipe.accumulate_batches
    limit = min(MAX_BATCH // recipe.accumulate_batches, images // (MIN_STEPS * parts))
    per_image: dict[int, float] = {}

    def measure_size(size: int) -> int | None:
        """Time a size; return the bytes of main memory that it used, or None if memory ran out."""
        run.check()
        try:
            seconds, used = time_steps(network, recipe, size, clock)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return None
        per_image[size] = min(seconds / size, per_image.get(size, math.inf))
        return used

    size = MIN_BATCH
    while size <= limit:
        free = psutil.virtual_memory().available
        used = measure_size(size)
        if used is None or 2 * used > SHARE_OF_FREE_MEMORY * free or _is_too_slow(list(per_image.values())):
            break
        size *= 2
    for size in [size for size, seconds in per_image.items() if size * seconds < LONG_S]:
        measure_size(size)  # again later: a disturbance has ended by then, or affects all sizes
    release_memory(accelerator(recipe))
    return parts * _choose_size(per_image, parts)


def _is_too_slow(per_image: Sequence[float]) -> bool:
    """Whether the last two sizes were far too slow; a single one may have been disturbed."""
    return len(per_image) > 2 and min(per_image[-2:]) > GIVE_UP_SLOWDOWN * min(per_image)


def _choose_size(per_image: Mapping[int, float], parts: int) -> int:
    """Choose among the measured sizes of a micro-batch.

    ``per_image``: seconds per image by size, in ascending order. ``parts``: micro-batches of a step.
    """
    if not per_image:
        return MIN_BATCH
    fastest = min(per_image.values())
    best = max(size for size, seconds in per_image.items() if seconds <= TOLERATED_SLOWDOWN * fastest)
    return max(best, next((size for size in per_image if parts * size >= USUAL_BATCH), max(per_image)))


def find_precision(network: nn.Module, recipe: TrainRecipe, run: RunContext = NULL_CONTEXT) -> Precision:
    """Choose between float32 and bfloat16 for a recipe with ``precision = "auto"``.

    A GPU with bfloat16 support uses it. A CPU with bfloat16 support uses it if a step of a few images is at least 1.1
    times as fast as in float32.
    """
    default: Precision = "bf16" if choose_precision(recipe) == "bf16-mixed" else "fp32"
    trainable = any(True for _ in network.parameters())
    if recipe.precision != "auto" or default == "fp32" or accelerator(recipe) != "cpu" or not trainable:
        return default
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    try:
        for _ in range(PRECISION_ROUNDS):
            for precision, times in seconds.items():
                run.check()
                variant = recipe.model_copy(update={"precision": precision})
                times.append(time_steps(network, variant, PRECISION_IMAGES, time.perf_counter)[0])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return "bf16"  # bfloat16 needs less memory
    return "bf16" if min(seconds["fp32"]) >= MIN_SPEEDUP * min(seconds["bf16"]) else "fp32"
