"""The store of features: computed once, resumed, and never corrupt."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.geometry import Box
from napari_melanoma.io.results import TISSUE, write_mask
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tissue import tissue_of_overview
from napari_melanoma.slides.tissue_classifier import feature_store
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, MARGIN_CELLS, list_cells
from napari_melanoma.slides.tissue_classifier.feature_store import BlockCache, SlideFeatures, TissueMask

SIDE = 2304  # at 1 um per pixel: 4.5 blocks


class MeanColor:
    """A source whose features are known: the mean color of each cell; counts the blocks that it computes."""

    name, fingerprint, licence, length, mpp = "mean-color", "0", "none", 3, 1.0

    def __init__(self, fingerprint: str = "0") -> None:
        self.fingerprint = fingerprint
        self.computed = 0

    def compute(self, blocks: np.ndarray) -> np.ndarray:
        self.computed += len(blocks)
        cells = BLOCK_CELLS + 2 * MARGIN_CELLS
        means = blocks.reshape(len(blocks), cells, -1, cells, blocks.shape[2] // cells, 3).mean(axis=(2, 4))
        inner = slice(MARGIN_CELLS, -MARGIN_CELLS)
        return (means[:, inner, inner] / 255).astype(np.float16)


@pytest.fixture
def slide(tmp_path: Path, drawn_slide: Callable[..., Path]) -> Iterator[Slide]:
    with open_slide(drawn_slide(tmp_path / "section.tif", SIDE, mpp=1.0)) as opened:
        yield opened


def all_blocks(features: SlideFeatures) -> np.ndarray:
    return np.argwhere(np.ones(features.grid.blocks.shape)).astype(np.int32)


@pytest.mark.slow
def test_features_are_those_of_the_pixels_of_each_cell(slide: Slide, tmp_path: Path) -> None:
    features = SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    features.compute(all_blocks(features), RunContext())
    cells = list_cells(features.grid.cells_in(slide_box(slide)))
    assert len(cells) == 72 * 72
    assert features.known(cells).all()
    pixels = slide.read_region(0, slide_box(slide)).reshape(72, 32, 72, 32, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(features.read(cells), pixels.reshape(-1, 3), atol=2e-3)


def slide_box(slide: Slide) -> Box:
    return Box(0, 0, slide.info.levels[0].height, slide.info.levels[0].width)


def test_stored_features_are_not_computed_again(slide: Slide, tmp_path: Path) -> None:
    first = SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    first.compute(np.array([[0, 1], [2, 3]], np.int32), RunContext())
    source, seen = MeanColor(), []
    second = SlideFeatures.open(slide, source, tmp_path / "out")
    assert second.known([(0, 16), (0, 15), (40, 50), (-1, 20), (500, 0)]).tolist() == [True, False, True, False, False]
    second.compute(np.array([[2, 3], [1, 1], [0, 1]], np.int32), RunContext(), lambda block: seen.append(tuple(block)))
    assert source.computed == 1
    assert sorted(seen) == [(0, 1), (1, 1), (2, 3)]
    np.testing.assert_array_equal(second.read([(40, 50)]), first.read([(40, 50)]))


def test_unknown_cells_have_no_features(slide: Slide, tmp_path: Path) -> None:
    features = SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    assert not features.known([(0, 0)]).any()
    assert np.isnan(features.read([(0, 0), (9999, 0)])).all()
    assert features.read_block((0, 0)) is None
    assert features.read(np.empty((0, 2), np.int32)).shape == (0, 3)


def test_another_source_has_a_store_of_its_own(slide: Slide, tmp_path: Path) -> None:
    block = np.array([[0, 0]], np.int32)
    SlideFeatures.open(slide, MeanColor("0"), tmp_path / "out").compute(block, RunContext())
    assert not SlideFeatures.open(slide, MeanColor("1"), tmp_path / "out").known([(0, 0)]).any()


def test_the_name_of_a_store_is_allowed_on_all_systems(slide: Slide, tmp_path: Path) -> None:
    source = MeanColor()
    source.name = "timm:vit_small/patch"
    SlideFeatures.open(slide, source, tmp_path / "out")
    (store,) = (tmp_path / "out" / "features").glob("*.zarr")
    assert store.name.startswith("timm-vit_small-patch-")


def test_progress_counts_the_blocks_with_tissue(slide: Slide, tmp_path: Path) -> None:
    features = SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    done, total = features.progress
    assert (done, total) == (0, len(features.tissue_blocks))
    assert 0 < total <= np.prod(features.grid.blocks.shape)
    features.compute(features.tissue_blocks[:2], RunContext())
    assert features.progress == (2, total)


def test_tissue_is_detected_once_for_all_sources_and_read_again_if_corrected(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, detected = tmp_path / "out", []

    def detect(*arguments: Any) -> tuple[np.ndarray, tuple[str, ...]]:
        detected.append(arguments)
        time.sleep(0.05)  # in which the other thread requests it, too
        return tissue_of_overview(*arguments)

    monkeypatch.setattr(feature_store, "tissue_of_overview", detect)
    tissue = TissueMask(slide, folder)
    stores = [SlideFeatures.open(slide, MeanColor(name), folder, None, tissue) for name in "01"]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda features: features.tissue_blocks, stores)
    np.testing.assert_array_equal(first, second)
    assert len(detected) == 1
    write_mask(folder / TISSUE, np.zeros((64, 64), bool))
    assert not len(SlideFeatures.open(slide, MeanColor("2"), folder, None, tissue).tissue_blocks)
    assert len(detected) == 1


def test_finished_blocks_are_kept_if_cancelled(slide: Slide, tmp_path: Path) -> None:
    features, run = SlideFeatures.open(slide, MeanColor(), tmp_path / "out"), RunContext()
    with pytest.raises(Cancelled):
        features.compute(all_blocks(features), run, lambda block: run.cancel())
    assert SlideFeatures.open(slide, MeanColor(), tmp_path / "out").known([(0, 0), (0, 16)]).tolist() == [True, False]


def test_a_damaged_block_is_computed_again(slide: Slide, tmp_path: Path) -> None:
    block = np.array([[0, 0]], np.int32)
    SlideFeatures.open(slide, MeanColor(), tmp_path / "out").compute(block, RunContext())
    (chunk,) = (tmp_path / "out").rglob("c/0/0/0")
    chunk.write_bytes(b"half of it")
    features = SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    assert np.isnan(features.read([(0, 0)])).all()
    assert not features.known([(0, 0)]).any()
    features.compute(block, RunContext())
    assert np.isfinite(features.read([(0, 0)])).all()


def test_a_damaged_store_is_created_again(slide: Slide, tmp_path: Path) -> None:
    SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    (metadata,) = (tmp_path / "out" / "features").glob("*.zarr/zarr.json")
    metadata.write_text("{")
    features = SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    features.compute(np.array([[0, 0]], np.int32), RunContext())
    assert features.known([(0, 0)]).all()


def test_features_that_cannot_be_read_now_are_kept(
    slide: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = np.array([[0, 0]], np.int32)
    SlideFeatures.open(slide, MeanColor(), tmp_path / "out").compute(block, RunContext())
    with monkeypatch.context() as patch:
        patch.setattr("zarr.open_group", Mock(side_effect=TimeoutError("no answer")))
        with pytest.raises(SaveError, match="no answer"):
            SlideFeatures.open(slide, MeanColor(), tmp_path / "out")
    assert SlideFeatures.open(slide, MeanColor(), tmp_path / "out").known([(0, 0)]).all()


def test_memory_is_bounded_for_all_slides_and_released_on_close(slide: Slide, tmp_path: Path) -> None:
    cache = BlockCache(3 * BLOCK_CELLS**2 * 3 * 2)
    first, second = (SlideFeatures.open(slide, MeanColor(), tmp_path / name, cache) for name in ("a", "b"))
    first.compute(all_blocks(first), RunContext())
    assert len(cache._blocks) == 3
    assert not first._unwritten
    assert first.known(list_cells(first.grid.cells_in(slide_box(slide)))).all()
    second.compute(all_blocks(second)[:2], RunContext())
    assert len(cache._blocks) == 3
    first.close()
    assert len(cache._blocks) == 2, "the blocks of the other slide stay"
    assert first.read_block((0, 0)) is not None, "from the store"


def test_features_without_a_folder_are_removed_when_closed(slide: Slide) -> None:
    with SlideFeatures.open(slide, MeanColor()) as features:
        features.compute(np.array([[0, 0]], np.int32), RunContext())
        assert features.known([(0, 0)]).all()
        assert features._path.is_dir()
    assert not features._path.exists()
