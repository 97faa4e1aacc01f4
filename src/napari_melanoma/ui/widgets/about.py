"""The dialog *About*: version, and the licenses of code, models and samples with their attribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui.widgets.dialogs import show_markdown

if TYPE_CHECKING:
    from qtpy.QtWidgets import QDialog, QWidget

TEXT = """\
## napari-melanoma {version}

Research use only. Not for diagnosis.

The code is under the BSD 3-Clause license. The card of each model (*i* beside its name) has the license of its weights
and the data that it was trained on.

### Samples

These images are real. No model of this package was trained on the photographs; `skin-tissue` was painted on other parts
of the section that the slide is a region of.

{samples}

Licenses: [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/),
[CC0](https://creativecommons.org/publicdomain/zero/1.0/).
"""


def describe_program() -> str:
    """Return the content of the dialog as Markdown; the samples are listed by their attribution."""
    from napari_melanoma import __version__
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.samples.catalog import load_samples

    titles: dict[str, list[str]] = {}
    try:
        for sample in load_samples().values():
            titles.setdefault(sample.credit, []).append(sample.name)
        lines = [f"- {', '.join(names)}: {credit}" for credit, names in titles.items()]
    except InputError as error:
        lines = [str(error)]
    return TEXT.format(version=__version__, samples="\n".join(lines))


def show_about(parent: QWidget, link_color: str) -> QDialog:
    """Show the dialog, which is not modal."""
    return show_markdown(parent, "about", "About napari-melanoma", describe_program(), link_color)
