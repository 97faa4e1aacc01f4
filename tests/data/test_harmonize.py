from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.table_schema import COLUMN_NAMES, COLUMNS, check_value, find_column
from napari_melanoma.data.taxonomy import TAXONOMY_FOLDER, load_taxonomy, read_taxonomy_rows
from napari_melanoma.io.tables import iterate_rows


@dataclass(frozen=True)
class Case:
    name: str
    row: dict[str, str]
    expected: dict[str, str]
    source: str = ""
    unmapped: dict[str, dict[str, int]] = field(default_factory=dict)
    impossible: dict[str, dict[str, int]] = field(default_factory=dict)
    disagreements: tuple[str, ...] = ()


NEVUS = {"diagnosis": "nevus", "target": "0", "melanoma": "0"}
CASES = [
    Case(
        "a row of ISIC 2024",
        {
            "isic_id": "ISIC_1",
            "age_approx": "45.0",
            "sex": "male",
            "anatom_site_general": "lower extremity",
            "image_type": "TBP tile: close-up",
            "tbp_lv_location": "Left Leg - Upper",
            "copyright_license": "CC-BY",
        },
        {
            "image_id": "ISIC_1",
            "age": "45",
            "sex": "male",
            "site": "lower extremity",
            "sub_site": "thigh",
            "laterality": "left",
            "modality": "tbp_tile",
            "licence": "CC-BY",
            "tbp_lv_location": "Left Leg - Upper",
        },
    ),
    Case(
        "a row of PAD-UFES-20",
        {"img_id": "PAT_1_2_3.png", "region": "ARM", "fitspatrick": "3.0", "diagnostic": "NEV", "biopsed": "True"},
        {
            "image_id": "PAT_1_2_3",
            "site": "upper extremity",
            "fitzpatrick": "3",
            **NEVUS,
            "diagnosis_by": "histopathology",
            "biopsed": "True",
            "source": "pad-ufes-20",
        },
        source="pad-ufes-20",
    ),
    Case(
        "a row of HAM10000",
        {"dx": "mel", "dx_type": "histo", "localization": "foot", "dataset": "rosendahl"},
        {
            "diagnosis": "melanoma",
            "target": "1",
            "melanoma": "1",
            "diagnosis_by": "histopathology",
            "site": "lower extremity",
            "sub_site": "foot",
            "dataset": "rosendahl",
        },
    ),
    Case("an age of 430", {"age": "430"}, {"age_as_given": "430"}, impossible={"age": {"430": 1}}),
    Case("a sex with a blank", {"Sex": "f "}, {"sex": "female"}),
    Case(
        "a site in another language",
        {"Lokalisation": "linker Oberschenkel"},
        {"site": "lower extremity"} | {"sub_site": "thigh", "laterality": "left"},
    ),
    Case("an unknown word", {"site": "Glabella"}, {"site_as_given": "Glabella"}, unmapped={"site": {"Glabella": 1}}),
    Case("a decimal comma", {"diameter_1": "2,5"}, {"diameter_1_mm": "2.5"}),
    Case("a unit of its own", {"mel_thick": "0.3 mm", "Age (months)": "18 months"}, {"depth_mm": "0.3", "age": "1.5"}),
    Case(
        "a unit in the header", {"Age (months)": "18", "Diameter_1 [cm]": "0,8"}, {"age": "1.5", "diameter_1_mm": "8"}
    ),
    Case("a unit in header and cell", {"Diameter_1 (cm)": "8 mm"}, {"diameter_1_mm": "8"}),
    Case("no unit in brackets", {"Age (at biopsy)": "45"}, {"age": "45"}),
    Case("a unit of something else", {"Age (mm)": "4"}, {"age_as_given": "4 mm"}, unmapped={"age": {"4 mm": 1}}),
    Case(
        "impossible in its unit",
        {"diameter_1 (cm)": "80"},
        {"diameter_1_mm_as_given": "80 cm"},
        impossible={"diameter_1_mm": {"80 cm": 1}},
    ),
    Case("an age cap", {"age_approx": "85+"}, {"age": "85"}),
    Case("what a pathologist does not find", {"ulceration": "Not identified"}, {"ulceration": "0"}),
    Case(
        "a side is no place",
        {"site": "thigh", "laterality": "left side"},
        {"site": "lower extremity", "sub_site": "thigh", "laterality": "left"},
    ),
    Case(
        "cancer of the epidermis is no melanoma",
        {"diagnosis": "NMSC"},
        {"diagnosis_as_given": "NMSC", "target": "1", "melanoma": "0"},
    ),
    Case(
        "how a nevus grows",
        {"diagnosis": "nevus", "nevus_type": "spitz", "nevus_growth_pattern": "compound"},
        {**NEVUS, "diagnosis_detail": "spitz nevus", "nevus_type": "spitz", "nevus_growth_pattern": "compound"},
    ),
    Case("a unit with spaces", {"mel_mitotic_index": "3 per mm²"}, {"mitoses_per_mm2": "3"}),
    Case(
        "an area where a density is expected",
        {"mel_mitotic_index": "3 mm2"},
        {"mitoses_per_mm2_as_given": "3 mm2"},
        unmapped={"mitoses_per_mm2": {"3 mm2": 1}},
    ),
    Case("a unit with spaces around the slash", {"mitoses_per_mm2": "3 / mm^2"}, {"mitoses_per_mm2": "3"}),
    Case(
        "half of a unit",
        {"mel_mitotic_index": "3 per"},
        {"mitoses_per_mm2_as_given": "3 per"},
        unmapped={"mitoses_per_mm2": {"3 per": 1}},
    ),
    Case("an age of DICOM", {"PatientAge": "045Y"}, {"age": "45"}),
    Case(
        "a number that is only a bound",
        {"mel_mitotic_index": "<1/mm^2"},
        {"mitoses_per_mm2_as_given": "<1/mm^2"},
        unmapped={"mitoses_per_mm2": {"<1/mm^2": 1}},
    ),
    Case("unknown values", {"sex": "unknown", "age": "NA", "patient_id": "n/a", "diagnosis": "unk"}, {}),
    Case(
        "two columns of one kind",
        {"age": "50", "age_approx": "45"},
        {"age": "50", "age_approx": "45"},
        disagreements=("age_approx contradicts age",),
    ),
    Case("two columns that agree", {"age": "50", "age_approx": "50.0"}, {"age": "50"}),
    Case("the first is empty", {"age": "", "age_approx": "45"}, {"age": "45"}),
    Case("a subtype", {"diagnosis": "Dysplastic nevus"}, {**NEVUS, "diagnosis_detail": "dysplastic nevus"}),
    Case(
        "a subtype in another column",
        {"diagnosis": "melanoma", "mel_class": "melanoma in situ", "mel_type": "NA"},
        {
            "diagnosis": "melanoma",
            "diagnosis_detail": "melanoma in situ",
            "target": "1",
            "melanoma": "1",
            "mel_class": "melanoma in situ",
            "mel_type": "NA",
        },
    ),
    Case(
        "less than a diagnosis",
        {"diagnosis": "benign"},
        {"diagnosis_as_given": "benign"} | {"target": "0", "melanoma": "0"},
    ),
    Case("a malignancy alone", {"benign_malignant": "malignant"}, {"target": "1"}),
    Case("a melanoma is malignant", {"melanoma": "True"}, {"melanoma": "1", "target": "1"}),
    Case(
        "no melanoma is benign",
        {"melanoma": "1", "benign_malignant": "benign"},
        {"melanoma": "1", "target": "0"},
        disagreements=("target contradicts melanoma",),
    ),
    Case("a label that is a number", {"label": "1"}, {"label": "1"}),
    Case("a label that is a word", {"label": "psoriasis"}, {"diagnosis": "psoriasis", "target": "0", "melanoma": "0"}),
    Case("an unknown label", {"label": "type A"}, {"label": "type A"}, unmapped={"label": {"type A": 1}}),
    Case(
        "a class that contradicts the diagnosis",
        {"class": "malignant", "dx": "NV"},
        {"class": "malignant", **NEVUS},
        disagreements=("class contradicts diagnosis",),
    ),
    Case(
        "a class that the diagnosis implies", {"class": "benign", "diagnosis_1": "NV"}, {**NEVUS, "diagnosis_1": "NV"}
    ),
    Case(
        "the target of lesion-size-2020 is melanoma",
        {"diagnosis": "epithelial malignant", "target": "0"},
        {"diagnosis_as_given": "epithelial malignant", "melanoma": "0", "target": "1", "source": "lesion-size-2020"},
        source="lesion-size-2020",
    ),
    Case(
        "a row's own target counts",
        {"diagnosis": "actinic keratosis", "target": "1"},
        {"diagnosis": "actinic keratosis", "target": "1", "melanoma": "0"},
        disagreements=("target contradicts the diagnosis",),
    ),
    Case(
        "a path of words whose last one is not known",
        {"iddx_full": "Benign::Benign melanocytic proliferations::Nevus::Nevus, odd"},
        {**NEVUS, "iddx_full": "Benign::Benign melanocytic proliferations::Nevus::Nevus, odd"},
        unmapped={"diagnosis": {"Benign::Benign melanocytic proliferations::Nevus::Nevus, odd": 1}},
    ),
    Case(
        "a path of words",
        {"iddx_full": "Malignant::Malignant melanocytic proliferations (Melanoma)::Melanoma in situ", "target": "1"},
        {
            "diagnosis": "melanoma",
            "diagnosis_detail": "melanoma in situ",
            "target": "1",
            "melanoma": "1",
            "iddx_full": "Malignant::Malignant melanocytic proliferations (Melanoma)::Melanoma in situ",
        },
    ),
    Case(
        "our own columns come first",
        {"dx": "invasive melanoma", "diagnosis": "melanoma in situ", "region": "forehead", "site": "scalp"},
        {
            "diagnosis": "melanoma",
            "diagnosis_detail": "melanoma in situ",
            "target": "1",
            "melanoma": "1",
            "dx": "invasive melanoma",
            "site": "head/neck",
            "sub_site": "scalp",
            "region": "forehead",
        },
        disagreements=("dx contradicts diagnosis", "region contradicts site"),
    ),
    Case("what was not understood once", {"sex_as_given": "weiblich"}, {"sex": "female"}),
    Case("a depth of each reader", {"depth_mm_reader_2": "1,2"}, {"depth_mm_reader_2": "1.2"}),
    Case("the second column of one name fills a gap", {"age": "", "age (2)": "33"}, {"age": "33"}),
    Case(
        "two columns of one name that differ",
        {"sex": "f", "sex (2)": "m", "Age (months)": "18", "Age (months) (2)": "30"},
        {"sex": "female", "sex (2)": "m", "age": "1.5", "Age (months) (2)": "30 months"},
        disagreements=("Age (months) (2) contradicts age", "sex (2) contradicts sex"),
    ),
    Case("columns of its own", {"drink": "UNK", "smoke": ""}, {"drink": "UNK"}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows(case: Case) -> None:
    found = harmonize_rows([case.row], case.source)
    assert found.rows == [case.expected]
    assert found.report.unmapped == case.unmapped
    assert found.report.impossible == case.impossible
    assert tuple(found.report.disagreements) == case.disagreements


def test_the_report_lists_what_to_review() -> None:
    rows = [
        {"image": "a", "sex": "x", "note": "", "region": "arm"},
        {"image": "a.jpg", "sex": "x", "note": "", "region": "leg"},
        {"image": "b", "sex": "o", "note": "", "region": "leg"},
    ]
    report = harmonize_rows(rows).report
    assert report.rows == 3
    assert report.columns == {"image": ("image_id",), "sex": ("sex",), "region": ("site",)}
    assert report.own == ("note",)
    assert report.known["site"] == 3
    assert list(report.describe_findings()) == [
        ("sex", "3 cells are not understood and kept in sex_as_given: 'x' (2), 'o' (1); rows a, a, b"),
        ("image_id", "1 id occurs in several rows: 'a' (2)"),
        ("note", "no row has a value in this column"),
    ]


def test_an_id_with_an_outside_path_is_changed_and_reported() -> None:
    given = ("../../evil", "/etc/passwd.png", "C:\\x\\y.jpg", "a/b.jpg", "c.jpg", "d")
    found = harmonize_rows([{"image": name} for name in given])
    assert [row["image_id"] for row in found.rows] == ["evil", "passwd", "y", "b", "c", "d"]
    assert found.report.renamed == {"../../evil": "evil", "/etc/passwd.png": "passwd", "C:\\x\\y.jpg": "y"}
    ((about, message),) = found.report.describe_findings()
    assert about == "image_id"
    assert message.startswith("3 ids were changed, because an id must not name a path")
    assert "'../../evil' is now 'evil'" in message


def test_a_file_path_is_not_a_renamed_id() -> None:
    found = harmonize_rows([{"image_id": "a", "path": "/data/a.png", "notes": "../b/a.png"}])
    assert (found.rows[0]["image_id"], found.report.renamed) == ("a", {})


def test_rows_without_an_id_are_named_by_their_number() -> None:
    report = harmonize_rows([{"age": age} for age in ("40", "430", "-1", "999", "555")]).report
    assert report.rows_of == {"unmapped": {}, "impossible": {"age": ("2", "3", "4")}}
    ((_, message), *_) = report.describe_findings()
    assert message.endswith("; rows 2, 3, 4 and 1 more")


TEXTS = st.sampled_from(
    [
        *("", " ", "unknown", "NA", "NV", "mel", "lentigo maligna", "benign", "malignant", "indeterminate", "BCC"),
        *("Benign::Nevus", "Benign::Nevus::odd", "left arm", "chest", "torso", "Torso Back Top Third", "ear", "right"),
        *("glabella", "f ", "m", "430", "45", "45.0", "2,5", "-1", "0", "1", "True", "no", "III", "0.3 mm", "<1/mm2"),
        *("85+", "left side", "x; y", "a.jpg", "b/c.tif.jpg", "histo"),
    ]
)
HEADERS = [
    *(row["source"] for row in read_taxonomy_rows(TAXONOMY_FOLDER / "columns.csv")),
    *(*COLUMN_NAMES, *(f"{name}_as_given" for name in COLUMN_NAMES), "depth_mm_reader_1", "drink"),
    *("Age (months)", "Diameter_1 [cm]", "Ulceration (y)"),
]
TABLES = st.lists(st.dictionaries(st.sampled_from(sorted(set(HEADERS))), TEXTS, max_size=8), max_size=6)
SOURCES = st.sampled_from(["", "pad-ufes-20", "lesion-size-2020", "fitzpatrick17k", "isic2024"])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(TABLES, SOURCES)
def test_harmonizing_twice_changes_nothing_and_no_row_is_lost(rows: list[dict[str, str]], source: str) -> None:
    once = harmonize_rows(rows, source)
    assert len(once.rows) == len(rows) == once.report.rows
    assert harmonize_rows(once.rows, source).rows == once.rows
    assert harmonize_rows(once.rows).rows == once.rows


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(sorted(set(HEADERS))), TEXTS, max_size=8), SOURCES)
def test_every_cell_is_standard_or_kept(row: dict[str, str], source: str) -> None:
    found = harmonize_rows([row], source)
    for name, text in found.rows[0].items():
        column = find_column(name)
        assert column is None or check_value(column, text) == ""
    kept = "; ".join(found.rows[0].values())
    for words in (*found.report.unmapped.values(), *found.report.impossible.values()):
        assert all(word in kept for word in words)


def test_a_row_is_understood_by_itself() -> None:
    rows = [case.row for case in CASES]
    assert harmonize_rows(rows).rows == [harmonize_rows([row]).rows[0] for row in rows]


REAL = {
    "HAM10000_metadata.csv": ("ham10000", 10015),
    "ISIC_2019_Training_Metadata.csv": ("isic2019", 25331),
    "ISIC_2020_Training_GroundTruth_v2.csv": ("isic2020", 33126),
    "ISIC_2024_ex_pathology_metadata.csv": ("isic2024", 103),
    "ISIC_2024_label_list_49025.csv": ("isic2024", 49025),
    "ISIC_2024_test-metadata_sample.csv": ("isic2024", 3),
    "PAD-UFES-20_metadata.csv": ("pad-ufes-20", 2298),
    "fitzpatrick17k.csv.gz": ("fitzpatrick17k", 16577),
    "lesion-size-2020_data_joined.csv": ("lesion-size-2020", 1295),
    "lesion-size-2020_metadata.csv": ("lesion-size-2020", 1295),
}


@pytest.mark.parametrize("name", REAL)
def test_real_tables(shared_data, name: str) -> None:
    source, count = REAL[name]
    rows = list(iterate_rows(shared_data / "metadata" / name))
    some = rows[:: max(1, count // 1000)]
    found = harmonize_rows(some, source)
    assert len(rows) == count
    assert set(found.report.unmapped) <= {"mitoses_per_mm2"}  # some are bounds, such as <1
    assert set(found.report.impossible) <= {"diameter_1_mm", "diameter_2_mm"}  # some are 0
    assert harmonize_rows(found.rows[:100], source).rows == found.rows[:100]


def test_the_schema_has_every_word_that_it_needs() -> None:
    for column in COLUMNS:
        if column.kind == "word":
            assert len(load_taxonomy(column.taxonomy).words) > 2
