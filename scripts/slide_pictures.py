"""Pictures of the Slide dock and the Tray: the skin slide of the samples, and a phantom for the risk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pictures import open_dock, picture, wait_until
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QAbstractButton, QComboBox, QScrollArea, QTableWidget, QWidget

from napari_melanoma.samples.catalog import CASE_IMAGE, MELANOMA, get_sample
from napari_melanoma.ui.launch import process_events
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.io.geojson import Annotation
    from napari_melanoma.ui.sections.depth.section import DepthSection
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

TISSUE_MODEL, TISSUE_CLASS = "skin-tissue", "Adnexa"
# On the skin slide, in pixels (row, column): from the granular layer to the deepest point of `example_ring`
EXAMPLE_LINE = ((1150.0, 3165.0), (1625.0, 2668.0))
PHANTOM: dict[str, Any] = {"seed": 5, "size": (4096, 4096), "lesions": {"breslow_mm": 0.7}}
PHANTOM_LINE = ((700.0, 1316.0), (2062.0, 1316.0))  # to the deepest point of its melanoma


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
    dock.setup_rows.expand()
    dock.options_section.expand()
    wait_until(lambda: dock.findChild(QComboBox, "slide.stain") is not None)
    stain = dock.findChild(QComboBox, "slide.stain")
    stain.setCurrentIndex(stain.findData("macenko"))
    picture(dock, out / "slide-dock-options.webp")
    dock.options_section.collapse()
    dock.setup_rows.collapse()
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
    from napari_melanoma.depth.findings import SlideFindings, write_findings
    from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
    from napari_melanoma.slides.result_folder import record_slide, slide_folder

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
    results = slide_folder(dock.settings.slide_results, section)
    results.mkdir(parents=True)
    record_slide(results, section)
    when = "2026-01-01T10:00:00+00:00"
    report = SynopticReport().set_answer("procedure", SynopticAnswer(value="excision"), "A", when).sign("A", when)
    write_findings(results, SlideFindings(report=report))
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
    dock.sections.hosted.session.findings.set_line(PHANTOM_LINE, drawn=True)
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
    wait_until(lambda: "Report" in hosted.sections and hosted.sections["Report"].widget is not None)
    report = hosted.session.synoptic
    wait_until(tasks.is_idle)
    report.confirm()
    answers = {"procedure": "excision", "laterality": "left", "site": "posterior torso", "subtype": "nodular"}
    for name, word in (answers | {"extent": "invasive"}).items():
        report.set_answer(name, SynopticAnswer(value=word))
    report.set_answer("mitotic_rate", SynopticAnswer(state="not assessed"))
    wait_until(tasks.is_idle)


def sign_and_change(dock: SlideDock) -> None:
    """Sign the report, and remove what it has stated of the regions."""
    session = dock.sections.hosted.session
    session.synoptic.confirm()
    wait_until(tasks.is_idle)
    session.findings.edit_form(session.synoptic.shown, session.synoptic.sign)
    wait_until(tasks.is_idle)
    session.regions.apply(lambda drawn: drawn[:-1])
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
    from napari_melanoma.depth.synoptic import SynopticAnswer

    depth, regions = dock.sections.hosted.session.findings, dock.sections.hosted.session.regions
    regions.apply(lambda drawn: (*drawn, example_region("Melanoma", example_ring())))
    wait_until(tasks.is_idle)
    section.analysis.start()
    wait_until(lambda: bool(depth.state.proposals.proposals) and tasks.is_idle())
    lines = section.findChild(QTableWidget, "depth_lines")
    lines.cellClicked.emit(0, 0)  # zooms to it
    dock.context.set_reader("A. Meyer")
    depth.accept_proposal()
    depth.set_findings({"clark": SynopticAnswer(value="III")})
    dock.context.set_reader("B. Kaya")
    depth.set_line(EXAMPLE_LINE, drawn=True)
    depth.set_findings({"clark": SynopticAnswer(value="IV"), "ulceration": SynopticAnswer(value="not_identified")})
    section.layer.set_tool("move")
    wait_until(tasks.is_idle)


def show_part(dock: QWidget, name: str) -> None:
    """Scroll a section of the Slide dock to the top, if possible."""
    process_events(0.3)
    bar = dock.findChild(QScrollArea, "slide_scroll").verticalScrollBar()
    page = dock.findChild(QWidget, "slide_scroll_page")
    bar.setValue(dock.findChild(QWidget, name).mapTo(page, QPoint(0, 0)).y() - 4)


def draw_lesion(dock: SlideDock) -> None:
    """Draw a follicle by hand, as with the mouse."""
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
