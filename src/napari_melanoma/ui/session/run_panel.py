"""The panel that follows an analysis of a slide: its state, its progress, and buttons for commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.session.run_status import (
    SlideRunReader,
    SlideRunUpdate,
    describe_progress,
    find_resume_blocker,
    needs_run_panel,
)
from napari_melanoma.ui.widgets.run_panel import RunPanel
from napari_melanoma.ui.widgets.style import fill_column

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunCommand
    from napari_melanoma.ui.widgets.run_panel import RunSnapshot


class SlideRunPanel(RunPanel):
    """Follow an analysis, show its state until it has finished with results, and send the user's commands.

    ``updated``: a ``SlideRunUpdate``.
    """

    def __init__(self) -> None:
        self._target = ""
        kept = "finished tiles"
        super().__init__("slide_run", "analysis", "where it stopped; finished tiles are not repeated", kept)
        fill_column(self, self.state_label, self.progress_bar, self.buttons)
        self.hide()

    def set_folder(self, folder: Path | None, target: str = "") -> None:
        """Follow the analysis in a folder; None stops and hides the panel. ``target``: class whose heatmap is read."""
        if folder is None or folder != self.watch.path:
            self.hide()
            self._target = target
        self.watch.set_active(False)
        super().set_folder(folder)
        self.watch.set_active(folder is not None)

    def set_target(self, target: str) -> None:
        """Set the class whose heatmap is read."""
        self._target = target
        self.watch.refresh()

    def _create_reader(self, path: Path) -> SlideRunReader:
        return SlideRunReader(path, lambda: self._target)

    def _write_command(self, folder: Path, command: RunCommand, run: RunContext) -> None:
        from napari_melanoma.core.processes import send_command
        from napari_melanoma.slides.background_runs import cancel_slide

        if command == "cancel":
            cancel_slide(folder)
        else:
            send_command(folder, command)

    def _show_snapshot(self, snapshot: RunSnapshot) -> str:
        assert isinstance(snapshot, SlideRunUpdate)
        self.setVisible(needs_run_panel(snapshot))
        return find_resume_blocker(snapshot.status)

    def _describe(self) -> tuple[str, float]:
        return describe_progress(self.status), self.status.fraction or 0.0
