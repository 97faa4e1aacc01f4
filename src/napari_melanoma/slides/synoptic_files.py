"""The synoptic report of a slide: its file ``synoptic.json``, and what has changed since it was signed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import back_up_if_changed, file_stamp, write_json
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.depth.readings import DEPTH_FILE, DepthReading, read_depth
from napari_melanoma.depth.report_blocks import READING, SLIDE, SYNOPTIC
from napari_melanoma.depth.shown_blocks import compare_blocks
from napari_melanoma.depth.signatures import list_changes_since_signature
from napari_melanoma.depth.synoptic import DERIVED, SIGNATURE, SynopticLesion, SynopticReport, format_stored_answer
from napari_melanoma.depth.synoptic_fields import FIELDS
from napari_melanoma.io.results import OUTLINES, RESULT, RISK_FILE
from napari_melanoma.slides.counts import COUNTS
from napari_melanoma.slides.notes import NOTES
from napari_melanoma.slides.regions import REGIONS as REGIONS_FILE
from napari_melanoma.slides.result_folder import record_new_slide
from napari_melanoma.slides.slide_content import SlideContent, read_slide_content

SYNOPTIC_FILE = "synoptic.json"
# Files of the folder that a report on the slide is made of
SHOWN_FILES = (SYNOPTIC_FILE, DEPTH_FILE, NOTES, RESULT, OUTLINES, COUNTS, REGIONS_FILE, RISK_FILE)
SIGNED_ELSEWHERE = "The last change was not saved: the {} was signed by {} in another window. It is shown now."
DAMAGED = (
    "The synoptic report of the slide cannot be read, and it may be signed: what has changed since is unknown. Restore "
    "synoptic.json from a backup."
)


def load_synoptic(folder: Path) -> SynopticReport | None:
    """Read the synoptic report of a slide; None if there is none."""
    path = folder / SYNOPTIC_FILE
    if not path.is_file():
        return None
    try:
        return SynopticReport.parse(read_json(path), str(path))
    except (OSError, ValueError, ConfigError) as error:
        raise InputError(
            f"{path} does not contain a valid synoptic report: {parse_error_reason(error)} Restore it from a backup, "
            "or move it away; it is not overwritten."
        ) from error


def save_synoptic(folder: Path, report: SynopticReport) -> None:
    """Write the synoptic report of a slide, atomically; raise InputError if the existing file is damaged."""
    load_synoptic(folder)
    content = report.model_dump(mode="json")
    if not report.is_signed:  # until then, findings are in the depth reading
        content[DERIVED] = {"status": report.status}
    write_json(folder / SYNOPTIC_FILE, content)


def list_slide_changes(report: SynopticReport, content: SlideContent) -> tuple[str, ...]:
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
    stored = load_synoptic(folder) or SynopticReport()
    now = read_slide_content(folder, content.lesion, slide)
    keys = {SLIDE, SYNOPTIC, READING}
    before, after = (
        tuple(block for block in one.list_blocks(report.without_findings(), reader) if block.key in keys)
        for one, report in ((content, shown), (now, stored))
    )
    return tuple(change.describe_pair() for change in compare_blocks(before, after))


def read_synoptic(
    folder: Path, lesion: SynopticLesion | None = None, slide: Path | None = None, reader: str | None = None
) -> tuple[SynopticReport | None, tuple[str, ...]]:
    """Read the synoptic report of a slide with its findings; None if there is none.

    ``reader``: whose findings an unsigned report gets, by default those of the reader who edited it last.
    Also returned: what has changed since the signature.
    """
    report = load_synoptic(folder)
    if report is None:
        return None, ()
    depth = read_depth(folder)
    changes: tuple[str, ...] = ()
    if report.is_signed:
        changes = list_slide_changes(report, read_slide_content(folder, lesion, slide, depth=depth))
    reading = report.own_reading(depth) if reader is None else depth.reading_by(reader)
    return report.with_findings(reading or DepthReading()), changes


def read_stated_synoptic(
    folder: Path, lesion: SynopticLesion | None = None, slide: Path | None = None
) -> tuple[SynopticReport | None, tuple[str, ...]]:
    """Read the synoptic report of a slide as ``read_synoptic`` does; that it is damaged is stated as a change."""
    try:
        return read_synoptic(folder, lesion, slide)
    except InputError:
        return None, (DAMAGED,)


@dataclass(frozen=True)
class StoredContent:
    """The signed report of a slide and what is shown with it, as the files have them.

    ``content``: None if the report is not signed, or if a file is damaged.
    """

    report: SynopticReport | None
    content: SlideContent | None

    def list_changes(self, lesion: SynopticLesion | None) -> tuple[str, ...]:
        """State what has changed since the signature; ``lesion``: the present one of the open case."""
        if self.report is None:
            return (DAMAGED,)
        return () if self.content is None else list_slide_changes(self.report, replace(self.content, lesion=lesion))


def read_stored_content(folder: Path, slide: Path) -> StoredContent:
    """Read the synoptic report of a slide, and what is shown with it if it is signed."""
    try:
        report = load_synoptic(folder) or SynopticReport()
        return StoredContent(report, read_slide_content(folder, None, slide) if report.is_signed else None)
    except InputError:
        return StoredContent(None, None)


@dataclass(frozen=True)
class StoredSynoptic:
    """The synoptic report of a slide, with notes for the user; ``stamp`` identifies the version of the file."""

    report: SynopticReport
    notes: tuple[str, ...] = ()
    stamp: tuple[int, int] | None = None


def read_stored_synoptic(folder: Path) -> StoredSynoptic:
    """Read the report of a slide, which is empty if there is none; raise InputError if the file is damaged."""
    stamp = file_stamp(folder / SYNOPTIC_FILE)
    return StoredSynoptic(load_synoptic(folder) or SynopticReport(), stamp=stamp)


def compare_reports(report: SynopticReport, other: SynopticReport) -> str:
    """List the values of another report of the same lesion that differ; empty if there are none.

    Suggestions are left out, except imported values of the other report.
    """
    differences = []
    for one in FIELDS:
        own, stored = report.answer(one.name), other.answer(one.name)
        if own is None or stored is None or own.suggested_by or stored.suggested_by not in ("", "case"):
            continue
        if (own.state, own.value) != (stored.state, stored.value):
            here, there = (format_stored_answer(one.name, answer.model_dump(mode="json")) for answer in (own, stored))
            differences.append(one.label if one.kind == "text" else f"{one.label} {there} (here {here})")
    return "; ".join(differences)


def find_other_signature(folder: Path, report: SynopticReport) -> SynopticReport | None:
    """Return the stored report of a slide if it was signed after ``report`` was read; None if not."""
    stored = load_synoptic(folder)
    if stored is None or not stored.is_signed:
        return None
    count = len(stored.history)
    later = (change.field for change in report.history[count:])
    is_known = report.signed_at == stored.signed_at or SIGNATURE in later
    return None if is_known and report.history[:count] == stored.history else stored


def store_synoptic(folder: Path, slide: Path, report: SynopticReport, known: tuple[int, int] | None) -> StoredSynoptic:
    """Save a report in the result folder of a slide, atomically; a file changed by another program is backed up first.

    A report that was signed in the meantime is not replaced, but returned with a note. ``known``: stamp of the file
    when it was last read or saved. Returns the report with the new stamp, and a note on the backup.
    """
    path = folder / SYNOPTIC_FILE
    if (signed := find_other_signature(folder, report)) is not None:
        return StoredSynoptic(signed, (SIGNED_ELSEWHERE.format("report", signed.signed_by),), file_stamp(path))
    record_new_slide(folder, slide)
    notes = back_up_if_changed(path, known)
    save_synoptic(folder, report)
    return StoredSynoptic(report, notes, file_stamp(path))
