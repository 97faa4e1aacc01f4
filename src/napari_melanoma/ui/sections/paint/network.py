"""Train a network on what was painted: start a run, show its progress, and offer its model if it is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QMessageBox, QProgressBar, QWidget

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.formatting import format_count, format_duration
from napari_melanoma.core.packages import require_training_packages
from napari_melanoma.ui.sections.paint.different_places import (
    NOT_OPEN,
    PlaceStrip,
    ShownPlace,
    find_session,
    go_to,
    read_places,
)
from napari_melanoma.ui.sections.paint.saving import describe_slides, list_painted_slides
from napari_melanoma.ui.shared_state import models_changed
from napari_melanoma.ui.widgets.dialogs import create_question
from napari_melanoma.ui.widgets.job import BackgroundJob, LatestJobQueue
from napari_melanoma.ui.widgets.run_watch import RunSnapshot, RunWatcher
from napari_melanoma.ui.widgets.style import WrappedLabel, fill_column, named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.evaluation.map_difference import MapDifference
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.runs.launching import RunReport
    from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueFitOptions
    from napari_melanoma.ui.session.slide import SlideSession

STEPS = 1000
TEXT_LINES = 4
TRAIN_TIP = "Train a network on the strokes of all slides displayed so far, and measure whether it is better"
DETAILS = (
    "{slides}\n\n"
    "{held_back} held back: the painted classifier and the network, both trained without them, are compared on them. "
    "The network is offered only if it is better.\n\nTraining takes some minutes and continues in the background. The "
    "Train dock shows its curves."
)
ENCODER_NOTE = (
    "\n\nThe features of {} are not compared: the painted classifier of this comparison uses automatic features. The "
    "displayed map may be better than both."
)
BRIGHTFIELD_ONLY = "A network is trained on brightfield slides only. Use Save as model."
NOT_STARTED = "The training was not started: the displayed slide or its scale has changed. Start it again."
NO_STROKES = "Paint at least two strokes of two classes first."


@dataclass(frozen=True)
class NetworkProgress:
    """What is shown of a training.

    ``share``: what is done, 0 to 1; None if nothing is running. ``can_use``: the network is measured to be better.
    ``difference``: where its map differs from the painted one, which is shown until the network is in use.
    """

    text: str
    share: float | None = None
    can_cancel: bool = False
    can_resume: bool = False
    can_use: bool = False
    difference: MapDifference | None = None


def resolve_network(report: RunReport) -> NetworkProgress:
    """Return what is shown of a run."""
    from napari_melanoma.evaluation.map_difference import MapDifference

    text = f"Training a network: {report.message[:1].lower()}{report.message[1:]}"
    if report.state.active:
        left = report.step.get("eta_s") if report.state == "running" else None
        if isinstance(left, int | float) and left > 0:
            text += f" {format_duration(left)} left."
        done = report.epoch / report.epochs if report.epochs else 0.0
        batch, batches = report.step.get("batch"), report.step.get("batches")
        if batch and batches and report.epochs and report.step.get("epoch") == report.epoch:
            done += batch / batches / report.epochs
        return NetworkProgress(text, min(done, 1.0), can_cancel=report.state != "cancelling")
    if report.state != "finished":
        return NetworkProgress(text, can_resume=report.state.resumable)
    if report.activated_as is not None:
        return NetworkProgress(f"The network is in use as model '{report.activated_as}'.")
    if report.comparison is None:
        return NetworkProgress("The network was trained, but not compared. See its log in the Train dock.")
    difference = MapDifference.from_json(report.comparison.facts)
    # Inconclusive: better on the strokes that were held back, but its map differs widely, which is stated and shown.
    return NetworkProgress(report.comparison.reason, can_use=report.comparison.advice != "keep", difference=difference)


def resolve_network_blocker(strokes: Sequence[int], *, is_active: bool, is_fluorescence: bool = False) -> str:
    """Return why no network can be trained; empty if one can. ``strokes``: number of strokes of each class."""
    if is_fluorescence:
        return BRIGHTFIELD_ONLY
    if is_active:
        return "A network is being trained."
    return "" if sum(count > 1 for count in strokes) > 1 else NO_STROKES


class NetworkPanel(QWidget):
    """Progress and result of a training; hidden if there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.label = named(WrappedLabel(lines=TEXT_LINES), "paint_network_text", "Training of a network")
        self.label.setToolTip("")
        self.bar = named(QProgressBar(), "paint_network_progress", "Progress of the training")
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.setRange(0, STEPS)
        tip = "End the training; all finished steps are kept"
        self.cancel_button = tool_button("paint_network_cancel", "Cancel the training", tip, "Cancel")
        tip = "Continue the training at its last checkpoint"
        self.resume_button = tool_button("paint_network_resume", "Resume the training", tip, "Resume")
        tip = "Add the network to the list of models, and apply it to this slide"
        self.use_button = tool_button("paint_network_use", "Use the network", tip, "Use the network")
        self.places = PlaceStrip()
        buttons = row(self.cancel_button, self.resume_button, self.use_button)
        fill_column(self, self.bar, buttons, self.label, self.places)
        self.hide()

    def show_progress(self, progress: NetworkProgress | None) -> None:
        """Show the progress of a training; None hides the panel."""
        self.setVisible(progress is not None)
        if progress is None:
            return
        self.label.setText(progress.text)
        self.bar.setEnabled(progress.share is not None)
        self.bar.setValue(round(STEPS * (progress.share or 0.0)))
        self.cancel_button.setEnabled(progress.can_cancel)
        self.resume_button.setEnabled(progress.can_resume)
        self.use_button.setEnabled(progress.can_use)


@dataclass
class NetworkRun:
    """The run of this window, which the panels of all slides show; None before the first.

    ``is_searched``: whether a run was searched that continues from an earlier window. ``target``: the place to go to
    when its slide is displayed.
    """

    path: Path | None = None
    is_searched: bool = False
    target: ShownPlace | None = None


class NetworkTrainer(QObject):
    """Ask, prepare and start the training of a network, and follow it.

    ``run``: is set to the started run. ``used``: the name of the network in use. ``place_assigned``: a
    ``ShownPlace`` of the displayed slide, and the number of the class to paint there, 0 for that of the painted map.
    """

    used = Signal(str)
    place_assigned = Signal(object, int)
    failed = Signal(object)
    changed = Signal()  # it was started, or has ended

    def __init__(self, panel: NetworkPanel, run: NetworkRun, session: SlideSession, parent: QObject) -> None:
        super().__init__(parent)
        self._panel, self._run, self._session = panel, run, session
        self._status = status = session.services.status
        self._report: RunReport | None = None
        self._job: BackgroundJob | None = None
        self._jobs = LatestJobQueue(self)
        self._jobs.succeeded.connect(self._on_done)
        self._jobs.failed.connect(self._on_failed)
        self._watch = RunWatcher(self, _ReportReader)
        self._watch.changed.connect(self._on_report)
        self._watch.failed.connect(self._on_failed)
        panel.cancel_button.clicked.connect(lambda: self._submit(_cancel))
        panel.resume_button.clicked.connect(lambda: self._submit(_resume))
        panel.use_button.clicked.connect(self._use)
        panel.places.cell_clicked.connect(self._on_place)
        panel.places.cell_assigned.connect(self._on_place_assigned)
        panel.places.failed.connect(self.failed)
        status.cancelled.connect(self._on_cancelled)
        self._watch.set_active(True)
        self._watch.set_run(run.path)
        if not run.is_searched:
            run.is_searched = True
            self._jobs.submit("find", lambda: _find_active)
        target, run.target = run.target, None
        if target is not None and find_session(session, target) is session:
            go_to(session, target)

    @property
    def is_active(self) -> bool:
        """Whether a run is being prepared, or is running."""
        return self._job is not None or (self._report is not None and self._report.state.active)

    def ask(self, window: QWidget, options: TissueFitOptions, encoder: str) -> None:
        """State what will be done, and start when the user agrees.

        ``options``: those of the painted classifier that the network is compared with. ``encoder``: the encoder that
        was selected, whose features are not used for it; empty if none.
        """
        from napari_melanoma.slides.tissue_classifier.stroke_data_set import split_strokes

        slides = list_painted_slides(self._session)
        try:
            require_training_packages()
            split = split_strokes(slides)
        except MelanomaError as error:
            self.failed.emit(error)
            return
        strokes = sum(len(slide.strokes) for slide in split.held_back)
        if split.by == "slides":
            count = sum(bool(slide.strokes) for slide in split.held_back)
            held_back = f"{format_count(count, 'slide')} with {format_count(strokes, 'stroke')}"
        else:
            held_back = format_count(strokes, "stroke")
        verb = "is" if held_back.startswith("1 ") else "are"
        question = f"Train a network on {format_count(sum(len(one.strokes) for one in slides), 'stroke')}?"
        details = DETAILS.format(slides=describe_slides(slides), held_back=f"{held_back} {verb}")
        details += ENCODER_NOTE.format(encoder) if encoder else ""
        box = create_question(window, "train_network", question, details, "Paint")
        box.addButton("Train", QMessageBox.ButtonRole.AcceptRole).setObjectName("train_network_yes")
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.accepted.connect(partial(self._prepare, slides, options))
        box.finished.connect(box.deleteLater)
        box.open()

    def close(self) -> None:
        """Stop following the run, which continues; cancel a run that is being prepared."""
        self._watch.set_active(False)
        self._jobs.cancel()
        self._panel.places.clear()
        self._status.cancelled.disconnect(self._on_cancelled)
        if self._job is not None:
            self._job.cancel()
            self._status.end("training", NOT_STARTED)

    def _prepare(self, slides: Sequence[PaintedSlideFile], options: TissueFitOptions) -> None:
        if self.is_active:
            return
        self._job = BackgroundJob(partial(_prepare, slides, options))
        self._job.progressed.connect(partial(self._status.progress, "training"))
        self._job.succeeded.connect(self._on_started)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_prepared)
        self._status.begin("training", "Preparing the training of a network ...")
        self._job.start(self)
        self.changed.emit()

    def _on_started(self, path: Path) -> None:
        self._report = None
        self._status.end("training", "The training of a network has started. You can continue to paint.")
        self._follow(path)

    def _follow(self, path: Path) -> None:
        self._run.path = path
        self._watch.set_run(path)

    def _on_prepared(self) -> None:
        self._job = None
        self._status.end("training")
        self.changed.emit()

    def _on_cancelled(self, task: str) -> None:
        if task == "training" and self._job is not None:
            self._job.cancel()

    def _submit(self, work: Callable[[Path, RunContext], BundleInfo | None]) -> None:
        """Run a function of the run's folder in the background, and read the folder again."""
        path = self._run.path
        if path is not None:
            self._jobs.submit(work.__name__, lambda: partial(work, path))

    def _use(self) -> None:
        self._panel.use_button.setEnabled(False)
        self._submit(_activate)

    def _on_done(self, result: BundleInfo | Path | None) -> None:
        if isinstance(result, Path):
            if self._run.path is None:
                self._follow(result)
            return
        if result is not None:
            models_changed().changed.emit(result.name)
            self.used.emit(result.name)
        self._watch.refresh()

    def _on_report(self, report: RunReport) -> None:
        self._report, progress = report, resolve_network(report)
        self._panel.show_progress(progress)
        if progress.difference is None:
            self._panel.places.clear()
        else:
            self._panel.places.update_cells(partial(read_places, report.path, progress.difference))
        self.changed.emit()

    def _on_place(self, place: ShownPlace) -> bool:
        """Go to a place, displaying its slide first; return whether it is displayed."""
        found, services = find_session(self._session, place), self._session.services
        if found is self._session:
            go_to(found, place)
        elif found is None:
            services.status.show_briefly(NOT_OPEN)
        else:
            self._run.target = place
            services.slide_requested.emit(found.slide.info.path)
        return found is self._session

    def _on_place_assigned(self, place: ShownPlace, number: int) -> None:
        if self._on_place(place):
            self.place_assigned.emit(place, number)

    def _on_failed(self, error: Exception) -> None:
        if self._report is not None:
            self._panel.show_progress(resolve_network(self._report))
        self.failed.emit(error)


@dataclass
class _ReportReader:
    """Reads a run folder; see ``RunReader``."""

    path: Path

    def read_new(self, run: RunContext) -> RunSnapshot:
        from napari_melanoma.runs.launching import read_run

        return RunSnapshot(read_run(self.path))


def _prepare(slides: Sequence[PaintedSlideFile], options: TissueFitOptions, run: RunContext) -> Path:
    """Make the data set of a new run, and start it; return its folder."""
    from napari_melanoma.core.files import remove_folder
    from napari_melanoma.runs.launching import create_run_folder, launch
    from napari_melanoma.runs.stroke_training import NAME, prepare_network

    path = create_run_folder(NAME)
    try:
        launch(prepare_network(slides, path, options, run), path)
    except BaseException:
        remove_folder(path)
        raise
    return path


def _find_active(run: RunContext) -> Path | None:
    """Return the run that an earlier window has started and that is still active; None if there is none."""
    from napari_melanoma.runs.launching import list_runs
    from napari_melanoma.runs.stroke_training import NAME

    active = (one for one in list_runs() if one.state.active and one.recipe is not None and one.recipe.name == NAME)
    return next((one.path for one in active), None)


def _cancel(path: Path, run: RunContext) -> None:
    from napari_melanoma.core.processes import send_command_or_stop

    send_command_or_stop(path, "cancel")


def _resume(path: Path, run: RunContext) -> None:
    from napari_melanoma.runs.launching import launch, read_run

    recipe = read_run(path).recipe
    if recipe is not None:
        launch(recipe, path, resume=True)


def _activate(path: Path, run: RunContext) -> BundleInfo:
    from napari_melanoma.runs.acceptance import activate_model

    return activate_model(path)
