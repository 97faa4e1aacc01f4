"""The pointing game over a data set: how often a classifier's heatmaps fall on the structure that decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.analysis.pointing import Pointed, PointingGame, pointed, pointing_game
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.file_names import file_name
from napari_melanoma.core.files import write_json
from napari_melanoma.core.provenance import provenance
from napari_melanoma.data.dataset import Entry, Sample, check_names, each_entry, read_dataset
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.inference.classification import Classifier

TOLERANCE = 1 / 32  # of the longer side of a picture: half a place of a map of 16 x 16
COLUMNS = ("image_id", "domain", "method", "hit", "distance_px", "row", "column", "by_chance")


@dataclass(frozen=True)
class PointingOptions:
    """What is asked: methods of explanation, the split, where masks lie, and how far beside them still counts.

    ``masks`` is a folder of PNG files named like the images; None: the data set's own masks. ``tolerance`` is a share
    of the longer side of a picture. ``target`` is the class that is explained, "" for the positive one.
    """

    methods: tuple[str, ...] = ("grad_cam",)
    split: str | None = None
    masks: Path | None = None
    tolerance: float = TOLERANCE
    target: str = ""


def point(
    classifier: Classifier, datasets: Sequence[Path], out: Path, options: PointingOptions, *, run: RunContext
) -> dict[str, PointingGame]:
    """Play the pointing game on all pictures that show the structure.

    Method to the share of hits, and what chance would hit.
    """
    from napari_melanoma.inference.classification import Lesion
    from napari_melanoma.inference.explanation import explain

    check_names(datasets)
    found: dict[str, list[Pointed]] = {method: [] for method in options.methods}
    rows, groups, tables = list[dict[str, object]](), list[str](), _tables(datasets)
    for sample, mask in run.track(list(_shown(datasets, options)), "Looking where heatmaps point"):
        rgb, structure = read_photograph(sample.image).rgb, read_mask(mask)
        if not structure.any():
            continue
        _check_size(sample, rgb, structure)
        lesion = Lesion(rgb, structure, tables.get((sample.domain, sample.image_id), {}))
        groups.append(str(sample.group))
        for method in options.methods:
            heat = explain(classifier, lesion, method, options.target or None, run)  # type: ignore[arg-type]
            found[method].append(pointed(heat, structure, options.tolerance * max(structure.shape)))
            rows.append(_row(sample, method, found[method][-1]))
    if not groups:
        raise InputError(
            "no picture has a mask with anything in it: there is nothing to point at. Name the folder with the masks "
            "of the structure that decides: --pointing-masks."
        )
    games = {method: pointing_game(hits, groups) for method, hits in found.items()}
    write_table(out / "pointing.csv", rows, COLUMNS)
    write_json(out / "pointing.json", _about(classifier, games, options))
    return games


def _tables(datasets: Sequence[Path]) -> dict[tuple[str, str], Mapping[str, str]]:
    """What the tables say of each picture."""
    return {
        (folder.name, entry.image_id): entry.row
        for folder in datasets
        for entry in each_entry(folder)
        if isinstance(entry, Entry)
    }


def _shown(datasets: Sequence[Path], options: PointingOptions) -> Iterator[tuple[Sample, Path]]:
    """Pictures of the split with the files of their masks."""
    for folder in datasets:
        for sample in read_dataset(folder):
            mask = sample.mask if options.masks is None else options.masks / f"{file_name(sample.image_id)}.png"
            if options.split in (None, sample.split) and mask is not None and mask.is_file():
                yield sample, mask


def _check_size(sample: Sample, rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    """Refuse a mask of another picture."""
    if mask.shape != rgb.shape[:2]:
        raise InputError(
            f"the mask of '{sample.image_id}' is {mask.shape[0]} x {mask.shape[1]} pixels, the picture "
            f"{rgb.shape[0]} x {rgb.shape[1]}. Give masks of these pictures."
        )


def _row(sample: Sample, method: str, one: Pointed) -> dict[str, object]:
    """Row of ``pointing.csv``."""
    row, column = one.place or ("", "")
    known = {"image_id": sample.image_id, "domain": sample.domain, "method": method, "hit": int(one.hit)}
    away = "" if one.place is None else round(one.distance_px, 2)
    return {**known, "distance_px": away, "row": row, "column": column, "by_chance": round(one.by_chance, 4)}


def _about(classifier: Classifier, games: Mapping[str, PointingGame], options: PointingOptions) -> dict[str, object]:
    """Content of ``pointing.json``."""
    return {
        "model": {"name": classifier.info.name, "fingerprint": classifier.info.fingerprint},
        "class": options.target or classifier.config.positive,
        "split": options.split,
        "tolerance": options.tolerance,
        "methods": {method: {"hits": vars(game.share), "by_chance": game.by_chance} for method, game in games.items()},
        "provenance": provenance(),
    }
