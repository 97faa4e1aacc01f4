"""How a run hears what is wished of it: every process of it does the same at the same batch; imports torch."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import Callback

from napari_melanoma.core.errors import Diverged
from napari_melanoma.core.run_folder import PAUSE_S, RunFolder, Wish
from napari_melanoma.core.runs import Cancelled
from napari_melanoma.training.faults import diverged

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from napari_melanoma.training.clock import Clock
    from napari_melanoma.training.task import Task

LOOK_S = 1.0  # how often a GPU is asked for its numbers, which makes it wait
GO, PAUSE, CANCEL, GIVE_UP = range(4)  # the greatest that any process says is what all do
CODES: dict[Wish, int] = {"run": GO, "pause": PAUSE, "cancel": CANCEL}


class Control(Callback):
    """After each batch: go on, hold, cancel, or give up a run whose numbers are none."""

    def __init__(self, wish: Callable[[], Wish], folder: RunFolder, clock: Clock) -> None:
        self._wish = wish
        self._folder = folder
        self._clock = clock
        self._group: Any = None
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open a line between the processes that needs no device, so that asking does not hold up a GPU."""
        if trainer.world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM back from Lightning, whose handler talks to the other processes out of turn."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Task, *_: Any) -> None:  # type: ignore[override]  # noqa: ANN401
        """Do what is wished."""
        look = pl_module.device.type == "cpu" or self._clock.is_due("numbers", LOOK_S)
        bad = pl_module.first_bad_batch() if look else None
        code = self._follow(trainer, GO if bad is None else GIVE_UP)
        if code == GIVE_UP:
            raise Diverged(diverged(pl_module.recipe, "loss", trainer.current_epoch, bad))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:  # noqa: ANN401
        """Do what is wished; a validation has many batches as well."""
        self._follow(trainer, GO)

    def _follow(self, trainer: Trainer, code: int) -> int:
        """Agree with the other processes, hold while that is wished, and stop if it is."""
        code = self._agree(code)
        if code == PAUSE:
            with self._clock.stopped():
                code = self._hold(trainer.is_global_zero)
        if code == CANCEL:
            raise Cancelled
        return code

    def _hold(self, first: bool) -> int:
        """Wait until something else is wished, talking to the other processes, which would give up otherwise."""
        if first:
            self._folder.tell("paused")
        while (code := self._agree(GO)) == PAUSE:
            time.sleep(PAUSE_S)
        if first and code == GO:
            self._folder.tell("continued")
        return code

    def _agree(self, code: int) -> int:
        """The greatest code of all processes."""
        code = max(code, CODES[self._wish()])
        if self._group is None:
            return code
        greatest = torch.tensor(code)
        torch.distributed.all_reduce(greatest, torch.distributed.ReduceOp.MAX, group=self._group)
        return int(greatest)
