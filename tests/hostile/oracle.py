"""The expected result of a case, and the judgment: refused well, accepted and right, undecidable, or wrong."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

REFUSED, ACCEPTED, UNDECIDED, WRONG = "refused well", "accepted and right", "undecidable", "wrong"
REFUSAL_S = 1.0  # of processor time: how busy the machine is does not matter
MEMORY_MB = 700.0
COMMAND_S = 120.0
FORESEEN = re.compile(
    r"Traceback \(most recent|[Uu]nexpected [A-Z]\w*(Error|Exception|Group)\b|This error is unexpected"
)


class Refused(Exception):  # noqa: N818 - reads as what it is where it is raised
    """A verb ended with exit code 1 or 2 and a message."""


@dataclass
class Case:
    """One input: what the product is asked to do with it, and what may come of it.

    ``right`` returns what is wrong with a result, "" where nothing is; without it, no result is right.
    ``name`` must occur in a refusal. ``undecidable``: damage that looks like another valid file, so that
    a result that differs from the original is neither right nor a fault of the reader.
    """

    act: Callable[[], Any]
    name: str
    right: Callable[[Any], str] | None = None
    refusable: bool = True
    undecidable: bool = False
    seconds: float = REFUSAL_S
    megabytes: float = MEMORY_MB


@dataclass
class Verdict:
    """What came of a case, and why where it is wrong."""

    outcome: str
    why: str = ""
    trace: str = ""


def judge(case: Case) -> Verdict:
    """Run the case and judge it; the sandbox is judged by the caller."""
    memory = _Memory()
    started = time.process_time()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            result = case.act()
    except Exception as error:  # noqa: BLE001 - the judge takes all
        verdict = _of_error(case, error, time.process_time() - started)
    else:
        wrong = _checked(case, result)
        verdict = Verdict(ACCEPTED)
        if wrong:
            verdict = Verdict(UNDECIDED if case.undecidable else WRONG, f"accepted, but {wrong}")
    grown = memory.grown_mb()
    if grown > case.megabytes:
        return Verdict(
            WRONG, f"memory grew by {grown:.0f} MB (limit {case.megabytes:.0f} MB); {verdict.outcome} {verdict.why}"
        )
    return verdict


def _checked(case: Case, result: object) -> str:
    """What is wrong with a result; one that cannot even be looked at is wrong."""
    try:
        return case.right(result) if case.right else "nothing in it can be right"
    except Exception as error:  # noqa: BLE001 - such as a file that is missing
        return f"it cannot be checked: {type(error).__name__}: {error}"


def _of_error(case: Case, error: Exception, seconds: float) -> Verdict:
    from napari_melanoma.core.errors import MelanomaError

    text = str(error)
    trace = "".join(traceback.format_exception(error))
    if not isinstance(error, MelanomaError | Refused):
        return Verdict(WRONG, f"unexpected {type(error).__name__}: {_line(text)}", trace)
    if FORESEEN.search(text):
        return Verdict(WRONG, f"an unexpected error reached the user: {_line(text)}", trace)
    if not case.refusable:
        return Verdict(WRONG, f"false refusal: {_line(text)}", trace)
    if _plain(case.name) not in _plain(text):
        return Verdict(WRONG, f"the message does not name '{case.name}': {_line(text)}", trace)
    if seconds > case.seconds:
        return Verdict(WRONG, f"slow: refused after {seconds:.1f} s (limit {case.seconds:.0f} s): {_line(text)}")
    return Verdict(REFUSED, _line(text))


def verb(*arguments: object, process: bool = False) -> str:
    """Run a command in this process, or as a user does; return its output or raise ``Refused``."""
    words = [os.fspath(word) if isinstance(word, Path) else str(word) for word in arguments]
    if process:
        code, output, errors = run_command(words)
    else:
        code, output, errors = _in_process(words)
    if code in (1, 2):
        if FORESEEN.search(output + errors) or not (output + errors).strip():
            raise RuntimeError(f"exit code {code}: {errors[-2000:] or output[-500:] or 'without a word'}")
        raise Refused(errors + output)
    if code or "Traceback (most recent" in errors:
        raise RuntimeError(f"exit code {code}: {errors[-2000:]}")
    return errors + output


def run_command(words: list[str]) -> tuple[int, str, str]:
    """Run the real command; one that hangs is ended and raises ``TimeoutError``."""
    command = [sys.executable, "-m", "napari_melanoma", *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=COMMAND_S, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"no end after {COMMAND_S:.0f} s: {words[:2]}") from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


def _in_process(words: list[str]) -> tuple[int, str, str]:
    from napari_melanoma.cli import app

    output, errors = io.StringIO(), io.StringIO()
    code: object = 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            app(words, prog_name="napari-melanoma")
        except SystemExit as end:
            code = end.code
    return int(code) if isinstance(code, int) else 0, output.getvalue(), errors.getvalue()


class _Memory:
    """How far the resident memory of this process grows at most (Linux; elsewhere what it is at the end)."""

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = self._peak()

    def grown_mb(self) -> float:
        return self._peak() - self._before

    @staticmethod
    def _peak() -> float:
        try:
            status = Path("/proc/self/status").read_text()
            return float(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
        except (OSError, TypeError):
            import psutil

            return psutil.Process().memory_info().rss / 2**20


def equal(expected: np.ndarray, tolerance: float = 0.0, mean: float | None = None) -> Callable[[np.ndarray], str]:
    """Give a check that pixels are those expected: none further off than ``tolerance``, or ``mean`` on average."""

    def check(found: np.ndarray) -> str:
        if found.shape != expected.shape:
            return f"its shape is {found.shape}, not {expected.shape}"
        off = np.abs(found.astype(np.float64) - expected)
        far = float(off.mean()) if mean is not None else float(off.max(initial=0))
        limit = tolerance if mean is None else mean
        return "" if far <= limit else f"pixels are {far:.1f} off (limit {limit:g}), {(off > limit).mean():.0%} of them"

    return check


def same(expected: object) -> Callable[[object], str]:
    """Give a check that a value is the one expected."""

    def check(found: object) -> str:
        return "" if found == expected else f"found {str(found)[:200]}, expected {str(expected)[:200]}"

    return check


def exchange(content: Any, rng: np.random.Generator, values: Sequence[object]) -> None:
    """Exchange one value of nested lists and objects, at any depth, for one of ``values``."""

    def places(value: Any) -> Iterator[tuple[Any, Any]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            yield value, key
            yield from places(inner)

    found = list(places(content))
    container, key = one_of(found, rng)
    container[key] = one_of(values, rng)


def one_of(choices: Sequence[Any], rng: np.random.Generator) -> Any:
    return choices[int(rng.integers(len(choices)))]


def anything(_: object) -> str:
    """Take any result: the case is about crashes, time and memory, or was checked while it ran."""
    return ""


def last_json(output: str) -> dict[str, Any]:
    """Give the summary that ``--json`` ends with."""
    found = json.loads(output.strip().splitlines()[-1])
    return found if isinstance(found, dict) else {}


def _plain(text: str) -> str:
    """A text without line breaks and what is escaped differently in messages."""
    return re.sub(r"[^A-Za-z0-9.-]+", "", text).lower()


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) < 300 else f"{line[:150]} ... {line[-140:]}"
