"""The measure of what must stay quick says each of its figures, for few and for many."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "growth_speed.py"


def test_each_is_measured_for_few_and_for_many(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("growth_speed", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["growth_speed.py", "--share", "0.01"])
    module.main()
    found = re.findall(r"^(\w+): (\d+): \d+\.\d{4} s$", capsys.readouterr().out, re.MULTILINE)
    wanted = [(prepare.__name__, str(max(1, count // 100))) for prepare, *counts in module.MEASURES for count in counts]
    assert found == wanted
