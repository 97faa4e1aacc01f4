"""Estimate the time and memory of a run from one measured training step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.training.engine import accelerator, choose_precision, device_name
from napari_melanoma.training.recipe import SLIDES_PER_STEP, TrainRecipe
from napari_melanoma.training.whole_slides import select_bags

if TYPE_CHECKING:
    from napari_melanoma.training.step_time import StepCost

MB = 2**20
# Costs that do not depend on the network, measured in runs of the shipped recipes on a laptop's processor.
START_S = 12.0  # importing torch and Lightning, building the network
READ_S = 0.02  # decoding an image and its mask into the cache, once
TEST_IMAGE_S = 0.1  # reading, refining and measuring a test image, for each of the two models
PROGRAM_MB = {"cpu": 700, "mps": 900, "cuda": 700}  # of the libraries; on a graphics card their share of its memory
WORKSPACE = 1.4  # factor of the stored activations for gradients and convolution workspace
LARGEST_AUTO = 256  # images of a step with batch_size = "auto"
READ_BYTES_S = 200e6  # bytes of embeddings read from a hard disk per second
MEASURED_STEPS = 2  # steps on one slide; the first is a warm-up
MEMORY_BAGS = 8  # memory of a step as a multiple of its embeddings: values and gradients of the layers
_cost_cache: dict[str, StepCost] = {}


@dataclass(frozen=True)
class RunWorkload:
    """Workload of a run: number of images, and of training steps.

    ``training_images``: including base images. ``batch``: images of a step over all devices. ``device_batch``: images
    of a forward pass on one device. ``steps``: per epoch.
    """

    training_images: int
    validation_images: int
    test_images: int
    batch: int
    device_batch: int
    processes: int
    steps: int
    epochs: int


@dataclass(frozen=True)
class RunEstimate:
    """Estimated cost of a run without early stopping.

    ``memory_mb``: of one device. ``images``: training images. ``steps``: in all epochs. ``basis``: how the cost was
    estimated, for users. ``free_mb``: free memory of a graphics card; None for other devices.
    """

    seconds: float
    memory_mb: float
    images: int
    steps: int
    epochs: int
    device: str
    precision: str
    basis: str
    free_mb: float | None = None


def estimate_run(recipe: TrainRecipe, *, run: RunContext) -> RunEstimate:
    """Estimate a run from a measured step, cached for each network, input size, precision and device."""
    from napari_melanoma.training.step_time import measure_step

    if recipe.bags is not None:
        return estimate_bag_run(recipe, run=run)
    plan = count_workload(recipe)
    run.check()
    key = _cost_key(recipe)
    if key not in _cost_cache:
        run.report(Progress(0, None, "Measuring a step"))
        _cost_cache[key] = measure_step(recipe)
    return scale_cost(_cost_cache[key], plan)


def count_workload(recipe: TrainRecipe) -> RunWorkload:
    """Count the images and steps of a run from the tables of its data sets, without reading images."""
    from napari_melanoma.training.data_selection import select_samples
    from napari_melanoma.training.engine import process_count
    from napari_melanoma.training.loader import divide_step

    chosen = select_samples(recipe)
    training, processes = len(chosen.parts.training), process_count(recipe)
    auto_batch: int = min(LARGEST_AUTO, 2 ** (max(2, training // 4).bit_length() - 1))
    batch = auto_batch if recipe.batch_size == "auto" else recipe.batch_size
    shares = divide_step(recipe.data, batch, training, len(chosen.base)) if training else None
    step = shares.total if shares else batch
    return RunWorkload(
        training_images=training + len(chosen.base),
        validation_images=len(chosen.parts.validation),
        test_images=len(chosen.for_test),
        batch=step,
        device_batch=max(1, -(-step // (processes * recipe.accumulate_batches))),
        processes=processes,
        steps=max(1, training // shares.train) if shares else 0,
        epochs=recipe.epochs,
    )


def scale_cost(cost: StepCost, workload: RunWorkload) -> RunEstimate:
    """Estimate the cost of a run from the cost of a step.

    Includes start, decoding, training, validation, choice of the threshold and the final comparison.
    """
    steps = workload.steps * workload.epochs
    step_s = cost.image_s * workload.batch / workload.processes + cost.update_s
    validation = workload.validation_images * (workload.epochs + 1) * cost.forward_s
    test = 2 * workload.test_images * (cost.forward_s + TEST_IMAGE_S)
    read = (workload.training_images + workload.validation_images) * READ_S
    seconds = START_S + read + steps * step_s + validation + test
    return RunEstimate(
        seconds=round(seconds, 1),
        memory_mb=estimate_memory(cost, workload.device_batch),
        images=workload.training_images,
        steps=steps,
        epochs=workload.epochs,
        device=cost.device,
        precision=cost.precision,
        basis=(
            f"one step measured on this machine ({1000 * cost.image_s:.0f} ms/image, {cost.precision}), "
            f"{steps} steps of {workload.batch} images; the run may stop early"
        ),
        free_mb=_free_mb(cost.device),
    )


def estimate_memory(cost: StepCost, images: int) -> int:
    """Estimate the memory of a step with a number of images on a device, in MB."""
    return round(PROGRAM_MB[cost.device] + (cost.fixed_bytes + WORKSPACE * images * cost.image_bytes) / MB)


def _cost_key(recipe: TrainRecipe) -> str:
    """Return the values of a recipe that affect the cost of a step, as JSON."""
    values = recipe.model_dump(mode="json")
    values["model"].pop("start")
    parts = {name: values[name] for name in ("model", "augmentation", "loss", "optimiser", "precision", "device")}
    parts |= {"side": recipe.data.cache_size, "ema": recipe.ema_decay > 0}
    parts |= {"frozen": recipe.classification is not None and recipe.classification.freeze_encoder}
    return json.dumps(parts, sort_keys=True)


def _free_mb(device: str) -> float | None:
    """Return the free memory of a graphics card; None for other devices."""
    if device != "cuda":
        return None
    import torch

    return round(torch.cuda.mem_get_info()[0] / MB)


def estimate_bag_run(recipe: TrainRecipe, *, run: RunContext) -> RunEstimate:
    """Estimate a run on slides without starting it."""
    assert recipe.bags is not None
    selection = select_bags(recipe, run)
    parts, features = selection.chosen.parts, selection.kind.encoder.features
    tiles = {
        sample.image: len(selection.bags[sample.image]) for sample in (*selection.chosen.for_training, *parts.test)
    }
    training_tiles = sum(min(tiles[sample.image], recipe.bags.tiles) for sample in parts.training)
    validation_tiles = sum(tiles[sample.image] for sample in parts.validation)
    run.report(Progress(0, None, "Measuring a step"))
    tile_s = _seconds_per_tile(recipe, features, min(recipe.bags.tiles, max(tiles.values())))
    read_tile_s = 2 * features / READ_BYTES_S
    final_s = sum(tiles.values()) * (tile_s + read_tile_s)  # calibration and test
    seconds = START_S + recipe.epochs * (training_tiles + validation_tiles) * (tile_s + read_tile_s) + final_s
    size = SLIDES_PER_STEP if recipe.batch_size == "auto" else recipe.batch_size
    step_mb = size * min(recipe.bags.tiles, max(tiles.values())) * features * 4 * MEMORY_BAGS / MB
    device = accelerator(recipe)
    return RunEstimate(
        seconds=round(seconds, 1),
        memory_mb=round(PROGRAM_MB[device] + step_mb),
        images=len(parts.training),
        steps=max(1, len(parts.training) // min(size, len(parts.training))) * recipe.epochs,
        epochs=recipe.epochs,
        device=device_name(recipe),
        precision="bf16" if choose_precision(recipe) == "bf16-mixed" else "fp32",
        basis=f"one step measured on this machine, {training_tiles} tiles per epoch; the run may stop early",
    )


def _seconds_per_tile(recipe: TrainRecipe, features: int, tiles: int) -> float:
    """Measure the training time per tile in seconds, on a slide with ``tiles`` tiles."""
    import torch

    from napari_melanoma.models.zoo import build_network
    from napari_melanoma.training.step_time import Repeats, fastest_seconds

    device = accelerator(recipe)
    network = build_network(recipe.model.architecture, {**recipe.model.options, "features": features})
    network = network.to(device).train()
    bag = torch.randn(tiles, features, device=device)
    steps = Repeats(MEASURED_STEPS, MEASURED_STEPS, 0)
    return fastest_seconds(lambda: network(bag).float().square().sum().backward(), device, repeats=steps) / tiles
