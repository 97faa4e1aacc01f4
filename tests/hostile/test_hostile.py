"""The short form of `make hostile`: each fault of each family once, judged by one process that imports once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import LONG_PATIENCE_S

from hostile import runner, sandbox

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "hostile.py"
FAMILIES = (
    *("photos", "slides", "dicom", "zarr_slides", "tables", "recipes", "cases", "bundles", "geojson"),
    *("results", "kills:merge", "kills:case", "writers:case"),
)


def test_hostile_inputs_cause_no_crash_or_wrong_result() -> None:
    families = [word for family in FAMILIES for word in ("--only", family)]
    command = [sys.executable, str(SCRIPT), *families, "--count", "1", "--workers", "1", "--seed", "2026"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("WRONG")]
    assert (done.returncode, wrong) == (0, []), f"{done.stdout}\n{done.stderr}\nReplay: scripts/hostile.py --replay ID"


def test_a_replayed_case_has_the_same_input_in_any_process(tmp_path: Path) -> None:
    name = runner.Name("recipes", "wrong_values", 7)
    command = [sys.executable, str(SCRIPT), "--replay", str(name)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # where replayed cases stay
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONG_PATIENCE_S, check=False, env=environment
    )
    assert done.stdout.startswith(f"{name}: refused well")
    box = sandbox.Sandbox(tmp_path / "here")
    runner.faults_of(name.family)[name.fault](sandbox.rng_of(name.family, name.fault, name.seed), box)
    (replayed,) = tmp_path.rglob("case-*/box/in")
    assert contents(replayed) == contents(box.inputs) != {}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_wrong_outcome_ends_with_exit_code_1(tmp_path: Path) -> None:
    """The judge itself is judged: a fault that is planted must be found."""
    code = f"""
import sys; sys.path.insert(0, {str(SCRIPT.parents[1] / "tests")!r})
import os
from pathlib import Path
from hostile import oracle, sandbox
sandbox.watch()
verdicts = []
def tried(act, **how):
    box = sandbox.Sandbox(Path({str(tmp_path)!r}) / str(len(verdicts)))
    box.start()
    verdict = oracle.judge(oracle.Case(lambda: act(box), "x", **how))
    box.stop()
    verdicts.append("wrong" if box.findings() else verdict.outcome)
from napari_melanoma.core.errors import InputError
def refuse(box): raise InputError("x is no table. Name another.")
def crash(box): raise KeyError("x")
tried(refuse)
tried(lambda box: 3, right=lambda found: "")
tried(refuse, refusable=False)
tried(crash)
tried(lambda box: 3)
tried(lambda box: (box.canaries / "new").write_text("x"))
tried(lambda box: (box.canaries / "important.sh").read_text(), right=lambda found: "")
sandbox.LIBRARIES = (str(Path({str(tmp_path)!r}) / "lib") + os.sep,)
Path({str(tmp_path)!r}, "lib").mkdir()
tried(lambda box: open(os.path.join(sandbox.LIBRARIES[0], "..", box.root.name, "victim", "important.sh")).read(),
      right=lambda found: "")
tried(lambda box: (box.inputs / ".x.01234567").write_text("x"), right=lambda found: "")
print(verdicts)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG_PATIENCE_S, check=False
    )
    assert done.stdout.strip() == str(["refused well", "accepted and right", *["wrong"] * 7]), done.stderr
