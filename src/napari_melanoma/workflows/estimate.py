"""How long a run would take and how much memory: one small step, measured, times the steps that the data ask for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from napari_melanoma.training.step_cost import StepCost

MB = 2**20
# What does not depend on the network, found on runs of the shipped recipes on a laptop's processor.
START_S = 12.0  # importing torch and Lightning, building the network
READ_S = 0.02  # decoding an image and its mask into the cache, once
JUDGE_S = 0.1  # reading, refining and measuring a held-out image, for each of the two models
PROGRAM_MB = {"cpu": 700, "mps": 900, "cuda": 700}  # the libraries; on a graphics card their part of its memory
WORKSPACE = 1.4  # gradients on their way, and what the convolutions need aside, as a factor of what is kept
LARGEST_AUTO = 256
_known: dict[str, StepCost] = {}


@dataclass(frozen=True)
class Plan:
    """How much a run has to do: images of each part and steps; what a recipe and its data say together.

    ``piece`` is how many images one device works on at once.
    """

    learn: int
    tuning: int
    held_out: int
    batch: int
    piece: int
    processes: int
    steps: int
    epochs: int


@dataclass(frozen=True)
class Estimate:
    """What a run would need at most: it may end early. ``free_mb`` is known of graphics cards alone."""

    seconds: float
    memory_mb: float
    images: int
    steps: int
    epochs: int
    device: str
    precision: str
    rests_on: str
    free_mb: float | None = None


def estimate(recipe: TrainRecipe, *, run: RunContext) -> Estimate:
    """Estimate a run without starting it.

    From a step measured here and now; measured once for each network, input size, precision and device.
    """
    from napari_melanoma.training.step_cost import measure_step

    if recipe.bags is not None:
        from napari_melanoma.workflows.estimate_bags import estimate_bags

        return estimate_bags(recipe, run=run)
    plan = plan_of(recipe)
    run.check()
    key = _key(recipe)
    if key not in _known:
        run.report(Progress(0, None, "Measuring a step"))
        _known[key] = measure_step(recipe)
    return scaled(_known[key], plan)


def plan_of(recipe: TrainRecipe) -> Plan:
    """Count what a run has to do."""
    from napari_melanoma.training.engine import process_count
    from napari_melanoma.training.sampling import shares
    from napari_melanoma.training.survey import choose

    chosen = choose(recipe)
    learn, processes = len(chosen.parts.learn), process_count(recipe)
    largest: int = min(LARGEST_AUTO, 2 ** (max(2, learn // 4).bit_length() - 1))
    batch = largest if recipe.batch_size == "auto" else recipe.batch_size
    share = shares(recipe.data, batch, learn, len(chosen.base)) if learn else None
    step = share.step if share else batch
    return Plan(
        learn=learn + len(chosen.base),
        tuning=len(chosen.parts.tuning),
        held_out=len(chosen.judged),
        batch=step,
        piece=max(1, -(-step // (processes * recipe.pieces))),
        processes=processes,
        steps=max(1, learn // share.learn) if share else 0,
        epochs=recipe.epochs,
    )


def scaled(cost: StepCost, plan: Plan) -> Estimate:
    """Scale the cost of a step to a run.

    Start, decoding, every step and every look at the tuning images, the choice of the threshold, and the comparison
    with the old model at the end.
    """
    steps = plan.steps * plan.epochs
    step_s = cost.image_s * plan.batch / plan.processes + cost.update_s
    answered = plan.tuning * (plan.epochs + 1) * cost.forward_s
    judged = 2 * plan.held_out * (cost.forward_s + JUDGE_S)
    read = (plan.learn + plan.tuning) * READ_S
    seconds = START_S + read + steps * step_s + answered + judged
    memory = PROGRAM_MB[cost.device] + (cost.fixed_bytes + WORKSPACE * plan.piece * cost.image_bytes) / MB
    return Estimate(
        seconds=round(seconds, 1),
        memory_mb=round(memory),
        images=plan.learn,
        steps=steps,
        epochs=plan.epochs,
        device=cost.device,
        precision=cost.precision,
        rests_on=(
            f"one step measured on this machine ({1000 * cost.image_s:.0f} ms an image, {cost.precision}), "
            f"{steps} steps of {plan.batch} images; the run may end earlier"
        ),
        free_mb=_free_mb(cost.device),
    )


def _key(recipe: TrainRecipe) -> str:
    """All of a recipe that has a say in what a step costs."""
    values = recipe.model_dump(mode="json")
    values["model"].pop("start")
    parts = {name: values[name] for name in ("model", "augmentation", "loss", "optimiser", "precision", "device")}
    return json.dumps({**parts, "side": recipe.data.cache_size, "ema": recipe.ema_decay > 0}, sort_keys=True)


def _free_mb(device: str) -> float | None:
    """Free memory of a graphics card; None where the processor's is meant, which whoever asks can see."""
    if device != "cuda":
        return None
    import torch

    return round(torch.cuda.mem_get_info()[0] / MB)
