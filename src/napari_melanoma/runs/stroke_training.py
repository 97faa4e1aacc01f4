"""Training of a network on painted strokes: an ordinary run, whose data set is made from the strokes first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.runs.launching import RECIPE
from napari_melanoma.runs.shipped_recipes import find_shipped_recipe
from napari_melanoma.slides.tile_sets import read_tile_set
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueFitOptions
from napari_melanoma.slides.tissue_classifier.stroke_data_set import START, make_stroke_data_set, split_strokes
from napari_melanoma.training.recipe import TrainRecipe

DATA_SET = "strokes"  # the data set, in the run folder
SHIPPED_RECIPE, NAME = "paint-network", "tissue-network"


def prepare_network(
    slides: Sequence[PaintedSlideFile],
    out: Path,
    options: TissueFitOptions = TissueFitOptions(),  # noqa: B008 - immutable
    run: RunContext = NULL_CONTEXT,
) -> TrainRecipe:
    """Make the data set of a run that trains a network on the strokes of slides; return its recipe.

    ``out``: the run folder. A data set that it contains already is used as it is, so that the same call continues after
    an interruption. ``options``: the candidates of the painted classifier that the network is compared with. Raises
    ``InputError`` if there are too few strokes to hold some back.
    """
    data = (out / DATA_SET).absolute()
    if not data.exists():
        out.mkdir(parents=True, exist_ok=True)
        make_stroke_data_set(split_strokes(slides), data, options, run)
    tiles = read_tile_set(data)
    assert tiles is not None
    title = f"Tissue network: {', '.join(tiles.labels)}"
    recipe = find_shipped_recipe(SHIPPED_RECIPE).complete(
        [data],
        str(data / START),
        name=NAME,
        title=title,
        data={"validation_fraction": 0.0},  # all strokes that are not held back are trained on: no epoch is chosen
    )
    write_toml(out / RECIPE, recipe)
    return recipe
