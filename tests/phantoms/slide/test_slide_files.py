"""Files: a pyramid for slide readers, its truth, and no partial files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.geometry import Box
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import plan_slide
from napari_melanoma.phantoms.slide.render import SlidePhantomFiles, render_region, render_truth, write_slide
from napari_melanoma.slides.reading.opening import open_slide

CONFIG = SlidePhantomConfig.parse(
    {"seed": 2, "mpp": 1.0, "size": (1100, 1500), "look": "slate", "lesions": {"breslow_mm": 0.4}},
    "a test",
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SlidePhantomFiles:
    return write_slide(CONFIG, tmp_path_factory.mktemp("slides") / "new", "one")


@pytest.mark.slow
def test_the_slide_reads_as_it_was_drawn(written: SlidePhantomFiles) -> None:
    plan = plan_slide(CONFIG)
    with open_slide(written.image) as slide:
        assert [(level.height, level.width) for level in slide.info.levels] == [
            (1100, 1500),
            (550, 750),
            (275, 375),
            (138, 188),
        ]
        assert slide.info.pixel_size is not None
        assert (slide.info.pixel_size.y_um, slide.info.pixel_size.x_um) == (1.0, 1.0)
        for level in range(plan.levels):
            whole = Box(0, 0, *plan.level_size(level))
            error = slide.read_region(level, whole).astype(int) - render_region(plan, level, whole)
            assert np.abs(error).mean() < 6
            assert np.abs(error.mean(axis=(0, 1))).max() < 2


@pytest.mark.slow
def test_openslide_reads_it_too(written: SlidePhantomFiles) -> None:
    import openslide

    with openslide.OpenSlide(written.image) as slide:
        assert slide.level_dimensions == ((1500, 1100), (750, 550), (375, 275), (188, 138))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(1.0)


def test_outlines_drawn_again_give_the_truth(written: SlidePhantomFiles) -> None:
    from skimage.draw import polygon2mask

    features = json.loads(written.outlines.read_text("utf-8"))["features"]
    names = [feature["properties"]["classification"]["name"] for feature in features]
    assert names == ["Tissue", "Keratin", "Epidermis", "Melanoma", "Nevus"]
    classes = render_truth(plan_slide(CONFIG), 1, Box(0, 0, 1100, 1500))
    drawn = np.zeros(classes.shape, bool)
    for feature in features[3:]:
        kind, rings = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        for outer, *_ in [rings] if kind == "Polygon" else rings:
            drawn |= polygon2mask(classes.shape, np.array(outer)[:, ::-1] - 0.5)
    differ = drawn != (classes == 3)
    assert differ.sum() < 0.005 * drawn.sum()


def test_the_truth_contains_depth_area_and_every_parameter(written: SlidePhantomFiles) -> None:
    known = json.loads(written.truth.read_text("utf-8"))
    assert known["breslow_mm"] == pytest.approx(0.4)
    assert SlidePhantomConfig.parse(known["config"], "the truth") == CONFIG
    lesions = known["sections"][0]["lesions"]
    assert [lesion["class"] for lesion in lesions] == ["malignant", "benign"]
    counted = (render_truth(plan_slide(CONFIG), 1, Box(0, 0, 1100, 1500)) == 3).sum() / 1e6
    assert sum(lesion["area_mm2"] for lesion in lesions) == pytest.approx(counted, rel=0.01)


def test_the_same_configuration_gives_the_same_bytes(written: SlidePhantomFiles, tmp_path: Path) -> None:
    again = write_slide(CONFIG, tmp_path, "two")
    assert again.image.read_bytes() == written.image.read_bytes()


def test_a_stop_leaves_no_slide_and_progress_estimates_the_time(tmp_path: Path) -> None:
    reports: list[Progress] = []

    def stop_soon(progress: Progress) -> None:
        reports.append(progress)
        run.cancel()

    run = RunContext(stop_soon)
    with pytest.raises(Cancelled):
        write_slide(CONFIG, tmp_path, "one", run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.geojson", "one.truth.json"]
    assert 0 < reports[0].done < (reports[0].total or 0)
    assert "left" in reports[0].message


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(SaveError, match="cannot write"):
        write_slide(CONFIG, tmp_path / "taken", "x")
