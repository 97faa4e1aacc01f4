"""Dermofit Image Library: macroscopic images, sorted into folders of ten classes with a folder for each lesion."""

from __future__ import annotations

import re
from dataclasses import replace

from napari_melanoma.data.source_catalog import SourceRecord, SourceSpec
from napari_melanoma.data.source_files import SourceTree
from napari_melanoma.data.source_records import pair_records

SPEC = SourceSpec(
    name="dermofit",
    title="the Dermofit Image Library",
    licence="by agreement with Edinburgh Innovations, for a fee; no redistribution",
    url="https://homepages.inf.ed.ac.uk/rbf/DERMOFIT/",
    modality="macroscopic",
    reference="Ballerini et al. 2013, doi:10.1007/978-94-007-5389-1_4",
    layout="""\
AK/<lesion>/<lesion>.png (45) and AK/<lesion>/<lesion>mask.png
and likewise BCC (239), DF (65), IEC (78), MEL (76), ML (331), PYO (24), SCC (88), SK (257), VASC (97)
each class a folder, or the zip file of that name""",
    images=1300,
    folders="dermofit",
)
CLASS = re.compile(r"(?:^|/)(AK|BCC|DF|IEC|MEL|ML|PYO|SCC|SK|VASC)/", re.IGNORECASE)


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images; the folder names their class, and the set does not name patients."""
    within = tree.filter_files(lambda file: CLASS.search(file.name) is not None)
    records = pair_records(within, {}, {"modality": SPEC.modality})
    return [replace(record, values={**record.values, "diagnosis": _find_class(record)}) for record in records]


def _find_class(record: SourceRecord) -> str:
    """Return the innermost folder that is named after a class."""
    return str(CLASS.findall(record.image.name)[-1]) if record.image else ""
