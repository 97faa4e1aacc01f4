"""Which options belong to one photograph, and which were set for all photographs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_melanoma.workflows.lesion import LesionOptions

if TYPE_CHECKING:
    from napari_melanoma.ui.settings import Settings

MASK, REGION = ("threshold", "refinement"), ("roi",)
COMMON = ("model", "flips")  # settings of the dock: they hold for every analysis that is started


@dataclass
class OwnOptions:
    """Options by the identity of a photograph; those of a photograph without its own are the ones for all."""

    settings: Settings
    _own: dict[str, LesionOptions] = field(default_factory=dict)

    @property
    def for_all(self) -> LesionOptions:
        """The options of photographs for which nothing else was set by hand."""
        return self.settings.options

    def of(self, identity: str | None) -> LesionOptions:
        """Give the options of a photograph.

        Its own where a value was set by hand, else those for all.
        """
        return self._own.get(str(identity), self.for_all)

    def set(self, identity: str, options: LesionOptions) -> None:
        """Keep what was set by hand for a photograph."""
        self._own[identity] = options

    def forget(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._own.pop(identity, None)

    def use_for_all(self, options: LesionOptions, names: tuple[str, ...]) -> None:
        """Let values hold for all photographs without their own, now and later."""
        before = self.for_all
        self.settings.options = after = with_fields(before, options, names)
        self._own = {
            identity: with_fields(own, after, names) if same(own, before, names) else own
            for identity, own in self._own.items()
        }


def with_fields(options: LesionOptions, source: LesionOptions, names: tuple[str, ...]) -> LesionOptions:
    """Give options with some fields of others."""
    return options.model_copy(update={name: getattr(source, name) for name in names})


def same(one: LesionOptions, other: LesionOptions, names: tuple[str, ...]) -> bool:
    """Say whether two options agree in some fields.

    True where all of them are equal.
    """
    return all(getattr(one, name) == getattr(other, name) for name in names)
