"""Lesions as a DICOM segmentation of the DICOM slide that they were found on, where highdicom is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISSING = "a DICOM segmentation needs highdicom, which is not installed: pip install 'napari-melanoma[dicom]'."
NO_DICOM = (
    "is no DICOM slide: a DICOM segmentation refers to the DICOM images that it is of. Export a mask or outlines."
)
LARGEST = 8192  # side, in pixels, of the level that is segmented, where a smaller one is there
MAKER = "napari-melanoma"


@dataclass(frozen=True)
class Segment:
    """One lesion: its number in the picture, its name, and whether somebody corrected it."""

    number: int
    label: str
    by_hand: bool = False


@dataclass(frozen=True)
class SlideLevel:
    """One level of a DICOM slide: its header, and its whole size in pixels."""

    header: Any  # pydicom's Dataset
    height: int
    width: int


def find_level(slide: Path) -> SlideLevel:
    """Find the level of a DICOM slide that a segmentation is to be of: the finest of at most ``LARGEST`` pixels a side.

    Returns the coarsest where all are larger.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    folder, series = (slide, None) if slide.is_dir() else (slide.parent, _series(slide))
    levels = []
    for path in sorted(folder.iterdir()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError):
            continue
        volume = "VOLUME" in header.get("ImageType", ())
        if volume and "TotalPixelMatrixRows" in header and series in (None, header.get("SeriesInstanceUID")):
            levels.append(SlideLevel(header, int(header.TotalPixelMatrixRows), int(header.TotalPixelMatrixColumns)))
    if not levels:
        raise InputError(f"{slide.name} {NO_DICOM}")
    if any("ConcatenationUID" in level.header for level in levels):
        raise InputError(
            f"{slide.name} keeps a level in several files, of which no segmentation can be made yet. Export a mask or "
            "outlines instead."
        )
    levels.sort(key=lambda level: -level.height * level.width)
    return next((level for level in levels if max(level.height, level.width) <= LARGEST), levels[-1])


def _series(slide: Path) -> str | None:
    """Series of a file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return str(pydicom.dcmread(slide, stop_before_pixels=True).get("SeriesInstanceUID", ""))
    except (InvalidDicomError, OSError):
        raise InputError(f"{slide.name} {NO_DICOM}") from None


def write_segmentation(
    path: Path,
    level: SlideLevel,
    labels: NDArray[np.uint16],
    segments: Sequence[Segment],
    model: str,
    invalid: str = "",
) -> None:
    """Write lesions as a binary, tiled DICOM segmentation with a segment a lesion.

    What the slide's header says of patient and study goes along, as DICOM asks.

    ``labels``: uint16 (row, column) of the size of the level: the number of a segment, 0 where there is none.
    """
    try:
        import highdicom  # noqa: F401 - so that it is told before anything is drawn
    except ImportError as error:
        raise ConfigError(MISSING) from error
    if not segments:
        raise InputError("there is no lesion: DICOM knows no segmentation without a segment.")
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.uint16)
    for place, segment in enumerate(segments, start=1):
        if segment.number < len(numbers):
            numbers[segment.number] = place
    try:
        made = _segmentation(level, numbers[labels], segments, model)
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the header of the slide lacks what a DICOM segmentation needs ({error}). Export a mask or outlines."
        ) from error
    if invalid:
        made.ContentDescription = f"Not valid. {made.ContentDescription}"
        for segment in made.SegmentSequence:
            segment.SegmentDescription = invalid[:1024]  # the longest that DICOM takes there
    with atomic_file(path) as temporary:
        made.save_as(temporary)


def _segmentation(level: SlideLevel, numbers: NDArray[np.uint16], segments: Sequence[Segment], model: str) -> Any:  # noqa: ANN401
    """Put a segmentation together; segments are numbered from 1."""
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=[level.header],
        pixel_array=numbers[None],
        segmentation_type="BINARY",
        segment_descriptions=[_described(place, one, model) for place, one in enumerate(segments, start=1)],
        series_instance_uid=highdicom.UID(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=model,
        software_versions=version(MAKER),
        device_serial_number="none",
        content_description="Lesions, for research only",
        tile_pixel_array=True,
        omit_empty_frames=True,
    )


def _described(place: int, segment: Segment, model: str) -> Any:  # noqa: ANN401 - highdicom's
    """What the file says of a segment."""
    import highdicom
    from pydicom.sr.coding import Code

    kind = "SEMIAUTOMATIC" if segment.by_hand else "AUTOMATIC"
    return highdicom.seg.SegmentDescription(
        segment_number=place,
        segment_label=segment.label,
        segmented_property_category=Code("49755003", "SCT", "Morphologically Altered Structure"),
        segmented_property_type=Code("52988006", "SCT", "Lesion"),
        algorithm_type=kind,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=model,
            family=Code("123110", "DCM", "Artificial Intelligence"),
            version=version(MAKER),
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=f"lesion {segment.number}",
    )
