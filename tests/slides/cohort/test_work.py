"""Results of a worker for all kinds of errors, and the command line of a cohort."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

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
    RunError,
    SaveError,
    ScaleMissing,
)
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.slides import cohort_cluster
from napari_melanoma.slides.cohort_cluster import CohortJob, DaskCluster, DaskJob, WorkerLost, run_job
from napari_melanoma.slides.options import SlideOptions

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CohortJob:
    (tmp_path / "a.tif").touch()
    monkeypatch.setattr(cohort_cluster, "_set_thread_count", lambda: 1)
    return CohortJob(tmp_path / "a.tif", tmp_path / "out" / "a", SlideOptions())


@pytest.mark.parametrize(
    ("error", "outcome", "message"),
    [
        (InputError("it is truncated"), "bad", "it is truncated"),
        (ScaleMissing("no scale"), "bad", "no scale"),
        (RunError("other settings"), "bad", "other settings"),
        (BundleError("no such model"), "all", "no such model"),
        (ConfigError("no such class"), "all", "no such class"),
        (SaveError("no permission"), "again", "no permission"),
        (DiskFull("the disk is full"), "all", "the disk is full"),
        (MemoryError(), "again", "out of memory. Use fewer processes"),
        (Cancelled(), "cancelled", "control.json"),
        (ZeroDivisionError("of\nnothing"), "again", "unexpected ZeroDivisionError: of nothing"),
    ],
)
def test_whatever_goes_wrong_is_an_answer(
    job: CohortJob, monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cohort_cluster, "analyze_slide", fail)
    answer = run_job(job)
    assert answer.outcome == outcome
    assert message in answer.error
    assert answer.kind == (type(error).__name__ if outcome == "all" else "")


def test_a_slide_that_is_analysed_already_is_busy(job: CohortJob) -> None:
    with RunFolder(job.folder).locked():
        assert run_job(job).outcome == "busy"


def test_a_worker_that_sees_no_slide_or_is_of_another_version_says_so(job: CohortJob) -> None:
    unseen = run_job(replace(job, slide=job.slide.with_name("b.tif")))
    assert (unseen.outcome, "cannot access b.tif" in unseen.error) == ("again", True)
    other = run_job(replace(job, version="0.0.1"))
    assert (other.outcome, other.kind) == ("all", ClusterError.__name__)
    assert "this is 0.0.1" in other.error


class FakeFuture:
    """State of a job in dask."""

    def __init__(self, status: str, error: Exception | None = None) -> None:
        self.status, self.error = status, error

    def result(self, timeout: float) -> cohort_cluster.CohortJobResult:
        if self.error is not None:
            raise self.error
        return cohort_cluster.CohortJobResult("done")

    def cancel(self) -> None:
        raise OSError("the scheduler has gone")


def test_what_dask_says_of_a_job() -> None:
    from distributed.scheduler import KilledWorker

    assert not DaskJob(FakeFuture("pending")).is_done()
    assert DaskJob(FakeFuture("finished")).result().outcome == "done"
    for future in (FakeFuture("cancelled"), FakeFuture("lost"), FakeFuture("error", KilledWorker("a", None, 0))):
        with pytest.raises(WorkerLost):
            DaskJob(future).result()
    message = DaskJob(FakeFuture("error", ValueError("odd"))).result()
    assert (message.outcome, message.error) == ("again", "unexpected ValueError: odd")
    with pytest.raises(ClusterError, match="cannot import napari-melanoma"):
        DaskJob(FakeFuture("error", RuntimeError("Error during deserialization of the task graph"))).result()
    DaskJob(FakeFuture("pending")).cancel()


def test_a_scheduler_that_has_gone_is_said_in_one_way() -> None:
    class Client:
        status = "connecting"

        def scheduler_info(self, n_workers: int) -> dict[str, Any]:
            raise OSError("refused")

        submit = None

    client: Any = Client()
    for ask in (DaskCluster(client).workers, lambda: DaskCluster(client).submit("tcp://1", object())):  # type: ignore[arg-type]
        with pytest.raises(ClusterError, match=r"Finished slides are kept. Restart scheduler and workers"):
            ask()
    client.status = "running"
    with pytest.raises(ClusterError, match="OSError: refused"):
        DaskCluster(client).workers()


def test_workers_have_names_for_people() -> None:
    worker = {"metrics": {"memory": 5}, "memory_limit": 10, "status": "running"}
    seen = [
        cohort_cluster._worker_status("tcp://10.0.0.1:77", {**worker, "name": name})
        for name in (3, "job-3", "tcp://10.0.0.1:77")
    ]
    assert [one.name for one in seen] == ["process 3", "job-3 at 10.0.0.1", "tcp://10.0.0.1:77"]
    assert (seen[0].memory, seen[0].limit, seen[0].ready) == (5, 10, True)
    paused = cohort_cluster._worker_status("tcp://10.0.0.1:77", {**worker, "status": "paused", "metrics": {}})
    assert (paused.memory, paused.ready) == (0, False)


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
def test_what_cannot_be_is_refused(run: Callable[..., Result], words: list[object], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_without_dask_it_is_said_what_to_install(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_cluster, "find_spec", lambda name: None)
    result = run("--processes", 2)
    assert result.exit_code == 1
    assert "Install napari-melanoma[cluster], or analyze one slide after the other" in result.stderr


def test_unreachable_scheduler_is_reported(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_cluster, "CONNECT_S", 0.2)
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
