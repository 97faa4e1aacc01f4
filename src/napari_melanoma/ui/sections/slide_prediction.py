"""Why the results of a slide are not valid, and warnings about them; the answer of the dock states what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.sections.base import SlideSection
from napari_melanoma.ui.session.run_status import analysis_identity
from napari_melanoma.ui.widgets.style import WrappedLabel, named, show_text
from napari_melanoma.ui.widgets.validity import ValidityNotice

if TYPE_CHECKING:
    from napari_melanoma.ui.session.results import AnalysisResults
    from napari_melanoma.ui.session.slide import SlideSession


class SlidePredictionSection(SlideSection):
    """Show the reasons against the results, and the button that shows results that are not valid."""

    def __init__(self, session: SlideSession) -> None:
        super().__init__(session)
        self._warning_label = named(WrappedLabel(), "slide_cautions", "Warnings about the prediction")
        self._warning_label.setProperty("fault", True)
        self._notice = ValidityNotice(session.services.icons, "slide")
        self._notice.show_anyway_button.toggled.connect(lambda on: session.results.show_invalid(on))
        self.add(self._notice, self._warning_label)
        self.follow(session.results.changed, self._show_results)
        self._show_results(session.results.value)

    def _show_results(self, results: AnalysisResults) -> None:
        from napari_melanoma.slides.results import describe_other_scale

        content, validity = results.content, results.validity
        self._notice.show_validity(validity, analysis_identity(content))
        self._notice.headline_label.setVisible(results.shows_invalid)  # otherwise the answer states it
        self._notice.show_anyway_button.setChecked(results.shows_invalid)
        self._notice.setVisible(not self._notice.frame.isHidden())
        scale = describe_other_scale(content, self.session.slide.info.pixel_size)
        show_text(self._warning_label, "\n".join(filter(None, (scale, *map(str, content.get("warnings", ()))))))
        self.setVisible(not (self._notice.isHidden() and self._warning_label.isHidden()))
