"""Scenarios of the verbs about data sets, tables, models, recipes and what files give away."""

from __future__ import annotations

from golden.scenarios import Copy, CopyData, Run, Scenario, Write

SITES = ("back", "forearm", "cheek", "calf")


def patients(count: int, first: int) -> str:
    """Return a table for phantoms: two photographs of each patient, with ages and sexes that vary."""
    rows = ["image_id,patient_id,lesion_id,diagnosis,melanoma,age,sex,site,modality"]
    for n in range(count):
        sick = n % 3 == 0
        rows.append(
            f"lesion_{first + n:04},p{n // 2},l{n},{'melanoma' if sick else 'nevus'},{int(sick)},{30 + 7 * n % 50},"
            f"{('female', 'male')[n // 2 % 2]},{SITES[n % 4]},dermoscopic"
        )
    return "\n".join(rows) + "\n"


CLINIC = "isic_id;Alter;gender;region\nA;430;f ;Glabella\nB;45;m;linker Arm\nC;61;w;Ruecken\n"
MAPPING = '[words.site]\nGlabella = "forehead"\n'

DATA_SETS = [
    Scenario(
        "data-sets",
        [
            Copy("../phantom-lesion/many", "photographs"),
            Write("photographs/metadata.csv", patients(24, 20)),
            Run("import", "data import folder photographs --out set"),
            Run("check", "data check set"),
            Run("check-json", "data check set --json"),
            Run("split", "data split set --val 0.2 --test 0.2"),
            Run("report", "data report set"),
            Run("duplicates", "data duplicates set --out pairs.csv"),
            Run("import-bad", "data import nobody photographs --out bad"),
        ],
        ["phantom-lesion"],
    ),
    Scenario(
        "data-merge",
        [
            Copy("../data-sets/set", "one"),
            Copy("../phantom-lesion/few", "photographs"),
            Run("import-json", "data import folder photographs --out two --no-patients --json"),
            Run("merge", "data merge one two --out both"),
            Run("merge-json", "data merge one two --out kept --keep-duplicates --json"),
            Run("merge-bad", "data merge one nowhere --out bad"),
            Run("split-json", "data split both --test 0.2 --folds 3 --replace --seed 4 --json"),
            Run("split-bad", "data split both --val 0.9 --test 0.9"),
            Run("report-two", "data report one two --out page"),
            Run("report-json", "data report both --out report.md --json"),
            Run("report-bad", "data report nowhere"),
            Run("duplicates-json", "data duplicates one two --across --json"),
            Run("duplicates-bad", "data duplicates nowhere --json"),
            Run("check-bad", "data check nowhere --json"),
        ],
        ["data-sets"],
    ),
    Scenario(
        "data-export",
        [
            *(
                Run(name, f"data export {name} ../data-sets/set --out {name} --unreviewed")
                for name in (
                    *("coco", "decathlon", "geojson", "imagefolder", "label-studio", "labelme"),
                    *("masks", "nnunet", "parquet"),
                )
            ),
            Run("json", "data export masks ../data-sets/set --out as-tiff --mask-type tif --unreviewed --json"),
            Run("bad", "data export paper ../data-sets/set --out bad"),
        ],
        ["data-sets"],
    ),
    Scenario(
        "data-features",
        [
            Copy("../data-sets/set", "set"),
            Run("plain", "data features set"),
            Run("json", "data features set --model lesion-small --out features.csv --json"),
            Run("bad", "data features nowhere"),
            Run("baseline", "data baseline set --target melanoma --columns age,sex,site --folds 3"),
            Run("baseline-json", "data baseline set --target melanoma --columns age --folds 3 --json"),
            Run("baseline-bad", "data baseline set --target height --columns age"),
        ],
        ["data-sets"],
    ),
    Scenario(
        "data-masks",
        [
            *(Copy(f"../phantom-lesion/few/lesion_{n:04}.png", f"photos/p{n}.png") for n in (7, 8, 9)),
            *(Copy(f"../phantom-lesion/few/lesion_{n:04}_mask.png", f"masks/p{n}_mask.png") for n in (7, 8)),
            Run("plain", "data import-masks masks --images photos --out set --no-patients --reviewer Reader"),
            Run("repeated", "data import-masks masks --images photos --out set --no-patients --replace --json"),
            Run("bad", "data import-masks masks --images nowhere --out bad"),
            Run("bad-format", "data import-masks masks --images photos --out bad --format tiff --json"),
        ],
        ["phantom-lesion"],
    ),
    Scenario(
        "data-tables",
        [
            Write("clinic.csv", CLINIC),
            Write("map.toml", MAPPING),
            Run("sources", "data sources"),
            Run("sources-json", "data sources --json"),
            Run("harmonize", "data harmonize clinic.csv --out plain.csv"),
            Run("harmonize-json", "data harmonize clinic.csv --out mapped.csv --map map.toml --json"),
            Run("harmonize-bad", "data harmonize clinic.csv --out none.csv --source nobody"),
            Run("check", "data check plain.csv"),
            Run("check-bad", "data check clinic.csv"),
            Run("import", "data import table clinic.csv --out table --no-patients --json"),
        ],
    ),
    Scenario(
        "data-tiles",
        [
            Run(
                "plain", "data tiles ../phantom-slide/slides/slide_0007.tif --out tiles --tile-px 64 --mpp 2 --most 20"
            ),
            Run(
                "json",
                "data tiles ../phantom-slide/other --out other --tile-px 64 --mpp 2 --most 10 --rest Other --json",
            ),
            Run("check", "data check tiles"),
            Run("bad", "data tiles ../phantom-slide/slides/slide_0007.tif --out bad --class Nobody"),
        ],
        ["phantom-slide"],
    ),
    Scenario(
        "audit",
        [
            Copy("../data-sets/set", "set"),
            Write("set/notes.txt", "Jane Doe, born 12.03.1961, jane.doe@example.org\n"),
            Run("plain", "audit set"),
            Run("json", "audit set --json"),
            Run("missing", "audit nowhere"),
        ],
        ["data-sets"],
    ),
    Scenario(
        "models",
        [
            Run("list", "models list"),
            Run("list-json", "models list --json"),
            Run("show", "models show lesion-small"),
            Run("show-json", "models show risk-demo --json"),
            Run("show-bad", "models show nobody"),
            Run("export-onnx", "models export tile-demo --out tile.onnx"),
            Run("export-json", "models export lesion-small --out lesion.onnx --json"),
            Run("export-bad", "models export lesion-small --out lesion.txt"),
        ],
        ["data-sets"],
    ),
    Scenario(
        "recipes",
        [
            Run("list", "recipes list"),
            Run("list-json", "recipes list --json"),
            Run("write", "recipes write fine-tune --data ../data-sets/set --start lesion-small --out fine-tune.toml"),
            Run("write-json", "recipes write classify --data ../data-sets/set --out classify.toml --json"),
            Run("write-bad", "recipes write nobody --data ../data-sets/set --out bad.toml"),
        ],
        ["data-sets"],
    ),
    Scenario(
        "real-tables",
        [
            CopyData("metadata/ISIC_2024_test-metadata_sample.csv", "sample.csv"),
            CopyData("metadata/ISIC_2024_ex_pathology_metadata.csv", "pathology.csv"),
            CopyData("metadata/PAD-UFES-20_metadata.csv", "pad.csv"),
            Run("sample", "data harmonize sample.csv --out sample-out.csv"),
            Run("pathology", "data harmonize pathology.csv --out pathology-out.csv --json"),
            Run("pad", "data harmonize pad.csv --out pad-out.csv"),
            Run("check", "data check pad-out.csv"),
        ],
    ),
]
