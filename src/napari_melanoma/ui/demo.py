"""The demonstration: open napari, analyze a lesion with the Lesion dock, and write the results."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError, SaveError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.ui.launch import create_viewer_with_dock

if TYPE_CHECKING:
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.dock import LesionDock

WINDOW_PX = (1400, 900)
TIMEOUT_S = 300.0


def run_demo(image: Path | None, out: Path, headless: bool) -> int:
    """Show an analyzed lesion in napari, and write a screenshot, the results and a report."""
    import napari

    viewer, dock = create_viewer_with_dock()
    try:
        dock.window().resize(*WINDOW_PX)
        open_and_analyze(dock, image)
        _write(dock, out)
    except BaseException:
        viewer.close()
        raise
    if headless:
        viewer.close()
    else:
        napari.run()
    return 0


def open_and_analyze(dock: LesionDock, image: Path | None) -> None:
    """Open another photograph, press Analyze, and wait until the results are shown."""
    errors: list[Exception] = []
    sources = (dock.opener, dock.analysis_controller, dock.controller)
    for source in sources:
        source.failed.connect(errors.append)
    before = dock.picker.identity  # Analyze would use this photograph until the new one is open
    try:
        if image is None:
            dock.opener.open_sample()
        else:
            dock.opener.open([image])
        _wait(lambda: dock.picker.identity not in (None, before), errors, "the photograph to open")
        dock.analyze_button.click()
        _wait(lambda: dock.picker.identity in dock.controller.store.lesions and not dock.busy, errors, "the analysis")
    finally:
        for source in sources:
            source.failed.disconnect(errors.append)


def _write(dock: LesionDock, out: Path) -> None:
    """Write the saved results, the report, and a screenshot of the window."""
    from napari_melanoma.imaging.masks import draw_overlay
    from napari_melanoma.lesion.analysis import describe_result
    from napari_melanoma.lesion.report import write_lesion_report
    from napari_melanoma.ui.lesion.saving import result_folder, save_result

    result: LesionResult = dock.controller.store.lesions[str(dock.picker.identity)].result
    save_result(result, result.photograph.name, result_folder(out, result.photograph.name))
    overlay = draw_overlay(result.photograph.rgb, result.mask)
    write_lesion_report(out / "report.html", result.photograph, describe_result(result), overlay, result.roi)
    process_events(0.5)  # lets the last layers be drawn
    picture = dock.window().grab()
    with atomic_file(out / "screenshot.png") as temporary:
        if not picture.save(str(temporary)):
            raise SaveError(f"cannot write {out / 'screenshot.png'}. Select another folder.")


def _wait(condition: Callable[[], bool], errors: list[Exception], what: str) -> None:
    """Process events until a condition holds or an error occurs."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if errors:
            raise errors[0]
        if time.monotonic() > deadline:
            raise MelanomaError(f"waited {TIMEOUT_S:.0f} s for {what}. Try again when the computer is less busy.")
        process_events(0.02)


def process_events(seconds: float) -> None:
    """Process events for some seconds."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()
