"""Three pages of the report of the sample case: two photographs, and a skin slide on which lines are drawn."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from pictures import save_picture
from PIL import Image
from qtpy.QtCore import QSize
from slide_pictures import EXAMPLE_LINE

from napari_melanoma.case.model import move_image, set_lesion, set_patient
from napari_melanoma.case.store import CaseStore
from napari_melanoma.cli import app
from napari_melanoma.depth.findings import SlideFindings, write_findings
from napari_melanoma.depth.readings import DepthReading
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.samples.catalog import SLIDE, copy_case, get_sample

PAGE_WIDTH, GAP = 620, 10  # in pixels
TITLES = ("Summary", ", macroscopic", "Depth of invasion")  # a page with each is shown
ANSWERS = {"procedure": "excision", "site": "head/neck", "extent": "invasive"}
WHEN = "2026-01-01T10:00:00+00:00"


def report_pictures(folder: Path, out: Path, theme: str) -> None:
    """Write the report of the case as PDF, and picture three of its pages."""
    images, results, case = copy_case(folder / "images"), folder / "results", folder / "P-0042"
    slide = Path(shutil.copy(get_sample(SLIDE).path, images))
    run("case", case, "--from", images)
    run("slide", slide, "--out", results, "--model", "skin-tissue")
    write_readings(results / slide.stem)
    complete_case(case)
    run("case", case, "--classify")
    run("report", case, results, "--out", folder / "report.html", "--pdf")
    save_picture(render_pages(folder / "report.pdf"), out / "report.webp")


def run(*words: object) -> None:
    """Run a command of the program."""
    app([str(word) for word in words], standalone_mode=False)


def write_readings(folder: Path) -> None:
    """Write the lines of two readers, which are examples: the slide has no tumor."""
    um, readings = get_pixel_um(), []
    surface, deepest = EXAMPLE_LINE
    for name, row in (("A. Meyer", deepest[0]), ("B. Kaya", deepest[0] - 40)):
        line = surface, (row, deepest[1])
        values = {"um_per_px": (um, um), "mm": round(math.dist(*line) * um / 1000, 3), "clark": 3}
        readings.append(DepthReading(reader=name, when=WHEN, line=line, **values))
    write_findings(folder, SlideFindings(readings=tuple(readings)))


def get_pixel_um() -> float:
    """Return the size of a pixel of the slide."""
    from napari_melanoma.slides.reading.opening import open_slide

    with open_slide(get_sample(SLIDE).path) as slide:
        size = slide.info.pixel_size
    assert size is not None
    return size.y_um


def complete_case(folder: Path) -> None:
    """Assign the slide to the melanoma, and fill in its synoptic report."""
    report = SynopticReport()
    for name, value in ANSWERS.items():
        report = report.set_answer(name, SynopticAnswer(value=value), "A. Meyer", WHEN)
    with CaseStore.open(folder) as store:
        case = store.case
        (slide,) = [image.id for _, image in case.iterate_images() if image.path.suffix == ".tif"]
        melanoma = next(lesion.id for lesion in case.lesions if lesion.diagnosis == "melanoma")
        case = move_image(set_patient(case, patient_id="P-0042"), slide, melanoma, 1)
        store.save(set_lesion(case, melanoma, synoptic=report))


def render_pages(path: Path) -> Image.Image:
    """Put three pages of a PDF file side by side."""
    from PyQt6.QtPdf import QPdfDocument

    document = QPdfDocument(None)
    document.load(str(path))
    texts = [document.getAllText(number).text() for number in range(document.pageCount())]
    numbers = [next(number for number, text in enumerate(texts) if title in text) for title in TITLES]
    size = document.pagePointSize(0)
    height = round(PAGE_WIDTH * size.height() / size.width())
    strip = Image.new("RGB", (len(numbers) * (PAGE_WIDTH + GAP) - GAP, height), (160, 160, 165))
    for column, number in enumerate(numbers):
        page = Image.fromqimage(document.render(number, QSize(PAGE_WIDTH, height)))
        strip.paste(
            Image.alpha_composite(Image.new("RGBA", page.size, "white"), page.convert("RGBA")).convert("RGB"),
            (column * (PAGE_WIDTH + GAP), 0),
        )
    return strip
