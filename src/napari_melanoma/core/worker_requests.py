"""The lines that are exchanged with the worker process: a JSON object for each request, and for each of its events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from napari_melanoma.core.context import Progress
from napari_melanoma.core.errors import recreate_error


class WorkerResult(NamedTuple):
    """The result of a request."""

    value: Any


def format_request(number: int, verb: str, arguments: Mapping[str, object]) -> bytes:
    """Return the line of a request; ``number``: identifies its events."""
    return json.dumps({"id": number, "verb": verb, "arguments": arguments}).encode() + b"\n"


def parse_event(line: bytes, number: int) -> Progress | WorkerResult | Exception | None:
    """Return what a line states about a request: progress, its result, or its error; None for another request."""
    event = json.loads(line)
    if event.pop("id") != number:
        return None
    kind = event.pop("kind")
    if kind == "progressed":
        return Progress(**event)
    return WorkerResult(event["result"]) if kind == "succeeded" else recreate_error(event["type"], event["message"])
