"""What a DICOM file says of its patient: the elements that the confidentiality profile of PS3.15 Annex E removes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from napari_melanoma.workflows.audit.finding import Entry

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

_ELEMENTS = {
    "birth": "PatientBirthDate PatientBirthTime",
    "record": "PatientID OtherPatientIDs IssuerOfPatientID AccessionNumber MedicalRecordLocator StudyID AdmissionID "
    "InsurancePlanIdentification MilitaryRank SpecimenIdentifier ContainerIdentifier BarcodeValue "
    "PerformedProcedureStepID ScheduledProcedureStepID ClinicalTrialSubjectID ClinicalTrialSubjectReadingID "
    "FillerOrderNumberImagingServiceRequest PlacerOrderNumberImagingServiceRequest ServiceEpisodeID",
    "contact": "PatientAddress PatientTelephoneNumbers PatientTelecomInformation CountryOfResidence RegionOfResidence "
    "ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers PersonAddress PersonTelephoneNumbers "
    "OrderCallbackPhoneNumber DistributionAddress",
    "location": "InstitutionName InstitutionAddress InstitutionalDepartmentName CurrentPatientLocation "
    "PatientInstitutionResidence ResponsibleOrganization RequestingService OrderEntererLocation",
    "device": "DeviceSerialNumber StationName DetectorID PlateID CassetteID DeviceUID GantryID GeneratorID",
    "text": "PatientComments AdditionalPatientHistory ImageComments StudyComments VisitComments Occupation "
    "RequestedProcedureComments LabelText ReasonForStudy AcquisitionComments ClinicalTrialSiteName",
}
KIND_OF_ELEMENT = {name: kind for kind, names in _ELEMENTS.items() for name in names.split()}
"""Elements that give somebody away whatever stands in them; names, dates and times are known by their type."""

_BY_MACHINES = (
    "Manufacturer ManufacturerModelName SoftwareVersions CodeValue LongCodeValue CodeMeaning CodingSchemeDesignator "
    "CodingSchemeVersion CodingSchemeName CodingSchemeResponsibleOrganization ContextIdentifier MappingResource "
    "MappingResourceName SpecificCharacterSet TimezoneOffsetFromUTC LensMake LensModel LensSpecification "
    "DeidentificationMethod OpticalPathIdentifier OpticalPathDescription DerivationDescription SegmentLabel "
    "SegmentDescription SegmentAlgorithmName ContentLabel DimensionDescriptionLabel LUTExplanation "
    "PatientSpeciesDescription PositionReferenceIndicator"
)
_TECHNICAL = frozenset(_BY_MACHINES.split())
"""Texts that a machine or a standard writes; people may write into any other, so each of those is told."""

_TEXTS = ("LT", "ST", "UT", "LO", "SH", "UC")
_PATIENT_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson")
_OTHER_PICTURES = ("LABEL", "OVERVIEW", "THUMBNAIL")


def dicom_entries(file: IO[bytes]) -> Iterator[Entry]:
    """Read the elements of a DICOM file, those inside of sequences too; pixels are not read.

    One for each element that names somebody or something, and one for all private elements.
    """
    from pydicom import dcmread
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        dataset = dcmread(file, stop_before_pixels=True)
        if not dataset:
            raise ValueError("no element in it")
        yield from _of_the_file(dataset)
        for element in dataset.iterall():
            yield from _element(element)
    except (BytesLengthException, InvalidDicomError) as error:
        raise ValueError(str(error)) from error


def _of_the_file(dataset: Dataset) -> Iterator[Entry]:
    """What is told by the file as a whole: pictures of labels, text burned into the pixels, private elements."""
    kind = next((word for word in dataset.get("ImageType", ()) if word in _OTHER_PICTURES), None)
    if kind:
        yield Entry("dicom", f"DICOM ImageType {kind}", "picture", f"the {kind.lower()} of the glass", "picture")
    if dataset.get("BurnedInAnnotation") == "YES":
        yield Entry("dicom", "DICOM BurnedInAnnotation", "picture", "text in the pixels", "picture")
    private = sum(element.tag.is_private and not element.tag.is_private_creator for element in dataset.iterall())
    if private:
        yield Entry("dicom", "DICOM private elements", "private", f"{private} elements of the maker", "text")
    if "IconImageSequence" in dataset:
        yield Entry("dicom", "DICOM IconImageSequence", "picture", "a small picture", "picture")
    if any(0x6000 <= element.tag.group <= 0x60FF and element.tag.element == 0x3000 for element in dataset):
        yield Entry("dicom", "DICOM OverlayData", "picture", "a drawing over the pixels, which may be text", "picture")
    if "EncapsulatedDocument" in dataset:
        yield Entry("dicom", "DICOM EncapsulatedDocument", "document", "a document", "picture")


def _element(element: DataElement) -> Iterator[Entry]:
    """What one element gives away."""
    if element.VR == "SQ" or element.tag.is_private or element.is_empty:
        return
    name, value = element.keyword, str(element.value)
    kind = KIND_OF_ELEMENT.get(name, "")
    if element.VR == "PN":
        kind = "person" if name in _PATIENT_NAMES else "staff"
    elif element.VR in ("DA", "DT") and not kind:
        kind = "date"
    elif element.VR == "AE" and not kind:
        kind = "device"
    if kind and not _says_nothing(value):
        yield Entry("dicom", f"DICOM {name}", name, value, kind)
    elif element.VR in (*_TEXTS, "AS"):
        key = "age" if name == "PatientAge" else name if element.VR == "AS" else ""
        yield Entry("dicom", f"DICOM {name}", key, value, free=element.VR in _TEXTS and name not in _TECHNICAL)


def _says_nothing(value: str) -> bool:
    """Whether an element was emptied, or says that it was."""
    from napari_melanoma.workflows.audit.rules import NOTHING

    return NOTHING.fullmatch(value.strip()) is not None or value.startswith(("00000000", "19000101"))
