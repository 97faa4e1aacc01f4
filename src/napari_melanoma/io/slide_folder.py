"""What the files in the folder of an analysed slide are called, and the answer among them read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari_melanoma.core.parsing import read_json

RESULT, TISSUE, HEATMAP = "result.json", "tissue.png", "heatmap.ome.tif"
LESIONS, OUTLINES = "lesions.csv", "lesions.geojson"


def read_content(folder: Path) -> dict[str, Any]:
    """Read ``result.json`` of a slide.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own.

    Returns
    -------
    dict
        Empty where the analysis has not ended, or what is there cannot be read.
    """
    return read_object(folder / RESULT)


def read_object(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    dict
        Empty where there is none, or what is there cannot be read.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
