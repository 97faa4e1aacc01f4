"""Analyses of slides as processes of their own: start one that outlives the window, follow it, ask it, come back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.interpreter import python_executable
from napari_melanoma.core.processes import (
    PROCESS_FILE,
    end_process,
    is_run_alive,
    reap_children,
    spawn_detached,
    wait_until_ended,
)
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.run_state import FINAL_STATES, RunState, read_last_events, run_state
from napari_melanoma.io.results import RESULT
from napari_melanoma.slides.analysis import restore_previous
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import record_slide, recorded_slide, slide_folder

__all__ = ["SlideRunStatus", "cancel_slide", "launch_slide", "read_slide_run_status", "slide_command"]

OPTIONS, OUTPUT = "options.toml", "output.txt"


@dataclass(frozen=True)
class SlideRunStatus:
    """All that the folder of a slide says of its analysis, at one moment.

    Attributes
    ----------
    folder : pathlib.Path
        The slide's own.
    state : RunState
        Where it stands; ``lost``: its process has gone without a last word, and the same command goes on.
    done, total : int
        Tiles; 0 of 0 before they are known.
    failed : int
        Tiles that could not be read.
    tiles_per_s : float
        Over the last while; 0 where nothing is computed.
    eta_s : float, optional
        Seconds that the tiles still take; None where that is not known.
    message : str
        How it fares, in a sentence.
    notices : tuple of str
        What a person was told meanwhile, such as a licence.
    slide : pathlib.Path, optional
        What is analyzed; None where it was not launched from here.
    options : SlideOptions, optional
        How; None where that is not known.
    """

    folder: Path
    state: RunState
    done: int = 0
    total: int = 0
    failed: int = 0
    tiles_per_s: float = 0.0
    eta_s: float | None = None
    message: str = ""
    notices: tuple[str, ...] = ()
    slide: Path | None = None
    options: SlideOptions | None = field(default=None)

    @property
    def fraction(self) -> float | None:
        """Share of the tiles that are done; None before they are known."""
        return self.done / self.total if self.total else None


def launch_slide(slide: Path, out: Path, options: SlideOptions, *, force: bool = False) -> Path:
    """Start an analysis that goes on when this process ends; one that was begun there goes on.

    Parameters
    ----------
    slide : pathlib.Path
        The slide.
    out : pathlib.Path
        Folder of the results.
    options : SlideOptions
        How.
    force : bool
        Begin again whatever is there.

    Returns
    -------
    pathlib.Path
        The slide's own folder, for ``read_slide_run`` and ``ask``.

    Raises
    ------
    InputError
        Where the slide is gone.
    RunError
        Where it is at work already, or no process can be started.
    SaveError
        Where the folder cannot be written.
    """
    if not slide.exists():  # its folder would be another one, in which nobody looks
        raise InputError(f"{slide} is not there any more. Check the drive or the network, then open the slide again.")
    folder = slide_folder(out, slide)
    place = RunFolder(folder)
    if (is_run_alive(folder) and not wait_until_ended(folder)) or place.is_owned:
        raise RunError(f"{folder.name} is being analyzed already. Cancel that first, or wait until it has ended.")
    write_toml(folder / OPTIONS, options)
    record_slide(folder, slide, record_name=True)
    place.write_command("run")
    (folder / PROCESS_FILE).unlink(missing_ok=True)  # of the process before: it has nothing to say about this one
    place.append_event("launched")
    try:
        stamp = spawn_detached(slide_command(slide, out, folder / OPTIONS, force=force), folder / OUTPUT)
    except OSError as error:
        said = f"no process could be started: {error}"
        place.append_event("failed", type="RunError", message=said)
        raise RunError(f"{said}. Reinstall napari-melanoma, or run napari-melanoma slide.") from error
    stamp.write(folder / PROCESS_FILE)
    return folder


def cancel_slide(folder: Path) -> None:
    """End an analysis: after the batch at hand, or at once where its process has not begun to work.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own.

    Raises
    ------
    SaveError
        Where the folder cannot be written.
    """
    place = RunFolder(folder)
    place.write_command("cancel")
    begun = any(event["kind"] in ("started", *FINAL_STATES) for event in _events_since_start(read_last_events(folder)))
    if not begun and end_process(folder):
        restore_previous(folder)
        place.append_final_event("cancelled")


def slide_command(slide: Path, out: Path, options: Path, *, force: bool = False) -> list[str]:
    """Return the command line of an analysis.

    Parameters
    ----------
    slide, out : pathlib.Path
        The slide, and the folder of the results.
    options : pathlib.Path
        A TOML file of ``SlideOptions``.
    force : bool
        Begin again.

    Returns
    -------
    list of str
        Program and arguments.
    """
    words = [python_executable(), "-P", "-m", "napari_melanoma", "slide", str(slide), "--out", str(out)]
    return [*words, "--config", str(options), *["--force"] * force, "--nice"]


def read_slide_run_status(folder: Path) -> SlideRunStatus:
    """Return how the analysis of a slide fares; reads the end of its events only, and changes nothing.

    Parameters
    ----------
    folder : pathlib.Path
        The slide's own.

    Returns
    -------
    SlideRun
        A folder that is none, or is gone, is reported as ``lost``.
    """
    reap_children()
    events = read_last_events(folder)
    state = run_state(folder, events, is_run_alive(folder))
    begun = _events_since_start(events)
    last: dict[str, dict[str, Any]] = {event["kind"]: event for event in begun}
    counted = last.get("progress") or last.get("started") or {}
    speed, eta = (counted.get("tiles_per_s") or 0.0, counted.get("eta_s")) if state is RunState.running else (0.0, None)
    slide, options = _requested_analysis(folder)
    return SlideRunStatus(
        folder,
        state,
        int(counted.get("done") or 0),
        int(counted.get("total") or 0),
        int(counted.get("failed") or 0),
        float(speed),
        None if eta is None else max(0.0, float(eta) - (time.time() - float(counted.get("time", time.time())))),
        _status_message(folder, state, last),
        tuple(str(event.get("message", "")) for event in begun if event["kind"] == "notice"),
        slide,
        options,
    )


def _events_since_start(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events of the last life of a run."""
    starts = [index for index, event in enumerate(events) if event["kind"] == "launched"] or [
        index for index, event in enumerate(events) if event["kind"] == "started"
    ]
    return events[starts[-1] :] if starts else events


def _status_message(folder: Path, state: RunState, last: dict[str, dict[str, Any]]) -> str:
    """Say in a sentence how an analysis fares."""
    counted = last.get("progress") or last.get("started") or {}
    done, total = counted.get("done", 0), counted.get("total", 0)
    so_far = f"{done} of {total} tiles are done" if done else "no tile was done"
    kept = " and kept" if done else ""
    if state is RunState.failed:
        return str(last.get("failed", {}).get("message") or _last_output_line(folder))
    if state is RunState.finished:
        return "Finished."
    if state is RunState.paused:
        return f"Paused: {so_far}."
    if state is RunState.cancelled:
        return f"Cancelled: {so_far}{kept}."
    if state is RunState.cancelling:
        return "Ends after the batch at hand; what is done is kept."
    if state is RunState.lost:
        if (folder / RESULT).is_file() and not last:
            return "Analyzed before."
        return f"It ended without a word: {so_far}{kept}."
    return str(counted.get("message") or "Starting.")


def _last_output_line(folder: Path) -> str:
    """Last line of what a process wrote that did not get as far as telling events."""
    try:
        lines = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    spoken = [line.strip() for line in lines if line.strip() and not line.startswith("--- ")]
    return spoken[-1] if spoken else "Its process ended before it began, and said nothing."


def _requested_analysis(folder: Path) -> tuple[Path | None, SlideOptions | None]:
    """Which slide was to be analyzed, and how."""
    slide = recorded_slide(folder)
    try:
        return slide, read_toml(folder / OPTIONS, SlideOptions)
    except ConfigError:
        return slide, None
