"""The control of options that go with a name in another field: a form that is made anew when the name changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from qtpy.QtWidgets import QLabel, QWidget

from napari_melanoma.core.config import filled_in
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.ui.editors import Editor

if TYPE_CHECKING:
    from napari_melanoma.core.config import Config
    from napari_melanoma.ui.config_form import ConfigForm


class OptionsEditor(Editor):
    """The fields of the configuration that belongs to a name."""

    def __init__(
        self, config_now: Callable[[], type[Config]], make_form: Callable[[type[BaseModel]], ConfigForm]
    ) -> None:
        super().__init__()
        self._config_now = config_now
        self._make_form = make_form
        self._config: type[Config] | None = None
        self._form: ConfigForm | None = None
        self._row.addWidget(QLabel("none"), 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """Every option with its value, by name."""
        return {} if self._form is None else self._form.values()

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        config = self._config_now()
        self._show(config)
        if self._form is not None:
            self._form.give(config.model_validate(self.normal(value)))

    def normal(self, value: Any) -> Any:  # noqa: ANN401
        """Name every option of the configuration as it is now; options of another name's give way to its defaults.

        Every option by name, but for those that the program fills in itself.
        """
        config = self._config_now()
        try:
            named = config.parse(dict(value), "the table of options")
        except ConfigError:
            named = config()
        return named.model_dump(exclude=filled_in(config))

    @property
    def fault(self) -> str:
        """What is wrong with what was typed."""
        return "; ".join(self._form.faults) if self._form is not None else ""

    def renew(self) -> None:
        """Show the options of the name as it is now, where it is another one, with their defaults."""
        if self._config_now() is not self._config:
            self.value = {}
            self.changed.emit()

    def _show(self, config: type[Config]) -> None:
        if config is self._config:
            return
        self._config = config
        self._form = self._make_form(config) if config.model_fields else None
        before = self.control
        shown: QWidget = QLabel("none") if self._form is None else self._form
        shown.setObjectName(before.objectName())
        if self._form is not None:
            self._form.changed.connect(self.changed)
        self._row.replaceWidget(before, shown)
        before.setParent(None)  # so that nobody finds it any more
        before.deleteLater()
