"""One split of the user's data for all rows of a reproduction, written down as tables over the user's own files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import also_in
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import Sample, read_dataset, usable
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.splits import drawn_by_name, hold_out
from napari_melanoma.io.results import write_table
from napari_melanoma.workflows.reproduction.papers import Role

LEARN, JUDGED = "train", "test"
LEFT_OUT, DUPLICATE = "left out", "duplicate"
HELD_OUT_SHARE = 0.2  # both papers keep a fifth for the test
HELD_OUT_SPLITS = ("test", "val")  # the first that a data set has judges; all else is learnt from
SEED = 0
TABLE = "dataset.csv"
COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "modality", "diagnosis")


@dataclass(frozen=True)
class RoleData:
    """The images of a role: data sets of the reproduction, a table each over the user's own files, and counts."""

    role: str
    folders: tuple[Path, ...]
    learn: int
    judged: int
    left_out: int = 0
    duplicates: int = 0

    @property
    def names(self) -> str:
        """Names of the data sets."""
        return ", ".join(folder.name for folder in self.folders)

    @property
    def judging(self) -> list[Sample]:
        """The images that judge, the same for every row, read from the tables."""
        return [sample for folder in self.folders for sample in read_dataset(folder) if sample.split == JUDGED]


def write_split(
    folders: Mapping[str, tuple[Path, ...]], roles: Mapping[str, Role], most: int | None, out: Path, run: RunContext
) -> None:
    """Split the data sets of every role once, and write the split down.

    Where a data set names a split ``test``, or else ``val``, that judges, and all else is learnt from; where it names
    none, a fifth of the patients judges, spread over diagnoses. Of one patient nothing is on both sides, and of images
    that show the same picture one is taken, before all one that judges.
    """
    for role, members in folders.items():
        parts = [_split(usable(read_dataset(folder))) for folder in members]
        learn, judged = ([sample for part in parts for sample in part[side]] for side in (0, 1))
        again = {id(pair.second) for pair in find_duplicates([*judged, *learn], run)}
        learn, judged = ([sample for sample in side if id(sample) not in again] for side in (learn, judged))
        if not learn or not judged:
            raise InputError(
                f"{role}: {len(learn)} images with masks to learn from and {len(judged)} to judge were found in "
                f"{', '.join(folder.name for folder in members)}; both are needed."
            )
        kept = learn if most is None else drawn_by_name(learn, most)
        sides = {id(sample): LEARN for sample in kept} | {id(sample): JUDGED for sample in judged}
        sides |= dict.fromkeys(again, DUPLICATE)
        everything = [sample for part in parts for side in part for sample in side]
        for folder in members:
            place = (out / folder.name).resolve()
            samples = [sample for sample in everything if sample.domain == folder.name]
            rows = [_row(sample, sides.get(id(sample), LEFT_OUT), roles[role], place) for sample in samples]
            write_table(place / TABLE, rows, COLUMNS)


def read_split(folders: Mapping[str, tuple[Path, ...]], out: Path) -> dict[str, RoleData]:
    """Read back what ``write_split`` wrote."""
    found = {}
    for role, members in folders.items():
        places = tuple(out / folder.name for folder in members)
        with also_in(members):  # where the tables, which are ours, name their images
            counts = Counter(sample.split for place in places for sample in read_dataset(place))
        found[role] = RoleData(role, places, counts[LEARN], counts[JUDGED], counts[LEFT_OUT], counts[DUPLICATE])
    return found


def _split(samples: Sequence[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Split a data set into what is learnt from and what judges."""
    splits = {sample.split for sample in samples}
    side = next((split for split in HELD_OUT_SPLITS if split in splits), None)
    if side is None:
        return hold_out(samples, HELD_OUT_SHARE, SEED)
    judged = [sample for sample in samples if sample.split == side]
    unseen = {sample.group for sample in judged}
    return [sample for sample in samples if sample.split != side and sample.group not in unseen], judged


def _row(sample: Sample, split: str, role: Role, place: Path) -> dict[str, str]:
    """Row of the table over the user's own files."""
    assert sample.mask is not None
    return {
        "image_id": sample.image_id,
        "path": relative(sample.image, place),
        "mask_path": relative(sample.mask, place),
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": split,
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or "",
    }


def relative(path: Path, folder: Path) -> str:
    """Name a file as seen from a folder; as it is where they are on different drives."""
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()
