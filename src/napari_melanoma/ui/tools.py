"""Single-step tools for any layer of napari: one form each, one result, which is an ordinary layer.

``viewer.window.add_dock_widget(nm.tools.segment())`` opens a tool from a script; calling the form with layers returns a
future with the new layers. See ``docs/how-to/tools.md``.
"""

# Annotations are not postponed: magicgui cannot resolve the names of this module in those of results.
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec

import numpy as np
from magicgui import magic_factory
from magicgui.widgets import FunctionGui
from napari.layers import Image, Labels, Points
from napari.types import LayerDataTuple
from napari.utils import DirectLabelColormap
from napari.viewer import Viewer
from numpy.typing import NDArray

import napari_melanoma as nm
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError, MelanomaError, ScaleMissing
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.data.taxonomy import UNKNOWN, load_taxonomy
from napari_melanoma.depth.readings import line_length_mm
from napari_melanoma.depth.t_category import format_thickness, t_category
from napari_melanoma.imaging.masks import grow_box, resample_labels, separate_labels, square_around
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS, MEASUREMENTS
from napari_melanoma.models import DEFAULT_BUNDLE
from napari_melanoma.models.installed_bundles import (
    find_bundle,
    find_prompted_model,
    list_bundles,
    list_photograph_models,
)
from napari_melanoma.slides.tissue import THUMBNAIL_PX, TissueConfig, tissue_of_overview
from napari_melanoma.ui.session.adoption import LabelsSource, map_pixels
from napari_melanoma.ui.viewer.layer_slide import LayerSlide
from napari_melanoma.ui.viewer.photographs import LayerPhotographSource, get_pixel_size
from napari_melanoma.ui.viewer.tool_runs import (
    Placement,
    ToolResult,
    ToolRun,
    check_color,
    check_layer,
    check_photograph,
    choose_name,
    fail_tool,
    run_tool,
    watch_runs,
)
from napari_melanoma.ui.widgets.number_box import CommaKey

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "apply_tissue_classifier",
    "classify",
    "extract_roi",
    "heatmap",
    "measure",
    "measure_depth",
    "segment",
    "segment_tissue",
]


def __dir__() -> list[str]:
    return __all__


AUTOMATIC = "automatic, by the type of photograph"
SHOWN = ("area", "max_diameter")  # in the text of a measured label
SEXES = [("unknown", ""), ("female", "female"), ("male", "male")]
Parameters = ParamSpec("Parameters")
RESEARCH_ONLY = "Research use only."
ALL_VALUES = "All values: Layers > Metadata > Features table widget"
PREDICTED_CLASS = "predicted class", ""
MASK_COLORS = DirectLabelColormap(color_dict={None: "yellow", 0: "transparent"})


def _tool(function: Callable[Parameters, Future[Any]]) -> Callable[Parameters, Future[Any]]:
    """Show errors of the inputs as those of the work: as a notification, and below the button."""

    @wraps(function)
    def checked(*arguments: Parameters.args, **options: Parameters.kwargs) -> Future[Any]:
        try:
            return function(*arguments, **options)
        except MelanomaError as error:
            return fail_tool(error)

    return checked


def _list_segmenters(_: object) -> list[str]:
    names = [bundle.name for bundle in list_photograph_models("segmentation")]
    return sorted(names, key=lambda name: name != DEFAULT_BUNDLE)


def _list_classifiers(_: object) -> list[tuple[str, str]]:
    names = [bundle.name for bundle in list_photograph_models("classification")]
    return [(AUTOMATIC, ""), *((name, name) for name in names)]


def _list_explained(widget: object) -> list[tuple[str, str]]:
    """List the classifiers of photographs, then those of patches of slides."""
    names = [bundle.name for bundle in list_bundles() if bundle.config.classifies_patches]
    return [*_list_classifiers(widget), *((name, name) for name in names)]


def _list_tissue_classifiers(_: object) -> list[str]:
    return [bundle.name for bundle in list_bundles() if bundle.config.tissue is not None]


def _list_sites(_: object) -> list[tuple[str, str]]:
    words = load_taxonomy("site")
    return [("unknown", ""), *((words.title(word), word) for word in words.words if word != UNKNOWN)]


def _init_heatmap(gui: FunctionGui) -> None:
    """Offer the classes of the selected model; those of automatic models depend on the photograph."""

    def list_classes(_: object) -> list[tuple[str, str]]:
        classes = find_bundle(gui["model"].value).config.classes if gui["model"].value else ()
        return [PREDICTED_CLASS, *((name, name) for name in classes)]

    gui["target"].choices = list_classes
    gui["model"].changed.connect(gui["target"].reset_choices)
    watch_runs(gui)


def _init_tissue(gui: FunctionGui) -> None:
    CommaKey(gui["min_area_mm2"].native)
    watch_runs(gui)


MODEL = {"choices": _list_classifiers}


@magic_factory(
    call_button="Segment lesion",
    widget_init=watch_runs,
    model={"choices": _list_segmenters},
    inside={"label": "points inside"},
    outside={"label": "points outside"},
)
@_tool
def segment(
    image: Image, model: str, viewer: Viewer, inside: Points | None = None, outside: Points | None = None
) -> Future[list[LayerDataTuple]]:
    """Segment the lesion of a photograph, also from points; the result is a Labels layer.

    Parameters
    ----------
    image : Image
        A color photograph.
    model : str
        The model that segments. With points, lesion-click is used if the model does not answer prompts.
    viewer : Viewer
        The viewer of the layers; filled in by napari.
    inside : Points, optional
        Points on the lesion.
    outside : Points, optional
        Points on the skin, where the mask is too large.

    Returns
    -------
    concurrent.futures.Future
        A run whose result are the new layers; ``text`` says what was found.
    """
    check_photograph(image)
    source, place = LayerPhotographSource.from_layer(image), Placement.of(image).place()
    choose = partial(choose_name, viewer, image, "mask", "segment")
    prompts: dict[str, Any] = {"include": _read_points(inside, image), "exclude": _read_points(outside, image)}
    chosen = find_prompted_model(model) if any(prompts.values()) else model

    def work(run: RunContext) -> ToolResult:
        found = nm.segment(source.read(), chosen, progress=_report(run), **prompts)
        if not found.mask.any():
            return ToolResult((), _join(*found.warnings))
        shown = {**place, "opacity": 0.25, "colormap": MASK_COLORS}
        text = f"The lesion covers {100 * found.mask.mean():.1f} % of the photograph (threshold {found.threshold:.2f})."
        text += f" Predicted from the points by {chosen}." if any(prompts.values()) else ""
        return ToolResult(((found.mask.astype(np.uint8), shown, "labels"),), _join(text, *found.warnings))

    return run_tool(f"Segmenting {image.name}", work, choose)


@magic_factory(
    call_button="Extract ROI",
    widget_init=watch_runs,
    margin={"label": "margin (%)", "max": 200},
)
@_tool
def extract_roi(
    image: Image, mask: Labels, viewer: Viewer, margin: int = 10, black_background: bool = False
) -> Future[list[LayerDataTuple]]:
    """Extract the square around a lesion as a new image layer at the same position.

    Parameters
    ----------
    image : Image
        A color image.
    mask : Labels
        All labels of this layer together are the lesion.
    viewer : Viewer
        The viewer of the layers; filled in by napari.
    margin : int
        On each side, in percent of the longer side of the lesion.
    black_background : bool
        Pixels outside the mask become black.

    Returns
    -------
    concurrent.futures.Future
        A run whose result are the new layers; ``text`` says what was found.
    """
    check_photograph(image)
    check_layer(mask, "mask")
    source, labels = LayerPhotographSource.from_layer(image), LabelsSource.from_layers(mask, image)
    placement, choose = Placement.of(image), partial(choose_name, viewer, image, "ROI", "extract_roi")

    def work(run: RunContext) -> ToolResult:
        lesion = _read_mask(labels)
        box = square_around(lesion, margin / 100)
        assert box is not None  # a mask without pixels is an error
        box = grow_box(box, 0, (lesion.shape[0], lesion.shape[1]))  # the part inside the image
        rgb = source.read().rgb[box.slices].copy()
        if black_background:
            rgb[~lesion[box.slices]] = 0
        keywords = {**placement.place((box.top, box.left)), "rgb": True}
        return ToolResult(((rgb, keywords, "image"),), f"{box.width} x {box.height} pixels.")

    return run_tool(f"Extracting the ROI of {image.name}", work, choose)


@magic_factory(
    call_button="Classify",
    widget_init=watch_runs,
    model=MODEL,
    age={"label": "age (years)"},
    sex={"choices": SEXES},
    site={"choices": _list_sites},
)
@_tool
def classify(
    image: Image,
    viewer: Viewer,
    mask: Labels | None = None,
    model: str = "",
    age: str = "",
    sex: str = "",
    site: str = "",
) -> Future[list[LayerDataTuple]]:
    """Classify a lesion from image and patient data; the result is a Shapes layer, with features.

    Parameters
    ----------
    image : Image
        A color photograph.
    viewer : Viewer
        The viewer of the layers; filled in by napari.
    mask : Labels, optional
        The lesion. Without a mask, the photograph is segmented if the model needs one.
    model : str
        The classifier; by default that for the type of the photograph.
    age : str
        In years. Leave empty if unknown.
    sex : str
        Of the patient.
    site : str
        Of the lesion on the body.

    Returns
    -------
    concurrent.futures.Future
        A run whose result are the new layers; ``text`` says what was found.
    """
    check_photograph(image)
    source, labels = LayerPhotographSource.from_layer(image), _optional_labels(mask, image)
    placement, choose = Placement.of(image), partial(choose_name, viewer, image, "classification", "classify")
    patient = {"age": age.strip() or None, "sex": sex or None, "site": site or None}

    def work(run: RunContext) -> ToolResult:
        photograph = source.read()
        lesion = None if labels is None else _read_mask(labels)
        found = nm.classify(photograph, lesion, model=model or None, progress=_report(run), **patient)
        box = None if lesion is None else square_around(lesion, 0.1)
        box = box or Box(0, 0, *photograph.rgb.shape[:2])
        layer = [_corners(box)], {**placement.place(), **_show_prediction(found, box)}, "shapes"
        return ToolResult((layer,), _join(found.verdict, RESEARCH_ONLY, *found.warnings))

    return run_tool(f"Classifying {image.name}", work, choose)


@magic_factory(
    call_button="Show heatmap",
    widget_init=_init_heatmap,
    model={"choices": _list_explained},
    target={"label": "class", "choices": [PREDICTED_CLASS]},
)
@_tool
def heatmap(
    image: Image,
    viewer: Viewer,
    mask: Labels | None = None,
    model: str = "",
    target: str = "",
    method: Literal["cam", "occlusion", "attention"] = "cam",
) -> Future[list[LayerDataTuple]]:
    """Show which regions of a photograph, or of a patch of a slide, support a class, as an image layer.

    Parameters
    ----------
    image : Image
        A color photograph, or a patch of a slide for a model of such patches.
    viewer : Viewer
        The viewer of the layers; filled in by napari.
    mask : Labels, optional
        The lesion. Without a mask, the photograph is segmented if the model needs one.
    model : str
        The classifier; by default that for the type of the photograph. Models of patches of slides are listed last.
    target : str
        One of the model's classes; by default the predicted one.
    method : str
        Class activation map, occlusion, or the attention of a network that has it.

    Returns
    -------
    concurrent.futures.Future
        A run whose result are the new layers; ``text`` says what was found.
    """
    check_photograph(image)
    source, labels = LayerPhotographSource.from_layer(image), _optional_labels(mask, image)
    place, choose = Placement.of(image).place(), partial(choose_name, viewer, image, "heatmap", "heatmap")

    def work(run: RunContext) -> ToolResult:
        lesion = None if labels is None else _read_mask(labels)
        options: dict[str, Any] = {"model": model or None, "target_class": target or None, "method": method}
        found = nm.explain(source.read(), lesion, **options, progress=_report(run))
        shown = {**place, "colormap": "magma", "contrast_limits": (0, 1), "opacity": 0.5}
        text = f"Evidence for {found.target_class} ({found.method})."
        return ToolResult(((found.heatmap, shown, "image"),), _join(text, RESEARCH_ONLY, *found.warnings))

    return run_tool(f"Computing the heatmap of {image.name}", work, choose)


@magic_factory(
    call_button="Measure",
    widget_init=watch_runs,
    lesions={"label": "labels"},
)
@_tool
def measure(lesions: Labels, image: Image | None = None) -> Future[Any]:
    """Measure the labels of a layer; the measurements become its features, shown by napari's Features table.

    Parameters
    ----------
    lesions : Labels
        Each label is measured separately.
    image : Image, optional
        The photograph, for measurements of color; its scale is used.

    Returns
    -------
    concurrent.futures.Future
        A run without new layers; ``text`` says what was found.
    """
    check_layer(lesions, "Labels layer")
    if image is not None:
        check_photograph(image)
    reference = lesions if image is None else image
    source, size = LabelsSource.from_layers(lesions, reference), get_pixel_size(reference)
    photograph = None if image is None else LayerPhotographSource.from_layer(image)

    def work(run: RunContext) -> ToolResult:
        import pandas as pd

        whole = source.read()
        values = resample_labels(whole, source.matrix, source.shape)
        picture = None if photograph is None else photograph.read()
        um = None if size is None else (size.y_um, size.x_um)
        rows = [
            {"index": int(label), **nm.measure(values == label, picture, um)}
            for label in run.track(np.unique(values[values != 0]), "Measuring the labels")
        ]
        if not rows:
            raise InputError(f"no label of '{source.name}' lies on '{source.photograph}'. Check their positions.")
        table = pd.DataFrame(rows)
        text = _join(_describe_measurements(table), *_describe_missing(whole, values, source), ALL_VALUES)
        return ToolResult((), text, lambda: _set_features(lesions, table))

    return run_tool(f"Measuring {lesions.name}", work)


@magic_factory(
    call_button="Segment tissue",
    widget_init=_init_tissue,
    min_area_mm2={"label": "minimum area (mm²)", "step": 0.01},
)
@_tool
def segment_tissue(image: Image, viewer: Viewer, min_area_mm2: float = 0.05) -> Future[list[LayerDataTuple]]:
    """Segment the tissue of a slide; the result is a Labels layer at the resolution of an overview.

    Parameters
    ----------
    image : Image
        A brightfield slide or section, in color.
    viewer : Viewer
        The viewer of the layers; filled in by napari.
    min_area_mm2 : float
        Smaller pieces are removed as dirt.

    Returns
    -------
    concurrent.futures.Future
        A run whose result are the new layers; ``text`` says what was found.
    """
    check_color(image)
    slide, placement = LayerSlide(image), Placement.of(image)
    choose = partial(choose_name, viewer, image, "tissue", "segment_tissue")

    def work(run: RunContext) -> ToolResult:
        run.report(Progress(0, None, "Reading the overview"))
        level = slide.info.levels[0]
        picture = slide.thumbnail(min(THUMBNAIL_PX, max(level.height, level.width)))
        run.check()
        overview = picture, np.zeros(picture.shape[:2], bool)
        config = TissueConfig(min_area_mm2=min_area_mm2)
        mask, warnings = tissue_of_overview(slide.info, overview, config, slide.info.pixel_size)
        place = MapPlacement.from_thumbnail(mask.shape, (level.height, level.width))
        shown = {**_place_map(placement, place), "opacity": 0.4}
        text = f"{100 * mask.mean():.0f} % of the image is tissue."
        return ToolResult(((mask.astype(np.uint8), shown, "labels"),), _join(text, *warnings))

    return run_tool(f"Segmenting the tissue of {image.name}", work, choose)


@magic_factory(
    call_button="Apply classifier",
    widget_init=watch_runs,
    model={"choices": _list_tissue_classifiers},
)
@_tool
def apply_tissue_classifier(image: Image, model: str, viewer: Viewer) -> Future[list[LayerDataTuple]]:
    """Apply a tissue classifier to a slide; the result is a Labels layer with a label for each class.

    Parameters
    ----------
    image : Image
        A brightfield slide or section, in color and with a scale.
    model : str
        A classifier that was painted in the Slide dock.
    viewer : Viewer
        The viewer of the layers; filled in by napari.

    Returns
    -------
    concurrent.futures.Future
        A run whose result are the new layers; ``text`` says what was found.
    """
    check_color(image)
    _require_tissue_classifier(model)
    slide, placement = LayerSlide(image), Placement.of(image)
    choose = partial(choose_name, viewer, image, "tissue classes", "apply_tissue_classifier")

    def work(run: RunContext) -> ToolResult:
        from napari_melanoma.slides.results import describe_class_areas, measure_class_areas
        from napari_melanoma.slides.tissue_classifier.bundle import map_tissue

        bundle = find_bundle(model)
        maps = map_tissue(slide, bundle, run)
        known = np.isfinite(maps.probability).all(axis=0)
        classes = np.where(known, np.nan_to_num(maps.probability).argmax(axis=0) + 1, 0).astype(np.uint8)
        names = bundle.config.classes
        shown = {
            **_place_map(placement, maps.placement),
            "opacity": 0.5,
            "features": {"index": range(len(names) + 1), "class": ["", *names]},
        }
        assert bundle.config.tissue is not None
        colors = bundle.config.tissue.colors
        if set(names) <= colors.keys():
            rgb: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
            rgb |= {number: np.array(colors[label]) / 255 for number, label in enumerate(names, start=1)}
            shown["colormap"] = DirectLabelColormap(color_dict=rgb)
        return ToolResult(((classes, shown, "labels"),), _join(describe_class_areas(measure_class_areas(maps, names))))

    return run_tool(f"Classifying the tissue of {image.name}", work, choose)


@magic_factory(
    call_button="Measure depth",
    widget_init=watch_runs,
    ulcerated={"choices": ["unknown", "yes", "no"]},
)
@_tool
def measure_depth(
    points: Points, image: Image, viewer: Viewer, ulcerated: str = "unknown"
) -> Future[list[LayerDataTuple]]:
    """Measure the Breslow thickness between two points; the result is a line (Shapes) with the value as its feature.

    Parameters
    ----------
    points : Points
        The top of the granular layer and the deepest tumor cells. Of more than two points, select two.
    image : Image
        The slide or section on which the points are, with a scale.
    viewer : Viewer
        The viewer of the layers; filled in by napari.
    ulcerated : str
        For the letter of the T category: unknown, yes or no.

    Returns
    -------
    concurrent.futures.Future
        A run whose result are the new layers; ``text`` says what was found.
    """
    check_layer(points, "Points layer")
    check_layer(image, "image")
    ends, size = _choose_points(points), _require_scale(image)
    matrix = map_pixels(points, image, is_same_size=False)
    line = ends @ matrix[:, :2].T + matrix[:, 2]
    start, end = line.tolist()
    mm = line_length_mm((tuple(start), tuple(end)), size)
    category = t_category(mm, {"yes": True, "no": False}.get(ulcerated))
    done = ToolRun()
    done.text = f"{format_thickness(mm)}, {category} (AJCC, 8th edition). {RESEARCH_ONLY}"
    shown = {
        **Placement.of(image).place(),
        "name": choose_name(viewer, image, "depth", "measure_depth"),
        "shape_type": "line",
        "features": {"depth_mm": [mm], "t_category": [category], "thickness": [format_thickness(mm)]},
        "text": {"string": "{thickness}", "anchor": "upper_right", "color": "yellow", "size": 10},
        "edge_color": "yellow",
        "edge_width": max(1.0, float(np.abs(np.diff(line, axis=0)).max()) / 100),
    }
    done.set_result([([line], shown, "shapes")])
    return done


def _require_tissue_classifier(model: str | None) -> None:
    if not model:
        raise InputError(
            "no tissue classifier is installed. Paint one in the Slide dock (section Paint), or fit one on stored "
            "strokes: napari-melanoma tissue fit."
        )


def _read_points(points: Points | None, image: Image) -> list[tuple[float, float]]:
    """Return the points of a layer in pixels (row, column) of an image; empty without a layer."""
    if points is None:
        return []
    check_layer(points, "Points layer")
    if not len(points.data):
        raise InputError(f"'{points.name}' has no points. Add some, or select no layer.")
    matrix = map_pixels(points, image, is_same_size=False)
    pixels = np.rint(np.asarray(points.data) @ matrix[:, :2].T + matrix[:, 2])
    return [(row, column) for row, column in pixels.tolist()]


def _choose_points(points: Points) -> "NDArray[np.float64]":
    """Return two points of a layer that are selected, or its only two, float64 (2, 2)."""
    data = np.asarray(points.data, np.float64)
    chosen = data[sorted(points.selected_data)] if len(points.selected_data) == 2 else data
    if len(chosen) != 2 or np.array_equal(*chosen):
        raise InputError(
            f"expected two different points in '{points.name}', found {len(np.unique(chosen, axis=0))}. Add the top of "
            "the granular layer and the deepest tumor cells, or select these two."
        )
    return chosen


def _require_scale(image: Image) -> PixelSize:
    size = get_pixel_size(image)
    if size is None:
        raise ScaleMissing(
            f"a depth in mm requires a scale, but '{image.name}' has none. Set its scale and unit (layer.scale, "
            "layer.units), or the scale in the Slide dock."
        )
    return size


def _report(run: RunContext) -> Callable[[Progress], None]:
    """Return the callback of a function of the Python API, through which it reports progress and is canceled."""

    def report(progress: Progress) -> None:
        run.check()
        run.report(progress)

    return report


def _show_prediction(found: nm.Classification, box: Box) -> dict[str, Any]:
    """Return the keywords of the Shapes layer of a prediction, a rectangle."""
    low, high = found.interval or (np.nan, np.nan)
    features = {
        "headline": found.headline,
        "verdict": found.verdict,
        **{f"probability_{label}": value for label, value in found.probabilities.items()},
        "interval_low": low,
        "interval_high": high,
        "prediction_set": ", ".join(found.prediction_set),
        "out_of_distribution": found.out_of_distribution,
        "valid": found.valid,
        "model": found.model,
    }
    return {
        "shape_type": "rectangle",
        "features": {column: [value] for column, value in features.items()},
        "text": {"string": "{headline}", "anchor": "upper_left", "color": "yellow", "size": 10},
        "edge_color": "yellow",
        "edge_width": max(1.0, box.height / 150),
        "face_color": "transparent",
    }


def _optional_labels(mask: Labels | None, image: Image) -> LabelsSource | None:
    if mask is None:
        return None
    check_layer(mask, "mask")
    return LabelsSource.from_layers(mask, image)


def _read_mask(labels: LabelsSource) -> "NDArray[np.bool_]":
    """Read the labels as the mask of the photograph, bool (row, column)."""
    mask = separate_labels(resample_labels(labels.read(), labels.matrix, labels.shape))
    if not mask.any():
        raise InputError(
            f"no label of '{labels.name}' lies on '{labels.photograph}'. Check scale and position of the layers."
        )
    return mask


def _corners(box: Box) -> "NDArray[np.float64]":
    """Return the outer corners of a box, float64 (4, 2)."""
    top, left = box.top - 0.5, box.left - 0.5
    bottom, right = top + box.height, left + box.width
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])


def _place_map(placement: Placement, place: MapPlacement) -> dict[str, Any]:
    offset = place.top + place.step_y / 2 - 0.5, place.left + place.step_x / 2 - 0.5
    return placement.place(offset, (place.step_y, place.step_x))


def _describe_measurements(table: "pd.DataFrame") -> str:
    """Describe the measurements of the first label."""
    columns = {measurement.name: measurement for measurement in MEASUREMENTS}
    unit = "mm" if "area_mm2" in table else "px"
    names = [f"{name}_{unit}{'2' if name == 'area' and unit == 'mm' else ''}" for name in SHOWN]
    parts = [f"{columns[name].label.lower()} {table[name][0]:,.4g} {columns[name].unit}" for name in names]
    first = f"Label {table['index'][0]} (of {len(table)})" if len(table) > 1 else f"Label {table['index'][0]}"
    return f"{first}: {', '.join(parts)}"


def _describe_missing(
    whole: "NDArray[np.integer]", measured: "NDArray[np.integer]", source: LabelsSource
) -> Iterator[str]:
    """Name the labels of which the image does not show everything, and those that have none of its pixels.

    ``whole``: the labels of the layer. ``measured``: those on the grid of the image.
    """
    if measured is whole:
        return
    positions = np.array(np.nonzero(whole))
    beyond = np.unique(whole[tuple(positions[:, ~source.are_inside(positions)])])
    known = np.unique(measured[measured != 0])
    cut, absent = np.intersect1d(beyond, known), np.setdiff1d(np.unique(whole[whole != 0]), known)
    for numbers, problem in (
        (cut, f"Measured only as far as '{source.photograph}' shows it"),
        (absent, f"Not measured, outside '{source.photograph}' or smaller than its pixels"),
    ):
        if numbers.size:
            yield f"{problem}: label{'' if numbers.size == 1 else 's'} {format_names(numbers.tolist())}"


def _set_features(labels: Labels, table: "pd.DataFrame") -> None:
    """Replace the measurements in the features of a layer; columns of others are kept, and rows of other labels.

    Measurements that were not made this time, such as those of color without an image, are removed.
    """
    features = labels.features
    if "index" not in features:  # napari then takes row i as that of label i
        features = features.assign(index=range(len(features)))
    others = features.drop(columns=list(MEASUREMENT_COLUMNS), errors="ignore")
    labels.features = table.merge(others, how="outer", on="index")


def _join(*sentences: str) -> str:
    """Return sentences on a line each, with capital letter and full stop."""
    return "\n".join(f"{text[0].upper()}{text[1:].removesuffix('.')}." for text in sentences if text)
