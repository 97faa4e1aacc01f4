"""Segmentation by prompts: cached features, hypotheses, the command line and the Python API."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import napari_melanoma as nm
from napari_melanoma import worker
from napari_melanoma.core.context import KeptArray, Progress, RunContext
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.imaging.prompts import Point, PromptOptions, Prompts
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.analysis import NO_MODEL, derive_result, remeasure
from napari_melanoma.lesion.batch import BatchOptions, analyze_files
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.prompting import (
    FoundLesion,
    PromptedMasks,
    PromptedSegmenter,
    Prompter,
    load_any_segmenter,
    require_prompts,
)
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import load_network, write_bundle
from napari_melanoma.models.installed_bundles import find_prompted_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_melanoma.models.bundle import BundleInfo


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)


def test_features_are_computed_once(
    prompted_bundle: BundleInfo, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PromptedSegmenter.load(prompted_bundle)
    encoded: list[int] = []
    encode = PromptedSegmenter.encode_input

    def count(self: PromptedSegmenter, square: np.ndarray) -> object:
        encoded.append(1)
        return encode(self, square)

    monkeypatch.setattr(PromptedSegmenter, "encode_input", count)
    prompter = Prompter(model, rgb)
    first, second = prompter.segment(Prompts((Point(5, 5),))), prompter.segment(Prompts((Point(60, 80),)))
    assert len(encoded) == 1
    assert first.logits.shape == (3, 64, 64)
    assert np.abs(first.logits - second.logits).max() > 0
    assert first.best_mask.shape == (90, 120)
    assert first.best_mask[5, 5]
    assert second.best_mask[60, 80]
    areas = [(first.logits[index] > 0).sum() for index in first.by_area]
    assert areas == sorted(areas)
    assert ((first.qualities > 0) & (first.qualities < 1)).all()


def test_without_prompts_it_segments_like_other_models(prompted_bundle: BundleInfo, rgb: np.ndarray) -> None:
    model = load_any_segmenter(prompted_bundle)
    assert isinstance(model, PromptedSegmenter)
    best = Prompter(model, rgb).segment(Prompts())
    assert np.allclose(model.probability(rgb), best.probability(best.best), atol=1e-5)


def test_clicks_outside_and_strokes_of_another_size_are_refused(prompted_bundle: BundleInfo, rgb: np.ndarray) -> None:
    prompter = Prompter(PromptedSegmenter.load(prompted_bundle), rgb)
    with pytest.raises(InputError, match=r"within the photograph of 90 x 120 pixels .*found row 5, column 120"):
        prompter.segment(Prompts((), (Point(5, 120),)))
    with pytest.raises(InputError, match=r"strokes of the photograph's size \(90, 120\), found \(9, 9\)"):
        prompter.segment(Prompts(strokes=np.zeros((9, 9), np.uint8)))


def test_a_model_without_prompts_is_refused(tiny_bundle: BundleInfo, rgb: np.ndarray) -> None:
    with pytest.raises(BundleError, match="'tiny' does not segment by clicks"):
        PromptedSegmenter.load(tiny_bundle)
    with pytest.raises(BundleError, match=r"'tiny' does not segment by clicks.*such as lesion-click"):
        require_prompts(Segmenter.load(tiny_bundle))
    with pytest.raises(BundleError, match="'tiny' does not segment by clicks"):
        nm.segment(rgb, tiny_bundle, include=[(5, 5)])


def test_the_python_api_offers_all_hypotheses(prompted_bundle: BundleInfo, rgb: np.ndarray) -> None:
    found = nm.segment(rgb, prompted_bundle, include=[(5, 5)], exclude=[(80, 100)], box=(0, 0, 50, 60))
    assert len(found.hypotheses) == len(found.qualities) == 3
    assert found.mask[5, 5]
    assert not found.mask[80, 100]
    assert all(mask.shape == (90, 120) and mask[5, 5] for mask in found.hypotheses)
    prompter = nm.Prompter(rgb, prompted_bundle)
    again = prompter.segment([(5, 5)], [(80, 100)], box=(0, 0, 50, 60))
    assert np.array_equal(again.mask, found.mask)
    assert "prompted" in repr(prompter)
    corrected = prompter.segment([(5, 5)], previous=found.mask)
    assert corrected.mask[5, 5]
    with pytest.raises(InputError, match="flips is not available with prompts"):
        nm.segment(rgb, prompted_bundle, include=[(5, 5)], flips=True)
    assert nm.segment(rgb, prompted_bundle).hypotheses == ()


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [None, 0.8])
def test_command_line_and_python_return_the_mask_of_the_dock(
    prompted_bundle: BundleInfo, tmp_path: Path, threshold: float | None
) -> None:
    config = prompted_bundle.config.model_copy(update={"threshold": 0.45})
    bundle = write_bundle(tmp_path / "bundle", config, load_network(prompted_bundle), "# prompted\n")
    image = tmp_path / "image.png"
    rgb = np.asarray(
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)).resize((400, 300))
    )
    Image.fromarray(rgb).save(image)
    prompts = {"include": [[150, 200]], "exclude": [[20, 300]], "box": [30, 30, 250, 350]}
    given = {**prompts, "include": [(150, 200)]}
    found = nm.segment(image, bundle, **given, threshold=threshold)
    assert 0 < found.mask.sum() < found.mask.size
    assert any(mask is found.mask for mask in found.hypotheses)
    assert np.array_equal(nm.Prompter(rgb, bundle).segment(**given, threshold=threshold).mask, found.mask)

    lesion = {"model": str(bundle.path), "prompts": prompts, "threshold": threshold}
    analyze_files([image], tmp_path / "results", BatchOptions.parse({"lesion": lesion}, "test"), run=RunContext())
    assert np.array_equal(read_mask(tmp_path / "results" / "image" / "mask.png"), found.mask)
    if threshold is None:  # the dock has the model's
        requested = PromptOptions.parse(prompts, "test").to_prompts()
        logits, qualities, stamp = worker.prompt(str(bundle.path), KeptArray("docked", rgb), requested, RunContext())
        docked = PromptedMasks(logits, qualities, (300, 400), requested, stamp.threshold)
        assert stamp.threshold == 0.45
        assert np.array_equal(docked.best_mask, found.mask)


def test_the_previous_mask_counts_in_the_result_too(prompted_bundle: BundleInfo, rgb: np.ndarray) -> None:
    prompter = nm.Prompter(rgb, prompted_bundle)
    first = prompter.segment([(5, 5)])
    for previous in (first.mask, np.ones_like(first.mask)):
        found = prompter.segment([(5, 5)], previous=previous, threshold=0.6)
        best = int(np.argmax(found.qualities))
        assert np.array_equal(found.mask, found.hypotheses[best])


def test_options_without_effect_are_refused(
    prompted_bundle: BundleInfo, tiny_bundle: BundleInfo, tmp_path: Path
) -> None:
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in images:
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    prompts = {"prompts": {"include": [[5, 5]]}, "model": str(prompted_bundle.path)}
    refined = BatchOptions.parse({"lesion": {**prompts, "refinement": {"smoothing": 0.01}}}, "test")
    with pytest.raises(InputError, match=r"refinement .* is not available with clicks or a box"):
        analyze_files(images[:1], tmp_path / "out", refined, run=RunContext())
    options = BatchOptions.parse({"lesion": prompts}, "test")
    with pytest.raises(InputError, match="one photograph with clicks or a box, found 2"):
        analyze_files(images, tmp_path / "out", options, run=RunContext())
    options = BatchOptions.parse({"lesion": {**prompts, "model": str(tiny_bundle.path)}}, "test")
    with pytest.raises(BundleError, match="'tiny' does not segment by clicks"):
        analyze_files(images[:1], tmp_path / "out", options, run=RunContext())
    assert not (tmp_path / "out").exists()


def test_progress_is_reported_with_prompts(prompted_bundle: BundleInfo, rgb: np.ndarray) -> None:
    for prompts in ({}, {"include": [(5, 5)]}):
        seen: list[Progress] = []
        nm.segment(rgb, prompted_bundle, progress=seen.append, **prompts)
        assert [one.message.startswith("Loading the model") for one in seen] == [True]
        with pytest.raises(InputError, match="progress must be a function"):
            nm.segment(rgb, prompted_bundle, progress=5, **prompts)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (90, 120)])
def test_photographs_of_any_size_are_segmented(prompted_bundle: BundleInfo, shape: tuple[int, int]) -> None:
    last = np.array([[shape[0] - 1, shape[1] - 1]])
    found = nm.segment(np.zeros(shape, np.uint8), prompted_bundle, include=last, box=np.array([-1, -1, 1, 1]))
    assert found.mask.shape == shape
    assert found.mask[-1, -1]


def test_pixels_are_those_of_the_upright_photograph(prompted_bundle: BundleInfo, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[274] = 6  # the camera was held upright
    Image.fromarray(np.zeros((60, 100, 3), np.uint8)).save(tmp_path / "turned.jpg", exif=turned)
    found = nm.segment(tmp_path / "turned.jpg", prompted_bundle, include=[(99, 59)])
    assert found.mask.shape == (100, 60)
    assert found.mask[99, 59]
    with pytest.raises(InputError, match="100 x 60 pixels"):
        nm.segment(tmp_path / "turned.jpg", prompted_bundle, include=[(59, 99)])


@pytest.mark.parametrize("include", [(5, 5), "ab", None, [(1, 2, 3)]])
def test_pixels_of_another_form_are_refused(prompted_bundle: BundleInfo, rgb: np.ndarray, include: object) -> None:
    with pytest.raises(InputError, match=r"include must be a list of pixels \(row, column\)"):
        nm.segment(rgb, prompted_bundle, include=include)  # type: ignore[arg-type]


class DarkSpots(PromptedSegmenter):
    """Answers a click with the dark spot at it, or a disk where there is none, and with all spots, less certain."""

    def encode_input(self, square: np.ndarray) -> list:
        parts, _ = ndimage.label(square.mean(-1) < 100)
        return [parts]

    def decode(self, features: Sequence, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (parts,) = features
        logits, qualities = [], []
        for include in maps[:, 0] > 0:
            spot = (parts > 0) & np.isin(parts, parts[include])
            at_click = ndimage.binary_dilation(include, iterations=2) if self.outlines_skin else spot
            logits.append(np.stack([np.where(spot if spot.any() else at_click, 4, -4), np.where(parts > 0, 2, -4)]))
            sure = spot.any() or self.outlines_skin
            qualities.append([0.9, 0.7] if sure and include.any() else [0.2, 0.3])
        if maps.any():
            self.passes.append(len(maps))
        return np.array(logits, np.float32), np.array(qualities, np.float32)


def find_spots(
    bundle: BundleInfo, gray: np.ndarray, *, outlines_skin: bool = False
) -> tuple[list[FoundLesion], list[int]]:
    """Propose the dark spots of a photograph; with the number of clicks in each pass."""
    model = DarkSpots.load(bundle)
    model.outlines_skin, model.passes = outlines_skin, []
    return Prompter(model, np.stack([gray] * 3, axis=-1)).find_all(), model.passes


def test_all_lesions_are_proposed_once(prompted_bundle: BundleInfo) -> None:
    gray = np.full((90, 120), 200, np.uint8)
    gray[10:40, 10:45], gray[50:80, 70:100] = 60, 60
    found, passes = find_spots(prompted_bundle, gray)
    assert len(found) == 2, "many clicks of the grid are in each spot"
    assert all(one.quality == pytest.approx(0.9) for one in found)
    assert sum(passes) == 49, "nothing else was seen"
    assert len(passes) == 7
    for one in found:
        assert gray[round(one.seed.row), round(one.seed.column)] == 60
        assert one.inside.mean() == pytest.approx(0.09, abs=0.03)


def test_healthy_skin_is_segmented_only_by_clicks(prompted_bundle: BundleInfo) -> None:
    gray = np.full((900, 1200), 200, np.uint8)
    gray[100:400, 100:450], gray[500:800, 700:1000] = 60, 60
    found, _ = find_spots(prompted_bundle, gray, outlines_skin=True)
    assert len(found) == 2
    assert {gray[round(one.seed.row), round(one.seed.column)] for one in found} == {60}


def test_lesions_between_the_points_of_the_grid_are_proposed(prompted_bundle: BundleInfo) -> None:
    gray = np.full((640, 640), 200, np.uint8)
    at = [(row, column) for row in (100, 280, 370) for column in (85, 115, 190, 460)]
    for row, column in at:
        gray[row - 10 : row + 10, column - 10 : column + 10] = 60
    found, passes = find_spots(prompted_bundle, gray)
    assert len(found) == 12
    assert {gray[round(one.seed.row), round(one.seed.column)] for one in found} == {60}
    assert sum(passes) <= 49 + 12


def test_requests_about_one_photograph_share_its_features(
    prompted_bundle: BundleInfo, rgb: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = PromptedSegmenter.encode_input
    monkeypatch.setattr(
        PromptedSegmenter, "encode_input", lambda self, square: encoded.append(1) or encode(self, square)
    )
    model, run, pixels = str(prompted_bundle.path), RunContext(), KeptArray("one", rgb)
    click = PromptOptions(include=((5, 5),)).to_prompts()
    worker.encode(model, pixels, run)
    assert encoded == [1]
    logits, qualities, stamp = worker.prompt(model, pixels, click, run)
    assert logits.shape == (3, 64, 64)
    assert len(qualities) == 3
    assert stamp.name == "prompted"
    drawn = np.zeros(rgb.shape[:2], np.uint8)
    drawn[40:60, 40:60] = 1
    assert np.abs(worker.prompt(model, pixels, replace(click, strokes=drawn), run)[0] - logits).max() > 0
    assert encoded == [1], "features of the same photograph"
    found, qualities, seeds, _ = worker.find_lesions(model, pixels, run)
    assert len(found) == len(seeds) == len(qualities)
    worker.encode(model, KeptArray("another", 255 - rgb), run)
    assert encoded[1:].count(1) >= 1


def test_the_selected_model_is_used_for_prompts_if_it_supports_them(prompted_bundle: BundleInfo) -> None:
    assert find_prompted_model(str(prompted_bundle.path)) == str(prompted_bundle.path)
    assert find_prompted_model("lesion-small") == find_prompted_model("not installed") == "lesion-click"


def test_parts_without_a_click_are_no_other_lesions() -> None:
    probability = np.zeros((100, 100), np.float32)
    probability[10:40, 10:40] = probability[60:90, 60:90] = 0.9
    photograph = Photograph(np.full((100, 100, 3), 200, np.uint8), "two")
    clicked = LesionOptions(prompts=PromptOptions(include=((25, 25),)))
    result = derive_result(photograph, probability, clicked, NO_MODEL)
    assert result.mask[25, 25]
    assert result.others is not None
    assert not result.others.any()
    edited = remeasure(result, result.mask, LesionOptions())
    assert edited.others is not None
    assert not edited.others.any()
    analyzed = derive_result(photograph, probability, LesionOptions(), NO_MODEL)
    assert analyzed.others is not None
    assert analyzed.others.any()
