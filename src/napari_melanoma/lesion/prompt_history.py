"""The lesions of a photograph that are segmented by prompts: the prompts and pixels of each, and earlier states."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.imaging.masks import bounding_box, grow_box, label_components
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion.mask_record import PromptRecord

OTHER = 255  # the label of pixels of the mask that belong to no prompted lesion
MAX_LESIONS = OTHER - 1
MAX_STEPS = 50  # of a photograph
SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class PromptState:
    """The prompts of each lesion of a photograph, and its pixels.

    ``labels``: uint8 (row, column): 0, the number of the lesion from 1, or ``OTHER``; different lesions do not touch.
    ``current``: index of the lesion that was prompted last. ``proposed``: indices of lesions that the user has not
    prompted. ``locked``: bool (row, column), pixels that were changed by hand, which prompts do not change.
    """

    labels: NDArray[np.uint8]
    lesions: tuple[PromptOptions, ...] = ()
    current: int = -1
    proposed: frozenset[int] = frozenset()
    locked: NDArray[np.bool_] | None = None

    @property
    def prompted(self) -> list[PromptOptions]:
        """The prompts of the user, by lesion."""
        return _without_proposed(self.lesions, self.proposed)

    @classmethod
    def from_record(cls, record: PromptRecord, mask: NDArray[np.bool_]) -> PromptState:
        """Return the state of a mask, bool (row, column), without earlier states, such as a recovered one.

        Each part of the mask belongs to the lesion whose recorded pixel is in it, or to no prompted lesion.
        """
        parts, _ = label_components(mask)
        labels = np.where(mask, np.uint8(OTHER), np.uint8(0))
        for number, pixel in enumerate(record.pixels[: len(record.lesions)], start=1):
            if pixel is not None and mask[pixel[0] : pixel[0] + 1, pixel[1] : pixel[1] + 1].any():
                labels[parts == parts[pixel]] = number
        return cls(labels, record.lesions, len(record.lesions) - 1)

    def to_record(self, model: dict[str, Any], *, by_hand: bool) -> PromptRecord:
        """Describe how the mask was made; ``model``: the fields of the ``ModelStamp`` that answered the prompts."""
        from scipy.ndimage import find_objects

        given = [index for index, prompts in enumerate(self.lesions) if prompts != PromptOptions()]
        user = [index for index in given if index not in self.proposed]
        every = [*user, *(index for index in given if index in self.proposed)]
        places = find_objects(self.labels, MAX_LESIONS)
        return PromptRecord(
            model=model,
            lesions=tuple(self.lesions[index] for index in user),
            pixels=tuple(self._find_pixel(index, places[index]) for index in every),
            proposed=len(given) - len(user),
            by_hand=by_hand or (self.locked is not None and bool(self.locked.any())),
        )

    def _find_pixel(self, index: int, box: tuple[slice, slice] | None) -> tuple[int, int] | None:
        """Return a pixel of a lesion with its bounding box; None for a lesion without pixels."""
        if box is None:
            return None
        pixels = np.argwhere(self.labels[box] == index + 1)
        row, column = pixels[len(pixels) // 2]
        return int(row) + box[0].start, int(column) + box[1].start

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels of all lesions, bool (row, column)."""
        return self.labels > 0

    @property
    def own(self) -> NDArray[np.bool_]:
        """The pixels of the current lesion, bool (row, column)."""
        return self.labels == self.current + 1

    @property
    def others(self) -> NDArray[np.bool_]:
        """The pixels of all other lesions, bool (row, column)."""
        return self.mask & ~self.own

    def add_prompt(self, prompt: PromptOptions, *, is_new: bool = False) -> PromptState:
        """Add a prompt to the lesion that it refers to, which becomes the current one.

        With ``is_new``, the prompt begins another lesion. Otherwise, a click refers to the lesion at its position, or,
        outside all lesions, to the current one, or to the nearest one if none was prompted. A box refers to the lesion
        with the most pixels in it; an empty box begins another lesion. Raises InputError if there are too many lesions.
        """
        if self.locked is not None and prompt.box is None:
            return replace(self, locked=self._unlock(prompt))._add(prompt, is_new=is_new)
        return self._add(prompt, is_new=is_new)

    def _unlock(self, prompt: PromptOptions) -> NDArray[np.bool_]:
        """Return the locked pixels without the part that was clicked, which the prompt is to change."""
        assert self.locked is not None
        place = self._nearest_pixel(prompt)
        if not self.locked[place]:
            return self.locked
        parts, _ = label_components(self.locked)
        return self.locked & (parts != parts[place])

    def _nearest_pixel(self, prompt: PromptOptions) -> tuple[int, int]:
        """Return the pixel of a click, within the photograph."""
        row, column = (round(value) for value in (*prompt.include, *prompt.exclude)[0])
        rows, columns = self.labels.shape
        return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)

    def _add(self, prompt: PromptOptions, *, is_new: bool) -> PromptState:
        """Add a prompt to the lesion that it refers to."""
        if is_new:
            return self._begin(prompt)
        label, place = self._find(prompt)
        if label == OTHER:
            parts, _ = label_components(self.labels == OTHER)
            return self._begin(prompt, parts == parts[place])
        if label == 0:
            return self._begin(prompt)
        index = label - 1
        is_removed = index in self.proposed and self.labels[place] == label and bool(prompt.exclude)
        joined = PromptOptions() if is_removed else join_prompts(self.lesions[index], prompt)
        labels = np.where(self.labels == label, np.uint8(0), self.labels) if is_removed else self.labels
        lesions = (*self.lesions[:index], joined, *self.lesions[index + 1 :])
        return replace(self, labels=labels, lesions=lesions, current=index, proposed=self.proposed - {index})

    def set_mask(self, mask: NDArray[np.bool_]) -> PromptState:
        """Replace the pixels of the current lesion; other lesions, pixels beside them and locked pixels are kept."""
        others = self.others
        labels = np.where(others, self.labels, np.uint8(0))
        box = bounding_box(mask)
        if box is not None:
            near = grow_box(box, 1, (mask.shape[0], mask.shape[1])).slices
            labels[near][mask[near] & ~_with_border(others[near])] = self.current + 1
        if self.locked is not None:
            labels[self.locked] = self.labels[self.locked]
        return replace(self, labels=labels)

    def edit(self, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> PromptState:
        """Return the state after an edit of the mask by hand, each bool (row, column); edited pixels are locked.

        Each part of the mask belongs to the lesion that had most of its pixels before.
        """
        edited = before != after
        if not edited.any():
            return self
        parts, count = label_components(np.where(edited, after, self.mask))
        pairs = parts.ravel().astype(np.int64) * (OTHER + 1) + self.labels.ravel()
        votes = np.bincount(pairs, minlength=(count + 1) * (OTHER + 1)).reshape(count + 1, OTHER + 1)[:, 1:]
        owners = np.where(votes.any(1), votes.argmax(1) + 1, OTHER).astype(np.uint8)
        owners[0] = 0
        return replace(self, labels=owners[parts], locked=edited if self.locked is None else edited | self.locked)

    def propose(self, masks: Sequence[NDArray[np.bool_]], prompts: Sequence[PromptOptions]) -> PromptState:
        """Add proposed lesions, each bool (row, column) with its prompt, unless half of it is already in the mask.

        Raises InputError if there are too many lesions.
        """
        state = self
        for mask, prompt in zip(masks, prompts, strict=True):
            if 2 * (mask & state.mask).sum() < mask.sum():
                state = state._begin(prompt).set_mask(mask)
                state = replace(state, proposed=state.proposed | {state.current})
        return state

    def _begin(self, prompt: PromptOptions, own: NDArray[np.bool_] | None = None) -> PromptState:
        """Begin another lesion; ``own``: its pixels so far, bool (row, column)."""
        for index, prompts in enumerate(self.lesions):
            if prompts == PromptOptions() and not (self.labels == index + 1).any():  # it was removed
                return self._set(index, prompt, own)
        if len(self.lesions) == MAX_LESIONS:
            raise InputError(f"expected at most {MAX_LESIONS} lesions in a photograph, found more. Remove some first.")
        return replace(self, lesions=(*self.lesions, PromptOptions()))._set(len(self.lesions), prompt, own)

    def _set(self, index: int, prompt: PromptOptions, own: NDArray[np.bool_] | None) -> PromptState:
        """Set the prompt of a lesion without pixels, and its pixels; it becomes the current one."""
        labels = self.labels if own is None else np.where(own, np.uint8(index + 1), self.labels)
        lesions = (*self.lesions[:index], prompt, *self.lesions[index + 1 :])
        return replace(self, labels=labels, lesions=lesions, current=index)

    def _find(self, prompt: PromptOptions) -> tuple[int, tuple[int, int]]:
        """Find the label that a prompt refers to, 0 for none, and one of its pixels."""
        if prompt.box is not None:
            top, left, bottom, right = (max(0, round(value)) for value in prompt.box)
            inside = self.labels[top : bottom + 1, left : right + 1]
            label = int(np.bincount(inside.ravel(), minlength=OTHER + 1)[1:].argmax()) + 1
            places = np.argwhere(inside == label)
            if not len(places):
                return 0, (0, 0)
            row, column = places[len(places) // 2]
            return label, (int(row) + top, int(column) + left)
        place = self._nearest_pixel(prompt)
        if self.labels[place]:
            return int(self.labels[place]), place
        if self.current >= 0:
            return self.current + 1, place
        nearest = find_nearest_pixel(self.mask, place)
        return (0, place) if nearest is None else (int(self.labels[nearest]), nearest)


@dataclass(frozen=True)
class PromptStep:
    """A compressed state, and the digest of its mask.

    ``answer``: number of the model's answer from which it was made, 0 for none. ``chosen``: index of the hypothesis.
    """

    lesions: tuple[PromptOptions, ...]
    current: int
    proposed: frozenset[int]
    labels: bytes
    locked: bytes | None
    digest: str
    answer: int = 0
    chosen: int = 0

    @property
    def prompted(self) -> list[PromptOptions]:
        """The prompts of the user, by lesion."""
        return _without_proposed(self.lesions, self.proposed)

    @classmethod
    def of(cls, state: PromptState, answer: int = 0, chosen: int = 0) -> PromptStep:
        """Compress a state."""
        locked = None if state.locked is None else zlib.compress(state.locked.tobytes(), 1)
        digest = array_fingerprint(state.mask)
        labels = zlib.compress(state.labels.tobytes(), 1)
        return cls(state.lesions, state.current, state.proposed, labels, locked, digest, answer, chosen)

    def restore(self, shape: tuple[int, int]) -> PromptState:
        """Return the state of a photograph of (rows, columns)."""
        labels = np.frombuffer(zlib.decompress(self.labels), np.uint8).reshape(shape)
        locked = None
        if self.locked is not None:
            locked = np.frombuffer(zlib.decompress(self.locked), np.bool_).reshape(shape)
        return PromptState(labels, self.lesions, self.current, self.proposed, locked)


@dataclass
class PromptHistory:
    """The states after each prompt of a photograph, so that undo restores prompts together with the mask.

    ``current``: the state of the mask that was shown last, without edits by hand.
    """

    steps: list[PromptStep] = field(default_factory=list)
    current: PromptStep | None = None

    def follow(self, digest: str) -> PromptStep | None:
        """Make the state of the shown mask the current one, and return it; None and no change for an edited mask."""
        known = self.find(digest)
        self.current = known or self.current
        return known

    def state_of(self, mask: NDArray[np.bool_], predicted: NDArray[np.bool_] | None = None) -> PromptState:
        """Return the state that a mask belongs to; pixels that were edited since are locked.

        ``mask``: bool (row, column), the current mask. ``predicted``: the mask of the last analysis. If it is the
        current mask, the state has no prompts; otherwise, differences from it count as edited if there is no state yet.
        """
        shape = mask.shape[0], mask.shape[1]
        known = self.find(array_fingerprint(mask))
        if known is not None:
            return known.restore(shape)
        edited = None if predicted is None else mask != predicted
        if self.current is not None and (edited is None or edited.any()):
            last = self.current.restore(shape)
            return last.edit(last.mask, mask)
        locked = edited if edited is not None and edited.any() else None
        return PromptState(np.where(mask, np.uint8(OTHER), np.uint8(0)), locked=locked)

    def find(self, digest: str) -> PromptStep | None:
        """Return the latest state whose mask has a digest; None if there is none."""
        return next((step for step in reversed(self.steps) if step.digest == digest), None)

    def add(self, state: PromptState, answer: int = 0, chosen: int = 0) -> PromptStep:
        """Add a state, and return it compressed; the oldest states are dropped."""
        step = PromptStep.of(state, answer, chosen)
        self.steps.append(step)
        del self.steps[:-MAX_STEPS]
        return step


def _without_proposed(lesions: Sequence[PromptOptions], proposed: frozenset[int]) -> list[PromptOptions]:
    return [prompts for index, prompts in enumerate(lesions) if index not in proposed]


def strokes_beside(strokes: NDArray[np.uint8], others: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Remove the strokes that touch other lesions, as they were drawn for these.

    ``strokes``: uint8 (row, column), 0 where there is none. ``others``: bool (row, column).
    """
    parts, _ = label_components(strokes > 0)
    return np.where(np.isin(parts, np.unique(parts[others])), np.uint8(0), strokes)


def find_nearest_pixel(mask: NDArray[np.bool_], place: tuple[int, int]) -> tuple[int, int] | None:
    """Find the pixel of a mask, bool (row, column), that is nearest to another pixel; None if the mask is empty.

    Only the nearest pixel of each row on either side is compared, which takes little time in large photographs.
    """
    row, column = place
    before, after = mask[:, column::-1], mask[:, column:]
    steps = np.stack([-before.argmax(1), after.argmax(1)])
    distances = (np.arange(len(mask)) - row) ** 2 + steps**2
    distances[~np.stack([before.any(1), after.any(1)])] = np.iinfo(distances.dtype).max
    side, nearest = (int(index) for index in np.unravel_index(distances.argmin(), distances.shape))
    found = nearest, column + int(steps[side, nearest])
    return found if mask[found] else None


def join_prompts(first: PromptOptions, more: PromptOptions) -> PromptOptions:
    """Add prompts to others; a new box replaces the previous one."""
    return PromptOptions(
        include=(*first.include, *more.include), exclude=(*first.exclude, *more.exclude), box=more.box or first.box
    )


def _with_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with the pixels around it, diagonal ones included; bool (row, column)."""
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, SQUARE) if mask.any() else mask
