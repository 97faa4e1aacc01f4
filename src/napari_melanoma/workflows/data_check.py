"""Look a data set over before it is trained on: what is in it, what is wrong with it, what is worth knowing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_melanoma.core.errors import DataSetError, UnreadableImage
from napari_melanoma.core.provenance import fingerprint
from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.dataset import REVIEWS, Sample, each_sample, usable
from napari_melanoma.data.duplicates import find_duplicates
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask

NO_REVIEW = "not asked"


@dataclass(frozen=True)
class Looked:
    """What the files of one image say; ``digest`` is the fingerprint of its pixels, "" where it cannot be read."""

    sample: Sample
    digest: str = ""
    shape: tuple[int, int] | None = None
    lesion_fraction: float | None = None
    fault: str = ""


@dataclass(frozen=True)
class DataCheck:
    """What is in a data set; ``faults`` and ``notes`` each with the image or group they are about.

    Sides are in pixels, ``lesion_percent`` is of the image's area; both are the smallest, median and largest, empty
    where no file could be read.
    """

    images: int
    masks: int
    usable: int
    groups: int
    reviews: dict[str, int]
    splits: dict[str, int]
    diagnoses: dict[str, int]
    shorter_side_px: tuple[int, ...]
    longer_side_px: tuple[int, ...]
    lesion_percent: tuple[float, ...]
    faults: list[tuple[str, str]]
    notes: list[tuple[str, str]]


def check_data(folder: Path, *, run: RunContext) -> DataCheck:
    """Read every file of a data set.

    Parameters
    ----------
    folder : pathlib.Path
        The data set.
    run : RunContext
        Takes the progress; may stop it.

    Returns
    -------
    DataCheck
        Counts, faults and notes.

    Raises
    ------
    DataSetError
        Where there is no table, or it has no ``image_id`` or no rows.
    Cancelled
        Where the user stopped it.
    """
    found = list(each_sample(folder))
    faults = [("the table", str(error)) for error in found if isinstance(error, DataSetError)]
    samples = [sample for sample in found if isinstance(sample, Sample)]
    looked = [_look(sample) for sample in run.track(samples, "Reading images and masks")]
    faults += [(one.sample.image_id, one.fault) for one in looked if one.fault]
    parted, beside = _same_pictures(looked, run)
    faults += [*_unknown_reviews(samples), *_split_groups(samples), *_same_pixels(looked), *parted]
    sides = [one.shape for one in looked if one.shape]
    return DataCheck(
        images=len(found),
        masks=sum(sample.mask is not None for sample in samples),
        usable=len(usable(samples)),
        groups=len({sample.group for sample in samples}),
        reviews=_counted(sample.review or NO_REVIEW for sample in samples),
        splits=_counted(sample.split or "(none)" for sample in samples),
        diagnoses=_counted(sample.diagnosis or "(none)" for sample in samples),
        shorter_side_px=tuple(int(side) for side in _range([min(shape) for shape in sides])),
        longer_side_px=tuple(int(side) for side in _range([max(shape) for shape in sides])),
        lesion_percent=_range([100 * one.lesion_fraction for one in looked if one.lesion_fraction is not None]),
        faults=faults,
        notes=[*_strange_masks(looked), *beside, *_unnamed_files(folder, samples)],
    )


def _look(sample: Sample) -> Looked:
    """Read the image and the mask of a sample."""
    try:
        rgb = read_photograph(sample.image).rgb
        shape = (rgb.shape[0], rgb.shape[1])
        digest = fingerprint(rgb)
        if sample.mask is None:
            return Looked(sample, digest, shape)
        mask = read_mask(sample.mask)
    except UnreadableImage as error:
        return Looked(sample, fault=str(error))
    if mask.shape != shape:
        said = f"its mask has {mask.shape[1]} x {mask.shape[0]} pixels, the image {shape[1]} x {shape[0]}"
        return Looked(sample, digest, shape, fault=said)
    return Looked(sample, digest, shape, float(mask.mean()))


def _unknown_reviews(samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    """Rows that nobody learns from because their review is misspelt."""
    for sample in samples:
        if sample.review is not None and sample.review not in REVIEWS:
            yield sample.image_id, f"its review is '{sample.review}': expected {', '.join(REVIEWS)}"


def _split_groups(samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    """Patients or lesions that are both learnt from and judged on."""
    splits: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        splits[sample.group].add(sample.split or "(none)")
    for group, found in splits.items():
        if len(found) > 1:
            yield group.partition("/")[2], f"is in more than one split: {', '.join(sorted(found))}"


def _same_pixels(looked: Iterable[Looked]) -> Iterator[tuple[str, str]]:
    """Images that show the same pixels and could be parted by a split."""
    first: dict[str, Sample] = {}
    for one in looked:
        other = first.setdefault(one.digest, one.sample) if one.digest else one.sample
        if other.group != one.sample.group:
            said = f"shows the same pixels as {other.image_id}: keep one, or name it in near_duplicate_of"
            yield one.sample.image_id, said


def _same_pictures(looked: Sequence[Looked], run: RunContext) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Images that show the same picture with other pixels: those that a split has parted, and those that one could."""
    readable = {id(one.sample): one.digest for one in looked if one.digest}
    found = find_duplicates([one.sample for one in looked if one.digest], run)
    parted, beside = [], []
    for pair in found:
        if pair.same_group or readable[id(pair.first)] == readable[id(pair.second)]:
            continue
        said = f"shows the same picture as {pair.first.image_id}"
        if pair.leaks:
            splits = f"{pair.second.split or '(none)'} and {pair.first.split or '(none)'}"
            parted.append((pair.second.image_id, f"{said}, but is in another split ({splits}): give both the same one"))
        else:
            beside.append((pair.second.image_id, f"{said} (likeness {pair.likeness:.2f})"))
    return parted, beside


def _strange_masks(looked: Iterable[Looked]) -> Iterator[tuple[str, str]]:
    """Masks that may be meant so, and may be a mistake."""
    for one in looked:
        if one.lesion_fraction in (0.0, 1.0):
            yield one.sample.image_id, "its mask is empty" if one.lesion_fraction == 0 else "its mask covers everything"


def _unnamed_files(folder: Path, samples: Iterable[Sample]) -> Iterator[tuple[str, str]]:
    """Files that no row names: older masks that undo may need, or what a crash left."""
    named = {path for sample in samples for path in (sample.image, sample.mask) if path}
    for part in ("images", "masks"):
        files = (path for path in (folder / part).glob("*") if path.is_file() and not path.name.startswith("."))
        unnamed = sum(path not in named for path in files)
        if unnamed:
            yield part, f"{unnamed} file{'s' if unnamed > 1 else ''} that no row names"


def _counted(values: Iterable[str]) -> dict[str, int]:
    """How often each occurs, the most frequent first."""
    return dict(Counter(values).most_common())


def _range(values: Sequence[float]) -> tuple[float, ...]:
    """Smallest, median and largest."""
    return tuple(float(np.quantile(values, q)) for q in (0.0, 0.5, 1.0)) if values else ()
