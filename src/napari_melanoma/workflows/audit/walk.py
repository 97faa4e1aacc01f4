"""The walk of an audit: file after file, each finding told as it is met, so that a folder may have any size."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.runs import Progress, RunContext
from napari_melanoma.workflows.audit.files import NotLookedInto, file_findings
from napari_melanoma.workflows.audit.finding import Entry, Finding, found
from napari_melanoma.workflows.audit.rules import in_name, in_text

TOLD_EVERY = 20  # files between two reports of the progress
SYSTEM_FILES = {
    "thumbs.db": "thumbnails of the pictures that were in the folder",
    ".ds_store": "names of files that were in the folder",
}


@dataclass
class Audited:
    """What an audit came to: ``files`` looked at, ``counts`` of findings by kind, files that were not looked into.

    ``passed_over`` names each of those and why; of these files nothing is known.
    """

    files: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    passed_over: dict[str, str] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was found and every file could be looked into."""
        return not self.counts and not self.passed_over


def audit(paths: Iterable[Path], tell: Callable[[Finding], None], *, run: RunContext) -> Audited:
    """Look through files and folders for what tells who somebody is; nothing is written.

    Counts, and what could not be looked into.
    """
    result = Audited()
    for top in paths:
        if not top.exists():
            raise InputError(f"{top} does not exist. Name a file or folder that is to be handed on.")
        for path in _walk(top):
            run.check()
            name = path.name if path == top else path.relative_to(top).as_posix()
            for finding in _of_path(path, name, result):
                result.counts[finding.kind] += 1
                tell(finding)
            if path.is_dir():
                continue
            result.files += 1
            if result.files % TOLD_EVERY == 0:
                run.report(Progress(result.files, None, "Looking into files"))
    return result


def _walk(top: Path) -> Iterator[Path]:
    """A file itself; of a folder, it and all that is in it, in the order of the names."""
    if not top.is_dir():
        yield top
        return
    for parent, folders, names in os.walk(top):
        folders.sort()
        if Path(parent) != top:
            yield Path(parent)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        yield from (Path(parent, name) for name in sorted([*names, *links]))


def _of_path(path: Path, name: str, result: Audited) -> Iterator[Finding]:
    """What a file or folder gives away, by its name, as a link, and inside."""
    for kind, value in in_name(path.name):
        yield found(name, Entry("name", "name", "", value), kind, value)
    if path.name.lower() in SYSTEM_FILES:
        yield found(name, Entry("name", "system file", "", ""), "picture", SYSTEM_FILES[path.name.lower()])
    if path.is_symlink():
        target = os.fspath(path.readlink())
        yield from (found(name, Entry("name", "link", "", target), kind, value) for kind, value in in_text(target))
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:
            yield from file_findings(file, name)
    except NotLookedInto as reason:
        result.passed_over[name] = str(reason)
    except OSError as error:
        result.passed_over[name] = f"it cannot be read ({error.strerror or error})"
