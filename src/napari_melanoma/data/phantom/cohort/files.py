"""A cohort as a data set: a patch and masks a patient, the table, the law, and whole slides of some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from napari_melanoma.core.csv_cells import CsvWriter
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.data.new_dataset import gathered, write_dataset_table
from napari_melanoma.data.phantom.cohort.config import CohortConfig
from napari_melanoma.data.phantom.cohort.patch import draw_patch, slide_config
from napari_melanoma.data.phantom.cohort.patients import Patient, draw_patients
from napari_melanoma.data.phantom.cohort.telling import story

FORMAT = 1


@dataclass(frozen=True)
class CohortFiles:
    """What was written, and how many patients and slides there are."""

    folder: Path
    patients: int
    slides: int


def write_cohort(config: CohortConfig, out: Path, processes: int = 1, run: RunContext | None = None) -> CohortFiles:
    """Draw a cohort and write it as a data set.

    All is gathered in a hidden folder beside ``out``, which gets its name once everything is there; after a stop the
    same call goes on with the patients that are missing.

    Where they are.
    """
    from napari_melanoma.data.phantom.cohort.pool import each_done

    run = run or RunContext()
    patients = draw_patients(config)
    with gathered(out) as place:
        _begin(config, place)
        missing = [patient for patient in patients if not _image(place, patient).exists()]
        total, done = len(patients), len(patients) - len(missing)
        for _ in each_done(partial(write_patient, config=config, place=place), missing, processes, run):
            done += 1
            run.report(Progress(done, total, "drawing patients"))
        shown = _with_slides(config, patients)
        unseen = [patient for patient in shown if not (place / "slides" / f"{patient.name}.tif").exists()]
        for number, _ in enumerate(
            each_done(partial(write_slide_of, config=config, place=place), unseen, processes, run)
        ):
            run.report(Progress(number + 1, len(unseen), "drawing whole slides"))
        _write_tables(config, patients, shown, place)
    return CohortFiles(out, len(patients), len(shown))


def write_patient(patient: Patient, config: CohortConfig, place: Path) -> None:
    """Draw the patch of a patient and write it with its masks; the image last, for it says that all is there."""
    from napari_melanoma.io.results import write_mask, write_rgb

    patch = draw_patch(patient, config)
    write_json(place / "truth" / f"{patient.name}.json", patch.truth)
    write_mask(place / "tumour" / f"{patient.name}.png", patch.tumour)
    if patch.necrosis.any():
        write_mask(_mask(place, patient), patch.necrosis)
    write_rgb(_image(place, patient), patch.rgb)


def write_slide_of(patient: Patient, config: CohortConfig, place: Path) -> None:
    """Draw the whole slide of a patient, with its truth and outlines."""
    from napari_melanoma.data.phantom.slide.files import write_slide

    write_slide(slide_config(patient, config), place / "slides", patient.name)


def _image(place: Path, patient: Patient) -> Path:
    """Where a patch is."""
    return place / "images" / f"{patient.name}.png"


def _mask(place: Path, patient: Patient) -> Path:
    """Where the outline of what decides is."""
    return place / "masks" / f"{patient.name}.png"


def _begin(config: CohortConfig, place: Path) -> None:
    """Note which cohort is gathered, or refuse to go on with another."""
    path = place / "cohort.json"
    asked = {"format": FORMAT, "config": config.model_dump(mode="json")}
    if path.exists():
        known = read_json(path)
        # More slides can be asked of the same patients.
        same = known == {
            "format": FORMAT,
            "config": {**config.model_dump(mode="json"), "slides": known["config"]["slides"]},
        }
        if not same:
            raise DataSetError(
                f"{place} holds the beginning of another cohort ({known['config']}). Ask for the same one to go on, "
                "name another folder, or remove it."
            )
    write_json(path, asked)


def _with_slides(config: CohortConfig, patients: tuple[Patient, ...]) -> list[Patient]:
    """Those kept back who get a whole slide: the first with and the first without a metastasis in turn."""
    sides = [[one for one in patients if one.split == "test" and one.metastasis == event] for event in (True, False)]
    longest = max(map(len, sides))
    turns = [side[number] for number in range(longest) for side in sides if number < len(side)]
    return turns[: config.slides]


def _write_tables(config: CohortConfig, patients: tuple[Patient, ...], shown: list[Patient], place: Path) -> None:
    """Write what is known of all patients, and apart from that what nobody may learn from."""
    truths = [read_json(place / "truth" / f"{patient.name}.json") for patient in patients]
    rows = [
        _row(patient, truth, _mask(place, patient).exists()) for patient, truth in zip(patients, truths, strict=True)
    ]
    write_dataset_table(place / "dataset.csv", rows)
    _write_csv(place / "truth.csv", [_truth(one, truth) for one, truth in zip(patients, truths, strict=True)])
    if shown:
        known = {row["image_id"]: row for row in rows}
        columns = ("image_id", "patient_id", *_TOLD)
        told = [{name: known[patient.name][name] for name in columns} for patient in shown]
        _write_csv(place / "slides" / "patients.csv", told)
    write_json(
        place / "cohort.json", {"format": FORMAT, "config": config.model_dump(mode="json"), **story(config, patients)}
    )


_TOLD = ("age", "sex", "site", "depth_mm", "ulceration", "mitoses_per_mm2", "clark")


def _row(patient: Patient, truth: Mapping[str, Any], marked: bool) -> dict[str, str]:
    """A row of ``dataset.csv``: what a clinic would know."""
    mpp = f"{truth['patch']['mpp']:.6g}"
    return {
        "image_id": patient.name,
        "path": f"images/{patient.name}.png",
        "mask_path": f"masks/{patient.name}.png" if marked else "",
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
        "ulceration": str(int(patient.ulcerated)),
        "mitoses_per_mm2": f"{patient.mitoses_per_mm2:g}",
        "clark": str(truth["clark"]),
        "metastasis": str(int(patient.metastasis)),
        "split": patient.split,
        "fold": str(patient.fold or ""),
        "depth_in_view": str(int(truth["depth_in_view"])),
    }


def _truth(patient: Patient, truth: Mapping[str, Any]) -> dict[str, str]:
    """A row of ``truth.csv``: what only the law knows."""
    return {
        "patient_id": patient.name,
        "split": patient.split,
        "probability": f"{patient.probability:.6f}",
        "metastasis": str(int(patient.metastasis)),
        "necrosis_share": f"{patient.necrosis:g}",
        "necrosis_in_view_mm2": str(truth["necrosis_in_view_mm2"]),
    }


def _write_csv(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write a table whose rows all have the columns of the first."""
    found = list(rows)
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        CsvWriter(file).dicts(list(found[0]), found)
