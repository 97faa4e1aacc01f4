"""Zarr folders: written files are complete and synchronized, links out of the folder are refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from zarr.core.buffer import default_buffer_prototype

from napari_melanoma.core.paths import UnsafePath
from napari_melanoma.io import zarr as stores
from napari_melanoma.io.zarr import ConfinedStore, DurableStore, write_durably


def test_written_files_and_new_folders_are_synchronized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronized: list[Path] = []
    monkeypatch.setattr(stores, "sync_folder", synchronized.append)
    store, buffer = DurableStore(tmp_path), default_buffer_prototype().buffer
    store.set_sync("a/b/0", buffer.from_bytes(b"one"))
    asyncio.run(store.set("a/1", buffer.from_bytes(b"two")))
    assert [(tmp_path / name).read_bytes() for name in ("a/b/0", "a/1")] == [b"one", b"two"]
    store.wait_until_written()
    assert synchronized == [tmp_path, tmp_path / "a", tmp_path / "a/b"]
    store.wait_until_written()
    assert len(synchronized) == 3
    monkeypatch.undo()
    stores.sync_folder(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(tmp_path / "0", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "image.zarr"
    folder.mkdir()
    (folder / "own").write_bytes(b"own")
    (folder / "0").symlink_to(tmp_path / "secret")
    store, prototype = ConfinedStore(folder, read_only=True), default_buffer_prototype()
    own = asyncio.run(store.get("own", prototype))
    assert own is not None
    assert own.to_bytes() == b"own"
    with pytest.raises(UnsafePath, match=r"its part '0' .* Copy the folder with the files that it links to"):
        asyncio.run(store.get("0", prototype))
