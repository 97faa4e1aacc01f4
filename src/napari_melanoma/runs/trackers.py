"""Trackers of experiments: TensorBoard, MLflow, and Weights & Biases, through the loggers of Lightning.

A thread reads the events of a run and sends them to the trackers, so that a slow server does not delay the training.
Nothing leaves the machine unless the environment names a server: a recipe may come from someone else.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from napari_melanoma.core.context import Cancelled
from napari_melanoma.core.errors import ConfigError, SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.packages import require_packages
from napari_melanoma.core.parsing import read_json, read_object
from napari_melanoma.core.paths import real_path
from napari_melanoma.core.run_folder import RunEventReader, RunFolder
from napari_melanoma.evaluation.comparison_results import COMPARISON
from napari_melanoma.evaluation.pipeline import METRICS_FILE
from napari_melanoma.models.bundle import CARD
from napari_melanoma.training.recipe import TRACKER_NAMES, TrainRecipe

TRACKERS_VARIABLE = "NAPARI_MELANOMA_TRACKERS"
NO_TRACKERS = "none"
IDS_FILE = "trackers.json"  # identifies the run in MLflow and W&B, so that a resumed run continues there
PROJECT = "napari-melanoma"
POLL_S = 1.0
# After the end of a run: how long steps and pictures are sent that a slow server has not received yet, and how long the
# end waits for the trackers.
BACKLOG_S = 2.0
CLOSE_S = 60.0  # to open MLflow with a new database takes 10 s
FINAL_KINDS = ("epoch", "finished")  # sent even if the run has ended
# Of an event, these values are sent, under the name of their unit of time.
EPOCH_LOSS = "epoch/loss"
STEP_VALUES = ("loss", "images_per_second", "memory_mb", "gpu_memory_mb")
NOT_MEASURED = ("time", "kind", "epoch", "best")
log = logging.getLogger(__name__)


class Tracker(ABC):
    """One tracker of a run; ``packages``: required ones; ``logger``: that of Lightning, for values and the recipe."""

    packages: tuple[str, ...]
    logger: Any  # the subclasses of Lightning's Logger have methods of their own

    @abstractmethod
    def add_text(self, path: Path) -> None:
        """Add a text file, the recipe or the card."""

    @abstractmethod
    def add_pictures(self, folder: Path, step: int) -> None:
        """Add the sample pictures of an epoch."""

    def list_epochs(self) -> set[int] | None:
        """Return the epochs that the tracker has of an earlier process, from 1; None if that cannot be read."""
        return None

    def close(self, outcome: str) -> None:
        """End the run in the tracker."""
        self.logger.finalize(outcome)


class TensorBoardTracker(Tracker):
    """Writes files for TensorBoard to the run folder."""

    packages = ("tensorboard",)

    def __init__(self, folder: RunFolder, recipe: TrainRecipe, ids: dict[str, str]) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger

        self.logger = TensorBoardLogger(folder.path, name="", version=folder.tensorboard.name, default_hp_metric=False)

    def add_text(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        is_markdown = path.suffix == ".md"
        self.logger.experiment.add_text(path.name, text if is_markdown else f"```\n{text}\n```")

    def add_pictures(self, folder: Path, step: int) -> None:
        import numpy as np
        from PIL import Image

        for path in sorted(folder.glob("*.png")):
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            self.logger.experiment.add_image(f"samples/{path.stem}", pixels, step, dataformats="HWC")

    def list_epochs(self) -> set[int]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        written = EventAccumulator(self.logger.log_dir, size_guidance={"scalars": 0}).Reload()
        is_known = EPOCH_LOSS in written.Tags()["scalars"]
        return {item.step for item in written.Scalars(EPOCH_LOSS)} if is_known else set()


class MlflowTracker(Tracker):
    """Writes to a database in the run folder, or to the server that ``MLFLOW_TRACKING_URI`` names."""

    packages = ("mlflow",)

    def __init__(self, folder: RunFolder, recipe: TrainRecipe, ids: dict[str, str]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reports its use to its makers
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from lightning.pytorch.loggers import MLFlowLogger

        local = real_path(folder.path) / "mlflow"
        uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            require_packages("tracking by MLflow in a local folder", ("sqlalchemy", "alembic"))
            local.mkdir(exist_ok=True)
            uri, artifacts = f"sqlite:///{local / 'mlflow.db'}", (local / "artifacts").as_uri()
        self.logger = MLFlowLogger(
            os.environ.get("MLFLOW_EXPERIMENT_NAME") or recipe.name,
            run_name=real_path(folder.path).name,
            tracking_uri=uri,
            artifact_location=artifacts,
            run_id=ids.get("mlflow"),
        )
        ids["mlflow"] = str(self.logger.run_id)

    def add_text(self, path: Path) -> None:
        self.logger.experiment.log_artifact(self.logger.run_id, str(path))

    def add_pictures(self, folder: Path, step: int) -> None:
        self.logger.experiment.log_artifacts(self.logger.run_id, str(folder), f"samples/{folder.name}")

    def list_epochs(self) -> set[int]:
        history = self.logger.experiment.get_metric_history(self.logger.run_id, EPOCH_LOSS)
        return {item.step for item in history}

    def close(self, outcome: str) -> None:
        """End the run in the words of MLflow."""
        self.logger.finalize("KILLED" if outcome == "killed" else outcome)


class WandbTracker(Tracker):
    """Writes files of Weights & Biases to the run folder; sends them only if ``WANDB_MODE`` is ``online``."""

    packages = ("wandb",)

    def __init__(self, folder: RunFolder, recipe: TrainRecipe, ids: dict[str, str]) -> None:
        for name, value in (("WANDB_ERROR_REPORTING", "false"), ("WANDB_SILENT", "true")):
            os.environ.setdefault(name, value)
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        settings = wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            x_disable_meta=True,  # the names of user and machine, paths, and the command
            x_disable_machine_info=True,
            x_disable_stats=True,
        )
        self.logger = WandbLogger(
            name=real_path(folder.path).name,
            save_dir=folder.path,
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=ids.setdefault("wandb", uuid4().hex[:12]),
            offline=os.environ.get("WANDB_MODE") != "online",
            settings=settings,
        )

    def add_text(self, path: Path) -> None:
        self.logger.experiment.save(str(path), base_path=str(path.parent), policy="now")

    def add_pictures(self, folder: Path, step: int) -> None:
        paths = sorted(folder.glob("*.png"))
        captions = [path.stem for path in paths]
        self.logger.log_image("samples", [str(path) for path in paths], caption=captions)

    def close(self, outcome: str) -> None:
        """End the run, as Lightning leaves it open."""
        super().close(outcome)
        self.logger.experiment.finish(0 if outcome == "success" else 1)


TRACKERS: dict[str, type[TensorBoardTracker] | type[MlflowTracker] | type[WandbTracker]] = {
    "tensorboard": TensorBoardTracker,
    "mlflow": MlflowTracker,
    "wandb": WandbTracker,
}


def choose_trackers(recipe: TrainRecipe) -> tuple[str, ...]:
    """Return the trackers in the environment variable, or else those of the recipe; raises if one is not installed."""
    names = recipe.trackers
    if (text := os.environ.get(TRACKERS_VARIABLE)) is not None:
        names = tuple(name for name in text.replace(",", " ").split() if name != NO_TRACKERS)
        if unknown := [name for name in names if name not in TRACKER_NAMES]:
            raise ConfigError(
                f"{TRACKERS_VARIABLE} is '{text}', but {unknown[0]} is no tracker. Set it to some of "
                f"{', '.join(TRACKER_NAMES)}, or to {NO_TRACKERS}."
            )
    for name in names:
        require_packages(f"tracking by {name}", TRACKERS[name].packages)
    return names


@contextmanager
def track_run(recipe: TrainRecipe, folder: RunFolder) -> Iterator[None]:
    """Send the new events of a run to its trackers during the block; if one fails, the run continues without it."""
    names = choose_trackers(recipe)
    if not names:
        yield
        return
    reader = RunEventReader(folder.path)
    while reader.poll():  # a resumed run has sent its earlier events, apart from the last ones before a kill
        pass
    epochs = folder.read_metrics()
    ended, outcome = threading.Event(), ["success"]
    trackers = _TrackerGroup(folder, epochs)
    arguments = (recipe, trackers, names, reader, ended, outcome)
    thread = threading.Thread(target=_track, args=arguments, name="trackers", daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        outcome[0] = "killed" if isinstance(error, Cancelled | KeyboardInterrupt | SystemExit) else "failed"
        raise
    finally:
        ended.set()
        thread.join(CLOSE_S)
        if thread.is_alive():
            log.warning("%s did not receive all values within %g s after the end", " and ".join(names), CLOSE_S)


def _track(
    recipe: TrainRecipe,
    trackers: _TrackerGroup,
    names: Sequence[str],
    reader: RunEventReader,
    ended: threading.Event,
    outcome: list[str],
) -> None:
    """Open the trackers, send events until the run has ended, and close them."""
    try:
        trackers.open(recipe, names)
        _send_events(trackers, reader, ended)
    except Exception as error:  # noqa: BLE001 - the thread would end without a word, and leave the trackers open
        outcome = ["failed"]
        trackers.report(", ".join(names), error)
    trackers.close(outcome[0])


def _send_events(trackers: _TrackerGroup, reader: RunEventReader, ended: threading.Event) -> None:
    """Send events until the run has ended; of its last ones the epochs and the result, others for a short time."""
    end = None
    while True:
        is_last = ended.wait(POLL_S)
        events = reader.poll()
        for event in events:
            if end is None and ended.is_set():
                end = time.monotonic() + BACKLOG_S
            if end is None or event["kind"] in FINAL_KINDS or time.monotonic() < end:
                trackers.send(event)
        if is_last and not events:
            return


class _TrackerGroup:
    """The open trackers of a run; one that raises an error is left out from then on.

    ``epochs``: the rows of ``metrics.csv`` of a resumed run.
    """

    def __init__(self, folder: RunFolder, epochs: Sequence[Mapping[str, float]] = ()) -> None:
        self._folder = folder
        self._epochs = epochs
        self._trackers: dict[str, Tracker] = {}

    def open(self, recipe: TrainRecipe, names: Sequence[str]) -> None:
        """Open trackers, and send the recipe, and the epochs that they lack because a process was killed."""
        path = self._folder.path / IDS_FILE
        ids: dict[str, str] = {}
        with suppress(OSError, ValueError):
            ids = {name: value for name, value in read_object(path).items() if isinstance(value, str)}
        for name in names:
            with self._reported(name):
                self._trackers[name] = TRACKERS[name](self._folder, recipe, ids)
        if ids:
            with suppress(OSError, SaveError):  # then a resumed run is a new one in the trackers
                write_json(path, ids)
        values = recipe.model_dump(mode="json")
        self._each(lambda tracker: tracker.logger.log_hyperparams(values))
        self._each(lambda tracker: tracker.add_text(self._folder.config))
        if self._epochs:
            self._each(self._send_lost_epochs)

    def _send_lost_epochs(self, tracker: Tracker) -> None:
        if (recorded := tracker.list_epochs()) is None:
            return
        for row in self._epochs:
            if (step := int(row["epoch"]) + 1) not in recorded:
                tracker.logger.log_metrics(_epoch_values(row), step)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send what an event says: values of a step or an epoch, pictures, or the result of the run."""
        kind = event["kind"]
        if kind == "step":
            values = {f"step/{name}": event[name] for name in STEP_VALUES if _is_number(event.get(name))}
            self._each(lambda tracker: tracker.logger.log_metrics(values, int(event["step"])))
        elif kind == "epoch":
            values = _epoch_values(event)
            self._each(lambda tracker: tracker.logger.log_metrics(values, int(event["epoch"]) + 1))
        elif kind == "samples":
            folder = self._folder.path / str(event["folder"])
            self._each(lambda tracker: tracker.add_pictures(folder, int(event["epoch"]) + 1))
        elif kind == "finished":
            result = {f"result/{name}": value for name, value in event.items() if _is_number(value) and name != "time"}
            values = result | read_figures(self._folder)
            self._each(lambda tracker: tracker.logger.log_metrics(values, 0))
            self._each(lambda tracker: tracker.add_text(self._folder.bundle / CARD))

    def close(self, outcome: str) -> None:
        """Close all trackers."""
        self._each(lambda tracker: tracker.close(outcome))

    def _each(self, action: Any) -> None:  # noqa: ANN401 - a function of a tracker, with any result
        for name, tracker in list(self._trackers.items()):
            with self._reported(name):
                action(tracker)

    @contextmanager
    def _reported(self, name: str) -> Iterator[None]:
        """Report an error as a notice of the run; the training continues."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - each tracker has its own kinds
            self._trackers.pop(name, None)
            self.report(name, error)

    def report(self, name: str, error: Exception) -> None:
        """Log why the tracking by some trackers stopped, and append it to the run as a notice."""
        log.warning("tracking by %s failed", name, exc_info=error)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"tracking by {name} stopped: {reason}. The training continues without it."
        with suppress(SaveError):
            self._folder.append_event("notice", message=message)


def _epoch_values(row: Mapping[str, Any]) -> dict[str, float]:
    measured = {name: value for name, value in row.items() if name not in NOT_MEASURED and _is_number(value)}
    return {f"epoch/{name}": value for name, value in measured.items()}


def read_figures(folder: RunFolder) -> dict[str, float]:
    """Read the metrics of a new model on the test set, with the ends of their 95 % intervals; those of its card."""
    metrics: Mapping[str, Any] = {}
    with suppress(OSError, ValueError, KeyError):
        metrics = read_json(folder.evaluation / METRICS_FILE)["metrics"]["all"]
    with suppress(OSError, ValueError, KeyError):
        metrics = read_json(folder.comparison / COMPARISON)["new"]["metrics"]
    ends = {"mean": "", "low": "_low", "high": "_high"}
    return {
        f"test/{name}{suffix}": values[end]
        for name, values in metrics.items()
        for end, suffix in ends.items()
        if _is_number(values.get(end))
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
