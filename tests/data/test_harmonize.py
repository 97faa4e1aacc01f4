from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError, InputError
from napari_melanoma.data import harmonize
from napari_melanoma.data.check import MAX_SAMPLES, PREVIEW_ROWS, preview_table, survey_table
from napari_melanoma.data.dataset import REVIEWS, PackedRow
from napari_melanoma.data.harmonize import ROWS_PER_REPORT, HarmonizeOptions, harmonize_rows, harmonize_table
from napari_melanoma.data.merging import DatasetRow, MergeConflict, group_by_image, identify_image, merge_rows
from napari_melanoma.data.table_mapping import TableMapping, read_mapping, suggest_mapping, write_mapping
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
    Case(
        "errors of formulas",
        {"patient_id": "#REF!", "age": "#DIV/0!", "source": "#N/A"},
        {"patient_id_as_given": "#REF!", "age_as_given": "#DIV/0!"},
        unmapped={"patient_id": {"#REF!": 1}, "age": {"#DIV/0!": 1}},
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


MINE = TableMapping(
    columns={"Bild": "image_id", "Befund": "diagnosis", "Notiz": ""}, words={"diagnosis": {"MM": "melanoma"}}
)


def test_columns_and_values_are_mapped() -> None:
    row = {"Bild": "a", "Befund": " MM ", "Notiz": "seen twice", "camera": "X"}
    assert MINE.apply(row) == {"image_id": "a", "diagnosis": "melanoma", "camera": "X"}


def test_of_two_columns_mapped_to_one_the_first_value_counts() -> None:
    mapping = TableMapping(columns={"a": "site", "b": "site"})
    assert mapping.apply({"a": "", "b": "ear"}) == mapping.apply({"a": "ear", "b": "ear"}) == {"site": "ear"}
    assert mapping.apply({"a": "ear", "b": "nose"}) == {"site": "ear", "b": "nose"}
    assert mapping.apply({"b": "ear", "site": "nose"}) == {"site": "ear", "other_site": "nose"}


@pytest.mark.parametrize(
    ("given", "own", "text", "expected"),
    [
        ("Durchmesser (cm)", "diameter_1_mm", "2,5", "25"),
        ("DurchmesserCm", "diameter_1_mm", "2,5", "25"),
        ("diameter_1_cm", "diameter_1_mm", "2.5", "25"),
        ("Dicke [µm]", "depth_mm", "800", "0.8"),
        ("AlterMonate", "age", "18", "1.5"),
        ("Durchmesser (cm)", "diameter_1_mm", "8 mm", "8"),
        ("Durchmesser", "diameter_1_mm", "8", "8"),
        ("Alter_M", "age", "60", "60"),
    ],
)
def test_a_mapped_column_keeps_the_unit_of_its_name(given: str, own: str, text: str, expected: str) -> None:
    mapped = TableMapping(columns={given: own}).apply({given: text})
    assert harmonize_rows([mapped]).rows[0] == {own: expected}


def test_an_unknown_number_gets_no_unit() -> None:
    mapped = TableMapping(columns={"Durchmesser (cm)": "diameter_1_mm"}).apply({"Durchmesser (cm)": "nan"})
    found = harmonize_rows([mapped])
    assert found.rows == harmonize_rows([{"diameter_1_mm": "nan"}]).rows
    assert not found.report.unmapped


def test_a_mapping_is_kept_as_toml(tmp_path: Path) -> None:
    write_mapping(tmp_path / "mine.toml", MINE)
    assert read_mapping(tmp_path / "mine.toml") == MINE


def test_an_invalid_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[column]\na = 'b'\n")
    with pytest.raises(ConfigError, match=r"unknown key .column. .known: columns, words"):
        read_mapping(tmp_path / "mine.toml")


def test_columns_are_suggested_by_name_alone() -> None:
    header = ("Image Name", "age (years)", "F/M", "where", "Diagnsis", "camera")
    expected = {"Image Name": "image_id", "age (years)": "age", "Diagnsis": "diagnosis"}
    assert suggest_mapping(header).columns == expected


def test_mapped_values_apply_to_the_original_column_name() -> None:
    assert TableMapping(words={"sex": {"W": "female"}}).apply({"Geschlecht": "W"}) == {"Geschlecht": "female"}


def test_each_column_is_suggested_once_and_known_names_first() -> None:
    assert suggest_mapping(("age", "age_approx")).columns == {"age": "age"}
    assert suggest_mapping(("Gendr", "gender")).columns == {"gender": "sex"}


@pytest.mark.parametrize(
    "row",
    [
        {"diagnosis_1": "Malignant", "diagnosis_2": "Malignant melanocytic proliferations", "diagnosis_3": "Melanoma"},
        {"age": "", "age (2)": "54"},
        {"Alter": "", "Lebensalter": "54"},
        {"anatom_site_general": "anterior torso", "anatom_site_special": "chest", "Diagnsis": "nevus"},
        {"mpp": "0.5", "Befund": "Nävus", "Durchmesser (cm)": "1.2", "Seite": "links"},
        {"diagnosis_1": "Benign", "Diagnsis": "nevus", "dx": "mel"},
    ],
    ids=lambda row: ",".join(row),
)
def test_the_suggested_mapping_understands_no_less_than_the_names(row: dict[str, str]) -> None:
    named = harmonize_rows([row]).rows[0]
    suggested = harmonize_rows([suggest_mapping(row).apply(row)]).rows[0]
    assert named.items() - suggested.items() <= {item for item in row.items() if item[0] not in suggested}


@pytest.mark.parametrize(
    ("given", "own"),
    [
        ("Pat-Nr", "patient_id"),
        ("Phototyp", "fitzpatrick"),
        ("Lokalisierung", "site"),
        ("Modalität", "modality"),
        ("Körperseite", "laterality"),
        ("ulceración", "ulceration"),
        ("épaisseur de Breslow", "depth_mm"),
    ],
)
def test_columns_in_other_languages_are_known_by_name(given: str, own: str) -> None:
    assert suggest_mapping([given]).columns == {given: own}


def written(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_preview_shows_different_values_of_each_column(tmp_path):
    rows = [f"i{n};{('f', 'm')[n % 2]};;{n}" for n in range(20)]
    found = preview_table(written(tmp_path / "t.csv", ["name;Gender;empty;no", *rows]))
    assert list(found.samples) == ["name", "Gender", "empty", "no"]
    assert found.samples["Gender"] == ("f", "m")
    assert found.samples["empty"] == ()
    assert len(found.samples["no"]) == MAX_SAMPLES
    assert found.guess.columns["Gender"] == "sex"


def test_the_survey_reads_every_row(tmp_path):
    """A word that comes after what the preview looks at is counted too."""
    lines = ["image_id,place"] + [f"i{n},{'elbow' if n < PREVIEW_ROWS else 'dolphin'}" for n in range(PREVIEW_ROWS + 3)]
    path = written(tmp_path / "t.csv", lines)
    report = survey_table(path, TableMapping(columns={"place": "site"}), run=RunContext())
    assert report.rows == PREVIEW_ROWS + 3
    assert report.unmapped == {"site": {"dolphin": 3}}
    words = TableMapping(columns={"place": "site"}, words={"site": {"dolphin": "knee"}})
    assert not survey_table(path, words, run=RunContext()).unmapped


def test_the_survey_reports_and_can_be_cancelled(tmp_path):
    path = written(tmp_path / "t.csv", ["image_id", *(f"i{n}" for n in range(3 * ROWS_PER_REPORT))])
    seen = []
    run = RunContext(seen.append)
    assert survey_table(path, TableMapping(), run=run).rows == 3 * ROWS_PER_REPORT
    assert [progress.done for progress in seen] == [ROWS_PER_REPORT, 2 * ROWS_PER_REPORT, 3 * ROWS_PER_REPORT]
    run.cancel()
    with pytest.raises(Cancelled):
        survey_table(path, TableMapping(), run=run)


def test_a_table_without_rows_is_reported(tmp_path):
    with pytest.raises(DataSetError, match="has no rows: expected a header"):
        preview_table(written(tmp_path / "t.csv", ["image_id,age"]))


def origins(*rows: dict[str, str], image_id: str = "ISIC_0000001") -> list[DatasetRow]:
    return [DatasetRow(PackedRow(row), f"set{n}", image_id, (-n,)) for n, row in enumerate(rows)]


SAME = {
    "the archive's name": (("ISIC_0000001", "isic2017"), ("ISIC_0000001", "isic2019"), True),
    "a smaller copy of it": (("ISIC_0000001", "isic2017"), ("ISIC_0000001_downsampled", "isic2019"), True),
    "the name in another case": (("ISIC_0000001", "isic2017"), ("isic_0000001", "mine"), True),
    "another archive": (("PAT_1_2_3", "pad_ufes"), ("PAT_1_2_3", "pad-ufes-20"), True),
    "one public set twice": (("A1", "dermofit"), ("A1", "dermofit"), True),
    "a short name of one set": (("IMD003", "ph2"), ("IMD003", "mine"), False),
    "a name of two sets": (("A1", "dermofit"), ("A1", "mine"), False),
    "nearly the archive's name": (("ISIC_1", "a"), ("ISIC_1", "b"), False),
}


@pytest.mark.parametrize(("one", "other", "same"), SAME.values(), ids=list(SAME))
def test_which_rows_are_about_one_image(one: tuple[str, str], other: tuple[str, str], same: bool) -> None:
    assert (identify_image(*one) == identify_image(*other)) is same


UNITED = {
    "what is open is filled in": ([{"age": "50"}, {"sex": "male"}], {"age": "50", "sex": "male"}, []),
    "unknown is open": ([{"sex": "unknown"}, {"sex": "male"}], {"sex": "male"}, []),
    "unknown is no contradiction": ([{"sex": "male"}, {"sex": "unknown"}], {"sex": "male"}, []),
    "the more exact word counts": (
        [{"site": "torso"}, {"site": "anterior torso", "sub_site": "chest"}],
        {"site": "anterior torso", "sub_site": "chest"},
        [],
    ),
    "the more exact diagnosis brings what follows from it": (
        [
            {"diagnosis": "actinic keratosis or intraepithelial carcinoma", "melanoma": "0"},
            {"diagnosis": "actinic keratosis", "target": "0", "melanoma": "0"},
        ],
        {"diagnosis": "actinic keratosis", "target": "0", "melanoma": "0"},
        [],
    ),
    "the vaguer one changes nothing": ([{"site": "anterior torso"}, {"site": "torso"}], {"site": "anterior torso"}, []),
    "a number written otherwise": ([{"age": "50"}, {"age": "50.0"}], {"age": "50"}, []),
    "a contradiction": ([{"age": "50"}, {"age": "55"}], {"age": "50"}, ["age"]),
    "the sets' own affairs": ([{"source": "a", "split": "train"}, {"source": "b", "split": "test"}], {}, []),
    "a column of its own": ([{"camera": "X"}, {"camera": "Y"}], {"camera": "X"}, ["camera"]),
    "nothing follows from diagnoses that differ": (
        [
            {"diagnosis": "nevus", "target": "0"},
            {"diagnosis": "melanoma", "diagnosis_detail": "nodular melanoma", "age": "50"},
        ],
        {"diagnosis": "", "target": "", "age": "50", "diagnosis_labels": ANY},
        ["diagnosis", "diagnosis", "diagnosis_detail", "target"],
    ),
    "nor a diagnosis against the target": (
        [{"target": "0"}, {"target": "1", "diagnosis": "melanoma"}],
        {"target": "0"},
        ["target", "diagnosis"],
    ),
}


@pytest.mark.parametrize(("rows", "expected", "columns"), UNITED.values(), ids=list(UNITED))
def test_rows_are_united(rows: list[dict[str, str]], expected: dict[str, str], columns: list[str]) -> None:
    row, conflicts = merge_rows(origins(*rows))
    assert row == {**rows[0], **expected, "also_in": "set1"}
    assert [one.column for one in conflicts] == columns


def test_a_conflict_names_both_sources() -> None:
    _, conflicts = merge_rows(origins({}, {"age": "50"}, {"age": "55"}))
    assert conflicts == [MergeConflict("ISIC_0000001", "age", "50", "set1", "55", "set2")]


def test_rows_of_one_data_set_stay_apart() -> None:
    rows = [DatasetRow(PackedRow({}), "mine", name, (0,)) for name in ("ISIC_0000001", "ISIC_0000001_downsampled")]
    assert [len(group) for group in group_by_image(rows)] == [1, 1]


WORDS = {
    "age": st.sampled_from(["40", "40.0", "41"]),
    "site": st.sampled_from(load_taxonomy("site").words),
    "diagnosis": st.sampled_from(["nevus", "melanoma", "unknown"]),
    "target": st.sampled_from(["0", "1"]),
    "camera": st.sampled_from(["X", "Y"]),
}
ROWS = st.lists(st.fixed_dictionaries({}, optional=WORDS), min_size=1, max_size=4)


@settings(max_examples=50)
@given(ROWS)
def test_known_values_are_kept(rows: list[dict[str, str]]) -> None:
    row, conflicts = merge_rows(origins(*rows))
    for number, member in enumerate(rows):
        for column, text in member.items():
            listed = any((one.column, one.other, one.other_from) == (column, text, f"set{number}") for one in conflicts)
            below = column == "site" and load_taxonomy("site").is_within(row[column], text)
            same = column == "age" and float(row[column]) == float(text)
            assert row.get(column) == text or text == "unknown" or listed or below or same


@settings(max_examples=40)
@given(st.fixed_dictionaries({}, optional=WORDS))
def test_a_row_united_with_itself_stays_as_it_is(row: dict[str, str]) -> None:
    again, conflicts = merge_rows(origins(row, row))
    assert not conflicts
    assert {column: text for column, text in again.items() if column != "also_in"} == row


CLINIC = (
    "Bild;Patientennummer;Alter;Geschlecht;Lokalisation;Durchmesser;Bemerkung\r\n"
    "IMG_1.jpg;17;430;f ;linker Rücken;2,5;\r\n"
    "IMG_2.jpg;17;45;weiblich;Glabella;;groß\r\n"
    "IMG_2.jpg;18;;;;;\r\n"
)
MAPPING = TableMapping(columns={"Durchmesser": "diameter_1_mm"}, words={"site": {"Glabella": "head/neck"}})


def harmonized(table: Path, out: Path, **options: object) -> list[dict[str, str]]:
    harmonize_table(table, out, HarmonizeOptions.parse(options, "the test"), run=RunContext())
    return [{column: text for column, text in row.items() if text} for row in iterate_rows(out)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "clinic.csv").write_bytes(CLINIC.encode("cp1252"))
    return tmp_path / "clinic.csv"


def test_a_table_of_a_clinic(table: Path) -> None:
    out = table.with_name("out.csv")
    report = harmonize_table(table, out, HarmonizeOptions(mapping=MAPPING), run=RunContext())
    assert harmonized(out, table.with_name("again.csv")) == [
        {
            "image_id": "IMG_1",
            "patient_id": "17",
            "age_as_given": "430",
            "sex": "female",
            "site": "posterior torso",
            "laterality": "left",
            "diameter_1_mm": "2.5",
        },
        {
            "image_id": "IMG_2",
            "patient_id": "17",
            "age": "45",
            "sex": "female",
            "site": "head/neck",
            "Bemerkung": "groß",
        },
        {"image_id": "IMG_2", "patient_id": "18"},
    ]
    assert out.read_bytes() == table.with_name("again.csv").read_bytes()
    assert tuple(next(iterate_rows(out)))[: len(COLUMN_NAMES)] == COLUMN_NAMES
    assert (report.rows, report.duplicates, report.impossible) == (3, {"IMG_2": 2}, {"age": {"430": 1}})


def test_without_a_mapping_a_word_is_kept(table: Path) -> None:
    row = harmonized(table, table.with_name("out.csv"))[1]
    assert (row["site_as_given"], "site" in row) == ("Glabella", False)


def test_paths_are_adapted_to_the_new_folder(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,path,mask_path\na,images/a.jpg,/elsewhere/a.png\n")
    (tmp_path / "new").mkdir()
    (row,) = harmonized(tmp_path / "t.csv", tmp_path / "new" / "out.csv")
    assert row == {"image_id": "a", "path": "../images/a.jpg", "mask_path": "/elsewhere/a.png"}
    (row,) = harmonized(tmp_path / "t.csv", tmp_path / "out.csv")
    assert row["path"] == "images/a.jpg"


def test_a_column_that_a_later_row_adds(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,sex\na,f\nb,x\nc,m\n")
    harmonized(tmp_path / "t.csv", tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert {line.count(",") for line in lines} == {len(COLUMN_NAMES)}
    assert lines[0].endswith(",sex_as_given")
    assert lines[2].endswith(",x")


def test_the_table_itself_stays(table: Path) -> None:
    with pytest.raises(InputError, match="is the table itself"):
        harmonized(table, table)


def test_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image_id,sex\n")
    with pytest.raises(DataSetError, match="at least one row below its header"):
        harmonized(tmp_path / "t.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_it_stops_on_request(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harmonize, "ROWS_PER_REPORT", 1)
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        harmonize_table(table, table.with_name("out.csv"), HarmonizeOptions(), run=run)
    assert not table.with_name("out.csv").exists()


def test_unknown_values_of_split_and_review_are_kept_and_reported() -> None:
    """A row without a split could be trained on, and so could a mask without a review state."""
    cells = (("a", "tset", "Corrected"), ("b", "val", "ok"))
    found = harmonize_rows({"image_id": name, "split": split, "review": review} for name, split, review in cells)
    assert [(row["split"], row["review"]) for row in found.rows] == [("tset", "Corrected"), ("val", "ok")]
    assert [(column, message.split(".")[0]) for column, message in found.report.describe_findings()] == [
        ("split", "1 cell is not understood and kept in split: 'tset' (1); row a"),
        ("review", "1 cell is not understood and kept in review: 'ok' (1); row b"),
    ]
    assert harmonize_rows(found.rows).rows == found.rows
    review = find_column("review")
    assert review is not None
    assert review.expected == REVIEWS
