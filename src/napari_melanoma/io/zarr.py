"""Safe use of Zarr folders: checks of metadata, a store without access outside its folder, and a durable store."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore

from napari_melanoma.core.files import move, temporary_name
from napari_melanoma.core.parsing import read_object
from napari_melanoma.core.paths import PathResolver, UnsafePath, is_inside

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

METADATA_FILES = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")


def check_metadata(folder: Path) -> None:
    """Raise an error if the metadata of a Zarr group or of its members is not valid JSON within the limits."""
    for location in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        for path in (location / name for name in METADATA_FILES):
            if path.is_file() and is_inside(path, folder):  # files outside are not read
                read_object(path)


class ConfinedStore(LocalStore):
    """A store that does not follow links out of its folder; read-only by default."""

    def __init__(self, root: Path, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self._paths = PathResolver(Path(root), allow_outside=False)

    async def get(self, key: str, *arguments: Any, **options: Any) -> Buffer | None:  # noqa: ANN401 - signature of zarr
        """Return the content of a file, or None if it does not exist."""
        try:
            self._paths.check(self.root / key)
        except UnsafePath as fault:
            raise UnsafePath(
                f"{self.root}: its part '{key}' {fault}. Copy the folder with the files that it links to."
            ) from None
        return await super().get(key, *arguments, **options)


class DurableStore(LocalStore):
    """A Zarr store whose files are complete also after a power loss.

    A file system may write the new name of a file to disk before its content: after a power loss the file exists and is
    empty. This store writes the content first, then the name, then the enclosing folder. Files can be read immediately;
    their names are on disk after ``wait_until_written``.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._unsynced: set[Path] = set()  # folders whose entries may not be on disk yet
        self._lock = Lock()

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file."""
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a file in the calling thread; newer versions of zarr call this."""
        self._check_writable()
        path = self.root / key
        changed = _make_folders(path.parent, self.root)
        write_durably(path, value.to_bytes())
        with self._lock:
            self._unsynced |= changed

    def wait_until_written(self) -> None:
        """Wait until the names of all written files are on disk."""
        with self._lock:
            folders, self._unsynced = self._unsynced, set()
        for folder in sorted(folders):
            sync_folder(folder)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file whose content is on disk before it gets its name."""
    temporary = temporary_name(path, ".partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        move(temporary, path)  # retries while a dock that shows the results has the file open on Windows
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Write the entries of a folder to disk, if the system supports it; Windows does so automatically."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # not supported by some network drives
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _make_folders(folder: Path, root: Path) -> set[Path]:
    """Create a folder for a file; return the folders that get new entries, including the folder itself."""
    changed = {folder}
    for above in (folder, *folder.parents):
        if above == root or above.is_dir():
            break
        changed.add(above.parent)
    folder.mkdir(parents=True, exist_ok=True)
    return changed
