"""What legitimately varies between two runs, as one table of named patterns for text and one of named keys."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from golden.sandbox import ORIGIN

NUMBER = r"\d+(?:\.\d+)?"
# Applied in this order to lines, strings and file names.
PATTERNS = {
    name: re.compile(pattern)
    for name, pattern in {
        "uuid": r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
        "new patient": r"\bP-[0-9A-Z]{6}-[0-9A-Z]{6}\b",  # the name of a patient of whom the files name none
        "folder": r"(?<=shown\\)[0-9a-f]{16}\b",  # settings of a dock: a digest of the folder of a case
        "uid": r"\b[12](?:\.\d+){6,}\b",  # DICOM
        "time stamp": r"\b20\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?",
        "clock": r"\b\d\d:\d\d:\d\d(?:\.\d+)?\b",
        "version": r"\b\d+\.\d+\.\d+(?:\.?(?:dev|post|rc)\d+)*(?:\+g?[0-9a-f.d]+)?\b(?!\.\d)",
        "memory": rf"\b{NUMBER} [MG]i?B (?=free|of memory|in all)|(?<=free of ){NUMBER} GB",
        "speed": rf"\b{NUMBER} (?:tiles|images|photographs)/s\b",
        "duration": rf"\b{NUMBER} (?:ms|s|min|h(?: \d+ min)?|days)\b(?: left)?",
    }.items()
}
# Keys of JSON and TOML, and columns of CSV: the value is not compared, its presence is. Dots lead to the key.
KEYS = {
    name: re.compile(rf"(?:.*\.)?(?:{pattern})")
    for name, pattern in {
        "duration": r"seconds|\w+_seconds|seconds_\w+|\w+_s|\w+_ms|\w*per_second",
        "time": r"when|time|at|\w+_at|created|started|finished|ended|updated|modified_ns",
        "process": r"pid",
        "memory": r"\w*memory\w*|\w+_bytes_free",
    }.items()
}
# The same for keys whose value is a text. Other texts are compared after the patterns above have been replaced.
TEXT_KEYS = {
    name: re.compile(rf"(?:.*\.)?(?:{pattern})")
    for name, pattern in {
        "host": r"host|hostname",
        "commit": r"commit",
        "checksum": r"training_images\.sha256",  # safetensors orders the texts in a file at random
        "salted place": r"source\.place",  # a digest of the folder and of a random number
        "digest with a time": r"input_digest",  # of the inputs of a prediction, among them when their masks were made
    }.items()
}
# Lines about progress: how many there are depends on the speed of the machine.
PROGRESS = re.compile(
    r"(?:\d[\d,]*/\d[\d,]*(?:, .{1,20} left)?  .*"  # 3/4, 6 s left  lesion_0007
    r'|\{(?:"time": [\d.]+, "kind"|"event"): "(?:progress|step)".*'
    r"|(?:Finding|Loading|Looking|Measuring|Preparing|Reading|Training|Waiting|Writing) [^.:]*)"  # without a count
)

# A frame of a traceback: file, line and function change with every restructuring; the exception itself is compared.
FRAME = re.compile(r'\s+File ".*", line \d+, in .*')
FRAME_SOURCE = " " * 4


def varies(path: str, value: object) -> bool:
    """Whether the value of a key varies; the key comes with those that lead to it, with dots between."""
    table = TEXT_KEYS if isinstance(value, str) else KEYS
    return any(pattern.fullmatch(path) for pattern in table.values())


def is_progress(line: str) -> bool:
    """Whether a line of a stream or a log is about progress."""
    return PROGRESS.fullmatch(line) is not None


@dataclass(frozen=True)
class Names:
    """Replaces what varies in the texts of one recording."""

    roots: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, folder: Path) -> Names:
        """Read where the recording of a scenario was made."""
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        longest_first = sorted(origin.items(), key=lambda item: -len(item[1]))
        return cls(tuple((path, f"<{name}>") for name, path in longest_first))

    def clean(self, text: str) -> str:
        """Replace paths and patterns by their names."""
        for path, name in self.roots:
            text = text.replace(path, name)
        for name, pattern in PATTERNS.items():
            text = pattern.sub(f"<{name}>", text)
        return text

    def lines(self, text: str) -> list[str]:
        """Split a text into clean lines."""
        return [self.clean(line.rstrip()) for line in _drop_frames(text.splitlines())]


def _drop_frames(lines: list[str]) -> list[str]:
    """Leave out the frames of tracebacks, each with the source lines below it."""
    kept: list[str] = []
    in_frame = False
    for line in lines:
        in_frame = FRAME.fullmatch(line) is not None or (in_frame and line.startswith(FRAME_SOURCE))
        if not in_frame:
            kept.append(line)
    return kept
