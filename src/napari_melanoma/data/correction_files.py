"""The image files of a corrections data set: written once, under a name of their own, and never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_melanoma.core.errors import SaveError, UnreadableImage
from napari_melanoma.core.files import save_error
from napari_melanoma.core.leftovers import temporary_name
from napari_melanoma.core.paths import NamedPaths, UnsafePath, is_file
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.data.correction import Correction, cells
from napari_melanoma.io.results import read_mask, write_mask, write_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILES = {"path": "images", "mask_path": "masks", "prediction_path": "predictions"}


@dataclass(frozen=True)
class Prepared:
    """A correction whose pixels are in files already, under hidden names: a rename brings it into the data set.

    ``values`` are the cells that it gives its row, ``files`` the hidden file of each column of ``FILES`` that has one.
    """

    name: str
    values: dict[str, str]
    files: dict[str, Path]

    @classmethod
    def of(cls, correction: Correction, folder: Path, *, is_known: Callable[[str], bool]) -> Self:
        """Write the files of a correction; nobody need be kept out meanwhile.

        ``is_known``: takes the digest of the pixels; says whether the photograph is there, so that it need not be
        written. Its files are removed with ``discard``, unless they have found their places.
        """
        digest = fingerprint(correction.rgb)
        prepared = cls(correction.name, {**cells(correction), "image_sha256": digest}, {})
        pixels: dict[str, tuple[Callable[[Path, Any], None], NDArray | None]] = {
            "path": (write_rgb, None if is_known(digest) else correction.rgb),
            "mask_path": (write_mask, correction.mask),
            "prediction_path": (write_mask, correction.prediction),
        }
        try:
            for column, (write, found) in pixels.items():
                if found is not None:
                    hidden = prepared.files[column] = temporary_name(folder / FILES[column] / "image.png", ".png")
                    write(hidden, found if column == "path" else np.asarray(found, bool))
        except BaseException:
            prepared.discard()
            raise
        return prepared

    def discard(self) -> None:
        """Remove the files that have found no place."""
        for path in self.files.values():
            with suppress(OSError):  # it does no harm where it stays
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class StoredImage:
    """The files of one image: ``before`` is its row, empty for a new one; what is added is noted in ``fresh``."""

    folder: Path
    name: str
    before: dict[str, str]
    fresh: list[Path]

    def photograph(self, hidden: Path | None) -> str:
        """Take the photograph over unless it is there."""
        path = self.before.get("path", "")
        if stored_file(self.folder, path) is not None:
            return path
        if hidden is None:
            raise SaveError(f"cannot write {self.folder}: another window took the photograph out. Do the same again.")
        return self._place("path", hidden)

    def mask(self, column: str, hidden: Path | None) -> str:
        """Take a mask over unless the row has the same one.

        Its path in the folder; "" for none.
        """
        if hidden is None:
            return ""
        path = self.before.get(column, "")
        file = stored_file(self.folder, path)
        if file is not None:
            with suppress(UnreadableImage):  # what cannot be read is replaced
                if np.array_equal(read_mask(file), read_mask(hidden)):
                    return path
        return self._place(column, hidden)

    def _place(self, column: str, hidden: Path) -> str:
        """Give a file a name that is not there yet: ``name.png``, ``name@2.png`` ... (no name of ours has an @)."""
        parent, number = self.folder / FILES[column], 1
        path = parent / f"{self.name}.png"
        while path.exists():
            number += 1
            path = parent / f"{self.name}@{number}.png"
        self.fresh.append(path)
        try:
            hidden.rename(path)
        except OSError as error:
            raise save_error(path, error) from error
        return path.relative_to(self.folder).as_posix()


def stored_file(folder: Path, path: str) -> Path | None:
    """Find a file that a row names; None where it is not there or not of this data set."""
    try:
        file = NamedPaths(folder, allow_outside=False).follow(path) if path else None
    except UnsafePath:
        return None
    return file if file is not None and is_file(file) else None


@contextmanager
def removed_on_error(fresh: list[Path]) -> Iterator[list[Path]]:
    """Remove files again if what they were written for does not come about."""
    try:
        yield fresh
    except BaseException:
        for path in fresh:
            with suppress(OSError):  # the error that is under way says more
                path.unlink(missing_ok=True)
        raise
