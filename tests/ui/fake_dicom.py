"""A DICOM slide with levels of white tiles, and DICOM photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

STUDY, SERIES, FRAME = (generate_uid() for _ in range(3))


def made(**values: Any) -> Dataset:
    found = Dataset()
    for name, value in values.items():
        setattr(found, name, value)
    return found


def write_level(path: Path, rows: int, columns: int, spacing_mm: float, kind: str = "VOLUME", **more: Any) -> Path:
    """Write a level of a slide, its tiles of 32 pixels all white."""
    frames = -(-rows // 32) * -(-columns // 32)
    level = made(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6",
        SOPInstanceUID=generate_uid(),
        StudyInstanceUID=STUDY,
        SeriesInstanceUID=more.pop("SeriesInstanceUID", SERIES),
        FrameOfReferenceUID=FRAME,
        PositionReferenceIndicator="SLIDE_CORNER",
        Modality="SM",
        ImageType=["ORIGINAL", "PRIMARY", kind, "NONE"],
        PatientID="P1",
        PatientName="",
        PatientBirthDate="",
        PatientSex="",
        StudyDate="",
        StudyTime="",
        StudyID="",
        AccessionNumber="",
        ReferringPhysicianName="",
        SeriesNumber=1,
        InstanceNumber=1,
        Manufacturer="test",
        ContainerIdentifier="S1",
        IssuerOfTheContainerIdentifierSequence=[],
        ContainerTypeCodeSequence=[made(CodeValue="433466003", CodingSchemeDesignator="SCT", CodeMeaning="slide")],
        SpecimenDescriptionSequence=[made(SpecimenIdentifier="S1", SpecimenUID=generate_uid())],
        Rows=32,
        Columns=32,
        NumberOfFrames=frames,
        TotalPixelMatrixRows=rows,
        TotalPixelMatrixColumns=columns,
        TotalPixelMatrixFocalPlanes=1,
        TotalPixelMatrixOriginSequence=[made(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0)],
        ImageOrientationSlide=[0.0, -1.0, 0.0, -1.0, 0.0, 0.0],
        ImagedVolumeWidth=columns * spacing_mm,
        ImagedVolumeHeight=rows * spacing_mm,
        ImagedVolumeDepth=0.001,
        DimensionOrganizationType="TILED_FULL",
        NumberOfOpticalPaths=1,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        SharedFunctionalGroupsSequence=[
            made(PixelMeasuresSequence=[made(PixelSpacing=[spacing_mm, spacing_mm], SliceThickness=0.001)])
        ],
        **more,
    )
    level.PixelData = b"\xff" * (frames * 32 * 32 * 3)
    level.file_meta = FileMetaDataset()
    level.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    level.file_meta.MediaStorageSOPClassUID = level.SOPClassUID
    level.file_meta.MediaStorageSOPInstanceUID = level.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    level.save_as(path, enforce_file_format=True)
    return path


def write_photograph(path: Path, rgb: np.ndarray, **more: Any) -> Path:
    """Write a dermoscopic photograph, uint8 (row, column, channel); an element that is None is left out."""
    values: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.7",
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "Modality": "DMS",
        "PatientID": "P7",
        "AnatomicRegionSequence": [made(CodeValue="77568009", CodingSchemeDesignator="SCT", CodeMeaning="Back")],
        "Rows": rgb.shape[0],
        "Columns": rgb.shape[1],
        "SamplesPerPixel": 3,
        "PhotometricInterpretation": "RGB",
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        **more,
    }
    image = made(**{name: value for name, value in values.items() if value is not None})
    image.PixelData = rgb.tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path
