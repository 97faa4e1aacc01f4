"""Similar cells of one or several slides, compared with the plain loop over all cells."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_slides import draw_fluorescence
from test_feature_store import MeanColor, all_blocks

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.notes import NOTES, SlideNotes, write_notes
from napari_melanoma.slides.reading.composite import read_as_rgb
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import record_slide, slide_folder
from napari_melanoma.slides.tissue_classifier.feature_store import (
    FEATURES,
    SlideFeatures,
    StoredFeatures,
    compute_slide_features,
    find_stored_features,
    list_folder_slides,
)
from napari_melanoma.slides.tissue_classifier.suggestions import (
    NO_OVERLAP_CELLS,
    FeatureScale,
    SimilarCell,
    choose_apart,
    compute_query,
    find_similar_cells,
)

SIDE = 1200  # at 1 um per pixel: 37.5 cells, 2.3 blocks
COUNT = 12
SOURCE = MeanColor()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, drawn_slide: Callable[..., Path]) -> Path:
    """A folder with three slides, two of which have features in ``results``."""
    folder = tmp_path_factory.mktemp("slides")
    for number, name in enumerate(("a", "b", "c")):
        drawn_slide(folder / f"{name}.tif", SIDE + 64 * number, mpp=1.0)
    for name in ("a", "b"):
        path = folder / f"{name}.tif"
        with open_slide(path) as opened:
            features = SlideFeatures.open(opened, SOURCE, slide_folder(folder / "results", path))
            features.compute(all_blocks(features), RunContext())
        record_slide(folder / "results" / name, path)
    return folder


def stores_of(folder: Path) -> list[StoredFeatures]:
    return find_stored_features([folder / "a.tif", folder / "b.tif"], folder / "results", SOURCE)[0]


def query_of(folder: Path, at: tuple[float, float] = (600.0, 500.0)) -> tuple[SimilarCell, np.ndarray]:
    with open_slide(folder / "a.tif") as opened:
        return compute_query(folder / "a.tif", SlideFeatures.open(opened, SOURCE, folder / "results" / "a"), at)


def search_by_loop(query: np.ndarray, exclude: SimilarCell, stores: list[StoredFeatures]) -> list[tuple[str, int, int]]:
    """Compare each cell with the query, and take the most similar ones that are apart, one after the other."""
    scale = FeatureScale.sample(stores)
    standardized = (query - scale.mean) / scale.spread
    candidates = []
    for store in stores:
        stored = np.asarray(store.array[:], np.float32)
        for row in range(store.spec.rows):
            for column in range(store.spec.columns):
                values = (stored[row, column] - scale.mean) / scale.spread
                similarity = values @ standardized / np.linalg.norm(values) / np.linalg.norm(standardized)
                candidates.append((-similarity, store.slide.stem, row, column))
    chosen = [(exclude.slide.stem, *exclude.cell)]
    for _, name, row, column in sorted(candidates):
        near = [max(abs(row - at), abs(column - to)) < NO_OVERLAP_CELLS for slide, at, to in chosen if slide == name]
        if not any(near):
            chosen.append((name, row, column))
    return chosen[1 : COUNT + 1]


def test_the_search_finds_the_same_cells_as_a_loop(folder: Path) -> None:
    stores = stores_of(folder)
    cell, query = query_of(folder)
    assert (cell.cell, cell.center) == ((18, 15), (592.0, 496.0))
    result = find_similar_cells(query, stores, COUNT, exclude=(cell.slide, cell.cell))
    assert [(one.slide.stem, *one.cell) for one in result.found] == search_by_loop(query, cell, stores)
    assert {one.slide.stem for one in result.found} == {"a", "b"}
    assert [one.similarity for one in result.found] == sorted((one.similarity for one in result.found), reverse=True)
    assert (result.cells, result.slides) == (38**2 + 40**2, 2)
    nearest = result.found[0]
    assert nearest.center == tuple(32.0 * at + 16 for at in nearest.cell)
    itself = find_similar_cells(query, stores, 1).found[0]
    assert itself.similarity == pytest.approx(1)  # other cells of this color are as similar


def test_cells_that_are_apart() -> None:
    similarity = np.tile(np.linspace(0, 1, 30, dtype=np.float32), (20, 1))
    chosen = np.array(choose_apart(similarity, 50, near=[(0, 29)]))
    assert (np.abs(chosen - (0, 29)).max(axis=1) >= NO_OVERLAP_CELLS).all()
    distances = np.abs(chosen[:, None] - chosen).max(axis=2)
    assert distances[~np.eye(len(chosen), dtype=bool)].min() == NO_OVERLAP_CELLS
    similarity[:] = -np.inf
    assert choose_apart(similarity, 5) == []
    assert choose_apart(np.zeros((0, 0), np.float32), 5) == []


def test_slides_without_features_and_those_of_another_source_are_missing(folder: Path) -> None:
    slides = list_folder_slides(folder)
    assert [slide.name for slide in slides] == ["a.tif", "b.tif", "c.tif"]
    found, missing = find_stored_features(slides, folder / "results", SOURCE)
    assert ([one.slide.name for one in found], missing) == (["a.tif", "b.tif"], [folder / "c.tif"])
    other = find_stored_features(slides, folder / "results", MeanColor("1"))
    assert other == ([], slides)
    assert find_stored_features(slides[:1], folder / "nowhere", SOURCE) == ([], slides[:1])
    with_open, _ = find_stored_features(slides[:1], folder / "nowhere", SOURCE, {slides[0]: folder / "results" / "a"})
    assert [one.slide.name for one in with_open] == ["a.tif"]
    empty = find_similar_cells(np.zeros(3), [])
    assert (empty.found, empty.cells, empty.slides) == ((), 0, 0)


def test_features_of_a_slide_are_computed_and_found(folder: Path, tmp_path: Path) -> None:
    slide, reports = folder / "c.tif", []
    compute_slide_features(slide, tmp_path / "c", SOURCE, RunContext(reports.append))
    (found,), missing = find_stored_features([slide], tmp_path, SOURCE)
    assert not missing
    assert len(found.list_blocks()) == reports[-1].total == len(reports)
    assert reports[-1].message == "Computing features of c.tif"


def test_features_at_another_scale_are_not_compared(folder: Path, tmp_path: Path) -> None:
    slide, results = folder / "c.tif", tmp_path / "c"
    sizes = (PixelSize(1.0, 1.0), PixelSize(2.0, 2.0, "given"))
    stores: list[Path] = []
    for size in (None, sizes[1]):
        write_notes(results, SlideNotes(pixel_size=size))
        compute_slide_features(slide, results, SOURCE, RunContext())
        stores += [path for path in (results / FEATURES).glob("*.zarr") if path not in stores]

    def find(size: PixelSize | None) -> list[PixelSize | None]:
        write_notes(results, SlideNotes(pixel_size=size))
        return [one.placement.pixel_size for one in find_stored_features([slide], tmp_path, SOURCE)[0]]

    assert find(sizes[1]) == [PixelSize(2.0, 2.0)]
    assert find(None) == [sizes[0]]
    assert find(PixelSize(1.5, 1.5, "ruler")) == []
    shutil.rmtree(stores[0])
    assert find(None) == []
    assert find(sizes[1]) == [PixelSize(2.0, 2.0)]
    (results / NOTES).unlink()
    (results / NOTES).mkdir()  # which cannot be read
    assert StoredFeatures.find(slide, results, SOURCE) is not None


def test_fluorescence_is_not_compared(folder: Path, tmp_path: Path) -> None:
    bright, fluorescence = folder / "c.tif", draw_fluorescence(tmp_path / "f.tif")
    compute_slide_features(bright, tmp_path / "c", SOURCE, RunContext())
    with (
        read_as_rgb(open_slide(fluorescence), ChannelChoice.from_text("DAPI=0:4000,FITC=0:4000"), "a test") as slide,
        SlideFeatures.open(slide, SOURCE, tmp_path / "f") as features,
    ):
        features.compute(features.tissue_blocks, RunContext())
    record_slide(tmp_path / "f", fluorescence, record_name=True)
    (found,), missing = find_stored_features([bright, fluorescence], tmp_path, SOURCE)
    assert (found.slide, missing) == (bright, [fluorescence])
    with pytest.raises(InputError, match=r"Find similar reads brightfield stains such as H&E, but f\.tif shows"):
        compute_slide_features(fluorescence, tmp_path / "f", SOURCE, RunContext())


def test_damaged_and_missing_blocks_are_left_out(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "results" / "a", tmp_path / "a")
    slide = folder / "a.tif"
    store = StoredFeatures.find(slide, tmp_path / "a", SOURCE)
    assert store is not None
    chunks = store.path / FEATURES / "c"
    (chunks / "0" / "0" / "0").write_bytes(b"damaged")
    (chunks / "0" / "1" / "0").unlink()
    _, query = query_of(folder)
    result = find_similar_cells(query, [store], COUNT)
    assert result.cells == 38**2 - 2 * 16**2
    assert len(result.found) == COUNT
    (store.path / "zarr.json").write_text("{")
    assert StoredFeatures.find(slide, tmp_path / "a", SOURCE) is None


def test_a_position_outside_the_slide_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="no cell at row 9999, column 5: the position is outside the slide"):
        query_of(folder, (9999.0, 5.0))


def test_a_search_is_cancelled(folder: Path) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        find_similar_cells(np.zeros(3), stores_of(folder), run=run)
