from __future__ import annotations

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.data import taxonomy as module
from napari_melanoma.data.cell_values import (
    BodySite,
    Diagnosis,
    expand_diagnosis,
    merge_body_sites,
    parse_body_site,
    translate_diagnosis,
)
from napari_melanoma.data.collections import list_sources
from napari_melanoma.data.table_mapping import suggest_column
from napari_melanoma.data.table_schema import COLUMN_NAMES, COLUMNS, check_value, find_column, format_field_value
from napari_melanoma.data.taxonomy import (
    TAXONOMY_FOLDER,
    UNKNOWN,
    list_taxonomies,
    load_taxonomy,
    normalize_wording,
    normalized_spellings,
    read_taxonomy_rows,
)

TRANSLATIONS = [
    ("diagnosis", "NV", "nevus"),
    ("diagnosis", " akiec ", "actinic keratosis or intraepithelial carcinoma"),
    ("diagnosis", "Melanoma, NOS", "melanoma"),
    ("diagnosis", "melanoma in-situ", "melanoma in situ"),
    ("diagnosis", "Lentigo_Maligna", "lentigo maligna"),
    ("diagnosis", "Lichen planus", "lichen planus"),
    ("diagnosis", "Basalzellkarzinom", "basal cell carcinoma"),
    ("diagnosis", "no such thing", None),
    ("diagnosis", "Melanom?", None),
    ("diagnosis", "? melanoma", None),
    ("diagnosis", "??", UNKNOWN),
    ("sex", "FEMALE", "female"),
    ("sex", "f ", "female"),
    ("sex", "männlich", "male"),
    ("sex", "maennlich", "male"),
    ("sex", "mannlich", "male"),
    ("sex", "Unk", UNKNOWN),
    ("sex", "", UNKNOWN),
    ("sex", "other", None),
    ("site", "FOREARM", "upper extremity"),
    ("site", "acral", "palms/soles"),
    ("site", "Rücken", "posterior torso"),
    ("sub_site", "Fußsohle", "sole"),
    ("sub_site", "avant-bras", "forearm"),
    ("sub_site", "cuero cabelludo", "scalp"),
    ("sub_site", "couro cabeludo", "scalp"),
    ("sub_site", "caviglia", "ankle"),
    ("sub_site", "bovenbeen", "thigh"),
    ("modality", "TBP tile: close-up", "tbp_tile"),
    ("modality", "clinical: overview", "macroscopic"),
    ("fitzpatrick", "Hauttyp IV", "4"),
    ("fitzpatrick", "-1", UNKNOWN),
    ("diagnosis_by", "single image expert consensus", "consensus"),
    ("yes_no", "Não", "0"),
    ("clark", "III", "3"),
]


@pytest.mark.parametrize(("name", "given", "own"), TRANSLATIONS, ids=[f"{n} {t}" for n, t, _ in TRANSLATIONS])
def test_foreign_values(name: str, given: str, own: str | None) -> None:
    assert load_taxonomy(name).translate(given) == own


@pytest.mark.parametrize("name", list_taxonomies())
def test_every_value_maps_to_itself_and_has_a_title(name: str) -> None:
    words = load_taxonomy(name)
    assert words.words[-1] == UNKNOWN
    for word in words.words:
        assert words.translate(word) == word
        assert words.title(word)


def test_columns_name_taxonomies_that_are_there() -> None:
    assert {column.taxonomy for column in COLUMNS} - {""} <= set(list_taxonomies())
    assert all(column.title and column.description.endswith(".") for column in COLUMNS)


def test_sources_may_mean_their_own() -> None:
    words = load_taxonomy("diagnosis_by")
    assert words.translate("True", "pad-ufes-20") == "histopathology"
    assert words.translate("True") is None
    assert words.translate("biopsy", "pad-ufes-20") == "histopathology"


def test_hierarchy_of_diagnoses() -> None:
    words = load_taxonomy("diagnosis")
    assert words.is_within("lentigo maligna", "melanoma")
    assert list(words.iter_ancestors("lentigo maligna")) == [
        "lentigo maligna",
        "melanoma in situ",
        "melanoma",
        "malignant",
    ]
    assert not words.is_within("melanoma", "lentigo maligna")
    sites = load_taxonomy("sub_site")
    assert {sites.parent(word) for word in sites.words[:-1]} <= set(load_taxonomy("site").words)


def test_a_taxonomy_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"no taxonomy named 'colour' \(known: clark, class_word, diagnosis"):
        load_taxonomy("colour")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("source,target,data_set,language\nlinks,left,,\nlinks,right,,\n", "'links' twice: as left and right"),
        ("source,target,data_set,language\noben,up,,\n", "'oben' as 'up', which is not in side.csv"),
    ],
)
def test_tables_that_contradict_themselves(tmp_path, monkeypatch, words: str, message: str) -> None:
    (tmp_path / "side.csv").write_text("word,parent,title\nleft,,\nright,,\n")
    (tmp_path / "side_synonyms.csv").write_text(words)
    (tmp_path / "unknown_synonyms.csv").write_text("source,target,data_set,language\nunk,unknown,,\n")
    monkeypatch.setattr(module, "TAXONOMY_FOLDER", tmp_path)
    monkeypatch.setattr(module, "list_taxonomies", lambda: ("side",))
    with pytest.raises(InputError, match=message):
        module.load_taxonomy.__wrapped__("side")


def test_comparison_of_values() -> None:
    assert normalize_wording(" Melanoma, in-situ (NOS)") == "melanoma in situ nos"
    assert normalize_wording("Außenknöchel") == "aussenknochel"
    assert normalized_spellings("Rücken") == ("rucken", "ruecken")


PLACES = [
    ("left forearm", BodySite("upper extremity", "forearm", "left")),
    ("Left Leg - Upper", BodySite("lower extremity", "thigh", "left")),
    ("Torso Back Top Third", BodySite("posterior torso", "upper back", "")),
    ("Head & Neck", BodySite("head/neck")),
    ("linker Unterarm", BodySite("upper extremity", "forearm", "left")),
    ("pierna izquierda", BodySite("lower extremity", "", "left")),
    ("antebraço direito", BodySite("upper extremity", "forearm", "right")),
    ("l'aine droite", BodySite("anterior torso", "groin", "right")),
    ("gamba sinistra", BodySite("lower extremity", "", "left")),
    ("rechter voet", BodySite("lower extremity", "foot", "right")),
    ("back of the left hand", BodySite("upper extremity", "hand", "left")),
    ("right", BodySite(laterality="right")),
    ("unknown", BodySite()),
    ("left or right arm", None),
    ("left middle finger", BodySite("upper extremity", "finger", "left")),
    ("mid back", BodySite("posterior torso")),
    ("medial thigh", None),
    ("left side", BodySite(laterality="left")),
    ("línea media", BodySite(laterality="midline")),
    ("center", BodySite(laterality="midline")),
    ("midline chest", BodySite("anterior torso", "chest", "midline")),
    ("glabella", None),
]


@pytest.mark.parametrize(("text", "expected"), PLACES, ids=[text for text, _ in PLACES])
def test_places(text: str, expected: BodySite | None) -> None:
    assert parse_body_site(text) == expected


JOINED = [
    (BodySite("torso"), BodySite("anterior torso", "chest"), BodySite("anterior torso", "chest")),
    (BodySite("anterior torso", "chest"), BodySite("torso", "", "left"), BodySite("anterior torso", "chest", "left")),
    (BodySite("lower extremity"), BodySite("", "", "left"), BodySite("lower extremity", "", "left")),
    (BodySite("lower extremity"), BodySite("head/neck", "ear"), None),
    (BodySite("", "", "left"), BodySite("", "", "right"), None),
    (BodySite("upper extremity", "hand"), BodySite("upper extremity", "wrist"), None),
]


@pytest.mark.parametrize(("first", "second", "expected"), JOINED)
def test_body_sites_from_several_columns(first: BodySite, second: BodySite, expected: BodySite | None) -> None:
    assert merge_body_sites(first, second) == expected


TRANSLATED = [
    ("mel", Diagnosis("melanoma", "", "1", "1")),
    ("lentigo maligna", Diagnosis("melanoma", "lentigo maligna", "1", "1")),
    ("dysplastic nevus", Diagnosis("nevus", "dysplastic nevus", "0", "0")),
    ("BCC", Diagnosis("basal cell carcinoma", "", "1", "0")),
    ("AIMP", Diagnosis("atypical melanocytic proliferation", "atypical intraepidermal melanocytic proliferation")),
    ("benign", Diagnosis(target="0", melanoma="0", group="benign")),
    ("malignant", Diagnosis(target="1", group="malignant")),
    ("akiec", Diagnosis("actinic keratosis or intraepithelial carcinoma", melanoma="0")),
    ("AK", Diagnosis("actinic keratosis", "", "0", "0")),
    ("NMSC", Diagnosis(target="1", melanoma="0", group="malignant epidermal")),
    ("pyogenic granuloma", Diagnosis("vascular lesion", "pyogenic granuloma", "0", "0")),
    ("CTCL", Diagnosis("cutaneous T-cell lymphoma", "", "1", "0")),
    ("Benign::Benign melanocytic proliferations::Nevus::Spitz nevus", Diagnosis("nevus", "spitz nevus", "0", "0")),
    ("no such thing", Diagnosis()),
]


@pytest.mark.parametrize(("text", "expected"), TRANSLATED, ids=[text for text, _ in TRANSLATED])
def test_expansion_of_a_diagnosis(text: str, expected: Diagnosis) -> None:
    assert expand_diagnosis(translate_diagnosis(text) or "") == expected


VALUES = [
    ("age", "45", ""),
    ("age", "", ""),
    ("age", "unknown", ""),
    ("age", "430", "Age: expected a number from 0 to 120 years; found 430."),
    ("age", "nan", "Age: expected a number from 0 to 120 years; found nan."),
    ("sex", "f", "Sex: expected female, male; found 'f'."),
    ("target", "yes", "Malignant: expected 1, 0; found 'yes'."),
    ("depth_mm_reader_2", "old", "Depth, reader 2: expected a number from 0 to 100 mm; found 'old'."),
    ("split", "anything", ""),
]


@pytest.mark.parametrize(("name", "text", "message"), VALUES)
def test_validation_of_cells(name: str, text: str, message: str) -> None:
    column = find_column(name)
    assert column is not None
    assert check_value(column, text) == message


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("itch", "1", "yes"),
        ("bleed", "0", "no"),
        ("sex", "female", "female"),
        ("age", "63", "63"),
        ("other", "1", "1"),
        ("fitzpatrick", "1", "I: burns always, never tans"),
        ("fitzpatrick", "6", "VI: never burns, deeply pigmented"),
        ("clark", "4", "IV: into the reticular dermis"),
        ("diagnosis", "cutaneous T-cell lymphoma", "cutaneous T-cell lymphoma"),
    ],
)
def test_a_value_within_a_sentence(name: str, value: str, text: str) -> None:
    assert format_field_value(name, value) == text


def test_foreign_columns_are_not_standard_ones() -> None:
    assert find_column("pesticide") is None
    assert find_column("depth_mm_reader_0") is None


def test_tables_name_columns_and_sources_that_are_there() -> None:
    known = {*list_sources(), ""}
    for path in TAXONOMY_FOLDER.glob("*.csv"):
        rows = read_taxonomy_rows(path)
        assert {row.get("data_set", "") for row in rows} <= known, path.name
        assert {row.get("language", "") for row in rows} <= {"", "en", "de", "es", "pt", "fr", "it", "nl"}, path.name
    columns = read_taxonomy_rows(TAXONOMY_FOLDER / "columns.csv")
    assert {row["target"] for row in columns} <= set(COLUMN_NAMES)
    assert {row["rule"] for row in columns} <= {"", "keep", "only", "suggest"}
    levels = {row["level"] for row in read_taxonomy_rows(TAXONOMY_FOLDER / "diagnosis.csv")}
    assert levels == {"group", "diagnosis", "detail"}


def test_every_subtype_belongs_to_a_diagnosis() -> None:
    words = load_taxonomy("diagnosis")
    for word in words.words[:-1]:
        meant = expand_diagnosis(translate_diagnosis(word) or "")
        assert meant.diagnosis or meant.group
        assert meant.detail in ("", word)


@pytest.mark.parametrize(
    ("word", "own"),
    [
        *(
            (word, "nevus")
            for word in ("Nävuszellnävus", "Naevuszellnaevus", "Nävuszellnaevus", "NZN", "naevus mélanocytaire")
        ),
        *((word, "dysplastic nevus") for word in ("dysplastischer Nävus", "Dysplastischer Naevus", "nevo displastico")),
        *((word, "nodular melanoma") for word in ("knotiges Melanom", "mélanome nodulaire", "melanoma nodulare")),
        ("mélanome à extension superficielle", "superficial spreading melanoma"),
        ("melanoma de extensión superficial", "superficial spreading melanoma"),
        ("Lentigo-maligna-Melanom", "lentigo maligna melanoma"),
        ("carcinoma de células escamosas", "squamous cell carcinoma"),
        ("Muttermal", None),  # in everyday speech any spot
        ("Nävusfamilie", None),
    ],
)
def test_diagnoses_in_other_languages(word: str, own: str | None) -> None:
    assert load_taxonomy("diagnosis").translate(word) == own


@pytest.mark.parametrize(
    ("name", "own"),
    [
        *((name, "sex") for name in ("Gendr", "geschelcht", "gendre (F/M)")),
        *((name, "diagnosis") for name in ("diagnsis", "Diagnossis", "diagnozis")),
        ("diameter2mmm", "diameter_2_mm"),
        *((name, "patient_id") for name in ("Case_ID", "CaseNo", "Fall-Nr.", "Fallnummer", "Patinet_ID")),
        *((name, "") for name in ("patient_group", "PatientType", "subject status", "case mix", "Patientenkennwort")),
        *((name, "") for name in ("text", "six", "sexx", "seed", "page", "stage", "index", "Diamant", "side", "note")),
    ],
)
def test_column_suggested_for_an_unknown_name(name: str, own: str) -> None:
    assert suggest_column(name) == own
