"""MONAI: images and masks with a data list as in the Medical Segmentation Decathlon."""

from __future__ import annotations

from pathlib import Path

from napari_melanoma.core.files import write_json
from napari_melanoma.data.export_catalog import TEST, DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.splits import FOLD
from napari_melanoma.io.results import write_labels

SPEC = DataExportSpec("decathlon", "MONAI data list (dataset.json as in the Medical Segmentation Decathlon)")
DATA_LIST = "dataset.json"
SECTIONS = {"": "training", "train": "training", "val": "validation", TEST: "test"}


def write(data: ExportedData, folder: Path) -> None:
    """Write images and masks, and a list for each split; the column fold is used as in MONAI's Auto3DSeg."""

    def write_case(image: ExportedImage) -> dict[str, object]:
        path, shape = image.copy_image(folder / "images")
        label = folder / "labels" / f"{image.image_id}.png"
        write_labels(label, image.read_labels(shape))
        fold = str(image.row.get(FOLD, "")).strip()
        numbered = {"fold": int(fold) - 1} if fold.isdecimal() else {}  # counted from 0 there
        return {"image": f"images/{path.name}", "label": f"labels/{label.name}", **numbered}

    lists: dict[str, list[dict[str, object]]] = {name: [] for name in SECTIONS.values()}
    for image, case in data.write_each(write_case):
        lists[SECTIONS.get(image.split, "training")].append(case)
    labels = {str(values[0]): name for name, values in data.classes.items() if len(values) == 1}
    write_json(
        folder / DATA_LIST,
        {
            "name": data.name,
            "modality": {"0": "RGB"},
            "labels": {"0": "background", **labels},
            "numTraining": len(lists["training"]),
            "numTest": len(lists["test"]),
            **{name: cases for name, cases in lists.items() if cases or name == "training"},
        },
    )
