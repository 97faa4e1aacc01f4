"""Coded concepts of measurement reports (DICOM SR, template 1500), as they are written and read.

Standard codes are those that DICOM itself lists in its context groups, and the LOINC codes of the synoptic report; for
everything else, the private scheme has our own codes. No code is guessed.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

PRODUCT = "napari-melanoma"  # manufacturer of the device that observes in our reports
SCHEME = "99MELANOMA"
SCHEME_NAME = "Concepts of napari-melanoma without a standard code"
SCHEME_VERSION = "1"


class Concept(NamedTuple):
    """A code, the designator of its coding scheme, and its meaning."""

    value: str
    scheme: str
    meaning: str


def private_concept(meaning: str, prefix: str = "") -> Concept:
    """Return the code for a name that a user may choose, such as that of a class; equal names have equal codes."""
    text = meaning.strip()[:64] or "none"
    value = prefix + re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    is_exact = len(value) <= 16 and value != prefix
    return Concept(value if is_exact else hashlib.sha256(text.encode()).hexdigest()[:16], SCHEME, text)


AREA = Concept("42798000", "SCT", "Area")
PERIMETER = Concept("131191004", "SCT", "Perimeter")
DIAMETER = Concept("81827009", "SCT", "Diameter")
EQUIVALENT_DIAMETER = Concept("eq-diameter", SCHEME, "Diameter of the disk of the same area")
LENGTH = Concept("410668003", "SCT", "Length")
ANGLE = Concept("1483009", "SCT", "Angle")
PROBABILITY_OF_CANCER = Concept("111047", "DCM", "Probability of cancer")
LESION_PROBABILITY = Concept("lesion-prob", SCHEME, "Mean probability of a lesion in the region")
CLASS_PROBABILITY = Concept("class-prob", SCHEME, "Probability of the class")
LESION_COUNT = Concept("lesion-count", SCHEME, "Number of lesions")
MALIGNANT_COUNT = Concept("malignant-count", SCHEME, "Number of malignant lesions")
LESIONS_OUTSIDE = Concept("lesions-outside", SCHEME, "Number of lesions outside the mask")
BRESLOW = Concept("44661-7", "LN", "Breslow thickness")
BRESLOW_AT_LEAST = Concept("breslow-at-least", SCHEME, "Breslow thickness, lower bound")
ULCERATION = Concept("44660-9", "LN", "Ulceration")
CLARK = Concept("86667-3", "LN", "Clark level")
CLARK_LEVELS = tuple(private_concept(f"Clark level {level}") for level in ("I", "II", "III", "IV", "V"))
MITOTIC_RATE = Concept("44695-5", "LN", "Mitotic rate")
LATERAL_MARGIN = Concept("lateral-margin", SCHEME, "Distance to the peripheral margin")
DEEP_MARGIN = Concept("deep-margin", SCHEME, "Distance to the deep margin")
UPPER_UNCERTAINTY = Concept("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER_UNCERTAINTY = Concept("371885007", "SCT", "-, range of lower measurement uncertainty")

MILLIMETER = Concept("mm", "UCUM", "millimeter")
SQUARE_MILLIMETER = Concept("mm2", "UCUM", "square millimeter")
PER_SQUARE_MILLIMETER = Concept("/mm2", "UCUM", "per square millimeter")
DEGREE = Concept("deg", "UCUM", "degree")
PERCENT = Concept("%", "UCUM", "percent")
NO_UNITS = Concept("1", "UCUM", "no units")
PIXELS = Concept("{pixels}", "UCUM", "pixels")
MAXIMUM, MINIMUM = Concept("56851009", "SCT", "Maximum"), Concept("255605001", "SCT", "Minimum")

ABNORMAL_STRUCTURE = Concept("49755003", "SCT", "Morphologically Abnormal Structure")
LESION = Concept("52988006", "SCT", "Lesion")
SKIN_LESION = Concept("95324001", "SCT", "Skin lesion")
MALIGNANCY = Concept("malignancy", SCHEME, "Malignancy")
PREDICTED_CLASS = Concept("class", SCHEME, "Class")
POSSIBLE_CLASS = Concept("possible-class", SCHEME, "Class in the prediction set")
MALIGNANT = Concept("21594007", "SCT", "Malignant")
BENIGN = Concept("30807003", "SCT", "Benign")
MELANOMA = Concept("1162635006", "SCT", "Malignant melanoma")
ACTINIC_KERATOSIS = Concept("201101007", "SCT", "Actinic keratosis")
SQUAMOUS_CELL_CARCINOMA = Concept("254651007", "SCT", "Squamous cell carcinoma of skin")
PRESENT, ABSENT = Concept("121053", "DCM", "Present"), Concept("121054", "DCM", "Absent")
METHODS = {
    "automatic": Concept("line-predicted", SCHEME, "Line predicted by the model"),
    "corrected": Concept("line-corrected", SCHEME, "Line predicted by the model, then moved by hand"),
    "hand": Concept("line-by-hand", SCHEME, "Line drawn by hand"),
}
MEASURED = Concept("by-hand", SCHEME, "Measured by hand on the slide")
ORIGINS = {
    "found": Concept("found", SCHEME, "Detected by the model"),
    "refined": Concept("refined", SCHEME, "Detected by the model, outline refined by a reader"),
    "merged": Concept("merged", SCHEME, "Merged by a reader"),
    "split": Concept("split", SCHEME, "Split by a reader"),
    "classed": Concept("classed", SCHEME, "Classified by a reader"),
    "drawn": Concept("drawn", SCHEME, "Drawn by a reader or imported"),
    "prompted": Concept("prompted", SCHEME, "Segmented by the model from clicks or boxes"),
}
ORIGIN = Concept("origin", SCHEME, "Origin of the outline")
LIGHT_MICROSCOPY = Concept("104157003", "SCT", "Light microscopy")
DERMOSCOPY = Concept("446078004", "SCT", "Dermoscopic photography")
PHOTOGRAPHY = Concept("197157006", "SCT", "Photography of patient")

IMAGING_REPORT = Concept("126000", "DCM", "Imaging Measurement Report")
GROUP = Concept("125007", "DCM", "Measurement Group")
TRACKING_ID = Concept("112039", "DCM", "Tracking Identifier")
TRACKING_UID = Concept("112040", "DCM", "Tracking Unique Identifier")
FINDING = Concept("121071", "DCM", "Finding")
FINDING_CATEGORY = Concept("276214006", "SCT", "Finding category")
FINDING_SITE = Concept("363698007", "SCT", "Finding Site")
METHOD = Concept("370129005", "SCT", "Measurement Method")
COMMENT = Concept("121106", "DCM", "Comment")
PERSON_NAME = Concept("121008", "DCM", "Person Observer Name")
DEVICE_NAME = Concept("121013", "DCM", "Device Observer Name")
DEVICE_MODEL = Concept("121015", "DCM", "Device Observer Model Name")
DEVICE_MAKER = Concept("121014", "DCM", "Device Observer Manufacturer")
ALGORITHM_NAME = Concept("111001", "DCM", "Algorithm Name")
IMAGE_REGION = Concept("111030", "DCM", "Image Region")
