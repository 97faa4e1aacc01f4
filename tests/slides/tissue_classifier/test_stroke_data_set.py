"""Tiles around painted cells: which strokes are held back, where tiles are, and the network that they start from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from painted_phantoms import CELL_PX, CLASSES, Phantom, draw_phantom

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.evaluation.painted_comparison import CERTAIN, read_unpainted
from napari_melanoma.io.results import read_labels, read_table
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, MARGIN_CELLS, TILE_CELLS, place_tiles
from napari_melanoma.slides.tissue_classifier.classifier import PaintedSlideFile, TissueFitOptions
from napari_melanoma.slides.tissue_classifier.stroke_data_set import (
    HELD_BACK,
    START,
    UNPAINTED,
    UNPAINTED_TABLE,
    check_strokes,
    choose_tiles,
    digest_strokes,
    make_stroke_data_set,
    split_strokes,
)
from napari_melanoma.slides.tissue_classifier.strokes import Stroke


def paint(name: str, *classes: str) -> PaintedSlideFile:
    """A slide with a stroke of each of the given classes."""
    strokes = [Stroke(f"{name}-{number}", one, "cells", ((1.0, 1.0),)) for number, one in enumerate(classes)]
    return PaintedSlideFile(Path(f"{name}.tif"), tuple(strokes))


def names(slides: tuple[PaintedSlideFile, ...]) -> list[int]:
    return [len(slide.strokes) for slide in slides]


def test_whole_slides_are_held_back_if_their_classes_are_painted_elsewhere() -> None:
    slides = [paint("a", "skin", "fat"), paint("b", "skin", "fat", "fat"), paint("c", "skin", "fat", "skin", "fat")]
    split = split_strokes(slides)
    assert (split.by, names(split.training), names(split.held_back)) == ("slides", [0, 3, 4], [2, 0, 0])


def test_strokes_are_held_back_if_a_class_is_on_one_slide_only() -> None:
    slides = [paint("a", *["skin"] * 6), paint("b", *["fat"] * 3, "glass")]
    split = split_strokes(slides)
    assert (split.by, names(split.training), names(split.held_back)) == ("strokes", [4, 3], [2, 1])
    assert split_strokes(slides[::-1]).held_back[1].strokes == split.held_back[0].strokes


def test_a_data_set_of_other_strokes_is_refused(tmp_path: Path) -> None:
    """It would be used in place of the strokes that a command names."""
    slides = [paint("a", *["skin"] * 6), paint("b", *["fat"] * 3, "glass")]
    write_json(tmp_path / "source.json", {"strokes": digest_strokes(split_strokes(slides).slides)})
    check_strokes(tmp_path, slides[::-1])
    for others in (slides[:1], [slides[0], paint("b", *["fat"] * 4, "glass")], [paint("c", "skin"), slides[1]]):
        with pytest.raises(InputError, match="of other slides or of other strokes"):
            check_strokes(tmp_path, others)


@pytest.mark.parametrize("slides", [[], [paint("a", "skin", "fat")], [paint("a", "skin", "skin", "fat")]])
def test_too_few_strokes_are_refused(slides: list[PaintedSlideFile]) -> None:
    with pytest.raises(InputError, match="at least two strokes of each of two classes"):
        split_strokes(slides)


@pytest.mark.parametrize(
    ("cells", "corners"),
    [
        ([[5, 7]], [[2, 4]]),
        ([[0, 0], [7, 7]], [[0, 0]]),
        ([[10, 0], [10, 9]], [[7, -3], [7, 5]]),
        ([], []),
    ],
    ids=["one cell in the middle", "a full tile", "a line over two tiles", "a stroke beyond the slide"],
)
def test_places_of_tiles(cells: list[list[int]], corners: list[list[int]]) -> None:
    positions = np.array(cells, np.int32).reshape(-1, 2)
    placed = place_tiles(positions)
    assert [corner.tolist() for corner, _ in placed] == corners
    for corner, members in placed:
        assert ((positions[members] >= corner) & (positions[members] < corner + TILE_CELLS)).all()
    assert sorted(index for _, members in placed for index in members.tolist()) == list(range(len(cells)))


def test_chosen_tiles_are_different_and_in_the_given_blocks() -> None:
    chosen = choose_tiles(np.array([[0, 1], [2, 0]], np.int32), 6)
    assert {tuple(corner) for corner in chosen.tolist()} < {
        (row + y, column + x) for row, column in ((0, 16), (32, 0)) for y in (0, TILE_CELLS) for x in (0, TILE_CELLS)
    }
    assert len({tuple(corner) for corner in chosen.tolist()}) == 6
    assert len(choose_tiles(np.array([[0, 1]], np.int32), 6)) == 4


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Phantom, Path]:
    folder = tmp_path_factory.mktemp("tiles")
    phantom = draw_phantom(folder / "skin.tif")
    split = split_strokes([phantom.painted(5, folder / "results")])
    make_stroke_data_set(split, folder / "strokes", TissueFitOptions(sources=("imagenet",), kinds=("logistic",)))
    return phantom, folder / "strokes"


@pytest.mark.slow  # renders a slide and computes its features: 6 s
def test_label_images_have_the_painted_cells(tiles: tuple[Phantom, Path]) -> None:
    phantom, data = tiles
    side = (TILE_CELLS + 2 * MARGIN_CELLS) * CELL_UM
    rows = read_table(data / "dataset.csv")
    assert {row["split"] for row in rows} == {"train", "test"}
    assert "skin" not in (data / "dataset.csv").read_text()
    for row in rows:
        labels = read_labels(data / "masks" / f"{row['image_id']}.png")
        assert labels.shape == (side, side)
        assert set(np.unique(labels)) == {list(CLASSES).index(row["tissue"]), UNLABELED_PIXEL}
    held_back = read_table(data / HELD_BACK)
    assert {row["image_id"] for row in held_back} == {row["image_id"] for row in rows if row["split"] == "test"}
    assert {row["class"] for row in held_back} == set(CLASSES)
    assert phantom.path.is_file()


@pytest.mark.slow  # uses the tiles of the test above
def test_cells_between_strokes_have_the_predictions_of_a_classifier_of_all_strokes(
    tiles: tuple[Phantom, Path],
) -> None:
    phantom, data = tiles
    unpainted = read_unpainted(data)
    assert unpainted is not None
    assert {path.stem for path in (data / UNPAINTED).glob("*.png")} == set(unpainted["image_id"])
    cells = unpainted[["center_row_px", "center_column_px"]].to_numpy().astype(int) // CELL_PX
    painted = {tuple(np.array(point).astype(int) // CELL_PX) for one in phantom.strokes(5) for point in one.points}
    assert not painted & {tuple(cell) for cell in cells.tolist()}
    truth = phantom.truth[tuple(cells.T)]
    is_known = (truth.max(axis=1) > 0.95) & (unpainted["probability"].to_numpy() >= CERTAIN)
    assert is_known.sum() > 500
    assert (unpainted["painted"].to_numpy() == np.array(list(CLASSES))[truth.argmax(axis=1)])[is_known].mean() > 0.98
    assert "skin" not in (data / UNPAINTED_TABLE).read_text()


@pytest.mark.slow  # loads torch: 10 s
def test_the_network_starts_as_the_painted_classifier(tiles: tuple[Phantom, Path]) -> None:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.evaluation.painted_comparison import predict_cells, read_held_back
    from napari_melanoma.models.bundle import read_bundle

    _, data = tiles
    cells = read_held_back(data)
    predicted = predict_cells(data / "images", cells, read_bundle(data / START), RunContext())
    assert predicted.tolist() == cells["painted"].tolist()


@pytest.mark.slow  # analyzes a slide twice: 15 s
def test_the_network_gives_the_map_of_the_painted_classifier(tiles: tuple[Phantom, Path], tmp_path: Path) -> None:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.slide_store import SlideResult
    from napari_melanoma.slides.analysis import analyze_slide
    from napari_melanoma.slides.options import SlideOptions
    from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
    from napari_melanoma.slides.tissue_classifier.classifier import fit_tissue_classifier

    phantom, data = tiles
    slide = phantom.painted(5, data.parent / "results")
    options = TissueFitOptions(sources=("imagenet",), kinds=("logistic",))
    classifier = fit_tissue_classifier(split_strokes([slide]).training, options)
    models = write_tissue_bundle(tmp_path / "painted", classifier).path, data / START
    maps = []
    for model in models:
        analyze_slide(phantom.path, tmp_path / model.name, SlideOptions(model=str(model)), run=RunContext())
        maps.append(np.asarray(SlideResult.open(tmp_path / model.name).array("map")[:]))
    known = maps[0].any(axis=0) & maps[1].any(axis=0)
    assert known.sum() > 200
    assert (maps[0].argmax(axis=0) == maps[1].argmax(axis=0))[known].mean() > 0.99


@pytest.mark.parametrize(
    "slides", [[("skin", "fat"), ("skin", "fat", "fat"), ("skin", "fat") * 2], [("skin",) * 6, ("fat",) * 3]]
)
def test_strokes_of_several_slides_may_have_the_same_ids(slides: list[tuple[str, ...]]) -> None:
    """Files of other programs without ids number their strokes."""
    unique = [paint(name, *classes) for name, classes in zip("abc", slides, strict=False)]
    numbered = [
        replace(slide, strokes=tuple(replace(one, id=one.id.partition("-")[2]) for one in slide.strokes))
        for slide in unique
    ]
    expected, split = split_strokes(unique), split_strokes(numbered)
    assert split.by == expected.by
    assert names(split.held_back) == names(expected.held_back)
    assert names(split.training) == names(expected.training)
