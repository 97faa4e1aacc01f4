"""The prediction for a slide, whether it is valid, and warnings about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.session.run_status import analysis_identity
from napari_melanoma.ui.widgets.style import WrappedLabel, named
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.ui.session.results import AnalysisResults
    from napari_melanoma.ui.session.slide import SlideSession


class SlidePredictionSection(SlideSection):
    """Show the prediction below its warnings and the notice that it is not valid."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._label = named(WrappedLabel(), "slide_answer", "Prediction for the slide")
        self._warning_label = named(WrappedLabel(), "slide_cautions", "Warnings about the prediction")
        self._warning_label.setProperty("fault", True)
        self._notice = ValidityNotice(session.services.icons, "slide", self._label)
        self._notice.insert_limits(self._warning_label)
        self._notice.show_anyway_button.toggled.connect(lambda on: session.results.show_invalid(on))
        self.add(self._notice)
        self.follow(session.results.changed, self._show_results)
        self._show_results(session.results.value)

    def _show_results(self, results: AnalysisResults) -> None:
        from napari_melanoma.slides.results import (
            describe_other_scale,
            describe_other_scores,
            describe_slide_score,
        )

        content, validity = results.content, results.validity
        self._notice.show_validity(validity, analysis_identity(content))
        self._notice.show_anyway_button.setChecked(results.shows_invalid)
        text = describe_slide_score(content)
        if validity is not None and validity.valid:  # otherwise the notice has the headline
            text = validity.headline(text)
        scale = describe_other_scale(content, self.session.slide.info.pixel_size)
        warnings = "\n".join(filter(None, (scale, *map(str, content.get("warnings", ())))))
        for label, shown in ((self._label, text), (self._warning_label, warnings)):
            label.setText(shown)
            label.setVisible(bool(shown))
        self._label.setToolTip(describe_other_scores(content))
