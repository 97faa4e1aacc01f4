"""What the parts of a report record for its sections on problems, provenance and changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import describe_error
from napari_melanoma.core.provenance import parse_time
from napari_melanoma.figures.page import Block, Notice, Section, Table
from napari_melanoma.lesion.mask_record import find_mask_model
from napari_melanoma.reports.disclosure import show_times
from napari_melanoma.slides.tissue_classifier.strokes import Stroke

PATIENT_OPTIONS = ("patient", "metadata")  # data of the patient, and the file with them


@dataclass(frozen=True)
class Problem:
    """A part that is missing, moved or damaged: what it belongs to, a sentence without paths, and the full message."""

    about: str
    text: str
    detail: str


class ChangeRow(NamedTuple):
    """A change by a reader, or a signature; ``when``: in ISO 8601, UTC."""

    when: str
    reader: str
    field: str
    before: str
    after: str


def change_order(row: ChangeRow) -> tuple[datetime, bool]:
    """Return the key that sorts changes by time; of those in one second, a signature is the last."""
    return parse_time(row.when), row.field == "Signature"


@dataclass
class ReportRecords:
    """Problems, origins of results, corrections and changes, to which each part of a report adds.

    ``personal``: whether the report may contain personal data. ``strokes``: whether it lists painted strokes.
    ``total``, ``done``: numbers of images and results, for the progress. ``readers``: labels of readers by their names.
    ``case``: the title of the case that is being collected; empty if there is only one. ``lesion_changes``: what has
    changed since the report of each of its lesions was signed, by id.
    """

    personal: bool
    run: RunContext
    strokes: bool = False
    total: int = 0
    done: int = 0
    readers: dict[str, str] = field(default_factory=dict)
    case: str = ""
    lesion_changes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _origins: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)  # subject, and content of result.json
    _corrections: list[tuple[str, str, str]] = field(default_factory=list)  # subject, text, and time in ISO 8601
    _credits: list[tuple[str, str]] = field(default_factory=list)  # subject, and attribution of its image
    _strokes: list[tuple[str, Stroke]] = field(default_factory=list)  # subject, and stroke
    _changes: list[tuple[str, ChangeRow]] = field(default_factory=list)  # subject, and change

    def begin_part(self, name: str) -> None:
        """Report the progress before an image or result is collected; raise if the report was canceled."""
        self.run.check()
        self.run.report(Progress(self.done, self.total, name))
        self.done += 1

    def add_problem(self, about: str, text: str, error: object) -> Notice:
        """Record a problem, with the case if there are several, and return its sentence for the report."""
        detail = describe_error(error) if isinstance(error, Exception) else str(error)
        self.problems.append(Problem(self._name_subject(about), text, detail))
        return Notice(f"{about}: {text}")

    def add_origin(self, subject: str, result: Mapping[str, Any]) -> None:
        """Record model, options and software of a result; ``result``: the content of ``result.json``."""
        self._origins.append((self._name_subject(subject), result))

    def add_correction(self, subject: str, text: str, when: str) -> None:
        """Record a contour that a user drew or corrected."""
        self._corrections.append((self._name_subject(subject), text, when))

    def add_credit(self, subject: str, credit: str) -> None:
        """Record the attribution of an image; empty if none is required."""
        if credit:
            self._credits.append((self._name_subject(subject), credit))

    def add_strokes(self, subject: str, strokes: Iterable[Stroke]) -> None:
        """Record the strokes that a reader has painted on a slide, if they are to be listed."""
        self._strokes += [(self._name_subject(subject), stroke) for stroke in strokes if self.strokes]

    def add_changes(self, subject: str, rows: Iterable[ChangeRow]) -> None:
        """Record changes of readings and synoptic reports."""
        self._changes += [(self._name_subject(subject), row) for row in rows]

    def history(self) -> list[Section]:
        """Return the section on all changes by readers and on signatures, the earliest first."""
        columns = ("Item", "Time", "Reader", "Field", "Before", "After")
        times = show_times([row.when for _, row in self._changes], personal=self.personal)
        ordered = sorted(self._changes, key=lambda change: change_order(change[1]))
        rows = tuple((subject, times[row.when], *row[1:]) for subject, row in ordered)
        table = Table("Changes of readings, scales and synoptic reports", columns, rows)
        return [Section("Changes", (table,))] if self._changes else []

    def _name_subject(self, subject: str) -> str:
        return ", ".join(filter(None, (self.case, subject)))

    def provenance(self) -> list[Block]:
        """Return the section on models, settings and versions of all results, and on contours by users."""
        blocks: list[Block] = []
        if self._origins:
            by_model: dict[tuple[str, str], list[str]] = {}
            for subject, result in self._origins:
                by_model.setdefault(_format_model(result), []).append(subject)
            models = tuple((", ".join(subjects), *model) for model, subjects in by_model.items())
            blocks.append(Table("Models", ("Result", "Model", "Weights"), models, titled=True))
            settings = _group_by_text(
                (subject, _format_settings(result, personal=self.personal)) for subject, result in self._origins
            )
            software = _group_by_text((subject, _format_software(result)) for subject, result in self._origins)
            blocks += [
                Table(title, ("Result", title), rows, titled=True)
                for title, rows in (("Settings", settings), ("Software", software))
                if rows
            ]
        if self._corrections:
            ordered = sorted(self._corrections, key=lambda one: parse_time(one[2]))
            times = show_times([when for _, _, when in ordered], personal=self.personal)
            lines = tuple(
                (str(number), subject, text, times[when])
                for number, (subject, text, when) in enumerate(ordered, start=1)
            )
            columns = ("Order", "Image", "Change", "Time")
            blocks.append(Table("Contours drawn or corrected", columns, lines, titled=True))
        if self._strokes:
            blocks.append(self._stroke_table())
        if self._credits:
            rows = _group_by_text(dict.fromkeys(self._credits))
            blocks.append(Table("Attribution of images", ("Image", "Attribution"), rows, titled=True))
        return [Section("Provenance", tuple(blocks))] if blocks else []

    def _stroke_table(self) -> Table:
        """Return the table of the painted strokes, by slide, class and reader."""
        groups: dict[tuple[str, str, str], list[Stroke]] = {}
        for subject, stroke in self._strokes:
            groups.setdefault((subject, stroke.class_name, stroke.reader), []).append(stroke)
        times = show_times([stroke.date for _, stroke in self._strokes if stroke.date], personal=self.personal)
        rows = []
        for (subject, class_name, reader), strokes in groups.items():
            dates = sorted((stroke.date for stroke in strokes if stroke.date), key=parse_time)
            ends = [times[date] for date in (dates[:1] + dates[-1:])] or ["", ""]
            rows.append((subject, class_name, self.readers.get(reader, reader), str(len(strokes)), *ends))
        columns = ("Slide", "Class", "Reader", "Strokes", "First", "Last")
        return Table("Strokes of tissue classes", columns, tuple(rows), titled=True)


def _format_model(result: Mapping[str, Any]) -> tuple[str, str]:
    """Return name and fingerprint of the model of a result, or "none" for a mask that was made without a model."""
    model = find_mask_model(result)
    if model.get("name") == "":
        return "none", ""
    return str(model.get("name") or ""), str(model.get("fingerprint") or "")[:16]


def _format_settings(result: Mapping[str, Any], *, personal: bool) -> str:
    threshold = result.get("threshold")
    settings = [f"threshold {threshold:.2f}"] if isinstance(threshold, float) else []
    options = (result.get("options") or {}).items()
    return ", ".join(
        [*settings, *list_options({name: one for name, one in options if personal or name not in PATIENT_OPTIONS})]
    )


def _format_software(result: Mapping[str, Any]) -> str:
    provenance = result.get("provenance") or {}
    versions = {str(provenance["program"]): provenance.get("version", "")} if "program" in provenance else {}
    return ", ".join(
        f"{name} {version}" for name, version in (versions | dict(provenance.get("packages") or {})).items()
    )


def _group_by_text(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return each text once, after the results that it applies to; ``pairs``: result and text."""
    subjects_by_text: dict[str, list[str]] = {}
    for subject, text in pairs:
        subjects_by_text.setdefault(text, []).append(subject)
    return tuple((", ".join(subjects), text) for text, subjects in subjects_by_text.items() if text)


def list_options(options: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the options of a result that have a value, such as ``roi margin 0.1``; paths are left out."""
    texts: list[str] = []
    for name, value in options.items():
        title = f"{prefix} {name}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            texts += list_options(value, title)
        elif value not in (None, "", [], False) and name != "model" and not {"/", "\\"} & set(str(value)):
            texts.append(title if value is True else f"{title} {value}")
    return texts
