"""What has to be known or decided about the file of a case: read only, changed by others, not saved, images gone."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import counted, first_few
from napari_melanoma.core.errors import CaseChanged

if TYPE_CHECKING:
    from napari_melanoma.ui.case.desk import CaseDesk


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
