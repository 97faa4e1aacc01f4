from __future__ import annotations

import pytest

from napari_melanoma.core.errors import InputError
from napari_melanoma.data import taxonomy as module
from napari_melanoma.data.cells import Diagnosis, Place, diagnosis_word, joined, nearest, place, told
from napari_melanoma.data.sources import sources
from napari_melanoma.data.table_schema import COLUMNS, NAMES, check_value, column_named
from napari_melanoma.data.taxonomy import HERE, UNKNOWN, names, read_rows, taxonomy
from napari_melanoma.data.taxonomy.wording import plain, spellings

TRANSLATIONS = [
    ("diagnosis", "NV", "nevus"),
    ("diagnosis", " akiec ", "actinic keratosis or intraepithelial carcinoma"),
    ("diagnosis", "Melanoma, NOS", "melanoma"),
    ("diagnosis", "melanoma in-situ", "melanoma in situ"),
    ("diagnosis", "Lentigo_Maligna", "lentigo maligna"),
    ("diagnosis", "Lichen planus", "lichen planus"),
    ("diagnosis", "Basalzellkarzinom", "basal cell carcinoma"),
    ("diagnosis", "no such thing", None),
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


@pytest.mark.parametrize(("name", "theirs", "ours"), TRANSLATIONS, ids=[f"{n} {t}" for n, t, _ in TRANSLATIONS])
def test_words_of_others(name: str, theirs: str, ours: str | None) -> None:
    assert taxonomy(name).translate(theirs) == ours


@pytest.mark.parametrize("name", names())
def test_every_word_means_itself_and_has_a_title(name: str) -> None:
    words = taxonomy(name)
    assert words.words[-1] == UNKNOWN
    for word in words.words:
        assert words.translate(word) == word
        assert words.title(word)


def test_columns_name_taxonomies_that_are_there() -> None:
    assert {column.taxonomy for column in COLUMNS} - {""} <= set(names())
    assert all(column.title and column.description.endswith(".") for column in COLUMNS)


def test_sources_may_mean_their_own() -> None:
    words = taxonomy("diagnosis_by")
    assert words.translate("True", "pad-ufes-20") == "histopathology"
    assert words.translate("True") is None
    assert words.translate("biopsy", "pad-ufes-20") == "histopathology"


def test_a_word_lies_below_another() -> None:
    words = taxonomy("diagnosis")
    assert words.within("lentigo maligna", "melanoma")
    assert list(words.line("lentigo maligna")) == ["lentigo maligna", "melanoma in situ", "melanoma", "malignant"]
    assert not words.within("melanoma", "lentigo maligna")
    sites = taxonomy("sub_site")
    assert {sites.parent(word) for word in sites.words[:-1]} <= set(taxonomy("site").words)


def test_a_taxonomy_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"no taxonomy named 'colour' \(known: clark, diagnosis"):
        taxonomy("colour")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("theirs,ours,source,language\nlinks,left,,\nlinks,right,,\n", "two things of 'links': left and right"),
        ("theirs,ours,source,language\noben,up,,\n", "'up' for 'oben': side.csv has no such word"),
    ],
)
def test_tables_that_contradict_themselves(tmp_path, monkeypatch, words: str, said: str) -> None:
    (tmp_path / "side.csv").write_text("word,parent,title\nleft,,\nright,,\n")
    (tmp_path / "side_words.csv").write_text(words)
    (tmp_path / "unknown_words.csv").write_text("theirs,ours,source,language\nunk,unknown,,\n")
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "names", lambda: ("side",))
    with pytest.raises(InputError, match=said):
        module.taxonomy.__wrapped__("side")


def test_how_words_are_compared() -> None:
    assert plain(" Melanoma, in-situ (NOS)") == "melanoma in situ nos"
    assert plain("Außenknöchel") == "aussenknochel"
    assert spellings("Rücken") == ("rucken", "ruecken")


PLACES = [
    ("left forearm", Place("upper extremity", "forearm", "left")),
    ("Left Leg - Upper", Place("lower extremity", "thigh", "left")),
    ("Torso Back Top Third", Place("posterior torso", "upper back", "")),
    ("Head & Neck", Place("head/neck")),
    ("linker Unterarm", Place("upper extremity", "forearm", "left")),
    ("pierna izquierda", Place("lower extremity", "", "left")),
    ("antebraço direito", Place("upper extremity", "forearm", "right")),
    ("l'aine droite", Place("anterior torso", "groin", "right")),
    ("gamba sinistra", Place("lower extremity", "", "left")),
    ("rechter voet", Place("lower extremity", "foot", "right")),
    ("back of the left hand", Place("upper extremity", "hand", "left")),
    ("right", Place(laterality="right")),
    ("unknown", Place()),
    ("left or right arm", None),
    ("left middle finger", Place("upper extremity", "finger", "left")),
    ("mid back", Place("posterior torso")),
    ("medial thigh", None),
    ("left side", Place(laterality="left")),
    ("línea media", Place(laterality="midline")),
    ("center", Place(laterality="midline")),
    ("midline chest", Place("anterior torso", "chest", "midline")),
    ("glabella", None),
]


@pytest.mark.parametrize(("text", "expected"), PLACES, ids=[text for text, _ in PLACES])
def test_places(text: str, expected: Place | None) -> None:
    assert place(text) == expected


JOINED = [
    (Place("torso"), Place("anterior torso", "chest"), Place("anterior torso", "chest")),
    (Place("anterior torso", "chest"), Place("torso", "", "left"), Place("anterior torso", "chest", "left")),
    (Place("lower extremity"), Place("", "", "left"), Place("lower extremity", "", "left")),
    (Place("lower extremity"), Place("head/neck", "ear"), None),
    (Place("", "", "left"), Place("", "", "right"), None),
    (Place("upper extremity", "hand"), Place("upper extremity", "wrist"), None),
]


@pytest.mark.parametrize(("first", "second", "expected"), JOINED)
def test_places_that_several_columns_say(first: Place, second: Place, expected: Place | None) -> None:
    assert joined(first, second) == expected


TOLD = [
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


@pytest.mark.parametrize(("text", "expected"), TOLD, ids=[text for text, _ in TOLD])
def test_what_follows_from_a_diagnosis(text: str, expected: Diagnosis) -> None:
    assert told(diagnosis_word(text) or "") == expected


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


@pytest.mark.parametrize(("name", "text", "said"), VALUES)
def test_what_may_stand_in_a_cell(name: str, text: str, said: str) -> None:
    column = column_named(name)
    assert column is not None
    assert check_value(column, text) == said


def test_columns_of_others_are_none_of_ours() -> None:
    assert column_named("itch") is None
    assert column_named("depth_mm_reader_0") is None


def test_tables_name_columns_and_sources_that_are_there() -> None:
    known = {*sources(), ""}
    for path in HERE.glob("*.csv"):
        rows = read_rows(path)
        assert {row.get("source", "") for row in rows} <= known, path.name
        assert {row.get("language", "") for row in rows} <= {"", "en", "de", "es", "pt", "fr", "it", "nl"}, path.name
    columns = read_rows(HERE / "columns.csv")
    assert {row["ours"] for row in columns} <= set(NAMES)
    assert {row["rule"] for row in columns} <= {"", "keep", "only"}
    levels = {row["level"] for row in read_rows(HERE / "diagnosis.csv")}
    assert levels == {"group", "diagnosis", "detail"}


def test_every_subtype_lies_below_a_diagnosis() -> None:
    words = taxonomy("diagnosis")
    for word in words.words[:-1]:
        meant = told(diagnosis_word(word) or "")
        assert meant.diagnosis or meant.group
        assert meant.detail in ("", word)


@pytest.mark.parametrize(
    ("word", "ours"),
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
def test_diagnoses_in_other_languages(word: str, ours: str | None) -> None:
    assert taxonomy("diagnosis").translate(word) == ours


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        *((name, "sex") for name in ("sexx", "Sexxx", "Gendr")),
        *((name, "age") for name in ("aage", "agge")),
        *((name, "diameter_1_mm") for name in ("DiamMM", "Diam_mm", "diam", "Durchmesser (quer)", "diamètre")),
        ("diameter2mmm", "diameter_2_mm"),
        *(
            (name, "")
            for name in ("text", "six", "seed", "tax", "page", "stage", "index", "Diamant", "diabetes", "set")
        ),
    ],
)
def test_the_nearest_column(name: str, ours: str) -> None:
    assert nearest(name) == ours
