"""A search with simulated trainings: its files, continuing it, and rejected folders."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.context import Cancelled, Milestone, Progress, RunContext
from napari_melanoma.core.errors import DataSetError, InputError, RunError, SaveError, TrainingDiverged, TrainingError
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.extensions.studies import search as workflow
from napari_melanoma.extensions.studies.search import SearchRecipe, search
from napari_melanoma.training.recipe import TrainRecipe

Learn = Callable[[TrainRecipe], float]


@pytest.fixture
def recipe() -> SearchRecipe:
    """Five draws of a learning rate and a loss."""
    options = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "loss": ["ce", "soft_dice"]}
    values = {"data": {"datasets": ["data"]}, "search": {"trials": 5, "options": options}}
    return SearchRecipe.parse(values, "the test")


class Trainer:
    """Replaces the training: writes a run folder, with a result that depends on the recipe."""

    def __init__(self, fit: Learn) -> None:
        self.fit = fit
        self.calls: list[tuple[str, bool]] = []

    def __call__(
        self, recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext, evaluate: bool, check_place: bool
    ) -> None:
        assert not evaluate, "the test set stays unseen"
        assert not check_place, "the search has checked its own location"
        folder = RunFolder(out)
        self.calls.append((out.name, resume))
        out.mkdir(parents=True, exist_ok=True)
        write_toml(folder.config, recipe)
        folder.append_event("started")
        folder.checkpoints.mkdir(exist_ok=True)
        folder.last_checkpoint.write_bytes(b"weights")
        run.check()
        try:
            jaccard = self.fit(recipe)
        except Exception as error:
            kind = getattr(error, "event_type", type(error).__name__)
            folder.append_event("failed", type=kind, message=str(error))
            raise
        for epoch, best in ((0, True), (1, True), (2, False)):
            folder.append_event("epoch", epoch=epoch, best=best, seconds=2.5)
            run.report(Progress((1 + epoch) * 1000 // 3, 1000, f"Epoch {epoch + 1} of 3"))
        folder.bundle.mkdir()
        folder.append_event("finished", threshold=0.52, validation_jaccard=jaccard)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """Better results closer to 0.001, and with Dice instead of cross-entropy."""
    found = Trainer(lambda r: round(0.8 - abs(r.learning_rate - 1e-3) * 10 + 0.01 * (r.loss == "soft_dice"), 4))
    monkeypatch.setattr(workflow, "train", found)
    return found


@pytest.fixture
def no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the figure, which is slow."""
    monkeypatch.setattr(workflow, "plot_search", lambda *_: None)


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "search.csv").read_text().splitlines()))


def test_the_files_of_a_search(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    reports: list[Progress] = []
    found = search(recipe, tmp_path, run=RunContext(reports.append))
    rows = table(tmp_path)
    assert [row["trial"] for row in rows] == [str(number) for number in range(1, 6)]
    assert {row["state"] for row in rows} == {"finished"}
    best = max(rows, key=lambda row: float(row["validation_jaccard"]))
    assert found.best.number == int(best["trial"])
    assert found.best.result == max(trial.result or 0 for trial in found.trials)
    known = {key: best[key] for key in ("threshold", "best_epoch", "epochs", "seconds", "run", "error")}
    run = f"trials/trial-{found.best.number:03}"
    assert known == {"threshold": "0.52", "best_epoch": "2", "epochs": "3", "seconds": "7.5", "run": run, "error": ""}
    chosen = read_toml(tmp_path / "best.toml", TrainRecipe)
    assert (chosen.name, chosen.learning_rate) == ("lesion", float(best["learning_rate"]))
    with Image.open(tmp_path / "search.png") as figure:
        assert min(figure.size) > 300
    assert json.loads((tmp_path / "draws.json").read_text()) == [trial.options for trial in found.trials]
    assert not list(tmp_path.glob("trials/*/checkpoints"))
    assert [step.done for step in reports] == sorted(step.done for step in reports)
    assert reports[-1].fraction == 1
    assert [step.message.split(",")[0] for step in reports if isinstance(step, Milestone)] == [
        f"Trial {trial.number} of 5: validation Jaccard {trial.result:.4f}" for trial in found.trials
    ]


@pytest.mark.usefixtures("no_figure")
def test_a_search_continues_with_unfinished_trials(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    run, fit = RunContext(), trainer.fit

    def stopping(each: TrainRecipe) -> float:
        if len(trainer.calls) == 3:
            run.cancel()
            run.check()
        return fit(each)

    trainer.fit = stopping
    with pytest.raises(Cancelled):
        search(recipe, tmp_path, run=run)
    assert [row["state"] for row in table(tmp_path)] == ["finished"] * 2 + ["to do"] * 3
    trainer.fit = fit
    found = search(recipe, tmp_path, run=RunContext())
    assert trainer.calls[3:] == [(f"trial-{number:03}", number == 3) for number in range(3, 6)]
    before = len(trainer.calls)
    assert search(recipe, tmp_path, run=RunContext()) == found
    longer = search(with_trials(recipe, 7), tmp_path, run=RunContext())
    assert trainer.calls[before:] == [("trial-006", False), ("trial-007", False)]
    assert longer.trials[:5] == found.trials


@pytest.mark.usefixtures("no_figure")
def test_a_search_in_a_data_set_is_continued_but_none_starts_there(
    recipe: SearchRecipe, trainer: Trainer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    inside = recipe.model_copy(update={"data": recipe.data.model_copy(update={"datasets": (str(data),)})})
    out = data / "search"
    out.mkdir(parents=True)
    with pytest.raises(InputError, match="lies in the data set"):
        search(inside, out, run=RunContext())
    write_toml(out / "search.toml", inside)
    assert len(search(inside, out, run=RunContext()).trials) == 5


def with_trials(recipe: SearchRecipe, count: int) -> SearchRecipe:
    return recipe.model_copy(update={"search": recipe.search.model_copy(update={"trials": count})})


@pytest.mark.usefixtures("no_figure")
def test_fewer_trials_keep_the_finished_ones(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    found = search(with_trials(recipe, 7), tmp_path, run=RunContext())
    kept = {name: (tmp_path / name).read_text() for name in ("draws.json", "search.csv", "best.toml")}
    assert search(with_trials(recipe, 3), tmp_path, run=RunContext()) == found
    assert {name: (tmp_path / name).read_text() for name in kept} == kept
    assert len(trainer.calls) == 7


@pytest.mark.usefixtures("no_figure")
def test_fewer_trials_train_no_more_than_requested(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    search(with_trials(recipe, 2), tmp_path, run=RunContext())
    draws = json.loads((tmp_path / "draws.json").read_text())
    more = {"learning_rate": 0.002, "loss": "ce"}, {"learning_rate": 0.003, "loss": "ce"}
    (tmp_path / "draws.json").write_text(json.dumps([*draws, *more]))
    reports: list[Progress] = []
    found = search(with_trials(recipe, 3), tmp_path, run=RunContext(reports.append))
    assert [trial.state for trial in found.trials] == ["finished"] * 3 + ["to do"]
    assert [name for name, _ in trainer.calls] == ["trial-001", "trial-002", "trial-003"]
    assert reports[-1].fraction == 1
    assert reports[-1].message.startswith("Trial 3 of 3: validation Jaccard")


@pytest.mark.usefixtures("no_figure")
def test_a_trial_with_other_options_is_rejected(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    search(recipe, tmp_path, run=RunContext())
    draws = json.loads((tmp_path / "draws.json").read_text())
    (tmp_path / "draws.json").write_text(json.dumps([draws[1], draws[0], *draws[2:]]))
    with pytest.raises(RunError, match=r"trial-001.config\.toml does not match draws\.json"):
        search(recipe, tmp_path, run=RunContext())
    assert len(trainer.calls) == 5


@pytest.mark.usefixtures("no_figure")
def test_trials_added_by_another_process_are_kept(
    recipe: SearchRecipe, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that ends between the first check and the lock may have added trials; they are not overwritten."""
    search(with_trials(recipe, 2), tmp_path, run=RunContext())
    extra = {"learning_rate": 0.002, "loss": "ce"}

    def late(path: Path) -> AbstractContextManager[None]:
        draws = json.loads((tmp_path / "draws.json").read_text())
        (tmp_path / "draws.json").write_text(json.dumps([*draws, extra]))
        return hold_lock(path)

    monkeypatch.setattr(workflow, "hold_lock", late)
    assert search(with_trials(recipe, 2), tmp_path, run=RunContext()).trials[2].options == extra
    assert len(json.loads((tmp_path / "draws.json").read_text())) == 3


@pytest.mark.usefixtures("no_figure")
def test_a_failed_trial_is_a_row(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    fit, lost = trainer.fit, [True]

    def failing(each: TrainRecipe) -> float:
        if each.name.endswith("-002"):
            raise TrainingDiverged("the loss is no number")
        if each.name.endswith("-003") and lost:
            lost.clear()
            raise RuntimeError("the GPU was lost")
        return fit(each)

    trainer.fit = failing
    found = search(recipe, tmp_path, run=RunContext())
    assert [row["error"] for row in table(tmp_path)][1:3] == ["the loss is no number", "the GPU was lost"]
    assert [trial.state for trial in found.trials].count("failed") == 2
    trainer.calls.clear()
    again = search(recipe, tmp_path, run=RunContext())  # a lost GPU may be available again, a rate stays too high
    assert trainer.calls == [("trial-003", True)]
    assert [trial.state for trial in again.trials].count("failed") == 1


@pytest.mark.parametrize("error", [DataSetError("no data set"), SaveError("the disk is full")])
def test_an_error_of_every_trial_ends_the_search(
    error: Exception, recipe: SearchRecipe, trainer: Trainer, tmp_path: Path
) -> None:
    def failing(each: TrainRecipe) -> float:
        raise error

    trainer.fit = failing
    with pytest.raises(type(error)):
        search(recipe, tmp_path, run=RunContext())
    assert len(trainer.calls) == 1


def test_no_trial_finished(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    def failing(each: TrainRecipe) -> float:
        raise TrainingDiverged("the loss is no number")

    trainer.fit = failing
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"none of 5 trials finished\. trial-001: the loss is no number"):
            search(recipe, tmp_path, run=RunContext())
    assert len(trainer.calls) == 5
    assert not (tmp_path / "best.toml").exists()


@pytest.mark.usefixtures("no_figure")
def test_rejected_folders(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="one device"):
        search(recipe.model_copy(update={"devices": 2}), tmp_path / "several", run=RunContext())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    with pytest.raises(RunError, match="contains a run"):
        search(recipe, tmp_path / "run", run=RunContext())
    with hold_lock(tmp_path / "busy" / ".lock"), pytest.raises(RunError, match="another process"):
        search(recipe, tmp_path / "busy", run=RunContext())
    search(recipe, tmp_path / "out", run=RunContext())
    with pytest.raises(RunError, match="another recipe"):
        search(recipe.model_copy(update={"seed": 1}), tmp_path / "out", run=RunContext())
    assert len(trainer.calls) == 5


# A search in a separate process, whose second training never ends.
ENDLESS = """
import sys, time
from pathlib import Path
from napari_melanoma.core.config import read_toml
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.context import RunContext
from napari_melanoma.extensions.studies import search as workflow
from napari_melanoma.extensions.studies.search import SearchRecipe
sys.path.insert(0, sys.argv[2])
from test_search import Trainer

def fit(recipe):
    if recipe.name.endswith("-002"):
        time.sleep(600)
    return 0.7

workflow.train, workflow.plot_search = Trainer(fit), lambda *_: None
out = Path(sys.argv[1])
workflow.search(read_toml(out / "recipe.toml", SearchRecipe), out / "search", run=RunContext())
"""


@pytest.mark.slow
@pytest.mark.usefixtures("no_figure")
def test_a_killed_search_continues(recipe: SearchRecipe, trainer: Trainer, tmp_path: Path) -> None:
    write_toml(tmp_path / "recipe.toml", recipe)
    command = [sys.executable, "-c", ENDLESS, str(tmp_path), str(Path(__file__).parent)]
    process, end = subprocess.Popen(command), time.monotonic() + 300
    out = tmp_path / "search"
    while not (out / "trials" / "trial-002" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.02)
    with pytest.raises(RunError, match="another process"):
        search(recipe, out, run=RunContext())
    process.kill()
    process.wait()
    assert [row["state"] for row in table(out)] == ["finished"] + ["to do"] * 4
    found = search(recipe, out, run=RunContext())
    assert trainer.calls[0] == ("trial-002", True)
    assert len(trainer.calls) == 4
    assert [trial.state for trial in found.trials] == ["finished"] * 5
    assert found.trials[0].result == 0.7
