"""The image files of a corrections data set: written once, under a name of their own, and never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.results import read_mask, write_mask, write_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILES = {"path": "images", "mask_path": "masks", "prediction_path": "predictions"}


@dataclass(frozen=True)
class StoredImage:
    """The files of one image: ``before`` is its row, empty for a new one; what is written is noted in ``fresh``."""

    folder: Path
    name: str
    before: dict[str, str]
    fresh: list[Path]

    def photograph(self, rgb: NDArray[np.uint8]) -> str:
        """Write the photograph unless it is there.

        Parameters
        ----------
        rgb : numpy.ndarray
            uint8 (row, column, channel).

        Returns
        -------
        str
            Its path in the folder.

        Raises
        ------
        SaveError
            Where it cannot be written.
        """
        path = self.before.get("path")
        if path and (self.folder / path).is_file():
            return path
        return self._write("path", write_rgb, rgb)

    def mask(self, column: str, mask: NDArray[np.bool_] | None) -> str:
        """Write a mask unless the row has the same one.

        Parameters
        ----------
        column : str
            Of the table, ``"mask_path"`` or ``"prediction_path"``.
        mask : numpy.ndarray or None
            bool (row, column).

        Returns
        -------
        str
            Its path in the folder; "" for none.

        Raises
        ------
        SaveError
            Where it cannot be written.
        """
        if mask is None:
            return ""
        path, mask = self.before.get(column), np.asarray(mask, bool)
        if path:
            with suppress(UnreadableImage):  # what cannot be read is written anew
                if np.array_equal(read_mask(self.folder / path), mask):
                    return path
        return self._write(column, write_mask, mask)

    def _write(self, column: str, write: Callable[[Path, Any], None], pixels: NDArray) -> str:
        """Write a file that is not there yet: ``name.png``, ``name@2.png`` ... (no name of ours has an @)."""
        parent, number = self.folder / FILES[column], 1
        path = parent / f"{self.name}.png"
        while path.exists():
            number += 1
            path = parent / f"{self.name}@{number}.png"
        self.fresh.append(path)
        write(path, pixels)
        return path.relative_to(self.folder).as_posix()


@contextmanager
def removed_on_error(fresh: list[Path]) -> Iterator[list[Path]]:
    """Remove files again if what they were written for does not come about.

    Parameters
    ----------
    fresh : list of pathlib.Path
        May grow meanwhile.

    Yields
    ------
    list of pathlib.Path
        The same.
    """
    try:
        yield fresh
    except BaseException:
        for path in fresh:
            with suppress(OSError):  # the error that is under way says more
                path.unlink(missing_ok=True)
        raise
