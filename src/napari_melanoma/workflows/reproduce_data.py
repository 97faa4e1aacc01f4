"""The data of a reproduction: which of the user's sets plays which role, and one split of them for all rows."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import TABLES, Sample, check_names, read_dataset, usable
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.data.sources import sources, where_to_get
from napari_melanoma.data.splits import drawn_by_name, hold_out
from napari_melanoma.io.results import write_table
from napari_melanoma.workflows.reproduce_papers import Paper, Role

LEARN, JUDGED = "train", "test"
LEFT_OUT, DUPLICATE = "left out", "duplicate"
HELD_OUT_SHARE = 0.2  # both papers keep a fifth for the test
HELD_OUT_SPLITS = ("test", "val")  # the first that a data set has judges; all else is learnt from
SEED = 0
TABLE = "dataset.csv"
COLUMNS = ("image_id", "path", "mask_path", "patient_id", "split", "modality", "diagnosis")
# How the folders of public sets are called, as far as it tells them apart; further words may follow.
FOLDERS = {
    "isic2016": "isic[-_ ]?2016",
    "isic2017": "isic[-_ ]?2017",
    "isic2018": "isic[-_ ]?2018",
    "ham10000": "ham10000|ham$",
    "ph2": "ph2(dataset)?",
    "dermofit": "dermofit",
    "smartskins": "smartskins",
    "pad-ufes-20": "pad[-_ ]?ufes([-_ ]?20)?|pad$",
}
BY_NAME_ALONE = ("ph2",)  # whose terms ask for a decision: taken where a user names the role, never by finding it


@dataclass(frozen=True)
class RoleData:
    """The images of a role, split for all rows of a reproduction.

    Parameters
    ----------
    role : str
        Name of the role.
    folders : tuple of pathlib.Path
        Data sets of the reproduction, a table each over the user's own files; the split ``"train"`` is learnt from,
        ``"test"`` judges.
    learn, judged : int
        Images of each.
    left_out : int
        Images that could be learnt from, but for the budget.
    duplicates : int
        Images that are left out as they show the same picture as another one.
    """

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


def assign(paper: Paper, named: Sequence[str], needed: Iterable[str]) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Find out which data set plays which role.

    Parameters
    ----------
    paper : Paper
        Whose roles they are.
    named : sequence of str
        ``ROLE=FOLDER``, the folder of a data set that is known by its name or modality, or a folder of such folders.
    needed : iterable of str
        Roles that must be filled.

    Returns
    -------
    folders : dict
        Role to data sets, resolved.
    notices : list of str
        A sentence for each data set that was found and not taken.

    Raises
    ------
    InputError
        Where a role is unknown or stays empty (with where to get its sets), or a folder plays no role.
    DataSetError
        Where a folder is no data set, or two have one name.
    """
    found: dict[str, list[Path]] = {role: [] for role in paper.file.roles}
    notices: list[str] = []
    for text in named:
        word, equals, path = text.partition("=")
        role = _role_of(paper, word) if equals else None
        if role is not None:
            found[role].append(_folder(path))
        elif equals and not Path(text).exists():
            raise InputError(f"{paper.name} has no role '{word}' (known: {', '.join(paper.file.roles)}).")
        else:
            notices += _find(paper, _folder(text), found)
    if missing := [role for role in dict.fromkeys(needed) if not found[role]]:
        raise InputError(_missing(paper, missing))
    check_names(folder for folders in found.values() for folder in folders)
    return {role: tuple(dict.fromkeys(folders)) for role, folders in found.items() if folders}, notices


def stage(
    folders: Mapping[str, tuple[Path, ...]], roles: Mapping[str, Role], most: int | None, out: Path, run: RunContext
) -> None:
    """Split the data sets of every role once, and write the split down.

    Where a data set names a split ``test``, or else ``val``, that judges, and all else is learnt from; where it names
    none, a fifth of the patients judges, spread over diagnoses. Of one patient nothing is on both sides, and of images
    that show the same picture one is taken, before all one that judges.

    Parameters
    ----------
    folders : mapping
        Role to data sets.
    roles : mapping
        What each role is.
    most : int or None
        Images to learn from in each role at most; they are drawn by their names.
    out : pathlib.Path
        Gets a folder for each data set, with a table over the user's own files.
    run : RunContext
        Told of the progress, asked whether to go on.

    Raises
    ------
    DataSetError
        Where a data set is faulty.
    InputError
        Where a role has nothing to learn from, or nothing to be judged on.
    SaveError
        Where a table cannot be written.
    Cancelled
        Where the user stopped it.
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


def staged(folders: Mapping[str, tuple[Path, ...]], out: Path) -> dict[str, RoleData]:
    """Read back what ``stage`` wrote.

    Parameters
    ----------
    folders : mapping
        Role to data sets.
    out : pathlib.Path
        As it was told.

    Returns
    -------
    dict
        Role to its images.

    Raises
    ------
    DataSetError
        Where files have gone since.
    """
    found = {}
    for role, members in folders.items():
        places = tuple(out / folder.name for folder in members)
        counts = Counter(sample.split for place in places for sample in read_dataset(place))
        found[role] = RoleData(role, places, counts[LEARN], counts[JUDGED], counts[LEFT_OUT], counts[DUPLICATE])
    return found


def judged_samples(data: RoleData) -> list[Sample]:
    """Give the images that judge.

    Parameters
    ----------
    data : RoleData
        Of a role.

    Returns
    -------
    list of Sample
        The same for every row.
    """
    return [sample for folder in data.folders for sample in read_dataset(folder) if sample.split == JUDGED]


def source_of(name: str) -> str | None:
    """Tell a public set by the name of its folder, or as a paper writes it.

    Parameters
    ----------
    name : str
        Such as ``"SMARTSKINS"`` or ``"isic2017-small"``.

    Returns
    -------
    str or None
        As ``data.sources`` names it; None where the name does not tell.
    """
    word = name.strip().lower()
    return next((source for source, called in FOLDERS.items() if re.match(rf"({called})(?![^\W_])", word)), None)


def _role_of(paper: Paper, word: str) -> str | None:
    """Find the role that a user names; that of a paper with only one may be called D or M too."""
    roles = {name.lower(): name for name in paper.file.roles}
    if word.lower() not in roles and len(roles) == 1 and word.lower() in ("d", "m"):
        return next(iter(roles.values()))
    return roles.get(word.lower())


def _folder(path: str) -> Path:
    """Resolve a folder that a user names."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}. Name a data set, or a folder that holds data sets.")
    return folder.resolve()


def _find(paper: Paper, folder: Path, found: dict[str, list[Path]]) -> list[str]:
    """Give a data set, or each data set of a folder, the role that it fits; say which were not taken."""
    if _is_dataset(folder):
        role = _fitting(paper, folder)
        if role is None:
            roles = " or ".join(f"{name}={folder}" for name in paper.file.roles)
            raise InputError(f"nothing tells which role {folder} plays in {paper.name}. Say it: --data {roles}")
        found[role].append(folder)
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and _is_dataset(path))
    if not inside:
        raise InputError(f"{folder} is no data set and holds none: no {' or '.join(TABLES)} in it or one level below.")
    notices = []
    for member in inside:
        try:
            source, role = source_of(member.name), _fitting(paper, member)
        except InputError as error:
            notices.append(f"{member.name} is left out: {error}")
            continue
        if source in BY_NAME_ALONE:
            notices.append(f"{member.name} is left out, as its terms are narrow; take it with --data ROLE={member}.")
        elif role is None:
            notices.append(f"{member.name} is left out: it plays no role here that is known by its name or modality.")
        else:
            found[role].append(member)
    return notices


def _is_dataset(folder: Path) -> bool:
    """Say whether a folder holds a data set."""
    return any((folder / table).is_file() for table in TABLES)


def _fitting(paper: Paper, folder: Path) -> str | None:
    """Find the role that a data set fits, by its name or else by the modality of its images."""
    source = source_of(folder.name)
    modalities = {sample.modality for sample in read_dataset(folder)}
    for name, role in paper.file.roles.items():
        if source in (*role.sources, *role.others):
            if others := modalities - {role.modality, None}:
                raise InputError(
                    f"{folder} is called like the {role.modality} set {source}, but images of it are "
                    f"{' and '.join(sorted(map(str, others)))}. Name its role, --data {name}={folder}, or the folder "
                    "otherwise."
                )
            return name
    return next((name for name, role in paper.file.roles.items() if modalities == {role.modality}), None)


def _missing(paper: Paper, missing: Sequence[str]) -> str:
    """Say what is missing and where to get it."""
    said = []
    for name in missing:
        role = paper.file.roles[name]
        known = sources()
        said.append(f"{paper.name} needs {role.title} as {name}; the paper used {role.used}.")
        said += [f"  {where_to_get(known[set_].spec)}" for set_ in role.sources if set_ in known]
        said.append(f"  Then: napari-melanoma data import SOURCE DIR --out DATASET, and --data {name}=DATASET")
        if others := [known[set_].spec.title for set_ in role.others if set_ in known]:
            said.append(f"  In their place: {', '.join(others)}, or any data set of {role.title} with masks.")
    return "\n".join(said)


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
        "path": _relative(sample.image, place),
        "mask_path": _relative(sample.mask, place),
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": split,
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or "",
    }


def _relative(path: Path, folder: Path) -> str:
    """Name a file as seen from a folder; as it is where they are on different drives."""
    try:
        return Path(os.path.relpath(path.resolve(), folder)).as_posix()
    except ValueError:
        return path.resolve().as_posix()
