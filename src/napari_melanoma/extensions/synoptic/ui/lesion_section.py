"""The Report section of the selected lesion in the Case dock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtGui import QShowEvent, QWindow

from napari_melanoma.case.lesion_content import LesionContent
from napari_melanoma.case.model import CaseImage, values_for_form
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.findings import SlideFindings, read_findings
from napari_melanoma.depth.report_blocks import IMAGES, PREDICTION, list_contradictions
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.extensions.synoptic.ui.form import ReportForm
from napari_melanoma.slides.result_folder import slide_folder
from napari_melanoma.slides.synoptic_files import compare_reports
from napari_melanoma.ui.sections.base import LesionSection
from napari_melanoma.ui.user_data import user_data
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.signals import follow_focus

if TYPE_CHECKING:
    from napari_melanoma.ui.session.case_lesion import LesionSession


OTHER_ON_SLIDE = (
    "The report of {} has other values: {}. Correct one of the two, or press Add to case in the Report section of "
    "the slide to replace those here."
)


NOT_READ = frozenset(((PREDICTION,), (IMAGES,)))  # keys of what is read from files


@dataclass(frozen=True)
class LesionFiles:
    """What is stored of a lesion outside of its case: ``content``; ``findings``: of its slides, by their files."""

    content: LesionContent
    findings: Mapping[Path, SlideFindings] = field(default_factory=dict)


class LesionSynopticSection(LesionSection):
    """The report of a lesion; each change of an answer is an undo step of the case."""

    def __init__(self, session: LesionSession) -> None:
        super().__init__(session)
        self._files = LesionFiles(LesionContent(session.lesion, unread=NOT_READ))
        self._queue = LatestJobQueue(self)
        self._queue.succeeded.connect(self._show_files)
        self._queue.failed.connect(session.show_error)
        self.form = form = ReportForm(self._list_contradictions)
        self.add(form)
        form.reader_entered.connect(self._on_reader)
        form.findings.answered.connect(
            lambda name, answer: self._change(lambda one: one.set_answer(name, answer, self._reader, utc_time()))
        )
        form.findings.lock_pressed.connect(lambda lock: session.show_error(InputError(lock)))
        form.confirm_requested.connect(
            lambda name: self._change(
                lambda one: one.confirm(*([name] if name else []), reader=self._reader, when=utc_time())
            )
        )
        form.sign_requested.connect(lambda: self._queue.submit("sign", self._prepare_signature, self._sign))
        form.addendum_entered.connect(
            lambda text: self._amend(lambda one: one.add_addendum(text, self._reader, utc_time()))
        )
        form.reopen_requested.connect(lambda: self._amend(lambda one: one.reopen(self._reader, utc_time())))
        self.follow(session.commit_requested, form.findings.flush)
        self.follow(session.changed, self._on_changed)
        self.follow(session.displayed.changed, form.close_dialogs)
        self.follow(user_data().reader_changed, self._update)
        follow_focus(self._on_focus_window)
        self._update()

    @classmethod
    def has_content(cls, session: LesionSession) -> bool:
        """Whether a field of the report is filled in."""
        return session.lesion.report is not None

    @property
    def _report(self) -> SynopticReport:
        """The report of the lesion with suggestions from its findings."""
        lesion = self.session.lesion
        return lesion.form.prefill(None, lesion)

    @property
    def _reader(self) -> str:
        return self.session.settings.reader

    @property
    def _content(self) -> LesionContent:
        """What a report on the lesion shows."""
        return replace(self._files.content, lesion=self.session.lesion, patient=self.session.patient)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Read the files of photographs and slides again, which may have been edited in other docks."""
        super().showEvent(event)
        self._read_files()

    def _on_focus_window(self, window: QWindow | None) -> None:
        """Read the files again, which other programs may have changed while another window had the focus."""
        if window is not None and self.isVisible():
            self._read_files()

    def _on_changed(self) -> None:
        self._update()
        self._read_files()

    def _read_files(self) -> None:
        self._queue.submit("files", self._prepare_files)

    def _prepare_signature(self) -> Callable[[RunContext], LesionFiles]:
        return self._prepare_files(is_signing=True)

    def _prepare_files(self, *, is_signing: bool = False) -> Callable[[RunContext], LesionFiles]:
        slides = [image.path for image in self.session.lesion.images if image.is_slide]
        root = self.session.settings.slide_results
        read_content = self.session.prepare_content(lambda image: _find_folder(root, image.path), is_signing=is_signing)
        return lambda run: LesionFiles(read_content(), _read_slide_findings(root, slides))

    def _show_files(self, files: LesionFiles) -> None:
        self._files = files
        self._update()

    def _list_contradictions(self) -> tuple[str, ...]:
        """State what contradicts each other in the report as it would be signed now."""
        return tuple(one.text for one in list_contradictions(self._content.list_blocks(self._report)))

    def _sign(self, files: LesionFiles) -> None:
        """Sign the report with what is shown of the lesion."""
        self._files = files
        self._amend(lambda one: one.sign(self._reader, utc_time(), self._content.list_blocks(one)))
        self._update()

    def _update(self, _: object = None) -> None:
        report = self._report
        changes = (
            *self.session.lesion.double_findings,
            *self._content.list_changes(report),
            *filter(None, map(self._compare_with_slide, self.session.lesion.images)),
        )
        self.form.show_report(report, self._reader, changes, is_editable=self.session.is_editable)

    def _compare_with_slide(self, image: CaseImage) -> str:
        """State what a slide has other values of, or that it has other findings than were added to the case."""
        findings = self._files.findings.get(image.path)
        if findings is None:
            return ""
        report = findings.report or SynopticReport(reader=self._reader)
        if other := compare_reports(self._report, report.complete_from(report.own_reading(findings))):
            return OTHER_ON_SLIDE.format(image.path.name, other)
        return "" if image.findings is None else image.findings.describe_difference(findings, image.path.name)

    def _on_reader(self, name: str) -> None:
        self.session.settings.reader = name

    def _change(self, change: Callable[[SynopticReport], SynopticReport]) -> None:
        """Change the report as an undo step of the case."""
        self._try(
            lambda: self.session.edit("synoptic report", **values_for_form(self.session.lesion, change(self._report)))
        )

    def _amend(self, change: Callable[[SynopticReport], SynopticReport]) -> None:
        """Change what Undo does not change: the signature and addenda."""
        self._try(lambda: self.session.amend(synoptic=change(self._report)))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except MelanomaError as error:
            self.session.show_error(error)
            self._update()


def _find_folder(root: Path, slide: Path) -> Path | None:
    """Return the result folder of a slide; None if the results cannot be listed."""
    with suppress(OSError):
        return slide_folder(root, slide)
    return None


def _read_slide_findings(root: Path, slides: Sequence[Path]) -> dict[Path, SlideFindings]:
    """Read the stored findings of slides; those that cannot be read are left out."""
    findings = {}
    for path in slides:
        folder = _find_folder(root, path)
        if folder is None:
            continue
        with suppress(InputError, OSError):  # the Slide dock reports it
            findings[path] = read_findings(folder)
    return findings
