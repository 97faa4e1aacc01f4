"""The analysis of one photograph, with a model that segments dark pixels."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.prediction_config import PreprocessingConfig
from napari_melanoma.imaging.measurements import measure_lesion
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion import analysis
from napari_melanoma.lesion.analysis import (
    ModelStamp,
    analyze_lesion,
    derive_result,
    remeasure,
    save_lesion,
)
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.models.inference import restore_size

FILES = {"mask.png", "probability.png", "overlay.png", "roi.png", "result.json"}


class Darkness:
    """Takes dark pixels for lesion."""

    device, backend = "cpu", "torch"
    config = SimpleNamespace(
        threshold=0.5,
        is_demonstration=False,
        provenance={},
        modalities=("dermoscopic",),
        closer_views=(),
        turned_views=None,
    )
    info = SimpleNamespace(name="darkness", fingerprint="0" * 64, config=config)

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        return (1 - rgb.mean(2) / 255).astype(np.float32)


def _photograph(*disks: tuple[int, int, int], pixel_size: PixelSize | None = None) -> Photograph:
    """Bright skin with dark disks of (row, column, radius)."""
    rows, columns = np.mgrid[:200, :300]
    rgb = np.full((200, 300, 3), 220, np.uint8)
    for row, column, radius in disks:
        rgb[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = (60, 40, 30)
    return Photograph(rgb, "drawn", pixel_size)


def _analyse(photograph: Photograph, options: LesionOptions | None = None):
    return analyze_lesion(photograph, Darkness(), options or LesionOptions(), run=RunContext())


def test_a_disk_is_found_and_measured() -> None:
    result = _analyse(_photograph((100, 150, 40), pixel_size=PixelSize(50.0, 50.0)))
    assert result.measurements["area_px"] == pytest.approx(np.pi * 40**2, rel=0.02)
    assert result.measurements["area_mm2"] == pytest.approx(np.pi * 2**2, rel=0.02)
    assert result.roi is not None
    assert result.threshold == 0.5
    assert len(result.contours) == 1


def test_a_click_chooses_another_lesion() -> None:
    photograph = _photograph((100, 80, 40), (100, 230, 20))
    largest = _analyse(photograph)
    chosen = derive_result(photograph, largest.probability, largest.options, largest.model, selected_point=(100, 230))
    assert largest.mask[100, 80]
    assert not largest.mask[100, 230]
    assert chosen.mask[100, 230]
    assert not chosen.mask[100, 80]


def test_an_image_without_skin_is_predicted_with_a_warning(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    result = _analyse(Photograph(noise, "noise"))
    stored = json.loads((save_lesion(result, tmp_path / "noise") / "result.json").read_text())
    assert stored["looks_like"] == {"kind": "neither", "probability": pytest.approx(1, abs=0.1)}
    assert stored["warning"] == result.warning != ""
    assert remeasure(result, result.mask, result.options).warning == result.warning


def test_stating_the_type_does_not_make_an_image_a_photograph_of_skin() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    for modality in (None, "dermoscopic", "macroscopic"):
        result = _analyse(Photograph(noise, "noise", modality=modality))
        assert not result.validity.valid
        assert "no_photograph" in result.validity.codes
        assert "not look like a photograph" in result.warning
    strip = _analyse(Photograph(np.full((60, 300, 3), (225, 180, 160), np.uint8), "strip", modality="dermoscopic"))
    assert strip.validity.codes[0] == "shape"
    assert strip.validity.headline("no lesion found").startswith(
        "Not valid: no lesion can be found reliably in a picture"
    )


def test_the_stated_modality_takes_precedence() -> None:
    photograph = replace(_photograph((100, 150, 40)), modality="macroscopic")
    result = _analyse(photograph)
    assert (
        "This is a macroscopic photograph, and the model was trained on dermoscopic photographs only" in result.warning
    )
    assert _analyse(replace(photograph, modality="dermoscopic")).warning == ""


def test_a_stamp_from_json_equals_the_first_one() -> None:
    stamp = ModelStamp.of(Darkness())
    assert ModelStamp(**json.loads(json.dumps(vars(stamp)))) == stamp


def test_the_result_names_back_ends_that_ran_in_another_process(tmp_path: Path) -> None:
    stamp = replace(ModelStamp.of(Darkness()), backend="onnxruntime")
    photograph = _photograph((100, 150, 40))
    result = derive_result(photograph, Darkness().probability(photograph.rgb), LesionOptions(), stamp)
    stored = json.loads((save_lesion(result, tmp_path / "drawn") / "result.json").read_text())
    assert stored["model"]["backend"] == "onnxruntime"
    assert "onnxruntime" in stored["provenance"]["backends"]


def test_contours_are_traced_when_they_are_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    monkeypatch.setattr(analysis, "trace_contours", lambda mask: traced.append(mask) or [])
    photograph = _photograph((100, 150, 40))
    probability, stamp = Darkness().probability(photograph.rgb), ModelStamp.of(Darkness())
    result = derive_result(photograph, probability, LesionOptions(), stamp)
    assert traced == []
    result.compute_properties()
    _ = result.contours
    assert any(mask is result.mask for mask in traced[:1])
    assert sum(mask is result.mask for mask in traced) == 1


def test_empty_mask_is_a_valid_result(tmp_path: Path) -> None:
    result = _analyse(_photograph())
    assert not result.mask.any()
    assert (result.roi, result.measurements, result.contours) == (None, {}, [])
    saved = save_lesion(result, tmp_path / "drawn")
    assert {path.name for path in saved.iterdir()} == FILES - {"roi.png"}
    assert json.loads((saved / "result.json").read_text())["lesion_found"] is False


def test_corrections_are_followed() -> None:
    result = _analyse(_photograph((100, 150, 40)))
    mask = result.mask.copy()
    mask[:, 150:] = False
    corrected = remeasure(result, mask, result.options)
    assert corrected.corrected
    assert corrected.measurements["area_px"] == np.count_nonzero(mask)
    assert corrected.probability is result.probability


def test_a_correction_takes_the_region_alone_from_the_options() -> None:
    result = _analyse(_photograph((100, 150, 40)))
    wanted = {"model": "another", "threshold": 0.9, "refinement": {"smoothing": 0.0}, "roi": {"side_px": 64}}
    corrected = remeasure(result, result.mask, LesionOptions.parse(wanted, "test"))
    assert corrected.roi is not None
    assert corrected.roi.image.shape == (64, 64, 3)
    assert corrected.options.roi.side_px == 64
    assert corrected.options.model_copy(update={"roi": result.options.roi}) == result.options


def test_cancelled_between_the_steps() -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        analyze_lesion(_photograph((100, 150, 40)), Darkness(), LesionOptions(), run=run)


def test_result_folder(tmp_path: Path) -> None:
    result = _analyse(_photograph((100, 150, 40), pixel_size=PixelSize(50.0, 40.0, "ruler")))
    folder = save_lesion(result, tmp_path / "drawn")
    assert {path.name for path in folder.iterdir()} == FILES
    assert np.array_equal(read_mask(folder / "mask.png"), result.mask)
    written = json.loads((folder / "result.json").read_text())
    assert written["pixel_size_um"] == {"y": 50.0, "x": 40.0, "source": "ruler"}
    assert written["model"]["fingerprint"] == "0" * 64
    assert written["options"] == result.options.model_dump(mode="json")
    assert written["measurements"] == pytest.approx(result.measurements)


def test_a_result_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _analyse(_photograph((100, 150, 40)))
    save_lesion(result, tmp_path / "drawn")
    save_lesion(replace(result, roi=None), tmp_path / "drawn")
    assert not (tmp_path / "drawn" / "roi.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"]
    save_lesion(result, tmp_path / "drawn")
    (tmp_path / "drawn" / "own.txt").touch()  # the files are replaced one by one
    remove = Path.unlink

    def refuse(path: Path, **options: bool) -> None:
        if path.name == "roi.png":
            raise PermissionError(errno.EACCES, "in use")
        remove(path, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(SaveError, match="cannot write"):  # a report would show the picture of the previous mask
        save_lesion(replace(result, roi=None), tmp_path / "drawn")


@pytest.mark.parametrize("content", [None, '{"lesion_fo'])
def test_a_result_without_its_description_is_replaced(tmp_path: Path, content: str | None) -> None:
    result = _analyse(_photograph((100, 150, 40)))
    folder = save_lesion(result, tmp_path / "drawn")
    (folder / "result.json").unlink()
    if content is not None:
        (folder / "result.json").write_text(content)
    save_lesion(result, folder)
    assert json.loads((folder / "result.json").read_text())["lesion_found"]


def test_full_disk_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _analyse(_photograph((100, 150, 40)))
    folder = save_lesion(result, tmp_path / "drawn")
    before = (folder / "result.json").read_text()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_melanoma.lesion.analysis.write_json", fail)
    with pytest.raises(SaveError, match="the disk is full"):
        save_lesion(remeasure(result, ~result.mask, result.options), folder)
    assert (folder / "result.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["drawn"]


class Leaning(Darkness):
    """Sees lesion where it is dark, and more of it towards the right."""

    config = SimpleNamespace(
        threshold=0.5,
        is_demonstration=False,
        provenance={},
        modalities=(),
        input_size=100,
        preprocessing=PreprocessingConfig(),
        closer_views=(),
        turned_views=None,
    )
    info = SimpleNamespace(name="leaning", fingerprint="0" * 64, config=config)

    def logits(self, inputs) -> np.ndarray:
        lean = np.linspace(-1, 1, 100, dtype=np.float32)
        return np.stack([(140.0 - image.mean(2)).astype(np.float32) / 20 + lean for image in inputs])

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        raise AssertionError("with flips, logits are asked for")


def blurred(photograph: Photograph) -> Photograph:
    from scipy import ndimage

    return replace(photograph, rgb=ndimage.gaussian_filter(photograph.rgb, (6, 6, 0)))


FLIPS = LesionOptions(flips=True)


def test_flips_give_a_steadier_mask_and_a_band_along_its_border(tmp_path: Path) -> None:
    photograph = blurred(_photograph((100, 230, 40)))
    result = analyze_lesion(photograph, Leaning(), FLIPS, run=RunContext())
    rows, columns = np.nonzero(result.mask)
    assert (rows.mean(), columns.mean()) == pytest.approx((100, 230), abs=0.5)
    away = np.hypot(*(np.indices(result.mask.shape) - np.array([100, 230])[:, None, None]))
    assert result.band is not None
    assert 25 < away[result.band].min() < away[result.band].max() < 55
    assert result.band.sum() > 300
    saved = save_lesion(result, tmp_path / "drawn")
    assert (read_mask(saved / "band.png") == result.band).all()
    saved_result = json.loads((saved / "result.json").read_text())
    assert (saved_result["options"]["flips"], saved_result["uncertain_area_px"]) == (True, int(result.band.sum()))


def test_the_band_follows_the_threshold_without_new_predictions() -> None:
    result = analyze_lesion(blurred(_photograph((100, 230, 40))), Leaning(), FLIPS, run=RunContext())
    stricter = derive_result(
        result.photograph, result.prediction, FLIPS.model_copy(update={"threshold": 0.9}), result.model
    )
    assert stricter.band is not None
    assert (stricter.band != result.band).any()
    assert not (stricter.band & (restored(result, 1) < 0.85)).any()


def restored(result, extreme: int) -> np.ndarray:
    return restore_size(result.spread[extreme], result.mask.shape)


def test_only_lesions_that_changed_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    options = LesionOptions.model_validate({"refinement": {"largest_only": False}})
    result = _analyse(_photograph((100, 70, 40), (100, 200, 30)), options)
    before = result.lesion_measurements
    measured: list[int] = []

    def count(mask: np.ndarray, *given: object) -> dict[str, float]:
        measured.append(int(mask.sum()))
        return measure_lesion(mask, *given)

    monkeypatch.setattr(analysis, "measure_lesion", count)
    mask = result.mask.copy()
    mask[95:105, 200:250] = True
    edited = remeasure(result, mask, options)
    assert edited.lesion_measurements[0] == before[0]
    assert measured == [mask.sum(), mask[:, 135:].sum()], "the first lesion is the same"
    measured.clear()
    assert remeasure(edited, result.mask, options).lesion_measurements == before
    assert measured == [], "undo"
    scaled = replace(edited, photograph=replace(edited.photograph, pixel_size=PixelSize(50.0, 50.0)))
    assert "area_mm2" in remeasure(scaled, mask, options).lesion_measurements[0]
