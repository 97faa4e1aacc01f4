"""The structure of all classifiers: encoder, fusion with tabular inputs, and head; imports torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, pad

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.prediction_config import TabularShape
from napari_melanoma.models.blocks.options import Fusion, FusionConfig


class ClassifierNetwork(nn.Module):
    """A network that classifies a lesion from its image and tabular inputs.

    ``forward`` equals ``classify(encode(images), continuous, categories)``, so the result of ``encode`` can be reused
    with other tabular inputs.

    ``encoder``: maps float (batch, 3, row, column) to a list of feature maps, the deepest last. ``head``: maps vectors
    (batch, width) to logits. ``adapter``: of a network that was adapted to a clinic.
    """

    def __init__(
        self,
        encoder: nn.Module,
        fusion: FusionBlock,
        head: nn.Module,
        tabular: TabularShape,
        adapter: LinearAdapter | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.fusion = fusion
        self.head = head
        self.adapter = adapter
        self.tabular = tabular if fusion.table is not None else TabularShape()

    @property
    def predicts_depth(self) -> bool:
        """Whether the network also predicts a depth, as ``BiomarkerNetwork`` does."""
        return False

    @property
    def image_maps(self) -> int:
        """Number of the deepest maps that describe the image; 0 for all."""
        return 0

    @property
    def has_spatial_attention(self) -> bool:
        return False

    def compute_attention(self, images: Tensor) -> Tensor | None:
        """Return the spatial attention weights.

        ``images``: normalized float (batch, 3, row, column). Returns float (batch, 1, row, column) in [0, 1]; None
        without attention.
        """
        return None

    def forward(self, images: Tensor, continuous: Tensor | None = None, categories: Tensor | None = None) -> Tensor:
        """Return logits, float (batch, class).

        ``images``: normalized float (batch, 3, row, column), sides of 64 or more. ``continuous``: float (batch,
        input); None without such inputs. ``categories``: int64 (batch, embedding); None without such inputs.
        """
        return self.classify(self.encode(images), continuous, categories)

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return feature maps.

        ``images``: normalized float (batch, 3, row, column). Returns the deepest last, each float (batch, channel, row,
        column).
        """
        maps: list[Tensor] = self.encoder(images)
        return maps

    def classify(
        self, maps: Sequence[Tensor], continuous: Tensor | None = None, categories: Tensor | None = None
    ) -> Tensor:
        """Classify encoded images with tabular inputs.

        ``continuous``: float (batch, input); None without such inputs. ``categories``: int64 (batch, embedding); None
        without such inputs. Returns logits, float (batch, class).
        """
        logits: Tensor = self.head(self.fusion(maps[-1], continuous, categories))
        return logits if self.adapter is None else self.adapter(logits, self.embed(maps))

    def embed(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the means of the deepest maps, float (batch, feature), which do not depend on tabular inputs."""
        return pool_maps(maps[-1])


class LinearAdapter(nn.Module):
    """Logits of an adapted network: a linear function of the logits of its head and of the mean embedding.

    Both are averaged over the positions and views of an image, so the adapted logits of the averages are the averages
    of the adapted logits. ``head_classes``: number of logits of the head.
    """

    def __init__(self, head_classes: int, features: int, classes: int) -> None:
        super().__init__()
        self.mix = nn.Linear(head_classes, classes, bias=False)
        self.embedding = nn.Linear(features, classes)

    def forward(self, logits: Tensor, embedding: Tensor) -> Tensor:
        """Return logits, float (batch, class), of those of the head and embeddings, float (batch, feature)."""
        adapted: Tensor = self.mix(logits) + self.embedding(embedding)
        return adapted


class LinearHead(nn.Sequential):
    """One linear layer, as in P1.

    ``classes``: number of logits.
    """

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__(nn.Dropout(dropout), nn.Linear(width, classes))


class TwoLayerHead(nn.Module):
    """P2's head: two linear layers with ReLU, batch normalization and dropout between them, and a sigmoid.

    For two classes it has one logit; 0 is added for the other class, so that softmax equals the sigmoid.

    ``classes``: number of logits.
    """

    def __init__(self, width: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.has_one_logit = classes == 2
        self.layers = nn.Sequential(
            *make_layers((width, hidden), dropout), nn.Linear(hidden, 1 if self.has_one_logit else classes)
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits, float (batch, class), of vectors (batch, width)."""
        logits: Tensor = self.layers(vectors)
        return pad(logits, (1, 0)) if self.has_one_logit else logits


class LayeredHead(nn.Sequential):
    """P3's head: fully connected layers with ReLU (128 and 64 wide in the paper), and a linear layer for the classes.

    ``classes``: number of logits.
    """

    def __init__(self, width: int, hidden: Sequence[int], classes: int, dropout: float) -> None:
        widths = (width, *hidden)
        super().__init__(*make_layers(widths, dropout, normalized=False), nn.Linear(widths[-1], classes))


class FusionBlock(nn.Module):
    """Base of the fusion methods; ``width`` is the length of the output vector."""

    uses_table = True
    normalizes_numbers = True

    def __init__(self, features: int, config: FusionConfig) -> None:
        super().__init__()
        self.table = TableInputs(config.tabular, normalize=self.normalizes_numbers) if self.uses_table else None
        self.width = self._make_layers(features, config)

    def _make_layers(self, features: int, config: FusionConfig) -> int:
        """Create the layers and return the length of the output vector; by default that of the image features."""
        return features

    def forward(self, maps: Tensor, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Return vectors, float (batch, width).

        ``maps``: the deepest maps, float (batch, channel, row, column). ``continuous``: float (batch, input).
        ``categories``: int64 (batch, embedding).
        """
        return pool_maps(maps) if self.table is None else self.join(maps, self.table(continuous, categories))

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Join image and table; implemented by subclasses.

        ``maps``: the deepest maps, float (batch, channel, row, column). ``row``: the tabular inputs as one vector,
        float (batch, input). Returns float (batch, width).
        """
        raise NotImplementedError


class ImageOnlyFusion(FusionBlock):
    """The image alone, without tabular inputs."""

    uses_table = False


class TableOnlyFusion(FusionBlock):
    """The tabular inputs alone, without the image."""

    def _make_layers(self, features: int, config: FusionConfig) -> int:
        self.network = _make_tabular_net(config)
        return config.out_features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Ignore the maps."""
        vectors: Tensor = self.network(row)
        return vectors


class ConcatenationFusion(FusionBlock):
    """P1: vectors of the same length from image and table, concatenated."""

    def _make_layers(self, features: int, config: FusionConfig) -> int:
        self.image = nn.Linear(features, config.out_features)
        self.network = _make_tabular_net(config)
        return 2 * config.out_features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Concatenate both."""
        return torch.cat([self.image(pool_maps(maps)), self.network(row)], dim=1)


class AnnexBFusion(FusionBlock):
    """P2, Annex B: image features concatenated with the output of fully connected layers for the table.

    The paper scales the numbers to [0, 1], and does not normalize them otherwise.
    """

    normalizes_numbers = False

    def _make_layers(self, features: int, config: FusionConfig) -> int:
        widths = (config.tabular.width, *config.tabular_layers)
        self.network = nn.Sequential(*make_layers(widths, config.tabular_dropout))
        return features + widths[-1]

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Concatenate both."""
        return torch.cat([pool_maps(maps), self.network(row)], dim=1)


class MetaBlockFusion(FusionBlock):
    """The table scales and shifts each map, between tanh and sigmoid.

    Pacheco and Krohling 2021, doi:10.1109/JBHI.2021.3062002: sigmoid(tanh(V f(x)) + g(x)).
    """

    def _make_layers(self, features: int, config: FusionConfig) -> int:
        width = config.tabular.width
        self.scale = nn.Sequential(nn.Linear(width, features), RowNorm(features))
        self.shift = nn.Sequential(nn.Linear(width, features), RowNorm(features))
        return features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Weight the maps, then average them."""
        scale, shift = self.scale(row)[..., None, None], self.shift(row)[..., None, None]
        return pool_maps(((maps * scale).tanh() + shift).sigmoid())


class FilmFusion(FusionBlock):
    """The table scales and shifts each map; initially it changes nothing.

    The mean of a scaled and shifted map is its scaled and shifted mean, so only the means are computed.
    Perez et al. 2018, doi:10.1609/aaai.v32i1.11671.
    """

    def _make_layers(self, features: int, config: FusionConfig) -> int:
        widths = (config.tabular.width, *config.tabular_layers[:1])
        hidden, last = make_layers(widths, config.tabular_dropout), nn.Linear(widths[-1], 2 * features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Sequential(*hidden), last)
        return features

    def join(self, maps: Tensor, row: Tensor) -> Tensor:
        """Weight the means of the maps."""
        scale, shift = self.network(row).chunk(2, dim=1)
        return pool_maps(maps) * (1 + scale) + shift


FUSIONS: dict[Fusion, Callable[[int, FusionConfig], FusionBlock]] = {
    "concat": ConcatenationFusion,
    "annex_b": AnnexBFusion,
    "metablock": MetaBlockFusion,
    "film": FilmFusion,
    "none": ImageOnlyFusion,
    "tabular": TableOnlyFusion,
}


def build_fusion(features: int, config: FusionConfig) -> FusionBlock:
    """Create the fusion block of a configuration; without tabular inputs it uses the image alone."""
    if config.fusion == "tabular" and not config.tabular.width:
        raise ConfigError('fusion = "tabular" needs tabular inputs, found none. Select columns, or another fusion.')
    return FUSIONS[config.fusion if config.tabular.width else "none"](features, config)


def pool_maps(maps: Tensor) -> Tensor:
    """Average each map.

    ``maps``: float (batch, channel, row, column). Returns float (batch, channel).
    """
    return maps.mean(dim=(2, 3))


def _make_tabular_net(config: FusionConfig) -> nn.Sequential:
    """Create P1's layers for the tabular inputs, those of fastai's ``TabularModel`` (Howard and Gugger 2020)."""
    widths = (config.tabular.width, *config.tabular_layers)
    layers = make_layers(widths, config.tabular_dropout, bias=False)
    return nn.Sequential(*layers, nn.Linear(widths[-1], config.out_features))


def make_layers(
    widths: Sequence[int], dropout: float, *, normalized: bool = True, bias: bool = True
) -> list[nn.Module]:
    """Create linear layers, each with ReLU, batch normalization if ``normalized``, and dropout."""
    return [
        part
        for wide, narrow in pairwise(widths)
        for part in (
            nn.Linear(wide, narrow, bias=bias),
            nn.ReLU(),
            *([RowNorm(narrow)] if normalized else []),
            nn.Dropout(dropout),
        )
    ]


EMBEDDING_STD = 0.01  # initial standard deviation of embeddings, as in fastai


class RowNorm(nn.BatchNorm1d):
    """Batch normalization of rows; a single training row is normalized with the running statistics."""

    def forward(self, rows: Tensor) -> Tensor:
        """Normalize rows, float (batch, feature)."""
        if self.training and len(rows) < 2:
            return batch_norm(rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(rows)


class TableInputs(nn.Module):
    """Joins tabular inputs to one vector: an embedding of each category, and the numbers.

    ``normalize``: apply batch normalization to the numbers.
    """

    def __init__(self, shape: TabularShape, *, normalize: bool = True) -> None:
        super().__init__()
        silent = shape.silent or (False,) * len(shape.cardinalities)
        sizes = zip(shape.cardinalities, shape.widths, silent, strict=True)
        self.embeddings = nn.ModuleList(_make_embedding(count, width, zeros) for count, width, zeros in sizes)
        self.norm = RowNorm(shape.continuous) if shape.continuous and normalize else None
        self.width = shape.width

    def forward(self, continuous: Tensor | None, categories: Tensor | None) -> Tensor:
        """Return vectors, float (batch, width).

        ``continuous``: float (batch, input); None without such inputs. ``categories``: int64 (batch, embedding); None
        without such inputs.
        """
        parts = [] if categories is None else [table(categories[:, at]) for at, table in enumerate(self.embeddings)]
        if continuous is not None:
            parts.append(continuous if self.norm is None else self.norm(continuous))
        return torch.cat(parts, dim=1)


def _make_embedding(count: int, width: int, zeros: bool) -> nn.Embedding:
    """Create an embedding; with ``zeros``, the embedding of index 0 (unknown) stays zero."""
    table = nn.Embedding(count, width, padding_idx=0 if zeros else None)
    nn.init.trunc_normal_(table.weight[1:] if zeros else table.weight, std=EMBEDDING_STD)
    return table
