"""What a classifier sees of each photograph, cut out and decoded once, kept in the store of pixels by its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.runs import Progress
from napari_melanoma.core.threads import in_threads
from napari_melanoma.training.cache import Cache
from napari_melanoma.training.cache_index import Facts, Kind
from napari_melanoma.training.shards import per_shard, read_items

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.recipe import TrainRecipe
    from napari_melanoma.training.run_data import DataRow
    from napari_melanoma.training.store import PixelStore


class Views(Cache):
    """Decoded views as training reads them, in an order; they have no masks."""

    def read(self, items: NDArray[np.int64] | Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Copy a batch out of the cache.

        Returns uint8 (item, 3, row, column), and 0 (item, 1, row, column).
        """
        places = self.places[np.asarray(items, dtype=np.int64)]
        images = read_items(self.folder, self.shards, places[:, :2], (3, self.side, self.side))
        return images, np.zeros((len(images), 1, self.side, self.side), np.uint8)


class ViewJob(NamedTuple):
    """A view to be made: its name by content, and the files of photograph and mask."""

    sha: str
    image: Path
    mask: Path | None


def view_sha(row: DataRow) -> str:
    """Name a view by what it is made from."""
    return hashlib.sha256(f"{row.image_sha} {row.mask_sha}".encode()).hexdigest()


def kept_as(recipe: TrainRecipe) -> Kind:
    """Name what the store knows views by: those of other settings are others."""
    assert recipe.classification is not None
    view, preparing = recipe.classification.view, recipe.model.preprocessing
    said = json.dumps([view.model_dump(mode="json"), preparing.model_dump(mode="json")], sort_keys=True)
    return cast("Kind", f"view {hashlib.sha256(said.encode()).hexdigest()[:16]}")


def lost_views(rows: Sequence[DataRow], store: PixelStore, recipe: TrainRecipe) -> list[DataRow]:
    """Find the rows whose view is not in the store.

    In their order; what is held out needs none.
    """
    kind, side = kept_as(recipe), recipe.data.cache_size
    return [row for row in rows if row.part != "held_out" and store.slot(kind, side, view_sha(row)) is None]


def fill_views(store: PixelStore, rows: Sequence[DataRow], recipe: TrainRecipe, run: RunContext) -> dict[Path, str]:
    """Cut out the views that the store lacks.

    ``store``: gets the pixels. Path to a sentence, for each photograph that cannot be used.
    """
    kind, side = kept_as(recipe), recipe.data.cache_size
    jobs = list({view_sha(row): _job(row) for row in lost_views(rows, store, recipe)}.values())
    shape, faults = (3, side, side), dict[Path, str]()
    make = partial(_cut, recipe=recipe)
    done = 0
    for first in range(0, len(jobs), per_shard(shape)):
        some = jobs[first : first + per_shard(shape)]
        found: dict[str, tuple[int, Facts]] = {}

        def pixels(some: list[ViewJob] = some, found: dict[str, tuple[int, Facts]] = found) -> Iterator[NDArray]:
            nonlocal done
            for place, (job, view) in enumerate(in_threads(make, some, run)):
                if isinstance(view, str):
                    faults[job.image] = view
                    yield np.zeros(shape, np.uint8)  # nobody is told of this place
                else:
                    found[job.sha] = place, Facts(side, side, 0.0, "")
                    yield view
                done += 1
                run.report(Progress(done, len(jobs), "Cutting out what is looked at"))

        shard = store.add((len(some), *shape), pixels())
        store.add_decoded(kind, side, shard, found)
    return faults


def views(store: PixelStore, rows: Sequence[DataRow], recipe: TrainRecipe) -> Views:
    """Find views that are decoded.

    In the order of the rows.
    """
    kind, side = kept_as(recipe), recipe.data.cache_size
    shards: dict[str, int] = {}
    places = np.empty((len(rows), 4), np.int32)
    for item, row in enumerate(rows):
        slot = store.slot(kind, side, view_sha(row))
        assert slot is not None
        places[item] = (shards.setdefault(slot.shard, len(shards)), slot.place) * 2
    return Views(store.folder, side, tuple(shards), places)


def _job(row: DataRow) -> ViewJob:
    """What is to be done for a row."""
    return ViewJob(view_sha(row), row.sample.image, row.sample.mask)


def _cut(job: ViewJob, recipe: TrainRecipe) -> NDArray[np.uint8] | str:
    """Read photograph and mask, and cut out what is looked at, (channel, row, column); or say why it cannot be."""
    from napari_melanoma.analysis.views import view_of
    from napari_melanoma.io.photographs import read_photograph
    from napari_melanoma.io.results import read_mask

    assert recipe.classification is not None
    try:
        rgb = read_photograph(job.image).rgb
        mask = read_mask(job.mask) if job.mask else None
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return f"{job.image} cannot be read: {error.strerror or error}."
    view = view_of(rgb, mask, recipe.classification.view, recipe.data.cache_size, recipe.model.preprocessing)
    if view is None:
        return f"{job.mask} holds no lesion to cut out."
    return np.ascontiguousarray(view.image.transpose(2, 0, 1))
