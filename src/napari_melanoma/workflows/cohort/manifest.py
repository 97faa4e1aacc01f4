"""The manifest of a cohort, ``OUT/cohort.json``: where each slide stands, and of which settings the results are.

It is written after every change, so that whoever opens it, and the same command after a crash, sees where all stand.
No paths are in it: ``slide`` names the folder of the results, ``file`` the slide's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json, reason_of

MANIFEST, VERSION = "cohort.json", 1
State = Literal["waiting", "running", "done", "failed"]
Settings = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """Where one slide stands."""

    slide: str
    file: str
    state: State = "waiting"
    worker: str = ""
    attempts: int = 0
    seconds: float = 0.0
    error: str = ""
    earlier: tuple[str, ...] = ()
    changed: str = ""


@dataclass(frozen=True)
class CohortSettings:
    """Of which settings results are: other ``tiles`` cannot stand beside them, other ``answers`` are made again."""

    tiles: Settings
    answers: Settings


class Manifest:
    """The entries of all slides of a folder, kept on the disk."""

    def __init__(self, path: Path, settings: CohortSettings, entries: Mapping[str, Entry]) -> None:
        self.path, self.settings = path, settings
        self.entries = dict(entries)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a manifest.

        None where there is none.
        """
        if not path.exists():
            return None
        try:
            content = read_json(path)
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']}")
            entries = [Entry(**{**values, "earlier": tuple(values["earlier"])}) for values in content["slides"]]
            if strange := {entry.state for entry in entries} - set(get_args(State)):
                raise ValueError(f"state {', '.join(sorted(strange))}")
            settings = CohortSettings(content["settings"]["tiles"], content["settings"]["answers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is no manifest of a cohort that this version knows ({reason_of(error)}). Move it away, choose "
                "another folder, or begin again with --force."
            ) from error
        return cls(path, settings, {entry.slide: entry for entry in entries})

    def refuse_others(self, settings: CohortSettings) -> None:
        """Raise unless tiles of these settings may stand beside those that are there."""
        mine, asked = _flat(self.settings.tiles), _flat(settings.tiles)
        names = [name for name in dict.fromkeys([*mine, *asked]) if mine.get(name) != asked.get(name)]
        if names:
            said = "; ".join(f"{name} was {_said(mine.get(name))}, now {_said(asked.get(name))}" for name in names)
            raise RunError(
                f"{self.path} is of other settings: {said}. Use the same settings, choose another folder, or begin "
                "again with --force."
            )

    def begin(self, entries: Iterable[Entry]) -> list[Entry]:
        """Let the slides of a start wait, but for those that are done; entries of other slides stay.

        Returns as they stand now, in the same order.
        """
        begun = []
        for entry in entries:
            before = self.entries.get(entry.slide)
            kept = before is not None and before.state == "done"
            begun.append(before if before is not None and kept else replace(entry, changed=_now()))
        self.entries |= {entry.slide: entry for entry in begun}
        self.write()
        return begun

    def put(self, entry: Entry) -> Entry:
        """Replace an entry, and write the manifest."""
        changed = replace(entry, seconds=round(entry.seconds, 2), changed=_now())
        self.entries[entry.slide] = changed
        self.write()
        return changed

    def write(self) -> None:
        """Write the manifest."""
        slides = [asdict(self.entries[name]) for name in sorted(self.entries)]
        write_json(self.path, {"version": VERSION, "settings": asdict(self.settings), "slides": slides})


def _now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _flat(settings: Settings, before: str = "") -> dict[str, Any]:
    """Settings by their whole names, as a person spells them in a file."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def _said(value: object) -> str:
    """A value in a sentence."""
    return "not given" if value is None or value == "" else str(value)
