"""Ask for the file of a section's report, and write it in the background."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.ui.session.slide import SessionServices
    from napari_melanoma.ui.widgets.job import JobFunction


class ReportFile(QObject):
    """Asks for a file, and writes a report to it in a background thread."""

    def __init__(self, services: SessionServices) -> None:
        super().__init__(services.status)
        self._services = services
        self._write_tasks = LatestJobQueue(self)
        self._write_tasks.succeeded.connect(self._on_written)
        self._write_tasks.failed.connect(partial(show_failure, services.status))

    def choose(self, name: str, title: str, suggested: str, make_work: Callable[[Path], JobFunction]) -> None:
        """Ask for an HTML file, and write it; ``make_work``: returns the function that writes the file."""
        write = partial(self._write, make_work)
        choose_new_file(self._services.window, name, title, "HTML report", write, Path(suggested))

    def _write(self, make_work: Callable[[Path], JobFunction], path: Path) -> None:
        if path.suffix.lower() != ".html":  # for a name that contains another dot
            path = path.with_name(f"{path.name}.html")
        self._write_tasks.submit(f"report {path}", lambda: make_work(path))

    def _on_written(self, path: Path) -> None:
        self._services.status.show_message(f"Saved: {self._services.icons.link(path.as_uri(), path.name)}.")
