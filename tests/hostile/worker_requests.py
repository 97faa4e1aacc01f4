"""Requests to the worker: invalid lines and arguments; the worker replies and continues."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import numpy as np
from numpy.random import Generator

from hostile.oracle import FORESEEN, Case
from hostile.photos import written
from hostile.sandbox import Sandbox

VERBS = (
    "prepare_segmenter",
    "prepare_classifier",
    "segment",
    "classify",
    "reclassify",
    "explain",
    "classify_case",
    "rate",
    "estimate",
    "predict_slide_risk",
)
WRONG = (None, True, -1, "x", "", [], {}, [[]], "../../victim/photo.png", "\x00", "9" * 5000, 1e308, {"a": {"b": []}})
LAST = {"id": 99, "verb": "no-such-verb", "arguments": {}}


def conversation(lines: list[str]) -> list[dict[str, Any]]:
    """What the worker answers to lines, in this process."""
    from napari_melanoma.worker import REQUESTS, serve

    events = io.StringIO()
    serve(REQUESTS.members, lines, events)
    return [json.loads(line) for line in events.getvalue().splitlines()]


def check(events: list[dict[str, Any]], foreseen: bool = True) -> str:
    """The last request must have been answered, and every failure in words for a person."""
    if not events or events[-1].get("id") != 99 or events[-1].get("kind") != "failed":
        return f"the request after it was not answered: {str(events[-1:])[:200]}"
    odd = [event for event in events if foreseen and FORESEEN.search(str(event.get("message", "")))]
    return f"an unexpected error: {odd[0]['message'][:200]}" if odd else ""


def malformed_lines(rng: Generator, box: Sandbox) -> Case:
    kinds = [
        "",
        "{",
        "null",
        "[]",
        "3",
        '"x"',
        "[" * 100_000,
        "9" * 6000,
        '{"id": 1}',
        '{"verb": "prepare_segmenter"}',
        '{"id": {}, "verb": []}',
    ]
    kinds += [
        '{"id": 1, "verb": "prepare_segmenter", "arguments": []}',
        '{"id": 1, "verb": "prepare_segmenter", "arguments": null}',
        "\x00",
        "{'id': 1}",
    ]
    kinds += [
        '{"id": NaN, "verb": "prepare_segmenter", "arguments": {}}',
        '{"a":' * 100_000,
        '{"id": 1, "verb": "\\ud800", "arguments": {}}',
    ]
    lines = [*rng.choice(kinds, 3), json.dumps(LAST)]
    return Case(lambda: conversation(lines), "", check)


def wrong_arguments(rng: Generator, box: Sandbox) -> Case:
    """A verb that there is, with arguments that are missing, of another type, or name files that are none."""
    image = written(box.inputs / "image.npy", rng.bytes(300))
    known = {
        "model": "lesion-small",
        "image": str(image),
        "mask": None,
        "out": str(box.outputs / "o.npy"),
        "how": "entropy",
    }
    known |= {
        "row": {},
        "options": {},
        "method": "grad_cam",
        "recipe": {},
        "case": str(box.inputs),
        "folder": str(box.inputs),
    }
    for key in rng.choice(list(known), 3, replace=False):
        known[str(key)] = WRONG[int(rng.integers(len(WRONG)))]
        if rng.random() < 0.3:
            del known[str(key)]
    request = {"id": 1, "verb": str(rng.choice(VERBS)), "arguments": known}
    lines = [json.dumps(request), json.dumps(LAST)]
    return Case(lambda: conversation(lines), "", check, seconds=20, megabytes=2500)


def hostile_arrays(rng: Generator, box: Sandbox) -> Case:
    """An array that is cut off, an object array (a pickle), of giant shape, or of another type."""
    path = box.inputs / "image.npy"
    rgb = np.zeros((20, 20, 3), np.uint8)
    odd: list[Any] = [
        np.array([{"a": 1}], dtype=object),
        rgb.astype(np.float64) * np.nan,
        rgb[..., 0],
        rgb[:0],
        rgb[None],
    ]
    kind = int(rng.integers(len(odd) + 2))
    if kind < len(odd):
        np.save(path, odd[kind], allow_pickle=True)
    else:
        np.save(path, rgb)
        content = path.read_bytes()
        giant = content.replace(b"(20, 20, 3)", b"(99999,99999,3)")
        written(path, content[: len(content) // 2] if kind == len(odd) else giant)
    arguments = {"model": "lesion-small", "image": str(path), "out": str(box.root / "box" / "o.npy")}
    lines = [json.dumps({"id": 1, "verb": "segment", "arguments": arguments}), json.dumps(LAST)]
    return Case(lambda: conversation(lines), "", check, seconds=20, megabytes=2500)


def real_process(rng: Generator, box: Sandbox) -> Case:
    """The worker as the viewer starts it, over pipes, with bytes that are no text."""
    lines = [rng.bytes(int(rng.integers(1, 200))).replace(b"\n", b"") for _ in range(3)]
    data = b"\n".join([*lines, b"{", b"\xff\xfe", json.dumps(LAST).encode(), b""])

    def act() -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "napari_melanoma.worker"]
        done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    return Case(act, "", check, seconds=60)


FAULTS = {fault.__name__: fault for fault in (malformed_lines, wrong_arguments, hostile_arrays, real_process)}
