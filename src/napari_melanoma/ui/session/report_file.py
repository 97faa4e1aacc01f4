"""Ask for the file of a section's report, and write it in the background."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.ui.widgets.dialogs import choose_new_file
from napari_melanoma.ui.widgets.job import JobFunction, run_job
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari_melanoma.ui.session.open_slide import SessionServices


def choose_report_file(
    services: SessionServices, name: str, title: str, suggested: str, make_work: Callable[[Path], JobFunction]
) -> None:
    """Ask for an HTML file, and write it, also if the slide is closed meanwhile.

    ``make_work``: returns the function that writes a file and returns its path.
    """
    status = services.status

    def write(path: Path) -> None:
        if path.suffix.lower() != ".html":  # for a name that contains another dot
            path = path.with_name(f"{path.name}.html")
        run_job(status, f"report {path}", make_work(path), show_saved, partial(show_failure, status))

    def show_saved(path: Path) -> None:
        status.show_message(f"Saved: {services.icons.link(path.as_uri(), path.name)}.")

    choose_new_file(services.window, name, title, "HTML report", write, Path(suggested))
