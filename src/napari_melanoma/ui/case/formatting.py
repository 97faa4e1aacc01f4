"""Format the texts of the Case dock."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_melanoma.case.model import FINDINGS, number_lesions, report_value
from napari_melanoma.core.errors import CaseChanged
from napari_melanoma.core.formatting import format_count, format_names, format_time_ago
from napari_melanoma.data.body_sites import site_title, site_word
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.ui.body_map.widget import BodyMark

if TYPE_CHECKING:
    from pathlib import Path

    from napari_melanoma.case.model import Case, CaseImage, CaseLesion
    from napari_melanoma.ui.case.controller import CaseController

SHORT_MODALITIES = {"tbp_tile": "total body", "wsi": "slide"}
SECONDS_UP_TO = 60  # longer times are formatted by ``format_time_ago``


def format_modality(image: CaseImage) -> str:
    """Format the modality of an image, such as ``dermoscopic``."""
    return SHORT_MODALITIES.get(image.modality, image.modality) or "modality unknown"


def format_site(lesion: CaseLesion) -> str:
    """Format the site of a lesion, such as ``Left upper back``."""
    return site_title(site_word(lesion.site, lesion.sub_site), lesion.laterality)


def summarize_lesion(lesion: CaseLesion) -> str:
    """Summarize diagnosis and images of a lesion."""
    modalities = dict.fromkeys(SHORT_MODALITIES.get(image.modality, image.modality) for image in lesion.images)
    modality_names = ", ".join(modality for modality in modalities if modality)
    count = format_count(len(lesion.images), "image") if lesion.images else "no images"
    parts = [load_taxonomy("diagnosis").title(lesion.diagnosis) if lesion.diagnosis else "", modality_names or count]
    return " · ".join(part for part in parts if part)


def create_body_marks(case: Case) -> list[BodyMark]:
    """Create the body map marks of the lesions, in their order."""
    numbers = number_lesions(case)
    return [
        BodyMark(
            lesion.id,
            numbers[lesion.id],
            site_word(lesion.site, lesion.sub_site),
            lesion.laterality,
            format_site(lesion),
        )
        for lesion in case.lesions
    ]


def format_saved_ago(seconds: float) -> str:
    """Format the time since the last save."""
    if seconds < 1:
        return "just now"
    return f"{seconds:.0f} s ago" if seconds < SECONDS_UP_TO else format_time_ago(seconds)


def format_notice(controller: CaseController, link: Callable[[str, str], str]) -> str:
    """Return the most important notice about the case file as rich text, or "".

    ``link``: makes a link from its target and text.
    """
    store, case = controller.store, controller.case
    if store is None or case is None:
        return ""
    reopen = link("again", "Reopen the case")
    if isinstance(controller.saver.error, CaseChanged) and not store.folder.is_dir():
        text = f"Your changes are not saved: {html.escape(str(controller.saver.error))}"
        return f"{text} You can also {link('over', 'create the folder again')} with your changes."
    if isinstance(controller.saver.error, CaseChanged):
        text = "Your changes are not saved: another program changed the case since it was opened."
        return f"{text} {reopen} to discard your changes, or {link('over', 'overwrite it with yours')}."
    if controller.saver.error is not None:
        return f"{html.escape(str(controller.saver.error))} {link('save', 'Try again')}."
    if store.read_only:
        return f"Read-only: {html.escape(store.read_only)} {reopen}."
    missing = [image.path.name for _, image in case.iterate_images() if image.id in store.missing]
    if missing:
        names, count = html.escape(format_names(missing)), format_count(len(missing), "image")
        return f"{count} not found: {names}. All data are kept; {link('locate', 'locate folder')}."
    return ""


def describe_other_findings(lesion: CaseLesion, folder: Path) -> str:
    """Describe the findings of a lesion that are not those entered in the case, a line for each author; empty for none.

    They are in its synoptic report, or in readings of its slides. ``folder``: of the case.
    """
    from napari_melanoma.depth.synoptic import describe_finding
    from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME
    from napari_melanoma.reports.report_sections import read_case_readings

    found: dict[str, list[str]] = {}
    report = lesion.synoptic
    for row in () if report is None else report.rows():
        if report is None or row.name not in FINDINGS or row.state in ("missing", "suggested"):
            continue
        if (value := report_value(report, row.name)) is None or value != getattr(lesion, FINDINGS[row.name]):
            author = f"signed by {report.signed_by}" if report.is_signed else "not signed"
            found.setdefault(f"Synoptic report, {author}", []).append(f"{row.label.lower()} {row.text}")
    for image in lesion.images:
        for reading in read_case_readings(folder, image.id) if image.is_slide else ():
            texts = {FIELDS_BY_NAME[name].label.lower(): describe_finding(reading, name) for name in FINDINGS}
            author = f"{image.path.name}, reading by {reading.reader or '(no name)'}"
            found[author] = [f"{label} {text}" for label, text in texts.items() if text != "unknown"]
    return "\n".join(f"{author}: {', '.join(texts)}." for author, texts in found.items() if texts)
