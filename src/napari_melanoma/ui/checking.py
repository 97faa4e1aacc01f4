"""What can be said of a recipe before it is run: whether its network, its start and its data fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.ui.data_counts import check_is_folder

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

OF_DATA = ("classes", "tabular")  # options of a classifier that its data decide


@dataclass(frozen=True)
class Parts:
    """How many images a run would learn from, tune on, hold out, and take from base data."""

    learn: int
    tuning: int
    held_out: int
    base: int = 0

    @property
    def words(self) -> str:
        """The numbers in one line."""
        said = [f"learns from {self.learn:,}", f"tunes on {self.tuning:,}"]
        said.append(f"judged on {self.held_out:,} unseen" if self.held_out else "nothing is left to judge it on")
        if self.base:
            said.append(f"{self.base:,} against forgetting")
        return ", ".join(said)


def check(recipe: TrainRecipe, run: RunContext) -> Parts:
    """Check a recipe without reading any image.

    Parameters
    ----------
    recipe : TrainRecipe
        Complete, with data and a start.
    run : RunContext
        Asked whether to go on.

    Returns
    -------
    Parts
        What the images of its data sets would be used for.

    Raises
    ------
    ConfigError
        Where the architecture or its options differ from those of the start.
    BundleError
        Where the model to start from is gone.
    DataSetError
        Where a data set is missing or faulty, or a class is missing in a part of it.
    RunError
        Where there are too few images with masks.
    """
    from napari_melanoma.training.class_rows import check_every_answer
    from napari_melanoma.training.data_faults import check_counts
    from napari_melanoma.training.survey import answered, choose

    check_network(recipe)
    run.check()
    both = set(recipe.data.datasets) & set(recipe.data.base)
    if both:
        names = ", ".join(sorted(Path(name).name for name in both))
        raise DataSetError(f"the data set {names} is named twice, to learn from and against forgetting. Tick it once.")
    for name in (*recipe.data.datasets, *recipe.data.base):
        check_is_folder(Path(name).expanduser())
    chosen, table, _ = answered(choose(recipe), recipe)
    check_counts(chosen.parts)
    if table is not None:
        check_every_answer(chosen, recipe, table)
    return Parts(len(chosen.parts.learn), len(chosen.parts.tuning), len(chosen.judged), len(chosen.base))


def check_network(recipe: TrainRecipe) -> None:
    """Check that the network is the one of the model that it starts from.

    Parameters
    ----------
    recipe : TrainRecipe
        Its ``model`` part.

    Raises
    ------
    ConfigError
        Where the architecture or its options differ from those of the start.
    BundleError
        Where the start is not there.
    RunError
        Where there are no ImageNet weights for the network.
    """
    from napari_melanoma.models.registry import find_bundle
    from napari_melanoma.models.zoo import architectures
    from napari_melanoma.workflows.training_start import check_start

    model = recipe.model
    config = architectures()[model.architecture].spec.config
    options = config.parse(model.options, f"the options of {model.architecture}")
    if not model.starts_from_bundle:
        check_start(recipe)
        return
    start = find_bundle(model.start).config
    if not recipe.goes_on_from(start):  # its encoder alone is taken
        check_start(recipe)
        return
    if recipe.task == "classification":  # what follows from its data is no choice
        options = options.model_copy(update={name: config.model_fields[name].default for name in OF_DATA})
        start = start.model_copy(update={"options": {k: v for k, v in start.options.items() if k not in OF_DATA}})
    if start.architecture != model.architecture:
        differs = f"its network is {start.architecture}, and the recipe's is {model.architecture}"
    elif config.parse(start.options, "the start") != options:
        differs = f"its {start.architecture} has other options than the recipe's"
    else:
        return
    raise ConfigError(
        f"The weights of {start.name} do not fit: {differs}. "
        "Set architecture and options back under Advanced, Model, or start from something else."
    )
