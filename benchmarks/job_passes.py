"""Share of the passes of networks in the processor time of a command, and for ``adapt`` that of the embeddings.

    python benchmarks/job_passes.py lesion FOLDER --out results --classify
    python benchmarks/job_passes.py adapt melanoma-small DATASET --out adapted

The command runs in this process on one thread, so that the time of a pass is that of the thread that waits for it.
Embeddings include reading and recognizing their photographs. With the imports, which matter for few photographs.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything reads it

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest import mock

from napari_melanoma.classification.embeddings import EmbeddingStore
from napari_melanoma.cli import app
from napari_melanoma.models.inference import OnnxNetwork


def main() -> None:
    """Run the command, and print its seconds of the processor."""
    spent: defaultdict[str, float] = defaultdict(float)
    lock = threading.Lock()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - of any function
            started = time.thread_time()
            try:
                return function(*args, **options)
            finally:
                with lock:
                    spent[name] += time.thread_time() - started

        return call

    with (
        mock.patch.object(OnnxNetwork, "run", timed("passes", OnnxNetwork.run)),
        mock.patch.object(EmbeddingStore, "embed", timed("embeddings", EmbeddingStore.embed)),
    ):
        app(sys.argv[1:], standalone_mode=False)
    total = time.process_time()
    shares = ", ".join(f"{name} {value:.1f} s, {value / total:.2f} of them" for name, value in spent.items())
    print(f"{' '.join(sys.argv[1:3])}: {total:.1f} s of the processor; {shares}")


if __name__ == "__main__":
    main()
