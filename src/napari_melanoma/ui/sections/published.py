"""What is published of a sample, beside its analysis: the diagnosis, and the overlap with the published mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.data.table_schema import format_field_value
from napari_melanoma.samples.catalog import Sample, find_by_path
from napari_melanoma.ui.sections.base import PhotographSection
from napari_melanoma.ui.viewer import layers, photographs
from napari_melanoma.ui.widgets.style import state_label

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.ui.session.photograph import PhotographSession

MASK_LINK = "published_mask"


class PublishedSection(PhotographSection):
    """Compares the analysis of a sample with its published diagnosis and mask; empty for other photographs.

    The line over the ruler, of which the scale is, is shown on the photograph.
    """

    def __init__(self, session: PhotographSession) -> None:
        super().__init__(session)
        self._label = state_label("published", "Published diagnosis and mask")
        self._label.linkActivated.connect(lambda link: self.toggle_mask())
        self.add(self._label)
        self._sample = None if session.path is None else find_by_path(session.path)
        self._mask = None if self._sample is None else self._read_mask(self._sample)
        self._label.setVisible(self._sample is not None)  # the host shows the section itself
        if self._sample is not None:
            self._show_ruler(self._sample)
            for signal in (session.shown, session.events.lesion):
                self.follow(signal, self._update)
            self._update()

    def _read_mask(self, sample: Sample) -> NDArray[np.bool_] | None:
        from napari_melanoma.io.results import read_mask

        try:
            return None if sample.mask_path is None else read_mask(sample.mask_path)
        except MelanomaError as error:
            self.session.services.status.show_message(str(error))
            return None

    def _show_ruler(self, sample: Sample) -> None:
        if sample.ruler is not None and self.session.is_open:
            layer = layers.get_ruler_layer(self.session.viewer, self.session.image)
            if not len(layer.data):
                layer.add([[list(end) for end in sample.ruler[:2]]], shape_type="line")

    def _update(self) -> None:
        assert self._sample is not None
        lesion, mask = self.session.masked_lesion, self._mask
        diagnosis = f"Published: {format_field_value('diagnosis', self._sample.diagnosis)}"
        if self._sample.row.get("diagnosis_by"):
            diagnosis += f" ({format_field_value('diagnosis_by', self._sample.row['diagnosis_by'])})"
        if mask is None:
            self._label.setText(f"{diagnosis}.")
            return
        link = self.session.services.icons.link
        if lesion is None:
            self._label.setText(f"{diagnosis}; {link(MASK_LINK, 'published mask')}.")
            return
        from napari_melanoma.metrics.overlap import overlap_metrics

        dice = overlap_metrics(lesion.result.mask, mask)["DI"]
        self._label.setText(f"{diagnosis}; Dice {dice:.2f} with {link(MASK_LINK, 'its mask')}.")

    def toggle_mask(self) -> None:
        """Show the outline of the published mask, or hide it."""
        viewer, image = self.session.viewer, self.session.image
        layer = photographs.find_layer(viewer, image, "published mask")
        if layer is not None:
            layer.visible = not layer.visible
        elif self._mask is not None:
            layers.show_published_mask(viewer, image, self._mask)
