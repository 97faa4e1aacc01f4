"""A worker whose encoder is the mean color of each cell; the name of the weights selects a fault."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, MARGIN_CELLS
from napari_melanoma.worker import main


def open_encoder(arguments, run):
    if Path(arguments["weights"]).name == "foreign":
        raise BundleError("the weights belong to another network")
    return {"fingerprint": "f", "length": 3, "licence": "free", "mpp": 32 / 56}


def encode_blocks(arguments, run):
    if Path(arguments["weights"]).name == "dies":
        os.write(2, b"out of memory\n")
        os._exit(3)
    blocks = np.load(arguments["image"])
    cell = blocks.shape[1] // (BLOCK_CELLS + 2 * MARGIN_CELLS)
    inner = blocks[:, cell * MARGIN_CELLS :, cell * MARGIN_CELLS :][:, : cell * BLOCK_CELLS, : cell * BLOCK_CELLS]
    cells = inner.reshape(len(blocks), BLOCK_CELLS, cell, BLOCK_CELLS, cell, 3)
    np.save(arguments["out"], cells.mean(axis=(2, 4)).astype(np.float16))
    return {}


if __name__ == "__main__":
    main({"open_encoder": open_encoder, "encode_blocks": encode_blocks})
