"""The findings of a slide, one document and one file: the readings of all readers, and the synoptic report.

What both state, such as the thickness, is stored in the readings only. The form of the report is a view of both, until
a signature freezes a copy of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import back_up_file, write_json
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.provenance import UNKNOWN_TIME, parse_time
from napari_melanoma.core.reader_names import identify_reader
from napari_melanoma.depth.readings import (
    FINDINGS,
    LINE_FIELDS,
    DepthReading,
    SlideDepthReadings,
    read_depth_file,
    restore_values,
    set_values,
)
from napari_melanoma.depth.synoptic import (
    DERIVED,
    SIGNATURE,
    SynopticAnswer,
    SynopticReport,
    find_answer,
    set_finding,
)

FINDINGS_FILE = "findings.json"
EARLIER_FILES = ("depth.json", "synoptic.json")  # readings and report in the folders of earlier versions
SIGNED_ELSEWHERE = "The last change was not saved: the report was signed by {} in another window. It is shown now."
NOT_READ = (
    "{} of an earlier version of the program: not read, since findings.json exists. Enter values again that only these "
    "files have. The files are kept."
)
KEPT_ELSEWHERE = "Another program has changed the readings of this slide. That of {} is kept as it is in the file."


class SlideFindings(SlideDepthReadings):
    """All findings of a slide: the readings, and the answers to the other fields of the synoptic report."""

    report: SynopticReport | None = Field(
        None, description="without findings of readings until it is signed; none if the form was never used"
    )

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what an unsigned report derives from its answers: its findings are those of a reading."""
        values: dict[str, Any] = handler(self)
        if self.report is not None and not self.report.is_signed and "report" in values:
            values["report"][DERIVED] = {"status": self.report.status}
        return values

    def spelling_of(self, reader: str) -> str:
        """Return the name of a reader as the readings or the signature spell it."""
        signer = "" if self.report is None else self.report.signed_by
        is_signer = self.reading_by(reader) is None and identify_reader(signer) == identify_reader(reader)
        return signer if is_signer else super().spelling_of(reader)

    def view_report(self, reader: str | None = None) -> SynopticReport | None:
        """Return the report with the findings of a reader, or as it was signed; None if the form was never used.

        ``reader``: by default the one who has edited the report last.
        """
        if self.report is None or self.report.is_signed:
            return self.report
        reading = self.report.own_reading(self) if reader is None else self.reading_by(reader)
        return self.report.complete_from(reading or DepthReading())

    def with_report(self, report: SynopticReport | None) -> Self:
        """Return the same readings with another report."""
        return self.model_copy(update={"report": report})

    def edit_form(self, before: SynopticReport, after: SynopticReport) -> Self:
        """Set the answers that an edit of the form has changed, except findings; a signed form is stored whole."""
        if after.is_signed:
            return self.with_report(after)
        if after.drop_findings().answers == before.drop_findings().answers:
            return self
        changes = (one for one in after.history[len(before.history) :] if one.field not in FINDINGS)
        history = (*(SynopticReport() if self.report is None else self.report).history, *changes)
        return self.with_report(after.drop_findings().model_copy(update={"history": history}))

    def set_answers(
        self,
        answers: Mapping[str, SynopticAnswer | None],
        reader: str,
        when: str,
        predicted: DepthReading,
    ) -> Self:
        """Set findings in the reading of a reader, by field of the report; None makes one unknown.

        A thickness of the model that is confirmed brings its line. ``predicted``: the reading of the model.
        """
        findings, thickness = self, answers.get("breslow")
        if thickness is not None and (thickness.confirmed_from, thickness.value) == ("model", predicted.mm):
            findings = set_values(findings, reader, when, **{name: getattr(predicted, name) for name in LINE_FIELDS})
        for name, answer in answers.items():
            findings = set_finding(findings, name, answer, reader, when)
        return findings

    def with_report_of(self, reader: str) -> Self:
        """State whose findings the report shows until it is signed."""
        report = self.report or SynopticReport()
        return self if report.is_signed else self.with_report(report.model_copy(update={"reader": reader}))

    def reopen(self, reader: str, when: str) -> SlideFindings:
        """Remove the signature; the reading of the signer gets findings of the signed copy that it lacks."""
        signed = self.report
        if signed is None or not signed.is_signed:
            return self
        return _add_findings(self.with_report(signed.reopen(reader, when).drop_findings()), signed)

    def restore(self, target: SlideFindings, reader: str, when: str) -> Self:
        """Restore readings and answers of another state, for undo and redo; the histories are kept and extended."""
        restored, report = restore_values(self, target, reader, when), self.report or SynopticReport()
        if self.report == target.report:
            return restored
        return restored.with_report(report.restore((target.report or SynopticReport()).drop_findings(), reader, when))


def read_findings(folder: Path) -> SlideFindings:
    """Read the findings of a slide; empty if there are none. ``folder``: its result folder."""
    path = folder / FINDINGS_FILE
    if not path.is_file():
        return _read_earlier(folder)
    try:
        return SlideFindings.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise _describe_damage(path, error) from error


def write_findings(folder: Path, findings: SlideFindings) -> tuple[str, ...]:
    """Write the findings atomically, and rename the files of earlier versions; return their old and new names."""
    write_json(folder / FINDINGS_FILE, findings.model_dump(mode="json"))
    return tuple(f"{name} as {back_up_file(folder / name).name}" for name in _list_earlier(folder))


def describe_earlier_files(folder: Path) -> tuple[str, ...]:
    """State which files of earlier versions are not read, since the folder has findings of this version."""
    names = _list_earlier(folder) if (folder / FINDINGS_FILE).is_file() else ()
    return (NOT_READ.format(format_names(names)),) if names else ()


def _list_earlier(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in EARLIER_FILES if (folder / name).is_file())


def has_findings(folder: Path) -> bool:
    """Whether a result folder contains findings."""
    return any((folder / name).is_file() for name in (FINDINGS_FILE, *EARLIER_FILES))


def _read_earlier(folder: Path) -> SlideFindings:
    """Read the two files of earlier versions; findings of an unsigned report are those of a reading."""
    readings, path = (folder / name for name in EARLIER_FILES)
    findings = SlideFindings(**dict(read_depth_file(readings)))
    if not path.is_file():
        return findings
    try:
        report = SynopticReport.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise _describe_damage(path, error) from error
    if report.is_signed or report.answers.keys().isdisjoint(FINDINGS):
        return findings.with_report(report)
    return _add_findings(findings.with_report(report.drop_findings()), report)


def _describe_damage(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} does not contain valid findings of a slide: {parse_error_reason(error)} Restore it from a backup, or "
        "move it away; it is not overwritten."
    )


def _add_findings(findings: SlideFindings, report: SynopticReport) -> SlideFindings:
    """Add the findings of a report that the readings of their authors lack.

    Those of a signed report are its signer's. Of an unsigned one, none replaces what a reading has had since.
    """
    for name, field in FINDINGS.items():
        author, time = _find_author(report, findings, name)
        reading = findings.reading_by(author) or DepthReading(reader=author)
        answer, own = report.answer(name), find_answer(reading, name)
        is_older = not report.is_signed and any(change.field == field for change in reading.history)
        if answer is None or answer.suggested_by or is_older or not (own is None or own.suggested_by):
            continue
        when = max(reading.when, time, key=parse_time) or UNKNOWN_TIME.isoformat()
        findings = set_finding(findings, name, answer, author, when)
    return findings


def _find_author(report: SynopticReport, findings: SlideFindings, name: str) -> tuple[str, str]:
    """Return who has set a finding that is in a report: the last signer, or who changed it later; and when."""
    if report.is_signed:
        return report.signed_by, report.signed_at
    for change in reversed(report.history):
        if change.field == name or (change.field == SIGNATURE and change.after):
            return change.reader, change.when
    own = report.own_reading(findings)
    return report.reader if own is None else own.reader, ""


def merge_findings(
    own: SlideFindings, stored: SlideFindings, base: SlideFindings
) -> tuple[SlideFindings, tuple[str, ...], bool]:
    """Merge what was changed here (``own``) and in the file (``stored``) since ``base``, by reading and report.

    A report that was signed in the file, and the reading of its signer, stay as they are there. Also returned: notes
    for the user, and whether a change in the file is left out.
    """
    signed, merged, kept = _find_other_signature(own.report, stored.report), list[DepthReading](), list[str]()
    is_lossy = is_refused = False
    for reader in dict.fromkeys(one.reader for one in (*own.readings, *stored.readings)):
        mine, other, was = ({each.reader: each for each in one.readings}.get(reader) for one in (own, stored, base))
        is_signer = signed is not None and signed.is_signed_by(reader) and other is not None
        is_theirs = is_signer or mine == was
        is_refused |= is_signer and mine not in (was, other)
        is_lossy |= not is_theirs and other not in (was, mine)
        if is_theirs and not is_signer and other not in (None, mine):
            kept.append(reader or "(no name)")
        merged += [one for one in (other if is_theirs else mine,) if one is not None]
    report = stored.report if signed is not None or own.report == base.report else own.report
    is_refused |= signed is not None and own.report not in (base.report, signed)
    is_lossy |= report is not stored.report and stored.report not in (base.report, own.report)
    notes = [SIGNED_ELSEWHERE.format(signed.signed_by)] if signed is not None and is_refused else []
    notes += [KEPT_ELSEWHERE.format(format_names(kept))] if kept else []
    values: dict[str, Any] = {"readings": tuple(merged), "report": report}
    return own.model_copy(update=values), tuple(notes), is_lossy


def _find_other_signature(own: SynopticReport | None, stored: SynopticReport | None) -> SynopticReport | None:
    """Return the stored report if it was signed after the own one was read; None if not."""
    if stored is None or not stored.is_signed:
        return None
    report = own or SynopticReport()
    count = len(stored.history)
    later = (change.field for change in report.history[count:])
    is_known = report.signed_at == stored.signed_at or SIGNATURE in later
    return None if is_known and report.history[:count] == stored.history else stored
