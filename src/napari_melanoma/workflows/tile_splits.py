"""Which tiles a model is judged on: all of a patient together, and each patient the same in every later data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.splits import parts_of

FEWEST = 4  # patients: fewer cannot be learnt from, tuned on and judged on
AREA_TILES = 6  # along the side of an area that stays together where there are fewer
LEARNT, JUDGED = "train", "val"
FEW = (
    "there are {patients} patients, too few to keep one apart: tiles of an area of a slide stay together instead, and "
    "figures on other areas of the same slide are better than those on another patient's would be"
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
    patients ``patient_id`` gives way to ``lesion_id``, an area of a slide.

    Parameters
    ----------
    rows : sequence of dict
        With ``patient_id``, ``slide`` and the place of each tile; changed in place.
    held_out : float
        Share of the patients to be judged on.

    Returns
    -------
    str
        What to know about it; empty where there is nothing.
    """
    patients = {row["patient_id"] for row in rows}
    few = len(patients) < FEWEST
    if few:
        for row in rows:
            row["lesion_id"], row["patient_id"] = _area(row), ""
    samples = [_sample(row, row["lesion_id"] if few else row["patient_id"]) for row in rows]
    judged = {id(sample) for sample in parts_of(samples, Rules(held_out), 0).held_out}
    for row, sample in zip(rows, samples, strict=True):
        row["split"] = JUDGED if id(sample) in judged else LEARNT
    return FEW.format(patients=len(patients)) if few else ""


def _area(row: dict[str, str]) -> str:
    """Name of the area of its slide that a tile lies in."""
    places = [int(float(row[at]) // (AREA_TILES * float(row[side]))) for at, side in _SIDES]
    return f"{row['slide']} area {places[0]}-{places[1]}"


_SIDES = (("y_px", "height_px"), ("x_px", "width_px"))


def _sample(row: dict[str, str], group: str) -> Sample:
    """A tile as splits know it: its group does not depend on the name of the data set."""
    return Sample(row["image_id"], Path(), Path(), group, "", "tiles")
