"""DICOM: photographs and slides, legal variants, missing elements, wrong lengths, frames of other series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from hostile import slides
from hostile.oracle import Case, equal
from hostile.photos import read, scene, written
from hostile.sandbox import Sandbox

PHOTOGRAPHIC, WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.77.1.6"
ROOT = "1.2.826.0.1.3680043.10.777"
TILE = 128
ESSENTIAL = ("Rows", "Columns", "PixelData", "BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation")
OF_SLIDES = ("TotalPixelMatrixColumns", "TotalPixelMatrixRows", "ImageType", "NumberOfFrames", "SeriesInstanceUID")


def dataset(pixels: np.ndarray, photometric: str = "RGB", sop: str = PHOTOGRAPHIC, **elements: Any) -> Any:
    """A data set of uncompressed pixels, with the elements given replaced or added."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop, f"{ROOT}.1", "XC"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    made.PhotometricInterpretation = photometric
    if made.SamplesPerPixel == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8 * pixels.dtype.itemsize
    made.PixelRepresentation = 0
    made.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    made["PixelData"].VR = "OW"
    syntax = elements.pop("syntax", ExplicitVRLittleEndian)
    for name, value in elements.items():
        setattr(made, name, value)
    made.HighBit = made.BitsStored - 1
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def saved(made: Any, path: Path) -> Path:
    from pydicom import dcmwrite

    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, made, enforce_file_format=True)
    return path


def legal_photographs(rng: Generator, box: Sandbox) -> Case:
    """Gray, inverted, 12 bits, planar, compressed; Unicode names of patients and files."""
    import imagecodecs
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    rgb, kind = scene(rng), str(rng.choice(["rgb", "gray", "inverted", "twelve", "planar", "compressed"]))
    gray = np.repeat(rgb[..., :1], 3, -1)
    elements: dict[str, Any] = {"PatientName": "Müller^病", "SpecificCharacterSet": "ISO_IR 192"}
    made, truth, tolerance = dataset(rgb, **elements), rgb, 0.0
    if kind in ("gray", "inverted"):
        stored = rgb[..., 0] if kind == "gray" else 255 - rgb[..., 0]
        made, truth = dataset(stored.copy(), "MONOCHROME2" if kind == "gray" else "MONOCHROME1"), gray
    elif kind == "twelve":
        stored = (rgb[..., 0].astype(float) / 255 * 4095).round().astype(np.uint16)
        made, truth, tolerance = dataset(stored, "MONOCHROME2", BitsStored=12), gray, 1.0
    elif kind == "planar":
        made = dataset(
            rgb, PlanarConfiguration=1, PixelData=rgb.transpose(2, 0, 1).tobytes() + b"\0" * (rgb.nbytes % 2)
        )
    elif kind == "compressed":
        coded = imagecodecs.jpeg2k_encode(rgb, reversible=True, codecformat="j2k", mct=True)
        made = dataset(rgb, "YBR_RCT", syntax=JPEG2000Lossless, PixelData=encapsulate([bytes(coded)]))
    path = saved(made, box.inputs / str(rng.choice(["photo.dcm", "IM00001", "Aufnahme ä.dcm"])))
    return Case(read(path), path.name, equal(truth, tolerance), refusable=False, seconds=10)


def missing_elements(rng: Generator, box: Sandbox) -> Case:
    made = dataset(scene(rng))
    delattr(made, str(rng.choice(ESSENTIAL)))
    path = saved(made, box.inputs / "missing.dcm")
    return Case(read(path), path.name)


def wrong_elements(rng: Generator, box: Sandbox) -> Case:
    """A size or a depth that the pixels do not have."""
    rgb = scene(rng)
    made = dataset(rgb)
    key = str(rng.choice(["Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "NumberOfFrames"]))
    setattr(made, key, int(rng.choice([0, 3, 65535, 17, 40_000])) if key != "NumberOfFrames" else "100000")
    path = saved(made, box.inputs / "wrong.dcm")
    return Case(read(path), path.name, equal(rgb))


def cut(rng: Generator, box: Sandbox) -> Case:
    rgb = scene(rng)
    path = saved(dataset(rgb), box.inputs / "cut.dcm")
    content = path.read_bytes()
    written(path, content[: int(len(content) * rng.uniform(0.01, 0.99))])
    return Case(read(path), path.name, equal(rgb))


def wrong_lengths(rng: Generator, box: Sandbox) -> Case:
    """Bytes of the elements before the pixels are exchanged: lengths, tags and types that do not fit."""
    rgb = scene(rng)
    path = saved(dataset(rgb, PatientName="A" * 60), box.inputs / "lengths.dcm")
    content = bytearray(path.read_bytes())
    end = max(200, len(content) - rgb.nbytes)
    for place in rng.integers(128, end, int(rng.integers(1, 8))):
        content[place] = int(rng.choice([0, 0xFF, 0x7F, int(rng.integers(256))]))
    written(path, bytes(content))
    return Case(read(path), path.name, equal(rgb), undecidable=True)


def nested_sequences(rng: Generator, box: Sandbox) -> Case:
    """Sequences within sequences, thousands deep, written by hand since no library would."""
    rgb = scene(rng)
    path = saved(dataset(rgb), box.inputs / "deep.dcm")
    content, depth = path.read_bytes(), int(rng.integers(1500, 30_000))
    sequence = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    at = content.index(b"\x28\x00\x02\x00")  # before the elements of the image
    written(path, content[:at] + sequence * depth + content[at:])
    return Case(read(path), path.name, equal(rgb), seconds=3)


# Slides


def slide(folder: Path, rgb: np.ndarray, compressed: bool, change: Callable[[Any], None] = lambda made: None) -> Path:
    """Write a slide of one level, as frames in order (TILED_FULL)."""
    import imagecodecs
    from pydicom import Dataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

    height, width = rgb.shape[:2]
    full = np.full((-(-height // TILE) * TILE, -(-width // TILE) * TILE, 3), 255, np.uint8)
    full[:height, :width] = rgb
    frames = [
        np.ascontiguousarray(full[row : row + TILE, column : column + TILE])
        for row in range(0, len(full), TILE)
        for column in range(0, full.shape[1], TILE)
    ]
    data = b"".join(frame.tobytes() for frame in frames)
    if compressed:
        data = encapsulate([bytes(imagecodecs.jpeg8_encode(frame, level=95, subsampling="444")) for frame in frames])
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
    shared.PixelMeasuresSequence = [measures]
    made = dataset(
        frames[0], "YBR_FULL_422" if compressed else "RGB", WHOLE_SLIDE,
        syntax=JPEGBaseline8Bit if compressed else ExplicitVRLittleEndian, PixelData=data, NumberOfFrames=len(frames),
        Modality="SM", ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], TotalPixelMatrixColumns=width,
        TotalPixelMatrixRows=height, SeriesInstanceUID=f"{ROOT}.2", StudyInstanceUID=f"{ROOT}.3",
        FrameOfReferenceUID=f"{ROOT}.4", DimensionOrganizationType="TILED_FULL",
        SharedFunctionalGroupsSequence=[shared],
        TotalPixelMatrixFocalPlanes=1, NumberOfOpticalPaths=1, ImagedVolumeWidth=1.0, ImagedVolumeHeight=1.0,
    )  # fmt: skip
    change(made)
    return saved(made, folder / f"level{made.SOPInstanceUID[-3:]}.dcm")


def judged(box: Sandbox, rgb: np.ndarray, compressed: bool, **how: Any) -> Case:
    folder = box.inputs / "dicom-slide"
    right = slides.right_but_for_damage(rgb, 60.0 if compressed else 1.0, gaps=True)
    return Case(slides.read(folder), "", right, seconds=5, **how)


def legal_slides(rng: Generator, box: Sandbox) -> Case:
    rgb, compressed = slides.tissue(rng, TILE), bool(rng.integers(2))
    folder = box.inputs / str(rng.choice(["dicom-slide", "Schnitt ä", "a b"]))
    slide(folder, rgb, compressed)
    right = equal(rgb, mean=6.0) if compressed else slides.complete(rgb)
    return Case(slides.read(folder), folder.name, right, refusable=False, seconds=20)


def slides_without_elements(rng: Generator, box: Sandbox) -> Case:
    rgb, compressed = slides.tissue(rng, TILE), bool(rng.integers(2))
    gone = str(rng.choice([*OF_SLIDES, *ESSENTIAL, "SharedFunctionalGroupsSequence", "DimensionOrganizationType"]))
    slide(box.inputs / "dicom-slide", rgb, compressed, lambda made: delattr(made, gone))
    return judged(box, rgb, compressed)


def slides_with_wrong_elements(rng: Generator, box: Sandbox) -> Case:
    rgb, compressed = slides.tissue(rng, TILE), bool(rng.integers(2))
    key = str(rng.choice(["TotalPixelMatrixColumns", "TotalPixelMatrixRows", "Rows", "Columns", "NumberOfFrames"]))
    value = (
        int(rng.choice([0, 1, 7, 60_000, 2**31 - 1]))
        if key not in ("Rows", "Columns")
        else int(rng.choice([0, 1, 65535]))
    )
    slide(box.inputs / "dicom-slide", rgb, compressed, lambda made: setattr(made, key, value))
    # A smaller declared matrix cannot be detected.
    return judged(box, rgb, compressed, undecidable=key.startswith("Total"))


def cut_slides(rng: Generator, box: Sandbox) -> Case:
    rgb, compressed = slides.tissue(rng, TILE), bool(rng.integers(2))
    path = slide(box.inputs / "dicom-slide", rgb, compressed)
    content = path.read_bytes()
    written(path, content[: int(len(content) * rng.uniform(0.02, 0.99))])
    return judged(box, rgb, compressed)


def mixed_folders(rng: Generator, box: Sandbox) -> Case:
    """Files of another series, photographs, garbage and a text beside the slide's own."""
    rgb, compressed, folder = slides.tissue(rng, TILE), bool(rng.integers(2)), box.inputs / "dicom-slide"
    slide(folder, rgb, compressed)

    def other(made: Any) -> None:
        made.SeriesInstanceUID, made.SOPInstanceUID = f"{ROOT}.8", f"{ROOT}.999"
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID

    if rng.random() < 0.5:
        slide(folder, slides.tissue(rng, TILE), compressed, other)
    saved(dataset(scene(rng)), folder / "photo.dcm")
    written(folder / "0garbage.dcm", bytes(128) + b"DICM" + rng.bytes(500))
    written(folder / "notes.txt", b"nothing")
    return Case(slides.read(folder), "", lambda found: "", seconds=10)


def damaged_frames(rng: Generator, box: Sandbox) -> Case:
    """Garbage in the place of compressed frames, or bytes of the header exchanged."""
    rgb = slides.tissue(rng, TILE)
    path = slide(box.inputs / "dicom-slide", rgb, compressed=True)
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        at = int(len(content) * rng.uniform(0.3, 0.8))
        content[at : at + 2000] = rng.bytes(len(content[at : at + 2000]))
    else:
        for place in rng.integers(128, 1500, 4):
            content[place] = int(rng.integers(256))
    written(path, bytes(content))
    return judged(box, rgb, True, undecidable=True)
