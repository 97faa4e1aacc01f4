"""The demonstration: napari opens, a lesion is analysed as a user would do it, and the results are written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError, SaveError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.ui.open import viewer_with_dock

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.dock import LesionDock

WINDOW_PX = (1400, 900)
PATIENCE_S = 300.0


def run_demo(image: Path | None, out: Path, headless: bool) -> int:
    """Show an analysed lesion in napari, and write a screenshot, the results and a report."""
    import napari

    viewer, dock = viewer_with_dock()
    try:
        dock.window().resize(*WINDOW_PX)
        open_and_analyse(dock, image)
        _write(dock, out)
    except BaseException:
        viewer.close()
        raise
    if headless:
        viewer.close()
    else:
        napari.run()
    return 0


def open_and_analyse(dock: LesionDock, image: Path | None) -> None:
    """Open a photograph, beside those that are open, press Analyse, and wait until everything is shown."""
    errors: list[Exception] = []
    sources = (dock.opener, dock.analysing, dock.work)
    for source in sources:
        source.failed.connect(errors.append)
    before = dock.picker.identity  # Analyse would be about this one, for as long as the other is being read
    try:
        if image is None:
            dock.opener.sample()
        else:
            dock.opener.open([image])
        _wait(lambda: dock.picker.identity not in (None, before), errors, "the photograph to open")
        dock.analyse.click()
        _wait(lambda: dock.picker.identity in dock.work.book.lesions and not dock.busy, errors, "the analysis")
    finally:
        for source in sources:
            source.failed.disconnect(errors.append)


def _write(dock: LesionDock, out: Path) -> None:
    """Write what a user would save, the report, and a picture of the window."""
    from napari_melanoma.imaging.masks import draw_overlay
    from napari_melanoma.lesion.analysis import describe
    from napari_melanoma.lesion.report import write_lesion_report
    from napari_melanoma.ui.lesion.saving import place, save

    result: LesionResult = dock.work.book.lesions[str(dock.picker.identity)].result
    save(result, result.photograph.name, place(out, result.photograph.name))
    overlay = draw_overlay(result.photograph.rgb, result.mask)
    write_lesion_report(out / "report.html", result.photograph, describe(result), overlay, result.roi)
    let_qt_work(0.5)  # the last layers are still to be drawn
    picture = dock.window().grab()
    with atomic_file(out / "screenshot.png") as temporary:
        if not picture.save(str(temporary)):
            raise SaveError(f"cannot write {out / 'screenshot.png'}. Choose another folder.")


def _wait(condition: Callable[[], bool], errors: list[Exception], what: str) -> None:
    """Let Qt work until something is there, or has failed."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if errors:
            raise errors[0]
        if time.monotonic() > deadline:
            raise MelanomaError(f"waited {PATIENCE_S:.0f} s for {what}: try again when the machine is less busy.")
        let_qt_work(0.02)


def let_qt_work(seconds: float) -> None:
    """Handle events for a while."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()
