"""Other programs compared with this package, each in its own environment, in one table.

    python benchmarks/peers.py --photographs data/isic2017 --minutes 10 --out peers.md
    python benchmarks/peers.py --only TIAToolbox LazySlide --rounds 1 --side 4096

Installs the programs from the package index into environments of their own below ``--environments`` (with uv; the
first time about 10 GB on Linux), and runs them and this package in turns, in processes of their own, with the same
inputs, weights and number of threads: ``benchmarks/peers/programs.py``. Writes a table, in which rows where the other
program is better come first. Ratios above 1 mean that this package is better; they are medians of the rounds, in
brackets the lowest and the highest. A program that cannot be installed or fails is a row with the reason.

``--photographs``: a folder with ``images/``, ``masks/`` and a table of ``image_id`` and ``split``, such as one made by
``napari-melanoma data import``. 200 of ``train`` are trained on, 100 of the others are the test part; without the
folder, training is not compared. The images are scaled to a longer side of 256 pixels.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from harness import isolate, photograph, write_noise
from PIL import Image

from napari_melanoma.io.results import read_mask, write_mask, write_rgb, write_table
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.metrics.statistics import bootstrap_means

PROGRAMS = Path(__file__).with_name("peers") / "programs.py"
OWN = "this package"
# The versions compared with, and where they come from. PyTorch is that of this package, also where a program excludes
# it: so that figures compare the programs, and environments share its files.
PEERS = {
    "TIAToolbox": ("tiatoolbox==2.1.3",),  # github.com/TissueImageAnalytics/tiatoolbox
    "LazySlide": ("lazyslide==0.13.0", "pandas<3"),  # github.com/rendeirolab/LazySlide
    "napari-wsi": ("napari-wsi[openslide]==1.3.0", "openslide-bin==4.0.1.2"),  # github.com/AstraZeneca/napari-wsi
    "fastslide": ("fastslide==0.8.1", "numpy>=2"),  # github.com/NKI-AI/fastslide
    "nnU-Net": ("nnunetv2==2.8.1",),  # github.com/MIC-DKFZ/nnUNet
    "micro-sam": ("micro-sam==1.8.14", "mobilesam-mirror==1.0.0"),  # github.com/computational-cell-analytics/micro-sam
    # The fork of CLAM (github.com/mahmoodlab/CLAM) on the package index
    "Mussel": ("mussel-pathology[torch-cpu]==1.5.0",),
}
NOT_COMPARED = {
    "MONAI Label": "its models for clicks (volumes, nuclei, SAM 2) are downloaded from a hub",
    "CLAM itself": "not on the package index; its segmentation and patching are those of its fork Mussel",
}
TRAINED, TESTED, LONGER_SIDE = 200, 100, 256
NNUNET_NAME, NNUNET_FOLDERS = "Dataset501_Lesion", ("imagesTr", "labelsTr", "imagesTs")
TILE_PX, JUMPS = 224, 30
CLICKS = ((300, 400), (280, 380), (330, 430), (310, 350), (290, 420))
Found = dict[str, Any]


class UnavailableError(Exception):
    """A program cannot be installed or failed; the message is the reason."""


@dataclass(frozen=True)
class Row:
    """A line of the table; ``ratio`` above 1: this package is better; None: not compared."""

    task: str
    own: str
    peer: str
    ratio: float | None
    spread: str
    conditions: str

    def format(self) -> str:
        """Format as Markdown."""
        ratio = "" if self.ratio is None else f"{_digits(self.ratio)} {self.spread}".strip()
        return f"| {self.task} | {self.own} | {self.peer} | {ratio} | {self.conditions} |"


class Bench:
    """Runs functions of ``programs.py`` in the environments."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        threads = {f"{name}_NUM_THREADS": str(options.threads) for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
        self._variables = isolate(folder) | threads | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._pythons: dict[str, Path] = {OWN: Path(sys.executable)}

    def run(self, program: str, function: str, limit_min: float = 20, **request: Any) -> Found:  # noqa: ANN401 - JSON
        """Run a function in a process and a new folder, and return its result."""
        if program not in self._pythons:
            self._pythons[program] = self.install(program)
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            words = [self._pythons[program], PROGRAMS, function, json.dumps(request)]
            found: Found = json.loads(_call(words, self._variables, limit_min, Path(name)).splitlines()[-1])
            if "masks" in found:
                found["masks"] = {key: read_mask(Path(name) / path) for key, path in found["masks"].items()}
        shown = {key: value for key, value in found.items() if key != "masks"}
        print(f"{program}: {json.dumps(shown)}", flush=True)
        return found

    def install(self, program: str) -> Path:
        """Return the interpreter of an environment, which is made if it is missing or has other versions."""
        place = self.options.environments / program
        python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        made, wanted = place / "requirements.txt", "\n".join([*PEERS[program], *torch_versions()])
        if not made.is_file() or made.read_text(encoding="utf-8") != wanted:
            print(f"installing {program}", flush=True)
            shared = self.options.environments / "torch.txt"
            shared.parent.mkdir(parents=True, exist_ok=True)
            shared.write_text("\n".join(torch_versions()), encoding="utf-8")
            uv = [sys.executable, "-m", "uv"]
            _call([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, place], dict(os.environ), 5)
            how = ["pip", "install", "--quiet", "--python", python, "--override", shared]
            _call([*uv, *how, *PEERS[program]], dict(os.environ), 60)
            made.write_text(wanted, encoding="utf-8")
        return python

    def alternate(self, contenders: Mapping[str, Callable[[], Found]]) -> dict[str, list[Found] | str]:
        """Run contenders in turns; returns the results of each, or why a program failed."""
        failed: dict[str, str] = {}
        found: dict[str, list[Found]] = {name: [] for name in contenders}
        for number in range(self.options.rounds):
            for name in found if number % 2 == 0 else reversed(found):
                if name not in failed:
                    try:
                        found[name].append(contenders[name]())
                    except UnavailableError as reason:
                        if name == OWN:
                            raise
                        failed[name] = str(reason)
        return {name: failed.get(name, found[name]) for name in contenders}


def torch_versions() -> list[str]:
    """Return the versions of PyTorch here, without the local part such as ``+cpu``."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "torchvision")]


def _call(words: Sequence[object], variables: Mapping[str, str], limit_min: float, folder: Path | None = None) -> str:
    """Run a command and return its output; raise ``UnavailableError`` with its message if it fails."""
    command = [str(word) for word in words]
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=variables, cwd=folder, start_new_session=True, **how) as process:
        try:
            output, errors = process.communicate(timeout=60 * limit_min)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its workers, too, which would slow down the next program
            raise UnavailableError(f"not finished within {limit_min:g} minutes") from None
    if process.returncode:
        print(errors[-4000:], flush=True)
        lines = (errors.strip() or output.strip() or "no message").splitlines()
        reason = next((line for line in reversed(lines) if "Error" in line), lines[-1])
        raise UnavailableError(f"exit code {process.returncode}: {reason[:200]}")
    return str(output)


def named(contender: str) -> str:
    """Return a program with its version, as required, and its variant."""
    program = next(name for name in PEERS if contender.startswith(name))
    return contender.replace(program, f"{program} {PEERS[program][0].partition('==')[2]}", 1)


def failures(found: Mapping[str, list[Found] | str], task: str) -> Iterator[Row]:
    """Yield a row for each program that failed."""
    for name, reason in found.items():
        if isinstance(reason, str):
            yield Row(task, "", named(name), None, "", f"not compared: {reason}")


def compare_value(
    found: Mapping[str, list[Found] | str], name: str, task: str, key: str, how: str, unit: str = "s", own: str = OWN
) -> Iterator[Row]:
    """Yield a row that compares the program ``name`` by a value of which less is better, such as seconds.

    ``unit``: ``tiles/s`` shows and compares the tiles in a second. Yields nothing if the program failed.
    """
    if isinstance(found[name], str):
        return
    speed = unit == "tiles/s"
    here, there = (
        np.array([each["tiles"] / each[key] if speed else each[key] for each in found[side]]) for side in (own, name)
    )
    ratios = here / there if speed else there / here
    scale = 1000 if unit == "ms" else 1
    spread = f"({_digits(ratios.min())} to {_digits(ratios.max())})" if len(ratios) > 1 else ""
    here_text, there_text = (f"{_digits(scale * np.median(side))} {unit}" for side in (here, there))
    yield Row(task, here_text, f"{named(name)}: {there_text}", float(np.median(ratios)), spread, how)


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def compare_features(bench: Bench, programs: Sequence[str]) -> Iterator[Row]:
    """Compare TIAToolbox and LazySlide: ResNet-18 with the same weights on all tiles of a slide."""
    import timm
    import torch

    torch.manual_seed(0)
    weights, tissue = bench.folder / "resnet18.pth", bench.folder / "tissue.png"
    torch.save(timm.create_model("resnet18", num_classes=0).state_dict(), weights)
    write_mask(tissue, np.ones((64, 64), np.bool_))
    slide = write_noise(bench.folder / "noise.tif", bench.options.side, 0.5)
    inputs: Found = {"slide": str(slide), "weights": str(weights), "batch": 32}
    own = partial(bench.run, OWN, "own_features", **inputs, mask=str(tissue))
    peers = {name: partial(bench.run, name, f"{name.lower()}_features", **inputs) for name in programs}
    found = bench.alternate({OWN: own, "float32": partial(own, precision="fp32"), **peers})
    yield from failures(found, "features of tiles")
    chosen = found[OWN][0]
    precision = {"bf16": "bfloat16", "fp32": "float32"}[chosen["precision"]]
    what = f"ResNet-18, {chosen['tiles']} tiles of {TILE_PX} pixels, the same weights and file"
    for name in programs:
        how = f"{what}; {precision} here and float32 there, as is the default of each"
        yield from compare_value(found, name, "features of tiles, file to result", "seconds", how, "tiles/s")
        yield from compare_value(found, name, "the same, peak memory", "memory", how, "MB")
        how = f"{what}; float32"
        yield from compare_value(found, name, "the same in float32", "seconds", how, "tiles/s", own="float32")


def compare_patches(bench: Bench, programs: Sequence[str]) -> Iterator[Row]:
    """Compare CLAM's fork and LazySlide: tissue and the positions of its tiles."""
    side = bench.options.side
    command = ["phantom", "slide", "--out", bench.folder / "phantom", "--size", side, "--seed", 7]
    _call([sys.executable, "-m", "napari_melanoma", *command], isolate(bench.folder), 10)
    inputs = {"slide": str(next((bench.folder / "phantom").glob("*.tif")))}
    peers = {name: partial(bench.run, name, f"{name.lower()}_patches", **inputs) for name in programs}
    found = bench.alternate({OWN: partial(bench.run, OWN, "own_patches", **inputs), **peers})
    yield from failures(found, "tissue and the positions of its tiles")
    for name in programs:
        counts = " and ".join(str(found[each][0]["tiles"]) for each in (OWN, name) if not isinstance(found[each], str))
        how = f"phantom of {side} x {side} pixels, tiles of 256; {counts} tiles"
        yield from compare_value(found, name, "tissue and the positions of its tiles", "seconds", how)
        yield from compare_value(found, name, "the same, peak memory", "memory", how, "MB")


def compare_jumps(bench: Bench, programs: Sequence[str]) -> Iterator[Row]:
    """Compare napari-wsi and fastslide: opening a slide, and random views."""
    side = bench.options.jump_side
    slide, small = (
        write_noise(bench.folder / f"{name}.tif", length, 0.5) for name, length in (("jumps", side), ("small", 2048))
    )
    inputs: Found = {"slide": str(slide), "small": str(small), "jumps": JUMPS}
    peers = {name: partial(bench.run, name, f"{name.lower().replace('-', '_')}_jumps", **inputs) for name in programs}
    found = bench.alternate({OWN: partial(bench.run, OWN, "own_jumps", **inputs), **peers})
    yield from failures(found, "open a slide, jumps")
    how = f"JPEG pyramid of {side} x {side} pixels"
    zooms = [key for key in found[OWN][0] if key.startswith("zoom")]
    for name in programs:
        yield from compare_value(found, name, "open a slide and read its overview", "overview", how, "ms")
        for key in zooms:
            yield from compare_value(found, name, f"a jump, {key}", key, f"{how}; canvas of 1200 x 800", "ms")
        yield from compare_value(found, name, "opening and jumps, peak memory", "memory", how, "MB")


def compare_clicks(bench: Bench, programs: Sequence[str]) -> Iterator[Row]:
    """Compare micro-sam: the seconds of clicks."""
    write_rgb(bench.folder / "photograph.png", photograph(600, 800))
    inputs: Found = {"image": str(bench.folder / "photograph.png"), "clicks": CLICKS}
    (program,) = programs
    peer = partial(bench.run, program, "micro_sam_clicks", **inputs)
    peers = {f"{program} ViT-{kind}": partial(peer, architecture=f"vit_{kind.lower()}") for kind in ("B", "T")}
    found = bench.alternate({OWN: partial(bench.run, OWN, "own_clicks", **inputs), **peers})
    yield from failures(found, "a click")
    how = "photograph of 600 x 800 pixels; time only: random weights there, since its own are downloaded"
    for name in peers:
        yield from compare_value(found, name, "first click on a photograph", "first", how)
        yield from compare_value(found, name, "each further click", "click", how, "ms")
        yield from compare_value(found, name, "clicks, peak memory", "memory", how, "MB")


def compare_training(bench: Bench, programs: Sequence[str]) -> Iterator[Row]:
    """Compare nnU-Net: the same photographs and minutes, Dice on the same test part."""
    options, (name,) = bench.options, programs
    task = "Dice on the test part after training"
    if options.photographs is None:
        yield Row(task, "", named(name), None, "", "not compared: no folder of photographs (--photographs)")
        return
    data, raw = write_photographs(options.photographs, bench.folder)
    tested = bench.folder / "tested"
    minutes, limit = options.minutes, 3 * options.minutes + 30
    own = partial(bench.run, OWN, "own_training", limit, data=str(data), images=str(tested), minutes=minutes)
    starts = {
        "ImageNet weights here, random weights there, as is the default of each": "imagenet",
        "random weights in both": "none",
    }
    inputs: Found = {"raw": str(raw), "images": str(raw / NNUNET_NAME / "imagesTs"), "minutes": minutes}
    peer = partial(bench.run, name, "nnunet_training", limit, **inputs, threads=options.threads)
    try:
        there = peer()
    except UnavailableError as reason:
        yield Row(task, "", named(name), None, "", f"not compared: {reason}")
        return
    truths = {path.stem: read_mask(data / "masks" / path.name) for path in sorted(tested.iterdir())}
    for weights, start in starts.items():
        here = own(start=start)
        values = [
            [overlap_metrics(each["masks"][key], truth)["DI"] for each in (here, there)]
            for key, truth in truths.items()
        ]
        dice = np.array(values)
        estimates = bootstrap_means(np.column_stack([dice, dice[:, 0] - dice[:, 1]]))
        how = f"{weights}; {TRAINED} photographs, {len(truths)} tested; {here['minutes']:.1f} minutes here "
        how += f"({here['amount']} of the default recipe, which keeps a tenth for validation), {there['minutes']:.1f} "
        how += f"there ({there['amount']}, plan 2d) after {there['prepared']:.1f} of preparation; difference "
        how += f"{estimates[2]}; ratio: of what is missing to a Dice of 1"
        ratio = (1 - estimates[1].mean) / (1 - estimates[0].mean)
        yield Row(task, str(estimates[0]), f"{named(name)}: {estimates[1]}", ratio, "", how)
    how = f"{len(truths)} photographs, test-time augmentation as is the default of each, here with its start"
    yield from compare_value({OWN: [here], name: [there]}, name, "prediction of the test part", "predicted", how)


def write_photographs(source: Path, folder: Path) -> tuple[Path, Path]:
    """Write the photographs as a data set of this package and of nnU-Net, and those of the test part to ``tested``."""
    table = next((path for path in (source / "dataset.csv", source / "metadata.csv") if path.is_file()), None)
    if table is None:
        raise UnavailableError(f"{source} has neither dataset.csv nor metadata.csv")
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    parts = [[row["image_id"] for row in rows if (row["split"] == "train") == is_train] for is_train in (True, False)]
    random = np.random.default_rng(0)
    trained, tested = (
        random.permutation(part)[:size].tolist() for part, size in zip(parts, (TRAINED, TESTED), strict=True)
    )
    data, nnunet = folder / "photographs", folder / "raw" / NNUNET_NAME
    for place in ("photographs/images", "photographs/masks", "tested", *(nnunet / name for name in NNUNET_FOLDERS)):
        (folder / place).mkdir(parents=True)
    for key in (*trained, *tested):
        rgb, mask = _read_small(source, key)
        rgb.save(data / "images" / f"{key}.png")
        mask.save(data / "masks" / f"{key}.png")
        if key in tested:
            rgb.save(folder / "tested" / f"{key}.png")
            rgb.save(nnunet / "imagesTs" / f"{key}_0000.png")
        else:
            rgb.save(nnunet / "imagesTr" / f"{key}_0000.png")
            mask.point(lambda value: value // 255).save(nnunet / "labelsTr" / f"{key}.png")
    splits = [("train", key) for key in trained] + [("test", key) for key in tested]
    write_table(data / "dataset.csv", [{"image_id": key, "split": split} for split, key in splits])
    channels = {"0": "R", "1": "G", "2": "B"}
    about = {"channel_names": channels, "labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}
    (nnunet / "dataset.json").write_text(json.dumps({**about, "numTraining": len(trained)}), encoding="utf-8")
    return data, nnunet.parent


def _read_small(source: Path, key: str) -> tuple[Image.Image, Image.Image]:
    """Return a photograph and its mask, 0 and 255, scaled down."""
    rgb, mask = (Image.open(next((source / name).glob(f"{key}.*"))) for name in ("images", "masks"))
    factor = LONGER_SIDE / max(rgb.size)
    size = round(rgb.width * factor), round(rgb.height * factor)
    small = mask.convert("L").resize(size, Image.Resampling.NEAREST)
    return rgb.convert("RGB").resize(size, Image.Resampling.LANCZOS), small.point(lambda value: 255 * (value > 127))


TASKS: tuple[tuple[Callable[[Bench, Sequence[str]], Iterator[Row]], tuple[str, ...]], ...] = (
    (compare_features, ("TIAToolbox", "LazySlide")),
    (compare_patches, ("Mussel", "LazySlide")),
    (compare_jumps, ("napari-wsi", "fastslide")),
    (compare_clicks, ("micro-sam",)),
    (compare_training, ("nnU-Net",)),
)


def format_table(rows: Sequence[Row], title: str) -> str:
    """Format rows as Markdown: first those where the other program is better, last those without a comparison."""
    ordered = sorted(rows, key=lambda row: (row.ratio is None, row.ratio is not None and row.ratio >= 1))
    head = ["| task | this package | other program | ratio | conditions |", "|---|---|---|---|---|"]
    return "\n".join([title, "", *head, *(row.format() for row in ordered), ""])


def measure(options: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of the selected programs."""
    for compare, names in TASKS:
        selected = [name for name in names if name in options.only]
        if selected:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    yield from compare(Bench(options, Path(folder)), selected)
                except Exception as error:  # noqa: BLE001 - the other tasks go on
                    yield Row(str(compare.__doc__), "", ", ".join(selected), None, "", f"failed: {error}")
    for name, reason in NOT_COMPARED.items():
        yield Row("", "", name, None, "", f"not compared: {reason}")


def main() -> None:
    """Measure, and write the table after each task."""
    options = arguments()
    if hasattr(os, "sched_setaffinity"):  # also of threads that no variable limits
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    options.environments = options.environments.resolve()
    out = options.out or options.environments / "peers.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    what = f"{platform.machine()}, {options.threads} threads, torch {version('torch')}, {options.rounds} rounds"
    title = f"`python benchmarks/peers.py {' '.join(sys.argv[1:])}`, {datetime.now(UTC):%Y-%m-%d}: {what}."
    rows = []
    for row in measure(options):
        rows.append(row)
        print(row.format(), flush=True)
        out.write_text(format_table(rows, title), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    from platformdirs import user_cache_path

    environments = user_cache_path("napari-melanoma", appauthor=False) / "peers"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=list(PEERS), help="programs to compare with")
    parser.add_argument("--environments", type=Path, default=environments, help="folder of the environments")
    parser.add_argument("--out", type=Path, help="file of the table; peers.md there by default")
    parser.add_argument("--photographs", type=Path, help="folder of photographs and masks for training")
    parser.add_argument("--minutes", type=float, default=10, help="of training")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison but training")
    parser.add_argument("--threads", type=int, default=2, help="of each program")
    parser.add_argument("--side", type=int, default=6144, help="of the slides that are analyzed, in pixels")
    parser.add_argument("--jump-side", type=int, default=32768, help="of the slide that is opened, in pixels")
    return parser.parse_args()


if __name__ == "__main__":
    main()
