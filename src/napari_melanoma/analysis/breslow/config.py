"""How a thickness is measured on the map of a slide: what counts as a lesion, as a nest, as an ulcer."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config


class DepthConfig(Config):
    """Lengths are in micrometres on the section, areas in square micrometres unless they say otherwise."""

    min_section_mm2: float = Field(0.02, gt=0, description="smaller pieces of tissue are no section")
    min_epidermis_um2: float = Field(2500, gt=0, description="smaller patches of epidermis are taken for errors")
    min_lesion_um2: float = Field(5000, gt=0, description="tumour that is smaller in all is not measured")
    min_nest_um2: float = Field(250, gt=0, description="smaller nests are taken for specks")
    nest_gap_um: float = Field(60, gt=0, description="nests belong to a lesion across gaps of at most this")
    far_gap_um: float = Field(300, gt=0, description="nests across gaps up to this make a second candidate")
    in_situ_um2: float = Field(6000, gt=0, description="nests up to this may lie within the epidermis")
    in_situ_contact: float = Field(0.4, gt=0, le=1, description="and do where this share of their border meets it")
    detached_um: float = Field(
        250, gt=0, description="a lesion whose top lies deeper than this may be none of the skin"
    )
    cover_um: float = Field(150, gt=0, description="epidermis belongs to the surface up to this far below the glass")
    ulcer_um: float = Field(120, gt=0, description="epidermis missing over less than this of the tumour is no ulcer")
    edge_um: float = Field(30, gt=0, description="so much of the tumour at the section's end makes it 'at least'")
    window_mm: float = Field(2.0, gt=0, description="adjacent skin on each side that says which way is down")
    faint_from_mm: float = Field(1.0, gt=0, description="from here on a lesion reaches as far as tumour is possible")
    different_mm: float = Field(0.02, gt=0, description="candidates of a lesion that differ by less are one")
