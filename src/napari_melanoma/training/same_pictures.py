"""Images of a run that show the same picture, whatever their file, and what the run must not learn because of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.counting import first_few
from napari_melanoma.data.duplicates import Duplicate, joined_groups
from napari_melanoma.data.likeness import same_pictures
from napari_melanoma.data.looks import read_looks
from napari_melanoma.data.splits import Parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.training.cache_index import Facts
    from napari_melanoma.training.survey import Chosen

COPIED = 0.5  # share of the tiles of a slide that another one has too, pixel by pixel
LEARNT, TUNED, JUDGED = range(3)  # of two parts that share a patient, the higher one keeps the images


def find_same(chosen: Chosen, facts: Mapping[Path, Facts], run: RunContext, *, keep: bool) -> list[Duplicate]:
    """Find the images of a run that show the same picture.

    Only images of different parts are compared by their looks. What must not be learnt because of that is then compared
    with what is left, again until nothing new is found: a lesion that is judged in one data set may be learnt in a
    second under a name that only a third image of it reveals.

    Returns the likeness is 1 where the pixels are the same.
    """
    samples, parts = _with_parts(chosen)
    found = _same_pixels(samples, facts)
    thumbnails = read_looks([sample.image for sample in samples], run, keep=keep).thumbnails
    compared: NDArray[np.integer] | None = None
    while True:
        pairs = sorted(same_pictures(*_of(thumbnails, parts, compared), run))
        places = np.arange(len(samples)) if compared is None else compared
        found += [Duplicate(samples[places[p.first]], samples[places[p.second]], p.likeness) for p in pairs]
        raised = _raised(samples, parts, found)
        changed = np.flatnonzero(raised > parts)
        if not len(changed):
            return found
        # What is new is compared with those that are below it by now.
        parts = raised
        compared = np.union1d(changed, np.flatnonzero(parts < parts[changed].max()))


def find_copies(chosen: Chosen, facts: Mapping[Path, Facts]) -> list[Duplicate]:
    """Find the slides of a run that were copied, by their tiles.

    Tiles of glass, fat or dermis look alike without being the same place: by their looks whole patients would be left
    out. Slides of which half of the tiles have the same pixels are one slide.

    Tiles with the same pixels, of groups that share so many.
    """
    samples, _ = _with_parts(chosen)
    sizes = Counter(sample.group for sample in samples)
    seen = Counter((sample.group, facts[sample.image].pixels) for sample in samples if sample.image in facts)
    # What a slide shows more than once, such as bare glass, is nobody's picture.
    single = [one for one in samples if one.image in facts and seen[one.group, facts[one.image].pixels] == 1]
    found = _same_pixels(single, facts)
    shared = Counter(frozenset((pair.first.group, pair.second.group)) for pair in found)
    return [
        pair
        for pair in found
        if shared[frozenset((pair.first.group, pair.second.group))]
        >= COPIED * min(sizes[pair.first.group], sizes[pair.second.group])
    ]


def without_leaks(chosen: Chosen, same: Sequence[Duplicate]) -> tuple[Chosen, list[str]]:
    """Keep a group in one part, and with it all that show one of its pictures: the judged first, then the tuned on.

    Nobody is learnt from who is tuned on or judged, under whatever name. A sentence for each kind of removal, with the
    pictures and how alike they are.
    """
    samples, parts = _with_parts(chosen)
    raised = _raised(samples, parts, same)
    dropped = {id(sample): int(part) for sample, part, now in zip(samples, parts, raised, strict=True) if now > part}
    if not dropped:
        return chosen, []
    learn, tuning, base = (
        [sample for sample in some if id(sample) not in dropped]
        for some in (chosen.parts.learn, chosen.parts.tuning, chosen.base)
    )
    notices = []
    for part, what, where in ((LEARNT, "learnt from", "held out or tuned on"), (TUNED, "tuned on", "held out")):
        removed = [sample for sample in samples if dropped.get(id(sample)) == part]
        if removed:
            notices.append(_notice(removed, same, what, where))
    return replace(chosen, parts=Parts(learn, tuning, chosen.parts.held_out), base=tuple(base)), notices


def _with_parts(chosen: Chosen) -> tuple[list[Sample], NDArray[np.integer]]:
    """All images with the number of their part; those left out are of groups that are judged."""
    parts = (
        [*chosen.parts.learn, *chosen.base],
        chosen.parts.tuning,
        [*chosen.judged, *chosen.left_out],
    )
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return [sample for part in parts for sample in part], numbers


def _same_pixels(samples: Sequence[Sample], facts: Mapping[Path, Facts]) -> list[Duplicate]:
    """Images whose pixels are the same, each with the first one."""
    first: dict[str, Sample] = {}
    found = []
    for sample in samples:
        if sample.image in facts:
            other = first.setdefault(facts[sample.image].pixels, sample)
            if other is not sample:
                found.append(Duplicate(other, sample, 1.0))
    return found


def _of(
    thumbnails: NDArray[np.uint8], parts: NDArray[np.integer], places: NDArray[np.integer] | None
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Thumbnails and parts of some images; of all, without a copy, where none are named."""
    return (thumbnails, parts) if places is None else (thumbnails[places], parts[places])


def _raised(samples: Sequence[Sample], parts: NDArray[np.integer], same: Sequence[Duplicate]) -> NDArray[np.integer]:
    """The highest part that anything of an image's joined group has."""
    groups = joined_groups(samples, same)
    highest: dict[str, int] = {}
    for group, part in zip(groups, parts, strict=True):
        highest[group] = max(int(part), highest.get(group, LEARNT))
    return np.asarray([highest[group] for group in groups])


def _notice(removed: Sequence[Sample], same: Sequence[Duplicate], what: str, where: str) -> str:
    """Say how many images are removed and why, with the pictures that are there twice."""
    groups = {sample.group for sample in removed}
    pairs = {
        f"{_name(pair.first)} and {_name(pair.second)} (likeness {pair.likeness:.2f})": None
        for pair in same
        if (pair.first.group in groups or pair.second.group in groups) and pair.first.group != pair.second.group
    }
    because = f" The same picture: {first_few(pairs)}." if pairs else ""
    return (
        f"Not {what}, as the same picture, or another one of the same patient or lesion, is {where} under another "
        f"name: {len(removed)} of the images, {first_few([_name(sample) for sample in removed])}.{because}"
    )


def _name(sample: Sample) -> str:
    """An image with its data set: two may have images of one name."""
    return f"{sample.domain}/{sample.image_id}"
