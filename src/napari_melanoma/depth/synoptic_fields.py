"""The fields of the synoptic report, in the order of the form; the form, the files and the pages follow this table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from napari_melanoma.data.taxonomy import load_taxonomy
from napari_melanoma.depth.t_category import EXTENT_NAMES, ROMAN

AnswerState = Literal["answered", "not assessed", "cannot be determined"]
Kind = Literal["choice", "number", "text"]
ANSWERED: AnswerState = "answered"
NOT_ASSESSED: AnswerState = "not assessed"
CANNOT: AnswerState = "cannot be determined"
OTHER = "other"


@dataclass(frozen=True)
class SynopticField:
    """A field of the form: its name and labels, and the answers that it accepts.

    ``choices``: stored word to label. ``unit``, ``most``: unit and greatest value of a number. ``absent``: accepted
    reasons for not answering. ``expected``: for which tumors it should be filled in.
    """

    name: str
    label: str
    group: str
    kind: Kind
    choices: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    most: float = 0.0
    is_integer: bool = False
    help: str = ""
    absent: tuple[AnswerState, ...] = ()
    expected: Literal["always", "melanoma", "invasive", "optional"] = "optional"


NOT_ANSWERED: tuple[AnswerState, ...] = (NOT_ASSESSED, CANNOT)
FINDING = {"present": "present", "not_identified": "not identified"}
MARGIN = {"free": "free", "involved": "involved"}


def _choice(name: str, label: str, group: str, choices: Mapping[str, str], **options: Any) -> SynopticField:  # noqa: ANN401
    return SynopticField(name, label, group, "choice", choices, **options)


def _finding(name: str, label: str, group: str, choices: Mapping[str, str] = FINDING, **options: Any) -> SynopticField:  # noqa: ANN401
    """A choice that may also be not assessed or impossible to determine."""
    return _choice(name, label, group, choices, absent=NOT_ANSWERED, **options)


def _number(name: str, label: str, group: str, unit: str, most: float, **options: Any) -> SynopticField:  # noqa: ANN401
    return SynopticField(name, label, group, "number", unit=unit, most=most, absent=NOT_ANSWERED, **options)


def _margin_fields() -> tuple[SynopticField, ...]:
    """Status and distance of each margin, for the invasive and the in situ component."""
    expected: Mapping[str, Any] = {"invasive": "invasive", "in_situ": "melanoma"}
    return tuple(
        field
        for component, words in (("invasive", "invasive melanoma"), ("in_situ", "melanoma in situ"))
        for margin in ("peripheral", "deep")
        for field in (
            _finding(
                f"{margin}_margin_{component}",
                f"{margin.capitalize()} margin, {words}",
                "Margins",
                MARGIN,
                expected="optional" if (margin, component) == ("deep", "in_situ") else expected[component],
            ),
            _number(f"{margin}_distance_{component}", f"Distance to {margin} margin, {words}", "Margins", "mm", 1000),
        )
    )


FIELDS: tuple[SynopticField, ...] = (
    _choice(
        "procedure",
        "Procedure",
        "Specimen",
        {
            "shave": "shave biopsy",
            "punch": "punch biopsy",
            "incisional": "incisional biopsy",
            "excision": "excision",
            "re_excision": "wide excision or re-excision",
            OTHER: "other",
            "not_specified": "not specified",
        },
        expected="always",
    ),
    _choice(
        "laterality",
        "Laterality",
        "Specimen",
        {"left": "left", "right": "right", "midline": "midline", "not_specified": "not specified"},
        expected="always",
    ),
    _choice(
        "site",
        "Site",
        "Specimen",
        {word: word for word in load_taxonomy("site").words[:-1]} | {"not_specified": "not specified"},
        help="region of the body; add the exact location as text",
        expected="always",
    ),
    _finding("macroscopic_satellites", "Macroscopic satellites", "Specimen"),
    _finding(
        "extent",
        "Primary tumor",
        "Tumor",
        EXTENT_NAMES,
        help="no evidence of a primary tumor: for example a completely regressed melanoma",
        expected="always",
    ),
    _finding(
        "subtype",
        "Histologic subtype",
        "Tumor",
        {
            "superficial_spreading": "superficial spreading melanoma",
            "nodular": "nodular melanoma",
            "lentigo_maligna": "lentigo maligna (melanoma)",
            "acral_lentiginous": "acral lentiginous melanoma",
            "desmoplastic_pure": "desmoplastic melanoma, pure",
            "desmoplastic_mixed": "desmoplastic melanoma, mixed",
            "spitzoid": "spitzoid melanoma",
            "blue_nevus_like": "melanoma in or like a blue nevus",
            "nevoid": "nevoid melanoma",
            "giant_congenital_nevus": "melanoma in giant congenital nevus",
            "low_csd": "low-CSD melanoma, unclassified",
            OTHER: "other",
        },
        expected="melanoma",
    ),
    _number(
        "breslow",
        "Breslow thickness",
        "Tumor",
        "mm",
        100,
        help="as measured; it is recorded to 0.1 mm (AJCC 8). State why if it cannot be determined",
        expected="invasive",
    ),
    _finding("ulceration", "Ulceration", "Tumor", expected="invasive"),
    _number("ulceration_extent", "Extent of ulceration", "Tumor", "mm", 1000),
    _finding("clark", "Clark level", "Tumor", {level: level for level in ROMAN}),
    _number(
        "mitotic_rate",
        "Mitotic rate",
        "Tumor",
        "per mm²",
        1000,
        help="0 if no mitosis was found in the counted area",
        expected="invasive",
    ),
    _number("mitoses_counted", "Mitoses counted", "Tumor", "", 100_000, is_integer=True),
    _number("mitoses_area", "Area counted for mitoses", "Tumor", "mm²", 10_000),
    _finding(
        "microsatellites",
        "Microsatellites",
        "Spread",
        {"present": "present (would be pN1c)", "not_identified": "not identified"},
        help="they do not change pT",
        expected="invasive",
    ),
    _finding("lymphovascular_invasion", "Lymphovascular invasion", "Spread", expected="invasive"),
    _finding("perineural_invasion", "Neurotropism or perineural invasion", "Spread", expected="invasive"),
    _finding(
        "lymphocytes",
        "Tumor-infiltrating lymphocytes",
        "Host response",
        {"absent": "absent", "non_brisk": "non-brisk", "brisk": "brisk"},
        expected="invasive",
    ),
    _finding(
        "regression",
        "Regression",
        "Host response",
        {"not_identified": "not identified", "below_75": "present, below 75 %", "from_75": "present, 75 % or more"},
        expected="invasive",
    ),
    *_margin_fields(),
    _finding("associated_nevus", "Associated nevus", "Further findings"),
    _finding("pigmentation", "Pigmentation", "Further findings"),
    _finding("solar_elastosis", "Solar elastosis", "Further findings"),
    SynopticField(
        "comment",
        "Comment",
        "Further findings",
        "text",
        help="exported as written: enter no name and no date",
    ),
)
FIELDS_BY_NAME: Mapping[str, SynopticField] = {one.name: one for one in FIELDS}
