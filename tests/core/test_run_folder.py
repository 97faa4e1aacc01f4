"""A run folder can be read at any moment, and a run that died can go on in it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from napari_melanoma.core.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_names_are_those_of_the_contract(folder: RunFolder) -> None:
    paths = (folder.config, folder.last_checkpoint, folder.best_checkpoint, folder.bundle)
    names = [path.relative_to(folder.path).as_posix() for path in paths]
    assert names == ["config.toml", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "bundle"]


def test_events_are_lines_that_any_json_reader_reads(folder: RunFolder) -> None:
    folder.tell("started", device="cpu")
    folder.tell("epoch", epoch=0, loss=math.nan)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    lines = (folder.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [event["kind"] for event in events] == ["started", "epoch"]
    assert events[1]["loss"] is None
    assert events[0]["time"] <= events[1]["time"]


def table(folder: RunFolder) -> str:
    return (folder.path / "metrics.csv").read_text(encoding="utf-8")


def test_metrics_are_a_table_with_one_header(folder: RunFolder) -> None:
    folder.add_metrics({"epoch": 0, "loss": 0.5})
    folder.add_metrics({"epoch": 1, "loss": 0.123456789})
    assert table(folder) == "epoch,loss\n0,0.5\n1,0.123457\n"


RESUMED = [
    ("nothing was written", None, None),
    ("a crash before the header", "", ""),
    ("rows before and after", "epoch,loss\n0,0.5\n1,0.4\n2,0.3\n", "epoch,loss\n0,0.5\n1,0.4\n"),
    ("a row that was cut off", "epoch,loss\n0,0.5\n1,0.4\n1", "epoch,loss\n0,0.5\n1,0.4\n"),
    ("a row that is no row", "epoch,loss\n0,0.5\nx,y\n", "epoch,loss\n0,0.5\n"),
]


@pytest.mark.parametrize(("before", "after"), [case[1:] for case in RESUMED], ids=[case[0] for case in RESUMED])
def test_a_resumed_run_repeats_no_row(folder: RunFolder, before: str | None, after: str | None) -> None:
    path = folder.path / "metrics.csv"
    if before is not None:
        path.write_text(before, encoding="utf-8")
    folder.keep_metrics_before(2)
    assert (table(folder) if path.exists() else None) == after


def test_a_table_without_a_header_gets_one(folder: RunFolder) -> None:
    (folder.path / "metrics.csv").touch()
    folder.add_metrics({"epoch": 0, "loss": 0.5})
    assert table(folder) == "epoch,loss\n0,0.5\n"


@pytest.mark.parametrize("wish", ["run", "cancel"])
def test_a_wish_reaches_the_run(folder: RunFolder, wish: str) -> None:
    folder.ask(wish)
    assert folder.wish() == wish


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"wish": "dance"}', '{"wish": null}'])
def test_without_a_clear_wish_the_run_goes_on(folder: RunFolder, content: str | None) -> None:
    if content is not None:
        (folder.path / "control.json").write_text(content)
    assert folder.wish() == "run"
