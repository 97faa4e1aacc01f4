"""The findings of a slide in its result folder: how they are stored, and what has changed since a signature."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import FileStamp, back_up_if_changed, file_stamp
from napari_melanoma.core.formatting import format_names
from napari_melanoma.depth.findings import (
    EARLIER_FILES,
    FINDINGS_FILE,
    SlideFindings,
    merge_findings,
    read_findings,
    write_findings,
)
from napari_melanoma.depth.report_blocks import READING, SLIDE, SYNOPTIC
from napari_melanoma.depth.shown_blocks import BlockChange, compare_blocks
from napari_melanoma.depth.signatures import list_changes_since_signature
from napari_melanoma.depth.synoptic import SynopticLesion, SynopticReport, format_stored_answer
from napari_melanoma.depth.synoptic_fields import FIELDS, SynopticField
from napari_melanoma.io.results import OUTLINES, RESULT, RISK_FILE
from napari_melanoma.slides.counts import COUNTS
from napari_melanoma.slides.notes import NOTES
from napari_melanoma.slides.regions import REGIONS as REGIONS_FILE
from napari_melanoma.slides.result_folder import open_fingerprint, record_new_slide
from napari_melanoma.slides.slide_content import SlideContent, read_slide_content

# Files of the folder that a report on the slide is made of
SHOWN_FILES = (FINDINGS_FILE, *EARLIER_FILES, NOTES, RESULT, OUTLINES, COUNTS, REGIONS_FILE, RISK_FILE)
DAMAGED = (
    "The findings of the slide cannot be read, and they may be signed: what has changed since is unknown. Restore "
    "findings.json from a backup."
)
BACKED_UP = "Files of an earlier version of the program may have other findings. They are backed up: {}."


def list_slide_changes(report: SynopticReport, content: SlideContent) -> tuple[str | BlockChange, ...]:
    """State what has changed on a slide since its report was signed; empty if it is not signed."""
    if not report.is_signed:
        return ()
    return list_changes_since_signature(report, content.list_blocks(report, report.signed_by), content.list_unread())


def list_other_changes(
    folder: Path, slide: Path, shown: SynopticReport, content: SlideContent, reader: str
) -> tuple[str, ...]:
    """Name each answer, finding of a reader and scale that differs between a window and the files, with both values.

    ``shown``, ``content``: the report and the slide as the window has shown them.
    """
    stored = read_findings(folder)
    now = read_slide_content(folder, content.lesion, slide, depth=stored)
    keys = {SLIDE, SYNOPTIC, READING}
    before, after = (
        tuple(block for block in one.list_blocks(report.drop_findings(), reader) if block.key in keys)
        for one, report in ((content, shown), (now, stored.report or SynopticReport()))
    )
    changes = compare_blocks(before, after)
    return tuple(f"{one.label}: {', now '.join(one.texts(missing='none'))}" for one in changes)


def read_synoptic(
    folder: Path, lesion: SynopticLesion | None = None, slide: Path | None = None, reader: str | None = None
) -> tuple[SynopticReport | None, tuple[str, ...]]:
    """Read the synoptic report of a slide with its findings; None if the form was never used.

    ``reader``: whose findings an unsigned report gets, by default those of the reader who edited it last.
    Also returned: what has changed since the signature.
    """
    findings = read_findings(folder)
    report = findings.view_report(reader)
    if report is None or not report.is_signed:
        return report, ()
    return report, tuple(
        map(str, list_slide_changes(report, read_slide_content(folder, lesion, slide, depth=findings)))
    )


@dataclass(frozen=True)
class StoredContent:
    """The signed report of a slide and what is shown with it, as the files have them.

    ``content``: None if the report is not signed, or if a file is damaged.
    """

    report: SynopticReport | None
    content: SlideContent | None

    def list_changes(self, lesion: SynopticLesion | None) -> tuple[str | BlockChange, ...]:
        """State what has changed since the signature; ``lesion``: the present one of the open case."""
        if self.report is None:
            return (DAMAGED,)
        return () if self.content is None else list_slide_changes(self.report, replace(self.content, lesion=lesion))


def read_stored_content(folder: Path, slide: Path) -> StoredContent:
    """Read the synoptic report of a slide, and what is shown with it if it is signed."""
    try:
        findings = read_findings(folder)
        report = findings.report or SynopticReport()
        content = read_slide_content(folder, None, slide, depth=findings) if report.is_signed else None
        return StoredContent(report, content)
    except InputError:
        return StoredContent(None, None)


def list_other_answers(report: SynopticReport, other: SynopticReport) -> Iterator[SynopticField]:
    """Yield each field that another report of the same lesion answers differently.

    Suggestions are left out, except imported values of the other report, which have no note.
    """
    for one in FIELDS:
        own, stored = report.answer(one.name), other.answer(one.name)
        if own is None or stored is None or own.suggested_by or stored.suggested_by not in ("", "case"):
            continue
        names = ("state", "value") if stored.suggested_by else ("state", "value", "at_least", "detail")
        if any(getattr(own, name) != getattr(stored, name) for name in names):
            yield one


def compare_reports(report: SynopticReport, other: SynopticReport) -> str:
    """List the values of another report of the same lesion that differ; empty if there are none."""
    differences = []
    for one in list_other_answers(report, other):
        answers = (each.answers[one.name].model_dump(mode="json") for each in (report, other))
        here, there = (format_stored_answer(one.name, answer) for answer in answers)
        differences.append(one.label if here == there else f"{one.label} {there} (here {here})")
    return "; ".join(differences)


def store_findings(
    folder: Path, slide: Path, findings: SlideFindings, base: SlideFindings, known: FileStamp | None
) -> tuple[SlideFindings, tuple[str, ...]]:
    """Save findings in the result folder of a slide, atomically, with those that another program has changed.

    ``base``, ``known``: the findings and the stamp of the file when it was last read or saved. A changed file is backed
    up if a change is left out; those of earlier versions always are. Returns what was saved, with notes for the user.
    """
    path, notes, is_lossy = folder / FINDINGS_FILE, tuple[str, ...](), False
    record_new_slide(folder, slide)
    if not findings.fingerprint:
        findings = findings.model_copy(update={"fingerprint": open_fingerprint(slide)})
    stamp = file_stamp(path)
    if stamp != known if stamp else known is None:  # changed, or never written by this version
        findings, notes, is_lossy = merge_findings(findings, read_findings(folder), base)
        notes += back_up_if_changed(path, known) if is_lossy else ()
    backups = write_findings(folder, findings)
    if backups and (is_lossy or stamp):  # not all of them was read
        notes += (BACKED_UP.format(format_names(backups)),)
    return findings, notes
