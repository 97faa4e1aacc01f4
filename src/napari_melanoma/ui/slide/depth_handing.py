"""A reading of depth handed on from the Slide dock: written as a page, and into the case that is open beside it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.ui.job import Latest
from napari_melanoma.ui.slide.case_beside import NO_CASE, case_beside

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.io.slide_depth import Reading, SlideDepth
    from napari_melanoma.io.slides.slide import SlideInfo
    from napari_melanoma.ui.slide.depth_keeper import DepthKeeper
    from napari_melanoma.ui.slide.depth_view import DepthView
    from napari_melanoma.ui.slide.dock import SlideDock


class DepthHanding(QObject):
    """Writes the page, and hands values to the Case dock."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, keeper: DepthKeeper) -> None:
        super().__init__(keeper)
        self._dock, self._keeper = dock, keeper
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_written)
        self._latest.failed.connect(self.failed)

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._latest.busy

    def hear(self, view: DepthView) -> None:
        """Hear what the user does in the fold."""
        view.report.clicked.connect(self._on_report)
        view.to_case.clicked.connect(self._on_case)

    def _on_report(self) -> None:
        slide = self._dock.slide
        if slide is None:
            return
        dialog = QFileDialog(self._dock.window(), "Write the reading as a page", "", "Page (*.html)")
        dialog.setObjectName("depth_report_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(f"{slide.info.name}-depth.html")
        dialog.fileSelected.connect(partial(self._write, slide.info))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _write(self, info: SlideInfo, name: str) -> None:
        now, keeper = self._keeper.now, self._keeper
        if now is not None:
            path = Path(name).with_suffix(".html")
            work = partial(_report, path, info, (now.history.now, keeper.reading, keeper.base), now.folder)
            self._latest.submit(f"report {path}", lambda: work)

    def _on_written(self, path: Path) -> None:
        self._dock.status.say(f"Written: {self._dock.icons.link(path.as_uri(), path.name)}.")

    def _on_case(self) -> None:
        """Set depth, ulceration, Clark level and mitoses of the slide's lesion in the case that is open."""
        try:
            said = self._hand_over()
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._dock.status.say(said)

    def _hand_over(self) -> str:
        from napari_melanoma.analysis.breslow.category import contradicts
        from napari_melanoma.workflows.depth_report import keep_in_case, with_reading

        now = self._keeper.now
        if now is None:
            raise InputError(NO_CASE)
        reading = self._keeper.reading
        if contradiction := contradicts(reading.mm, reading.clark):
            raise InputError(f"the reading was not added to the case. {contradiction}")
        desk, image = case_beside(self._dock)
        changed = with_reading(desk.case, image.id, self._keeper.reading)
        keep_in_case(desk.store.folder, image.id, now.history.now)
        desk.edit(changed, "what was read from the slide")
        return f"Taken into the case, with {image.id}: depth, ulceration, Clark level and mitoses, as far as known."


def _report(
    path: Path, info: SlideInfo, read: tuple[SlideDepth, Reading, Reading], folder: Path, run: RunContext
) -> Path:
    """Write the page; what was told of the risk stands on it too."""
    from napari_melanoma.workflows.depth_report import write_depth_report

    return write_depth_report(path, info, *read, folder)
