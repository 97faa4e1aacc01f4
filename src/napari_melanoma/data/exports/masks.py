"""A folder of images, and one of masks of the same names, as most programs read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_melanoma.data.export_catalog import LESION, DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.io.results import write_labels

SPEC = DataExportSpec("masks", "images/ and masks/ (PNG or TIFF, with a suffix and a value if needed)")


def write(data: ExportedData, folder: Path) -> None:
    """Write the masks; label images keep their values."""
    options = data.options
    (folder / "masks").mkdir()

    def write_pair(image: ExportedImage) -> None:
        _, shape = image.copy_image(folder / "images")
        labels = image.read_labels(shape)
        if list(data.classes) == [LESION] and not image.is_label_image:
            labels = labels * np.uint8(options.mask_value)
        path = folder / "masks" / f"{image.image_id}{options.mask_suffix}.{options.mask_type}"
        if options.mask_type == "png":
            write_labels(path, labels)
        else:
            import tifffile

            tifffile.imwrite(path, labels, photometric="minisblack", compression="deflate")

    for _ in data.write_each(write_pair):
        pass
