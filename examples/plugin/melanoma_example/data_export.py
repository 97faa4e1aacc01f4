"""An export format for data sets: the boxes of lesions, as YOLO reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.files import write_text
from napari_melanoma.data.exports import DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.imaging.masks import bounding_box

if TYPE_CHECKING:
    from pathlib import Path

SPEC = DataExportSpec("boxes", "Boxes of YOLO (images/, labels/)")


def write(data: ExportedData, folder: Path) -> None:
    """Write each image, and a line for each of its areas: class, center and size, as shares of the image."""
    numbers = {name: number for number, name in enumerate(data.classes)}

    def write_image(image: ExportedImage) -> None:
        _, (rows, columns) = image.copy_image(folder / "images")
        lines = []
        for area in image.read_areas((rows, columns)):
            if box := bounding_box(area.mask):
                center = f"{(box.left + box.width / 2) / columns:.6f} {(box.top + box.height / 2) / rows:.6f}"
                size = f"{box.width / columns:.6f} {box.height / rows:.6f}"
                lines.append(f"{numbers[area.class_name]} {center} {size}\n")
        write_text(folder / "labels" / f"{image.image_id}.txt", "".join(lines))

    for _ in data.write_each(write_image):
        pass
