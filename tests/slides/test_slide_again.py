"""Analyzing again: what is done is left alone, and nothing that a person saved is lost, whatever comes over it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import InputError, ResultsMismatch
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.results import read_slide_result, read_table
from napari_melanoma.slides import lesion_files as files
from napari_melanoma.slides.analysis import SharedTileModel, SlideOutcome, analyze_slide, analyze_slides
from napari_melanoma.slides.lesions import LesionConfig, SlideLesion
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.tile_models import TileModel

LoadModel = Callable[..., TileModel]
Again = Callable[..., SlideOutcome]


@pytest.fixture
def again(
    slide_path: Path, options: SlideOptions, tile_model: LoadModel, finished: SlideOutcome, tmp_path: Path
) -> Again:
    """Analyze the slide into ``out``, with options changed; tiles may be asked for or not.

    The first time, the finished analysis is copied unless ``copied`` is false or the analysis would be another one.
    """

    def analysed(
        run: RunContext | None = None, *, requested: bool = True, copied: bool = True, **changes: Any
    ) -> SlideOutcome:
        if copied and run is None and not changes and not (tmp_path / "out").exists():
            return replace(finished, folder=shutil.copytree(finished.folder, tmp_path / "out"))
        model, force = tile_model(), changes.pop("force", False)
        if not requested:
            model.predict = lambda tiles: pytest.fail("a tile was asked for again")  # type: ignore[method-assign]
        now = options.model_copy(update=changes)
        return analyze_slide(slide_path, tmp_path / "out", now, run or RunContext(), load=lambda: model, force=force)

    return analysed


def correct(folder: Path, config: LesionConfig | None = None) -> tuple[SlideLesion, ...]:
    """Class the lesion by hand and draw another, as the dock saves it."""
    (lesion,) = files.read_lesions(folder) or ()
    mine = (replace(lesion, label="benign", origin="classed"), replace(lesion, index=2, origin="drawn"))
    files.save_lesions(folder, mine, config or LesionConfig())
    return mine


def texts(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("lesions.geojson", "lesions.csv", "result.json")}


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("lesions-kept-*"))


@pytest.mark.parametrize("config", [LesionConfig(), LesionConfig(low=0.7, high=0.9)])
def test_corrections_are_kept_if_an_analysis_is_repeated(again: Again, config: LesionConfig) -> None:
    folder = again().folder
    mine = correct(folder, config)  # at the thresholds of the analysis, or at others that a person chose
    before = texts(folder)
    outcome = again(requested=False)
    assert outcome.already_done
    assert texts(folder) == before
    assert files.read_lesions(folder) == mine
    assert [row["origin"] for row in outcome.content["lesions"]] == ["classed", "drawn"]
    assert kept(folder) == []


def test_the_scale_that_a_user_has_set_is_used_by_every_analysis(again: Again, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_notes(tmp_path / "out", SlideNotes(pixel_size=PixelSize(0.55, 0.52, "ruler")))
    content = again().content
    assert (content["mpp"], content["mpp_source"]) == ([0.55, 0.52], "given")
    assert again(requested=False).already_done
    assert again(requested=False, mpp=0.52, mpp_y=0.55).already_done
    with pytest.raises(ResultsMismatch, match=r"mpp was 0\.52, now 0\.5"):
        again(mpp=0.5)


def test_the_command_reports_it_and_the_slide_stays_in_the_table(
    slide_path: Path, options: SlideOptions, tile_model: LoadModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.load_model", lambda options: tile_model())
    reported = []
    for _ in range(2):
        summary = analyze_slides([slide_path], tmp_path / "o", options, run=RunContext(), on_status=reported.append)
        assert (summary.done, summary.failed) == (1, 0)
        correct(tmp_path / "o" / "section") if len(reported) == 1 else None
    assert [status.already_done for status in reported] == [False, True]
    (row,) = read_table(tmp_path / "o" / "slides.csv")
    assert (row["status"], row["lesions"], row["lesions_malignant"]) == ("done", "2", "1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{"force": True}, {"lesions": LesionConfig(low=0.2, high=0.3)}, {"force": True, "min_tissue": 0.9}]
)
def test_edited_lesions_are_kept_when_lesions_are_found_again(again: Again, changes: dict[str, Any]) -> None:
    folder = again().folder
    for number in (1, 2):  # the second time it is told by another name
        mine = correct(folder)
        content = again(**changes).content if number == 1 else again(force=True).content
        assert any(f"backed up in lesions-kept-{number}.geojson" in warning for warning in content["warnings"])
        assert [lesion.origin for lesion in files.read_lesions(folder) or ()] == ["found"]
        aside = folder.parent / f"aside-{number}"
        aside.mkdir()
        (aside / "lesions.geojson").write_bytes((folder / f"lesions-kept-{number}.geojson").read_bytes())
        assert files.read_lesions(aside) == mine
    assert len(kept(folder)) == 4  # outlines and tables


def test_a_lesion_that_was_removed_is_a_correction_too(again: Again) -> None:
    folder = again().folder
    files.save_lesions(folder, (), LesionConfig())
    assert again(requested=False).content["lesions"] == []
    assert any("lesions-kept-1" in one for one in again(force=True).content["warnings"])


def test_unedited_lesions_are_not_kept(again: Again) -> None:
    folder = again().folder
    again(lesions=LesionConfig(low=0.2, high=0.3))
    again(force=True)
    assert kept(folder) == []


def test_a_resumed_analysis_keeps_lesions_drawn_in_between(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.EVENT_INTERVAL_S", 0.0)
    whole = again()
    mine = correct(whole.folder)
    drawn = (whole.folder / "lesions.geojson").read_bytes()
    (whole.folder / "result.json").unlink()  # an unfinished one is begun again, not brought back
    run = RunContext()
    run.report = lambda progress: (progress.fraction or 0) > 0.4 and run.cancel()
    with pytest.raises(Cancelled):
        again(run, force=True)
    (whole.folder / "lesions.geojson").write_bytes(drawn)  # saved from the dock while the rest waits
    files.save_lesions(whole.folder, mine, LesionConfig())
    content = again().content
    assert any("backed up in lesions-kept-1.geojson" in warning for warning in content["warnings"])
    assert (whole.folder / "lesions-kept-1.geojson").read_bytes() == drawn


def test_failed_tiles_are_retried_once(
    again: Again, slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.slides.engine import TileReader

    real = TileReader.read

    def read(self: TileReader, places: Any) -> Any:
        tiles, good = real(self, places)
        return tiles, good & ~((places[:, 0] == 2) & (places[:, 1] < 3))

    monkeypatch.setattr(TileReader, "read", read)
    first = again(copied=False)
    assert first.content["tiles_failed"] == 3
    correct(first.folder)
    before = texts(first.folder)
    assert again().already_done
    assert texts(first.folder) == before
    monkeypatch.setattr(TileReader, "read", real)  # the network drive is there again
    mended = again()
    assert (mended.already_done, mended.content["tiles_failed"], mended.content["tiles_done"]) == (False, 0, 224)
    assert kept(first.folder) == ["lesions-kept-1.csv", "lesions-kept-1.geojson"]


def test_killed_in_the_middle_of_saving_lesions_are_whole(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = again().folder

    class Killed(BaseException):
        """Power is gone."""

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_lesions_table", die)
        with pytest.raises(Killed):
            correct(folder)
    found = files.read_lesions(folder)
    assert found is not None
    assert [lesion.origin for lesion in found] == ["classed", "drawn"]
    reported = again(requested=False).content
    assert [row["origin"] for row in reported["lesions"]] == ["classed", "drawn"]
    assert [row["origin"] for row in read_table(folder / "lesions.csv")] == ["classed", "drawn"]
    again(force=True)
    assert kept(folder)[-1] == "lesions-kept-1.geojson"


@pytest.mark.parametrize("text", ["{", '{"type": "FeatureCollection", "features": [{"type": "Feature"}]}', "[1]"])
def test_unreadable_lesions_are_reported_and_never_overwritten(again: Again, text: str) -> None:
    folder = again().folder
    (folder / "lesions.geojson").write_text(text)
    with pytest.raises(InputError, match=r"lesions\.geojson"):
        files.read_lesions(folder)
    assert "lesions.geojson" in again(requested=False).content["warnings"][-1]
    files.save_lesions(folder, (), LesionConfig())
    assert (folder / "lesions-kept-1.geojson").read_text() == text


def test_the_table_of_contents_lists_requested_and_current_values(again: Again) -> None:
    folder = again().folder
    correct(folder, LesionConfig(low=0.7, high=0.9))
    assert files.read_analysis(folder)["options"]["lesions"]["high"] == 0.9
    assert read_slide_result(folder)["options"]["lesions"]["high"] == 0.6


def test_a_model_for_many_slides_starts_each_with_its_options(
    options: SlideOptions, tile_model: LoadModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.load_model", lambda options: tile_model())
    monkeypatch.setattr("napari_melanoma.slides.tile_models.choose_precision", lambda device: "bf16")
    models = SharedTileModel(options)
    models.get_reset().resume_with("bf16", 2)
    assert (models.get_reset().precision, models.get_reset().batch_size) == ("fp32", 8)


def test_a_result_in_two_precisions_states_both(
    again: Again, slide_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_melanoma.slides.analysis.EVENT_INTERVAL_S", 0.0)
    monkeypatch.setattr("napari_melanoma.slides.tile_models.choose_precision", lambda device: "fp32")
    run = RunContext()
    run.report = lambda progress: (progress.fraction or 0) > 0.4 and run.cancel()
    with pytest.raises(Cancelled):
        again(run)
    attributes = tmp_path / "out" / "result.zarr" / "zarr.json"
    attributes.write_text(attributes.read_text().replace('"precision": "fp32"', '"precision": "bf16"'))
    assert "started in bf16, resumed in fp32" in " ".join(again().content["warnings"])
    assert "started in" not in " ".join(again(force=True).content["warnings"])
