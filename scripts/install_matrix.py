"""Install the wheel in empty environments, and do the main job in each.

    python scripts/install_matrix.py
    python scripts/install_matrix.py --python 3.11 /opt/python3.13/bin/python3 --variant pyqt6 command-line

For each Python, each variant is installed with the newest and with the oldest dependencies that pyproject.toml allows.
A synthetic photograph is analyzed by the command line, with Qt also in a window with the Lesion dock; `doctor` finds
no error. Each environment is removed afterwards. The result is the table in docs/explanation/measurements.md. Needs uv,
and for windows a display or Xvfb. Packages that uv has downloaded before are taken from its cache: the times are those
of a first install only if it is empty (UV_CACHE_DIR).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WITHOUT_TORCH = REPOSITORY / "packaging" / "without-torch.txt"
VARIANTS = ("pyqt6", "pyside6", "command-line", "without-torch")
DEPENDENCIES = {"newest": "highest", "oldest": "lowest-direct"}
LISTED = ("napari", "numpy", "torch", "onnxruntime", "pyqt6", "pyside6")
TIME_LIMIT_S = 1800


@dataclass(frozen=True)
class Case:
    """One environment: an interpreter, which dependencies, and what is installed."""

    python: str
    variant: str
    dependencies: str

    @property
    def extra(self) -> str:
        return self.variant if self.variant.startswith("py") else ""


class StepError(Exception):
    """A step of a case failed; the message is its last line of output."""


def run(command: list[str | Path], folder: Path, environment: dict[str, str]) -> str:
    """Run a command and return its output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-3000:])
        lines = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        errors = [line for line in lines if "rror" in line] or lines
        raise StepError(f"{Path(command[0]).name} {Path(command[1]).name}: {errors[-1].strip()}")
    return done.stdout


def empty_environment(folder: Path) -> dict[str, str]:
    """Return the variables of this process without those that would let an environment see another one."""
    private = ("PYTHON", "VIRTUAL_ENV", "CONDA", "QT_", "NAPARI", "PIP_", "COVERAGE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    cache = kept.get("UV_CACHE_DIR") or run(["uv", "cache", "dir"], folder, kept).strip()
    return {**kept, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "UV_CACHE_DIR": cache}


def build(folder: Path, environment: dict[str, str]) -> Path:
    """Build the sdist, and from it the wheel."""
    run(["uv", "build", "--out-dir", folder / "dist", REPOSITORY], folder, environment)
    return next((folder / "dist").glob("*.whl"))


def install(case: Case, wheel: Path, folder: Path, environment: dict[str, str]) -> None:
    """Make an environment and install the wheel with its dependencies."""
    run(["uv", "venv", "--python", case.python, folder / "env"], folder, environment)
    python = folder / "env" / "bin" / "python"
    overrides = ["--overrides", WITHOUT_TORCH] if case.variant == "without-torch" else []
    extra = ["--extra", case.extra] if case.extra else []
    # Resolved from pyproject.toml: of an installation of the wheel, only the wheel itself would be a direct dependency.
    resolution = ["--resolution", DEPENDENCIES[case.dependencies], "--only-binary", ":all:", "--python", python]
    pins = ["--output-file", folder / "pins.txt", "--quiet"]
    compiled = ["uv", "pip", "compile", REPOSITORY / "pyproject.toml", *extra, *resolution, *overrides, *pins]
    run(compiled, folder, environment)
    target = f"{wheel}[{case.extra}]" if case.extra else str(wheel)
    run(
        ["uv", "pip", "install", "--python", python, target, "--constraints", folder / "pins.txt", *overrides],
        folder,
        environment,
    )


def check(case: Case, folder: Path, environment: dict[str, str]) -> None:
    """Do the main job: analyze a photograph, check the machine, with Qt open the dock."""
    program = folder / "env" / "bin" / "napari-melanoma"
    run([program, "phantom", "lesion", "--out", "phantoms", "--seed", "1"], folder, environment)
    run([program, "lesion", "phantoms", "--out", "results", "--classify"], folder, environment)
    with (folder / "results" / "results.csv").open(encoding="utf-8", newline="") as file:
        states = [row["status"] for row in csv.DictReader(file)]
    if states != ["done"]:
        raise StepError(f"lesion: expected one finished photograph, found {states}")
    run([program, "doctor", "--json"], folder, environment)
    if case.extra:
        window = [program, "demo", "--out", "demo", "--headless"]
        run([REPOSITORY / "scripts" / "with-display.sh", *window], folder, {**environment, "QT_API": case.extra})
        if not list((folder / "demo").rglob("*.png")):
            raise StepError("demo: no screenshot was written")


def measure(case: Case, wheel: Path, folder: Path, environment: dict[str, str]) -> list[str]:
    """Install and check one case, and return its row of the table."""
    started = time.monotonic()
    try:
        install(case, wheel, folder, environment)
        installed_s = time.monotonic() - started
        check(case, folder, environment)
        result = "works"
    except StepError as error:
        installed_s = time.monotonic() - started
        result = str(error)
    env = folder / "env"
    size = sum(file.lstat().st_size for file in env.rglob("*") if not file.is_symlink()) if env.exists() else 0
    words = ["uv", "pip", "list", "--python", env / "bin" / "python", "--format", "json"]
    versions = {one["name"]: one["version"] for one in json.loads(run(words, folder, environment))}
    python = run(
        [env / "bin" / "python", "-c", "import platform; print(platform.python_version())"], folder, environment
    )
    listed = ", ".join(f"{name} {versions[name]}" for name in LISTED if name in versions)
    return [python.strip(), case.variant, case.dependencies, listed, f"{size / 1e6:,.0f}", f"{installed_s:.0f}", result]


def main() -> int:
    """Print a row for each case; exit code 1 if one does not work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=["3.11", "3.12", "3.13", "3.14"], help="version or path")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--dependencies", nargs="+", choices=DEPENDENCIES, default=list(DEPENDENCIES))
    options = parser.parse_args()
    cases = [
        Case(python, variant, dependencies)
        for python in options.python
        for variant in options.variant
        for dependencies in options.dependencies
    ]
    sys.stdout.write(
        "| Python | installed | dependencies | versions | MB | install, s | result |\n|---|---|---|---|---|---|---|\n"
    )
    works = True
    with tempfile.TemporaryDirectory() as root:
        base = Path(root)
        wheel = build(base, empty_environment(base))
        for number, case in enumerate(cases):
            folder = base / str(number)
            folder.mkdir()
            try:
                row = measure(case, wheel, folder, empty_environment(folder))
            except StepError as error:  # no such Python
                row = ["–", case.variant, case.dependencies, "–", "–", "–", f"{case.python}: {error}"]
            works &= row[-1] == "works"
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()
            shutil.rmtree(folder)
    return 0 if works else 1


if __name__ == "__main__":
    raise SystemExit(main())
