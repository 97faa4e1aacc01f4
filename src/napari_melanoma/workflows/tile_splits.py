"""Which tiles a model is judged on: all of a patient together, and each patient the same in every later data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.core.counting import counted
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import parts_of, rarest_classes
from napari_melanoma.data.tiles import TARGET

FEWEST = 4  # patients: fewer cannot be learnt from, tuned on and judged on
AREA_TILES = (6, 4, 3, 2, 1)  # along the side of an area that stays together where there are fewer
ENOUGH = 3  # areas of a class: one to learn from, one to tune with, one to judge on
LEARNT, JUDGED = "train", "val"
FEW = (
    "{patients}: too few to keep one apart. Tiles of an area of a slide stay together instead, and "
    "figures on other areas of the same slide are better than those on another patient's would be"
)
CLOSE = (
    ". All tiles of {classes} are from few places, so that areas of {side} a side stay together, and the model is "
    "judged right beside what it learnt from: draw another region of {classes}, in another place"
)


@dataclass(frozen=True)
class Rules:
    """Shares of a split, as ``data.splits`` asks for them."""

    held_out_fraction: float
    split: str = LEARNT
    held_out_split: str = JUDGED
    tuning_fraction: float = 0.0


def split_tiles(rows: Sequence[dict[str, str]], held_out: float) -> str:
    """Write ``split`` into the rows of tiles, by patient.

    A patient is held out by a hash of the name, so that more slides, or more regions, move nobody. Of fewer than four
    patients ``patient_id`` gives way to ``lesion_id``, an area of a slide; areas are as large as leaves each class
    three of them, and of each class at least two are left to learn from and tune with.

    What to know about it; empty where there is nothing.
    """
    patients = len({row["patient_id"] for row in rows})
    if patients >= FEWEST:
        _mark(rows, "patient_id", _judged(rows, "patient_id", held_out))
        return ""
    close = _name_areas(rows)
    rarest = rarest_classes([row["lesion_id"] for row in rows], [row.get(TARGET, "") for row in rows])
    for name in sorted(set(rarest.values())):
        alike = [row for row in rows if rarest[row["lesion_id"]] == name]
        spare = max(0, len({row["lesion_id"] for row in alike}) - (ENOUGH - 1))
        _mark(alike, "lesion_id", set(sorted(_judged(alike, "lesion_id", held_out))[:spare]))
    return FEW.format(patients=counted(patients, "patient")) + close


def _judged(rows: Sequence[dict[str, str]], by: str, held_out: float) -> set[str]:
    """Groups of rows that a model is judged on."""
    samples = [_sample(row, row[by]) for row in rows]
    return {sample.group for sample in parts_of(samples, Rules(held_out), 0).held_out}


def _mark(rows: Sequence[dict[str, str]], by: str, judged: set[str]) -> None:
    """Write the split of rows by their group."""
    for row in rows:
        row["split"] = JUDGED if row[by] in judged else LEARNT


def _name_areas(rows: Sequence[dict[str, str]]) -> str:
    """Put each tile into an area of its slide, as large as leaves each class enough of them; say where none did."""
    tiles = Counter(row.get(TARGET, "") for row in rows)
    close: list[str] = []
    for side in AREA_TILES:
        for row in rows:
            row["lesion_id"], row["patient_id"] = _area(row, side), ""
        areas = Counter(name for name, _ in {(row.get(TARGET, ""), row["lesion_id"]) for row in rows})
        few = [name for name in sorted(tiles) if name and areas[name] < min(ENOUGH, tiles[name])]
        close = close or few
        if not few:
            break
    return CLOSE.format(classes=" and of ".join(close), side=counted(side, "tile")) if close else ""


def _area(row: dict[str, str], side: int) -> str:
    """Name of the area of its slide that a tile lies in."""
    places = [int(float(row[at]) // (side * float(row[size]))) for at, size in _SIDES]
    return f"{row['slide']} area {places[0]}-{places[1]}"


_SIDES = (("y_px", "height_px"), ("x_px", "width_px"))


def _sample(row: dict[str, str], group: str) -> Sample:
    """A tile as splits know it: its group does not depend on the name of the data set."""
    return Sample(row["image_id"], Path(), Path(), group, "", "tiles")
