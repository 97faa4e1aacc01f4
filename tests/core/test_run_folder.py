"""A run folder is readable at any moment, and an interrupted run can be resumed in it."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_melanoma.core import run_folder
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import RunError, SaveError
from napari_melanoma.core.files import temporary_name
from napari_melanoma.core.run_folder import RunFolder, RunFolderContext, RunState, SecondaryRunContext, run_state


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_files_have_the_documented_names(folder: RunFolder) -> None:
    paths = (folder.config, folder.last_checkpoint, folder.best_checkpoint, folder.bundle)
    names = [path.relative_to(folder.path).as_posix() for path in paths]
    assert names == ["config.toml", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "bundle"]


def test_events_are_lines_that_any_json_reader_reads(folder: RunFolder) -> None:
    folder.append_event("started", device="cpu")
    folder.append_event("epoch", epoch=0, loss=math.nan)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    lines = (folder.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [event["kind"] for event in events] == ["started", "epoch"]
    assert events[1]["loss"] is None
    assert events[0]["time"] <= events[1]["time"]


def test_a_run_that_was_ended_by_cancel_before_it_started_has_not_failed(folder: RunFolder) -> None:
    (folder.path / run_folder.PROCESS_FILE).touch()
    folder.append_event("launched")
    events = folder.read_events()
    assert run_state(folder.path, events, is_active=False) is RunState.failed
    folder.write_command("cancel")
    assert run_state(folder.path, events, is_active=False) is RunState.cancelling  # its final event follows
    os.utime(folder.path / "control.json", (0, 0))
    assert run_state(folder.path, events, is_active=False) is RunState.cancelled  # none followed


def table(folder: RunFolder) -> str:
    return (folder.path / "metrics.csv").read_text(encoding="utf-8")


def test_metrics_are_a_table_with_one_header(folder: RunFolder) -> None:
    folder.add_metrics({"epoch": 0, "loss": 0.5})
    folder.add_metrics({"epoch": 1, "loss": 0.123456789})
    assert table(folder) == "epoch,loss\n0,0.5\n1,0.123457\n"


def test_values_are_in_the_column_of_their_name(folder: RunFolder) -> None:
    """A run that is resumed with other data, or by a later version, may measure more or less, in another order."""
    (folder.path / "metrics.csv").write_text("epoch,tuning_loss,seconds\n0,0.5,7\n", encoding="utf-8")
    folder.add_metrics({"epoch": 1, "loss": 0.1, "seconds": 8, "validation_loss": 0.4})
    folder.add_metrics({"epoch": 2, "validation_loss": 0.3})
    assert table(folder).splitlines()[2:] == ["1,0.4,8", "2,0.3,nan"]
    assert [row["validation_loss"] for row in folder.read_metrics()] == [0.5, 0.4, 0.3]


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
    folder.drop_metrics_from(2)
    assert (table(folder) if path.exists() else None) == after


def test_a_table_without_a_header_gets_one(folder: RunFolder) -> None:
    (folder.path / "metrics.csv").touch()
    folder.add_metrics({"epoch": 0, "loss": 0.5})
    assert table(folder) == "epoch,loss\n0,0.5\n"


@pytest.mark.parametrize("command", ["run", "pause", "cancel"])
def test_a_command_reaches_the_run(folder: RunFolder, command: str) -> None:
    folder.write_command(command)
    assert folder.read_command() == command


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"wish": "dance"}', '{"wish": null}'])
def test_without_a_valid_command_the_run_continues(folder: RunFolder, content: str | None) -> None:
    if content is not None:
        (folder.path / "control.json").write_text(content)
    assert folder.read_command() == "run"


def kinds(folder: RunFolder) -> list[object]:
    return [event["kind"] for event in folder.read_events()]


def test_partial_line_after_a_kill_is_removed(folder: RunFolder) -> None:
    folder.append_event("started")
    folder.add_metrics({"epoch": 0, "loss": 0.5})
    for name in ("events.jsonl", "metrics.csv"):
        with (folder.path / name).open("ab") as file:
            file.write(b'{"kind": "st\xc3')
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    left = []
    for name in ("events.jsonl", "checkpoints/best.ckpt", "samples/epoch-0001.png"):
        path = temporary_name(folder.path / name)
        left.append(path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{process.pid}-")))
        left[-1].parent.mkdir(exist_ok=True)
        left[-1].write_text("half")
    command = temporary_name(folder.path / "control.json", ".json")
    command.write_text("{")
    folder.repair()
    folder.append_event("epoch")
    assert kinds(folder) == ["started", "epoch"]
    assert table(folder) == "epoch,loss\n0,0.5\n"
    assert not [path for path in left if path.exists()]
    assert command.exists()  # a dock may be writing it right now


def test_an_event_after_a_partial_line_is_read(folder: RunFolder) -> None:
    """A run that was killed as it wrote is launched again, by a process that does not own its folder."""
    folder.append_event("started")
    with folder.events.open("ab") as file:
        file.write(b'{"kind": "st')
    folder.append_event("launched")
    assert kinds(folder) == ["started", "launched"]
    assert folder.is_launching


@pytest.mark.parametrize("content", [b"", b"half", b"\n", b"a\nb"])
def test_a_second_repair_changes_nothing(folder: RunFolder, content: bytes) -> None:
    folder.events.write_bytes(content)
    folder.repair()
    once = folder.events.read_bytes()
    folder.repair()
    assert folder.events.read_bytes() == once == content[: content.rfind(b"\n") + 1]


def test_a_folder_has_one_owner(folder: RunFolder) -> None:
    with folder.locked():
        assert (folder.path / ".reserve").stat().st_size == run_folder.RESERVED_BYTES
        with pytest.raises(RunError, match="another process works"), folder.locked():
            pytest.fail("owned twice")
    with folder.locked():
        folder.append_final_event("cancelled")
        assert not (folder.path / ".reserve").exists()  # its room went to the last words
    assert kinds(folder) == ["cancelled"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_partial_line_is_removed_if_the_disk_is_full(folder: RunFolder) -> None:
    import resource

    folder.append_event("started")
    before = folder.events.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
    try:
        with pytest.raises(SaveError, match=r"events\.jsonl"):
            folder.append_event("step")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert folder.events.read_bytes() == before


def test_a_pause_ends_with_another_command(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    naps = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            folder.write_command("run")

    monkeypatch.setattr(run_folder.time, "sleep", sleep)
    folder.write_command("pause")
    RunFolderContext(RunContext(), folder).check()
    assert len(naps) == 3
    assert kinds(folder) == ["paused", "continued"]


@pytest.mark.parametrize("how", ["through the folder", "by the program"])
def test_a_paused_run_can_be_cancelled(how: str, folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    outer = RunContext()
    cancel = outer.cancel if how == "by the program" else lambda: folder.write_command("cancel")
    monkeypatch.setattr(run_folder.time, "sleep", lambda seconds: cancel())
    folder.write_command("pause")
    with pytest.raises(Cancelled):
        RunFolderContext(outer, folder).check()
    assert kinds(folder) == ["paused"]


def test_a_secondary_context_ignores_the_folder(folder: RunFolder) -> None:
    outer = RunContext()
    helping = SecondaryRunContext(outer, folder)
    folder.write_command("cancel")
    assert helping.read_command() == "run"
    outer.cancel()
    assert helping.read_command() == "cancel"


@pytest.mark.parametrize(
    ("kinds", "launched"),
    [
        ([], False),
        (["launched"], True),
        (["launched", "progress", "queued"], True),
        (["launched", "started"], False),
        (["launched", "started", "cancelled"], False),
        (["started", "cancelled", "launched", "progress"], True),
    ],
)
def test_a_run_is_launched_until_it_has_begun(kinds: list[str], launched: bool, folder: RunFolder) -> None:
    for kind in kinds:
        folder.append_event(kind)
    assert folder.is_launching is launched
