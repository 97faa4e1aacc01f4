"""From the data sets of a recipe to what a run learns from: split, checked, decoded, and written down in data.csv."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.data.splits import Parts, split_parts
from napari_melanoma.training.cache import Cache, build_cache

if TYPE_CHECKING:
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe


@dataclass(frozen=True)
class Prepared:
    """What a run learns from, decoded; ``samples`` are in the order of the caches.

    Parameters
    ----------
    learn, tuning : Cache
        Decoded images and masks.
    base : Cache or None
        Those that keep a model from forgetting.
    samples : Parts
        The rows of the data sets; ``held_out`` is not decoded.
    base_samples : tuple of Sample
        The rows of the base data that are learnt from.
    fingerprint : str
        Changes with the content of any image or mask, and with what it is used for.
    lesion_share : float
        Share of lesion pixels among those to learn from, 0 to 1.
    """

    learn: Cache
    tuning: Cache
    base: Cache | None
    samples: Parts
    base_samples: tuple[Sample, ...]
    fingerprint: str
    lesion_share: float


def prepare_data(recipe: TrainRecipe, folder: RunFolder, *, resume: bool, run: RunContext) -> Prepared:
    """Read, split, check and decode the images of a run.

    Parameters
    ----------
    recipe : TrainRecipe
        Names the data sets.
    folder : RunFolder
        Gets ``data.csv``.
    resume : bool
        Take the images that the run began with, as its own ``data.csv`` says.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Prepared
        Ready for the loaders.
    """
    from platformdirs import user_cache_path

    caches = user_cache_path("napari-melanoma", appauthor=False) / "training"
    side = recipe.data.cache_size

    def split(folders: tuple[str, ...]) -> Parts:
        rows = [sample for name in folders for sample in read_dataset(Path(name).expanduser())]
        return split_parts(rows, recipe.data, recipe.seed)

    parts = split(recipe.data.datasets)
    base = tuple(split(recipe.data.base).learn) if recipe.data.base else ()
    learn = build_cache(parts.learn, side, caches, run=run)
    return Prepared(
        learn=learn,
        tuning=build_cache(parts.tuning, side, caches, run=run),
        base=build_cache(base, side, caches, run=run) if base else None,
        samples=parts,
        base_samples=base,
        fingerprint=learn.folder.name,
        lesion_share=float(learn.masks.mean()) / 255,
    )
