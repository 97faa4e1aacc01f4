"""How long a run on whole slides would take and how much memory: a step measured on made-up tiles, and the reading."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from napari_melanoma.core.runs import Progress
from napari_melanoma.training.bag_rows import survey_bags
from napari_melanoma.training.engine import accelerator, choose_precision, device_name
from napari_melanoma.workflows.estimate import MB, PROGRAM_MB, START_S, Estimate

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe

READ_BYTES_S = 200e6  # of embeddings from a plain disk
TRIED = 2  # steps on one slide; the first warms up
HELD = 8  # times a slide's tiles, as values and gradients of the layers


def estimate_bags(recipe: TrainRecipe, *, run: RunContext) -> Estimate:
    """Estimate a run on slides without starting it."""
    assert recipe.bags is not None
    found = survey_bags(recipe, run)
    parts, features = found.chosen.parts, found.kind.encoder.features
    tiles = {sample.image: len(found.bags[sample.image]) for sample in (*found.chosen.read, *parts.held_out)}
    drawn = sum(min(tiles[sample.image], recipe.bags.tiles) for sample in parts.learn)
    looked_at = sum(tiles[sample.image] for sample in parts.tuning)
    run.report(Progress(0, None, "Measuring a step"))
    per_tile = _seconds_a_tile(recipe, features, min(recipe.bags.tiles, max(tiles.values())))
    reading = 2 * features / READ_BYTES_S
    once = sum(tiles.values()) * (per_tile + reading)  # calibrating and judging
    seconds = START_S + recipe.epochs * (drawn + looked_at) * (per_tile + reading) + once
    size = 4 if recipe.batch_size == "auto" else recipe.batch_size
    held = size * min(recipe.bags.tiles, max(tiles.values())) * features * 4 * HELD / MB
    device = accelerator(recipe)
    return Estimate(
        seconds=round(seconds, 1),
        memory_mb=round(PROGRAM_MB[device] + held),
        images=len(parts.learn),
        steps=max(1, len(parts.learn) // min(size, len(parts.learn))) * recipe.epochs,
        epochs=recipe.epochs,
        device=device_name(recipe),
        precision="bf16" if choose_precision(recipe) == "bf16-mixed" else "fp32",
        rests_on=f"one step measured on this machine, {drawn} tiles an epoch; the run may end earlier",
    )


def _seconds_a_tile(recipe: TrainRecipe, features: int, tiles: int) -> float:
    """Time of learning from a tile."""
    import torch

    from napari_melanoma.models.zoo import build_network

    network = build_network(recipe.model.architecture, {**recipe.model.options, "features": features})
    network = network.to(accelerator(recipe)).train()
    bag, best = torch.randn(tiles, features), math.inf
    for _ in range(TRIED):
        began = time.perf_counter()
        network(bag).float().square().sum().backward()
        best = min(best, time.perf_counter() - began)
    return best / tiles
