"""A DICOM segmentation of a DICOM slide: written with highdicom, read back with it, pixel by pixel."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from fake_dicom import FRAME, SERIES, STUDY, write_level
from pydicom.uid import generate_uid

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.reports.slide_export import LesionSegment, find_dicom_level, write_dicom_segmentation


def labels() -> np.ndarray:
    found = np.zeros((100, 70), np.uint16)
    found[10:40, 20:50] = 3
    found[60:90, 5:30] = 8
    found[30:35, 40:60] = 8  # a second part
    return found


def test_dicom_segmentation_round_trip(tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    level = find_dicom_level(write_level(tmp_path / "slide.dcm", 100, 70, 0.001))
    segments = [LesionSegment(3, "lesion 3, malignant"), LesionSegment(8, "lesion 8, benign", is_manual=True)]
    write_dicom_segmentation(tmp_path / "out" / "seg.dcm", level, labels(), segments, "tiny")
    read = highdicom.seg.segread(tmp_path / "out" / "seg.dcm")
    matrix = read.get_total_pixel_matrix(combine_segments=True)
    np.testing.assert_array_equal(matrix, np.select([labels() == 3, labels() == 8], [1, 2], 0))
    described = [read.get_segment_description(number) for number in (1, 2)]
    assert [one.segment_label for one in described] == ["lesion 3, malignant", "lesion 8, benign"]
    assert [one.algorithm_type.value for one in described] == ["AUTOMATIC", "SEMIAUTOMATIC"]
    assert (read.StudyInstanceUID, read.PatientID, read.FrameOfReferenceUID) == (STUDY, "P1", FRAME)
    assert read.SeriesInstanceUID != SERIES
    (source,) = read.ReferencedSeriesSequence
    assert source.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == level.header.SOPInstanceUID


def test_a_segmentation_of_invalid_predictions_states_this(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    level = find_dicom_level(write_level(tmp_path / "slide.dcm", 100, 70, 0.001))
    invalid = "Not valid: the model is a demonstration"
    write_dicom_segmentation(tmp_path / "seg.dcm", level, labels(), [LesionSegment(3, "lesion 3")], "tiny", invalid)
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert read.ContentDescription == "Not valid. Lesions, for research only"
    assert [one.SegmentDescription for one in read.SegmentSequence] == [invalid]


def test_the_finest_level_within_the_limit_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_level(tmp_path / "a.dcm", 400, 280, 0.001)
    write_level(tmp_path / "b.dcm", 100, 70, 0.004)
    write_level(tmp_path / "c.dcm", 25, 18, 0.016)
    write_level(tmp_path / "label.dcm", 900, 900, 0.01, kind="LABEL")
    (tmp_path / "notes.txt").write_text("not DICOM")
    assert find_dicom_level(tmp_path).height == 400
    monkeypatch.setattr("napari_melanoma.reports.slide_export.MAX_SIDE_PX", 128)
    assert find_dicom_level(tmp_path / "a.dcm").height == 100
    monkeypatch.setattr("napari_melanoma.reports.slide_export.MAX_SIDE_PX", 4)
    assert find_dicom_level(tmp_path).height == 25


def test_other_files_than_dicom_slides_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "slide.svs").write_bytes(b"II*\0")
    with pytest.raises(InputError, match=r"slide\.svs is not a DICOM slide: a DICOM segmentation must reference"):
        find_dicom_level(tmp_path / "slide.svs")
    with pytest.raises(InputError, match="is not a DICOM slide"):
        find_dicom_level(tmp_path)
    write_level(tmp_path / "a.dcm", 100, 70, 0.001, ConcatenationUID=generate_uid())
    with pytest.raises(InputError, match="stores a level in several files"):
        find_dicom_level(tmp_path)


def test_a_slide_without_lesions_and_a_poor_header_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    level = find_dicom_level(write_level(tmp_path / "slide.dcm", 100, 70, 0.001))
    with pytest.raises(InputError, match="there is no lesion"):
        write_dicom_segmentation(tmp_path / "seg.dcm", level, np.zeros((100, 70), np.uint16), [], "tiny")
    del level.header.FrameOfReferenceUID
    with pytest.raises(InputError, match="the header of the slide lacks attributes"):
        write_dicom_segmentation(tmp_path / "seg.dcm", level, labels(), [LesionSegment(3, "lesion 3")], "tiny")
    assert not (tmp_path / "seg.dcm").exists()


def test_missing_highdicom_states_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = find_dicom_level(write_level(tmp_path / "slide.dcm", 100, 70, 0.001))
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(ConfigError, match=r"pip install 'napari-melanoma\[dicom\]'"):
        write_dicom_segmentation(tmp_path / "seg.dcm", level, labels(), [LesionSegment(3, "lesion 3")], "tiny")
