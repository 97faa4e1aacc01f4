"""The drawing of the body from the front: its sites and details."""

from __future__ import annotations

from qtpy.QtGui import QPainterPath

from napari_melanoma.ui.body_map.outlines import (
    LEFT,
    BodyDrawing,
    BodyPart,
    BodyRegion,
    SiteShape,
    add_mirror_image,
    body_edge,
    capsule,
    curve,
    draw_lines,
    ear_outline,
    ellipse,
    finger_outlines,
    head_outline,
    limb_segment,
    midline_regions,
    mirror_path,
    paired_regions,
    trunk_outline,
    unite_paths,
)

_FOOT = "27.6,389 31.6,393.4 34.2,397 32.6,399.4 24,399.6 17.6,398.6 16.2,393"
_TOES = (
    ((19.6, 396), (19.4, 399.8), (5.4, 5.2)),
    ((24.2, 397), (24.5, 400.6), (4.2, 3.8)),
    ((27.6, 396.8), (28.2, 400), (3.9, 3.5)),
    ((30.6, 396), (31.4, 398.9), (3.6, 3.2)),
    ((33, 394.6), (34, 397.2), (3.3, 2.9)),
)


def draw_front() -> BodyDrawing:
    """Draw the front, 400 units high; the patient's left is at positive x."""
    outline = trunk_outline(_FOOT)
    tips = [*finger_outlines(), *(capsule(*toe) for toe in _TOES)]
    whole = unite_paths(outline, *tips, *(mirror_path(tip) for tip in tips))
    sites = [*_midline(), *paired_regions([*_torso(), *_arm(), *_leg()], LEFT)]
    ears = add_mirror_image(ear_outline())
    parts = (
        BodyPart(whole, tuple(sites), body_edge(_FOOT)),
        BodyPart(ears, tuple(paired_regions([("ear", ear_outline())], LEFT)), ears),
        BodyPart(head_outline(), tuple(_head()), head_outline()),
    )
    return BodyDrawing(
        "front",
        "Front",
        parts,
        add_mirror_image(_lines()),
        add_mirror_image(_creases()),
        ("right", "left"),
        is_detail=False,
    )


def _lines() -> QPainterPath:
    """Strong lines: face, nipples, navel."""
    face = draw_lines(
        *("4.2,22.2 8,20.6 13,21.8", "4.6,26.6 8.4,25 12.4,26.6", "4.6,26.6 8.6,28 12.4,26.6"),
        *("2.2,27 2.6,33 3.8,36.6 1.4,38", "0,43.7 3,43.3 6,43.4", "0,46.9 1.8,46.8 3.4,46.2"),
    )
    return unite_paths(
        face, ellipse((8.5, 26.6), 1.1, 1.1), ellipse((18.6, 105), 1.8, 1.8), ellipse((0, 165), 1.7, 2.8)
    )


def _creases() -> QPainterPath:
    """Faint lines: collarbone, ribs, groin, kneecap, shin, ankle, palm, toenails."""
    return draw_lines(
        "3.4,69.8 9,71.8 20,71.6 29,75 34.6,79.6",
        "9.6,57.4 8,62.6 4.2,68.6",
        "5,128 12,136.6 21,142",
        "30.6,181 25.6,186.8 19,192",
        "14.8,287 19.8,282.4 25.8,286.6",
        "15.4,295 20,299.8 25.4,295.4",
        "18.6,311 17.6,330 18.8,352",
        "24,377 25.6,379.6 24.6,382.4",
        "17.2,377.6 16.8,380.4 18,382.6",
        "50.8,153.4 55.4,155.6 60,152",
        "70.4,212.6 75,217 79.8,225.6",
        "68.8,222 74.4,224.4 81.6,222.6",
        "18,399.4 19.5,397.8 21,399.6",
        "23.4,400.6 24.5,399.2 25.6,400.6",
        "27.2,400 28.2,398.8 29.2,399.8",
    )


def _head() -> list[BodyRegion]:
    """The sites of the head; the face has a separate drawing."""
    hairline = "-30,18 -17.6,16.6 -11,10.4 0,8.6 11,10.4 17.6,16.6 30,18"
    brows = "-30,22.6 -12,21.2 0,22.8 12,21.2 30,22.6"
    scalp, forehead = (curve(edge, "30,-9 -30,-9") for edge in (hairline, brows))
    return midline_regions(("scalp", scalp), ("forehead", forehead), ("face", head_outline()))


def _midline() -> list[BodyRegion]:
    """Sites on the midline of the trunk."""
    sternum = curve("-4.6,67 4.6,67", "4.6,67 4.2,100 3.8,124", "0,127 -3.8,124")
    belly = curve("-3.8,123.6 3.8,123.6", "3.8,123.6 4.3,150 4.2,199", "-4.2,199 -4.3,150 -3.8,123.6")
    shield = curve("0,196.2 5.6,197.8 7.4,202.6 4.8,211 0,220 -4.8,211 -7.4,202.6 -5.6,197.8")
    return midline_regions(("genital", shield), ("chest", sternum), ("abdomen", belly))


def _torso() -> list[SiteShape]:
    """Neck, shoulder and trunk at positive x."""
    neck = curve("0,40 30,40", "30,62 13,61.4 7,66 0,68.6")
    armpit = curve("35.6,93 39.4,100 41.2,108 39.6,115 35.4,118 32.2,113 31.8,105 33,98")
    shoulder = curve(
        "6,68.4 17,69.4 28,72.4 36,78 38,88 36.4,100 34,108",
        "36,106 45,112.4 60,111",
        "70,60 0,60",
    )
    breast = curve("19,90 25.6,93 30.2,99.6 30.6,107 26,113.4 18.6,115.4 11.8,112.6 8.6,105.6 9.8,97.4 13.6,92")
    chest = curve("0,124 7,126.6 17,131.6 26,133.6 36.6,131", "36.2,107 50,60 0,60")
    flank = curve("24.4,127 23.4,140 22,158 23.4,174 26.4,189.6", "36.6,182.6 36.4,127")
    abdomen = curve("36,183 27,189.4 17,196.8 6,204.6 0,207", "0,120 36,120")
    groin = curve("40,193 29,201 18,211 9,222 0,232", "0,180 40,180")
    return [
        *(("neck", neck), ("axilla", armpit), ("shoulder", shoulder), ("breast", breast)),
        *(("chest", chest), ("flank", flank), ("abdomen", abdomen), ("groin", groin)),
    ]


def _arm() -> list[SiteShape]:
    """Sites from the shoulder to the fingers."""
    knuckles = curve("60,226 69,227.4 76,229 83,227 84.6,218 82,209 90,200", "40,190 40,226")
    return [
        ("elbow", limb_segment((53.4, 145), (57.4, 161.4), 14, 1.6)),
        ("wrist", limb_segment((69.9, 199.4), (72.6, 208.6), 11, 1.2)),
        ("upper arm", limb_segment((40, 90), (55.4, 153), 26)),
        ("forearm", limb_segment((55.4, 153), (71.2, 204), 18)),
        ("palm", knuckles),
        ("finger", curve("60,200 110,200", "110,260 60,260")),
    ]


def _leg() -> list[SiteShape]:
    """Sites from the groin to the toes."""
    toes = curve("10,395.4 20,395 28,395 33,392.6 40,388", "40,410 10,410")
    return [
        ("knee", limb_segment((20, 277.4), (20.6, 305.4), 19.8, 3)),
        ("ankle", limb_segment((21.2, 367), (21.4, 384), 18, 2)),
        ("toe", toes),
        ("thigh", limb_segment((20, 190), (20, 291), 20)),
        ("lower leg", limb_segment((20, 291), (21, 376), 19)),
        ("foot", limb_segment((21, 376), (22, 410), 20)),
    ]
