from .api.classification import Classification, Explanation, classify, explain
from .api.inputs import read_photograph
from .api.learning import (
    EvaluationSummary,
    ModelComparison,
    PatientCase,
    compare,
    evaluate,
    list_models,
    load_model,
    read_case,
    read_dataset,
    train,
)
from .api.photographs import LesionMeasurements, Prompter, Segmentation, measure, segment
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

__version__: str

__all__ = [
    "AnalyzedSlide",
    "BreslowMeasurement",
    "BundleError",
    "BundleInfo",
    "Classification",
    "ConfigError",
    "DamagedImage",
    "DataSetError",
    "EvaluationSummary",
    "Explanation",
    "InputError",
    "LesionMeasurements",
    "MelanomaError",
    "ModelComparison",
    "NotMeasured",
    "PatientCase",
    "Photograph",
    "Progress",
    "Prompter",
    "RunError",
    "SaveError",
    "ScaleMissing",
    "Segmentation",
    "SlideImage",
    "TrainingError",
    "UnreadableImage",
    "__version__",
    "analyze_slide",
    "classify",
    "compare",
    "evaluate",
    "explain",
    "fit_tissue_classifier",
    "list_models",
    "load_model",
    "measure",
    "measure_breslow",
    "open_slide",
    "read_case",
    "read_dataset",
    "read_photograph",
    "segment",
    "train",
]
