"""Make the picture of a report for the documentation from a phantom case.

Run ``python scripts/report_picture.py [--out docs/images]``; no display is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pictures import save_picture
from PIL import Image

from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_patient
from napari_melanoma.case.results import predict_case_with, save_predictions
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.readings import (
    DepthReading,
    SlideDepthReadings,
    automatic_reading,
    set_values,
    values_for_line,
    write_depth,
)
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.slides.depth_readings import read_proposals
from napari_melanoma.slides.synoptic_files import save_synoptic

READERS = ("A. Meyer", "B. Kaya")
DAYS = ("2025-03-01", "2026-03-01")
MPP = 1.0
PAGES, PAGE_PX = (0, 2, 3), 620  # of the picture, side by side


def main() -> int:
    """Write the case, its report and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call("phantom", "lesion", "--out", folder / "photographs", "--seed", 5, "--growth", 0.5)
        call("phantom", "slide", "--out", folder / "slides", "--size", 4096, "--seed", 7, "--mpp", MPP)
        (slide,) = (folder / "slides").glob("*.tif")
        call("slide", slide, "--out", folder / "results", "--model", "skin-demo")
        (results,) = (path.parent for path in (folder / "results").glob("*/result.json"))
        reading = read_twice(results)
        fill_in_synoptic(results, reading)
        photographs = [folder / "photographs" / f"lesion_0005{end}.png" for end in ("", "_grown")]
        write_case(folder / "P-0042", photographs, slide)
        call("report", folder / "P-0042", results, "--out", folder / "report.html", "--pdf")
        draw_pages(folder / "report.pdf", out / "report.webp")
    return 0


def call(*arguments: object) -> None:
    """Run a command of the program."""
    subprocess.run([sys.executable, "-m", "napari_melanoma", *map(str, arguments)], check=True)


def write_case(folder: Path, photographs: list[Path], slide: Path) -> None:
    """Write a case of one lesion: two photographs a year apart with masks and a prediction, and a slide."""
    um = json.loads(photographs[0].with_suffix(".truth.json").read_text(encoding="utf-8"))["pixel_size_um"]
    images = [
        CaseImage(id="", path=path, modality="dermoscopic", taken_on=day, mpp_x=um, mpp_y=um)
        for path, day in zip(photographs, DAYS, strict=True)
    ]
    case = set_patient(Case(), patient_id="P-0042", age=54.0, sex="female", fitzpatrick=2)
    case = add_lesion(case, site="posterior torso", sub_site="upper back", laterality="left", diagnosis="melanoma")
    case = add_images(case, [*images, CaseImage(id="", path=slide, modality="wsi")], "L1")
    with CaseStore.create(folder, case) as store:
        save_predictions(store, predict_case_with(store, "", RunContext(), keep=True))


def read_twice(results: Path) -> DepthReading:
    """Measure the depth as two readers: one moves the line of the analysis up, the other moves it a little."""
    proposed, size = read_proposals(results), PixelSize(MPP, MPP)
    base, readings = automatic_reading(proposed, 0, size), SlideDepthReadings()
    (row, column), deepest = proposed.proposals[0].line
    for reader, surface in zip(READERS, ((row - 60, column), (row - 20, column - 15)), strict=True):
        values = values_for_line(base, (surface, deepest), size)
        readings = set_values(readings, reader, utc_time(), **values, ulcerated=False, clark=4)
    write_depth(results, readings)
    found = readings.reading_by(READERS[0])
    assert found is not None
    return found


def fill_in_synoptic(results: Path, reading: DepthReading) -> None:
    """Confirm what the reading suggests, answer other fields, and sign."""
    reader, when = READERS[0], utc_time()
    report = SynopticReport().prefill(reading).confirm(reader=reader, when=when)
    words = {"procedure": "excision", "laterality": "left", "site": "posterior torso", "subtype": "nodular"}
    for name, word in words.items():
        report = report.set_answer(name, SynopticAnswer(value=word), reader, when)
    for name in ("mitotic_rate", "microsatellites", "lymphovascular_invasion"):
        report = report.set_answer(name, SynopticAnswer(state="not assessed"), reader, when)
    save_synoptic(results, report.sign(reader, when))


def draw_pages(pdf: Path, path: Path) -> None:
    """Draw some pages side by side."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PyQt6.QtCore import QSize, Qt
    from PyQt6.QtGui import QGuiApplication, QImage, QPainter
    from PyQt6.QtPdf import QPdfDocument

    application = QGuiApplication.instance() or QGuiApplication(sys.argv[:1])
    document = QPdfDocument(None)
    document.load(str(pdf))
    if document.pageCount() <= max(PAGES):
        raise SystemExit(f"{pdf}: expected at least {max(PAGES) + 1} pages, found {document.pageCount()}. Adapt PAGES.")
    points = document.pagePointSize(0)
    size = QSize(PAGE_PX, round(PAGE_PX * points.height() / points.width()))
    width = size.width() * len(PAGES) + 8 * (len(PAGES) - 1)
    picture = QImage(width, size.height(), QImage.Format.Format_RGB32)
    picture.fill(Qt.GlobalColor.gray)
    painter = QPainter(picture)
    for place, page in enumerate(PAGES):
        left = place * (size.width() + 8)
        painter.fillRect(left, 0, size.width(), size.height(), Qt.GlobalColor.white)
        painter.drawImage(left, 0, document.render(page, size))
    painter.end()
    save_picture(Image.fromqimage(picture), path)
    del application


if __name__ == "__main__":
    raise SystemExit(main())
