"""Processes of runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
from napari_melanoma.core.processes import keep_freed_memory

if "keep" in sys.argv:
    assert keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        b"x" * (64 * 1024**2 + len(sys.argv))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is a function of glibc")
def test_freed_memory_is_used_again() -> None:
    """Blocks of 64 MiB, freed and made again, are mapped anew by default, and not in a process that keeps them."""
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", COUNT_FAULTS, mode], capture_output=True, check=True).stdout)
        for mode in ("default", "keep")
    }
    assert faults["keep"] < 200 < 20_000 < faults["default"]
