"""The header of a DICOM file is read without its pixels, and other files are refused."""

from __future__ import annotations

import io

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.io.dicom import DicomHeader, read_header


def header(**elements: object) -> DicomHeader:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.3"
    for name, value in elements.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    file.seek(0)
    return read_header(file)


def test_values_of_a_header() -> None:
    region = Dataset()
    region.CodeMeaning = "Forearm"
    found = header(
        PatientID="4711",
        PatientSex="F",
        AnatomicRegionSequence=[region],
        ImageLaterality="L",
        Modality="XC",
        PixelSpacing=[0.05, 0.05],
        Rows=4,
    )
    assert (found.patient, found.sex, found.body_part, found.laterality) == ("4711", "F", "Forearm", "L")
    assert (found.modality, found.has_image) == ("macroscopic", True)
    assert found.pixel_size is not None
    assert found.pixel_size.source == "dicom"


AGES = {
    "years": ({"PatientAge": "045Y"}, 45),
    "months": ({"PatientAge": "018M"}, 1.5),
    "before a birthday": ({"PatientBirthDate": "19800602", "StudyDate": "20200601"}, 39),
    "on a birthday": ({"PatientBirthDate": "19800601", "StudyDate": "20200601"}, 40),
    "dates the wrong way round": ({"PatientBirthDate": "20200601", "StudyDate": "19800601"}, None),
    "a date of birth alone": ({"PatientBirthDate": "19800601"}, None),
}


@pytest.mark.parametrize(("elements", "age"), AGES.values(), ids=list(AGES))
def test_the_age_is_stated_or_follows_from_the_dates(elements: dict[str, str], age: float | None) -> None:
    assert header(**elements).age == age


def test_patient_without_id_is_identified_by_name_and_birth() -> None:
    assert header(PatientName="A^B", PatientBirthDate="19800601").patient == "A^B 19800601"
    assert header().patient == ""
    assert not header().has_image


def test_non_dicom_file_is_rejected() -> None:
    with pytest.raises(UnreadableImage, match="is not a readable DICOM file"):
        read_header(io.BytesIO(b"text" * 100))
