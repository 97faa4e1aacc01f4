"""The row of image features: measured once, with progress, resumable; damaged images are left out and named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.extensions.papers import image_features
from napari_melanoma.extensions.papers.planning import ReproduceOptions
from napari_melanoma.extensions.papers.run import reproduce
from napari_melanoma.io.results import read_table

COUNT = 50
Patched = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float | None]]:
    """Scales of the images that are measured, without computing features."""
    seen: list[float | None] = []

    def measure(rgb: Any, mpp: float | None) -> dict[str, float]:
        seen.append(mpp)
        return {f"feature {number}": float(rgb[0, 8 * number % 64, number % 3]) for number in range(20)}

    monkeypatch.setattr(image_features, "measure_patch_features", measure)
    return seen


def options_for(folder: Path) -> ReproduceOptions:
    return ReproduceOptions(paper="P3", budget="small", rows=("features",), data=(f"S={folder}",))


@pytest.mark.slow
def test_a_stopped_row_of_features_continues_with_the_missing_images(
    tmp_path: Path, measured: list[float | None], patients: Callable[..., Path], patched: Patched
) -> None:
    options, stopped = options_for(patients(tmp_path / "cohort", COUNT)), list[int]()

    def stop(progress: Progress) -> None:
        if "Measuring features" in progress.message:
            stopped.append(progress.done)
            if len(stopped) == 20:
                run.cancel()

    run = RunContext(stop)
    with patched():
        with pytest.raises(Cancelled):
            reproduce(options, tmp_path / "out", run=run)
        assert stopped == sorted(stopped)
        assert len(set(stopped)) == 20
        measured.clear()
        done = reproduce(options, tmp_path / "out", run=RunContext())
    assert done.failed == {}
    assert len(measured) == COUNT - 20  # once for all folds
    assert len(read_table(tmp_path / "out/evaluated/features/per_image.csv")) == COUNT
    assert not list((tmp_path / "out/rows/features").glob("unfinished*"))


def test_bad_images_are_left_out_and_named(
    tmp_path: Path, measured: list[float | None], patients: Callable[..., Path], patched: Patched
) -> None:
    folder = patients(tmp_path / "cohort", COUNT)
    for name in ("p3", "p30"):  # one in no fold, one in a fold
        (folder / f"images/{name}.png").write_bytes((folder / f"images/{name}.png").read_bytes()[:200])
    with patched():
        done = reproduce(options_for(folder), tmp_path / "out", run=RunContext())
    assert done.failed == {}
    rows = read_table(tmp_path / "out/evaluated/features/per_image.csv")
    assert {row["image_id"] for row in rows} == {f"p{index}" for index in range(COUNT)} - {"p3", "p30"}
    text = (tmp_path / "out/tables.md").read_text(encoding="utf-8")
    assert "2 images could not be measured: cohort/p3, cohort/p30" in text


def test_one_class_that_can_be_measured_is_not_enough(
    tmp_path: Path, measured: list[float | None], patients: Callable[..., Path], patched: Patched
) -> None:
    folder = patients(tmp_path / "cohort", COUNT)
    for row in read_table(folder / "dataset.csv"):
        if row["metastasis"] == "1":
            (folder / f"images/{row['image_id']}.png").write_bytes(b"no image")
    with patched():
        done = reproduce(options_for(folder), tmp_path / "out", run=RunContext())
    why = done.failed["features"]
    assert "16 of 32 training images could be measured, 0 of them with 'metastasis': both classes are needed" in why
    assert "p1" in why
