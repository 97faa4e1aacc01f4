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
    COLUMNS,
    MIN_DISTANCE,
    PREDICTION,
    DepthPredictions,
    _depth_row,
    agreement_table,
    depth_pictures,
    draw_curves,
    draw_size,
    draw_table,
    spread_sizes,
)
from napari_melanoma.extensions.papers.kinds import MASK_COLUMNS
from napari_melanoma.extensions.papers.paper_rows import RowResult, TableLine
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.figures import evaluation as evaluation_figures


@pytest.fixture
def figure(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    saved: list[Figure] = []
    for module in (figures, evaluation_figures):
        monkeypatch.setattr(module, "save_figure", lambda shown, *_, **options: saved.append(shown))
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
    p2, p4 = read_paper("P2"), read_paper("P4")
    for paper, name in ((p2, "unet"), (p4, "r2-unet")):
        images = [{"group": str(n), **dict.fromkeys(MASK_COLUMNS, str(0.3 + n / 100))} for n in range(4)]
        draw_size(paper, [RowResult(paper.rows[name], 0.5, images, 400_000, ())], Path("none.png"))
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


def predicted(name: str, labels: tuple[int, ...], *domains: str, unlearned: str = "") -> list[TableLine]:
    """The lines of a row for data sets with the same images."""
    images = [
        {"label": str(label), "as_trained": f"{n / 4}", "probability": f"{n / 4}", "group": str(n)}
        for n, label in enumerate(labels)
    ]
    item = RowResult(read_paper("P2").rows[name], 0.5, images, 1000, (), unlearned=unlearned)
    return [TableLine(item, (), (domain,)) for domain in domains]


def drawn_titles(lines: list[TableLine]) -> list[str]:
    context: Any = SimpleNamespace(folder=SimpleNamespace(figures=Path()), paper=read_paper("P2"))
    table: Any = SimpleNamespace(title="Networks")
    return [picture.title.partition(":")[0] for picture in draw_table(context, "networks", table, lines)]


@pytest.mark.parametrize(("labels", "curves"), [((0, 1, 0, 1), True), ((0, 0, 0, 0), False)])
def test_roc_curves_need_both_classes(labels: tuple[int, ...], curves: bool, figure: list[Figure]) -> None:
    titles = drawn_titles(predicted("cls-resnet50", labels, "D"))
    assert titles == [*(["ROC curves"] if curves else []), "Confusion matrices", "Reliability diagrams"]
    assert len(figure) == len(titles)


def test_a_row_has_the_same_color_in_each_roc_panel_and_is_marked_if_it_has_not_learned(figure: list[Figure]) -> None:
    truth = (0, 1, 0, 1)
    lines = [*predicted("cls-resnet50", truth, "A", "B", unlearned="its AUC contains 50")]
    lines += [*predicted("cls-resnet34", truth, "A"), *predicted("cls-resnet101", truth, "B", "C")]
    drawn_titles(lines[::-1])
    colors: dict[str, set[object]] = {}
    for axes in figure[0].axes:
        for line in axes.get_lines():
            if ": AUC" in str(line.get_label()):
                colors.setdefault(str(line.get_label()).partition(": AUC")[0], set()).add(line.get_color())
    assert {*colors} == {"ResNet-50 (true ROI) (not learned)", "ResNet-34 (true ROI)", "ResNet-101 (true ROI)"}
    assert [len(used) for used in colors.values()] == [1, 1, 1]
    assert len(set.union(*colors.values())) == 3


def depth_row(readers: int) -> RowResult:
    """A row that predicts 10 % too much, with readers of whom each reads 0.1 mm more than the previous one."""
    images = []
    for index, part in enumerate(["folds"] * 6 + ["untouched"] * 5):
        mm = 1.0 + index % 6
        readings = {f"depth_mm_reader_{one}": f"{mm + 0.1 * (one - 1):.1f}" for one in range(1, readers + 1)}
        image = {"depth_mm": f"{mm}", "depth_predicted_mm": f"{1.1 * mm}", "part": part, "group": f"p{index}"}
        images.append({**image, **readings})
    row: Any = SimpleNamespace(file=SimpleNamespace(title="Module"))
    return RowResult(row, 0.5, images, None, ())


def test_predictions_are_compared_with_each_reader_and_readers_with_each_other() -> None:
    rows = [depth_row(2), depth_row(2)]
    rows[1].row.file.title = "Other"
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


def test_the_spread_of_depth_errors_is_that_of_their_absolute_values() -> None:
    measured = np.array([1.0, 2.0, 3.0, 4.0])
    predicted = measured + np.array([0.1, -0.1, 0.3, -0.3])
    depths = DepthPredictions("row", "all", measured, ["a", "b", "c", "d"], {PREDICTION: predicted})
    cells = dict(zip(COLUMNS, _depth_row(depths), strict=True))
    assert cells["SD of the absolute error, mm"] == "0.12"  # of the errors with their signs: 0.26
    assert cells["MAE, mm"].startswith("0.20 (")
