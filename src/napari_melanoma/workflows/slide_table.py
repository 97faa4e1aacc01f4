"""``slides.csv``: a row for each slide of a folder of results, also where several programs put rows into it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from napari_melanoma.analysis.slide_lesions import LesionClass
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.ownership import locked
from napari_melanoma.core.validity import Validity
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.io.slide_folder import validity_in

TABLE, LOCK = "slides.csv", ".slides.lock"
MALIGNANT_OR_NOT = {*get_args(LesionClass)}
PATIENCE_S = 60.0  # with another program that writes its row
COLUMNS = (
    "slide",
    "file",
    "status",
    "error",
    "model",
    "probability",
    "probability_mean",
    "probability_maximum",
    "probability_top_k",
    "probability_attention",
    "valid",
    "validity",
    "lesions",
    "lesions_malignant",
    "lesion_area_mm2",
    "tissue_mm2",
    "breslow_mm",
    "breslow_low_mm",
    "breslow_high_mm",
    "breslow_at_least",
    "t_category",
    "ulceration",
    "clark_estimate",
    "mpp",
    "tiles_done",
    "tiles_failed",
    "tiles_total",
    "warnings",
    "seconds",
)
OF_CONTENT = (
    "probability",
    "tissue_mm2",
    "breslow_mm",
    "t_category",
    "tiles_done",
    "tiles_failed",
    "tiles_total",
    "seconds",
)
Row = dict[str, Any]


@dataclass(frozen=True)
class SlideStatus:
    """What became of one slide: ``content`` is that of its ``result.json``, ``error`` says why there is none.

    ``before`` says that it was analysed already, and nothing was done; ``keeps`` that results are there that
    this was not to replace, so that their row stays.
    """

    path: Path
    folder: Path
    status: Literal["done", "failed"]
    content: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    before: bool = False
    keeps: bool = False


class SlideTable:
    """The table, rows of other slides kept: it is read again before each row, for somebody else may write there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, status: SlideStatus) -> None:
        """Add or replace the row of a slide, and write the table; not where results are there that stay."""
        if not status.keeps:
            self.put_row(row_of(status))

    def put_row(self, row: Row) -> None:
        """Add or replace a row, and write the table."""
        with locked(self.path.with_name(LOCK), PATIENCE_S):
            rows: dict[str, Row] = {}
            with suppress(InputError):
                rows = {one["slide"]: dict(one) for one in read_table(self.path) if "slide" in one}
            rows[row["slide"]] = row
            write_table(self.path, [rows[name] for name in sorted(rows)], COLUMNS)


def row_of(status: SlideStatus) -> Row:
    """Give the row of a slide.

    Column to value; of a slide that failed the first columns alone.
    """
    content = status.content
    first = {"slide": status.folder.name, "file": status.path.name, "status": status.status, "error": status.error}
    if not content:
        return first
    target, lesions = content["target"], content["lesions"]
    scores = {f"probability_{method}": values.get(target) for method, values in content["scores"].items()}
    areas = [lesion["area_mm2"] for lesion in lesions if lesion["area_mm2"] is not None]
    told = [lesion["label"] for lesion in lesions]
    return {
        **first,
        **{name: value for name, value in scores.items() if name in COLUMNS},
        **{name: content[name] for name in OF_CONTENT},
        **_validity(content).cells(),
        **_depth(content),
        "model": content["model"]["name"],
        "lesions": len(lesions),
        "lesions_malignant": told.count("malignant") if {*told} <= MALIGNANT_OR_NOT else None,
        "lesion_area_mm2": sum(areas) if areas else None,
        "mpp": None if content["mpp"] is None else content["mpp"][1],
        "warnings": " ".join(content["warnings"]),
    }


def _validity(content: dict[str, Any]) -> Validity:
    """Of all predictions of a row, the depth among them."""
    depth = Validity.from_json((content.get("depth") or {}).get("validity"))
    return validity_in(content).with_reasons(*([depth] if depth else []))


def _depth(content: dict[str, Any]) -> Row:
    """What is said of the depth beside the thickness; nothing in results that were made before it was measured."""
    told = content.get("depth") or {}
    low, high = content["breslow_interval_mm"] or (None, None)
    row = {"breslow_low_mm": low, "breslow_high_mm": high, "breslow_at_least": told.get("at_least")}
    return row | {name: told.get(name) for name in ("ulceration", "clark_estimate")}
