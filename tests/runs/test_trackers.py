"""A run is recorded for TensorBoard, MLflow and Weights & Biases in its folder, and nothing is sent unless chosen."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S

from napari_melanoma.core.context import Cancelled
from napari_melanoma.core.errors import ConfigError, MissingPackage, SaveError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.runs import trackers
from napari_melanoma.runs.trackers import TRACKERS_VARIABLE, choose_trackers, read_figures, track_run
from napari_melanoma.training.recipe import TrainRecipe

# MLflow 3.17 with SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
JACCARD = {"mean": 0.8, "low": 0.7, "high": None, "count": 4}


@pytest.fixture
def recipe() -> TrainRecipe:
    return TrainRecipe.parse({"name": "clinic", "data": {"datasets": ["data/clinic"]}}, "the test")


@pytest.fixture(autouse=True)
def no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid connections to other machines; the processes of W&B use local ones."""
    real = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a tracker connects to {address}")
        real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in (TRACKERS_VARIABLE, "MLFLOW_TRACKING_URI", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)


def write_run(folder: RunFolder, recipe: TrainRecipe) -> None:
    """Write what a training writes to its folder before its first step."""
    from napari_melanoma.core.config import write_toml

    folder.path.mkdir(exist_ok=True)
    write_toml(folder.config, recipe)
    folder.append_event("step", epoch=0, step=1, loss=9.0)  # before the run was resumed


def train_steps(folder: RunFolder) -> None:
    """Write the events and files of a short training."""
    import numpy as np

    from napari_melanoma.io.results import write_rgb

    folder.append_event("step", epoch=0, step=7, loss=0.5, images_per_second=12.5)
    pictures = folder.samples / "epoch-0001"
    pictures.mkdir(parents=True)
    write_rgb(pictures / "lesion12.png", np.full((8, 8, 3), 200, np.uint8))
    folder.append_event("samples", epoch=0, folder="samples/epoch-0001")
    folder.append_event("epoch", epoch=0, loss=0.4, validation_jaccard=0.75, learning_rate=0.01, best=True)
    folder.bundle.mkdir()
    (folder.bundle / "README.md").write_text("# clinic\n\nResearch use only.\n")
    folder.comparison.mkdir()
    values = {"new": {"metrics": {"JA": JACCARD}}}
    (folder.comparison / "comparison.json").write_text(json.dumps(values))
    folder.append_final_event("finished", validation_jaccard=0.75, threshold=0.6, bundle="bundle")


EXPECTED = {
    "step/loss": (7, 0.5),
    "step/images_per_second": (7, 12.5),
    "epoch/loss": (1, 0.4),
    "epoch/validation_jaccard": (1, 0.75),
    "result/threshold": (0, 0.6),
    "test/JA": (0, 0.8),
    "test/JA_low": (0, 0.7),
}


def track(recipe: TrainRecipe, out: Path, name: str) -> RunFolder:
    folder = RunFolder(out / "first")
    write_run(folder, recipe)
    with track_run(recipe.model_copy(update={"trackers": (name,)}), folder):
        train_steps(folder)
    notices = [event["message"] for event in folder.read_events() if event["kind"] == "notice"]
    assert not notices
    return folder


def test_tensorboard(recipe: TrainRecipe, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = track(recipe, tmp_path, "tensorboard")
    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    found = {tag: [(item.step, item.value) for item in events.Scalars(tag)] for tag in tags["scalars"]}
    for name, (step, value) in EXPECTED.items():
        assert found[name] == [(step, pytest.approx(value))], name
    assert tags["images"] == ["samples/lesion12"]
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    assert 'name = "clinic"' in texts["config.toml/text_summary"]
    assert "Research use only." in texts["README.md/text_summary"]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
@pytest.mark.slow
def test_a_resumed_run_sends_the_epochs_that_were_lost_by_a_kill(
    recipe: TrainRecipe, tmp_path: Path, name: str
) -> None:
    """The process was killed when it had finished three epochs, of which the tracker has the first."""
    pytest.importorskip(name)
    folder, recipe = RunFolder(tmp_path / "first"), recipe.model_copy(update={"trackers": (name,)})
    write_run(folder, recipe)
    with track_run(recipe, folder):
        folder.append_event("epoch", epoch=0, loss=0.5, validation_jaccard=0.7, best=True)
    for epoch in range(3):
        folder.add_metrics({"epoch": epoch, "loss": 0.5 - epoch / 10, "validation_jaccard": 0.7})
    with track_run(recipe, folder):
        folder.append_event("epoch", epoch=3, loss=0.2, validation_jaccard=0.7, best=True)
    assert not [event for event in folder.read_events() if event["kind"] == "notice"]
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder.tensorboard)).Reload().Scalars("epoch/loss")
    else:
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{folder.path / 'mlflow' / 'mlflow.db'}")
        run = json.loads((folder.path / "trackers.json").read_text())["mlflow"]
        found = client.get_metric_history(run, "epoch/loss")
    assert sorted((item.step, round(item.value, 3)) for item in found) == [(1, 0.5), (2, 0.4), (3, 0.3), (4, 0.2)]


@pytest.mark.slow
def test_mlflow_in_a_local_folder(recipe: TrainRecipe, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    folder = track(recipe, tmp_path, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{folder.path / 'mlflow' / 'mlflow.db'}")
    (experiment,) = [item for item in client.search_experiments() if item.name == "clinic"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert run.data.params["data/datasets"] == "['data/clinic']"
    for name, (step, value) in EXPECTED.items():
        assert [(item.step, item.value) for item in client.get_metric_history(run.info.run_id, name)] == [(step, value)]
    artifacts = [item.path for item in client.list_artifacts(run.info.run_id)]
    assert sorted(artifacts) == ["README.md", "config.toml", "samples"]
    (picture,) = client.list_artifacts(run.info.run_id, "samples/epoch-0001")
    assert picture.path == "samples/epoch-0001/lesion12.png"
    with pytest.raises(Cancelled), track_run(recipe.model_copy(update={"trackers": ("mlflow",)}), folder):
        raise Cancelled
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED", "a resumed run continues the same run of MLflow"


def read_log(content: bytes) -> Iterator[bytes]:
    """Yield the records of a log in the format of LevelDB, with 7 bytes before its first block."""
    record, position, block = b"", 7, 32768
    while position + 7 <= len(content):
        if block - position % block < 7:  # no header fits into the rest of a block
            position += block - position % block
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield record
            record = b""


def read_records(file: Path, kind: Any) -> list[Any]:
    """Read the records of a run; its process writes the last ones shortly after the run was finished."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        records = [kind.FromString(data) for data in read_log(file.read_bytes())]
        if any(record.HasField("exit") for record in records) or time.monotonic() > deadline:
            return records
        time.sleep(0.1)


@pytest.mark.slow
def test_wandb_offline(recipe: TrainRecipe, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    folder = track(recipe, tmp_path, "wandb")
    (file,) = (folder.path / "wandb").glob("offline-run-*/*.wandb")
    found: dict[str, object] = {}
    files: set[str] = set()
    for record in read_records(file, wandb_internal_pb2.Record):
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found |= {name: (row.get("trainer/global_step"), value) for name, value in row.items()}
        files |= {item.path for item in record.files.files}
    for name, expected in EXPECTED.items():
        assert found[name] == expected, name
    assert {"README.md", "config.toml"} <= files
    assert any("lesion12" in json.dumps(value) for value in found.values())
    assert b"host" not in file.read_bytes().lower().replace(b"localhost", b"")


def test_a_tracker_that_fails_does_not_end_the_run(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        packages = ()

        def __init__(self, *_: object) -> None:
            raise OSError("no space left")

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", Broken)
    folder = RunFolder(tmp_path / "run")
    write_run(folder, recipe)
    with track_run(recipe.model_copy(update={"trackers": ("tensorboard",)}), folder):
        train_steps(folder)
    messages = [event["message"] for event in folder.read_events() if event["kind"] == "notice"]
    assert messages == ["tracking by tensorboard stopped: no space left. The training continues without it."]


class SlowTracker:
    """Stands for a tracker whose server needs ``delay_s`` for each value; ``sent``: the names of the values."""

    packages = ()
    delay_s = 0.0
    last: SlowTracker

    def __init__(self, *_: object) -> None:
        self.logger = self
        self.sent: list[str] = []
        self.outcome = ""
        SlowTracker.last = self

    def log_hyperparams(self, values: dict[str, Any]) -> None:
        pass

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        time.sleep(self.delay_s)
        self.sent += values

    def add_text(self, path: Path) -> None:
        pass

    def close(self, outcome: str) -> None:
        self.outcome = outcome


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> type[SlowTracker]:
    monkeypatch.setitem(trackers.TRACKERS, "wandb", SlowTracker)
    monkeypatch.setattr(trackers, "POLL_S", 0.01)
    return SlowTracker


def test_the_end_of_a_run_does_not_wait_for_all_steps(
    recipe: TrainRecipe, tmp_path: Path, slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow, "delay_s", 0.2)
    monkeypatch.setattr(trackers, "BACKLOG_S", 0.3)
    folder = RunFolder(tmp_path / "run")
    write_run(folder, recipe)
    with track_run(recipe.model_copy(update={"trackers": ("wandb",)}), folder):
        for step in range(40):
            folder.append_event("step", epoch=0, step=step, loss=0.5)
        folder.append_event("epoch", epoch=0, loss=0.4)
        folder.append_final_event("finished", threshold=0.6)
        began = time.monotonic()
    assert time.monotonic() - began < 4, "all steps together take 8 s"
    assert (slow.last.sent[-2:], slow.last.outcome) == (["epoch/loss", "result/threshold"], "success")


def test_the_end_of_a_run_does_not_wait_for_a_server_that_hangs(
    recipe: TrainRecipe, tmp_path: Path, slow: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slow, "delay_s", 3)
    monkeypatch.setattr(trackers, "CLOSE_S", 0.2)
    folder = RunFolder(tmp_path / "run")
    write_run(folder, recipe)
    began = time.monotonic()
    with track_run(recipe.model_copy(update={"trackers": ("wandb",)}), folder):
        folder.append_event("epoch", epoch=0, loss=0.4)
    assert time.monotonic() - began < 2
    assert "wandb did not receive all values within 0.2 s" in caplog.text


def test_ids_of_another_form_are_ignored(recipe: TrainRecipe, tmp_path: Path, slow: Any) -> None:
    folder = RunFolder(tmp_path / "run")
    write_run(folder, recipe)
    (folder.path / "trackers.json").write_text("[1]")
    with track_run(recipe.model_copy(update={"trackers": ("wandb",)}), folder):
        folder.append_event("epoch", epoch=0, loss=0.4)
    assert (slow.last.sent, slow.last.outcome) == (["epoch/loss"], "success")


def test_an_error_outside_the_trackers_is_reported(recipe: TrainRecipe, tmp_path: Path, slow: Any) -> None:
    folder = RunFolder(tmp_path / "run")
    write_run(folder, recipe)
    with track_run(recipe.model_copy(update={"trackers": ("wandb",)}), folder):
        folder.append_event("samples", epoch=0)  # without its folder
    (notice,) = [event["message"] for event in folder.read_events() if event["kind"] == "notice"]
    assert notice == "tracking by wandb stopped: 'folder'. The training continues without it."
    assert slow.last.outcome == "failed"


def test_trackers_are_closed_if_a_notice_cannot_be_written(
    recipe: TrainRecipe, tmp_path: Path, slow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk, the error must not end the thread."""
    real = RunFolder.append_event

    def append_event(self: RunFolder, kind: str, **values: object) -> None:
        if kind == "notice":
            raise SaveError("the disk is full")
        real(self, kind, **values)

    monkeypatch.setattr(RunFolder, "append_event", append_event)
    folder = RunFolder(tmp_path / "run")
    write_run(folder, recipe)
    with track_run(recipe.model_copy(update={"trackers": ("wandb",)}), folder):
        folder.append_event("samples", epoch=0)  # without its folder
    assert slow.last.outcome == "failed"


@pytest.mark.parametrize(
    ("variable", "expected"),
    [(None, ("wandb",)), ("none", ()), ("", ()), ("tensorboard, mlflow", ("tensorboard", "mlflow"))],
)
def test_the_environment_takes_precedence_over_the_recipe(
    variable: str | None, expected: tuple[str, ...], recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "require_packages", lambda *_: None)
    if variable is not None:
        monkeypatch.setenv(TRACKERS_VARIABLE, variable)
    assert choose_trackers(recipe.model_copy(update={"trackers": ("wandb",)})) == expected


def test_unknown_and_missing_trackers(recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="expected some of tensorboard, mlflow, wandb"):
        TrainRecipe.parse({**recipe.model_dump(), "trackers": ["comet"]}, "the test")
    monkeypatch.setenv(TRACKERS_VARIABLE, "comet")
    with pytest.raises(ConfigError, match="comet is no tracker"):
        choose_trackers(recipe)
    monkeypatch.setenv(TRACKERS_VARIABLE, "mlflow")
    monkeypatch.setattr("napari_melanoma.core.packages.is_installed", lambda package: False)
    with pytest.raises(MissingPackage, match="tracking by mlflow needs mlflow"):
        choose_trackers(recipe)


def test_figures_of_an_evaluation_without_comparison(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_figures(folder) == {}
    folder.evaluation.mkdir()
    values = {"metrics": {"all": {"AUC": JACCARD}, "clinic": {"AUC": JACCARD}}}
    (folder.evaluation / "metrics.json").write_text(json.dumps(values))
    assert read_figures(folder) == {"test/AUC": 0.8, "test/AUC_low": 0.7}
