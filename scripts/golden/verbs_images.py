"""Scenarios of the verbs that make, analyze and export images: phantoms, photographs, slides, risk, cases."""

from __future__ import annotations

import json

from golden.scenarios import RTOL_TRAINED, Copy, CopyData, Help, Run, Scenario, Write

READINGS = """{"format_version": 1, "readings": [
 {"reader": "A", "when": "2026-01-01T00:00:00Z", "method": "hand", "mm": %s},
 {"reader": "B", "when": "2026-01-02T00:00:00Z", "method": "hand", "mm": %s}]}
"""
METADATA = """image_id,age,sex,site
lesion_0007,64,female,back
lesion_0008,31,male,forearm
"""
PHOTOGRAPHS = (
    "isic2017_sharp/images/ISIC_0000000.jpg",
    "isic2017_sharp/images/ISIC_0000004.jpg",
    "pad_ufes/images/PAT_1006_53_716.jpg",
)
PAINTED_SLIDE = "../phantom-slide/slides/slide_0007.tif"
SLIDE = "slides/CMU-1-Small-Region.svs"

PAINTED_LINES = {  # on slide_0007: (x, y) of both ends of each stroke
    "epidermis": (((370, 225), (470, 230)), ((190, 150), (225, 150)), ((800, 240), (850, 260))),
    "dermis": (((880, 620), (930, 660)), ((360, 340), (420, 340)), ((700, 580), (760, 600))),
    "tumor": (((620, 400), (680, 430)), ((770, 350), (830, 380)), ((600, 300), (640, 320))),
    "background": (((100, 80), (160, 60)), ((500, 60), (600, 80)), ((900, 80), (960, 120))),
}


def paint(lines: dict[str, tuple[tuple[tuple[int, int], ...], ...]]) -> str:
    """Return strokes as GeoJSON, as QuPath exports annotations with a class."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": line},
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for name, ends in lines.items()
        for line in ends
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


GENERAL = [
    Scenario("help", [Help()]),
    Scenario(
        "general",
        [
            Run("version", "--version"),
            Run("no-verb", ""),
            Run("unknown-verb", "analyse"),
            Run("unknown-option", "lesion --sharpness 3"),
            Run("doctor", "doctor"),
            Run("doctor-json", "doctor --json"),
            Run("open-missing", "open missing.jpg"),
        ],
    ),
    Scenario(
        "demo",
        [
            Run("plain", "demo --out demo --headless"),
            Run("missing", "demo missing.jpg --out none --headless"),
        ],
        ignored=["demo/screenshot.png"],  # what is drawn depends on fonts and on the moment
    ),
]

PHANTOMS = [
    Scenario(
        "phantom-lesion",
        [
            Run("plain", "phantom lesion --out few --count 3 --seed 7 --size 120 160"),
            Run("json", "phantom lesion --out macro --seed 3 --modality macroscopic --skin-type 5 --size 96 96 --json"),
            Run("many", "phantom lesion --out many --count 24 --seed 20 --size 64 80"),
            Run("bad", "phantom lesion --out bad --modality x-ray"),
            Run("bad-json", "phantom lesion --out bad --skin-type 9 --json"),
        ],
    ),
    Scenario(
        "phantom-slide",
        [
            Run("plain", "phantom slide --out slides --size 1024 --seed 7 --mpp 1"),
            Run(
                "json",
                "phantom slide --out other --size 768 --seed 2 --mpp 1 --family test --breslow-mm 0.3 --ulcerated "
                "--pens 1 --folds 1 --json",
            ),
            Run("many", "phantom slide --out many --size 768 --seed 30 --count 6 --mpp 1"),
            Run("bad", "phantom slide --out bad --mpp 2"),
            Run("bad-json", "phantom slide --out bad --look nowhere --json"),
        ],
    ),
    Scenario(
        "phantom-cohort",
        [
            Run("plain", "phantom cohort --out cohort --count 10 --seed 0 --patch-px 96"),
            Run("check", "data check cohort"),
            Run("bad", "phantom cohort --out bad --count 2"),
            Run("bad-json", "phantom cohort --out cohort --count 10 --json"),
        ],
    ),
]

LESIONS = [
    Scenario(
        "lesion",
        [
            Write("patients.csv", METADATA),
            Write("damaged/bad.png", "no image"),
            Copy("../phantom-lesion/few/lesion_0007.png", "damaged/good.png"),
            Run("plain", "lesion ../phantom-lesion/few/lesion_????.png --out plain"),
            Run("repeated", "lesion ../phantom-lesion/few/lesion_????.png --out plain --json"),
            Run(
                "classified",
                "lesion ../phantom-lesion/few/lesion_0007.png ../phantom-lesion/few/lesion_0008.png --out classified "
                "--metadata patients.csv --classify --heatmap grad_cam --flips --pixel-size 20 --json",
            ),
            Run(
                "options",
                "lesion ../phantom-lesion/few/lesion_0009.png --out options --threshold 0.3 --margin 0.4 "
                "--background keep --side 64 --all-lesions --no-fill --smoothing 0.02 --age 50 --sex male --site arm",
            ),
            Run("one-bad", "lesion damaged --out one-bad --no-refine"),
            Run("missing", "lesion missing.png --out missing"),
            Run("unknown-model", "lesion damaged/good.png --out missing --model nobody --json"),
        ],
        ["phantom-lesion"],
    ),
    Scenario(
        "case",
        [
            Copy("../phantom-lesion/few/lesion_0007.png", "photos/back_left_1_dermoscopy.png"),
            Copy("../phantom-lesion/few/lesion_0008.png", "photos/forearm_right_2_dermoscopy.png"),
            Copy("../phantom-lesion/macro/lesion_0003.png", "photos/back_left_1_macro.png"),
            Run("made", "case P-1 --from photos"),
            Run("plain", "case P-1"),
            Run("json", "case P-1 --json"),
            Run("predicted", "case P-1 --classify"),
            Run("predicted-json", "case P-1 --classify --json"),
            Run("missing", "case nowhere"),
            Run("missing-json", "case P-2 --from nowhere --json"),
            Run("audit", "audit P-1 photos"),
        ],
        ["phantom-lesion"],
    ),
    Scenario(
        "real-photographs",
        [
            *(CopyData(path, f"photos/{path.rsplit('/', 1)[-1]}") for path in PHOTOGRAPHS),
            Run("lesion", "lesion photos --out results --classify --json"),
            Run("audit", "audit photos results"),
        ],
    ),
]

SLIDES = [
    Scenario(
        "slide",
        [
            Run("plain", "slide ../phantom-slide/slides --out plain --model skin-demo"),
            Run("repeated", "slide ../phantom-slide/slides --out plain --model skin-demo --json"),
            Run(
                "json",
                "slide ../phantom-slide/other --out tiles --model tile-demo --stain macenko --border shift "
                "--overlap 0.25 --json",
            ),
            Run("other-settings", "slide ../phantom-slide/slides --out plain --model tile-demo"),
            Run("scale", "slide ../phantom-slide/other --out scale --mpp 20 --json"),
            Run("missing", "slide missing.svs --out missing"),
        ],
        ["phantom-slide"],
    ),
    Scenario(
        "tissue",
        [
            Write("strokes.geojson", paint(PAINTED_LINES)),
            Run("fit", f"tissue fit {PAINTED_SLIDE} --strokes strokes.geojson --out skin"),
            Run(
                "fit-options",
                f"tissue fit {PAINTED_SLIDE} --strokes strokes.geojson --out smooth --sources texture --kind logistic "
                "--smoothing 1 --role tumor= --name-slides --json",
            ),
            Run("apply", f"tissue apply {PAINTED_SLIDE} --model skin --out results"),
            Run("apply-json", f"tissue apply {PAINTED_SLIDE} --model smooth --out smoothed --json"),
            Run("report", "report results --out report.html"),
            Run("bad", f"tissue fit {PAINTED_SLIDE} --strokes strokes.geojson --out bad --kind network"),
            Run("bad-model", f"tissue apply {PAINTED_SLIDE} --model skin-demo --out bad --json"),
            Run("missing", f"tissue fit {PAINTED_SLIDE} --strokes results --out bad --json"),
        ],
        ["phantom-slide"],
    ),
    Scenario(
        "tissue-train",
        [
            Write("strokes.geojson", paint(PAINTED_LINES)),
            Run("plain", f"tissue train {PAINTED_SLIDE} --strokes strokes.geojson --out run --epochs 1"),
            Run("finished", f"tissue train {PAINTED_SLIDE} --strokes strokes.geojson --out run --json"),
        ],
        ["phantom-slide"],
        rtol=RTOL_TRAINED,
    ),
    Scenario(
        "slide-cohort",
        [
            Run(
                "processes",  # one slide, since the order of several varies
                "slide ../phantom-slide/many/slide_0030.tif --out out --model tile-demo --processes 2 --json",
            ),
            Run("bad", "slide ../phantom-slide/many --out out --scheduler nowhere:1 --processes 2"),
        ],
        ["phantom-slide"],
    ),
    Scenario(
        "export",
        [
            Run(
                "plain",
                "export ../slide/plain --out all "
                "--to geojson,csv,csv.parquet,tiles,depth,risk,report,tif,zarr,mask,dicom",
            ),
            Run(
                "others",
                "export ../slide/plain --out others --to qupath,spatialdata,counts,counts.json,synoptic,"
                "synoptic.csv,fhir,dicom-sr",
            ),
            Run("json", "export ../slide/tiles --out some --json"),
            Run("bad", "export ../slide/plain --out none --to pdf"),
            Run("missing", "export nowhere --out none --json"),
        ],
        ["slide"],
    ),
    Scenario(
        "readings",
        [
            *(Write(f"results/slide{n}/depth.json", READINGS % (1 + n, 1.1 + 0.9 * n)) for n in range(5)),
            Run("plain", "studies readings results --out plain"),
            Run("json", "studies readings results --out json --reader B --reader A --json"),
            Run("bad", "studies readings results --out bad --reader A"),
            Run("missing", "studies readings nowhere --out bad --json"),
        ],
    ),
    Scenario(
        "risk",
        [
            Copy("../slide/plain", "results"),
            Run(
                "patch",
                "risk ../phantom-cohort/cohort/images/phantom_0_00001.png --model risk-demo --age 64 --sex female "
                "--site back --depth-mm 2.4 --out patches",
            ),
            Run(
                "slide-json",
                "risk ../phantom-slide/slides/slide_0007.tif --model risk-demo --age 50 --out results --json",
            ),
            Run("export", "export results --out exported --to report,risk"),
            Run("bad", "risk ../phantom-cohort/cohort/images/phantom_0_00001.png --model lesion-small --out bad"),
            Run("missing", "risk none.png --model risk-demo --out bad --json"),
        ],
        ["slide", "phantom-cohort"],
    ),
    Scenario(
        "biomarkers",
        [
            Run(
                "json",
                "studies biomarkers risk-demo --data ../phantom-cohort/cohort --out out --count 3 --shown 2 "
                "--tissue-model skin-demo --json",
            ),
            Run("bad", "studies biomarkers lesion-small --data ../phantom-cohort/cohort --out bad"),
        ],
        ["phantom-cohort"],
    ),
    Scenario(
        "real-slide",
        [
            CopyData(SLIDE, "slides/CMU.svs"),
            Run("slide", "slide slides --out results --model skin-demo --json"),
            Run("export", "export results --out exported --to geojson,csv,tif"),
        ],
    ),
]

IMAGES = [*GENERAL, *PHANTOMS, *LESIONS, *SLIDES]
