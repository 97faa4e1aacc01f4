"""The measure of speed fails by itself where the batch is slower than the requirement."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "lesion_throughput.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with two photographs and a network that does 100 a second."""
    spec = importlib.util.spec_from_file_location("lesion_throughput", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    spec.loader.exec_module(module)
    info = SimpleNamespace(name="none", config=SimpleNamespace(input_size=32))
    monkeypatch.setattr(module, "bundle", lambda name, folder: info)
    monkeypatch.setattr(module, "load_network", lambda info: None)
    monkeypatch.setattr(module.Segmenter, "load", lambda info, device: None)
    monkeypatch.setattr(module, "phantoms", lambda folder, count: [Path("a.png"), Path("b.png")])
    monkeypatch.setattr(module, "plain_rate", lambda *arguments: 100.0)
    return module


@pytest.mark.parametrize(
    ("rate", "words", "fails"),
    [(60.0, [], False), (40.0, [], True), (40.0, ["--at-least", "0.3"], False), (60.0, ["--at-least", "0.8"], True)],
    ids=["fast enough", "half as fast is the least", "less was asked for", "more was asked for"],
)
def test_too_slow_is_a_failure(benchmark, monkeypatch, capsys, rate: float, words: list[str], fails: bool) -> None:
    monkeypatch.setattr(benchmark, "files_rate", lambda *arguments: rate)
    monkeypatch.setattr(sys, "argv", ["lesion_throughput.py", *words])
    if fails:
        with pytest.raises(SystemExit, match=r"below 0\.[58]"):
            benchmark.main()
    else:
        benchmark.main()
    assert f'"ratio": {rate / 100}' in capsys.readouterr().out
