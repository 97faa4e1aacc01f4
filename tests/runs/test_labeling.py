"""Fit the labels of a folder while they are given: which photographs count, in which groups, and what is left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.classification.adaptation import RECALIBRATED, LabeledCases
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.corrections import Correction, Corrections
from napari_melanoma.data.diagnosis_labels import DRAWN, LABELS, DiagnosisLabel
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.calibration import wilson_interval
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs import labeling
from napari_melanoma.runs.adapting import adapt, plan_adaptation
from napari_melanoma.runs.clinic_photographs import AdaptOptions
from napari_melanoma.runs.labeling import (
    AdaptationChoice,
    FolderPhotograph,
    LabelFit,
    Labeling,
    LabelingState,
    PhotographFiles,
    is_in_random_sample,
)
from napari_melanoma.runs.labeling_answer import describe_labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MODEL, SIDE, COUNT = "melanoma-small", 96, 24


def draw(seed: int) -> NDArray[np.uint8]:
    """Skin with spots, so that no two photographs look the same."""
    random = np.random.default_rng(seed)
    coarse = random.integers(60, 220, (8, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


class Clinic:
    """A folder of photographs with embeddings, and their labels in the corrections."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.corrections = folder / "photographs", Corrections(folder / "corrections")
        self.folder.mkdir(parents=True)
        self.labeling = Labeling(MODEL, self.corrections.folder)
        self.kinds: dict[Path, str] = {}
        self.embeddings: dict[int, float] = {}  # added to all features, by the sum of the pixels

    def add(self, name: str, rgb: NDArray[np.uint8], diagnosis: str = "", kind: str = "dermoscopic") -> Path:
        """Write a photograph and its embedding, and label it."""
        path = self.folder / f"{name}.png"
        Image.fromarray(rgb).save(path)
        self.kinds[path] = kind
        if diagnosis:
            self.corrections.label(Correction(name, rgb, None, "unreviewed"), DiagnosisLabel(diagnosis, "Ana"))
        return path

    def fill(self, count: int = COUNT) -> None:
        for number in range(count):
            self.add(f"p{number:02}", draw(number), "melanoma" if number % 2 else "nevus")

    @property
    def rows(self) -> Mapping[str, Mapping[str, str]]:
        return {row["image_sha256"]: row for row in self.corrections.rows()}

    def update(self, *, without: tuple[str, ...] = ()) -> LabelingState:
        """Fit the labels of the folder, once with the embeddings that are missing."""
        chosen = [path for path in sorted(self.folder.iterdir()) if path.stem not in without]
        photographs = [FolderPhotograph(path, array_fingerprint(read_photograph(path).rgb)) for path in chosen]
        for _ in range(2):
            state = self.labeling.update(photographs, self.rows, "Ana", RunContext())
            for path, files in state.missing.items():
                self._embed(files, self.kinds[path])
        assert not state.missing
        return state

    def _embed(self, files: PhotographFiles, kind: str) -> None:
        store, segmenter = self.labeling._store, find_bundle("lesion-small")
        mask = labeling.find_predicted_mask(files.image, segmenter)
        if not mask.is_file():
            with atomic_file(mask) as temporary:
                Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8)).save(temporary, "PNG")
        key, _ = labeling.make_key(store, segmenter, files)
        rgb = read_photograph(files.image).rgb
        random = np.random.default_rng(int(rgb.sum()))
        with atomic_file(store.folder / f"{key}.npz") as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                embedding=(random.normal(0, 1, 320) + self.embeddings.get(int(rgb.sum()), 0.0)).astype(np.float32),
                logits=random.normal(0, 1, 3).astype(np.float32),
                kind=np.array(kind),
                probability=np.array(0.99),
                pixels=np.array(int(rgb.sum()), np.uint64),
            )

    def plan(self, state: LabelingState) -> dict[str, int]:
        """Return the classes of the command ``adapt`` for the photographs of the folder."""
        chosen = self.folder.parent / "chosen.txt"
        chosen.write_text("\n".join(state.images), "utf-8")
        options = AdaptOptions(only=str(chosen))
        plan = plan_adaptation(self.labeling.info, self.corrections.folder, options, run=RunContext())
        return {name: count for name, count in plan.classes.items() if count} | {"groups": plan.groups}


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    for name in ("CACHE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return Clinic(tmp_path)


def test_labels_of_the_opened_folder_count(clinic: Clinic) -> None:
    clinic.fill()
    whole = clinic.update()
    assert (whole.counts.photographs, whole.counts.positives) == (24, 12)
    part = clinic.update(without=("p00", "p01", "p02"))
    assert (part.counts.photographs, part.counts.positives) == (21, 11)
    assert len(part.images) == 21
    assert clinic.plan(part) == {"melanoma": 11, "nevus": 10, "groups": 21}


def test_copies_of_a_picture_are_one_group_as_in_the_command(clinic: Clinic) -> None:
    clinic.fill()
    assert len({*require_fit(clinic.update()).cases.groups}) == 24
    for number in (3, 4):  # added while labeling: compared with those before
        rgb = np.asarray(Image.fromarray(draw(number)).resize((80, 80)))
        clinic.add(f"copy-{number}", rgb, "melanoma" if number % 2 else "nevus")
    state = clinic.update()
    fit = require_fit(state)
    assert len(fit.cases.groups) == 26
    assert len({*fit.cases.groups}) == 24
    assert clinic.plan(state) == {"melanoma": 13, "nevus": 13, "groups": 24}
    clinic.add("copy-5", np.asarray(Image.fromarray(draw(5)).resize((80, 80))), "nevus")
    state = clinic.update()
    assert "Left out: 2 photographs (a lesion with two diagnoses)." in state.notice
    assert clinic.plan(state) == {"melanoma": 12, "nevus": 13, "groups": 23}


def require_fit(state: LabelingState) -> labeling.LabelFit:
    assert state.fit is not None
    return state.fit


def test_files_with_the_same_pixels_are_labeled_once(clinic: Clinic) -> None:
    clinic.add("first", draw(1), "nevus")
    clinic.add("second", draw(1))
    state = clinic.update()
    assert not state.order
    assert {path.stem: text for path, text in state.labels.items()} == {"first": "nevus", "second": "nevus"}
    assert (len(state.images), state.counts.photographs) == (1, 1)


def test_the_accuracy_counts_the_photographs_that_the_record_states_as_drawn(clinic: Clinic) -> None:
    for number in range(COUNT):
        path, rgb = clinic.add(f"p{number:02}", draw(number)), draw(number)
        drawn = DRAWN if number in (3, 7, 11) else ""
        label = DiagnosisLabel("melanoma" if number % 2 else "nevus", "Ana", drawn=drawn)
        clinic.corrections.label(Correction(path.stem, rgb, None, "unreviewed"), label)
    state = clinic.update()
    assert state.accuracy is not None
    assert (state.accuracy.count, state.labeled_drawn, int(require_fit(state).is_drawn.sum())) == (3, 3, 3)


def test_photographs_of_the_random_sample_are_not_offered_because_of_their_predictions(clinic: Clinic) -> None:
    for number in range(40):
        clinic.add(f"p{number:02}", draw(number))
    state = clinic.update()
    sample = {path for path in state.order if is_in_random_sample(path)}
    assert state.drawn == sample
    assert 4 <= len(sample) <= 16  # a fourth, by the names
    turns = min(len(sample), (len(state.order) - len(sample)) // 3)
    assert [path in sample for path in state.order[: 4 * turns]] == [False, False, False, True] * turns
    # Another photograph leaves the others in their part
    added = clinic.add("another", draw(50))
    again = clinic.update()
    assert again.drawn - {added} == sample


def test_mixed_types_of_photographs_are_not_fitted(clinic: Clinic) -> None:
    clinic.fill()
    for number in range(30, 36):
        clinic.add(f"phone-{number}", draw(number), "nevus", kind="macroscopic")
    state = clinic.update()
    assert "not fitted: the photographs are of several types (24 dermoscopic, 6 macroscopic)" in state.notice
    assert state.fit is None
    assert not state.adapted
    assert len(state.labels) == state.counts.photographs == 30  # nothing is lost
    assert describe_labels(state, None).statement.startswith(
        "30 labels, not fitted. Labels of melanoma: 12. Labels are stored, but not fitted: the photographs are"
    )


def test_labels_that_cannot_be_read_are_stated_and_kept(clinic: Clinic) -> None:
    clinic.fill(3)
    table = clinic.corrections.folder / "dataset.csv"
    cell = next(row[LABELS] for row in clinic.corrections.rows() if row["image_id"] == "p01")
    quoted = cell.replace('"', '""')
    table.write_text(table.read_text("utf-8").replace(quoted, quoted[:-1], 1), "utf-8")
    state = clinic.update()
    assert "The labels of 'p01' cannot be read" in state.notice
    assert "Correct or clear the cell" in state.notice
    assert "p01" not in {path.stem for path in state.order}
    assert state.counts.photographs == 3  # the column diagnosis counts
    before = clinic.corrections.rows()
    with pytest.raises(DataSetError, match="kept unchanged"):
        clinic.corrections.label(Correction("p01", draw(1), None, "unreviewed"), DiagnosisLabel("nevus", "Ben"))
    assert clinic.corrections.rows() == before


def test_a_labeled_photograph_that_is_marked_as_not_valid(clinic: Clinic) -> None:
    clinic.fill()
    clinic.corrections.add(Correction("p03", draw(3), np.zeros((SIDE, SIDE), bool), "rejected"))
    state = clinic.update()
    assert "Left out: 1 photograph (marked as not valid)." in state.notice
    assert state.counts.photographs == COUNT - 1
    assert "p03" not in {path.stem for path in state.order}
    (row,) = [row for row in clinic.corrections.rows() if row["image_id"] == "p03"]
    assert (row["review"], row["diagnosis"]) == ("rejected", "melanoma")  # nothing is lost
    assert clinic.plan(state) == {"melanoma": 11, "nevus": 12, "groups": 23}


def test_a_photograph_with_another_mask_is_embedded_again(clinic: Clinic) -> None:
    path = clinic.add("first", draw(1), "nevus")
    clinic.update()
    clinic.corrections.add(Correction("first", draw(1), np.ones((SIDE, SIDE), bool), "corrected"))
    digest = array_fingerprint(draw(1))
    state = clinic.labeling.update([FolderPhotograph(path, digest)], clinic.rows, "Ana", RunContext())
    assert state.missing[path].mask is not None


def test_a_model_without_an_encoder_is_refused(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.lesion import loaded_models

    path = clinic.add("first", draw(1))
    model = SimpleNamespace(info=clinic.labeling.info, network=SimpleNamespace(functions={"predict": None}))
    monkeypatch.setattr(loaded_models, "load_classifier", lambda name: model)
    with pytest.raises(BundleError, match=r"'melanoma-small' has no encoder.* Select a classifier of photographs"):
        labeling.embed_photograph(MODEL, clinic.corrections.folder, PhotographFiles(path))
    assert not clinic.labeling._store.folder.exists()


@pytest.mark.parametrize(("photographs", "patients"), [(12, 12), (12, 3), (13, 6)])
def test_the_interval_of_the_accuracy_is_that_of_patients(
    photographs: int, patients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs of one patient are one observation, whatever their order."""
    labels, drawn = np.arange(photographs + 4) % 2, np.arange(photographs + 4) < photographs
    groups = [f"p{index % patients}" for index in range(photographs)] + [f"q{index}" for index in range(4)]
    logits = np.eye(2)[np.where(np.arange(len(labels)) == 3, 1 - labels, labels)]
    monkeypatch.setattr(labeling, "predict_left_out", lambda *arguments: logits)
    none = np.zeros((len(labels), 2), np.float32)
    cases = LabeledCases(none, none, labels, groups)
    fit = LabelFit(None, cases, RECALIBRATED, np.zeros(len(labels), np.int64), drawn, 0, None)  # type: ignore[arg-type]
    found = fit.estimate_accuracy()
    assert found is not None
    share = (photographs - 1) / photographs
    assert (found.mean, found.count) == (pytest.approx(share), photographs)
    low, high = wilson_interval(share * patients, patients)
    assert (found.low, found.high) == (pytest.approx(float(low)), pytest.approx(float(high)))


@pytest.mark.parametrize("shift", [0.0, 1.0], ids=["kept", "used"])
@pytest.mark.slow
def test_the_choice_is_known_before_the_model_is_made(clinic: Clinic, tmp_path: Path, shift: float) -> None:
    count = 40
    clinic.embeddings = {int(draw(number).sum()): shift * (2 * (number % 2) - 1) for number in range(count)}
    clinic.fill(count)
    state = clinic.update()
    choice = require_fit(state).preview_choice(RunContext())
    chosen = tmp_path / "chosen.txt"
    chosen.write_text("\n".join(state.images), "utf-8")
    options = AdaptOptions(only=str(chosen))
    made = adapt(clinic.labeling.info, clinic.corrections.folder, tmp_path / "made", options, run=RunContext())
    figures = made.figures
    assert choice == AdaptationChoice(made.bundle is not None, figures.verdict, figures.reason)
    assert figures.reason.startswith(f"{figures.verdict}: log loss ")
    assert choice.is_used is bool(shift)


def test_a_preview_is_canceled(clinic: Clinic) -> None:
    clinic.fill()
    fit, run = require_fit(clinic.update()), RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        fit.preview_choice(run)
