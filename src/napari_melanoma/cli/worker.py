"""``worker``: the process that answers the docks; people do not start it."""

from __future__ import annotations

from napari_melanoma.cli.options import examples

HELP = examples(
    "napari-melanoma worker < requests.jsonl",
    "python -m napari_melanoma worker",
    "Answer requests, a JSON object a line, on standard output. The docks start it; it ends with its input.",
)


def worker() -> None:
    """Answer the docks."""
    import typer

    from napari_melanoma.worker import main

    raise typer.Exit(main())
