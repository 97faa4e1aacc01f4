"""Export of slide results as OME-TIFF, OME-Zarr and DICOM segmentation."""

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
HIGHDICOM_MISSING = (
    "a DICOM segmentation requires highdicom, which is not installed: pip install 'napari-melanoma[dicom]'."
)
NOT_A_DICOM_SLIDE = "is not a DICOM slide: a DICOM segmentation must reference DICOM images. Export a mask or outlines."
MAX_SIDE_PX = 8192  # preferred maximum side, in pixels, of the segmented level
MANUFACTURER = "napari-melanoma"
VERSION = "0.5"
CHUNK, SMALLEST_LEVEL = 512, 256
MAX_VALUE = 65535  # probabilities 0 to 1 are stored as 1 to 65535; 0 is an unknown value
AXES = ("c", "y", "x")
CHANNEL_COLORS = ("FF0000", "00FF00", "0000FF", "FFFF00", "00FFFF", "FF00FF")


def write_label_tiff(path: Path, labels: NDArray[np.uint16], place: MapPlacement, name: str) -> None:
    """Write a label image, uint16 (row, column)."""
    import tifffile

    metadata: dict[str, Any] = {"axes": "YX", "Name": name, "Channel": {"Name": [name]}}
    if place.cell_um is not None:
        metadata |= {"PhysicalSizeY": place.cell_um[0], "PhysicalSizeX": place.cell_um[1]}
        metadata |= {"PhysicalSizeYUnit": "µm", "PhysicalSizeXUnit": "µm"}
    levels = [labels]
    while max(levels[-1].shape) > SMALLEST:
        levels.append(levels[-1][::2, ::2])
    storage: dict[str, Any] = {"tile": (TILE, TILE), "compression": "zlib", "photometric": "minisblack"}
    with atomic_file(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as tiff:
        tiff.write(levels[0], subifds=len(levels) - 1, metadata=metadata, **storage)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, metadata=None, **storage)


@dataclass(frozen=True)
class LesionSegment:
    """One lesion: its number in the label image, its name, and whether it was edited by hand."""

    number: int
    label: str
    is_manual: bool = False


@dataclass(frozen=True)
class DicomLevel:
    """One level of a DICOM slide: its header and its size in pixels."""

    header: Any  # pydicom's Dataset
    height: int
    width: int


def find_dicom_level(slide: Path) -> DicomLevel:
    """Find the level of a DICOM slide to segment: the finest of at most ``MAX_SIDE_PX`` a side, or the coarsest."""
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
            f"{slide.name} stores a level in several files, which is not supported for segmentations. Export a mask or "
            "outlines instead."
        )
    levels.sort(key=lambda level: -level.height * level.width)
    return next((level for level in levels if max(level.height, level.width) <= MAX_SIDE_PX), levels[-1])


def _series_uid(slide: Path) -> str | None:
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
    """Write lesions as a binary, tiled DICOM segmentation with a segment for each lesion.

    Patient and study are copied from the header of the slide, as DICOM requires.

    ``labels``: uint16 (row, column) of the size of the level: the number of a segment, 0 for none.
    """
    try:
        import highdicom  # noqa: F401 - fail before any computation
    except ImportError as error:
        raise ConfigError(HIGHDICOM_MISSING) from error
    if not segments:
        raise InputError("there is no lesion. A DICOM segmentation needs at least one segment.")
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.uint16)
    for number, segment in enumerate(segments, start=1):
        if segment.number < len(numbers):
            numbers[segment.number] = number
    try:
        segmentation = _build_segmentation(level, numbers[labels], segments, model)
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"the header of the slide lacks attributes that a DICOM segmentation requires ({error}). Export a mask or "
            "outlines."
        ) from error
    if invalid:
        segmentation.ContentDescription = f"Not valid. {segmentation.ContentDescription}"
        for segment in segmentation.SegmentSequence:
            segment.SegmentDescription = invalid[:1024]  # maximum length in DICOM
    with atomic_file(path) as temporary:
        segmentation.save_as(temporary)


def _build_segmentation(
    level: DicomLevel, numbers: NDArray[np.uint16], segments: Sequence[LesionSegment], model: str
) -> Any:  # noqa: ANN401
    """Build a segmentation with segments numbered from 1."""
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=[level.header],
        pixel_array=numbers[None],
        segmentation_type="BINARY",
        segment_descriptions=[_segment_description(number, one, model) for number, one in enumerate(segments, start=1)],
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


def _segment_description(number: int, segment: LesionSegment, model: str) -> Any:  # noqa: ANN401 - highdicom's
    """Description of a segment in the file."""
    import highdicom
    from pydicom.sr.coding import Code

    kind = "SEMIAUTOMATIC" if segment.is_manual else "AUTOMATIC"
    return highdicom.seg.SegmentDescription(
        segment_number=number,
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


@dataclass(frozen=True)
class LabelLayer:
    """Labeled areas on the same cells: uint16 (row, column), with color and properties of each label."""

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

    ``probability``: float32 (class, row, column); NaN where unknown. Written as uint16: 0 where unknown, else
    1 + probability x 65534. ``place``: position of the cells on the slide; in micrometers if it has a pixel size.
    """
    import zarr

    with atomic_folder(path) as temporary:
        group = zarr.create_group(store=temporary, zarr_format=3)
        levels = list(_pyramid(probability))
        for number, level in enumerate(levels):
            _write_level(group, str(number), encode_probability(level))
        scales = _multiscale("heatmap", place, len(levels), "mean")
        metadata: dict[str, Any] = {"version": VERSION, "multiscales": [scales], "omero": _display_metadata(names)}
        group.attrs["ome"] = metadata
        if labels is not None:
            _write_labels(group, labels, place, len(levels))


def encode_probability(probability: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Encode probabilities as uint16.

    ``probability``: float32, any shape; NaN where unknown. Returns uint16: 0 where unknown, else
    1 + probability x 65534.
    """
    known = np.nan_to_num(probability.astype(np.float64), nan=0.0).clip(0, 1)
    return np.where(np.isnan(probability), 0, 1 + np.round(known * (MAX_VALUE - 1))).astype(np.uint16)


def decode_probability(values: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Decode probabilities, accurate to 1/65534: the inverse of ``encode_probability``.

    ``values``: uint16, any shape. Returns float32, same shape; NaN where unknown.
    """
    return np.where(values == 0, np.nan, (values.astype(np.float64) - 1) / (MAX_VALUE - 1)).astype(np.float32)


def _write_level(group: zarr.Group, name: str, values: NDArray[np.uint16]) -> None:
    chunks = (1, min(CHUNK, values.shape[1]), min(CHUNK, values.shape[2]))
    array = group.create_array(name, shape=values.shape, chunks=chunks, dtype="uint16", dimension_names=AXES)
    array[:] = values


def _write_labels(group: zarr.Group, labels: LabelLayer, place: MapPlacement, levels: int) -> None:
    """Write labels of an image; levels are subsampled without interpolation."""
    labels_group = group.create_group("labels", attributes={"ome": {"version": VERSION, "labels": [labels.name]}})
    own = labels_group.create_group(labels.name)
    for number in range(levels):
        _write_level(own, str(number), labels.values[None, :: 2**number, :: 2**number])
    colors = [{"label-value": value, "rgba": [*color, 255]} for value, color in labels.colors.items()]
    label_metadata: dict[str, Any] = {
        "colors": colors,
        "properties": list(labels.properties),
        "source": {"image": "../../"},
    }
    scales = _multiscale(labels.name, place, levels, "nearest")
    metadata: dict[str, Any] = {"version": VERSION, "multiscales": [scales], "image-label": label_metadata}
    own.attrs["ome"] = metadata


def _pyramid(maps: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Yield the maps, then means of known values at half the size each."""
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


def _multiscale(name: str, place: MapPlacement, levels: int, method: str) -> dict[str, Any]:
    """Axes and levels in OME-Zarr metadata; translations refer to the center of the first cell."""
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
    return {"name": name, "axes": axes, "datasets": datasets, "type": method}


def _display_metadata(names: Sequence[str]) -> dict[str, Any]:
    """Display settings of the classes."""
    window = {"start": 1, "end": MAX_VALUE, "min": 0, "max": MAX_VALUE}
    channels = [
        {"label": name, "color": CHANNEL_COLORS[number % len(CHANNEL_COLORS)], "active": True, "window": window}
        for number, name in enumerate(names)
    ]
    return {"channels": channels}
