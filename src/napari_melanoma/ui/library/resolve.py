"""What a list of slides and photographs shows: states, order and texts, as functions of values, without Qt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_melanoma.core.formatting import format_count

if TYPE_CHECKING:
    from napari_melanoma.lesion.uncertainty_ratings import CachedRating
    from napari_melanoma.slides.slide_table import WorkItem

NOT_ANALYZED, TO_DO, UNREADABLE = "not analyzed", "to do", "unreadable"
REVIEWED = ("accepted", "corrected", "rejected")
MARKS = {"▶": ["running"], "■": ["stopped"], "○": [NOT_ANALYZED], "!": [UNREADABLE]}
MARKS |= {"✓": ["done", "accepted"], "✕": ["failed", "rejected"], "✎": ["signed", "corrected"]}
STATE_MARKS = {state: mark for mark, states in MARKS.items() for state in states}
STATE_ORDER = ("running", "failed", "stopped", NOT_ANALYZED, TO_DO, "done", *REVIEWED, UNREADABLE, "signed", "")
ALL, SLIDES, PHOTOGRAPHS, UNCERTAINTY = "all", "slides", "photographs", "uncertainty"
FILTERS = (ALL, SLIDES, PHOTOGRAPHS, "running", "failed", "stopped", NOT_ANALYZED, "done", "signed")
SORT_KEYS = ("name", "status", "date")
REVIEW_FILTERS = (TO_DO, ALL, *REVIEWED, UNREADABLE)
REVIEW_SORT_KEYS = (UNCERTAINTY, "name", "date")
CERTAINTY_WORDS: dict[str, tuple[tuple[float, str], ...]] = {  # by method: upper limit of the score, words
    "entropy": ((0.15, "certain"), (0.25, "fairly certain"), (0.4, "uncertain"), (2.0, "very uncertain")),
    "disagreement": ((0.05, "certain"), (0.12, "fairly certain"), (0.25, "uncertain"), (2.0, "very uncertain")),
}


@dataclass(frozen=True)
class LibraryImage:
    """A slide or a photograph.

    ``modified``: modification time of the file in seconds, 0 if the file is missing. ``name_key``: key to sort by name.
    For an image of a case, ``state`` is ``not analyzed``, ``analyzed`` or ``corrected``, and ``case_id`` its id in the
    case; both are empty otherwise.
    """

    path: Path
    name: str
    is_slide: bool
    modified: float = 0.0
    state: str = ""
    case_id: str = ""
    name_key: tuple[Any, ...] = field(default=(), compare=False, repr=False)


class ImageState(NamedTuple):
    """The state of an image.

    ``state``: one of ``STATE_ORDER``; empty if unknown. ``text``: short description. ``details``: long description,
    such as the reason for a failure. ``score``: uncertainty of the model, from 0 to 1; None if it is not rated.
    """

    state: str = ""
    text: str = ""
    details: str = ""
    score: float | None = None

    @property
    def mark(self) -> str:
        """The state with its symbol; empty for states without a symbol."""
        return f"{STATE_MARKS[self.state]} {self.state}" if self.state in STATE_MARKS else ""


StateFinder = Callable[[LibraryImage], ImageState]


class Query(NamedTuple):
    """Which images are listed, and in which order.

    ``text``: part of the name. ``kind``: all, slides, photographs, or a state. ``sort``: name, status, date (the latest
    first) or uncertainty (the most uncertain first, unreadable files last).
    """

    text: str = ""
    kind: str = ALL
    sort: str = "name"

    @property
    def needs_states(self) -> bool:
        """Whether the rows depend on the states of all images."""
        return self.sort == "status" or self.kind in STATE_ORDER


def resolve_state(image: LibraryImage, item: WorkItem | None) -> ImageState:
    """Return the state of an image; ``item``: the analysis of a slide, None until it is read.

    The state is empty for a slide until it is read, and for photographs that do not belong to a case.
    """
    if not image.is_slide:
        state = "done" if image.state in ("analyzed", "corrected") else image.state
        return ImageState(state, image.state or "photograph", image.state)
    if item is None:
        return ImageState()
    if item.state == "waiting":
        return ImageState(NOT_ANALYZED, NOT_ANALYZED, NOT_ANALYZED)
    shows_progress = item.state in ("running", "stopped")
    return ImageState(item.state, item.description if shows_progress else item.state, item.description)


class ReviewRecords:
    """Ratings and reviews of photographs.

    ``method``: uncertainty measure of the ratings. ``reviews``: by the digest of the pixels, by which the corrections
    identify a photograph. ``errors``: why files cannot be read.
    """

    def __init__(self) -> None:
        self.method = "entropy"
        self.reviews: Mapping[str, str] = {}
        self.errors: dict[Path, str] = {}
        self._ratings: dict[Path, CachedRating] = {}
        self._digests: dict[Path, str] = {}

    def set_rating(self, path: Path, rating: CachedRating) -> None:
        """Set the rating of a photograph."""
        self._ratings[path] = rating
        self.set_digest(path, rating.image_sha256)

    def set_digest(self, path: Path, digest: str) -> None:
        """Set the digest of a photograph's pixels, which is known once the file was read."""
        self._digests[path] = digest
        self.errors.pop(path, None)

    def clear_ratings(self) -> None:
        """Clear all ratings, after a change of model or uncertainty measure."""
        self._ratings.clear()

    def list_unrated(self, images: Iterable[LibraryImage]) -> list[Path]:
        """Return the photographs without a rating, except unreadable files."""
        return [image.path for image in images if image.path not in self._ratings and image.path not in self.errors]

    def find_state(self, image: LibraryImage) -> ImageState:
        """Return whether a photograph is reviewed, and its uncertainty in words and as a number."""
        path = image.path
        if path in self.errors:
            return ImageState(UNREADABLE, UNREADABLE, self.errors[path])
        review = self.reviews.get(self._digests.get(path, ""), "")
        state, rating = review if review in REVIEWED else TO_DO, self._ratings.get(path)
        if rating is None:
            return ImageState(state, "not rated yet", "not rated yet")
        words = next(words for limit, words in CERTAINTY_WORDS[self.method] if rating.score < limit)
        text = f"{words} {rating.score:.2f}" if rating.lesion_found else "no lesion found"
        return ImageState(state, text, text, rating.score)


def arrange(images: Iterable[LibraryImage], query: Query, find_state: StateFinder) -> list[LibraryImage]:
    """Filter and sort images."""
    text = query.text.casefold()
    rows = [image for image in images if text in image.name.casefold()]
    if query.kind in (SLIDES, PHOTOGRAPHS):
        rows = [image for image in rows if image.is_slide == (query.kind == SLIDES)]
    elif query.kind != ALL:
        rows = [image for image in rows if find_state(image).state == query.kind]
    if query.sort == UNCERTAINTY:
        return sorted(rows, key=lambda image: _uncertainty_key(find_state(image)))
    rows.sort(key=lambda image: image.name_key)
    if query.sort == "date":
        rows.sort(key=lambda image: -image.modified)
    elif query.sort == "status":
        rows.sort(key=lambda image: STATE_ORDER.index(find_state(image).state))
    return rows


def _uncertainty_key(state: ImageState) -> tuple[bool, float]:
    return state.state == UNREADABLE, 1.0 if state.score is None else -state.score


def pin(rows: list[LibraryImage], image: LibraryImage | None, row: int) -> list[LibraryImage]:
    """Return the rows with an image in the row where it was before, if it is still listed."""
    others = [other for other in rows if other != image]
    if image is None or len(others) == len(rows):
        return rows
    return [*others[:row], image, *others[row:]]


def find_next_to_do(rows: Sequence[LibraryImage], row: int, find_state: StateFinder) -> LibraryImage | None:
    """Return the first unreviewed photograph at or below a row, else the first of all; None if there is none."""
    start = row if 0 <= row < len(rows) else 0
    ordered = [*rows[start:], *rows[:start]]
    return next((image for image in ordered if find_state(image).state == TO_DO), None)


def count_states(states: Iterable[ImageState], always: str | None = None) -> str:
    """Return the number of images in each state, such as ``2 not analyzed, 1 done``; empty if a state is unknown.

    ``always``: a state that is counted even if there is no such image.
    """
    counts = Counter(state.state for state in states)
    names = [state for state in STATE_ORDER if counts[state] or state == always]
    return "" if counts[""] else ", ".join(f"{counts[state]:,} {state}" for state in names)


def describe_image(image: LibraryImage, state: ImageState, fault: str, problem: str) -> list[str]:
    """Return the type of an image, its state, and a problem of its file, as lines."""
    kind = "slide" if image.is_slide else "photograph"
    date = f"{datetime.fromtimestamp(image.modified):%Y-%m-%d}" if image.modified else "file not found"
    reviewed = state.state if state.state not in state.details else ""
    lines = (f"{kind}, {date}", state.details, reviewed, fault and f"{fault.capitalize()}: {problem}")
    return [line for line in lines if line]


def describe_selection(chosen: Sequence[Path], noun: str = "file") -> str:
    """Describe chosen folders and files, such as ``clinic`` or ``3 files in clinic``; empty if there are none."""
    if len(chosen) <= 1:
        return "".join(path.name or str(path) for path in chosen)
    folders = sum(path.is_dir() for path in chosen)
    counts = ((folders, "folder"), (len(chosen) - folders, noun))
    text = " and ".join(format_count(count, noun) for count, noun in counts if count)
    return f"{text} in {chosen[0].parent.name}" if len({path.parent for path in chosen}) == 1 else text


class Button(NamedTuple):
    """What a button shows: its tooltip, why it is disabled (empty if it is enabled), and its text if that changes."""

    tip: str
    reason: str = ""
    text: str = ""


def resolve_tray_buttons(selected: Sequence[LibraryImage], open_key: str, second_key: str) -> dict[str, Button]:
    """Return the buttons of the Tray for the selected images; the keys are named in the tooltips."""
    count = len(selected)
    no_slide = "" if count == 1 and selected[0].is_slide else "Select one slide"
    no_image = "" if count else "Select a slide or photograph"
    opening = f"Open in the viewer ({open_key}, double click, or drag to the image)"
    second_view = f"Show the slide in a second view ({second_key}, or drag it there)"
    return {
        "open": Button(opening, no_image, "Open" if count < 2 else f"Open {count:,}"),
        "side_by_side": Button(second_view, no_slide),
        "label": Button("Show the label in the file, which may identify the patient; it is not stored", no_slide),
    }


def resolve_rate_button(unrated: int, is_rating: bool) -> Button:
    """Return the button that rates photographs. ``unrated``: number of photographs without a rating."""
    reason = "Photographs are being rated." if is_rating else "" if unrated else "All photographs are rated."
    tip = "Compute the uncertainty of the prediction for each photograph"
    return Button(tip, reason, f"Rate {format_count(unrated, 'photograph')}")
