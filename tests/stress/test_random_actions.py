"""Random actions of a user in a real napari window: presses, keys, strokes, drops, undo, docks, windows, trainings.

``python tests/stress/test_random_actions.py --minutes 60`` is the long form, in rounds with a process and a seed each.
Every step is a JSON line with all that it needs to be repeated: ``--replay FILE`` repeats the steps of a file, and
``--shrink FILE`` removes steps as long as the fault remains.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stress_machine import Machine, Step, write_line

ROOT = Path(__file__).resolve().parents[2]
SHORT = ((1, "pyqt6"), (2, "pyside6"))  # seeds of `make test-all`
SHORT_S = 30


def play(
    home: Path, seed: int, log: Path, steps: list[Step] | None, count: int, seconds: float, *, training: bool
) -> int:
    """Run a round in this process; returns the number of different faults."""
    machine = Machine(home, seed, log, training=training)
    machine.open_window()
    ends = time.monotonic() + seconds
    try:
        if steps is not None:
            for step in steps:
                machine.run_step(step)
        else:
            while len(machine.steps) < count and time.monotonic() < ends:
                with machine.own():
                    step = machine.draw_step()
                machine.run_step(step)
        machine.finish()
    except Exception as error:
        machine.faults.add_exception(error, "the round ended early")  # before the report, which counts it
        raise
    finally:
        machine.report()
        machine.ended = True
    return len(machine.faults.found)


def prepare_process(home: Path) -> None:
    """Separate folders instead of the user's, before napari and Qt are imported."""
    for path in (ROOT / "tests" / "shared", ROOT / "tests" / "ui", ROOT / "tests"):
        sys.path.insert(0, str(path))
    faulthandler.enable()
    names = {"XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
    os.environ.update({variable: str(home / name) for variable, name in names.items()})
    os.environ["NAPARI_CONFIG"] = str(home / "config" / "napari" / "settings.yaml")
    (home / "temporary").mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(home / "temporary")
    os.chdir(home)
    with suppress(ImportError):
        import triton  # noqa: F401
    from qtpy.QtCore import QSettings

    for kind in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(kind, QSettings.Scope.UserScope, str(home / "settings"))


def use_fake_worker() -> None:
    """Let docks predict from the darkness of pixels, which takes a tenth of the time of a network."""
    from napari_melanoma.ui import worker_client

    command = [sys.executable, str(ROOT / "tests" / "ui" / "fake_worker.py")]
    make = worker_client.WorkerClient
    worker_client.WorkerClient = lambda *given: make(*(given or (command,)))


def run_round(folder: Path, binding: str, *words: str, limit: float = 3600) -> dict[str, Any]:
    """Play a round in a process of its own, on a display of its own; a crash is a fault, too."""
    folder.mkdir(parents=True)
    log = folder / "steps.jsonl"
    shaders = {"MESA_SHADER_CACHE_DIR": str(ROOT / "build" / "shaders")}  # compiled once, not in each process
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"), "1")
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [str(ROOT / "scripts" / "with-display.sh"), sys.executable, "-X", "faulthandler", __file__]
    command += [*words, "--home", str(folder / "home"), "--log", str(log)]
    with (folder / "output.txt").open("w", encoding="utf-8") as output:
        how = {"stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(command, env={**environment, **threads, **shaders, "QT_API": binding}, **how)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    text = (folder / "output.txt").read_text("utf-8", errors="replace")
    reports = [line for line in text.splitlines() if line.startswith("REPORT ")]
    report = json.loads(reports[-1].removeprefix("REPORT ")) if reports else {"faults": {}, "steps": 0}
    if code not in (0, 1) or not reports:
        report["faults"][f"crash: exit code {code}: {find_crash(text)}"] = (report["steps"], 1)
    return {**report, "output": folder / "output.txt", "log": log, "binding": binding}


def find_crash(text: str) -> str:
    """The innermost frames of the thread that crashed, as faulthandler wrote them."""
    _, _, stack = text.partition("(most recent call first):\n")
    return " < ".join(line.strip() for line in stack.splitlines()[:3])


def run_rounds(folder: Path, seed: int, minutes: float, steps: int, table: Path | None) -> int:
    """Play rounds with growing seeds for some minutes, under one binding after the other; write the table."""
    ends, reports = time.monotonic() + 60 * minutes, []
    while time.monotonic() < ends:
        binding = ("pyqt6", "pyside6")[len(reports) % 2]
        left = max(30.0, ends - time.monotonic())
        words = ["--seed", str(seed + len(reports)), "--steps", str(steps), "--seconds", f"{left:.0f}"]
        words += ["--fake-worker"] if len(reports) % 4 < 2 else []
        report = run_round(folder / f"{binding}-{seed + len(reports)}", binding, *words)
        reports.append(report)
        write_line(f"{binding} seed {seed + len(reports) - 1}: {report['steps']} steps, {len(report['faults'])} faults")
        for name in report["faults"]:
            write_line(f"  {name}\n  {report['output']}; --replay or --shrink {report['log']}")
    text = write_table(reports)
    write_line(text)
    if table is not None:
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(text + "\n", "utf-8")
    return sum(len(report["faults"]) for report in reports)


def write_table(reports: list[dict[str, Any]]) -> str:
    """The figures of all rounds as Markdown."""
    kinds: Counter[str] = Counter()
    for report in reports:
        kinds.update(report.get("kinds", {}))
    rows = [("rounds", len(reports)), ("steps", sum(r["steps"] for r in reports))]
    rows += [("faults", sum(len(r["faults"]) for r in reports))]
    memory = [(r["memory"][len(r["memory"]) // 2], r["memory"][-1]) for r in reports if len(r.get("memory", ())) > 3]
    rows += [("memory over the second half of a round, MB, largest growth", max((b - a for a, b in memory), default=0))]
    rows += [(f"steps: {kind}", count) for kind, count in kinds.most_common(25)]
    slowest = sorted((s for r in reports for s in r.get("slowest", ())), reverse=True)[:5]
    rows += [(f"slowest: {name} (step {number})", f"{seconds} s") for seconds, number, name in slowest]
    stalls = sorted((s for r in reports for s in r.get("stalls", ())), reverse=True)[:5]
    rows += [(f"stall: {place[-100:]} (step {number})", f"{seconds} s") for seconds, number, place in stalls]
    return "\n".join(["| figure | value |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows)])


def shrink(folder: Path, log: Path, binding: str, *words: str) -> Path:
    """Remove steps as long as the first fault of a log remains; returns the file with the steps that are left."""
    lines, tried = log.read_text("utf-8").splitlines(), 0

    def faults_of(some: list[str]) -> set[str]:
        nonlocal tried
        tried += 1
        file = folder / f"try-{tried}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(some) + "\n", "utf-8")
        return set(run_round(folder / f"try-{tried}", binding, "--replay", str(file), *words)["faults"])

    wanted = faults_of(lines)
    write_line(f"{len(lines)} steps: {sorted(wanted)}")
    size = len(lines) // 2
    while size and wanted:
        start = 0
        while start < len(lines):
            fewer = lines[:start] + lines[start + size :]
            if fewer and wanted & faults_of(fewer):
                lines = fewer
                write_line(f"{len(lines)} steps are left")
            else:
                start += size
        size //= 2
    left = folder / "left.jsonl"
    left.write_text("\n".join(lines) + "\n", "utf-8")
    write_line(left.read_text("utf-8"))
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=400, help="of a round")
    parser.add_argument("--seconds", type=float, default=3600, help="of a round at most")
    parser.add_argument("--minutes", type=float, help="play rounds for as long, each in a process of its own")
    parser.add_argument("--replay", type=Path, help="a file with steps")
    parser.add_argument("--shrink", type=Path, help="a file with steps that cause a fault")
    parser.add_argument("--fake-worker", action="store_true", help="predict from the darkness of pixels")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--table", type=Path, help="where rounds write their figures, as Markdown")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    home = options.home or Path(tempfile.mkdtemp(prefix="random-actions-"))
    words = ["--fake-worker"] if options.fake_worker else []
    if options.minutes is not None:
        return 1 if run_rounds(home, options.seed, options.minutes, options.steps, options.table) else 0
    if options.shrink is not None:
        shrink(home, options.shrink, os.environ.get("QT_API", "pyqt6"), *words)
        return 0
    log = (options.log or home / "steps.jsonl").absolute()
    steps = None
    if options.replay:
        steps = [json.loads(line) for line in options.replay.read_text("utf-8").splitlines()]
    prepare_process(home)
    if options.fake_worker:
        use_fake_worker()
    write_line(f"seed {options.seed}, steps in {log}")
    found = play(home, options.seed, log, steps, options.steps, options.seconds, training=not options.no_training)
    sys.stdout.flush()
    os._exit(1 if found else 0)  # Qt's own teardown is not what is tested


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs Xvfb")
@pytest.mark.parametrize(("seed", "binding"), SHORT, ids=[binding for _, binding in SHORT])
def test_random_actions_cause_no_fault(tmp_path: Path, seed: int, binding: str) -> None:
    """The short form; `make stress` is the long one."""
    words = ["--seed", str(seed), "--seconds", str(SHORT_S), "--fake-worker", "--no-training"]
    report = run_round(tmp_path / "round", binding, *words, limit=900)
    assert not report["faults"], f"{report['output'].read_text()}\nReplay: python {__file__} --replay {report['log']}"
    assert report["steps"] > 10


if __name__ == "__main__":
    sys.exit(main())
