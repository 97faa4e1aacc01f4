"""What a scenario is: a folder of its own, the steps that run in it, and the scenarios whose output it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RTOL = 1e-6
RTOL_TRAINED = 1e-4


@dataclass(frozen=True)
class Run:
    """One call of the command line in the folder of the scenario."""

    label: str
    command: str
    stdin: str = ""


@dataclass(frozen=True)
class Write:
    """A small text file that later steps read."""

    path: str
    text: str


@dataclass(frozen=True)
class Copy:
    """A file or a folder of an earlier scenario, copied because the steps change it."""

    source: str
    target: str


@dataclass(frozen=True)
class CopyData:
    """A file or a folder of the real data, which are not part of the repository."""

    source: str
    target: str


@dataclass(frozen=True)
class Help:
    """The help text of every verb, found by following the lists of commands in the help texts."""


@dataclass(frozen=True)
class Dock:
    """One path through a dock, driven in a process of its own."""

    path: str


Step = Run | Write | Copy | CopyData | Help | Dock


@dataclass(frozen=True)
class Scenario:
    """Steps that run one after the other in the folder named after the scenario."""

    name: str
    steps: Sequence[Step]
    needs: Sequence[str] = ()
    rtol: float = RTOL
    limit_s: float = 300.0
    ignored: Sequence[str] = field(default=())

    @property
    def needs_data(self) -> bool:
        """Whether a step reads the real data."""
        return any(isinstance(step, CopyData) for step in self.steps)


def with_needs(names: Iterable[str], known: dict[str, Scenario]) -> list[Scenario]:
    """Select scenarios with all that they need, in the order of definition."""
    wanted: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in known:
            raise SystemExit(f"golden: there is no scenario '{name}'. --list shows all.")
        if name not in wanted:
            wanted.add(name)
            pending += known[name].needs
    return [scenario for name, scenario in known.items() if name in wanted]


def without_data(chosen: Sequence[Scenario], data: Path | None) -> dict[str, str]:
    """Name the scenarios that cannot run because the real data are missing, each with the reason."""
    skipped: dict[str, str] = {}
    for scenario in chosen:
        missing = [step.source for step in scenario.steps if isinstance(step, CopyData) and not _has(data, step.source)]
        blocked = [name for name in scenario.needs if name in skipped]
        if missing:
            skipped[scenario.name] = f"the real data have no {missing[0]}" if data else "no folder of real data"
        elif blocked:
            skipped[scenario.name] = f"needs {blocked[0]}, which is skipped"
    return skipped


def _has(data: Path | None, source: str) -> bool:
    return data is not None and (data / source).exists()
