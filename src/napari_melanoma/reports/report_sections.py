"""The slides of a report, and the sections that packages add to reports.

A package names a section in the group ``napari_melanoma.report_sections``; its object is a ``ReportSection``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from napari_melanoma.core.context import BATCH_ERRORS, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.paths import real_path
from napari_melanoma.core.plugins import Family, describe_plugin_error, expect
from napari_melanoma.depth.findings import read_findings
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, merge_readings
from napari_melanoma.depth.synoptic import SynopticLesion, SynopticReport
from napari_melanoma.figures.page import Block
from napari_melanoma.reports.disclosure import label_readers
from napari_melanoma.reports.report_records import ReportRecords
from napari_melanoma.slides.lesion_files import read_analysis
from napari_melanoma.slides.notes import SlideNotes, read_notes
from napari_melanoma.slides.result_folder import open_fingerprint, recorded_slide, stated_fingerprint
from napari_melanoma.slides.synoptic_files import DAMAGED, read_synoptic
from napari_melanoma.slides.tissue_classifier.strokes import STROKES, Stroke, read_strokes

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseImage, CaseLesion

Subject = TypeVar("Subject")
OTHER_FILE = (
    "The file of the slide is another one now: the results and readings are of the previous file. Restore it, or "
    "analyze the slide again."
)


@dataclass(frozen=True)
class SlidePart:
    """A slide to report, with its readings and other data from its result folder and its case.

    ``path``, ``folder``: its file and its result folder, if known. ``changes``: since the synoptic report was signed,
    and since the findings were added to the case.
    ``faults``: errors of readings and synoptic reports that cannot be read. ``image``: in the case; None without one.
    ``notes``: of a user on the slide, such as its scale; ``notes_fault``: why they cannot be read.
    """

    path: Path | None
    folder: Path | None
    depth: SlideDepthReadings
    synoptic: SynopticReport | None = None
    faults: tuple[InputError, ...] = ()
    image: CaseImage | None = None
    changes: tuple[str, ...] = ()
    notes: SlideNotes = field(default_factory=SlideNotes)
    notes_fault: InputError | None = None

    @classmethod
    def from_image(cls, image: CaseImage, folders: Sequence[Path], lesion: CaseLesion | None = None) -> Self:
        """Create the slide of an image in a case; ``folders``: result folders, among which its own may be."""
        folder = next((one for one in folders if _belongs_to(one, image.path)), None)
        part = cls(image.path, None, SlideDepthReadings())
        part = part if folder is None else cls.from_folder(folder, lesion, image.path)
        depth, synoptic = merge_readings([image.readings, part.depth]), part.synoptic
        if synoptic is not None:
            synoptic = synoptic.complete_from(synoptic.own_reading(depth) or DepthReading())
        name, changes = f"image {image.id.removeprefix('I')}", part.changes
        if image.findings is not None and folder is not None and not part.faults:
            other = image.findings.describe_difference(read_findings(folder), name, personal=False)
            changes = (*changes, *([other] if other else []))
        return replace(part, depth=depth, synoptic=synoptic, changes=changes, image=image)

    @classmethod
    def from_folder(cls, folder: Path, lesion: SynopticLesion | None = None, slide: Path | None = None) -> Self:
        """Create the slide of a result folder; ``lesion``: of its case, if known; ``slide``: by default as recorded."""
        path = slide or recorded_slide(folder)
        part = cls(path, folder, SlideDepthReadings())
        try:
            part = replace(part, notes=read_notes(folder))
        except InputError as error:
            part = replace(part, notes_fault=error)
        try:
            depth = merge_readings([read_findings(folder)])
            synoptic, changes = read_synoptic(folder, lesion, slide)
        except InputError as error:
            return replace(part, faults=(error,), changes=(DAMAGED,))
        stated, own = stated_fingerprint(folder), "" if path is None else open_fingerprint(path)
        if stated and own and stated != own and not (synoptic is not None and synoptic.is_signed):
            changes = (*changes, OTHER_FILE)
        return replace(part, depth=depth, synoptic=synoptic, changes=changes)

    @property
    def reader_names(self) -> list[str]:
        """The names of all readers, including those who changed a value."""
        names = [name for one in self.depth.readings for name in (one.reader, *(each.reader for each in one.history))]
        synoptic = () if self.synoptic is None else self.synoptic.reader_names
        scales = (change.reader for change in self.notes.scale_changes)
        return [*names, *synoptic, *scales, *(stroke.reader for stroke in self.strokes)]

    @cached_property
    def strokes(self) -> tuple[Stroke, ...]:
        """The strokes of tissue classes that were painted on the slide; none if their file is damaged."""
        path = None if self.folder is None else self.folder / STROKES
        with suppress(InputError):  # which the Paint section reports
            return read_strokes(path) if path is not None and path.is_file() else ()
        return ()

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The content of ``result.json`` with the lesions; empty without one, or if it is damaged."""
        return read_analysis(self.folder) if self.folder else {}

    @property
    def pixel_size(self) -> PixelSize | None:
        """The pixel size that the case states for the slide."""
        return None if self.image is None else self.image.pixel_size


def _belongs_to(folder: Path, slide: Path) -> bool:
    """Return whether a result folder is that of a slide, by the recorded path or the content of the file."""
    recorded = recorded_slide(folder)
    if recorded is not None and real_path(recorded) == real_path(slide):
        return True
    fingerprint = stated_fingerprint(folder)
    return bool(fingerprint) and fingerprint == open_fingerprint(slide)


def _add_nothing(subject: object, name: str, records: ReportRecords) -> Iterable[Block]:
    return ()


@dataclass(frozen=True)
class ReportSection:
    """A section of reports. Its functions return blocks, none if there is nothing to report.

    ``slide``: of a slide, from its result folder and its image in the case. ``lesion``: of a lesion of a case. Both get
    the name of the slide or lesion in texts, such as ``Image 1``, and the records of the report. ``is_first``: above
    the depth of a slide and the prediction for a lesion; otherwise, below them. ``is_in_depth_report``: the blocks of a
    slide are in its report of depth and risk, too.
    """

    title: str
    slide: Callable[[SlidePart, str, ReportRecords], Iterable[Block]] = _add_nothing
    lesion: Callable[[CaseLesion, str, ReportRecords], Iterable[Block]] = _add_nothing
    is_first: bool = False
    is_in_depth_report: bool = False


def _convert(name: str, found: object) -> ReportSection:
    return expect(found, ReportSection, "with functions slide and lesion")


REPORT_SECTIONS: Family[ReportSection] = Family(
    "report_sections",
    dict,
    _convert,
    lambda section: section.title,
)


def add_slide_sections(part: SlidePart, name: str, records: ReportRecords, *, is_first: bool) -> Iterator[Block]:
    """Yield the blocks of all sections on a slide that are above its depth (``is_first``), or below it."""
    for key, section in REPORT_SECTIONS.members.items():
        if section.is_first == is_first:
            yield from _collect(key, section.slide, part, name, records)


def add_lesion_sections(lesion: CaseLesion, name: str, records: ReportRecords, *, is_first: bool) -> Iterator[Block]:
    """Yield the blocks of all sections on a lesion that are above its prediction (``is_first``), or below it."""
    for key, section in REPORT_SECTIONS.members.items():
        if section.is_first == is_first:
            yield from _collect(key, section.lesion, lesion, name, records)


def collect_depth_report(part: SlidePart) -> tuple[Block, ...]:
    """Return the blocks of all sections that are in the report of depth and risk of a slide, with personal data."""
    records = ReportRecords(True, RunContext())
    records.readers.update(label_readers(part.reader_names, personal=True))
    return tuple(
        block
        for key, section in REPORT_SECTIONS.members.items()
        if section.is_in_depth_report
        for block in _collect(key, section.slide, part, "Slide", records)
    )


def _collect(
    key: str,
    collect: Callable[[Subject, str, ReportRecords], Iterable[Block]],
    subject: Subject,
    name: str,
    records: ReportRecords,
) -> list[Block]:
    """Return the blocks of a section, or the problem that it cannot be shown."""
    try:
        return list(collect(subject, name, records))
    except BATCH_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - any error concerns this section only; the others continue
        plugin = REPORT_SECTIONS.find_plugin(key)
        detail = error if plugin is None else plugin.make_error(describe_plugin_error(error))
        return [records.add_problem(name, f"its section {REPORT_SECTIONS.label(key)} cannot be shown.", detail)]
