"""Readings of depth on the disk: kept without loss, gathered over readers' folders, and compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from finding_files import write_depth
from slide_models import install_slide_models

from napari_melanoma.core import files
from napari_melanoma.core.errors import InputError, SaveError
from napari_melanoma.core.files import file_stamp, write_json
from napari_melanoma.core.validity import Validity, ValidityReason
from napari_melanoma.depth.findings import FINDINGS_FILE, SlideFindings, read_findings
from napari_melanoma.depth.readings import DepthReading, SlideDepthReadings, set_values
from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.slides import synoptic_files
from napari_melanoma.slides.depth_readings import (
    UNNAMED_READER,
    collect_readings,
    compare_readers,
    depth_analysis_folder,
    list_comparable_readers,
    list_depth_models,
    list_readers,
    read_known_depth,
    read_proposals,
    readings_rows,
    write_readings,
)
from napari_melanoma.slides.synoptic_files import store_findings

WHEN = "2026-01-02T10:00:00+00:00"
DEPTHS = {"one": (0.5, 0.6, 0.55), "two": (1.3, 1.2, 1.4), "three": (2.6, 2.9, 2.7), "four": (4.4, 4.3, 4.2)}


def reading(name: str, mm: float | None, **values: object) -> DepthReading:
    return DepthReading(reader=name, when=WHEN, mm=mm, **values)


def candidates(*depths: float) -> dict[str, object]:
    line = {"surface": [10.0, 10.0], "deepest": [90.0, 10.0]}
    return {"depth": {"candidates": [{**line, "mm": mm, "interval_mm": [mm - 0.1, mm + 0.1]} for mm in depths]}}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Four slides: both readers measured all, and an analysis too."""
    for name, (first, second, model) in DEPTHS.items():
        folder = tmp_path / "results" / name
        both = (reading("A", first, ulcerated=True), reading("B", second, ulcerated=first > 1))
        write_depth(folder, SlideDepthReadings(fingerprint=name, readings=both))
        (folder / "result.json").write_text(json.dumps(candidates(model)))
    return tmp_path / "results"


def test_changes_of_another_window_are_backed_up_and_reported(tmp_path: Path) -> None:
    slide = tmp_path / "slide.tif"
    slide.write_bytes(b"x")
    folder = tmp_path / "results" / "slide"
    first, notes = store_findings(folder, slide, SlideFindings(readings=(reading("A", 1.0),)), SlideFindings(), None)
    assert notes == ()
    stamp = file_stamp(folder / FINDINGS_FILE)
    assert read_findings(folder).fingerprint
    write_depth(folder, SlideDepthReadings(readings=(reading("A", 9.0), reading("B", 2.0), reading("C", 3.0))))
    changed = first.model_copy(update={"readings": (reading("A", 1.5),)})
    _, notes = store_findings(folder, slide, changed, first, stamp)
    assert "That of B, C is kept" in notes[0]
    assert "changed by another program" in notes[1]
    (aside,) = folder.glob("findings-*.json")
    assert [one["mm"] for one in json.loads(aside.read_text())["readings"]] == [9.0, 2.0, 3.0]
    assert [one.mm for one in read_findings(folder).readings] == [1.5, 2.0, 3.0]


def test_a_change_that_cannot_be_saved_leaves_what_another_window_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide, folder = tmp_path / "slide.tif", tmp_path / "results"
    slide.write_bytes(b"slide")
    write_depth(folder, SlideDepthReadings(readings=(reading("A", 1.0),)))
    base = read_findings(folder)
    write_depth(folder, SlideDepthReadings(readings=(reading("A", 9.0),)))
    changed = base.model_copy(update={"readings": (reading("A", 1.5),)})

    def fail(*_: object) -> None:
        raise SaveError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(synoptic_files, "write_findings", fail)
        for _ in range(2):
            with pytest.raises(SaveError):
                store_findings(folder, slide, changed, base, (1, 1))
            assert read_findings(folder).reading_by("A").mm == 9.0
    store_findings(folder, slide, changed, base, (1, 1))
    (backup,) = folder.glob("findings-*.json")
    assert [one["mm"] for one in json.loads(backup.read_text())["readings"]] == [9.0]
    assert read_findings(folder).reading_by("A").mm == 1.5


def test_all_backups_made_within_a_second_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.time, "strftime", lambda form: "20260102-100000")
    path = tmp_path / "depth.json"
    for text in ("first", "second", "third"):
        path.write_text(text)
        files.back_up_if_changed(path, None)
    found = {one.name: one.read_text() for one in tmp_path.iterdir()}
    same = "depth-20260102-100000"
    backups = {f"{same}.json": "first", f"{same}-2.json": "second", f"{same}-3.json": "third"}
    assert found == {**backups, "depth.json": "third"}


def test_the_slides_own_analysis_counts_before_the_one_for_the_depth(tmp_path: Path) -> None:
    adjacent = depth_analysis_folder(tmp_path / "section", tmp_path / "section.tif")
    assert adjacent == tmp_path / "section" / "depth" / "section"
    adjacent.mkdir(parents=True)
    (adjacent / "result.json").write_text(json.dumps(candidates(1.5, 0.7)))
    own = tmp_path / "section" / "result.json"
    own.write_text(json.dumps({"depth": {"candidates": [], "notes": ["this model does not draw the epidermis"]}}))
    assert [one.mm for one in read_proposals(tmp_path / "section").proposals] == [1.5, 0.7]
    own.write_text(json.dumps(candidates(2.5)))
    assert [one.mm for one in read_proposals(tmp_path / "section").proposals] == [2.5]
    (adjacent / "result.json").unlink()
    own.write_text(json.dumps({"depth": {"notes": ["no epidermis"]}}))
    assert read_proposals(tmp_path / "section").notes == ("no epidermis",)


def test_a_depth_is_as_valid_as_the_analysis_that_measured_it(tmp_path: Path) -> None:
    folder = depth_analysis_folder(tmp_path / "section", tmp_path / "section.tif")
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({**candidates(1.5), "validity": {"valid": True}}))
    assert not read_known_depth(tmp_path / "section").not_valid
    reason = {"code": "demonstration", "severity": "invalid", "text": "a demonstration"}
    other = {"validity": {"valid": False, "reasons": [reason]}}
    (tmp_path / "section" / "result.json").write_text(json.dumps(other))  # of another model, without a depth
    depth = read_known_depth(tmp_path / "section")
    assert (depth.mm, depth.source, depth.not_valid) == (1.5, "automatic", "")
    (folder / "result.json").write_text(json.dumps({**candidates(1.5), **other}))
    assert read_known_depth(tmp_path / "section").not_valid


def test_the_analysis_may_be_in_the_folder_of_either_reader(tmp_path: Path) -> None:
    for reader in ("A", "B"):
        depth = SlideDepthReadings(fingerprint="f", readings=(reading(reader, 1.0),))
        write_depth(tmp_path / reader / "section", depth)
    (tmp_path / "B" / "section" / "result.json").write_text(json.dumps(candidates(2.5)))
    for order in ("AB", "BA"):
        (slide,) = collect_readings([tmp_path / name for name in order]).slides
        assert [one.mm for one in slide.automatic.proposals] == [2.5]


@pytest.mark.usefixtures("user_folders")
def test_models_that_draw_epidermis_and_tumor_can_measure() -> None:
    install_slide_models()
    assert list_depth_models() == ("skin-test",)
    assert list_depth_models(demonstrations=False) == ()


def test_findings_of_the_model_in_earlier_readings_are_no_agreement_of_readers(tmp_path: Path) -> None:
    predicted = {"ulcerated": True, "authors": {"ulcerated": "model"}}
    for number in range(3):
        both = (reading("A", 1.2 + number, **predicted), reading("B", 1.3 + number, **predicted))
        write_depth(tmp_path / str(number), SlideDepthReadings(fingerprint=str(number), readings=both))
    assert compare_readers(collect_readings([tmp_path]), ["A", "B"]).same_ulceration == (0, 0)
    rows = readings_rows(collect_readings([tmp_path]))
    assert {(row["depth_by"], row["ulceration_by"], row["clark_by"]) for row in rows} == {("reader", "model", "")}


def test_two_readers_are_compared_and_written(results: Path, tmp_path: Path) -> None:
    gathered = collect_readings([results])
    assert list_readers(gathered) == ("A", "B")
    agreement = compare_readers(gathered, ["A", "B"])
    assert (agreement.slides, agreement.same_category, agreement.same_ulceration) == (4, 3, (3, 4))
    assert agreement.bland_altman is not None
    assert agreement.bland_altman.bias.mean == pytest.approx(0.05)
    written = write_readings(gathered, agreement, tmp_path / "out")
    assert [path.name for path in written] == ["readings.csv", "agreement.json", "bland_altman.png"]
    lines = (tmp_path / "out" / "readings.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 * 3
    assert lines[1].startswith("four,A,4.4,,,false,T4b,true")
    reported = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert reported["icc_2_1"]["mean"] > 0.98
    assert reported["bias_mm"]["low"] < reported["bias_mm"]["mean"] < reported["bias_mm"]["high"]


def test_findings_in_a_report_of_an_earlier_version_are_collected_but_no_exports(results: Path) -> None:
    report = SynopticReport().set_answer("breslow", SynopticAnswer(value=1.5), "C", WHEN)
    for folder in (results / "old", results / "one" / "export"):
        write_json(folder / "synoptic.json", report.model_dump(mode="json"))
    write_json(results / "old" / "slide.json", {"fingerprint": "old"})
    found = {slide.name: [*slide.readings] for slide in collect_readings([results]).slides}
    assert found == {"four": ["A", "B"], "old": ["C"], "one": ["A", "B"], "three": ["A", "B"], "two": ["A", "B"]}


def test_readings_of_zero_thickness_are_compared_and_written_without_a_category(tmp_path: Path) -> None:
    for name, depths in {"in situ": (0.0, 0.0), "thin": (0.0, 0.3), "thick": (2.6, 2.7)}.items():
        both = tuple(reading(who, mm) for who, mm in zip("AB", depths, strict=True))
        write_depth(tmp_path / "results" / name, SlideDepthReadings(fingerprint=name, readings=both))
    collected = collect_readings([tmp_path / "results"])
    assert compare_readers(collected, ["A", "B"]).same_category == 2
    assert [row["t_category"] for row in readings_rows(collected)] == [None, None, "T3", "T3", None, "T1"]


def test_a_reader_is_compared_with_the_analysis(results: Path) -> None:
    agreement = compare_readers(collect_readings([results]), ["A", "model"])
    assert agreement.bland_altman is not None
    assert agreement.bland_altman.bias.mean == pytest.approx(0.0125)


def test_agreement_states_that_predictions_are_not_valid(results: Path) -> None:
    collected = collect_readings([results])
    invalid = Validity(reasons=(ValidityReason(code="synthetic", text="trained on synthetic slides"),))
    first, *others = collected.slides
    changed = replace(first, automatic=first.automatic.model_copy(update={"validity": invalid}))
    notes = compare_readers(replace(collected, slides=(changed, *others)), ["A", "model"]).notes
    assert f"on 1 slide: {invalid.headline('')}" in notes


def test_agreement_reports_readers_who_accepted_the_same_line(results: Path) -> None:
    for name in ("one", "two"):
        both = tuple(reading(who, 1.0, method="automatic") for who in ("A", "B"))
        write_depth(results / name, SlideDepthReadings(readings=both))
    agreement = compare_readers(collect_readings([results]), ["A", "B"])
    assert agreement.notes == ("on 2 slides both readers accepted the predicted line, which increases agreement",)


def test_readers_with_folders_of_their_own_come_together(tmp_path: Path) -> None:
    for who, mm in (("A", 1.0), ("", 2.0)):
        write_depth(
            tmp_path / f"reader-{who}" / "section", SlideDepthReadings(fingerprint="x", readings=(reading(who, mm),))
        )
    late = DepthReading(reader="A", when="2027-01-01T00:00:00+00:00", mm=1.5)
    write_depth(
        tmp_path / "again" / "renamed",
        SlideDepthReadings(fingerprint="x", readings=(late, DepthReading(reader="undone"))),
    )
    gathered = collect_readings([tmp_path / "reader-A", tmp_path / "reader-", tmp_path / "again"])
    assert len(gathered.slides) == 1
    assert {name: one.mm for name, one in gathered.slides[0].readings.items()} == {"A": 1.5, "": 2.0}
    assert list_readers(gathered) == (UNNAMED_READER, "A")
    assert "several readings" in gathered.notes[0]
    assert gathered.notes[0].startswith("section: ")
    write_depth(tmp_path / "other" / "section", SlideDepthReadings(fingerprint="y", readings=(reading("A", 3.0),)))
    (tmp_path / "third" / "section").mkdir(parents=True)
    (tmp_path / "third" / "section" / FINDINGS_FILE).write_text("{", encoding="utf-8")
    mixed = collect_readings([tmp_path])
    assert [slide.name for slide in mixed.slides] == ["other/section", "renamed"]
    assert [name for name, _ in mixed.failed] == ["third/section"]
    few = compare_readers(gathered, ["A", UNNAMED_READER])
    assert (few.slides, few.bland_altman) == (1, None)


def test_readers_without_a_name_are_neither_joined_nor_compared(tmp_path: Path) -> None:
    for number, mm in enumerate((1.0, 2.0)):
        depth = set_values(SlideDepthReadings(fingerprint="x"), "", f"{WHEN[:9]}{number + 1}{WHEN[10:]}", mm=mm)
        write_depth(tmp_path / str(number) / "section", depth)
    gathered = collect_readings([tmp_path])
    assert {name: one.mm for name, one in gathered.slides[0].readings.items()} == {"": 1.0, "(no name) 2": 2.0}
    assert list_comparable_readers(gathered) == ()
    assert gathered.notes == ("section: several readings have no name, and may be of several readers",)
    with pytest.raises(InputError, match="several readers have no name"):
        compare_readers(gathered, list_readers(gathered))


def test_only_slides_with_several_readings_without_a_name_are_left_out(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        both = (reading("", 1.0), reading("B", 1.2))
        write_depth(tmp_path / name, SlideDepthReadings(fingerprint=name, readings=both))
    write_depth(tmp_path / "again" / "one", SlideDepthReadings(fingerprint="one", readings=(reading("", 2.0),)))
    gathered = collect_readings([tmp_path])
    assert list_comparable_readers(gathered) == ("(no name)", "B")
    agreement = compare_readers(gathered, ["(no name)", "B"])
    assert agreement.slides == 2
    assert "1 slide left out, on which several readings have no name" in agreement.notes


def test_a_reader_is_the_same_on_all_slides_in_any_spelling(tmp_path: Path) -> None:
    for slide, name in (("one", "Anna"), ("two", "anna "), ("three", "ANNA")):
        both = (reading(name, 1.0), reading("B", 1.2))
        write_depth(tmp_path / slide, SlideDepthReadings(fingerprint=slide, readings=both))
    gathered = collect_readings([tmp_path])
    assert list_readers(gathered) == ("ANNA", "B")
    assert compare_readers(gathered, ["ANNA", "B"]).slides == 3


def test_slides_that_may_differ_are_combined_by_the_name_of_their_folder_with_a_note_only(tmp_path: Path) -> None:
    for who, mm in (("A", 1.0), ("B", 2.0)):
        write_depth(tmp_path / who / "section", SlideDepthReadings(readings=(reading(who, mm),)))
    collected = collect_readings([tmp_path])
    assert len(collected.slides) == 1
    (note,) = collected.notes
    assert f"the readings in {tmp_path / 'A' / 'section'} and {tmp_path / 'B' / 'section'} are combined" in note
    # The record of a folder, or the result of an analysis, states which slide the readings are of.
    write_json(tmp_path / "A" / "section" / "slide.json", {"fingerprint": "x"})
    write_json(tmp_path / "B" / "section" / "result.json", {"fingerprint": "y"})
    collected = collect_readings([tmp_path])
    assert ([slide.name for slide in collected.slides], collected.notes) == (["A/section", "B/section"], ())


def test_an_impossible_comparison_is_rejected(results: Path, tmp_path: Path) -> None:
    gathered = collect_readings([results])
    for readers in (["A"], ["A", "A"], ["A", "B", "C"]):
        with pytest.raises(InputError, match=r"requires two readers\. Select two of A, B, model with"):
            compare_readers(gathered, readers)
    with pytest.raises(InputError, match="'C' has no measurement"):
        compare_readers(gathered, ["A", "C"])
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"no findings\.json in"):
        collect_readings([tmp_path / "nothing"])
    with pytest.raises(InputError, match="is not a folder"):
        collect_readings([tmp_path / "gone"])
