"""What is asked of a risk and what comes out: options, the depth that counts, the answer in words and plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import Field

from napari_melanoma.analysis.risk_patches import Pool
from napari_melanoma.core.config import Config
from napari_melanoma.core.validity import Validity
from napari_melanoma.workflows.answer import probability_words

PARTS = ("image", "depth", "patient")  # the three branches of P3
DepthSource = Literal["reader", "automatic", "metadata", "predicted", "unknown"]
SOURCES: dict[DepthSource, str] = {
    "reader": "measured by {}",
    "automatic": "measured by the analysis of the slide",
    "metadata": "from the table of patients",
    "predicted": "told by the network from the image",
    "unknown": "not known",
}
NOTICE = "Research use only; not for diagnosis."


class RiskOptions(Config):
    """How a risk is told."""

    model: str = Field(min_length=1, description="a classifier of patches of slides, or the folder of its bundle")
    patch_mm: float = Field(3.0, gt=0, le=50, description="side of a patch, as the model has learnt them")
    patches: int = Field(3, ge=1, le=64, description="of a slide, at most: the deepest place, then others")
    pool: Pool = Field("mean", description="how the answers to patches become one")
    reader: str | None = Field(None, description="whose reading of the depth counts; none: the latest")
    slide_model: str = Field("skin-demo", min_length=1, description="by which a slide is analysed where it was not yet")
    mpp: float | None = Field(None, gt=0, description="micrometres per pixel of slides that do not say it")
    maps: bool = Field(False, description="of slides: also where the network looks (attention), and Grad-CAM")
    background: int = Field(32, ge=1, le=512, description="training cases that stand in for a part that is taken away")


@dataclass(frozen=True)
class DepthUsed:
    """The thickness that an answer rests on: mm, None where it is not known, and where it comes from.

    ``not_valid`` is the headline where it is a prediction that is not valid; empty where it may be stated.
    """

    mm: float | None
    source: DepthSource
    interval_mm: tuple[float, float] | None = None
    at_least: bool = False
    reader: str = ""
    not_valid: str = ""

    @property
    def words(self) -> str:
        """Such as ``depth 1.80 mm, measured by A``; without the number where it is not valid."""
        where = SOURCES[self.source].format(self.reader or "a reader who gave no name")
        if self.not_valid:
            return f"{self.not_valid} (depth {where})"
        if self.mm is None:
            return f"depth {where}"
        between = "" if self.interval_mm is None else f" ({self.interval_mm[0]:.2f} to {self.interval_mm[1]:.2f})"
        return f"depth {'at least ' if self.at_least else ''}{self.mm:.2f} mm{between}, {where}"


@dataclass(frozen=True)
class PatchAnswer:
    """A patch: what is there, its box (top, left, height, width) in pixels of the finest level, and its answer.

    ``depth_mm`` is what the network tells from the patch; None where it tells none. ``unlike`` says that it looks like
    nothing that the network has learnt from.
    """

    what: str
    box: tuple[int, int, int, int] | None
    probability: float
    depth_mm: float | None = None
    unlike: bool = False


@dataclass(frozen=True)
class Beside:
    """What another method says: its probability, None where it cannot answer, and then why."""

    title: str
    probability: float | None
    why: str = ""


@dataclass(frozen=True)
class RiskAnswer:
    """The risk of one melanoma.

    ``interval`` is None where the bundle has no reference cases. ``shares`` are what each part moves the probability
    by, from ``without`` (nothing known of this case) to ``probability``; None where the bundle remembers no training
    cases. ``missing`` are columns that the model asks for and nobody filled in. ``validity`` says whether the model may
    be applied to this melanoma at all.
    """

    positive: str
    probability: float
    interval: tuple[float, float] | None
    possible: tuple[str, ...]
    coverage: float
    depth: DepthUsed
    patches: tuple[PatchAnswer, ...]
    shares: dict[str, float] | None
    without: float | None
    beside: dict[str, Beside]
    known: dict[str, str]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]
    model: dict[str, str]
    options: RiskOptions
    provenance: dict[str, object] = field(default_factory=dict)
    validity: Validity = field(default_factory=Validity)

    @property
    def verdict(self) -> str:
        """The headline, ``Inconclusive: risk of metastasis 0.61 (95 % interval 0.42–0.90)``; or why it is not valid."""
        return self.validity.headline(f"{self._conclusion()}: {self.number}")

    @property
    def number(self) -> str:
        """Probability with its interval, such as ``risk of metastasis 0.61 (95 % interval 0.42–0.90)``."""
        return f"risk of {self.positive} {probability_words(self.probability, self.interval)}"

    def _conclusion(self) -> str:
        """What the prediction set leaves."""
        if len(self.possible) != 1:
            return "Inconclusive"
        answer = self.positive if self.possible[0] == self.positive else f"no {self.positive}"
        return f"{answer[:1].upper()}{answer[1:]} at {100 * self.coverage:g} % coverage"

    @property
    def because(self) -> str:
        """What each part moves it by, in words; empty where that is not known."""
        if self.shares is None or self.without is None:
            return ""
        parts = ", ".join(f"{name} {round(share, 2) + 0.0:+.2f}" for name, share in self.shares.items())
        return f"{parts}; {self.without:.2f} where nothing is known"

    @property
    def compared(self) -> str:
        """What the other methods say, in words."""
        known = [f"{one.title} {one.probability:.2f}" for one in self.beside.values() if one.probability is not None]
        return ", ".join(known)

    def to_json(self) -> dict[str, Any]:
        """Say it in plain values.

        Every field, and the sentences for those who only read.
        """
        words: dict[str, Any] = {"verdict": self.verdict, "validity": self.validity.to_json(), "number": self.number}
        words |= {"because": self.because, "depth_in_words": self.depth.words}
        apart = ("options", "depth", "patches", "beside", "validity")
        plain = {name: value for name, value in vars(self).items() if name not in apart}
        return {
            **words,
            **plain,
            "depth": asdict(self.depth),
            "patches": [asdict(one) for one in self.patches],
            "beside": {name: asdict(one) for name, one in self.beside.items()},
            "options": self.options.model_dump(mode="json"),
            "notice": NOTICE,
        }
