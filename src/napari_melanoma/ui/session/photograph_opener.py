"""The opening of photographs and samples, with questions on damaged files and on images that may be slides."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.samples.catalog import MELANOMA, get_sample
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, is_photograph
from napari_melanoma.ui.viewer.view_memory import show_only
from napari_melanoma.ui.widgets.dialogs import create_question, exec_question
from napari_melanoma.ui.widgets.job import BackgroundJob, JobFunction

if TYPE_CHECKING:
    from napari.viewer import Viewer

NO_SKIN_FROM = 0.99  # probability from which it is asked whether an image is a slide; of tissue, it is above 0.998
LayerData = tuple[Any, dict[str, Any], str]  # data, attributes and type of a layer, as napari's readers return


class PhotographOpener(QObject):
    """Opens photographs and samples, one request after the other.

    ``progressed``: a ``Progress``. ``failed``: the exception. ``finished``: number of opened layers, after the last
    request.
    """

    started = Signal()
    progressed = Signal(object)
    failed = Signal(object)
    finished = Signal(int)

    def __init__(self, viewer: Viewer, parent: QWidget) -> None:
        super().__init__(parent)
        self._viewer, self._workspace = viewer, Workspace.of(viewer)
        self._job: BackgroundJob | None = None
        self._pending: deque[JobFunction] = deque()
        self._count = 0

    def open(self, paths: Sequence[Path]) -> None:
        """Open photographs, which are read in a thread; ask whether images that show no skin are slides."""
        self._start(partial(_read, list(paths)))

    def open_as_photographs(self, paths: Sequence[Path]) -> None:
        """Open images that the user has called photographs."""
        self._start(partial(_read, list(paths), are_photographs=True))

    def open_damaged(self, path: Path) -> None:
        """Open a photograph even though it is damaged."""
        self._start(partial(_read, [path], accept_damaged=True))

    def open_sample(self) -> None:
        """Open the photograph of a melanoma."""
        self._start(partial(_read_sample, MELANOMA))

    def choose_files(self) -> None:
        """Show the file dialog."""
        from napari_melanoma.io.discovery import SUFFIXES

        dialog = QFileDialog(self.parent().window(), "Open photographs")
        dialog.setObjectName("open_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        patterns = " ".join(f"*{suffix}" for suffix in sorted(SUFFIXES))
        dialog.setNameFilters([f"Photographs ({patterns})", "All files (*)"])
        dialog.filesSelected.connect(self._on_files)
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_files(self, names: list[str]) -> None:
        self.open([Path(name) for name in names])

    def cancel(self) -> None:
        """Cancel all requests; layers that are already open stay."""
        self._pending.clear()
        if self._job is not None:
            self._job.cancel()

    def _start(self, work: JobFunction) -> None:
        self._pending.append(work)
        if self._job is None:
            self._count = 0
            self.started.emit()
            self._next()

    def _next(self) -> None:
        self._job = BackgroundJob(self._pending.popleft())
        self._job.progressed.connect(self.progressed)
        self._job.succeeded.connect(self._on_read)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self._job.start(self)

    def _on_read(self, result: tuple[list[LayerData], list[Exception]]) -> None:
        from napari.layers import Layer

        layers, errors = result
        for number, (data, attributes, kind) in enumerate(layers, 1):
            layer = Layer.create(data, attributes, kind)
            if number < len(layers) and is_photograph(layer):
                layer.visible = False  # otherwise each one would get its sections, and all layers be arranged again
                photographs.insert_unselected(self._viewer, len(self._viewer.layers), layer)
            else:
                show_only(self._viewer, self._viewer.add_layer(layer))
        self._count += len(layers)
        others = [error.path for error in errors if isinstance(error, NoPhotograph)]
        if others:
            self.ask_for_kind(others, "No skin is recognized in {}.", is_slide_likely=True)
        for error in errors:
            if isinstance(error, _DamagedPhotograph):
                self._confirm_damaged(error)
            elif not isinstance(error, NoPhotograph):
                self.failed.emit(error)

    def ask_for_kind(self, paths: list[Path], reason: str, *, is_slide_likely: bool) -> None:
        """Ask whether images are photographs or slides, and open them in the dock for them.

        ``reason``: with a field for *it* or *them*. ``is_slide_likely``: which answer is the default.
        """
        from napari_melanoma.core.formatting import format_names

        dock = self.parent()
        assert isinstance(dock, QWidget)
        question = f"Open {format_names([path.name for path in paths])} as a photograph or a slide?"
        details = reason.format("them" if len(paths) > 1 else "it")
        box = create_question(dock, "photograph_question", question, details, "Open")
        photograph = box.addButton("Photograph", QMessageBox.ButtonRole.AcceptRole)
        slide = box.addButton("Slide", QMessageBox.ButtonRole.AcceptRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(slide if is_slide_likely else photograph)
        pressed = exec_question(box)
        if pressed is photograph:
            self._workspace.photographs.show().opener.open_as_photographs(paths)
        elif pressed is slide:
            self._workspace.slides.show().opener.open(paths)

    def _confirm_damaged(self, photograph: _DamagedPhotograph) -> None:
        """Ask whether to open a damaged photograph."""
        dock = self.parent()
        assert isinstance(dock, QWidget)
        confirm_open_damaged(dock, photograph.path, photograph.damage, partial(self.open_damaged, photograph.path))

    def _on_finished(self) -> None:
        self._job = None
        if self._pending:
            self._next()
            return
        self.finished.emit(self._count)


def confirm_open_damaged(
    dock: QWidget, path: Path, damage: str, accept: Callable[[], None], decline: Callable[[], None] = lambda: None
) -> None:
    """Ask whether to open a damaged photograph; the window stays responsive."""
    box = create_question(
        dock,
        "damaged_photograph",
        f"{path.name} is damaged: {damage}.",
        "Results may be wrong and will be marked as damaged. Open the photograph anyway?",
        "Damaged photograph",
    )
    box.setIcon(QMessageBox.Icon.Warning)
    box.addButton("Open anyway", QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton("Do not open", QMessageBox.ButtonRole.RejectRole))
    box.accepted.connect(accept)
    box.rejected.connect(decline)
    box.finished.connect(box.deleteLater)
    box.open()


class NoPhotograph(Exception):  # noqa: N818 - returned with errors, never raised
    """An image that may be a slide, which is opened once the user has stated its kind."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class _DamagedPhotograph(Exception):  # noqa: N818 - returned with errors, never raised
    """A damaged photograph, which is opened only if the user agrees."""

    def __init__(self, path: Path, damage: str) -> None:
        super().__init__(damage)
        self.path, self.damage = path, damage


def _read(
    paths: list[Path], run: RunContext, *, accept_damaged: bool = False, are_photographs: bool = False
) -> tuple[list[LayerData], list[Exception]]:
    """Read photographs; return their layers, and the errors of files that cannot be read.

    ``are_photographs``: images that show no skin are returned as well.
    """
    from napari_melanoma.core.errors import DamagedImage, MelanomaError
    from napari_melanoma.io.discovery import find_photographs
    from napari_melanoma.ui.readers import read_layers

    layers: list[LayerData] = []
    errors: list[Exception] = []
    for path in run.track(find_photographs(paths), "Opening"):
        try:
            read = read_layers(str(path), accept_damaged)
            if are_photographs or not _is_no_photograph(read):
                layers += read
            else:
                errors.append(NoPhotograph(path))
        except DamagedImage as error:
            errors.append(_DamagedPhotograph(path, error.damage))
        except MelanomaError as error:
            errors.append(error)
    return layers, errors


def _is_no_photograph(layers: list[LayerData]) -> bool:
    """Whether the layers of a file are those of an image that is certainly no photograph of skin, such as tissue."""
    from napari_melanoma.imaging.modality import recognize_modality, shows_no_skin

    data, attributes, _ = layers[0]
    metadata = attributes["metadata"][METADATA_KEY]
    if "role" in metadata:
        return False  # a slide
    estimate = recognize_modality(data)
    return estimate.probability >= NO_SKIN_FROM and shows_no_skin(estimate, metadata.get("modality"))


def _read_sample(name: str, run: RunContext) -> tuple[list[LayerData], list[Exception]]:
    from napari_melanoma.ui.readers import read_layers

    return read_layers(str(get_sample(name).path)), []
