"""Locks and heartbeats of folders."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from patience import PATIENCE_S

from napari_melanoma.case.store import lock_case
from napari_melanoma.core import locks
from napari_melanoma.core.errors import RunError, SaveError
from napari_melanoma.core.locks import heartbeat, hold_lock, is_locked, lock_holder
from napari_melanoma.data.dataset_table import SharedTable


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    assert not is_locked(path)
    with hold_lock(path):
        assert is_locked(path)
        with (
            pytest.raises(RunError, match=rf"folder \(process {os.getpid()} of .* on .*, since 20.*\)\. Wait until"),
            hold_lock(path),
        ):
            pass
        assert is_locked(path)
        (path.parent / ".lock.owner.json").write_text("[]")
        with pytest.raises(RunError, match=r"folder \(which one is unknown\)"), hold_lock(path):
            pass
    assert not is_locked(path)
    assert lock_holder(path) == {}


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with (
        pytest.raises(SaveError, match="folder: its file system does not support locks"),
        hold_lock(tmp_path / "folder" / ".lock"),
    ):
        pass
    assert "does not support locks" in lock_case(tmp_path)[0]
    with pytest.raises(SaveError, match="does not support locks"), SharedTable(tmp_path / "dataset.csv", ()).lock():
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    code = "import sys, time, pathlib\nfrom napari_melanoma.core.locks import hold_lock\n"
    code += "with hold_lock(pathlib.Path(sys.argv[1]) / '.lock'):\n    print('held', flush=True)\n    time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(RunError, match=f"process {process.pid} of"), hold_lock(tmp_path / ".lock"):
            pass
        process.kill()
    assert lock_holder(tmp_path / ".lock")["pid"] == process.pid
    with hold_lock(tmp_path / ".lock"):
        assert lock_holder(tmp_path / ".lock")["pid"] == os.getpid()


def test_a_claim_whose_owner_is_unknown_is_of_another_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "OWNER_WAIT_S", 0.1)
    one, other = locks.Claims(tmp_path / "claims"), locks.Claims(tmp_path / "claims")
    assert one.claim("name", "me") is True
    assert other.claim("name", "me") is False
    assert other.claim("name", "you") is None
    next((tmp_path / "claims").glob("*.owner")).unlink()
    assert other.claim("name", "me") is None
    one.close()
    assert other.claim("name", "me") is True
    assert one.owners() == {"me"}


def test_a_released_claim_does_not_end_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process claims the name in the moment in which it is released."""
    one, other, third = (locks.Claims(tmp_path / "claims") for _ in range(3))
    assert one.claim("name", "me")
    held, claimed = one._locks["name"], []
    release = held.release

    def release_and_claim() -> None:
        release()
        claimed.append(other.claim("name", "you"))

    monkeypatch.setattr(held, "release", release_and_claim)
    one.release("name")
    assert claimed == [True]
    assert third.claim("name", "she") is None


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError), hold_lock(tmp_path / "file" / ".lock"):
        pass
    assert not is_locked(tmp_path / "file" / ".lock")


def test_a_lock_that_cannot_be_opened_is_not_held(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)


def test_a_file_is_touched_while_its_owner_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.01)
    path = tmp_path / "events.jsonl"
    path.touch()
    with heartbeat(path), heartbeat(tmp_path / "none"):
        os.utime(path, (0, 0))
        end = time.monotonic() + PATIENCE_S
        while path.stat().st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert list(tmp_path.iterdir()) == [path]
