"""Time and memory of harmonizing a table of the size of ISIC 2024: 400,000 rows, 44 columns.

Example: ``python benchmarks/table_speed.py --rows 400000``
"""

from __future__ import annotations

import argparse
import csv
import random
import resource
import tempfile
import time
from pathlib import Path

from napari_melanoma.core.context import RunContext
from napari_melanoma.data.harmonize import HarmonizeOptions, harmonize_table

WORDS = {
    "sex": ("male", "female", ""),
    "anatom_site_general": ("posterior torso", "lower extremity", "head/neck", ""),
    "tbp_lv_location": ("Torso Back Top Third", "Left Leg - Upper", "Head & Neck", "Unknown"),
    "image_type": ("TBP tile: close-up",),
    "copyright_license": ("CC-BY", "CC-0"),
    "attribution": ("Hospital A", "Hospital B"),
}
NUMBERS = ("age_approx", "clin_size_long_diam_mm", *(f"tbp_lv_{number}" for number in range(34)))


def write(path: Path, rows: int) -> None:
    """Write a table with the columns of ISIC 2024 and random values."""
    drawn = random.Random(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["isic_id", "patient_id", *WORDS, *NUMBERS])
        for number in range(rows):
            words = [drawn.choice(choices) for choices in WORDS.values()]
            numbers = [drawn.randrange(5, 90, 5), *(f"{drawn.random() * 20:.5f}" for _ in NUMBERS[1:])]
            table.writerow([f"ISIC_{number:07d}", f"IP_{number // 380:07d}", *words, *numbers])


def main() -> None:
    """Harmonize a random table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.csv")
        write(table, rows)
        wall, processor = time.perf_counter(), time.process_time()
        report = harmonize_table(table, Path(folder, "out.csv"), HarmonizeOptions(source="isic2024"), run=RunContext())
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{report.rows} rows: {wall:.1f} s, processor time {processor:.1f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
