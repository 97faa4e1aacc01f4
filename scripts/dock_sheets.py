"""Show every dock in its common states, in windows of common sizes, to look at a change of the docks with own eyes.

Run ``python scripts/dock_sheets.py --out FOLDER [--only lesion ...] [--size 1366x768 ...] [--theme dark ...]`` with a
display of at least this size, or under ``scripts/with-display.sh``. Each picture is the whole window, as PNG.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pictures import EXAMPLES, narrow, wait_until
from qtpy.QtWidgets import QAbstractButton, QScrollArea
from screenshots import WITH_RULER, copy_examples, isolate_user
from slide_pictures import (
    analyze_tissue,
    choose_class,
    draw_regions,
    fill_in_synoptic,
    measure_twice,
    open_depth,
    open_sample_slide,
    show_part,
    sign_and_change,
)

from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.ui.launch import open_and_analyze, process_events
from napari_melanoma.ui.session.open_photograph import PendingPrompt
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari.viewer import Viewer

SIZES = ("1366x768", "1920x1080")
THEMES = ("dark", "light")
LABELS = 36


@dataclass
class Sheet:
    """A window of one size and theme: docks are opened in it, and each state is saved as a picture."""

    out: Path
    size: str
    theme: str
    folder: Path
    viewer: Viewer

    def open(self, name: str) -> Any:  # noqa: ANN401 - the docks have no common class
        """Open a dock of the smallest supported width."""
        dock = show_dock(self.viewer, name)
        narrow(dock)
        wait_until(tasks.is_idle)
        return dock

    def save(self, state: str) -> None:
        """Save the window as it is."""
        process_events(0.6)
        path = self.out / f"{state} {self.size} {self.theme}.png"
        self.viewer.window._qt_window.grab().save(str(path))


def lesion_sheets(sheet: Sheet) -> None:
    """Show the Lesion dock: without a photograph, analyzed, with its tools, and with the ruler of a photograph."""
    from skimage.data import cat

    dock = sheet.open("Lesion")
    sheet.save("lesion 1 empty")
    open_and_analyze(dock, None)
    sheet.save("lesion 2 analyzed")
    dock.hosted.toggle_tool("click")
    sheet.save("lesion 3 click tool")
    click_lesion(dock)
    sheet.save("lesion 5 proposals")
    dock.hosted.toggle_tool("click")
    dock.hosted.toggle_tool("outside")
    sheet.save("lesion 6 strokes")
    dock.hosted.toggle_tool("outside")
    bar = dock.findChild(QScrollArea, "lesion_scroll").verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    sheet.save("lesion 7 middle sections")
    bar.setValue(bar.maximum())
    sheet.save("lesion 7 last sections")
    bar.setValue(0)
    dock.setup.expand()
    sheet.save("lesion 8 type and models")
    dock.setup.collapse()
    open_and_analyze(dock, EXAMPLES / "images" / f"{WITH_RULER}.jpg")
    wait_until(tasks.is_idle)
    sheet.save("lesion 4 ruler")
    sheet.viewer.add_image(cat(), name="cat", rgb=True)
    dock.analyze_button.click()
    wait_until(tasks.is_idle)
    sheet.save("lesion 9 not valid")


def click_lesion(dock: Any) -> None:  # noqa: ANN401 - the docks have no common class
    """Click the middle of the lesion, for masks to choose from."""
    import numpy as np

    session = dock.picker.session
    middle = np.argwhere(session.mask_pixels).mean(0)
    dock.prompts.add(session, PendingPrompt(PromptOptions(include=((float(middle[0]), float(middle[1])),))))
    wait_until(tasks.is_idle)


def review_sheets(sheet: Sheet) -> None:
    """Show the Review dock: without photographs, with a list, and while rating."""
    from napari_melanoma.ui.session.corrections_store import ReviewSettings

    dock = sheet.open("Review")
    sheet.save("review 1 empty")
    ReviewSettings().corrections = sheet.folder / "corrections"
    ReviewSettings().reviewer = "reader 1"
    dock.open([copy_examples(sheet.folder) / "images"])
    wait_until(lambda: dock.list_model.rowCount() > 0 and tasks.is_idle())
    sheet.save("review 2 list")
    dock.next_button.click()
    for state in ("first", "second", "third"):
        wait_until(lambda: tasks.is_idle() and dock.primary_button.isEnabled())
        sheet.save(f"review 3 rating, {state}")
        dock.primary_button.click()


def label_sheets(sheet: Sheet) -> None:
    """Show the Review dock while diagnoses are given: at the start, after a fit, and with the learning curve."""
    from label_pictures import copy_photographs, label

    from napari_melanoma.ui.session.corrections_store import ReviewSettings

    ReviewSettings().corrections = sheet.folder / "corrections"
    ReviewSettings().reviewer = "reader 1"
    diagnoses = copy_photographs(sheet.folder / "clinic")
    dock = sheet.open("Review")
    dock.diagnosis.mode_button.click()
    dock.open([sheet.folder / "clinic"])
    wait_until(lambda: dock.list_model.rowCount() == len(diagnoses) and tasks.is_idle())
    dock.next_button.click()
    wait_until(tasks.is_idle)
    sheet.save("label 1 first")
    for count in range(1, LABELS + 1):
        label(dock, diagnoses)
        wait_until(lambda count=count: dock.records.counts["labeled"] == count and dock.opener.is_shown)
    wait_until(tasks.is_idle)
    sheet.save("label 2 fitted")
    dock.diagnosis.findChild(QAbstractButton, "more_labels").click()
    sheet.save("label 3 curve")


def slide_sheets(sheet: Sheet) -> None:
    """Show the Slide dock: without a slide, opened, analyzed, with its sections, and in the reading mode."""
    dock = sheet.open("Slide")
    sheet.save("slide 1 empty")
    open_sample_slide(dock)
    sheet.save("slide 2 opened")
    analyze_tissue(dock)
    sheet.save("slide 3 analyzed")
    choose_class(dock)
    show_part(dock, "slide_heatmap_section")
    sheet.save("slide 4 lesions")
    dock.setup_rows.expand()
    dock.options_section.expand()
    sheet.save("slide 4 options")
    dock.options_section.collapse()
    dock.setup_rows.collapse()
    draw_regions(dock)
    show_part(dock, "slide_regions_section")
    sheet.save("slide 4 regions")
    dock.measurement_section.expand()
    show_part(dock, "slide_measure_section")
    sheet.save("slide 4 measure")
    dock.measurement_section.collapse()
    measure_twice(dock, open_depth(dock))
    show_part(dock, "slide_depth_section")
    sheet.save("slide 5 depth")
    fill_in_synoptic(dock)
    show_part(dock, "slide_synoptic_section")
    sheet.save("slide 6 report")
    sign_and_change(dock)
    show_part(dock, "slide_synoptic_section")
    sheet.save("slide 6 report, changed after signature")
    dock.reading_mode.toggle()
    sheet.save("slide 7 reading mode")
    for title in ("Results", "Analysis"):
        dock.reading_mode.mode.tabs.toggle(title)
        sheet.save(f"slide 7 reading mode, {title}")
    dock.reading_mode.leave()


def case_sheets(sheet: Sheet) -> None:
    """Show the Case dock: without a case, and with the sample patient."""
    dock = sheet.open("Case")
    sheet.save("case 1 empty")
    dock.importer.open_sample(sheet.folder / "P-0042")
    wait_until(lambda: dock.controller.case is not None and tasks.is_idle())
    sheet.save("case 2 opened")
    for lesion in ("I2", "I1"):
        dock.tree.opened.emit(lesion)
        wait_until(lambda: tasks.is_idle() and "Saved" in dock.save_label.text())
    dock.predict_button.click()
    wait_until(lambda: len(dock.predictor.current_predictions) == 2 and tasks.is_idle())
    sheet.save("case 3 predicted")


def train_sheets(sheet: Sheet) -> None:
    """Show the Train dock: without data, and ready to train."""
    dock = sheet.open("Train")
    sheet.save("train 1 empty")
    dock.data_picker.training_list.add([copy_examples(sheet.folder)])
    wait_until(lambda: dock.start_button.isEnabled() and tasks.is_idle())
    sheet.save("train 2 ready")


def tray_sheets(sheet: Sheet) -> None:
    """Show the Tray: without files, and with a folder of photographs."""
    dock = sheet.open("Tray")
    sheet.save("tray 1 empty")
    dock.open([copy_examples(sheet.folder) / "images"])
    wait_until(lambda: dock.content is not None and tasks.is_idle())
    sheet.save("tray 2 list")


SHEETS: dict[str, Callable[[Sheet], None]] = {
    "lesion": lesion_sheets,
    "review": review_sheets,
    "label": label_sheets,
    "slide": slide_sheets,
    "case": case_sheets,
    "train": train_sheets,
    "tray": tray_sheets,
}


def main() -> int:
    """Make the chosen sheets."""
    import napari

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=tuple(SHEETS), default=tuple(SHEETS))
    parser.add_argument("--size", nargs="+", default=SIZES)
    parser.add_argument("--theme", nargs="+", choices=THEMES, default=THEMES)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        for size in arguments.size:
            for theme in arguments.theme:
                with tempfile.TemporaryDirectory() as folder:
                    isolate_user(Path(folder))
                    viewer = napari.Viewer()
                    viewer.theme = theme
                    viewer.window._qt_window.resize(*(int(part) for part in size.split("x")))
                    SHEETS[name](Sheet(arguments.out, size, theme, Path(folder), viewer))
                    viewer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
