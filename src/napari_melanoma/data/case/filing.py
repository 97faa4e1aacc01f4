"""Images put where they belong in a case: to the lesion that their names, headers and tables tell, or to none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from napari_melanoma.core.pseudonyms import pseudonym
from napari_melanoma.data.case.edit import add_images, add_lesion, set_lesion, set_patient
from napari_melanoma.data.case.facts import Facts
from napari_melanoma.data.case.model import Case, CaseImage, CaseLesion, CasePart, CasePatient, Origin
from napari_melanoma.data.places import Place, joined

Note = tuple[str, str]


@dataclass(frozen=True)
class FoundImage:
    """An image without an id, and what is said of it."""

    image: CaseImage
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True)
class Filed:
    """A case with further images, and what a person should know: about what, and what is said."""

    case: Case
    notes: tuple[Note, ...] = ()


def file_images(case: Case, found: Iterable[FoundImage]) -> Filed:
    """Add images to a case; all that is filled in is a guess, and nothing that is known is replaced.

    An image goes to the lesion of its name (``label``), or of its place where it has none; where there is no such
    lesion it gets a new one, and where nothing is said of a lesion it goes to the images of no lesion. An image that
    is in the case already, by its content or its path, is left out.

    Returns the case after it; what contradicts what was known, and what was left out.
    """
    filing = _Filing(case)
    for one in found:
        filing.take(one)
    return filing.done()


def is_of_another(case: Case, called: str) -> bool:
    """Say whether files speak of somebody else than a case does.

    False where either is not said. The pseudonym of a case whose patient had no name is another than any.
    """
    ours = case.patient.patient_id
    return bool(called and ours) and ours not in (called, pseudonym(called))


class _Filing:
    """A case being filled: images are kept back by lesion and added together."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.notes: list[Note] = []
        self.there = {image.content: image.path for _, image in case.each_image() if image.content}
        self.paths = {image.path for _, image in case.each_image()}
        self.of_others = 0
        self.waiting: dict[str, list[CaseImage]] = {"": []}

    def take(self, found: FoundImage) -> None:
        """Find the lesion of an image, and fill in what is said of lesion and patient."""
        image, facts = found.image, found.facts
        known = self.there.get(image.content) if image.content else None
        if known is not None:
            if known != image.path:
                self.notes.append((image.path.name, f"was left out: it is the same as {known.name}."))
            return
        if image.path in self.paths:
            self.notes.append((image.path.name, "was changed since it was added, and is not added again."))
            return
        self.there[image.content] = image.path
        self.paths.add(image.path)
        self.of_others += is_of_another(self.case, facts.patient)
        self._patient(image.name, facts)
        lesion_id = self._lesion(image.name, facts)
        cells, origins = facts.of(CaseImage)
        if lesion_id:
            origins["lesion"] = facts.origins.get("lesion", facts.origins.get("site", "name"))
        filled = CaseImage.parse({**dict(image), **cells, "guesses": origins}, image.name)
        self.waiting.setdefault(lesion_id, []).append(filled)

    def done(self) -> Filed:
        """Add the images."""
        case = self.case
        for lesion_id, images in self.waiting.items():
            case = add_images(case, images, lesion_id)
        if self.of_others:
            self.notes.append(
                ("patient", f"{self.of_others} of the images name another one: see that they belong here.")
            )
        return Filed(case, tuple(dict.fromkeys(self.notes)))

    def _patient(self, about: str, facts: Facts) -> None:
        """Fill in what is said of the patient."""
        fresh, origins = self._news(about, self.case.patient, *facts.of(CasePatient))
        if fresh:
            self.case = set_patient(self.case, **fresh, guesses={**self.case.patient.guesses, **origins})

    def _lesion(self, about: str, facts: Facts) -> str:
        """Find the lesion, or make it; gives its id, "" for none."""
        cells, origins = facts.of(CaseLesion)
        if not facts.lesion and not _place(cells).site:
            return ""
        known = next((lesion for lesion in self.case.lesions if self._fits(lesion, facts, cells, origins)), None)
        if known is None:
            self.case = add_lesion(self.case, **cells, label=facts.lesion, guesses=origins)
            return self.case.lesions[-1].id
        if joined(_place_of(known), _place(cells)) is None:
            self.notes.append((about, f"says {_said(_place(cells))}, where {_said(_place_of(known))} is known."))
            cells = {name: text for name, text in cells.items() if name not in Place._fields}
        fresh, new_origins = self._news(about, known, cells, origins)
        if fresh:
            self.case = set_lesion(self.case, known.id, **fresh, guesses={**known.guesses, **new_origins})
        return known.id

    def _fits(self, lesion: CaseLesion, facts: Facts, cells: Mapping[str, str], origins: Mapping[str, Origin]) -> bool:
        """Whether an image is of a lesion: of the same name and no other place, or of no name and the same place.

        A table or a header tells the region alone, where a patient may have many lesions: a second image that was taken
        in the same way is one of another lesion then.
        """
        place = _place_of(lesion)
        if facts.lesion:
            is_sure = facts.origins["lesion"] != "name"
            return lesion.label == facts.lesion and (is_sure or joined(place, _place(cells)) is not None)
        if lesion.label or place != _place(cells):
            return False
        there = {image.modality for image in (*lesion.images, *self.waiting.get(lesion.id, ()))}
        return origins.get("site", "name") == "name" or facts.cells.get("modality", "") not in there

    def _news(
        self, about: str, part: CasePart, cells: Mapping[str, str], origins: Mapping[str, Origin]
    ) -> tuple[dict[str, object], dict[str, Origin]]:
        """What is not known yet of a patient or lesion; what contradicts it is noted."""
        for name, text in cells.items():
            if part.cell(name) not in ("", text) and not _is_wider(name, text, part):
                self.notes.append((about, f"says {name} {text}, where {part.cell(name)} is known, which stays."))
        fresh = {name: text for name, text in cells.items() if not part.cell(name)}
        return dict(fresh), {name: origins[name] for name in fresh}


def _is_wider(name: str, text: str, part: CasePart) -> bool:
    """Whether a site is only less exact than the one that is known."""
    return name == "site" and joined(Place(part.cell("site")), Place(text)) is not None


def _place_of(lesion: CaseLesion) -> Place:
    """Where on the body a lesion is."""
    return Place(lesion.site, lesion.sub_site, lesion.laterality)


def _said(place: Place) -> str:
    """A place for people."""
    return " ".join(filter(None, reversed(place)))


def _place(cells: Mapping[str, str]) -> Place:
    """Where on the body some cells say."""
    return Place(*(cells.get(name, "") for name in Place._fields))
