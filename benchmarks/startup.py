"""Time, memory and large imports of each command: its help, a usage error, and small tasks of the main ones.

Run: python benchmarks/startup.py [--rounds 3] [--only lesion data]

Prints, for each, the least processor time of the rounds, the peak of the memory, and which of the large packages in
``LARGE`` the process had imported when it ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import Usage, run_process
from typer.main import get_command

from napari_melanoma.cli import app

LARGE = ("torch", "onnxruntime", "napari", "qtpy", "pandas", "scipy", "skimage", "sklearn", "matplotlib", "zarr")
IMPORTS = "NAPARI_MELANOMA_BENCHMARK_IMPORTS"  # the file to which a process writes what it has imported
# Runs a command; at its end, lists the large packages that were imported.
RUN = f"""
import atexit, json, os, sys
sys.argv[0] = "napari-melanoma"
path = os.environ["{IMPORTS}"]
atexit.register(lambda: open(path, "w").write(json.dumps([name for name in {LARGE} if name in sys.modules])))
from napari_melanoma.cli import main
main()
"""
HELP_LIMIT_S = 0.3  # aim for the help of a command, in processor seconds
WITHOUT_TORCH = ("lesion", "slide", "evaluate", "report", "data")


def list_commands() -> list[tuple[str, ...]]:
    """List the commands, with those of groups such as ``data check``."""

    def walk(command: Any, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:  # noqa: ANN401 - a class of click
        for name in command.list_commands(None) if hasattr(command, "commands") else ():
            child = command.get_command(None, name)
            if child.hidden:
                continue
            yield (*names, name)
            yield from walk(child, (*names, name))

    return [(), *walk(get_command(app), ())]


def measure(arguments: tuple[str, ...], rounds: int, status: int = 0) -> tuple[Usage, list[str]]:
    """Run a command repeatedly; returns the run with the least processor time, and the imported packages.

    ``status``: the expected exit status.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "imports.json"
        command = [sys.executable, "-c", RUN, *arguments]
        runs = [run_process(command, {IMPORTS: str(path)}, status) for _ in range(rounds)]
        return min(runs, key=lambda usage: usage.processor_s), json.loads(path.read_text())


def make_inputs(folder: Path) -> None:
    """Draw a data set of photographs and a slide."""
    program = [sys.executable, "-m", "napari_melanoma"]
    for arguments in (
        ("phantom", "lesion", "--out", "photographs", "--count", "12"),
        ("phantom", "slide", "--out", "slides", "--size", "2048"),
        ("data", "import", "folder", "photographs", "--out", "dataset", "--no-patients"),
    ):
        subprocess.run([*program, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)


TASKS: tuple[tuple[str, ...], ...] = (
    ("lesion", "photographs/lesion_0000.png", "--out", "results", "--classify"),
    ("slide", "slides", "--out", "slide-results"),
    ("evaluate", "--model", "lesion-small", "--data", "dataset", "--out", "evaluation"),
    ("report", "results", "--out", "report.html"),
    ("data", "check", "dataset"),
    ("data", "report", "dataset"),
    ("data", "features", "dataset"),
)


def main() -> int:
    """Measure and print; returns 1 if a command imported torch that should not, or an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[], help="first words of the commands to measure")
    options = parser.parse_args()
    faults = []

    def show(name: str, usage: Usage, packages: list[str]) -> None:
        text = f"{name:<48} {usage.processor_s:6.2f} s {usage.memory_mb:6.0f} MB  {' '.join(packages)}"
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    chosen = [names for names in list_commands() if not options.only or (names and names[0] in options.only)]
    for names in chosen:
        usage, packages = measure((*names, "--help"), options.rounds)
        show(f"{' '.join(names)} --help", usage, packages)
        if usage.processor_s > HELP_LIMIT_S:
            faults.append(f"{' '.join(names)} --help takes {usage.processor_s:.2f} s")
    for names in chosen:
        usage, packages = measure((*names, "--no-such-option"), options.rounds, status=2)
        show(f"{' '.join(names)} --no-such-option", usage, packages)
    with tempfile.TemporaryDirectory() as folder:
        make_inputs(Path(folder))
        os.chdir(folder)
        for task in TASKS:
            if options.only and task[0] not in options.only:
                continue
            usage, packages = measure(task, 1)
            show(" ".join(task[:2]), usage, packages)
            if "torch" in packages and task[0] in WITHOUT_TORCH:
                faults.append(f"{' '.join(task[:2])} imports torch")
        os.chdir("/")
    sys.stdout.write("\n".join(faults) + "\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
