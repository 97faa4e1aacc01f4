"""What of a row is less than in the paper, found by comparing the recipe that ran with the paper's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from napari_melanoma.core.config import read_toml
from napari_melanoma.models.zoo import architectures
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.reproduction.papers import Row
from napari_melanoma.workflows.reproduction.place import Work

FROZEN = "freeze_encoder"
WORDS = {"channels": "first channels", "decoder_channels": "channels of the decoder"}


def reduced(work: Work, row: Row) -> tuple[str, ...]:
    """Say in what the row that ran is less than the paper's.

    Parts, such as ``"128 px instead of 512"``; none where nothing is.
    """
    path = work.place.row(row.name).recipe
    return tuple(_parts(work, row, read_toml(path, TrainRecipe))) if path.is_file() else ()


def _parts(work: Work, row: Row, ran: TrainRecipe) -> Iterator[str]:
    """Name each part that is less."""
    whole, weights = row.values["full"], work.paper.file.weights
    model: Mapping[str, Any] = whole.get("model", {})
    if ran.model.input_size < model.get("input_size", ran.model.input_size):
        yield f"{ran.model.input_size} px instead of {model['input_size']}"
    if ran.epochs < whole.get("epochs", ran.epochs):
        yield f"{ran.epochs} epoch{'' if ran.epochs == 1 else 's'} instead of up to {whole['epochs']}"
    fields = architectures()[ran.model.architecture].spec.config.model_fields
    for name, now in ran.model.options.items():
        before = model.get("options", {}).get(name, fields[name].default)
        if before != now:
            yield f"{WORDS.get(name, name)} {_written(now)} instead of {_written(before)}"
    for name in ("optimiser", "schedule", "learning_rate", "weight_decay"):
        if (now := getattr(ran, name)) != (before := whole.get(name, now)):
            yield f"{name.replace('_', ' ')} {_written(now)} instead of {_written(before)}"
    if ran.batch_size != whole.get("batch_size", ran.batch_size):
        yield f"{ran.batch_size} images a step instead of {whole['batch_size']}"
    start = model.get("start", "none")
    if start in weights and ran.model.start == "none":
        yield f"random initialisation instead of {weights[start].title.rpartition(', ')[2]}"
    elif start in weights and ran.model.start not in (start, "imagenet"):
        yield f"start from the model '{ran.model.start}' instead of {weights[start].title.rpartition(', ')[2]}"
    if ran.classification and ran.classification.freeze_encoder and not whole.get("classification", {}).get(FROZEN):
        yield "the encoder stays as it is"
    if ran.classification and ran.classification.stages > whole.get("classification", {}).get("stages", 1):
        yield "first the image learns, then the head"
    if ran.augmentation.flip and not whole.get("augmentation", {}).get("flip", True):
        yield "images mirrored"
    learnt = work.data.get(row.file.learn or "") if not row.kind.crossed else None
    if learnt and learnt.left_out:
        yield f"{learnt.learn} images of {learnt.learn + learnt.left_out}"


def _written(value: object) -> str:
    """Write an option of a network."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
