"""SMARTSKINS: smartphone images of melanocytic lesions, distributed by its authors after registration.

The names of its folders and files are not published. So images and masks are paired by their names, and dermoscopic
images are recognized by the names of their folders; check an import with ``data report``.
"""

from __future__ import annotations

import re

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import pair_records, read_image_rows

SPEC = SourceSpec(
    name="smartskins",
    title="SMARTSKINS",
    licence="research and education only, no redistribution and no commercial use",
    url="http://smartskins.projects.fraunhofer.pt/dataset.html",
    modality="macroscopic",
    reference="Vasconcelos, Rosado and Ferreira 2014, doi:10.1007/978-3-319-14364-4_3",
    layout="""\
images of the smartphone (80 have a mask in the literature), in folders of any name
masks of the same name in a folder with 'mask' or 'ground truth' in its name, or beside them as <image>_mask.png
optional: a table *.csv with a column image, image_id or filename; folders named after the dermoscope
(dermoscope, dermoscopy, DL3) are left out""",
    folders="smartskins",
)
DERMOSCOPE = re.compile(r"dermosc|dermlite|(?:^|[ _/-])DL3", re.IGNORECASE)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the macroscopic images that have a mask."""
    phone = tree.filter_files(lambda file: not DERMOSCOPE.search(file.name))
    rows = read_image_rows(phone, r".+\.csv", SPEC.name)
    records = pair_records(phone, rows, {"modality": SPEC.modality})
    return [record for record in records if record.mask is not None]
