"""What the lists of images show, without widgets: states, filters, order, counts and buttons."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QObject

from napari_melanoma.data.diagnosis_labels import DiagnosisLabel
from napari_melanoma.io.discovery import natural_key
from napari_melanoma.lesion.uncertainty_ratings import Rating
from napari_melanoma.slides.slide_table import WorkItem
from napari_melanoma.ui.library.listing import create_image, name_distinctly
from napari_melanoma.ui.library.model import LibraryModel
from napari_melanoma.ui.library.resolve import (
    INFORMATIVE,
    ImageState,
    LibraryImage,
    Query,
    ReviewRecords,
    arrange,
    count_states,
    describe_outcome,
    find_next_to_do,
    resolve_primary,
    resolve_state,
    resolve_tray_buttons,
)
from napari_melanoma.ui.widgets.thumbnails import Thumbnail, ThumbnailLoader


def image(name: str, modified: float = 1.0, **values: Any) -> LibraryImage:
    key = (natural_key(Path(name)), name)
    return LibraryImage(Path(name), name, name.endswith(".svs"), modified, name_key=key, **values)


def item(state: Any, description: str = "") -> WorkItem:
    return WorkItem(Path("s.svs"), state, description or state)


SLIDE, PHOTOGRAPH = image("s.svs"), image("p.png")


def case(state: str) -> LibraryImage:
    return image("p.png", state=state)


STATES = {
    "a slide before it is read": (SLIDE, None, ("", "", "")),
    "without results": (SLIDE, item("waiting"), ("not analyzed",) * 3),
    "running": (SLIDE, item("running", "running 50 %"), ("running", "running 50 %", "running 50 %")),
    "paused": (SLIDE, item("running", "paused 25 %"), ("running", "paused 25 %", "paused 25 %")),
    "stopped": (SLIDE, item("stopped", "stopped 25 %"), ("stopped", "stopped 25 %", "stopped 25 %")),
    "done": (SLIDE, item("done", "done with tiny"), ("done", "done", "done with tiny")),
    "failed": (SLIDE, item("failed", "failed: disk"), ("failed", "failed", "failed: disk")),
    "signed": (SLIDE, item("signed", "signed by B"), ("signed", "signed", "signed by B")),
    "a photograph of a folder": (PHOTOGRAPH, None, ("", "photograph", "")),
    "a new photograph of a case": (case("not analyzed"), None, ("not analyzed",) * 3),
    "analyzed in a case": (case("analyzed"), None, ("done", "analyzed", "analyzed")),
    "corrected in a case": (case("corrected"), None, ("done", "corrected", "corrected")),
}


@pytest.mark.parametrize(("shown", "work", "expected"), STATES.values(), ids=STATES)
def test_state_of_an_image(shown: LibraryImage, work: WorkItem | None, expected: tuple[str, ...]) -> None:
    assert resolve_state(shown, work)[:3] == expected


def records(**scores: float | None) -> tuple[ReviewRecords, list[LibraryImage]]:
    """Photographs with scores; None if a photograph is not rated."""
    made, images = ReviewRecords(), [image(name) for name in scores]
    made.set_images(images)
    for name, score in scores.items():
        if score is not None:
            made.set_rating(Path(name), Rating(score, "entropy", score < 1, f"digest of {name}", "model", "weights"))
    return made, images


def reviewed(**reviews: str) -> dict[str, dict[str, str]]:
    """Rows of the corrections, by the digest of the photograph."""
    return {f"digest of {name}": {"review": review, "source": name} for name, review in reviews.items()}


def test_state_and_uncertainty_of_photographs_under_review() -> None:
    made, images = records(a=0.1, b=0.3, c=1.0, d=None, e=None, f=0.2)
    made.set_error(Path("e"), "e is damaged.")
    made.set_rows(reviewed(a="accepted", b="rejected", f="unknown word"), "Ana")
    assert [made.find_state(one)[:3] for one in images] == [
        ("accepted", "certain 0.10", "certain 0.10"),
        ("rejected", "uncertain 0.30", "uncertain 0.30"),
        ("to do", "no lesion found", "no lesion found"),
        ("to do", "not rated yet", "not rated yet"),
        ("unreadable", "unreadable", "e is damaged."),
        ("to do", "fairly certain 0.20", "fairly certain 0.20"),
    ]
    assert [made.find_state(one).score for one in images] == [0.1, 0.3, 1.0, None, None, 0.2]
    assert made.list_unrated(images) == [images[3]]
    assert count_states(made.counts, "to do") == "3 to do, 1 accepted, 1 rejected, 1 unreadable"

    # A file that can be read later, as on a drive that was not connected, is no longer unreadable.
    made.set_digest(Path("e"), "digest of b")
    assert made.find_state(images[4]).state == "rejected"
    assert count_states(made.counts) == "3 to do, 1 accepted, 2 rejected"


def test_photographs_labeled_by_the_reader_are_not_to_do() -> None:
    made, images = records(a=0.1, b=0.3, c=0.2, d=0.4)
    own, other = (DiagnosisLabel("nevus", reader).make_cells({}) for reader in ("Ana", "Ben"))
    made.set_rows({"digest of a": own, "digest of b": own | {"review": "accepted"}, "digest of c": other}, "Ana")
    made.set_order(map(Path, "dcab"))
    assert [made.find_state(one).state for one in images] == ["labeled", "accepted", "to do", "to do"]
    assert [made.find_state(one).mark for one in images] == ["● nevus", "✓ nevus", "● labeled by Ben", ""]
    assert [made.find_state(one).symbol for one in images] == ["●", "✓", "●", ""]
    assert count_states(made.counts, "to do") == "2 to do, 1 labeled, 1 accepted"
    assert [one.name for one in arrange(images, Query(kind="all", sort=INFORMATIVE), made.find_state)] == list("dcab")


def test_labels_are_those_of_the_corrections_and_their_reader() -> None:
    made, images = records(a=0.1, b=None)
    made.set_rows({"digest of a": DiagnosisLabel("nevus", "Ana").make_cells({})}, "Ana")
    assert (made.find_state(images[0]).mark, made.find_own(Path("a"))) == ("● nevus", "nevus")
    made.set_rows({"digest of a": DiagnosisLabel("melanoma", "Ana").make_cells({})}, "Ana")
    assert made.find_state(images[0]).mark == "● melanoma"
    made.set_rows({"digest of a": DiagnosisLabel("melanoma", "Ana").make_cells({})}, "Ben")
    assert made.find_state(images[0])[:5:4] == ("to do", "labeled by Ana")
    made.set_rows({"digest of a": {"diagnosis_labels": "[broken"}}, "Ana")
    assert made.find_state(images[0]).state == "labeled"  # kept as they are
    # A photograph that is not rated is in the corrections if a row names its file, and has its pixels
    made.set_rows({"digest of b": reviewed(b="accepted")["digest of b"]}, "Ana")
    assert made.list_unidentified() == [Path("b")]
    made.set_digest(Path("b"), "digest of b")
    assert (made.list_unidentified(), made.find_state(images[1]).state) == ([], "accepted")


def test_a_photograph_that_has_changed_on_disk_is_reviewed_again() -> None:
    made, images = records(a=0.1, b=0.3)
    made.set_error(Path("b"), "b is damaged.")
    made.set_rows(reviewed(a="accepted", b="rejected"), "Ana")
    made.set_images(images)
    assert [made.find_state(one)[:2] for one in images] == [
        ("accepted", "not rated yet"),
        ("rejected", "not rated yet"),
    ]
    changed = [images[0], image("b", modified=2.0)]
    made.set_images(changed)
    assert [made.find_state(one).state for one in changed] == ["accepted", "to do"]
    assert count_states(made.counts) == "1 to do, 1 accepted"


NAMES = {"s10.svs": "done", "s2.svs": "running", "mole.png": "", "torn.svs": "not analyzed"}
IMAGES = [image(name, modified=number) for number, name in enumerate(NAMES)]


def find_state(one: LibraryImage) -> ImageState:
    return ImageState(NAMES[one.name])


ORDERS = {
    "by name, numbers as numbers": (Query(), ["mole.png", "s2.svs", "s10.svs", "torn.svs"]),
    "part of the name in any case": (Query("S1"), ["s10.svs"]),
    "slides": (Query(kind="slides"), ["s2.svs", "s10.svs", "torn.svs"]),
    "photographs": (Query(kind="photographs"), ["mole.png"]),
    "a state": (Query(kind="done"), ["s10.svs"]),
    "a state without images": (Query(kind="signed"), []),
    "the latest first": (Query(sort="date"), ["torn.svs", "mole.png", "s2.svs", "s10.svs"]),
    "running slides first": (Query(sort="status"), ["s2.svs", "torn.svs", "s10.svs", "mole.png"]),
}


@pytest.mark.parametrize(("query", "expected"), ORDERS.values(), ids=ORDERS)
def test_filter_and_order(query: Query, expected: list[str]) -> None:
    assert [one.name for one in arrange(IMAGES, query, find_state)] == expected
    assert query.needs_states == (query.kind in ("done", "signed") or query.sort == "status")


def test_uncertain_photographs_come_before_unrated_and_unreadable_ones() -> None:
    made, images = records(broken=0.9, unrated=None, certain=0.0, alike=0.0, uncertain=1.0)
    made.set_error(Path("broken"), "damaged")
    rows = arrange(images, Query(kind="all", sort="uncertainty"), made.find_state)
    assert [one.name for one in rows] == ["uncertain", "alike", "certain", "unrated", "broken"]


A, B, C, D = map(image, "abcd")


@pytest.mark.parametrize(("row", "expected"), [(0, "b"), (1, "b"), (2, "d"), (4, "b"), (-1, "b")])
def test_next_unreviewed_photograph_wraps_around(row: int, expected: str) -> None:
    made, _ = records(a=0.5, c=0.5)
    made.set_rows(reviewed(a="accepted", c="rejected"), "Ana")
    assert find_next_to_do([A, B, C, D], row, made.find_state) == image(expected)
    assert find_next_to_do([A, C], row, made.find_state) is None


def test_counts_are_empty_until_all_states_are_known() -> None:
    states = ["done", "not analyzed", "done"]
    assert count_states(Counter(states)) == "1 not analyzed, 2 done"
    assert count_states(Counter([*states, ""])) == ""
    assert count_states(Counter(), "to do") == "0 to do"
    assert count_states(Counter()) == ""


@pytest.mark.parametrize(
    ("selected", "enabled", "text"),
    [
        ([], [], "Open"),
        ([PHOTOGRAPH], ["open"], "Open"),
        ([SLIDE], ["open", "side_by_side", "label"], "Open"),
        ([SLIDE, PHOTOGRAPH], ["open"], "Open 2"),
    ],
    ids=["nothing", "photograph", "slide", "several"],
)
def test_buttons_of_the_tray(selected: list[LibraryImage], enabled: list[str], text: str) -> None:
    buttons = resolve_tray_buttons(selected, "Return", "Shift+Return")
    assert [name for name, button in buttons.items() if not button.reason] == enabled
    assert buttons["open"].text == text


PRIMARY = {  # why accepting is blocked (None: none is under review), unrated, rating, no rows; action, why disabled
    "nothing is under review": (None, 0, False, False, ("next", "")),
    "nothing is listed": (None, 0, False, True, ("next", "No photograph is listed.")),
    "rating was stopped": (None, 3, False, False, ("rate", "")),
    "rating runs": (None, 3, True, False, ("next", "")),
    "under review": ("", 3, False, False, ("accept", "")),
    "under review without a mask": ("No mask", 0, False, False, ("accept", "No mask")),
}


@pytest.mark.parametrize(("blocker", "unrated", "is_rating", "is_empty", "expected"), PRIMARY.values(), ids=PRIMARY)
def test_primary_button_of_a_review(
    blocker: str | None, unrated: int, is_rating: bool, is_empty: bool, expected: tuple[str, str]
) -> None:
    assert resolve_primary(blocker, unrated, is_rating=is_rating, is_empty=is_empty) == expected


def test_the_outcome_states_which_model_is_selected_now() -> None:
    summary = {"bundle": "x", "advice": "activate", "reason": "Better."}
    assert describe_outcome(summary, "small-adapted", is_used=True).text == "In use as small-adapted"
    former = describe_outcome(summary, "small-adapted", is_used=False)
    assert former.text == "Installed as small-adapted; another model is selected in the Lesion dock"
    assert (former.parts, former.detail) == (("Better",), "")


def test_images_of_the_same_name_are_listed_with_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "p1" / "1.jpg", tmp_path / "p2" / "1.jpg", tmp_path / "p2" / "2.jpg"]
    images = name_distinctly(create_image(path, is_slide=False) for path in paths)
    assert [image.name for image in images] == ["p1/1.jpg", "p2/1.jpg", "2.jpg"]
    assert [image.path for image in images] == paths


def test_the_thumbnail_of_a_replaced_file_is_read_again(qapp):
    parent, path = QObject(), Path("a.jpg")
    loader = ThumbnailLoader(8, parent)
    loader.put({path: Thumbnail(None, "old")})
    model = LibraryModel(loader, parent)
    for modified in (1.0, 1.0):
        model.images = [LibraryImage(path, "a", False, modified, 5)]
        assert loader.peek(path) is not None
    model.images = []
    model.images = [LibraryImage(path, "a", False, 2.0, 5)]
    assert loader.peek(path) is None
