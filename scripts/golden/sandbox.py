"""Where scenarios run: a working folder, an environment without traces of the user, and one run of a scenario."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import signal
import string
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from golden.scenarios import Copy, CopyData, Dock, Help, Run, Scenario, Write

TREE = Path(__file__).resolve().parents[2]
ENTRY = TREE / "scripts" / "golden.py"
CALLS = "calls"  # folder in that of a scenario: exit code, standard output and standard error of each call
HOME = "home"
ORIGIN = "origin.json"
# The key from which pseudonyms are made: random in real use, the same in each scenario.
KEY = ("config/napari-melanoma/pseudonyms/default.key", "00112233445566778899aabbccddeeff" * 2)
USER_FOLDERS = {
    "HOME": "",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_CACHE_HOME": "cache",
    "XDG_STATE_HOME": "state",
    "WIN_PD_OVERRIDE_LOCAL_APPDATA": "data",
    "WIN_PD_OVERRIDE_APPDATA": "config",
    "TMPDIR": "tmp",
}
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS")
COMMANDS = re.compile(r"^Commands:\n(.*)", re.MULTILINE | re.DOTALL)
VERB = re.compile(r"^  ([a-z][a-z-]*)(?:\s|$)", re.MULTILINE)


def data_folder() -> Path | None:
    """Find the real data: where NAPARI_MELANOMA_DATA says, else beside the checkout."""
    named = os.environ.get("NAPARI_MELANOMA_DATA")
    folder = Path(named) if named else TREE.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def new_root() -> Path:
    """Make a working folder; its name has as many letters each time, since some outputs show masked paths."""
    letters = "".join(random.choices(string.ascii_lowercase, k=8))
    root = Path(tempfile.gettempdir()).resolve() / f"golden{letters}"
    root.mkdir()
    return root


@dataclass(frozen=True)
class Sandbox:
    """The working folder of one recording, with one folder for each scenario."""

    root: Path
    data: Path | None

    def run(self, scenario: Scenario) -> Path:
        """Run the steps of a scenario in an empty folder and return that folder."""
        folder = self.root / scenario.name
        for name in (CALLS, *(f"{HOME}/{part}" for part in USER_FOLDERS.values())):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._take(Write(f"{HOME}/{KEY[0]}", KEY[1]), folder, 0)
        for step in scenario.steps:
            self._take(step, folder, scenario.limit_s)
        self._write_origin(folder)
        return folder

    def _take(self, step: object, folder: Path, limit_s: float) -> None:
        """Run one step."""
        match step:
            case Run(label, command, stdin):
                self._command(folder, label, shlex.split(command), limit_s, stdin)
            case Write(path, text):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text, encoding="utf-8")
            case Copy(source, target) if (folder / source).exists():
                _copy(folder / source, folder / target)
            case Copy(source):
                (folder / CALLS / "missing.txt").write_text(f"{source} is missing\n", encoding="utf-8")
            case CopyData(source, target) if self.data is not None:
                _copy(self.data / source, folder / target)
            case Help():
                self._help(folder, [], limit_s)
            case Dock(path):
                self._process(folder, "dock", [sys.executable, str(ENTRY), "drive", path], limit_s)

    def _command(self, folder: Path, label: str, words: list[str], limit_s: float, stdin: str = "") -> str:
        """Call the command line as users do."""
        return self._process(folder, label, [sys.executable, "-m", "napari_melanoma", *words], limit_s, stdin)

    def _process(self, folder: Path, label: str, command: list[str], limit_s: float, stdin: str = "") -> str:
        """Run a process to its end, keep what it printed and its exit code, and return its standard output."""
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=self.environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            encoding="utf-8",
            errors="backslashreplace",
        )
        try:
            output, errors = process.communicate(stdin, timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            errors += f"golden: stopped after {limit_s:.0f} s\n"
        shown = command[command.index(str(ENTRY)) + 1 :] if str(ENTRY) in command else command[3:]
        outcome = {"command": shown, "exit_code": process.returncode, "seconds": round(time.monotonic() - start, 1)}
        for name, text in (("outcome.json", json.dumps(outcome)), ("stdout.txt", output), ("stderr.txt", errors)):
            (folder / CALLS / f"{label}.{name}").write_text(text, encoding="utf-8")
        return output

    def _help(self, folder: Path, verbs: list[str], limit_s: float) -> None:
        """Write the help text of a verb and of all verbs below it."""
        text = self._command(folder, "-".join(verbs) or "root", [*verbs, "--help"], limit_s)
        listed = COMMANDS.search(text)
        for verb in VERB.findall(listed.group(1)) if listed else ():
            self._help(folder, [*verbs, verb], limit_s)

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables of a process: folders of the scenario, one thread, this tree, a fixed terminal."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("NAPARI", "XDG", "PYTEST"))}
        home = folder / HOME
        users = {variable: str(home / part) for variable, part in USER_FOLDERS.items()}
        fixed = {
            "NAPARI_CONFIG": str(home / "config" / "napari" / "settings.yaml"),
            "MPLCONFIGDIR": str(self.root / ".matplotlib"),  # its list of fonts takes seconds to make
            "MESA_SHADER_CACHE_DIR": str(self.root / ".mesa"),
            "PYTHONPATH": os.pathsep.join((str(TREE / "src"), str(TREE / "scripts"))),
            "PYTHONHASHSEED": "0",
            "COLUMNS": "100",
            "TERM": "dumb",
            "QT_API": os.environ.get("QT_API", "pyqt6"),
            "QT_LOGGING_RULES": "*.debug=false",
        }
        if kept.pop("PYTHONDONTWRITEBYTECODE", ""):  # each process would compile torch or napari again
            fixed["PYTHONPYCACHEPREFIX"] = str(TREE / "build" / "bytecode")
        return kept | users | fixed | dict.fromkeys(ONE_THREAD, "1")

    def _write_origin(self, folder: Path) -> None:
        """Keep what paths of this recording begin with, so that the comparison can replace them."""
        origin = {"root": self.root, "tree": TREE, "data": self.data, "python": sys.prefix}
        text = json.dumps({name: str(path) for name, path in origin.items() if path is not None}, indent=2)
        (folder / ORIGIN).write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)
