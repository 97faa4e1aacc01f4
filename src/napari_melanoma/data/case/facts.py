"""What a name, a header or a table says of an image: cells in our columns, each with where it is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import cache

from napari_melanoma.data.case.model import CasePart, Origin
from napari_melanoma.data.table_schema import column_named

OURS = ("patient_id", "path")  # columns that a case fills in by itself: with a pseudonym, and with where the file is


@dataclass(frozen=True)
class Facts:
    """What is said of one image: ``patient`` and ``lesion`` are what they are called there, never what is stored.

    ``cells`` are ours, column to text, and ``origins`` says where each of them, and the two names, come from.
    """

    patient: str = ""
    lesion: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @classmethod
    def said(cls, origin: Origin, cells: Mapping[str, str], *, patient: str = "", lesion: str = "") -> Facts:
        """Make facts that come from one place."""
        known = {name: text for name, text in cells.items() if text and (name != "taken_on" or _is_day(text))}
        names = {"patient": patient, "lesion": lesion}
        said = (*known, *(name for name, text in names.items() if text))
        return cls(patient, lesion, known, dict.fromkeys(said, origin))

    def of(self, kind: type[CasePart]) -> tuple[dict[str, str], dict[str, Origin]]:
        """Give those that are about a patient, a lesion or an image.

        Returns the cells and their origins, by field.
        """
        found = {name: text for name, text in self.cells.items() if name in _fields(kind)}
        return found, {name: self.origins[name] for name in found}


def together(sources: Iterable[Facts]) -> Facts:
    """Put together what several places say of one image; the first that says something counts.

    A place on the body is taken as a whole from the first that names its site, and its side from another where that one
    does not say it.
    """
    facts = Facts()
    for more in sources:
        cells = {name: text for name, text in more.cells.items() if _adds(facts, name)}
        names = {name: origin for name, origin in more.origins.items() if name not in more.cells}
        origins = {name: more.origins[name] for name in cells} | names | dict(facts.origins)
        facts = Facts(facts.patient or more.patient, facts.lesion or more.lesion, cells | dict(facts.cells), origins)
    return facts


@cache
def _fields(kind: type[CasePart]) -> frozenset[str]:
    """What may be said of a part: columns of the table; somebody's own ``id``, ``note`` or ``label`` is not ours."""
    columns = {name for name in kind.model_fields if column_named(name)} - set(OURS)
    return frozenset(columns | (kind.model_fields.keys() & {"taken_on"}))


def _is_day(text: str) -> bool:
    """Whether a text is a day as a case holds it, YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _adds(facts: Facts, name: str) -> bool:
    """Whether a further source may say something in a column: not a place within another site than is known."""
    return name not in facts.cells and not (name == "sub_site" and "site" in facts.cells)
