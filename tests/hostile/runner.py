"""The runner: generates cases, judges them in two worker processes, restarts a crashed worker, prints the table."""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from hostile import oracle, sandbox

# Family to its share of the inputs; kills and writers run whole jobs in processes of their own: 100 and 27 of 5,000.
SHARES = {
    "photos": 800,
    "slides": 500,
    "dicom": 450,
    "zarr_slides": 450,
    "tables": 700,
    "recipes": 400,
    "cases": 450,
    "bundles": 350,
    "geojson": 450,
    "results": 250,
    "kills": 100,
    "writers": 27,
}
JOBS = ("kills", "writers")
HANG_S = {"kills": 900.0, "writers": 900.0}
USUAL_HANG_S = 240.0  # of a case that analyzes, on a machine that is busy with other work
CASES_A_WORKER = 400  # then a fresh one, so that what one case leaves behind cannot add up
ADDRESS_SPACE = 24 * 2**30
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # two processes share two cores
OF_A_FAULT = {"rng": "Generator", "box": "Sandbox", "return": "Case"}  # annotations
COLUMNS = (oracle.REFUSED, oracle.ACCEPTED, oracle.UNDECIDED, oracle.WRONG)


@dataclass(frozen=True)
class Name:
    """What replays a case: family, fault class and seed."""

    family: str
    fault: str
    seed: int

    def __str__(self) -> str:
        return f"{self.family}:{self.fault}:{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Name:
        family, fault, seed = text.split(":")
        return cls(family, fault, int(seed))


def faults_of(family: str) -> dict[str, Any]:
    """The fault classes of a family: the functions of its module that make a case of a generator and a sandbox."""
    members = vars(importlib.import_module(f"hostile.{family}"))
    own = {name: member for name, member in members.items() if getattr(member, "__annotations__", None) == OF_A_FAULT}
    return own | members.get("MORE_FAULTS", {})


def planned(families: list[str], count: int, seed: int) -> list[Name]:
    """Choose the cases: each family its share, each of its classes equally often, in a mixed order."""
    total = sum(SHARES[family] for family in families)
    names = []
    for family in families:
        faults = list(faults_of(family))
        size = max(len(faults), round(count * SHARES[family] / total))
        names += [Name(family, faults[n % len(faults)], seed + n // len(faults)) for n in range(size)]
    return sorted(names, key=_place)


def _place(name: Name) -> int:
    """Order jobs before others, so that no worker waits at the end; first those that decide what is loaded for all."""
    if name.family not in JOBS:
        return 2
    return int(not importlib.import_module("hostile.jobs").JOBS[name.fault].has_network)


def judged(name: Name, keep: bool = False) -> oracle.Verdict:
    """Generate one case in a sandbox of its own and judge it."""
    root = Path(tempfile.mkdtemp(prefix="case-"))
    box = sandbox.Sandbox(root)
    try:
        case = faults_of(name.family)[name.fault](sandbox.rng_of(name.family, name.fault, name.seed), box)
        box.start()
        verdict = oracle.judge(case)
        box.stop()
        found = box.findings()
        return oracle.Verdict(oracle.WRONG, "; ".join(found[:4]), verdict.trace) if found else verdict
    finally:
        box.stop()
        if keep:
            sys.stderr.write(f"the sandbox of {name} is kept: {root}\n")
        else:
            sandbox.remove(root)


def again_if_slow(name: Name, keep: bool = False) -> oracle.Verdict:
    """Judge a case; one that was slow is judged again, since the first of its kind imports libraries."""
    verdict = judged(name, keep)
    if verdict.outcome == oracle.WRONG and verdict.why.startswith(("slow", "memory")):
        return judged(name, keep)
    return verdict


def serve(pipe: Connection, root: str) -> None:
    """Judge the cases whose names come through a pipe, in a process that may crash."""
    sandbox.point_home_at(Path(root))
    tempfile.tempdir = None
    limit_memory()
    sandbox.watch()
    with Path(os.devnull).open("w") as nowhere:  # libraries in C write there
        os.dup2(nowhere.fileno(), 2)
    while (text := pipe.recv()) is not None:
        name = Name.parse(text)
        try:
            verdict = again_if_slow(name)
        except BaseException as error:  # noqa: BLE001 - a generator that fails is a fault of this suite
            verdict = oracle.Verdict(oracle.WRONG, f"the generator failed: {type(error).__name__}: {error}")
        pipe.send((verdict.outcome, verdict.why, verdict.trace))


def limit_memory() -> None:
    """Protect the machine from an input that takes all of its memory, where the system can."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


class Worker:
    """One process that judges; replaced when it dies, hangs or has judged many."""

    def __init__(self, root: Path) -> None:
        self._root, self._process, self._done = root, None, 0

    def judge(self, name: Name) -> oracle.Verdict:
        if self._process is None or self._done >= CASES_A_WORKER:
            self.close()
            self._start()
        self._done += 1
        try:
            self._pipe.send(str(name))
            limit = HANG_S.get(name.family, USUAL_HANG_S)
            if not self._pipe.poll(limit):
                self.close(kill=True)
                return oracle.Verdict(oracle.WRONG, f"hangs: no end after {limit:.0f} s")
            return oracle.Verdict(*self._pipe.recv())
        except (EOFError, OSError):
            self._process.join(10)
            code = self._process.exitcode
            self.close(kill=True)
            return oracle.Verdict(oracle.WRONG, f"the process died (exit code {code})")

    def close(self, kill: bool = False) -> None:
        if self._process is None:
            return
        if kill:
            self._process.kill()
        else:
            self._pipe.send(None)
        self._process.join(20)
        self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, reference = context.Pipe()
        root = tempfile.mkdtemp(prefix="worker-", dir=self._root)
        self._process, self._done = context.Process(target=serve, args=(reference, root), daemon=False), 0
        self._process.start()
        reference.close()


def run_all(names: list[Name], workers: int, root: Path) -> Iterator[tuple[Name, oracle.Verdict]]:
    """Judge all cases with several workers; give each as it is done."""
    waiting: Queue[Name] = Queue()
    done: Queue[tuple[Name, oracle.Verdict]] = Queue()
    for name in names:
        waiting.put(name)

    def work() -> None:
        worker = Worker(root)
        try:
            while True:
                name = waiting.get_nowait()
                done.put((name, worker.judge(name)))
        except Empty:
            worker.close()

    for _ in range(workers):
        threading.Thread(target=work, daemon=True).start()
    for _ in names:
        yield done.get()


def table(outcomes: Counter[tuple[str, str, str]]) -> str:
    """A Markdown table by family and fault class, with a sum for each family."""
    rows = sorted({(family, fault) for family, fault, _ in outcomes})
    lines = [
        "| family | fault class | tried | " + " | ".join(COLUMNS) + " |",
        "|---|---|" + "--:|" * (len(COLUMNS) + 1),
    ]
    for family in dict.fromkeys(family for family, _ in rows):
        faults = [fault for of, fault in rows if of == family]
        for fault in faults:
            lines.append(_row(family, fault.replace("_", " "), [outcomes[family, fault, c] for c in COLUMNS]))
        total = [sum(outcomes[family, fault, c] for fault in faults) for c in COLUMNS]
        lines.append(_row(f"**{family}**", "**all**", total))
    lines.append(
        _row("**all**", "", [sum(n for (_, _, c), n in outcomes.items() if c == column) for column in COLUMNS])
    )
    return "\n".join(lines)


def _row(family: str, fault: str, counts: list[int]) -> str:
    return f"| {family} | {fault} | {sum(counts)} | " + " | ".join(map(str, counts)) + " |"


def main(words: list[str] | None = None) -> int:
    """Run the suite from the command line; exit code 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description="Try the product on generated hostile and unusual inputs.")
    parser.add_argument("--count", type=int, default=5200, help="inputs in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first input of each class (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="FAMILY[:FAULT]", help="may be given several times")
    parser.add_argument("--without-jobs", action="store_true", help="leave out kills and writers")
    parser.add_argument("--workers", type=int, default=2, help="processes that judge (default: %(default)s)")
    parser.add_argument("--replay", metavar="FAMILY:FAULT:SEED", help="judge one case and keep its folder")
    parser.add_argument("--table", type=Path, help="also write the table into this file")
    given = parser.parse_args(words)
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    root = Path(tempfile.mkdtemp(prefix="napari-melanoma-hostile-"))
    try:
        return _replay(Name.parse(given.replay), root) if given.replay else _run(given, root)
    finally:
        if not given.replay:
            shutil.rmtree(root, ignore_errors=True)


def _replay(name: Name, root: Path) -> int:
    sandbox.point_home_at(root)
    tempfile.tempdir = None
    sandbox.watch()
    verdict = again_if_slow(name, keep=True)
    sys.stdout.write(f"{name}: {verdict.outcome}\n{verdict.why}\n{verdict.trace}")
    return int(verdict.outcome == oracle.WRONG)


def _run(given: argparse.Namespace, root: Path) -> int:
    selected = given.only or [family for family in SHARES if not (given.without_jobs and family in JOBS)]
    families = list(dict.fromkeys(one.partition(":")[0] for one in selected))
    chosen = {one for one in selected if ":" in one}
    sandbox.point_home_at(root)
    tempfile.tempdir = None
    outcomes: Counter[tuple[str, str, str]] = Counter()
    names = planned(families, given.count, given.seed)
    names = [name for name in names if name.family in selected or f"{name.family}:{name.fault}" in chosen]
    started = time.monotonic()
    for name, verdict in run_all(names, given.workers, root):
        outcomes[name.family, name.fault, verdict.outcome] += 1
        if verdict.outcome == oracle.WRONG:
            sys.stdout.write(f"WRONG {name}: {verdict.why}\n")
            sys.stdout.flush()
    text = table(outcomes)
    minutes = (time.monotonic() - started) / 60
    sys.stdout.write(f"\n{text}\n\n{len(names)} inputs from seed {given.seed} in {minutes:.1f} min\n")
    if given.table:
        given.table.write_text(f"{text}\n", encoding="utf-8")
    return int(any(outcome == oracle.WRONG for _, _, outcome in outcomes))
