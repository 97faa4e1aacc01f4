"""Processor time and memory of merging two tables, one of them as long as the largest public one.

python benchmarks/table_merge.py
python benchmarks/table_merge.py --rows 40000 --at-most-s 6
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import tempfile
import time
from pathlib import Path

from napari_melanoma.core.context import RunContext
from napari_melanoma.data.merging import MergeOptions, merge_datasets

COLUMNS = (
    *("image_id", "path", "patient_id", "lesion_id", "source", "licence", "modality", "diagnosis", "target", "age"),
    *("sex", "site", "diameter_1_mm", "split"),
)


def main() -> None:
    """Measure and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000, help="rows of the first table; the second has a quarter")
    parser.add_argument("--at-most-s", type=float, default=60.0, help="fail if the merge takes longer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        first, second = Path(temporary, "first"), Path(temporary, "second")
        write_table(first, 0, options.rows)
        write_table(second, options.rows * 7 // 8, options.rows // 4)  # half of them are in the first one too
        started = time.process_time()  # the speed of a shared machine varies
        found = merge_datasets([first, second], Path(temporary, "both"), MergeOptions(), run=RunContext())
        seconds = time.process_time() - started
    counts = {"rows": sum(found.rows.values()), "joined": found.joined, "contradictions": len(found.conflicts)}
    print(json.dumps({**counts, "cpu_s": round(seconds, 1), "peak_mb": peak_mb()}))
    if seconds > options.at_most_s:
        raise SystemExit(f"the merge took {seconds:.0f} s, more than {options.at_most_s:.0f} s")


def write_table(folder: Path, start: int, count: int) -> None:
    """Write a data set of rows without images."""
    draw = random.Random(start)
    folder.mkdir()
    with (folder / "dataset.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for number in range(start, start + count):
            known = (f"ISIC_{number:07d}", "", f"IP_{number // 400}", f"IL_{number}", folder.name, "CC BY", "tbp_tile")
            drawn = (5 * draw.randrange(4, 18), draw.choice(("male", "female")), draw.choice(("torso", "head/neck")))
            diagnosis = draw.choice(("nevus", "melanoma")) if number % 50 == 0 else ""
            table.writerow(
                (*known, diagnosis, int(diagnosis == "melanoma"), *drawn, draw.randrange(20, 90) / 10, "train")
            )


def peak_mb() -> float | None:
    """Peak memory of this process, None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
