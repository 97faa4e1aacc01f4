"""What the files in the folder of an analysed slide are called, and the answer among them read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.validity import PredictionFacts, ScaleMatch, Validity

RESULT, TISSUE, HEATMAP = "result.json", "tissue.png", "heatmap.ome.tif"
LESIONS, OUTLINES = "lesions.csv", "lesions.geojson"


def read_content(folder: Path) -> dict[str, Any]:
    """Read ``result.json`` of a slide.

    Empty where the analysis has not ended, or what is there cannot be read.
    """
    return read_object(folder / RESULT)


def validity_in(content: Mapping[str, Any]) -> Validity:
    """Read whether the predictions for a slide are valid.

    Returns as it is stored; of results that were written before 2026-11-22 what follows from their warnings and scale.
    """
    stored = Validity.from_json(content.get("validity"))
    if stored is not None:
        return stored
    warnings, model = [str(one) for one in content.get("warnings") or ()], content.get("model") or {}
    seen = [float(one) for key in ("mpp", "tile_mpp") for one in content.get(key) or ()]
    expected = float(model.get("mpp") or 0)
    failed, total = content.get("tiles_failed") or 0, content.get("tiles_total") or 0
    return PredictionFacts(
        str(model.get("name", "")),
        demonstration=any("is a demonstration" in one for one in warnings),
        scale=ScaleMatch(max(seen), expected) if seen and min(expected, *seen) > 0 else None,
        distance=float(any(one.startswith("out of distribution") for one in warnings)),
        limit=0.5,
        failed_share=failed / total if total else 0.0,
    ).validity()


def risk_validity_in(answer: Mapping[str, Any]) -> Validity:
    """Read whether a risk is valid.

    Returns as it is stored; of answers that were written before 2026-11-22 what follows from their warnings.
    """
    stored = Validity.from_json(answer.get("validity"))
    if stored is not None:
        return stored
    warnings, model = [str(one) for one in answer.get("warnings") or ()], answer.get("model") or {}
    return PredictionFacts(
        str(model.get("name", "")),
        demonstration=any("drawn patients alone" in one or "phantom-trained" in one for one in warnings),
        distance=float(any("out of distribution" in one for one in warnings)),
        limit=0.5,
        calibrated=bool(answer.get("interval")),
    ).validity()


def read_object(path: Path) -> dict[str, Any]:
    """Read an object from a JSON file.

    Empty where there is none, or what is there cannot be read.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
