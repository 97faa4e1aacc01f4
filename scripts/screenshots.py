"""Make the pictures of the documentation from the running program, of the samples and the example photographs.

Run ``python scripts/screenshots.py [--out docs/images] [--photograph FILE] [--theme dark] [--only train]`` with a
display, or under ``scripts/with-display.sh``. The pictures in the light theme have names that end with ``-light``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gallery_pictures import gallery_pictures
from label_pictures import label_pictures
from paint_pictures import paint_pictures
from pictures import save_picture
from qtpy.QtCore import QPoint, QSettings, Qt
from qtpy.QtGui import QCursor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QListWidget, QScrollArea, QTableView, QVBoxLayout, QWidget
from report_pictures import report_pictures

from napari_melanoma.io.results import read_mask
from napari_melanoma.samples.catalog import CASE_IMAGE, MELANOMA, get_sample
from napari_melanoma.ui.launch import open_and_analyze, process_events
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    import numpy as np
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_melanoma.io.geojson import Annotation
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.ui.sections.depth.section import DepthSection
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.train.dock import TrainDock
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

EPOCHS = 4
EXAMPLES = Path(__file__).resolve().parent.parent / "examples" / "photographs"
HARD_BORDER = "ISIC_0013127"  # of the examples: the first mask is much smaller than the published one
TISSUE_MODEL, TISSUE_CLASS = "skin-tissue", "Adnexa"
# On the skin slide, in pixels (row, column): from the granular layer to the deepest point of `example_ring`
EXAMPLE_LINE = ((1150.0, 3165.0), (1625.0, 2668.0))
PHANTOM: dict[str, Any] = {"seed": 5, "size": (4096, 4096), "lesions": {"breslow_mm": 0.7}}
PHANTOM_LINE = ((700.0, 1316.0), (2062.0, 1316.0))  # to the deepest point of its melanoma


def picture(widget: QWidget, path: Path) -> None:
    """Save a widget as WebP."""
    from PIL import Image

    process_events(0.6)
    save_picture(Image.fromqpixmap(widget.grab()), path)


def narrow(dock: QWidget) -> None:
    """Set the dock to its smallest supported width."""
    frame = dock.parentWidget()
    dock.window().resizeDocks([frame], [340], Qt.Orientation.Horizontal)


def open_dock(name: str, theme: str, size: tuple[int, int]) -> tuple[Viewer, Any]:
    """Open napari with a dock of the smallest supported width, in a window of some size."""
    import napari

    viewer = napari.Viewer()
    viewer.theme = theme
    dock = show_dock(viewer, name)
    dock.window().resize(*size)
    narrow(dock)
    return viewer, dock


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
            *("lesion", "clicks", "prediction", "tools", "review", "train", "body", "case", "changes"),
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
    """Picture the Review dock beside the Lesion dock: photographs with ratings, some of them corrected."""
    from napari_melanoma.ui.session.corrections_store import ReviewSettings

    ReviewSettings().corrections = folder / "corrections"
    ReviewSettings().reviewer = "reader 1"
    viewer, dock = open_dock("Review", theme, (1560, 900))
    QCursor.setPos(dock.screen().geometry().bottomRight())  # a row under the mouse would keep its place
    dock.open([copy_examples(folder) / "images"])
    wait_until(lambda: dock.list_model.rowCount() > 0 and tasks.is_idle())
    dock.next_button.click()
    for _ in range(3):
        wait_until(lambda: tasks.is_idle() and dock.accept_button.isEnabled())
        paint_published_mask(viewer, dock.list_view.path.stem)
        dock.accept_button.click()
    wait_until(lambda: tasks.is_idle() and dock.accept_button.isEnabled())
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


def slide_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the Slide dock with the tissue map of the skin slide, and a region drawn by hand."""
    viewer, dock = open_dock("Slide", theme, (1400, 980))
    open_sample_slide(dock)
    analyze_tissue(dock)
    for title in ("slide_paint_section", "slide_heatmap_section"):
        dock.findChild(type(dock.depth_section), title).collapse()
    center_view(viewer, dock.slide, (1152.0, 2048.0), 4400.0)
    process_events(0.5)
    dock.findChild(QScrollArea, "slide_scroll").verticalScrollBar().setValue(0)
    picture(dock.window(), out / "slide-dock.webp")
    dock.findChild(type(dock.depth_section), "slide_heatmap_section").expand()
    choose_class(dock)
    show_part(dock, "slide_heatmap_section")
    picture(dock, out / "slide-dock-lesions.webp")
    draw_lesion(dock)
    show_part(dock, "slide_lesions_section")
    picture(dock.window(), out / "slide-dock-draw.webp")
    dock.findChild(QAbstractButton, "lesion_draw").click()
    dock.options_section.expand()
    wait_until(lambda: dock.findChild(QComboBox, "slide.stain") is not None)
    stain = dock.findChild(QComboBox, "slide.stain")
    stain.setCurrentIndex(stain.findData("macenko"))
    show_part(dock, "slide_options_section")
    picture(dock, out / "slide-dock-options.webp")
    dock.options_section.collapse()
    for layer in viewer.layers[1:]:
        layer.visible = False
    draw_regions(dock)
    show_part(dock, "slide_regions_section")
    picture(dock.window(), out / "slide-dock-regions.webp")
    dock.reading_mode.toggle()
    dock.reading_mode.mode.tabs.toggle("Regions")
    picture(dock.window(), out / "slide-dock-reading.webp")
    dock.reading_mode.leave()
    viewer.close()


def open_sample_slide(dock: SlideDock) -> None:
    """Open the skin slide of the samples."""
    dock.opener.open_sample()
    wait_until(lambda: dock.slide is not None and tasks.is_idle())


def analyze_tissue(dock: SlideDock) -> None:
    """Map the tissue of the slide."""
    dock.model_picker.model = TISSUE_MODEL
    dock.model_picker.changed.emit()
    wait_until(dock.analyze_button.isEnabled)
    dock.analyze_button.click()
    wait_until(lambda: bool(dock.context.session.results.value.content) and tasks.is_idle())


def choose_class(dock: SlideDock) -> None:
    """List the areas of the class of interest."""
    classes, document = dock.findChild(QComboBox, "lesion_target"), dock.context.session.lesions
    classes.setCurrentIndex(classes.findData(TISSUE_CLASS))
    classes.activated.emit(classes.currentIndex())
    wait_until(lambda: document.value is not None and bool(document.value.lesions) and tasks.is_idle())


def side_by_side_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the sample slide beside a turned copy in other colors, after their registration."""
    from napari_melanoma.ui.sections.side_by_side.section import SideBySide

    viewer, dock = open_dock("Slide", theme, (1600, 900))
    open_sample_slide(dock)
    first = dock.slide
    dock.opener.open([write_turned_copy(first, folder / "section 2, Melan-A.tif")])
    wait_until(lambda: dock.slide.identity != first.identity and tasks.is_idle())
    dock.picker.select_slide(first.identity)
    wait_until(lambda: dock.slide.identity == first.identity and tasks.is_idle())
    dock.side_by_side_section.expand()
    for name in ("side_by_side_show", "side_by_side_register"):
        dock.findChild(QAbstractButton, name).click()
        wait_until(tasks.is_idle)
    compared = dock.sections.hosted.session.sessions.part(SideBySide)
    wait_until(lambda: compared.comparison.alignment != "")
    row, column = first.size[0] * 0.45, first.size[1] * 0.5
    center_view(viewer, first, (row, column), first.size[1] / 3)
    show_part(dock, "slide_side_by_side_section")
    picture(dock.window(), out / "slide-dock-side-by-side.webp")
    viewer.close()


def tray_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the Tray with the skin slide, a turned copy of it, photographs, and a damaged slide."""
    from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
    from napari_melanoma.slides.result_folder import record_slide, slide_folder
    from napari_melanoma.slides.synoptic_files import save_synoptic

    clinic = folder / "P-0042"
    clinic.mkdir()
    viewer, dock = open_dock("Slide", theme, (1400, 900))
    open_sample_slide(dock)
    section = clinic / "section 1.tif"
    section.write_bytes(dock.slide.info.path.read_bytes())
    write_turned_copy(dock.slide, clinic / "section 2, Melan-A.tif")
    (clinic / "section 3.svs").write_bytes(section.read_bytes()[:3000])
    for name, sample in (("dermoscopic", MELANOMA), ("overview", CASE_IMAGE.removesuffix(".jpg"))):
        shutil.copyfile(get_sample(sample).path, clinic / f"{name}.jpg")
    dock.close_slide()
    results = slide_folder(dock.run_manager.root, section)
    results.mkdir(parents=True)
    record_slide(results, section)
    when = "2026-01-01T10:00:00+00:00"
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="excision"), "A", when).sign("A", when)
    save_synoptic(results, report)
    tray = show_dock(viewer, "Tray")
    tray.open([clinic])
    wait_until(lambda: tray.content is not None and tasks.is_idle())
    tray.list_view.select_path(section)
    tray.open_button.click()
    wait_until(lambda: dock.slide is not None and tasks.is_idle())
    picture(dock.window(), out / "tray.webp")
    viewer.close()


def write_turned_copy(slide: ViewerSlide, path: Path) -> Path:
    """Write a slide at low resolution, turned by 35 degrees and in brown, as another stain of the next section."""
    import numpy as np
    import tifffile
    from scipy import ndimage

    small = slide.slide.thumbnail(3000)
    amount = ndimage.rotate(255.0 - small.mean(axis=-1), 35, reshape=True, order=1)[..., None] / 255
    rgb = np.clip(255 * (1 - amount * np.array((0.5, 0.8, 1.1))), 0, 255).astype(np.uint8)
    um = slide.pixel_um[0] * slide.size[0] / small.shape[0]
    resolution = {"resolution": (1e4 / um, 1e4 / um), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb, tile=(256, 256), photometric="rgb", subifds=1, **resolution)
        tiff.write(np.ascontiguousarray(rgb[::4, ::4]), tile=(256, 256), photometric="rgb", subfiletype=1)
    return path


def risk_pictures(model: str, slide: Path | None, folder: Path, out: Path, theme: str) -> None:
    """Picture the risk section of the Slide dock with a prediction; the included model is offered on phantoms only."""
    viewer, dock = open_dock("Slide", theme, (1400, 1180))
    dock.opener.open([slide or write_phantom(folder)])
    wait_until(lambda: dock.slide is not None and tasks.is_idle())
    open_depth(dock)
    dock.context.set_reader("A. Meyer")
    dock.sections.hosted.session.depth.set_line(PHANTOM_LINE, drawn=True)
    dock.depth_section.collapse()
    dock.sections.hosted.session.patient_data.set_row({"age": "64", "sex": "male", "site": "lower extremity"})
    dock.risk_section.expand()
    page = dock.sections.hosted.sections["Risk"].widget
    page.model_picker.model = model
    page.model_picker.changed.emit()
    wait_until(lambda: tasks.is_idle() and page.estimate_button.isEnabled())
    page.estimate_button.click()
    wait_until(tasks.is_idle)
    for title in ("slide_heatmap_section", "slide_lesions_section"):
        dock.findChild(type(dock.depth_section), title).collapse()
    page.validity.show_anyway_button.setChecked(True)
    page.heatmap_combo.setCurrentIndex(page.heatmap_combo.findData("attention"))
    page.heatmap_combo.activated.emit(page.heatmap_combo.currentIndex())
    wait_until(lambda: tasks.is_idle() and page.document.shown_map is not None)
    if slide is None:
        viewer.reset_view()
    else:
        page.patch_label.linkActivated.emit("0")
    for _ in range(2):  # what comes into sight grows
        show_part(dock, "slide_risk_section")
    picture(dock.window(), out / "slide-dock-risk.webp")
    viewer.close()


def write_phantom(folder: Path) -> Path:
    """Write a phantom slide with a melanoma."""
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
    from napari_melanoma.phantoms.slide.render import write_slide

    config = SlidePhantomConfig.parse(PHANTOM, "the script")
    return write_slide(config, folder, "phantom-slide", RunContext()).image


def depth_pictures(folder: Path, out: Path, theme: str) -> None:
    """Picture the depth section with the skin slide: a measured line to a drawn region, and that of another reader."""
    viewer, dock = open_dock("Slide", theme, (1400, 1180))
    open_sample_slide(dock)
    measure_twice(dock, open_depth(dock))
    center_view(viewer, dock.slide, (1420.0, 2900.0), 1700.0)
    for title in ("slide_heatmap_section", "slide_lesions_section"):
        dock.findChild(type(dock.depth_section), title).collapse()
    show_part(dock, "slide_depth_section")
    picture(dock.window(), out / "slide-dock-depth.webp")
    dock.findChild(QWidget, "depth_move").click()
    dock.depth_section.collapse()
    fill_in_synoptic(dock)
    show_part(dock, "slide_synoptic_section")
    picture(dock, out / "slide-dock-synoptic.webp")
    viewer.close()


def fill_in_synoptic(dock: SlideDock) -> None:
    """Confirm what the reading suggests, and answer some fields."""
    from napari_melanoma.depth.synoptic import SynopticAnswer

    dock.synoptic_section.expand()
    hosted = dock.sections.hosted
    wait_until(lambda: "Synoptic report" in hosted.sections and hosted.sections["Synoptic report"].widget is not None)
    report = hosted.session.synoptic
    wait_until(tasks.is_idle)
    report.confirm()
    answers = {"procedure": "excision", "laterality": "left", "site": "posterior torso", "subtype": "nodular"}
    for name, word in (answers | {"extent": "invasive"}).items():
        report.set_answer(name, SynopticAnswer(value=word))
    report.set_answer("mitotic_rate", SynopticAnswer(state="not assessed"))
    wait_until(tasks.is_idle)


def open_depth(dock: SlideDock) -> DepthSection:
    """Expand the section Depth, and return it."""
    dock.depth_section.expand()
    hosted = dock.sections.hosted
    wait_until(lambda: "Depth" in hosted.sections and hosted.sections["Depth"].widget is not None)
    wait_until(tasks.is_idle)
    section: DepthSection = hosted.sections["Depth"].widget
    return section


def measure_twice(dock: SlideDock, section: DepthSection) -> None:
    """Let one reader accept the line of the model, to a region drawn by hand, and another draw one beside it."""
    depth, regions = dock.sections.hosted.session.depth, dock.sections.hosted.session.regions
    regions.apply(lambda drawn: (*drawn, example_region("Melanoma", example_ring())))
    wait_until(tasks.is_idle)
    section.analysis.start()
    wait_until(lambda: bool(depth.state.proposals.proposals) and tasks.is_idle())
    lines = section.findChild(QListWidget, "depth_lines")
    lines.itemClicked.emit(lines.item(0))  # zooms to it
    dock.context.set_reader("A. Meyer")
    depth.accept_proposal()
    choose_finding(section, "clark", "III")
    dock.context.set_reader("B. Kaya")
    depth.set_line(EXAMPLE_LINE, drawn=True)
    choose_finding(section, "clark", "IV")
    choose_finding(section, "ulceration", "not identified")
    section.layer.set_tool("move")
    wait_until(tasks.is_idle)


def choose_finding(section: DepthSection, name: str, item: str) -> None:
    """Choose an item of a finding, as with the mouse."""
    combo = section.findChild(QComboBox, f"depth_{name}")
    combo.setCurrentText(item)
    combo.activated.emit(combo.currentIndex())


def show_part(dock: QWidget, name: str) -> None:
    """Scroll a section of the Slide dock to the top, if possible."""
    process_events(0.3)
    bar = dock.findChild(QScrollArea, "slide_scroll").verticalScrollBar()
    page = dock.findChild(QWidget, "slide_scroll_page")
    bar.setValue(dock.findChild(QWidget, name).mapTo(page, QPoint(0, 0)).y() - 4)


def draw_lesion(dock: SlideDock) -> None:
    """Draw a follicle by hand, as with the mouse."""
    import numpy as np

    from napari_melanoma.core.polygons import Polygon, as_ring
    from napari_melanoma.slides.lesion_edits import add_lesion

    document = dock.context.session.lesions
    count = len(document.value.lesions)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    along, across = np.array((-0.68, 0.73)), np.array((0.73, 0.68))
    ring = np.array((1505.0, 1395.0)) + 430 * np.cos(angles)[:, None] * along + 135 * np.sin(angles)[:, None] * across
    outline = Polygon(as_ring(ring))
    document.edit(lambda *args: add_lesion(args[0], (outline,), *args[1:], TISSUE_CLASS))
    wait_until(lambda: len(document.value.lesions) == count + 1 and tasks.is_idle())
    dock.findChild(QAbstractButton, "lesion_draw").click()
    dock.context.session.selected_lesions.set((count,))
    wait_until(tasks.is_idle)


def example_ring() -> NDArray[np.float64]:
    """The outline (row, column) of an area below the epidermis, drawn by hand as an example: it is not a tumor."""
    import numpy as np

    center, angles = np.array((1380.0, 2900.0)), np.linspace(0, 2 * np.pi, 60, endpoint=False)
    along, into = np.array((0.687, 0.728)), np.array((0.728, -0.687))  # the surface, and away from it
    wide, deep = np.cos(angles)[:, None], np.sin(angles)[:, None]
    return center + (1 + 0.06 * np.sin(5 * angles))[:, None] * (520 * wide * along + 330 * deep * into)


def example_region(name: str, ring: NDArray[np.float64]) -> Annotation:
    """Return a region of a class, drawn by hand."""
    from napari_melanoma.slides.regions import DEFAULT_CLASSES, region_from_vertices

    (known,) = [known for known in DEFAULT_CLASSES if known.name == name]
    return region_from_vertices(ring, known, "Reader A")


def draw_regions(dock: SlideDock) -> None:
    """Draw regions of four classes on the skin slide, and select the lasso."""
    import numpy as np

    dock.regions_section.expand()
    rings = {
        "Melanoma": example_ring(),
        "Epidermis": np.array(((1800, 3400), (1990, 3490), (2090, 3590), (1900, 3575), (1650, 3520), (1600, 3350))),
        "Dermis": np.array(((500, 1800), (420, 2150), (700, 2350), (900, 2150), (850, 1850))),
    }
    drawn = [example_region(name, ring) for name, ring in rings.items()]
    dock.sections.hosted.session.regions.apply(lambda regions: (*regions, *drawn))
    wait_until(tasks.is_idle)
    dock.findChild(QAbstractButton, "region_add_polygon_lasso").click()


def copy_examples(folder: Path) -> Path:
    """Copy the data set of the example photographs, which nothing may change."""
    return shutil.copytree(EXAMPLES, folder / EXAMPLES.name)


def quick(dock: TrainDock) -> TrainRecipe:
    """The displayed recipe with small images, for a short run."""
    recipe = dock.build_recipe()
    model = recipe.model.model_copy(update={"input_size": 96})
    data = recipe.data.model_copy(update={"cache_size": 96})
    return recipe.model_copy(update={"epochs": EPOCHS, "model": model, "data": data})


def wait_until(condition: Callable[[], bool], minutes: float = 10.0) -> None:
    """Process Qt events until a condition holds."""
    deadline = time.monotonic() + 60 * minutes
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"the condition was not met within {minutes:g} minutes")
        process_events(0.1)


if __name__ == "__main__":
    raise SystemExit(main())
