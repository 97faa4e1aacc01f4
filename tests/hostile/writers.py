"""Two processes with one output folder: the second is refused, and the first ends as if alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from numpy.random import Generator

from hostile.jobs import JOBS, LONGEST_S, Life, setting, wrong_in
from hostile.oracle import FORESEEN, Case
from hostile.sandbox import Sandbox


def both(name: str, rng: Generator, box: Sandbox) -> Case:
    """Start one, then the other as soon as the first has made something, or at the same moment."""
    inputs, out = setting(name, box)
    together = rng.random() < 0.4

    def act() -> str:
        first = Life(name, inputs, out, box.outputs.parent)
        until = time.monotonic() + LONGEST_S
        while not together and first.process.is_alive() and time.monotonic() < until and not any(box.outputs.iterdir()):
            time.sleep(0.005)
        second = Life(name, inputs, out, box.outputs.parent)
        codes = [first.end(), second.end()]
        messages = [first.message(), second.message()]
        for code, text in zip(codes, messages, strict=True):
            if code not in (0, 1, 2) or FORESEEN.search(text):
                return f"a process ended with {code}: {text}"
        if 0 not in codes:
            return f"both were refused: {messages[0][-300:]} / {messages[1][-300:]}"
        return wrong_in(name, out)

    return Case(act, "", lambda message: message, refusable=False, seconds=600, megabytes=4000)


MORE_FAULTS: dict[str, Callable[[Generator, Sandbox], Case]] = {name: partial(both, name) for name in JOBS}
