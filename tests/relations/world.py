"""Small photographs, data sets, slides and models, on which relations are tested."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from napari_melanoma.io.results import read_table, write_table

PHOTOGRAPH_PX = (96, 128)
SLIDE_PX, MPP = 512, 1.0
TUMOR = (slice(96, 352), slice(128, 320))
GLASS = (slice(None), slice(448, None))
DIAGNOSES = ("melanoma", "nevus", "seborrheic keratosis")


def draw_photograph(number: int, scale: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return a dark blob on skin, uint8 (row, column, channel), and its mask; each number is another one.

    ``scale``: pixels of the image for each pixel of the smallest one, along rows and columns.
    """
    random = np.random.default_rng(number)
    rows, columns = (np.indices((PHOTOGRAPH_PX[0] * scale, PHOTOGRAPH_PX[1] * scale)) + 0.5) / scale
    angle = np.arctan2(rows - 46 - number % 5, columns - 60 - number % 7)
    radius = np.hypot(rows - 46 - number % 5, columns - 60 - number % 7)
    mask = radius < 20 + number % 9 + 3 * np.sin((3 + number % 3) * angle + number)
    color = np.array([(70, 45, 40), (130, 90, 70), (110, 80, 45)][number % 3])
    # Shades that differ from image to image: otherwise the search for duplicates takes them for the same image.
    shades = np.kron(random.normal(0, 12, (4, 4)), np.ones((mask.shape[0] // 4, mask.shape[1] // 4)))
    rgb = np.where(mask[..., None], color, (222, 180, 165)) + shades[..., None]
    rgb += random.normal(0, 5, (*mask.shape, 3))
    return rgb.clip(0, 255).astype(np.uint8), mask


def write_photographs(folder: Path, count: int, first: int = 0) -> list[Path]:
    """Write photographs ``x00.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"x{number:02}.png" for number in range(first, first + count)]
    for number, path in enumerate(paths, start=first):
        Image.fromarray(draw_photograph(number)[0]).save(path)
    return paths


def make_rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows of a table: two photographs of each patient, every fifth row without a patient but with a lesion."""
    return [
        {
            "image_id": f"x{number:02}",
            "patient_id": "" if number % 5 == 4 else f"P{number // 2:02}",
            "lesion_id": f"L{number // 2:02}",
            "diagnosis": DIAGNOSES[number // 2 % 3],
            "modality": "dermoscopic",
            "age": 30 + number,
            "sex": ("female", "male")[number // 2 % 2],
            "site": "posterior torso",
            "mpp_x": 50,
            "mpp_y": 50,
        }
        for number in range(first, first + count)
    ]


def write_dataset(folder: Path, count: int = 12, first: int = 0, **changes: Any) -> Path:
    """Write a data set of photographs with masks; ``changes``: values of all rows."""
    write_photographs(folder / "images", count, first)
    (folder / "masks").mkdir()
    for number in range(first, first + count):
        Image.fromarray(draw_photograph(number)[1]).convert("L").save(folder / f"masks/x{number:02}.png")
    write_table(folder / "dataset.csv", [{**row, **changes} for row in make_rows(count, first)])
    return folder


def shuffle_rows(dataset: Path, out: Path, seed: int = 1) -> Path:
    """Copy a data set with its rows in another order."""
    shutil.copytree(dataset, out)
    rows = read_table(out / "dataset.csv")
    order = np.random.default_rng(seed).permutation(len(rows))
    write_table(out / "dataset.csv", [rows[one] for one in order])
    return out


@cache
def _encode_slide(seed: int, mpp: float) -> bytes:
    random = np.random.default_rng(seed)
    rgb = np.array((215, 150, 190)) + random.normal(0, 8, (SLIDE_PX, SLIDE_PX, 3))
    rgb[TUMOR] -= (125, 110, 80)
    rgb[GLASS] = 245
    rgb = np.roll(rgb.clip(0, 255).astype(np.uint8), 16 * seed, axis=0)
    resolution = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    how: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib", "metadata": None}
    from io import BytesIO

    file = BytesIO()
    with tifffile.TiffWriter(file) as tiff:
        tiff.write(rgb, subifds=1, **how, **resolution)
        tiff.write(np.ascontiguousarray(rgb[::2, ::2]), subfiletype=1, **how)
    return file.getvalue()


def draw_slide(path: Path, seed: int = 0, mpp: float = MPP) -> Path:
    """Write a tiled pyramid: pink tissue, a dark tumor, and glass; each seed is another one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encode_slide(seed, mpp))
    return path


def write_strokes(path: Path, seed: int = 0) -> Path:
    """Write lines of three classes over a slide as QuPath exports them."""
    shift = 16 * seed
    lines = {
        "Tumor": [((150, 120 + shift), (300, 160 + shift)), ((160, 300 + shift), (290, 260 + shift))],
        "Dermis": [((20, 80), (100, 90)), ((350, 60), (430, 80)), ((30, 470), (100, 480)), ((350, 400), (430, 480))],
        "Background": [((470, 40), (500, 200)), ((470, 300), (500, 480))],
    }
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": [list(point) for point in line]},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, of_class in lines.items()
        for line in of_class
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def write_regions(path: Path, seed: int = 0) -> Path:
    """Write areas of two classes of a slide as QuPath exports them."""
    shift = 16 * seed
    areas = {"Tumor": (128, 96 + shift, 320, 352 + shift), "Dermis": (0, 0, 120, 500)}
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]],
            },
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, (left, top, right, bottom) in areas.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path
