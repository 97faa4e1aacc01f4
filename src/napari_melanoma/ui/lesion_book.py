"""Which photographs were analysed, and where each of them and its mask are in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui import linked, recovery
from napari_melanoma.ui.lesion_steps import Lesion
from napari_melanoma.ui.photographs import Source

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Image, Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray


class LesionBook:
    """A ``Lesion`` for each analysed photograph, by the identity of its layer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.lesions: dict[str, Lesion] = {}

    def image(self, identity: str) -> Image | None:
        """Find a photograph.

        Parameters
        ----------
        identity : str
            As ``layers.identity`` gives it.

        Returns
        -------
        napari.layers.Image or None
            None where it was removed.
        """
        return next((image for image in linked.identify(self.viewer) if linked.identity(image) == identity), None)

    def source(self, identity: str) -> Source | None:
        """Take a photograph from its layer.

        Parameters
        ----------
        identity : str
            Of the photograph.

        Returns
        -------
        Source or None
            None where it was removed.
        """
        image = self.image(identity)
        return None if image is None else Source.of(image)

    def mask(self, identity: str) -> Labels | None:
        """Find the mask layer of an analysed photograph.

        Parameters
        ----------
        identity : str
            Of the photograph.

        Returns
        -------
        napari.layers.Labels or None
            None where there is none, or one that does not fit the photograph.
        """
        image, lesion = self.image(identity), self.lesions.get(identity)
        labels = None if image is None or lesion is None else linked.part(self.viewer, image, "mask")
        if labels is None or lesion is None or labels.data.shape != lesion.result.mask.shape:
            return None
        return labels

    def unsaved_names(self) -> list[str]:
        """List the photographs whose corrections were not saved.

        Returns
        -------
        list of str
            Names of their layers; photographs that were removed are not counted.
        """
        images = (self.image(identity) for identity, lesion in self.lesions.items() if lesion.unsaved)
        return [image.name for image in images if image is not None]

    def discard_unsaved(self) -> None:
        """Remove what was kept of corrections that nobody wants."""
        for lesion in self.lesions.values():
            if lesion.unsaved:
                lesion.unsaved = False
                recovery.remove(lesion.image_digest)

    def keep_unsaved(self) -> None:
        """Write corrections as they are at this moment, to be offered another day.

        Raises
        ------
        SaveError
            Where the file system refuses.
        """
        for identity, lesion in self.lesions.items():
            labels = self.mask(identity)
            if lesion.unsaved and labels is not None:
                recovery.save(
                    lesion.image_digest, lesion.result, labels.data != 0, lesion.chosen, self.strokes(identity)
                )

    def forget_saved(self) -> None:
        """Remove what was kept of photographs with nothing unsaved; called when the dock ends."""
        for lesion in self.lesions.values():
            if not lesion.unsaved:
                recovery.remove(lesion.image_digest)

    def strokes(self, identity: str) -> NDArray[np.uint8] | None:
        """Copy the strokes that are drawn and not cleared.

        Parameters
        ----------
        identity : str
            Of the photograph.

        Returns
        -------
        numpy.ndarray or None
            uint8 (row, column); None where there are none.
        """
        image = self.image(identity)
        layer = None if image is None else linked.part(self.viewer, image, "scribbles")
        return None if layer is None or not layer.data.any() else layer.data.copy()
