"""What of a row is less than in the paper, found by comparing the recipe that ran with the paper's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_melanoma.core.config import read_toml
from napari_melanoma.models.zoo import architectures
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.reproduce_data import RoleData
from napari_melanoma.workflows.reproduce_papers import Paper, Row
from napari_melanoma.workflows.reproduce_rows import Place

WORDS = {"channels": "first channels", "decoder_channels": "channels of the decoder"}


def reduced(row: Row, paper: Paper, data: Mapping[str, RoleData], place: Place) -> str:
    """Say in what the row that ran is less than the paper's.

    Parameters
    ----------
    row : Row
        One that learns.
    paper : Paper
        Its initial weights, by name.
    data : mapping
        Role to images.
    place : Place
        Has the recipe that ran.

    Returns
    -------
    str
        Parts, separated by semicolons; empty where nothing is.
    """
    if not place.recipe(row.name).is_file():
        return ""
    ran, whole = read_toml(place.recipe(row.name), TrainRecipe), row.full
    model: Mapping[str, Any] = whole.get("model", {})
    said = []
    if ran.model.input_size < model.get("input_size", ran.model.input_size):
        said.append(f"{ran.model.input_size} px instead of {model['input_size']}")
    if ran.epochs < whole.get("epochs", ran.epochs):
        said.append(f"{ran.epochs} epoch{'' if ran.epochs == 1 else 's'} instead of up to {whole['epochs']}")
    fields = architectures()[ran.model.architecture].spec.config.model_fields
    for name, now in ran.model.options.items():
        before = model.get("options", {}).get(name, fields[name].default)
        if before != now:
            said.append(f"{WORDS.get(name, name)} {now:g} instead of {before:g}")
    if ran.schedule != whole.get("schedule", ran.schedule):
        said.append(f"{ran.schedule} instead of {whole['schedule']}")
    if ran.batch_size != whole.get("batch_size", ran.batch_size):
        said.append(f"{ran.batch_size} images a step instead of {whole['batch_size']}")
    start = model.get("start", "none")
    if start in paper.file.weights and ran.model.start == "none":
        said.append(f"from nothing instead of {paper.file.weights[start].title.rpartition(', ')[2]}")
    if row.file.learn and data[row.file.learn].left_out:
        found = data[row.file.learn]
        said.append(f"{found.learn} images of {found.learn + found.left_out}")
    return "; ".join(said)
