"""The manifest: finished slides are skipped, other settings are refused, and the folder is locked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slide_models import TILE_TEST

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.io.results import read_table, write_mask
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides import cohort
from napari_melanoma.slides.cohort import (
    CohortJobResult,
    CohortManifest,
    CohortOptions,
    CohortSummary,
    analyze_cohort,
    cohort_settings,
)
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.slide_table import SlideTable

Start = Callable[..., CohortSummary]
pytestmark = pytest.mark.usefixtures("user_folders", "stage")


@pytest.fixture
def slides(tmp_path: Path) -> list[Path]:
    """Files that are never opened."""
    paths = [tmp_path / f"{name}.tif" for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@pytest.fixture
def hired(monkeypatch: pytest.MonkeyPatch, make_client: Callable[..., Any]) -> list[str]:
    """Let workers write a result of every slide but c; returns the slides that were submitted."""
    given: list[str] = []

    def script(job: Any) -> CohortJobResult:
        given.append(job.folder.name)
        if job.folder.name == "c":
            return CohortJobResult(error="it is truncated")
        record_slide(job.folder, job.slide)
        (job.folder / "result.json").write_text("{}")
        return CohortJobResult(row={"slide": job.folder.name, "file": job.slide.name, "status": "done"})

    @contextmanager
    def started(processes: int, tries: int) -> Iterator[Any]:
        yield make_client(processes, script)

    monkeypatch.setattr(cohort, "start_cluster", started)
    return given


@pytest.fixture
def start(slides: list[Path], tmp_path: Path) -> Start:
    """Start the cohort."""

    def begun(options: SlideOptions | None = None, **how: Any) -> CohortSummary:
        chosen = options or SlideOptions()
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


def test_other_patient_data_are_used(start: Start, hired: list[str], tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("slide,age\na,50\n")
    start(SlideOptions(metadata=table))
    assert start(SlideOptions(metadata=table)).skipped == 2
    table.write_text("slide,age\na,60\n")
    assert start(SlideOptions(metadata=table)).skipped == 0
    assert start(SlideOptions(metadata=table, patient={"sex": "female"})).skipped == 0
    assert sorted(hired[-3:]) == ["a", "b", "c"]


def test_slides_of_other_starts_stay(start: Start, hired: list[str], slides: list[Path], tmp_path: Path) -> None:
    start()
    path = tmp_path / "out" / "cohort.json"
    path.write_text(path.read_text().replace('"failed"', '"running"'))  # as if it had been killed then
    (tmp_path / "d.tif").touch()
    slides[:] = [tmp_path / "d.tif"]
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
    start(SlideOptions(min_tissue=0.1))
    hired.clear()
    message = r"cohort\.json was written with other settings: min_tissue was 0\.1, now 0\.3\. Use the"
    with pytest.raises(RunError, match=message):
        start(SlideOptions(min_tissue=0.3))
    with pytest.raises(RunError, match=r"mpp was not given, now 0\.5"):
        start(SlideOptions(mpp=0.5))
    assert hired == []
    assert start(SlideOptions(min_tissue=0.3), force=True).done == 2
    assert sorted(hired) == ["a", "b", "c"]


def test_how_it_is_computed_differs_as_it_likes(start: Start, hired: list[str]) -> None:
    start(SlideOptions(batch_size=8, precision="fp32", workers=1))
    hired.clear()
    assert start(SlideOptions(batch_size=16)).skipped == 2


def test_changed_score_options_process_all_slides_again(start: Start, hired: list[str]) -> None:
    start()
    hired.clear()
    other = SlideOptions.parse({"score": {"method": "maximum"}}, "a test")
    assert start(other).skipped == 0
    assert sorted(hired) == ["a", "b", "c"]
    assert start(other).skipped == 2


def test_another_model_of_the_same_name_is_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    options = SlideOptions(model=str(TILE_TEST))
    before = cohort_settings(options)
    assert before.tiles["model"] == "tile-test"
    monkeypatch.setattr(BundleInfo, "fingerprint", "f" * 64)
    assert cohort_settings(options).tiles["model_weights"] == "f" * 16 != before.tiles["model_weights"]
    assert cohort_settings(SlideOptions(model="virchow2", weights=Path("x/w.bin"))).tiles["weights"] == "w.bin"


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
    (tmp_path / "out" / "a" / "result.json").write_text('{"tiles_failed": 2}')
    hired.clear()
    assert start().skipped == 1
    assert sorted(hired) == ["a", "c"]


def test_another_content_of_a_file_of_the_same_name_is_another_setting(tmp_path: Path) -> None:
    path, settings = tmp_path / "tissue.png", []
    for filled in (2, 3):
        write_mask(path, np.arange(16).reshape(4, 4) < filled)
        settings.append(cohort_settings(SlideOptions(tissue_mask=path)))
    assert settings[0].tiles == settings[1].tiles
    assert settings[0].results != settings[1].results
