"""Rows are measured on each image."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.data.dataset import Sample
from napari_melanoma.extensions.papers import kinds
from napari_melanoma.extensions.papers.paper_rows import measure_samples, read_pictures
from napari_melanoma.extensions.papers.papers import ImageMeasurement, read_paper
from napari_melanoma.extensions.papers.planning import (
    ReproductionFolder,
)
from napari_melanoma.metrics.overlap import overlap_metrics


def test_a_row_without_a_network_needs_no_readable_photograph(tmp_path: Path) -> None:
    """Only the picture of the image is left out."""

    def unreadable() -> np.ndarray:
        raise UnreadableImage("the file is damaged")

    rgb = np.zeros((8, 8, 3), np.uint8)
    pictures = {"a": lambda: rgb, "b": unreadable}
    row = SimpleNamespace(
        file=SimpleNamespace(title="table"),
        kind=SimpleNamespace(
            make_measure=lambda subject, run: (
                lambda sample: ImageMeasurement({"label": 1}, lambda: rgb, pictures[sample.image_id])
            )
        ),
    )
    work = SimpleNamespace(folder=ReproductionFolder(tmp_path))
    samples = [Sample(name, tmp_path / f"{name}.png", None, name, "test", "set") for name in pictures]
    shown = ({sample.full_name for sample in samples}, tmp_path / "pictures")
    found = measure_samples(work, SimpleNamespace(row=row), samples, shown, RunContext())
    assert [one["image_id"] for one in found.rows] == ["a", "b"]
    assert found.failed == {}
    assert [path.name for path in (tmp_path / "pictures").rglob("*.png")] == ["a.png"]


def test_images_whose_ids_differ_only_in_case_have_pictures_of_their_own(tmp_path: Path) -> None:
    colors = {"A": 10, "a": 200}
    row = SimpleNamespace(
        file=SimpleNamespace(title="unet"),
        kind=SimpleNamespace(
            make_measure=lambda subject, run: (
                lambda sample: ImageMeasurement(
                    {"label": 1}, *2 * [lambda: np.full((32, 32, 3), colors[sample.image_id], np.uint8)]
                )
            )
        ),
    )
    work = SimpleNamespace(folder=ReproductionFolder(tmp_path))
    samples = [Sample(name, tmp_path / f"{name}.png", None, name, "test", "set") for name in colors]
    shown = ({sample.full_name for sample in samples}, tmp_path / "pictures")
    measure_samples(work, SimpleNamespace(row=row), samples, shown, RunContext())
    for folder in (tmp_path / "pictures", work.folder.photographs):
        assert len({path.name.lower() for path in folder.rglob("*.png")}) == 2
        assert sorted(pixels[0, 0, 0] for pixels in read_pictures(folder).values()) == [10, 200]


@pytest.mark.parametrize(("side", "same"), [(256, True), (512, False)])
def test_masks_are_also_compared_at_the_size_of_p2(side: int, same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mask, reference = np.zeros((side, side), bool), np.zeros((side, side), bool)
    mask[40:161, 40:160], reference[40:160, 40:160] = True, True  # a row more, which 256 pixels show only if it is even
    compared = SimpleNamespace(mask=mask, reference=reference, rgb=None)
    monkeypatch.setattr(kinds, "measure_sample", lambda *of: (compared, overlap_metrics(mask, reference)))
    monkeypatch.setattr("napari_melanoma.lesion.segmentation.Segmenter.load", lambda bundle: None)
    subject: Any = SimpleNamespace(bundle=SimpleNamespace(config=SimpleNamespace(threshold=0.5)))
    subject.row = read_paper("P2").rows["unetpp"]
    sample: Any = SimpleNamespace()
    columns: Any = kinds._make_mask_measure(subject, RunContext())(sample).columns
    assert columns["DI"] < 1
    assert (columns["DI256"] == columns["DI"]) is same
    assert (columns["AC256"] == columns["AC"]) is same
