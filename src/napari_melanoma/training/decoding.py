"""Filling the store: images and masks that it lacks are decoded in threads, shard by shard, or only looked at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_melanoma.analysis.preprocessing import network_input
from napari_melanoma.core.errors import SaveError, UnreadableImage
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.preprocessing import UNTOUCHED, PreprocessingConfig
from napari_melanoma.core.runs import Progress
from napari_melanoma.core.threads import in_threads
from napari_melanoma.data.training_images import pixel_digest
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, read_mask
from napari_melanoma.training.cache_index import Content, Facts, Kind
from napari_melanoma.training.shards import per_shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.training.store import PixelStore

SAVED_EVERY = 500  # files that are only looked at; saved one by one, the disk would take longer than the decoding
RESERVE_BYTES = 2**28  # of the disk is left to others
KINDS: tuple[Kind, ...] = ("image", "mask", "labels")


class Job(NamedTuple):
    """A file to decode; ``keep`` says whether its pixels go into the store, or it is only looked at."""

    kind: Kind
    path: Path
    content: Content
    keep: bool


class Decoded(NamedTuple):
    """What came of a file: its pixels (channel, row, column), fitted to the square, and what was found."""

    pixels: NDArray[np.uint8]
    facts: Facts


def fill(store: PixelStore, jobs: Sequence[Job], side: int, run: RunContext) -> dict[Path, str]:
    """Decode what the store does not know yet.

    ``store``: gets the pixels and the facts. Path to a sentence, for each file that cannot be used.
    """
    missing = list(
        {(job.kind, job.content.sha, job.keep): job for job in jobs if _is_missing(job, store, side)}.values()
    )
    _check_room(store.folder, [job for job in missing if job.keep], side)
    filling = _Filling(store, side, run, len(missing))
    for kind in KINDS:
        kept = [job for job in missing if job.keep and job.kind == kind]
        size = per_shard(_shape(kind, side))
        for first in range(0, len(kept), size):
            filling.keep(kind, kept[first : first + size])
    filling.look([job for job in missing if not job.keep])
    return filling.faults


class _Filling:
    """One filling: how far it has come, and which files failed."""

    def __init__(self, store: PixelStore, side: int, run: RunContext, total: int) -> None:
        self.faults: dict[Path, str] = {}
        self._store = store
        self._side = side
        self._run = run
        self._total = total
        self._done = 0

    def keep(self, kind: Kind, jobs: Sequence[Job]) -> None:
        """Decode files of one kind into one shard."""
        shape = _shape(kind, self._side)
        found: dict[str, tuple[int, Facts]] = {}

        def pixels() -> Iterator[NDArray[np.uint8]]:
            for place, (job, decoded) in enumerate(self._decoded(jobs)):
                if decoded is None:
                    yield np.zeros(shape, np.uint8)  # nobody is told of this place
                else:
                    found[job.content.sha] = place, decoded.facts
                    yield decoded.pixels

        shard = self._store.add((len(jobs), *shape), pixels())
        self._store.add_decoded(kind, self._side, shard, found)

    def look(self, jobs: Sequence[Job]) -> None:
        """Decode files without keeping their pixels; what was found is kept in one go for many of them."""
        found: dict[Kind, dict[str, tuple[int, Facts]]] = {kind: {} for kind in KINDS}

        def save() -> None:
            for kind, facts in found.items():
                if facts:
                    self._store.add_decoded(kind, self._side, "", facts)
                    facts.clear()

        try:
            for count, (job, decoded) in enumerate(self._decoded(jobs), start=1):
                if decoded is not None:
                    found[job.kind][job.content.sha] = 0, decoded.facts
                if count % SAVED_EVERY == 0:
                    save()
        finally:
            save()

    def _decoded(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Decoded | None]]:
        """Decode in threads, noting which files fail."""
        decode = partial(_decode, side=self._side, preprocessing=self._store.preprocessing)
        for job, decoded in in_threads(decode, jobs, self._run):
            if isinstance(decoded, str):
                self.faults[job.path] = decoded
                yield job, None
            else:
                yield job, decoded
            self._done += 1
            self._run.report(Progress(self._done, self._total, "Decoding images"))


def _is_missing(job: Job, store: PixelStore, side: int) -> bool:
    """Say whether a file has to be decoded."""
    if job.keep:
        return store.slot(job.kind, side, job.content.sha) is None
    return store.index.facts(job.kind, job.content.sha) is None


def _shape(kind: Kind, side: int) -> tuple[int, ...]:
    """Shape of one item, the channel first as networks want it."""
    return (3 if kind == "image" else 1, side, side)


def _decode(job: Job, side: int, preprocessing: PreprocessingConfig) -> Decoded | str:
    """Read an image or mask that is still what it was when its content was looked at; or say why it cannot be used."""
    try:
        if job.kind == "mask":
            decoded = _decode_mask(job.path, side)
        elif job.kind == "labels":
            decoded = _decode_labels(job.path, side)
        else:
            decoded = _decode_image(job.path, side, preprocessing if job.keep else UNTOUCHED)
        status = job.path.stat()
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return f"{job.path} cannot be read: {error.strerror or error}."
    if (status.st_size, status.st_mtime_ns) != (job.content.size, job.content.mtime_ns):
        return f"{job.path} was changed while it was read. Start again when nobody writes to it."
    return decoded


def _decode_image(path: Path, side: int, preprocessing: PreprocessingConfig = UNTOUCHED) -> Decoded:
    """Read an upright photograph, and prepare it as the network is to see it."""
    rgb = read_photograph(path).rgb
    pixels = network_input(rgb, side, preprocessing).transpose(2, 0, 1)
    return Decoded(pixels, Facts(rgb.shape[0], rgb.shape[1], 0.0, pixel_digest(rgb)))


def _decode_mask(path: Path, side: int) -> Decoded:
    """Read a mask: 0 and 255."""
    from PIL import Image

    mask = read_mask(path)
    resized = Image.fromarray(mask.astype(np.uint8) * 255).resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.where(np.asarray(resized) >= 128, 255, 0).astype(np.uint8)
    return Decoded(pixels[None], Facts(mask.shape[0], mask.shape[1], float(mask.mean()), ""))


def _decode_labels(path: Path, side: int) -> Decoded:
    """Read a label image: no value between two is ever made up."""
    from PIL import Image

    labels = read_labels(path)
    resized = Image.fromarray(labels).resize((side, side), Image.Resampling.NEAREST)
    counts = np.bincount(labels.ravel(), minlength=1)
    said = json.dumps({str(value): int(count) for value, count in enumerate(counts) if count})
    facts = Facts(labels.shape[0], labels.shape[1], 1 - float(counts[0] / labels.size), said)
    return Decoded(np.asarray(resized)[None], facts)


def label_counts(facts: Facts) -> dict[int, int]:
    """Read how many pixels of a label image have which value.

    Value to pixels, ascending; values that do not occur are left out.
    """
    return {int(value): count for value, count in parse_json(facts.pixels, "the pixel store").items()}


def _check_room(folder: Path, jobs: Sequence[Job], side: int) -> None:
    """Refuse what the disk has no room for."""
    need = sum(int(np.prod(_shape(job.kind, side))) for job in jobs)
    if not need:
        return
    free = shutil.disk_usage(folder).free
    if need > free - RESERVE_BYTES:
        raise SaveError(
            f"{len(jobs)} decoded images and masks need {need / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are "
            "free. Free some space on that disk, or lower data.cache_size."
        )
