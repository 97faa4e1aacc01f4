"""What an evaluation has measured so far, kept beside its results, so that hours are not lost to a stop or a crash."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from napari_melanoma.core.files import save_error
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.data.dataset import Sample

LINES_PER_WRITE, SECONDS_PER_WRITE = 256, 10.0  # images, seconds: the most that a crash may cost
FILE_NAME = "unfinished-{}.jsonl"
MetricValues = Mapping[str, float]


class PartialResults:
    """The images of an evaluation that were measured, as lines that are appended to a file.

    The file has its name from what was measured with, so figures of another model or of other options are never taken;
    a line that was cut off is passed over, and so is an image whose files have changed meanwhile.
    """

    def __init__(self, out: Path, measured_with: object) -> None:
        key = hashlib.sha256(json.dumps(measured_with, sort_keys=True).encode()).hexdigest()[:16]
        self._path = out / FILE_NAME.format(key)
        self._pending: list[str] = []
        self._known: dict[str, str] = {}
        self._written = time.monotonic()
        self._read()

    def pop(self, sample: Sample, file_stamp: str) -> list[dict[str, float]] | None:
        """Give what was measured of an image before, once.

        Returns the figures under each model; None where there are none, or where its files are others now.
        """
        line = self._known.pop(_sample_key(sample), None)
        if line is None:
            return None
        _, before, values = parse_json(line, str(self._path), allow_nan=True)
        return values if before == file_stamp else None

    def add(self, sample: Sample, file_stamp: str, values: Sequence[MetricValues]) -> None:
        """Keep what was measured of an image; it is written with others that follow."""
        self._pending.append(json.dumps([_sample_key(sample), file_stamp, [dict(item) for item in values]]))
        if len(self._pending) >= LINES_PER_WRITE or time.monotonic() - self._written > SECONDS_PER_WRITE:
            self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        lines, self._pending, self._written = self._pending, [], time.monotonic()
        if not lines:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write("\n" + "\n".join(lines) + "\n")  # the first line feed ends a line that was cut off
        except OSError as error:
            raise save_error(self._path, error) from error

    def _read(self) -> None:
        """Take over the lines of an earlier time, as text: a tenth of what their values take."""
        with suppress(FileNotFoundError), self._path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with suppress(ValueError, TypeError):  # cut off
                    key, _, _ = parse_json(line, str(self._path), allow_nan=True)
                    self._known[key] = line


def stamp_files(sample: Sample) -> str:
    """Say by what the files of an image can be told from others: their paths, sizes and times.

    Sixteen digits; those of no file at all where one cannot be looked at.
    """
    found = []
    for path in filter(None, (sample.image, sample.mask)):
        try:
            status = path.stat()
            found.append((str(path.absolute()), status.st_size, status.st_mtime_ns))
        except OSError:
            found.append((str(path.absolute()), 0, 0))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def remove_partial_results(out: Path) -> None:
    """Remove what was kept of unfinished evaluations, once the results are written."""
    for path in out.glob(FILE_NAME.format("*")):
        with suppress(OSError):  # somebody looks at it; it does no harm
            path.unlink()


def _sample_key(sample: Sample) -> str:
    """Name an image among those of several data sets."""
    return f"{sample.domain}/{sample.image_id}"
