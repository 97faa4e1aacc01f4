"""Write a synthetic cohort as a data set: a patch of a phantom slide for each patient, tables and whole slides."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.csv_files import CsvWriter
from napari_melanoma.core.errors import DataSetError, MelanomaError
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.processes import lower_priority
from napari_melanoma.data.dataset import assemble_folder, write_dataset_table
from napari_melanoma.phantoms.cohort.risk_law import (
    LAW,
    NECROTIC_FROM_MM,
    SITES,
    CohortConfig,
    Patient,
    area_under_curve,
    collect_risk_factors,
    draw_patients,
    expected_aucs,
    optimal_scores,
)
from napari_melanoma.phantoms.slide.config import CLASS_OF, SlidePhantomConfig, TissueKind
from napari_melanoma.phantoms.slide.pixels import label_pixels
from napari_melanoma.phantoms.slide.plan import MAX_DEPTH_SHARE, PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import describe_slide_truth, draw_region, is_glass

FORMAT = 2  # raised when the same patients get other images; a cohort of another format is not continued


@dataclass(frozen=True)
class CohortFiles:
    """The folder of a cohort, and the number of its patients and slides."""

    folder: Path
    patients: int
    slides: int


def write_cohort(config: CohortConfig, out: Path, processes: int = 1, run: RunContext | None = None) -> CohortFiles:
    """Generate a cohort and write it as a data set.

    The files are written to a hidden folder next to ``out``, which is renamed when it is complete. After an
    interruption, the same call continues with the missing patients.
    """
    run = run or RunContext()
    patients = draw_patients(config)
    with assemble_folder(out) as folder:
        _write_or_check_config(config, folder)
        missing = [patient for patient in patients if not _image_path(folder, patient).exists()]
        total, existing, start = len(patients), len(patients) - len(missing), time.monotonic()
        tasks = run_tasks(partial(write_patient, config=config, folder=folder), missing, processes, run)
        for done, _ in enumerate(tasks, start=1):
            left = format_duration((time.monotonic() - start) * (len(missing) - done) / done)
            run.report(Progress(existing + done, total, f"Generating patients, about {left} left"))
        with_slide = _choose_slide_patients(config, patients)
        missing = [patient for patient in with_slide if not (folder / "slides" / f"{patient.name}.tif").exists()]
        tasks = run_tasks(partial(write_patient_slide, config=config, folder=folder), missing, processes, run)
        for done, _ in enumerate(tasks, start=1):
            run.report(Progress(done, len(missing), "Generating whole slides"))
        _write_tables(config, patients, with_slide, folder)
    return CohortFiles(out, len(patients), len(with_slide))


def write_patient(patient: Patient, config: CohortConfig, folder: Path) -> None:
    """Generate the patch of a patient and write it with its masks; the image is written last, to mark completion."""
    from napari_melanoma.io.results import write_mask, write_rgb

    patch = draw_patch(patient, config)
    write_json(folder / "truth" / f"{patient.name}.json", patch.truth)
    write_mask(folder / "tumour" / f"{patient.name}.png", patch.tumor)
    if patch.necrosis.any():
        write_mask(_mask_path(folder, patient), patch.necrosis)
    write_rgb(_image_path(folder, patient), patch.rgb)


def write_patient_slide(patient: Patient, config: CohortConfig, folder: Path) -> None:
    """Generate the whole slide of a patient, with its truth and outlines."""
    from napari_melanoma.phantoms.slide.render import write_slide

    write_slide(make_slide_config(patient, config), folder / "slides", patient.name)


def _image_path(folder: Path, patient: Patient) -> Path:
    return folder / "images" / f"{patient.name}.png"


def _mask_path(folder: Path, patient: Patient) -> Path:
    return folder / "masks" / f"{patient.name}.png"


def _write_or_check_config(config: CohortConfig, folder: Path) -> None:
    """Write the configuration of the cohort, or raise if the folder contains another cohort."""
    path = folder / "cohort.json"
    expected = {"format": FORMAT, "config": config.model_dump(mode="json")}
    if path.exists():
        stored = read_json(path)
        # The number of slides may differ: more slides of the same patients can be requested.
        is_same = stored == {
            "format": FORMAT,
            "config": {**config.model_dump(mode="json"), "slides": stored["config"]["slides"]},
        }
        if not is_same:
            raise DataSetError(
                f"{folder} contains the beginning of another cohort, of format {stored.get('format')} "
                f"({stored['config']}); this one has format {FORMAT}. Request the same one to continue, name another "
                "folder, or remove it."
            )
    write_json(path, expected)


def _choose_slide_patients(config: CohortConfig, patients: tuple[Patient, ...]) -> list[Patient]:
    """Select test patients for whole slides, alternately with and without a metastasis."""
    test_patients = [patient for patient in patients if patient.split == "test"]
    classes = [[patient for patient in test_patients if patient.metastasis == event] for event in (True, False)]
    longest = max(map(len, classes))
    alternating = [members[number] for number in range(longest) for members in classes if number < len(members)]
    return alternating[: config.slides]


def _write_tables(config: CohortConfig, patients: tuple[Patient, ...], with_slide: list[Patient], folder: Path) -> None:
    """Write the clinical data of all patients and, separately, the truth that must not be used for training."""
    truths = [read_json(folder / "truth" / f"{patient.name}.json") for patient in patients]
    rows = [
        _dataset_row(patient, truth, _mask_path(folder, patient).exists())
        for patient, truth in zip(patients, truths, strict=True)
    ]
    write_dataset_table(folder / "dataset.csv", rows)
    truth_rows = [_truth_row(patient, truth) for patient, truth in zip(patients, truths, strict=True)]
    _write_csv(folder / "truth.csv", truth_rows)
    if with_slide:
        rows_by_name = {row["image_id"]: row for row in rows}
        columns = ("image_id", "patient_id", *_CLINICAL_COLUMNS)
        clinical = [{column: rows_by_name[patient.name][column] for column in columns} for patient in with_slide]
        _write_csv(folder / "slides" / "patients.csv", clinical)
    write_json(
        folder / "cohort.json",
        {"format": FORMAT, "config": config.model_dump(mode="json"), **describe_cohort(config, patients)},
    )


_CLINICAL_COLUMNS = ("age", "sex", "site", "depth_mm", "ulceration", "mitoses_per_mm2", "clark")


def _dataset_row(patient: Patient, truth: Mapping[str, Any], has_mask: bool) -> dict[str, str]:
    """Return the row of ``dataset.csv``: the clinical data; ``has_mask``: whether necrosis is visible."""
    mpp = f"{truth['patch']['mpp']:.6g}"
    return {
        "image_id": patient.name,
        "path": f"images/{patient.name}.png",
        "mask_path": f"masks/{patient.name}.png" if has_mask else "",
        "patient_id": patient.name,
        "source": "phantom-cohort",
        "domain": truth["slide"]["look"],
        "modality": "wsi",
        "diagnosis": "melanoma",
        "target": "1",
        "melanoma": "1",
        "age": str(patient.age),
        "sex": patient.sex,
        "site": patient.site,
        "mpp_x": mpp,
        "mpp_y": mpp,
        "depth_mm": f"{patient.depth_mm:g}",
        **{f"depth_mm_reader_{number}": f"{mm:.1f}" for number, mm in enumerate(patient.readings_mm, start=1)},
        "ulceration": str(int(patient.ulcerated)),
        "mitoses_per_mm2": f"{patient.mitoses_per_mm2:g}",
        "clark": str(truth["clark"]),
        "necrosis": str(int(has_mask)),
        "metastasis": str(int(patient.metastasis)),
        "split": patient.split,
        "fold": str(patient.fold or ""),
        "depth_in_view": str(int(truth["depth_in_view"])),
    }


def _truth_row(patient: Patient, truth: Mapping[str, Any]) -> dict[str, str]:
    """Return the row of ``truth.csv``: values that are known only from the simulation."""
    return {
        "patient_id": patient.name,
        "split": patient.split,
        "probability": f"{patient.probability:.6f}",
        "metastasis": str(int(patient.metastasis)),
        "necrosis_share": f"{patient.necrosis:g}",
        "necrosis_in_view_mm2": str(truth["necrosis_in_view_mm2"]),
    }


def _write_csv(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write a table with the columns of the first row."""
    rows = list(rows)
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        CsvWriter(file).write_dicts(list(rows[0]), rows)


# Patches

UM = 1000.0  # per mm
# Margins of the view: glass and keratin above the surface, and tissue below the deepest point.
ABOVE_MM, BELOW_MM = 0.2, 0.05
_BLOCK = 512  # pixels along each side of a part that is drawn at once
_MIN_SAMPLES = 3  # along each side of a pixel of a patch
_TUMOR = 3  # class in CLASS_OF


@dataclass(frozen=True)
class CohortPatch:
    """A patch: ``rgb`` uint8 (row, column, channel), ``necrosis`` and ``tumor`` bool (row, column), and its truth."""

    rgb: NDArray[np.uint8]
    necrosis: NDArray[np.bool_]
    tumor: NDArray[np.bool_]
    truth: dict[str, Any]


def make_slide_config(patient: Patient, config: CohortConfig) -> SlidePhantomConfig:
    """Return the configuration of a patient's slide: one section with one melanoma.

    The side of a patch pixel is a whole number of slide pixels. Slides of test patients have looks that are never used
    for training.
    """
    mpp = config.patch_mm * UM / config.patch_px / downsample_factor(config)
    depth_mm = max(4.0, patient.depth_mm / MAX_DEPTH_SHARE + 0.1)
    size = tuple(int(np.ceil(side * UM / mpp)) for side in (1.15 * depth_mm + 1.8, 6.4))
    values = {
        "seed": patient.seed,
        "family": "test" if patient.split == "test" else "train",
        "mpp": mpp,
        "size": size,
        "lesions": {
            "benign": 0,
            "breslow_mm": patient.depth_mm,
            "ulceration": patient.ulcerated,
            "mitoses_per_mm2": patient.mitoses_per_mm2,
            "necrosis": patient.necrosis,
        },
        "section": {"depth_mm": depth_mm},
    }
    return SlidePhantomConfig.parse(values, patient.name)


def downsample_factor(config: CohortConfig) -> int:
    """Return the side of a patch pixel in slide pixels, so that a slide pixel is at most one micrometer wide."""
    return int(np.ceil(config.patch_mm * UM / config.patch_px))


def drawn_level(step: int) -> int:
    """Choose the level of the slide at which a patch is drawn; ``step``: side of a patch pixel in pixels of level 0.

    At level 1, drawing takes a third of the time. It is used if at least three by three of its pixels are averaged to
    a pixel of the patch.
    """
    return 1 if step % 2 == 0 and step >= 2 * _MIN_SAMPLES else 0


def draw_patch(patient: Patient, config: CohortConfig) -> CohortPatch:
    """Generate the patch of a patient, with the truth of the slide as JSON values."""
    plan = plan_slide(make_slide_config(patient, config))
    slide_truth = describe_slide_truth(plan)
    box, shows_deepest_point = choose_patch_box(plan, config)
    step = downsample_factor(config)
    level = drawn_level(step)
    factor = step // 2**level
    level_box = Box(box.top * factor, box.left * factor, box.height * factor, box.width * factor)
    rgb = _downsample(_render_box(plan, level_box, level), factor)
    labels = label_pixels(plan.sections[0], box, step)
    necrosis = labels == TissueKind.NECROSIS
    truth = {
        "slide": slide_truth,
        "patch": {"top": box.top, "left": box.left, "side_px": config.patch_px, "mpp": step * plan.config.mpp},
        "depth_in_view": shows_deepest_point,
        "necrosis_in_view_mm2": round(float(necrosis.sum()) * (step * plan.config.mpp / UM) ** 2, 5),
        "clark": slide_truth["sections"][0]["lesions"][0]["clark_level"],
    }
    return CohortPatch(rgb, necrosis, CLASS_OF[labels] == _TUMOR, truth)


def choose_patch_box(plan: PhantomSlidePlan, config: CohortConfig) -> tuple[Box, bool]:
    """Choose the area of a patch around the line along which the thickness is measured.

    The upper edge of the patch is 0.2 mm above the upper end of that line, and the middle of the visible part of the
    line is in the middle column. A melanoma that is too thick for the patch (more than about 2.7 mm) is shown from its
    surface down, without its deepest point.

    Returns the box in patch pixels from the slide's corner, and whether the deepest point is in view.
    """
    (section,) = plan.sections
    (lesion,) = section.lesions
    assert lesion.depth_line is not None  # a melanoma
    ends = section.frame.to_slide(*np.array(lesion.depth_line).T) / (config.patch_mm * UM / config.patch_px)
    (left, top), (right, bottom) = ends
    per_mm = config.patch_px / config.patch_mm
    room = config.patch_px - (ABOVE_MM + BELOW_MM) * per_mm
    visible = min(1.0, room / (bottom - top))
    column = left + visible * (right - left) / 2 - config.patch_px / 2
    return Box(int(top - ABOVE_MM * per_mm), int(column), config.patch_px, config.patch_px), bool(visible == 1.0)


def _render_box(plan: PhantomSlidePlan, box: Box, level: int) -> NDArray[np.uint8]:
    """Render a part of a level in blocks; these are larger than the tiles of a pyramid, because none is drawn twice."""
    rgb = np.empty((box.height, box.width, 3), np.uint8)
    rgb[:] = plan.look.stain.glass
    for top in range(0, box.height, _BLOCK):
        for left in range(0, box.width, _BLOCK):
            height, width = min(_BLOCK, box.height - top), min(_BLOCK, box.width - left)
            part = Box(box.top + top, box.left + left, height, width)
            if not is_glass(plan, level, part):
                rgb[top : top + height, left : left + width] = draw_region(plan, part, level)
    return rgb


def _downsample(rgb: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Average squares of ``step`` by ``step`` pixels."""
    rows = sum((rgb[start::step].astype(np.uint32) for start in range(1, step)), rgb[::step].astype(np.uint32))
    total = sum((rows[:, start::step] for start in range(1, step)), rows[:, ::step])
    return ((total + step * step // 2) // (step * step)).astype(np.uint8)


# Parallel processes

Task = TypeVar("Task")
_POLL_INTERVAL_S = 0.5
WINDOWS_PROCESSES = 61  # largest number that ProcessPoolExecutor accepts on Windows


def run_tasks(work: Callable[[Task], None], tasks: Sequence[Task], processes: int, run: RunContext) -> Iterator[Task]:
    """Run a function for independent tasks in several processes; yield each task when it is done."""
    if processes == 1 or len(tasks) < 2:
        for task in tasks:
            run.check()
            work(task)
            yield task
        return
    max_processes = WINDOWS_PROCESSES if sys.platform == "win32" else processes
    pool = ProcessPoolExecutor(min(processes, len(tasks), max_processes), get_context("spawn"), _initialize_worker)
    try:
        waiting = {pool.submit(work, task): task for task in tasks}
        while waiting:
            run.check()
            done, _ = wait(waiting, _POLL_INTERVAL_S, FIRST_COMPLETED)
            for future in done:
                future.result()
                yield waiting.pop(future)
    except BrokenProcessPool as error:
        raise MelanomaError(
            "a worker process was killed, probably by the system because memory is short. Run the same command "
            "again to continue, with fewer --processes."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _initialize_worker() -> None:
    """Ignore Ctrl+C, which the parent process handles, and run at low priority."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lower_priority()


# The description of a cohort in cohort.json

_PATCH_TEXT = (
    "the upper edge is 0.2 mm above the surface end of the line of measurement, the middle of that line in the middle "
    "column; of a melanoma too thick for 3 mm the deepest point is out of view (depth_in_view 0)"
)
_LOOKS_TEXT = (
    "split train: looks of the family 'train'; split test: looks of the family 'test', which are never trained on"
)


def describe_cohort(config: CohortConfig, patients: tuple[Patient, ...]) -> dict[str, Any]:
    """Describe how a cohort was generated, as JSON values.

    ``bayes_auc``: the best possible AUC in an infinite cohort, by the information used, as in ``optimal_scores``;
    ``auc_of_these``: the AUC of the optimal scores for these patients; ``auc_of_test``: for the test patients.
    """
    law = asdict(LAW) | {"site": dict(zip(SITES, LAW.site, strict=True)), "necrosis_from_mm": NECROTIC_FROM_MM}
    chance = 0.5 if config.random_labels else None
    return {
        "law": law,
        "formula": "log odds = intercept + log_depth ln(depth_mm / 1.1) + ulceration [ulcerated] "
        "+ decade (age - 60) / 10 + male [male] + site [site] + necrosis [necrosis in the tumour]",
        "noise": "the label is drawn with that probability: logistic noise of standard deviation 1.81 on the log odds",
        "labels": "shuffled within each fold and split: no prediction is possible"
        if config.random_labels
        else "drawn from the law",
        "bayes_auc": {name: chance or value for name, value in expected_aucs().items()},
        "auc_of_these": _optimal_aucs(patients),
        "auc_of_test": _optimal_aucs(tuple(patient for patient in patients if patient.split == "test")),
        "patch": _PATCH_TEXT,
        "looks": _LOOKS_TEXT,
        "files": {
            "masks": "necrosis, 0 and 255, of patients who have some in view",
            "tumour": "the tumour, 0 and 255",
            "truth": "ground truth of each slide",
            "truth.csv": "the law's probability and the necrosis of each patient; not for training",
        },
    }


def _optimal_aucs(patients: tuple[Patient, ...]) -> dict[str, float | None]:
    """Return the AUC of the optimal scores for some patients, by the information used."""
    if not patients:
        return {}
    truth = np.array([patient.metastasis for patient in patients])
    scores = optimal_scores(collect_risk_factors(patients))
    return {name: area_under_curve(score, truth) for name, score in scores.items()}
