"""What can be imported: the public collections of photographs, a table of declarations with one reader, and all others.

Those are the collections of slides (``data.clinical_collections``), formats of other programs (``data.formats``) and
plug-ins. A set is read as downloaded, unpacked or not, in its own columns and words; ``data.dataset_import`` harmonizes
it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from napari_melanoma.core.csv_files import CsvReader
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.paths import free_name
from napari_melanoma.core.plugins import module_family
from napari_melanoma.data import formats
from napari_melanoma.data.cell_values import parse_number
from napari_melanoma.data.clinical_collections import SLIDE_COLLECTIONS
from napari_melanoma.data.dataset import PackedRow, unpack_row
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import (
    DataSource,
    RowsByImage,
    SourceRecord,
    SourceSpec,
    join_records,
    pair_records,
    read_image_rows,
    read_table_rows,
)

ISIC_ID = r"(ISIC_\d{7})(?:_downsampled)?"  # the ISIC archive assigns each id to one image permanently
ISIC_URL = "https://challenge.isic-archive.com/data/#"
NON_COMMERCIAL = "CC BY-NC 4.0"
Row = Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """A part of a collection: patterns of the folders of its images and masks, and of the names of its tables."""

    split: str = ""
    images: str = ""
    masks: str = ""
    tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """The layout of a collection.

    ``image`` and ``mask``: patterns of file names, with the image id as their first group. ``read``: reads the tables
    of a name. ``convert``: returns the values of a row of an image; None if the row is not of the collection.
    ``name_values``: returns the values that are in an image id. ``only_listed``: other images than those in the tables
    are not of the collection. ``folder_first``: the split of an image is that of its folder, even if a table states
    another.
    """

    parts: tuple[Part, ...]
    image: str = r"(ISIC_\d+)\.(?:jpe?g|png)"
    mask: str = r"(ISIC_\d+)_segmentation\.png"
    read: Callable[[SourceTree, str, str], Mapping[str, Row]] = read_image_rows
    convert: Callable[[str, Row], Row | None] | None = None
    name_values: Callable[[str], Row] | None = None
    only_listed: bool = False
    folder_first: bool = False

    def find(self, tree: SourceTree, spec: SourceSpec) -> list[SourceRecord]:
        """Find the images with their masks and rows, and rows without an image, ordered by id.

        Of an image in several parts, the first counts, with its mask; of an image in the tables of several, the last.
        """
        rows: RowsByImage = {}
        images: dict[str, SourceFile] = {}
        masks: dict[str, SourceFile] = {}
        split_by_folder: dict[str, str] = {}
        for part in self.parts:
            of_part = self._read_rows(tree, part, spec.name)
            if part.split:
                of_part = {image_id: row.with_defaults({"split": part.split}) for image_id, row in of_part.items()}
            found = _find_in_folder(tree, part.images, self.image)
            found = {image_id: image for image_id, image in found.items() if image_id not in images}
            found_masks = _find_in_folder(tree, part.masks, self.mask)
            masks |= {key: mask for key, mask in found_masks.items() if key in found or key in of_part}
            images, rows = images | found, rows | of_part
            split_by_folder |= dict.fromkeys(found, part.split)
        if self.only_listed:
            images = {image_id: image for image_id, image in images.items() if image_id in rows}
        if self.folder_first:
            for image_id, split in split_by_folder.items():
                if image_id in rows and rows[image_id]["split"] != split:
                    rows[image_id] = PackedRow(unpack_row(rows[image_id]) | {"split": split})
        common = {
            split: {"modality": spec.modality, **({"split": split} if split else {})}
            for split in {"", *split_by_folder.values()}
        }

        def get_defaults(image_id: str) -> Row:
            values = common[split_by_folder.get(image_id, "")]
            return {**values, **self.name_values(image_id)} if self.name_values else values

        return join_records(images, masks, rows, get_defaults)

    def _read_rows(self, tree: SourceTree, part: Part, name: str) -> RowsByImage:
        rows: RowsByImage = {}
        for table in part.tables:
            for image_id, row in self.read(tree, table, name).items():
                values = self.convert(image_id, row) if self.convert else row
                if values is not None and image_id in rows:
                    values = unpack_row(rows[image_id]) | unpack_row(values)
                if values is not None:
                    rows[image_id] = values if isinstance(values, PackedRow) else PackedRow(values)
        return rows


def _find_in_folder(tree: SourceTree, folders: str, names: str) -> dict[str, SourceFile]:
    """Find files in folders whose names match a pattern; none if it is empty."""
    return tree.find_files(rf"(?:^|/)(?:{folders})(?:/|$)", names) if folders else {}


def parse_one_hot(row: Row, classes: Row) -> str:
    """Return the class from columns such as ``MEL,NV,BCC``, one of which is 1.0.

    ``classes``: column to class. Returns "" unless exactly one column is above 0.5.
    """
    matching = [word for column, word in classes.items() if (parse_number(row.get(column, "")) or 0) > 0.5]
    return matching[0] if len(matching) == 1 else ""


def _read_malignancy(tree: SourceTree, names: str, source: str) -> dict[str, Row]:
    """Read a table of ISIC 2016, which has no header; the diagnosis of benign lesions is not published."""
    rows: dict[str, Row] = {}
    for image_id, word, *_ in (row for row in CsvReader((tree.read_text(names) or "").splitlines()) if len(row) > 1):
        malignant = word.strip().lower() in ("malignant", "1", "1.0")
        diagnosis = {"diagnosis": "melanoma"} if malignant else {"target": "0"}
        rows[image_id.strip()] = {"melanoma": str(int(malignant)), **diagnosis}
    return rows


def _convert_isic2017(image_id: str, row: Row) -> Row:
    """Convert the columns of part 3; ``nevus`` is, as in the challenge, neither melanoma nor seborrheic keratosis."""
    if not {"melanoma", "seborrheic_keratosis"} & {*row}:
        return row  # age and sex
    melanoma, keratosis = ((parse_number(row.get(name, "")) or 0) > 0 for name in ("melanoma", "seborrheic_keratosis"))
    diagnosis = "melanoma" if melanoma else "seborrheic keratosis" if keratosis else "nevus"
    return {"diagnosis": diagnosis, "melanoma": str(int(melanoma))}


ISIC2019_CLASSES = {name: name for name in ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")}  # UNK is not a class


def _convert_isic2019(image_id: str, row: Row) -> Row:
    if not ISIC2019_CLASSES.keys() & {*row}:
        return row  # age, sex and site
    word = parse_one_hot(row, ISIC2019_CLASSES)
    return {"diagnosis": word} if word else {}


ISIC2020 = Layout(
    (  # one of the folders may be in the other: without a row, such an image is of the test set
        Part("test", r"ISIC_2020_Test_(?:JPEG|Input)|test"),
        Part(
            "train",
            r"ISIC_2020_Training_(?:JPEG|Input)|train",
            tables=(r"(?:ISIC_2020_Training_GroundTruth(?:_v2)?|train)\.csv",),
        ),
        Part("test", tables=(r"(?:ISIC_2020_Test_Metadata|test)\.csv",)),
    )
)


def _find_isic2020(tree: SourceTree, spec: SourceSpec) -> list[SourceRecord]:
    """Find images and rows; the second image of a duplicate pair, by name, gets ``near_duplicate_of``."""
    records = {record.image_id: record for record in ISIC2020.find(tree, spec)}
    for row in read_table_rows(tree, r"ISIC_2020_Training_Duplicates\.csv"):
        first, second = sorted((row.get("image_name_1", ""), row.get("image_name_2", "")))
        if first in records and second in records:
            values = PackedRow({"near_duplicate_of": first, **unpack_row(records[second].values)})
            records[second] = replace(records[second], values=values)
    return list(records.values())


def _convert_isic2024(image_id: str, row: Row) -> Row:
    """Rename the split in a list of labels: it is by the author of the list and may separate images of a patient."""
    if "split" not in row:
        return row
    return {"split_of_the_list" if name == "split" else name: text for name, text in row.items()}


def _find_biopsies(tree: SourceTree, spec: SourceSpec) -> list[SourceRecord]:
    """Find the rows of a pathology table, one for each biopsy, without record number and date, which identify a person.

    The case, which may have several biopsies, is used as the lesion.
    """
    records: dict[str, SourceRecord] = {}
    used: set[str] = set()
    without_case = 0
    for row in read_table_rows(tree, r".*pathology.*\.csv"):
        values = {name: text for name, text in row.items() if text and name not in ("mrn", "biopsy_date")}
        if case := row.get("case_id", ""):
            name = free_name(f"case_{case}", used)
            used.add(name.lower())
            records[name] = SourceRecord(name, None, None, {**values, "lesion_id": case})
        else:
            without_case += bool(values)
    if records and without_case:
        names = "row names" if without_case == 1 else "rows name"
        tree.notes.append(("case_id", f"{without_case} {names} no case: left out"))
    return [records[name] for name in sorted(records)]


def _convert_lesion_size(image_id: str, row: Row) -> Row:
    """Leave out a ``patient_id`` that only repeats the image id."""
    if row.get("patient_id") != image_id:
        return row
    return {name: text for name, text in row.items() if name != "patient_id"}


PAD_ID = r"PAT_\d+_\d+_\d+"
PAD = Layout(
    (Part(images=".*", tables=(r"(?:PAD-UFES-20_)?metadata\.csv",)),),
    image=rf"({PAD_ID})\.(?:png|jpe?g)",
    convert=lambda image_id, row: row if re.fullmatch(PAD_ID, image_id) else None,
    name_values=lambda name: {"patient_id": "_".join(name.split("_")[:2]), "lesion_id": name.split("_")[2]},
)


def _find_pad(tree: SourceTree, spec: SourceSpec) -> list[SourceRecord]:
    """Find the images; the number of a lesion, in the name, is unique within its patient."""
    masks = tree.find_files("", rf"({PAD_ID})_mask\.png") | tree.find_files(
        r"(?:^|/|[ _-])(?:lesion_)?masks?(?:/|$)", rf"({PAD_ID})(?:_mask|_segmentation)?\.(?:png|bmp)"
    )
    others = tree.filter_files(lambda file: "mask" not in file.name.lower() or file.suffix == ".csv")
    return [replace(record, mask=masks.get(record.image_id)) for record in PAD.find(others, spec)]


PH2_CLINICAL = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
PH2_COLORS = {"1": "white", "2": "red", "3": "light brown", "4": "dark brown", "5": "blue-grey", "6": "black"}
PH2_CRITERIA = (
    *("asymmetry_0_1_2", "pigment_network_AT_T", "dots_globules_A_AT_T", "streaks_A_P", "regression_areas_A_P"),
    "blue_whitish_veil_A_P",
)


def _read_ph2(tree: SourceTree, names: str, source: str) -> dict[str, Row]:
    """Read the table of PH2, whose cells are between single or double bars; diagnoses and colors are numbers."""
    rows: dict[str, Row] = {}
    for line in (tree.read_text(names) or "").splitlines():
        cells = [cell.strip() for cell in re.split(r"\|+", line.strip().strip("|"))]
        if len(cells) < 10 or not cells[0].startswith("IMD"):
            continue
        image_id, histology, code, *criteria = cells
        clinical = PH2_CLINICAL.get(code, "")
        rows[image_id] = {
            "diagnosis": clinical.rpartition(" ")[2],
            "clinical_diagnosis": clinical,
            "histological_diagnosis": histology,
            **dict(zip(PH2_CRITERIA, criteria, strict=False)),
            "colors": ", ".join(PH2_COLORS.get(number, number) for number in criteria[len(PH2_CRITERIA)].split()),
        }
    return rows


DERMOFIT_CLASS = re.compile(r"(?:^|/)(AK|BCC|DF|IEC|MEL|ML|PYO|SCC|SK|VASC)/", re.IGNORECASE)


def _find_dermofit(tree: SourceTree, spec: SourceSpec) -> list[SourceRecord]:
    """Find the images; the innermost folder named after a class states it."""
    records = pair_records(
        tree.filter_files(lambda file: bool(DERMOFIT_CLASS.search(file.name))), {}, {"modality": spec.modality}
    )
    classes = {record.image_id: DERMOFIT_CLASS.findall(record.image.name)[-1] for record in records if record.image}
    return [replace(record, values={**record.values, "diagnosis": classes[record.image_id]}) for record in records]


def _find_smartskins(tree: SourceTree, spec: SourceSpec) -> list[SourceRecord]:
    """Find the macroscopic images that have a mask.

    The names of the folders and files are not published. So images and masks are paired by their names, and dermoscopic
    images are recognized by the names of their folders; check an import with ``data report``.
    """
    dermoscope = re.compile(r"dermosc|dermlite|(?:^|[ _/-])DL3", re.IGNORECASE)
    phone = tree.filter_files(lambda file: not dermoscope.search(file.name))
    rows = read_image_rows(phone, r".+\.csv", spec.name)
    return [record for record in pair_records(phone, rows, {"modality": spec.modality}) if record.mask is not None]


def _find_itobos(tree: SourceTree, spec: SourceSpec) -> list[SourceRecord]:
    """Find the images and rows of each part; of an id in both parts, the record in ``train`` counts."""
    records: dict[str, SourceRecord] = {}
    for split in ("test", "train"):
        layout = Layout((Part(split, "images", tables=(r"(?:\w+_)?metadata\.csv",)),), image=r"(.+)\.(?:png|jpe?g)")
        part = tree.filter_files(partial(_is_within, split))
        records |= {record.image_id: record for record in layout.find(part, spec)}
    return [records[image_id] for image_id in sorted(records)]


def _is_within(folder: str, file: SourceFile) -> bool:
    return f"/{folder}/" in f"/{file.name.lower()}"


def _collection(
    spec: SourceSpec, layout: Layout | Callable[[SourceTree, SourceSpec], list[SourceRecord]]
) -> DataSource:
    find = layout.find if isinstance(layout, Layout) else layout
    return DataSource(spec, lambda tree: find(tree, spec))


def _parts(names: str, images: str, masks: str = "", *tables: str) -> tuple[Part, ...]:
    """Return the parts of a challenge with these names, which replace ``{}`` in the patterns."""
    splits = {"Training": "train", "Validation": "val", "Test": "test", "Test_v2": "test"}
    return (
        *(Part(splits[name], images.replace("{}", name), masks.replace("{}", name)) for name in names.split()),
        *(Part(splits[name], tables=tuple(table.replace("{}", name) for table in tables)) for name in names.split()),
    )


def _isic_spec(name: str, title: str, licence: str, reference: str, layout: str, images: int) -> SourceSpec:
    """Return the description of a challenge of ISIC; the year is at the end of its name."""
    year = name[-4:]
    url, folders = ISIC_URL + year, f"isic[-_ ]?{year}"
    return SourceSpec(name, title, licence, url, "dermoscopic", reference, layout, images, ISIC_ID, folders)


COLLECTIONS = (
    _collection(
        _isic_spec(
            "isic2016",
            "ISIC 2016 (part 1)",
            "CC0",
            "Gutman et al. 2016, arXiv:1605.01397",
            """\
ISBI2016_ISIC_Part1_Training_Data/ISIC_*.jpg (900), ISBI2016_ISIC_Part1_Test_Data (379)
ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_*_Segmentation.png, ISBI2016_ISIC_Part1_Test_GroundTruth
each a folder, or the zip file of that name; optional:
ISBI2016_ISIC_Part3_Training_GroundTruth.csv, ISBI2016_ISIC_Part3_Test_GroundTruth.csv""",
            1279,
        ),
        Layout(
            _parts(
                "Training Test",
                "ISBI2016_ISIC_Part1_{}_Data",
                "ISBI2016_ISIC_Part1_{}_GroundTruth",
                r"ISBI2016_ISIC_Part3B?_{}_GroundTruth\.csv",
            ),
            read=_read_malignancy,
            folder_first=True,
        ),
    ),
    _collection(
        _isic_spec(
            "isic2017",
            "ISIC 2017 (part 1)",
            "CC0",
            "Codella et al. 2018, arXiv:1710.05006",
            """\
ISIC-2017_Training_Data/ISIC_*.jpg (2000), ISIC-2017_Validation_Data (150), ISIC-2017_Test_v2_Data (600)
ISIC-2017_Training_Part1_GroundTruth/ISIC_*_segmentation.png, ISIC-2017_Validation_Part1_GroundTruth,
ISIC-2017_Test_v2_Part1_GroundTruth; each a folder, or the zip file of that name; optional:
ISIC-2017_Training_Part3_GroundTruth.csv, ISIC-2017_Training_Data_metadata.csv and those of the other parts""",
            2750,
        ),
        Layout(
            _parts(
                "Training Validation Test_v2",
                "ISIC-2017_{}_Data",
                "ISIC-2017_{}_Part1_GroundTruth",
                r"ISIC-2017_{}_Data_metadata\.csv",
                r"ISIC-2017_{}_Part3_GroundTruth\.csv",
            ),
            convert=_convert_isic2017,
            folder_first=True,
        ),
    ),
    _collection(
        _isic_spec(
            "isic2018",
            "ISIC 2018 (task 1)",
            NON_COMMERCIAL,
            "Codella et al. 2019, arXiv:1902.03368; Tschandl et al. 2018, doi:10.1038/sdata.2018.161",
            """\
ISIC2018_Task1-2_Training_Input/ISIC_*.jpg (2594), _Validation_Input (100), _Test_Input (1000)
ISIC2018_Task1_Training_GroundTruth/ISIC_*_segmentation.png, _Validation_GroundTruth, _Test_GroundTruth
each a folder, or the zip file of that name""",
            3694,
        ),
        Layout(_parts("Training Validation Test", "ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth")),
    ),
    _collection(
        _isic_spec(
            "isic2019",
            "ISIC 2019",
            NON_COMMERCIAL,
            "Tschandl et al. 2018, doi:10.1038/sdata.2018.161; Codella et al. 2018, arXiv:1710.05006; "
            "Hernandez-Perez et al. 2024, doi:10.1038/s41597-024-03387-w",
            """\
ISIC_2019_Training_Input/ISIC_*.jpg (25331), a folder or the zip file of that name
ISIC_2019_Training_GroundTruth.csv, ISIC_2019_Training_Metadata.csv
optional: ISIC_2019_Test_Input (8238), ISIC_2019_Test_Metadata.csv, ISIC_2019_Test_GroundTruth.csv""",
            25331,
        ),
        Layout(
            (  # the tables state the splits
                Part(images="ISIC_2019_(?:Training|Test)_Input"),
                *_parts("Training Test", "", "", r"ISIC_2019_{}_Metadata\.csv", r"ISIC_2019_{}_GroundTruth\.csv"),
            ),
            image=r"(ISIC_\d+(?:_downsampled)?)\.(?:jpe?g|png)",
            convert=_convert_isic2019,
        ),
    ),
    _collection(
        _isic_spec(
            "isic2020",
            "ISIC 2020 (SIIM-ISIC)",
            NON_COMMERCIAL,
            "Rotemberg et al. 2021, doi:10.1038/s41597-021-00815-z",
            """\
ISIC_2020_Training_JPEG/train/ISIC_*.jpg (33126), ISIC_2020_Training_Input or train
ISIC_2020_Training_GroundTruth_v2.csv, ISIC_2020_Training_GroundTruth.csv or train.csv
optional: ISIC_2020_Training_Duplicates.csv and the test part, which has no labels:
ISIC_2020_Test_JPEG or test (10982), ISIC_2020_Test_Metadata.csv or test.csv
each image folder a folder, or the zip file of that name""",
            33126,
        ),
        _find_isic2020,
    ),
    _collection(  # tested with the public test table and a list of labels; in the full table, few have a lesion_id
        SourceSpec(
            "isic2024",
            "ISIC 2024 (SLICE-3D)",
            NON_COMMERCIAL,
            f"{ISIC_URL}2024",
            "tbp_tile",
            "Kurtansky et al. 2024, doi:10.1038/s41597-024-03743-w",
            """\
train-image/image/ISIC_*.jpg (401059), image or ISIC_2024_Training_Input; a folder, or the zip file of that name
train-metadata.csv, or ISIC_2024_Training_GroundTruth.csv and ISIC_2024_Training_Supplement.csv
optional: test-metadata.csv and lists of labels, ISIC_2024_label_list*.csv
(train-image.hdf5 is not read: unpack train-image.zip; copyright_license has the licence of the permissive part)""",
            401059,
            ISIC_ID,
            "isic[-_ ]?2024(?![-_ ]?path)",
        ),
        Layout(
            (
                Part(
                    images="image|train-image|ISIC_2024_(?:Permissive_)?Training_Input",
                    tables=(
                        r"train-metadata\.csv"
                        r"|ISIC_2024_(?:Training|Permissive_Training)_(?:GroundTruth|Supplement|Metadata)\.csv"
                        r"|(?:ISIC_2024_)?test-metadata(?:_sample)?\.csv|ISIC_2024_label_list\w*\.csv",
                    ),
                ),
            ),
            convert=_convert_isic2024,
        ),
    ),
    _collection(
        SourceSpec(
            "isic2024-pathology",
            "a pathology table of ISIC 2024",
            "none stated; example material",
            f"{ISIC_URL}2024",
            "",
            "Kurtansky et al. 2024, doi:10.1038/s41597-024-03743-w",
            """\
ISIC_2024_ex_pathology_metadata.csv or another table *pathology*.csv with the columns case_id, diagnosis, mel_class,
mel_thick, ulcer ...; it has no images""",
            103,
        ),
        _find_biopsies,
    ),
    _collection(
        SourceSpec(
            "ham10000",
            "HAM10000",
            NON_COMMERCIAL,
            "https://doi.org/10.7910/DVN/DBW86T",
            "dermoscopic",
            "Tschandl et al. 2018, doi:10.1038/sdata.2018.161; masks: 2020, doi:10.1038/s41591-020-0942-0",
            """\
HAM10000_images_part_1/ISIC_*.jpg, HAM10000_images_part_2/ISIC_*.jpg (10015 together)
HAM10000_segmentations_lesion_tschandl/ISIC_*_segmentation.png
HAM10000_metadata.tab, HAM10000_metadata.csv or HAM10000_metadata
each image folder a folder, or the zip file of that name""",
            10015,
            ISIC_ID,
            "ham10000|ham$",
        ),
        Layout(
            (
                Part(
                    images="HAM10000_images(?:_part_[12])?|ISIC2018_Task3_Training_Input",
                    masks="HAM10000_segmentations_lesion_tschandl",
                    tables=(r"HAM10000_metadata(?:\.tab|\.csv|\.txt)?",),
                ),
            )
        ),
    ),
    _collection(
        SourceSpec(
            "ph2",
            "PH2",
            "research and education only, no redistribution",
            "https://www.fc.up.pt/addi/ph2%20database.html",
            "dermoscopic",
            "Mendonca et al. 2013, doi:10.1109/EMBC.2013.6610779",
            """\
PH2 Dataset images/IMD*/IMD*_Dermoscopic_Image/IMD*.bmp (200)
PH2 Dataset images/IMD*/IMD*_lesion/IMD*_lesion.bmp
PH2_dataset.txt
the archive is a .rar file: unpack it first""",
            200,
            folders="ph2(dataset)?",
        ),
        Layout(
            (Part(images=r"[^/]*_Dermoscopic_Image", masks=r"IMD\d+_lesion", tables=(r"PH2_dataset\.txt",)),),
            image=r"(IMD\d+)\.(?:bmp|png|jpe?g)",
            mask=r"(IMD\d+)_lesion\.(?:bmp|png)",
            read=_read_ph2,
        ),
    ),
    _collection(
        SourceSpec(
            "pad-ufes-20",
            "PAD-UFES-20",
            "CC BY 4.0",
            "https://doi.org/10.17632/zr7vgbcyr2.1",
            "macroscopic",
            "Pacheco et al. 2020, doi:10.1016/j.dib.2020.106221",
            """\
images/imgs_part_1/PAT_*.png, imgs_part_2, imgs_part_3 (2298 together); each a folder, or the zip file of that name
metadata.csv
optional: masks/PAT_*.png or PAT_*_mask.png (the set itself has none)""",
            2298,
            PAD_ID,
            "pad[-_ ]?ufes([-_ ]?20)?|pad$",
        ),
        _find_pad,
    ),
    _collection(
        SourceSpec(
            "dermofit",
            "the Dermofit Image Library",
            "by agreement with Edinburgh Innovations, for a fee; no redistribution",
            "https://homepages.inf.ed.ac.uk/rbf/DERMOFIT/",
            "macroscopic",
            "Ballerini et al. 2013, doi:10.1007/978-94-007-5389-1_4",
            """\
AK/<lesion>/<lesion>.png (45) and AK/<lesion>/<lesion>mask.png
and likewise BCC (239), DF (65), IEC (78), MEL (76), ML (331), PYO (24), SCC (88), SK (257), VASC (97)
each class a folder, or the zip file of that name""",
            1300,
            folders="dermofit",
        ),
        _find_dermofit,
    ),
    _collection(
        SourceSpec(
            "smartskins",
            "SMARTSKINS",
            "research and education only, no redistribution and no commercial use",
            "http://smartskins.projects.fraunhofer.pt/dataset.html",
            "macroscopic",
            "Vasconcelos, Rosado and Ferreira 2014, doi:10.1007/978-3-319-14364-4_3",
            """\
images of the smartphone (80 have a mask in the literature), in folders of any name
masks of the same name in a folder with 'mask' or 'ground truth' in its name, or beside them as <image>_mask.png
optional: a table *.csv with a column image, image_id or filename; folders named after the dermoscope
(dermoscope, dermoscopy, DL3) are left out""",
            folders="smartskins",
        ),
        _find_smartskins,
    ),
    _collection(  # according to the authors, many labels are wrong (column ``qc``)
        SourceSpec(
            "fitzpatrick17k",
            "Fitzpatrick17k",
            "CC BY-NC-SA 3.0",
            "https://github.com/mattgroh/fitzpatrick17k",
            "macroscopic",
            "Groh et al. 2021, arXiv:2104.09957",
            """\
fitzpatrick17k.csv or fitzpatrick17k.csv.gz (16577 rows)
optional: the images <md5hash>.jpg in any folder; the table has their addresses (url)""",
            16577,
            r"[0-9a-f]{32}",
        ),
        Layout((Part(images=".*", tables=(r"fitzpatrick17k\w*\.csv",)),), image=r"([0-9a-f]{32})\.(?:jpe?g|png)"),
    ),
    _collection(
        SourceSpec(
            "lesion-size-2020",
            "Lesion size 2020",
            "CC BY",
            "https://api.isic-archive.com/collections/",
            "dermoscopic",
            "the collection of the ISIC archive of that name",
            """\
lesion-size-2020_metadata.csv, lesion-size-2020_data_joined.csv (1295 rows each; one of them is enough)
optional: the images ISIC_*.jpg in any folder""",
            1295,
            ISIC_ID,
        ),
        Layout(
            (Part(images=".*", tables=(r"lesion-size-2020_\w+\.csv",)),),
            convert=_convert_lesion_size,
            only_listed=True,
        ),
    ),
    _collection(  # of the published names of columns and files: no table was available for a test
        SourceSpec(
            "itobos2024",
            "iToBoS 2024",
            "as its page states",
            "https://www.kaggle.com/competitions/itobos-2024-detection",
            "tbp_tile",
            "Saha et al. 2025, arXiv:2501.18270",
            """\
train/images/*.png, test/images/*.png (16954 together); a folder, or a zip file
train/metadata.csv, test/metadata.csv with the columns image_id, age_at_baseline, body_part, sun_damage_score
(the boxes of train/labels are not masks and are left out)""",
            16954,
            folders="itobos([-_ ]?2024)?",
            lacks="labels of melanoma, and no masks",  # an image shows many lesions
        ),
        _find_itobos,
    ),
)

SOURCES = module_family(
    "data_sources",
    formats.__name__,
    SourceSpec,
    "find",
    DataSource,
    "SOURCE",
    list_others=lambda: COLLECTIONS + SLIDE_COLLECTIONS,
)


def list_sources() -> Mapping[str, DataSource]:
    """List the sets that can be imported by name, in alphabetical order, then those of plug-ins."""
    return SOURCES.members


def guess_source(folder: str) -> str | None:
    """Guess a set from the name of a folder, or from its name in a paper; None if no set matches."""
    name, specs = folder.strip().lower(), [source.spec for source in list_sources().values()]
    return next((spec.name for spec in specs if spec.folders and re.match(rf"({spec.folders})(?![^\W_])", name)), None)


def find_source(name: str) -> DataSource:
    known = list_sources()
    if name not in known:
        reason = SOURCES.explain_unknown(name) or f"known: {', '.join(known)}"
        raise InputError(f"there is no source named '{name}' ({reason}).")
    return known[name]
