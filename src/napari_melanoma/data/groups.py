"""Groups of images that must stay together: those of a patient or a lesion, and images that show the same picture.

A group is a connected part of a table: rows are connected by their patient, by their lesion, and by the image that they
state to show. So a photograph that names the lesion alone belongs to the patient that another photograph of the lesion
names. Patients whose ids differ only by what spreadsheets change count as one, and are a question.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.data.row_values import read_text

GROUP_COLUMNS = ("patient_id", "lesion_id", "near_duplicate_of")
PATIENT, LESION, PICTURE = range(3)  # kinds of nodes


class Group(NamedTuple):
    """A group of images.

    ``name``: that of a patient, else of a lesion, else of an image. ``names``: the own names (``get_group_id``) of all
    its rows, each once, those of patients first. ``patients``: its patients, each in one spelling.
    """

    name: str
    names: tuple[str, ...]
    patients: tuple[str, ...] = ()


ROUNDED_ID = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)  # as a spreadsheet writes 1234567890123: 1.23457E+12


@lru_cache(maxsize=1 << 14)
def normalize_patient(patient: str) -> str:
    """Return what ids that may be of the same patient have in common: 007, 7 and 7.0, or P1 and p 1."""
    text = re.sub(r"\s", "", patient).casefold()
    if ROUNDED_ID.fullmatch(text):
        return text.replace(",", ".")
    return re.sub(r"(?<![\d.])0+(?=\d)", "", re.sub(r"^(\d+)[.,]0+$", r"\1", text))


def describe_patient_ids(groups: Iterable[tuple[str, ...]]) -> list[str]:
    """Ask about ids of patients that a spreadsheet may have changed, in sentences.

    ``groups``: for each image, the names in its group.
    """
    counts = Counter(groups)
    alike = [" and ".join(same) for names in sorted(counts) if len(names) > 1 for same in _list_alike(names)]
    rounded = Counter[str]()
    for names, count in counts.items():
        rounded.update({name: count for name in names if ROUNDED_ID.fullmatch(name)})
    questions = []
    if alike:
        questions.append(
            f"Is this one patient each: {format_names(alike)}? The ids differ only in capitals, zeros or spaces, and "
            "count as one patient. If so, write the id in one way; if they are different patients, give them other ids."
        )
    if shared := [f"{name} ({format_count(count, 'image')})" for name, count in sorted(rounded.items()) if count > 1]:
        questions.append(
            f"Is this one patient each: {format_names(shared)}? A spreadsheet has rounded the number, so that several "
            "patients may have become one. If so, enter the ids from the source of the table, in a column of text."
        )
    return questions


def check_rounded_ids(patients: Iterable[str], no_patients: bool) -> None:
    """Raise if several images have one id of a patient that a spreadsheet has rounded, unless the user confirms it."""
    counts = Counter(patient for patient in patients if ROUNDED_ID.fullmatch(patient))
    shared = [f"{name} ({count} rows)" for name, count in sorted(counts.items()) if count > 1]
    if shared and not no_patients:
        raise DataSetError(
            f"expected the ids of patients, found numbers that a spreadsheet has rounded: {format_names(shared)}. "
            "Several patients may have become one. Enter the ids from the source of the table, in a column of text; if "
            "they are not available, confirm with --no-patients: the images of a number then count as one patient."
        )


def _list_alike(names: Iterable[str]) -> list[list[str]]:
    """List the names that have the same normalized form, in their order."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[normalize_patient(name)].append(name)
    return [same for same in alike.values() if len(same) > 1]


class Node(NamedTuple):
    """What the rows of one own name are about: a patient, a lesion without a patient, or a picture."""

    kind: int
    name: str


def get_group_id(row: Mapping[str, str]) -> str:
    """Return the own name of a row: the first available of patient, lesion, duplicated image and image."""
    return _make_node(row).name


def hash_to_unit_interval(salt: str, name: str) -> float:
    """Hash the name of a group or an image to a number in [0, 1), the same on every machine and in every run.

    What selects or orders groups uses it, so that the order of the rows has no effect.
    """
    return int.from_bytes(hashlib.sha256(f"{salt} {name}".encode()).digest()[:6]) / 2**48


class Groups:
    """The groups of the rows of one table, which may be added in any order.

    The name of a lesion is unique within its patient: a row without a patient is connected to the patient of its lesion
    unless several patients have a lesion of that name.
    """

    def __init__(self, rows: Iterable[Mapping[str, str]] = ()) -> None:
        self._nodes: set[Node] = set()
        self._of_image: dict[str, Node] = {}
        self._of_picture: dict[str, set[Node]] = defaultdict(set)  # images that others state to show
        self._pictures: dict[Node, set[str]] = defaultdict(set)
        self._patients: dict[str, set[Node]] = defaultdict(set)  # of a lesion
        self._lesions: dict[Node, set[str]] = defaultdict(set)  # of a patient
        self._lesions_alone: set[str] = set()  # of rows without a patient
        self._alike: dict[str, set[Node]] = defaultdict(set)  # patients by their normalized id
        self._found: dict[Node, Group] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, str]) -> Node:
        """Add a row with its ``image_id``; returns by what ``find`` finds its group."""
        node, image = _make_node(row), row["image_id"]
        self._nodes.add(node)
        self._of_image[image] = node
        if original := read_text(row, "near_duplicate_of"):
            self._connect(node, original)
            self._connect(self._of_image.get(original, node), original)
        if image in self._of_picture:
            self._connect(node, image)
        if node.kind == LESION:
            self._lesions_alone.add(node.name)
        if node.kind == PATIENT:
            self._alike[normalize_patient(node.name)].add(node)
            if lesion := read_text(row, "lesion_id"):
                self._patients[lesion].add(node)
                self._lesions[node].add(lesion)
        self._found.clear()
        return node

    def find(self, node: Node) -> Group:
        """Return the group of the rows about a patient, lesion or picture."""
        if node not in self._found:
            connected, waiting = {node}, [node]
            while waiting:
                new = {*self._iter_neighbors(waiting.pop())} - connected
                connected |= new
                waiting += new
            first, *others = sorted(connected)
            # Numbered lesions without a patient may have the name of a patient
            is_shared = first.kind == LESION and Node(PATIENT, first.name) in self._nodes
            name = f"{first.name} (lesion)" if is_shared else first.name
            names = tuple(dict.fromkeys(one.name for one in (first, *others)))
            spellings: dict[str, str] = {}
            for patient in (one.name for one in (first, *others) if one.kind == PATIENT):
                spellings.setdefault(normalize_patient(patient), patient)
            self._found |= dict.fromkeys(connected, Group(name, names, tuple(spellings.values())))
        return self._found[node]

    def find_of_row(self, row: Mapping[str, str]) -> Group:
        """Return the group of a row that was added."""
        return self.find(_make_node(row))

    def find_lesion(self, row: Mapping[str, str]) -> tuple[str, str] | None:
        """Return what identifies the lesion of a row that was added: its patient and its name; None without a lesion.

        Unlike its group, it is not that of other lesions of the patient, nor of copies.
        """
        lesion, patient = read_text(row, "lesion_id"), read_text(row, "patient_id")
        if lesion and not patient and self._has_one_patient(lesion):
            patient = min(self._patients[lesion]).name
        return (normalize_patient(patient), lesion) if lesion else None

    def _connect(self, node: Node, picture: str) -> None:
        self._of_picture[picture].add(node)
        self._pictures[node].add(picture)

    def _iter_neighbors(self, node: Node) -> Iterator[Node]:
        """Yield what is connected to a patient, lesion or picture by a row, and patients with a similar id."""
        if node.kind == PATIENT:
            yield from self._alike[normalize_patient(node.name)]
        for picture in self._pictures.get(node, ()):
            yield from self._of_picture[picture]
        lesions = self._lesions.get(node, set()) & self._lesions_alone
        yield from (Node(LESION, lesion) for lesion in lesions if self._has_one_patient(lesion))
        if node.kind == LESION and self._has_one_patient(node.name):
            yield from self._patients[node.name]

    def _has_one_patient(self, lesion: str) -> bool:
        patients = self._patients.get(lesion, set())
        return len({normalize_patient(patient.name) for patient in patients}) == 1


def _make_node(row: Mapping[str, str]) -> Node:
    for kind, column in enumerate(GROUP_COLUMNS):
        if name := read_text(row, column):
            return Node(kind, name)
    return Node(PICTURE, row["image_id"])
