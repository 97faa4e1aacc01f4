"""Install the wheel or the sdist in empty environments, and do the main job in each.

    python scripts/install_matrix.py
    python scripts/install_matrix.py --python 3.11 /opt/python3.13/bin/python3 --variant pyqt6 command-line
    python scripts/install_matrix.py --python 3.11 --variant pyqt6 --dependencies oldest --tests

For each Python, each variant is installed with the newest and with the oldest dependencies that pyproject.toml allows.
A synthetic photograph is analyzed by the command line, with Qt also in a window with the Lesion dock; `doctor` finds
no error. With `--tests`, a selection of the tests runs, too. Each environment is removed afterwards. The result is the
table in docs/explanation/measurements.md. Sizes are those of all files, also where uv links them to its cache. Needs
uv, for windows a display or Xvfb. Packages that uv has downloaded before come from its cache: the times are those
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
SOURCES = {"wheel": "*.whl", "sdist": "*.tar.gz"}
VARIANTS = ("pyqt6", "pyside6", "command-line", "without-torch")
DEPENDENCIES = {"newest": "highest", "oldest": "lowest-direct"}
LISTED = ("napari", "numpy", "torch", "onnxruntime", "pyqt6", "pyside6")
TIME_LIMIT_S = 1800
TEST_PACKAGES = ("hypothesis", "pytest", "pytest-qt", "pytest-xdist")
TESTS = (
    "tests/test_api.py",
    "tests/lesion/test_analysis.py",
    "tests/models/test_graphs.py",
    "tests/ui/lesion/test_lesion.py",
)


@dataclass(frozen=True)
class Case:
    """One environment: an interpreter, which dependencies, and what is installed."""

    python: str
    variant: str
    dependencies: str
    source: str

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


def build(folder: Path, environment: dict[str, str]) -> dict[str, Path]:
    """Build the sdist, and from it the wheel."""
    run(["uv", "build", "--out-dir", folder / "dist", REPOSITORY], folder, environment)
    return {source: next((folder / "dist").glob(pattern)) for source, pattern in SOURCES.items()}


def install(case: Case, package: Path, folder: Path, environment: dict[str, str]) -> None:
    """Make an environment and install the package with its dependencies."""
    run(["uv", "venv", "--python", case.python, folder / "env"], folder, environment)
    python = folder / "env" / "bin" / "python"
    overrides = ["--overrides", WITHOUT_TORCH] if case.variant == "without-torch" else []
    extra = ["--extra", case.extra] if case.extra else []
    # Resolved from pyproject.toml: of an installation of the wheel, only the wheel itself would be a direct dependency.
    resolution = ["--resolution", DEPENDENCIES[case.dependencies], "--only-binary", ":all:", "--python", python]
    pins = ["--output-file", folder / "pins.txt", "--quiet"]
    compiled = ["uv", "pip", "compile", REPOSITORY / "pyproject.toml", *extra, *resolution, *overrides, *pins]
    run(compiled, folder, environment)
    target = f"{package}[{case.extra}]" if case.extra else str(package)
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


def run_tests(case: Case, folder: Path, environment: dict[str, str]) -> str:
    """Run the selected tests, those of the window only with Qt, and return how many passed."""
    python = folder / "env" / "bin" / "python"
    pins = ["--constraints", folder / "pins.txt"]
    run(["uv", "pip", "install", "--python", python, *TEST_PACKAGES, *pins], folder, environment)
    tests = [test for test in TESTS if case.extra or "/ui/" not in test]
    # Warnings of old versions are not errors here.
    options = ["-p", "no:cacheprovider", "-n", "0", "-q", "-W", "default", "-m", "not slow and not real_data"]
    output = run(
        [REPOSITORY / "scripts" / "with-display.sh", python, "-m", "pytest", *options, *tests],
        REPOSITORY,
        {**environment, "QT_API": case.extra} if case.extra else environment,
    )
    return output.strip().splitlines()[-1].split(" in ")[0]


def measure(case: Case, package: Path, folder: Path, environment: dict[str, str], *, tests: bool) -> list[str]:
    """Install and check one case, and return its row of the table."""
    started = time.monotonic()
    try:
        install(case, package, folder, environment)
        installed_s = time.monotonic() - started
        check(case, folder, environment)
        result = f"works; tests: {run_tests(case, folder, environment)}" if tests else "works"
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
    installed = f"{case.variant}, {case.source}"
    return [python.strip(), installed, case.dependencies, listed, f"{size / 1e6:,.0f}", f"{installed_s:.0f}", result]


def main() -> int:
    """Print a row for each case; exit code 1 if one does not work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=["3.11", "3.12", "3.13", "3.14"], help="version or path")
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--dependencies", nargs="+", choices=DEPENDENCIES, default=list(DEPENDENCIES))
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=["wheel"], help="what is installed")
    parser.add_argument("--tests", action="store_true", help="run a selection of the tests, too")
    options = parser.parse_args()
    cases = [
        Case(python, variant, dependencies, source)
        for python in options.python
        for variant in options.variant
        for dependencies in options.dependencies
        for source in options.source
    ]
    sys.stdout.write(
        "| Python | installed | dependencies | versions | MB | install, s | result |\n|---|---|---|---|---|---|---|\n"
    )
    works = True
    with tempfile.TemporaryDirectory() as root:
        base = Path(root)
        packages = build(base, empty_environment(base))
        for number, case in enumerate(cases):
            folder = base / str(number)
            folder.mkdir()
            try:
                row = measure(case, packages[case.source], folder, empty_environment(folder), tests=options.tests)
            except StepError as error:  # no such Python
                row = [
                    "–",
                    f"{case.variant}, {case.source}",
                    case.dependencies,
                    "–",
                    "–",
                    "–",
                    f"{case.python}: {error}",
                ]
            works &= row[-1].startswith("works")
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()
            shutil.rmtree(folder)
    return 0 if works else 1


if __name__ == "__main__":
    raise SystemExit(main())
