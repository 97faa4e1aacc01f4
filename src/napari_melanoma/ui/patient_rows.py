"""What is known of the patient of each photograph: what its case says, and what was filled in here beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_melanoma.ui.photographs import KEY

if TYPE_CHECKING:
    from napari.layers import Image

Row = dict[str, str]


class PatientRows:
    """Rows of the harmonised table by the identity of a photograph.

    What was filled in stands in the layer, so that a dock that is opened again finds it; what a case says is told anew
    by the Case dock. A case is never changed from here: what differs from it is what somebody tries out.
    """

    def __init__(self) -> None:
        self._cases: dict[str, tuple[str, Row]] = {}

    def set_case(self, identity: str, case: str, row: Mapping[str, str]) -> bool:
        """Take what a case says of a photograph.

        False where it is known already.
        """
        before = self._cases.get(identity)
        if case:
            self._cases[identity] = (case, dict(row))
        else:
            self._cases.pop(identity, None)
        return self._cases.get(identity) != before

    def case(self, identity: str) -> str:
        """Give the name of a photograph's case.

        Empty where it belongs to none.
        """
        return self._cases.get(identity, ("", {}))[0]

    def row(self, identity: str, image: Image | None) -> Row:
        """Give what is known of a photograph's patient.

        Column to text; what is not known is left out.
        """
        return _filled({**self._known(identity), **_tried(image)})

    def is_tried(self, image: Image | None) -> bool:
        """Say whether something was filled in that the case does not say.

        False where nothing was, or the layer is gone.
        """
        return bool(_tried(image))

    def fill_in(self, identity: str, image: Image, row: Mapping[str, str]) -> None:
        """Take what stands in the form."""
        known = self._known(identity)
        names = {*known, *row, *_tried(image)}
        tried = {name: row.get(name, "") for name in names if row.get(name, "") != known.get(name, "")}
        image.metadata = {**image.metadata, KEY: {**image.metadata.get(KEY, {}), "patient": tried}}

    def forget(self, identity: str, image: Image | None = None) -> None:
        """Forget what was filled in, or with no layer all that is known of a photograph."""
        if image is None:
            self._cases.pop(identity, None)
        else:
            self.fill_in(identity, image, self._known(identity))

    def _known(self, identity: str) -> Row:
        return self._cases.get(identity, ("", {}))[1]


def _tried(image: Image | None) -> Row:
    """What was filled in and is not what the case says."""
    return {} if image is None else dict(image.metadata.get(KEY, {}).get("patient", {}))


def _filled(row: Row) -> Row:
    return {name: text for name, text in row.items() if text}
