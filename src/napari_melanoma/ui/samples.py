"""What stands in the samples of a run folder, read in a thread: names, and pictures small enough for a dock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.file_names import file_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

BEFORE = "start"
SIDE_PX = 360  # at which photographs are kept: three times the width of one in a narrow dock


@dataclass(frozen=True)
class Shown:
    """One sample at one epoch: its pictures, None where there is none, and the names of all samples there are."""

    names: tuple[str, ...] = ()
    name: str = ""
    photograph: QImage | None = None
    before: QImage | None = None
    now: QImage | None = None
    before_path: Path | None = None
    now_path: Path | None = None


def read_sample(run: Path, epoch: str, index: int) -> Shown:
    """Read what is shown of a sample.

    Empty where there are no samples.
    """
    names = sample_names(run, epoch) or sample_names(run, BEFORE)
    if not names:
        return Shown()
    name = names[index % len(names)]
    before, now = (run / "samples" / folder / f"{name}.png" for folder in (BEFORE, epoch))
    photograph = photograph_of(run, name)
    return Shown(
        names=names,
        name=name,
        photograph=None if photograph is None else _thumbnail(photograph, _stamp(photograph)),
        before=read_picture(before),
        now=None if epoch == BEFORE else read_picture(now),
        before_path=before,
        now_path=now,
    )


def sample_names(run: Path, epoch: str) -> tuple[str, ...]:
    """Name the images with a prediction of an epoch.

    In order.
    """
    return tuple(sorted(path.stem for path in (run / "samples" / epoch).glob("*.png") if not path.stem.startswith(".")))


def photograph_of(run: Path, image_id: str) -> Path | None:
    """Find the photograph of a sample by the run's own list of its data.

    None where the list does not name it.
    """
    table = run / "data.csv"
    return _photographs(table, _stamp(table)).get(image_id)


def read_picture(path: Path) -> QImage | None:
    """Read a small picture that this program wrote.

    None where there is none.
    """
    return _picture(path, _stamp(path))


def _stamp(path: Path) -> float:
    """When a file was last written; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


@lru_cache(maxsize=4)
def _photographs(table: Path, stamp: float) -> dict[str, Path]:
    from napari_melanoma.io.results import read_table

    if not stamp:
        return {}
    try:
        rows = read_table(table)
    except (OSError, ValueError, MelanomaError):
        return {}
    shown = [row for row in rows if row.get("image_id") and row.get("image")]
    return {file_name(row["image_id"]): table.parent / row["image"] for row in shown}


@lru_cache(maxsize=128)
def _picture(path: Path, stamp: float) -> QImage | None:
    image = QImage(str(path)) if stamp else QImage()
    return None if image.isNull() else image


@lru_cache(maxsize=64)
def _thumbnail(path: Path, stamp: float) -> QImage | None:
    """Read any photograph upright, and keep it small."""
    from napari_melanoma.io.photographs import read_photograph

    try:
        rgb = read_photograph(path).rgb
    except (OSError, MelanomaError):
        return None
    return as_image(rgb).scaled(
        SIDE_PX, SIDE_PX, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )


def as_image(rgb: NDArray[np.uint8]) -> QImage:
    """Make a Qt image of an array.

    ``rgb``: uint8 (row, column, channel). With pixels of its own.
    """
    rows, columns = rgb.shape[:2]
    kept = np.ascontiguousarray(rgb[..., :3])
    return QImage(kept.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888).copy()
