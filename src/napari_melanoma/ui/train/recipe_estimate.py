"""Check a recipe before it runs, count its images, and estimate time and memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil
from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError, MelanomaError
from napari_melanoma.core.formatting import format_count, format_estimated_duration
from napari_melanoma.ui.train.data_sets import check_is_folder
from napari_melanoma.ui.widgets.job import LatestJobQueue, tasks
from napari_melanoma.ui.widgets.settings import DebounceTimer
from napari_melanoma.ui.worker_client import WorkerClient, WorkerRequest

if TYPE_CHECKING:
    from napari_melanoma.training.recipe import TrainRecipe

NO_TEST_IMAGES = "none for testing"
DATA_OPTIONS = ("classes", "tabular")  # options of a classifier that depend on its data
ESTIMATE_DELAY_MS = 900  # between the last change of the recipe and a measurement
MB = 1024**2
READING = "Reading the data ..."
ESTIMATING = "estimating time and memory ..."
CHECK_DELAY_MS = 250  # between the last change of the controls and reading the data sets


@dataclass(frozen=True)
class RecipeImageCounts:
    """Numbers of images of a run.

    ``test``: test set. ``left_out``: not used, because other images of their patients are in the test set.
    ``warning``: not empty if the starting model was trained on test images.
    """

    training: int
    validation: int
    test: int
    base: int = 0
    left_out: int = 0
    warning: str = ""

    @property
    def summary(self) -> str:
        """The numbers as one line."""
        total = format_count(self.training + self.validation + self.test + self.left_out, "image")
        parts = [f"{self.training:,} for training", f"{self.validation:,} for validation"]
        parts.append(f"{self.test:,} for testing" if self.test else NO_TEST_IMAGES)
        if self.left_out:
            parts.append(f"{self.left_out:,} not used (other images of their patients are in the test set)")
        base = f"; {format_count(self.base, 'image')} of base data" if self.base else ""
        return f"{total} with masks: {', '.join(parts)}{base}"


def check_recipe_data(recipe: TrainRecipe, run: RunContext) -> RecipeImageCounts:
    """Check a recipe and its data, and count the images.

    No images are read, except thumbnails of the test set, which are compared with the training data of the starting
    model.
    """
    from napari_melanoma.evaluation.training_overlap import start_overlap_warning
    from napari_melanoma.training.data_checks import check_counts
    from napari_melanoma.training.data_selection import check_run_classes, select_labeled, select_samples

    check_network(recipe)
    run.check()
    shared = set(recipe.data.datasets) & set(recipe.data.base)
    if shared:
        names = ", ".join(sorted(Path(name).name for name in shared))
        raise DataSetError(f"the data set {names} is both training data and base data. Tick it only once.")
    for name in (*recipe.data.datasets, *recipe.data.base):
        check_is_folder(Path(name).expanduser())
    selected, table, _ = select_labeled(select_samples(recipe), recipe)
    check_counts(selected.parts)
    if table is not None:
        check_run_classes(selected, recipe, table)
    parts = selected.parts
    return RecipeImageCounts(
        len(parts.training),
        len(parts.validation),
        len(parts.test),
        len(selected.base),
        len(selected.left_out),
        start_overlap_warning(recipe, selected, run),
    )


def check_network(recipe: TrainRecipe) -> None:
    """Check that the network of a recipe matches its starting model."""
    from napari_melanoma.models.installed_bundles import find_bundle
    from napari_melanoma.models.zoo import list_architectures
    from napari_melanoma.runs.starting_weights import check_start

    model = recipe.model
    config = list_architectures()[model.architecture].spec.config
    options = config.parse(model.options, f"the options of {model.architecture}")
    if not model.starts_from_bundle:
        check_start(recipe)
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
        "Reset architecture and options under Advanced, Model, or select another start."
    )


class RunEstimator(QObject):
    """Measure one training step of a recipe after its last change, one measurement at a time.

    The estimator has its own worker process, so that analyses of other docks need not wait for it.
    """

    estimated = Signal(object)  # the response of the worker: dict with seconds, memory_mb, device ...
    failed = Signal(object)  # the exception

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._recipe: TrainRecipe | None = None
        self._requested_recipe: TrainRecipe | None = None
        self._request: WorkerRequest | None = None
        self._timer = DebounceTimer(self, ESTIMATE_DELAY_MS)
        self._timer.timeout.connect(self._send_request)

    def schedule(self, recipe: TrainRecipe) -> None:
        """Estimate a recipe after a delay, unless it changes again."""
        self._recipe = recipe
        self._timer.start()

    def clear(self) -> None:
        """Discard the request; the result of an active measurement is ignored."""
        self._recipe = None
        self._timer.stop()

    def stop(self) -> None:
        """Cancel the request and close the worker, which frees its memory."""
        self.clear()
        request, self._request = self._request, None
        tasks.set_running(self, False)
        if request is not None:
            request.cancel()
        self._client.close()

    def _send_request(self) -> None:
        if self._recipe is None or self._request is not None:
            return  # sent again after the current response
        self._requested_recipe = self._recipe
        self._request = self._client.request("estimate", recipe=self._requested_recipe.model_dump(mode="json"))
        tasks.set_running(self, True)
        self._request.succeeded.connect(self._on_response)
        self._request.failed.connect(self._on_failed)
        self._request.finished.connect(self._on_finished)

    def _on_response(self, response: dict[str, Any]) -> None:
        if self._requested_recipe is self._recipe:  # not ==: the data of an equal recipe may have changed since
            self.estimated.emit(response)

    def _on_failed(self, error: Exception) -> None:
        if self._requested_recipe is self._recipe:
            self.failed.emit(error)

    def _on_finished(self) -> None:
        self._request = None
        tasks.set_running(self, False)
        if self._recipe is not None and self._recipe is not self._requested_recipe:
            self._timer.start()


def format_estimate(estimate: dict[str, Any]) -> str:
    """Format an estimate, such as ``about 6 min on this machine (cpu), 1.1 GB; measured with one step``."""
    memory = (
        f"{estimate['memory_mb'] / 1024:.1f} GB" if estimate["memory_mb"] >= 100 else f"{estimate['memory_mb']:.0f} MB"
    )
    duration = format_estimated_duration(estimate["seconds"])
    return f"about {duration} on this machine ({estimate['device']}), {memory}; measured with one step"


def format_memory_warning(estimate: dict[str, Any]) -> str:
    """Return a warning if the free memory may be insufficient; empty if it is sufficient."""
    free = estimate.get("free_mb") or psutil.virtual_memory().available / MB
    if estimate["memory_mb"] <= free:
        return ""
    return (
        f"The training may run out of memory ({free / 1024:.1f} GB free): close other programs, or set a smaller batch "
        "size or more gradient accumulation (accumulate_batches) under Advanced."
    )


# Fields that do not affect time and memory, with values that replace theirs in the key of an estimate.
IRRELEVANT_FIELDS: dict[str, Any] = {
    "name": "estimate",
    "title": "",
    "licence": "",
    "modalities": (),
    "seed": 0,
    "learning_rate": 1e-3,
    "encoder_rate": 1.0,
    "weight_decay": 0.0,
    "schedule": "constant",
    "patience": 1,
    "gradient_clip": 1.0,
    "lesion_weight": 1.0,
    "wise_ft_weight": 1.0,
}
EstimateKey: TypeAlias = "tuple[TrainRecipe, RecipeImageCounts]"  # what an estimate depends on
KeyedEstimate: TypeAlias = "tuple[EstimateKey, dict[str, Any]]"


class RunForecast(QObject):
    """Check the displayed recipe, and estimate its time and memory.

    ``error``: why the recipe cannot be started, empty if it can. ``data_error``: the same if it concerns the data
    sets, else empty. ``estimate_basis``: how the estimate was measured.
    """

    changed = Signal()

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self.recipe: TrainRecipe | None = None
        self.error = ""
        self.data_error = ""
        self.memory_warning = ""
        self.estimate_basis = ""
        self._image_counts: RecipeImageCounts | None = None
        self._time_text = ""
        self._estimate_key: EstimateKey | None = None  # of the displayed or requested estimate
        self._estimate: KeyedEstimate | None = None
        self._suspend_reason = ""
        self._checks = LatestJobQueue(self, CHECK_DELAY_MS)
        self._checks.succeeded.connect(self._on_checked)
        self._checks.failed.connect(self._on_check_failed)
        self._estimator = RunEstimator(client, self)
        self._estimator.estimated.connect(self._on_estimated)
        self._estimator.failed.connect(self._on_estimate_failed)

    @property
    def warnings(self) -> str:
        """Warnings about memory and about the comparison after the run."""
        return "\n".join(filter(None, (self.memory_warning, self._image_counts.warning if self._image_counts else "")))

    @property
    def summary(self) -> str:
        """Image counts and estimate, in at most two lines."""
        lines = [self._image_counts.summary if self._image_counts else "", self._suspend_reason or self._time_text]
        return "\n".join(_to_sentence(line) for line in lines if line)

    def set_recipe(self, recipe: TrainRecipe) -> None:
        """Check and estimate a recipe."""
        previous, self.recipe = self.recipe, recipe
        if previous and (previous.data, previous.seed) != (recipe.data, recipe.seed):
            self._image_counts = None
        if not self._image_counts:
            self.error = READING
        if self._estimate_key and self._estimate_key[0] != _strip_irrelevant_fields(recipe):
            self._clear_estimate(ESTIMATING)
        self._checks.submit("check", lambda: partial(_try_check, recipe))
        self.changed.emit()

    def set_error(self, message: str) -> None:
        """Discard the recipe, and set the error that prevents it."""
        self.recipe, self._image_counts = None, None
        self._checks.drop("check")
        self._clear_estimate()
        self.error = message
        self.changed.emit()

    def suspend(self, reason: str) -> None:
        """Suspend estimates, while a run uses the machine; continue if ``reason`` is empty."""
        if reason == self._suspend_reason:
            return
        self._suspend_reason = reason
        if reason:
            self.stop()
        elif self.recipe is not None:
            self.set_recipe(self.recipe)
        self.changed.emit()

    def stop(self) -> None:
        """Close the worker; the next estimate starts it again."""
        self._estimator.stop()
        self._estimate_key = self._estimate_key if self._is_estimated else None

    def _on_checked(self, result: tuple[TrainRecipe, RecipeImageCounts | Exception]) -> None:
        recipe, counts = result
        if recipe != self.recipe:
            return
        if not isinstance(counts, RecipeImageCounts):
            self._on_check_failed(counts)
            return
        self._image_counts, self.error, self.data_error = counts, "", ""
        key = _strip_irrelevant_fields(recipe), counts
        if not self._suspend_reason and key != self._estimate_key:
            self._clear_estimate(ESTIMATING)
            self._estimate_key = key
            if self._is_estimated:
                self._show_estimate()
            else:
                self._estimator.schedule(key[0])
        self.changed.emit()

    def _on_check_failed(self, error: Exception) -> None:
        self._image_counts = None
        self._clear_estimate()
        self.error = _to_sentence(str(error))
        self.data_error = self.error if isinstance(error, DataSetError) else ""
        self.changed.emit()

    def _on_estimated(self, estimate: dict[str, Any]) -> None:
        if self._estimate_key is not None:
            self._estimate = self._estimate_key, estimate
            self._show_estimate()
            self.changed.emit()

    def _on_estimate_failed(self, error: Exception) -> None:
        self._time_text, self.estimate_basis = "", ""
        self.memory_warning = f"Time and memory could not be estimated: {error}"
        self.changed.emit()

    @property
    def _is_estimated(self) -> bool:
        """Whether the last estimate belongs to the current recipe."""
        return self._estimate is not None and self._estimate[0] == self._estimate_key

    def _show_estimate(self) -> None:
        """Update the texts to the last estimate, compared with the memory that is free now."""
        if self._estimate is not None:
            estimate = self._estimate[1]
            self._time_text, self.memory_warning = format_estimate(estimate), format_memory_warning(estimate)
            self.estimate_basis = str(estimate.get("basis", ""))

    def _clear_estimate(self, text: str = "") -> None:
        """Remove the estimate and its request; ``text`` is shown instead."""
        self._estimate_key = None
        self._estimator.clear()
        self._time_text, self.memory_warning, self.estimate_basis = text, "", ""


def _strip_irrelevant_fields(recipe: TrainRecipe) -> TrainRecipe:
    return recipe.model_copy(update=IRRELEVANT_FIELDS)


def _try_check(recipe: TrainRecipe, run: RunContext) -> tuple[TrainRecipe, RecipeImageCounts | Exception]:
    try:
        return recipe, check_recipe_data(recipe, run)
    except MelanomaError as error:
        return recipe, error


def _to_sentence(text: str) -> str:
    """Capitalize a text and end it with a period."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
