"""What can be said of a recipe before it is run: whether its network, its start and its data fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import counted
from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.ui.data_counts import check_is_folder

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

NOTHING_HELD = "none to compare the new model with the old one"
OF_DATA = ("classes", "tabular")  # options of a classifier that its data decide


@dataclass(frozen=True)
class Parts:
    """How many images a run would use for what.

    ``learn`` are for training, ``tuning`` for validation, ``held_out`` for the comparison with the old model, ``base``
    are of base data, and ``left_out`` are not used, as others of their patients are held out. ``warning`` is a sentence
    where the start was trained on images that are held out.
    """

    learn: int
    tuning: int
    held_out: int
    base: int = 0
    left_out: int = 0
    warning: str = ""

    @property
    def words(self) -> str:
        """The numbers in one line."""
        total = counted(self.learn + self.tuning + self.held_out + self.left_out, "image")
        said = [f"{self.learn:,} for training", f"{self.tuning:,} for validation"]
        said.append(f"{self.held_out:,} to compare the new model with the old one" if self.held_out else NOTHING_HELD)
        if self.left_out:
            said.append(f"{self.left_out:,} not used, as others of their patients are held out")
        base = f"; {counted(self.base, 'image')} of other data against forgetting" if self.base else ""
        return f"{total} with masks: {', '.join(said)}{base}"


def check(recipe: TrainRecipe, run: RunContext) -> Parts:
    """Check a recipe; of its images only thumbnails of those held out are read."""
    from napari_melanoma.training.class_rows import check_every_answer
    from napari_melanoma.training.data_faults import check_counts
    from napari_melanoma.training.survey import answered, choose
    from napari_melanoma.workflows.training_overlap import known_to_start

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
    parts = chosen.parts
    return Parts(
        len(parts.learn),
        len(parts.tuning),
        len(parts.held_out),
        len(chosen.base),
        len(chosen.left_out),
        known_to_start(recipe, chosen, run),
    )


def check_network(recipe: TrainRecipe) -> None:
    """Check that the network is the one of the model that it starts from."""
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
