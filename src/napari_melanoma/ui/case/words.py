"""The words of the Case dock."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import CaseChanged
from napari_melanoma.core.wording import counted, first_few
from napari_melanoma.data.taxonomy import taxonomy
from napari_melanoma.ui.body_map.chart import title, word_of
from napari_melanoma.ui.body_map.widget import BodyMark
from napari_melanoma.ui.lesion.footer import ago

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseImage, CaseLesion
    from napari_melanoma.ui.case.store import CaseDesk

SHORT = {"tbp_tile": "total body", "wsi": "slide"}
QUICK_S = 60


def modality(image: CaseImage) -> str:
    """Say how an image was taken, in a word or two.

    Such as ``dermoscopic``, with a question mark where it is a guess.
    """
    said = SHORT.get(image.modality, image.modality) or "modality unknown"
    return f"{said} ?" if "modality" in image.guesses else said


def place(lesion: CaseLesion) -> str:
    """Say where a lesion is.

    Such as ``Left upper back``, with a question mark where it is a guess.
    """
    said = title(word_of(lesion.site, lesion.sub_site), lesion.laterality)
    return f"{said} ?" if {"site", "sub_site", "laterality"} & lesion.guesses.keys() else said


def numbers(case: Case) -> dict[str, str]:
    """Say how the lesions are numbered, as in the dots on the body map.

    Id to number: the one that files or tables give, where each has one of its own; else that of the id.
    """
    given = {lesion.id: lesion.label for lesion in case.lesions if lesion.label}
    own = {lesion.id: lesion.id.removeprefix("L") for lesion in case.lesions}
    both = {**own, **given}
    is_clear = len(set(both.values())) == len(both) and all(re.fullmatch(r"\d{1,3}", text) for text in given.values())
    return both if is_clear else own


def summary(lesion: CaseLesion) -> str:
    """Say in short what is known of a lesion."""
    kinds = dict.fromkeys(SHORT.get(image.modality, image.modality) for image in lesion.images)
    taken = ", ".join(kind for kind in kinds if kind)
    count = counted(len(lesion.images), "image") if lesion.images else "no image yet"
    parts = [taxonomy("diagnosis").title(lesion.diagnosis) if lesion.diagnosis else "", taken or count]
    return " · ".join(part for part in parts if part)


def marks(case: Case) -> list[BodyMark]:
    """Give the lesions as marks of the body map.

    In their order.
    """
    of = numbers(case)
    return [
        BodyMark(lesion.id, of[lesion.id], word_of(lesion.site, lesion.sub_site), lesion.laterality, place(lesion))
        for lesion in case.lesions
    ]


def guesses(case: Case) -> int:
    """Count what nobody has confirmed.

    Over patient, lesions and images.
    """
    parts = (case.patient, *case.lesions, *(image for _, image in case.each_image()))
    return sum(len(part.guesses) for part in parts)


def when(seconds: float) -> str:
    """Say how long ago something was saved."""
    if seconds < 1:
        return "just now"
    return f"{seconds:.0f} s ago" if seconds < QUICK_S else ago(seconds)


def notice_of(desk: CaseDesk, link: Callable[[str, str], str]) -> str:
    """Say the most important one.

    Rich text; empty where there is nothing to be said.
    """
    store, case = desk.store, desk.case
    if store is None or case is None:
        return ""
    again = link("again", "Open it again")
    if isinstance(desk.saving.fault, CaseChanged):
        said = "Another program changed the case since it was opened, so what you did is not saved yet."
        return f"{said} {again} to see that, or {link('over', 'save yours over it')}."
    if desk.saving.fault is not None:
        return f"{html.escape(str(desk.saving.fault))} {link('save', 'Try again')}."
    if store.read_only:
        return f"To look at alone: {html.escape(store.read_only)} {again}."
    missing = [image.path.name for _, image in case.each_image() if image.id in store.missing]
    if missing:
        gone = html.escape(first_few(missing))
        return f"{counted(len(missing), 'image')} not found: {gone}. Nothing is lost; {link('look', 'look for them')}."
    return ""
