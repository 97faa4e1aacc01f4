"""What the reader of each page has, which commands run on less data, and which cannot run in a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import page_files as make
from page_files import Files

# Commands that do not run, by a pattern of their beginning, and why.
NOT_RUN = {
    "napari-melanoma open": "opens a window",
    "napari-melanoma demo photo.jpg": "opens a window",
    "make ": "is what runs the tests",
    "python -m pip ": "changes the environment",
    "pip install": "changes the environment",
    "uv pip ": "changes the environment",
    "uv build": "builds the wheel; tests/test_manifest.py does",
    "cd napari-melanoma": "is the folder of the repository",
    "docker ": "needs Docker",
    "apptainer ": "needs Apptainer",
    "VERSION=0.1.0 rattler-build": "needs rattler-build",
    "conda ": "needs conda",
    "uv run ": "needs TensorFlow",
    "tar xf deeplabv3_": "needs a download",
    "napari-melanoma models pu": "needs the Hugging Face hub; tests/models/test_hub.py has a local one",
    "napari-melanoma lesion photo.jpg --out results --model hf:": "needs the Hugging Face hub",
    "napari-melanoma export results/section --out exchange --to dicom": "needs a slide in DICOM files, "
    "as tests/slides/test_dicom_segmentation.py writes",
    "napari-melanoma export results/section --out exchange --to spatialdata": "needs spatialdata, which requires an "
    "older dask",
    "napari-melanoma reproduce (?!.*--check)": "trains for 40 minutes or more; tests/extensions/papers trains less",
    "napari-melanoma slide section.svs --out results --device cuda": "needs a GPU",
    r"NAPARI_MELANOMA_\w+=\w+ napari$": "opens a window",
    "sbatch ": "needs SLURM; tests/slides/cohort has a stand-in",
    "python jobqueue_slides.py": "needs SLURM; tests/slides/cohort has a stand-in",
    "dask ": "runs until it is stopped; tests/slides/cohort starts both",
    "napari-melanoma slide slides --out results --scheduler": "needs the scheduler of the line before",
    "tensorboard ": "runs until it is stopped",
    "export MLFLOW_TRACKING_URI": "needs a server",
    "export WANDB_MODE=online": "needs a server",
}
# Python examples that do not run, by a part of their text, and why.
EXAMPLES_NOT_RUN = {
    "import spatialdata": "needs spatialdata and wsidata, which require an older dask",
    "Analyze slides on SLURM jobs": "needs SLURM; tests/slides/cohort has a stand-in",
    "napari.Viewer()": "opens a window; tests/ui/test_tools.py does",
}


@dataclass(frozen=True)
class Reader:
    """What a reader has before the first line, and does before certain lines.

    ``exits``: exit codes other than 0, with the reason. ``names``: those that the first Python example uses.
    """

    files: Files = field(default_factory=dict)
    before: Mapping[str, Files] = field(default_factory=dict)
    exits: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    names: Mapping[str, object] = field(default_factory=dict)


OWN: Files = {"photographs": make.photographs, "masks": make.masks, "patients.csv": make.patients}
PHOTO: Files = {"photo.jpg": make.photograph}
SECTION: Files = {"section.svs": make.slide}
RESULTS: Files = {**SECTION, "results": make.slide_results}
RECIPE: Files = {"dataset": make.dataset, "recipe.toml": make.fine_tuning}
DATA: Files = {
    "data/isic2017": make.dataset,
    "data/pad_ufes": partial(make.dataset, first=20),
    "data/ph2": partial(make.dataset, first=40),
}
AGAIN: Files = {"evaluation": make.remove}


def trained(*names: str) -> Files:
    return dict.fromkeys(names, make.segmentation_run)


READERS = {
    "docs/tutorials/first-photograph.md": Reader(),
    "docs/tutorials/first-slide.md": Reader(),
    "docs/tutorials/first-training.md": Reader(OWN),
    "docs/tutorials/melanoma-case.md": Reader(
        before={
            "napari-melanoma case P-0042 --from photographs --from slides": {
                "photographs/table.csv": make.block_of("docs/tutorials/melanoma-case.md", "text")
            },
            "napari-melanoma report P-0042 results --out shared/report.html --pdf": {
                "results/slide_0007": make.depth_readings,
                "P-0042": make.synoptic_report,
            },
        }
    ),
    "docs/how-to/coming-from-coco.md": Reader({"annotated": make.exported("coco")}),
    "docs/how-to/coming-from-micro-sam.md": Reader(
        {"segmentations": make.label_images, "photographs": make.photographs, "photographs/mole.jpg": make.photograph},
        names={"viewer": make.Viewer()},
    ),
    "docs/how-to/coming-from-nnunet.md": Reader({"nnUNet_raw/Dataset501_Lesion": make.exported("nnunet")}),
    "docs/how-to/coming-from-qupath.md": Reader(
        RESULTS
        | {
            "measurements": make.measurement_table,
            "slides": make.slides,
            "annotations": make.drawn_regions,
            "exported": make.exported("geojson", "--class", "Tumor=255"),
        }
    ),
    "docs/how-to/exchange.md": Reader(
        RESULTS | {"annotated": make.exported("coco"), "cases/P-0042": make.case},
        before={
            "napari-melanoma export cases/P-0042 --out exchange --to synoptic,synoptic-csv,fhir": {
                "cases/P-0042": make.synoptic_report
            }
        },
    ),
    "docs/how-to/models.md": Reader(PHOTO),
    "docs/how-to/report.md": Reader(
        SECTION
        | {
            "P-0042": make.case,
            "slide-results": make.slide_results,
            "photo-results": make.photo_results,
        }
    ),
    "docs/how-to/data-sets.md": Reader(
        {
            "downloads/isic2017": make.isic2017,
            "downloads/tcga": make.tcga,
            "downloads/cptac": make.cptac,
            "photographs": make.photographs,
            "tables": make.isic2019_tables,
            "clinic.csv": make.clinic_table,
            "clinic.toml": make.clinic_mapping,
            "archive": make.dicom_archive,
            "isic2016": partial(make.dataset, first=20),
            "isic2018": partial(make.dataset, first=40),
        },
        before={"napari-melanoma data import cptac-cm downloads/cptac --out cptac": {"clinic": make.remove}},
    ),
    "docs/how-to/case.md": Reader(
        {
            "photographs": make.photographs_of_lesions,
            "photographs/patients.csv": make.table_of_one_patient,
            "disc/DICOM": make.dicom_archive,
            "table.csv": make.table_of_lesions,
        }
    ),
    "docs/how-to/classifying.md": Reader(OWN | PHOTO | {"mask.png": make.mask}),
    "docs/how-to/corrections.md": Reader(OWN | {"annotations.json": make.coco_file, "labelme": make.labelme_files}),
    "docs/how-to/privacy.md": Reader(RESULTS | {"dataset.zip": make.dataset_archive}),
    "docs/explanation/depth.md": Reader({"section.tif": make.slide}),
    "docs/reference/features.md": Reader({"dataset": make.dataset}),
    "docs/reference/table.md": Reader(
        {
            "HAM10000_metadata.csv": make.ham10000_table,
            "patients.csv": make.patients,
            "columns.toml": make.block_of("docs/reference/table.md", "toml"),
        }
    ),
}
