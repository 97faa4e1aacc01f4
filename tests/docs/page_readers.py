"""What the readers of pages have, and which commands cannot run in a test. Pages without an entry need no files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import page_files as make
from page_files import Files

# Commands that do not run, by a pattern of their beginning, and why.
NOT_RUN = {
    "napari-melanoma (open|demo)": "opens a window",
    "make ": "is what runs the tests",
    r"(QT_API=pyqt6 scripts/with-display.sh )?\.venv/bin/": "runs tests or the program in a checkout",
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
    "napari-melanoma reproduce ": "measures or trains many networks; tests/extensions/papers trains smaller ones",
    "napari-melanoma (tissue train|models import runs/skin-layers)": "trains for a minute; "
    "tests/cli/test_tissue_train.py does",
    "napari-melanoma tissue fit section.svs --sources timm:": "needs the weights of a published encoder",
    "napari-melanoma slide section.svs --out embeddings --model uni": "needs the weights of a published encoder",
    "napari-melanoma train --config slide-patients.toml --allow-outside --out": "computes embeddings of many slides; "
    "tests/training/bags trains on stored ones",
    "napari-melanoma slide section.svs --out results --model runs/slide-patients": "needs the model of the line before",
    "napari-melanoma phantom cohort ": "generates hundreds of patients; page_files makes a smaller one",
    "python scripts/": "reads thousands of damaged files, or measures a model on real images",
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
    "@list_loss(": "is part of training/losses.py; tests/test_extending.py has a loss of a plug-in",
    "nm.push(": "needs the Hugging Face hub; tests/models/test_hub.py has a local one",
    "napari.Viewer()": "opens a window; tests/ui/test_tools.py does",
    "prepare_network(": "trains for a minute; tests/cli/test_tissue_train.py does",
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
EXAMPLES: Files = {"examples/photographs": make.of_repository}
SKIN_SLIDE: Files = {"src/napari_melanoma/samples/slide/skin_morphea_20x.tif": make.of_repository}
SKIN: Files = {"skin-layers": make.skin_layers}
RESULTS: Files = {**SECTION, "results": make.slide_results}
RECIPE: Files = {"dataset": make.dataset, "recipe.toml": make.fine_tuning}
DATA: Files = {
    "data/isic2017": make.dataset,
    "data/pad_ufes": partial(make.dataset, first=20),
    "data/ph2": partial(make.dataset, first=40),
}
SHIPPED: Files = {
    **DATA,
    "data/isic2017_sharp": make.dataset,
    "data/pad_ufes_second": partial(make.dataset, first=20),
    "recipes": make.recipes,
}
SLIDES = tuple(f"{letter}.svs" for letter in "abcdefgh")  # each of one patient


def trained(*names: str) -> Files:
    return dict.fromkeys(names, make.segmentation_run)


READERS = {
    "CONTRIBUTING.md": Reader(SHIPPED | trained("runs/lesion-small") | {"dataset": make.dataset}),
    "README.md": Reader(
        OWN
        | PHOTO
        | {"mole.jpg": make.photograph, "slides": make.slides}
        | SECTION
        | {
            "downloads": make.pad_ufes,
            "my-table.csv": make.patients,
            "runs/risk/bundle": make.bundle("risk-demo"),
        },
    ),
    "docs/tutorials/first-tissue-classifier.md": Reader({"slides": make.slides, "saved/tissue": make.tissue_model}),
    "docs/tutorials/first-slide.md": Reader(SKIN_SLIDE),
    "docs/tutorials/first-training.md": Reader(OWN | EXAMPLES),
    "docs/tutorials/first-photograph.md": Reader(EXAMPLES),
    "docs/tutorials/make-it-yours.md": Reader(EXAMPLES),
    "docs/tutorials/quick-path-researcher.md": Reader(PHOTO | EXAMPLES),
    "docs/reference/samples.md": Reader(EXAMPLES),
    "docs/tutorials/melanoma-case.md": Reader(
        SKIN_SLIDE | {"src/napari_melanoma/samples/smartphone": make.of_repository},
        before={
            "napari-melanoma report P-0042 results --out shared/report.html --pdf": {
                "results/skin_morphea_20x": make.depth_readings,
                "P-0042": make.synoptic_report,
            },
        },
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
        RESULTS | {"annotated": make.exported("coco"), "cases/P-0042": make.case, "disc/DICOM": make.dicom_archive},
        before={
            "napari-melanoma export cases/P-0042 --out exchange --to synoptic,synoptic.csv,fhir": {
                "cases/P-0042": make.synoptic_report
            }
        },
    ),
    "docs/how-to/evaluating.md": Reader(
        DATA
        | trained("runs/first", "runs/second")
        | {
            "data/isic2018": partial(make.dataset, first=60),
            "photographs": make.photographs,
            "runs/classes/bundle": make.bundle("melanoma-small"),
            "runs/a/bundle": make.bundle("melanoma-small"),
            "runs/b/bundle": make.bundle("melanoma-small"),
            "runs/risk/bundle": make.bundle("risk-demo"),
            "cohort": make.cohort,
        },
        before={
            "napari-melanoma compare evaluation-a evaluation-b --out side-by-side": {
                "evaluation-a": partial(make.evaluation, model="runs/a/bundle"),
                "evaluation-b": partial(make.evaluation, model="runs/b/bundle"),
            },
            "napari-melanoma compare --model runs/a --model runs/b --data data/isic2017 --split test "
            "--out side-by-side": {"side-by-side": make.remove},
            "napari-melanoma compare evaluation-a evaluation-b evaluation-c --out side-by-side": {
                "evaluation-a": partial(make.evaluation, model="lesion-small"),
                "evaluation-b": partial(make.evaluation, model="runs/first/bundle"),
                "evaluation-c": partial(make.evaluation, model="runs/second/bundle"),
            },
        },
    ),
    "docs/how-to/comparing.md": Reader(
        DATA | trained("runs/second") | {"corrections": partial(make.dataset, first=60)},
        before={"napari-melanoma train --config recipe.toml --out runs/second": {"runs/second": make.remove}},
        exits=dict.fromkeys(
            (f"napari-melanoma runs {verb} runs/second" for verb in ("pause", "unpause", "cancel")),
            (2, "the run has finished; tests/cli/test_runs.py has one that has not"),
        ),
    ),
    "docs/how-to/adapting.md": Reader({"datasets/clinic": make.clinic}),
    "docs/how-to/models.md": Reader(PHOTO | {"runs/second/bundle": make.bundle("lesion-small")}),
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
            "clinic.toml": make.block_of("docs/reference/body-map.md", "toml"),
            "archive": make.dicom_archive,
            "isic2016": partial(make.dataset, first=20),
            "isic2018": partial(make.dataset, first=40),
            **OWN,
            "annotations.json": make.coco_file,
            "labelme": make.labelme_files,
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
    "docs/how-to/folds.md": Reader(RECIPE | {"photographs": make.photographs}),
    "docs/how-to/reproduce.md": Reader(DATA),
    "docs/how-to/depth-by-hand.md": Reader(
        {
            "results": make.slide_results,
            "results/section": partial(make.depth_readings, line=((900.0, 1000.0), (1200.0, 1000.0))),
            "reader-a": make.slide_results,
            "reader-a/section": partial(make.depth_readings, readers=("A. Meyer",)),
            "reader-b": make.slide_results,
            "reader-b/section": partial(make.depth_readings, readers=("B",)),
        }
    ),
    "docs/how-to/paint.md": Reader(
        SECTION
        | {
            "section.geojson": make.outlines,
            "a.svs": make.slide,
            "a.geojson": make.outlines,
            "b.svs": make.slide,
            "b.geojson": make.outlines,
            "slides": make.slides,
            "other.svs": make.slide,
            "strokes.geojson": make.outlines,
            "a.qptiff": make.fluorescence,
            "b.qptiff": make.fluorescence,
        },
        before={
            "napari-melanoma tissue fit a.qptiff b.qptiff --channels DAPI,CD8,PanCK --out immune": {
                "a.geojson": make.fluorescence_strokes,
                "b.geojson": make.fluorescence_strokes,
                "slides/c.qptiff": make.fluorescence,
            }
        },
    ),
    "docs/how-to/privacy.md": Reader(RESULTS | {"dataset.zip": make.dataset_archive}),
    "docs/how-to/many-photographs.md": Reader(
        OWN
        | {
            "photo.jpg": partial(make.photograph, side=640),
            "more": partial(make.photographs, suffix="png", first=30),
        }
    ),
    "docs/how-to/slides.md": Reader(
        SECTION
        | SKIN
        | {"slide.svs": make.slide, "section.tif": partial(make.slide_of_size, size=4096)}
        | {f"slides/section-{number}.svs": make.slide for number in range(17, 24)},
        before={
            "napari-melanoma recipes write slide-mil --data embeddings --out slide-mil.toml": {
                "embeddings/dataset.csv": make.block_of("docs/how-to/slides.md", "csv")
            }
        },
    ),
    "docs/how-to/slide-dock.md": Reader(
        {"slides": make.slides, "results": make.drawn_regions} | SECTION | {"section.geojson": make.renamed_outlines},
        before={
            "napari-melanoma data tiles section.svs --regions section.geojson --out tiles --class Tumor=melanoma "
            "--class Skin": {"tiles": make.remove}
        },
    ),
    "docs/explanation/depth.md": Reader(SKIN | {"section.tif": make.slide, "regions.geojson": make.outlines}),
    "docs/explanation/inference.md": Reader(PHOTO | SECTION),
    "docs/reference/features.md": Reader({"dataset": make.dataset}),
    "docs/reference/slide-options.md": Reader({"slide.svs": make.slide}),
    "docs/reference/table.md": Reader(
        {
            "HAM10000_metadata.csv": make.ham10000_table,
            "patients.csv": make.patients,
            "columns.toml": make.block_of("docs/reference/table.md", "toml"),
        }
    ),
    "docs/how-to/trackers.md": Reader(RECIPE),
    "docs/how-to/cohorts.md": Reader(SKIN | {"slides": make.slides}),
    "docs/how-to/risk.md": Reader(
        SECTION
        | {
            "results/section": partial(make.depth_readings, line=((900.0, 1000.0), (1200.0, 1000.0))),
            "runs/risk/bundle": make.bundle("risk-demo"),
            "patients.csv": partial(make.patients, names=("section",)),
            "patches": make.patches,
            "DATASET": make.cohort,
        },
        before={"napari-melanoma train --config risk.toml --out runs/risk": {"runs/risk": make.remove}},
    ),
    "docs/how-to/training.md": Reader(
        SHIPPED
        | {
            "recipe.toml": partial(make.fine_tuning, data="data/isic2017"),
            "slides": partial(make.slides, names=SLIDES),
            "patients.csv": partial(make.outcomes, names=SLIDES),
        }
    ),
    "docs/reference/biomarkers.md": Reader(
        DATA | SKIN | {"runs/risk/bundle": make.bundle("risk-demo"), "cohort": make.cohort}
    ),
    "docs/reference/body-map.md": Reader(
        {"patients.csv": make.clinic_table, "patients.toml": make.block_of("docs/reference/body-map.md", "toml")}
    ),
    "docs/reference/data-report.md": Reader(
        {
            "dataset": make.dataset,
            "isic2017": make.dataset,
            "pad_ufes": partial(make.dataset, first=20),
            "ph2": partial(make.dataset, first=40),
        }
    ),
    "docs/reference/phantoms.md": Reader({"cohort": make.cohort}),
    "docs/reference/python-api.md": Reader(
        OWN | {"mole.jpg": make.photograph, "slide.svs": make.slide, "few": make.few_photographs},
        before={
            "napari-melanoma recipes write fine-tune --data dataset --start lesion-small --out recipe.toml": {
                "dataset": make.dataset
            },
            "napari-melanoma models import runs/first/bundle": trained("runs/first"),
        },
    ),
}
