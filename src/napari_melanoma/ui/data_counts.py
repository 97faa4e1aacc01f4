"""What a data set folder has to offer for a training, in numbers and in one line; read in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.counting import counted
from napari_melanoma.core.errors import DataSetError


@dataclass(frozen=True)
class Counts:
    """A data set in numbers; ``waiting`` are images whose mask nobody has judged yet, ``refused`` those judged bad.

    ``tiles`` says of tiles of slides of which size they are; empty for photographs.
    """

    folder: Path
    images: int = 0
    usable: int = 0
    patients: int = 0
    corrected: int = 0
    waiting: int = 0
    refused: int = 0
    tiles: str = ""

    @property
    def words(self) -> str:
        """The numbers in one line."""
        if not self.usable:
            return "no image with a mask yet"
        said = [f"{counted(self.usable, 'image')} with masks"]
        if self.tiles:
            said = [f"{counted(self.usable, 'tile')} of slides, {self.tiles}"]
        if self.corrected:
            said.append(f"{self.corrected:,} corrected")
        if self.patients < self.usable:  # else nobody is named, or each has one image
            said.append(f"{self.patients:,} patients or {'areas' if self.tiles else 'lesions'}")
        if self.waiting:
            said.append(f"{self.waiting:,} to review")
        return ", ".join(said)


def count(folder: Path, *, may_be_empty: bool = False) -> Counts:
    """Read a data set and count.

    Returns all zero for an empty one.
    """
    from napari_melanoma.data.corrections import Corrections
    from napari_melanoma.data.dataset import LEARNT_FROM, read_dataset

    if may_be_empty and not Corrections(folder).rows():
        return Counts(folder)
    check_is_folder(folder)
    samples = read_dataset(folder)
    usable = [s for s in samples if s.mask is not None and s.review in (None, *LEARNT_FROM)]
    return Counts(
        folder,
        images=len(samples),
        usable=len(usable),
        patients=len({sample.group for sample in usable}),
        corrected=sum(sample.review == "corrected" for sample in samples),
        waiting=sum(sample.review == "unreviewed" for sample in samples),
        refused=sum(sample.review == "rejected" for sample in samples),
        tiles=_said_tiles(folder),
    )


def _said_tiles(folder: Path) -> str:
    """Say of which size tiles are; empty for photographs."""
    from napari_melanoma.data.tiles import tile_set_of

    tiles = tile_set_of(folder)
    return "" if tiles is None else f"{tiles.tile.side_px} px at {tiles.tile.mpp:g} µm"


def check_is_folder(folder: Path) -> None:
    """Refuse what cannot be a data set, before anything of it is read."""
    if folder.is_dir():
        return
    if folder.exists():
        raise DataSetError(f"{folder} is a file. A data set is a folder with dataset.csv in it: choose that folder.")
    raise DataSetError(f"{folder} is not there: it was moved, or its disk is not connected.")


def folder_of(path: Path) -> Path:
    """Take what a person chose or dropped for a data set.

    Returns the folder, absolute.
    """
    folder = path.parent if path.suffix.lower() == ".csv" else path
    return folder.expanduser().absolute()
