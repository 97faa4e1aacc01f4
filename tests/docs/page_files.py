"""The files that pages expect of a reader: photographs, tables, slides, results and models, made of phantoms.

Each is made once in a process, and copied into the folder of a page; samples and examples are copied from the
repository. Models are trained for one short epoch, or are the shipped ones in the place of the reader's own.
"""

from __future__ import annotations

import atexit
import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import tomli_w
from finding_files import write_depth
from PIL import Image
from slide_models import SKIN_TEST
from typer.testing import CliRunner

from napari_melanoma.cli import app
from napari_melanoma.core.parsing import read_toml_table
from napari_melanoma.core.run_folder import PROCESS_FILE
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom

Builder = Callable[[Path], None]
Files = Mapping[str, Builder]
COUNT = 12  # patients, each with one photograph
CLINIC_COUNT = 60  # photographs of a clinic, twenty of each diagnosis
SIDE = 256  # of photographs
NAMES = tuple(f"IMG_{number:04}" for number in range(COUNT))  # of a camera: no patient, no lesion
DIAGNOSES = ("melanoma", "nevus", "seborrheic keratosis")
SITES = ("torso", "head/neck", "lower extremity")
SPLITS = ("train", "train", "train", "val", "val", "test")


@contextmanager
def within(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, f"{words}: {result.output}"


@cache
def shelf() -> Path:
    folder = Path(mkdtemp(prefix="napari-melanoma-pages-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def once(build: Builder) -> Builder:
    """Build in the first place where it is needed, and copy that afterwards."""
    made: list[Path] = []

    def built(target: Path) -> None:
        if not made:
            original = shelf() / f"{len(list(shelf().iterdir()))}" / target.name
            original.parent.mkdir()
            build(original)
            made.append(original)
        if made[0].is_dir():
            shutil.copytree(made[0], target, dirs_exist_ok=True)
        else:
            shutil.copyfile(made[0], target)

    return built


def write_rows(target: Path, rows: list[dict[str, object]]) -> None:
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def shrink_recipe(path: Path) -> None:
    """Train for one epoch at a low resolution."""
    recipe = read_toml_table(path)
    recipe |= {"epochs": 1, "batch_size": 4, "samples": 1}
    model = recipe.setdefault("model", {})
    model["input_size"] = min(64, model.get("input_size", 64))
    with path.open("wb") as file:
        tomli_w.dump(recipe, file)


def block_of(page: str, language: str, number: int = 0) -> Builder:
    """Save a file as the page shows it."""
    from pages import REPOSITORY, blocks

    shown = [block.text for block in blocks(REPOSITORY / page) if block.language == language]

    def write(target: Path) -> None:
        target.write_text(shown[number], encoding="utf-8")

    return write


def remove(target: Path) -> None:
    """Use a new folder where a page shows alternatives."""
    if target.is_dir():
        shutil.rmtree(target)


def of_repository(target: Path) -> None:
    """Copy a file or folder of the repository, which the reader has cloned, from the same path."""
    from pages import REPOSITORY

    path = REPOSITORY / target.relative_to(Path.cwd())
    if path.is_dir():
        shutil.copytree(path, target)
    else:
        shutil.copyfile(path, target)


# Photographs and data sets


@cache
def phantom(seed: int, side: int = SIDE) -> Any:
    return lesion_phantom(LesionPhantomConfig(seed=seed, size=(side, side)))


def photograph(target: Path, seed: int = 100, side: int = SIDE) -> None:
    Image.fromarray(phantom(seed, side).rgb).save(target)


def mask(target: Path, seed: int = 100) -> None:
    Image.fromarray(phantom(seed).mask).convert("L").save(target)


def photographs(target: Path, suffix: str = "jpg", first: int = 0) -> None:
    target.mkdir(parents=True)
    for number in range(COUNT):
        photograph(target / f"{NAMES[number]}.{suffix}", first + number)


def masks(target: Path, first: int = 0) -> None:
    target.mkdir(parents=True)
    for number in range(COUNT):
        mask(target / f"{NAMES[number]}.png", first + number)


def photographs_of_lesions(target: Path) -> None:
    """Photographs of one patient, in names that state the lesion."""
    target.mkdir(parents=True)
    for number, name in enumerate(("back_left_1_dermoscopy", "chest_2_dermoscopy")):
        photograph(target / f"{name}.jpg", 500 + number)


def few_photographs(target: Path) -> None:
    photographs(target / "images", first=400)
    masks(target / "masks", first=400)


def patient(number: int) -> dict[str, object]:
    return {
        "patient_id": f"c{number:02}",
        "age": 30 + 4 * number,
        "sex": ("female", "male")[number % 2],
        "site": SITES[number % 3],
        "diagnosis": DIAGNOSES[number % 3],
    }


def patients(target: Path, names: tuple[str, ...] = NAMES) -> None:
    write_rows(target, [{"image_id": name, **patient(number)} for number, name in enumerate(names)])


def outcomes(target: Path, names: tuple[str, ...]) -> None:
    """A table of slides with the outcome of their patients."""
    rows = [
        {"slide": name, **patient(number), "depth_mm": 1 + number / 4, "metastasis": number % 2}
        for number, name in enumerate(names)
    ]
    write_rows(target, rows)


def dataset(target: Path, first: int = 0, masked: bool = True, splits: tuple[str, ...] = SPLITS) -> None:
    photographs(target / "images", "png", first)
    if masked:
        masks(target / "masks", first)
    rows = [
        {"image_id": NAMES[number], "split": splits[number % len(splits)], "modality": "dermoscopic"}
        | patient(number)
        | {"patient_id": f"c{first + number:02}", "melanoma": int(number % 3 == 0)}
        for number in range(COUNT)
    ]
    write_rows(target / "dataset.csv", rows)


@once
def clinic(target: Path) -> None:
    """A data set with photographs of a clinic, enough to adapt a classifier: its melanomas are dark."""
    rows: list[dict[str, object]] = []
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True)
    for number in range(CLINIC_COUNT):
        found, row = phantom(600 + number), patient(number)
        rgb = found.rgb.copy()
        rgb[found.mask] = rgb[found.mask] * (0.4 if row["diagnosis"] == "melanoma" else 1.0)
        Image.fromarray(rgb).save(target / "images" / f"c{number}.png")
        mask(target / "masks" / f"c{number}.png", 600 + number)
        rows.append({"image_id": f"c{number}", "modality": "dermoscopic"} | row)
    write_rows(target / "dataset.csv", rows)


def dataset_archive(target: Path) -> None:
    dataset(target.with_suffix(""))
    shutil.make_archive(str(target.with_suffix("")), "zip", target.with_suffix(""))
    shutil.rmtree(target.with_suffix(""))


def isic2017(target: Path, first: int = 0) -> None:
    for part, numbers in {"Training": (0, 1, 2, 3), "Validation": (4, 5), "Test_v2": (6, 7)}.items():
        for folder in (f"ISIC-2017_{part}_Data", f"ISIC-2017_{part}_Part1_GroundTruth"):
            (target / folder).mkdir(parents=True)
        for number in numbers:
            name = f"ISIC_{first + number:07}"
            photograph(target / f"ISIC-2017_{part}_Data" / f"{name}.jpg", first + number)
            mask(target / f"ISIC-2017_{part}_Part1_GroundTruth" / f"{name}_segmentation.png", first + number)


def pad_ufes(target: Path) -> None:
    (target / "images").mkdir(parents=True)
    (target / "masks").mkdir()
    rows = []
    for number in range(COUNT):
        name = f"PAT_{number}_{number}_{number}.png"
        photograph(target / "images" / name, 20 + number)
        mask(target / "masks" / name, 20 + number)
        region, gender = ("BACK", "NECK", "FACE")[number % 3], ("FEMALE", "MALE")[number % 2]
        identity = {"patient_id": f"PAT_{number}", "lesion_id": number, "age": 30 + number}
        rows.append(
            identity
            | {"region": region, "gender": gender, "diagnostic": ("MEL", "NEV", "SEK")[number % 3], "img_id": name}
        )
    write_rows(target / "metadata.csv", rows)


def dicom_archive(target: Path) -> None:
    """Photographs of one patient as DICOM files, as a dermatoscope exports them."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    target.mkdir(parents=True)
    for number in range(2):
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
        file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = generate_uid()
        file.PatientID, file.PatientName, file.PatientAge, file.PatientSex = "4711", "Doe^Jane", "054Y", "F"
        file.StudyInstanceUID, file.SeriesInstanceUID = generate_uid(), generate_uid()
        file.Modality, file.StudyDate, file.ContentDate = "XC", "20260301", "20260301"
        file.Rows = file.Columns = SIDE
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PlanarConfiguration = 3, "RGB", 0
        file.BitsAllocated = file.BitsStored = 8
        file.HighBit, file.PixelRepresentation = 7, 0
        file.PixelData = phantom(300 + number).rgb.tobytes()
        file.save_as(target / f"image{number}.dcm", enforce_file_format=True)


# Tables


def table_of_one_patient(target: Path) -> None:
    """The patient of ``dicom_archive``."""
    names = ("back_left_1_dermoscopy", "chest_2_dermoscopy")
    write_rows(target, [{"image_id": name, "patient_id": "4711"} for name in names])


def table_of_lesions(target: Path) -> None:
    """The lesions of the images of ``dicom_archive``."""
    write_rows(target, [{"image_id": f"image{number}", "lesion_id": number + 1} for number in range(2)])


def clinic_table(target: Path) -> None:
    target.write_text(
        "image_id,PatNr,Geschlecht,Lokalisation,Bemerkung\nx1,1,w,Stelle X,keine\nx2,2,m,Stelle X,keine\n"
    )


def isic2019_tables(target: Path) -> None:
    target.mkdir()
    (target / "ISIC_2019_Training_GroundTruth.csv").write_text(
        "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_0000000,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0\n"
    )
    (target / "ISIC_2019_Training_Metadata.csv").write_text(
        "image,age_approx,anatom_site_general,lesion_id,sex\nISIC_0000000,55,anterior torso,L1,female\n"
    )


def ham10000_table(target: Path) -> None:
    target.write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\n"
        "HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp,vidir_modern\n"
        "HAM_0000119,ISIC_0034320,mel,follow_up,,unknown,back,rosendahl\n"
    )


# Slides


@once
def slide(target: Path) -> None:
    slide_of_size(target, 2048)


def slide_of_size(target: Path, size: int) -> None:
    with within(target.parent):
        run("phantom", "slide", "--out", "phantom", "--size", size, "--seed", 1)
    (target.parent / "phantom" / "slide_0001.tif").rename(target)


@once
def fluorescence(target: Path) -> None:
    """A slide of three channels, as a QPTIFF file."""
    import tifffile
    from painted_phantoms import draw_fluorescence, draw_phantom

    plain = draw_fluorescence(draw_phantom(target.parent / "brightfield.tif"), target.parent / "plain.ome.tif").path
    root = "PerkinElmer-QPI-ImageDescription"
    with tifffile.TiffWriter(target) as file:
        for name, plane in zip(("DAPI", "CD8", "PanCK"), tifffile.imread(plain), strict=True):
            description = f"<{root}><ImageType>FullResolution</ImageType><Name>{name}</Name></{root}>"
            labels = {"description": description, "software": "PerkinElmer-QPI", "metadata": None}
            file.write(plane, tile=(256, 256), resolution=(1e4, 1e4), resolutionunit="CENTIMETER", **labels)


@once
def fluorescence_strokes(target: Path) -> None:
    from painted_phantoms import CLASSES, draw_phantom

    from napari_melanoma.slides.tissue_classifier.strokes import write_strokes

    write_strokes(target, draw_phantom(target.parent / "brightfield.tif").strokes(4), dict(CLASSES))


def slides(target: Path, names: tuple[str, ...] = ("a.svs", "b.svs")) -> None:
    target.mkdir(parents=True)
    for name in names:
        slide(target / name)


def tcga(target: Path) -> None:
    target.mkdir(parents=True)
    (target / "clinical.tsv").write_text(
        "cases.submitter_id\tdemographic.gender\tdemographic.age_at_index\tdiagnoses.ajcc_pathologic_n\n"
        "TCGA-ZZ-0001\tfemale\t61\tN2a\n"
    )
    slide(target / "TCGA-ZZ-0001-01Z-00-DX1.0A1B2C3D-0000-4000-8000-00000000AB01.svs")


def cptac(target: Path) -> None:
    target.mkdir(parents=True)
    header = "Case_ID,Slide_ID,Specimen_Type,Tumor,Tumor_Site,Gender,Age_at_Diagnosis"
    (target / "slides.csv").write_text(f"{header}\nC3L-99001,C3L-99001-21,tumor_tissue,CM,Trunk,Male,52\n")
    slide(target / "C3L-99001-21.svs")


@once
def cohort(target: Path) -> None:
    with within(target.parent):
        run("phantom", "cohort", "--out", target.name, "--count", 12, "--seed", 0)


def patches(target: Path) -> None:
    """Square patches of 3 mm, as in a cohort."""
    cohort(target.parent / f"cohort-of-{target.name}")
    (target.parent / f"cohort-of-{target.name}" / "images").rename(target)
    shutil.rmtree(target.parent / f"cohort-of-{target.name}")


@once
def outlines(target: Path) -> None:
    """The outlines of the slide, as a pathologist would draw them in QuPath."""
    with within(target.parent):
        run("phantom", "slide", "--out", "phantom", "--size", 2048, "--seed", 1)
    (target.parent / "phantom" / "slide_0001.geojson").rename(target)


def renamed_outlines(target: Path) -> None:
    """The outlines with the classes of another laboratory."""
    outlines(target)
    text = target.read_text(encoding="utf-8")
    target.write_text(text.replace('"Melanoma"', '"Tumor"').replace('"Tissue"', '"Skin"'), encoding="utf-8")


def drawn_regions(target: Path, names: tuple[str, ...] = ("a", "b")) -> None:
    """The outlines of QuPath for slides, in files of their names."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        outlines(target / f"{name}.geojson")


# Results


@once
def slide_results(target: Path) -> None:
    """An analyzed slide, ``section.svs``."""
    slide(target.parent / "section.svs")
    skin_layers(target.parent / "skin-layers")
    with within(target.parent):  # results state a model by the path that was given, and a whole one is personal
        run("slide", "section.svs", "--out", target.name, "--model", "skin-layers")


def evaluation(target: Path, model: str) -> None:
    remove(target)
    run("evaluate", "--model", model, "--data", "data/isic2017", "--split", "val", "--out", target)


@once
def photo_results(target: Path) -> None:
    photographs(target.parent / "photographs")
    run("lesion", target.parent / "photographs" / f"{NAMES[0]}.jpg", "--out", target)


def case(target: Path) -> None:
    """A case beside its photographs, to which its paths are relative."""
    photographs = target.with_name(f"{target.name}-photographs")
    photographs_of_lesions(photographs)
    with within(target.parent):
        run("case", target.name, "--from", photographs.name)


def depth_readings(target: Path, readers: tuple[str, ...] = ("A. Meyer", "B"), line: Any = None) -> None:
    """Measure the depth of a slide by hand, in the Slide dock; ``line``: (row, column) of surface and deepest cell."""
    from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings

    readings = tuple(
        DepthReading(reader=name, when="2026-03-01", mm=1.6 + shift / 10, line=line)
        for shift, name in enumerate(readers)
    )
    write_depth(target, SlideDepthReadings(readings=readings))


def synoptic_report(target: Path) -> None:
    """Fill in the synoptic report of the first lesion of a case."""
    from napari_melanoma.case.model import set_lesion
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport

    report = SynopticReport(answers={"extent": SynopticAnswer(value="in_situ")})
    with CaseStore.open(target) as store:
        store.save(set_lesion(store.case, store.case.lesions[0].id, synoptic=report))


# Models and recipes


def skin_layers(target: Path) -> None:
    """A slide model with a tumor, in the place of one that the reader has painted or trained."""
    shutil.copytree(SKIN_TEST, target)


def bundle(name: str) -> Builder:
    """A shipped model, in the place of one that the reader has trained."""

    def copied(target: Path) -> None:
        shutil.copytree(SHIPPED_FOLDER / name, target)

    return copied


@once
def segmentation_run(target: Path) -> None:
    dataset(target.parent / "dataset", first=200)
    with within(target.parent):
        run("recipes", "write", "fine-tune", "--data", "dataset", "--out", "recipe.toml")
        shrink_recipe(Path("recipe.toml"))
        run("train", "--config", "recipe.toml", "--out", target.name)
    (target / PROCESS_FILE).unlink()  # for others, the run ends with its process


def tissue_model(target: Path) -> None:
    """Save the painted strokes as a model, in the Slide dock."""
    with within(target.parent):
        choice = ("--sources", "texture", "--kind", "logistic")
        slide(Path("section.svs").absolute())
        outlines(Path("section.geojson").absolute())
        run("tissue", "fit", "section.svs", "--out", target.name, *choice)
        run("models", "import", target.name)


def fine_tuning(target: Path, data: str = "dataset") -> None:
    with within(target.parent):
        run("recipes", "write", "fine-tune", "--data", data, "--out", target.name)


def recipes(target: Path) -> None:
    from pages import REPOSITORY

    shutil.copytree(REPOSITORY / "recipes", target)


# Files of other programs


def exported(to: str, *options: str, first: int = 0) -> Builder:
    """A data set in the format of another program."""

    def build(target: Path) -> None:
        source = target.parent / f"source-of-{target.name}"
        dataset(source, first, splits=("train", "train", "val", "test"))
        run("data", "export", to, source, "--out", target, *options)
        shutil.rmtree(source)

    return once(build)


@once
def coco_file(target: Path) -> None:
    with within(target.parent):
        exported("coco")(Path("coco").absolute())
        next(Path("coco").rglob("*train*.json")).rename(target)


@once
def labelme_files(target: Path) -> None:
    exported("labelme")(target.parent / "files")
    target.mkdir()
    for file in (target.parent / "files").rglob("*.json"):
        file.rename(target / file.name)


def label_images(target: Path) -> None:
    """Segmentations of micro-sam: numbered objects in TIFF files."""
    target.mkdir()
    for number in range(COUNT):
        objects = phantom(number).mask.astype(np.uint16) * 3
        Image.fromarray(objects).save(target / f"{NAMES[number]}.tif")


def measurement_table(target: Path) -> None:
    """A table of QuPath's *Export measurements*."""
    target.mkdir()
    results = target.parent / f"results-of-{target.name}"
    slide_results(results)
    run("export", results, "--out", target / "exported", "--to", "qupath")
    (target / "exported" / "section" / "objects.tsv").rename(target / "objects.tsv")
    shutil.rmtree(target / "exported")
    shutil.rmtree(results)


class Viewer:
    """A viewer of napari with a layer of micro-sam."""

    @property
    def layers(self) -> Any:
        from napari.components import LayerList
        from napari.layers import Labels

        return LayerList([Labels(phantom(100).mask.astype(np.uint16), name="committed_objects")])
