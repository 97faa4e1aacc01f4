"""The run folder: what a training run writes as it goes, and the one file through which it is told to stop."""

from __future__ import annotations

import csv
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_melanoma.core.files import finite, write_json, write_text
from napari_melanoma.core.runs import RunContext

Wish = Literal["run", "cancel"]


@dataclass(frozen=True)
class RunFolder:
    """Paths and habits of one run folder: ``config.toml``, ``events.jsonl``, ``metrics.csv``, ``checkpoints/`` ..."""

    path: Path

    @property
    def config(self) -> Path:
        """The recipe that the run follows."""
        return self.path / "config.toml"

    @property
    def checkpoints(self) -> Path:
        """Folder of ``last.ckpt`` and ``best.ckpt``."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """State after the last finished epoch."""
        return self.checkpoints / "last.ckpt"

    @property
    def best_checkpoint(self) -> Path:
        """State after the best epoch so far."""
        return self.checkpoints / "best.ckpt"

    @property
    def bundle(self) -> Path:
        """The model that a finished run leaves."""
        return self.path / "bundle"

    def tell(self, kind: str, **values: object) -> None:
        """Append one event to ``events.jsonl``.

        Parameters
        ----------
        kind : str
            Such as ``"started"``, ``"step"``, ``"epoch"``, ``"finished"``.
        **values : object
            JSON-able facts of the event.
        """
        line = json.dumps(finite({"time": round(time.time(), 3), "kind": kind, **values}))
        with (self.path / "events.jsonl").open("a", encoding="utf-8") as events:
            events.write(line + "\n")

    def add_metrics(self, row: dict[str, float]) -> None:
        """Append one epoch to ``metrics.csv``; the first row's keys are the columns.

        Parameters
        ----------
        row : dict
            Column to value.
        """
        path = self.path / "metrics.csv"
        new = not path.exists() or path.stat().st_size == 0
        with path.open("a", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, list(row))
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.6g}" for key, value in row.items()})

    def keep_metrics_before(self, epoch: int) -> None:
        """Drop the rows of ``metrics.csv`` from an epoch on, which a resumed run is about to repeat.

        Parameters
        ----------
        epoch : int
            The first epoch, counted from 0, that will be run again.
        """
        path = self.path / "metrics.csv"
        if path.exists():
            header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
            kept = [row for row in rows if _epoch(row, header) < epoch]
            write_text(path, "".join(f"{row}\n" for row in (header, *kept) if row))

    def wish(self) -> Wish:
        """Read what the user wishes of the run from ``control.json``.

        Returns
        -------
        str
            ``"run"`` where the file is missing or is being written.
        """
        try:
            wish = json.loads((self.path / "control.json").read_text(encoding="utf-8"))["wish"]
        except (OSError, ValueError, KeyError, TypeError):
            return "run"
        return "cancel" if wish == "cancel" else "run"

    def ask(self, wish: Wish) -> None:
        """Write a wish for the run to follow.

        Parameters
        ----------
        wish : str
            ``"run"`` or ``"cancel"``.

        Raises
        ------
        SaveError
            Where the file cannot be written.
        """
        write_json(self.path / "control.json", {"wish": wish})

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Keep what this package logs meanwhile in ``log.txt``, after what is there already.

        Yields
        ------
        None
            While the file is open.
        """
        logger = logging.getLogger("napari_melanoma")
        before = logger.level
        handler = logging.FileHandler(self.path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.setLevel(before)
            logger.removeHandler(handler)
            handler.close()


def _epoch(row: str, header: str) -> float:
    """Epoch of a row of ``metrics.csv``, its first column; infinite where the row was cut off by a crash."""
    complete = row.count(",") == header.count(",")
    try:
        return float(row.split(",", 1)[0]) if complete else math.inf
    except ValueError:
        return math.inf


class ListeningContext(RunContext):
    """A run context that also hears a wish to cancel written into the run folder.

    Parameters
    ----------
    run : RunContext
        Whoever started the run; a wish from either side stops it.
    folder : RunFolder
        Whose ``control.json`` is read at each check.
    """

    def __init__(self, run: RunContext, folder: RunFolder) -> None:
        super().__init__(run.report)
        self._outer = run
        self._folder = folder

    def check(self) -> None:
        """Raise ``Cancelled`` if a stop was asked for, by the program or through the folder.

        Raises
        ------
        Cancelled
            After either wish.
        """
        if self._outer.cancelled or self._folder.wish() == "cancel":
            self.cancel()
        super().check()
