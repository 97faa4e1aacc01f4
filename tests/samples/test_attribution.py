"""Reports name the attribution of the samples that they show, also of copies."""

from __future__ import annotations

import shutil
from pathlib import Path

from finding_files import save_synoptic

from napari_melanoma.case.importing import collect_patients
from napari_melanoma.case.store import CaseStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.samples import catalog
from napari_melanoma.slides.result_folder import record_slide, slide_folder

WHEN = "2026-01-01T10:00:00+00:00"


def test_the_report_of_a_slide(tmp_path: Path) -> None:
    sample = catalog.get_sample(catalog.SLIDE)
    copy = Path(shutil.copy(sample.path, tmp_path / "section.tif"))
    folder = slide_folder(tmp_path / "results", copy)
    folder.mkdir(parents=True)
    record_slide(folder, copy)
    answer = SynopticAnswer(value="excision")
    save_synoptic(folder, SynopticReport().set_answer("procedure", answer, "A", WHEN))
    for personal in (False, True):
        report = collect_report((folder,), personal=personal, run=RunContext()).report
        assert "Attribution of images" in str(report)
        assert sample.credit in str(report)


def test_the_report_of_a_case_names_each_attribution_once(tmp_path: Path) -> None:
    folder = catalog.copy_case(tmp_path / "case")
    (patient,) = collect_patients((folder,), mapping=None, run=RunContext()).patients
    CaseStore.create(folder, patient.case).close()
    report = str(collect_report((folder,), personal=False, run=RunContext()).report)
    assert report.count("Pacheco et al. 2020, doi:10.17632/zr7vgbcyr2.1") == 1
