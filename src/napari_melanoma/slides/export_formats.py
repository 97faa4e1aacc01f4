"""Results of a slide as OME-TIFF, OME-Zarr and DICOM segmentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import atomic_file, atomic_folder

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlacement

TILE, SMALLEST = 512, 512


def write_label_tiff(path: Path, labels: NDArray[np.uint16], place: MapPlacement, name: str) -> None:
    """Write a picture of numbers.

    ``labels``: uint16 (row, column).
    """
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX", "Name": name, "Channel": {"Name": [name]}}
    if place.cell_um is not None:
        metadata |= {"PhysicalSizeY": place.cell_um[0], "PhysicalSizeX": place.cell_um[1]}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    levels = [labels]
    while max(levels[-1].shape) > SMALLEST:
        levels.append(levels[-1][::2, ::2])
    how: dict[str, Any] = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "minisblack"}
    with atomic_file(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **how)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, metadata=None, **how)


HIGHDICOM_MISSING = (
    "a DICOM segmentation needs highdicom, which is not installed: pip install 'napari-melanoma[dicom]'."
)
NOT_A_DICOM_SLIDE = (
    "is no DICOM slide: a DICOM segmentation refers to the DICOM images that it is of. Export a mask or outlines."
)
MAX_SIDE_PX = 8192  # side, in pixels, of the level that is segmented, where a smaller one is there
MANUFACTURER = "napari-melanoma"


@dataclass(frozen=True)
class LesionSegment:
    """One lesion: its number in the picture, its name, and whether somebody corrected it."""

    number: int
    label: str
    is_manual: bool = False


@dataclass(frozen=True)
class DicomLevel:
    """One level of a DICOM slide: its header, and its whole size in pixels."""

    header: Any  # pydicom's Dataset
    height: int
    width: int


def find_dicom_level(slide: Path) -> DicomLevel:
    """Find the level of a DICOM slide that a segmentation is to be of: the finest of at most ``LARGEST`` pixels a side.

    Returns the coarsest where all are larger.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    folder, series = (slide, None) if slide.is_dir() else (slide.parent, _series_uid(slide))
    levels = []
    for path in sorted(folder.iterdir()):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError):
            continue
        volume = "VOLUME" in header.get("ImageType", ())
        if volume and "TotalPixelMatrixRows" in header and series in (None, header.get("SeriesInstanceUID")):
            levels.append(DicomLevel(header, int(header.TotalPixelMatrixRows), int(header.TotalPixelMatrixColumns)))
    if not levels:
        raise InputError(f"{slide.name} {NOT_A_DICOM_SLIDE}")
    if any("ConcatenationUID" in level.header for level in levels):
        raise InputError(
            f"{slide.name} keeps a level in several files, of which no segmentation can be made yet. Export a mask or "
            "outlines instead."
        )
    levels.sort(key=lambda level: -level.height * level.width)
    return next((level for level in levels if max(level.height, level.width) <= MAX_SIDE_PX), levels[-1])


def _series_uid(slide: Path) -> str | None:
    """Series of a file."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return str(pydicom.dcmread(slide, stop_before_pixels=True).get("SeriesInstanceUID", ""))
    except (InvalidDicomError, OSError):
        raise InputError(f"{slide.name} {NOT_A_DICOM_SLIDE}") from None


def write_dicom_segmentation(
    path: Path,
    level: DicomLevel,
    labels: NDArray[np.uint16],
    segments: Sequence[LesionSegment],
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
        raise ConfigError(HIGHDICOM_MISSING) from error
    if not segments:
        raise InputError("there is no lesion: DICOM knows no segmentation without a segment.")
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.uint16)
    for place, segment in enumerate(segments, start=1):
        if segment.number < len(numbers):
            numbers[segment.number] = place
    try:
        made = _build_segmentation(level, numbers[labels], segments, model)
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


def _build_segmentation(
    level: DicomLevel, numbers: NDArray[np.uint16], segments: Sequence[LesionSegment], model: str
) -> Any:  # noqa: ANN401
    """Put a segmentation together; segments are numbered from 1."""
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=[level.header],
        pixel_array=numbers[None],
        segmentation_type="BINARY",
        segment_descriptions=[_segment_description(place, one, model) for place, one in enumerate(segments, start=1)],
        series_instance_uid=highdicom.UID(),
        series_number=100,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=model,
        software_versions=version(MANUFACTURER),
        device_serial_number="none",
        content_description="Lesions, for research only",
        tile_pixel_array=True,
        omit_empty_frames=True,
    )


def _segment_description(place: int, segment: LesionSegment, model: str) -> Any:  # noqa: ANN401 - highdicom's
    """What the file says of a segment."""
    import highdicom
    from pydicom.sr.coding import Code

    kind = "SEMIAUTOMATIC" if segment.is_manual else "AUTOMATIC"
    return highdicom.seg.SegmentDescription(
        segment_number=place,
        segment_label=segment.label,
        segmented_property_category=Code("49755003", "SCT", "Morphologically Altered Structure"),
        segmented_property_type=Code("52988006", "SCT", "Lesion"),
        algorithm_type=kind,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=model,
            family=Code("123110", "DCM", "Artificial Intelligence"),
            version=version(MANUFACTURER),
        ),
        tracking_uid=highdicom.UID(),
        tracking_id=f"lesion {segment.number}",
    )


VERSION = "0.5"
CHUNK, SMALLEST_LEVEL = 512, 256
MAX_VALUE = 65535  # of a cell whose probability is 1; 0 is one of which nothing is known, so 0 to 1 is 1 to 65535
AXES = ("c", "y", "x")
CHANNEL_COLORS = ("FF0000", "00FF00", "0000FF", "FFFF00", "00FFFF", "FF00FF")


@dataclass(frozen=True)
class LabelLayer:
    """Numbered areas on the same cells: uint16 (row, column), with color and properties of each number."""

    name: str
    values: NDArray[np.uint16]
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    properties: Sequence[Mapping[str, Any]] = ()


def write_ome_zarr(
    path: Path,
    probability: NDArray[np.float32],
    names: Sequence[str],
    place: MapPlacement,
    labels: LabelLayer | None = None,
) -> None:
    """Write maps of a slide.

    ``probability``: float32 (class, row, column); not-a-number where nothing is known. Written as uint16: 0 where
    nothing is known, else 1 + probability x 65534. ``place``: where the cells lie on the slide; in micrometers where
    that has a scale.
    """
    import zarr

    with atomic_folder(path) as temporary:
        group = zarr.create_group(store=temporary, zarr_format=3)
        levels = list(_pyramid(probability))
        for number, level in enumerate(levels):
            _write_level(group, str(number), encode_probability(level))
        scales = _multiscale("heatmap", place, len(levels), "mean")
        said: dict[str, Any] = {"version": VERSION, "multiscales": [scales], "omero": _display_metadata(names)}
        group.attrs["ome"] = said
        if labels is not None:
            _write_labels(group, labels, place, len(levels))


def encode_probability(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return probabilities as whole numbers of 16 bits.

    ``probability``: float32, any shape; not-a-number where nothing is known. Returns uint16: 0 where nothing is known,
    else 1 + probability x 65534.
    """
    known = np.nan_to_num(probability.astype(np.float64), nan=0.0).clip(0, 1)
    return np.where(np.isnan(probability), 0, 1 + np.round(known * (MAX_VALUE - 1))).astype(np.uint16)


def decode_probability(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return back the probabilities that ``encoded`` was given, to 1/65534.

    ``values``: uint16, any shape. Returns float32, same shape; not-a-number where nothing is known.
    """
    return np.where(values == 0, np.nan, (values.astype(np.float64) - 1) / (MAX_VALUE - 1)).astype(np.float32)


def _write_level(group: zarr.Group, name: str, values: NDArray[np.uint16]) -> None:
    """Write one level."""
    chunks = (1, min(CHUNK, values.shape[1]), min(CHUNK, values.shape[2]))
    array = group.create_array(name, shape=values.shape, chunks=chunks, dtype="uint16", dimension_names=AXES)
    array[:] = values


def _write_labels(group: zarr.Group, labels: LabelLayer, place: MapPlacement, levels: int) -> None:
    """Write labels below the image that they are of; levels are thinned, never mixed."""
    held = group.create_group("labels", attributes={"ome": {"version": VERSION, "labels": [labels.name]}})
    own = held.create_group(labels.name)
    for number in range(levels):
        _write_level(own, str(number), labels.values[None, :: 2**number, :: 2**number])
    colours = [{"label-value": value, "rgba": [*colour, 255]} for value, colour in labels.colors.items()]
    about: dict[str, Any] = {"colors": colours, "properties": list(labels.properties), "source": {"image": "../../"}}
    scales = _multiscale(labels.name, place, levels, "nearest")
    said: dict[str, Any] = {"version": VERSION, "multiscales": [scales], "image-label": about}
    own.attrs["ome"] = said


def _pyramid(maps: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The maps, then each half as large: means of what is known."""
    yield maps
    while max(maps.shape[1:]) > SMALLEST_LEVEL:
        padding = ((0, 0), (0, maps.shape[1] % 2), (0, maps.shape[2] % 2))
        padded = np.pad(maps, padding, constant_values=np.nan)
        parts = np.stack([padded[:, row::2, column::2] for row in (0, 1) for column in (0, 1)])
        known = np.isfinite(parts)
        count = known.sum(axis=0)
        total = np.where(known, parts, 0).sum(axis=0)
        maps = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
        yield maps


def _multiscale(name: str, place: MapPlacement, levels: int, how: str) -> dict[str, Any]:
    """Axes and levels as the format tells them; a place is that of the center of the first cell."""
    unit = {} if place.pixel_size is None else {"unit": "micrometer"}
    axes: list[dict[str, str]] = [
        {"name": "c", "type": "channel"},
        *({"name": axis, "type": "space", **unit} for axis in "yx"),
    ]
    datasets = []
    for number in range(levels):
        at = replace(place, step_y=place.step_y * 2**number, step_x=place.step_x * 2**number)
        transformations: list[dict[str, Any]] = [
            {"type": "scale", "scale": [1.0, *map(float, at.scale)]},
            {"type": "translation", "translation": [0.0, *map(float, at.translate)]},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": transformations})
    return {"name": name, "axes": axes, "datasets": datasets, "type": how}


def _display_metadata(names: Sequence[str]) -> dict[str, Any]:
    """How a viewer is to show the classes."""
    window = {"start": 1, "end": MAX_VALUE, "min": 0, "max": MAX_VALUE}
    channels = [
        {"label": name, "color": CHANNEL_COLORS[number % len(CHANNEL_COLORS)], "active": True, "window": window}
        for number, name in enumerate(names)
    ]
    return {"channels": channels}
