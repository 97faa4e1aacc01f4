"""Slides in a row: a folder that cannot be written costs its own slide, a full disk stops all."""

from __future__ import annotations

import errno
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from pydicom.errors import InvalidDicomError

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DiskFull, SaveError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.io.results import read_table
from napari_melanoma.io.zarr import write_durably
from napari_melanoma.slides.analysis import analyze_slides
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.slide_table import SlideStatus

LoadModel = Callable[..., Any]


@pytest.fixture
def two(drawn_slide: Callable[..., Path], tmp_path: Path) -> list[Path]:
    return [drawn_slide(tmp_path / "a.tif", side=320), drawn_slide(tmp_path / "b.tif", side=320, seed=1)]


def refusing(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let creating folders below this one fail; a superuser may write anywhere."""
    plain = Path.mkdir

    def refuse(self: Path, *rest: Any, **how: Any) -> None:
        if self.is_relative_to(folder):
            raise OSError(number, "no")
        plain(self, *rest, **how)

    monkeypatch.setattr(Path, "mkdir", refuse)


def test_a_folder_that_cannot_be_written_fails_its_slide_alone(
    two: list[Path], options: SlideOptions, tile_model: LoadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.load_model", lambda options: tile_model())
    refusing(tmp_path / "out" / "a", errno.EACCES, monkeypatch)
    reported: list[SlideStatus] = []
    summary = analyze_slides(two, tmp_path / "out", options, run=RunContext(), on_status=reported.append)
    assert [status.status for status in reported] == ["failed", "done"]
    assert "no permission to write there" in reported[0].error
    assert (summary.done, summary.failed) == (1, 1)
    assert [row["status"] for row in read_table(summary.table)] == ["failed", "done"]


@pytest.mark.parametrize("is_ended", [True, False])
def test_a_slide_of_another_process_is_looked_at_again_at_the_end(
    two: list[Path],
    options: SlideOptions,
    tile_model: LoadModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_ended: bool,
) -> None:
    """The process is killed, or still at work, when the other slide is done."""
    monkeypatch.setattr("napari_melanoma.slides.analysis.load_model", lambda options: tile_model())
    reported: list[SlideStatus] = []

    def report(status: SlideStatus) -> None:
        reported.append(status)
        if is_ended:
            other.close()

    with ExitStack() as other:
        other.enter_context(RunFolder(tmp_path / "out" / "a").locked())
        summary = analyze_slides(two, tmp_path / "out", options, run=RunContext(), on_status=report)
    assert [(status.path.stem, status.status) for status in reported] == [
        ("b", "done"),
        ("a", "done" if is_ended else "failed"),
    ]
    assert (summary.done, summary.failed) == ((2, 0) if is_ended else (1, 1))
    assert [row["status"] for row in read_table(summary.table)] == ["done" if is_ended else "failed", "done"]


def test_a_full_disk_stops_all_slides(
    two: list[Path], options: SlideOptions, tile_model: LoadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.load_model", lambda options: tile_model())
    refusing(tmp_path / "out" / "a", errno.ENOSPC, monkeypatch)
    reported: list[SlideStatus] = []
    with pytest.raises(DiskFull, match="the disk is full"):
        analyze_slides(two, tmp_path / "out", options, run=RunContext(), on_status=reported.append)
    assert not reported
    assert issubclass(DiskFull, SaveError)


@pytest.mark.parametrize("number", [5, 32])
def test_a_chunk_in_use_is_replaced_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As Windows refuses it while the live heatmap has the file open."""
    plain, calls = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) <= 2:
            error = PermissionError(errno.EACCES, "in use")
            error.winerror = number  # type: ignore[attr-defined, unused-ignore]
            raise error
        return plain(self, target)

    (tmp_path / "0").write_bytes(b"old")
    monkeypatch.setattr(Path, "replace", replace)
    write_durably(tmp_path / "0", b"new")
    assert ((tmp_path / "0").read_bytes(), len(calls)) == (b"new", 3)
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


STRANGE = [
    KeyError("ImageType"), OSError("Failed to load frame"), struct.error("unpack requires 4 bytes"), MemoryError(),
    RecursionError("maximum depth"), AssertionError(), StopIteration(), zlib.error("bad data"), InvalidDicomError("x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "errors"),
    [("slides.analysis._analyze_tiles_of_slide", STRANGE), ("slides.reading.opening._open_by_format", STRANGE[:4])],
)
def test_any_exception_fails_only_its_slide(
    where: str,
    errors: list[Exception],
    drawn_slide: Callable[..., Path],
    options: SlideOptions,
    tile_model: LoadModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each slide fails by another one, and the last is analyzed."""
    monkeypatch.setattr("napari_melanoma.slides.analysis.load_model", lambda options: tile_model())
    place = f"napari_melanoma.{where}"
    plain, left = resolve_name(place), list(errors)

    def fail(*arguments: Any) -> Any:
        if left:
            raise left.pop(0)
        return plain(*arguments)

    monkeypatch.setattr(place, fail)
    slides = [drawn_slide(tmp_path / f"{number:02}.tif", side=320) for number in range(len(errors) + 1)]
    reported: list[SlideStatus] = []
    summary = analyze_slides(slides, tmp_path / "out", options, run=RunContext(), on_status=reported.append)
    statuses = ["failed"] * len(errors) + ["done"]
    rows = read_table(summary.table)
    assert [status.status for status in reported] == statuses
    assert [row["status"] for row in rows] == statuses
    for error, row in zip(errors, rows, strict=False):
        assert type(error).__name__ in row["error"] or "out of memory" in row["error"]
        assert "opy" in row["error"] or "Close other programs" in row["error"]  # what to do


@pytest.mark.parametrize("stop", [Cancelled, KeyboardInterrupt, SystemExit])
def test_a_cancellation_is_not_an_error_of_a_slide(
    stop: type[BaseException], two: list[Path], options: SlideOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*arguments: Any) -> None:
        raise stop

    monkeypatch.setattr("napari_melanoma.slides.analysis.analyze_slide", lambda *_, **__: end())
    with pytest.raises(stop):
        analyze_slides(two, tmp_path / "out", options, run=RunContext())
