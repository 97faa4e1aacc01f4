"""Synthetic cohorts: patients with a known risk of metastasis, and their images as a data set."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import DataSetError, MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.processes import lower_priority
from napari_melanoma.data.dataset import assemble_folder, write_dataset_table, write_rows
from napari_melanoma.phantoms import random_stream
from napari_melanoma.phantoms.slide.config import CLASS_OF, SlidePhantomConfig, TissueKind
from napari_melanoma.phantoms.slide.pixels import label_pixels
from napari_melanoma.phantoms.slide.plan import MAX_DEPTH_SHARE, PhantomSlidePlan, plan_slide
from napari_melanoma.phantoms.slide.render import describe_slide_truth, draw_region, is_glass

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
SITES = ("head/neck", "upper extremity", "lower extremity", "anterior torso", "posterior torso", "palms/soles")
_SITE_SHARES = (0.20, 0.19, 0.22, 0.13, 0.20, 0.06)
NECROTIC_FROM_MM = 0.5  # thinner melanomas have no space for visible necrosis
_DEPTHS_MM = 0.2, 6.0  # range of the thickness
_TYPICAL_MM, _TYPICAL_AGE = 1.1, 60.0
_SIMULATED = 200_000  # patients, enough for three decimals of an area under the curve


@dataclass(frozen=True)
class RiskFactors:
    """Variables of the law, arrays (patient,); ``site`` is an index into ``SITES``."""

    age: Floats
    male: Bools
    site: NDArray[np.integer[Any]]
    depth_mm: Floats
    ulcerated: Bools
    necrotic: Bools


@dataclass(frozen=True)
class RiskLaw:
    """A logistic law: coefficients of the log odds of a metastasis.

    ``log_depth`` applies to the natural logarithm of the thickness relative to 1.1 mm, ``decade`` to ten years of age
    relative to 60, ``site`` to each of ``SITES``. ``necrotic_share`` is the frequency of necrosis in melanomas of at
    least 0.5 mm; thinner ones have none. The outcome is sampled with the probability of the law, which is equivalent to
    logistic noise of standard deviation 1.81 on the log odds.
    """

    intercept: float = -2.5
    log_depth: float = 1.2
    ulceration: float = 1.2
    decade: float = 1.0
    male: float = 1.2
    site: tuple[float, ...] = (1.4, -0.8, -0.8, 0.0, 0.8, 1.8)
    necrosis: float = 3.0
    necrotic_share: float = 0.6

    def patient_log_odds(self, facts: RiskFactors) -> Floats:
        """Return the log odds from age, sex and site, float64 (patient,)."""
        return self.decade * (facts.age - _TYPICAL_AGE) / 10 + self.male * facts.male + np.array(self.site)[facts.site]

    def tumor_log_odds(self, facts: RiskFactors) -> Floats:
        """Return the log odds from thickness and ulceration, with the intercept, float64 (patient,)."""
        return (
            self.intercept + self.log_depth * np.log(facts.depth_mm / _TYPICAL_MM) + self.ulceration * facts.ulcerated
        )

    def probability(self, facts: RiskFactors) -> Floats:
        """Return the probability of a metastasis, which is the optimal prediction, float64 (patient,)."""
        return logistic(self.patient_log_odds(facts) + self.tumor_log_odds(facts) + self.necrosis * facts.necrotic)

    def probability_without_image(self, facts: RiskFactors) -> Floats:
        """Return the optimal prediction from the table alone, the mean over possible images, float64 (patient,)."""
        log_odds = self.patient_log_odds(facts) + self.tumor_log_odds(facts)
        necrosis_share = np.where(facts.depth_mm >= NECROTIC_FROM_MM, self.necrotic_share, 0.0)
        return (1 - necrosis_share) * logistic(log_odds) + necrosis_share * logistic(log_odds + self.necrosis)


LAW = RiskLaw()


class CohortConfig(Config):
    """Options of a cohort; equal values give the same patients, images and labels."""

    seed: int = Field(0, ge=0, description="seed of all random choices")
    count: int = Field(400, ge=10, le=100_000, description="patients, half of them with a metastasis")
    random_labels: bool = Field(
        False, description="shuffle metastases, so that no prediction is possible: a negative control"
    )
    patch_px: int = Field(512, ge=64, le=3000, description="height and width of a patch in pixels")
    patch_mm: float = Field(3.0, ge=0.5, le=6.0, description="height and width of a patch in mm, as P3 cuts them")
    test_share: float = Field(
        0.2, ge=0, le=0.8, description="share of patients for the test set, in looks never trained on"
    )
    folds: int = Field(5, ge=2, le=20, description="folds of the other patients for cross-validation")
    slides: int = Field(0, ge=0, description="number of test patients with whole slides")


def logistic(log_odds: Floats) -> Floats:
    """Convert log odds to probabilities."""
    return 1 / (1 + np.exp(-log_odds))


def draw_risk_factors(rng: np.random.Generator, count: int) -> RiskFactors:
    """Sample the risk factors of patients.

    The factors are independent, with two exceptions: thick melanomas are ulcerated more often, and melanomas below
    0.5 mm have no necrosis. Ages are whole years, and the thickness is rounded to hundredths of a millimeter.
    """
    age = np.rint(np.clip(rng.normal(_TYPICAL_AGE, 15, count), 18, 95))
    male = rng.random(count) < 0.54
    site = rng.choice(len(SITES), count, p=_SITE_SHARES)
    depth = np.round(np.exp(rng.uniform(np.log(_DEPTHS_MM[0]), np.log(_DEPTHS_MM[1]), count)), 2)
    ulcerated = rng.random(count) < logistic(-1.2 + 1.1 * np.log(depth / _TYPICAL_MM))
    necrotic = (rng.random(count) < LAW.necrotic_share) & (depth >= NECROTIC_FROM_MM)
    return RiskFactors(age, male, site, depth, ulcerated, necrotic)


def optimal_scores(facts: RiskFactors) -> dict[str, Floats]:
    """Return the optimal scores from parts of the information; only the order of the patients in a score has a meaning.

    Returns float (patient,) by the information used: ``all``, ``table`` (all but the image), ``image`` (thickness,
    ulceration and necrosis as visible in the image), ``tumour`` (thickness and ulceration), ``depth``, ``patient``,
    ``necrosis``.
    """
    tumor = LAW.tumor_log_odds(facts)
    return {
        "all": LAW.probability(facts),
        "table": LAW.probability_without_image(facts),
        "image": tumor + LAW.necrosis * facts.necrotic,
        "tumour": tumor,
        "depth": facts.depth_mm,
        "patient": LAW.patient_log_odds(facts),
        "necrosis": facts.necrotic.astype(float),
    }


def area_under_curve(scores: Floats, truth: Bools) -> float | None:
    """Calculate the area under the ROC curve; ties count half.

    ``truth``: bool (patient,). Returns ``None`` for a single class.
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = int(truth.sum())
    pairs = positives * (len(truth) - positives)
    return float((rank[truth].sum() - positives * (positives + 1) / 2) / pairs) if pairs else None


def expected_aucs() -> dict[str, float | None]:
    """Calculate the areas under the curve of ``optimal_scores`` for an infinite cohort, by the information used."""
    rng = np.random.default_rng(0)
    facts = draw_risk_factors(rng, _SIMULATED)
    truth = rng.random(_SIMULATED) < LAW.probability(facts)
    return {name: area_under_curve(score, truth) for name, score in optimal_scores(facts).items()}


# Two readers of the depth: the mean of each relative to the truth; the relative standard deviation of a reading, chosen
# for the agreement in Scolyer et al. 2003 (ICC 0.96); and the step to which depths are rounded.
READER_BIAS = (1.02, 0.98)
READER_SD = 0.12
READER_STEP_MM = 0.1


def draw_depth_readings(rng: np.random.Generator, depth_mm: Floats) -> Floats:
    """Sample the depths that two readers report for the same slides, in mm.

    The errors are relative, log-normal and independent between readers.

    Returns float64 (patient, reader).
    """
    spread = READER_SD * rng.standard_normal((len(depth_mm), len(READER_BIAS)))
    read = depth_mm[:, None] * np.array(READER_BIAS) * np.exp(spread - READER_SD**2 / 2)
    return np.maximum(np.rint(read / READER_STEP_MM), 1) * READER_STEP_MM


_CANDIDATES = 3  # sampled for each patient of a cohort, so that there are enough of both classes


@dataclass(frozen=True)
class Patient:
    """One patient of a cohort.

    ``seed``: of the slide; ``necrosis``: necrotic share of the tumor; ``probability``: of a metastasis, by the law, or
    0.5 with random labels; ``readings_mm``: depths that two readers report; ``fold``: from 1, and 0 for test patients.
    """

    name: str
    seed: int
    age: int
    sex: str
    site: str
    depth_mm: float
    ulcerated: bool
    mitoses_per_mm2: float
    necrosis: float
    probability: float
    metastasis: bool
    readings_mm: tuple[float, ...] = ()
    split: str = "train"
    fold: int = 0


def draw_patients(config: CohortConfig) -> tuple[Patient, ...]:
    """Sample the patients of a cohort.

    Half of them have a metastasis: overall, in the test set and in each fold, as far as numbers allow. With
    ``random_labels`` the patients are the same, and metastases are shuffled within each fold and the test set.
    """
    patients = _assign_splits(config, _draw_balanced(config))
    return _shuffle_labels(config, patients) if config.random_labels else patients


def collect_risk_factors(patients: tuple[Patient, ...]) -> RiskFactors:
    """Collect the variables of the law, in the order of the patients."""
    return RiskFactors(
        np.array([patient.age for patient in patients], float),
        np.array([patient.sex == "male" for patient in patients]),
        np.array([SITES.index(patient.site) for patient in patients]),
        np.array([patient.depth_mm for patient in patients]),
        np.array([patient.ulcerated for patient in patients]),
        np.array([patient.necrosis > 0 for patient in patients]),
    )


def _draw_balanced(config: CohortConfig) -> list[Patient]:
    """Sample as many patients with as without a metastasis, in random order."""
    rng = random_stream(config.seed, "cohort")
    count = _CANDIDATES * config.count + 60
    facts = draw_risk_factors(rng, count)
    probability = LAW.probability(facts)
    metastasis = rng.random(count) < probability
    mitoses = np.round(rng.uniform(0, 3, count) + 4 * rng.random(count) * facts.depth_mm, 1)
    necrosis = np.where(facts.necrotic, np.round(rng.uniform(0.12, 0.30, count), 3), 0.0)
    seeds = rng.integers(2**32, 2**52, count)
    readings = draw_depth_readings(random_stream(config.seed, "readers"), facts.depth_mm)
    half = config.count // 2
    chosen = np.sort(
        np.concatenate([np.flatnonzero(metastasis)[: config.count - half], np.flatnonzero(~metastasis)[:half]])
    )
    return [
        Patient(
            name=f"phantom_{config.seed}_{number:05d}",
            seed=int(seeds[index]),
            age=int(facts.age[index]),
            sex="male" if facts.male[index] else "female",
            site=SITES[facts.site[index]],
            depth_mm=float(facts.depth_mm[index]),
            ulcerated=bool(facts.ulcerated[index]),
            mitoses_per_mm2=float(mitoses[index]),
            necrosis=float(necrosis[index]),
            probability=float(probability[index]),
            metastasis=bool(metastasis[index]),
            readings_mm=tuple(readings[index].tolist()),
        )
        for number, index in enumerate(chosen.tolist(), start=1)
    ]


def _assign_splits(config: CohortConfig, patients: list[Patient]) -> tuple[Patient, ...]:
    """Assign a share of each class to the test set, and the others to folds."""
    rng = random_stream(config.seed, "splits")
    with_split = list(patients)
    in_folds = 0
    for event in (False, True):
        indices = [index for index, patient in enumerate(patients) if patient.metastasis == event]
        indices = rng.permutation(indices).tolist()
        test_count = round(config.test_share * len(indices))
        for index in indices[:test_count]:
            with_split[index] = replace(with_split[index], split="test")
        for index in indices[test_count:]:
            with_split[index] = replace(with_split[index], fold=1 + in_folds % config.folds)
            in_folds += 1
    return tuple(with_split)


def _shuffle_labels(config: CohortConfig, patients: tuple[Patient, ...]) -> tuple[Patient, ...]:
    """Shuffle metastases within each fold and the test set, so that no prediction is better than chance."""
    rng = random_stream(config.seed, "random labels")
    shuffled = list(patients)
    for fold in range(config.folds + 1):
        indices = [index for index, patient in enumerate(patients) if patient.fold == fold]
        events = rng.permutation([patients[index].metastasis for index in indices]).tolist()
        for index, event in zip(indices, events, strict=True):
            shuffled[index] = replace(patients[index], metastasis=bool(event), probability=0.5)
    return tuple(shuffled)


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
    write_rows(folder / "truth.csv", list(truth_rows[0]), truth_rows)
    if with_slide:
        rows_by_name = {row["image_id"]: row for row in rows}
        columns = ("image_id", "patient_id", *_CLINICAL_COLUMNS)
        clinical = [{column: rows_by_name[patient.name][column] for column in columns} for patient in with_slide]
        write_rows(folder / "slides" / "patients.csv", columns, clinical)
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
