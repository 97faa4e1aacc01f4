"""The recipes that ship: what each is for in one line, and how one becomes complete with data and a start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_toml
from napari_melanoma.core.prediction_config import NumberColumn, TabularEncoding, WordColumn
from napari_melanoma.models.bundle import SLIDE, BundleConfig
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.models.weights_location import START_WORDS, find_weights_file
from napari_melanoma.slides.tile_sets import read_joint_tile_set
from napari_melanoma.training.recipe import TrainRecipe

STRIDE = 32  # networks take sides that are a multiple of it
POSITIVE = ("melanoma", "malignant", "tumour", "tumor")  # the class that sensitivity is about, where there is one
DATA_SETTINGS = (
    "classes",
    "tabular",
    "depth_mean",
    "depth_std",
    "measured",
)  # options of a network that a run fills in
PATIENT_FIELDS = "biomarker"  # a network of patches of slides, each with a row of the patient's table
FIRST = "fine-tune"  # what most people come for stands first


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe without data: its name, a title, one line on what it is for, and the values that it sets."""

    name: str
    title: str
    summary: str
    values: dict[str, Any]

    @property
    def start(self) -> str | None:
        """What it starts from by its own choice; None where it takes any model."""
        start: str | None = self.values.get("model", {}).get("start")
        return start

    def complete(self, datasets: Sequence[Path | str], start: str, take: str = "all", **overrides: Any) -> TrainRecipe:  # noqa: ANN401 - any field of the recipe
        """Complete the recipe."""
        chosen = {"data": {"datasets": [str(folder) for folder in datasets]}, "model": {"start": start, "take": take}}
        own = overlay_values(self.values, self._tile_settings(datasets))
        values = overlay_values(own, self._start_settings(start, take, own))
        return TrainRecipe.parse(overlay_values(overlay_values(values, chosen), overrides), f"recipe '{self.name}'")

    @property
    def is_of_slides(self) -> bool:
        """Whether it learns from tiles of slides, which their data set describes; patches with a patient are none."""
        alone = self.values.get("model", {}).get("architecture") != PATIENT_FIELDS
        return SLIDE in self.values.get("modalities", ()) and alone

    @property
    def is_of_whole_slides(self) -> bool:
        """Whether it learns from embeddings of whole slides, which needs no picture and starts from nothing."""
        return "bags" in self.values

    def _tile_settings(self, datasets: Sequence[Path | str]) -> dict[str, Any]:
        """What data sets of tiles say of themselves: scale, side and classes."""
        tiles = read_joint_tile_set(map(Path, datasets)) if self.is_of_slides else None
        if tiles is None:
            return {}
        side = tiles.tile.side_px
        model = {"input_size": max(STRIDE, STRIDE * round(side / STRIDE))}
        known: dict[str, Any] = {"tile": tiles.tile.model_dump(), "model": model, "data": {"cache_size": side}}
        known |= {"title": f"Tiles of slides: {', '.join(tiles.classes or tiles.labels)}"}
        if self.values.get("task") != "classification":
            return {**known, "classes": tiles.labels}
        classes = tiles.classes
        positive = next((name for name in classes if name.lower() in POSITIVE), classes[-1] if classes else "")
        return {**known, "classification": {"target": tiles.target, "classes": classes, "positive": positive}}

    def _start_settings(self, start: str, take: str, own: Mapping[str, Any]) -> dict[str, Any]:
        """What starting from a bundle fixes; its input size may be lowered by a recipe, its network may not."""
        if start in START_WORDS or find_weights_file(start):
            return {}
        config = find_bundle(start).config
        task, classes = own.get("task", "segmentation"), tuple(own.get("classes", ()))
        if config.task != task:  # its encoder alone is taken
            return {"model": {"preprocessing": config.preprocessing.model_dump()}}
        if take == "encoder" or (task != "classification" and classes not in ((), config.classes)):
            return self._encoder_settings(config)
        model = {"architecture": config.architecture, "options": config.options, "input_size": config.input_size}
        model["input_size"] = self.values.get("model", {}).get("input_size", config.input_size)
        model["preprocessing"] = config.preprocessing.model_dump()
        stem = config.name.removesuffix("-tuned")
        about = {"name": f"{stem}-tuned", "title": f"{config.title}, tuned", "modalities": config.modalities}
        return {**about, **_classifier_settings(config), "model": model}

    def _encoder_settings(self, config: BundleConfig) -> dict[str, Any]:
        """What starting from the encoder of a model of the same task fixes: its network, less what the data decide."""
        options = {name: value for name, value in config.options.items() if name not in DATA_SETTINGS}
        size = self.values.get("model", {}).get("input_size", config.input_size)
        model = {"architecture": config.architecture, "options": options, "input_size": size}
        model["preprocessing"] = config.preprocessing.model_dump()
        return {"name": f"{config.name.removesuffix('-tuned')}-new", "modalities": config.modalities, "model": model}


def _classifier_settings(config: BundleConfig) -> dict[str, Any]:
    """What going on from a classifier fixes: its classes, what it sees, and its columns."""
    if config.classifier is None:
        return {}
    columns = None if config.tabular is None else _encoding_choices(config.tabular)
    view = config.classifier.view.model_dump()
    known = {"classes": config.classes, "positive": config.classifier.positive, "view": view, "tabular": columns}
    return {"classification": known}


def _encoding_choices(encoding: TabularEncoding) -> dict[str, Any]:
    """The choices that an encoding was fitted by."""
    return {
        "numbers": [column.model_dump(include=set(NumberColumn.model_fields)) for column in encoding.numbers],
        "words": [column.model_dump(include=set(WordColumn.model_fields)) for column in encoding.words],
    }


@cache
def list_shipped_recipes() -> tuple[ShippedRecipe, ...]:
    """List the recipes that ship.

    Returns the one for corrected masks first.
    """
    folder = resources.files("napari_melanoma.training") / "recipes"
    files = [item for item in folder.iterdir() if item.name.endswith(".toml")]
    found = []
    for file in files:
        values = parse_toml(file.read_bytes(), file.name)
        summary, title = values.pop("summary"), values.pop("title")
        found.append(ShippedRecipe(file.name.removesuffix(".toml"), title, summary, values))
    return tuple(sorted(found, key=lambda item: (item.name != FIRST, item.name)))


def find_shipped_recipe(name: str) -> ShippedRecipe:
    """Give one of the recipes that ship."""
    known = {recipe.name: recipe for recipe in list_shipped_recipes()}
    if name not in known:
        raise ConfigError(f"there is no recipe '{name}' (known: {', '.join(known)}).")
    return known[name]


def overlay_values(values: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """Put values over others; a network's own options are replaced as a whole."""
    found = dict(values)
    for key, value in updates.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping) and key != "options"
        found[key] = overlay_values(found[key], value) if both else value
    return found
