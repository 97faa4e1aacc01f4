"""What is known of a recipe before it runs: checks, time and memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil
from qtpy.QtCore import QObject, QTimer, Signal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError, MelanomaError
from napari_melanoma.core.wording import counted
from napari_melanoma.ui.train.data_sets import check_is_folder
from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.worker_client import Request, WorkerClient

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
    from napari_melanoma.evaluation.overlap import known_to_start
    from napari_melanoma.training.data_faults import check_counts
    from napari_melanoma.training.survey import answered, check_every_answer, choose

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
    from napari_melanoma.runs.start import check_start

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


ESTIMATE_REST_MS = 900  # of the recipe, before anything is measured
MB = 1024**2
MINUTE, HOUR, DAY = 60, 3600, 86400


class Estimator(QObject):
    """Measures one step of a recipe, later than the last change and never twice at once.

    Not the worker of the other docks: that one answers a question at a time, and an analysis must not wait for this.
    """

    estimated = Signal(object)
    failed = Signal(object)

    def __init__(self, client: WorkerClient, parent: QObject) -> None:
        super().__init__(parent)
        self._client = client
        self._recipe: TrainRecipe | None = None
        self._asked: TrainRecipe | None = None
        self._request: Request | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(ESTIMATE_REST_MS)
        self._timer.timeout.connect(self._ask)

    @property
    def busy(self) -> bool:
        """Whether something is measured or will be."""
        return self._request is not None or self._timer.isActive()

    def want(self, recipe: TrainRecipe) -> None:
        """Estimate a recipe when nothing newer comes."""
        self._recipe = recipe
        self._timer.start()

    def rest(self) -> None:
        """Want nothing; what is being measured is measured to its end, and forgotten."""
        self._recipe = None
        self._timer.stop()

    def drop(self) -> None:
        """Want nothing; what is being measured is stopped, and its memory is free."""
        self.rest()
        request, self._request = self._request, None
        if request is not None:
            request.cancel()
        self._client.close()

    def _ask(self) -> None:
        if self._recipe is None or self._request is not None:
            return  # asked again when the answer has come
        self._asked = self._recipe
        self._request = self._client.request("estimate", recipe=self._asked.model_dump(mode="json"))
        self._request.succeeded.connect(self._on_answer)
        self._request.failed.connect(self._on_failed)
        self._request.finished.connect(self._on_finished)

    def _on_answer(self, answer: dict[str, Any]) -> None:
        if self._asked is self._recipe:  # an equal one that was wanted later may be of other data
            self.estimated.emit(answer)

    def _on_failed(self, error: Exception) -> None:
        if self._asked is self._recipe:
            self.failed.emit(error)

    def _on_finished(self) -> None:
        self._request = None
        if self._recipe is not None and self._recipe is not self._asked:
            self._timer.start()


def said(answer: dict[str, Any]) -> str:
    """Say an estimate in a sentence.

    ``answer``: ``seconds``, ``memory_mb`` and ``device``. Such as ``about 6 min on this machine (cpu), 1.1 GB; measured
    with one step``.
    """
    memory = f"{answer['memory_mb'] / 1024:.1f} GB" if answer["memory_mb"] >= 100 else f"{answer['memory_mb']:.0f} MB"
    return f"about {span(answer['seconds'])} on this machine ({answer['device']}), {memory}; measured with one step"


def warning(answer: dict[str, Any]) -> str:
    """Say that the memory may not do.

    Empty where it does.
    """
    free = answer.get("free_mb") or psutil.virtual_memory().available / MB
    if answer["memory_mb"] <= free:
        return ""
    return (
        f"That is more memory than is free now ({free / 1024:.1f} GB): close other programs, or set a smaller batch "
        "size or more pieces under Advanced."
    )


def span(seconds: float) -> str:
    """Say how long something takes, as roughly as it is known.

    Such as ``40 s``, ``6 min``, ``2 h 10 min``, ``3 days``.
    """
    if seconds < 1.5 * MINUTE:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min"
    if seconds < 1.5 * DAY:
        tens = 10 * round(seconds / MINUTE / 10)
        return f"{tens // 60} h {tens % 60} min" if tens % 60 else f"{tens // 60} h"
    return f"{round(seconds / DAY)} days"


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
