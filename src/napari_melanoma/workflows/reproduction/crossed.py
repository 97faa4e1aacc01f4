"""The folds of a cross-validation, written down as tables over the user's own files, one data set for each fold.

Rows of classification share them: what a fold judges, no network of that fold has seen, and no patient is on both
sides.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import atomic_folder
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.features.leaks import why_not
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.workflows.reproduction.dealing import MELANOMA, Dealt, deal, read_answers
from napari_melanoma.workflows.reproduction.papers import PaperFile, Role
from napari_melanoma.workflows.reproduction.split import DUPLICATE, JUDGED, LEARN, TABLE, relative

PHANTOM = "cohort.json"  # in a phantom cohort
UNTOUCHED = "untouched"  # the split of images that no fold learns from or judges, and the part of their answers
UNANSWERED = "no answer"
UNLABELLED, CONTROL = "unlabelled", "control"
UNTOLD = ("image_id", "path", "mask_path", "patient_id", "split", "fold", "modality")  # whatever the question is


@dataclass(frozen=True)
class CrossedRole:
    """The images of a role that a cross-validation deals out, and counts of those that it does not."""

    role: str
    place: Path
    names: tuple[str, ...]
    folds: int
    images: int
    positives: int
    groups: int
    duplicates: int = 0
    unanswered: int = 0
    without_mask: int = 0
    untouched: int = 0
    untouched_positives: int = 0

    def folders(self, fold: int) -> tuple[Path, ...]:
        """Name the data sets of a fold.

        Returns their split ``test`` is judged; what is learnt from is ``train``.
        """
        return tuple(self.place / f"fold-{fold}" / name for name in self.names)

    def unlabelled(self, fold: int) -> tuple[Path, ...]:
        """Name the data sets of a fold's images to learn from, in tables that hold no answers."""
        return tuple(self.place / f"fold-{fold}" / UNLABELLED / name for name in self.names)


@dataclass(frozen=True)
class Crossing:
    """What is dealt out how: the roles, the folds, the column that holds the answer, and where tables go."""

    roles: Mapping[str, Role]
    folds: int
    place: Path
    target: str = MELANOMA
    positives: str = "melanomas"

    @classmethod
    def of(cls, paper: PaperFile, place: Path) -> Crossing:
        """Take it from what a paper says."""
        return cls(paper.roles, paper.folds, place, paper.target, paper.positives)

    def place_of(self, role: str) -> Path:
        """Say where the tables of a role go; those of a control are over the same images as another role's."""
        place = self.place.resolve()
        return place / CONTROL if self.roles[role].control_of else place


def write_crossed(folders: Mapping[str, tuple[Path, ...]], how: Crossing, run: RunContext) -> None:
    """Deal the images of each role out to folds, by patient or lesion, each class evenly; write a table for each fold.

    Tables are in our columns and words. Images without an answer and those that show the picture of another are in no
    fold, nor are those that a role keeps apart for the networks of all folds.
    """
    for role, members in folders.items():
        found = [one for folder in members for one in read_answers(folder, how.target)]
        dealt = deal(found, how.roles[role], how.folds, run)
        _check(role, members, dealt, how)
        place = how.place_of(role)
        for folder in members:
            own = [one for one in dealt if one.sample.domain == folder.name]
            for fold in range(1, how.folds + 1):
                with atomic_folder(place / f"fold-{fold}" / folder.name) as written:
                    _write(own, fold, (how, role), place / f"fold-{fold}" / folder.name, written)
                    if (folder / PHANTOM).is_file():  # that the patients were drawn goes with them
                        shutil.copy(folder / PHANTOM, written / PHANTOM)
                hidden = place / f"fold-{fold}" / UNLABELLED / folder.name
                with atomic_folder(hidden) as written:
                    _write(own, fold, (how, role), hidden, written, hide=True)


def read_crossed(folders: Mapping[str, tuple[Path, ...]], how: Crossing) -> dict[str, CrossedRole]:
    """Read back what ``write_crossed`` wrote."""
    return {role: _role(role, members, how) for role, members in folders.items()}


def _role(role: str, members: Sequence[Path], how: Crossing) -> CrossedRole:
    """Count the images of a role in the tables of its first fold."""
    names, place = tuple(folder.name for folder in members), how.place_of(role)
    rows = [row for name in names for row in read_table(place / "fold-1" / name / TABLE)]
    splits = Counter(row["split"] for row in rows)
    dealt = [row for row in rows if row["fold"]]
    return CrossedRole(
        role=role,
        place=place,
        names=names,
        folds=how.folds,
        images=len(dealt),
        positives=sum(row[how.target] == "1" for row in dealt),
        groups=len({row["patient_id"] for row in dealt}),
        duplicates=splits[DUPLICATE],
        unanswered=splits[UNANSWERED],
        without_mask=sum(not row["mask_path"] for row in dealt),
        untouched=splits[UNTOUCHED],
        untouched_positives=sum(row[how.target] == "1" for row in rows if row["split"] == UNTOUCHED),
    )


def _check(role: str, members: Sequence[Path], dealt: Sequence[Dealt], how: Crossing) -> None:
    """Refuse a role of which not every fold can have both answers."""
    positives = sum(one.answer == "1" for one in dealt if one.fold)
    negatives = sum(one.answer == "0" for one in dealt if one.fold)
    if min(positives, negatives) >= how.folds:
        return
    or_else = " or 'diagnosis'" if how.target == MELANOMA else ""
    raise InputError(
        f"{role}: {positives} {how.positives} and {negatives} others have an answer in "
        f"{', '.join(folder.name for folder in members)}; {how.folds} folds need {how.folds} of both. Name other data "
        f"sets, with a column '{how.target}' (0 or 1){or_else}."
    )


def _write(
    dealt: Sequence[Dealt], fold: int, of: tuple[Crossing, str], place: Path, out: Path, *, hide: bool = False
) -> None:
    """Write the table of a fold; with ``hide``, of what is learnt from alone, and without what gives answers away."""
    how, role = of
    rows = [_row(one, fold, how, how.roles[role], place) for one in dealt]
    if hide:
        rows = [row for row in rows if row["split"] == LEARN]
    columns = dict.fromkeys([*UNTOLD, "diagnosis", how.target, *(name for row in rows for name in row)])
    kept = [name for name in columns if not hide or name in UNTOLD or not why_not(name, how.target)]
    write_table(out / TABLE, [{name: row.get(name, "") for name in kept} for row in rows], kept)


def _row(one: Dealt, fold: int, how: Crossing, role: Role, place: Path) -> dict[str, str]:
    """Row of the table over the user's own files."""
    sample = one.sample
    return {
        **{name: text for name, text in one.row.items() if name not in ("lesion_id", "near_duplicate_of")},
        "image_id": sample.image_id,
        "path": relative(sample.image, place),
        "mask_path": relative(sample.mask, place) if sample.mask else "",
        "patient_id": sample.group.removeprefix(f"{sample.domain}/"),
        "split": _split_of(one, fold),
        "fold": str(one.fold or ""),
        "modality": sample.modality or role.modality,
        "diagnosis": sample.diagnosis or one.row.get("diagnosis", ""),
        how.target: one.answer,
    }


def _split_of(one: Dealt, fold: int) -> str:
    """What an image is to a fold."""
    if one.fold:
        return JUDGED if one.fold == fold else LEARN
    if one.untouched:
        return UNTOUCHED
    return DUPLICATE if one.duplicate else UNANSWERED
