"""Save what was painted as a model, which analyses, cohorts and reports use like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.files import temporary_prefix
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.ui.sections.paint.assessment import list_strokes
from napari_melanoma.ui.sections.paint.loop import list_paintable
from napari_melanoma.ui.sections.paint.save_dialog import SaveModelDialog
from napari_melanoma.ui.widgets.job import BackgroundJob

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.prediction_config import TissueRole
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueFitOptions
    from napari_melanoma.ui.sections.paint.assessment import Assessment
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.widgets.status_line import StatusLine

    ShownModel = tuple[Assessment | None, TissueFitOptions]

DEFAULT_NAME = "tissue"
SAVED = (
    "Saved as model '{}'. Apply it to this slide, or open another slide and apply it there. Save again after painting "
    "more."
)
NOT_SAVED = "The model was not saved: the displayed slide or its scale has changed. Save it again."


def list_painted_slides(session: SlideSession) -> tuple[PaintedSlideFile, ...]:
    """Return the brightfield slides displayed so far that have strokes."""
    from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile

    painted = ((one.slide.info, one.painted.value, one.folder) for one in list_paintable(session))
    return tuple(
        PaintedSlideFile(info.path, state.strokes, folder, state.colors, info.pixel_size)
        for info, state, folder in painted
        if state.strokes
    )


def describe_slides(slides: Sequence[PaintedSlideFile]) -> str:
    """State which slides are used, and how to add others."""
    names = format_names([slide.path.name for slide in slides])
    return f"Strokes of {format_count(len(slides), 'slide')}: {names}. To include another slide, display it first."


def save_model(
    slides: Sequence[PaintedSlideFile],
    assessment: Assessment | None,
    name: str,
    options: TissueFitOptions,
    run: RunContext,
) -> BundleInfo:
    """Fit a classifier on the strokes of slides, and install its bundle under a unique name.

    ``assessment``: the latest one; if strokes have changed since, candidates are validated again.
    """
    from napari_melanoma.models.installed_bundles import install_bundle
    from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
    from napari_melanoma.slides.tissue_classifier.classifier import fit_tissue_classifier

    if assessment is not None and assessment.strokes == list_strokes(slides):
        classifier = assessment.make_classifier(slides)
    else:
        classifier = fit_tissue_classifier(slides, options, run)
    classifier = replace(classifier, roles=options.roles)
    with TemporaryDirectory(prefix=temporary_prefix("model"), ignore_cleanup_errors=True) as folder:
        return install_bundle(write_tissue_bundle(Path(folder) / DEFAULT_NAME, classifier), name)


class ModelSaver(QObject):
    """Ask for a name, and save a model in the background. ``saved``: the name of the model."""

    saved = Signal(str)
    failed = Signal(object)
    changed = Signal()  # it was started, or has ended

    def __init__(self, status: StatusLine, parent: QObject) -> None:
        super().__init__(parent)
        self._status = status
        self._job: BackgroundJob | None = None
        status.cancelled.connect(self._on_cancelled)

    @property
    def is_running(self) -> bool:
        """Whether a model is being saved."""
        return self._job is not None

    def ask(self, window: QWidget, session: SlideSession, find_shown: Callable[[], ShownModel]) -> None:
        """Ask for the name of the model and the roles of its classes, then save it.

        ``find_shown``: returns the assessment and the options of the map that is shown then, see ``save_model``.
        """
        slides = list_painted_slides(session)
        painted = {stroke.class_name for slide in slides for stroke in slide.strokes}
        classes = list(dict.fromkeys(name for slide in slides for name in slide.classes if name in painted))
        dialog = SaveModelDialog(window, session.services.settings, classes, DEFAULT_NAME, describe_slides(slides))
        dialog.confirmed.connect(lambda name, roles: self._start(slides, *find_shown(), name, roles))
        dialog.open()

    def close(self) -> None:
        """Cancel saving, and disconnect."""
        self._status.cancelled.disconnect(self._on_cancelled)
        if self._job is not None:
            self._job.cancel()
            self._status.end("fitting", NOT_SAVED)

    def _start(
        self,
        slides: Sequence[PaintedSlideFile],
        assessment: Assessment | None,
        options: TissueFitOptions,
        name: str,
        roles: Mapping[TissueRole, str],
    ) -> None:
        if self._job is not None:
            return
        options = options.model_copy(update={"roles": roles})
        self._job = BackgroundJob(partial(save_model, slides, assessment, name, options))
        self._job.progressed.connect(partial(self._status.progress, "fitting"))
        self._job.succeeded.connect(self._on_saved)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._status.begin("fitting", "Saving the model ...")
        self._job.start(self)
        self.changed.emit()

    def _on_saved(self, bundle: BundleInfo) -> None:
        self._status.end("fitting", SAVED.format(bundle.name))
        self.saved.emit(bundle.name)

    def _on_finished(self) -> None:
        self._job = None
        self._status.end("fitting")
        self.changed.emit()

    def _on_cancelled(self, task: str) -> None:
        if task == "fitting" and self._job is not None:
            self._job.cancel()
