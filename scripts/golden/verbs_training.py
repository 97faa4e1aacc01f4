"""Scenarios of the verbs that train and measure models, on few small phantoms for one or two epochs."""

from __future__ import annotations

from golden.scenarios import RTOL_TRAINED, Copy, Run, Scenario, Write

SEGMENTATION = """name = "tiny"
epochs = 2
batch_size = 4
device = "cpu"
precision = "fp32"
seed = 0
samples = 2
[data]
datasets = ["set"]
validation_fraction = 0.2
cache_size = 64
[model]
start = "none"
input_size = 64
options = { encoder = "mobilenetv3_small_050", decoder_channels = 16 }
"""
CLASSIFICATION = """name = "tiny-classes"
task = "classification"
epochs = 1
batch_size = 4
device = "cpu"
precision = "fp32"
seed = 0
[data]
datasets = ["set"]
validation_fraction = 0.3
cache_size = 64
[model]
architecture = "image_tabular"
start = "none"
input_size = 64
options = { encoder = "mobilenetv3_small_050" }
[classification]
target = "melanoma"
[classification.view]
margin = 0.25
[classification.tabular]
numbers = [{ name = "age" }]
words = [{ name = "sex" }]
"""
BAGS = """name = "tiny-bags"
task = "classification"
loss = "cross_entropy"
epochs = 1
batch_size = 2
device = "cpu"
precision = "fp32"
seed = 0
[bags]
tiles = 64
[data]
datasets = ["embeddings"]
validation_fraction = 0.4
[model]
architecture = "attention_mil"
start = "none"
options = { pooling = "gated", hidden = 16, attention = 8, heads = 1 }
[classification]
target = "diagnosis"
positive = "melanoma"
"""
SLIDES = "image_id,diagnosis,split\n" + "".join(
    f"slide_{30 + n:04},{('nevus', 'melanoma')[n % 2]},{'test' if n > 3 else 'train'}\n" for n in range(6)
)

TRAINING = [
    Scenario(
        "train",
        [
            Copy("../data-sets/set", "set"),
            Write("recipe.toml", SEGMENTATION),
            Write("broken.toml", SEGMENTATION.replace("epochs", "epoch")),
            Run("check", "train --config recipe.toml --check"),
            Run("plain", "train --config recipe.toml --out trained/first"),
            Run("resume-json", "train --config trained/first/config.toml --out trained/first --resume --json"),
            Run("broken", "train --config broken.toml --out trained/broken"),
            Run("list", "runs list trained"),
            Run("list-json", "runs list trained --json"),
            Run("list-home", "runs list"),
            Run("pause", "runs pause trained/first"),
            Run("unpause", "runs unpause trained/first --json"),
            Run("cancel", "runs cancel trained/first"),
            Run("cancel-bad", "runs cancel nowhere --json"),
            Run("import", "models import trained/first --name ours"),
            Run("import-again", "models import trained/first/bundle --name ours --json"),
            Run("import-bad", "models import nowhere"),
            Run("show", "models show ours"),
        ],
        ["data-sets"],
        rtol=RTOL_TRAINED,
    ),
    Scenario(
        "train-classifier",
        [
            Copy("../data-sets/set", "set"),
            Write("recipe.toml", CLASSIFICATION),
            Run("json", "train --config recipe.toml --out run --json"),
            Run("evaluate", "evaluate --model run/bundle --data set --split test --out evaluated"),
            Run("lesion", "lesion set/images/lesion_0020.png --out lesions --classifier run/bundle --age 40"),
        ],
        ["data-sets"],
        rtol=RTOL_TRAINED,
    ),
    Scenario(
        "train-slides",
        [
            Run("embed", "slide ../phantom-slide/many --out embeddings --model encoder:tile-demo --json"),
            Write("embeddings/dataset.csv", SLIDES),
            Write("recipe.toml", BAGS),
            Run("train", "train --config recipe.toml --out run"),
            Run("slide", "slide ../phantom-slide/many/slide_0035.tif --out results --model run/bundle"),
        ],
        ["phantom-slide"],
        rtol=RTOL_TRAINED,
    ),
    Scenario(
        "evaluate",
        [
            Run("plain", "evaluate --model lesion-small --data ../data-sets/set --split test --out plain"),
            Run(
                "json",
                "evaluate --model ../train/trained/first/bundle --data ../data-sets/set --split test --out json "
                "--no-refine --no-difficulty --include-seen --json",
            ),
            Run(
                "classifier",
                "evaluate --model melanoma-small --data ../data-sets/set --out classes --masks reference --json",
            ),
            Run("compare-folders", "compare plain json --out folders"),
            Run("bad", "evaluate --model lesion-small --data nowhere --out bad"),
        ],
        ["train"],
        rtol=RTOL_TRAINED,
    ),
    Scenario(
        "compare",
        [
            Run(
                "json",
                "compare --model lesion-small --model ../train/trained/first/bundle --data ../data-sets/set "
                "--split test --out two --json",
            ),
            Run("bad", "compare --model lesion-small --data ../data-sets/set --out bad"),
            Run("missing", "compare nowhere --json"),
        ],
        ["train"],
        rtol=RTOL_TRAINED,
    ),
    Scenario(
        "reproduce",
        [
            Run(
                "check",
                "reproduce P4 --data D=../data-sets/set --data M=../data-sets/set --budget small --rows unet --check",
            ),
            Run("check-json", "reproduce P3 --budget small --rows breslow --check --json"),
            Run(
                "row", "reproduce P2 --data HAM10000=../data-sets/set --budget small --rows constant-negative --out p2"
            ),
            Run("bad", "reproduce P9 --out bad"),
        ],
        ["data-sets"],
        rtol=RTOL_TRAINED,
    ),
]
