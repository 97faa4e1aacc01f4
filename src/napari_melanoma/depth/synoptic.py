"""The synoptic report of a primary cutaneous melanoma: its fields, answers, changes and signature.

A field is not filled in (no answer), answered, not assessed, or cannot be determined: these are different, and none of
them means absent or 0. Values from a reading or a case are suggestions until a reader confirms them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Self

from pydantic import AfterValidator, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic.json_schema import SkipJsonSchema

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.reader_names import identify_reader
from napari_melanoma.core.validity import Validity
from napari_melanoma.depth.readings import (
    FINDINGS,
    MODEL_READER,
    RESERVED_READER_NAME,
    AnyReadings,
    DepthReading,
    FindingRemark,
    MitosisCount,
    Number,
    ReadingChange,
    SlideDepthReadings,
    set_values,
)
from napari_melanoma.depth.shown_blocks import Blocks, ShownBlock
from napari_melanoma.depth.synoptic_fields import (
    ANSWERED,
    CANNOT,
    FIELDS,
    FIELDS_BY_NAME,
    FINDING,
    OTHER,
    AnswerState,
    SynopticField,
)
from napari_melanoma.depth.t_category import (
    EXTENT_NAMES,
    ROMAN,
    PathologicStage,
    TumorFindings,
    describe_tumor_contradiction,
    format_recorded_thickness,
    format_thickness,
    stage_primary_tumor,
)

RowState = Literal["answered", "suggested", "not assessed", "cannot be determined", "missing"]
Source = Literal["", "model", "reading", "case"]
Status = Literal["preliminary", "final", "amended"]
NOT_FILLED_IN = "not filled in"
SIGNATURE = "signature"  # name of the signature in the history
SOURCE_NAMES: Mapping[Source, str] = {"model": "the model", "reading": "the depth reading", "case": "the case"}
Author = Literal["reader", "model", "imported"]
AUTHORS: Mapping[Source, Author] = {"": "reader", "reading": "reader", "model": "model", "case": "imported"}
TWO_STORES = "{}: two values were stored, {} in the synoptic report and {} in the case. That of the report counts."
NOT_SIGNED = "Imported, but not part of the signed report: {}: {}."
KEEP_UNKNOWN = ConfigDict(extra="allow")  # keys of a newer version are kept, and written again
DERIVED = "derived"  # key of values computed from the answers, written for other programs and never read
SUBTYPES = {  # value of the column diagnosis_detail: answer to the field subtype
    "superficial spreading melanoma": "superficial_spreading",
    "nodular melanoma": "nodular",
    "lentigo maligna melanoma": "lentigo_maligna",
    "acral lentiginous melanoma": "acral_lentiginous",
    "spitzoid melanoma": "spitzoid",
    "nevoid melanoma": "nevoid",
}


class SynopticLesion(Protocol):
    """Values of a lesion of a case that suggest answers."""

    @property
    def site(self) -> str: ...
    @property
    def sub_site(self) -> str: ...
    @property
    def laterality(self) -> str: ...
    @property
    def diagnosis_detail(self) -> str: ...
    @property
    def depth_mm(self) -> float | None: ...
    @property
    def depth_at_least(self) -> bool: ...
    @property
    def ulceration(self) -> bool | None: ...
    @property
    def mitoses_per_mm2(self) -> float | None: ...
    @property
    def clark(self) -> int | None: ...
    def cell(self, name: str) -> str:
        """Format a field as in a table."""


class SynopticAnswer(Config):
    """The answer to a field: a value, or why there is none."""

    model_config = KEEP_UNKNOWN

    state: AnswerState = ANSWERED
    value: str | Number | None = Field(None, description="the word of a choice, a number, or text; only if answered")
    at_least: bool = Field(False, description="only of the Breslow thickness: the melanoma may be thicker")
    detail: str = Field(
        "", description="a note, such as the exact location, the name of another procedure, or the reason"
    )
    suggested_by: Source = Field("", description="source of a value that no reader has confirmed; empty if confirmed")
    confirmed_from: Source = Field("", description="source of a suggestion that a reader has confirmed; empty if none")

    @property
    def author(self) -> Author:
        """Who set the value: the reader also if it confirms a suggestion, see ``confirmed_from``."""
        return AUTHORS[self.suggested_by]

    def confirm(self) -> Self:
        """Return the answer as that of a reader."""
        source = self.suggested_by or self.confirmed_from
        return self.model_copy(update={"suggested_by": "", "confirmed_from": source})

    @model_validator(mode="after")
    def _check_value(self) -> Self:
        if (self.state == ANSWERED) != (self.value is not None):
            raise ValueError(f"expected a value for 'answered' and none otherwise, found {self.value!r}")
        if isinstance(self.value, str) and not self.value.strip():
            raise ValueError("the value is empty: leave the answer out if it is not filled in")
        return self

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is empty: a field without a value has no key that could be read as 0 or no."""
        values = {key: one for key, one in handler(self).items() if one not in (None, "") and one is not False}
        return {**values, **(self.model_extra or {})}


class SynopticAddendum(Config):
    """A text that was added to a signed report, which it leaves unchanged."""

    model_config = KEEP_UNKNOWN

    text: str
    reader: str = ""
    when: str = Field("", description="UTC, ISO 8601")


class SynopticChange(ReadingChange):
    """One changed answer, or the signature: its previous and new value, the reader and the time."""

    model_config = KEEP_UNKNOWN

    origin: str = Field("", description="id of the image in the case from whose reading the answer was added")

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out an origin that is empty."""
        values: dict[str, Any] = handler(self)
        return values if self.origin else {key: one for key, one in values.items() if key != "origin"}


@dataclass(frozen=True)
class SynopticRow:
    """A line of the report.

    ``text`` is the answer in words; it is never empty, and states if a value is not confirmed or not filled in.
    """

    name: str
    label: str
    text: str
    state: RowState
    group: str = ""


def _check_time(text: str) -> str:
    """Require a time with a time zone, or an empty text."""
    try:
        is_time = not text or datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        is_time = False
    if not is_time:
        raise ValueError("expected a time with a time zone, such as 2026-01-31T10:00:00+00:00")
    return text


class SynopticReport(Config):
    """A synoptic report, as stored with the findings of a slide and with a lesion of a case; edits return a new one.

    Files also have a key ``derived``: values computed from the answers for other programs. It is ignored when read.
    """

    model_config = KEEP_UNKNOWN

    format_version: Literal[1] = 1
    answers: dict[str, SynopticAnswer] = Field(
        {}, description="field to answer; fields that are not filled in are missing"
    )
    other_answers: SkipJsonSchema[dict[str, Any]] = Field({}, description="answers to fields of a newer version")
    reader: str = Field("", description="who edited it last: until it is signed, its findings are those of this reader")
    signed_by: str = Field("", description="name of the reader; empty if not signed")
    signed_at: Annotated[str, AfterValidator(_check_time)] = Field("", description="UTC, ISO 8601; empty if not signed")
    signed_report: tuple[ShownBlock, ...] = Field((), description="what the report showed when it was signed")
    signed_values: dict[str, Any] = Field(
        {}, description="of a report that an earlier version has signed: some of the values that it showed"
    )
    addenda: tuple[SynopticAddendum, ...] = Field((), description="texts added after the signature, the oldest first")
    history: tuple[SynopticChange, ...] = Field((), description="every change by a reader, the oldest first")

    @model_validator(mode="before")
    @classmethod
    def _sort_answers(cls, values: Any) -> Any:  # noqa: ANN401 - any input
        """Leave out derived values and answers that are None; the others get the order of the form.

        Answers to fields of a newer version become ``other_answers``.
        """
        if not isinstance(values, Mapping):
            return values
        answers, others = values.get("answers", {}), values.get("other_answers", {})
        if isinstance(answers, Mapping) and isinstance(others, Mapping):
            known = {name: answers[name] for name in FIELDS_BY_NAME if answers.get(name) is not None}
            others = {name: answer for name, answer in {**others, **answers}.items() if name not in FIELDS_BY_NAME}
            values = {**values, "answers": known, "other_answers": others}
        return {key: value for key, value in values.items() if key != DERIVED}

    @model_validator(mode="after")
    def _check_answers(self) -> Self:
        for name, answer in self.answers.items():
            if problem := _describe_problem(FIELDS_BY_NAME[name], answer):
                raise ValueError(f"{FIELDS_BY_NAME[name].label}: {problem}")
        if bool(self.signed_by) != bool(self.signed_at):
            raise ValueError("expected both or none of signed_by and signed_at")
        return self

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write ``other_answers`` among the answers, and add the derived values."""
        values: dict[str, Any] = handler(self)
        values["answers"] |= values.pop("other_answers")
        for name in ("signed_report", "signed_values"):
            if not values[name]:
                values.pop(name)
        return {**values, DERIVED: self._derived_values()}

    def _derived_values(self) -> dict[str, Any]:
        """Compute the values of ``DERIVED``; an unknown thickness or category has no key."""
        mm, stage = self.value("breslow"), self.stage
        answer, recorded = self.answer("breslow"), dict[str, str]()
        if answer is not None and isinstance(mm, float):
            recorded = {"breslow_recorded": format_recorded_thickness(mm, at_least=answer.at_least)}
        category = {"t_category": stage.category} if stage.category else {}
        return {"status": self.status, **recorded, **category, "t_category_reason": stage.reason}

    def answer(self, name: str) -> SynopticAnswer | None:
        """Return the answer to a field; None if it is not filled in."""
        return self.answers.get(FIELDS_BY_NAME[name].name)

    def value(self, name: str) -> str | float | None:
        """Return the confirmed value of a field; None if it has none for any reason."""
        answer = self.answer(name)
        return None if answer is None or answer.suggested_by else answer.value

    @property
    def is_signed(self) -> bool:
        return bool(self.signed_at)

    @property
    def is_filled_in(self) -> bool:
        """Whether a reader has answered a field, now or earlier; suggestions are no answers."""
        return bool(self.is_signed or self.history or {*self.answers} - {*self.suggested})

    @property
    def has_content(self) -> bool:
        """Whether there is anything to store."""
        return bool(self.is_filled_in or self.answers or self.other_answers or self.addenda)

    @property
    def stored_answers(self) -> dict[str, Any]:
        """All answers as JSON, also those to fields of a newer version."""
        return dict(self.model_dump(mode="json")["answers"])

    @property
    def status(self) -> Status:
        """Preliminary until signed; amended if it was signed, reopened and signed again."""
        if not self.is_signed:
            return "preliminary"
        return "amended" if sum(change.field == SIGNATURE for change in self.history) > 1 else "final"

    @property
    def reader_names(self) -> list[str]:
        """The names of all readers, including those who changed a value."""
        authors = [one.reader for one in self.history] + [one.reader for one in self.addenda]
        return [*filter(None, (self.signed_by,)), *authors]

    @property
    def suggested(self) -> tuple[str, ...]:
        """Names of fields with a value that no reader has confirmed."""
        return tuple(field.name for field in FIELDS if (answer := self.answer(field.name)) and answer.suggested_by)

    @property
    def stage(self) -> PathologicStage:
        """The T category by the confirmed answers, with the reason for it."""
        return stage_primary_tumor(_tumor_findings(self))

    def rows(self) -> tuple[SynopticRow, ...]:
        """Return a row for each field, in the order of the form, and a row for the T category."""
        rows = tuple(
            SynopticRow(field.name, field.label, *_format_answer(field, self.answer(field.name)), field.group)
            for field in FIELDS
        )
        state: RowState = "answered" if self.stage.category else "missing"
        return (*rows, SynopticRow("t_category", "T category (AJCC 8)", self.stage.text, state, "Stage"))

    def set_answer(self, name: str, answer: SynopticAnswer | None, reader: str, when: str) -> Self:
        """Set an answer, which confirms it, or remove it (None); return the same report if nothing changes."""
        if name not in FIELDS_BY_NAME:
            raise KeyError(f"the synoptic report has no field '{name}'")
        confirmed, previous = None, self.answer(name)
        if answer is not None:
            is_same = previous is not None and (previous.state, previous.value) == (answer.state, answer.value)
            source = previous.confirm().confirmed_from if previous is not None and is_same else ""
            confirmed = answer.model_copy(update={"suggested_by": "", "confirmed_from": source})
        removed = name if answer is None and name in FINDINGS else ""  # also one that was only suggested
        return self._with_answers({**self.answers, name: confirmed}, reader, when, removed)

    def confirm(self, *names: str, reader: str, when: str) -> Self:
        """Confirm the suggested answers of the named fields, or all of them if none is named."""
        chosen = set(names or self.suggested) & set(self.suggested)
        confirmed = {name: self.answers[name].confirm() for name in chosen}
        return self._with_answers({**self.answers, **confirmed}, reader, when)

    def restore(self, target: SynopticReport, reader: str, when: str) -> Self:
        """Restore the answers of another state, for undo and redo; the history is kept and extended."""
        restored = self._with_answers(target.answers, reader, when)  # suggestions are no changes by a reader
        before, changes = restored.history[: len(self.history)], restored.history[len(self.history) :]
        added = (one.model_copy(update={"origin": target.find_origin(one.field) or ""}) for one in changes)
        return restored._replace(answers=dict(target.answers), history=(*before, *added))

    def is_signed_by(self, reader: str) -> bool:
        """Return whether a reader has signed the report, also under another spelling of the name."""
        return self.is_signed and identify_reader(self.signed_by) == identify_reader(reader)

    def with_origin(self, origin: str, changes: int) -> Self:
        """Record that all but the first ``changes`` are from the reading of an image in the case."""
        added = (one.model_copy(update={"origin": origin}) for one in self.history[changes:])
        return self._replace(history=(*self.history[:changes], *added))

    def find_origin(self, name: str) -> str | None:
        """Return the id of the image from whose reading an answer was added; empty if it was not.

        None if no change is recorded, as of a finding that was added with the report of a slide.
        """
        return next((one.origin for one in reversed(self.history) if one.field == name), None)

    def own_reading(self, depth: SlideDepthReadings) -> DepthReading | None:
        """Return the reading of the reader whose report this is, never that of another; None if there is none."""
        author = self.reader or (self.history[-1].reader if self.history else "")
        readers = [one.reader for one in depth.readings if one.when]
        is_unknown = not author and not self.history and len(readers) == 1
        return depth.reading_by(readers[0] if is_unknown else author)

    def complete_from(self, reading: DepthReading | None) -> Self:
        """Return the report with the findings of a reading, which contains them until the report is signed."""
        if self.is_signed or reading is None:
            return self
        found = {name: answer for name in FINDINGS if (answer := find_answer(reading, name)) is not None}
        return self._replace(answers={**self.drop_findings().answers, **found})

    def drop_findings(self) -> Self:
        """Return the report without the findings that readings contain."""
        return self._replace(answers={name: one for name, one in self.answers.items() if name not in FINDINGS})

    def prefill(
        self,
        reading: DepthReading | None,
        lesion: SynopticLesion | None = None,
        validity: Validity | None = None,
        *,
        is_blind: bool = False,
    ) -> Self:
        """Add the findings of a reading, and suggest answers for fields that no reader has filled in.

        Previous suggestions are replaced. ``validity``: that of the slide analysis. If the analysis is not valid, a
        depth reading that no reader has confirmed is left out. ``is_blind``: suggest no findings of the lesion, which
        others have measured. A signed report stays as it is.
        """
        if self.is_signed:
            return self
        if reading is not None and not reading.when and validity is not None and not validity.valid:
            reading = DepthReading()
        confirmed = {
            name: answer for name, answer in self.complete_from(reading).answers.items() if not answer.suggested_by
        }
        suggested = _suggest_answers(reading, lesion)
        if is_blind:
            measured = (*FINDINGS, "extent")
            suggested = {
                name: one for name, one in suggested.items() if name not in measured or one.suggested_by != "case"
            }
        return self._replace(answers={**suggested, **confirmed})

    def suggest(self, answers: Mapping[str, SynopticAnswer]) -> Self:
        """Return the report with suggestions for fields that no reader has filled in, unless it is signed."""
        if self.is_signed:
            return self
        own = {name: answer for name, answer in self.answers.items() if not answer.suggested_by}
        return self._replace(answers={**self.answers, **answers, **own})

    def without_suggestions(self, source: Source) -> Self:
        """Return the report without answers that a source has suggested."""
        return self._replace(answers={name: one for name, one in self.answers.items() if one.suggested_by != source})

    def sign(self, reader: str, when: str, shown: Blocks = ()) -> Self:
        """Sign and lock the report; raise if suggestions are left that are not confirmed.

        ``shown``: what the report shows.
        """
        self._require_unlocked()
        if not reader.strip():
            raise InputError("the synoptic report needs a name to be signed. Enter your name first.")
        if reader.strip().lower() == MODEL_READER:
            raise InputError(RESERVED_READER_NAME)
        if self.suggested:
            names = format_names([FIELDS_BY_NAME[name].label for name in self.suggested])
            raise InputError(f"suggested values are not confirmed: {names}. Confirm or change them, then sign.")
        change = SynopticChange(field=SIGNATURE, after=reader, reader=reader, when=when)
        history = (*self.history, change)
        return self._replace(
            reader=reader,
            signed_by=reader,
            signed_at=when,
            signed_report=tuple(shown),
            signed_values={},
            history=history,
        )

    def add_addendum(self, text: str, reader: str, when: str) -> Self:
        """Add a text to a signed report, whose answers and signature stay as they are."""
        if not self.is_signed:
            raise InputError("an addendum requires a signed report. Sign it first, or change the answers.")
        if not reader.strip() or not text.strip():
            raise InputError("an addendum needs a text and the name of its author. Enter both.")
        addendum = SynopticAddendum(text=text.strip(), reader=reader, when=when)
        return self._replace(addenda=(*self.addenda, addendum))

    def reopen(self, reader: str, when: str) -> Self:
        """Unlock a signed report, and record this in the history; addenda stay."""
        if not self.is_signed:
            return self
        change = SynopticChange(field=SIGNATURE, before=self.signed_by, reader=reader, when=when)
        history = (*self.history, change)
        return self._replace(
            reader=reader, signed_by="", signed_at="", signed_report=(), signed_values={}, history=history
        )

    def list_empty_fields(self) -> tuple[list[str], list[str]]:
        """Return the labels of empty fields: those that this tumor requires, and the others."""
        expected = {"in_situ": ("always", "melanoma"), "none": ("always",)}.get(
            str(self.value("extent")), ("always", "melanoma", "invasive")
        )
        empty = [field for field in FIELDS if self.answer(field.name) is None]
        required = [field.label for field in empty if field.expected in expected]
        return required, [field.label for field in empty if field.expected not in expected]

    def check(self) -> tuple[str, ...]:
        """List what is missing, not confirmed or inconsistent."""
        return tuple(_list_warnings(self))

    def without_persons(self) -> Self:
        """Return answers and addenda, without names of readers, times, and keys or fields of a newer version."""
        answers = {
            name: SynopticAnswer(**{key: getattr(one, key) for key in SynopticAnswer.model_fields})
            for name, one in self.answers.items()
        }
        return type(self)(answers=answers, addenda=tuple(SynopticAddendum(text=one.text) for one in self.addenda))

    def _require_unlocked(self) -> None:
        if self.is_signed:
            raise InputError(f"the synoptic report is signed by {self.signed_by}. Reopen it to change it.")

    def _with_answers(
        self, answers: Mapping[str, SynopticAnswer | None], reader: str, when: str, removed: str = ""
    ) -> Self:
        self._require_unlocked()
        changes = tuple(
            SynopticChange(field=field.name, before=_to_json(before), after=_to_json(after), reader=reader, when=when)
            for field in FIELDS
            if (before := self.answer(field.name)) != (after := answers.get(field.name))
            and (field.name == removed or _confirmed(before) != _confirmed(after))
        )
        if not changes:
            return self
        return self._replace(answers=dict(answers), reader=reader, history=(*self.history, *changes))

    def _replace(self, **values: Any) -> Self:  # noqa: ANN401 - values of any field
        return type(self).parse({**dict(self), **values}, "the synoptic report")


def find_answer(reading: DepthReading, name: str) -> SynopticAnswer | None:
    """Return a finding of a reading as an answer, which is suggested if the model has set it; None if it is unknown.

    A Clark level that the model estimates is left out.
    """
    remark, value = reading.remarks.get(name) or FindingRemark(), reading.finding(name)
    if value is None and remark.state != ANSWERED:
        return SynopticAnswer(state=remark.state, detail=remark.detail)
    is_own = reading.author(FINDINGS[name]) == "reader"
    if value is None or (name == "clark" and not is_own):
        return None
    answer = SynopticAnswer(
        value=value,
        at_least=name == "breslow" and reading.at_least and bool(value),
        detail=remark.detail,
        suggested_by="" if is_own else "model",
        confirmed_from=remark.confirmed_from,
    )
    return None if _describe_problem(FIELDS_BY_NAME[name], answer) else answer


def describe_finding(reading: DepthReading, name: str) -> str:
    """Describe a finding in words: its value, why there is none, or unknown if no reader has answered."""
    return format_without_detail(FIELDS_BY_NAME[name], find_answer(reading, name))


def set_finding(depth: AnyReadings, name: str, answer: SynopticAnswer | None, reader: str, when: str) -> AnyReadings:
    """Set a finding in the reading of a reader, or make it unknown (None)."""
    reading = depth.reading_by(reader) or DepthReading(reader=reader)
    remarks = {key: remark for key, remark in reading.remarks.items() if key != name}
    value: Any = None
    if answer is not None:
        value = answer.value
        remark = FindingRemark(state=answer.state, detail=answer.detail, confirmed_from=answer.confirmed_from)
        remarks |= {name: remark} if remark != FindingRemark() else {}
    values: dict[str, Any] = {FINDINGS[name]: value}
    if name == "breslow":
        values["at_least"] = answer is not None and answer.at_least
        if value != reading.mm:  # it was entered, and does not follow the scale
            values |= {"interval_mm": None, "um_per_px": None}
    elif name == "ulceration":
        values["ulcerated"] = None if value is None else value == "present"
    elif name == "clark":
        values["clark"] = None if value is None else ROMAN.index(str(value)) + 1
    elif FINDINGS[name] == "margins":
        key = "lateral_mm" if name.startswith("peripheral") else "deep_mm"
        values["margins"] = reading.margins.model_copy(update={key: value})
    else:
        values["mitoses"] = _set_mitoses(reading.mitoses, name, value)
    return set_values(depth, reader, when, **values, remarks=remarks)


def _set_mitoses(mitoses: MitosisCount, name: str, value: float | None) -> MitosisCount:
    """Set a rate, an area or a number of mitoses that was entered; the others, and the marks, stay."""
    if name == "mitotic_rate":
        return mitoses.model_copy(update={"per_mm2": value})
    if name == "mitoses_area":
        return mitoses.model_copy(update={"mm2": value, "um_per_px": None})  # it does not follow the scale
    counted = None if value is None else int(value)
    return mitoses.model_copy(update={"counted": counted, "none_found": counted == 0})


def describe_imported_value(report: SynopticReport, name: str, imported: SynopticAnswer | None) -> str:
    """State an imported value that a reader has answered differently, or that a signed report lacks; else empty."""
    own, field = _confirmed(report.answer(name)), FIELDS_BY_NAME[name]
    if imported is None or (own is None and not report.is_signed):
        return ""
    if own is None:
        return NOT_SIGNED.format(field.label, format_without_detail(field, imported))
    if _is_same_value(own, imported):
        return ""
    return TWO_STORES.format(field.label, *(format_without_detail(field, one) for one in (own, imported)))


def _is_same_value(first: SynopticAnswer, second: SynopticAnswer) -> bool:
    if isinstance(first.value, float) and isinstance(second.value, float):
        return math.isclose(first.value, second.value, rel_tol=1e-6, abs_tol=1e-9)
    return (first.state, first.value) == (second.state, second.value)


def _confirmed(answer: SynopticAnswer | None) -> SynopticAnswer | None:
    """Return an answer unless it is only suggested: suggestions are no changes by a reader."""
    return None if answer is None or answer.suggested_by else answer


def _to_json(answer: SynopticAnswer | None) -> dict[str, Any] | None:
    return None if answer is None else answer.model_dump(mode="json")


def _describe_problem(field: SynopticField, answer: SynopticAnswer) -> str:
    """Describe why a field does not accept an answer; empty if it does."""
    value = answer.value
    if answer.at_least and (field.name != "breslow" or not value):
        return "'at least' requires a Breslow thickness above 0 mm"
    if answer.state != ANSWERED:
        return "" if answer.state in field.absent else f"it cannot be '{answer.state}'"
    if field.kind == "choice":
        return "" if value in field.choices else f"expected one of {', '.join(field.choices)}; found {value!r}"
    if field.kind == "text":
        return "" if isinstance(value, str) else f"expected text, found {value!r}"
    if not isinstance(value, float) or not 0 <= value <= field.most:
        return f"expected a number from 0 to {field.most:g}{field.unit and ' ' + field.unit}, found {value!r}"
    return f"expected a whole number, found {value:g}" if field.is_integer and not value.is_integer() else ""


def _format_answer(field: SynopticField, answer: SynopticAnswer | None) -> tuple[str, RowState]:
    if answer is None:
        return NOT_FILLED_IN, "missing"
    text = _format_value(field, answer)
    if answer.suggested_by:
        return f"{text} (suggested by {SOURCE_NAMES[answer.suggested_by]}, not confirmed)", "suggested"
    if answer.confirmed_from in ("model", "case"):
        text = f"{text} (suggested by {SOURCE_NAMES[answer.confirmed_from]}, confirmed)"
    return text, answer.state


def _format_value(field: SynopticField, answer: SynopticAnswer) -> str:
    value = answer.value
    if value is None:
        text: str = answer.state
    elif isinstance(value, str):
        text = field.choices.get(value, value)
    elif field.name == "breslow":
        measured = format_thickness(value, at_least=answer.at_least)
        text = f"{measured}, recorded as {format_recorded_thickness(value, at_least=answer.at_least)}"
    else:
        text = f"{value:.4g} {field.unit}".strip()
    return f"{text}: {answer.detail}" if answer.detail else text


def format_without_detail(field: SynopticField, answer: SynopticAnswer | None) -> str:
    """Format an answer without its note, which may be private."""
    return "unknown" if answer is None else _format_value(field, answer.model_copy(update={"detail": ""}))


def format_stored_answer(name: str, answer: Any) -> str:  # noqa: ANN401 - JSON
    """Format a previous or new answer in the history; of a text, only that there is one."""
    field = FIELDS_BY_NAME.get(name)
    if not isinstance(answer, dict):
        return ""
    value, source = answer.get("value"), SOURCE_NAMES.get(answer.get("suggested_by") or "")
    suggested = f", suggested by {source}" if source else ""
    if value is None:
        return str(answer.get("state") or "")
    if field is None or field.kind == "text":
        return "text"
    if name == "breslow" and isinstance(value, float | int):
        return format_thickness(value, at_least=bool(answer.get("at_least"))) + suggested
    number = f"{value:.4g} {field.unit}".strip() if isinstance(value, float | int) else str(value)
    return field.choices.get(str(value), number) + suggested


def _describe_absence(report: SynopticReport, name: str) -> str:
    answer = report.answer(name)
    if answer is None:
        return NOT_FILLED_IN
    return "suggested, not confirmed" if answer.suggested_by else _format_value(FIELDS_BY_NAME[name], answer)


def _tumor_findings(report: SynopticReport) -> TumorFindings:
    """Collect the confirmed findings that the T category depends on."""
    mm, clark, extent = (report.value(name) for name in ("breslow", "clark", "extent"))
    breslow, ulceration = report.answer("breslow"), report.value("ulceration")
    thickness: dict[str, Any] = {} if mm is None else {"mm": mm, "at_least": breslow is not None and breslow.at_least}
    words = FINDING[str(ulceration)] if ulceration else _describe_absence(report, "ulceration")
    return TumorFindings(
        **thickness,
        extent=None if extent is None else str(extent),
        not_measurable=breslow is not None and breslow.state == CANNOT and not breslow.suggested_by,
        thickness=_describe_absence(report, "breslow"),
        ulcerated=None if ulceration is None else ulceration == "present",
        ulceration=f"ulceration {words}",
        clark=ROMAN.index(str(clark)) + 1 if clark else None,
    )


def _suggest_answers(reading: DepthReading | None, lesion: SynopticLesion | None) -> dict[str, SynopticAnswer]:
    """Suggest answers from a depth reading and from a lesion of a case; those of the reading have precedence."""
    answers: dict[str, SynopticAnswer] = {}

    def suggest(name: str, value: str | float | None, source: Source, **options: Any) -> None:  # noqa: ANN401
        if value not in (None, "") and name not in answers:
            answer = SynopticAnswer(value=value, suggested_by=source, **options)
            if not _describe_problem(FIELDS_BY_NAME[name], answer):
                answers[name] = answer

    if reading is not None:
        _suggest_from_reading(reading, suggest)
    if lesion is not None:
        suggest("laterality", lesion.laterality, "case")
        suggest("site", lesion.site, "case", detail=lesion.sub_site)
        suggest("subtype", SUBTYPES.get(lesion.diagnosis_detail), "case")
        suggest("breslow", lesion.depth_mm, "case", at_least=lesion.depth_at_least)
        if lesion.depth_mm is not None:
            suggest("extent", "invasive" if lesion.depth_mm > 0 else "in_situ", "case")
        words = {None: None, True: "present", False: "not_identified"}
        suggest("ulceration", words[lesion.ulceration], "case")
        suggest("clark", ROMAN[lesion.clark - 1] if lesion.clark else None, "case")
        suggest("mitotic_rate", lesion.mitoses_per_mm2, "case")
    return answers


# Called with the name of a field, a value or None, its source, and further values of the answer.
Suggest = Callable[..., None]


def _suggest_from_reading(reading: DepthReading, suggest: Suggest) -> None:
    """Suggest findings of the model in a reading, and what follows from its values."""
    sources: dict[str, Source] = {
        field: "reading" if author == "reader" else "model" for field, author in reading.all_authors().items()
    }
    for name in FINDINGS:
        if (answer := find_answer(reading, name)) is not None:
            suggest(name, answer.value, "model", at_least=answer.at_least)
    if reading.mm is not None:
        suggest("extent", "invasive" if reading.mm > 0 else "in_situ", sources.get("mm", "model"))
    for margin, mm in (("peripheral", reading.margins.lateral_mm), ("deep", reading.margins.deep_mm)):
        if mm is not None:
            suggest(f"{margin}_margin_invasive", "free" if mm > 0 else "involved", sources["margins"])


def _list_warnings(report: SynopticReport) -> Iterable[str]:
    extent = report.value("extent")
    missing, _ = report.list_empty_fields()
    if missing:
        yield f"Not filled in: {'; '.join(missing)}."
    if report.suggested:
        yield f"Suggested, not confirmed: {'; '.join(FIELDS_BY_NAME[name].label for name in report.suggested)}."
    contradiction = describe_tumor_contradiction(_tumor_findings(report))
    if contradiction:
        yield f"{contradiction[:1].upper()}{contradiction[1:]}"
    if extent in ("in_situ", "none"):
        for name in ("microsatellites", "lymphovascular_invasion", "perineural_invasion"):
            if report.value(name) == "present":
                yield f"{FIELDS_BY_NAME[name].label} (present) contradicts {EXTENT_NAMES[str(extent)]}."
    if report.value("ulceration_extent") and report.value("ulceration") != "present":
        yield "An extent of ulceration is given, but ulceration is not answered as present."
    yield from _list_margin_warnings(report)
    yield from _list_mitosis_warnings(report)
    yield from _list_detail_warnings(report)


def _list_margin_warnings(report: SynopticReport) -> Iterable[str]:
    for component in ("invasive", "in_situ"):
        for margin in ("peripheral", "deep"):
            name = f"{margin}_margin_{component}"
            status, mm = report.value(name), report.value(f"{margin}_distance_{component}")
            if mm is not None and status is not None and (status == "free") != (mm != 0):
                yield f"{FIELDS_BY_NAME[name].label}: {status} contradicts a distance of {mm:g} mm."


def _list_mitosis_warnings(report: SynopticReport) -> Iterable[str]:
    rate, counted, area = (report.value(name) for name in ("mitotic_rate", "mitoses_counted", "mitoses_area"))
    if isinstance(rate, float) and isinstance(counted, float) and isinstance(area, float) and area > 0:
        expected = counted / area
        if abs(rate - expected) > 0.5 + 1e-6:  # a rate may be rounded to a whole number
            yield f"A mitotic rate of {rate:.4g} per mm² contradicts {counted:g} mitoses in {area:.4g} mm²."


def _list_detail_warnings(report: SynopticReport) -> Iterable[str]:
    for name, answer in report.answers.items():
        if answer.value == OTHER and not answer.detail:
            yield f"{FIELDS_BY_NAME[name].label}: describe what 'other' means."
    breslow = report.answer("breslow")
    if breslow is not None and breslow.state == CANNOT and not breslow.detail:
        yield "Breslow thickness: state why it cannot be determined."
