"""Reproducing a paper: its rows and figures, roles of data, one split, a plan that keeps to its time, and SIGKILL."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.runs import Cancelled, RunContext
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.sources import sources
from napari_melanoma.io.results import read_table, write_mask, write_rgb, write_table
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.training import step_cost
from napari_melanoma.training.run_data import read_data
from napari_melanoma.training.step_cost import StepCost
from napari_melanoma.workflows import reproduce_planning
from napari_melanoma.workflows.reproduce import ReproduceOptions, Reproduction, check, reproduce
from napari_melanoma.workflows.reproduce_data import RoleData, assign, source_of, stage, staged
from napari_melanoma.workflows.reproduce_papers import papers, read_paper
from napari_melanoma.workflows.reproduce_plan import Size
from napari_melanoma.workflows.reproduce_rows import Place, Work, complete_recipe

# Typed from the papers' tables, in the order of their columns.
P4 = {
    "unet": (0.52, 78.44, 80.80, 89.24, 93.16, 90.42, 94.65),
    "attention-unet": (0.50, 76.55, 78.78, 87.91, 93.27, 88.27, 95.69),
    "r2-unet": (0.50, 83.02, 83.02, 90.60, 94.39, 90.05, 96.48),
    "attention-r2-unet": (0.50, 82.08, 82.08, 90.00, 93.98, 89.38, 96.18),
    "deeplab-xception": (0.50, 85.37, 85.37, 92.00, 95.54, 91.46, 97.05),
    "deeplab-mobilenetv2": (0.55, 84.80, 84.80, 91.70, 95.18, 91.60, 96.55),
    "deeplab-mobilenetv2-035": (0.50, 82.85, 82.85, 90.52, 94.65, 88.31, 97.27),
}
P4_TRANSFER = {
    ("transfer-m", "SMARTSKINS"): (0.50, 78.51, 82.64, 90.14, 98.96, 95.40, 99.15),
    ("transfer-d-then-m", "SMARTSKINS"): (0.56, 78.04, 82.21, 89.89, 98.90, 96.05, 99.09),
    ("transfer-m", "Dermofit"): (0.50, 72.97, 80.26, 88.26, 93.51, 87.56, 96.86),
    ("transfer-d-then-m", "Dermofit"): (0.56, 75.46, 81.03, 88.79, 93.78, 89.68, 96.13),
}
P2 = {
    "random": (49.78, 31.09),
    "constant-negative": (73.28, 0.01),
    "simple-cnn": (94.77, 89.51),
    "unet": (95.21, 90.90),
    "unetpp": (95.56, 91.95),
    "unetpp-refined": (95.66, 92.10),
}
GRIDS = {
    "grid-unets": 4 * 3 * 5,
    "grid-xception": 2 * 3 * 5,
    "grid-mobilenetv2": 3 * 5,
    "grid-alpha": 5 * 5,
    "grid-search": 4 * 4,
}
TRANSFER = ("deeplab-mobilenetv2-035", "transfer-m", "transfer-d", "transfer-zero-shot", "transfer-d-then-m")
COST = StepCost(0.01, 0.001, 0.005, 1, 1, "cpu", "32-true")


def spots(folder: Path, count: int = 12, seed: int = 0, split: str = "") -> Path:
    """Write a data set of dark discs on bright skin, two images a patient."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :48]
    for index in range(count):
        centre = rng.uniform(14, 26, 2)
        mask = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(6, 12)
        skin = np.where(mask[..., None], (90, 50, 40), (230, 190, 170)) + rng.normal(0, 12, (40, 48, 3))
        write_rgb(folder / f"images/s{index}.png", skin.clip(0, 255).astype(np.uint8))
        write_mask(folder / f"masks/s{index}.png", mask)
    table = [{"image_id": f"s{n}", "patient_id": f"p{n // 2}", "split": split} for n in range(count)]
    write_table(folder / "dataset.csv", table)
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set of each kind, one that is taken only by its name, and one that nobody knows."""
    folder = tmp_path_factory.mktemp("sets")
    for seed, name in enumerate(("isic2017", "dermofit", "ph2", "unknown")):
        spots(folder / name, seed=seed)
    return folder


def test_every_row_has_the_figures_of_its_paper() -> None:
    names = ("T", "TJA", "JA", "DI", "AC", "SE", "SP")
    best = {row.name: row.file.paper[""] for row in read_paper("P4").table_rows if row.file.table == "best"}
    assert {name: tuple(figures[key] for key in names) for name, figures in best.items()} == P4
    transfer = {
        (row.name, set_): f for row in read_paper("P4").table_rows for set_, f in row.file.paper.items() if set_
    }
    assert {key: tuple(figures[name] for name in names) for key, figures in transfer.items()} == P4_TRANSFER
    found = {row.name: row.file.paper[""] for row in read_paper("p2").table_rows}
    assert {name: (figures["AC"], figures["DI"]) for name, figures in found.items()} == P2


def test_the_grids_are_whole_and_the_best_rows_are_in_them() -> None:
    rows = [row for name in papers() for row in read_paper(name).rows]
    assert {grid: sum(row.grid == grid for row in rows) for grid in {row.grid for row in rows} - {None}} == GRIDS
    for name in P4:
        best = read_paper("P4").row(name).recipe("full", data={"datasets": ["m"]}, model={"start": "none"})
        alike = [
            row
            for row in rows
            if row.grid
            and row.full["loss"] == best.loss
            and row.full["model"]["architecture"] == best.model.architecture
        ]
        assert any(row.full["model"]["options"].items() <= best.model.options.items() for row in alike), name


@pytest.mark.parametrize("budget", ["small", "full"])
def test_every_row_is_a_recipe(budget: str) -> None:
    for name in papers():
        paper = read_paper(name)
        for row in paper.rows:
            if row.file.learn:
                recipe = row.recipe(budget, data={"datasets": ["any"]})
                assert recipe.model.input_size == (128 if budget == "small" else {"P2": 256, "P4": 512}[name])
                assert recipe.model.start in ("none", *paper.file.weights)
                assert row.file.learn in paper.file.roles
        for role in paper.file.roles.values():
            assert {*role.sources, *role.others} <= set(sources())


def test_the_rows_that_a_row_needs_come_with_it() -> None:
    assert tuple(row.name for row in read_paper("P4").select(("transfer-d-then-m", "transfer-zero-shot"))) == TRANSFER
    with pytest.raises(ConfigError, match=r"no row or grid 'unknown'.*grid-alpha"):
        read_paper("P4").select(("unknown",))
    with pytest.raises(ConfigError, match="P2, P4"):
        read_paper("P9")


def test_sets_find_their_roles(sets: Path) -> None:
    folders, notices = assign(read_paper("P4"), [str(sets)], ("D", "M"))
    assert {role: [folder.name for folder in found] for role, found in folders.items()} == {
        "M": ["dermofit"],
        "D": ["isic2017"],
    }
    assert [text.split(" ")[0] for text in notices] == ["ph2", "unknown"]
    named, _ = assign(read_paper("P4"), [f"m={sets / 'unknown'}", f"D={sets / 'ph2'}"], ("D", "M"))
    assert [folder.name for found in named.values() for folder in found] == ["unknown", "ph2"]
    assert "HAM10000" in assign(read_paper("P2"), [f"D={sets / 'unknown'}"], ("HAM10000",))[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        *(
            ("isic2017", "isic2017"),
            ("ISIC-2017 small", "isic2017"),
            ("isic_2017_small", "isic2017"),
            ("isic20170", None),
        ),
        *(("HAM10000", "ham10000"), ("ham", "ham10000"), ("hamburg-clinic", None), ("ham-house", None)),
        *(("pad_ufes", "pad-ufes-20"), ("PAD-UFES-20", "pad-ufes-20"), ("pad", "pad-ufes-20"), ("padova", None)),
        *(("PH2Dataset", "ph2"), ("ph2", "ph2"), ("ph21", None), ("SMARTSKINS", "smartskins"), ("dermofits", None)),
    ],
)
def test_public_sets_are_known_by_whole_words(name: str, source: str | None) -> None:
    assert source_of(name) == source


def test_a_name_that_the_images_contradict_is_refused(tmp_path: Path) -> None:
    folder = spots(tmp_path / "all/isic2017", 2)
    rows = read_table(folder / "dataset.csv")
    write_table(folder / "dataset.csv", [{**row, "modality": "macroscopic"} for row in rows])
    with pytest.raises(InputError, match=r"called like the dermoscopic set isic2017, but images of it are macroscopic"):
        assign(read_paper("P4"), [str(folder)], ("D",))
    spots(tmp_path / "all/isic2018", 2)
    found, notices = assign(read_paper("P4"), [str(tmp_path / "all")], ("D",))
    assert [path.name for path in found["D"]] == ["isic2018"]
    assert "isic2017 is left out" in notices[0]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            [],
            "(?s)needs macroscopic.*Get .*Dermofit.* from http.*licence.*data import.*M=DATASET.*In their place: PAD",
        ),
        (["X=nowhere"], "no role 'X'"),
        (["M=nowhere"], "no folder nowhere"),
        (["{sets}/unknown"], "which role .*unknown plays.*--data M="),
        (["{sets}/unknown/images"], "holds none"),
    ],
)
def test_what_is_missing_is_said(sets: Path, named: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        assign(read_paper("P4"), [text.format(sets=sets) for text in named], ("M", "D"))


@pytest.mark.usefixtures("user_folders")
def test_one_split_without_patients_or_pictures_on_both_sides(tmp_path: Path) -> None:
    folder, paper = spots(tmp_path / "isic2016", 40), read_paper("P4")
    shutil.copy(folder / "images/s0.png", folder / "images/s39.png")
    stage({"D": (folder,)}, paper.file.roles, None, tmp_path / "out", RunContext())
    samples = read_dataset(tmp_path / "out/isic2016")
    sides = {side: {s.group for s in samples if s.split == side} for side in ("train", "test")}
    assert not sides["train"] & sides["test"]
    found = staged({"D": (folder,)}, tmp_path / "out")["D"]
    assert (found.learn + found.judged, found.duplicates, found.left_out) == (39, 1, 0)
    assert {sample.modality for sample in samples} == {"dermoscopic"}
    stage({"D": (folder,)}, paper.file.roles, 10, tmp_path / "less", RunContext())
    less = staged({"D": (folder,)}, tmp_path / "less")["D"]
    assert (less.learn, less.left_out, less.judged) == (10, found.learn - 10, found.judged)


@pytest.mark.usefixtures("user_folders")
def test_a_named_split_is_kept(tmp_path: Path) -> None:
    folder = spots(tmp_path / "isic2016", 8)
    rows = read_table(folder / "dataset.csv")
    for number, row in enumerate(rows):
        row["split"] = ("train", "val", "test", "train")[number // 2]
    write_table(folder / "dataset.csv", rows)
    stage({"D": (folder,)}, read_paper("P4").file.roles, None, tmp_path / "out", RunContext())
    judged = [sample.image_id for sample in read_dataset(tmp_path / "out/isic2016") if sample.split == "test"]
    assert judged == ["s4", "s5"]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps for every row, and none measured."""
    monkeypatch.setattr(step_cost, "measure_step", lambda recipe: COST)
    monkeypatch.setattr(reproduce_planning, "choose_size", lambda *of: Size(2, None))


OPTIONS = ReproduceOptions(paper="P4", budget="small", minutes=1e6, rows=("transfer-d-then-m", "transfer-zero-shot"))


@pytest.mark.usefixtures("planned")
def test_a_row_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only test that notices where nothing is learnt: discs are found after a few steps."""
    monkeypatch.setattr(reproduce_planning, "choose_size", lambda *of: Size(24, None))
    options = ReproduceOptions(
        paper="P4", budget="small", minutes=1e6, rows=("unet",), data=(str(spots(tmp_path / "dermofit", 32)),)
    )
    found = reproduce(options, tmp_path / "out", run=RunContext())
    assert found.failed == {}
    assert found.found[0].estimates()["JA"].mean > 0.5
    assert found.found[0].remark() == ""


@pytest.fixture(scope="module")
def done(sets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reproduction, Path]]:
    """Experiment 2 of P4 on tiny sets."""
    out = tmp_path_factory.mktemp("done") / "p4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_cost, "measure_step", lambda recipe: COST)
        patch.setattr(reproduce_planning, "choose_size", lambda *of: Size(2, None))
        yield reproduce(OPTIONS.model_copy(update={"data": (str(sets),)}), out, run=RunContext()), out


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "tables.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_all_rows_learn_and_are_judged_alike(done: tuple[Reproduction, Path]) -> None:
    found, out = done
    assert [item.row.name for item in found.found] == list(TRANSFER)
    assert found.failed == {}
    assert found.plan.left_out == {}
    judged = {name: [row["image_id"] for row in read_table(out / f"judged/{name}/per_image.csv")] for name in TRANSFER}
    of_m = {tuple(names) for name, names in judged.items() if name != "transfer-d"}
    assert len(of_m) == 1
    rows = {name: read_data(out / f"rows/{name}/data.csv") for name in ("deeplab-mobilenetv2-035", "transfer-d-then-m")}
    parts = [{(row.part, row.sample.image_id) for row in table} for table in rows.values()]
    assert parts[0] == parts[1]
    assert {image for part, image in parts[0] if part == "held_out"} == set(of_m.pop())
    parent = read_bundle(out / "rows/transfer-d-then-m/bundle").config.provenance["parent"]
    assert parent["fingerprint"] == read_bundle(out / "rows/transfer-d/bundle").fingerprint


def test_the_tables_stand_side_by_side(done: tuple[Reproduction, Path]) -> None:
    _, out = done
    rows = {(row["row"], row["data_sets"]): row for row in table_of(out)}
    assert rows["transfer-m", "dermofit"]["paper_TJA"] == "72.97"
    assert rows["transfer-m", ""]["paper_TJA"] == "78.51"
    ours = rows["transfer-d-then-m", "dermofit"]
    assert 0 <= float(ours["JA"]) <= 100
    assert (ours["n"], ours["JA_low"], ours["JA_high"]) == ("2", "", "")  # two images of one patient
    assert "2 epochs instead of up to 124" in ours["reduced"]
    assert "128 px instead of 512" in ours["reduced"]
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "| D, then M | Dermofit / dermofit | 2 |" in text
    assert "D, then M less M only, on the same images: TJA " in text
    page = (out / "tables.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    figures = {path.name for path in (out / "figures").glob("*.png")}
    assert figures == {"tja-against-size.png", "curves.png", "samples-m.png", "samples-d.png"}


@pytest.mark.usefixtures("planned")
def test_another_reproduction_is_refused(done: tuple[Reproduction, Path], sets: Path) -> None:
    for changed in ({"paper": "P2", "rows": ()}, {"budget": "full"}, {"rows": ()}):
        with pytest.raises(RunError, match="holds another reproduction: P4, budget small, 5 rows"):
            reproduce(OPTIONS.model_copy(update={"data": (str(sets),), **changed}), done[1], run=RunContext())


@pytest.mark.usefixtures("planned")
def test_other_data_weights_or_time_are_never_silently_ignored(done: tuple[Reproduction, Path], sets: Path) -> None:
    out = begun(done[1], "other")
    for changed, said in (
        ({"data": (f"M={sets / 'unknown'}", f"D={sets / 'isic2017'}")}, "other --data"),
        ({"data": (str(sets),), "weights": ("pascal_voc_xception=" + str(sets / "weights.pth"),)}, "other --weights"),
    ):
        (sets / "weights.pth").write_bytes(b"")
        with pytest.raises(RunError, match=f"{said}.*data M=.*dermofit"):
            reproduce(OPTIONS.model_copy(update=changed), out, run=RunContext())
    said = []
    late = reproduce(
        OPTIONS.model_copy(update={"data": (str(sets),), "minutes": 1e-3}),
        out,
        run=RunContext(lambda progress: said.append(progress.message)),
    )
    assert said[0].startswith(f"{out} goes on as it began: 5 rows of P4")
    assert late.failed == {}
    assert late.late["transfer-d"] == "time: it would have ended after the 0.001 min."
    assert late.late["transfer-zero-shot"] == "time: it needs the row 'transfer-d', which there was none for."
    assert "Not run: transfer-d: time" in (out / "tables.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("planned")
def test_a_check_writes_nothing_and_says_what_cannot_run(sets: Path, tmp_path: Path) -> None:
    options = ReproduceOptions(paper="P4", data=(str(sets),), rows=("grid-mobilenetv2",), budget="small")
    plan = check(options, run=RunContext()).plan
    assert len(plan.rows) == 5
    assert len(plan.left_out) == 10
    assert "--weights cityscapes_mobilenetv2=FILE" in plan.left_out["grid-mobilenetv2-cityscapes-mobilenetv2-ce"]
    assert {row.epochs for row in plan.rows} == {2}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("planned")
def test_weights_that_a_user_has_are_started_from(sets: Path, tmp_path: Path) -> None:
    name, file = "pascal_voc_mobilenetv2", tmp_path / "deeplabv3_mnv2_pascal.tar.gz"
    file.write_bytes(b"weights")
    options = ReproduceOptions(
        paper="P4", data=(str(sets),), rows=("deeplab-mobilenetv2",), weights=(f"{name}={file}",)
    )
    plan, place = check(options, run=RunContext()).plan, Place(tmp_path)
    data = {"M": RoleData("M", (sets / "dermofit",), 10, 2)}
    work = Work(read_paper("P4"), plan, data, place)
    assert complete_recipe(read_paper("P4").row("deeplab-mobilenetv2"), work).model.start == str(file)
    without = Work(read_paper("P4"), plan.model_copy(update={"weights": {}}), data, place)
    assert complete_recipe(read_paper("P4").row("deeplab-mobilenetv2"), without).model.start == "none"
    for wrong, said in (
        (f"{name}=nowhere.tar.gz", "no file of weights.*http"),
        ("imagenet=x", "no weights 'imagenet'"),
    ):
        with pytest.raises(ConfigError, match=said):
            check(options.model_copy(update={"weights": (wrong,)}), run=RunContext())


@pytest.mark.usefixtures("planned")
def test_a_row_that_fails_is_named_and_the_others_go_on(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.workflows import reproduce_rows

    def train(recipe: object, out: Path, **_: object) -> None:
        raise MemoryError("no room") if out.name == "unet" else InputError("this one too")

    monkeypatch.setattr(reproduce_rows, "train", train)
    options = ReproduceOptions(
        paper="P2", data=(f"D={sets / 'isic2017'}",), rows=("unet", "unetpp-refined"), budget="small"
    )
    found = reproduce(options, tmp_path / "out", run=RunContext())
    assert found.found == []
    assert found.failed == {
        "unet": "MemoryError: no room",
        "unetpp": "this one too",
        "unetpp-refined": "it needs the row 'unetpp', which failed.",
    }
    for name in ("tables.md", "tables.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "No row has been judged." in text
        assert "MemoryError: no room" in text
    assert table_of(tmp_path / "out") == []


def test_a_stop_stops(done: tuple[Reproduction, Path]) -> None:
    out = begun(done[1], "stopped")
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        reproduce(OPTIONS, out, run=run)
    assert [path.name for path in (out / "judged").iterdir()] == ["deeplab-mobilenetv2-035"]
    assert [row["row"] for row in table_of(out)] == ["deeplab-mobilenetv2-035"]


def begun(done: Path, name: str) -> Path:
    """Copy plan and split of a reproduction, and its first row, so that another one does the rest again."""
    out = done.parent / name  # as deep as the other: the split names files from there
    for folder in ("data", "recipes", "rows/deeplab-mobilenetv2-035", "judged/deeplab-mobilenetv2-035"):
        shutil.copytree(done / folder, out / folder)
    shutil.copy(done / "reproduction.json", out / "reproduction.json")
    return out


def test_killed_within_a_row_it_ends_as_if_nothing_had_happened(
    done: tuple[Reproduction, Path], tmp_path: Path
) -> None:
    out = begun(done[1], "killed")
    words = ["reproduce", "P4", "--budget", "small", "--out", str(out)]
    rows = [word for row in OPTIONS.rows for word in ("--rows", row)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "said.txt").open("wb") as said:
        life = subprocess.Popen(
            [sys.executable, "-m", "napari_melanoma", *words, *rows], env=environment, stdout=said, stderr=said
        )
    events, end = out / "rows/transfer-d/events.jsonl", time.monotonic() + 600
    while not (events.exists() and b'"epoch", ' in events.read_bytes()):
        assert life.poll() is None, (tmp_path / "said.txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.01)
    life.kill()
    life.wait()
    assert {path.name for path in (out / "judged").iterdir()} == {"deeplab-mobilenetv2-035", "transfer-m"}
    stamp = (out / "judged/transfer-m/per_image.csv").stat().st_mtime_ns
    reproduce(OPTIONS, out, run=RunContext())
    assert (out / "judged/transfer-m/per_image.csv").stat().st_mtime_ns == stamp
    assert table_of(out) == table_of(done[1])
