"""Fitzpatrick17k: clinical photographs from two atlases, with skin types; its table has their web addresses."""

from __future__ import annotations

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import join_records, read_image_rows

SPEC = SourceSpec(
    name="fitzpatrick17k",
    title="Fitzpatrick17k",
    licence="CC BY-NC-SA 3.0",
    url="https://github.com/mattgroh/fitzpatrick17k",
    modality="macroscopic",
    reference="Groh et al. 2021, arXiv:2104.09957",
    layout="""\
fitzpatrick17k.csv or fitzpatrick17k.csv.gz (16577 rows)
optional: the images <md5hash>.jpg in any folder; the table has their addresses (url)""",
    images=16577,
    ids=r"[0-9a-f]{32}",
)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find images and rows; according to the authors, many labels are wrong (column ``qc``)."""
    rows = read_image_rows(tree, r"fitzpatrick17k\w*\.csv", SPEC.name)
    images = tree.find_files("", r"([0-9a-f]{32})\.(?:jpe?g|png)")
    return join_records(images, {}, rows, {"modality": SPEC.modality})
