"""The measure of training speed goes by turns, and fails by itself where the run is slower than the requirement."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "training_throughput.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("training_throughput", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("seconds", "words", "fails"),
    [
        ([(1.0, 0.96)] * 3, [], False),
        ([(1.0, 0.9)] * 3, [], True),
        ([(1.0, 0.9), (1.0, 0.96), (1.0, 1.2)], [], False),
        ([(1.0, 0.9)] * 3, ["--at-least", "0.8"], False),
    ],
    ids=["fast enough", "too slow", "the median decides", "less was asked for"],
)
def test_too_slow_is_a_failure(
    benchmark: ModuleType, monkeypatch, capsys, seconds: list[tuple[float, float]], words: list[str], fails: bool
) -> None:
    monkeypatch.setattr(benchmark, "phantoms", lambda folder, count: str(folder))
    monkeypatch.setattr(benchmark, "measure", lambda *arguments: seconds)
    monkeypatch.setattr(sys, "argv", ["training_throughput.py", *words])
    if fails:
        with pytest.raises(SystemExit, match=r"below 0\.95"):
            benchmark.main()
    else:
        benchmark.main()
    assert '"ratio"' in capsys.readouterr().out


@pytest.mark.usefixtures("user_folders")
def test_run_and_plain_loop_take_turns(benchmark: ModuleType, monkeypatch, capsys) -> None:
    words = ["--images", "12", "--side", "32", "--batch-size", "4", "--rounds", "2", "--device", "cpu"]
    monkeypatch.setattr(
        sys, "argv", ["training_throughput.py", *words, "--precision", "fp32", "--clock", "cpu", "--at-least", "0"]
    )
    benchmark.main()
    out = capsys.readouterr().out
    assert out.startswith("8 of 11 images, deeplabv3plus at 32, batch 4, 32-true, cpu")
    assert out.count("plain loop") == 2
