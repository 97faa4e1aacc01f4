"""Results of a worker for all kinds of errors, and the command line of a cohort."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from napari_melanoma.cli import app
from napari_melanoma.core.context import Cancelled
from napari_melanoma.core.errors import (
    BundleError,
    ClusterError,
    ConfigError,
    DiskFull,
    InputError,
    ResultsMismatch,
    RunError,
    SaveError,
    ScaleMissing,
)
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.slides import cohort
from napari_melanoma.slides.cohort import CohortJob, job_result, run_job
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.tile_models import TileModel

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CohortJob:
    (tmp_path / "a.tif").touch()
    monkeypatch.setattr(cohort, "_set_thread_count", lambda: 1)
    return CohortJob(tmp_path / "a.tif", tmp_path / "out" / "a", SlideOptions())


@pytest.mark.parametrize(
    ("error", "is_fatal", "message"),
    [
        (InputError("it is truncated"), False, "it is truncated"),
        (ScaleMissing("no scale"), False, "no scale"),
        (RunError("another process"), False, "another process"),
        (ResultsMismatch("other settings"), False, "other settings"),
        (BundleError("no such model"), True, "no such model"),
        (ConfigError("no such class"), True, "no such class"),
        (DiskFull("the disk is full"), True, "the disk is full"),
        (Cancelled(), False, "control.json"),
    ],
)
def test_errors_that_would_be_repeated_are_results(
    job: CohortJob, monkeypatch: pytest.MonkeyPatch, error: Exception, is_fatal: bool, message: str
) -> None:
    monkeypatch.setattr(cohort, "analyze_slide", raising(error))
    result = run_job(job)
    assert message in result.error
    assert result.keep_row == isinstance(error, ResultsMismatch)
    assert result.fatal == (type(error).__name__ if is_fatal else "")


@pytest.mark.parametrize("error", [SaveError("no permission"), MemoryError(), ZeroDivisionError("of nothing")])
def test_other_errors_are_raised_for_dask_to_try_again(
    job: CohortJob, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(cohort, "analyze_slide", raising(error))
    with pytest.raises(type(error)):
        run_job(job)


def test_a_worker_loads_a_model_whose_weights_were_replaced(
    job: CohortJob, monkeypatch: pytest.MonkeyPatch, tile_model: Callable[..., TileModel]
) -> None:
    installed, used = ["old"], []

    def load(options: SlideOptions) -> TileModel:
        model = tile_model()
        model.info = replace(model.info, fingerprint=installed[0])
        return model

    def analyze(*_: object, load: Callable[[], TileModel], **__: object) -> None:
        used.append(load().info.fingerprint)
        raise InputError("seen")

    monkeypatch.setattr("napari_melanoma.slides.analysis.load_model", load)
    monkeypatch.setattr(cohort, "analyze_slide", analyze)
    jobs = []
    for name in ("old", "new"):
        installed[0] = name
        jobs.append(replace(job, model=load(job.options).identity.digest))
        assert run_job(jobs[-1]).error == "seen"
    assert used == ["old", "new"]
    result = run_job(jobs[0])  # weights that this machine does not have
    assert (result.fatal, "a worker has another 'darkness'" in result.error) == (ClusterError.__name__, True)
    assert "or the model was replaced in the meantime" in result.error


def raising(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_slide_that_is_being_analyzed_already_fails(job: CohortJob) -> None:
    with RunFolder(job.folder).locked():
        assert "another process works in" in run_job(job).error


def test_a_worker_without_the_slides_or_of_another_version_ends_the_cohort(job: CohortJob) -> None:
    for other, message in (
        (replace(job, slide=job.slide.parent / "elsewhere" / "a.tif"), "cannot access the folder of a.tif"),
        (replace(job, version="0.0.1"), "this is 0.0.1"),
    ):
        result = run_job(other)
        assert (result.fatal, message in result.error) == (ClusterError.__name__, True)


def test_workers_without_this_package_end_the_cohort() -> None:
    class FailedFuture:
        status = "error"

        def result(self, timeout: float) -> None:
            raise RuntimeError("Error during deserialization of the task graph")

    result = job_result(FailedFuture())  # type: ignore[arg-type]
    assert (result.fatal, "cannot import napari-melanoma" in result.error) == (ClusterError.__name__, True)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (tmp_path / "a.tif").write_bytes(b"II*\0nothing")
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["slide", "a.tif", "--out", "out", *map(str, words)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tries", 2], "--tries needs --processes or --scheduler"),
        (["--processes", 2, "--scheduler", "tcp://host:1"], "cannot be combined. Give one of them"),
        (["--processes", 0], "processes"),
        (["--scheduler", "nonsense"], "'nonsense' is not a scheduler: expected an address"),
        (["--scheduler", "gopher://host:70"], "'gopher://host:70' is not a scheduler"),
    ],
)
def test_invalid_options_are_rejected(run: Callable[..., Result], words: list[object], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_missing_dask_states_the_package_to_install(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort, "find_spec", lambda name: None)
    result = run("--processes", 2)
    assert result.exit_code == 1
    assert "Install napari-melanoma[cluster], or analyze one slide after the other" in result.stderr


def test_unreachable_scheduler_is_reported(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "CONNECT_S", 0.2)
    result = run("--scheduler", "tcp://127.0.0.1:9")
    assert result.exit_code == 1
    assert "no scheduler responded at tcp://127.0.0.1:9" in result.stderr
    content = json.loads(Path("out/cohort.json").read_text())
    assert [one["state"] for one in content["slides"]] == ["waiting"]


def test_one_process_needs_no_dask(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = run()
    assert result.exit_code == 1
    assert "a.tif" in result.stderr
    assert not Path("out/cohort.json").exists()
