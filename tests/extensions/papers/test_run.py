"""A reproduction from data to tables: training, resuming, failed rows, and other folders."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.core.files import temporary_name
from napari_melanoma.core.parsing import read_json
from napari_melanoma.extensions.papers import paper_rows, split
from napari_melanoma.extensions.papers.comparisons import describe_differences
from napari_melanoma.extensions.papers.planning import ReproduceOptions
from napari_melanoma.extensions.papers.run import Reproduction, check, reproduce
from napari_melanoma.io.results import read_table
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.training.run_data import read_data

pytestmark = pytest.mark.slow

TRANSFER = ("deeplab-mobilenetv2-035", "transfer-m", "transfer-d", "transfer-zero-shot", "transfer-d-then-m")
OPTIONS = ReproduceOptions(paper="P4", budget="small", rows=("transfer-d-then-m", "transfer-zero-shot"))


def test_a_row_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spots: Callable[..., Path], two_steps: Callable[..., None]
) -> None:
    """The only test that trains: disks are found after a few steps."""
    two_steps(monkeypatch, 24, 64)
    options = ReproduceOptions(
        paper="P4", budget="small", rows=("unet",), data=(str(spots(tmp_path / "dermofit", 32)),)
    )
    found = reproduce(options, tmp_path / "out", run=RunContext())
    assert found.failed == {}
    assert found.results[0].estimates["JA"].mean > 0.5
    assert found.results[0].remark == ""
    evaluation = read_json(tmp_path / "out/evaluated/unet/evaluation.json")
    assert evaluation["validation_dice"] > evaluation["constant_dice"] > 0.1  # discs cover a part of the image


@pytest.fixture(scope="module")
def done(
    sets: Path, tmp_path_factory: pytest.TempPathFactory, two_steps: Callable[..., None]
) -> Iterator[tuple[Reproduction, Path]]:
    """Experiment 2 of P4 on tiny data sets; beside it, a copy that was made while its third row was trained."""
    out = tmp_path_factory.mktemp("done") / "p4"
    events = out / "rows/transfer-d/events.jsonl"

    def copy(progress: Progress) -> None:
        if not copy_of(out).exists() and events.exists() and b'"epoch", ' in events.read_bytes():
            shutil.copytree(out, copy_of(out))

    with pytest.MonkeyPatch.context() as patch:
        two_steps(patch)
        yield reproduce(OPTIONS.model_copy(update={"data": (str(sets),)}), out, run=RunContext(copy)), out


def copy_of(out: Path) -> Path:
    """The folder for the files of the running reproduction, as they were after an epoch of a row."""
    return out.with_name("running")


@pytest.mark.usefixtures("planned")
def test_a_model_is_evaluated_on_its_validation_images(spots: Callable[..., Path], tmp_path: Path) -> None:
    options = OPTIONS.model_copy(
        update={"data": (f"M={spots(tmp_path / 'dermofit', 24)}",), "rows": ("validation-unet",)}
    )
    found = reproduce(options, tmp_path / "out", run=RunContext())
    assert [item.row.name for item in found.results] == ["unet", "validation-unet"]
    parts = {row.sample.image_id: row.part for row in read_data(tmp_path / "out/rows/unet/data.csv")}
    for item, part in zip(found.results, ("test", "validation"), strict=True):
        assert {image["image_id"] for image in item.images} == {name for name in parts if parts[name] == part}
    assert found.results[0].row.file.paper == found.results[1].row.file.paper


@pytest.mark.usefixtures("planned")
def test_the_split_of_p2_has_no_validation_images(spots: Callable[..., Path], tmp_path: Path) -> None:
    options = ReproduceOptions(
        paper="P2", budget="small", rows=("grid-split-0.0",), data=(str(spots(tmp_path / "ham10000", 24)),)
    )
    found = reproduce(options, tmp_path / "out", run=RunContext())
    (item,) = found.results
    rows = read_data(tmp_path / "out/rows/grid-split-0.0/data.csv")
    tested = {row.sample.image_id for row in rows if row.part == "validation"}
    assert {image["image_id"] for image in item.images} == tested
    assert {row.part for row in rows} == {"train", "validation"}
    assert len(rows) == 24


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "tables.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_all_rows_use_the_same_split(done: tuple[Reproduction, Path]) -> None:
    found, out = done
    assert [item.row.name for item in found.results] == list(TRANSFER)
    assert found.failed == {}
    assert found.plan.left_out == {}
    evaluated = {
        name: [row["image_id"] for row in read_table(out / f"evaluated/{name}/per_image.csv")] for name in TRANSFER
    }
    of_m = {tuple(names) for name, names in evaluated.items() if name != "transfer-d"}
    assert len(of_m) == 1
    rows = {name: read_data(out / f"rows/{name}/data.csv") for name in ("deeplab-mobilenetv2-035", "transfer-d-then-m")}
    parts = [{(row.part, row.sample.image_id) for row in table} for table in rows.values()]
    assert parts[0] == parts[1]
    assert {image for part, image in parts[0] if part == "test"} == set(of_m.pop())
    parent = read_bundle(out / "rows/transfer-d-then-m/bundle").config.provenance["parent"]
    assert parent["fingerprint"] == read_bundle(out / "rows/transfer-d/bundle").fingerprint


def test_tables_of_paper_and_reproduction(done: tuple[Reproduction, Path]) -> None:
    found, out = done
    rows = {(row["row"], row["data_sets"]): row for row in table_of(out)}
    assert rows["transfer-m", "dermofit"]["paper_TJA"] == "72.97"
    assert rows["transfer-m", ""]["paper_TJA"] == "78.51"
    own_row = rows["transfer-d-then-m", "dermofit"]
    assert 0 <= float(own_row["JA"]) <= 100
    assert (own_row["n"], own_row["JA_low"], own_row["JA_high"]) == ("2", "", "")  # two images of one patient
    assert "2 epochs instead of up to 124" in own_row["reduced"]
    assert "128 px instead of 512" in own_row["reduced"]
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert "| D, then M | Dermofit | dermofit | 2 |" in text
    assert "D, then M is not compared with M only: not learned: " in text  # after two steps
    differences = describe_differences([replace(item, unlearned="") for item in found.results], ("TJA",))
    assert any(text.startswith("D, then M minus M only, on the same images: TJA ") for text in differences)
    page = (out / "tables.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    figures = {path.name for path in (out / "figures").glob("*.png")}
    assert figures == {"tja-against-size.png", "curves.png", "samples-m.png", "samples-d.png"}


@pytest.mark.usefixtures("planned")
def test_another_reproduction_is_rejected(done: tuple[Reproduction, Path], sets: Path) -> None:
    for changed in ({"paper": "P2", "rows": ()}, {"budget": "full"}, {"rows": ()}):
        with pytest.raises(RunError, match="contains another reproduction: P4, budget small, 5 rows"):
            reproduce(OPTIONS.model_copy(update={"data": (str(sets),), **changed}), done[1], run=RunContext())


@pytest.mark.usefixtures("planned")
def test_other_data_or_weights_are_rejected(done: tuple[Reproduction, Path], sets: Path) -> None:
    out = begun(done[1], "other")
    for changed, option in (
        ({"data": (f"M={sets / 'unknown'}", f"D={sets / 'isic2017'}")}, "other --data"),
        ({"data": (str(sets),), "weights": ("pascal_voc_xception=" + str(sets / "weights.pth"),)}, "other --weights"),
    ):
        (sets / "weights.pth").write_bytes(b"")
        with pytest.raises(RunError, match=f"{option}.*data M=.*dermofit"):
            reproduce(OPTIONS.model_copy(update=changed), out, run=RunContext())


@pytest.mark.usefixtures("planned")
def test_a_check_writes_nothing_and_lists_rows_that_cannot_run(sets: Path, tmp_path: Path) -> None:
    options = ReproduceOptions(paper="P4", data=(str(sets),), rows=("grid-mobilenetv2",), budget="small")
    plan = check(options, run=RunContext()).plan
    assert len(plan.rows) == 5
    assert len(plan.left_out) == 10
    assert "--weights cityscapes_mobilenetv2=FILE" in plan.left_out["grid-mobilenetv2-cityscapes-mobilenetv2-ce"]
    assert {row.epochs for row in plan.rows} == {2}
    assert list(tmp_path.iterdir()) == []


def test_a_check_reads_no_image(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "find_duplicates", lambda *of, **options: pytest.fail("images were read"))
    options = ReproduceOptions(paper="P4", data=(str(sets),), rows=("unet", "deeplab-mobilenetv2"), budget="small")
    assert len(check(options, run=RunContext()).plan.rows) == 2


@pytest.mark.usefixtures("planned")
def test_the_small_budget_has_the_first_draws_of_a_random_search(sets: Path) -> None:
    data = (f"HAM10000={next(path for path in sorted(sets.iterdir()) if path.is_dir())}",)
    options = ReproduceOptions(paper="P2", data=data, rows=("search-segmentation",), budget="small")
    plan = check(options, run=RunContext()).plan
    assert [row.name for row in plan.rows] == [f"search-segmentation-{number:02}" for number in (1, 2, 3)]
    assert set(plan.left_out.values()) == {"a further draw, for the full budget"}
    assert len(plan.left_out) == 13


@pytest.mark.usefixtures("planned")
def test_a_failed_row_is_reported_and_the_others_continue(
    sets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(recipe: object, out: Path, **_: object) -> None:
        raise MemoryError("no room") if out.name == "unet" else InputError("this one too")

    monkeypatch.setattr(paper_rows, "train", train)
    options = ReproduceOptions(
        paper="P2", data=(f"D={sets / 'isic2017'}",), rows=("unet", "unetpp-refined"), budget="small"
    )
    found = reproduce(options, tmp_path / "out", run=RunContext())
    assert found.results == []
    assert found.failed == {
        "unet": "MemoryError: no room",
        "unetpp": "this one too",
        "unetpp-refined": "it needs the row 'unetpp', which failed.",
    }
    for name in ("tables.md", "tables.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "No row has been evaluated." in text
        assert "MemoryError: no room" in text
    assert table_of(tmp_path / "out") == []


def test_a_reproduction_can_be_cancelled(done: tuple[Reproduction, Path]) -> None:
    out = begun(done[1], "stopped")
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        reproduce(OPTIONS, out, run=run)
    assert [path.name for path in (out / "evaluated").iterdir()] == ["deeplab-mobilenetv2-035"]
    assert [row["row"] for row in table_of(out)] == ["deeplab-mobilenetv2-035"]


def begun(done: Path, name: str) -> Path:
    """Copy plan and split of a reproduction, and its first row, so that another one does the rest again."""
    out = done.parent / name  # at the same depth, because the split stores relative paths
    for folder in ("data", "recipes", "rows/deeplab-mobilenetv2-035", "evaluated/deeplab-mobilenetv2-035"):
        shutil.copytree(done / folder, out / folder)
    shutil.copy(done / "reproduction.json", out / "reproduction.json")
    return out


@pytest.mark.usefixtures("planned")
def test_a_copy_of_a_running_reproduction_is_resumed(done: tuple[Reproduction, Path], tmp_path: Path) -> None:
    # at the same depth, because the split stores relative paths
    out = shutil.copytree(copy_of(done[1]), tmp_path / "p4")
    with (out / "rows/transfer-d/events.jsonl").open("a") as events:
        events.write('{"time": 1, "ki')
    left = leave_temporary_file(out / "rows/transfer-d/metrics.csv")
    assert {path.name for path in (out / "evaluated").iterdir()} == {"deeplab-mobilenetv2-035", "transfer-m"}
    assert not (out / "rows/transfer-d/bundle").exists()
    stamp = (out / "evaluated/transfer-m/per_image.csv").stat().st_mtime_ns
    reproduce(OPTIONS, out, run=RunContext())
    assert (out / "evaluated/transfer-m/per_image.csv").stat().st_mtime_ns == stamp
    assert table_of(out) == table_of(done[1])
    lines = (out / "rows/transfer-d/events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines].count("finished") == 1
    assert not left.exists()


def leave_temporary_file(path: Path) -> Path:
    """Write a temporary file as a process leaves it that is killed while it writes a file."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    own = temporary_name(path, path.suffix)
    left = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-"))
    left.write_text("half", encoding="utf-8")
    return left
