"""The gate: the model of a run against the one it started from, on images that the run has not seen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.errors import BundleError, RunError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.data.splits import split_parts
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.registry import DEFAULT_BUNDLE, find_bundle
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data
from napari_melanoma.workflows.adoption import discard, take_over
from napari_melanoma.workflows.compare import ComparisonOptions, compare_models
from napari_melanoma.workflows.comparison import Comparison, read_comparison

__all__ = ["discard", "gate", "held_out", "take_over"]

NO_BUNDLE = ("imagenet", "none")


def gate(run_path: Path, *, run: RunContext) -> Comparison:
    """Compare the model of a run with the one it started from, or with the shipped one where it started from none.

    Parameters
    ----------
    run_path : pathlib.Path
        A run folder with a bundle.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    Comparison
        On the images that the run held out, and on those that its base data hold out; also in ``comparison/`` of
        the run folder, which is replaced as a whole.

    Raises
    ------
    RunError
        Where the run has no model yet, or nothing was held out.
    BundleError
        Where the model that it started from has gone.
    DataSetError
        Where none of the images could be compared.
    Cancelled
        Where the user stopped it; an earlier comparison stays.
    """
    folder = RunFolder(run_path)
    recipe = read_toml(folder.config, TrainRecipe)
    old, new = _parent(recipe, folder), _own(folder)
    samples, base = held_out(recipe, folder)
    options = ComparisonOptions(base=base)
    with atomic_folder(folder.comparison) as temporary:
        compare_models([old, new], samples, temporary, options, run=run)
    return read_comparison(folder.comparison)


def held_out(recipe: TrainRecipe, folder: RunFolder) -> tuple[list[Sample], tuple[str, ...]]:
    """Find the images on which a run can be judged.

    Parameters
    ----------
    recipe : TrainRecipe
        Of the run.
    folder : RunFolder
        Its ``data.csv`` says what was held out, and what was learnt from.

    Returns
    -------
    samples : list of Sample
        Of the run's own data, then of its base data.
    base : tuple of str
        Names of the base data sets among them.

    Raises
    ------
    RunError
        Where there is none, or ``data.csv`` cannot be read.
    """
    rows = read_data(folder.data)
    samples = [row.sample for row in rows if row.part == "held_out"]
    groups, names = {row.sample.group for row in rows}, {sample.domain for sample in samples}
    of_base = [sample for sample in _base_held_out(recipe) if sample.group not in groups]
    if not samples and not of_base:
        raise RunError(
            f"{folder.path.name} held no image out, so nothing can be judged. Set data.held_out_fraction, or name "
            "images with the split that data.held_out_split says."
        )
    return samples + of_base, tuple(sorted({sample.domain for sample in of_base} - names))


def _parent(recipe: TrainRecipe, folder: RunFolder) -> BundleInfo:
    """The model that a run started from."""
    start = DEFAULT_BUNDLE if recipe.model.start in NO_BUNDLE else recipe.model.start
    try:
        return find_bundle(start)
    except BundleError as error:
        raise BundleError(f"the model that {folder.path.name} started from has gone: {error}") from error


def _own(folder: RunFolder) -> BundleInfo:
    """The model of a run."""
    try:
        return read_bundle(folder.bundle)
    except BundleError as error:
        raise RunError(f"{folder.path.name} has no model yet; let the run finish first.") from error


def _base_held_out(recipe: TrainRecipe) -> Iterable[Sample]:
    """What the base data hold out, by the rule by which the run split them."""
    folders = [Path(name).expanduser() for name in recipe.data.base]
    rows = [sample for folder in folders for sample in read_dataset(folder)]
    return split_parts(rows, recipe.data, recipe.seed).held_out
