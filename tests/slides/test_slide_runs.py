"""Analyses in processes of their own, many slides at once, and the command line over both."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE_S
from typer.testing import CliRunner, Result

from napari_melanoma.cli import app
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.core.processes import ProcessStamp, send_command
from napari_melanoma.core.run_folder import PROCESS_FILE, RunFolder, RunState
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.io.results import read_table
from napari_melanoma.slides import analysis, background_runs, result_folder
from napari_melanoma.slides.analysis import analyze_slides
from napari_melanoma.slides.background_runs import SlideRunStatus, launch_slide, read_slide_run_status
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import record_slide, recorded_slide
from napari_melanoma.slides.slide_table import SlideStatus
from napari_melanoma.slides.tile_models import TileModel

LoadModel = Callable[..., TileModel]
Draw = Callable[..., Path]
CHILD = """
import sys, time
from pathlib import Path
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.run_folder import RunFolderContext, RunFolder
from napari_melanoma.core.context import Cancelled, RunContext
folder = RunFolder(Path(sys.argv[1]))
run = RunFolderContext(RunContext(), folder)
folder.append_event("started", done=0, total=1000)
try:
    for done in range(0, 1000, 10):
        run.check()
        pace = {"tiles_per_s": 10.0, "eta_s": 60.0}
        folder.append_event("progress", message="section: 10 tiles/s", done=done, total=1000, failed=2, **pace)
        time.sleep(0.02)
except Cancelled:
    folder.append_final_event("cancelled")
else:
    folder.append_final_event("finished")
"""

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def dark(tile_model: LoadModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace all models by one that returns how dark tiles are."""
    monkeypatch.setattr(analysis, "load_model", lambda options: tile_model(batch_size=options.batch_size))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def settled(folder: Path) -> SlideRunStatus:
    until(lambda: not read_slide_run_status(folder).state.active)
    return read_slide_run_status(folder)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a launched analysis be another program."""

    def program(code: str) -> None:
        monkeypatch.setattr(
            background_runs,
            "slide_command",
            lambda slide, out, options, *, force: [sys.executable, "-c", code, str(options.parent)],
        )

    return program


def test_an_analysis_is_followed_paused_and_cancelled(
    slide_path: Path, tmp_path: Path, pretend: Callable[[str], None]
) -> None:
    pretend(CHILD)
    folder = launch_slide(slide_path, tmp_path / "out", SlideOptions(mpp=0.5))
    assert folder == tmp_path / "out" / "section"
    with pytest.raises(RunError, match="is being analyzed already"):
        launch_slide(slide_path, tmp_path / "out", SlideOptions())
    until(lambda: read_slide_run_status(folder).done > 0)
    found = read_slide_run_status(folder)
    assert (found.state, found.total, found.failed, found.tiles_per_s) == (RunState.running, 1000, 2, 10.0)
    assert found.eta_s == pytest.approx(60, abs=5)
    assert found.fraction == found.done / 1000
    assert found.message == "section: 10 tiles/s"
    assert (recorded_slide(folder), found.options) == (slide_path, SlideOptions(mpp=0.5))
    send_command(folder, "pause")
    until(lambda: read_slide_run_status(folder).state is RunState.paused)
    assert read_slide_run_status(folder).message.startswith("Paused: ")
    send_command(folder, "cancel")
    last = settled(folder)
    assert last.state is RunState.cancelled
    assert last.message.endswith("of 1000 tiles finished and kept.")
    assert (last.tiles_per_s, last.eta_s) == (0.0, None)


def test_dead_process_is_lost_and_failed_start_gives_the_reason(
    slide_path: Path, tmp_path: Path, pretend: Callable[[str], None]
) -> None:
    pretend(
        CHILD.replace('folder.append_final_event("finished")', "pass").replace("range(0, 1000, 10)", "range(0, 30, 10)")
    )
    lost = settled(launch_slide(slide_path, tmp_path / "out", SlideOptions()))
    assert (lost.state, lost.done) == (RunState.lost, 20)
    assert "20 of 1000 tiles finished and kept" in lost.message
    pretend("import sys; sys.exit('Error: there is no such model')")
    failed = settled(launch_slide(slide_path, tmp_path / "out", SlideOptions()))
    assert (failed.state, failed.message) == (RunState.failed, "Error: there is no such model")


def test_a_missing_slide_is_not_started(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.tif is no longer available. Check the drive"):
        launch_slide(tmp_path / "gone.tif", tmp_path / "out", SlideOptions())
    assert not (tmp_path / "out").exists()


def test_a_missing_run_is_lost(tmp_path: Path) -> None:
    found = read_slide_run_status(tmp_path / "nothing")
    assert (found.state, found.done, found.total, found.fraction) == (RunState.lost, 0, 0, None)
    assert found.message == "The process ended unexpectedly: no tile finished."
    (tmp_path / "result.json").write_text("{}")
    assert read_slide_run_status(tmp_path).message == "Analyzed."


def test_a_finished_run_and_its_notices(tmp_path: Path) -> None:
    place = RunFolder(tmp_path)
    ProcessStamp.create(1).write(tmp_path / PROCESS_FILE)
    for kind, values in (
        ("notice", {"message": "of the life before"}),
        ("launched", {}),
        ("started", {"done": 5, "total": 10}),
        ("notice", {"message": "has its own license"}),
        ("finished", {}),
    ):
        place.append_event(kind, **values)
    found = read_slide_run_status(tmp_path)
    assert (found.state, found.done, found.total) == (RunState.finished, 5, 10)
    assert found.notices == ("has its own license",)


def test_the_state_is_read_without_the_slide(slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read twice per second, and the slide may be on a slow drive."""
    record_slide(tmp_path / "out", slide_path, record_name=True)
    read: list[Path] = []
    monkeypatch.setattr(result_folder, "slide_fingerprint", lambda path: read.append(path) or "")
    read_slide_run_status(tmp_path / "out")
    assert not read


@pytest.mark.usefixtures("dark")
def test_many_slides_one_bad_among_them(drawn_slide: Draw, options: SlideOptions, tmp_path: Path) -> None:
    paths = [drawn_slide(tmp_path / f"s{number}.tif", seed=number) for number in range(2)]
    (tmp_path / "s9.tif").write_bytes(b"II*\0nothing")
    reported: list[SlideStatus] = []
    summary = analyze_slides(
        [*paths, tmp_path / "s9.tif"], tmp_path / "out", options, run=RunContext(), on_status=reported.append
    )
    assert (summary.done, summary.failed) == (2, 1)
    assert [status.status for status in reported] == ["done", "done", "failed"]
    with (tmp_path / "out" / "slides.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["slide"]: row for row in csv.DictReader(file)}
    assert {name: row["status"] for name, row in rows.items()} == {"s0": "done", "s1": "done", "s9": "failed"}
    assert "s9.tif" in rows["s9"]["error"]
    assert (rows["s0"]["lesions"], rows["s0"]["lesions_malignant"], rows["s0"]["tiles_done"]) == ("1", "1", "224")
    assert float(rows["s0"]["lesion_area_mm2"]) == pytest.approx(0.004096)
    assert float(rows["s0"]["mpp"]) == 0.5
    again = analyze_slides(paths[:1], tmp_path / "out", options, run=RunContext())
    assert again.done == 1
    assert len((tmp_path / "out" / "slides.csv").read_text().splitlines()) == 4  # rows of others are kept
    before = (tmp_path / "out" / "slides.csv").read_bytes()
    other = options.model_copy(update={"stain": StainConfig(method="macenko")})
    refused = analyze_slides(paths[:1], tmp_path / "out", other, run=RunContext(), on_status=reported.append)
    assert refused.failed == 1
    assert "stain was not given, now" in reported[-1].error
    assert (tmp_path / "out" / "slides.csv").read_bytes() == before  # what is there stays, and so does its row


@pytest.mark.usefixtures("dark")
def test_malignant_lesions_are_counted_if_the_model_has_that_class(
    drawn_slide: Draw, options: SlideOptions, tile_model: LoadModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = drawn_slide(tmp_path / "s.tif")
    monkeypatch.setattr(analysis, "load_model", lambda options: tile_model("dense"))
    analyze_slides([path], tmp_path / "out", options, run=RunContext())
    (row,) = read_table(tmp_path / "out" / "slides.csv")
    assert (row["lesions"], row["lesions_malignant"]) == ("1", "")


@pytest.mark.usefixtures("dark")
def test_slides_of_one_stem_keep_folders_of_their_own(drawn_slide: Draw, options: SlideOptions, tmp_path: Path) -> None:
    for name in ("b", "c"):
        (tmp_path / name).mkdir()
    paths = [tmp_path / "a.tif", tmp_path / "b" / "a.tif", tmp_path / "c" / "A.tiff"]
    for seed, path in enumerate(paths):
        drawn_slide(path, seed=seed)
    out, reported = tmp_path / "out", list[SlideStatus]()
    analyze_slides(paths, out, options, run=RunContext(), on_status=reported.append)
    folders = [status.folder for status in reported]
    assert folders[0] == out / "a"
    assert [folder.name[:2] for folder in folders[1:]] == ["a-", "A-"]
    assert len({folder.name.casefold() for folder in folders}) == 3
    reported.clear()
    analyze_slides(paths[::-1], out, options, run=RunContext(), on_status=reported.append)  # in another order
    assert [status.folder for status in reported] == folders[::-1]
    assert all(status.status == "done" for status in reported)
    assert all(_resumed(folder) for folder in folders)
    rows = read_table(out / "slides.csv")
    assert sorted((row["slide"], row["file"]) for row in rows) == sorted(
        (folder.name, path.name) for folder, path in zip(folders, paths, strict=True)
    )


def _resumed(folder: Path) -> bool:
    """Whether the last analysis of a folder found all tiles done."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event["resumed"] for event in events if event["kind"] == "started"][-1] is True


@pytest.mark.usefixtures("dark")
def test_the_command_writes_the_reported_files(
    run: Callable[..., Result], slide_path: Path, mask_path: Path, tmp_path: Path
) -> None:
    words = ["--tissue-mask", mask_path, "--batch-size", 16, "--precision", "fp32", "--score", "maximum"]
    result = run("slide", slide_path, "--out", "out", *words)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("1 done in")
    assert "Research use only." in result.stdout
    names = {path.name for path in (tmp_path / "out" / "section").iterdir()}
    assert {"result.zarr", "lesions.geojson", "lesions.csv", "heatmap.ome.tif", "result.json", "tissue.png"} <= names
    content = json.loads((tmp_path / "out" / "section" / "result.json").read_text())
    assert content["probability"] == pytest.approx(1, abs=0.01)
    assert content["options"]["batch_size"] == 16
    (tmp_path / "more.toml").write_text('target = "benign"\nmin_tissue = 0.2\n')
    result = run("slide", slide_path, "--out", "out", *words, "--config", "more.toml", "--json")
    last = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == 1
    assert (last["done"], last["failed"], last["kept"]) == (0, 1, 1)
    assert "min_tissue was 0.1, now 0.2" in result.stdout
    again = run("slide", slide_path, "--out", "out", *words, "--config", "more.toml", "--force")
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "out" / "section" / "result.json").read_text())["target"] == "benign"


@pytest.mark.usefixtures("dark")
def test_the_summary_names_the_column_of_errors_only_if_it_has_the_reason(
    run: Callable[..., Result], drawn_slide: Draw, tmp_path: Path
) -> None:
    drawn_slide(tmp_path / "a.tif")
    (tmp_path / "b.tif").write_bytes(b"II*\0nothing")
    failed = run("slide", "a.tif", "b.tif", "--out", "out", "--batch-size", 16)
    assert "1 done" in failed.stdout
    assert "see the column 'error' there" in failed.stdout
    refused = run("slide", "a.tif", "--out", "out", "--batch-size", 16, "--min-tissue", 0.2)
    (row,) = (row for row in read_table(tmp_path / "out" / "slides.csv") if row["file"] == "a.tif")
    assert (row["status"], row["error"]) == ("done", "")
    assert "min_tissue was" in refused.stderr
    assert "see the messages above: the table keeps 1 earlier result" in refused.stdout
    assert "'error'" not in refused.stdout


def test_the_command_rejects_invalid_options(run: Callable[..., Result], slide_path: Path) -> None:
    missing = run("slide", "nothing.svs", "--out", "out")
    assert missing.exit_code == 2
    assert "nothing.svs" in missing.stderr
    gated = run("slide", slide_path, "--out", "out", "--model", "virchow2")
    assert gated.exit_code == 2
    assert "CC-BY-NC-ND-4.0" in gated.stderr
    unknown = run("slide", slide_path, "--out", "out", "--overlap", "1.5")
    assert unknown.exit_code == 2
    assert "overlap" in unknown.stderr
