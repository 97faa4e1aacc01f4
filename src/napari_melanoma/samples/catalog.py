"""The samples: where their files lie, what is published of each, and whether the files of an installation are intact.

``samples.csv`` has a row for each image, in the columns of the harmonized table where one fits. The scale is that of a
line between two ticks of the ruler in the photograph, which was read once by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from napari_melanoma.core.csv_files import CsvError, CsvWriter, read_csv_dicts
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import atomic_file, hash_file, save_error
from napari_melanoma.core.geometry import PixelSize

FOLDER = Path(__file__).parent
TABLE = FOLDER / "samples.csv"
REINSTALL = "Reinstall napari-melanoma: pip install --force-reinstall --no-deps napari-melanoma"
# The samples that are offered by name
MELANOMA, NEVUS, KERATOSIS = "ISIC_0013232", "ISIC_0012660", "ISIC_0014382"
SLIDE = "skin_morphea_20x"
CASE_FOLDER = "two lesions of the neck"  # of the sample case, in the user's own data
CASE_PATIENT, CASE_IMAGE = "PAT_433", "PAT_433_852_20.jpg"  # a melanoma, and another lesion of the patient
# Columns of the table that the patient data of a photograph may have
PATIENT_COLUMNS = ("age", "sex", "site", "sub_site", "fitzpatrick", "itch", "hurt", "bleed", "elevation")
CASE_COLUMNS = (
    *("image_id", "patient_id", "lesion_id", "modality", "diagnosis", "diagnosis_by"),
    *(*PATIENT_COLUMNS, "diameter_1_mm", "diameter_2_mm"),
)
Point = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """An image of the package with what is published of it.

    ``mask_path``: the published mask; None if there is none. ``ruler``: the ends of a line over the ruler in the
    photograph, (row, column) in pixels, and its length in mm; None without a ruler. ``row``: the cells of the table
    that are not empty, by column.
    """

    name: str
    title: str
    path: Path
    mask_path: Path | None
    modality: str
    diagnosis: str
    ruler: tuple[Point, Point, float] | None
    row: Mapping[str, str]

    @property
    def pixel_size(self) -> PixelSize | None:
        """The size of a pixel by the ruler; None without a ruler."""
        if self.ruler is None:
            return None
        return PixelSize(float(self.row["mpp_y"]), float(self.row["mpp_x"]), "ruler")

    @property
    def patient(self) -> dict[str, str]:
        """The patient data as texts, by column of the harmonized table."""
        return {name: self.row[name] for name in PATIENT_COLUMNS if name in self.row}

    @property
    def credit(self) -> str:
        """The attribution to state where the image is shown, with its source and its license."""
        return f"{self.row['source']} ({self.row['licence']}): {self.row['attribution']}"

    @property
    def files(self) -> dict[Path, str]:
        """The files with their SHA-256 digests."""
        masks = {} if self.mask_path is None else {self.mask_path: self.row["mask_sha256"]}
        return {self.path: self.row["sha256"], **masks}


@cache
def load_samples() -> Mapping[str, Sample]:
    """Read the table; return the samples by name. Raises ``InputError`` if it is missing or damaged."""
    try:
        with TABLE.open(encoding="utf-8", newline="") as file:
            samples = [_parse_row(row) for row in read_csv_dicts(file, strict=True)]
        by_name = {sample.name: sample for sample in samples}
        for name in (MELANOMA, NEVUS, KERATOSIS, SLIDE):
            by_name[name]
    except (OSError, ValueError, KeyError, CsvError) as error:
        raise InputError(f"the table of the samples, {TABLE}, is missing or damaged. {REINSTALL}.") from error
    return MappingProxyType(by_name)


def get_sample(name: str) -> Sample:
    """Return a sample whose files are intact; raises ``InputError`` otherwise."""
    sample = load_samples()[name]
    problem = _find_problem(sample)
    if problem:
        raise InputError(f"the sample '{sample.title}' cannot be opened: {problem}. {REINSTALL}.")
    return sample


def find_damaged_files() -> list[str]:
    """Describe each file of the samples that is missing or damaged; raises ``InputError`` if their table is so."""
    return [problem for sample in load_samples().values() if (problem := _find_problem(sample))]


def find_by_path(path: Path) -> Sample | None:
    """Return the sample that is the file at a path; None for other files."""
    if FOLDER not in path.parents:
        return None
    return next((sample for sample in load_samples().values() if sample.path == path), None)


def find_credit(path: Path) -> str:
    """Return the attribution of an image that is a sample or a copy of one, by its content; empty for other files."""
    with suppress(OSError, InputError):
        size = path.stat().st_size
        same_size = [sample for sample in load_samples().values() if sample.row["bytes"] == str(size)]
        if same_size and path.is_file():
            digest = hash_file(path)
            return next((sample.credit for sample in same_size if sample.row["sha256"] == digest), "")
    return ""


def shorten_credit(credit: str) -> str:
    """Return an attribution without the identifier of its publication, for a narrow dock."""
    return re.split(r", (?:doi|arXiv):", credit)[0]


def copy_case(folder: Path) -> Path:
    """Write the photographs of a patient with two lesions, and a table of what is known, into a folder; return it.

    The Case dock and ``napari-melanoma case`` make a case from them. Raises ``InputError`` if a sample is missing or
    damaged, and ``SaveError`` if the folder cannot be written.
    """
    samples = [get_sample(name) for name, one in load_samples().items() if one.row.get("patient_id") == CASE_PATIENT]
    try:
        for sample in samples:
            with atomic_file(folder / sample.path.name) as temporary:
                temporary.write_bytes(sample.path.read_bytes())
        with atomic_file(folder / "lesions.csv") as temporary, temporary.open("w", encoding="utf-8") as table:
            CsvWriter(table).write_dicts(CASE_COLUMNS, [sample.row for sample in samples])
    except OSError as error:
        raise save_error(folder, error) from error
    return folder


def _parse_row(row: Mapping[str, str]) -> Sample:
    known = {name: text for name, text in row.items() if text}
    ruler = None
    if "ruler_mm" in known:
        y1, x1, y2, x2 = (float(known[f"ruler_{end}_px"]) for end in ("y1", "x1", "y2", "x2"))
        ruler = (y1, x1), (y2, x2), float(known["ruler_mm"])
    return Sample(
        name=known["image_id"],
        title=known["title"],
        path=FOLDER / known["path"],
        mask_path=FOLDER / known["mask_path"] if "mask_path" in known else None,
        modality=known["modality"],
        diagnosis=known.get("diagnosis", ""),
        ruler=ruler,
        row=MappingProxyType(known),
    )


def _find_problem(sample: Sample) -> str:
    """Return which file of a sample is missing or damaged; empty if all are intact."""
    for path, expected in sample.files.items():
        if not path.is_file():
            return f"{path} is missing"
        try:
            if hash_file(path) != expected:
                return f"{path} is damaged: its content is not that of the package"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror})"
    return ""
