"""Whether a slide is still there as it was opened: damage of a few tiles and a drive that fails look alike at first."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.io.slides.files import fingerprint_of

if TYPE_CHECKING:
    from napari_melanoma.io.slides.slide import SlideInfo

IN_A_ROW = 8  # damaged tiles after which the slide is opened again


class Presence:
    """Looks after a slide that is being read whenever tiles of it turn out to be damaged; safe for several threads.

    The first damaged tile after good ones has the content looked at; every eighth in a row has the slide opened anew,
    which looks at all files that it consists of.
    """

    def __init__(self, info: SlideInfo) -> None:
        self._info = info
        self._lock = Lock()
        self._damaged = 0

    def good(self) -> None:
        """Note that a tile was read."""
        self._damaged = 0

    def damaged(self) -> bool:
        """Note that a tile could not be decoded, and look after the slide where it is time.

        Whether the slide was looked after and is there: the tile is worth another try.
        """
        with self._lock:
            turn, self._damaged = self._damaged % IN_A_ROW, self._damaged + 1
            if turn not in (0, IN_A_ROW - 1):
                return False
            self._look(anew=turn > 0)
            return True

    def _look(self, *, anew: bool) -> None:
        """Compare what is there with what was opened."""
        from napari_melanoma.io.slides.opening import open_slide

        info, same = self._info, True
        try:
            if info.fingerprint:
                same = fingerprint_of(info.path) == info.fingerprint
            if anew and same:
                with open_slide(info.path) as slide:
                    same = slide.info.levels == info.levels
        except (OSError, MelanomaError) as error:
            raise gone(info.path, error) from error
        if not same:
            raise gone(info.path, "its files are no longer those that were opened")


def gone(path: Path, reason: object) -> InputError:
    """Make the error that says that a slide can be read no more, and what to do."""
    said = f"{path} can be read no more ({reason})" if path.exists() else f"{path} has gone"
    return InputError(
        f"{said}: it was removed, or its drive was disconnected, while it was analysed. Put it back and run "
        "the same command again: what is done stays, and it goes on from there."
    )
