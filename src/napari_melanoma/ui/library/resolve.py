"""What a list of slides and photographs shows: states, order and texts, as functions of values, without Qt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.headline import Headline
from napari_melanoma.data.diagnosis_labels import PhotographLabels

if TYPE_CHECKING:
    from napari_melanoma.lesion.uncertainty_ratings import Rating
    from napari_melanoma.runs.labeling import LabelingState
    from napari_melanoma.slides.slide_table import WorkItem

NOT_ANALYZED, TO_DO, LABELED, UNREADABLE = "not analyzed", "to do", "labeled", "unreadable"
SHIPPED = "Shipped"  # starts the text on the prediction of the shipped model
REVIEWED = ("accepted", "corrected", "rejected")
MARKS = {"▶": ["running"], "■": ["stopped"], "○": [NOT_ANALYZED], "!": [UNREADABLE]}
MARKS |= {"●": [LABELED], "✓": ["done", "accepted"], "✕": ["failed", "rejected"], "✎": ["signed", "corrected"]}
STATE_MARKS = {state: mark for mark, states in MARKS.items() for state in states}
STATE_ORDER = (
    *("running", "failed", "stopped", NOT_ANALYZED, TO_DO, LABELED),
    *("done", *REVIEWED, UNREADABLE, "signed", ""),
)
ALL, SLIDES, PHOTOGRAPHS, UNCERTAINTY = "all", "slides", "photographs", "uncertainty"
INFORMATIVE = "informative"  # for diagnoses: what to label next
KEPT = "Keep the shipped model; nothing was written"
FILTERS = (ALL, SLIDES, PHOTOGRAPHS, "running", "failed", "stopped", NOT_ANALYZED, "done", "signed")
SORT_KEYS = ("name", "status", "date")
REVIEW_FILTERS = (TO_DO, ALL, LABELED, *REVIEWED, UNREADABLE)
REVIEW_SORT_KEYS = (UNCERTAINTY, INFORMATIVE, "name", "date")
# Upper limits of the score, and the words up to them
CERTAINTY_WORDS = ((0.15, "certain"), (0.25, "fairly certain"), (0.4, "uncertain"), (2.0, "very uncertain"))


@dataclass(frozen=True)
class LibraryImage:
    """A slide or a photograph.

    ``modified``, ``size``: modification time of the file in seconds and its bytes, 0 if the file is missing.
    ``name_key``: key to sort by name.
    For an image of a case, ``state`` is ``not analyzed``, ``analyzed`` or ``corrected``, and ``case_id`` its id in the
    case; both are empty otherwise.
    """

    path: Path
    name: str
    is_slide: bool
    modified: float = 0.0
    size: int = 0
    state: str = ""
    case_id: str = ""
    name_key: tuple[Any, ...] = field(default=(), compare=False, repr=False)


class ImageState(NamedTuple):
    """The state of an image.

    ``state``: one of ``STATE_ORDER``; empty if unknown. ``text``: short description. ``details``: long description,
    such as the reason for a failure. ``score``: uncertainty of the model, from 0 to 1; None if it is not rated.
    ``label``: diagnosis of a photograph in words; empty without one. ``rank``: position in the order to label.
    """

    state: str = ""
    text: str = ""
    details: str = ""
    score: float | None = None
    label: str = ""
    rank: float = float("inf")

    @property
    def symbol(self) -> str:
        """The symbol of the state, or of a diagnosis."""
        return STATE_MARKS.get(self.state, STATE_MARKS[LABELED] if self.label else "")

    @property
    def mark(self) -> str:
        """The diagnosis, else the state, with its symbol; empty for states without a symbol."""
        if self.label:
            return f"{self.symbol} {self.label}"
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
    """What a list of photographs shows: their ratings, and their reviews and diagnoses in the corrections.

    ``errors``: why files cannot be read. ``counts``: the number of listed photographs in each state, kept up to date,
    since there may be thousands.
    """

    def __init__(self) -> None:
        self.errors: dict[Path, str] = {}
        self.counts: Counter[str] = Counter()
        self._rows: Mapping[str, Mapping[str, str]] = {}  # of the corrections, by the digest of the pixels
        self._labels: dict[str, PhotographLabels] = {}  # by that digest
        self._sources: set[str] = set()  # names of the files of the rows
        self._reader = ""
        self._ranks: Mapping[Path, int] = {}  # positions in the order to label
        self._ratings: dict[Path, Rating] = {}
        self._digests: dict[Path, str] = {}
        self._versions: dict[Path, tuple[float, int]] = {}  # of the listed photographs: time and size
        self._states: dict[Path, str] = {}  # of the listed photographs

    def set_images(self, images: Iterable[LibraryImage]) -> None:
        """List photographs; ratings, errors, and the digests of files that have changed since are cleared."""
        versions = {image.path: (image.modified, image.size) for image in images}
        unchanged = {path for path, version in self._versions.items() if versions.get(path) == version}
        self._digests = {path: digest for path, digest in self._digests.items() if path in unchanged}
        self._versions = versions
        self.errors.clear()
        self._ratings.clear()
        self._count_all()

    def set_rows(self, rows: Mapping[str, Mapping[str, str]], reader: str) -> None:
        """Set the rows of the corrections by the digest of the photograph's pixels, and who labels photographs."""
        known = {digest: labels for digest, labels in self._labels.items() if self._rows[digest] == rows.get(digest)}
        self._labels = {digest: known.get(digest) or PhotographLabels.of(row) for digest, row in rows.items()}
        self._sources = {row.get("source", "") for row in rows.values()}
        self._rows, self._reader = rows, reader
        self._count_all()

    def set_order(self, order: Iterable[Path]) -> None:
        """Set the order to label."""
        self._ranks = {path: rank for rank, path in enumerate(order)}

    def set_rating(self, path: Path, rating: Rating) -> None:
        """Set the rating of a photograph."""
        self._ratings[path] = rating
        self.set_digest(path, rating.image_sha256)

    def set_digest(self, path: Path, digest: str) -> None:
        """Set the digest of a photograph's pixels, which is known once the file was read."""
        self._digests[path] = digest
        self.errors.pop(path, None)
        self._count(path)

    def find_digest(self, path: Path) -> str:
        """Return the digest of a photograph's pixels; empty if it is unknown."""
        return self._digests.get(path, "")

    def find_labels(self, path: Path | None) -> PhotographLabels:
        """Return the diagnoses of a photograph; none if its digest is unknown."""
        return self._labels.get("" if path is None else self.find_digest(path), PhotographLabels())

    def find_own(self, path: Path | None) -> str:
        """Return the diagnosis of a photograph by the reader; empty if there is none."""
        return self.find_labels(path).find_own(self._reader)

    def set_error(self, path: Path, reason: str) -> None:
        """Set why a file cannot be read."""
        self.errors[path] = reason
        self._count(path)

    def list_unrated(self, images: Iterable[LibraryImage]) -> list[LibraryImage]:
        """Return the photographs without a rating, except unreadable files."""
        return [image for image in images if image.path not in self._ratings and image.path not in self.errors]

    def list_unidentified(self) -> list[Path]:
        """Return the photographs of unknown digest that may be in the corrections, by the name of the file."""
        unknown = (path for path in self._versions if path not in self._digests and path not in self.errors)
        return [path for path in unknown if path.name in self._sources]

    def find_state(self, image: LibraryImage) -> ImageState:
        """Return whether a photograph is reviewed, and its uncertainty in words and as a number."""
        path = image.path
        if path in self.errors:
            return ImageState(UNREADABLE, UNREADABLE, self.errors[path])
        state, rating = self._find_review(path), self._ratings.get(path)
        label, rank = self.find_labels(path).describe(self._reader), self._ranks.get(path, float("inf"))
        if rating is None:
            return ImageState(state, "not rated yet", "not rated yet", None, label, rank)
        words = next(words for limit, words in CERTAINTY_WORDS if rating.score < limit)
        text = f"{words} {rating.score:.2f}" if rating.lesion_found else "no lesion found"
        return ImageState(state, text, text, rating.score, label, rank)

    def _find_review(self, path: Path) -> str:
        if path in self.errors:
            return UNREADABLE
        review = self._rows.get(self.find_digest(path), {}).get("review", "")
        if review in REVIEWED:
            return review
        return LABELED if self.find_labels(path).is_closed(self._reader) else TO_DO

    def _count(self, path: Path) -> None:
        if path in self._states:
            self.counts[self._states[path]] -= 1
            self._states[path] = self._find_review(path)
            self.counts[self._states[path]] += 1

    def _count_all(self) -> None:
        self._states = {path: self._find_review(path) for path in self._versions}
        self.counts = Counter(self._states.values())


def arrange(images: Iterable[LibraryImage], query: Query, find_state: StateFinder) -> list[LibraryImage]:
    """Filter and sort images."""
    return sorted((one for one in images if _matches(one, query, find_state)), key=_sort_key(query, find_state))


def _matches(image: LibraryImage, query: Query, find_state: StateFinder) -> bool:
    if query.text.casefold() not in image.name.casefold():
        return False
    if query.kind in (SLIDES, PHOTOGRAPHS):
        return image.is_slide == (query.kind == SLIDES)
    return query.kind == ALL or find_state(image).state == query.kind


def _sort_key(query: Query, find_state: StateFinder) -> Callable[[LibraryImage], tuple[Any, ...]]:
    """Return the key to sort images by; it differs for different images."""
    if query.sort == UNCERTAINTY:
        return lambda image: (*_uncertainty_key(find_state(image)), image.name_key)
    if query.sort == INFORMATIVE:
        return lambda image: (find_state(image).rank, image.name_key)
    if query.sort == "date":
        return lambda image: (-image.modified, image.name_key)
    if query.sort == "status":
        return lambda image: (STATE_ORDER.index(find_state(image).state), image.name_key)
    return lambda image: (image.name_key,)


def _uncertainty_key(state: ImageState) -> tuple[bool, float]:
    return state.state == UNREADABLE, 1.0 if state.score is None else -state.score


def find_next_to_do(rows: Sequence[LibraryImage], row: int, find_state: StateFinder) -> LibraryImage | None:
    """Return the first unreviewed photograph at or below a row, else the first of all; None if there is none."""
    start = row if 0 <= row < len(rows) else 0
    ordered = [*rows[start:], *rows[:start]]
    return next((image for image in ordered if find_state(image).state == TO_DO), None)


def count_states(counts: Counter[str], always: str | None = None) -> str:
    """Describe the number of images in each state, such as ``2 not analyzed, 1 done``; empty if a state is unknown.

    ``always``: a state that is named even if there is no such image.
    """
    names = [state for state in STATE_ORDER if counts[state] or state == always]
    return "" if counts[""] else ", ".join(f"{counts[state]:,} {state}" for state in names)


def describe_image(image: LibraryImage, state: ImageState, fault: str, problem: str) -> list[str]:
    """Return the type of an image, its state, and a problem of its file, as lines."""
    kind = "slide" if image.is_slide else "photograph"
    date = f"{datetime.fromtimestamp(image.modified):%Y-%m-%d}" if image.modified else "file not found"
    reviewed = state.state if state.state not in state.details else ""
    lines = (f"{kind}, {date}", state.details, reviewed, state.label, fault and f"{fault.capitalize()}: {problem}")
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
    opening = f"Open in the viewer ({open_key} or double click)"
    second_view = f"Show the slide in a second view ({second_key})"
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


def resolve_primary(
    blocker: str | None, unrated: int, *, is_rating: bool, is_empty: bool
) -> tuple[Literal["accept", "rate", "next"], str]:
    """Return what the primary button of a review does, and why it is disabled.

    ``blocker``: why the photograph under review cannot be accepted; None if none is under review. ``unrated``: number
    of photographs without a rating. ``is_empty``: no photograph is listed.
    """
    if blocker is not None:
        return "accept", blocker
    if unrated and not is_rating:
        return "rate", ""
    return "next", "No photograph is listed." if is_empty else ""


def describe_live(state: LabelingState, path: Path) -> str:
    """Return the predictions of a photograph: of the model, and of the fit so far."""
    lines = {SHIPPED: state.shipped.get(path), "Yours so far": state.adapted.get(path)}
    return "\n".join(f"{name}: {_describe_classes(values, state.positive)}" for name, values in lines.items() if values)


def _describe_classes(values: Mapping[str, float], positive: str) -> str:
    top = max(values, key=lambda name: values[name])
    likely = "" if top == positive else f" ({top} {values[top]:.2f})"
    return f"{positive} {values.get(positive, math.nan):.2f}{likely}"


def describe_outcome(summary: Mapping[str, Any], name: str | None, *, is_used: bool) -> Headline:
    """Describe the decision; ``detail``: the figures of both models side by side.

    ``name``: of the installed model. ``is_used``: whether it is the one that is selected now.
    """
    figures = ", ".join(
        f"{words} {shipped['mean']:.2f} → {adapted['mean']:.2f}"
        for metric, words in {"AUC": "AUC", "ECE": "calibration error", "specificity": "specificity"}.items()
        if (shipped := summary.get("shipped", {}).get(metric)) and (adapted := summary.get("adapted", {}).get(metric))
    )
    decision = "The shipped model stays in use" if summary.get("bundle") else KEPT
    if name and is_used:
        decision = f"In use as {name}"
    elif name:
        decision = f"Installed as {name}; another model is selected in the Lesion dock"
    return Headline(decision, (str(summary["reason"]).rstrip("."),), detail=figures and f"{figures}.")
