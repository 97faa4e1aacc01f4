"""Tissue classifiers fitted on a phantom slide, their bundles, and their maps in slide analyses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from painted_phantoms import BRESLOW_MM, CLASSES, PURE, Phantom, draw_phantom

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import parse_proposals
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import OUTLINES
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.models.bundle import CARD, CONFIG, BundleInfo, load_network, read_bundle
from napari_melanoma.models.installed_bundles import check_usable, find_bundle, install_bundle
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.depth import describe_depth
from napari_melanoma.slides.maps import smooth_map
from napari_melanoma.slides.model_loading import LoadOptions, load_slide_model
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.results import describe_prediction, measure_class_areas
from napari_melanoma.slides.slide_table import SlideStatus, status_to_row
from napari_melanoma.slides.tissue_classifier.bundle import load_tissue_passes, map_tissue, write_tissue_bundle
from napari_melanoma.slides.tissue_classifier.cells import list_cells
from napari_melanoma.slides.tissue_classifier.classifier import (
    PaintedSlideFile,
    TissueClassifier,
    TissueFitOptions,
    choose_roles,
    fit_tissue_classifier,
    guess_roles,
)
from napari_melanoma.slides.tissue_classifier.feature_sources import TextureFeatures, open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

pytestmark = pytest.mark.slow  # renders a slide and computes its features: 5 s
OPTIONS = TissueFitOptions(sources=("texture",), kinds=("nearest_mean", "logistic"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return draw_phantom(tmp_path_factory.mktemp("phantom") / "skin.tif")


@pytest.fixture(scope="module")
def classifier(phantom: Phantom) -> TissueClassifier:
    return fit_tissue_classifier([phantom.painted()], OPTIONS)


@pytest.fixture
def bundle(classifier: TissueClassifier, tmp_path: Path) -> BundleInfo:
    return write_tissue_bundle(tmp_path / "skin layers", classifier)


@pytest.fixture(scope="module")
def features(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlideFeatures]:
    with open_slide(phantom.path) as slide:
        stored = SlideFeatures.open(slide, TextureFeatures(), tmp_path_factory.mktemp("features"))
        stored.compute(stored.tissue_blocks, RunContext())
        yield stored


def predict_map(classifier: TissueClassifier, features: SlideFeatures) -> np.ndarray:
    """The map of the dock: probabilities of all cells, float (class, row, column), NaN where unknown."""
    rows, columns = features.grid.shape
    values = features.read(list_cells(features.grid.cells_in(whole(features))))
    probability = np.full((len(values), len(classifier.classes)), np.nan, np.float32)
    known = np.isfinite(values).all(axis=1)
    probability[known] = classifier.predict(values[known])
    return np.moveaxis(probability.reshape(rows, columns, -1), 2, 0)


def whole(features: SlideFeatures) -> object:
    from napari_melanoma.core.geometry import Box

    place, (rows, columns) = features.grid.placement, features.grid.shape
    return Box(0, 0, int(rows * place.step_y), int(columns * place.step_x))


def test_a_few_strokes_classify_the_rest_of_a_slide(
    phantom: Phantom, classifier: TissueClassifier, features: SlideFeatures
) -> None:
    probability = predict_map(classifier, features)
    truth = phantom.truth[: probability.shape[1], : probability.shape[2]]
    pure = (truth.max(axis=-1) >= PURE) & np.isfinite(probability[0])
    predicted, expected = probability.argmax(axis=0)[pure], truth.argmax(axis=-1)[pure]
    recall = [(predicted[expected == label] == label).mean() for label in range(len(CLASSES))]
    assert np.mean(recall) > 0.9
    assert classifier.validation.accuracy is not None
    assert classifier.validation.accuracy.mean == pytest.approx(np.mean(recall), abs=0.12)


def test_the_classifier_does_not_depend_on_the_order_of_strokes(phantom: Phantom, classifier: TissueClassifier) -> None:
    painted = phantom.painted()
    again = fit_tissue_classifier([replace(painted, strokes=painted.strokes[::-1])], OPTIONS)
    assert again.cell_classifier.temperature == classifier.cell_classifier.temperature
    for name, array in classifier.cell_classifier.arrays.items():
        np.testing.assert_array_equal(again.cell_classifier.arrays[name], array)


@pytest.mark.parametrize(("smoothing", "min_cells"), [(0.0, 4), (1.0, 30)])
def test_a_slide_analysis_gives_the_map_of_the_dock(
    phantom: Phantom,
    classifier: TissueClassifier,
    features: SlideFeatures,
    tmp_path: Path,
    smoothing: float,
    min_cells: int,
) -> None:
    bundle = write_tissue_bundle(
        tmp_path / "smooth", replace(classifier, smoothing=smoothing, min_region_cells=min_cells)
    )
    outcome = analyze_slide(phantom.path, tmp_path / "result", SlideOptions(model=str(bundle.path)), RunContext())
    stored = SlideResult.open(tmp_path / "result").array("map")[:] / 255
    with open_slide(phantom.path) as slide:
        in_memory = map_tissue(slide, bundle, RunContext())
    np.testing.assert_allclose(np.nan_to_num(in_memory.probability), stored, atol=1 / 255)
    expected = predict_map(classifier, features)
    known = stored.any(axis=0) & np.isfinite(expected[0])
    assert known.sum() > 0.5 * known.size
    if smoothing:
        expected = smooth_map(expected, smoothing)
        known[:] = False
        known[8:24, 8:24] = True  # far from cells that only one of them has predicted
    np.testing.assert_allclose(stored[:, known], expected[:, known], atol=(1 if not smoothing else 2) / 255)
    if not smoothing:  # which removes the epidermis, a cell thick
        assert outcome.content["breslow_mm"] == pytest.approx(BRESLOW_MM, abs=0.12)
    assert outcome.content["target"] == "tumor"
    assert outcome.content["validity"]["valid"]
    regions = read_geojson(tmp_path / "result" / "classes.geojson").annotations
    assert min(region.measurements["area_mm2"] for region in regions) >= min_cells * 0.999 * 0.032**2


def test_a_map_in_memory_has_the_areas_of_an_analysis_also_of_cells_at_the_end_of_the_slide(
    phantom: Phantom, bundle: BundleInfo, tmp_path: Path
) -> None:
    pixels = tifffile.imread(phantom.path)[:773, :1509]  # the last cells are cut
    options = {"resolution": (10_000, 10_000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "cut.tif", pixels, tile=(256, 256), **options)
    outcome = analyze_slide(
        tmp_path / "cut.tif", tmp_path / "result", SlideOptions(model=str(bundle.path)), RunContext()
    )
    with open_slide(tmp_path / "cut.tif") as slide:
        areas = measure_class_areas(map_tissue(slide, bundle, RunContext()), bundle.config.classes)
    stored = {name: area["percent"] for name, area in outcome.content["areas"].items()}
    assert {name: area["percent"] for name, area in areas.items()} == pytest.approx(stored, abs=0.05)


def test_a_map_in_memory_needs_no_torch(phantom: Phantom, bundle: BundleInfo) -> None:
    content = json.loads((bundle.path / CONFIG).read_text())
    content["tissue"]["source"] = "texture+uni"
    (bundle.path / CONFIG).write_text(json.dumps(content))
    with open_slide(phantom.path) as slide, pytest.raises(BundleError, match=r"'texture\+uni', which need torch. Open"):
        map_tissue(slide, read_bundle(bundle.path), RunContext())


def test_a_bundle_gives_the_same_predictions_after_reloading(
    bundle: BundleInfo, classifier: TissueClassifier, features: SlideFeatures
) -> None:
    passes = load_tissue_passes(read_bundle(bundle.path))
    cells = features.read(list_cells(features.grid.cells_of((1, 1))))
    tiles = np.random.default_rng(0).integers(0, 255, (1, 704, 704, 3), np.uint8)
    outputs = passes.run(tiles, 1)
    expected = classifier.predict(TextureFeatures().compute(tiles).reshape(-1, classifier.features))
    dense = np.moveaxis(np.asarray(outputs["dense"])[0], 0, -1).reshape(-1, len(CLASSES))
    np.testing.assert_array_equal(dense, np.rint(255 * expected))
    assert passes.novelty is not None
    assert classifier.novelty is not None
    np.testing.assert_array_equal(
        passes.novelty.is_out_of_distribution(cells), classifier.novelty.is_out_of_distribution(cells)
    )


def test_a_slide_of_another_kind_is_out_of_distribution(phantom: Phantom, bundle: BundleInfo, tmp_path: Path) -> None:
    model = load_slide_model(str(bundle.path), LoadOptions())
    noise = np.random.default_rng(0).integers(0, 255, (1, 704, 704, 3), np.uint8)
    assert model.novelty is not None
    share = model.novelty(noise)
    assert share is not None
    assert share > 0.9
    assert model.novelty(noise[:0]) is None


def test_the_bundle_is_found_installed_and_described(bundle: BundleInfo, user_folders: object) -> None:
    assert (bundle.name, bundle.config.classes, bundle.config.is_slide_model) == ("skin-layers", tuple(CLASSES), True)
    installed = install_bundle(check_usable(read_bundle(bundle.path)))
    assert find_bundle("skin-layers").fingerprint == installed.fingerprint == bundle.fingerprint
    card = (bundle.path / CARD).read_text()
    assert "| epidermis | 4 | 8 | 100 % |" in card
    assert "| texture | logistic regression | " in card
    assert "skin.tif" not in card
    assert bundle.config.provenance["painted"]["slides"] == 1
    assert bundle.config.tissue is not None
    assert bundle.config.tissue.colors == CLASSES
    with pytest.raises(BundleError, match="has no network of its own"):
        load_network(bundle)
    with pytest.raises(BundleError, match="has no encoder"):
        load_slide_model("encoder:skin-layers", LoadOptions())


def test_names_of_slides_are_stated_only_if_the_user_agrees(classifier: TissueClassifier, tmp_path: Path) -> None:
    bundle = write_tissue_bundle(tmp_path / "b", classifier, "Layers of the skin", ("skin.tif",))
    card = (bundle.path / CARD).read_text()
    assert "Painted on 1 slide: skin.tif. " in card
    assert bundle.config.title == "Layers of the skin"


ROLES = {"tumor": "tumor", "epidermis": "epidermis", "background": "glass"}
IN_GERMAN = {"glass": "Leer", "dermis": "Dermis", "epidermis": "Oberhaut", "tumor": "Metastase"}


def test_lesions_and_depth_follow_the_roles_of_the_classes(
    phantom: Phantom, classifier: TissueClassifier, tmp_path: Path
) -> None:
    assert classifier.roles == ROLES
    german = fit_tissue_classifier(
        [replace(phantom.painted(), strokes=tuple(translate(one) for one in phantom.strokes(5)), classes={})],
        OPTIONS.model_copy(update={"roles": {role: IN_GERMAN[name] for role, name in ROLES.items()}}),
    )
    content, same = (analyze(phantom, one, tmp_path) for one in (classifier, german))
    assert (content["target"], same["target"]) == ("tumor", "Metastase")
    assert same["breslow_mm"] == content["breslow_mm"] == pytest.approx(BRESLOW_MM, abs=0.12)
    assert content["depth"]["validity"]["valid"]
    caution = content["depth"]["validity"]["reasons"][-1]
    assert (caution["code"], caution["severity"]) == ("painted", "caution")
    assert describe_depth(content).startswith("Breslow thickness 0.")
    proposals = parse_proposals(content)
    assert len(proposals.proposals) >= 1
    assert not read_findings(tmp_path / "result").readings  # a suggestion is no reading
    assert describe_prediction(content).startswith("glass 1.")
    assert content["probability"] is None


def translate(stroke: Stroke) -> Stroke:
    return replace(stroke, class_name=IN_GERMAN[stroke.class_name])


def analyze(phantom: Phantom, classifier: TissueClassifier, folder: Path) -> dict[str, Any]:
    bundle = write_tissue_bundle(folder / "model", classifier)
    options = SlideOptions(model=str(bundle.path))
    return analyze_slide(phantom.path, folder / "result", options, RunContext(), force=True).content


def test_a_classifier_without_a_tumor_detects_no_lesions(
    phantom: Phantom, classifier: TissueClassifier, tmp_path: Path
) -> None:
    content = analyze(phantom, replace(classifier, roles={"epidermis": "epidermis"}), tmp_path)
    assert (content["target"], content["lesions"], content["depth"]) == (None, [], None)
    assert not (tmp_path / "result" / OUTLINES).exists()
    row = status_to_row(SlideStatus(phantom.path, tmp_path / "result", "done", content))
    assert row["area_mm2_tumor"] == content["areas"]["tumor"]["mm2"]
    assert row["lesions"] is row["lesions_malignant"] is None  # not looked for
    without = analyze(phantom, replace(classifier, roles={"tumor": "tumor"}), tmp_path)
    assert without["breslow_mm"] is None
    assert without["depth"]["notes"][0].startswith("the tissue classifier has no class for epidermis and background, ")


@pytest.mark.parametrize(
    ("selected", "expected"),
    [({}, ROLES), ({"tumor": ""}, {"epidermis": "epidermis", "background": "glass"})],
)
def test_roles_are_selected_or_follow_from_names(selected: dict[Any, str], expected: dict[str, str]) -> None:
    assert choose_roles(tuple(CLASSES), selected) == expected
    assert guess_roles(("Melanom", "Épiderme", "Glas", "Nävus", "tumor stroma")) == {
        "tumor": "Melanom",
        "epidermis": "Épiderme",
        "background": "Glas",
        "nevus": "Nävus",
    }
    with pytest.raises(InputError, match="'fat' is the class of role 'tumor', but painted are glass, dermis"):
        choose_roles(tuple(CLASSES), {"tumor": "fat"})
    with pytest.raises(InputError, match="at most one role"):
        choose_roles(tuple(CLASSES), {"nevus": "tumor"})


def change_config(bundle: BundleInfo, **values: object) -> BundleInfo:
    content = json.loads((bundle.path / CONFIG).read_text())
    content["tissue"] |= values
    (bundle.path / CONFIG).write_text(json.dumps(content))
    return read_bundle(bundle.path)


def test_other_features_are_refused(bundle: BundleInfo) -> None:
    changed = change_config(bundle, fingerprint="0" * 64)
    found = open_feature_source("texture").fingerprint[:12]
    with pytest.raises(BundleError, match=f"features 'texture' 000000000000, but found {found}. Select the encoder's"):
        load_slide_model(str(changed.path), LoadOptions())
    changed = change_config(bundle, source="unknown-encoder")
    with pytest.raises(BundleError, match="'skin-layers' requires the features 'unknown-encoder': "):
        load_slide_model(str(changed.path), LoadOptions())


def test_damaged_bundles_are_refused(bundle: BundleInfo, classifier: TissueClassifier, tmp_path: Path) -> None:
    damaged_arrays = replace(classifier.cell_classifier, bias=np.array([np.nan, 0, 0, 0]))  # type: ignore[call-arg]
    damaged = write_tissue_bundle(tmp_path / "nan", replace(classifier, cell_classifier=damaged_arrays))
    with pytest.raises(BundleError, match="is NaN or infinite"):
        load_tissue_passes(damaged)
    shutil.copyfile(write_tissue_bundle(tmp_path / "x", classifier).path / CONFIG, tmp_path / "config.json")
    with pytest.raises(BundleError, match="do not fit"):
        load_tissue_passes(change_config(bundle, features=12, fingerprint=TextureFeatures.fingerprint))


def test_predictions_depend_on_temperature_and_smoothing(bundle: BundleInfo) -> None:
    before = bundle.prediction_fingerprint()
    assert change_config(bundle, colors={}).prediction_fingerprint() == before
    assert change_config(bundle, smoothing=1.0).prediction_fingerprint() != before


def test_all_shipped_features_are_compared(phantom: Phantom, tmp_path: Path) -> None:
    fitted = fit_tissue_classifier([phantom.painted(4)], TissueFitOptions(kinds=("logistic",)))
    accuracies = {one.source: one.accuracy for one in fitted.candidates}
    assert list(accuracies) == ["imagenet", "texture", "imagenet+texture"]
    assert all(one is not None and one.mean > 0.8 for one in accuracies.values())
    bundle = write_tissue_bundle(tmp_path / "best", fitted)
    passes = load_tissue_passes(bundle)
    white = np.full((1, 704, 704, 3), 255, np.uint8)
    assert np.asarray(passes.run(white, 1)["dense"])[0].mean(axis=(1, 2)).argmax() == list(CLASSES).index("glass")


def test_strokes_are_required(phantom: Phantom) -> None:
    one = tuple(stroke for stroke in phantom.strokes(2) if stroke.class_name == "dermis")
    with pytest.raises(InputError, match="Paint a second class: only 'dermis' has strokes"):
        fit_tissue_classifier([PaintedSlideFile(phantom.path, one)], OPTIONS)


def test_fitting_is_cancelled(phantom: Phantom) -> None:
    run = RunContext(lambda progress: run.cancel())
    with pytest.raises(Cancelled):
        fit_tissue_classifier([phantom.painted(2)], OPTIONS, run)
