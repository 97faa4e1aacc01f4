"""The report of a case: complete, private, and honest about what is missing, damaged or not valid."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_case import PREDICTION, READERS, STAMP, ReportedCase, write_case
from finding_files import read_stored_report, save_synoptic, write_depth, write_stored_report

from napari_melanoma.case import changes as case_changes
from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseRisk,
    add_images,
    add_lesion,
    move_images,
    set_correction,
    set_image,
    set_lesion,
    set_lesion_answers,
    set_patient,
)
from napari_melanoma.case.results import PREDICTIONS_FILE, collect_metadata, save_case_explanation
from napari_melanoma.case.store import CaseStore, write_correction
from napari_melanoma.classification.classify import SAME_PICTURE
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import SlideDepthReadings
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.extensions.privacy_audit.audit import audit
from napari_melanoma.extensions.synoptic.report_section import list_synoptic_changes
from napari_melanoma.figures.page import Block, Section, Table, write_report
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_mask, write_rgb
from napari_melanoma.lesion.analysis import LesionHeatmap, derive_result
from napari_melanoma.lesion.changes import LesionChanges, MeasuredPhotograph, compare_photographs
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom
from napari_melanoma.reports.case_report import CollectedReport, collect_report
from napari_melanoma.reports.formatting import format_known_data
from napari_melanoma.reports.lesion import prediction_blocks

pytestmark = pytest.mark.usefixtures("features_found_once")
NAMES = (
    "Anna",
    "Schmidt",
    "Vogel",
    "section.tif",
    "2024",
    "2025-",
    "2026-01",
    "93 years",
    ">93<",
    "PRIVATE",
    "mole",
    "ISIC_0000001",
)


def fingerprint(one: MeasuredPhotograph) -> tuple[object, ...]:
    photograph = one.photograph
    values = (photograph.pixel_size, photograph.modality, photograph.damage)
    return array_fingerprint(photograph.rgb), array_fingerprint(one.mask), *values


@pytest.fixture(scope="module", autouse=True)
def photographs_compared_once() -> Iterator[None]:
    """Compare the same two photographs once: this takes most of the time of a report."""
    known: dict[object, LesionChanges | MelanomaError] = {}

    def compare_once(first: MeasuredPhotograph, second: MeasuredPhotograph, run: RunContext) -> LesionChanges:
        key = fingerprint(first), fingerprint(second)
        if key not in known:
            try:
                known[key] = compare_photographs(first, second, run)
            except MelanomaError as error:
                known[key] = error
        found = known[key]
        if isinstance(found, MelanomaError):
            raise found
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(case_changes, "compare_photographs", compare_once)
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> ReportedCase:
    return write_case(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def reported(stored: ReportedCase, tmp_path: Path) -> ReportedCase:
    """A copy of the case that a test may damage."""
    root = stored.folder.parent
    shutil.copytree(root, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*.json"):
        path.write_text(path.read_text(encoding="utf-8").replace(str(root), str(tmp_path / "copy")), encoding="utf-8")
    moved = [tmp_path / "copy" / path.relative_to(root) for path in (stored.folder, stored.slide, stored.results)]
    return ReportedCase(*moved)


def collect(*paths: Path, case: Path | None = None, personal: bool = False) -> CollectedReport:
    return collect_report(paths, case=case, personal=personal, run=RunContext())


@pytest.fixture(scope="module")
def collected(stored: ReportedCase) -> CollectedReport:
    """The report of the case as it was written."""
    return collect(stored.folder, stored.results)


def page_of(found: CollectedReport, path: Path) -> str:
    """The page as HTML without its pictures."""
    write_report(path, found.report)
    return re.sub(r'src="[^"]*"', "", path.read_text(encoding="utf-8"))


def text_of(found: CollectedReport, path: Path) -> str:
    """The text of the page."""
    hidden = r'<style>.*?</style>|<title>.*?</title>|<caption class="hidden">.*?</caption>|<[^>]*>'
    page = re.sub(hidden, " ", page_of(found, path), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(page))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("empty", "caption"),
    [
        (False, "Heatmap: regions that contribute to melanoma"),
        (True, "Heatmap: no region was found that contributes to melanoma"),
    ],
)
def test_a_heatmap_is_shown_with_its_class(reported: ReportedCase, tmp_path: Path, empty: bool, caption: str) -> None:
    with CaseStore.open(reported.folder) as store:
        image = store.case.find_image("I1")
        probability = read_mask(image.current.path / "mask.png").astype("float32")
        result = derive_result(read_photograph(image.path), probability, LesionOptions(), STAMP)
        heat = LesionHeatmap(np.zeros_like(result.probability) if empty else result.probability, "grad_cam", "melanoma")
        known = collect_metadata(store.case, store.case.lesions[0], image)
        save_case_explanation(
            store, image, replace(result, class_prediction=PREDICTION, patient_data={"age": "93"}, heatmap=heat)
        )
        assert CaseStore.open_read_only(reported.folder).case == store.case  # the prediction for the lesion is kept
    assert known["age"] == "93"
    text = text_of(collect(reported.folder), tmp_path / "page.html")
    assert caption in text
    assert "Outdated" not in text
    (reported.folder / "predictions.json").unlink()
    with CaseStore.open(reported.folder) as store:
        store.save(set_patient(store.case, age=54.0))
    text = text_of(collect(reported.folder), tmp_path / "page.html")
    assert "Outdated prediction: the case has other patient data: Age." in text


def test_a_measurement_without_a_value_is_a_dash(reported: ReportedCase, tmp_path: Path) -> None:
    with CaseStore.open(reported.folder) as store:
        path = store.case.find_image("I1").current.path / "result.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["measurements"]["fractal_dimension"] = None  # of a small lesion
    path.write_text(json.dumps(about), encoding="utf-8")
    found = collect(reported.folder)
    assert not found.problems
    assert re.search(r"Fractal dimension – [0-9.]+", text_of(found, tmp_path / "page.html"))


def test_the_report_contains_the_whole_case(collected: CollectedReport, tmp_path: Path) -> None:
    assert not collected.problems
    text = text_of(collected, tmp_path / "page.html")
    for expected in (
        "Case P-ZV1QS0-BRDZ2J 1 lesion, 3 images",
        "Age 90 or older",
        "Sex Female",
        "Lesions: 1 Left upper back.",
        "Lesion 1: Left upper back Diagnosis Melanoma",
        "Above the melanoma threshold (sensitivity 90 %): melanoma 0.31, 0.20 to 0.44. Cannot be ruled out: nevus",
        "Prediction set melanoma, nevus (conformal, 90 % coverage)",
        "Similar training cases",
        "Image 2, dermoscopic 12 months later",
        "Contour; scale bar 2 mm.",
        "Region of interest; scale bar",
        "Prediction From image 1, image 2 Prediction Above the melanoma threshold",
        "Measurement Image 1 Image 2 Area, mm² 4.798 5.598 Perimeter, mm",
        "Overview with 1 lesion and 1 region (dashed); scale bar 0.05 mm.",
        "1 malignant melanoma 0.90",
        "Tumor 1 0.004",
        "Measurement line from the surface to the deepest cell; scale bar",
        "Reader Thickness, mm T category",
        "BV 0.22 T1a no – 2.0 AS 0.20 T1a no – –",
        "2 readers: thickness 0.20 to 0.22 mm, a difference of 0.02 mm; the same T category (T1a).",
        "3 days later BV Thickness, mm",
        "Signed by BV (date left out: it is personal data).",
        "Microsatellites not assessed",
        "Breslow thickness and T category (AJCC 8) 0.22 mm, T1a Thickness recorded (AJCC 8) 0.2 mm",
        "Breslow thickness 0.22 mm, recorded as 0.2 mm",
        "T category (AJCC 8) pT1a",
        "Image 3 skin-model cccccccccccccccc",
        "threshold 0.50",
        "Research use only; not for diagnosis.",
    ):
        assert expected in text, expected


def test_images_are_in_the_order_of_the_case(reported: ReportedCase, tmp_path: Path) -> None:
    with CaseStore.open(reported.folder) as store:
        later = CaseImage(id="", path=reported.folder.parent / "later.png", modality="dermoscopic")
        write_rgb(later.path, np.full((30, 40, 3), 150, np.uint8))
        store.save(add_images(store.case, [later], "L1"))
    page = page_of(collect(reported.folder, reported.results), tmp_path / "page.html")
    titles = re.findall(r"<h[2-4]>([^<]*)", page)
    images = ["Image 1, dermoscopic", "Image 2, dermoscopic", "Image 3, slide", "Image 4, dermoscopic"]
    shown = ["Summary", "Lesion 1: Left upper back", *images, "Measurements", "Changes", "Provenance"]
    assert [title for title in titles if title in shown] == shown


def test_the_first_page_summarizes_the_case(collected: CollectedReport, tmp_path: Path) -> None:
    summary = collected.report.blocks[0]
    assert isinstance(summary, Section)
    assert (summary.title, summary.layout) == ("Summary", "page")
    text = text_of(replace(collected, report=replace(collected.report, blocks=(summary,))), tmp_path / "page.html")
    for expected in (
        "Lesion 1: Left upper back. Signed by BV (date left out: it is personal data).",
        "Age 90 or older",
        "Diagnosis Melanoma",
        "T category (AJCC 8) pT1a: 0.22 mm, recorded as 0.2 mm",
        "ulceration not identified (synoptic report)",
        "Prediction from photographs Above the melanoma threshold (sensitivity 90 %): melanoma 0.31",
        "Prediction from image 3 (slide) Melanoma 0.80; 1 lesion, 1 malignant.",
        "Lesion 1: Left upper back. Measurement line from the surface to the deepest cell",
        "Lesions: 1 Left upper back.",
    ):
        assert expected in text, expected


@pytest.mark.parametrize(
    ("has_readings", "depth_mm", "category"),
    [
        (True, 1.4, "T1a: 0.22 mm, ulceration not identified (reading of image 3 by BV)"),
        (False, 1.4, "T2: 1.40 mm, ulceration unknown (entered in the case)"),
        (False, 0.0, "Tis: 0.00 mm, ulceration unknown (entered in the case)"),
        (False, None, ""),
    ],
    ids=["reading", "case", "in situ", "unknown"],
)
def test_the_summary_explains_the_t_category(
    reported: ReportedCase, tmp_path: Path, has_readings: bool, depth_mm: float | None, category: str
) -> None:
    save_synoptic(reported.results, None)
    if not has_readings:
        write_depth(reported.results, SlideDepthReadings())
    with CaseStore.open(reported.folder) as store:
        store.save(set_lesion(store.case, "L1", depth_mm=depth_mm))
    collected = collect(reported.folder, reported.results)
    summary = replace(collected.report, blocks=collected.report.blocks[:1])
    text = text_of(replace(collected, report=summary), tmp_path / "page.html")
    assert "Draft: there is no signed synoptic report." in text
    assert (f"T category (AJCC 8) {category}" in text) if category else "T category (AJCC 8)" not in text


def test_the_summary_states_the_report_of_a_slide_without_a_lesion(reported: ReportedCase, tmp_path: Path) -> None:
    with CaseStore.open(reported.folder) as store:
        slide = next(image for _, image in store.case.iterate_images() if image.is_slide)
        store.save(move_images(store.case, [slide.id], ""))
    collected = collect(reported.folder, reported.results)
    summary = replace(collected.report, blocks=collected.report.blocks[:1])
    text = text_of(replace(collected, report=summary), tmp_path / "page.html")
    assert "Image 3, without a lesion. Signed by BV" in text
    assert "Image 3, without a lesion T category (AJCC 8) pT1a: 0.22 mm" in text


def test_a_category_of_contradictory_answers_is_not_stated(reported: ReportedCase, tmp_path: Path) -> None:
    save_synoptic(reported.results, None)
    write_depth(reported.results, SlideDepthReadings())
    answers = {"breslow": SynopticAnswer(value=1.2), "extent": SynopticAnswer(value="in_situ")}
    with CaseStore.open(reported.folder) as store:
        store.save(set_lesion_answers(store.case, "L1", answers, "A", "2026-01-02T10:00:00+00:00"))
    text = text_of(collect(reported.folder, reported.results), tmp_path / "page.html")
    assert "T category (AJCC 8) no T category: a Breslow thickness of 1.20 mm contradicts melanoma in situ" in text
    assert "T2" not in text


def test_an_analysis_at_another_scale_is_stated_above_its_areas(reported: ReportedCase, tmp_path: Path) -> None:
    before = text_of(collect(reported.folder, reported.results), tmp_path / "before.html")
    _set_value(reported.results / "result.json", "mpp", [0.9, 0.9])
    after = text_of(collect(reported.folder, reported.results), tmp_path / "after.html")
    assert "Areas and lengths of this analysis were measured at 0.9 µm per pixel; the slide is now set to" in after
    assert "of this analysis were measured" not in before


def test_the_summary_lists_changes_after_the_signature(reported: ReportedCase, tmp_path: Path) -> None:
    report = read_stored_report(reported.results)
    write_stored_report(reported.results, {**report, "signed_values": {"breslow": [1.42, False]}})
    collected = collect(reported.folder, reported.results)
    summary = replace(collected.report, blocks=collected.report.blocks[:1])
    text = text_of(replace(collected, report=summary), tmp_path / "page.html")
    status = "Signed by BV (date left out: it is personal data)."
    stated = "depth reading, Breslow thickness: signed: 1.42 mm; now: 0.22 mm, recorded as 0.2 mm."
    assert f"{status} Changed after signature: {stated}" in text


def test_a_synoptic_report_is_one_table_on_one_page(collected: CollectedReport) -> None:
    def find(blocks: Sequence[Block]) -> Iterator[Section]:
        for block in blocks:
            if isinstance(block, Section):
                yield from [block] if block.title == "Synoptic report" else find(block.blocks)

    (section,) = find(collected.report.blocks)
    assert section.layout == "whole"
    assert len([block for block in section.blocks if isinstance(block, Table)]) == 1


def test_the_page_is_self_contained(collected: CollectedReport, tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", collected.report)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([a-z]+):', page)) == {"data"}
    assert "http" not in re.sub(r'src="[^"]*"', "", page)
    assert page.count("data:image/jpeg;base64,") == 7  # two photographs with their ROI, overview, line twice
    assert b"Exif" not in (tmp_path / "page.html").read_bytes()


def test_nothing_personal_is_disclosed(stored: ReportedCase, collected: CollectedReport, tmp_path: Path) -> None:
    text = page_of(collected, tmp_path / "page.html")
    assert [name for name in NAMES if re.search(rf"(?<![\w.]){re.escape(name)}", text)] == []
    assert str(stored.folder.parent) not in text
    assert audit([tmp_path / "page.html"], [].append, run=RunContext()).clean


def test_warnings_with_paths_and_names_are_cleaned(reported: ReportedCase, tmp_path: Path) -> None:
    warnings = [
        "see /srv/anna/section.tif for more",
        "section.tif differs",
        "Patient: Anna Schmidt, taken on 2024-05-02",
        "anna@example.org",
    ]
    _set_value(reported.results / "result.json", "warnings", warnings)
    text = text_of(collect(reported.folder, reported.results), tmp_path / "page.html")
    assert "See (removed) for more. (removed) differs." in text
    assert not re.search("anna@|Schmidt|2024", text)
    assert audit([tmp_path / "page.html"], [].append, run=RunContext()).clean
    assert "Anna Schmidt" in text_of(collect(reported.folder, reported.results, personal=True), tmp_path / "all.html")


def test_a_warning_names_a_training_image_only_with_personal_data() -> None:
    prediction = replace(PREDICTION, warnings=(SAME_PICTURE.format(image_id="Anna Schmidt (2)"),))
    for personal in (False, True):
        text = str(prediction_blocks(prediction, personal=personal))
        assert ("looks the same (Anna Schmidt (2)): the" in text) == personal
        assert ("looks the same: the prediction" in text) != personal


def test_the_risk_of_a_case_names_no_reader(reported: ReportedCase, tmp_path: Path) -> None:
    risk = CaseRisk(
        path=reported.folder / "risk/I3.json",
        verdict="Inconclusive: risk of metastasis 0.61 (90 % interval 0.42 to 0.90)",
        probability=0.61,
        interval=(0.42, 0.9),
        depth="depth 0.22 mm, measured by Anna Schmidt",
        known={"age": "93", "sex": "female"},
        comparators={"depth": {"title": "Depth alone", "probability": 0.3}},
        model="risk-model",
        fingerprint="d" * 64,
        validity=Validity().to_json(),
    )
    with CaseStore.open(reported.folder) as store:
        store.save(set_image(store.case, "I3", risk=risk))
    text = text_of(collect(reported.folder), tmp_path / "page.html")
    for expected in (
        "Risk of metastasis Inconclusive: risk of metastasis 0.61 (90 % interval 0.42 to 0.90).",
        "Depth alone 0.30",
        "Thickness used Depth 0.22 mm, measured by a reader.",
        "Age 90 or older, Sex female",
    ):
        assert expected in text
    personal = text_of(collect(reported.folder, personal=True), tmp_path / "all.html")
    assert "measured by Anna Schmidt." in personal


def test_personal_data_are_included_on_request(stored: ReportedCase, tmp_path: Path) -> None:
    text = text_of(collect(stored.folder, stored.results, personal=True), tmp_path / "page.html")
    for expected in (
        "Anna_Schmidt_2024-05-01.png, 2024-05-02",
        *READERS,
        "Age 93 years",
        "ISIC_0000001",
        "Anna's mole",
    ):
        assert expected in text
    assert "PRIVATE" not in text


def test_a_name_as_id_of_a_patient_is_replaced(reported: ReportedCase, tmp_path: Path, user_folders: object) -> None:
    with CaseStore.open(reported.folder) as store:
        store.save(set_patient(store.case, patient_id="Anna Schmidt"))
    text = text_of(collect(reported.folder), tmp_path / "page.html")
    assert "Schmidt" not in text
    assert re.search(r"Case P-\w{6}-\w{6}", text)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES: dict[str, tuple[str, Callable[[ReportedCase], object], str]] = {
    "photograph missing": (
        "Image 1",
        lambda one: next(one.slide.parent.glob("*01.png")).unlink(),
        "the photograph is missing",
    ),
    "photograph truncated": ("", lambda one: truncate(next(one.slide.parent.glob("*01.png"))), "Damaged photograph"),
    "result damaged": (
        "Image 2",
        lambda one: truncate(one.folder / "results/I2/result.json"),
        "its result is missing or damaged",
    ),
    "mask missing": (
        "Image 2",
        lambda one: (one.folder / "results/I2/mask.png").unlink(),
        "its mask is missing, damaged or not the one that was measured",
    ),
    "mask of another program": (
        "Image 2",
        lambda one: write_mask(one.folder / "results/I2/mask.png", np.eye(9, dtype=bool)),
        "its mask is missing, damaged or not the one that was measured",
    ),
    "ROI damaged": (
        "Image 1",
        lambda one: (one.folder / "results/I1/roi.png").write_bytes(b"x"),
        "the picture 'region of interest' is damaged",
    ),
    "predictions damaged": ("Case", lambda one: truncate(one.folder / PREDICTIONS_FILE), "cannot be read"),
    "slide missing": ("Image 3", lambda one: one.slide.unlink(), "the slide is missing, moved or damaged"),
    "slide truncated": ("Image 3", lambda one: one.slide.write_bytes(b"II*\0" * 9), "the slide is missing"),
    "findings damaged": ("Image 3", lambda one: truncate(one.results / "findings.json"), "its findings"),
    "lesions damaged": ("Image 3", lambda one: truncate(one.results / "lesions.geojson"), "its lesions cannot be read"),
    "regions damaged": ("Image 3", lambda one: truncate(one.results / "regions.geojson"), "its regions cannot be read"),
    "analysis damaged": ("Image 3", lambda one: truncate(one.results / "result.json"), "of its analysis is damaged"),
    "measurements that are no numbers": (
        "Image 2",
        lambda one: _set_value(one.folder / "results/I2/result.json", "measurements", {"area_px": "<b>"}),
        "cannot be shown: its data are damaged",
    ),
}


def _set_value(path: Path, name: str, value: object) -> None:
    write_json(path, {**json.loads(path.read_text(encoding="utf-8")), name: value})


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.slow
def test_damaged_parts_are_reported_and_others_shown(name: str, reported: ReportedCase, tmp_path: Path) -> None:
    about, damage, text = DAMAGES[name]
    damage(reported)
    found = collect(reported.folder, reported.results)
    assert {one.about for one in found.problems} == ({about} if about else set())
    page = text_of(found, tmp_path / "page.html")
    assert text in page
    assert str(reported.folder.parent) not in page
    for rest in (
        "Age 90 or older",
        "Lesion 1: Left upper back",
        "Image 1, dermoscopic",
        "Image 3, slide",
        "Provenance",
    ):
        assert rest in page


def test_a_demonstration_is_named_in_the_cell_of_its_number(tmp_path: Path) -> None:
    stored = write_case(tmp_path / "a", validity=ValidityInputs("m", demonstration=True, synthetic_input=True).check())
    page = page_of(collect(stored.folder, stored.results), tmp_path / "page.html")
    assert "<td>Demonstration model: melanoma 0.80; 1 lesion, 1 malignant.</td>" in page
    assert ">Analysis</h" in page
    assert ">demonstration</td>" in page  # of the lesion
    assert '<th scope="row">demonstration model</th><td class="number unbroken">0.08</td>' in page
    write_depth(stored.results, SlideDepthReadings())
    page = page_of(collect(stored.folder, stored.results), tmp_path / "page.html")
    assert "<td>Demonstration model: 0.08 mm (0.06 to 0.10), " in page


def test_invalid_values_are_replaced_by_a_reason(tmp_path: Path) -> None:
    stored = write_case(tmp_path / "a", validity=ValidityInputs("m", demonstration=True).check())
    (stored.results / "findings.json").unlink()
    page = page_of(collect(stored.folder, stored.results), tmp_path / "page.html")
    assert page.count("<td>Not valid: ") == 3  # the prediction, in the summary too, and the thickness
    assert "0.08 mm" not in page
    assert "melanoma 0.90" not in page
    assert "Overview with 1 region" in page


def test_results_without_a_case(stored: ReportedCase, tmp_path: Path) -> None:
    found = collect(stored.results.parent, stored.folder / "results")
    text = text_of(found, tmp_path / "page.html")
    assert not found.problems
    assert "Imaging report 3 results" in text
    for expected in ("Photograph 1", "Photograph 2", "Slide 1", "Contour; scale bar 2 mm."):
        assert expected in text


def test_a_slide_is_shown_with_the_lesion_of_a_case_that_is_not_reported(stored: ReportedCase, tmp_path: Path) -> None:
    alone, found = (collect(stored.results, case=case) for case in (None, stored.folder))
    assert "upper back" not in text_of(alone, tmp_path / "alone.html")
    text = text_of(found, tmp_path / "page.html")
    assert not found.problems
    for expected in ("Slide 1", "Site Left upper back", "Diagnosis Melanoma"):
        assert expected in text
    assert "Patient" not in text


def test_several_cases_are_sections(stored: ReportedCase, reported: ReportedCase, tmp_path: Path) -> None:
    page = page_of(collect(stored.folder, reported.folder), tmp_path / "page.html")
    assert re.findall(r"<h[12]>([^<]*)", page)[:3] == ["2 cases", "Case P-ZV1QS0-BRDZ2J", "Case P-ZV1QS0-BRDZ2J"]
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_the_provenance_names_lesions_and_cases_as_the_headings_do(
    stored: ReportedCase, reported: ReportedCase, tmp_path: Path
) -> None:
    with CaseStore.open(reported.folder) as store:
        store.save(set_patient(set_lesion(store.case, "L1", label="7"), patient_id="P-0042"))
    alone = text_of(collect(reported.folder), tmp_path / "alone.html")
    assert "Lesion 7: Left upper back" in alone
    assert "Lesion 7 melanoma-small" in alone
    text = text_of(collect(stored.folder, reported.folder), tmp_path / "page.html")
    assert re.search(r"Models .*Case P-0042, Image 1, .* lesion-small a{16}.*Settings", text)
    assert "Case P-ZV1QS0-BRDZ2J, Lesion 1, Case P-0042, Lesion 7 melanoma-small" in text


def test_problems_of_several_cases_name_the_case(stored: ReportedCase, reported: ReportedCase) -> None:
    truncate(reported.folder / "results/I1/result.json")
    with CaseStore.open(reported.folder) as store:
        store.save(set_patient(store.case, patient_id="P-0042"))
    assert [one.about for one in collect(stored.folder, reported.folder).problems] == ["Case P-0042, Image 1"]
    assert [one.about for one in collect(reported.folder).problems] == ["Image 1"]


def test_a_slide_without_results_states_this(stored: ReportedCase, collected: CollectedReport, tmp_path: Path) -> None:
    sentence = "No result folder of this slide was found or specified: its analysis is not included."
    assert sentence in text_of(collect(stored.folder), tmp_path / "alone.html")
    assert sentence not in text_of(collected, tmp_path / "both.html")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A case whose lesion has grown by half within a year."""
    folder = tmp_path_factory.mktemp("followed")
    case, masks = add_lesion(set_patient(Case(), patient_id="P-0042"), site="torso"), []
    for number, (growth, day) in enumerate(((0.0, "2024-05-02"), (0.5, "2025-05-10")), start=1):
        config = LesionPhantomConfig(seed=1, modality="dermoscopic", size=(192, 256), field_mm=14.0)
        lesion = config.lesion.model_copy(update={"diameter_mm": 5.0 * (1 + growth) ** 0.5, "centre": (0.5, 0.5)})
        made = lesion_phantom(config.model_copy(update={"lesion": lesion}))
        path = folder / f"Anna_Schmidt_{number}.png"
        write_rgb(path, made.rgb)
        um = made.pixel_size.x_um
        image = CaseImage(id="", path=path, modality="dermoscopic", taken_on=day, mpp_x=um, mpp_y=um)
        case = add_images(case, [image], "L1")
        masks.append(made)
    with CaseStore.create(folder / "case", case) as store:
        case = store.case
        for number, made in enumerate(masks, start=1):
            digest = array_fingerprint(made.rgb)
            correction = write_correction(store, f"I{number}", made.mask, image_digest=digest, model="m")
            case = set_correction(case, f"I{number}", correction)
        store.save(case)
    return folder / "case"


@pytest.mark.slow
def test_the_change_over_time_is_shown_without_dates(followed: Path, tmp_path: Path) -> None:
    text = text_of(collect(followed), tmp_path / "page.html")
    for expected in (
        "Change over time Image 2, 12 months later than image 1",
        "Image 1: contour; scale bar",
        "Image 2: registered, with the light of image 1; scale bar",
        "Largest outward shift of the border – – +0.6",
        "no clear change",
        "They are no confidence intervals.",
    ):
        assert expected in text, expected
    assert re.search(r"Area, mm² 19\.6 29\.\d \+50 % \(\+\d\d to \+\d\d\) increased", text)
    assert not re.search("2024|2025|Anna", text)
    assert "(2024-05-02 and 2025-05-10)" in text_of(collect(followed, personal=True), tmp_path / "all.html")


def test_photographs_that_cannot_be_compared_are_named(stored: ReportedCase, followed: Path, tmp_path: Path) -> None:
    text = text_of(collect(stored.folder), tmp_path / "page.html")  # skin without any feature
    assert "Image 1 and Image 2 cannot be compared: the photographs cannot be registered: expected 8 features" in text
    shutil.copytree(followed, tmp_path / "case")
    for path in (tmp_path / "case").glob("corrections/*I2*"):
        truncate(path)
    text = text_of(collect(tmp_path / "case"), tmp_path / "page.html")
    assert "Image 1 and Image 2 cannot be compared: one of them or its contour is not usable." in text


def test_an_unexpected_error_of_a_comparison_is_named_and_the_rest_is_written(
    followed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("napari_melanoma.reports.case_report.compare_images", fail)
    found = collect(followed)
    text = text_of(found, tmp_path / "page.html")
    assert "Image 1 and Image 2: cannot be compared: an unexpected error occurred." in text
    assert "corrected by hand" in text
    assert [one.about for one in found.problems] == ["Image 1 and Image 2"]


def test_photographs_slide_and_patient_data_are_in_one_table(reported: ReportedCase, tmp_path: Path) -> None:
    risk = CaseRisk(
        path=reported.folder / "risk/I3.json",
        verdict="Inconclusive",
        probability=0.61,
        interval=(0.42, 0.9),
        without=0.65,
        model="risk-model",
        fingerprint="d" * 64,
        validity=Validity().to_json(),
    )
    with CaseStore.open(reported.folder) as store:
        store.save(set_image(store.case, "I3", risk=risk))
    text = text_of(collect(reported.folder, reported.results), tmp_path / "page.html")
    for expected in (
        "Photographs, slide and patient data",
        "2 photographs and patient data melanoma 0.31 (0.20 to 0.44)",
        "Slide, thickness and patient data metastasis 0.61 (0.42 to 0.90)",
        "Photographs and slide have no combined value: they predict melanoma and metastasis",
    ):
        assert expected in text, expected


def test_unusable_inputs_are_named(stored: ReportedCase, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there is nothing to report: expected .*case\.json.*found: .*empty"):
        collect(tmp_path / "empty")
    found = collect(stored.folder, tmp_path / "empty", tmp_path / "missing")
    assert [one.about for one in found.problems] == ["Input", "Input"]
    assert "contains no case and no results" in text_of(found, tmp_path / "page.html")


def test_a_case_with_an_invalid_value_is_named_and_the_rest_is_shown(
    stored: ReportedCase, reported: ReportedCase, tmp_path: Path
) -> None:
    _set_value(reported.folder / "case.json", "lesions_numbered", "many")
    found = collect(stored.folder, reported.folder)
    assert [one.about for one in found.problems] == ["Case"]
    assert "lesions_numbered" in found.problems[0].detail
    text = text_of(found, tmp_path / "page.html")
    assert "Case: cannot be read: its case.json is damaged or invalid." in text
    assert "Lesion 1: Left upper back" in text


def test_changed_inputs_outdate_a_prediction(reported: ReportedCase, tmp_path: Path) -> None:
    with CaseStore.open(reported.folder) as store:
        store.save(set_patient(store.case, age=71))
    page = page_of(collect(reported.folder), tmp_path / "page.html")
    assert f"<td>Outdated: the inputs have changed since this result. {PREDICTION.headline.statement}.</td>" in page


def test_a_photograph_that_was_analyzed_with_other_values_states_them(reported: ReportedCase, tmp_path: Path) -> None:
    with CaseStore.open(reported.folder) as store:
        about = json.loads((store.case.find_image("I1").current.path / "result.json").read_text(encoding="utf-8"))
        size = about["pixel_size_um"]
        case = set_image(store.case, "I1", mpp_x=2 * size["x"], mpp_y=2 * size["y"], modality="macroscopic")
        store.save(case)
    text = text_of(collect(reported.folder), tmp_path / "page.html")
    scale = f"analyzed at {size['x']:g} µm per pixel; the case states {2 * size['x']:g} now."
    for expected in (scale, f"analyzed as {about['modality']}; the case states macroscopic now."):
        assert f"Outdated measurements: {expected} Analyze the photograph again." in text


def test_agreement_over_several_slides(reported: ReportedCase, tmp_path: Path) -> None:
    folders = [reported.results]
    for number in range(2):
        folder = reported.results.parent / f"other{number}"
        shutil.copytree(reported.results, folder)
        (folder / "slide.json").unlink()
        depth = read_findings(folder)
        write_depth(folder, depth.model_copy(update={"fingerprint": str(number)}))
        folders.append(folder)
    text = text_of(collect(*folders), tmp_path / "page.html")
    assert "3 slides measured by both" in text
    assert "ICC(2,1)" in text


def test_progress_counts_images_and_results(stored: ReportedCase) -> None:
    seen: list[tuple[int, int | None]] = []
    run = RunContext(lambda progress: seen.append((progress.done, progress.total)))
    collect_report([stored.folder, stored.results, stored.folder / "results"], run=run)
    assert seen == [(number, 5) for number in range(5)]


def test_a_report_can_be_cancelled(stored: ReportedCase) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        collect_report([stored.folder], run=run)


def test_texts_of_files_cannot_bring_markup_along(reported: ReportedCase, tmp_path: Path) -> None:
    hostile = "</td></style><script>alert(1)</script>{{ 7 * 7 }}\x00\u202e"
    plain = page_of(collect(reported.folder, reported.results, personal=True), tmp_path / "plain.html")
    _set_value(reported.results / "result.json", "warnings", ["plain", hostile])
    _set_value(reported.results / "result.json", "model", {"name": hostile, "fingerprint": hostile})
    result = reported.folder / "results/I1/result.json"
    _set_value(result, "model", {**json.loads(result.read_text(encoding="utf-8"))["model"], "name": hostile})
    with CaseStore.open(reported.folder) as store:
        case = set_patient(set_lesion(store.case, "L1", label=hostile), ethnicity=hostile)
        store.save(case)
    page = page_of(collect(reported.folder, reported.results, personal=True), tmp_path / "page.html")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert page.count("{{ 7 * 7 }}") == page.count("&lt;script&gt;")
    assert page.count("</style>") == plain.count("</style>") == 1


def test_a_change_of_the_thickness_is_listed_with_two_decimals() -> None:
    answer = SynopticAnswer(value=0.5226)
    report = SynopticReport().set_answer("breslow", answer, "A", "2026-03-01T10:00:00+00:00")
    [(_, _, label, before, after)] = list_synoptic_changes(report, {"A": "A"})
    assert (label, before, after) == ("Breslow thickness", "", "0.52 mm")


@pytest.mark.parametrize(
    ("name", "cell", "shown"),
    [
        ("depth_mm", "0.004", "Depth 0.004 mm"),
        ("depth_mm", "0.5226", "Depth 0.52 mm"),
        ("depth_mm_reader_2", "1.23456", "Depth, reader 2 1.23 mm"),
        ("depth_mm", "0.0", "Depth 0 mm"),
        ("depth_mm", "1e400", "Depth 1e400 mm"),
        ("mpp_x", "0.25217", "Pixel width 0.252 µm"),
        ("mpp_x", "1234.5678", "Pixel width 1234.57 µm"),
        ("age", "54.0", "Age 54 years"),
        ("lesion_id", "1_000", "Lesion 1_000"),
        ("domain", "infinity", "Domain infinity"),
        ("own column", "0.004", "Own column 0.004"),
        ("source", "007", "Source 007"),
    ],
)
def test_only_numbers_are_rounded_and_never_to_0(name: str, cell: str, shown: str) -> None:
    assert format_known_data({name: cell}) == shown
