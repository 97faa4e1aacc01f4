"""Tissue on overviews with known truth: pens, fat, folds, pale stain, uneven light, blank and unscanned glass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.imaging.stain import optical_density
from napari_melanoma.slides import tissue as tissue_module
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue import (
    DEFAULT_WHITE,
    STRAIGHT_PX,
    THUMBNAIL_PX,
    TissueConfig,
    TissueDetection,
    TissueMethod,
    _blur_widely,
    _cross,
    _keep_lines,
    _local_maximum,
    estimate_glass_color,
    find_ink,
    find_tissue,
    read_overview,
    smoothed_optical_density,
)

SHAPE, UM = (240, 320), (10.0, 10.0)
HAEMATOXYLIN, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
INKS = {
    "green": (1.9, 0.5, 1.2),
    "blue": (2.1, 1.3, 0.35),
    "red": (0.12, 1.6, 1.4),
    "black": (2.0, 1.95, 1.85),
}


class Scene:
    """An overview that is drawn as optical density, with its truth."""

    def __init__(self, strength: float = 1.0, white: tuple[float, float, float] = (244, 242, 245)) -> None:
        rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
        self.rng = np.random.default_rng(7)
        self.white = np.array(white)
        self.tissue = ((rows - 120) / 75) ** 2 + ((columns - 150) / 110) ** 2 < 1
        texture = ndimage.gaussian_filter(self.rng.normal(size=SHAPE), 1.5) * 3
        self.density = (
            self.tissue[..., None]
            * strength
            * (
                (0.12 + 0.05 * np.clip(texture, -2, 2))[..., None] * HAEMATOXYLIN
                + (0.30 + 0.06 * np.clip(texture, -2, 2))[..., None] * EOSIN
            )
        )

    def ink(self, colour: str, rows: slice, columns: slice) -> Scene:
        self.density[rows, columns] += INKS[colour]
        return self

    def rgb(self, noise: float = 1.0) -> NDArray[np.uint8]:
        light = self.white * np.exp(-ndimage.gaussian_filter(self.density, (0.7, 0.7, 0)))
        return np.clip(np.rint(light + self.rng.normal(0, noise, light.shape)), 0, 255).astype(np.uint8)


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def found_on(scene: Scene, **values: object) -> TissueDetection:
    return find_tissue(scene.rgb(), UM, TissueConfig.model_validate(values))


@pytest.mark.parametrize("method", ["auto", "otsu", "entropy"])
def test_every_method_finds_well_stained_tissue(method: str) -> None:
    scene = Scene()
    tissue = found_on(scene, method=method)
    assert dice(tissue.mask, scene.tissue) > (0.9 if method == "entropy" else 0.95)  # which sees around each pixel
    assert tissue.warnings == ()
    assert not tissue.pen.any()
    assert tissue.share == pytest.approx(scene.tissue.mean(), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.3, 0.6, 1.6])
@pytest.mark.parametrize("white", [(255, 255, 255), (244, 242, 245), (232, 224, 214)])
def test_pale_and_strong_stain_on_white_and_tinted_glass(strength: float, white: tuple[float, float, float]) -> None:
    scene = Scene(strength, white)
    assert dice(found_on(scene).mask, scene.tissue) > 0.94


def test_uneven_light_is_no_tissue() -> None:
    scene = Scene()
    scene.density += (np.linspace(0, 0.12, SHAPE[1])[None] ** 1.0)[..., None]
    assert dice(found_on(scene).mask, scene.tissue) > 0.94


@pytest.mark.parametrize("colour", INKS)
def test_ink_next_to_and_on_tissue_is_excluded(colour: str) -> None:
    scene = Scene().ink(colour, slice(20, 30), slice(10, 300)).ink(colour, slice(100, 112), slice(200, 310))
    tissue = found_on(scene)
    assert tissue.pen[22:28, 15:295].mean() > 0.98
    assert tissue.pen[102:110, 205:305].mean() > 0.9
    assert not tissue.mask[:30].any() or tissue.mask[:30].mean() < 0.01
    assert dice(tissue.mask, scene.tissue & ~tissue.pen) > 0.93
    assert not (tissue.mask & tissue.pen).any()


def test_extensive_ink_is_reported() -> None:
    scene = Scene().ink("green", slice(0, 60), slice(0, 320))
    assert any("ink" in line for line in found_on(scene).warnings)
    assert not found_on(scene, find_pen=False).pen.any()


@pytest.mark.parametrize("pigment", [0.5, 1.0])
def test_melanin_and_dense_nuclei_are_no_ink(pigment: float) -> None:
    scene = Scene()
    scene.density[90:130, 120:180] += pigment * np.array([0.9, 1.2, 1.45])
    scene.density[140:170, 120:180] += 0.8 * HAEMATOXYLIN
    tissue = found_on(scene)
    assert not tissue.pen.any()
    assert tissue.mask[90:130, 120:180].all()


def test_a_fold_is_marked_and_dropped_on_request() -> None:
    scene = Scene()
    scene.density[:, 150:160] *= 2
    tissue = found_on(scene)
    across = scene.tissue[:, 152:158]
    assert tissue.fold[:, 152:158][across].mean() > 0.8
    assert 0.01 < tissue.fold.sum() / (tissue.mask | tissue.fold).sum() < 0.1
    assert dice(tissue.mask, scene.tissue) > 0.95
    dropped = found_on(scene, folds="drop")
    assert not (dropped.mask & dropped.fold).any()
    assert dropped.mask.sum() < tissue.mask.sum()


@pytest.mark.parametrize(
    "sigma", [(0.3, 2.0), (9.0, 14.0), (60.0, 45.0)], ids=["narrow", "usual", "wider than the image"]
)
def test_a_wide_blur_is_that_of_scipy(sigma: tuple[float, float]) -> None:
    values = np.random.default_rng(0).random((101, 64)).astype(np.float32)
    np.testing.assert_allclose(_blur_widely(values, sigma), ndimage.gaussian_filter(values, sigma), atol=1e-5)


@pytest.mark.parametrize("shape", [(40, 61), (5, 3), (1, 1)], ids=str)
def test_fast_morphology_is_that_of_scipy(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).random(shape) < 0.7
    labels = ndimage.label(mask)[0]
    for um, by_um in (((4.0, 4.0), 25), ((3.0, 5.0), 10), ((4.0, 4.0), 0), ((2.0, 7.0), 150)):
        size = [2 * round(by_um / step) + 1 for step in um]
        np.testing.assert_array_equal(_local_maximum(labels, um, by_um), ndimage.maximum_filter(labels, size))
        np.testing.assert_array_equal(_local_maximum(mask, um, by_um), ndimage.maximum_filter(mask, size))
    opened = _cross(np.logical_or, _cross(np.logical_and, mask))
    np.testing.assert_array_equal(opened, ndimage.binary_opening(mask))
    lines = ndimage.binary_opening(mask, np.ones((1, STRAIGHT_PX), bool))
    np.testing.assert_array_equal(_keep_lines(mask), lines)


def test_smoothing_is_that_of_scipy() -> None:
    rgb = Scene().rgb()
    smooth = ndimage.gaussian_filter(rgb.astype(np.float32), (1.0, 1.0, 0), mode="nearest")
    expected = np.maximum(optical_density(smooth, (240, 238, 241)), 0)
    np.testing.assert_array_equal(smoothed_optical_density(rgb, (240, 238, 241), 1.0), expected)


def test_folds_of_a_fine_overview_are_found_on_a_coarser_one(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    scene.density[:, 150:165] *= 2
    rgb, um = scene.rgb(), (4.0, 4.0)
    config = TissueConfig(folds="drop", min_area_mm2=0)
    coarse = find_tissue(rgb, um, config)
    monkeypatch.setattr(tissue_module, "FOLD_UM", um[0])
    fine = find_tissue(rgb, um, config)
    assert (coarse.fold & fine.fold).sum() > 0.9 * (coarse.fold | fine.fold).sum() > 0
    np.testing.assert_array_equal(coarse.mask | coarse.fold, fine.mask | fine.fold)
    assert dice(coarse.mask, fine.mask) > 0.99


def test_dense_epithelium_is_no_fold() -> None:
    scene = Scene()
    scene.density[:, 150:160] += scene.tissue[:, 150:160, None] * 0.5 * HAEMATOXYLIN
    assert not found_on(scene).fold.any()


def test_fat_is_dropped_or_kept() -> None:
    scene = Scene()
    fat = np.zeros(SHAPE, bool)
    fat[30:210, 20:130] = scene.tissue[30:210, 20:130]
    rows, columns = np.nonzero(fat)
    membrane = ((rows % 9 < 1) | (columns % 9 < 1)) * 1.0
    scene.density[rows, columns] = 0.12 * membrane[:, None] * EOSIN
    solid = scene.tissue & ~fat
    assert dice(found_on(scene).mask, solid) > 0.9
    assert dice(found_on(scene, fat="keep").mask, scene.tissue) > 0.93


def test_holes_and_specks_by_their_size() -> None:
    scene = Scene()
    scene.density[115:125, 100:110] = 0  # 0.01 mm2
    scene.density[80:130, 180:220] = 0  # 0.2 mm2
    scene.density[10:15, 290:295] = 0.4 * EOSIN  # 0.0025 mm2
    tissue = found_on(scene)
    assert tissue.mask[115:125, 100:110].all()
    assert not tissue.mask[90:120, 190:210].any()
    assert not tissue.mask[5:20, 285:300].any()
    wider = found_on(scene, margin_um=50)
    assert wider.mask.sum() > tissue.mask.sum()


@pytest.mark.parametrize("method", ["auto", "otsu", "entropy"])
def test_blank_slide_reports_that_it_has_no_tissue(method: TissueMethod) -> None:
    blank = find_tissue(Scene(0.0).rgb(noise=2.5), UM, TissueConfig(method=method))
    assert not blank.mask.any()
    assert not blank.fold.any()
    assert "no tissue was found" in blank.warnings[0]


def test_detection_stops_on_request() -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        find_tissue(np.full((64, 64, 3), 240, np.uint8), None, TissueConfig(), run)


def test_a_uniform_picture_is_no_trouble() -> None:
    for level in (0, 255):
        tissue = find_tissue(np.full((30, 40, 3), level, np.uint8), None, TissueConfig())
        assert not tissue.mask.any()


def test_a_crop_of_tissue_is_all_tissue() -> None:
    inside = Scene().rgb()[90:150, 100:200]
    tissue = find_tissue(inside, (4.0, 4.0), TissueConfig())
    assert tissue.mask.all()
    assert "no glass was found" in tissue.warnings[0]
    assert estimate_glass_color(inside) == DEFAULT_WHITE


def test_unscanned_areas_are_not_tissue() -> None:
    scene, rgb = Scene(), Scene().rgb()
    rgb[:, :30] = 0
    rgb[:25] = 0
    tissue = find_tissue(rgb, UM, TissueConfig())
    assert not tissue.mask[:24].any()
    assert dice(tissue.mask, scene.tissue & (np.arange(SHAPE[1]) >= 30)) > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("white", [(238, 232, 240), (225, 222, 232), (244, 242, 245)])
@pytest.mark.parametrize("columns", [60, 150, 230])
def test_white_that_was_not_scanned_does_not_make_tissue_of_glass(
    white: tuple[float, float, float], columns: int
) -> None:
    scene = Scene(white=white)
    rgb = scene.rgb(noise=2.0)
    rgb[:, -columns:] = 255
    rgb[:20] = 255
    rgb[30:50, :20] = 255  # a hole between fields
    tissue = find_tissue(rgb, UM, TissueConfig())
    assert dice(tissue.mask, scene.tissue & (np.arange(SHAPE[1]) < SHAPE[1] - columns)) > 0.93
    np.testing.assert_allclose(estimate_glass_color(rgb), white, atol=3)


@pytest.mark.parametrize("strength", [0.3, 1.0])
@pytest.mark.parametrize("square", [False, True])
def test_glass_too_bright_for_the_camera_stays_glass(square: bool, strength: float) -> None:
    scene = Scene(strength, white=(255, 255, 255))
    rgb = scene.rgb(noise=0.0)
    if square:
        scene.tissue[:] = False
        scene.tissue[40:200, 60:260] = True
        cut = scene.rgb(noise=0.0)[90:150, 100:200]
        rgb[:] = 255
        rgb[40:200, 60:260] = np.resize(np.concatenate([cut] * 3), (180, 100, 3)).repeat(2, axis=1)[:160]
    tissue = find_tissue(rgb, UM, TissueConfig())
    assert dice(tissue.mask, scene.tissue) > 0.93
    assert estimate_glass_color(rgb) == ((255, 255, 255))


def test_dark_overview_is_reported() -> None:
    dark = np.zeros((50, 60, 3), np.uint8)
    dark[10:30, 10:30, 0] = 200
    assert any("dark" in line for line in find_tissue(dark, UM, TissueConfig()).warnings)


def test_a_finer_overview_gives_the_same_tissue_at_its_own_size() -> None:
    scene = Scene()
    fine = scene.rgb(0).repeat(5, axis=0).repeat(5, axis=1)[:1197, :1593]
    tissue = find_tissue(fine, (2.0, 2.0), TissueConfig())
    assert tissue.mask.shape == tissue.pen.shape == (1197, 1593)
    truth = scene.tissue.repeat(5, axis=0).repeat(5, axis=1)[:1197, :1593]
    assert dice(tissue.mask, truth) > 0.95


def test_a_threshold_of_ones_own_counts() -> None:
    scene = Scene()
    assert found_on(scene, threshold=0.05).threshold == 0.05
    assert not found_on(scene, threshold=2.0).mask.any()


def test_blue_counterstain_and_brown_chromogen_are_no_certain_ink() -> None:
    colours = np.array([[[0.40, 0.27, 0.14], [0.25, 0.35, 0.45], [0.6, 0.65, 0.3]]], np.float32)
    certain, doubtful = find_ink(colours)
    assert not certain.any()
    assert not doubtful.any()


def test_a_real_slide(shared_data: Path) -> None:
    import tifffile

    rgb = tifffile.imread(shared_data / "slides" / "CMU-1-Small-Region.svs", key=1)
    tissue = find_tissue(rgb, (1.93, 1.93), TissueConfig())
    assert 0.3 < tissue.share < 0.5
    assert not tissue.pen.any()
    assert not tissue.mask[400:, :100].any()  # glass at the lower left


@pytest.mark.parametrize(
    ("name", "um"),
    [("OS-2-ndpi.ome.tif", 0.25), ("OS-1-detail.ome.tif", 0.25), ("puma_metastatic_melanoma_roi_094.tif", 0.22)],
)
def test_crops_of_real_tissue_of_any_stain(shared_data: Path, name: str, um: float) -> None:
    """Ki-67 with blue counterstain and holes, pale H&E, and a dense melanoma metastasis."""
    import tifffile

    rgb = tifffile.imread(shared_data / "slides" / name)
    rgb = np.ascontiguousarray(np.moveaxis(rgb, 0, -1) if rgb.shape[0] == 3 else rgb)
    tissue = find_tissue(rgb, (um, um), TissueConfig())
    assert tissue.share > 0.97
    assert not tissue.pen.any()


@pytest.mark.parametrize(("mpp", "side_px"), [(0.5, 64), (8.0, 1024), (None, 2048)])
def test_an_overview_is_no_finer_than_needed(
    mpp: float | None, side_px: int, drawn_slide: Callable[..., Path], tmp_path: Path
) -> None:
    path = drawn_slide(tmp_path / "slide.tif", 512, mpp=mpp)
    with open_slide(path) as slide:
        image, damage = read_overview(slide)
    assert image.shape[:2] == damage.shape == (side_px, side_px)


@pytest.mark.slow
def test_the_tissue_of_a_small_slide_is_that_of_a_finer_overview(tmp_path: Path) -> None:
    scene = Scene().ink("green", slice(20, 30), slice(10, 300))
    scene.density[:, 150:160] *= 2
    rgb = np.clip(scene.rgb().repeat(10, axis=0).repeat(10, axis=1) + scene.rng.normal(0, 3, (2400, 3200, 3)), 0, 255)
    path = tmp_path / "slide.tif"
    how: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        for step in (1, 2, 4, 8):
            scale = (1e4 / step, 1e4 / step)
            tiff.write(rgb[::step, ::step].astype(np.uint8), resolution=scale, resolutionunit="CENTIMETER", **how)
    with open_slide(path) as slide:
        overview, fine = read_overview(slide)[0], slide.thumbnail(THUMBNAIL_PX)
    assert overview.shape == (600, 800, 3)
    found, expected = (
        find_tissue(image, (3200 / image.shape[1],) * 2, TissueConfig(folds="drop")) for image in (overview, fine)
    )
    for name, least in (("mask", 0.99), ("pen", 0.98), ("fold", 0.9)):
        mask = np.asarray(Image.fromarray(getattr(found, name)).resize((THUMBNAIL_PX, 1536), Image.Resampling.NEAREST))
        assert dice(mask, getattr(expected, name)) > least
    assert found.warnings == expected.warnings
