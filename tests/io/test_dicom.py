"""DICOM photographs in every photometric interpretation, with their pixel size and modality."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.dicom import DETECTOR_SCALE, is_not_for_this_reader
from napari_melanoma.io.photographs import Photograph, read_image_size, read_photograph

PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def write_dicom(path: Path, pixels: np.ndarray, photometric: str = "RGB", **elements) -> Path:
    """Write (row, column[, channel]) pixels as an uncompressed VL photograph; elements replace or add to its own."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = PHOTOGRAPHIC, "1.2.3", "XC"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = photometric
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    syntax = elements.pop("syntax", ExplicitVRLittleEndian)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


@dataclass(frozen=True)
class Case:
    """Pixels made from the scene, and what is expected of it."""

    name: str
    pixels: Callable[[np.ndarray], np.ndarray]
    photometric: str
    elements: Callable[[np.ndarray], dict] = lambda scene: {}
    expected: Callable[[np.ndarray], np.ndarray] = lambda scene: np.repeat(scene[..., :1], 3, axis=-1)
    tolerance: int = field(default=0)


def colours(scene: np.ndarray) -> np.ndarray:
    return scene


def grey(scene: np.ndarray) -> np.ndarray:
    return scene[..., 0].copy()


def compressed(scene: np.ndarray) -> dict:
    return {"PixelData": encapsulate([bytes(imagecodecs.jpeg8_encode(scene, level=98))]), "syntax": JPEGBaseline8Bit}


def compressed_2000(scene: np.ndarray) -> dict:
    encoded = imagecodecs.jpeg2k_encode(scene, reversible=True, codecformat="j2k", mct=True)
    return {"PixelData": encapsulate([bytes(encoded)]), "syntax": JPEG2000Lossless}


def palette(scene: np.ndarray) -> dict:
    ramp = (np.arange(256, dtype=np.uint16) * 257).tobytes()
    zeros = bytes(512)
    tables = zip(("Red", "Green", "Blue"), (ramp, zeros, ramp), strict=True)
    names = [(f"{name}PaletteColorLookupTable", data) for name, data in tables]
    descriptors = {f"{name}Descriptor": [256, 0, 16] for name, _ in names}
    return descriptors | {f"{name}Data": data for name, data in names}


CASES = [
    Case("RGB", colours, "RGB", expected=colours),
    Case("RGB in planes", colours, "RGB", lambda scene: {
        "PlanarConfiguration": 1, "PixelData": np.moveaxis(scene, -1, 0).tobytes()}, colours),
    Case("RGB of 16 bits", lambda scene: scene.astype(np.uint16) * 257, "RGB", expected=colours),
    Case("RGB of 12 bits", lambda scene: (scene * 16.0).astype(np.uint16), "RGB", lambda scene: {"BitsStored": 12},
         colours, 1),
    Case("YBR_FULL", lambda scene: convert_color_space(scene, "RGB", "YBR_FULL"), "YBR_FULL", expected=colours,
         tolerance=2),
    Case("JPEG baseline", colours, "YBR_FULL_422", compressed, colours, 12),
    Case("JPEG 2000", colours, "YBR_RCT", compressed_2000, colours),
    Case("palette", grey, "PALETTE COLOR", palette, lambda scene: scene[..., [0, 0, 0]] * np.array([1, 0, 1])),
    Case("MONOCHROME2", grey, "MONOCHROME2"),
    Case("MONOCHROME1", lambda scene: 255 - grey(scene), "MONOCHROME1"),
    Case("12 bits", lambda scene: grey(scene).astype(np.uint16) * 16, "MONOCHROME2", lambda scene: {"BitsStored": 12},
         tolerance=1),
    Case("signed", lambda scene: (grey(scene).astype(np.int16) - 128).astype(np.int8), "MONOCHROME2"),
    Case("a window", lambda scene: grey(scene).astype(np.uint16) + 1000, "MONOCHROME2",
         lambda scene: {"WindowCenter": 1128, "WindowWidth": 256}, tolerance=1),
    Case("rescaled", grey, "MONOCHROME2", lambda scene: {"RescaleSlope": 2, "RescaleIntercept": -100}, tolerance=1),
]  # fmt: skip


@pytest.mark.parametrize("magic", [b"II*\0", b"MM\0*"])
def test_a_preamble_with_the_header_of_a_tiff_is_ignored(scene: np.ndarray, tmp_path: Path, magic: bytes) -> None:
    """DICOM PS3.10, section 7.1: a file may be a TIFF and DICOM."""
    path = write_dicom(tmp_path / "photo.dcm", scene)
    path.write_bytes(magic + path.read_bytes()[len(magic) :])
    assert np.array_equal(read_photograph(path).rgb, scene)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_reads(case: Case, scene, tmp_path) -> None:
    path = write_dicom(tmp_path / "photo.dcm", case.pixels(scene), case.photometric, **case.elements(scene))
    found = read_photograph(path).rgb
    assert found.shape == scene.shape
    assert np.abs(found.astype(int) - case.expected(scene)).max() <= case.tolerance
    assert read_image_size(path) == (scene.shape[1], scene.shape[0])
    with path.open("rb") as file:
        assert not is_not_for_this_reader(file)


def test_an_embedded_profile_is_used(scene, matrix_profile, tmp_path) -> None:
    swapped = ((0.38515, 0.71687, 0.09708), (0.43607, 0.22249, 0.01392), (0.14307, 0.06061, 0.71410))
    path = write_dicom(tmp_path / "photo.dcm", scene, ICCProfile=matrix_profile(swapped, 2.2))
    assert np.abs(read_photograph(path).rgb.astype(int) - scene[..., [1, 0, 2]]).max() <= 6


def measures(spacing: list[float]) -> list[Dataset]:
    group, measure = Dataset(), Dataset()
    measure.PixelSpacing = spacing
    group.PixelMeasuresSequence = [measure]
    return [group]


SIZES = [
    ({}, None),
    ({"PixelSpacing": [0.02, 0.01]}, PixelSize(20.0, 10.0, "dicom")),
    ({"ImagerPixelSpacing": [0.05, 0.05]}, None),
    ({"PixelSpacing": [0.006, 0.006], "ImagerPixelSpacing": [0.006, 0.006]}, None),
    (
        {
            "PixelSpacing": [0.006, 0.006],
            "ImagerPixelSpacing": [0.006, 0.006],
            "PixelSpacingCalibrationType": "FIDUCIAL",
        },
        PixelSize(6.0, 6.0, "dicom"),
    ),
    ({"NominalScannedPixelSpacing": [0.1, 0.2]}, PixelSize(100.0, 200.0, "dicom")),
    ({"PixelSpacing": [0.02, 0.02], "ImagerPixelSpacing": [0.05, 0.05]}, PixelSize(20.0, 20.0, "dicom")),
    ({"PixelSpacing": [0, 0.01]}, None),
    ({"PixelSpacing": ["1e400", "1"], "NominalScannedPixelSpacing": [0.05, 0.05]}, PixelSize(50.0, 50.0, "dicom")),
    ({"PixelSpacing": "0.02"}, None),
    ({"PixelSpacing": None}, None),
    ({"SharedFunctionalGroupsSequence": measures([0.25, 0.5])}, PixelSize(250.0, 500.0, "dicom")),
    ({"PixelAspectRatio": [2, 1]}, None),  # a shape of pixels, but no size
]


@pytest.mark.parametrize(("elements", "expected"), SIZES, ids=[" ".join(case[0]) or "none" for case in SIZES])
def test_pixel_size(elements, expected, scene, tmp_path) -> None:
    photograph = read_photograph(write_dicom(tmp_path / "photo.dcm", scene, **elements))
    assert photograph.pixel_size == expected
    assert (DETECTOR_SCALE in photograph.notes) == (expected is None and "ImagerPixelSpacing" in elements)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"Modality": "XC"}, "macroscopic"),
        ({"Modality": "DMS"}, "dermoscopic"),
        ({"SOPClassUID": DERMOSCOPIC, "Modality": "XC"}, "dermoscopic"),
        ({"Modality": "OT"}, None),
    ],
)
def test_modality(elements, expected, scene, tmp_path) -> None:
    assert read_photograph(write_dicom(tmp_path / "photo.dcm", scene, **elements)).modality == expected


FOR_OTHERS = [({"SOPClassUID": SLIDE}, "is a whole slide (DICOM)"), ({"NumberOfFrames": 2}, "has 2 frames")]


@pytest.mark.parametrize(("elements", "message"), FOR_OTHERS)
def test_slides_and_stacks_are_for_others(elements, message, scene, tmp_path) -> None:
    path = write_dicom(tmp_path / "photo.dcm", scene, **elements)
    with path.open("rb") as file:
        assert is_not_for_this_reader(file)
    with pytest.raises(UnreadableImage) as caught:
        read_photograph(path)
    assert message in str(caught.value)


UNSUITABLE = [
    ({"syntax": JPEGLosslessSV1, "PixelData": encapsulate([b"\xff\xd8\xff\xd9"])}, "pip install pylibjpeg"),
    ({"PixelData": bytes(9)}, "begins as a DICOM image but cannot be decoded"),
    ({"Rows": 3}, "is 48 x 3 pixels"),
    ({"Rows": 20_000, "Columns": 20_000}, "is 20000 x 20000 pixels"),
]


@pytest.mark.parametrize(("elements", "message"), UNSUITABLE, ids=[case[1] for case in UNSUITABLE])
def test_messages_for_unsuitable_files_state_the_reason(elements, message, scene, tmp_path) -> None:
    path = write_dicom(tmp_path / "photo.dcm", scene, **elements)
    with pytest.raises(UnreadableImage) as caught:
        read_photograph(path)
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom on values that the test has damaged
def test_damage_anywhere_gives_a_photograph_or_our_error(scene, tmp_path) -> None:
    path = write_dicom(tmp_path / "photo.dcm", scene, **compressed(scene), photometric="YBR_FULL_422")
    whole, random, outcomes = path.read_bytes(), np.random.default_rng(0), set()
    for trial in range(120):
        damaged = bytearray(whole[: random.integers(140, len(whole))] if trial % 3 == 0 else whole)
        for place in random.integers(132, min(len(damaged), 900), 6):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            outcomes.add(type(read_photograph(path)))
        except UnreadableImage:
            outcomes.add(UnreadableImage)
    assert outcomes == {Photograph, UnreadableImage}


@pytest.mark.filterwarnings("ignore:Invalid value for VR IS:UserWarning")
def test_a_damaged_file_is_not_for_others(scene, tmp_path) -> None:
    path = write_dicom(tmp_path / "damaged.dcm", scene, NumberOfFrames=1)
    path.write_bytes(path.read_bytes().replace(b"\x28\0\x08\0IS\x02\0001 ", b"\x28\0\x08\0IS\x02\0one"[:-1]))
    with path.open("rb") as file:
        assert not is_not_for_this_reader(file)


@pytest.mark.parametrize("compress", [compressed, compressed_2000], ids=["JPEG", "JPEG 2000"])
def test_a_planar_configuration_has_no_meaning_for_compressed_pixels(compress, scene, tmp_path) -> None:
    stated = [
        read_photograph(write_dicom(tmp_path / f"{order}.dcm", scene, PlanarConfiguration=order, **compress(scene))).rgb
        for order in (0, 1)
    ]
    np.testing.assert_array_equal(*stated)
    assert np.abs(stated[1].astype(int) - scene).mean() < 3


@pytest.mark.parametrize("photometric", ["RGB", "MONOCHROME2", "MONOCHROME1"])
def test_values_of_12_bits_that_the_header_states_as_16(photometric, scene, tmp_path) -> None:
    shown = scene if photometric == "RGB" else grey(scene)
    stored = shown if photometric != "MONOCHROME1" else 255 - shown
    found = read_photograph(write_dicom(tmp_path / "a.dcm", stored.astype(np.uint16) * 16, photometric))
    expected = shown if photometric == "RGB" else np.repeat(shown[..., None], 3, axis=2)
    assert np.abs(found.rgb.astype(int) - expected).max() <= 1
    assert found.notes == ("its 16-bit channels were read as 12-bit values, as no value exceeds 4095",)
    windowed = write_dicom(
        tmp_path / "b.dcm", stored.astype(np.uint16) * 16, photometric, WindowCenter=32768, WindowWidth=65536
    )
    assert photometric == "RGB" or read_photograph(windowed).notes == ()


@pytest.mark.slow
def test_a_layer_keeps_the_notes_on_how_its_file_was_read(scene, tmp_path) -> None:
    from napari.layers import Image

    from napari_melanoma.ui.readers import read_layers
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource, list_facts

    path = write_dicom(tmp_path / "photo.dcm", scene, ImagerPixelSpacing=[0.006, 0.006])
    ((data, keywords, _),) = read_layers(str(path), None)
    layer = Image(data, **keywords)
    assert LayerPhotographSource.from_layer(layer).read().notes == (DETECTOR_SCALE,)
    assert list_facts(layer) == ["48 x 32 px", "no scale", f"T{DETECTOR_SCALE[1:]}"]
