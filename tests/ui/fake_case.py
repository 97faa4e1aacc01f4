"""A case with two photographs of a lesion, a slide that two readers measured, predictions and a synoptic report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fake_slides import MPP, draw_slide
from finding_files import save_synoptic, write_depth

from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_patient
from napari_melanoma.case.results import (
    CaseLesionPrediction,
    CasePredictions,
    compute_input_digest,
    save_predictions,
    save_result,
)
from napari_melanoma.case.store import CaseStore
from napari_melanoma.classification.prediction import (
    ClassifierStamp,
    ClassifyOptions,
    ClassPrediction,
    Contribution,
    NearestCase,
    NoveltyDistance,
)
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.core.prediction_config import OperatingPoint
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.readings import DepthReading, MitosisCount, SlideDepthReadings, set_values, values_for_line
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import write_rgb
from napari_melanoma.lesion.analysis import ModelStamp, derive_result
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.slides.lesion_files import save_lesions
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.regions import REGIONS
from napari_melanoma.slides.result_folder import record_slide

READERS = ("Anna Schmidt", "Bernd Vogel")
UM_PER_PX = 20.0
STAMP = ModelStamp("lesion-small", "a" * 64, "cpu", 0.5, ("dermoscopic",))
PREDICTION = ClassPrediction(
    classes=("nevus", "melanoma"),
    positive="melanoma",
    probabilities=(0.69, 0.31),
    interval=(0.2, 0.44),
    possible=("melanoma", "nevus"),
    coverage=0.9,
    operating_point=OperatingPoint(
        target_sensitivity=0.9, threshold=0.1, sensitivity=0.91, sensitivity_interval=(0.86, 0.95), specificity=0.55,
        specificity_interval=(0.5, 0.6),
    ),
    novelty=NoveltyDistance(1.0, 2.0),
    contributions=(Contribution("age", "93", 0.04),),
    from_image=0.29,
    neighbours=(NearestCase("ISIC_0000001", "melanoma", 0.4),),
    missing=(),
    unused=(),
    warnings=(),
    model=ClassifierStamp("melanoma-small", "Small", "b" * 64, "cpu"),
    options=ClassifyOptions(),
)  # fmt: skip


@dataclass(frozen=True)
class ReportedCase:
    """The folder of the case, and the result folder of its slide."""

    folder: Path
    slide: Path
    results: Path


def write_case(root: Path, *, age: float = 93.0, validity: Validity = Validity()) -> ReportedCase:  # noqa: B008 - frozen
    """Write the case; ``validity``: of the analysis of the slide."""
    pictures = [_write_photograph(root / f"Anna_Schmidt_2024-05-0{number}.png", number) for number in (1, 2)]
    slide = draw_slide(root / "section.tif")
    case = set_patient(Case(), patient_id="P-ZV1QS0-BRDZ2J", age=age, sex="female", note="PRIVATE of the patient")
    case = add_lesion(
        case, site="posterior torso", sub_site="upper back", laterality="left", diagnosis="melanoma",
        label="Anna's mole", note="PRIVATE of the lesion",
    )  # fmt: skip
    days = ("2024-05-02", "2025-05-10")
    images = [
        CaseImage(
            id="",
            path=path,
            modality="dermoscopic",
            taken_on=day,
            mpp_x=UM_PER_PX,
            mpp_y=UM_PER_PX,
        )
        for path, day in zip(pictures, days, strict=True)
    ]
    case = add_images(case, [*images, CaseImage(id="", path=slide, modality="wsi")], "L1")
    with CaseStore.create(root / "case", case) as store:
        case = store.case
        for number, path in enumerate(pictures, start=1):
            case = save_result(store, case, f"I{number}", _analyze(path, number))
        store.save(case)
        digest = compute_input_digest(case, case.lesions[0], PREDICTION.used_columns)
        found = CaseLesionPrediction("L1", ("I1", "I2"), PREDICTION, None, digest)
        save_predictions(store, CasePredictions((found,), (), "2025-05-11T10:00:00+00:00"))
    return ReportedCase(root / "case", slide, _write_slide_results(root / "results" / "section", slide, validity))


def _pixels(number: int) -> np.ndarray:
    rgb = np.full((300, 400, 3), (215, 170, 150), np.uint8)
    rgb[100:200, 100 : 200 + 20 * number] = (90, 60, 50)
    return rgb


def _write_photograph(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rgb(path, _pixels(number))
    return path


def _analyze(path: Path, number: int):
    rgb = _pixels(number)
    size = PixelSize(UM_PER_PX, UM_PER_PX, "given")
    probability = (rgb[..., 0] < 150).astype(np.float32)
    return derive_result(Photograph(rgb, path.stem, size, "dermoscopic"), probability, LesionOptions(), STAMP)


def _write_slide_results(folder: Path, slide: Path, validity: Validity) -> Path:
    """Write an analysis with a line and a lesion, a region, two readings and a signed synoptic report."""
    line = {"surface": [100, 250], "deepest": [260, 250], "mm": 0.08, "interval_mm": [0.06, 0.1], "section": 0}
    content = {
        "slide": "section",
        "validity": validity.to_json(),
        "target": "melanoma",
        "probability": 0.8,
        "model": {"name": "skin-model", "fingerprint": "c" * 64, "mpp": MPP},
        "provenance": collect_provenance(),
        "depth": {"candidates": [line], "notes": [], "validity": validity.to_json()},
        "warnings": [],
    }
    write_json(folder / "result.json", content)
    record_slide(folder, slide, record_name=True)
    outline = Polygon(((128.0, 192.0), (256.0, 192.0), (256.0, 320.0), (128.0, 320.0)))
    lesion = SlideLesion(
        1, "malignant", 0.9, 0.9, 128.0**2, 4 * 128.0, 0.0041, 0.256, 0.064, 0.064, 1.0, 0.2, (200.0, 250.0), (outline,)
    )
    save_lesions(folder, [lesion], LesionConfig())
    write_geojson(folder / REGIONS, [Annotation((outline,), "Tumor", (200, 0, 0))])
    size, base = PixelSize(MPP, MPP), DepthReading()
    depth = SlideDepthReadings()
    for name, day, depth_px in zip(READERS, ("02", "05"), (400, 440), strict=True):
        values = values_for_line(base, ((20.0, 250.0), (20.0 + depth_px, 250.0)), size)
        depth = set_values(depth, name, f"2026-01-{day}T10:00:00+00:00", **values, ulcerated=False)
    counted = MitosisCount(points=((1.0, 1.0),) * 3, counted=3, mm2=1.5, per_mm2=2.0)
    depth = set_values(depth, READERS[1], "2026-01-05T10:20:00+00:00", mitoses=counted, notes="PRIVATE reading")
    write_depth(folder, depth)
    when = "2026-01-06T10:00:00+00:00"
    report = SynopticReport().prefill(depth.reading_by(READERS[1])).confirm(reader=READERS[1], when=when)
    report = report.set_answer("microsatellites", SynopticAnswer(state="not assessed"), READERS[1], when)
    save_synoptic(folder, report.sign(READERS[1], when))
    return folder
