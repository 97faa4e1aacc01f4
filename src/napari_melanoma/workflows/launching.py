"""Starting a training run as a process of its own, which outlives whoever started it."""

from __future__ import annotations

import atexit
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.files import save_error
from napari_melanoma.core.interpreter import python_executable
from napari_melanoma.core.paths import is_trusted
from napari_melanoma.core.run_folder import RunFolder, Wish
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.processes import PROCESS, ProcessStamp, alive
from napari_melanoma.workflows.turns import draw_ticket

RECIPE = "recipe.toml"
OUTPUT = "output.txt"
LAST_STEPS_S = 30.0  # between the last word of a process and its end: it lets go of memory, workers and folder
STOPPED_S = 5.0  # that a killed process takes at most
LAST_WORDS = ("cancelled", "failed", "finished")
_started: list[subprocess.Popen[bytes]] = []  # kept until they end: one that nobody asked after stays a zombie


def runs_folder() -> Path:
    """Folder in which the docks keep a user's runs; it need not exist."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / "runs"


def new_run(name: str, folder: Path | None = None) -> Path:
    """Make an empty run folder of a name that is free."""
    parent = runs_folder() if folder is None else folder
    stem = re.sub(r"[^\w-]+", "-", name).strip("-")[:60] or "run"
    number = 1
    while True:
        path = parent / f"{stem}-{number:02}"
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise save_error(path, error) from error
        else:
            return path


def launch(recipe: TrainRecipe, out: Path, *, resume: bool = False, queue: bool = True) -> None:
    """Start a run that goes on when this process ends.

    Its output goes to ``output.txt``; how it fares stands in the run folder (``workflows.runs.read_run``).
    """
    folder, ended = RunFolder(out), let_end(out) if resume else not alive(out)
    if not ended or folder.is_owned:  # asked before anything is touched: it may only look dead from this machine
        raise RunError(f"{out.name} is at work already. Cancel it first, or choose another run.")
    resume = resume and folder.config.exists()
    write_toml(out / RECIPE, recipe)
    folder.ask("run")
    (out / PROCESS).unlink(missing_ok=True)  # of the process before: it has nothing to say about this one
    folder.tell("launched", resumed=resume)
    try:
        outside = any(is_trusted(Path(name).expanduser()) for name in (*recipe.data.datasets, *recipe.data.base))
        stamp = spawn(command(out, resume=resume, queue=queue, allow_outside=outside), out / OUTPUT)
    except OSError as error:
        said = f"no process could be started: {error}"
        folder.tell("failed", type="RunError", message=said)
        raise RunError(f"{said}. Reinstall napari-melanoma, or start the run with napari-melanoma train.") from error
    stamp.write(out / PROCESS)
    if queue:
        draw_ticket(out, stamp)  # here and now: the child takes seconds to come that far, some children longer


def let_end(run: Path) -> bool:
    """Wait until the process of a run has ended, where the run has said its last word; half a minute at most.

    Whether no process works on it any more; False at once for a run that is not ending.
    """
    until = time.monotonic() + LAST_STEPS_S
    if alive(run):
        told = RunFolder(run).read_events()
        if not told or told[-1].get("kind") not in LAST_WORDS:
            return False
    while alive(run):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def command(out: Path, *, resume: bool, queue: bool, allow_outside: bool = False) -> list[str]:
    """Give the command line of a run."""
    config = out / ("config.toml" if resume else RECIPE)
    words = [python_executable(), "-P", "-m", "napari_melanoma", "train", "--config", str(config), "--out", str(out)]
    words += [*["--resume"] * resume, *["--queue"] * queue, *["--allow-outside"] * allow_outside]
    return [*words, "--nice"]


def ask(run: Path, wish: Wish) -> None:
    """Tell a run to go on, pause or end; it acts within a batch."""
    RunFolder(run).ask(wish)


def request(run: Path, wish: Wish) -> None:
    """Ask a training run to go on, pause or end; one that still loads or waits ends at once."""
    folder = RunFolder(run)
    folder.ask(wish)
    # Asked again once it has ended: it may have come to its last word meanwhile.
    if wish == "cancel" and folder.launched and end_process(run) and folder.launched:
        folder.tell_last("cancelled")


def end_process(folder: Path) -> bool:
    """Kill the process of a run on this machine.

    Whether it ended; False where it is on another machine, had ended before, or could not be killed.
    """
    stamp = ProcessStamp.read(folder / PROCESS)
    if stamp is None or not stamp.here or not stamp.alive:
        return False
    with suppress(psutil.Error):  # it has ended by itself meanwhile
        process = psutil.Process(stamp.pid)
        process.kill()
        process.wait(STOPPED_S)
    return not stamp.alive


def reap() -> None:
    """Take leave of our children that have ended, so that they do not stay in the table of processes."""
    _started[:] = [child for child in _started if child.poll() is None]


def spawn(words: list[str], output: Path) -> ProcessStamp:
    """Start a process that is not tied to this one: not by its terminal, not by its pipes, not by its end."""
    reap()
    with output.open("ab") as log:
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        log.flush()
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **apart)
    _started.append(child)
    return ProcessStamp.of(child.pid)


@atexit.register
def _let_go() -> None:
    """Leave to themselves the children that are to outlive us; without this, each is warned of."""
    reap()
    for child in _started:
        child.returncode = 0
