"""Which photographs were analysed, and where each of them and its mask are in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.ui import linked, recovery
from napari_melanoma.ui.lesion.state import Lesion
from napari_melanoma.ui.photographs import Source

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray


class LesionBook:
    """A ``Lesion`` for each analysed photograph, by the identity of its layer."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.lesions: dict[str, Lesion] = {}

    def image(self, identity: str) -> Image | None:
        """Find a photograph.

        None where it was removed.
        """
        return next((image for image in linked.identify(self.viewer) if linked.identity(image) == identity), None)

    def source(self, identity: str) -> Source | None:
        """Take a photograph from its layer.

        None where it was removed.
        """
        image = self.image(identity)
        return None if image is None else Source.of(image)

    def mask(self, identity: str) -> Labels | None:
        """Find the mask layer of an analysed photograph.

        None where there is none, or one that does not fit the photograph.
        """
        image, lesion = self.image(identity), self.lesions.get(identity)
        labels = None if image is None or lesion is None else linked.part(self.viewer, image, "mask")
        if labels is None or lesion is None or labels.data.shape != lesion.result.mask.shape:
            return None
        return labels

    def digest(self, identity: str) -> str | None:
        """Give the fingerprint of the mask that is shown, also where a dock of before made it.

        None where there is no mask.
        """
        if identity in self.lesions:
            return None if self.mask(identity) is None else self.lesions[identity].digest
        left = self._left(identity)
        return None if left is None else fingerprint(left.data != 0)

    def is_corrected(self, identity: str) -> bool:
        """Say whether the mask that is shown is one that was drawn, also where a dock of before made it.

        False where there is no mask, or one that the model gave.
        """
        if identity in self.lesions:
            return self.lesions[identity].corrected and self.mask(identity) is not None
        left = self._left(identity)
        return left is not None and bool(left.data.any()) and linked.made(left) != self.digest(identity)

    def _left(self, identity: str) -> Labels | None:
        """Find the mask of a photograph that this dock has not analysed."""
        image = self.image(identity)
        if image is None:
            return None
        left = linked.part(self.viewer, image, "mask")
        shape = (image.data[0] if image.multiscale else image.data).shape[:2]
        return left if left is not None and left.data.shape == shape else None

    def orphan(self, identity: str, role: str) -> Labels | None:
        """Find a layer that was made from a photograph which was removed.

        None where it is gone as well.
        """
        layers = (layer for layer in self.viewer.layers if linked.identity(layer) == identity)
        return next((layer for layer in layers if linked.role(layer) == role), None)

    def unsaved_names(self) -> list[str]:
        """List the photographs whose corrections were not saved.

        Names of their layers; photographs that were removed are not counted.
        """
        images = (self.image(identity) for identity, lesion in self.lesions.items() if lesion.unsaved)
        return [image.name for image in images if image is not None]

    def discard_unsaved(self) -> None:
        """Remove what was kept of corrections that nobody wants."""
        for identity, lesion in self.lesions.items():
            if lesion.unsaved:
                lesion.unsaved = False
                recovery.remove(recovery.place(lesion.image_digest, identity))

    def keep_unsaved(self) -> None:
        """Write corrections as they are at this moment, to be offered another day."""
        for identity, lesion in self.lesions.items():
            labels = self.mask(identity)
            if lesion.unsaved and labels is not None:
                place = recovery.place(lesion.image_digest, identity)
                recovery.save(place, lesion.result, labels.data != 0, lesion.chosen, self.strokes(identity))

    def forget_saved(self) -> None:
        """Remove what was kept of photographs with nothing unsaved; called when the dock ends."""
        for identity, lesion in self.lesions.items():
            if not lesion.unsaved:
                recovery.remove(recovery.place(lesion.image_digest, identity))

    def strokes(self, identity: str) -> NDArray[np.uint8] | None:
        """Copy the strokes that are drawn and not cleared.

        Returns uint8 (row, column); None where there are none.
        """
        image = self.image(identity)
        layer = None if image is None else linked.part(self.viewer, image, "scribbles")
        return None if layer is None or not layer.data.any() else layer.data.copy()
