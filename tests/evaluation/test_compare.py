"""Compare two models with known differences on squares: metrics, pictures, files and errors."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from markupsafe import escape

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.dataset import Sample, read_dataset
from napari_melanoma.evaluation.comparison_results import (
    ADVICE,
    ComparedModel,
    Comparison,
    ImageChange,
    read_comparison,
)
from napari_melanoma.evaluation.model_comparison import (
    COMPARISON,
    ComparisonOptions,
    compare_pair,
    make_mask_task,
    remove_earlier_comparison,
    write_comparison_page,
)
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.metrics.statistics import Estimate

pytestmark = pytest.mark.usefixtures("trained_on_nothing")

SIDE = 60
EXACT = ComparisonOptions.parse({"refinement": {"smoothing": 0.0}}, "the test")
REPLAY = EXACT.model_copy(update={"replay": ("old-clinic",)})


class Reader:
    """Segment the gray square of a photograph, without a number of columns that depends on its gray value."""

    device = "cpu"

    def __init__(self, name: str, missed: dict[int, int], threshold: float = 0.5) -> None:
        config = SimpleNamespace(
            threshold=threshold,
            is_demonstration=False,
            modalities=(),
            is_slide_model=False,
            closer_views=(),
            turned_views=None,
        )
        self.info = SimpleNamespace(name=name, fingerprint=name * 8, settings_digest="", config=config)
        self._missed = missed
        self._default = missed.get(-1, 0)

    def probability(self, rgb: np.ndarray) -> np.ndarray:
        gray = rgb[..., 0]
        found = (gray < 200).astype(np.float32)
        columns = np.flatnonzero(found.any(0))
        missed = self._missed.get(int(gray.min()), self._default)
        found[:, columns[len(columns) - missed :]] = 0.0
        return found * 0.6


def squares(folder: Path, count: int, each: int = 1) -> list[Sample]:
    """Squares of 20 x 20 pixels; image ``n`` has the gray value ``n``."""
    for index in range(count):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[20:40, 20:40] = True
        rgb = np.full((SIDE, SIDE, 3), 255, np.uint8)
        rgb[mask] = index
        write_rgb(folder / f"images/s{index}.png", rgb)
        write_mask(folder / f"masks/s{index}.png", mask)
    rows = [{"image_id": f"s{i}", "patient_id": f"p{i // each}", "diagnosis": "ab"[i % 2]} for i in range(count)]
    write_table(folder / "dataset.csv", rows)
    return read_dataset(folder)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return squares(tmp_path / "clinic", 10)


def compared(
    samples: list[Sample], out: Path, old: Reader, new: Reader, options: ComparisonOptions = EXACT
) -> Comparison:
    return compare_pair(make_mask_task([old, new], options), samples, out, options, run=RunContext())


OLD = Reader("old", {-1: 10})  # half of each square: Jaccard one half
BETTER = Reader("new", {-1: 5, 3: 12})  # three quarters, except for one image


def test_figures(samples: list[Sample], tmp_path: Path) -> None:
    found = compared(samples, tmp_path / "out", OLD, BETTER)
    assert found.old.metrics["JA"].mean == pytest.approx(0.5)
    assert found.new.metrics["JA"].mean == pytest.approx((9 * 0.75 + 0.4) / 10)
    assert found.difference["JA"].mean == pytest.approx(0.215)
    assert found.difference["JA"].low > 0.1
    assert found.difference["DI"].mean == pytest.approx((9 * (6 / 7 - 2 / 3) + (4 / 7 - 2 / 3)) / 10)
    assert (found.images, found.patients, found.advice) == (10, 10, "activate")
    assert [(item.image_id, round(item.change, 3)) for item in found.worse] == [("s3", -0.1)]
    assert len(found.better) == 9
    assert found.summary().startswith("Jaccard (IoU) 0.500 -> 0.715, difference +0.215 (95 % interval +0.")


def test_files_are_read_back(samples: list[Sample], tmp_path: Path) -> None:
    found = compared(samples, tmp_path / "out", OLD, BETTER)
    again = read_comparison(tmp_path / "out")
    assert again == read_comparison(tmp_path / "out" / "comparison.json")
    assert again == replace(found, better=named(found.better), worse=named(found.worse))
    assert str(tmp_path) not in (tmp_path / "out/comparison.json").read_text()
    rows = list(csv.DictReader((tmp_path / "out/per_image.csv").read_text().splitlines()))
    assert len(rows) == 10
    assert float(rows[3]["JA_difference"]) == pytest.approx(-0.1)
    picture = read_photograph(found.worse[0].thumbnail).rgb
    assert picture.shape == (320, 320, 3)
    page = (tmp_path / "out/comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 11
    assert "<b>Use the new model.</b>" in page
    assert str(tmp_path) not in page
    assert (tmp_path / "out/changes.png").stat().st_size > 1000


@pytest.mark.parametrize("advice", ADVICE)
def test_a_page_recommends_a_model_and_fits_a_narrow_window(advice: str, tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"dot")
    model, change = ComparedModel("A", "f", 0.5, {"JA": Estimate(0.8, 0.7, 0.9, 80)}), Estimate(-0.3, -0.4, -0.2, 80)
    found = Comparison(model, model, {"JA": change}, (), (), (), advice, "why", 80, 40, facts={"interval": "95 %"})
    write_comparison_page(found, tmp_path / "dot.png", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<b>{ADVICE[advice]}</b> why" in page
    assert "napari-melanoma models import RUN" in page
    assert page.count('<div class="wide many short narrow"') == page.count("<table") == 1
    assert '<td class="number">-0.300 <span class="unbroken">(-0.400 to -0.200)</span></td>' in page


def named(changes: tuple[ImageChange, ...]) -> tuple[ImageChange, ...]:
    """Images as stored outside a run: file names only, since a path may identify a patient."""
    return tuple(replace(change, image=Path(change.image.name)) for change in changes)


def test_a_comparison_in_a_run_stores_image_paths(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/events.jsonl").touch()
    found = compared(samples, tmp_path / "run/comparison", OLD, BETTER)
    assert read_comparison(tmp_path / "run") == found


def test_each_model_has_its_threshold(samples: list[Sample], tmp_path: Path) -> None:
    """All probabilities are below 0.7, so a model with that threshold segments nothing."""
    found = compared(samples, tmp_path / "out", Reader("old", {}), Reader("new", {}, threshold=0.7))
    assert (found.old.metrics["JA"].mean, found.new.metrics["JA"].mean) == (1.0, 0.0)
    assert (found.old.threshold, found.new.threshold, found.advice) == (0.5, 0.7, "keep")


def test_a_loss_on_replay_data_keeps_the_old_model(samples: list[Sample], tmp_path: Path) -> None:
    """The new model gains on ten new images and loses on each of the old ones."""
    kept = squares(tmp_path / "old-clinic", 8)
    for sample in kept:
        rgb = read_photograph(sample.image).rgb.copy()
        rgb[rgb < 200] += 100
        write_rgb(sample.image, rgb)
    worse_on_replay = Reader("new", {-1: 5, **{100 + n: 15 for n in range(8)}})
    found = compared([*samples, *kept], tmp_path / "out", OLD, worse_on_replay, REPLAY)
    assert {d.name: (d.replay, round(d.difference["JA"].mean, 3)) for d in found.domains} == {
        "clinic": (False, 0.25), "old-clinic": (True, -0.25),
    }  # fmt: skip
    assert found.advice == "keep"
    assert "is worse on old-clinic" in found.reason


def test_intervals_are_over_patients(tmp_path: Path) -> None:
    """Ten images of two patients are no more informative than two images."""
    found = compared(squares(tmp_path / "clinic", 10, each=5), tmp_path / "out", OLD, BETTER)
    assert (found.patients, found.advice) == (2, "inconclusive")
    assert "10 images of 2 patients" in found.reason


def test_an_image_that_fails_is_named_and_the_others_are_compared(samples: list[Sample], tmp_path: Path) -> None:
    samples[2].image.write_bytes(b"no image")
    samples[4].mask.unlink()
    found = compared(samples, tmp_path / "out", OLD, BETTER)
    assert [image_id for image_id, _ in found.failed] == ["s2", "s4"]
    assert found.images == 8
    assert str(tmp_path) not in json.dumps(found.failed)
    rows = list(csv.DictReader((tmp_path / "out/per_image.csv").read_text().splitlines()))
    assert [row["status"] for row in rows].count("failed") == 2
    assert read_comparison(tmp_path / "out").failed == found.failed


def test_a_model_that_fails_is_reported(samples: list[Sample], tmp_path: Path) -> None:
    class Broken(Reader):
        def probability(self, rgb: np.ndarray) -> np.ndarray:
            raise RuntimeError("out of memory")

    with pytest.raises(
        DataSetError, match="none of 10 images could be measured; 's0': unexpected RuntimeError: out of"
    ):
        compared(samples, tmp_path / "out", OLD, Broken("new", {}))
    assert not (tmp_path / "out").exists()


def test_pictures_of_the_twelve_largest_changes(tmp_path: Path) -> None:
    samples = squares(tmp_path / "clinic", 18)
    found = compared(samples, tmp_path / "out", OLD, Reader("new", {n: max(0, 10 - n) for n in range(18)}))
    assert [item.image_id for item in found.better] == [f"s{n}" for n in (*range(10, 18), 9, 8, 7, 6)]
    assert len(list((tmp_path / "out/thumbnails").iterdir())) == 12


def test_pictures_beside_no_comparison_are_kept(tmp_path: Path) -> None:
    own = tmp_path / "thumbnails/own.png"
    own.parent.mkdir()
    own.touch()
    remove_earlier_comparison(tmp_path)
    assert own.exists()
    (tmp_path / COMPARISON).touch()
    remove_earlier_comparison(tmp_path)
    assert not own.exists()


def test_images_with_the_same_name_get_separate_pictures(tmp_path: Path) -> None:
    """In each of two data sets, ``s 0``, ``s:0`` and ``S?0`` have the same safe file name."""
    names = ("s 0", "s:0", "S?0")
    both = [
        replace(sample, image_id=name)
        for folder in ("one", "two")
        for sample, name in zip(squares(tmp_path / folder, 3), names, strict=True)
    ]
    found = compared(both, tmp_path / "out", OLD, Reader("new", {}))
    assert len({str(item.thumbnail).lower() for item in found.better}) == 6
    assert len(list((tmp_path / "out/thumbnails").iterdir())) == 6


@pytest.mark.parametrize("text", ["", "{", "[]", '{"old": 3}', '{"format_version": 9}'])
def test_an_invalid_comparison_is_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(InputError, match="Run it again: napari-melanoma compare RUN"):
        read_comparison(tmp_path)


def test_cancelling_during_an_image_stops(samples: list[Sample], tmp_path: Path) -> None:
    run = RunContext()

    class Stopping(Reader):
        def probability(self, rgb: np.ndarray) -> np.ndarray:
            run.cancel()
            run.check()
            return rgb

    with pytest.raises(Cancelled):
        compare_pair(make_mask_task([OLD, Stopping("new", {})], EXACT), samples, tmp_path / "out", EXACT, run=run)
    assert not (tmp_path / "out").exists()


def test_images_of_another_type_are_reported(samples: list[Sample], tmp_path: Path) -> None:
    model = Reader("derm", {-1: 0})
    model.info.config.modalities = ("dermoscopic",)
    seen = [replace(sample, modality="macroscopic") for sample in samples]
    found = compared(seen, tmp_path, OLD, model)
    (warning,) = found.facts["warnings"]
    assert "'derm' was trained on dermoscopic photographs only, but 10 of 10 images of 'clinic'" in warning
    assert escape(warning) in (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert read_comparison(tmp_path).facts["warnings"] == [warning]
