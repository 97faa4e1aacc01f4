"""Run folders in every state, to test the widgets without training."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
from pathlib import Path

import numpy as np
import psutil

BEGAN = 1_700_000_000.0
STATES = ("queued", "starting", "running", "paused", "cancelling", "cancelled", "failed", "finished", "lost")
COLUMNS = ("epoch", "loss", "validation_loss", "validation_jaccard", "validation_dice", "learning_rate", "seconds")


def lesion(side=96, radius=26.0, yellow=None):
    """Skin with a dark disk, a cyan ring where its border is and a yellow one where it was predicted."""
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - side / 2, columns - side / 2)
    rgb = np.full((side, side, 3), (215, 170, 150), np.uint8)
    rgb[distance <= side * 0.28] = (90, 60, 50)
    if yellow is not None:
        rgb[np.abs(distance - side * 0.28) < 1] = (92, 219, 240)
        rgb[np.abs(distance - yellow) < 1] = (255, 221, 0)
    return rgb


def write_png(path, rgb):
    from napari_melanoma.io.results import write_rgb

    path.parent.mkdir(parents=True, exist_ok=True)
    write_rgb(path, rgb)


class FakeRun:
    """A run folder that is written as a run would write it.

    ``state`` is one of ``STATES``; a run at work is given the process of the test itself.
    """

    def __init__(self, parent: Path, name="run-01", *, epochs=20, title="Fine-tuned on my masks"):
        self.path = parent / name
        self.path.mkdir(parents=True)
        self.epochs, self.batches, self.now = epochs, 30, BEGAN
        recipe = f'name = "mine"\ntitle = "{title}"\nepochs = {epochs}\n[data]\ndatasets = ["/data"]\n'
        (self.path / "config.toml").write_text(recipe)

    def tell(self, kind, **values):
        self.now += 1
        self._append("events.jsonl", json.dumps({"time": self.now, "kind": kind, **values}) + "\n")
        return self

    def _append(self, name, text):
        with (self.path / name).open("a") as file:
            file.write(text)

    def log(self, text):
        self._append("log.txt", text)
        return self

    def alive(self, pid=None):
        """Record a running process: that of the test."""
        pid = os.getpid() if pid is None else pid
        created = psutil.Process(pid).create_time()
        stamp = {"pid": pid, "created": created, "host": platform.node(), "started": BEGAN}
        (self.path / "process.json").write_text(json.dumps(stamp))
        return self

    def dead(self):
        """Record a process that no longer exists."""
        stamp = {"pid": 2**22 - 1, "created": 1.0, "host": platform.node(), "started": BEGAN}
        (self.path / "process.json").write_text(json.dumps(stamp))
        return self

    def wish(self, wish):
        (self.path / "control.json").write_text(json.dumps({"wish": wish}))
        return self

    def begin(self, **values):
        facts = {"train": 120, "validation": 14, "test": 30, "device": "cpu", "batch_size": 16, "epochs": self.epochs}
        return self.tell("started", resumed=False, **{**facts, **values})

    def step(self, epoch, batch, **values):
        done = epoch + batch / self.batches
        loss = 0.25 + 0.55 * math.exp(-done / 3) + 0.05 * math.sin(37 * done)
        facts = {
            "step": epoch * self.batches + batch,
            "loss": loss,
            "images_per_second": 58.2,
            "eta_s": round((self.epochs - done) * 11),
            "memory_mb": 1130,
        }
        return self.tell("step", epoch=epoch, batch=batch, batches=self.batches, **{**facts, **values})

    def epoch(self, epoch, jaccard=None, **values):
        jaccard = 0.86 - 0.3 * math.exp(-(epoch + 1) / 3) if jaccard is None else jaccard
        row = {
            "epoch": epoch,
            "loss": 0.25 + 0.55 * math.exp(-(epoch + 1) / 3),
            "validation_loss": 0.3 + 0.5 * math.exp(-(epoch + 1) / 3) + 0.002 * epoch,
            "validation_jaccard": jaccard,
            "validation_dice": 2 * jaccard / (1 + jaccard),
            "learning_rate": 1e-4,
            "seconds": 11.0,
            **values,
        }
        path = self.path / "metrics.csv"
        new = not path.exists()
        with path.open("a", newline="") as table:
            writer = csv.DictWriter(table, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        return self.tell("epoch", **row, best=True)

    def add_epochs(self, epochs, part=0):
        """Record whole epochs, then a part of the batches of the next."""
        for epoch in range(epochs):
            for batch in range(1, self.batches + 1):
                self.step(epoch, batch)
            self.epoch(epoch)
        for batch in range(1, part + 1):
            self.step(epochs, batch)
        return self

    def bundle(self):
        (self.path / "bundle").mkdir(exist_ok=True)
        (self.path / "bundle" / "config.json").write_text("{}")
        return self

    def compare(self, *, images=37, gain=0.021, half=0.013, advice="activate", reason=None, shown=5, replay=True):
        """Write a comparison: ``gain`` in Jaccard with an interval of ``half`` to each side."""
        from napari_melanoma.evaluation.comparison_results import ComparedModel, Comparison, DomainChange, ImageChange
        from napari_melanoma.metrics.statistics import Estimate

        def near(mean, half=0.03):
            return Estimate(mean, mean - half, mean + half, images)

        old = {"JA": near(0.842), "DI": near(0.911, 0.02)}
        new = {"JA": near(0.842 + gain), "DI": near(0.911 + gain / 2, 0.02)}
        difference = {"JA": near(gain, half), "DI": near(gain / 2, half / 2)}
        less = {"JA": near(-0.002, 0.006), "DI": near(-0.001, 0.004)}
        folder = self.path / "comparison"
        folder.mkdir(exist_ok=True)

        def change(number, sign):
            picture = folder / "thumbnails" / f"{sign}{number}.png"
            write_png(picture, lesion(yellow=20.0 + number))
            photograph = self.path.parent / "photographs" / f"{sign}{number}.png"
            write_png(photograph, lesion())
            new = 0.8 + (0.1 - 0.015 * number) * (1 if sign == "better" else -1)
            return ImageChange(f"{sign}-{number}", "mine", photograph, 0.8, new, 0.88, 0.9, picture)

        domains = [DomainChange("mine", False, 22, old, new, difference)]
        if replay:
            domains.append(DomainChange("isic2017", True, 150, old, {**new, "JA": near(0.84)}, less))
        text = reason or "It gains JA +0.021 on images that neither has seen. It loses no more than 0.01 on isic2017."
        Comparison(
            old=ComparedModel("lesion-small", "a" * 64, 0.5, old),
            new=ComparedModel("mine", "b" * 64, 0.52, new),
            difference=difference,
            domains=tuple(domains),
            better=tuple(change(number, "better") for number in range(shown)),
            worse=tuple(change(number, "worse") for number in range(max(0, shown - 3))),
            advice=advice,
            reason=text,
            images=images,
            patients=22,
        ).write(folder)
        return self

    def compare_classes(self):
        """Write a comparison of classifiers with a gain of 0.05 in AUC."""
        from napari_melanoma.evaluation.comparison_results import ComparedModel, Comparison
        from napari_melanoma.metrics.statistics import Estimate

        old = {"AUC": Estimate(0.8, 0.75, 0.85, 60), "ECE": Estimate(0.06, 0.02, 0.1, 60)}
        new = {"AUC": Estimate(0.85, 0.8, 0.9, 60), "ECE": Estimate(0.04, 0.01, 0.07, 60)}
        change = {"AUC": Estimate(0.05, 0.02, 0.08, 60), "ECE": Estimate(-0.02, -0.05, 0.01, 60)}
        folder = self.path / "comparison"
        folder.mkdir(exist_ok=True)
        Comparison(
            old=ComparedModel("old", "a" * 64, 0.3, old),
            new=ComparedModel("mine", "b" * 64, 0.35, new),
            difference=change,
            domains=(),
            better=(),
            worse=(),
            advice="activate",
            reason="It gains AUC +0.050.",
            images=60,
            patients=40,
            task="classification",
        ).write(folder)
        return self

    def adopted(self, name="mine"):
        (self.path / "adopted.json").write_text(json.dumps({"name": name, "path": "/models/mine", "time": BEGAN}))
        return self

    def discarded(self):
        (self.path / "discarded.json").write_text(json.dumps({"time": BEGAN}))
        return self


def fake_run(parent: Path, state: str, name: str | None = None, **options) -> FakeRun:
    """A run in a state, in the middle of its training."""
    run = FakeRun(parent, name or f"run-{state}", **options)
    if state in ("queued", "starting"):
        run.alive().tell("launched")
        return run.tell("queued", position=1) if state == "queued" else run
    run.begin().add_epochs(3, part=12).log("2026-01-01 INFO epoch 3 of 20: Jaccard 0.750\n")
    if state in ("running", "paused", "cancelling"):
        run.alive()
    if state == "paused":
        return run.tell("paused")
    if state == "cancelling":
        return run.wish("cancel")
    run_ended = {"cancelled": {}, "failed": {"type": "RunError", "message": "The disk is full. Free some space."}}
    if state in run_ended:
        return run.dead().tell(state, **run_ended[state])
    if state == "lost":
        return run.dead()
    if state == "finished":
        return run.dead().bundle().tell("finished", threshold=0.52, validation_jaccard=0.75)
    return run
