"""The film strip of the tutorial on adapting a classifier: phantom lesions are labeled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from paint_pictures import compose
from pictures import save_picture
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_melanoma.ui.launch import process_events
from napari_melanoma.ui.library.review_photographs import REPEAT_S
from napari_melanoma.ui.viewer.camera import find_canvas
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari_melanoma.ui.library.review import ReviewDock

COUNT = 44
SIZE = (1640, 1000)  # of the window in pixels
LABELED = (1, 40)  # numbers of labels after which a picture is taken
DIAGNOSES = ("melanoma", "nevus", "nevus")  # of phantoms in their order, repeated
TRAITS = {
    "melanoma": {"irregularity": 0.9, "asymmetry": 0.9, "variegation": 1.0},
    "nevus": {"irregularity": 0.2, "asymmetry": 0.2, "variegation": 0.2},
}


def label_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the folder, the first label, a fit, and the decision on the adapted model."""
    from screenshots import open_dock, wait_until

    from napari_melanoma.ui.session.corrections_store import ReviewSettings

    settings = ReviewSettings()
    settings.corrections, settings.reviewer = folder / "corrections", "reader 1"
    viewer, dock = open_dock("Review", theme, SIZE)
    diagnoses = write_photographs(folder / "clinic")
    frames: list[Image.Image] = []
    dock.diagnosis.expand()
    dock.open([folder / "clinic"])
    wait_until(lambda: dock.list_model.rowCount() == COUNT and tasks.is_idle())
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
    item = classes.list.item(classes.classes.index(diagnoses[path.stem]))
    place = classes.list.visualItemRect(item).center()
    QTest.mouseClick(classes.list.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
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


def write_photographs(folder: Path) -> dict[str, str]:
    """Write phantom lesions; return their diagnoses by name."""
    from napari_melanoma.io.results import write_rgb
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    diagnoses = {f"lesion{seed:02}": DIAGNOSES[seed % len(DIAGNOSES)] for seed in range(COUNT)}
    for seed, (name, diagnosis) in enumerate(diagnoses.items()):
        config = LesionPhantomConfig.parse(
            {"seed": seed, "size": (360, 480), "lesion": TRAITS[diagnosis]}, "the script"
        )
        write_rgb(folder / f"{name}.png", lesion_phantom(config).rgb)
    return diagnoses
