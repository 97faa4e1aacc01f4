"""Segmentation of several lesions by prompts: the prompts and pixels of each lesion, compressed for undo."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.imaging.masks import bounding_box, grow_box, label_components
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.lesion.mask_record import PromptRecord

OTHER = 255  # the label of pixels of the mask that belong to no prompted lesion
MAX_LESIONS = OTHER - 1
NEIGHBORHOOD = np.ones((3, 3), bool)


@dataclass(frozen=True, eq=False)
class PromptState:
    """The prompts and the pixels of each lesion of a photograph.

    ``labels``: uint8 (row, column): 0 outside the mask, the index of the lesion plus 1, or ``OTHER``; different lesions
    do not touch. ``lesions``: the prompts of each lesion; empty for a removed one. ``current``: index of the lesion
    that was prompted last, -1 for none. ``proposed``: indices of lesions that the model proposed and the user has not
    prompted. ``locked``: bool (row, column), pixels that were changed by hand, which prompts do not change.
    """

    labels: NDArray[np.uint8]
    lesions: tuple[PromptOptions, ...] = ()
    current: int = -1
    proposed: frozenset[int] = frozenset()
    locked: NDArray[np.bool_] | None = None

    @property
    def prompted(self) -> list[PromptOptions]:
        """The user's prompts for each lesion, without proposed lesions."""
        return _without_proposed(self.lesions, self.proposed)

    @classmethod
    def from_record(cls, record: PromptRecord, mask: NDArray[np.bool_]) -> PromptState:
        """Restore the state of a mask, bool (row, column), from its record, such as that of a recovered result.

        Each part of the mask is assigned to the lesion whose recorded pixel is in it, otherwise to no prompted lesion.
        A proposed lesion gets a click at its pixel.
        """
        parts, _ = label_components(mask)
        labels = np.where(mask, np.uint8(OTHER), np.uint8(0))
        count = len(record.lesions)
        lesions = [*record.lesions, *(PromptOptions(include=(pixel,)) for pixel in record.pixels[count:] if pixel)]
        pixels = [*record.pixels[:count], *filter(None, record.pixels[count:])]
        for number, pixel in enumerate(pixels[:MAX_LESIONS], start=1):
            if pixel is not None and mask[pixel[0] : pixel[0] + 1, pixel[1] : pixel[1] + 1].any():
                labels[parts == parts[pixel]] = number
        return cls(labels, tuple(lesions[:MAX_LESIONS]), count - 1, frozenset(range(count, len(lesions))))

    def to_record(self, model: dict[str, Any], *, by_hand: bool) -> PromptRecord:
        """Describe how the mask was made; ``model``: the fields of the prompted model's ``ModelStamp``."""
        from scipy.ndimage import find_objects

        remaining = [index for index, prompts in enumerate(self.lesions) if prompts != PromptOptions()]
        prompted = [index for index in remaining if index not in self.proposed]
        proposed = [index for index in remaining if index in self.proposed]
        boxes = find_objects(self.labels, MAX_LESIONS)
        return PromptRecord(
            model=model,
            lesions=tuple(self.lesions[index] for index in prompted),
            pixels=tuple(self._find_pixel(index, boxes[index]) for index in (*prompted, *proposed)),
            proposed=len(proposed),
            by_hand=by_hand or (self.locked is not None and bool(self.locked.any())),
        )

    def _find_pixel(self, index: int, box: tuple[slice, slice] | None) -> tuple[int, int] | None:
        """Return a pixel (row, column) of a lesion; ``box``: its bounding box, None for a lesion without pixels."""
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
    def current_pixels(self) -> NDArray[np.bool_]:
        """The pixels of the current lesion, bool (row, column)."""
        return self.labels == self.current + 1

    @property
    def other_pixels(self) -> NDArray[np.bool_]:
        """The pixels of all other lesions, bool (row, column)."""
        return self.mask & ~self.current_pixels

    def add_prompt(self, prompt: PromptOptions, *, is_new: bool = False) -> PromptState:
        """Add a prompt to the lesion that it refers to, which becomes the current one.

        With ``is_new``, the prompt begins another lesion. Otherwise, a click refers to the lesion at its position. A
        click outside all lesions refers to the current one, or to the nearest one if none was prompted. A box refers to
        the lesion with the most pixels in it; a box without lesions begins another one. A click to exclude pixels of a
        proposed lesion removes the whole lesion. Raises InputError if there are too many lesions.
        """
        if self.locked is not None and prompt.box is None:
            return replace(self, locked=self._unlock(prompt))._add(prompt, is_new=is_new)
        return self._add(prompt, is_new=is_new)

    def _unlock(self, prompt: PromptOptions) -> NDArray[np.bool_]:
        """Return the locked pixels without the connected part that was clicked, so that the click can change it."""
        assert self.locked is not None
        pixel = self._nearest_pixel(prompt)
        if not self.locked[pixel]:
            return self.locked
        parts, _ = label_components(self.locked)
        return self.locked & (parts != parts[pixel])

    def _nearest_pixel(self, prompt: PromptOptions) -> tuple[int, int]:
        """Return the pixel (row, column) of the photograph that is nearest to a click."""
        row, column = (round(value) for value in (*prompt.include, *prompt.exclude)[0])
        rows, columns = self.labels.shape
        return min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)

    def _add(self, prompt: PromptOptions, *, is_new: bool) -> PromptState:
        """Add a prompt, after the pixels that it may change were unlocked."""
        if is_new:
            return self._begin(prompt)
        label, pixel = self._find_label(prompt)
        if label == OTHER:
            parts, _ = label_components(self.labels == OTHER)
            return self._begin(prompt, parts == parts[pixel])
        if label == 0:
            return self._begin(prompt)
        index = label - 1
        is_removed = index in self.proposed and self.labels[pixel] == label and bool(prompt.exclude)
        joined = PromptOptions() if is_removed else join_prompts(self.lesions[index], prompt)
        labels = np.where(self.labels == label, np.uint8(0), self.labels) if is_removed else self.labels
        lesions = (*self.lesions[:index], joined, *self.lesions[index + 1 :])
        return replace(self, labels=labels, lesions=lesions, current=index, proposed=self.proposed - {index})

    def set_mask(self, mask: NDArray[np.bool_]) -> PromptState:
        """Replace the pixels of the current lesion.

        ``mask``: bool (row, column). Pixels of other lesions, pixels beside them and locked pixels stay unchanged.
        """
        others = self.other_pixels
        labels = np.where(others, self.labels, np.uint8(0))
        box = bounding_box(mask)
        if box is not None:
            near = grow_box(box, 1, (mask.shape[0], mask.shape[1])).slices
            labels[near][mask[near] & ~_with_border(others[near])] = self.current + 1
        if self.locked is not None:
            labels[self.locked] = self.labels[self.locked]
        return replace(self, labels=labels)

    def edit(self, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> PromptState:
        """Apply an edit of the mask by hand, and lock the edited pixels.

        ``before``, ``after``: the mask, bool (row, column). Each connected part of the new mask is assigned to the
        lesion that had most of its pixels before.
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
        """Add lesions that the model proposes, except those of which at least half is already in the mask.

        ``masks``: the lesions, bool (row, column). ``prompts``: a click in each of them. Raises InputError if there are
        too many lesions.
        """
        state = self
        for mask, prompt in zip(masks, prompts, strict=True):
            if 2 * (mask & state.mask).sum() < mask.sum():
                state = state._begin(prompt).set_mask(mask)
                state = replace(state, proposed=state.proposed | {state.current})
        return state

    def _begin(self, prompt: PromptOptions, pixels: NDArray[np.bool_] | None = None) -> PromptState:
        """Begin another lesion, which becomes the current one.

        ``pixels``: bool (row, column), the part of the mask that belongs to it; by default none.
        """
        for index, prompts in enumerate(self.lesions):
            if prompts == PromptOptions() and not (self.labels == index + 1).any():  # it was removed
                return self._begin_at(index, prompt, pixels)
        if len(self.lesions) == MAX_LESIONS:
            raise InputError(f"expected at most {MAX_LESIONS} lesions in a photograph, found more. Remove some first.")
        return replace(self, lesions=(*self.lesions, PromptOptions()))._begin_at(len(self.lesions), prompt, pixels)

    def _begin_at(self, index: int, prompt: PromptOptions, pixels: NDArray[np.bool_] | None) -> PromptState:
        """Set prompt and pixels of the lesion with an index, which has no pixels yet."""
        labels = self.labels if pixels is None else np.where(pixels, np.uint8(index + 1), self.labels)
        lesions = (*self.lesions[:index], prompt, *self.lesions[index + 1 :])
        return replace(self, labels=labels, lesions=lesions, current=index)

    def _find_label(self, prompt: PromptOptions) -> tuple[int, tuple[int, int]]:
        """Find the label that a prompt refers to, and a pixel (row, column).

        The label is 0 for none. The pixel is that of a click, or a pixel with the label.
        """
        if prompt.box is not None:
            top, left, bottom, right = (max(0, round(value)) for value in prompt.box)
            inside = self.labels[top : bottom + 1, left : right + 1]
            label = int(np.bincount(inside.ravel(), minlength=OTHER + 1)[1:].argmax()) + 1
            pixels = np.argwhere(inside == label)
            if not len(pixels):
                return 0, (0, 0)
            row, column = pixels[len(pixels) // 2]
            return label, (int(row) + top, int(column) + left)
        pixel = self._nearest_pixel(prompt)
        if self.labels[pixel]:
            return int(self.labels[pixel]), pixel
        if self.current >= 0:
            return self.current + 1, pixel
        nearest = find_nearest_pixel(self.mask, pixel)
        return (0, pixel) if nearest is None else (int(self.labels[nearest]), nearest)


@dataclass(frozen=True)
class PromptStep:
    """A compressed ``PromptState``.

    ``labels``, ``locked``: compressed arrays. ``answer``: number of the prediction from which the mask was made,
    counted for each photograph from 1; 0 for none. ``chosen``: index of its hypothesis.
    """

    lesions: tuple[PromptOptions, ...]
    current: int
    proposed: frozenset[int]
    labels: bytes
    locked: bytes | None
    answer: int = 0
    chosen: int = 0

    @property
    def prompted(self) -> list[PromptOptions]:
        """The user's prompts for each lesion, without proposed lesions."""
        return _without_proposed(self.lesions, self.proposed)

    @classmethod
    def of(cls, state: PromptState, answer: int = 0, chosen: int = 0) -> PromptStep:
        """Compress a state."""
        locked = None if state.locked is None else zlib.compress(state.locked.tobytes(), 1)
        labels = zlib.compress(state.labels.tobytes(), 1)
        return cls(state.lesions, state.current, state.proposed, labels, locked, answer, chosen)

    def restore(self, shape: tuple[int, int]) -> PromptState:
        """Decompress the state; ``shape``: (rows, columns) of the photograph."""
        labels = np.frombuffer(zlib.decompress(self.labels), np.uint8).reshape(shape)
        locked = None
        if self.locked is not None:
            locked = np.frombuffer(zlib.decompress(self.locked), np.bool_).reshape(shape)
        return PromptState(labels, self.lesions, self.current, self.proposed, locked)


def find_state(
    mask: NDArray[np.bool_], step: PromptStep | None, predicted: NDArray[np.bool_] | None = None
) -> PromptState:
    """Return the state of a mask, bool (row, column), in which pixels that were edited by hand are locked.

    ``step``: the state after the latest prompt; None without prompts. ``predicted``: the mask with which a mask without
    prompts is compared; None if it is unknown.
    """
    if step is not None:
        last = step.restore((mask.shape[0], mask.shape[1]))
        return last.edit(last.mask, mask)
    edited = None if predicted is None else mask != predicted
    locked = edited if edited is not None and edited.any() else None
    return PromptState(np.where(mask, np.uint8(OTHER), np.uint8(0)), locked=locked)


def _without_proposed(lesions: Sequence[PromptOptions], proposed: frozenset[int]) -> list[PromptOptions]:
    return [prompts for index, prompts in enumerate(lesions) if index not in proposed]


def strokes_outside(strokes: NDArray[np.uint8], others: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Remove the strokes that touch other lesions, as they were drawn for these lesions.

    ``strokes``: uint8 (row, column), 0 where there is none. ``others``: bool (row, column), the other lesions.
    """
    parts, _ = label_components(strokes > 0)
    return np.where(np.isin(parts, np.unique(parts[others])), np.uint8(0), strokes)


def find_nearest_pixel(mask: NDArray[np.bool_], pixel: tuple[int, int]) -> tuple[int, int] | None:
    """Find the pixel (row, column) of a mask, bool (row, column), nearest to ``pixel``; None if the mask is empty.

    Only the nearest pixel of each row on either side is compared, which takes little time in large photographs.
    """
    row, column = pixel
    left, right = mask[:, column::-1], mask[:, column:]
    steps = np.stack([-left.argmax(1), right.argmax(1)])
    distances = (np.arange(len(mask)) - row) ** 2 + steps**2
    distances[~np.stack([left.any(1), right.any(1)])] = np.iinfo(distances.dtype).max
    side, nearest_row = (int(index) for index in np.unravel_index(distances.argmin(), distances.shape))
    nearest = nearest_row, column + int(steps[side, nearest_row])
    return nearest if mask[nearest] else None


def join_prompts(first: PromptOptions, second: PromptOptions) -> PromptOptions:
    """Add prompts to earlier ones; a new box replaces the previous one."""
    return PromptOptions(
        include=(*first.include, *second.include),
        exclude=(*first.exclude, *second.exclude),
        box=second.box or first.box,
    )


def _with_border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with the pixels around it, diagonal ones included; bool (row, column)."""
    from scipy.ndimage import binary_dilation

    return binary_dilation(mask, NEIGHBORHOOD) if mask.any() else mask
