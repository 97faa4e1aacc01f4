"""The film strip of the tutorial on adapting a classifier: dermoscopic photographs of the repository are labeled."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from paint_pictures import compose
from pictures import EXAMPLES, open_dock, save_picture, wait_until
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_melanoma.samples.catalog import load_samples
from napari_melanoma.ui.launch import process_events
from napari_melanoma.ui.library.review_photographs import REPEAT_S
from napari_melanoma.ui.viewer.camera import find_canvas
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari_melanoma.ui.library.review import ReviewDock

SIZE = (1640, 1000)  # of the window in pixels
LABELED = (1, 40)  # numbers of labels after which a picture is taken


def label_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the folder, the first label, a fit, and the decision on the adapted model."""
    from napari_melanoma.ui.session.corrections_store import ReviewSettings

    settings = ReviewSettings()
    settings.corrections, settings.reviewer = folder / "corrections", "reader 1"
    viewer, dock = open_dock("Review", theme, SIZE)
    diagnoses = copy_photographs(folder / "clinic")
    frames: list[Image.Image] = []
    dock.diagnosis.mode_button.click()
    dock.open([folder / "clinic"])
    wait_until(lambda: dock.list_model.rowCount() == len(diagnoses) and tasks.is_idle())
    dock.next_button.click()
    wait_until(tasks.is_idle)
    take(dock, frames)
    for count in range(1, LABELED[-1] + 1):
        label(dock, diagnoses)
        wait_until(lambda count=count: dock.records.counts["labeled"] == count and tasks.is_idle())
        if count in LABELED:
            take(dock, frames)
    QTest.mouseClick(dock.diagnosis.use_button, Qt.MouseButton.LeftButton)
    wait_until(tasks.is_idle)
    take(dock, frames)
    save_picture(compose(frames), out / "label-film.webp")
    viewer.close()


def label(dock: ReviewDock, diagnoses: dict[str, str]) -> None:
    """Click the diagnosis of the photograph in view."""
    process_events(REPEAT_S)  # before, the class of the previous photograph is ignored
    path, classes = dock.list_view.path, dock.diagnosis.class_list
    assert path is not None
    chip = classes.chips[classes.classes.index(diagnoses[path.stem])]
    QTest.mouseClick(chip, Qt.MouseButton.LeftButton)
    process_events(0.2)


def take(dock: ReviewDock, frames: list[Image.Image]) -> None:
    """Take a picture of the canvas and the docks."""
    process_events(0.8)
    window = dock.window()
    canvas = find_canvas(window)
    assert canvas is not None
    left = canvas.mapTo(window, QPoint(0, 0)).x()
    image = Image.fromqpixmap(window.grab())
    frames.append(image.crop((round(left * image.width / window.width()), 0, *image.size)))


def copy_photographs(folder: Path) -> dict[str, str]:
    """Copy the dermoscopic photographs of examples and samples; return their diagnoses by name."""
    folder.mkdir()
    paths = {path.stem: path for path in (EXAMPLES / "images").iterdir()}
    with (EXAMPLES / "dataset.csv").open(encoding="utf-8", newline="") as file:
        diagnoses = {row["image_id"]: row["diagnosis"] for row in csv.DictReader(file)}
    for name, sample in load_samples().items():
        if sample.modality == "dermoscopic":
            paths[name], diagnoses[name] = sample.path, sample.diagnosis
    for path in paths.values():
        shutil.copyfile(path, folder / path.name)
    return diagnoses
