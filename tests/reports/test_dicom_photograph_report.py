"""DICOM measurement reports of photographs: read back with highdicom, from phantoms with a known mask."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fake_dicom import write_level, write_photograph
from pydicom.sr.codedict import codes
from typer.testing import CliRunner

from napari_melanoma.classification.prediction import ClassifierStamp, ClassifyOptions, ClassPrediction, NoveltyDistance
from napari_melanoma.cli import app
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.polygons import rasterize_rings
from napari_melanoma.core.validity import NOTICE
from napari_melanoma.imaging.measurements import MEASUREMENTS
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_rgb
from napari_melanoma.lesion.analysis import LesionResult, ModelStamp, derive_result, remeasure, save_lesion
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom
from napari_melanoma.reports.dicom_photograph_report import read_exported_photograph, write_photograph_report
from napari_melanoma.reports.export_formats import NothingToExportError

from .test_dicom_report import find_group

highdicom = pytest.importorskip("highdicom")

SEGMENTER = ModelStamp("lesion-small", "a" * 64, "cpu", 0.5)
CLASSIFIER = ClassifierStamp("melanoma-small", "Melanoma or nevus", "b" * 64, "cpu")
CLASSES = ("melanoma", "nevus")
RUNNER = CliRunner()


@pytest.fixture(scope="module")
def phantom() -> Any:
    return lesion_phantom(LesionPhantomConfig(size=(120, 160)))


@pytest.fixture
def photograph(tmp_path: Path, phantom: Any) -> Path:
    """A dermoscopic DICOM photograph with a scale."""
    return write_photograph(tmp_path / "archive" / "mole.dcm", phantom.rgb, PixelSpacing=[0.05, 0.05])


def analyze(photograph: Path, mask: np.ndarray, size: PixelSize | None = None) -> LesionResult:
    read = read_photograph(photograph)
    read = replace(read, pixel_size=size or read.pixel_size)
    return derive_result(read, mask.astype(np.float32), LesionOptions(), SEGMENTER)


def predict(**more: Any) -> ClassPrediction:
    values: dict[str, Any] = {
        "classes": CLASSES,
        "positive": "melanoma",
        "probabilities": (0.31, 0.69),
        "interval": (0.2, 0.44),
        "possible": CLASSES,
        "coverage": 0.9,
        "operating_point": None,
        "novelty": NoveltyDistance(1.0, 2.0),
        "contributions": (),
        "from_image": 0.31,
        "neighbours": (),
        "missing": (),
        "unused": (),
        "warnings": (),
        "model": CLASSIFIER,
        "options": ClassifyOptions(),
    }
    return ClassPrediction(**{**values, **more})


def export(folder: Path, photograph: Path | None, reader: str = "") -> Any:
    path = folder.parent / "sr.dcm"
    write_photograph_report(path, read_exported_photograph(folder, photograph, reader))
    return highdicom.sr.srread(path)


def read_values(group: Any) -> dict[str, tuple[float, str]]:
    """Return the values with their UCUM units, by derivation and name."""
    return {
        " ".join([*([one.derivation.meaning] if one.derivation else []), one.name.meaning]): (one.value, one.unit.value)
        for one in group.get_measurements()
    }


def read_items(group: Any, name: Any) -> list[str]:
    items = [item for item in group[0].ContentSequence if item.name == name]
    return [item.value.meaning if item.ValueType == "CODE" else str(item.value) for item in items]


def read_comments(group: Any) -> list[str]:
    return read_items(group, codes.DCM.Comment)


def read_mask(document: Any, shape: tuple[int, int]) -> np.ndarray:
    rings = [group.roi.value[:, ::-1] for group in document.content.get_planar_roi_measurement_groups()]
    return rasterize_rings(rings, shape)


def test_a_report_has_the_outline_and_the_measurements_in_mm(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    result = analyze(photograph, phantom.mask)
    document = export(save_lesion(result, tmp_path / "mole"), photograph)
    image = pydicom.dcmread(photograph)
    assert (document.StudyInstanceUID, document.PatientID, document.Modality) == (image.StudyInstanceUID, "P7", "SR")
    assert (document.PreliminaryFlag, document.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    (evidence,) = document.CurrentRequestedProcedureEvidenceSequence
    (series,) = evidence.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    lesion = find_group(document, "lesion 1")
    assert lesion.roi.graphic_type.value == "POLYLINE"
    (reference,) = [item for item in lesion.roi.ContentSequence if item.ValueType == "IMAGE"]
    assert reference.referenced_sop_instance_uid == image.SOPInstanceUID
    assert np.array_equal(read_mask(document, result.mask.shape), result.mask)
    values, expected = read_values(lesion), result.measurements
    assert values["Area"] == (pytest.approx(expected["area_mm2"]), "mm2")
    assert values["Perimeter"] == (pytest.approx(expected["perimeter_mm"]), "mm")
    assert values["Maximum Diameter"] == (pytest.approx(expected["max_diameter_mm"]), "mm")
    assert values["Minimum Diameter"] == (pytest.approx(expected["min_diameter_mm"]), "mm")
    assert values["Solidity"] == (pytest.approx(expected["solidity"]), "1")
    assert (lesion.finding_type, lesion.finding_sites[0].value.meaning) == (codes.SCT.SkinLesion, "Back")
    assert read_items(lesion, codes.DCM.AlgorithmName) == ["lesion-small"]
    assert read_items(lesion, codes.DCM.AlgorithmVersion)
    assert read_items(lesion, codes.DCM.AlgorithmParameters) == [f"weights {'a' * 64}"]
    assert read_items(lesion, codes.DCM.PersonObserverName) == []
    comments = read_comments(find_group(document, "photograph"))
    assert NOTICE in comments
    assert "Scale: 50 µm per pixel (dicom)." in comments


@pytest.mark.parametrize(
    ("sop_class", "modality", "procedure"),
    [
        ("1.2.840.10008.5.1.4.1.1.77.1.4", "XC", "Photography of patient"),  # VL Photographic Image
        ("1.2.840.10008.5.1.4.1.1.77.1.7", "DMS", "Dermoscopic photography"),
    ],
)
def test_the_procedure_is_that_of_the_photograph(
    tmp_path: Path, phantom: Any, sop_class: str, modality: str, procedure: str
) -> None:
    path = write_photograph(tmp_path / "mole.dcm", phantom.rgb, SOPClassUID=sop_class, Modality=modality)
    document = export(save_lesion(analyze(path, phantom.mask), tmp_path / "mole"), path)
    (found,) = [item for item in document.content[0].ContentSequence if item.name == codes.DCM.ProcedureReported]
    assert found.value.meaning == procedure
    (group,) = document.content.get_planar_roi_measurement_groups()
    (reference,) = [item for item in group.roi.ContentSequence if item.ValueType == "IMAGE"]
    assert reference.referenced_sop_class_uid == sop_class


def test_without_a_scale_lengths_are_in_pixels(tmp_path: Path, phantom: Any) -> None:
    photograph = write_photograph(tmp_path / "mole.dcm", phantom.rgb)
    result = analyze(photograph, phantom.mask)
    document = export(save_lesion(result, tmp_path / "mole"), photograph)
    values = read_values(find_group(document, "lesion 1"))
    assert values["Area"] == (result.measurements["area_px"], "{pixels}")
    assert values["Maximum Diameter"] == (pytest.approx(result.measurements["max_diameter_px"]), "{pixels}")
    assert "The scale is unknown: lengths are in pixels." in read_comments(find_group(document, "photograph"))


def test_a_scale_set_by_hand_is_compared_with_the_image(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    result = analyze(photograph, phantom.mask, PixelSize(20.0, 20.0, "ruler"))
    document = export(save_lesion(result, tmp_path / "mole"), photograph)
    expected = "Scale: 20 µm per pixel (ruler). The image states 50."
    assert expected in read_comments(find_group(document, "photograph"))


def test_a_corrected_mask_with_holes_names_its_observer(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    mask = np.zeros_like(phantom.mask)
    mask[30:90, 40:120] = True
    mask[50:60, 60:80] = False
    mask[5:8, 5:9] = True  # a second part
    result = analyze(photograph, phantom.mask)
    corrected = remeasure(result, mask, result.options)
    folder = save_lesion(corrected, tmp_path / "mole")
    document = export(folder, photograph, "A. Möller")
    assert np.array_equal(read_mask(document, mask.shape), mask)
    lesion = find_group(document, "lesion 1")
    assert read_items(lesion, codes.DCM.PersonObserverName) == ["A. Möller^"]
    assert read_comments(lesion) == ["Mask corrected by hand."]
    origin = [one.value.meaning for one in lesion.get_qualitative_evaluations() if one.name.value == "origin"]
    assert origin == ["Detected by the model, outline refined by a reader"]
    unnamed = find_group(export(folder, photograph), "lesion 1")
    assert read_comments(unnamed)[-1] == "By a reader without a name."


def read_origin(group: Any) -> str:
    (found,) = [one.value.meaning for one in group.get_qualitative_evaluations() if one.name.value == "origin"]
    return str(found)


def test_lesions_that_a_model_proposed_are_of_no_reader(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    result = analyze(photograph, phantom.mask)
    model = replace(SEGMENTER, demonstration=True)  # which is not valid for this photograph
    proposed = {"model": asdict(model), "proposed": 1, "pixels": [[60, 80]]}
    result = replace(result, model=model, provenance={"prompts": proposed})
    lesion = find_group(export(save_lesion(result, tmp_path / "mole"), photograph, "A. Möller"), "lesion 1")
    assert read_items(lesion, codes.DCM.PersonObserverName) == []
    assert "Mask 1 lesion proposed by lesion-small." in read_comments(lesion)
    assert read_origin(lesion) == "Detected by the model"
    assert read_values(lesion) == {}, "the segmentation is not valid, and nobody has checked it"
    proposed["lesions"] = [{"include": [[60, 80]]}]
    clicked = replace(result, provenance={"prompts": proposed})
    lesion = find_group(export(save_lesion(clicked, tmp_path / "mole"), photograph, "A. Möller"), "lesion 1")
    assert read_items(lesion, codes.DCM.PersonObserverName) == ["A. Möller^"]
    assert read_origin(lesion) == "Segmented by the model from clicks or boxes"
    assert "Area" in read_values(lesion)


def test_a_drawn_mask_is_of_no_algorithm(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    result = analyze(photograph, phantom.mask)
    corrected = remeasure(result, phantom.mask, result.options)
    drawn = replace(corrected, provenance={"labels_layer": {"name": "mole", "labels": 1}})
    lesion = find_group(export(save_lesion(drawn, tmp_path / "mole"), photograph, "A. Möller"), "lesion 1")
    assert read_origin(lesion) == "Drawn by a reader or imported"
    assert read_items(lesion, codes.DCM.AlgorithmName) == []


def test_the_version_is_that_of_the_analysis(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    result = replace(analyze(photograph, phantom.mask), provenance={"version": "0.0.7"}, class_prediction=predict())
    document = export(save_lesion(result, tmp_path / "mole"), photograph)
    for name in ("lesion 1", "lesion 1, prediction"):
        assert read_items(find_group(document, name), codes.DCM.AlgorithmVersion) == ["0.0.7"]


def test_a_measurement_that_is_not_defined_is_left_out(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    result = analyze(photograph, np.ones_like(phantom.mask))  # without skin, from which the color would differ
    assert np.isnan(result.measurements["color_difference"])
    values = read_values(find_group(export(save_lesion(result, tmp_path / "mole"), photograph), "lesion 1"))
    (label,) = [one.label for one in MEASUREMENTS if one.name == "color_difference"]
    assert "Area" in values
    assert label not in values


def test_a_prediction_is_of_the_classifier_with_its_interval(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    result = replace(analyze(photograph, phantom.mask), class_prediction=predict())
    document = export(save_lesion(result, tmp_path / "mole"), photograph, "A. Möller")
    prediction = find_group(document, "lesion 1, prediction")
    assert read_values(prediction) == {
        "Probability of melanoma": (31.0, "%"),
        "Probability of nevus": (69.0, "%"),
    }
    (melanoma, _) = prediction.get_measurements()
    bounds = {
        item.name.meaning[0]: float(item.value) for item in melanoma[0].ContentSequence if item.ValueType == "NUM"
    }
    assert bounds == pytest.approx({"+": 13.0, "-": 11.0})
    possible = [one.value for one in prediction.get_qualitative_evaluations() if one.name.value == "possible-class"]
    assert possible[0] == codes.SCT.MalignantMelanoma
    assert [value.meaning for value in possible] == ["Malignant melanoma", "nevus"]
    assert read_items(prediction, codes.DCM.AlgorithmName) == ["melanoma-small"]
    assert read_items(prediction, codes.DCM.PersonObserverName) == []
    comments = read_comments(prediction)
    assert comments[:2] == [
        "No melanoma threshold in this model: melanoma 0.31, 0.20 to 0.44. Cannot be ruled out: melanoma, nevus 0.69.",
        "95 % interval of the probability: 0.20 to 0.44. The prediction set has 90 % coverage.",
    ]
    assert comments[-1] == NOTICE


def test_a_prediction_that_is_not_valid_has_no_values(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    invalid = predict(novelty=NoveltyDistance(3.0, 2.0), possible=("nevus",))
    result = replace(analyze(photograph, phantom.mask), class_prediction=invalid)
    prediction = find_group(export(save_lesion(result, tmp_path / "mole"), photograph), "lesion 1, prediction")
    assert read_values(prediction) == {}
    assert [one for one in prediction.get_qualitative_evaluations() if one.name.value == "possible-class"] == []
    first, notice = read_comments(prediction)
    assert first.startswith("Not valid: the image is out of distribution.")
    assert notice == NOTICE


def test_a_segmentation_that_is_not_valid_has_an_outline_without_values(
    tmp_path: Path, photograph: Path, phantom: Any
) -> None:
    result = analyze(photograph, phantom.mask)
    invalid = replace(result, model=replace(SEGMENTER, demonstration=True))
    document = export(save_lesion(invalid, tmp_path / "mole"), photograph)
    assert read_values(find_group(document, "lesion 1")) == {}
    assert read_values(find_group(document, "photograph")) == {}
    assert read_comments(find_group(document, "lesion 1"))[0].startswith("Not valid: ")
    corrected = remeasure(invalid, result.mask, result.options)  # a reader has checked the border
    document = export(save_lesion(corrected, tmp_path / "mole"), photograph)
    assert "Area" in read_values(find_group(document, "lesion 1"))


@pytest.mark.slow
def test_each_of_several_lesions_has_its_own_values(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    mask = np.zeros_like(phantom.mask)
    mask[10:60, 10:60] = mask[70:110, 100:150] = True
    mask[2, 150] = True  # a speck, which is not measured
    result = remeasure(analyze(photograph, phantom.mask), mask, LesionOptions())
    assert len(result.mask_parts) == 2
    first, second = predict(), predict(probabilities=(0.9, 0.1), possible=("melanoma",))
    result = replace(result, class_prediction=first, class_predictions=(first, second))
    document = export(save_lesion(result, tmp_path / "mole"), photograph)
    assert np.array_equal(read_mask(document, mask.shape), mask)
    areas = [read_values(find_group(document, f"lesion {number}"))["Area"][0] for number in (1, 2)]
    assert areas == pytest.approx([0.0025 * 2500, 0.0025 * 2000])
    assert read_values(find_group(document, "area 1")) == {}
    assert read_values(find_group(document, "lesion 2, prediction"))["Probability of melanoma"][0] == 90.0
    assert read_values(find_group(document, "photograph"))["Number of lesions"] == (2, "1")


def test_the_photograph_is_found_by_its_pixels(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    other = write_photograph(photograph.with_name("other.dcm"), phantom.rgb[::-1].copy())
    folder = save_lesion(analyze(photograph, phantom.mask), tmp_path / "mole")
    moved = photograph.rename(photograph.with_name("IM0001"))
    uid = pydicom.dcmread(moved, stop_before_pixels=True).StudyInstanceUID
    assert export(folder, photograph.parent).StudyInstanceUID == uid
    with pytest.raises(InputError, match=r"other\.dcm is not the photograph of mole: its pixels are others"):
        export(folder, other)
    moved.unlink()
    with pytest.raises(InputError, match="no DICOM photograph with the pixels of mole: searched 1 DICOM photograph"):
        export(folder, photograph.parent)


def test_a_photograph_that_is_no_dicom_file_is_an_error(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    folder = save_lesion(analyze(photograph, phantom.mask), tmp_path / "mole")
    write_rgb(tmp_path / "mole.png", phantom.rgb)
    with pytest.raises(InputError, match=r"mole\.png is not a DICOM photograph: .* Convert the photograph to DICOM"):
        export(folder, tmp_path / "mole.png")
    with pytest.raises(InputError, match=r"the photograph of mole is required, .* with --photographs"):
        export(folder, None)
    slide = write_level(tmp_path / "level0.dcm", 64, 64, 0.001)
    with pytest.raises(InputError, match=r"level0\.dcm is a whole slide"):
        export(folder, slide)


def test_a_header_without_identifiers_is_an_error(tmp_path: Path, phantom: Any) -> None:
    photograph = write_photograph(tmp_path / "mole.dcm", phantom.rgb, StudyInstanceUID=None)
    folder = save_lesion(analyze(photograph, phantom.mask), tmp_path / "mole")
    with pytest.raises(InputError, match=r"the header of mole\.dcm lacks StudyInstanceUID"):
        export(folder, photograph)


def test_a_photograph_without_a_lesion_has_nothing_to_export(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    folder = save_lesion(analyze(photograph, np.zeros_like(phantom.mask)), tmp_path / "mole")
    with pytest.raises(NothingToExportError, match="mole: there is no lesion to report"):
        export(folder, photograph)


def test_the_command_exports_a_folder_of_results(tmp_path: Path, photograph: Path, phantom: Any) -> None:
    save_lesion(analyze(photograph, phantom.mask), tmp_path / "results" / "mole")
    words = ["export", str(tmp_path / "results"), "--out", str(tmp_path / "out"), "--to", "dicom-sr,csv"]
    found = RUNNER.invoke(app, [*words, "--photographs", str(photograph.parent), "--reader", "A. Meyer"])
    assert found.exit_code == 0, found.output
    assert "1 file written" in found.output
    assert "--to csv does not export: expected --to dicom-sr" in " ".join(found.output.split())
    document = highdicom.sr.srread(tmp_path / "out" / "mole" / "measurements.dcm")
    assert find_group(document, "lesion 1")
