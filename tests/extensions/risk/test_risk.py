"""A risk from patch or slide, depth and patient: what it rests on, what stands beside it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from finding_files import write_depth
from pydantic import ValidationError

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.comparators import read_comparators
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import capitalize
from napari_melanoma.core.prediction_config import PreprocessingConfig
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings
from napari_melanoma.extensions.risk.batch import assess_risk_of_files
from napari_melanoma.extensions.risk.contributions import PARTS
from napari_melanoma.extensions.risk.inputs import find_risk_inputs, make_patch_case, read_slide_case
from napari_melanoma.extensions.risk.patches import PatchImage, cut_slide_patches, read_patch_image
from napari_melanoma.extensions.risk.prediction import RiskOptions, RiskPrediction
from napari_melanoma.extensions.risk.predictor import find_risk_model, predict_risk
from napari_melanoma.extensions.risk.slide_files import read_risk
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_table
from napari_melanoma.lesion.patient_data import PatientTable
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.depth_readings import KnownDepth
from napari_melanoma.slides.result_folder import record_slide

FORM = {"age": "64", "sex": "male", "depth_mm": "2.4", "clark": "4"}


@pytest.fixture(scope="module")
def loaded(info: BundleInfo) -> Classifier:
    return Classifier.load(info, "cpu")


@pytest.fixture
def picture(patches: Path) -> PatchImage:
    return PatchImage(read_photograph(patches / "p0.png").rgb, "patch", width_mm=3.0)


def options(model: Path, **more: object) -> RiskOptions:
    return RiskOptions.model_validate({"model": str(model), **more})


def requested(picture: PatchImage, form: dict[str, str], loaded: Classifier, **more: object) -> RiskPrediction:
    return predict_risk([picture], make_patch_case(form), loaded, options(loaded.info.path, **more))


def test_the_prediction_is_the_networks_and_within_its_interval(picture: PatchImage, loaded: Classifier) -> None:
    answer = requested(picture, FORM, loaded)
    looked = loaded.run_encoder([loaded.crop_image(picture.rgb, None)])
    expected = loaded.calibration.probabilities(loaded.run_head(looked, [FORM]))[0, 1]
    assert answer.probability == pytest.approx(float(expected))
    assert answer.interval is not None
    assert answer.interval[0] <= answer.probability <= answer.interval[1]
    assert answer.risk_text.startswith(f"risk of metastasis {answer.probability:.2f} (95 % interval ")


def test_patches_are_stain_normalized_as_in_training(picture: PatchImage, loaded: Classifier) -> None:
    preprocessing = PreprocessingConfig(stain="histogram")
    config = loaded.info.config.model_copy(update={"preprocessing": preprocessing})
    model = Classifier(replace(loaded.info, config=config), loaded.network)
    normalized = PatchImage(prepare_network_input(picture.rgb, 64, preprocessing), "patch", width_mm=3.0)
    answer = requested(picture, FORM, model)
    assert answer.probability == pytest.approx(requested(normalized, FORM, loaded).probability)
    assert answer.probability != requested(picture, FORM, loaded).probability


def test_headline_states_the_single_possible_class(picture: PatchImage, loaded: Classifier) -> None:
    answer = requested(picture, FORM, loaded)
    answer = replace(answer, probability=0.4)  # below 0.5, so that a set without the other cases is not shown
    for possible, message in {
        (
            loaded.info.config.classes[0],
        ): f"R{answer.risk_text[1:]}; at most 10 of 100 metastasis cases have such a low probability",
        ("metastasis",): "Inconclusive: risk of metastasis 0.40",
        tuple(loaded.info.config.classes): "Inconclusive: risk of metastasis",
    }.items():
        assert replace(answer, possible=possible).headline.startswith(message)
    likely = replace(answer, probability=0.81)  # a set without the more probable metastasis is not shown either
    assert replace(likely, possible=(loaded.info.config.classes[0],)).headline.startswith("Inconclusive: risk of")
    assert replace(likely, possible=("metastasis",)).headline == capitalize(likely.risk_text)


def test_contributions_sum_to_the_prediction(picture: PatchImage, loaded: Classifier) -> None:
    answer = requested(picture, FORM, loaded)
    assert answer.shares is not None
    assert answer.without is not None
    assert {*answer.shares} == {*PARTS}
    assert answer.without + sum(answer.shares.values()) == pytest.approx(answer.probability, abs=1e-5)
    assert min(abs(share) for share in answer.shares.values()) > 1e-6


def test_empty_patient_data_have_no_contribution(picture: PatchImage, loaded: Classifier) -> None:
    answer = requested(picture, {}, loaded)
    assert answer.shares is not None
    assert answer.shares["patient"] == pytest.approx(0, abs=1e-7)
    assert answer.missing == ("age", "depth_mm", "sex")
    assert answer.depth.source == "predicted"
    assert answer.depth.mm == pytest.approx(answer.patches[0].depth_mm)
    assert answer.depth.interval_mm is not None
    assert answer.depth.interval_mm[0] <= answer.depth.mm <= answer.depth.interval_mm[1]
    assert "predicted by the network from the image" in answer.depth.description


def test_a_measured_depth_changes_the_prediction_and_is_listed(picture: PatchImage, loaded: Classifier) -> None:
    thin, thick = (requested(picture, {**FORM, "depth_mm": mm}, loaded) for mm in ("0.3", "5"))
    assert thin.probability != pytest.approx(thick.probability, abs=1e-4)
    assert thick.depth == KnownDepth(5.0, "metadata")
    assert thick.depth.description == "depth 5.00 mm, from the patient table"


def test_depth_clark_and_image_are_comparators(picture: PatchImage, loaded: Classifier) -> None:
    thin, thick = (requested(picture, {**FORM, "depth_mm": mm}, loaded) for mm in ("0.3", "5"))
    low, high = (one.comparators["breslow"].probability for one in (thin, thick))
    assert low is not None
    assert high is not None
    assert low < 0.4 < 0.8 < high
    assert thin.comparators["image"].probability == thick.comparators["image"].probability
    assert "Breslow thickness alone" in thin.comparisons_text
    without = requested(picture, {"age": "64"}, loaded)
    assert (without.comparators["breslow"].probability, without.comparators["breslow"].why) == (
        None,
        "depth_mm is unknown",
    )
    assert without.comparators["clark"].why == "clark is unknown"


def test_patches_are_averaged_or_the_worst_counts(patches: Path, loaded: Classifier) -> None:
    pictures = [PatchImage(read_photograph(patches / f"p{n}.png").rgb, "patch") for n in range(3)]
    known = make_patch_case(FORM)
    mean, most = (
        predict_risk(pictures, known, loaded, options(loaded.info.path, pool=how)) for how in ("mean", "maximum")
    )
    each = [one.probability for one in mean.patches]
    assert mean.probability == pytest.approx(np.mean(each))
    assert most.probability == pytest.approx(max(each))
    for answer in (mean, most):
        assert answer.shares is not None
        assert answer.without is not None
        assert answer.without + sum(answer.shares.values()) == pytest.approx(answer.probability, abs=1e-5)


def test_a_risk_without_reference_cases_is_not_valid(
    picture: PatchImage, tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    info = find_risk_model(str(write_model(tmp_path / "bare", reference=False, comparators=False)))
    answer = requested(picture, FORM, Classifier.load(info, "cpu"))
    assert (answer.interval, answer.shares, answer.contributions_text, answer.comparisons_text) == (None, None, "", "")
    assert answer.headline.startswith("Not valid: the error is unknown.")


def test_a_model_of_something_else_is_refused(tmp_path: Path, write_model: Callable[..., Path]) -> None:
    folder = write_model(tmp_path / "other", positive="melanoma")
    with pytest.raises(BundleError, match=r"predicts melanoma: expected a classifier .* metastasis.*risk-small"):
        find_risk_model(str(folder))
    with pytest.raises(BundleError, match="predicts segmentation"):
        find_risk_model("lesion-small")


def test_the_prediction_is_valid_json_and_names_no_folder(picture: PatchImage, loaded: Classifier) -> None:
    reported = json.loads(json.dumps(requested(picture, FORM, loaded).to_json()))
    assert reported["notice"].startswith("Research use only")
    assert reported["options"]["model"] == "tiny-risk"
    assert str(loaded.info.path) not in json.dumps(reported)
    assert reported["provenance"]["program"] == "napari-melanoma"
    assert reported["comparators"]["clark"]["probability"] is not None


def test_unknown_word_gives_a_warning(picture: PatchImage, loaded: Classifier) -> None:
    answer = requested(picture, {**FORM, "sex": "x"}, loaded)
    assert any("sex: unknown value 'x'" in one for one in answer.warnings)
    assert "sex" in answer.missing


def test_values_that_no_reader_has_confirmed_are_named(picture: PatchImage, loaded: Classifier) -> None:
    case = replace(make_patch_case(FORM), predicted=("clark", "ulceration"))  # the model does not use ulceration
    answer = predict_risk([picture], case, loaded, options(loaded.info.path))
    assert "clark: predicted by the analysis of the slide, not confirmed by a reader" in answer.warnings


def test_a_patch_of_another_width_is_refused(patches: Path, model: Path) -> None:
    with pytest.raises(InputError, match=r"p0.png is 0.10 mm wide or high according to mpp_y or --mpp.*3 mm"):
        read_patch_image(patches / "p0.png", {"mpp_x": "1", "mpp_y": "1"}, options(model))
    assert read_patch_image(patches / "p0.png", {"mpp_x": "31", "mpp_y": "31"}, options(model)).box is None


def reading(mm: float, reader: str, when: str, **more: object) -> DepthReading:
    line = ((200.0, 700.0), (500.0, 700.0))
    return DepthReading.model_validate({"mm": mm, "reader": reader, "when": when, "line": line, **more})


def result(folder: Path, **more: object) -> Path:
    candidate = {"surface": [200, 700], "deepest": [440, 700], "mm": 1.2, "interval_mm": [1.0, 1.4], "at_least": False}
    depth = {"candidates": [candidate], "notes": [], "ulceration": True, "clark_estimate": 3}
    content = {"breslow_mm": 1.2, "breslow_interval_mm": [1.0, 1.4], "depth": depth, "validity": {"valid": True}}
    write_json(folder / "result.json", {**content, **more})
    return folder


def test_a_readers_depth_counts_before_the_analysis_and_that_before_the_table(tmp_path: Path) -> None:
    own = result(tmp_path / "section")
    assert read_slide_case(tmp_path / "none", FORM, None).depth == KnownDepth(2.4, "metadata")
    found = read_slide_case(own, FORM, None)
    assert found.depth == KnownDepth(1.2, "automatic", (1.0, 1.4))
    assert (found.row["depth_mm"], found.row["ulceration"], found.row["clark"]) == ("1.2", "1", "4")
    assert found.predicted == ("ulceration",)  # Clark level is from the table
    readings = (reading(1.8, "A", "2026-01-01T10:00:00", ulcerated=False), reading(2.0, "B", "2026-02-01T10:00:00"))
    write_depth(own, SlideDepthReadings(readings=readings))
    latest = read_slide_case(own, FORM, None)
    assert (latest.depth.mm, latest.depth.reader, latest.row["ulceration"]) == (2.0, "B", "1")
    first = read_slide_case(own, FORM, "A")
    assert read_slide_case(own, FORM, " a") == first, "another spelling of the name"
    assert (latest.predicted, first.predicted) == (("ulceration",), ())
    assert (first.depth.description, first.row["ulceration"]) == ("depth 1.80 mm, measured by A", "0")
    assert first.lines[0] == readings[0].line
    with pytest.raises(InputError, match=r"no reading by 'C' \(readings by: 'A', 'B'\)"):
        read_slide_case(own, FORM, "C")


def test_reading_overrides_an_analysis_that_is_not_valid(tmp_path: Path) -> None:
    found = {
        "candidates": [],
        "notes": ["no invasive tumor was found in section 1"],
        "ulceration": True,
        "clark_estimate": 3,
    }
    demo = ValidityInputs("skin-test", demonstration=True).check().to_json()
    own = result(tmp_path / "section", breslow_mm=None, depth={**found, "validity": demo}, validity=demo)
    write_depth(own, SlideDepthReadings(readings=(reading(0.4, "A", "2026-01-01T10:00:00"),)))
    known = read_slide_case(own, {}, None)
    assert (known.depth.mm, known.notes, known.row, known.validity.valid) == (0.4, (), {"depth_mm": "0.4"}, True)


def test_positions_of_an_analysis_that_is_not_valid_are_not_used_beside_a_reading(tmp_path: Path) -> None:
    unlike = ValidityInputs("skin-test", distance=2.0, limit=1.0).check().to_json()
    candidate = {"surface": [200, 700], "deepest": [440, 700], "mm": 1.2}
    lesion = {"label": "melanoma", "seed_row_px": 900, "seed_column_px": 300}
    more = {"depth": {"candidates": [candidate], "notes": []}, "validity": unlike, "lesions": [lesion]}
    own = result(tmp_path / "section", **more)
    without = read_slide_case(own, {}, None)
    assert (without.validity.valid, len(without.lines), without.analysis["lesions"]) == (False, 1, [lesion])
    write_depth(own, SlideDepthReadings(readings=(reading(0.4, "A", "2026-01-01T10:00:00"),)))
    known = read_slide_case(own, {}, None)
    assert (known.validity.valid, len(known.lines), known.analysis) == (True, 1, {})
    assert read_risk(own).n_patches == 1


def test_an_input_is_assessed_once_however_it_is_named(
    patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(patches.parent)
    names = [f"{patches.name}/p0.png", str(patches / "p0.png"), f"{patches.name}/../{patches.name}/p0.png"]
    assert find_risk_inputs([*names, f"{patches.name}/p0*", str(patches)]) == [
        Path(names[0]),
        *(patches / f"p{number}.png" for number in (1, 2)),
    ]


def test_no_depth_is_predicted_from_patches_of_all_tissue(picture: PatchImage, loaded: Classifier) -> None:
    case = make_patch_case({})
    at_deepest = predict_risk([picture], case, loaded, options(loaded.info.path))
    assert at_deepest.depth.source == "predicted"
    tissue = [replace(picture, description="tissue"), replace(picture, description="tissue", rgb=picture.rgb[::-1])]
    for order in (tissue, tissue[::-1]):
        found = predict_risk(order, case, loaded, options(loaded.info.path))
        assert (found.depth.mm, found.depth.source) == (None, "unknown")


def test_patches_are_extracted_at_the_deepest_positions(slide: Path, tmp_path: Path, model: Path) -> None:
    own = result(tmp_path / "section")
    known = read_slide_case(own, {}, None)
    (patch,) = cut_slide_patches(slide, known.lines, {}, options(model))
    assert patch.box is not None
    assert (patch.box.top, patch.box.left) == (200 - 40, 700 - 300)  # 0.2 mm above the surface, 3 mm wide
    assert (patch.box.height, patch.box.width, patch.rgb.shape) == (600, 600, (600, 600, 3))
    content = {"lesions": [{"label": "benign", "seed_row_px": 900, "seed_column_px": 300}], "validity": {"valid": True}}
    with pytest.raises(InputError, match="no tumor found"):
        cut_slide_patches(slide, (), content, options(model))
    content["lesions"][0]["label"] = "melanoma"
    assert [one.description for one in cut_slide_patches(slide, (), content, options(model))] == ["lesion"]


def test_patches_of_pixels_that_are_not_square_have_the_stated_size(slide: Path, tmp_path: Path, model: Path) -> None:
    known = read_slide_case(result(tmp_path / "section"), {}, None)
    stated = options(model, mpp=5.0, mpp_y=10.0)
    (patch,) = cut_slide_patches(slide, known.lines, {}, stated)
    assert patch.box is not None
    assert (patch.box.height, patch.box.width) == (300, 600)  # 3 mm
    with pytest.raises(ValidationError, match="set mpp, too"):
        options(model, mpp_y=10.0)


@pytest.mark.slow
def test_patches_of_all_tissue_need_no_depth(model: Path, tmp_path: Path) -> None:
    section = np.full((900, 1600, 3), 245, np.uint8)
    rng = np.random.default_rng(0)
    section[200:700, 100:1500] = rng.integers((150, 60, 120), (210, 120, 180), (500, 1400, 3))
    path = tmp_path / "section.tif"
    tifffile.imwrite(path, section, tile=(256, 256), resolution=(2000, 2000), resolutionunit="CENTIMETER")  # 5 um
    found = cut_slide_patches(path, (), {}, options(model, cover="tissue"))
    assert len(found) == 3  # 7 mm wide, 2.5 mm high
    assert {one.description for one in found} == {"tissue"}
    assert all(one.width_mm == pytest.approx(3.0, abs=0.01) for one in found)
    tifffile.imwrite(
        tmp_path / "glass.tif",
        np.full_like(section, 245),
        tile=(256, 256),
        resolution=(2000, 2000),
        resolutionunit="CENTIMETER",
    )
    with pytest.raises(InputError, match="no tissue was found"):
        cut_slide_patches(tmp_path / "glass.tif", (), {}, options(model, cover="tissue"))


def test_many_files_become_a_table_despite_a_bad_one(patches: Path, slide: Path, model: Path, tmp_path: Path) -> None:
    record_slide(result(tmp_path / "out" / "section"), slide)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age,sex,depth_mm,clark\np0,64,male,2.4,IV\nsection,50,female,,\n", encoding="utf-8")
    paths = [patches / "p0.png", bad, slide]
    done = assess_risk_of_files(paths, tmp_path / "out", options(model), PatientTable({}, table), run=RunContext())
    assert (done.done, done.failed) == (2, 1)
    rows = {row["case"]: row for row in read_table(done.table)}
    assert rows["bad"]["status"] == "failed"
    assert rows["bad"]["error"] != ""
    assert (rows["p0"]["depth_from"], rows["section"]["depth_from"]) == ("metadata", "automatic")
    assert float(rows["section"]["depth_low_mm"]) == 1.0
    assert 0 <= float(rows["p0"]["probability_low"]) <= float(rows["p0"]["probability"]) <= 1
    assert rows["p0"]["probability_clark_alone"] != ""
    reported = json.loads((tmp_path / "out/section/risk.json").read_text(encoding="utf-8"))
    assert reported["patches"][0]["box"] == [160, 400, 600, 600]
    assert (tmp_path / "out/p0/risk.json").is_file()


def test_patch_and_slide_of_the_same_name_have_separate_folders(
    patches: Path, slide: Path, model: Path, tmp_path: Path
) -> None:
    patch, metadata = tmp_path / f"{slide.stem}.png", PatientTable({})
    patch.write_bytes((patches / "p0.png").read_bytes())
    unavailable = options(model, slide_model="none")  # so that the slide is not analyzed
    found = assess_risk_of_files([patch, slide], tmp_path / "new", unavailable, metadata, run=RunContext())
    assert found.outcomes[0].name == "section"
    assert found.outcomes[1].name.startswith("section-")
    record_slide(result(tmp_path / "analyzed" / "section"), slide)
    found = assess_risk_of_files([patch, slide], tmp_path / "analyzed", options(model), metadata, run=RunContext())
    assert found.outcomes[0].name.startswith("section-")
    assert found.outcomes[1].name == "section"


def test_a_patch_of_the_same_name_in_a_later_call_replaces_no_other(patches: Path, model: Path, tmp_path: Path) -> None:
    for folder, name in (("first", "p0"), ("second", "p1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes((patches / f"{name}.png").read_bytes())

    def assess(folder: str) -> dict[str, str]:
        path = tmp_path / folder / "a.png"
        table = assess_risk_of_files([path], tmp_path / "out", options(model), PatientTable({}), run=RunContext()).table
        return {row["case"]: row["probability"] for row in read_table(table)}

    first, both = assess("first"), assess("second")
    assert len(both) == 2
    assert both["a"] == first["a"]
    assert assess("first") == both


@pytest.mark.slow
def test_a_slide_that_was_not_analyzed_needs_a_model_that_detects_the_tumor(
    slide: Path, model: Path, tmp_path: Path
) -> None:
    found = assess_risk_of_files([slide], tmp_path, options(model), PatientTable({}), run=RunContext())
    assert "name a model that detects the tumor with --slide-model" in found.outcomes[0].error
    over_tissue = options(model, cover="tissue")
    found = assess_risk_of_files([slide], tmp_path, over_tissue, PatientTable({}), run=RunContext())
    assert "--slide-model" not in found.outcomes[0].error


def test_comparators_are_restored_and_a_damaged_file_is_reported(
    model: Path, tmp_path: Path, write_model: Callable[..., Path]
) -> None:
    assert {*read_comparators(model).table} == {"breslow", "clark"}
    assert read_comparators(tmp_path).image is None
    folder = write_model(tmp_path / "damaged")
    (folder / "comparators.json").write_text("{", encoding="utf-8")
    with pytest.raises(BundleError, match="cannot read"):
        read_comparators(folder)
