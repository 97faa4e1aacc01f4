"""Partial results of an evaluation, stored in its output folder so that it can continue after a stop or a crash."""

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

# A crash loses at most this many images, or the images of this many seconds
LINES_PER_WRITE, SECONDS_PER_WRITE = 256, 10.0
FILE_NAME = "unfinished-{}.jsonl"
MetricValues = Mapping[str, float]  # name of a metric to its value


class PartialResults:
    """The metrics of the images measured so far, in a file with one line for each image.

    The file is named after ``measured_with`` (models and options), so that results of another evaluation are never
    used. Truncated lines are skipped, and so are images whose files have changed.
    """

    def __init__(self, out: Path, measured_with: object) -> None:
        key = hashlib.sha256(json.dumps(measured_with, sort_keys=True).encode()).hexdigest()[:16]
        self._path = out / FILE_NAME.format(key)
        self._pending: list[str] = []
        self._line_by_image: dict[str, str] = {}
        self._written = time.monotonic()
        self._read()

    def pop(self, sample: Sample, file_stamp: str) -> list[dict[str, float]] | None:
        """Return and remove the metrics of an image, one dict for each model.

        None if there are none, or if the files of the image have changed.
        """
        line = self._line_by_image.pop(sample.full_name, None)
        if line is None:
            return None
        _, measured_stamp, values = parse_json(line, str(self._path), allow_nan=True)
        return values if measured_stamp == file_stamp else None

    def add(self, sample: Sample, file_stamp: str, values: Sequence[MetricValues]) -> None:
        """Add the metrics of an image, one mapping for each model; they are written in batches."""
        self._pending.append(json.dumps([sample.full_name, file_stamp, [dict(item) for item in values]]))
        if len(self._pending) >= LINES_PER_WRITE or time.monotonic() - self._written > SECONDS_PER_WRITE:
            self.flush()

    def flush(self) -> None:
        lines, self._pending, self._written = self._pending, [], time.monotonic()
        if not lines:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write("\n" + "\n".join(lines) + "\n")  # the first line feed ends a truncated line
        except OSError as error:
            raise save_error(self._path, error) from error

    def _read(self) -> None:
        """Read the lines of an earlier run; kept as text, they need a tenth of the memory of their values."""
        with suppress(FileNotFoundError), self._path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                with suppress(ValueError, TypeError):  # truncated
                    key, _, _ = parse_json(line, str(self._path), allow_nan=True)
                    self._line_by_image[key] = line


def stamp_files(sample: Sample) -> str:
    """Fingerprint the files of an image by path, size and time, as 16 hexadecimal digits."""
    stamps = []
    for path in filter(None, (sample.image, sample.mask)):
        try:
            status = path.stat()
            stamps.append((str(path.absolute()), status.st_size, status.st_mtime_ns))
        except OSError:
            stamps.append((str(path.absolute()), 0, 0))
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]


def has_partial_results(out: Path) -> bool:
    """Whether a folder contains an evaluation that was interrupted."""
    return any(out.glob(FILE_NAME.format("*")))


def remove_partial_results(out: Path) -> None:
    """Remove partial results once the final results are written."""
    for path in out.glob(FILE_NAME.format("*")):
        with suppress(OSError):  # open in another program; harmless
            path.unlink()
