"""A finished result is replaced by a finished one, or it stays: canceled at any tile, killed, failed, moved."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.processes import ProcessStamp
from napari_melanoma.core.run_folder import RunFolder, RunState
from napari_melanoma.io.slide_store import DONE, SlideResult
from napari_melanoma.reports.slide_export import read_exported_slide
from napari_melanoma.slides.analysis import SlideOutcome
from napari_melanoma.slides.background_runs import cancel_slide, launch_slide, read_slide_run_status
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import PREVIOUS, UNFINISHED, record_slide, recorded_slide

Analyze = Callable[..., SlideOutcome]
OTHER = {"overlap": 0.5}  # another analysis, which replaces the finished result
SEEN = ("result.json", "lesions.geojson", "lesions.csv", "heatmap.ome.tif", "tissue.png")


def seen(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SEEN}


def cancelled_at(share: float) -> RunContext:
    """A user who cancels once more than this share of the tiles is done."""

    def report(progress: Progress) -> None:
        if progress.fraction is not None and (progress.fraction > share or share == 0):
            run.cancel()

    run = RunContext(report)
    return run


@pytest.fixture(autouse=True)
def each_batch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.EVENT_INTERVAL_S", 0.0)


@pytest.fixture
def finished(finished: SlideOutcome, tmp_path: Path) -> Path:
    """A copy of the finished analysis."""
    return shutil.copytree(finished.folder, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_a_cancelled_replacement_leaves_the_finished_result(analyze: Analyze, finished: Path, share: float) -> None:
    before = seen(finished)
    with pytest.raises(Cancelled):
        analyze(run=cancelled_at(share), force=True, **OTHER)
    assert seen(finished) == before
    assert (SlideResult.open(finished).state == DONE).sum() == 224
    assert not (finished / PREVIOUS).exists()


def test_a_replacement_that_fails_leaves_the_finished_result(
    analyze: Analyze, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(finished)
    monkeypatch.setattr("napari_melanoma.slides.analysis._run_tiles", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        analyze(force=True, **OTHER)
    assert seen(finished) == before


def test_a_cancelled_replacement_resumes_and_replaces_the_folder(analyze: Analyze, finished: Path) -> None:
    with pytest.raises(Cancelled):
        analyze(run=cancelled_at(0.3), force=True, **OTHER)
    done = int((SlideResult.open(finished / UNFINISHED).state == DONE).sum())
    assert done > 0
    outcome = analyze(force=True, **OTHER)
    started = [event for event in RunFolder(finished).read_events() if event["kind"] == "started"]
    assert (started[-1]["done"], started[-1]["resumed"]) == (done, True)
    assert outcome.content["tiles_done"] > 224
    assert not (finished / PREVIOUS).exists()
    assert not (finished / UNFINISHED).exists()


def test_a_killed_replacement_resumes(analyze: Analyze, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SIGKILL leaves: the result before is put by, and nothing brings it back."""
    with monkeypatch.context() as killed:
        killed.setattr("napari_melanoma.slides.analysis.restore_previous", lambda folder: False)
        with pytest.raises(Cancelled):
            analyze(run=cancelled_at(0.2), force=True, **OTHER)
    assert (finished / PREVIOUS / "result.json").is_file()
    before = {name: (finished / PREVIOUS / name).read_bytes() for name in SEEN}
    with pytest.raises(Cancelled):
        analyze(run=cancelled_at(0.5), **OTHER)
    assert seen(finished) == before


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes its time to begin, as one that imports torch does."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_an_analysis_that_has_not_begun_is_cancelled_at_once(
    slide_path: Path,
    finished: Path,
    options: SlideOptions,
    sleeper: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stamp = ProcessStamp.create(sleeper.pid)
    monkeypatch.setattr("napari_melanoma.slides.background_runs.spawn_detached", lambda words, output: stamp)
    folder = launch_slide(slide_path, finished.parent / "other", options)
    assert read_slide_run_status(folder).state is RunState.starting
    cancel_slide(folder)
    sleeper.wait(5)  # it was ended, or this raises
    assert read_slide_run_status(folder).state is RunState.cancelled


def test_a_result_finds_its_slide_after_both_were_moved(analyze: Analyze, slide_path: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    slide = Path(shutil.copy(slide_path, study / slide_path.name))
    folder = analyze(slide, study / "results" / slide.stem).folder
    assert str(tmp_path) not in (folder / "slide.json").read_text(encoding="utf-8")
    assert read_exported_slide(folder).slide == slide
    moved = study.rename(tmp_path / "moved")
    found = moved / "results" / slide.stem
    assert recorded_slide(found) == moved / slide.name
    (moved / slide.name).write_bytes(b"another slide of that name")
    assert recorded_slide(found) is None


def test_a_path_that_would_name_the_home_is_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home" / "ada"))
    (tmp_path / "home/ada/slides").mkdir(parents=True)
    (tmp_path / "home/ada/slides/a.svs").write_bytes(b"x")
    (tmp_path / "disk/results").mkdir(parents=True)
    record_slide(tmp_path / "disk/results", tmp_path / "home/ada/slides/a.svs")
    assert "ada" not in (tmp_path / "disk/results/slide.json").read_text(encoding="utf-8")
