"""Slide analyses in processes that continue after the window is closed: start, status, cancel."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import ConfigError, InputError, RunError
from napari_melanoma.core.files import remove_file
from napari_melanoma.core.processes import (
    end_process,
    is_run_alive,
    python_command,
    reap_children,
    spawn_detached,
    wait_until_ended,
)
from napari_melanoma.core.run_folder import (
    FINAL_STATES,
    PROCESS_FILE,
    RunFolder,
    RunState,
    RunStatus,
    read_last_events,
    run_state,
)
from napari_melanoma.io.results import RESULT
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import record_slide, restore_previous, slide_folder

OPTIONS, OUTPUT = "options.toml", "output.txt"  # in the folder of a slide: requested options, output of the process


@dataclass(frozen=True)
class SlideRunStatus(RunStatus):
    """Status of the analysis in the folder of a slide.

    ``done``, ``total``: finished tiles and all tiles; 0 of 0 before the tiles are planned. ``failed``: tiles that could
    not be read. ``tiles_per_s``: current rate; 0 unless running. ``eta_s``: estimated remaining seconds for the tiles;
    None if unknown. ``notices``: messages for the user during the run, such as a license. ``options``: None if not
    recorded.
    """

    done: int = 0
    total: int = 0
    failed: int = 0
    tiles_per_s: float = 0.0
    eta_s: float | None = None
    notices: tuple[str, ...] = ()
    options: SlideOptions | None = None

    @property
    def fraction(self) -> float | None:
        """Share of finished tiles; None before the tiles are planned."""
        return self.done / self.total if self.total else None


def launch_slide(slide: Path, out: Path, options: SlideOptions, *, force: bool = False) -> Path:
    """Start or resume an analysis that continues when this process ends, and return its folder.

    ``out``: folder of the results of all slides. ``force``: start over, even if results exist.
    """
    if not slide.exists():  # its result folder could not be determined
        raise InputError(f"{slide} is no longer available. Check the drive or the network, then open the slide again.")
    folder = slide_folder(out, slide)
    run_folder = RunFolder(folder)
    if (is_run_alive(folder) and not wait_until_ended(folder)) or run_folder.is_owned:
        raise RunError(f"{folder.name} is being analyzed already. Cancel it first, or wait until it has finished.")
    write_toml(folder / OPTIONS, options)
    record_slide(folder, slide, record_name=True)
    run_folder.write_command("run")
    remove_file(folder / PROCESS_FILE)  # of the previous process
    run_folder.append_event("launched")
    try:
        stamp = spawn_detached(slide_command(slide, out, folder / OPTIONS, force=force), folder / OUTPUT)
    except OSError as error:
        message = f"the process could not be started: {error}"
        run_folder.append_event("failed", type="RunError", message=message)
        raise RunError(f"{message}. Reinstall napari-melanoma, or run the command napari-melanoma slide.") from error
    stamp.write(folder / PROCESS_FILE)
    return folder


def cancel_slide(folder: Path) -> None:
    """Cancel an analysis after the current batch, or at once if its process has not started it."""
    run_folder = RunFolder(folder)
    run_folder.write_command("cancel")
    started = any(
        event["kind"] in ("started", *FINAL_STATES) for event in _events_since_start(read_last_events(folder))
    )
    if not started and end_process(folder):
        restore_previous(folder)
        run_folder.append_final_event("cancelled")


def slide_command(slide: Path, out: Path, options: Path, *, force: bool = False) -> list[str]:
    """Return the command line of an analysis; ``options``: a TOML file of ``SlideOptions``."""
    arguments = [str(slide), "--out", str(out), "--config", str(options), *["--force"] * force, "--nice"]
    return python_command("slide", *arguments)


def read_slide_run_status(folder: Path) -> SlideRunStatus:
    """Return the status of the analysis of a slide, from its last events.

    A missing folder is reported as ``lost``.
    """
    reap_children()
    events = read_last_events(folder)
    state = run_state(folder, events, is_run_alive(folder))
    current = _events_since_start(events)
    last: dict[str, dict[str, Any]] = {event["kind"]: event for event in current}
    progress = last.get("progress") or last.get("started") or {}
    speed, eta = (
        (progress.get("tiles_per_s") or 0.0, progress.get("eta_s")) if state is RunState.running else (0.0, None)
    )
    options: SlideOptions | None = None
    with suppress(ConfigError):  # not recorded, or by another version
        options = read_toml(folder / OPTIONS, SlideOptions)
    return SlideRunStatus(
        folder,
        state,
        _status_message(folder, state, last),
        int(progress.get("done") or 0),
        int(progress.get("total") or 0),
        int(progress.get("failed") or 0),
        float(speed),
        None if eta is None else max(0.0, float(eta) - (time.time() - float(progress.get("time", time.time())))),
        tuple(str(event.get("message", "")) for event in current if event["kind"] == "notice"),
        options,
    )


def _events_since_start(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events since the last launch, or since the last start of a run that was not launched here."""
    starts = [index for index, event in enumerate(events) if event["kind"] == "launched"] or [
        index for index, event in enumerate(events) if event["kind"] == "started"
    ]
    return events[starts[-1] :] if starts else events


def _status_message(folder: Path, state: RunState, last: dict[str, dict[str, Any]]) -> str:
    """Describe the status of an analysis in a sentence; ``last``: kind of event to the last event of this kind."""
    progress = last.get("progress") or last.get("started") or {}
    done, total = progress.get("done", 0), progress.get("total", 0)
    so_far = f"{done} of {total} tiles finished" if done else "no tile finished"
    kept = " and kept" if done else ""
    if state is RunState.failed:
        return str(last.get("failed", {}).get("message") or _last_output_line(folder))
    if state is RunState.finished:
        return "Finished."
    if state is RunState.paused:
        return f"Paused: {so_far}."
    if state is RunState.cancelled:
        return f"Canceled: {so_far}{kept}."
    if state is RunState.cancelling:
        return "Stops after the current batch. Finished tiles are kept."
    if state is RunState.lost:
        if (folder / RESULT).is_file() and not last:
            return "Analyzed."
        return f"The process ended unexpectedly: {so_far}{kept}."
    return str(progress.get("message") or "Starting.")


def _last_output_line(folder: Path) -> str:
    """Return the last output line of a process that ended before it recorded events, such as an error message."""
    try:
        lines = (folder / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    content = [line.strip() for line in lines if line.strip() and not line.startswith("--- ")]
    return content[-1] if content else "The process ended before the analysis started, without an error message."
