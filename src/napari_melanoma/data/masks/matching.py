"""Which photograph a mask belongs to: by its path, its file name, its stem, or its stem without ``_mask``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

NNUNET_IMAGE = "_0000"  # behind the name of an image's first (of a photograph: only) file; its labels lack it
_WORDS = re.compile(r"[ ._-]*((?:cp[ ._-])?masks?|segmentations?|seg|lesion|labels?|gt|groundtruth|ground_truth)$")


def plain_stem(stem: str) -> str:
    """Give a stem without a last word that says it is of a mask.

    Such as ``isic_0000001``, in lower case; the whole stem where there is no such word.
    """
    return _WORDS.sub("", stem.casefold()) or stem.casefold()


def case_of(stem: str) -> str:
    """Return the name of the nnU-Net case that an image belongs to: ``x`` for ``x_0000``, else the stem itself."""
    return stem.removesuffix(NNUNET_IMAGE) or stem


class ImageNames:
    """Photographs by what a mask may call them; letters' case does not count."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            self._by_stem[path.stem.casefold()].append(path)

    def find(self, name: str) -> list[Path]:
        """Find the photographs that a name may mean.

        One where it is clear; more where it is not, as of two folders with a photograph of that name each.
        """
        named = PureWindowsPath(name.casefold())
        plain = plain_stem(named.stem)
        stems = [named.stem, named.name, plain, f"{plain}{NNUNET_IMAGE}"]  # a stem may have a dot
        candidates = next((self._by_stem[stem] for stem in stems if stem in self._by_stem), [])
        if len(candidates) < 2:
            return candidates
        shared = [_shared_tail(named, path) for path in candidates]
        return [path for path, parts in zip(candidates, shared, strict=True) if parts == max(shared)]


def _shared_tail(named: PureWindowsPath, path: Path) -> int:
    """How many last parts of two paths are equal."""
    pairs = zip(reversed(named.parts), reversed(path.parts), strict=False)
    count = 0
    for one, other in pairs:
        if one != other.casefold():
            break
        count += 1
    return count
