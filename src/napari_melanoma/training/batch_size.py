"""Choose the batch size and the precision of a run, and estimate its time and memory, from one measured step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.models.torch_inference import Precision, is_out_of_memory, memory_layout
from napari_melanoma.training.engine import accelerator, choose_precision, process_count, release_memory
from napari_melanoma.training.loader import divide_step
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn


MB = 2**20
MOST_REPEATS, ENOUGH_S = 5, 0.5  # a step is repeated until the total reaches ENOUGH_S seconds
PROBE_IMAGES = {"cpu": 2, "mps": 4, "cuda": 8}  # images of the timed step; fewer leave a GPU idle
MAX_PROBE_IMAGES = 16  # smaller images are timed in larger numbers, so that fixed costs of a step weigh less
PROBE_SIDE = {"cpu": 256, "mps": 512, "cuda": 512}  # input side; the cost of a larger input scales with its area
OPTIMIZER_STATES = {"adamw": 2, "adam": 2, "sgd": 1}  # numbers that an optimizer stores for each weight
FLOAT_BYTES = 4
PROGRAM_MB = {"cpu": 700, "mps": 900, "cuda": 700}  # of the libraries; on a graphics card their share of its memory
WORKSPACE = 1.4  # factor of the stored activations for gradients and convolution workspace
Clock = Callable[[], float]


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

    def memory_mb(self, images: int) -> int:
        """Return the memory of a step with a number of images on a device, in MB."""
        return round(PROGRAM_MB[self.device] + (self.fixed_bytes + WORKSPACE * images * self.image_bytes) / MB)


def measure_step(recipe: TrainRecipe, clock: Clock = time.perf_counter) -> StepCost:
    """Time a small step of a recipe's network, with random weights on random images.

    ``clock``: returns seconds.
    """
    import torch

    device = accelerator(recipe)
    try:
        probe, area_ratio = _make_probe(recipe, device)
        with _saved_tensor_sizes() as sizes:
            probe.forward_backward()
        image_s = area_ratio * fastest_seconds(probe.forward_backward, device, clock) / probe.images
        update_s = fastest_seconds(probe.step_optimizer, device, clock)
        with torch.inference_mode():
            probe.network.eval()
            forward_s = area_ratio * fastest_seconds(probe.predict, device, clock) / probe.images
    finally:
        release_memory(device)
    parameters = {_storage_key(parameter): parameter.numel() for parameter in probe.network.parameters()}
    stored = sum(size for key, size in sizes.items() if key not in parameters)
    states = 2 + OPTIMIZER_STATES[recipe.optimiser] + (recipe.ema_decay > 0)
    return StepCost(
        image_s=image_s,
        update_s=update_s,
        forward_s=forward_s,
        image_bytes=round(area_ratio * stored / probe.images),
        fixed_bytes=FLOAT_BYTES * states * sum(parameters.values()),
        device=device,
        precision=choose_precision(recipe),
    )


def measure_pass(recipe: TrainRecipe) -> float:
    """Return the seconds per image of the forward and backward pass alone."""
    device = accelerator(recipe)
    try:
        probe, area_ratio = _make_probe(recipe, device)
        return area_ratio * fastest_seconds(probe.forward_backward, device) / probe.images
    finally:
        release_memory(device)


def _make_probe(recipe: TrainRecipe, device: str) -> tuple[_StepProbe, float]:
    """Return a step with a small input, and the area of the recipe's input relative to it."""
    side = min(recipe.model.input_size, PROBE_SIDE[device])
    model = recipe.model.model_copy(update={"input_size": side})
    return _StepProbe(recipe.model_copy(update={"model": model}), device), (recipe.model.input_size / side) ** 2


def fastest_seconds(step: Callable[[], None], device: str, clock: Clock = time.perf_counter) -> float:
    """Repeat a step and return its shortest time; other programs may have slowed down the rest.

    ``clock``: returns seconds.
    """
    times: list[float] = []
    while not times or (len(times) < MOST_REPEATS and sum(times) < ENOUGH_S):
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


class _StepProbe:
    """A network with random weights, loss, augmentation, optimizer and a few random images, to time a step."""

    def __init__(self, recipe: TrainRecipe, device: str) -> None:
        import numpy as np
        import torch

        from napari_melanoma.models.zoo import build_network, find_encoder
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
        encoder = find_encoder(self.network)
        if encoder is not None and recipe.classification is not None and recipe.classification.freeze_encoder:
            encoder.requires_grad_(False)
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
    """Return a number that tensors with the same storage share."""
    return tensor.untyped_storage()._cdata


MAX_BATCH, MIN_BATCH = 256, 2  # per micro-batch and device; batch normalization needs two
MIN_STEPS = 4  # per epoch
SHARE_OF_FREE_MEMORY = 0.5  # largest share of the free memory for a step; more would swap out other programs
MIN_SPEEDUP = 1.1  # a smaller gain is not worth the lost digits
PRECISION_ROUNDS = 2  # alternating, so that a disturbance affects both precisions


def smallest_batch_size(recipe: TrainRecipe) -> int:
    """Return the fewest images that can be divided over the processes and micro-batches of a step."""
    return MIN_BATCH * process_count(recipe) * recipe.accumulate_batches


def find_batch_size(recipe: TrainRecipe, images: int) -> int:
    """Choose the images of a step over all devices for ``batch_size = "auto"``, from the memory of one measured step.

    ``images``: of the training set. Returns a power of two for each micro-batch: the largest with which all processes
    of a machine need at most half of the free memory, at most 256 for a device and at most a quarter of the images.
    """
    try:
        return _largest_batch(recipe, images, measure_step(recipe))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return smallest_batch_size(recipe)


def _largest_batch(recipe: TrainRecipe, images: int, cost: StepCost) -> int:
    parts = process_count(recipe) * recipe.accumulate_batches
    limit = min(MAX_BATCH // recipe.accumulate_batches, images // (MIN_STEPS * parts))
    free_mb, size = SHARE_OF_FREE_MEMORY * _free_mb(cost.device), MIN_BATCH
    if cost.device != "cuda":  # whose processes have a device each; others share the memory of the machine
        processes = process_count(recipe) // recipe.nodes
        free_mb = (free_mb - (processes - 1) * PROGRAM_MB[cost.device]) / processes
    while 2 * size <= limit and cost.memory_mb(2 * size) - PROGRAM_MB[cost.device] <= free_mb:
        size *= 2
    return parts * size


def _free_mb(device: str) -> float:
    """Return the free memory of a device, in MB."""
    import torch

    free = torch.cuda.mem_get_info()[0] if device == "cuda" else psutil.virtual_memory().available
    return free / MB


def find_precision(recipe: TrainRecipe, run: RunContext = NULL_CONTEXT) -> Precision:
    """Choose between float32 and bfloat16 for a recipe with ``precision = "auto"``.

    A GPU with bfloat16 support uses it. A CPU with bfloat16 support uses it if a step is at least 1.1 times as fast as
    in float32.
    """
    default: Precision = "bf16" if choose_precision(recipe) == "bf16-mixed" else "fp32"
    if recipe.precision != "auto" or default == "fp32" or accelerator(recipe) != "cpu":
        return default
    seconds: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    try:
        for _ in range(PRECISION_ROUNDS):
            for precision, times in seconds.items():
                run.check()
                times.append(measure_pass(recipe.model_copy(update={"precision": precision})))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return "bf16"  # bfloat16 needs less memory
    return "bf16" if min(seconds["fp32"]) >= MIN_SPEEDUP * min(seconds["bf16"]) else "fp32"


def estimate_run(recipe: TrainRecipe, counts: Mapping[str, int]) -> dict[str, Any]:
    """Estimate the cost of all epochs of a run from one measured step; a run may stop earlier.

    ``counts``: number of images of each part. Returns ``step_s``, the seconds of a step; ``seconds`` of all epochs,
    with validation; ``memory_mb`` of one device; ``batch_size``, ``steps``, ``epochs``, ``device`` and ``precision``.
    """
    cost, train = measure_step(recipe), counts["train"]
    batch = _largest_batch(recipe, train, cost) if recipe.batch_size == "auto" else recipe.batch_size
    shares, processes = divide_step(recipe.data, batch, train, counts["replay"]), process_count(recipe)
    steps = max(1, train // shares.train)
    step_s = cost.image_s * shares.total / processes + cost.update_s
    return {
        "step_s": round(step_s, 4),
        "seconds": round(recipe.epochs * (steps * step_s + counts["validation"] * cost.forward_s), 3),
        "memory_mb": cost.memory_mb(-(-shares.total // (processes * recipe.accumulate_batches))),
        "batch_size": shares.total,
        "steps": steps * recipe.epochs,
        "epochs": recipe.epochs,
        "device": cost.device,
        "precision": cost.precision,
    }
