"""``lesion``: files, exit codes, output streams, and invalid input."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dark_model
import numpy as np
import pytest
import tifffile
from patience import LONG_PATIENCE_S
from PIL import Image

from napari_melanoma.core import files
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.lesion.results import LOCK

pytestmark = pytest.mark.usefixtures("dark")


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_a_folder_is_analyzed(run, photographs: Path, tmp_path: Path) -> None:
    result = run("lesion", photographs, "--out", "out")
    assert result.exit_code == 0, result.output
    assert {row["status"] for row in table(tmp_path / "out").values()} == {"done"}
    assert result.stdout.startswith("3 done in")
    assert result.stdout.count("\n") == 1
    assert "3/3" in result.stderr


def test_an_image_without_an_ending_is_named(run, photographs: Path, tmp_path: Path, lines) -> None:
    (photographs / "p2.png").rename(photographs / "scan")
    (photographs / "README").write_text("no image", encoding="utf-8")
    result = run("lesion", photographs, "--out", "out")
    assert "note: left out: scan: images by their content, but without an ending" in result.stderr
    assert "README" not in result.stderr
    (note,) = [line for line in lines(run("lesion", photographs, "--out", "out", "--json").stdout) if "about" in line]
    assert note["message"].startswith("scan:")
    assert "left out" not in run("lesion", photographs, photographs / "scan", "--out", "out").stderr
    assert set(table(tmp_path / "out")) == {"p0", "p1", "scan"}


def test_a_pattern_and_a_file(run, photographs: Path, tmp_path: Path) -> None:
    assert run("lesion", photographs / "p[01].png", photographs / "p2.png", "--out", "out").exit_code == 0
    assert len(table(tmp_path / "out")) == 3


def test_options_are_applied(run, photographs: Path, tmp_path: Path) -> None:
    options = "--threshold 0.6 --margin 0.3 --background keep --side 64 --all-lesions --pixel-size 20 --batch-size 2"
    assert run("lesion", photographs, "--out", "out", "--workers", 1, *options.split()).exit_code == 0
    stored = json.loads((tmp_path / "out" / "p0" / "result.json").read_text(encoding="utf-8"))
    assert stored["options"]["threshold"] == stored["threshold"] == 0.6
    assert stored["options"]["roi"] == {"margin": 0.3, "background": "keep", "side_px": 64}
    assert stored["options"]["refinement"]["largest_only"] is False
    assert stored["pixel_size_um"] == {"y": 20.0, "x": 20.0, "source": "given"}
    with Image.open(tmp_path / "out" / "p0" / "roi.png") as roi:
        assert roi.size == (64, 64)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--no-fill", {"fill_holes": False}),
        ("--smoothing 0", {"smoothing": 0.0}),
        ("--all-lesions --no-fill", {"largest_only": False, "fill_holes": False}),
        (
            "--no-refine",
            {"largest_only": False, "fill_holes": False, "smoothing": 0.0, "min_area_fraction": 0.0},
        ),
        (
            "--no-refine --smoothing 0.01",
            {"largest_only": False, "fill_holes": False, "smoothing": 0.01, "min_area_fraction": 0.0},
        ),
    ],
    ids=lambda value: value or "default" if isinstance(value, str) else "",
)
def test_refinement_can_be_switched_off(run, photographs: Path, tmp_path: Path, words: str, expected: dict) -> None:
    assert run("lesion", photographs / "p0.png", "--out", "out", *words.split()).exit_code == 0
    stored = json.loads((tmp_path / "out" / "p0" / "result.json").read_text(encoding="utf-8"))
    assert stored["options"]["refinement"] == {**RefinementConfig().model_dump(), **expected}


def test_without_refinement_the_mask_is_the_thresholded_one(run, tmp_path: Path) -> None:
    rgb = np.full((96, 96, 3), (225, 180, 160), np.uint8)
    rgb[30:66, 9:45] = rgb[39:57, 69:87] = (60, 40, 30)
    rgb[45:51, 24:30] = (225, 180, 160)  # a hole
    Image.fromarray(rgb).save(tmp_path / "two.png")
    found = {}
    for words in ((), ("--no-fill",), ("--no-refine",)):
        out = tmp_path / "-".join(("out", *words))
        assert run("lesion", "two.png", "--out", out, *words).exit_code == 0
        with Image.open(out / "two" / "mask.png") as mask:
            pixels = np.asarray(mask).astype(bool)
        found[words] = bool(pixels[47, 26]), bool(pixels[48, 78])
    assert found == {(): (True, False), ("--no-fill",): (False, False), ("--no-refine",): (False, True)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--click 5,5", "expected only one photograph with clicks or a box, found 3"),
        ("--click 5", "expected --click as X,Y in pixels, found '5'"),
        ("--exclude 5,b", "expected --exclude as X,Y in pixels, found '5,b'"),
        ("--click nan,5", "is nan; input should be a finite number"),
        ("--box 5,5,50", "expected --box as LEFT,TOP,RIGHT,BOTTOM in pixels, found '5,5,50'"),
        ("--click 5,5 --flips", "flips is not available with prompts"),
    ],
)
def test_clicks_that_cannot_be_used_are_refused(
    run, photographs: Path, tmp_path: Path, words: str, message: str
) -> None:
    result = run("lesion", photographs, "--out", "out", *words.split())
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_refinement_with_clicks_is_refused(run, photographs: Path) -> None:
    result = run("lesion", photographs / "p0.png", "--out", "out", "--click", "5,5", "--no-fill")
    assert result.exit_code == 2
    assert "refinement (smoothing, holes, choice of lesions) is not available" in " ".join(result.output.split())


def test_finished_images_are_skipped_unless_forced(run, photographs: Path) -> None:
    run("lesion", photographs, "--out", "out")
    assert run("lesion", photographs, "--out", "out").stdout.startswith("0 done in")
    assert "3 already done" in run("lesion", photographs, "--out", "out").stdout
    assert run("lesion", photographs, "--out", "out", "--force").stdout.startswith("3 done in")


def test_json_output(run, photographs: Path, lines) -> None:
    (photographs / "bad.png").write_text("no image", encoding="utf-8")
    result = run("lesion", photographs, "--out", "out", "--json")
    events = lines(result.stdout)
    assert [event["done"] for event in events if event["event"] == "progress"] == [1, 2, 3, 4]
    (failed,) = (event for event in events if event["event"] == "failed")
    assert failed["image"] == "bad"
    assert events[-1]["event"] == "summary"
    assert {key: events[-1][key] for key in ("status", "exit_code", "done", "skipped", "failed", "out")} == {
        "status": "failed", "exit_code": 1, "done": 3, "skipped": 0, "failed": 1, "out": "out",
    }  # fmt: skip
    assert result.exit_code == 1


def truncated(path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def text(path: Path) -> None:
    path.write_text("not an image at all", encoding="utf-8")


def empty(path: Path) -> None:
    path.touch()


def single(path: Path) -> None:
    Image.fromarray(np.full((1, 1, 3), 200, np.uint8)).save(path)


def not_a_number(path: Path) -> None:
    tifffile.imwrite(path, np.full((20, 20), np.nan, np.float32))


@pytest.mark.parametrize(
    ("name", "make"),
    [("cut.jpg", truncated), ("text.png", text), ("empty.jpg", empty), ("1.png", single), ("nan.tif", not_a_number)],
    ids=["truncated JPEG", "text named .png", "0 bytes", "1 x 1", "NaN float TIFF"],
)
def test_an_unreadable_photograph_is_reported_with_a_reason(
    run, photographs: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(photographs / name)
    result = run("lesion", photographs, "--out", "out")
    assert result.exit_code == 1
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("failed: "))
    assert name in line
    rows = table(tmp_path / "out")
    assert rows[Path(name).stem]["error"] in line
    assert len(rows[Path(name).stem]["error"]) > 20
    assert sorted(row["status"] for row in rows.values()) == ["done", "done", "done", "failed"]
    assert not (tmp_path / "out" / Path(name).stem).exists()
    assert "3 done" in result.stdout
    assert "1 failed" in result.stdout


def test_an_image_without_lesion_is_not_a_failure(run, tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 60, 3), 250, np.uint8)).save(tmp_path / "x.png")
    result = run("lesion", "x.png", "--out", "out")
    assert result.exit_code == 0, result.output
    assert "1 without a lesion" in result.stdout
    row = table(tmp_path / "out")["x"]
    assert (row["status"], row["note"][:10], row["area_px"]) == ("done", "Not valid:", "")  # no verdict on no skin


def test_photographs_without_a_ruler_are_counted(run, tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 60, 3), 250, np.uint8)).save(tmp_path / "x.png")
    text = "1 without a ruler or a stated scale, measured in pixels only"
    assert text in run("lesion", "x.png", "--out", "out", "--scale", "ruler").stdout
    assert text not in run("lesion", "x.png", "--out", "out", "--scale", "stated").stdout


def test_a_black_image_is_processed(run, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(tmp_path / "black.png")
    assert run("lesion", "black.png", "--out", "out").exit_code == 0
    assert table(tmp_path / "out")["black"]["status"] == "done"


def test_a_full_disk_is_reported_and_leaves_no_partial_file(
    run, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    result = run("lesion", photographs, "--out", "out")
    assert result.exit_code == 1
    assert "the disk is full" in result.stderr
    assert "Traceback" not in result.stderr
    # the lock stays: if it was removed while another process waits for it, two could hold it
    assert {path.name for path in (tmp_path / "out").rglob("*")} <= {LOCK}


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_an_unreadable_folder(run, photographs: Path) -> None:
    photographs.chmod(0)
    try:
        result = run("lesion", photographs, "--out", "out")
    finally:
        photographs.chmod(0o755)
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_a_folder_that_cannot_be_listed(run, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder, onerror, **options):
        onerror(PermissionError(errno.EACCES, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr("napari_melanoma.io.discovery.os.walk", refuse)
    result = run("lesion", photographs, "--out", "out")
    assert result.exit_code == 2
    assert "cannot be read: Permission denied" in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nothing/*.jpg", "--out", "out"], "nothing"),
        (["missing.jpg", "--out", "out"], "does not exist"),
        (["photographs", "--out", "out", "--threshold", "2"], "threshold"),
        (["photographs", "--out", "out", "--side", "0"], "--side is 0"),
        (["photographs", "--out", "out", "--pixel-size", "-1"], "--pixel-size is -1"),
        (["photographs", "--out", "out", "--batch-size", "0"], "--batch-size is 0"),
        (["photographs"], "--out"),
        (["--out", "out"], "IMAGE"),
        (["photographs", "--out", "out", "--smoothing", "-1"], "smoothing"),
        (["photographs", "--out", "out", "--background", "red"], "background"),
        (["photographs", "--out", "out", "--colour"], "--colour"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
@pytest.mark.usefixtures("photographs")
def test_a_usage_error_is_reported_without_traceback(run, tmp_path: Path, words: list[str], expected: str) -> None:
    result = run("lesion", *words)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(run, photographs: Path) -> None:
    (photographs / "bad.png").touch()
    plain, debug = (run("lesion", *words, "--out", "out") for words in ([photographs], [photographs, "--debug"]))
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert (plain.exit_code, debug.exit_code) == (1, 1)


def test_equal_stems(run, photographs: Path, tmp_path: Path) -> None:
    with Image.open(photographs / "p0.png") as photograph:
        photograph.save(photographs / "p0.bmp")
    assert run("lesion", photographs, "--out", "out").exit_code == 0
    rows = table(tmp_path / "out")
    assert sorted(row["file"] for row in rows.values()) == ["p0.bmp", "p0.png", "p1.png", "p2.png"]
    assert all((tmp_path / "out" / name / "mask.png").is_file() for name in rows)


@pytest.mark.skipif(sys.platform == "win32", reason="a signal to another process ends it on Windows")
@pytest.mark.slow
def test_ctrl_c_ends_cleanly(photographs: Path, tmp_path: Path, lines) -> None:
    pixels = (photographs / "p0.png").read_bytes()
    for index in range(400):
        (photographs / f"more{index:03d}.png").write_bytes(pixels)
    # without a network: half of the time would be the import of torch
    command = [sys.executable, dark_model.__file__, "lesion", photographs, "--out", "out", "--json"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*command, "--batch-size", "2"], cwd=tmp_path, encoding="utf-8", **pipes) as process:
        try:
            event: dict = {}
            while not event.get("done"):  # until results are written, which must stay
                event = json.loads(process.stdout.readline())
                assert event["event"] in ("progress", "note"), event
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=LONG_PATIENCE_S)
        finally:
            process.kill()
    assert (process.returncode, stderr) == (130, "")
    last = lines(stdout)[-1]
    assert (last["event"], last["status"], last["exit_code"]) == ("summary", "stopped", 130)
    assert "Finished results stay in out" in last["message"]
    done = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert 1 <= len(done) < 403
    assert not [path for path in done if path.name.startswith(".")]
    assert len(table(tmp_path / "out")) == len(done)
    assert last["message"].startswith(f"Stopped after {len(done)} of 403.")
