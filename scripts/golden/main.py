"""The command line of the golden files: record, compare, list; scenarios run side by side as their needs allow."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from golden.folders import compare_folders
from golden.sandbox import CALLS, TREE, Sandbox, data_folder, new_root
from golden.scenarios import Scenario, with_needs, without_data

SKIPPED = "skipped.txt"  # in the folder of a scenario that could not run: why
_printing = threading.Lock()


def main(words: Sequence[str] | None = None) -> int:
    """Run the tool and return its exit code: 0, 1 where something differs, 2 where the command was wrong."""
    options = _parser().parse_args(words)
    if options.action == "drive":
        from golden.drive import drive

        return drive(options.folder)
    from golden.catalog import SCENARIOS

    known = {scenario.name: scenario for scenario in SCENARIOS}
    if options.list:
        for scenario in SCENARIOS:
            _say(f"{scenario.name:24} {', '.join(scenario.needs)}")
        return 0
    if options.action is None or options.folder is None:
        _say("golden: name the action, record or compare, and the folder of the recording")
        return 2
    chosen = with_needs(options.only or known, known)
    only = set(options.only or known)
    if options.action == "record":
        return record(Path(options.folder), chosen, options.workers)
    return compare(Path(options.folder), chosen, only, options.workers)


def _parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(prog="golden.py", description=__doc__)
    actions = ("record", "compare", "drive")
    parser.add_argument("action", nargs="?", choices=actions, help="drive is used by the tool itself")
    parser.add_argument("folder", nargs="?", help="folder of the recording, outside the tree")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these scenarios, and those that they need")
    parser.add_argument("--list", action="store_true", help="list the scenarios and what each needs")
    parser.add_argument("--workers", type=int, default=2, help="scenarios that run at the same time")
    return parser


def record(folder: Path, chosen: Sequence[Scenario], workers: int) -> int:
    """Run scenarios and keep what they leave in a folder."""
    if TREE in folder.resolve().parents:
        _say(f"golden: {folder} is inside the tree. Name a folder outside.")
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    root = new_root()
    sandbox = Sandbox(root, data_folder())
    skipped = without_data(chosen, sandbox.data)
    _run_all(sandbox, [found for found in chosen if found.name not in skipped], workers, lambda scenario: None)
    for scenario in chosen:
        target = folder / scenario.name
        shutil.rmtree(target, ignore_errors=True)
        if scenario.name in skipped:
            target.mkdir()
            (target / SKIPPED).write_text(skipped[scenario.name], encoding="utf-8")
        else:
            shutil.move(root / scenario.name, target)
    shutil.rmtree(root)
    _say_skipped(skipped)
    _say(f"{len(chosen) - len(skipped)} scenarios recorded in {folder}, {len(skipped)} skipped")
    return 0


def compare(folder: Path, chosen: Sequence[Scenario], only: set[str], workers: int) -> int:
    """Run scenarios again and print every difference from a recording."""
    root = new_root()
    sandbox = Sandbox(root, data_folder())
    skipped = without_data(chosen, sandbox.data)
    for scenario in chosen:
        if (folder / scenario.name / SKIPPED).exists():
            skipped.setdefault(scenario.name, "was skipped when the recording was made")
    differing: dict[str, int] = {}

    def judge(scenario: Scenario) -> None:
        if scenario.name in only:
            found = compare_folders(folder / scenario.name, root / scenario.name, scenario.rtol, scenario.ignored)
            if found:
                differing[scenario.name] = len(found)
            for difference in found:
                _say(f"{scenario.name}: {difference}")

    _run_all(sandbox, [found for found in chosen if found.name not in skipped], workers, judge)
    _say_skipped(skipped)
    compared = len(only) - len(only & skipped.keys())
    if differing:
        _say(
            f"{sum(differing.values())} differences in {len(differing)} of {compared} scenarios: {', '.join(differing)}"
        )
        _say(f"The new outputs are kept in {root}")
        return 1
    shutil.rmtree(root)
    _say(f"No difference in {compared} scenarios, {len(skipped)} skipped")
    return 0


def _run_all(sandbox: Sandbox, chosen: Sequence[Scenario], workers: int, done: Callable[[Scenario], None]) -> None:
    """Run scenarios, each after those that it needs, so many at a time."""
    waiting, finished = list(chosen), set[str]()
    running: dict[Future[None], Scenario] = {}

    def work(scenario: Scenario) -> None:
        start = time.monotonic()
        folder = sandbox.run(scenario)
        codes = [json.loads(path.read_text())["exit_code"] for path in sorted(folder.glob(f"{CALLS}/*.outcome.json"))]
        _say(
            f"  {scenario.name}: {time.monotonic() - start:.0f} s, exit codes {' '.join(map(str, sorted(set(codes))))}"
        )
        done(scenario)

    with ThreadPoolExecutor(workers) as pool:
        while waiting or running:
            ready = [found for found in waiting if finished.issuperset(found.needs)]
            for scenario in ready[: workers - len(running)]:
                waiting.remove(scenario)
                running[pool.submit(work, scenario)] = scenario
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                finished.add(running.pop(future).name)


def _say_skipped(skipped: dict[str, str]) -> None:
    for name, why in skipped.items():
        _say(f"  {name}: skipped, {why}")


def _say(text: str) -> None:
    """Print one line at a time, whichever thread it comes from."""
    with _printing:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
