"""Cases from files: collected patients, imported images, and the check of a case."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import numpy as np
import pytest
import tifffile
from fake_slides import draw_slide
from PIL import Image

from napari_melanoma.case.check import check_case
from napari_melanoma.case.image_assignment import file_images
from napari_melanoma.case.importing import CollectedPatient, collect_patients, import_case
from napari_melanoma.case.model import Case, set_correction, set_image, set_lesion, set_patient
from napari_melanoma.case.results import save_result
from napari_melanoma.case.store import CaseStore, read_correction, write_correction
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.analysis import LesionResult, analyze_lesion, remeasure
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.privacy.pseudonyms import pseudonym

NAMES = ("back_left_2_dermoscopy.jpg", "back_left_2_macro.jpg", "face_1_dermoscopy.jpg", "nose.jpg", "IMG_1.jpg")


def draw(path: Path, *, exif: Image.Exif | None = None) -> Path:
    """Write an image with a different color for each name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digits = crc32(path.name.encode())
    Image.new("RGB", (30, 20), (digits & 255, digits >> 8 & 255, digits >> 16 & 255)).save(
        path, **({"exif": exif} if exif else {})
    )
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in NAMES:
        draw(tmp_path / "photographs" / name)
    return tmp_path / "photographs"


def layout(case: Case) -> dict[str, list[str]]:
    lesions = {
        f"{one.label or '-'} {one.sub_site or one.site}": [i.path.name for i in one.images] for one in case.lesions
    }
    return {**lesions, "": [image.path.name for image in case.images]}


def only(folder: Path) -> CollectedPatient:
    (patient,) = collect_patients([folder]).patients
    return patient


def test_five_images_of_a_folder_become_three_lesions(photographs: Path) -> None:
    case = only(photographs).case
    assert layout(case) == {
        "2 posterior torso": ["back_left_2_dermoscopy.jpg", "back_left_2_macro.jpg"],
        "1 face": ["face_1_dermoscopy.jpg"],
        "- nose": ["nose.jpg"],
        "": ["IMG_1.jpg"],
    }


def test_tables_have_priority_over_names(photographs: Path) -> None:
    rows = "image_id,patient_id,age,sex,localization,lesion_id\nnose,77,54,f ,left ear,A\ngone,77,430,,,\n"
    (photographs / "t.csv").write_text(rows, encoding="utf-8")
    collected = collect_patients([photographs])
    (patient,) = collected.patients
    assert (patient.name, patient.case.patient.patient_id) == ("77", pseudonym("77"))
    assert (patient.case.patient.age, patient.case.patient.sex) == (54, "female")
    assert patient.case.imports[0].startswith("From tables: age of the patient, sex of the patient, ")
    ear = next(lesion for lesion in patient.case.lesions if lesion.label == "A")
    assert (ear.sub_site, ear.laterality) == ("ear", "left")
    message = " ".join(text for _, text in collected.notes)
    assert "430" in message
    assert "1 of 2 rows belong to none of the images" in message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_a_table_is_read_as_a_spreadsheet_saves_it(photographs: Path, encoding: str) -> None:
    (photographs / "IMG_1.jpg").rename(photographs / "Fla\u0308che.jpg")  # as macOS writes it
    (photographs / "t.csv").write_bytes("Bild;Alter;Lokalisation\nFl\u00e4che;54,5;Rücken\n".encode(encoding))
    mapping = TableMapping(columns={"Bild": "image_id", "Alter": "age", "Lokalisation": "site"})
    (patient,) = collect_patients([photographs], mapping=mapping).patients
    assert patient.case.patient.age == 54.5
    assert patient.case.find_image("I1").name == "back_left_2_dermoscopy"
    (own,) = [lesion for lesion in patient.case.lesions if [one.name for one in lesion.images] == ["Fla\u0308che"]]
    assert own.site == "posterior torso"


def test_a_table_alone_imports_its_images(photographs: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,patient,woman\nphotographs/nose.jpg,1,yes\nphotographs/IMG_1.jpg,2,\n", encoding="utf-8")
    mapping = TableMapping(columns={"patient": "patient_id", "woman": "sex"}, words={"sex": {"yes": "female"}})
    patients = collect_patients([table], mapping=mapping).patients
    assert {one.name: [image.path.name for _, image in one.case.iterate_images()] for one in patients} == {
        "1": ["nose.jpg"],
        "2": ["IMG_1.jpg"],
    }
    assert patients[0].case.patient.sex == "female"


def test_rows_of_one_region_are_different_lesions(photographs: Path) -> None:
    rows = (
        "image_id,site,modality\nIMG_1,torso,dermoscopic\nnose,torso,dermoscopic\nface_1_dermoscopy,torso,macroscopic\n"
    )
    (photographs / "t.csv").write_text(rows, encoding="utf-8")
    lesions = [names for name, names in layout(only(photographs).case).items() if name == "- torso"]
    torso = [[image.name for image in one.images] for one in only(photographs).case.lesions if one.site == "torso"]
    assert len(lesions) == 1
    assert sorted(torso) == [["IMG_1"], ["face_1_dermoscopy"], ["nose"]]


def test_other_columns_are_not_fields_of_a_case(photographs: Path) -> None:
    rows = "image_id,path,lesion_id,site,id,label,note,images\nnose,nose.jpg,A,nose,17,2,somebody,3\n"
    (photographs / "t.csv").write_text(rows, encoding="utf-8")
    case = only(photographs).case
    (lesion,) = [one for one in case.lesions if one.label == "A"]
    assert (lesion.id, lesion.note, case.patient.note) == ("L3", "", "")
    assert [image.path for image in lesion.images] == [photographs / "nose.jpg"]


def test_a_row_does_not_match_an_image_of_the_same_name_elsewhere(tmp_path: Path) -> None:
    for red, place in enumerate(("left", "right")):
        (tmp_path / "in" / place).mkdir(parents=True)
        Image.new("RGB", (30, 20), (red, 0, 0)).save(tmp_path / "in" / place / "IMG_1.png")
    (tmp_path / "in" / "t.csv").write_text("path,diagnosis,site\nleft\\IMG_1.png,melanoma,nose\n", encoding="utf-8")
    (lesion,) = [one for one in only(tmp_path / "in").case.lesions if one.diagnosis]
    assert [image.path.parent.name for image in lesion.images] == ["left"]
    (tmp_path / "in" / "t.csv").write_text("image_id,diagnosis,site\nIMG_1,melanoma,nose\n", encoding="utf-8")
    collected = collect_patients([tmp_path / "in"])
    assert not any(one.diagnosis for one in collected.patients[0].case.lesions)
    assert any("several folders contain images called IMG_1" in message for _, message in collected.notes)


def test_of_rows_of_one_name_that_of_the_folder_of_the_image_is_used(tmp_path: Path) -> None:
    image = draw(tmp_path / "moved" / "right" / "IMG_1.jpg")
    rows = ("left/IMG_1.jpg,melanoma,left", "right\\IMG_1.jpg,nevus,right", "IMG_1.jpg,angioma,")
    (tmp_path / "table.csv").write_text("\n".join(("path,diagnosis,laterality", *rows)))
    patient = only(tmp_path)
    assert [one.path for one in (patient.case.images or patient.case.lesions[0].images)] == [image]
    assert patient.images[0].metadata.cells["laterality"] == "right"
    assert patient.images[0].metadata.cells["diagnosis"] == "nevus"


def test_contradicting_sites_are_not_mixed(photographs: Path) -> None:
    rows = "image_id,lesion_id,site,laterality\nIMG_1,A,back,\nnose,A,left ear,\n"
    (photographs / "t.csv").write_text(rows, encoding="utf-8")
    patient = only(photographs)
    (lesion,) = [one for one in patient.case.lesions if one.label == "A"]
    assert (lesion.site, lesion.sub_site, lesion.laterality) == ("posterior torso", "", "")
    assert ("nose", "contains the site left ear head/neck; the known site posterior torso is kept.") in patient.notes


def test_exif_contains_the_date_and_the_dermatoscope(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "DermLite", "2024:05:17 10:00:00"
    exif[0x013B] = "Somebody"
    draw(tmp_path / "in" / "IMG_7.jpg", exif=exif)
    image = only(tmp_path / "in").case.images[0]
    assert (image.modality, image.taken_on) == ("dermoscopic", "2024-05-17")


def write_dicom(path: Path, **elements: object) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.{sum(path.name.encode())}"
    dataset.Rows = dataset.Columns = 20
    for name, value in elements.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


def test_a_dicom_disc_is_read_as_an_anonymous_patient(tmp_path: Path) -> None:
    header = {"PatientID": "4711", "PatientName": "Doe^Jane", "PatientBirthDate": "19700101", "PatientSex": "F"}
    seen = {
        "StudyDate": "20240517",
        "BodyPartExamined": "FOREARM",
        "Laterality": "L",
        "Modality": "XC",
        "TrackingID": "hers",
    }
    write_dicom(tmp_path / "disc" / "00001", **header, **seen)
    write_dicom(tmp_path / "disc" / "label.dcm", Modality="SM", ImageType=["DERIVED", "PRIMARY", "LABEL"])
    collected = collect_patients([tmp_path / "disc"])
    (patient,) = collected.patients
    case = patient.case
    assert patient.name == pseudonym("4711")
    assert (case.patient.patient_id, case.patient.age, case.patient.sex) == (pseudonym("4711"), 54, "female")
    assert (case.lesions[0].sub_site, case.lesions[0].laterality) == ("forearm", "left")
    assert "From DICOM headers: " in case.imports[0]
    assert any("shows the label of a slide" in message for _, message in collected.notes)
    with CaseStore.create(tmp_path / "case", case) as store:
        text = (store.folder / "case.json").read_text(encoding="utf-8")
    assert not any(secret in text for secret in ("4711", "Doe", "Jane", "1970", "hers"))


def test_existing_images_and_values_are_kept(photographs: Path) -> None:
    patient = only(photographs)
    case = set_lesion(patient.case, "L3", laterality="right")
    draw(photographs / "nose_left_macro.jpg")
    draw(photographs / "nose_right_macro.jpg")
    filed = file_images(case, only(photographs).images)
    assert filed.case.find_lesion("L3").laterality == "right"
    assert [image.name for image in filed.case.find_lesion("L3").images] == ["nose", "nose_right_macro"]
    assert filed.case.images_numbered == case.images_numbered + 2


def test_masks_and_results_are_no_images(photographs: Path) -> None:
    draw(photographs / "nose_mask.png")
    draw(photographs / "corrections" / "I1-0.png")
    (photographs / "case.json").write_text("{}", encoding="utf-8")
    draw(photographs / "result" / "overlay.png")
    (photographs / "result" / "result.json").write_text("{}", encoding="utf-8")
    assert sorted(found.image.path.name for found in only(photographs).images) == sorted(NAMES)


def test_other_files_are_left_out_with_a_note(photographs: Path) -> None:
    (photographs / "nose.jpg").write_text("no image", encoding="utf-8")
    (photographs / "back").write_bytes((photographs / NAMES[0]).read_bytes())
    collected = collect_patients([photographs])
    assert len(collected.patients[0].images) == 4
    assert [text.partition(":")[0] for about, text in collected.notes if about == "left out"] == ["back"]
    assert ("nose.jpg", "was left out: it contains no image that can be read.") in collected.notes


@pytest.mark.parametrize("named", ["nothing", "empty"])
def test_no_image_is_an_error(tmp_path: Path, named: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=named):
        collect_patients([tmp_path / named])


def test_collecting_can_be_cancelled(photographs: Path) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        collect_patients([photographs], run=run)


def test_a_case_is_one_patient(tmp_path: Path) -> None:
    for name in ("PAT_1_10_1.png", "PAT_1_11_2.png", "PAT_2_12_3.png"):
        draw(tmp_path / "in" / name)
    with pytest.raises(InputError, match=r"2: PAT_1, PAT_2\. Choose one \(command line: --patient"):
        import_case(tmp_path / "case", [tmp_path / "in"])
    with pytest.raises(InputError, match="no patient 'PAT_3'"):
        import_case(tmp_path / "case", [tmp_path / "in"], patient="PAT_3")
    made = import_case(tmp_path / "case", [tmp_path / "in"], patient="PAT_1")
    assert (made.added, [lesion.label for lesion in made.case.lesions]) == (2, ["10", "11"])
    draw(tmp_path / "in" / "PAT_1_11_9.png")
    again = import_case(tmp_path / "case", [tmp_path / "in"])
    assert (again.added, len(again.case.lesions)) == (1, 2)


def test_images_of_another_patient_are_rejected(tmp_path: Path) -> None:
    draw(tmp_path / "one" / "PAT_1_10_1.png")
    draw(tmp_path / "two" / "PAT_2_10_2.png")
    made = import_case(tmp_path / "case", [tmp_path / "one"])
    with pytest.raises(
        InputError, match=rf"belongs to {made.case.patient.patient_id}, but these images belong to PAT_2\."
    ):
        import_case(tmp_path / "case", [tmp_path / "two"])
    same = import_case(tmp_path / "case", [tmp_path / "two"], patient="PAT_2")
    assert same.added == 1
    assert same.notes[-1] == ("patient", "another patient in 1 image: check that they belong to this case.")


def test_images_without_or_of_another_patient_are_noted(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "PAT_1_10_1.png")
    draw(tmp_path / "in" / "nose.png")
    assert collect_patients([tmp_path / "in"]).notes[-1] == (
        "patient",
        "1 image without a patient: assigned to the only named patient.",
    )
    draw(tmp_path / "in" / "PAT_2_10_2.png")
    made = import_case(tmp_path / "case", [tmp_path / "in"], patient="PAT_1")
    assert ("patient", "2 images of other patients or without a patient were left out.") in made.notes


def test_unreadable_images_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no image that can be read: x\.png was left out: it contains no image"):
        collect_patients([tmp_path])


def test_an_open_case_is_not_changed(photographs: Path, tmp_path: Path) -> None:
    import_case(tmp_path / "case", [photographs])
    with CaseStore.open(tmp_path / "case"), pytest.raises(SaveError, match="has the case open"):
        import_case(tmp_path / "case", [photographs])


def corrected(folder: Path, photographs: Path) -> None:
    """A case with a mask for the image of the nose."""
    import_case(folder, [photographs])
    with CaseStore.open(folder) as store:
        mask = np.zeros((20, 30), bool)
        mask[5:9, 5:9] = True
        store.save(set_correction(store.case, "I5", write_correction(store, "I5", mask)))


def test_a_complete_case_has_notes_but_no_faults(photographs: Path, tmp_path: Path) -> None:
    corrected(tmp_path / "case", photographs)
    before = sorted(tmp_path.rglob("*"))
    found = check_case(tmp_path / "case")
    assert found.faults == ()
    assert [message for _, message in found.notes] == [
        "contains values that were read from files. From file names: body site of 3 lesions, side of 1 lesion, "
        "modality of 3 images, lesion of 4 images, sub-site of 2 lesions.",
        "1 image not assigned to a lesion.",
    ]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_possible_hospital_number_is_noted(photographs: Path, tmp_path: Path) -> None:
    with CaseStore.create(tmp_path / "case", set_patient(Case(), patient_id="00471122")):
        assert ("patient", "00471122 is not a pseudonym: check that it does not identify a person.") in check_case(
            tmp_path / "case"
        ).notes


def missing(folder: Path, photographs: Path) -> None:
    (photographs / "IMG_1.jpg").unlink()


def damaged(folder: Path, photographs: Path) -> None:
    (photographs / "nose.jpg").write_bytes(b"x")


def mask_gone(folder: Path, photographs: Path) -> None:
    next((folder / "corrections").iterdir()).unlink()


def mask_of_another_size(folder: Path, photographs: Path) -> None:
    with CaseStore.open(folder) as store:
        store.save(set_correction(store.case, "I5", write_correction(store, "I5", np.ones((9, 9), bool))))


@pytest.mark.parametrize(
    ("harm", "about", "message"),
    [
        (missing, "I1", "was not found at"),
        (damaged, "I5", "cannot be read as an image"),
        (mask_gone, "I5", "cannot be read as a mask"),
        (mask_of_another_size, "I5", "9 x 9 pixels, the image 30 x 20"),
    ],
)
def test_faults_are_found(harm, about: str, message: str, photographs: Path, tmp_path: Path) -> None:
    corrected(tmp_path / "case", photographs)
    harm(tmp_path / "case", photographs)
    assert [one for one in check_case(tmp_path / "case").faults if one[0] == about and message in one[1]]


def test_the_documented_example_runs(
    photographs: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "docs" / "how-to" / "case.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(text.split("```python\n")[1].split("```")[0], {})
    case = CaseStore.open_read_only(tmp_path / "P-0042").case
    assert (case.patient.age, case.patient.sex, case.find_lesion("L1").laterality) == (54, "female", "left")


def test_a_tiled_tiff_is_a_slide_by_its_content(tmp_path: Path) -> None:
    """A photograph as TIFF is none; a slide's name need not say what it is."""
    draw(tmp_path / "in" / "back_1.tif")
    draw_slide(tmp_path / "in" / "section.tif")
    case = import_case(tmp_path / "case", [tmp_path / "in"]).case
    assert {image.path.name: (image.modality, image.is_slide) for _, image in case.iterate_images()} == {
        "section.tif": ("wsi", True),
        "back_1.tif": ("", False),
    }


@pytest.mark.parametrize(("levels", "slide"), [(1, False), (2, True)])
def test_a_tiled_photograph_is_no_slide(tmp_path: Path, levels: int, slide: bool) -> None:
    """Its tiles alone do not make it one; a pyramid does."""
    rgb = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    (tmp_path / "in").mkdir()
    with tifffile.TiffWriter(tmp_path / "in" / "back_1.tif") as tiff:
        how = {"photometric": "rgb", "tile": (128, 128), "metadata": None}
        tiff.write(rgb, subifds=levels - 1, **how)
        if levels > 1:
            tiff.write(np.ascontiguousarray(rgb[::2, ::2]), subfiletype=1, **how)
    case = import_case(tmp_path / "case", [tmp_path / "in"]).case
    assert [image.is_slide for _, image in case.iterate_images()] == [slide]


DAYS = [
    ("date", "2024-03-04", "2024-03-04"),
    ("Taken_on", "2024-03-04 10:00:00", "2024-03-04"),
    ("Datum", "4.3.2024", "2024-03-04"),
]


@pytest.mark.parametrize(("column", "cell", "day"), DAYS)
def test_the_day_is_read_from_a_table(tmp_path: Path, column: str, cell: str, day: str) -> None:
    draw(tmp_path / "in" / "one.jpg")
    (tmp_path / "in" / "table.csv").write_text(f"image_id,{column}\none,{cell}\n")
    collected = collect_patients([tmp_path / "in"])
    (image,) = collected.patients[0].case.images
    assert image.taken_on == "2024-03-04"
    assert collected.patients[0].case.imports[0].startswith("From tables: day of 1 image.")
    assert not collected.notes


def test_the_column_that_names_the_day_of_an_image_is_used_in_any_order(tmp_path: Path) -> None:
    """Also over the camera, whose clock may be wrong; a difference is noted."""
    exif = Image.Exif()
    exif[0x0132] = "2024:05:17 10:00:00"
    draw(tmp_path / "in" / "one.jpg", exif=exif)
    table = tmp_path / "in" / "table.csv"
    table.write_text("image_id,date,photo_date,taken_on\none,2020-01-02,2024-05-16,2024-05-17\n")
    collected = collect_patients([tmp_path / "in"])
    assert collected.patients[0].case.images[0].taken_on == "2024-05-17"
    assert not collected.notes
    table.write_text("image_id,Datum,photo_date\none,2020-01-02,2024-05-16\n")
    collected = collect_patients([tmp_path / "in"])
    assert collected.patients[0].case.images[0].taken_on == "2024-05-16"
    assert collected.notes == (
        (
            "one.jpg",
            "has different dates: 2024-05-16 (the table) is used, not 2024-05-17 (the camera). "
            "Check it in the Case dock.",
        ),
    )


@pytest.mark.parametrize("column", ["date", "Datum", "data", "exam_date"])
def test_the_day_of_a_visit_does_not_replace_that_of_the_camera(tmp_path: Path, column: str) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2024:05:17 10:00:00"
    draw(tmp_path / "in" / "one.jpg", exif=exif)
    (tmp_path / "in" / "table.csv").write_text(f"image_id,{column}\none,2020-01-02\n")
    collected = collect_patients([tmp_path / "in"])
    (image,) = collected.patients[0].case.images
    assert image.taken_on == "2024-05-17"
    assert "2024-05-17 (the camera) is used, not 2020-01-02 (the table)" in dict(collected.notes)["one.jpg"]


def test_a_day_that_is_not_understood_is_reported(tmp_path: Path) -> None:
    draw(tmp_path / "in" / "one.jpg")
    (tmp_path / "in" / "table.csv").write_text("image_id,date\none,03/04/2024\n")
    collected = collect_patients([tmp_path / "in"])
    assert collected.patients[0].case.images[0].taken_on == ""
    assert any("not recognized (left out): date" in message for _, message in collected.notes)


def test_a_slide_is_one_of_the_images(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "back_2.svs").write_bytes(b"a slide, not looked into")
    draw(tmp_path / "in" / "back_2_dermoscopy.jpg")
    made = import_case(tmp_path / "case", [tmp_path / "in"])
    assert [image.modality for image in made.case.lesions[0].images] == ["wsi", "dermoscopic"]
    assert check_case(tmp_path / "case").faults == ()
    case = set_image(made.case, "I2", modality="tbp_tile")
    assert [image.modality for image in case.lesions[0].images] == ["wsi", "tbp_tile"]


def test_the_patients_of_pad_ufes_become_cases(shared_data: Path) -> None:
    collected = collect_patients([shared_data / "pad_ufes" / "metadata.csv"])
    images = [image for one in collected.patients for _, image in one.case.iterate_images()]
    assert len(images) >= 680
    assert all(one.case.patient.patient_id.startswith("P-") for one in collected.patients)
    assert all(lesion.label for one in collected.patients for lesion in one.case.lesions)


def test_the_mask_of_a_correction_is_read_back(photographs: Path, tmp_path: Path) -> None:
    corrected(tmp_path / "case", photographs)
    kept = CaseStore.open_read_only(tmp_path / "case").case.find_image("I5").correction
    assert read_correction(kept).sum() == 16


def disc(folder: Path, name: str) -> Photograph:
    """A photograph of a dark disc, in a file too."""
    rows, columns = np.mgrid[:40, :50]
    rgb = np.full((40, 50, 3), 220, np.uint8)
    rgb[(rows - 20) ** 2 + (columns - 25) ** 2 < 100] = 40
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(folder / f"{name}.png")
    return Photograph(rgb, name)


class Darkness:
    """Segment dark pixels."""

    device, backend = "cpu", "torch"
    config = SimpleNamespace(
        threshold=0.5,
        is_demonstration=False,
        provenance={},
        modalities=("dermoscopic",),
        closer_views=(),
        turned_views=None,
    )
    info = SimpleNamespace(name="darkness", fingerprint="0" * 64, config=config)

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        return (1 - rgb.mean(2) / 255).astype(np.float32)


def analysed(photograph: Photograph) -> LesionResult:
    return analyze_lesion(photograph, Darkness(), LesionOptions(), run=RunContext())


def test_results_are_stored_with_their_mask(tmp_path: Path) -> None:
    result = analysed(disc(tmp_path / "in", "back_1"))
    import_case(tmp_path / "case", [tmp_path / "in"])
    with CaseStore.open(tmp_path / "case") as store:
        case = save_result(store, store.case, "I1", result)
        assert case.find_image("I1").correction is None
        drawn = np.zeros(result.mask.shape, bool)
        drawn[10:30, 10:30] = True
        case = save_result(store, case, "I1", remeasure(result, drawn, LesionOptions()))
        store.save(case)
    with CaseStore.open(tmp_path / "case") as store:
        image = store.case.find_image("I1")
        assert [image.is_current(kept) for kept in image.results] == [False, True]
        assert (read_correction(image.correction) == drawn).all()
        assert (read_mask(image.results[1].path / "mask.png") == drawn).all()
        assert image.correction.image_digest == array_fingerprint(result.photograph.rgb)
        assert [kept.model for kept in image.results] == ["darkness", "darkness"]
        assert collect_patients([tmp_path]).patients[0].images[0].image.path.name == "back_1.png"
    assert check_case(tmp_path / "case").faults == ()
    shutil.rmtree(image.results[0].path)
    assert [about for about, message in check_case(tmp_path / "case").faults if "missing or damaged" in message] == [
        "I1"
    ]


def test_unreferenced_files_are_removed_on_closing(tmp_path: Path) -> None:
    result = analysed(disc(tmp_path / "in", "back_1"))
    import_case(tmp_path / "case", [tmp_path / "in"])
    with CaseStore.open(tmp_path / "case") as store:
        before = store.case
        store.save(save_result(store, before, "I1", remeasure(result, ~result.mask, LesionOptions())))
        store.save(before)
        assert list((tmp_path / "case" / "results").iterdir())
    assert list((tmp_path / "case" / "results").iterdir()) == []
    with CaseStore.open(tmp_path / "case"):
        second = CaseStore.open(tmp_path / "case")
        with pytest.raises(SaveError, match="has the case open"):
            save_result(second, second.case, "I1", result)
