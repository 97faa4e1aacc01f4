"""Cross-validated segmentation rows: each image is segmented by the network that was not trained on its fold."""

from __future__ import annotations

from dataclasses import replace

from napari_melanoma.reproduction.kinds import segmentation

KIND = replace(segmentation.KIND, name="cross_validated_segmentation", cross_validated=True, needs_masks=True)
