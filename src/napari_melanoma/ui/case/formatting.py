"""The words of the Case dock."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import CaseChanged
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.ui.body_map.chart import site_title, site_word
from napari_melanoma.ui.body_map.widget import BodyMark
from napari_melanoma.ui.lesion.footer import format_time_ago

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage, CaseLesion
    from napari_melanoma.ui.case.controller import CaseController

SHORT_MODALITIES = {"tbp_tile": "total body", "wsi": "slide"}
SECONDS_UP_TO = 60


def format_modality(image: CaseImage) -> str:
    """Say how an image was taken, in a word or two.

    Such as ``dermoscopic``, with a question mark where it is a guess.
    """
    said = SHORT_MODALITIES.get(image.modality, image.modality) or "modality unknown"
    return f"{said} ?" if "modality" in image.guesses else said


def format_site(lesion: CaseLesion) -> str:
    """Say where a lesion is.

    Such as ``Left upper back``, with a question mark where it is a guess.
    """
    said = site_title(site_word(lesion.site, lesion.sub_site), lesion.laterality)
    return f"{said} ?" if {"site", "sub_site", "laterality"} & lesion.guesses.keys() else said


def number_lesions(case: Case) -> dict[str, str]:
    """Say how the lesions are numbered, as in the dots on the body map.

    Id to number: the one that files or tables give, where each has one of its own; else that of the id.
    """
    given = {lesion.id: lesion.label for lesion in case.lesions if lesion.label}
    own = {lesion.id: lesion.id.removeprefix("L") for lesion in case.lesions}
    both = {**own, **given}
    is_clear = len(set(both.values())) == len(both) and all(re.fullmatch(r"\d{1,3}", text) for text in given.values())
    return both if is_clear else own


def summarize_lesion(lesion: CaseLesion) -> str:
    """Say in short what is known of a lesion."""
    kinds = dict.fromkeys(SHORT_MODALITIES.get(image.modality, image.modality) for image in lesion.images)
    taken = ", ".join(kind for kind in kinds if kind)
    count = format_count(len(lesion.images), "image") if lesion.images else "no image yet"
    parts = [load_taxonomy("diagnosis").title(lesion.diagnosis) if lesion.diagnosis else "", taken or count]
    return " · ".join(part for part in parts if part)


def create_body_marks(case: Case) -> list[BodyMark]:
    """Give the lesions as marks of the body map.

    In their order.
    """
    of = number_lesions(case)
    return [
        BodyMark(
            lesion.id, of[lesion.id], site_word(lesion.site, lesion.sub_site), lesion.laterality, format_site(lesion)
        )
        for lesion in case.lesions
    ]


def count_guesses(case: Case) -> int:
    """Count what nobody has confirmed.

    Over patient, lesions and images.
    """
    parts = (case.patient, *case.lesions, *(image for _, image in case.iterate_images()))
    return sum(len(part.guesses) for part in parts)


def format_saved_ago(seconds: float) -> str:
    """Say how long ago something was saved."""
    if seconds < 1:
        return "just now"
    return f"{seconds:.0f} s ago" if seconds < SECONDS_UP_TO else format_time_ago(seconds)


def format_notice(controller: CaseController, link: Callable[[str, str], str]) -> str:
    """Say the most important one.

    Rich text; empty where there is nothing to be said.
    """
    store, case = controller.store, controller.case
    if store is None or case is None:
        return ""
    again = link("again", "Open it again")
    if isinstance(controller.saver.error, CaseChanged):
        said = "Another program changed the case since it was opened, so what you did is not saved yet."
        return f"{said} {again} to see that, or {link('over', 'save yours over it')}."
    if controller.saver.error is not None:
        return f"{html.escape(str(controller.saver.error))} {link('save', 'Try again')}."
    if store.read_only:
        return f"To look at alone: {html.escape(store.read_only)} {again}."
    missing = [image.path.name for _, image in case.iterate_images() if image.id in store.missing]
    if missing:
        gone = html.escape(format_names(missing))
        return f"{format_count(len(missing), 'image')} not found: {gone}. Nothing is lost; {link('look', 'look for them')}."
    return ""
