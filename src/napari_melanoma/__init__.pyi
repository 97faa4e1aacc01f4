from .api.adapting import AdaptedModel, adapt
from .api.classification import Classification, Explanation, classify, explain, iter_explain
from .api.datasets import DataSet, DataSetCheck, MaskImport, find_duplicates, import_masks, read_dataset
from .api.exchange import DataSetExport, DataSetImport, export_dataset, import_dataset
from .api.hub import pull, push
from .api.inputs import read_photograph
from .api.learning import (
    EvaluationSummary,
    ModelComparison,
    PatientCase,
    RunInfo,
    compare,
    evaluate,
    export,
    list_models,
    load_model,
    read_case,
    read_run,
    train,
)
from .api.photographs import LesionMeasurements, Prompter, Segmentation, iter_segment, measure, segment
from .api.progress import ProgressIterator, iter_progress
from .api.slides import (
    AnalyzedSlide,
    BreslowMeasurement,
    SlideImage,
    analyze_slide,
    fit_tissue_classifier,
    measure_breslow,
    open_slide,
)
from .core.context import Progress
from .core.errors import (
    BundleError,
    ConfigError,
    DamagedImage,
    DataSetError,
    InputError,
    MelanomaError,
    NotMeasured,
    RunError,
    SaveError,
    ScaleMissing,
    TrainingError,
    UnreadableImage,
)
from .io.photographs import Photograph
from .models.bundle import BundleInfo
from .ui import tools as tools  # not in __all__, since it needs a Qt binding

__version__: str

__all__ = [
    "AdaptedModel",
    "AnalyzedSlide",
    "BreslowMeasurement",
    "BundleError",
    "BundleInfo",
    "Classification",
    "ConfigError",
    "DamagedImage",
    "DataSet",
    "DataSetCheck",
    "DataSetError",
    "DataSetExport",
    "DataSetImport",
    "EvaluationSummary",
    "Explanation",
    "InputError",
    "LesionMeasurements",
    "MaskImport",
    "MelanomaError",
    "ModelComparison",
    "NotMeasured",
    "PatientCase",
    "Photograph",
    "Progress",
    "ProgressIterator",
    "Prompter",
    "RunError",
    "RunInfo",
    "SaveError",
    "ScaleMissing",
    "Segmentation",
    "SlideImage",
    "TrainingError",
    "UnreadableImage",
    "__version__",
    "adapt",
    "analyze_slide",
    "classify",
    "compare",
    "evaluate",
    "explain",
    "export",
    "export_dataset",
    "find_duplicates",
    "fit_tissue_classifier",
    "import_dataset",
    "import_masks",
    "iter_explain",
    "iter_progress",
    "iter_segment",
    "list_models",
    "load_model",
    "measure",
    "measure_breslow",
    "open_slide",
    "pull",
    "push",
    "read_case",
    "read_dataset",
    "read_photograph",
    "read_run",
    "segment",
    "train",
]
