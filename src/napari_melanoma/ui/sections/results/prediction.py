"""The prediction for a slide, whether it is valid, and warnings about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.sections import Section
from napari_melanoma.ui.sections.results.resolve import resolve_prediction
from napari_melanoma.ui.session.connections import SectionConnections
from napari_melanoma.ui.session.run_status import analysis_identity
from napari_melanoma.ui.widgets.style import WrappedLabel, named
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.ui.session.results import AnalysisResults
    from napari_melanoma.ui.session.slide import SlideSession


class SlidePredictionView(ValidityNotice):
    """The prediction below the warnings and the notice that it is not valid."""

    def __init__(self, session: SlideSession) -> None:
        self._label = named(WrappedLabel(), "slide_answer", "Prediction for the slide")
        self._warning_label = named(WrappedLabel(), "slide_cautions", "Warnings about the prediction")
        self._warning_label.setProperty("fault", True)
        super().__init__(session.services.icons, "slide", self._label)
        self._slide = session.slide
        self.insert_limits(self._warning_label)
        self.show_anyway_button.toggled.connect(lambda on: session.results.show_invalid(on))

    def show_results(self, results: AnalysisResults) -> None:
        """Show the prediction."""
        texts = resolve_prediction(results, self._slide.info.pixel_size)
        self.show_validity(results.validity, analysis_identity(results.content))
        self.show_anyway_button.setChecked(results.shows_invalid)
        self._label.setText(texts.prediction)
        self._label.setToolTip(texts.tip)
        self._label.setVisible(bool(texts.prediction))
        self._warning_label.setText(texts.warnings)
        self._warning_label.setVisible(bool(texts.warnings))


class SlidePredictionSection(Section):
    """Show the prediction for a slide."""

    def open(self, session: SlideSession) -> SlidePredictionView:
        """Return the prediction for a slide."""
        view = SlidePredictionView(session)
        self._connections = SectionConnections(view)
        self._connections.connect(session.results.changed, view.show_results)
        view.show_results(session.results.value)
        return view

    def close(self) -> None:
        """Disconnect all signals."""
        self._connections.close()
