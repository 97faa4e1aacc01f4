"""What is known of a recipe before it is started: checked at once in a thread, then measured by a worker."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import DataSetError, MelanomaError
from napari_melanoma.ui.checking import Parts, check
from napari_melanoma.ui.estimating import Estimator, said, warning
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.worker_client import WorkerClient

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe

READING = "Reading the data ..."
ESTIMATING = "estimating time and memory ..."
REST_MS = 250  # of the controls, before the data sets are read
# What has no say in time and memory: to change it measures nothing anew.
NO_SAY: dict[str, Any] = {
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
    "blend": 1.0,
}


About: TypeAlias = "tuple[TrainRecipe, Parts]"  # an estimate is of a recipe on so many images
Found: TypeAlias = "tuple[About, dict[str, Any]]"


class Forecast(QObject):
    """Follows the recipe as it is shown."""

    changed = Signal()

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self.recipe: TrainRecipe | None = None
        self.fault = ""
        self.data_fault = ""
        self.warning = ""
        self.basis = ""
        self._parts: Parts | None = None
        self._time = ""
        self._about: About | None = None  # what the time is of, or what is being measured
        self._found: Found | None = None
        self._held = ""
        self._checks = Latest(self, REST_MS)
        self._checks.succeeded.connect(self._on_checked)
        self._checks.failed.connect(self._on_fault)
        self._estimator = Estimator(client, self)
        self._estimator.estimated.connect(self._on_estimated)
        self._estimator.failed.connect(self._on_not_estimated)

    @property
    def busy(self) -> bool:
        """Whether a check or an estimate is on its way."""
        return self._checks.busy or self._estimator.busy

    @property
    def warnings(self) -> str:
        """What may go wrong, and what the comparison after the run will lack."""
        return "\n".join(filter(None, (self.warning, self._parts.warning if self._parts else "")))

    @property
    def words(self) -> str:
        """What is known, in two lines at most."""
        lines = [self._parts.words if self._parts else "", self._held or self._time]
        return "\n".join(_sentence(line) for line in lines if line)

    def want(self, recipe: TrainRecipe) -> None:
        """Check a recipe, and estimate it."""
        before, self.recipe = self.recipe, recipe
        if before and (before.data, before.seed) != (recipe.data, recipe.seed):
            self._parts = None
        if not self._parts:
            self.fault = READING
        if self._about and self._about[0] != _measured(recipe):
            self._forget_estimate(ESTIMATING)
        self._checks.submit("check", lambda: partial(_checked, recipe))
        self.changed.emit()

    def cannot(self, fault: str) -> None:
        """Say why there is no recipe."""
        self.recipe, self._parts = None, None
        self._checks.drop("check")
        self._forget_estimate()
        self.fault = fault
        self.changed.emit()

    def hold(self, why: str) -> None:
        """Measure nothing for a while: a run needs the machine."""
        if why == self._held:
            return
        self._held = why
        if why:
            self.stop()
        elif self.recipe is not None:
            self.want(self.recipe)
        self.changed.emit()

    def stop(self) -> None:
        """End the worker; ``want`` starts it again."""
        self._estimator.drop()
        self._about = self._about if self._is_found else None

    def _on_checked(self, found: tuple[TrainRecipe, Parts | Exception]) -> None:
        recipe, parts = found
        if recipe != self.recipe:
            return
        if not isinstance(parts, Parts):
            self._on_fault(parts)
            return
        self._parts, self.fault, self.data_fault = parts, "", ""
        about = _measured(recipe), parts
        if not self._held and about != self._about:
            self._forget_estimate(ESTIMATING)
            self._about = about
            if self._is_found:
                self._show_found()
            else:
                self._estimator.want(about[0])
        self.changed.emit()

    def _on_fault(self, error: Exception) -> None:
        self._parts = None
        self._forget_estimate()
        self.fault = _sentence(str(error))
        self.data_fault = self.fault if isinstance(error, DataSetError) else ""
        self.changed.emit()

    def _on_estimated(self, answer: dict[str, Any]) -> None:
        if self._about is not None:
            self._found = self._about, answer
            self._show_found()
            self.changed.emit()

    def _on_not_estimated(self, error: Exception) -> None:
        self._time, self.basis, self.warning = "", "", f"Time and memory could not be estimated: {error}"
        self.changed.emit()

    @property
    def _is_found(self) -> bool:
        """Whether the answer to what is asked is known."""
        return self._found is not None and self._found[0] == self._about

    def _show_found(self) -> None:
        """Show the answer; how much memory is free may have changed since it came."""
        if self._found is not None:
            answer = self._found[1]
            self._time, self.warning, self.basis = said(answer), warning(answer), str(answer.get("rests_on", ""))

    def _forget_estimate(self, instead: str = "") -> None:
        """Say nothing of time and memory that is of another recipe, or of other data."""
        self._about = None
        self._estimator.rest()
        self._time, self.warning, self.basis = instead, "", ""


def _measured(recipe: TrainRecipe) -> TrainRecipe:
    """Give a recipe without what has no say in time and memory."""
    return recipe.model_copy(update=NO_SAY)


def _checked(recipe: TrainRecipe, run: RunContext) -> tuple[TrainRecipe, Parts | Exception]:
    try:
        return recipe, check(recipe, run)
    except MelanomaError as error:
        return recipe, error


def _sentence(text: str) -> str:
    """Write words as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
