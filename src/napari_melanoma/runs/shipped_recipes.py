"""The shipped recipes, with those of extensions: a summary of each, and how to complete one with data and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from napari_melanoma.core.config import overlay_values
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_toml
from napari_melanoma.core.plugins import Family
from napari_melanoma.core.prediction_config import NumberColumn, WordColumn
from napari_melanoma.data.merging import merge_class_names
from napari_melanoma.models.bundle import SLIDE, BundleConfig
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.weights_files import START_WORDS, find_weights_file
from napari_melanoma.slides.tile_sets import read_joint_tile_set
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

DataKind = Literal["photographs", "tiles", "slides"]
STRIDE = 32  # the input side of networks is a multiple of it
POSITIVE = ("melanoma", "malignant", "tumour", "tumor")  # class names that are chosen as positive class
# Options of a network that depend on the data of a run.
DATA_SETTINGS = ("classes", "tabular", "depth_mean", "depth_std", "measured")
PATIENT_NETWORK = "biomarker"  # architecture for patches of slides with patient data
FIRST = "fine-tune"  # the most common use is listed first


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe without data: its name, title, one-line summary, and the values that it sets."""

    name: str
    title: str
    summary: str
    values: dict[str, Any]

    @property
    def start(self) -> str | None:
        """The recipe's own starting weights; None if it accepts any model."""
        start: str | None = self.values.get("model", {}).get("start")
        return start

    def complete(
        self,
        datasets: Sequence[Path | str],
        start: str,
        start_weights: str = "all",
        **overrides: Any,  # noqa: ANN401 - any field of the recipe
    ) -> TrainRecipe:
        """Complete the recipe with data sets and starting weights.

        ``start_weights``: ``"all"`` weights of the start, or its ``"encoder"``. ``overrides``: sections and values of
        the recipe that take precedence.
        """
        data_and_start = {
            "data": {"datasets": [str(folder) for folder in datasets]},
            "model": {"start": start, "start_weights": start_weights},
        }
        recipe_values = overlay_values(self.values, self._tile_settings(datasets) or self._class_settings(datasets))
        values = overlay_values(recipe_values, self._start_settings(start, start_weights, recipe_values))
        return TrainRecipe.parse(
            overlay_values(overlay_values(values, data_and_start), overrides), f"recipe '{self.name}'"
        )

    @property
    def is_of_slides(self) -> bool:
        """Whether the recipe trains on tiles of slides without patient data."""
        without_patient = self.values.get("model", {}).get("architecture") != PATIENT_NETWORK
        return SLIDE in self.values.get("modalities", ()) and without_patient

    @property
    def data_kind(self) -> DataKind:
        """The kind of data that the recipe trains on; patches of slides with patient data count as photographs."""
        return "slides" if self.is_of_whole_slides else "tiles" if self.is_of_slides else "photographs"

    @property
    def is_of_whole_slides(self) -> bool:
        """Whether the recipe trains on embeddings of whole slides, without images and starting weights."""
        return "bags" in self.values

    def _tile_settings(self, datasets: Sequence[Path | str]) -> dict[str, Any]:
        """Return the values that tile data sets determine: scale, side and classes."""
        tiles = read_joint_tile_set(map(Path, datasets)) if self.is_of_slides else None
        if tiles is None:
            return {}
        side = tiles.tile.side_px
        model = {"input_size": max(STRIDE, STRIDE * round(side / STRIDE))}
        values: dict[str, Any] = {"tile": tiles.tile.model_dump(), "model": model, "data": {"cache_size": side}}
        values |= {"title": f"Tiles of slides: {', '.join(tiles.classes or tiles.labels)}"}
        if self.values.get("task") != "classification":
            return {**values, "classes": tiles.labels}
        classes = tiles.classes
        positive = next((name for name in classes if name.lower() in POSITIVE), classes[-1] if classes else "")
        return {**values, "classification": {"target": tiles.target, "classes": classes, "positive": positive}}

    def _class_settings(self, datasets: Sequence[Path | str]) -> dict[str, Any]:
        """Return the classes that data sets of photographs name, for a segmentation of several classes."""
        if self.data_kind != "photographs" or self.values.get("task") == "classification" or "classes" in self.values:
            return {}
        names = merge_class_names(map(Path, datasets))
        values = {value: name for name, of_class in names.items() if len(of_class) == 1 for value in of_class}
        listed = [values.get(value, f"class {value}") for value in range(1, 1 + max(values, default=0))]
        return {"classes": ("background", *listed)} if listed else {}

    def _start_settings(self, start: str, start_weights: str, recipe_values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values that a starting bundle determines; of these, the recipe may set the input size."""
        if start in START_WORDS or find_weights_file(start):
            return {}
        config = find_bundle(start).config
        task, classes = recipe_values.get("task", "segmentation"), tuple(recipe_values.get("classes", ()))
        if config.task != task:  # only its encoder is used
            return {"model": {"preprocessing": config.preprocessing.model_dump()}}
        if start_weights == "encoder" or (task != "classification" and classes not in ((), config.classes)):
            return self._encoder_settings(config)
        model = {"architecture": config.architecture, "options": config.options, "input_size": config.input_size}
        model["input_size"] = self.values.get("model", {}).get("input_size", config.input_size)
        model["preprocessing"] = config.preprocessing.model_dump()
        stem = config.name.removesuffix("-tuned")
        title = f"{config.title.partition(';')[0]}, tuned"  # without the data that it was trained on
        description = {"name": f"{stem}-tuned", "title": title, "modalities": config.modalities}
        return {**description, **_classifier_settings(config), "model": model}

    def _encoder_settings(self, config: BundleConfig) -> dict[str, Any]:
        """Return the values that an encoder determines: its network, without options that depend on the data."""
        options = {name: value for name, value in config.options.items() if name not in DATA_SETTINGS}
        size = self.values.get("model", {}).get("input_size", config.input_size)
        model = {"architecture": config.architecture, "options": options, "input_size": size}
        model["preprocessing"] = config.preprocessing.model_dump()
        return {"name": f"{config.name.removesuffix('-tuned')}-new", "modalities": config.modalities, "model": model}


def _classifier_settings(config: BundleConfig) -> dict[str, Any]:
    """Return the values that a starting classifier determines: its classes, view and columns."""
    if config.classifier is None:
        return {}
    # The options that the encoding of the columns was fitted with.
    columns = (
        None
        if config.tabular is None
        else {
            "numbers": [column.model_dump(include=set(NumberColumn.model_fields)) for column in config.tabular.numbers],
            "words": [column.model_dump(include=set(WordColumn.model_fields)) for column in config.tabular.words],
        }
    )
    view = config.classifier.view.model_dump()
    values = {"classes": config.classes, "positive": config.classifier.positive, "view": view, "tabular": columns}
    return {"classification": values}


@dataclass(frozen=True)
class ListedPaper:
    """A paper whose rows a command trains: the names of the rows, and the command without ``napari-melanoma``."""

    name: str
    title: str
    reference: str
    command: str
    rows: tuple[str, ...]


class RecipeCollection(Protocol):
    """Recipes of an extension or another package; an entry point of ``napari_melanoma.recipes`` names its class."""

    def list_recipes(self) -> Iterable[ShippedRecipe]:
        """List complete recipes, for the Train dock and the command ``recipes``."""

    def list_papers(self) -> Iterable[ListedPaper]:
        """List the papers that a command trains."""

    def describe_incomplete(self, path: Path) -> str:
        """Describe a file that is only a part of a recipe, with the command that uses it; "" for other files."""


def _create_collection(name: str, found: object) -> RecipeCollection:
    methods = ("list_recipes", "list_papers", "describe_incomplete")
    if not isinstance(found, type) or not all(callable(getattr(found, method, None)) for method in methods):
        raise TypeError(f"expected a class with the methods {', '.join(methods)}, found {found!r}")
    collection: RecipeCollection = found()
    return collection


RECIPES: Family[RecipeCollection] = Family("recipes", dict, _create_collection, lambda collection: "")


@cache
def list_shipped_recipes() -> tuple[ShippedRecipe, ...]:
    """List the shipped recipes, the one for corrected masks first; their own names take precedence over others."""
    added = [recipe for collection in RECIPES.members.values() for recipe in collection.list_recipes()]
    own = read_recipes(resources.files("napari_melanoma.training") / "recipes")
    recipes = {recipe.name: recipe for recipe in (*added, *own)}
    return tuple(sorted(recipes.values(), key=lambda item: (item.name != FIRST, item.name)))


def read_recipes(folder: Traversable) -> list[ShippedRecipe]:
    """Read the recipes of a folder: TOML files with ``summary`` and ``title``."""
    recipes = []
    for file in folder.iterdir():
        if file.name.endswith(".toml"):
            values = parse_toml(file.read_bytes(), file.name)
            summary, title = values.pop("summary"), values.pop("title")
            recipes.append(ShippedRecipe(file.name.removesuffix(".toml"), title, summary, values))
    return recipes


def find_shipped_recipe(name: str) -> ShippedRecipe:
    recipes = {recipe.name: recipe for recipe in list_shipped_recipes()}
    if name not in recipes:
        raise ConfigError(f"there is no recipe '{name}' (known: {', '.join(recipes)}).")
    return recipes[name]
