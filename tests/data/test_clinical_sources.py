"""Clinical tables in all their published forms, with fictitious patients, and the metastasis derived from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_melanoma.data.clinical_collections import classify_spread, extract_columns, strip_table_name
from napari_melanoma.data.collections import find_source
from napari_melanoma.data.harmonize import harmonize_rows
from napari_melanoma.data.table_schema import check_value, find_column

UUID = "0A1B2C3D-0000-4000-8000-00000000AB0"


def table(*lines: str) -> str:
    return "\n".join(line.replace(" | ", "\t") for line in lines) + "\n"


# The same four patients in each form: spread at diagnosis, stayed free, not known, spread later.
FORMS = {
    "gdc": {
        "clinical.tsv": table(
            "project.project_id | cases.case_id | cases.submitter_id | demographic.age_at_index | demographic.gender | "
            "diagnoses.age_at_diagnosis | diagnoses.ajcc_pathologic_m | diagnoses.ajcc_pathologic_n | "
            "diagnoses.classification_of_tumor | diagnoses.clark_level | diagnoses.tissue_or_organ_of_origin | "
            "diagnoses.ulceration_indicator | treatments.treatment_type",
            "S | u1 | TCGA-ZZ-0001 | 61 | female | 22500 | M0 | N2a | primary | IV | Skin of trunk | Yes | Surgery",
            "S | u1 | TCGA-ZZ-0001 | 61 | female | '-- | '-- | '-- | metastasis | '-- | Lymph node, NOS | '-- | '--",
            "S | u2 | TCGA-ZZ-0002 | 44 | male | 16200 | M0 | N0 | primary | II | Skin of scalp and neck | No | '--",
            "S | u3 | TCGA-ZZ-0003 | '-- | male | '-- | '-- | NX | primary | '-- | Skin, NOS | '-- | '--",
            "S | u4 | TCGA-ZZ-0004 | 70 | female | 25700 | M0 | N0 | primary | III | Skin of trunk | No | '--",
        ),
        "pathology_detail.tsv": table(
            "cases.submitter_id | pathology_details.breslow_thickness",
            "TCGA-ZZ-0001 | 2.3",
            "TCGA-ZZ-0002 | 0.7",
            "TCGA-ZZ-0003 | 0",
            "TCGA-ZZ-0004 | 1.5",
        ),
        "follow_up.tsv": table(
            "cases.submitter_id | follow_ups.progression_or_recurrence | follow_ups.progression_or_recurrence_type",
            "TCGA-ZZ-0002 | No | '--",
            "TCGA-ZZ-0004 | No | '--",
            "TCGA-ZZ-0004 | Yes | Distant",
        ),
    },
    "biotab": {
        "nationwidechildrens.org_clinical_patient_skcm.txt": table(
            "bcr_patient_uuid | bcr_patient_barcode | gender | age_at_diagnosis | breslow_thickness_at_diagnosis | "
            "clark_level_at_diagnosis | primary_melanoma_tumor_ulceration | primary_melanoma_mitotic_rate | "
            "tissue_or_organ_of_origin | ajcc_nodes_pathologic_pn | ajcc_metastasis_pathologic_pm | "
            "new_tumor_event_dx_indicator",
            "bcr_patient_uuid | bcr_patient_barcode | gender | age_at_initial_pathologic_diagnosis | "
            "breslow_depth_value | melanoma_clark_level_value | melanoma_ulceration_indicator | "
            "malignant_neoplasm_mitotic_count_rate | site | pathologic_N | pathologic_M | "
            "new_tumor_event_after_initial_treatment",
            "CDE_ID: | CDE_ID:2003301 | CDE_ID:2200604 | CDE_ID:2006657 | CDE_ID:2593055 | CDE_ID:2593051 | "
            "CDE_ID:3108478 | CDE_ID:3186135 | CDE_ID: | CDE_ID:3203106 | CDE_ID:3045439 | CDE_ID:3121376",
            "A | TCGA-ZZ-0001 | FEMALE | 61 | 2.3 | IV | YES | 4 | Skin of trunk | N2a | M0 | YES",
            "B | TCGA-ZZ-0002 | MALE | 44 | 0.7 | II | NO | [Not Available] | Skin of scalp and neck | N0 | M0 | NO",
            "C | TCGA-ZZ-0003 | MALE | [Not Available] | 0 | [Unknown] | [Not Available] | 1 | Skin, NOS | NX | "
            "[Not Available] | [Not Available]",
            "D | TCGA-ZZ-0004 | FEMALE | 70 | 1.5 | III | NO | 2 | Skin of trunk | N0 | M0 | YES",
        ),
        "nationwidechildrens.org_clinical_nte_skcm.txt": table(
            "bcr_patient_uuid | bcr_patient_barcode | new_tumor_event_type", "D | TCGA-ZZ-0004 | Distant Metastasis"
        ),
    },
    "xena": {
        "TCGA-SKCM.GDC_phenotype.tsv": table(
            "submitter_id.samples | age_at_initial_pathologic_diagnosis | breslow_depth_value | "
            "melanoma_clark_level_value | melanoma_ulceration_indicator | pathologic_M | pathologic_N | "
            "submitted_tumor_location | submitter_id | gender.demographic | "
            "tissue_or_organ_of_origin.diagnoses | new_tumor_event_after_initial_treatment",
            "TCGA-ZZ-0001-06A | 61 | 2.3 | IV | YES |  |  | Regional Lymph Node | TCGA-ZZ-0001 | female | "
            "Skin of trunk | ",
            "TCGA-ZZ-0002-01A | 44 | 0.7 | II | NO | M0 | N0 | Primary Tumor | TCGA-ZZ-0002 | male | "
            "Skin of scalp and neck | NO",
            "TCGA-ZZ-0003-01A |  | 0 |  |  |  | NX | Primary Tumor | TCGA-ZZ-0003 | male | Skin, NOS | ",
            "TCGA-ZZ-0004-01A | 70 | 1.5 | III | NO | M0 | N0 | Distant Metastasis | TCGA-ZZ-0004 | female | "
            "Skin of trunk | YES",
        )
    },
    "cbioportal": {
        "data_clinical_patient.txt": table(
            "#Patient Identifier | Sex | Age | Breslow | Clark | Ulceration | N | M | New event | Type | Site",
            "#Identifier | Sex | Age | mm | Level | Ulceration | N | M | New event | Type | Site",
            "#STRING | STRING | NUMBER | NUMBER | STRING | STRING | STRING | STRING | STRING | STRING | STRING",
            "#1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 1",
            "PATIENT_ID | SEX | AGE | BRESLOW_DEPTH | CLARK_LEVEL_AT_DIAGNOSIS | PRIMARY_MELANOMA_TUMOR_ULCERATION | "
            "PATH_N_STAGE | PATH_M_STAGE | NEW_TUMOR_EVENT_AFTER_INITIAL_TREATMENT | NEW_TUMOR_EVENT_TYPE | TUMOR_SITE",
            "TCGA-ZZ-0001 | Female | 61 | 2.3 | IV | YES | N2A | M0 | Yes |  | Skin of trunk",
            "TCGA-ZZ-0002 | Male | 44 | 0.7 | II | NO | N0 | M0 | No |  | Skin of scalp and neck",
            "TCGA-ZZ-0003 | Male | [Not Available] | 0 |  |  | NX |  |  |  | ",
            "TCGA-ZZ-0004 | Female | 70 | 1.5 | III | NO | N0 | M0 | Yes | Distant Metastasis | Skin of trunk",
        )
    },
}


def laid_out(files: dict[str, str], folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def rows_of(source: str, folder: Path) -> dict[str, dict[str, str]]:
    found = find_source(source).read_folder(folder)
    rows = harmonize_rows([record.values for record in found.records], source).rows
    return {record.image_id: row for record, row in zip(found.records, rows, strict=True)}


@pytest.mark.parametrize("form", list(FORMS))
def test_all_forms_give_the_same_patients(form: str, tmp_path: Path) -> None:
    rows = rows_of("tcga-skcm", laid_out(FORMS[form], tmp_path))
    assert list(rows) == [f"TCGA-ZZ-000{number}" for number in (1, 2, 3, 4)]
    known = ("age", "sex", "site", "depth_mm", "ulceration", "clark", "metastasis")
    cells = {name[-1]: tuple(row.get(column, "") for column in known) for name, row in rows.items()}
    assert cells["1"] == ("61", "female", "torso", "2.3", "1", "4", "1")
    assert cells["2"] == ("44", "male", "head/neck", "0.7", "0", "2", "0")
    assert cells["3"] == ("", "male", "", "", "", "", "")
    assert cells["4"] == ("70", "female", "torso", "1.5", "0", "3", "1")
    for row in rows.values():
        for name, text in row.items():
            column = find_column(name)
            assert column is None or check_value(column, text) == ""


@pytest.mark.parametrize(
    ("values", "verdict", "by"),
    [
        ({"ajcc_pathologic_n": "N1b"}, "1", "ajcc_pathologic_n"),
        ({"ajcc_pathologic_m": "M1c"}, "1", "ajcc_pathologic_m"),
        ({"ajcc_pathologic_stage": "Stage IIIC"}, "1", "ajcc_pathologic_stage"),
        ({"pathologic_stage": "Stage IV"}, "1", "pathologic_stage"),
        ({"metastasis_at_diagnosis": "Metastasis, NOS"}, "1", "metastasis_at_diagnosis"),
        ({"distant_metastasis_anatomic_site": "lung"}, "1", "distant_metastasis_anatomic_site"),
        ({"tumor_tissue_site": "Regional Lymph Node"}, "1", "tumor_tissue_site"),
        ({"progression_or_recurrence": "Yes", "progression_or_recurrence_type": "Distant"}, "1", None),
        ({"type_of_new_tumor": "Distant metastasis", "new_tumor_after_initial_treatment": "Yes"}, "1", None),
        ({"ajcc_pathologic_stage": "Stage IIA", "progression_or_recurrence": "no"}, "0", "follow-up"),
        ({"pathologic_n": "N0", "pathologic_m": "M0", "new_tumor_event_dx_indicator": "NO"}, "0", None),
        (
            {"pathologic_n": "N0", "pathologic_m": "M0", "new_tumor_event_type": "New Primary Melanoma"}
            | {"new_tumor_event_dx_indicator": "YES"},
            "0",
            None,
        ),
        ({"ajcc_pathologic_stage": "Stage II"}, "", ""),  # nothing is known of later
        ({"progression_or_recurrence": "no"}, "", ""),  # nothing is known of the nodes
        ({"pathologic_n": "N0", "pathologic_m": "MX", "progression_or_recurrence": "no"}, "", ""),
        ({"pathologic_n": "N0", "pathologic_m": "M0", "progression_or_recurrence": "yes"}, "", ""),
        (
            {"ajcc_pathologic_stage": "Stage I", "progression_or_recurrence": "Yes"}
            | {"progression_or_recurrence_type": "Locoregional"},
            "",
            "",
        ),
        ({"metastasis_at_diagnosis": "No Metastasis"}, "", ""),
        ({}, "", ""),
    ],
)
def test_classification_of_metastasis(values: dict[str, str], verdict: str, by: str | None) -> None:
    found = classify_spread([values])
    assert found[0] == verdict
    assert by is None or found[1] == by


@pytest.mark.parametrize(
    ("text", "age"), [("22500", "61.6"), ("61", "61"), (">=90", "90"), ("61.5", "61.5"), ("", None), ("old", None)]
)
def test_ages_are_in_years(text: str, age: str | None) -> None:
    assert extract_columns([{"age_at_diagnosis": text}]).get("age") == age


@pytest.mark.parametrize(
    ("column", "plain"),
    [
        ("diagnoses.ajcc_pathologic_m", "ajcc_pathologic_m"),
        ("gender.demographic", "gender"),
        ("baseline/tumor_site", "tumor_site"),
        ("diagnoses.pathology_details.breslow_thickness", "breslow_thickness"),
        ("Age at Diagnosis", "age_at_diagnosis"),
        ("CLARK_LEVEL", "clark_level"),
    ],
)
def test_columns_are_known_without_their_table(column: str, plain: str) -> None:
    assert strip_table_name(column) == plain


def test_slides_of_metastases_and_frozen_sections_are_left_out_and_noted(tmp_path: Path) -> None:
    names = ["0002-01Z-00-DX1", "0003-06Z-00-DX1", "0003-01Z-00-DX1", "0004-01A-01-TS1", "0009-01Z-00-DX1"]
    slides = {f"{number}/TCGA-ZZ-{name}.{UUID}{number}.svs": "" for number, name in enumerate(names)}
    folder = laid_out(FORMS["gdc"] | slides, tmp_path)
    found = find_source("tcga-skcm").read_folder(folder)
    kept = {record.image_id[8:15]: record.values for record in found.records}
    assert sorted(kept) == ["0002-01", "0003-01", "0009-01"]
    assert kept["0003-01"]["metastasis_by"] == "slide of a metastasis"
    assert kept["0002-01"]["slide"].startswith("0/TCGA-ZZ-0002")
    assert "metastasis" not in kept["0009-01"]
    assert [note.split(":")[0] for _, note in found.notes] == [
        "1 of metastases",
        "1 frozen or of other tissue",
        "1 of patients in no table",
    ]


def test_slides_of_cptac_are_those_of_the_tumor(tmp_path: Path) -> None:
    files = {
        "portal.csv": "Case_ID,Slide_ID,Specimen_Type,Tumor,Tumor_Site,Gender,Age_at_Diagnosis\n"
        "C3L-99001,C3L-99001-21,tumor_tissue,CM,Skin of trunk,Male,52\n"
        "C3L-99001,C3L-99001-22,normal_tissue,CM,Skin of trunk,Male,52\n"
        "C3L-99001,C3L-99001-23,tumor_tissue,CM,Lymph node,Male,52\n"
        "C3N-99002,C3N-99002-21,tumor_tissue,LUAD,Lung,Female,70\n",
        "clinical.csv": "case_id,consent/sex,baseline/pathologic_staging_regional_lymph_nodes_pn,"
        "baseline/pathologic_staging_distant_metastasis_pm,follow-up/new_tumor_after_initial_treatment\n"
        "C3L-99001,Male,pN0,pM0,No\n",
    }
    rows = rows_of("cptac-cm", laid_out(files, tmp_path))
    assert list(rows) == ["C3L-99001-21"]
    row = rows["C3L-99001-21"]
    assert (row["age"], row["sex"], row["site"], row["metastasis"]) == ("52", "male", "torso", "0")
    with_slides = rows_of(
        "cptac-cm", laid_out(dict.fromkeys(("s/C3L-99001-21.svs", "s/C3L-99001-22.svs"), ""), tmp_path)
    )
    assert [row["slide"] for row in with_slides.values()] == ["s/C3L-99001-21.svs"]


def test_columns_of_ones_own_are_brought_in_by_a_mapping(tmp_path: Path) -> None:
    from napari_melanoma.data.table_mapping import TableMapping

    folder = laid_out({"notes.csv": "case_id,thick\nC3L-99001,1.25\n"}, tmp_path)
    mapping = TableMapping(columns={"thick": "breslow_thickness"})
    (record,) = find_source("cptac-cm").read_folder(folder, mapping).records
    assert record.values["depth_mm"] == "1.25"


def test_a_table_of_ones_own_names_slides_and_patients(tmp_path: Path) -> None:
    files = {
        "clinic.csv": "slide;Pat-ID;Alter;Geschlecht;Breslow-Dicke;Ulzeration;Clark-Level;metastasis\n"
        "S17.svs;P1;61;w;2,3;ja;IV;ja\nS18.svs;P2;44;m;0,7;nein;II;nein\n",
        "S17.svs": "",
    }
    from napari_melanoma.data.table_mapping import TableMapping

    found = find_source("table").read_folder(laid_out(files, tmp_path), TableMapping(columns={"slide": "image_id"}))
    assert [(record.image_id, record.image) for record in found.records] == [("S17", None), ("S18", None)]
    (first, second) = harmonize_rows([record.values for record in found.records]).rows
    known = ("patient_id", "age", "sex", "depth_mm", "ulceration", "clark", "metastasis")
    assert tuple(first[name] for name in known) == ("P1", "61", "female", "2.3", "1", "4", "1")
    assert tuple(second[name] for name in known) == ("P2", "44", "male", "0.7", "0", "2", "0")
