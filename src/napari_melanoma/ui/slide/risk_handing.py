"""The risk of a slide handed on: written as a page, and kept with the case that is open beside it."""

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
    from napari_melanoma.io.slides.slide import SlideInfo
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.risk_keeper import RiskKeeper
    from napari_melanoma.ui.slide.risk_view import RiskView

DONE = "Taken into the case: the lesion shows it; all of it is in risk/{}."


class RiskHanding(QObject):
    """Writes the page, and hands answers to the Case dock."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock, keeper: RiskKeeper) -> None:
        super().__init__(keeper)
        self._dock, self._keeper = dock, keeper
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_written)
        self._latest.failed.connect(self.failed)

    def hear(self, view: RiskView) -> None:
        """Hear what the user does in the fold."""
        view.to_case.clicked.connect(self._on_case)
        view.report.clicked.connect(self._on_report)

    @property
    def busy(self) -> bool:
        """Whether a page is being written."""
        return self._latest.busy

    def _on_report(self) -> None:
        slide, folder = self._dock.slide, self._keeper.folder
        if slide is None or folder is None:
            return
        dialog = QFileDialog(self._dock.window(), "Write depth and risk as a page", "", "Page (*.html)")
        dialog.setObjectName("risk_report_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.selectFile(f"{slide.info.name}-report.html")
        dialog.fileSelected.connect(partial(self._write, folder, slide.info))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _write(self, folder: Path, info: SlideInfo, name: str) -> None:
        work = partial(_report, Path(name).with_suffix(".html"), folder, info)
        self._latest.submit(f"report {name}", lambda: work)

    def _on_written(self, path: Path) -> None:
        self._dock.status.say(f"Written: {self._dock.icons.link(path.as_uri(), path.name)}.")

    def _on_case(self) -> None:
        """Keep the answer with the case that is open, beside its other files."""
        try:
            name = self._keep()
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._dock.status.say(DONE.format(name))

    def _keep(self) -> str:
        """Write it; the name of its file."""
        from napari_melanoma.workflows.case_risk import keep_risk

        kept = self._keeper.kept
        if kept is None:
            raise InputError(NO_CASE)
        desk, image = case_beside(self._dock)
        changed = keep_risk(desk.store, desk.case, image.id, kept.answer)
        desk.edit(changed, "the risk of a slide")
        written = changed.image(image.id).risk
        return "" if written is None else written.path.name


def _report(path: Path, folder: Path, info: SlideInfo, run: RunContext) -> Path:
    """Write the page."""
    from napari_melanoma.workflows.slide_report import write_slide_report

    return write_slide_report(path, folder, info.path, scale=info.pixel_size)
