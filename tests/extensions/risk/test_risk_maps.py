"""Heatmaps of the risk: computed on one scale, at their positions on the slide, equal by all ways, and tied to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import napari_melanoma as nm
from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.extensions.risk.batch import RiskSummary, assess_risk_of_files
from napari_melanoma.extensions.risk.maps import MAX_CELLS, PATCH_CELLS, compose_patch_maps, explain_patches
from napari_melanoma.extensions.risk.prediction import RiskOptions
from napari_melanoma.extensions.risk.report_section import HEATMAPS, read_risk_section
from napari_melanoma.extensions.risk.slide_files import read_risk
from napari_melanoma.extensions.risk.slide_prediction import explain_slide_risk, predict_slide_risk
from napari_melanoma.figures.page import Gallery
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_table
from napari_melanoma.lesion.patient_data import PatientTable
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.slides.result_folder import record_slide

HUGE = (10**6, 10**6)
LINE = {"surface": [400, 500], "deepest": [680, 500], "mm": 1.4, "interval_mm": [1.2, 1.6], "section": 0}
ROW = {"age": "64", "sex": "male"}
METHODS = ("attention", "cam")
SIDE = 65  # a pixel more than a multiple of two after each stride, so that strides keep the symmetry


@pytest.fixture(scope="module")
def classifier(info: BundleInfo) -> Classifier:
    return Classifier.load(info, "cpu")


def noise(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), np.uint8)


# Composition


def test_patches_keep_their_positions_and_the_maximum_wins_in_overlaps() -> None:
    boxes = [Box(0, 0, 96, 96), Box(48, 48, 96, 96), Box(300, 0, 96, 96)]
    found = compose_patch_maps([np.full((3, 3), value, np.float32) for value in (0.2, 0.9, 0.5)], boxes, HUGE)
    assert found.values.shape == (396, 144)
    for at, box in enumerate(boxes):
        row, column = (found.placement.to_map((box.top + 90, box.left + 90)) - 0.5).round().astype(int)
        assert found.values[row, column] == pytest.approx((0.9, 0.9, 0.5)[at])
    assert found.values[10, 10] == pytest.approx(0.2)
    assert np.isnan(found.values[200, 20])


def test_a_map_ends_with_the_slide() -> None:
    values = compose_patch_maps([np.ones((2, 2), np.float32)], [Box(-48, 48, 96, 96)], (200, 96)).values
    assert np.isnan(values[:48]).all()
    assert np.isnan(values[:, 48:]).all()
    assert (values[48:, :48] == 1).all()


def test_pixels_that_are_not_square_and_patches_far_apart() -> None:
    found = compose_patch_maps([np.full((7, 7), 0.3, np.float32)], [Box(100, 200, 960, 480)], HUGE)
    assert found.values.shape == (PATCH_CELLS, PATCH_CELLS)
    assert (found.placement.step_y, found.placement.step_x) == (10, 5)
    boxes = [Box(0, 0, 96, 96), Box(80_000, 0, 96, 96)]
    assert compose_patch_maps([np.ones((2, 2), np.float32)] * 2, boxes, HUGE).values.shape == (MAX_CELLS, PATCH_CELLS)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_slide_has_the_mirrored_map(axis: int) -> None:
    size, boxes = (600, 500), [Box(96, 0, 192, 192), Box(192, 192, 192, 192)]
    maps = [np.random.default_rng(seed).random((192, 192), np.float32) for seed in range(2)]
    mirrored = [
        Box(size[0] - box.top - box.height, box.left, 192, 192)
        if axis == 0
        else Box(box.top, size[1] - box.left - box.width, 192, 192)
        for box in boxes
    ]
    found = compose_patch_maps(maps, boxes, size).values
    other = compose_patch_maps([np.flip(one, axis) for one in maps], mirrored, size).values
    np.testing.assert_allclose(np.flip(other, axis), found, atol=1e-6)


def test_a_part_of_a_map_is_that_of_its_patch() -> None:
    maps = [np.random.default_rng(seed).random((96, 96), np.float32) for seed in range(2)]
    boxes = [Box(-10, 5, 96, 96), Box(200, 300, 96, 96)]
    found = compose_patch_maps(maps, boxes, HUGE)
    np.testing.assert_allclose(found.crop(boxes[1], (96, 96)), maps[1], atol=1e-6)
    np.testing.assert_allclose(found.crop(boxes[0], (96, 96))[10:], maps[0][10:], atol=1e-6)  # above it is no slide


# Evidence of the network


@pytest.fixture(scope="module")
def symmetric(write_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A network whose filters are symmetric from left to right, with an attention that depends on the features."""
    import torch

    folder = write_model(tmp_path_factory.mktemp("symmetric") / "tiny-risk", input_size=SIDE)
    classifier = Classifier.load(read_bundle(folder), "cpu")
    network: Any = classifier.torch_network
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        weight = network.attention.weigh.weight
        weight.copy_(torch.randn(weight.shape, generator=generator))
        network.depth.weight.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_((module.weight + module.weight.flip(-1)) / 2)
    return classifier


@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_a_mirrored_patch_is_the_mirrored_map(symmetric: Classifier, method: str) -> None:
    plain, mirrored = (
        explain_patches(symmetric, [rgb], ROW, method, RunContext())[0] for rgb in (noise(1), noise(1)[:, ::-1].copy())
    )
    assert plain.max() == pytest.approx(1, abs=0.05)
    assert plain.std() > 0.01
    np.testing.assert_allclose(mirrored[:, ::-1], plain, atol=0.02)
    assert np.abs(mirrored - plain).max() > 0.05


@pytest.mark.parametrize("method", METHODS)
def test_patches_share_a_scale_and_their_order_changes_nothing(classifier: Classifier, method: str) -> None:
    patches = [noise(1), np.full((SIDE, SIDE, 3), 200, np.uint8), noise(2)]
    maps = explain_patches(classifier, patches, ROW, method, RunContext())
    alone = [explain_patches(classifier, [rgb], ROW, method, RunContext())[0] for rgb in patches]
    assert max(float(heat.max()) for heat in maps) == pytest.approx(max(float(heat.max()) for heat in alone), abs=1e-6)
    for heat, one in zip(maps, alone, strict=True):
        share = float(heat.max()) / (float(one.max()) or 1)
        np.testing.assert_allclose(heat, one * share, atol=1e-5)
    backwards = explain_patches(classifier, patches[::-1], ROW, method, RunContext())
    for heat, again in zip(maps, backwards[::-1], strict=True):
        np.testing.assert_allclose(heat, again, atol=1e-6)


# Files


@pytest.fixture
def analyzed(tmp_path: Path, slide: Path) -> Path:
    """The folder of a slide whose thickness was measured."""
    folder = tmp_path / "section"
    folder.mkdir()
    record_slide(folder, slide)
    content = {"breslow_mm": 1.4, "breslow_interval_mm": [1.2, 1.6], "depth": {"candidates": [LINE], "notes": []}}
    write_json(folder / "result.json", content)
    return folder


def assess(path: Path, out: Path, model: Path, *methods: str) -> RiskSummary:
    options = RiskOptions(model=str(model), heatmap=methods)
    return assess_risk_of_files([path], out, options, PatientTable(ROW), run=RunContext())


def test_the_window_and_the_command_line_write_the_same_maps(analyzed: Path, slide: Path, model: Path) -> None:
    assess(slide, analyzed.parent, model, *METHODS)
    before = read_risk(analyzed).maps
    predict_slide_risk(slide, analyzed, {"model": str(model)}, ROW, RunContext())
    assert set(before) == set(METHODS)
    for method in METHODS:
        explain_slide_risk(slide, analyzed, str(model), method, RunContext())
        found = read_risk(analyzed).maps[method]
        np.testing.assert_array_equal(found.values, before[method].values)
        assert found.placement == before[method].placement
    top, left, height, width = read_risk(analyzed).prediction["patches"][0]["box"]
    assert (found.placement.top, found.placement.left) == (top, left)
    cells = np.array(found.values.shape) * (found.placement.step_y, found.placement.step_x)
    np.testing.assert_allclose(cells, (height, width))
    inside = found.values[np.isfinite(found.values)]
    assert inside.min() >= 0
    assert inside.max() <= 1


def test_a_map_belongs_to_its_prediction(analyzed: Path, slide: Path, model: Path) -> None:
    predict_slide_risk(slide, analyzed, {"model": str(model)}, ROW, RunContext())
    explain_slide_risk(slide, analyzed, str(model), "cam", RunContext())
    assert list(read_risk(analyzed).maps) == ["cam"]
    predict_slide_risk(slide, analyzed, {"model": str(model)}, {"age": "20"}, RunContext())
    assert read_risk(analyzed).maps == {}


def test_half_of_a_map_is_no_map(analyzed: Path, slide: Path, model: Path) -> None:
    predict_slide_risk(slide, analyzed, {"model": str(model)}, ROW, RunContext())
    explain_slide_risk(slide, analyzed, str(model), "attention", RunContext())
    stored = json.loads((analyzed / "risk" / "attention.json").read_text())
    (analyzed / "risk" / "attention.tif").write_bytes(b"half")
    assert read_risk(analyzed).maps == {}
    explain_slide_risk(slide, analyzed, str(model), "attention", RunContext())
    assert list(read_risk(analyzed).maps) == ["attention"]
    (analyzed / "risk" / "attention.json").write_text(json.dumps({**stored, "place": [1, 2]}))
    assert read_risk(analyzed).maps == {}


def test_a_map_needs_a_prediction_of_its_model(analyzed: Path, slide: Path, model: Path) -> None:
    with pytest.raises(InputError, match="Estimate the risk first"):
        explain_slide_risk(slide, analyzed, str(model), "cam", RunContext())
    predict_slide_risk(slide, analyzed, {"model": str(model)}, ROW, RunContext())
    path = analyzed / "risk.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "model": {**stored["model"], "fingerprint": "elsewhere"}}))
    with pytest.raises(InputError, match="the risk was predicted by 'tiny-risk'"):
        explain_slide_risk(slide, analyzed, str(model), "cam", RunContext())


def test_the_report_shows_the_maps(analyzed: Path, slide: Path, model: Path) -> None:
    assess(slide, analyzed.parent, model, *METHODS)
    section = read_risk_section(analyzed, slide)
    assert section is not None
    blocks = [section, *section.blocks, *(inner for block in section.blocks for inner in getattr(block, "blocks", ()))]
    (gallery,) = [block for block in blocks if isinstance(block, Gallery)]
    titles = [figure.caption.partition("; ")[0] for figure in gallery.figures]
    assert [title.rpartition(", ")[2] for title in titles[1:]] == ["attention", "CAM"]
    assert HEATMAPS in str(section)


def test_a_patch_has_the_same_map_by_command_and_in_python(tmp_path: Path, patches: Path, model: Path) -> None:
    path = patches / "p0.png"
    assess(path, tmp_path, model, *METHODS)
    folder, rgb = tmp_path / "p0", read_photograph(path).rgb
    for method in METHODS:
        assert read_photograph(folder / "risk" / f"{method}.png").rgb.shape == rgb.shape
        found = nm.explain(path, model=model, method=method, **ROW)
        assert (found.target_class, found.heatmap.shape) == ("metastasis", rgb.shape[:2])
        box = Box(0, 0, *rgb.shape[:2])
        expected = compose_patch_maps([found.heatmap], [box], rgb.shape[:2]).values
        np.testing.assert_allclose(read_risk(folder).maps[method].values, expected, atol=1e-5)
    assess(path, tmp_path, model)
    assert list((folder / "risk").iterdir()) == []  # none of an earlier prediction is mistaken for one of this


def test_a_prediction_is_kept_if_its_maps_cannot_be_written(analyzed: Path, slide: Path, model: Path) -> None:
    (analyzed / "risk").write_text("a file where the folder of the heatmaps would be", encoding="utf-8")
    summary = assess(slide, analyzed.parent, model, "cam")
    assert (summary.done, summary.failed) == (1, 0)
    (row,) = read_table(summary.table)
    assert "the heatmaps could not be computed: " in row["warnings"]
    assert read_risk(analyzed).prediction["probability"] == pytest.approx(float(row["probability"]))


def test_a_model_without_attention_is_refused_before_anything_is_computed(
    tmp_path: Path, slide: Path, write_model: Callable[..., Path]
) -> None:
    plain = write_model(tmp_path / "plain" / "tiny-risk", attention="none")
    with pytest.raises(InputError, match="has no explanation method 'attention'"):
        assess(slide, tmp_path / "out", plain, "attention")
    assert not (tmp_path / "out").exists()


def test_a_photograph_of_skin_is_none_of_a_slide(model: Path) -> None:
    found = nm.explain(nm.read_photograph(noise(3), modality="dermoscopic"), model=model, method="attention")
    assert not found.valid
    assert any("dermoscopic" in text for text in found.warnings)
