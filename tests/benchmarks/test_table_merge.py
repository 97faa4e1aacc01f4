"""The measure of merging fails by itself where it takes longer than the requirement."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "table_merge.py"


@pytest.mark.parametrize(("seconds", "fails"), [("60", False), ("0", True)])
def test_too_slow_is_a_failure(
    seconds: str, fails: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("table_merge", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["table_merge.py", "--rows", "400", "--at-most-s", seconds])
    if fails:
        with pytest.raises(SystemExit, match="more than 0 s"):
            module.main()
    else:
        module.main()
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["joined"]) == (450, 50)
