"""The schema of the harmonized table: the meaning, unit and allowed values of its columns.

The forms for patient data are built from it. All cells are text; an empty cell means unknown.
``docs/reference/table.md`` lists these columns.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy

TRAIN, VAL, TEST = SPLIT_WORDS = ("train", "val", "test")
# Protection of a split: an image in several splits belongs to the one with the highest rank
HELD_BACK_RANKS = {TEST: 3, VAL: 2, TRAIN: 1}
ColumnKind = Literal["text", "word", "number", "yes_no"]


class Column(NamedTuple):
    """One column of the table.

    ``low`` and ``high`` are the limits of a number; ``taxonomy`` names the vocabulary of a column of words;
    ``expected`` are the words of a column of text, whose other words are kept, since a recipe may name them, and
    reported.
    """

    name: str
    kind: ColumnKind
    title: str
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    taxonomy: str = ""
    expected: tuple[str, ...] = ()


COLUMNS: tuple[Column, ...] = (
    Column("image_id", "text", "Image", "Name of the image, unique in the table: the file's name without suffix."),
    Column("path", "text", "Image file", "The file, relative to the table; empty if the row has no image."),
    Column("mask_path", "text", "Mask file", "The mask of the lesion, relative to the table."),
    Column("patient_id", "text", "Patient", "Pseudonym of the patient; images of one patient share it."),
    Column("lesion_id", "text", "Lesion", "Name of the lesion, unique within its patient."),
    Column("near_duplicate_of", "text", "Shows the same as", "An earlier image_id that shows the same picture."),
    Column("source", "text", "Source", "Name of the data set that the row comes from."),
    Column("domain", "text", "Domain", "Name of the recording conditions: a device, a clinic, a data set."),
    Column("licence", "text", "License", "License under which the image may be used."),
    Column("attribution", "text", "Attribution", "Credit to give when the image is used."),
    Column("modality", "word", "Modality", "How the image was taken.", taxonomy="modality"),
    Column("diagnosis", "word", "Diagnosis", "The class of the lesion.", taxonomy="diagnosis"),
    Column("diagnosis_detail", "word", "Subtype", "The most specific known diagnosis.", taxonomy="diagnosis"),
    Column("diagnosis_by", "word", "Diagnosed by", "How the diagnosis was made.", taxonomy="diagnosis_by"),
    Column("target", "yes_no", "Malignant", "Whether the lesion is malignant.", taxonomy="malignancy"),
    Column("melanoma", "yes_no", "Melanoma", "Whether the lesion is a melanoma of any kind."),
    Column("age", "number", "Age", "Age of the patient when the image was taken.", "years", 0, 120),
    Column("sex", "word", "Sex", "Sex of the patient.", taxonomy="sex"),
    Column("site", "word", "Body site", "Location on the body, in the terms of the ISIC archive.", taxonomy="site"),
    Column("sub_site", "word", "Sub-site", "Location within the body site.", taxonomy="sub_site"),
    Column("laterality", "word", "Side", "Side of the patient's body.", taxonomy="laterality"),
    Column("fitzpatrick", "word", "Skin type", "Fitzpatrick skin type, 1 to 6.", taxonomy="fitzpatrick"),
    Column("ethnicity", "text", "Ethnicity", "As the patient or the source states it."),
    Column("personal_history", "yes_no", "Earlier melanoma", "Whether the patient has had a melanoma before."),
    Column("family_history", "yes_no", "Melanoma in family", "Whether a close relative has had a melanoma."),
    Column("itch", "yes_no", "Itching", "Whether the lesion itches, according to the patient."),
    Column("hurt", "yes_no", "Pain", "Whether the lesion hurts, according to the patient."),
    Column("bleed", "yes_no", "Bleeding", "Whether the lesion has bled, according to the patient."),
    Column("elevation", "yes_no", "Elevation", "Whether the lesion is raised above the skin."),
    Column("diameter_1_mm", "number", "Diameter", "Longest diameter of the lesion.", "mm", 0.01, 500),
    Column("diameter_2_mm", "number", "Second diameter", "Diameter across the longest.", "mm", 0.01, 500),
    Column("mpp_x", "number", "Pixel width", "Width of a pixel.", "µm", 0.001, 5000),
    Column("mpp_y", "number", "Pixel height", "Height of a pixel.", "µm", 0.001, 5000),
    Column("depth_mm", "number", "Depth", "Breslow thickness: depth of invasion.", "mm", 0, 100),
    Column("ulceration", "yes_no", "Ulceration", "Whether the lesion is ulcerated."),
    Column("mitoses_per_mm2", "number", "Mitoses", "Mitoses in a square millimeter.", "1/mm²", 0, 1000),
    Column("clark", "word", "Clark level", "Clark's level of invasion, 1 to 5.", taxonomy="clark"),
    Column("necrosis", "yes_no", "Necrosis", "Whether necrotic tumor is in view."),
    Column("metastasis", "yes_no", "Metastasis", "Whether the melanoma has spread."),
    Column("split", "text", "Split", "What the row is used for.", expected=SPLIT_WORDS),
    Column("fold", "text", "Fold", "Number of the row's fold in a cross-validation."),
    Column(
        "review",
        "text",
        "Review",
        "Review state of the mask.",
        expected=("unreviewed", "accepted", "corrected", "rejected"),
    ),
)
COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
FILE_COLUMNS = ("path", "mask_path", "prediction_path")  # of the image, its mask, and the mask of a model
# Columns with the depth that each of several readers measured
READER_COLUMN = re.compile(r"depth_mm_reader_[1-9]\d*")
AS_GIVEN_SUFFIX = "_as_given"  # suffix of a column that keeps the original values that were not understood
MAX_LISTED_WORDS = 12  # of a taxonomy, in a message
_BY_NAME = {column.name: column for column in COLUMNS}


def held_back_rank(split: str) -> int:
    """Return the protection of a split: 3 for ``test``, 2 for ``val`` and other names, 1 for ``train``, 0 for none."""
    return HELD_BACK_RANKS.get(split, 2 if split else 0)


def find_column(name: str) -> Column | None:
    """Find a column of the schema; None for other columns, which a table may have too."""
    if READER_COLUMN.fullmatch(name):
        reader = name.rpartition("_")[2]
        description = f"Depth of invasion as reader {reader} measured it."
        return _BY_NAME["depth_mm"]._replace(name=name, title=f"Depth, reader {reader}", description=description)
    return _BY_NAME.get(name)


def field_title(name: str) -> str:
    column = find_column(name)
    return name.replace("_", " ").capitalize() if column is None else column.title


def format_field_value(name: str, value: str) -> str:
    """Return a value as it is written within a sentence.

    Words have their title, which starts in lower case unless it starts with a Roman numeral; 1 and 0 become ``yes`` and
    ``no``; other values are unchanged.
    """
    column = find_column(name)
    if column is None or column.kind not in ("word", "yes_no"):
        return value
    words = load_taxonomy(column.taxonomy or "yes_no")
    if value not in words.entries:
        return value
    title = words.title(value)
    return title if title.partition(" ")[0].isupper() else title[:1].lower() + title[1:]


def check_value(column: Column, text: str) -> str:
    """Check a cell of numbers or words; any text is valid in a column of text.

    Returns "" if the cell is valid, else a message with what was expected and found.
    """
    value = text.strip()
    if value in ("", UNKNOWN) or column.kind == "text":
        return ""
    if column.kind == "number":
        return _check_number_text(column, value)
    words = load_taxonomy(column.taxonomy or "yes_no").words[:-1]  # the last word is ``unknown``
    more = f" ... ({len(words)} words)" if len(words) > MAX_LISTED_WORDS else ""
    expected = f"{', '.join(words[:MAX_LISTED_WORDS])}{more}"
    return "" if value in words else f"{column.title}: expected {expected}; found '{value}'."


def _check_number_text(column: Column, text: str) -> str:
    low, high = column.low, column.high
    limits = "" if low is None or high is None else f" from {low:g} to {high:g}"
    expected = f"{column.title}: expected a number{limits}{f' {column.unit}' if column.unit else ''}"
    try:
        value = float(text)
    except ValueError:
        return f"{expected}; found '{text}'."
    outside = value != value or (low is not None and value < low) or (high is not None and value > high)
    return f"{expected}; found {text}." if outside else ""
