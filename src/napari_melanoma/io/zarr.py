"""The files and metadata of a Zarr folder, checked before zarr reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore

from napari_melanoma.core.parsing import read_object
from napari_melanoma.core.paths import NamedPaths, UnsafePath, is_inside

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer

MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")


def check_metadata(folder: Path) -> None:
    """Refuse a Zarr group whose metadata, or that of its members, is not valid JSON within the limits."""
    for place in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        for path in (place / mark for mark in MARKS):
            if path.is_file() and is_inside(path, folder):  # the others are not read at all
                read_object(path)


class OwnFiles(LocalStore):
    """A store that can only be read, and that no link leads out of."""

    def __init__(self, root: Path, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self._paths = NamedPaths(Path(root), allow_outside=False)

    async def get(self, key: str, *arguments: Any, **options: Any) -> Buffer | None:  # noqa: ANN401 - as zarr calls it
        """Give the content of a file, or None where there is none."""
        try:
            self._paths.check(self.root / key)
        except UnsafePath as fault:
            raise UnsafePath(f"{self.root}: its part '{key}' {fault}. Copy the folder with what it links to.") from None
        return await super().get(key, *arguments, **options)
