"""P2's chain: the networks of a fold segment and classify its test images, and were not trained on these patients."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.config import read_toml
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.paths import allow_outside_files
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.extensions.papers import paper_rows, tables
from napari_melanoma.extensions.papers.comparisons import describe_differences
from napari_melanoma.extensions.papers.papers import BUDGETS, read_paper
from napari_melanoma.extensions.papers.planning import ReproduceOptions
from napari_melanoma.extensions.papers.run import Reproduction, check, reproduce
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_table
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.training.data_selection import select_samples
from napari_melanoma.training.recipe import TrainRecipe

Patched = Callable[..., AbstractContextManager[Callable[[TrainRecipe, Path], None]]]
CHAIN = ("unetpp-folds", "cls-lite0", "chain-lite0")
FOLDS, COUNT = 3, 36
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("three_folds")]


def options(data: Path) -> ReproduceOptions:
    return ReproduceOptions(paper="P2", budget="small", rows=("chain-lite0",), data=(f"HAM10000={data}",))


@dataclass(frozen=True)
class ChainRun:
    """A finished reproduction, its folder, and the networks that segmented each image."""

    found: Reproduction
    out: Path
    segmented_by: dict[bytes, list[Path]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, moles: Callable[..., Path]) -> Path:
    return moles(tmp_path_factory.mktemp("data") / "ham", COUNT)


@pytest.fixture(scope="module")
def done(data: Path, tmp_path_factory: pytest.TempPathFactory, patched: Patched) -> Iterator[ChainRun]:
    """The chain on a tiny data set, with untrained networks and masks of the dark pixels."""
    out, segmented_by = tmp_path_factory.mktemp("done") / "p2", defaultdict[bytes, list[Path]](list)

    def probability(self: Segmenter, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        segmented_by[rgb.tobytes()].append(self.info.path)
        return (rgb[..., 1] < 120).astype(np.float32)

    with patched(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "probability", probability)
        yield ChainRun(reproduce(options(data), out, run=RunContext()), out, segmented_by)


def test_the_chain_runs_with_its_requirements(done: ChainRun) -> None:
    assert done.found.failed == {}
    assert done.found.plan.left_out == {}
    assert {item.row.name for item in done.found.results} == {*CHAIN}
    rows = {row["row"]: row for row in read_table(done.out / "tables.csv")}
    assert {rows[name]["n"] for name in CHAIN} == {str(COUNT)}
    assert float(rows["unetpp-folds"]["DI"]) > 80
    differences = describe_differences([replace(item, unlearned="") for item in done.found.results], ("AUC",))
    pair = (
        "U-Net++ and EfficientNet-Lite0 (predicted ROI) minus EfficientNet-Lite0 (true ROI), on the same images: AUC "
    )
    assert any(text.startswith(pair) for text in differences)


def test_the_chain_is_marked_if_the_network_of_its_masks_has_not_learned(done: ChainRun) -> None:
    evaluation = json.loads((done.out / "evaluated/unetpp-folds/evaluation.json").read_text(encoding="utf-8"))
    assert evaluation["validation_dice"] == pytest.approx(0.1)
    whole = [fold["constant_dice"] for fold in evaluation["folds"]]
    assert evaluation["constant_dice"] == pytest.approx(np.mean(whole))
    results = {item.row.name: item for item in done.found.results}
    segmented = results["unetpp-folds"]
    assert segmented.unlearned.startswith("Dice of 10.0 on the validation images")
    masks = f"its masks are of {segmented.row.file.title}, which has not learned"
    assert masks in results["chain-lite0"].remark
    assert masks not in results["cls-lite0"].remark


def test_literature_values_are_printed_with_the_result(done: ChainRun) -> None:
    text = (done.out / "tables.md").read_text(encoding="utf-8")
    assert "### Comparison with the literature (the paper's table 3)" in text
    assert "| Al-Masni et al. 2020, ResNet-50 | HAM10000 | – | 87.74 | 89.34 | 61.90 | 65.39 |" in text
    assert "| U-Net++ and ResNet-50 (predicted ROI), the paper | HAM10000 | – | 94.06 | 96.51 | 74.67 | 73.85 |" in text
    assert "| U-Net++ and EfficientNet-Lite0 (predicted ROI), here | ham | 36 | " in text
    assert re.findall(r"an accuracy of ([0-9.]+) is not possible", text) == ["50.95", "97.96"]
    page = (done.out / "tables.html").read_text(encoding="utf-8")
    assert "Skin-Net" in page
    records = [row for row in read_table(done.out / "tables.csv") if row["table"] == "literature"]
    assert [row["paper_AC"] for row in records] == ["82.60", "87.40", "87.74", "94.65", "97.96"]
    assert {row["AC"] for row in records} == {""}


def test_the_figures_show_losses_stages_and_augmentations(done: ChainRun) -> None:
    figures = {path.name for path in (done.out / "figures").glob("*.png")}
    assert {"curves-of-folds.png", "curves-of-classifiers.png", "stages-chain-lite0.png"} <= figures
    page = (done.out / "tables.html").read_text(encoding="utf-8")
    assert "From photograph to label: U-Net++ and EfficientNet-Lite0 (predicted ROI)" in page


def test_neither_network_was_trained_on_the_patient(done: ChainRun) -> None:
    for name, maker in (("unetpp-folds", "unetpp-folds"), ("chain-lite0", "cls-lite0")):
        answers = read_table(done.out / f"evaluated/{name}/per_image.csv")
        assert len({row["image_id"] for row in answers}) == COUNT
        for fold in range(1, FOLDS + 1):
            tested = {row["group"] for row in answers if row["fold"] == str(fold)}
            recipe = read_toml(done.out / f"rows/{maker}/fold-{fold}/config.toml", TrainRecipe)
            with allow_outside_files():
                learnt = {one.group for one in select_samples(recipe).for_training}
            assert tested
            assert learnt
            assert tested.isdisjoint(learnt)


def test_the_network_of_the_same_fold_predicts_the_masks(done: ChainRun, data: Path) -> None:
    fold_of = {row["image_id"]: row["fold"] for row in read_table(done.out / "evaluated/chain-lite0/per_image.csv")}
    for sample in read_dataset(data):
        used = done.segmented_by[read_photograph(sample.image).rgb.tobytes()]
        own = done.out / f"rows/unetpp-folds/fold-{fold_of[sample.image_id]}/bundle"
        assert {path.resolve() for path in used} == {own.resolve()}


def test_the_folds_are_trained_with_the_recipe_of_the_table() -> None:
    rows = read_paper("P2").rows
    for budget in ("small", "full"):
        one, each = ({**rows[name].values[budget]} for name in ("unetpp", "unetpp-folds"))
        if budget == "small":
            assert all(each.pop(name) < one.pop(name) for name in ("epochs", "batch_size"))
        assert each == one


def test_the_chain_is_planned(data: Path, patched: Patched) -> None:
    with patched():
        plan = check(options(data), run=RunContext()).plan
    planned = plan.by_name["unetpp-folds"]
    assert planned.epochs is not None
    assert planned.steps is not None
    assert planned.steps * planned.epochs >= (BUDGETS["small"].steps or 0)
    assert [row.name for row in plan.rows] == [*CHAIN]


def test_without_masks_the_chain_is_left_out_with_the_reason(
    tmp_path: Path, moles: Callable[..., Path], patched: Patched
) -> None:
    folder = moles(tmp_path / "ham", COUNT)
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    with patched():
        plan = check(options(folder), run=RunContext()).plan
    assert {*plan.by_name} == {"cls-lite0"}  # with predicted masks
    assert "none of 36 images has a mask" in plan.left_out["unetpp-folds"]
    assert plan.left_out["chain-lite0"] == "needs the row 'unetpp-folds', which cannot run"


def test_a_cancelled_chain_continues_with_the_next_fold(
    data: Path, tmp_path: Path, patched: Patched, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunContext()

    def stop(recipe: TrainRecipe, out: Path, **more: Any) -> None:
        if out.parts[-2:] == ("unetpp-folds", "fold-3"):
            run.cancel()
            raise Cancelled
        write(recipe, out, **more)

    monkeypatch.setattr(tables, "draw_figures", lambda *of: [])
    with patched(), pytest.MonkeyPatch.context() as patch:
        write = paper_rows.train
        patch.setattr(paper_rows, "train", stop)
        with pytest.raises(Cancelled):
            reproduce(options(data), tmp_path / "out", run=run)
    segmented = tmp_path / "out/rows/unetpp-folds"
    assert sorted(path.name for path in segmented.glob("evaluated-*")) == ["evaluated-1", "evaluated-2"]
    stamp = (segmented / "evaluated-2/per_image.csv").stat().st_mtime_ns
    with patched():
        found = reproduce(options(data), tmp_path / "out", run=RunContext())
    assert found.failed == {}
    assert (segmented / "evaluated-2/per_image.csv").stat().st_mtime_ns == stamp
    assert {item.row.name for item in found.results} == {*CHAIN}
