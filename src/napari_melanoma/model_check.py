"""Run the default model, and print the back end that ran it as JSON; a separate program, as it may crash."""

from __future__ import annotations

import json
import sys
import time


def check_model() -> dict[str, object]:
    """Segment an empty photograph with the default model.

    Returns ``model`` (its name), ``backend`` and ``version`` (of the back end), ``device``, ``reason`` (why it was
    chosen) and ``seconds`` (from loading to the result), or ``error``.
    """
    import numpy as np

    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.core.provenance import installed_version
    from napari_melanoma.models import DEFAULT_BUNDLE
    from napari_melanoma.models.inference import choose_backend, load_inference
    from napari_melanoma.models.installed_bundles import find_bundle

    started = time.monotonic()
    try:
        info = find_bundle(DEFAULT_BUNDLE)
        choice, network, side = choose_backend(info), load_inference(info), info.config.input_size
        network.run("segment", image=np.zeros((1, 3, side, side), np.float32))
    except MelanomaError as error:
        return {"error": str(error)}
    return {
        "model": info.name,
        "backend": choice.backend,
        "version": installed_version(choice.backend),
        "device": network.device,
        "reason": choice.reason,
        "seconds": time.monotonic() - started,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(check_model()) + "\n")
