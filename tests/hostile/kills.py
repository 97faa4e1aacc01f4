"""SIGKILL at a random moment of every job: the repeated command ends with the result of an undisturbed run."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from numpy.random import Generator

from hostile.jobs import JOBS, Life, reference, setting, wrong_in
from hostile.oracle import FORESEEN, Case
from hostile.sandbox import Sandbox


def killed(name: str, rng: Generator, box: Sandbox) -> Case:
    """Start, kill once or twice, start again; nothing temporary may be left then."""
    inputs, out = setting(name, box)
    took = reference(name)[1]
    moments = rng.uniform(0.02, 1.0, 1 + int(rng.random() < 0.25)) * took

    def act() -> str:
        for moment in moments:
            life = Life(name, inputs, out, box.outputs.parent)
            time.sleep(moment)
            life.kill()
        done = name in ("merge", "import") and out.exists()  # killed after its end: the folder must not exist before
        if done:
            return wrong_in(name, out)
        life = Life(name, inputs, out, box.outputs.parent)
        code = life.end()
        if code != 0 or FORESEEN.search(life.message()):
            return f"the command again ended with {code}: {life.message()}"
        return wrong_in(name, out)

    return Case(act, "", lambda message: message, refusable=False, seconds=600, megabytes=4000)


MORE_FAULTS: dict[str, Callable[[Generator, Sandbox], Case]] = {name: partial(killed, name) for name in JOBS}
