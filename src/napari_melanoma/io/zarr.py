"""Zarr folders on disk: metadata checked before zarr parses it, and stores that stay inside or are durable."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore

from napari_melanoma.core.files import rename_with_retry, temporary_name
from napari_melanoma.core.parsing import read_object
from napari_melanoma.core.paths import PathResolver, UnsafePath, is_inside

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

METADATA_FILES = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")


def check_metadata(folder: Path) -> None:
    """Refuse a Zarr group whose metadata, or that of its members, is not valid JSON within the limits."""
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        for path in (place / mark for mark in METADATA_FILES):
            if path.is_file() and is_inside(path, folder):  # the others are not read at all
                read_object(path)


class ConfinedStore(LocalStore):
    """A store that can only be read, and that no link leads out of."""

    def __init__(self, root: Path, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self._paths = PathResolver(Path(root), allow_outside=False)

    async def get(self, key: str, *arguments: Any, **options: Any) -> Buffer | None:  # noqa: ANN401 - as zarr calls it
        """Return the content of a file, or None where there is none."""
        try:
            self._paths.check(self.root / key)
        except UnsafePath as fault:
            raise UnsafePath(f"{self.root}: its part '{key}' {fault}. Copy the folder with what it links to.") from None
        return await super().get(key, *arguments, **options)


class DurableStore(LocalStore):
    """A folder as zarr writes it, that is complete also after a power loss.

    A file system may bring a rename to the disk before the bytes of the file that is renamed: after a power loss the
    file is there and empty. Here bytes go first, then the name, then the folder that has the name. Files can be read at
    once; their names are on the disk after ``settle``.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._unsettled: set[Path] = set()  # folders of which names may not be on the disk yet
        self._lock = Lock()

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, as zarr asks for it.

        ``value``: its bytes.
        """
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a file, in the thread that calls; newer versions of zarr ask for it so.

        ``value``: its bytes.
        """
        self._check_writable()
        path = self.root / key
        made = _make_folders(path.parent, self.root)
        write_durably(path, value.to_bytes())
        with self._lock:
            self._unsettled |= made

    def wait_until_written(self) -> None:
        """Bring the names of all that was written to the disk."""
        with self._lock:
            folders, self._unsettled = self._unsettled, set()
        for folder in sorted(folders):
            sync_folder(folder)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file whose bytes are on the disk before it takes its name."""
    temporary = temporary_name(path, ".partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        rename_with_retry(lambda: temporary.replace(path))  # a window that watches reads these files
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where a system has that; Windows does it by itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # some network drives know no such thing
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _make_folders(folder: Path, root: Path) -> set[Path]:
    """Make a folder; those in which a name is new, itself included: it receives a file."""
    made = {folder}
    for above in (folder, *folder.parents):
        if above == root or above.is_dir():
            break
        made.add(above.parent)
    folder.mkdir(parents=True, exist_ok=True)
    return made
