"""Figures of a reproduction: no overlapping points, distinct colors and markers, panels as needed."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from napari_melanoma.extensions.papers import figures
from napari_melanoma.extensions.papers.figures import (
    MIN_DISTANCE,
    OutOfFoldPredictions,
    SizePoint,
    agreement_table,
    depth_pictures,
    draw_curves,
    draw_roc,
    draw_size,
    spread_sizes,
)
from napari_melanoma.extensions.papers.paper_rows import RowResult, TableLine
from napari_melanoma.extensions.papers.papers import read_paper


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    saved: list[Figure] = []
    monkeypatch.setattr(figures, "save_figure", lambda shown, *_, **options: saved.append(shown))
    return saved


@pytest.mark.parametrize(
    ("sizes", "moved"),
    [((1e5, 1e6, 1e7), (1e5, 1e6, 1e7)), ((1e6, 1e6), (1e6, 10 ** (6 + MIN_DISTANCE**2))), ((5e6,), (5e6,)), ((), ())],
)
def test_points_do_not_overlap(sizes: tuple[float, ...], moved: tuple[float, ...]) -> None:
    assert spread_sizes(sizes) == pytest.approx(list(moved))


def test_points_of_the_same_size_keep_their_order() -> None:
    placed = spread_sizes([4e5, 1e8, 4e5, 3.9e5])
    assert placed[3] == 3.9e5
    assert placed[3] < placed[0] < placed[2] < placed[1]
    assert math.log10(placed[2] / placed[0]) == pytest.approx(MIN_DISTANCE * math.log10(1e8 / 3.9e5))


def test_the_paper_has_a_panel_only_where_it_has_points(figure: list[Figure]) -> None:
    own = SizePoint("U-Net", 0, 4e5, 30, 25, 35)
    draw_size([own], "TJA", Path("none.png"))
    draw_size([own, SizePoint("R2U-Net", 1, 4e5, 30, 25, 35, 6e6, 83)], "TJA", Path("none.png"))
    assert [[axes.get_title() for axes in each.axes] for each in figure] == [
        [figures.OURS],
        [figures.OURS, figures.PAPERS],
    ]
    left, right = (axes.get_ylim() for axes in figure[1].axes)
    assert left[1] < right[0]


def test_curves_differ_in_color_or_line_and_in_marker(figure: list[Figure]) -> None:
    rows = [
        {"epoch": epoch, "loss": 1.0 / (epoch + 1), "validation_loss": 1.1, "validation_jaccard": 0.5}
        for epoch in range(3)
    ]
    numbers = {f"row {number}": number for number in range(14)}
    draw_curves(dict.fromkeys(numbers, rows), numbers, ("validation_jaccard", "Jaccard"), Path("none.png"))
    lines = figure[0].axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 14
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 14
    assert [axes.get_yscale() for axes in figure[0].axes] == ["log", "log", "linear"]
    assert [axes.get_ylabel() for axes in figure[0].axes] == ["training loss", "validation loss", "Jaccard"]
    assert figure[0].axes[0].get_ylim() == figure[0].axes[1].get_ylim()


@pytest.mark.parametrize(("truth", "curves"), [((0, 1, 0, 1), True), ((0, 0, 0, 0), False)])
def test_roc_curves_need_both_classes(truth: tuple[int, ...], curves: bool, figure: list[Figure]) -> None:
    values = np.linspace(0, 1, len(truth))
    predictions = OutOfFoldPredictions("ResNet", 0, np.array(truth, bool), values, values)
    work: Any = SimpleNamespace(folder=SimpleNamespace(figures=Path()))
    table: Any = SimpleNamespace(title="Networks")
    file = read_paper("P2").rows["cls-resnet50"].file
    shown = [figures._PlottedPredictions("D", predictions, file, target="melanoma")]
    titles = [picture.title for picture in figures._draw_table(work, "networks", table, shown)]
    assert [title.partition(":")[0] for title in titles] == [
        *(["ROC curves"] if curves else []),
        "Confusion matrices",
        "Reliability diagrams",
    ]
    assert len(figure) == len(titles)


def test_a_row_has_the_same_color_in_each_roc_panel(figure: list[Figure]) -> None:
    truth, values = np.array([False, True, False, True]), np.linspace(0, 1, 4)
    titles = ("A only", "B only", "A, then B")
    rows = {title: OutOfFoldPredictions(title, at, truth, values, values) for at, title in enumerate(titles)}
    panels = {"A": list(rows.values()), "B": [rows["A, then B"], rows["B only"]], "C": [rows["A, then B"]]}
    draw_roc(panels, Path("none.png"))
    colors: dict[str, set[object]] = {}
    for axes in figure[0].axes:
        for line in axes.get_lines()[1:]:
            colors.setdefault(str(line.get_label()), set()).add(line.get_color())
    assert {title: len(used) for title, used in colors.items()} == dict.fromkeys(rows, 1)
    assert len(set.union(*colors.values())) == 3


def depth_row(readers: int) -> Any:
    """A row that predicts 10 % too much, with readers of whom each reads 0.1 mm more than the previous one."""
    images = []
    for index, part in enumerate(["folds"] * 6 + ["untouched"] * 5):
        mm = 1.0 + index % 6
        readings = {f"depth_mm_reader_{one}": f"{mm + 0.1 * (one - 1):.1f}" for one in range(1, readers + 1)}
        image = {"depth_mm": f"{mm}", "depth_predicted_mm": f"{1.1 * mm}", "part": part, "group": f"p{index}"}
        images.append({**image, **readings})
    return SimpleNamespace(title="Module", images=images)


def test_predictions_are_compared_with_each_reader_and_readers_with_each_other() -> None:
    rows = [depth_row(2), depth_row(2)]
    rows[1].title = "Other"
    rows[1].images[0]["depth_mm_reader_2"] = ""  # this one has not read all
    table = agreement_table(rows)
    assert table is not None
    lines = {line[:2]: dict(zip(table.columns, line, strict=True)) for line in table.rows}
    assert len(lines) == 2 * (2 * 2 + 1)
    both = lines["reader 1 and reader 2", "cross-validated"]
    assert (both["n"], both["mean difference, mm"], both["95 % limits, mm"]) == ("6", "+0.10", "+0.10 to +0.10")
    assert both["ICC"].startswith("1.00")
    assert lines["reader 1 and Module", "untouched test set"]["Relative difference, %"] == "10"
    assert lines["reader 2 and Other", "cross-validated"]["n"] == "5"


def test_without_readers_there_is_no_agreement(tmp_path: Path) -> None:
    assert agreement_table([depth_row(0)]) is None
    assert [one.path.name for one in depth_pictures([depth_row(0)], tmp_path)] == ["depth.png"]


def test_a_bland_altman_figure_is_drawn_for_each_pair(tmp_path: Path) -> None:
    pictures = depth_pictures([depth_row(2)], tmp_path)
    names = ["depth", "agreement-reader-1-prediction", "agreement-reader-1-reader-2", "agreement-reader-2-prediction"]
    assert [one.path.stem for one in pictures] == names
    assert all(one.path.is_file() for one in pictures)
    assert pictures[-1].about == "Module: untouched test set"


def test_a_row_has_the_same_color_in_every_figure_and_is_marked_if_it_has_not_learned() -> None:
    paper = read_paper("P2")
    images = [{"label": str(n % 2), "as_trained": "0.5", "probability": "0.5", "group": str(n)} for n in range(4)]
    item = RowResult(paper.rows["cls-resnet50"], 0.5, images, 1000, (), unlearned="its AUC contains 50")
    line = TableLine(item, (), ("D",))
    plotted = figures._read_predictions(paper, line).predictions
    assert plotted.title == "ResNet-50 (true ROI) (not learned)"
    assert plotted.number == figures._row_number(paper, item.row) != figures._row_number(paper, paper.rows["unet"])
