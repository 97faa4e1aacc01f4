"""A report as a tree of blocks, its values without layout: what a signature stores, and how two trees are compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isclose, isfinite
from typing import Any, NamedTuple, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from napari_melanoma.core.config import Config

CHANGED = "Changed after signature"
DRAWN = "drawn"  # text of outlines and points
NOT_VERIFIED = "Not verified since the signature: {}. It was not found."
KeyPath = tuple[str, ...]  # keys of a block and of those around it


class ShownBlock(Config):
    """A part of a report: a value with its name and unit, or a heading with the blocks below it.

    Two blocks are the same part of a report if their keys, and those of the blocks around them, are equal. They are
    compared by value and unit: label and text may be worded differently by another version of the program.
    """

    model_config = ConfigDict(extra="allow")

    key: str
    label: str = ""
    value: Any = Field(None, description="as JSON, not rounded; None if the block has only blocks below it")
    unit: str = ""
    text: str = Field("", description="the value as it was shown, with its unit")
    is_private: bool = Field(False, description="a text of a user, or personal: changes do not repeat it")
    is_drawing: bool = Field(False, description="the value has the positions of what is drawn; the text does not")
    blocks: tuple[ShownBlock, ...] = ()

    @field_validator("value", mode="before")
    @classmethod
    def _to_json(cls, value: Any) -> Any:  # noqa: ANN401 - any value
        """Convert to JSON, so that a value is equal before and after it is stored."""
        if isinstance(value, Mapping):
            return {str(key): cls._to_json(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [cls._to_json(one) for one in value]
        return None if isinstance(value, float) and not isfinite(value) else value

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is empty, but not the key, such as that of regions without a class."""
        values = handler(self)
        written = {key: one for key, one in values.items() if one not in (None, "", [], ()) and one is not False}
        return {"key": self.key, **written} | ({"value": self.value} if self.value in (0, False, "") else {})

    def find(self, *keys: str) -> ShownBlock | None:
        """Return the block below this one with these keys; None if there is none."""
        return find_block(self.blocks, *keys)

    def with_blocks(self, *blocks: ShownBlock) -> Self:
        """Return the block with further blocks at its end."""
        return self.model_copy(update={"blocks": (*self.blocks, *blocks)})

    @property
    def row(self) -> tuple[str, str]:
        """Label and text of the value, as a row of a table."""
        return self.label, self.text

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of the values directly below this block, as cells of a row."""
        return tuple(one.text for one in self.blocks)

    @property
    def shown_text(self) -> str:
        """The text of the value; for a block without one, its value."""
        return self.text or ("unknown" if self.value is None else format_json(self.value))


Blocks = Sequence[ShownBlock]


def find_block(blocks: Blocks, *keys: str) -> ShownBlock | None:
    """Return the block with these keys; None if there is none."""
    found = next((one for one in blocks if one.key == keys[0]), None)
    return found if found is None or len(keys) == 1 else find_block(found.blocks, *keys[1:])


def group(key: str, label: str, blocks: Iterable[ShownBlock | None]) -> ShownBlock:
    """Return a heading with blocks below it, without those that are None."""
    return ShownBlock(key=key, label=label, blocks=tuple(one for one in blocks if one is not None))


def known(key: str, label: str, value: Any, text: str = "", **options: Any) -> ShownBlock | None:  # noqa: ANN401
    """Return the block of a value; None if it is unknown."""
    if value in (None, "", [], ()):
        return None
    return ShownBlock(key=key, label=label, value=value, text=text or str(value), **options)


def iterate_values(
    blocks: Blocks, above: KeyPath = (), labels: KeyPath = ()
) -> Iterator[tuple[KeyPath, KeyPath, ShownBlock]]:
    """Yield each block with a value: the keys and the labels of the blocks around it and its own, and the block."""
    for block in blocks:
        path, names = (*above, block.key), (*labels, *([block.label] if block.label else []))
        if block.value is not None:
            yield path, names, block
        yield from iterate_values(block.blocks, path, names)


class BlockChange(NamedTuple):
    """A value that differs between two trees: its keys, its name, and both blocks, None where it is missing."""

    path: KeyPath
    label: str
    before: ShownBlock | None
    after: ShownBlock | None

    def __str__(self) -> str:
        """State the change with both values; of a free text, only that it is another one."""
        before, after = self.texts()
        signed = "not in the signed report" if self.before is None else f"signed: {before}"
        return f"{CHANGED}: {self.label}: {signed}; now: {after}."

    def texts(self, missing: str = "not in the report") -> tuple[str, str]:
        """Return both values as text, such as of a window and a file; ``missing``: that of one without a block."""
        before, after = self._texts()
        return missing if self.before is None else before, missing if self.after is None else after

    def _texts(self) -> tuple[str, str]:
        both = [one for one in (self.before, self.after) if one is not None]
        if any(one.is_private for one in both):
            noun = "text" if isinstance(both[0].value, str) else "value"
            return f"a {noun}", f"another {noun}" if len(both) > 1 else f"a {noun}"
        texts = ["" if one is None else one.shown_text for one in (self.before, self.after)]
        if texts[0] == texts[1] and self.before is not None and self.after is not None:
            if self.after.is_drawing:
                return texts[0], f"{texts[1]} differently"
            texts = [" ".join((format_json(one.value), one.unit)).strip() for one in (self.before, self.after)]
        return texts[0], texts[1]


def count_changed(statements: Iterable[str | BlockChange]) -> int:
    """Count the changed values among statements about a signed report, such as also what was not found."""
    return sum(str(one).startswith(CHANGED) for one in statements)


def compare_blocks(signed: Blocks, now: Blocks) -> list[BlockChange]:
    """Return each value that differs between two trees, also those that only one of them has."""
    before, after = ({path: (labels, one) for path, labels, one in iterate_values(tree)} for tree in (signed, now))
    changes = []
    for path in {**before, **after}:
        (_, first), (_, second) = before.get(path, ((), None)), after.get(path, ((), None))
        if first is None or second is None or first.unit != second.unit or not is_same_value(first.value, second.value):
            labels, _ = after.get(path) or before[path]
            changes.append(BlockChange(path, ", ".join(labels), first, second))
    return changes


def is_same_value(first: Any, second: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether two values are equal, numbers except for the last digits."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(is_same_value, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(is_same_value(value, second[key]) for key, value in first.items())
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, float | int) and isinstance(second, float | int):
        return isclose(first, second, rel_tol=1e-9)
    return bool(first == second)


def format_json(value: Any) -> str:  # noqa: ANN401 - JSON
    """Format a value in full."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
