from .api.inputs import read_photograph
from .api.learning import (
    DataSet,
    EvaluationSummary,
    ModelComparison,
    PatientCase,
    compare,
    evaluate,
    load_model,
    read_case,
    read_dataset,
    train,
)
from .api.photographs import (
    Classification,
    Explanation,
    LesionMeasurements,
    Segmentation,
    classify,
    explain,
    measure,
    segment,
)
from .api.slides import (
    AnalyzedSlide,
    BreslowMeasurement,
    SlideImage,
    analyze_slide,
    measure_breslow,
    open_slide,
)
from .core.context import Progress
from .core.errors import MelanomaError
from .io.photographs import Photograph

__version__: str

__all__ = [
    "AnalyzedSlide",
    "BreslowMeasurement",
    "Classification",
    "DataSet",
    "EvaluationSummary",
    "Explanation",
    "LesionMeasurements",
    "MelanomaError",
    "ModelComparison",
    "PatientCase",
    "Photograph",
    "Progress",
    "Segmentation",
    "SlideImage",
    "__version__",
    "analyze_slide",
    "classify",
    "compare",
    "evaluate",
    "explain",
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
