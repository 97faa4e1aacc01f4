"""The masks of a classification that cuts out what a model draws, as users of that model get it; drawn once."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import read_datasets
from napari_melanoma.models.registry import find_bundle, for_photographs
from napari_melanoma.training.drawn_masks import drawn_mask
from napari_melanoma.training.recipe import TrainRecipe


def draw_masks(recipe: TrainRecipe, run: RunContext) -> int:
    """Draw the masks that a recipe asks for and that are not there yet.

    How many were drawn; none where the recipe takes the masks of its data sets, or whole photographs.
    """
    asked = recipe.classification
    if asked is None or asked.masks == "reference" or asked.view.region == "photograph":
        return 0
    bundle = for_photographs(find_bundle(asked.segmenter), "segmentation")
    samples = read_datasets(Path(name).expanduser() for name in (*recipe.data.datasets, *asked.adaptation.to))
    wanted = {path: sample for sample in samples if not (path := drawn_mask(sample, bundle)).is_file()}
    if not wanted:
        return 0
    from napari_melanoma.analysis.refinement import RefinementConfig, refine_mask, smooth_probability
    from napari_melanoma.inference.photograph import Segmenter
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.io.results import write_mask

    segmenter, refinement = Segmenter.load(bundle), RefinementConfig()
    for path in run.track(list(wanted), "Drawing lesions"):
        probability = segmenter.probability(read_photograph(wanted[path].image).rgb)
        smoothed = smooth_probability(probability, refinement)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, refine_mask(smoothed >= bundle.config.threshold, refinement))
    return len(wanted)
