"""Check a recipe before it runs, and count its images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError, MelanomaError
from napari_melanoma.core.formatting import format_count, to_sentence
from napari_melanoma.core.paths import expand_user
from napari_melanoma.ui.train.data_sets import check_is_folder
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from napari_melanoma.data.splits import TrainingSplit
    from napari_melanoma.training.recipe import TrainRecipe

DATA_OPTIONS = ("classes", "tabular")  # options of a classifier that depend on its data
READING = "Reading the data ..."
FEW_FOR_TRAINING = 500  # photographs with a diagnosis, below which an adaptation is to be tried first
ADAPT_FIRST = f"fewer than {FEW_FOR_TRAINING} photographs: first adapt a classifier (Review dock, Diagnosis)"
FEW_VALIDATION = "Few for validation: imprecise results"
CHECK_DELAY_MS = 250  # between the last change of the controls and reading the data sets


@dataclass(frozen=True)
class RecipeImageCounts:
    """Numbers of images of a run.

    ``test``: test set. ``left_out``: not used, because other images of their patients are in the test or validation
    set. ``few_validation``: whether figures on the validation images are imprecise.
    ``warning``: not empty if the starting model was trained on test images. ``noun``: ``image`` or ``slide``.
    ``next_step``: what a run does first, if it takes long. ``advice``: what to try before a training.
    """

    training: int
    validation: int
    test: int
    replay: int = 0
    left_out: int = 0
    warning: str = ""
    noun: str = "image"
    next_step: str = ""
    few_validation: bool = False
    advice: str = ""

    @property
    def sets(self) -> str:
        """The number of images in each set."""
        test = format_count(self.test, f"test {self.noun}") if self.test else f"no test {self.noun}s"
        return f"{self.training:,} training, {self.validation:,} validation, {test}"

    @property
    def parts(self) -> tuple[str, ...]:
        """What to do first, and what else to know about the images."""
        parts = [text for text in (self.next_step, self.advice) if text]
        if self.few_validation:
            parts.append(FEW_VALIDATION)
        if self.left_out:
            parts.append(f"{self.left_out:,} not used (other images of their patients are in another set)")
        if self.replay:
            parts.append(f"{format_count(self.replay, 'image')} of earlier data")
        return tuple(parts)


def check_recipe_data(recipe: TrainRecipe, run: RunContext) -> RecipeImageCounts:
    """Check a recipe and its data, and count the images.

    No images are read, except thumbnails of the test set, which are compared with the training data of the starting
    model.
    """
    from napari_melanoma.evaluation.training_overlap import start_overlap_warning
    from napari_melanoma.models.hub import is_missing
    from napari_melanoma.training.data_checks import check_counts
    from napari_melanoma.training.data_selection import check_run_classes, select_labeled, select_samples

    check_network(recipe)
    run.check()
    shared = set(recipe.data.datasets) & set(recipe.data.replay)
    if shared:
        names = ", ".join(sorted(Path(name).name for name in shared))
        raise DataSetError(f"the data set {names} is both training data and earlier data. Tick it only once.")
    for name in (*recipe.data.datasets, *recipe.data.replay):
        check_is_folder(expand_user(name))
    if recipe.bags is not None:
        return _count_slides(recipe)
    selected, table, _ = select_labeled(select_samples(recipe), recipe)
    check_counts(selected.parts)
    if table is not None:
        check_run_classes(selected, recipe, table)
    parts = selected.parts
    count = len(parts.training) + len(parts.validation) + len(parts.test)
    return RecipeImageCounts(
        len(parts.training),
        len(parts.validation),
        len(parts.test),
        len(selected.replay),
        len(selected.left_out),
        "" if is_missing(recipe.model.start) else start_overlap_warning(recipe, selected, run),
        few_validation=_has_few(parts),
        advice=ADAPT_FIRST if table is not None and is_for_adapting(count, recipe) else "",
    )


def is_for_adapting(count: int, recipe: TrainRecipe) -> bool:
    """Return whether a classifier of photographs should be adapted before one is trained."""
    from napari_melanoma.models.bundle import SLIDE

    return count < FEW_FOR_TRAINING and recipe.tile is None and SLIDE not in recipe.modalities


def _has_few(parts: TrainingSplit) -> bool:
    from napari_melanoma.training.monitor import describe_few_validation

    return bool(describe_few_validation(len(parts.validation), len({sample.group for sample in parts.validation})))


def _count_slides(recipe: TrainRecipe) -> RecipeImageCounts:
    """Check the tables of whole slides, and count the slides."""
    from napari_melanoma.runs.slide_datasets import describe_pending
    from napari_melanoma.training.whole_slides import split_slides

    chosen, _, _ = split_slides(recipe, pending=True)
    parts, left_out = chosen.parts, len(chosen.left_out)
    counts = len(parts.training), len(parts.validation), len(parts.test), 0, left_out
    pending = describe_pending(expand_user(name) for name in recipe.data.datasets)
    return RecipeImageCounts(*counts, noun="slide", next_step=pending, few_validation=_has_few(parts))


def check_network(recipe: TrainRecipe) -> None:
    """Check that the network of a recipe matches its starting model."""
    from napari_melanoma.models.hub import is_missing
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.models.zoo import list_architectures
    from napari_melanoma.runs.starting_weights import check_start

    model = recipe.model
    config = list_architectures()[model.architecture].spec.config
    options = config.parse(model.options, f"the options of {model.architecture}")
    if not model.starts_from_bundle:
        check_start(recipe)
        return
    if is_missing(model.start):  # checked again when the run starts, after the download
        return
    start = find_bundle(model.start).config
    if not recipe.continues_from(start):  # only the encoder is used
        check_start(recipe)
        return
    if recipe.task == "classification":  # options that depend on the data are not compared
        options = options.model_copy(update={name: config.model_fields[name].default for name in DATA_OPTIONS})
        start = start.model_copy(update={"options": {k: v for k, v in start.options.items() if k not in DATA_OPTIONS}})
    if start.architecture != model.architecture:
        difference = f"its network is {start.architecture}, the recipe's is {model.architecture}"
    elif config.parse(start.options, "the start") != options:
        difference = f"its {start.architecture} has other options than the recipe's"
    else:
        return
    raise ConfigError(
        f"The weights of {start.name} do not fit: {difference}. "
        "Reset architecture and options under More, Model, or select another start."
    )


class RecipeCheck(QObject):
    """Check the displayed recipe and its data in a thread, and count the images.

    ``error``: why the recipe cannot be started, empty if it can. ``data_error``: the same if it concerns the data
    sets, else empty.
    """

    changed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.recipe: TrainRecipe | None = None
        self.error = ""
        self.data_error = ""
        self._image_counts: RecipeImageCounts | None = None
        self._checks = LatestJobQueue(self, CHECK_DELAY_MS)
        self._checks.succeeded.connect(self._on_checked)
        self._checks.failed.connect(self._on_failed)

    @property
    def warning(self) -> str:
        """A warning about the comparison after the run."""
        return self._image_counts.warning if self._image_counts else ""

    @property
    def counts(self) -> RecipeImageCounts | None:
        """The numbers of images; None until they were counted."""
        return self._image_counts

    def set_recipe(self, recipe: TrainRecipe) -> None:
        previous, self.recipe = self.recipe, recipe
        if previous and (previous.data, previous.seed) != (recipe.data, recipe.seed):
            self._image_counts = None
        if not self._image_counts:
            self.error = READING
        self._checks.submit("check", lambda: partial(_try_check, recipe))
        self.changed.emit()

    def set_error(self, message: str) -> None:
        """Discard the recipe, and set the error that prevents it."""
        self.recipe, self._image_counts = None, None
        self._checks.drop("check")
        self.error = message
        self.changed.emit()

    def _on_checked(self, result: tuple[TrainRecipe, RecipeImageCounts | Exception]) -> None:
        recipe, counts = result
        if recipe != self.recipe:
            return
        if isinstance(counts, RecipeImageCounts):
            self._image_counts, self.error, self.data_error = counts, "", ""
            self.changed.emit()
        else:
            self._on_failed(counts)

    def _on_failed(self, error: Exception) -> None:
        self._image_counts = None
        self.error = to_sentence(str(error))
        self.data_error = self.error if isinstance(error, DataSetError) else ""
        self.changed.emit()


def _try_check(recipe: TrainRecipe, run: RunContext) -> tuple[TrainRecipe, RecipeImageCounts | Exception]:
    try:
        return recipe, check_recipe_data(recipe, run)
    except MelanomaError as error:
        return recipe, error
