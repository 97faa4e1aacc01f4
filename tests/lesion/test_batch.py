"""A batch writes each result once, keeps existing ones, and continues after a failed photograph or stage."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import BundleError, InputError, RunError, SaveError
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.io import photographs as photographs_module
from napari_melanoma.io.results import read_mask, write_mask
from napari_melanoma.lesion import batch
from napari_melanoma.lesion import batch as lesions
from napari_melanoma.lesion.batch import BatchOptions, BatchSummary, analyze_files, find_inputs
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.results import CLAIMS, LOCK, SALT, ResultFolders, read_result, read_result_mask
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom

Draw = Callable[..., Path]
FILES = {"mask.png", "probability.png", "overlay.png", "roi.png", "result.json"}


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def analyse(paths: list[Path], out: Path, model: object, **options: object) -> BatchSummary:
    return analyze_files(paths, out, BatchOptions(**options), run=RunContext(), segmenter=model)


BY_CLICK = {
    "model": {"name": "lesion-click", "fingerprint": "0", "device": "cpu", "threshold": 0.5},
    "lesions": [{"include": [[5, 5]]}],
}


def counts(summary: BatchSummary) -> tuple[int, int, int]:
    return summary.done, summary.skipped, summary.failed


@pytest.fixture
def photographs(tmp_path: Path, draw: Draw) -> list[Path]:
    return [draw(tmp_path / "in" / f"p{number}.png", radius=10 + number) for number in range(5)]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_each_photograph_gets_its_folder_and_row(photographs, tmp_path: Path, model, batch_size: int) -> None:
    out = tmp_path / "out"
    assert counts(analyse(photographs, out, model, batch_size=batch_size)) == (5, 0, 0)
    assert {path.name for path in out.iterdir()} == {*(path.stem for path in photographs), "results.csv", SALT, LOCK}
    found = rows(out)
    for number, path in enumerate(photographs):
        assert {file.name for file in (out / path.stem).iterdir()} == FILES
        assert found[path.stem]["status"] == "done"
        assert found[path.stem]["file"] == path.name
        area = np.asarray(Image.open(out / path.stem / "mask.png")).astype(bool).sum()
        assert float(found[path.stem]["area_px"]) == area
        assert area == pytest.approx(np.pi * (10 + number) ** 2, rel=0.25)


def test_photographs_that_another_process_analyzes_are_left_to_it(photographs, tmp_path: Path, model) -> None:
    """Two photographs have the same name; the other process has claimed one of them."""
    out, twin = tmp_path / "out", tmp_path / "other" / photographs[1].name
    twin.parent.mkdir()
    twin.write_bytes(photographs[0].read_bytes())
    others = ResultFolders(out)
    for path in (photographs[0], twin):
        assert others.claim(others.assign(path)) is not None
    summary = analyse(photographs, out, model)
    assert (counts(summary), summary.left) == ((4, 0, 0), 1)
    assert len([path for path in out.iterdir() if path.name.startswith("p1-")]) == 1, "p1 is the folder of the other"
    assert not (out / "p0").exists()
    others.close()
    assert not (out / CLAIMS).exists()
    summary = analyse([*photographs, twin], out, model)
    assert (counts(summary), summary.left) == ((2, 4, 0), 0)
    assert len(rows(out)) == 6


def test_photographs_of_a_process_that_is_killed_meanwhile_are_analyzed(photographs, tmp_path: Path, model) -> None:
    """It had claimed two, finished one of them, and ends after this process has passed over both."""
    out, outcomes = tmp_path / "out", []

    def end_other(outcome: batch.PhotographOutcome) -> None:
        outcomes.append((outcome.image, outcome.status))
        if len(outcomes) == 1:
            shutil.copytree(tmp_path / "finished" / "p1", out / "p1")
            others.close()

    analyse(photographs, tmp_path / "finished", model)
    out.mkdir()
    shutil.copy(tmp_path / "finished" / SALT, out)  # so that a copied result counts
    others = ResultFolders(out)
    for path in photographs[:2]:
        assert others.claim(others.assign(path)) is not None
    summary = analyze_files(photographs, out, BatchOptions(), run=RunContext(), segmenter=model, on_outcome=end_other)
    assert (counts(summary), summary.left) == ((4, 1, 0), 0)
    assert sorted(outcomes) == [("p0", "done"), ("p1", "skipped"), ("p2", "done"), ("p3", "done"), ("p4", "done")]
    assert {row["status"] for row in rows(out).values()} == {"done"}
    assert len(rows(out)) == len(photographs)


def test_other_settings_are_refused_while_a_process_writes(photographs, tmp_path: Path, model) -> None:
    other = ResultFolders(tmp_path / "out", settings="of another job")
    with pytest.raises(RunError, match=r"another process writes results with other settings into .*out\. Wait"):
        analyse(photographs, tmp_path / "out", model)
    other.close()
    assert analyse(photographs, tmp_path / "out", model).done == len(photographs)
    assert not (tmp_path / "out" / CLAIMS).exists()


@pytest.mark.slow
def test_two_processes_analyze_each_photograph_once(draw: Draw, tmp_path: Path, model) -> None:
    """As two jobs of a cluster; none of their rows is lost."""
    paths = [draw(tmp_path / "in" / f"p{number}.png", radius=10 + number % 5) for number in range(24)]
    summaries: list[BatchSummary] = []

    def work() -> None:
        summaries.append(analyse(paths, tmp_path / "out", model, batch_size=1, workers=1))

    jobs = [threading.Thread(target=work) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert sum(summary.done for summary in summaries) == 24
    assert all(summary.done + summary.skipped + summary.left == 24 for summary in summaries)
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"done"}
    assert len(rows(tmp_path / "out")) == 24
    assert not (tmp_path / "out" / CLAIMS).exists()


def test_an_image_without_skin_is_analyzed_with_a_warning(photographs, tmp_path: Path, model) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "noise.png")
    outcomes: list[batch.PhotographOutcome] = []
    paths = [photographs[0], tmp_path / "in" / "noise.png"]
    summary = analyze_files(
        paths, tmp_path / "out", BatchOptions(), run=RunContext(), segmenter=model, on_outcome=outcomes.append
    )
    row = rows(tmp_path / "out")["noise"]
    assert (row["status"], row["looks_like"]) == ("done", "neither")
    assert row["warning"] == outcomes[1].warning != ""
    assert summary.with_warning == sum(bool(outcome.warning) for outcome in outcomes)


def test_flips_run_the_network_four_times_and_give_a_band(photographs, tmp_path: Path, model) -> None:
    flips = {"lesion": LesionOptions(flips=True)}
    assert counts(analyse(photographs, tmp_path / "out", model, batch_size=5, **flips)) == (5, 0, 0)
    assert model.passes == [5] * 4
    assert {file.name for file in (tmp_path / "out" / photographs[0].stem).iterdir()} == FILES | {"band.png"}
    assert counts(analyse(photographs, tmp_path / "out", model, **flips)) == (0, 5, 0)


def test_finished_results_are_skipped_without_loading_the_model(
    photographs, tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse(photographs, tmp_path / "out", model)
    before = (tmp_path / "out" / "results.csv").read_text(encoding="utf-8")
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.require_photograph_model", lambda *_: model.info)
    monkeypatch.setattr(lesions, "_load_segmenter", lambda info, run: pytest.fail("loaded"))
    again = analyze_files(photographs, tmp_path / "out", BatchOptions(), run=RunContext())
    assert counts(again) == (0, 5, 0)
    assert (tmp_path / "out" / "results.csv").read_text(encoding="utf-8") == before


def touch(paths: list[Path], out: Path) -> None:
    os.utime(paths[0], (1, 1))


def drop_mask(paths: list[Path], out: Path) -> None:
    (out / paths[0].stem / "mask.png").unlink()


def cut_json(paths: list[Path], out: Path) -> None:
    stored = out / paths[0].stem / "result.json"
    values = json.loads(stored.read_text(encoding="utf-8"))
    stored.write_text(json.dumps({**values, "model": None}), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "options", "redone"),
    [
        (touch, {}, 1),
        (drop_mask, {}, 1),
        (cut_json, {}, 1),
        (None, {"force": True}, 5),
        (None, {"lesion": LesionOptions(threshold=0.7)}, 5),
        (None, {"pixel_size_um": 20.0}, 5),
        (None, {"scale": "ruler"}, 5),
        (None, {"batch_size": 3, "workers": 1}, 0),
    ],
    ids=[
        "photograph changed",
        "file missing",
        "result damaged",
        "force",
        "threshold",
        "pixel size",
        "scale",
        "portions alone",
    ],
)
@pytest.mark.slow
def test_a_result_is_replaced_if_it_would_differ(photographs, tmp_path, model, change, options, redone) -> None:
    out = tmp_path / "out"
    analyse(photographs, out, model)
    if change:
        change(photographs, out)
    assert counts(analyse(photographs, out, model, **options)) == (redone, 5 - redone, 0)
    assert counts(analyse(photographs, out, model, **{**options, "force": False})) == (0, 5, 0)


def test_results_of_other_weights_are_replaced(photographs, tmp_path: Path, model) -> None:
    analyse(photographs, tmp_path / "out", model)
    other = type(model)(model.info.path)
    (model.info.path / "model.safetensors").write_bytes(b"other weights")
    assert counts(analyse(photographs, tmp_path / "out", other)) == (5, 0, 0)


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"corrected_by_hand": True}, "corrected by hand, kept"),
        ({"provenance": {"prompts": BY_CLICK}}, "by 1 click with lesion-click, kept"),
    ],
)
@pytest.mark.slow
def test_a_mask_of_a_user_is_never_replaced(photographs, tmp_path: Path, model, changed, note) -> None:
    out = tmp_path / "out"
    analyse(photographs, out, model)
    stored = out / "p0" / "result.json"
    values = json.loads(stored.read_text(encoding="utf-8"))
    del values["provenance"]["batch"]  # a dock saved it
    drawn = np.eye(*values["image_shape"][:2], dtype=bool)
    write_mask(out / "p0" / "mask.png", drawn)
    values |= {"mask_sha256": array_fingerprint(drawn)}
    stored.write_text(json.dumps({**values, **changed}), encoding="utf-8")
    assert counts(analyse(photographs, out, model, force=True)) == (4, 1, 0)
    assert np.array_equal(read_mask(out / "p0" / "mask.png"), drawn)
    assert rows(out)["p0"]["note"] == note


def test_rows_of_earlier_runs_and_columns_of_others_stay(photographs, tmp_path: Path, model) -> None:
    out = tmp_path / "out"
    analyse(photographs[:2], out, model)
    table = out / "results.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([lines[0] + ",mine", *(f"{line},yes" for line in lines[1:])]), encoding="utf-8")
    analyse(photographs[3:], out, model)
    assert {name: row["mine"] for name, row in rows(out).items()} == {"p0": "yes", "p1": "yes", "p3": "", "p4": ""}


def test_the_table_is_made_again_from_the_results(photographs, tmp_path: Path, model) -> None:
    analyse(photographs, tmp_path / "out", model)
    table = tmp_path / "out" / "results.csv"
    before = table.read_text(encoding="utf-8")
    table.unlink()
    analyse(photographs, tmp_path / "out", model)
    assert table.read_text(encoding="utf-8") == before


def test_equal_stems_do_not_overwrite_each_other(tmp_path: Path, draw: Draw, model) -> None:
    paths = [draw(tmp_path / name, radius) for name, radius in (("a/x.png", 10), ("b/x.bmp", 20), ("b/x.png", 30))]
    out = tmp_path / "out"
    for order in (paths, paths[::-1], paths[1:]):
        analyse(order, out, model)
    found = rows(out)
    assert len(found) == 3
    assert found["x"]["file"] == "x.png"
    areas = sorted(np.asarray(Image.open(out / name / "mask.png")).astype(bool).sum() for name in found)
    assert areas == pytest.approx([np.pi * radius**2 for radius in (10, 20, 30)], rel=0.25)


def test_stems_that_differ_only_in_case_have_separate_folders(tmp_path: Path, draw: Draw, model) -> None:
    names = ("a/naevus.png", "b/Naevus.png", "c/na\u00e9vus.png", "d/nae\u0301vus.png")
    paths, out = [draw(tmp_path / name) for name in names], tmp_path / "out"
    for path in paths:  # each in a run of its own, so that what is there counts too
        assert counts(analyse([path], out, model)) == (1, 0, 0)
    folders = [unicodedata.normalize("NFC", path.name).casefold() for path in out.iterdir() if path.is_dir()]
    assert len(set(folders)) == len(rows(out)) == 4
    assert counts(analyse(paths, out, model)) == (0, 4, 0)
    assert counts(analyse(paths[::-1], out, model)) == (0, 4, 0)


def test_salted_digests_do_not_reveal_paths(tmp_path: Path, draw: Draw, model) -> None:
    paths = [draw(tmp_path / name) for name in ("a/x.png", "b/x.bmp")]
    digests = []
    for out in (tmp_path / "first", tmp_path / "second"):
        analyse(paths, out, model)
        stored = [json.loads(found.read_text(encoding="utf-8")) for found in sorted(out.glob("*/result.json"))]
        digests += [one["provenance"]["batch"]["source"]["place"] for one in stored]
        digests += [name.removeprefix("x-") for name in rows(out) if name != "x"]
        assert (out / SALT).read_text(encoding="utf-8") not in str(stored)
    assert len(set(digests)) == 6


def test_photographs_that_moved_keep_their_results(photographs, tmp_path: Path, model) -> None:
    analyse(photographs, tmp_path / "out", model)
    moved = [path.rename(tmp_path / path.name) for path in photographs]
    assert counts(analyse(moved, tmp_path / "out", model)) == (0, 5, 0)


def test_a_folder_of_the_user_is_left_alone(tmp_path: Path, draw: Draw, model) -> None:
    photograph = draw(tmp_path / "x.png")
    mine = draw(tmp_path / "x" / "mine.png")
    reserved = draw(tmp_path / "results.csv.png")
    assert counts(analyse([photograph, reserved], tmp_path, model)) == (2, 0, 0)
    assert [path.name for path in mine.parent.iterdir()] == ["mine.png"]
    assert {row["file"] for row in rows(tmp_path).values()} == {"x.png", "results.csv.png"}


def test_results_in_the_folder_of_photographs_are_ignored(photographs, tmp_path: Path, model) -> None:
    folder = photographs[0].parent
    analyse(photographs, folder / "out", model)
    assert find_inputs([folder]) == photographs
    with pytest.raises(InputError, match="masks and results"):
        find_inputs([folder / "out"])


def test_no_lesion_is_a_result_with_a_note(tmp_path: Path, draw: Draw, model) -> None:
    nothing, out = draw(tmp_path / "skin.png", radius=0), tmp_path / "out"
    summary = analyse([nothing], out, model)
    assert counts(summary) == (1, 0, 0)
    assert summary.without_lesion == 1
    row = rows(out)["skin"]
    assert (row["status"], row["note"], row["area_px"]) == ("done", batch.NO_LESION, "")
    assert {file.name for file in (out / "skin").iterdir()} == FILES - {"roi.png"}
    assert counts(analyse([nothing], out, model)) == (0, 1, 0)


def test_every_lesion_of_a_photograph_has_a_row_of_its_own(tmp_path: Path, draw: Draw, model) -> None:
    with Image.open(draw(tmp_path / "photos" / "two.png", 14, (160, 200))) as image:
        rgb = np.array(image)
    rows_at, columns_at = np.indices(rgb.shape[:2])
    rgb[np.hypot(rows_at - 40, columns_at - 40) < 26] = (60, 40, 30)
    Image.fromarray(rgb).save(tmp_path / "photos" / "two.png")
    one = draw(tmp_path / "photos" / "one.png", 30, (160, 200))
    out = tmp_path / "out"
    analyse([tmp_path / "photos" / "two.png", one], out, model)
    found = rows(out)
    assert (found["two"]["lesions_found"], found["one"]["lesions_found"]) == ("2", "1")
    assert found["two"]["note"] == "2 lesions found; see lesions.csv of the photograph"
    assert found["one"]["note"] == ""
    with (out / "two" / "lesions.csv").open(encoding="utf-8", newline="") as file:
        large, small = csv.DictReader(file)
    assert [(row["lesion"], row["in_mask"]) for row in (large, small)] == [("1", "1"), ("2", "0")]
    assert large["area_px"] == found["two"]["area_px"]
    assert float(small["area_px"]) < float(large["area_px"])
    assert not (out / "one" / "lesions.csv").exists()


def test_a_given_pixel_size_gives_millimeters(photographs, tmp_path: Path, model) -> None:
    analyse(photographs[:1], tmp_path / "out", model, pixel_size_um=20.0)
    row = rows(tmp_path / "out")["p0"]
    assert float(row["area_mm2"]) == pytest.approx(float(row["area_px"]) * 0.02**2, rel=1e-4)
    assert row["pixel_width_um"] == "20"


def test_the_scale_of_a_ruler_is_used_where_none_is_stated(photographs, tmp_path: Path, model) -> None:
    options = {"modality": "macroscopic", "size": (300, 400), "artefacts": {"ruler": True}}
    phantom = lesion_phantom(LesionPhantomConfig.parse(options, "the test"))
    with_ruler, out = tmp_path / "in" / "ruler.png", tmp_path / "out"
    Image.fromarray(phantom.rgb).save(with_ruler)
    assert counts(analyse([with_ruler], out, model)) == (1, 0, 0)
    assert (rows(out)["ruler"]["scale_source"], rows(out)["ruler"]["area_mm2"]) == ("", "")

    summary = analyse([with_ruler, photographs[0]], out, model, scale="ruler")
    assert (counts(summary), summary.without_scale) == ((2, 0, 0), 1)
    row, plain = rows(out)["ruler"], rows(out)["p0"]
    assert row["scale_source"] == "ruler"
    assert float(row["pixel_width_um"]) == pytest.approx(phantom.pixel_size.x_um, rel=0.01)
    assert float(row["area_mm2"]) == pytest.approx(
        float(row["area_px"]) * float(row["pixel_width_um"]) ** 2 / 1e6, rel=1e-3
    )
    assert (plain["scale_source"], plain["area_mm2"], plain["status"]) == ("", "", "done")
    stored = json.loads((out / "ruler" / "result.json").read_text(encoding="utf-8"))
    assert stored["pixel_size_um"]["source"] == "ruler"
    assert stored["provenance"]["ruler"]["millimeters"] > 1
    assert "ruler" not in json.loads((out / "p0" / "result.json").read_text(encoding="utf-8"))["provenance"]
    again = analyse([with_ruler, photographs[0]], out, model, scale="ruler")
    assert (counts(again), again.without_scale) == ((0, 2, 0), 1)

    analyse([with_ruler], out, model, scale="ruler", pixel_size_um=20.0)
    assert (rows(out)["ruler"]["scale_source"], rows(out)["ruler"]["pixel_width_um"]) == ("stated", "20")


def test_results_name_no_folder(photographs, tmp_path: Path, model) -> None:
    analyse(photographs, tmp_path / "out", model)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or str(tmp_path).encode() not in path.read_bytes()


def test_a_bad_photograph_is_reported_and_others_are_analyzed(photographs, tmp_path: Path, model) -> None:
    photographs[1].write_bytes(photographs[1].read_bytes()[:60])
    photographs[3].unlink()
    outcomes: list[batch.PhotographOutcome] = []
    out = tmp_path / "out"
    summary = analyze_files(
        photographs, out, BatchOptions(), run=RunContext(), segmenter=model, on_outcome=outcomes.append
    )
    assert counts(summary) == (3, 0, 2)
    failed = {outcome.image: outcome.error for outcome in outcomes if outcome.status == "failed"}
    assert failed.keys() == {"p1", "p3"}
    assert {name: row["error"] for name, row in rows(out).items() if row["status"] == "failed"} == failed
    assert str(tmp_path) not in (out / "results.csv").read_text(encoding="utf-8")
    assert not (out / "p1").exists()


def test_a_failing_stage_affects_only_its_photograph(
    photographs, tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def derive(photograph, *arguments):
        if photograph.name == "p2":
            raise ZeroDivisionError("nobody foresaw this")
        return sound(photograph, *arguments)

    sound = batch.derive_result
    monkeypatch.setattr(batch, "derive_result", derive)
    assert counts(analyse(photographs, tmp_path / "out", model)) == (4, 0, 1)
    assert rows(tmp_path / "out")["p2"]["error"] == "unexpected ZeroDivisionError: nobody foresaw this"


def test_a_failed_batch_is_repeated_with_single_photographs(photographs, tmp_path: Path, model) -> None:
    class Small(type(model)):
        def logits(self, inputs):
            answers = super().logits(inputs)
            if len(inputs) > 1 or self.passes.count(1) == 5:
                raise RuntimeError("out of memory")
            return answers

    assert counts(analyse(photographs, tmp_path / "out", Small(model.info.path))) == (4, 0, 1)
    assert rows(tmp_path / "out")["p4"]["error"] == "unexpected RuntimeError: out of memory"


def test_a_table_that_is_open_elsewhere_ends_the_run_at_its_end_alone(
    photographs, tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> Path:
        if target.name == "results.csv":
            raise PermissionError(errno.EACCES, "The process cannot access the file")
        return replace(path, target)

    replace, out = Path.replace, tmp_path / "out"
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(SaveError, match="open in another program"):
        analyse(photographs, out, model)
    assert {path.parent.name for path in out.glob("*/result.json")} == {path.stem for path in photographs}
    monkeypatch.setattr(Path, "replace", replace)
    assert counts(analyse(photographs, out, model)) == (0, 5, 0)
    assert len(rows(out)) == 5


def test_the_memory_for_photographs_is_limited(
    tmp_path: Path, draw: Draw, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [(200, 200), (200, 200), (40, 50), (40, 50), (40, 50), (300, 200), (40, 50)]
    paths = [draw(tmp_path / "in" / f"{number}.png", 10, shape) for number, shape in enumerate(shapes)]
    monkeypatch.setattr(batch, "STAGE_BYTES", 100_000)
    held, most, lock = [], [], threading.Lock()

    def read(path: Path):
        found = sound(path)
        with lock:
            held.append(found.rgb.nbytes)
            most.append(list(held))
        time.sleep(0.02)
        with lock:
            held.remove(found.rgb.nbytes)
        return found

    sound = photographs_module.read_photograph
    monkeypatch.setattr(photographs_module, "read_photograph", read)
    assert counts(analyse(paths, tmp_path / "out", model, workers=8)) == (7, 0, 0)
    assert all(len(sizes) == 1 or sum(sizes) <= 100_000 for sizes in most)
    assert max(len(sizes) for sizes in most) > 1


def test_a_photograph_of_unknown_size_is_analyzed(
    photographs, tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photographs_module, "read_image_size", lambda path: 1 // 0)
    assert counts(analyse(photographs, tmp_path / "out", model)) == (5, 0, 0)


def test_a_full_disk_ends_the_run_and_keeps_finished_results(
    photographs, tmp_path: Path, model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(result, folder):
        if result.photograph.name == "p2":
            cause = OSError(errno.ENOSPC, "No space left on device")
            raise SaveError(f"cannot write {folder}: the disk is full.") from cause
        return sound(result, folder)

    sound = batch.save_lesion
    monkeypatch.setattr(batch, "save_lesion", save)
    out = tmp_path / "out"
    with pytest.raises(SaveError, match="disk is full"):
        analyse(photographs, out, model, batch_size=1, workers=1)
    assert rows(out)["p0"]["status"] == "done"
    assert rows(out)["p2"]["error"] == "cannot write p2: the disk is full."
    monkeypatch.setattr(batch, "save_lesion", sound)
    assert counts(analyse(photographs, out, model))[2] == 0


@pytest.mark.slow
def test_a_cancellation_keeps_finished_results_and_no_partial_ones(tmp_path: Path, draw: Draw, model) -> None:
    paths = [draw(tmp_path / "in" / f"{number}.png") for number in range(16)]
    reported, outcomes = [], []

    def report(progress: Progress) -> None:
        reported.append(progress.done)
        if progress.done == 5:
            run.cancel()

    run, out = RunContext(report), tmp_path / "out"
    with pytest.raises(Cancelled):
        analyze_files(paths, out, BatchOptions(batch_size=4), run=run, segmenter=model, on_outcome=outcomes.append)
    done = {path.name for path in out.iterdir() if path.is_dir()}
    assert 5 <= len(done) < 16
    assert set(rows(out)) == done
    assert reported[-1] == len(done), "also those that were written after the last report"
    assert {outcome.image for outcome in outcomes} == done
    assert all({file.name for file in (out / name).iterdir()} == FILES for name in done)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lesion")]
    assert counts(analyse(paths, out, model)) == (16 - len(done), len(done), 0)


def test_a_table_of_another_program_is_refused(photographs, tmp_path: Path, model) -> None:
    (tmp_path / "results.csv").write_text("a;b\n1;2\n", encoding="utf-8")
    with pytest.raises(InputError, match="is not a table of results"):
        analyse(photographs, tmp_path, model)
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == "a;b\n1;2\n"


def test_an_unknown_model_is_reported_before_anything_is_written(photographs, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model named 'none'"):
        analyze_files(photographs, tmp_path / "out", BatchOptions(lesion=LesionOptions(model="none")), run=RunContext())
    assert not (tmp_path / "out").exists()


def test_a_mask_that_another_program_has_changed_is_reported_and_kept(photographs, tmp_path: Path, model) -> None:
    out = tmp_path / "out"
    analyse(photographs, out, model)
    file = out / photographs[1].stem / "mask.png"
    edited = np.zeros_like(np.asarray(Image.open(file)))
    edited[:5, :5] = 255
    Image.fromarray(edited).save(file)
    with pytest.raises(InputError, match="is not the mask that was measured"):
        read_result_mask(file.parent, read_result(file.parent))
    assert counts(analyse(photographs, out, model)) == (0, 4, 1)
    row = rows(out)[photographs[1].stem]
    assert (row["status"], row["area_px"]) == ("failed", "")
    assert "is not the mask that was measured" in row["error"]
    assert np.array_equal(np.asarray(Image.open(file)), edited)
    assert counts(analyse(photographs[1:2], out, model, force=True)) == (1, 0, 0)
    stored = read_result(file.parent)
    area = stored["measurements"]["area_px"]
    assert read_result_mask(file.parent, stored).sum() == area == float(rows(out)[photographs[1].stem]["area_px"])
    del stored["mask_sha256"]  # as in results of earlier versions
    assert read_result_mask(file.parent, stored).sum() == area
