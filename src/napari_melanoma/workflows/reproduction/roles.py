"""Which of the user's data sets plays which role of a paper, by what the user says or by its name and images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.data.dataset import TABLES, check_names, read_dataset
from napari_melanoma.data.sources import source_of, sources, where_to_get
from napari_melanoma.workflows.reproduction.papers import Paper

BY_NAME_ALONE = ("ph2",)  # whose terms ask for a decision: taken where a user names the role, never by finding it


def fill_roles(
    paper: Paper, named: Sequence[str], needed: Iterable[str]
) -> tuple[dict[str, tuple[Path, ...]], list[str]]:
    """Find out which data set plays which role.

    Role to data sets, resolved.
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
    needed = dict.fromkeys(needed)
    images_of = {name: role.control_of for name, role in paper.file.roles.items() if role.control_of}
    if missing := [role for role in dict.fromkeys(images_of.get(role, role) for role in needed) if not found[role]]:
        raise InputError(_missing(paper, missing))
    check_names(folder for folders in found.values() for folder in folders)
    for control, of in images_of.items():
        found[control] = found[control] or found[of]
    return {role: tuple(dict.fromkeys(folders)) for role, folders in found.items() if folders}, notices


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
            notices.append(f"{member.name} is left out: {str(error).replace(str(member), member.name)}")
            continue
        if source in BY_NAME_ALONE:
            how = f"to take it, name it with its role: --data ROLE=.../{member.name}"
            notices.append(f"{member.name} is left out, as its terms are narrow; {how}")
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
