"""Make the pictures of the documentation from the running program, of the samples and the example photographs.

Run ``python scripts/screenshots.py [--out docs/images] [--photograph FILE] [--theme dark] [--only train]`` with a
display, or under ``scripts/with-display.sh``. The pictures in the light theme have names that end with ``-light``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gallery_pictures import gallery_pictures
from label_pictures import label_pictures
from paint_pictures import paint_pictures
from pictures import EXAMPLES, narrow, open_dock, picture, wait_until
from qtpy.QtCore import QPoint, QSettings, Qt
from qtpy.QtGui import QCursor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QScrollArea, QTableView, QVBoxLayout, QWidget
from report_pictures import report_pictures
from slide_pictures import depth_pictures, risk_pictures, side_by_side_pictures, slide_pictures, tray_pictures

from napari_melanoma.io.results import read_mask
from napari_melanoma.samples.catalog import MELANOMA, get_sample
from napari_melanoma.ui.launch import open_and_analyze, process_events
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.ui.train.dock import TrainDock

EPOCHS = 4
HARD_BORDER = "ISIC_0013127"  # of the examples: the first mask is much smaller than the published one
WITH_RULER = "ISIC_0012288"


def isolate_user(folder: Path) -> None:
    """Keep the user's settings and files separate from those of the pictures."""
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "WIN_PD_OVERRIDE_LOCAL_APPDATA"):
        os.environ[variable] = str(folder / "user")
    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, str(folder / "settings"))


def main() -> int:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--photograph", type=Path)
    parser.add_argument(
        "--only",
        choices=(
            *("lesion", "clicks", "ruler", "prediction", "tools", "review", "train", "body", "case", "changes"),
            *("slide", "side-by-side", "tray", "depth", "risk", "paint", "label", "gallery", "report"),
        ),
        help="pictures of one dock only",
    )
    parser.add_argument("--risk-model", default="risk-demo", help="model for the risk of metastasis")
    parser.add_argument("--slide", type=Path, help="slide for the risk section; by default a phantom")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    parts = {
        "lesion": partial(lesion_pictures, arguments.photograph),
        "clicks": click_pictures,
        "ruler": ruler_pictures,
        "prediction": prediction_pictures,
        "tools": tool_pictures,
        "review": review_pictures,
        "train": train_pictures,
        "body": body_pictures,
        "case": case_pictures,
        "changes": change_pictures,
        "slide": slide_pictures,
        "side-by-side": side_by_side_pictures,
        "tray": tray_pictures,
        "depth": depth_pictures,
        "risk": partial(risk_pictures, arguments.risk_model, arguments.slide),
        "paint": paint_pictures,
        "label": label_pictures,
        "gallery": gallery_pictures,
        "report": report_pictures,
    }
    for only, pictures in parts.items():
        if arguments.only in (None, only):
            with tempfile.TemporaryDirectory() as folder:
                isolate_user(Path(folder))
                out = arguments.out if arguments.theme == "dark" else Path(folder) / "light"
                pictures(Path(folder), out, arguments.theme)
                for path in out.glob("*") if out != arguments.out else ():
                    shutil.move(path, arguments.out / f"{path.stem}-light{path.suffix}")
    return 0


def lesion_pictures(photograph: Path | None, folder: Path, out: Path, theme: str) -> None:
    """Picture the Lesion dock with an analyzed photograph: by default a melanoma with its ruler and published mask."""
    viewer, dock = open_dock("Lesion", theme, (1400, 1100))
    open_and_analyze(dock, photograph)
    dock.analyze_button.click()  # again, for the state from the second photograph on
    wait_until(tasks.is_idle)
    show_measurements(dock)
    picture(dock.window(), out / "lesion-dock.webp")
    viewer.close()


def show_measurements(dock: QWidget) -> None:
    """Scroll the Lesion dock to its measurements."""
    process_events(0.5)
    table = dock.findChild(QTableView, "measurements")
    dock.findChild(QScrollArea, "lesion_scroll").ensureWidgetVisible(table, 0, 0)


def click_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture a border that was wrong, corrected by a click."""
    import numpy as np

    viewer, dock = open_dock("Lesion", theme, (1400, 900))
    open_and_analyze(dock, EXAMPLES / "images" / f"{HARD_BORDER}.jpg")
    dock.hosted.toggle_tool("click")
    mask = read_mask(EXAMPLES / "masks" / f"{HARD_BORDER}.png") & ~dock.picker.session.lesion.result.mask
    rows, columns = np.nonzero(mask)
    press_canvas(viewer, dock.picker.session.image, (float(np.median(rows)), float(np.median(columns))))
    wait_until(tasks.is_idle)
    picture(dock.window(), out / "lesion-dock-clicks.webp")
    viewer.close()


def ruler_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the scale that is proposed from the ruler in a photograph."""
    viewer, dock = open_dock("Lesion", theme, (1400, 900))
    open_and_analyze(dock, EXAMPLES / "images" / f"{WITH_RULER}.jpg")
    wait_until(lambda: dock.findChild(QWidget, "scale_accept").isVisible() and tasks.is_idle())
    picture(dock.window(), out / "lesion-dock-ruler.webp")
    viewer.close()


def press_canvas(viewer: Viewer, image: Any, pixel: tuple[float, float]) -> None:  # noqa: ANN401 - a layer of napari
    """Click a pixel (row, column) of a photograph with the left button."""
    canvas, camera, world = find_canvas(viewer.window._qt_window), get_camera(viewer), image.data_to_world(pixel)[-2:]
    assert canvas is not None
    down, right = (camera.zoom * (at - center) for at, center in zip(world, camera.center[-2:], strict=True))
    place = QPoint(round(canvas.width() / 2 + right), round(canvas.height() / 2 + down))
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def prediction_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the predictions for a melanoma, and for an image without a lesion."""
    from skimage.data import cat

    viewer, dock = open_dock("Lesion", theme, (1400, 1000))
    dock.predictions.heatmap_options.edit(is_shown=True)
    for name in ("melanoma", "cat"):
        if name == "melanoma":
            open_and_analyze(dock, None)
        else:
            viewer.layers.clear()
            viewer.add_image(cat(), name=name, rgb=True)
        dock.analyze_button.click()  # for the times with loaded models
        wait_until(tasks.is_idle)
        picture(dock.window(), out / f"lesion-dock-prediction-{name}.webp")
    viewer.close()


def tool_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture three of the single-step tools on a melanoma, without a dock."""
    import napari

    viewer = napari.Viewer()
    viewer.theme = theme
    viewer.window._qt_window.resize(1400, 900)
    sample = get_sample(MELANOMA)
    (image,) = viewer.open_sample("napari-melanoma", "melanoma")
    titles = ("Segment lesion", "Classify with patient data", "Measure labels")
    docks = [viewer.window.add_plugin_dock_widget("napari-melanoma", title) for title in titles]
    viewer.window._qt_window.resizeDocks([docks[0][0]], [380], Qt.Orientation.Horizontal)
    patient = {"age": sample.patient["age"], "site": "torso"}
    for (_, tool), values in zip(docks, ({}, patient, {"image": image}), strict=True):
        for parameter, value in values.items():
            tool[parameter].value = value
        if "mask" in [widget.name for widget in tool]:
            tool.mask.value = viewer.layers[f"{image.name} mask"]
        run = tool()
        wait_until(run.done)
        process_events(0.3)
    picture(viewer.window._qt_window, out / "tools.webp")
    viewer.close()


def review_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the Review dock: photographs with ratings, some of them corrected."""
    from napari_melanoma.ui.session.corrections_store import ReviewSettings

    ReviewSettings().corrections = folder / "corrections"
    ReviewSettings().reviewer = "reader 1"
    viewer, dock = open_dock("Review", theme, (1560, 900))
    QCursor.setPos(dock.screen().geometry().bottomRight())  # a row under the mouse would keep its place
    dock.open([copy_examples(folder) / "images"])
    wait_until(lambda: dock.list_model.rowCount() > 0 and tasks.is_idle())
    dock.next_button.click()
    for _ in range(3):
        wait_until(lambda: tasks.is_idle() and dock.primary_button.isEnabled())
        paint_published_mask(viewer, dock.list_view.path.stem)
        dock.primary_button.click()
    wait_until(lambda: tasks.is_idle() and dock.primary_button.isEnabled())
    picture(dock.window(), out / "review-dock.webp")
    viewer.close()


def paint_published_mask(viewer: Viewer, name: str) -> None:
    """Correct the mask of an example, as with the brush."""
    import numpy as np

    layer, mask = viewer.layers[f"{name} mask"], read_mask(EXAMPLES / "masks" / f"{name}.png")
    changed = (layer.data > 0) != mask
    layer.data_setitem(np.nonzero(changed), mask[changed].astype(layer.data.dtype))
    process_events(1)
    wait_until(tasks.is_idle)


def train_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the Train dock: ready, running and with the model comparison, for a short training on the examples."""
    viewer, dock = open_dock("Train", theme, (1400, 900))
    dock.data_picker.training_list.add([copy_examples(folder)])
    wait_until(lambda: dock.start_button.isEnabled() and tasks.is_idle())
    picture(dock, out / "train-dock.webp")
    dock.recipe_form.set_values(quick(dock))
    dock.recipe_form.changed.emit()
    wait_until(lambda: dock.start_button.isEnabled())
    dock.start_button.click()
    view = dock.run_page
    wait_until(lambda: view.status is not None and view.status.epoch >= EPOCHS - 1)
    picture(dock, out / "train-dock-run.webp")
    wait_until(lambda: not view.status.state.active)  # its process writes into the folder
    viewer.close()


def body_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the body map with a few lesions."""
    import napari

    from napari_melanoma.ui.body_map.widget import BodyMap, BodyMark
    from napari_melanoma.ui.widgets.signals import Connections
    from napari_melanoma.ui.widgets.style import ThemedIcons

    viewer = napari.Viewer()
    viewer.theme = theme
    page = QWidget()
    icons = ThemedIcons(viewer, page, Connections())
    body = BodyMap(icons)
    QVBoxLayout(page).addWidget(body)
    viewer.window.add_dock_widget(page, name="Body map", area="right")
    page.window().resize(1400, 900)
    narrow(page)
    icons.apply()
    sites = [
        ("upper back", "left"),
        ("upper back", "left"),
        ("forearm", "right"),
        ("cheek", "left"),
        ("sole", "right"),
    ]
    body.set_lesions([BodyMark(str(n), str(n), *site) for n, site in enumerate(sites, start=1)], current="3")
    body.set_site("forearm", "right")
    picture(body, out / "body-map.webp")
    viewer.close()


def case_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the Case dock with the two lesions of the sample patient, classified, and the melanoma open."""
    viewer, dock = open_dock("Case", theme, (1400, 980))
    dock.importer.open_sample(folder / "P-0042")
    wait_until(lambda: dock.controller.case is not None and tasks.is_idle())
    for lesion in ("I2", "I1"):
        dock.tree.opened.emit(lesion)
        wait_until(lambda: tasks.is_idle() and "Saved" in dock.save_label.text())
    dock.predict_button.click()
    wait_until(lambda: len(dock.predictor.current_predictions) == 2 and tasks.is_idle())
    dock.patient_section.collapse()
    wait_until(lambda: "Saved" in dock.save_label.text())
    picture(dock.window(), out / "case-dock.webp")
    viewer.close()


def change_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture two photographs of a lesion that has grown, compared in the Case dock."""
    viewer, dock = open_dock("Case", theme, (1400, 980))
    dock.controller.open(write_grown_lesion(folder / "P-0042"))
    wait_until(lambda: dock.controller.case is not None and tasks.is_idle())
    dock.patient_section.collapse()
    dock.comparison._view.compare_button.click()
    wait_until(lambda: dock.comparison.layers is not None and tasks.is_idle())
    process_events(0.5)
    bar = dock.findChild(QScrollArea, "case_scroll").verticalScrollBar()
    place = dock.list_places()["Over time"].mapTo(dock.findChild(QScrollArea, "case_scroll").widget(), QPoint(0, 0))
    bar.setValue(place.y() - 4)
    picture(dock.window(), out / "case-dock-over-time.webp")
    dock.comparison.leave()
    viewer.close()


def write_grown_lesion(folder: Path) -> Path:
    """Write the case of a phantom whose area has grown by a half within a year, with its true masks."""
    from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_correction, set_patient
    from napari_melanoma.case.store import CaseStore, write_correction
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.io.results import write_rgb
    from napari_melanoma.phantoms.lesion.phantom import grow_lesion, lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    case = add_lesion(set_patient(Case(), patient_id="P-0042"), site="posterior torso", sub_site="upper back")
    traits = {"diameter_mm": 5, "centre": (0.5, 0.5), "irregularity": 0.5}
    values = {"seed": 1, "size": (720, 960), "field_mm": 14, "lesion": traits}
    config, made = LesionPhantomConfig.parse(values, "the script"), []
    for one, day in ((config, "2025-03-01"), (grow_lesion(config, 0.5), "2026-03-01")):
        made.append(lesion_phantom(one))
        path, um = folder / f"dermoscopic {day}.png", made[-1].pixel_size.x_um
        write_rgb(path, made[-1].rgb)
        image = CaseImage(id="", path=path, modality="dermoscopic", taken_on=day, mpp_x=um, mpp_y=um)
        case = add_images(case, [image], "L1")
    with CaseStore.create(folder, case) as store:
        case = store.case
        for number, one in enumerate(made, start=1):
            digest = array_fingerprint(one.rgb)
            mask = write_correction(store, f"I{number}", one.mask, image_digest=digest, model="phantom")
            case = set_correction(case, f"I{number}", mask)
        store.save(case)
    return folder


def copy_examples(folder: Path) -> Path:
    """Copy the data set of the example photographs, which nothing may change."""
    return shutil.copytree(EXAMPLES, folder / EXAMPLES.name)


def quick(dock: TrainDock) -> TrainRecipe:
    """The displayed recipe with small images, for a short run."""
    recipe = dock.build_recipe()
    model = recipe.model.model_copy(update={"input_size": 96})
    data = recipe.data.model_copy(update={"cache_size": 96})
    return recipe.model_copy(update={"epochs": EPOCHS, "model": model, "data": data})


if __name__ == "__main__":
    raise SystemExit(main())
