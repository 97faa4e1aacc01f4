"""Temporary files of killed processes are removed by the next process, and no other files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_melanoma.core import files
from napari_melanoma.core.files import (
    REPLACED_SUFFIX,
    atomic_file,
    atomic_folder,
    has_ended,
    process_start,
    remove_leftovers,
    temporary_name,
    temporary_prefix,
    write_text,
)

KILLED = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
LONG_AGO = time.time() - 2 * files.MIN_AGE_S


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(code: str, folder: Path) -> None:
    """Run code that prints a line in the middle of writing and then waits, and kill it there."""
    head = "import sys, time, pathlib\nfrom napari_melanoma.core.files import atomic_file, atomic_folder\n"
    tail = "\nout = pathlib.Path(sys.argv[1])\n"
    command = [sys.executable, "-c", head + tail + code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)


FILE = """
with atomic_file(out / "case.json") as temporary:
    temporary.write_text("{")
    print("writing", flush=True)
    time.sleep(60)
"""
FOLDER = """
with atomic_folder(out / "IMD002") as temporary:
    (temporary / "mask.png").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
BETWEEN = """
rename = pathlib.Path.replace
def stop_at_the_second(path, to, seen=[]):
    seen.append(path)
    if len(seen) == 2:
        print("writing", flush=True)
        time.sleep(60)
    return rename(path, to)
pathlib.Path.replace = stop_at_the_second
with atomic_folder(out / "IMD002") as temporary:
    (temporary / "mask.png").write_text("new")
"""


@KILLED
@pytest.mark.parametrize("code", [FILE, FOLDER], ids=["file", "folder"])
def test_the_next_process_removes_files_of_a_killed_one(tmp_path: Path, code: str) -> None:
    killed(code, tmp_path)
    assert len(names(tmp_path)) == 1
    write_text(tmp_path / "note.txt", "words")
    assert names(tmp_path) == ["note.txt"]


@KILLED
def test_a_result_is_restored_if_its_replacement_failed(tmp_path: Path) -> None:
    (tmp_path / "IMD002").mkdir()
    (tmp_path / "IMD002" / "mask.png").write_text("old")
    killed(BETWEEN, tmp_path)
    assert "IMD002" not in names(tmp_path)
    write_text(tmp_path / "note.txt", "words")
    assert names(tmp_path) == ["IMD002", "note.txt"]
    assert (tmp_path / "IMD002" / "mask.png").read_text() == "old"


@KILLED
def test_files_of_a_running_process_are_kept(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "case.json") as file, atomic_folder(tmp_path / "IMD002") as folder:
        file.write_text("{}")
        (folder / "mask.png").write_text("new")
        remove_leftovers(tmp_path)
    assert names(tmp_path) == ["IMD002", "case.json"]


def ended() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def made(path: Path, modified: float) -> Path:
    path.write_text("half")
    os.utime(path, (modified, modified))
    return path


def owned(machine: str, pid: int, start: float, suffix: str = ".json") -> str:
    return f".case.json.tmp-{machine}-{pid}-{int(start):x}-0123abcd{suffix}"


def test_only_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    here, now, me = files._machine_mark(), time.time(), os.getpid()
    dead, other = ended(), "0" * 16
    goes = [
        made(tmp_path / owned(here, dead, now), now),
        made(tmp_path / owned(here, me, now - 10_000), LONG_AGO),  # the number was given again
    ]
    stays = [
        made(tmp_path / owned(here, me, process_start(me)), LONG_AGO),
        made(tmp_path / owned(here, me, now - 10_000), now),  # or the clock was set
        made(tmp_path / owned(other, dead, now), LONG_AGO),
    ]
    stays[1] = stays[1].rename(tmp_path / owned(here, me, now - 20_000))
    made(goes[1], LONG_AGO)
    remove_leftovers(tmp_path)
    assert not [path.name for path in goes if path.exists()]
    assert not [path.name for path in stays if not path.exists()]


OF_USERS = [
    "notes.txt", ".notes.txt", ".notes.20240131.txt", ".hidden", ".gitignore", ".DS_Store", "._photo.jpg", ".lock",
    ".case.lock", ".reserve", ".napari-melanoma-salt", ".photo.1a2b3c4d.docx", ".photo.deadbeef", ".a.1A2B3C4D.json",
    ".a.1a2b3c4.json", ".a.1a2b3c4d5.json", ".x.part", "IMD002.1a2b3c4d.json", ".tmp-1.json", ".Trash-1000",
    ".case.1a2b3c4d.json", ".0.0.1a2b3c4d.partial",
    ".fuse_hidden0001a2b300000001", ".nfs00000001a2b3c4d5", ".~lock.results.csv#", ".results.csv.swp", ".20240131.json",
]  # fmt: skip


def test_files_of_users_and_other_programs_are_kept(tmp_path: Path) -> None:
    for name in OF_USERS:
        made(tmp_path / name, LONG_AGO)
    (tmp_path / ".results.20240131").mkdir()
    os.utime(tmp_path / ".results.20240131", (LONG_AGO, LONG_AGO))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*OF_USERS, ".results.20240131"])


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_is_removed_without_its_target(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    made(tmp_path / "photos" / "IMD002.jpg", LONG_AGO)
    (tmp_path / owned(files._machine_mark(), ended(), time.time())).symlink_to(tmp_path / "photos")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["photos"]
    assert names(tmp_path / "photos") == ["IMD002.jpg"]


@pytest.mark.parametrize(
    "name", ["a", "ä" * 120, "\U0001f52c" * 60, "x" * 255, b"n\xe9vus".decode("utf-8", "surrogateescape")]
)
@pytest.mark.parametrize("suffix", ["", REPLACED_SUFFIX, ".json"])
def test_every_name_is_recognized(tmp_path: Path, name: str, suffix: str) -> None:
    path = temporary_name(tmp_path / name, suffix)
    assert len(os.fsencode(path.name)) < 255
    found = files._TEMPORARY_NAME.fullmatch(path.name)
    assert found is not None
    assert int(found["pid"]) == os.getpid()


@KILLED
def test_folders_of_the_system_are_removed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import tempfile\nfrom napari_melanoma.core.files import temporary_prefix\n"
    code += "tempfile.tempdir = str(out)\n"
    code += "folder = tempfile.mkdtemp(prefix=temporary_prefix('worker'))\nprint('writing', flush=True)\ntime.sleep(60)"
    killed(code, tmp_path)
    (tmp_path / "napari-melanoma-worker-notes").mkdir()
    assert len(names(tmp_path)) == 2
    temporary_prefix("slide")
    assert len(names(tmp_path)) == 2
    temporary_prefix("worker")
    assert names(tmp_path) == ["napari-melanoma-worker-notes"]


def test_processes_of_this_machine() -> None:
    assert has_ended(os.getpid(), process_start(os.getpid())) is False
    assert has_ended(os.getpid(), 1.0) is None
    assert has_ended(ended(), time.time()) is True
