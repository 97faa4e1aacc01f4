"""One slide from file to folder: lesions where they were drawn, going on, and every bad input with its message."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import tifffile
from slide_models import TILE_TEST

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import ConfigError, InputError, RunError, SaveError, ScaleMissing
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.geojson import read_geojson
from napari_melanoma.io.results import SOURCE, read_mask, read_table, write_mask
from napari_melanoma.io.slide_store import DONE, FAILED, NO_TISSUE, SlideResult
from napari_melanoma.slides.analysis import SlideOutcome, analyze_slide
from napari_melanoma.slides.lesion_files import read_analysis, read_lesions
from napari_melanoma.slides.lesions import LesionConfig
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.results import read_lesion_maps
from napari_melanoma.slides.tile_models import TileModel

LoadModel = Callable[..., TileModel]
Draw = Callable[..., Path]
Analyze = Callable[..., SlideOutcome]


@pytest.fixture
def again(finished: SlideOutcome, tmp_path: Path) -> Path:
    """A copy of its folder, which a test may change."""
    return shutil.copytree(finished.folder, tmp_path / "out")


def test_the_lesion_that_was_drawn_is_found(finished: SlideOutcome) -> None:
    content = read_analysis(finished.folder)
    assert content == json.loads(json.dumps(finished.content))
    assert (content["tiles_done"], content["tiles_failed"], content["tiles_total"]) == (224, 0, 224)
    assert (content["mpp"], content["mpp_source"], content["target"]) == ([0.5, 0.5], "file", "melanoma")
    assert content["scores"]["maximum"]["melanoma"] == pytest.approx(1, abs=0.01)
    assert content["probability_method"] == "top_k"
    assert content["probability"] == content["scores"]["top_k"]["melanoma"] == pytest.approx(1, abs=0.01)
    assert content["scores"]["mean"]["melanoma"] == pytest.approx(16 / 224, abs=0.01)
    (lesion,) = content["lesions"]
    assert lesion["area_mm2"] == pytest.approx((128 * 0.5e-3) ** 2)
    assert lesion["label"] == "malignant"
    (outline,) = read_geojson(finished.folder / "lesions.geojson").annotations
    assert outline.polygons[0].box.slices == (slice(128, 256), slice(192, 320))
    assert read_table(finished.folder / "lesions.csv")[0]["label"] == "malignant"
    for missing in ("breslow_mm", "breslow_interval_mm", "t_category"):
        assert content[missing] is None
    assert content["provenance"]["program"] == "napari-melanoma"
    # A path may name a person.
    assert str(finished.folder.parent) not in (finished.folder / "result.json").read_text()


def test_the_heatmap_is_aligned_with_the_tiles(finished: SlideOutcome) -> None:
    with tifffile.TiffFile(finished.folder / "heatmap.ome.tif") as tiff:
        assert tiff.is_ome
        heat, message = tiff.asarray(), tiff.ome_metadata or ""
    assert heat.shape == (2, 16, 16)
    assert heat.dtype == np.float32
    assert (heat[1, 4:8, 6:10] > 0.9).all()
    assert np.isnan(heat[:, :, 14:]).all()
    assert 'PhysicalSizeX="16.0"' in message
    assert 'Name="melanoma"' in message
    state = SlideResult.open(finished.folder).state
    assert (state[:, :14] == DONE).all()
    assert (state[:, 14:] == NO_TISSUE).all()
    assert not read_mask(finished.folder / "tissue.png")[:, -64:].any()


def test_dense_maps_are_stitched_and_measured_finely(analyze: Analyze, tile_model: LoadModel) -> None:
    outcome = analyze(with_model=tile_model("dense"))
    (lesion,) = outcome.content["lesions"]
    assert lesion["area_mm2"] == pytest.approx((128 * 0.5e-3) ** 2, rel=0.05)
    assert lesion["label"] == "tumour"  # it does not separate malignant from benign
    assert read_table(outcome.folder / "lesions.csv")[0]["label"] == "tumour"
    (outline,) = read_geojson(outcome.folder / "lesions.geojson").annotations
    assert outline.class_name == "tumour"
    saved = read_lesions(outcome.folder)
    assert saved is not None
    assert [one.label for one in saved] == ["tumour"]
    assert read_lesion_maps(outcome.folder, "tumour").label == "tumour"
    result = SlideResult.open(outcome.folder)
    assert (result.spec.dense_px, result.spec.step) == (8, (28, 28))  # an eighth of overlap
    stitched = np.asarray(result.array("map")[1]).astype(float) / 255
    assert stitched.shape == (128, 128)
    assert (stitched[34:62, 50:78] > 0.95).all()
    assert stitched[:30].max() < 0.05
    assert stitched[66:].max() < 0.05


def test_the_same_pixels_as_pyramid_and_as_one_level_give_the_same_lesions(
    analyze: Analyze, drawn_slide: Callable[..., Path], tile_model: LoadModel, tmp_path: Path
) -> None:
    """The stored level of half the resolution was changed by its compression, as scanners do."""
    rgb = tifffile.imread(drawn_slide(tmp_path / "drawn.tif"))
    side, mpp = len(rgb), 0.25
    noise = np.random.default_rng(0).integers(0, 100, (side // 2, side // 2, 1))
    coarse = np.clip(rgb[::2, ::2] - noise, 0, 255).astype(np.uint8)
    size = {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    stored = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as tiff:
        tiff.write(rgb, subifds=1, **stored, **size)
        tiff.write(coarse, subfiletype=1, **stored)
    tifffile.imwrite(tmp_path / "level.tif", rgb, **stored, **size)
    pyramid, level = (analyze(tmp_path / f"{name}.tif", name, tile_model("dense")) for name in ("pyramid", "level"))
    assert len(level.content["lesions"]) == 1
    assert pyramid.content["lesions"] == level.content["lesions"]


def test_canceled_analysis_resumes_with_the_same_result(
    analyze: Analyze, finished: SlideOutcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.EVENT_INTERVAL_S", 0.0)
    whole = finished
    for share in (0.2, 0.6):
        run = RunContext()
        run.report = lambda progress, run=run, share=share: (progress.fraction or 0) > share and run.cancel()
        with pytest.raises(Cancelled):
            analyze(folder="parts", run=run)
    kinds = [event["kind"] for event in RunFolder(tmp_path / "parts").read_events()]
    assert kinds.count("cancelled") == 2
    last = analyze(folder="parts")
    started = [event for event in RunFolder(tmp_path / "parts").read_events() if event["kind"] == "started"]
    assert [event["resumed"] for event in started] == [False, True, True]
    assert 0 < started[1]["done"] < started[2]["done"] < 224
    for name in ("lesions.csv", "lesions.geojson"):
        assert (whole.folder / name).read_bytes() == (last.folder / name).read_bytes()
    found = [SlideResult.open(folder) for folder in (whole.folder, last.folder)]
    np.testing.assert_array_equal(found[0].probability, found[1].probability)
    np.testing.assert_array_equal(found[0].state, found[1].state)
    assert {**whole.content, "seconds": 0, "provenance": 0} == {**last.content, "seconds": 0, "provenance": 0}


def test_a_finished_slide_is_not_computed_again_but_its_lesions_are(
    analyze: Analyze, tile_model: LoadModel, again: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tile_model()
    monkeypatch.setattr(model, "predict", lambda tiles: pytest.fail("a tile was asked for again"))
    assert analyze(with_model=model, lesions=LesionConfig(min_area_mm2=1.0)).content["lesions"] == []


def test_another_slide_is_refused_in_the_folder(
    analyze: Analyze, drawn_slide: Draw, again: Path, tmp_path: Path
) -> None:
    other = drawn_slide(tmp_path / "other.tif", seed=1)
    record = (again / SOURCE).read_text()
    with pytest.raises(RunError, match="holds results of another slide, 'section'"):
        analyze(other)
    assert (again / SOURCE).read_text() == record
    assert analyze(other, force=True).content["slide"] == "other"


def test_corrected_tissue_is_honoured(analyze: Analyze, tmp_path: Path) -> None:
    mask = np.zeros((128, 128), np.bool_)
    mask[:64] = True  # the upper half, in a coarser picture
    write_mask(tmp_path / "corrected.png", mask)
    outcome = analyze(tissue_mask=tmp_path / "corrected.png")
    assert (SlideResult.open(outcome.folder).state[:8] == DONE).all()
    assert (SlideResult.open(outcome.folder).state[8:] == NO_TISSUE).all()
    with pytest.raises(RunError, match="tissue_mask was"):
        analyze()


def test_tissue_of_a_slide_of_another_shape_is_refused(analyze: Analyze, tmp_path: Path) -> None:
    write_mask(tmp_path / "other.png", np.ones((64, 400), np.bool_))
    with pytest.raises(InputError, match="proportions of 512 x 512 pixels, found 64 x 400"):
        analyze(tissue_mask=tmp_path / "other.png")


def test_a_part_of_the_slide(analyze: Analyze) -> None:
    outcome = analyze(region=(96, 96, 128, 160))
    assert outcome.content["tiles_total"] == 20
    (outline,) = read_geojson(outcome.folder / "lesions.geojson").annotations
    assert outline.polygons[0].box.slices == (slice(128, 224), slice(192, 256))


@pytest.mark.slow
def test_tissue_is_detected_by_default(analyze: Analyze, drawn_slide: Draw, tmp_path: Path) -> None:
    path = drawn_slide(tmp_path / "coarse.tif", mpp=8.0)
    outcome = analyze(path, tissue_mask=None, tile_mpp=8.0)
    assert outcome.content["tiles_total"] == pytest.approx(224, abs=16)


@pytest.mark.slow
def test_stain_normalization_changes_the_prediction(analyze: Analyze, finished: SlideOutcome) -> None:
    from napari_melanoma.imaging.stain import StainConfig

    other = analyze(stain=StainConfig(method="reinhard"))
    found = [SlideResult.open(outcome.folder).probability[:, :14] for outcome in (finished, other)]
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_without_a_scale_it_is_refused_unless_one_is_given(analyze: Analyze, drawn_slide: Draw, tmp_path: Path) -> None:
    path = drawn_slide(tmp_path / "unscaled.tif", mpp=None)
    with pytest.raises(ScaleMissing, match=r"unscaled\.tif has no pixel size.*--mpp"):
        analyze(path)
    content = analyze(path, mpp=0.5).content
    assert (content["mpp"], content["mpp_source"]) == ([0.5, 0.5], "given")


def test_fluorescence_is_refused(analyze: Analyze, shared_data: Path) -> None:
    path = shared_data / "slides" / "small_vectra.qptiff"
    if not path.exists():
        pytest.skip("needs small_vectra.qptiff")
    with pytest.raises(InputError, match=r"brightfield stains .* shows fluorescence"):
        analyze(path)


def test_a_blank_slide_is_refused(analyze: Analyze, tmp_path: Path) -> None:
    white = np.full((512, 512, 3), 245, np.uint8)
    tifffile.imwrite(tmp_path / "blank.tif", white, tile=(128, 128), photometric="rgb", metadata=None)
    with pytest.raises(InputError, match=r"no tissue was found on blank\.tif"):
        analyze(tmp_path / "blank.tif", tissue_mask=None, mpp=0.5)
    last = RunFolder(tmp_path / "out").read_events()[-1]
    assert (last["kind"], last["type"]) == ("failed", "InputError")


def test_an_unknown_target_is_refused_before_work(analyze: Analyze, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="target is 'cat', but 'darkness' predicts benign, melanoma"):
        analyze(target="cat")
    assert not (tmp_path / "out" / "result.zarr").exists()


@pytest.mark.slow
def test_tissue_is_found_around_a_corrupt_tile_which_is_reported(analyze: Analyze, slide_path: Path) -> None:
    sound = analyze(folder="sound", tissue_mask=None)
    with tifffile.TiffFile(slide_path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    with slide_path.open("rb+") as file:
        file.seek(offset)
        file.write(b"\0" * count)
    outcome = analyze(tissue_mask=None)
    assert outcome.content["tiles_failed"] == 16
    assert outcome.content["tiles_total"] == sound.content["tiles_total"] > 200
    assert "16 of " in outcome.content["warnings"][-1]
    assert "could not be read" in outcome.content["warnings"][-1]
    assert (SlideResult.open(outcome.folder).state == FAILED).sum() == 16


def test_a_full_disk_keeps_finished_results(analyze: Analyze, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.io.slide_store import SlideResultWriter
    from napari_melanoma.slides import engine

    monkeypatch.setattr(engine, "FLUSH_S", 0.0)
    monkeypatch.setattr(engine, "FLUSH_TIME_FACTOR", 0.0)
    plain, flushed = SlideResultWriter._write_chunks, []

    def full_after_a_while(self: SlideResultWriter, name: str, values: np.ndarray) -> None:
        flushed.append(name)
        if len(flushed) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(self, name, values)

    with monkeypatch.context() as full:
        full.setattr(SlideResultWriter, "_write_chunks", full_after_a_while)
        with pytest.raises(SaveError, match="the disk is full"):
            analyze()
    done = int((SlideResult.open(tmp_path / "out").state == DONE).sum())
    assert 0 < done < 224
    assert analyze().content["tiles_done"] == 224


def test_an_interrupted_slide_can_be_resumed(
    analyze: Analyze, slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.slides.engine import TileReader

    plain, kept, requested, lock = TileReader._read_region, tmp_path / "kept.tif", [], Lock()

    def gone(self: TileReader, box: Any) -> np.ndarray:
        with lock:  # two threads read: none closes the slide before the file is moved
            requested.append(box)
            if len(requested) == 60:
                slide_path.rename(kept)
            if len(requested) >= 60:
                self._slide.close()  # a file that is open stays readable on this system, on others it does not
        return plain(self, box)

    with monkeypatch.context() as removed:
        removed.setattr(TileReader, "_read_region", gone)
        with pytest.raises(InputError, match=r"section\.tif no longer exists: it was removed"):
            analyze()
    kept.rename(slide_path)
    assert analyze().content["tiles_done"] == 224


def test_folder_in_use_is_reported(analyze: Analyze, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with RunFolder(tmp_path / "out").locked(), pytest.raises(RunError, match="another process works in"):
        analyze()


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="height and width are at least 1"):
        SlideOptions.parse({"region": (0, 0, 0, 5)}, "the test")
    with pytest.raises(ConfigError, match="mpp"):
        SlideOptions.parse({"mpp": 0}, "the test")


def test_out_of_distribution_slide_is_reported(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    if not path.exists():
        pytest.skip("needs CMU-1-Small-Region.svs")
    outcome = analyze_slide(
        path, tmp_path / "out", SlideOptions(model=str(TILE_TEST), region=(600, 600, 1024, 1024)), RunContext()
    )
    codes = [one["code"] for one in outcome.content["validity"]["reasons"]]
    assert codes == ["demonstration", "out_of_distribution"]
    assert outcome.content["validity"]["headline"].startswith("Not valid: not applicable to real patients.")
    assert outcome.content["tiles_failed"] == 0
    assert outcome.content["mpp"] == pytest.approx([0.499, 0.499])
