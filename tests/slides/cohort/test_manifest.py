"""The manifest: finished slides are skipped, other settings are refused, and the folder is locked."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from slide_models import TILE_TEST

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, ResultsMismatch, RunError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.io import results
from napari_melanoma.io.results import read_mask, read_table, write_mask
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.slides import cohort
from napari_melanoma.slides import options as options_of_slides
from napari_melanoma.slides.analysis import SlideOutcome, analyze_slide
from napari_melanoma.slides.cohort import CohortJobResult, CohortManifest, CohortOptions, CohortSummary, analyze_cohort
from napari_melanoma.slides.lesion_files import save_lesions
from napari_melanoma.slides.lesions import LesionConfig
from napari_melanoma.slides.model_loading import LoadOptions, identify_model, load_slide_model
from napari_melanoma.slides.notes import SlideNotes, write_notes
from napari_melanoma.slides.options import FILE_OPTIONS, SlideOptions
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.scores import SlideScoreConfig
from napari_melanoma.slides.slide_table import SlideTable
from napari_melanoma.slides.tile_models import ModelIdentity, TileModel

Start = Callable[..., CohortSummary]
pytestmark = pytest.mark.usefixtures("user_folders", "stage")


@pytest.fixture
def slides(tmp_path: Path, finished: SlideOutcome) -> list[Path]:
    """Copies of the analyzed slide."""
    return [shutil.copy(finished.folder.parent / "section.tif", tmp_path / f"{name}.tif") for name in "abc"]


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tile_model: Callable[..., TileModel]) -> list[ModelIdentity | None]:
    """What is known of the model before it is loaded."""
    known: list[ModelIdentity | None] = [tile_model().identity]
    monkeypatch.setattr(cohort, "identify_model", lambda name, weights: known[0])
    return known


@pytest.fixture
def hired(
    monkeypatch: pytest.MonkeyPatch,
    make_client: Callable[..., Any],
    models: list[ModelIdentity | None],
    finished: SlideOutcome,
) -> list[str]:
    """Let workers write a result of every slide but c; returns the slides that were submitted."""
    given: list[str] = []

    def script(job: Any) -> CohortJobResult:
        given.append(job.folder.name)
        if job.folder.name == "c":
            return CohortJobResult(error="it is truncated")
        shutil.copytree(finished.folder, job.folder, dirs_exist_ok=True)
        record_slide(job.folder, job.slide)
        change_result(job.folder, options=job.options.model_dump(mode="json", exclude={*FILE_OPTIONS, "weights"}))
        return CohortJobResult(row={"slide": job.folder.name, "file": job.slide.name, "status": "done"})

    @contextmanager
    def started(processes: int, tries: int) -> Iterator[Any]:
        yield make_client(processes, script)

    monkeypatch.setattr(cohort, "start_cluster", started)
    return given


def change_result(folder: Path, **values: Any) -> None:
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**content, **values}))


@pytest.fixture
def start(slides: list[Path], options: SlideOptions, tmp_path: Path) -> Start:
    """Start the cohort, with changed options."""

    def begun(changes: dict[str, Any] | None = None, **how: Any) -> CohortSummary:
        chosen = options.model_copy(update=changes or {})
        return analyze_cohort(slides, tmp_path / "out", chosen, CohortOptions(processes=2), run=RunContext(), **how)

    return begun


def test_only_failed_slides_are_repeated(start: Start, hired: list[str], tmp_path: Path) -> None:
    first = start()
    assert (first.done, first.failed, first.skipped) == (2, 1, 0)
    content = json.loads((tmp_path / "out" / "cohort.json").read_text())
    assert [(one["slide"], one["file"], one["state"]) for one in content["slides"]] == [
        ("a", "a.tif", "done"),
        ("b", "b.tif", "done"),
        ("c", "c.tif", "failed"),
    ]
    assert str(tmp_path) not in (tmp_path / "out" / "cohort.json").read_text()
    hired.clear()
    again = start()
    assert (again.done, again.failed, again.skipped) == (2, 1, 2)
    assert hired == ["c"]
    (tmp_path / "out" / "b" / "result.json").unlink()
    hired.clear()
    assert start().skipped == 1
    assert sorted(hired) == ["b", "c"]


@pytest.mark.parametrize("change", [{"weights": "w"}, {"predictions": "p"}])
def test_results_of_another_model_are_not_finished(
    start: Start, hired: list[str], models: list[ModelIdentity | None], tmp_path: Path, change: dict[str, str]
) -> None:
    start()
    path = tmp_path / "out" / "cohort.json"
    content = json.loads(path.read_text())
    for name in cohort.MODEL_HASHES:  # which earlier versions did not state of an encoder
        del content["settings"]["tiles"][name]
    path.write_text(json.dumps(content))
    hired.clear()
    assert models[0] is not None
    models[0] = replace(models[0], **change)
    assert start().skipped == 0
    assert sorted(hired) == ["a", "b", "c"]


def test_of_an_unidentified_model_the_manifest_states_what_is_done(
    start: Start, hired: list[str], models: list[ModelIdentity | None], tmp_path: Path
) -> None:
    """As of weights to download, which may not be available when the command is repeated."""
    models[0] = None
    model = {"model": "darkness"}
    assert start(model).skipped == 0
    hired.clear()
    assert start(model).skipped == 2
    assert hired == ["c"]
    content = json.loads((tmp_path / "out" / "cohort.json").read_text())
    assert [one["state"] for one in content["slides"]] == ["done", "done", "failed"]
    change_result(tmp_path / "out" / "a", model={"name": "another"})
    assert start(model).skipped == 1
    (tmp_path / "out" / "cohort.json").unlink()
    assert start(model).skipped == 0


def test_a_model_that_cannot_be_identified_has_the_name_of_its_bundle() -> None:
    settings = cohort.cohort_settings(SlideOptions(model=str(TILE_TEST)), None)
    assert settings["model"] == read_bundle(TILE_TEST).name
    assert cohort.cohort_settings(SlideOptions(model="virchow2"), None)["model"] == "virchow2"


@pytest.mark.parametrize("lacking", ["warnings", "tiles_failed", "scores"])
def test_a_result_that_lacks_values_is_not_finished(
    start: Start, hired: list[str], tmp_path: Path, lacking: str
) -> None:
    start()
    path = tmp_path / "out" / "a" / "result.json"
    content = json.loads(path.read_text())
    del content[lacking]
    path.write_text(json.dumps(content))
    hired.clear()
    assert start().skipped == 1
    assert sorted(hired) == ["a", "c"]


def test_a_slide_whose_scale_was_set_since_is_not_finished_and_tells_why(
    start: Start,
    hired: list[str],
    slides: list[Path],
    tmp_path: Path,
    tile_model: Callable[..., TileModel],
    options: SlideOptions,
) -> None:
    start()
    folder = tmp_path / "out" / "a"
    write_notes(folder, SlideNotes(pixel_size=PixelSize(0.55, 0.55, "ruler")))
    before = (folder / "result.json").read_bytes()
    hired.clear()
    assert start().skipped == 1
    assert sorted(hired) == ["a", "c"]
    with pytest.raises(ResultsMismatch, match=r"was set to 0\.55 .*since it was analyzed at 0\.5\. .*this slide alone"):
        analyze_slide(slides[0], folder, options, RunContext(), load=tile_model)
    assert (folder / "result.json").read_bytes() == before
    analyze_slide(slides[0], folder, options, RunContext(), load=tile_model, force=True)
    assert start().skipped == 2


def test_a_result_that_another_analysis_replaced_is_not_finished(
    start: Start, hired: list[str], tmp_path: Path
) -> None:
    start()
    change_result(tmp_path / "out" / "a", target="benign", options={"target": "benign"})
    hired.clear()
    assert start().skipped == 1
    assert sorted(hired) == ["a", "c"]


def test_the_table_states_the_results_of_skipped_slides(start: Start, hired: list[str], tmp_path: Path) -> None:
    start()
    save_lesions(tmp_path / "out" / "a", (), LesionConfig())
    start()
    rows = {row["slide"]: row for row in read_table(tmp_path / "out" / "slides.csv")}
    assert {name: row["lesions"] for name, row in rows.items()} == {"a": "0", "b": "1", "c": ""}
    assert (rows["a"]["lesion_area_mm2"], rows["c"]["lesion_area_mm2"]) == ("0", "")


def test_files_of_the_options_are_read_once(
    start: Start, hired: list[str], mask_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shutil.copy(mask_path, tmp_path / "tissue.png")
    start({"tissue_mask": path})
    reads = []
    read = results.read_mask
    monkeypatch.setattr(results, "read_mask", lambda path: reads.append(path) or read(path))
    options_of_slides._hash_file_option.cache_clear()
    monkeypatch.setattr("napari_melanoma.core.context.MAX_THREADS", 1)
    assert start({"tissue_mask": path}).skipped == 2
    assert len(reads) == 1


def test_patient_data_that_the_model_does_not_use_are_no_reason(start: Start, hired: list[str], tmp_path: Path) -> None:
    start()
    table = tmp_path / "patients.csv"
    table.write_text("slide,age\na,50\n")
    assert start({"metadata": table, "patient": {"sex": "female"}}).skipped == 2


def test_slides_of_other_starts_stay(start: Start, hired: list[str], slides: list[Path], tmp_path: Path) -> None:
    start()
    path = tmp_path / "out" / "cohort.json"
    path.write_text(path.read_text().replace('"failed"', '"running"'))  # as if it had been killed then
    slides[:] = [shutil.copy(slides[0], tmp_path / "d.tif")]
    assert start().done == 1
    found = CohortManifest.read(path)
    assert found is not None
    assert {name: entry.state for name, entry in found.entries.items()} == {
        "a": "done",
        "b": "done",
        "c": "waiting",
        "d": "done",
    }


def test_other_settings_are_rejected_with_the_differences(start: Start, hired: list[str], tmp_path: Path) -> None:
    start({"min_tissue": 0.2})
    hired.clear()
    message = r"cohort\.json was written with other settings: min_tissue was 0\.2, now 0\.3\. Use the"
    with pytest.raises(RunError, match=message):
        start({"min_tissue": 0.3})
    with pytest.raises(RunError, match=r"mpp was not given, now 0\.5"):
        start({"mpp": 0.5})
    assert hired == []
    assert start({"min_tissue": 0.3}, force=True).done == 2
    assert sorted(hired) == ["a", "b", "c"]


def test_how_it_is_computed_differs_as_it_likes(start: Start, hired: list[str]) -> None:
    start({"batch_size": 8, "precision": "fp32", "workers": 1})
    hired.clear()
    assert start({"batch_size": 16, "precision": "auto"}).skipped == 2


def test_changed_score_options_process_all_slides_again(start: Start, hired: list[str]) -> None:
    start()
    hired.clear()
    other = {"score": SlideScoreConfig(method="maximum")}
    assert start(other).skipped == 0
    assert sorted(hired) == ["a", "b", "c"]
    assert start(other).skipped == 2


def test_a_model_is_identified_without_loading_it(tmp_path: Path) -> None:
    bundle = shutil.copytree(TILE_TEST, tmp_path / "bundle")
    first = identify_model(str(bundle))
    assert first is not None
    assert first == load_slide_model(str(bundle), LoadOptions(device="cpu")).identity
    config = (bundle / "config.json").read_text()
    (bundle / "config.json").write_text(config.replace('"std": [\n  0.5', '"std": [\n  0.6'))
    second = identify_model(str(bundle))
    assert second is not None
    assert (second.weights == first.weights, second.digest == first.digest) == (True, False)
    weights = tmp_path / "w.bin"
    weights.write_bytes(b"1")
    found = identify_model("virchow2", weights)
    weights.write_bytes(b"2")
    assert found is not None
    assert identify_model("virchow2", weights) == replace(found, weights=hashlib.sha256(b"2").hexdigest())
    assert identify_model("virchow2") is None


def test_two_starts_in_one_folder_do_not_collide(start: Start, hired: list[str], tmp_path: Path) -> None:
    with (
        hold_lock(tmp_path / "out" / cohort.LOCK),
        pytest.raises(RunError, match=r"another process works in .*out"),
    ):
        start()
    assert hired == []
    assert start().done == 2


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"version": 2}', '{"version": 1, "settings": {}, "slides": []}'])
def test_a_file_that_is_no_manifest_is_refused(start: Start, hired: list[str], tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cohort.json").write_text(text)
    with pytest.raises(RunError, match="is not a valid cohort manifest"):
        start()
    assert (tmp_path / "out" / "cohort.json").read_text() == text
    assert start(force=True).done == 2


def test_a_manifest_with_a_state_that_is_none_is_refused(start: Start, hired: list[str], tmp_path: Path) -> None:
    start()
    path = tmp_path / "out" / "cohort.json"
    path.write_text(path.read_text().replace('"failed"', '"lost"'))
    with pytest.raises(RunError, match="state lost"):
        start()


@pytest.mark.parametrize(
    "text", ["slide;file;status\none;one.svs;done\n", 'slide,file\n"one'], ids=["semicolons", "cut off"]
)
def test_a_table_that_cannot_be_read_is_backed_up(tmp_path: Path, text: str) -> None:
    (tmp_path / "slides.csv").write_text(text)
    SlideTable(tmp_path / "slides.csv").put_row({"slide": "two", "file": "two.svs", "status": "done"})
    assert [row["slide"] for row in read_table(tmp_path / "slides.csv")] == ["two"]
    assert [path.read_text() for path in tmp_path.glob("slides-*.csv")] == [text]


def test_a_table_that_cannot_be_opened_is_not_replaced(tmp_path: Path) -> None:
    table = tmp_path / "slides.csv"
    table.mkdir()  # as good as a share that is not available
    with pytest.raises(InputError, match=r"slides\.csv"):
        SlideTable(table).put_row({"slide": "two", "file": "two.svs", "status": "done"})
    assert list(tmp_path.glob("slides*")) == [table]


def test_two_programs_keep_each_others_rows(tmp_path: Path) -> None:
    tables = [SlideTable(tmp_path / "slides.csv") for _ in range(2)]
    for number, name in enumerate("abcd"):
        tables[number % 2].put_row({"slide": name, "file": f"{name}.tif", "status": "done"})
    assert [row["slide"] for row in read_table(tmp_path / "slides.csv")] == list("abcd")


def test_slides_with_failed_tiles_are_repeated(start: Start, hired: list[str], tmp_path: Path) -> None:
    start()
    change_result(tmp_path / "out" / "a", tiles_failed=2)
    hired.clear()
    assert start().skipped == 1
    assert sorted(hired) == ["a", "c"]


def test_another_content_of_a_file_of_the_same_name_is_another_setting(
    start: Start, hired: list[str], mask_path: Path, tmp_path: Path
) -> None:
    path = shutil.copy(mask_path, tmp_path / "tissue.png")
    start({"tissue_mask": path})
    assert start({"tissue_mask": path}).skipped == 2
    mask = read_mask(path)
    mask[:, :64] = False
    write_mask(path, mask)
    assert start({"tissue_mask": path}).skipped == 0
