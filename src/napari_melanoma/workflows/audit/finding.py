"""The words of an audit: what a file says (``Entry``), what of it gives somebody away (``Finding``), and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Place = Literal["picture", "slide", "dicom", "table", "text", "name"]
LONGEST = 40  # characters of an example

KINDS = {
    "person": "a person's name",
    "birth": "a date or year of birth",
    "record": "a number or id by which a hospital knows somebody",
    "contact": "an address, telephone number or e-mail address",
    "staff": "the name of somebody who works there",
    "date": "a date of a visit, of a photograph or of a specimen",
    "age": "an age above 89, which few people reach",
    "location": "where it was: coordinates or the name of an institution",
    "device": "a serial number or the name of a machine",
    "path": "a place in a file system",
    "user": "the name of a user's account",
    "picture": "another picture inside: a label, an overview or a thumbnail",
    "text": "free text, in which anything may stand",
}
"""What may be found, and what it is."""

REMEDIES: dict[Place, str] = {
    "picture": "Give the PNG files that 'napari-melanoma lesion' writes, which hold pixels alone, or remove it from a "
    "copy with 'exiftool -all= -tagsfromfile @ -icc_profile -orientation FILE'.",
    "slide": "Give the regions that are needed instead of the slide, or make a copy without label, overview and "
    "description with a tool that anonymises slides.",
    "dicom": "Give what 'napari-melanoma lesion' writes for it, or make a copy with a tool that follows the "
    "confidentiality profiles of DICOM PS3.15.",
    "table": "Remove the column from a copy, or put pseudonyms, ages and years in the place of names and dates.",
    "text": "Remove the line from a copy, or leave the file out. Of a run folder, give bundle/ alone.",
    "name": "Rename the file or folder in a copy.",
}
"""What to do about it, by the kind of file."""


@dataclass(frozen=True)
class Entry:
    """One thing that a file says besides its pixels: where it stands, what it is called, and its text.

    ``kind`` is one of ``KINDS`` where the place alone decides it, else empty: then name and text do. ``free`` says that
    people write there what they like.
    """

    place: Place
    where: str
    key: str
    value: str
    kind: str = ""
    free: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that a file would give away."""

    file: str
    kind: str
    where: str
    example: str
    what_to_do: str
    count: int = 1

    @property
    def title(self) -> str:
        """What was found, in words."""
        return KINDS[self.kind]


def masked(text: str) -> str:
    """Show the form of a text without what it says.

    One line, the first character of each word kept and the others replaced by ``*``; cut after 40 characters.
    """
    line = " ".join(text.split())
    hidden = re.sub(r"(?<=[^\W_])[^\W_]", "*", line)
    return hidden if len(hidden) <= LONGEST else hidden[: LONGEST - 1] + "…"


def found(file: str, entry: Entry, kind: str, value: str, count: int = 1) -> Finding:
    """Make a finding of an entry.

    With the example masked, but for pictures, of which it is a description.
    """
    example = value if kind == "picture" else masked(value)
    return Finding(file, kind, entry.where, example, REMEDIES[entry.place], count)
