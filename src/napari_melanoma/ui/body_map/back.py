"""The drawing of the body from behind: its sites and details."""

from __future__ import annotations

from qtpy.QtGui import QPainterPath

from napari_melanoma.ui.body_map.outlines import (
    RIGHT,
    BodyDrawing,
    BodyPart,
    BodyRegion,
    SiteShape,
    add_mirror_image,
    body_edge,
    curve,
    draw_lines,
    ear_outline,
    ellipse,
    finger_outlines,
    limb_segment,
    midline_regions,
    mirror_path,
    occiput_outline,
    paired_regions,
    trunk_outline,
    unite_paths,
)

_FOOT = "26.8,388 28.8,391.4 31.8,394.4 32.4,396.8 29.4,398.2 25.8,399 21,400.2 16.8,398.8 15.4,394.4 15.8,390"


def draw_back() -> BodyDrawing:
    """Draw the back, 400 units high; the patient's right is at positive x."""
    outline = trunk_outline(_FOOT)
    whole = unite_paths(outline, *finger_outlines(), *(mirror_path(finger) for finger in finger_outlines()))
    sites = [*_midline(), *paired_regions([*_torso(), *_arm(), *_leg()], RIGHT)]
    ears = add_mirror_image(ear_outline())
    parts = (
        BodyPart(whole, tuple(sites), body_edge(_FOOT)),
        BodyPart(ears, tuple(paired_regions([("ear", ear_outline())], RIGHT)), ears),
        BodyPart(occiput_outline(), tuple(midline_regions(("scalp", occiput_outline()))), occiput_outline()),
    )
    return BodyDrawing(
        "back", "Back", parts, draw_lines(), add_mirror_image(_creases()), ("left", "right"), is_detail=False
    )


def _creases() -> QPainterPath:
    """Scapula, dimples, gluteal cleft, popliteal fossa, calf, Achilles tendon, knuckles."""
    return draw_lines(
        "0,193 0.1,203 0,213.4",
        "0.3,196 0.3,212",
        "9.4,83 10.6,94 14.6,106.6 20.6,115.4 25.6,112.4 29.6,102",
        "9.4,83 16,80.6 25,79 32.6,79.4",
        "7.8,183.6 8.8,185.2 10,183.8",
        "13.6,290.6 19.6,293.4 27,290.2",
        "20.4,312 19.4,328 20.6,343",
        "20.6,343 16.2,347 13.6,345",
        "20.6,343 25.4,348.6 28.8,347",
        "19.2,362 19.6,374 18.6,384",
        "23.2,362 22.8,374 23.8,384",
        "17.6,392.4 20.8,394 24.6,392.4",
        "68.6,225.4 70.4,223.8 72,225",
        "72.4,228 74.4,226.2 76,227.4",
        "76.6,229 78.6,227 80.4,228",
        "53.6,150 56,155.4 59.4,150.6",
    )


def _midline() -> list[BodyRegion]:
    """Sites on the midline."""
    nape = curve("-30,40 30,40", "30,62 18,65.6 8,67.8 0,70.4 -8,67.8 -18,65.6 -30,62")
    upper = curve("-4.2,60 4.2,60", "4.2,60 3.8,100 3.8,131", "3.8,131 -3.8,131", "-3.8,131 -3.8,100 -4.2,60")
    lower = curve("-3.8,120 3.8,120", "3.8,120 4,160 5.6,186", "0,190 -5.6,186", "-5.6,186 -4,160 -3.8,120")
    return midline_regions(
        ("perianal", ellipse((0, 208), 7.6, 13)), ("nape", nape), ("upper back", upper), ("lower back", lower)
    )


def _torso() -> list[SiteShape]:
    """Shoulder, back and buttock at positive x."""
    shoulder = curve(
        "8,67.8 18,69.6 28,73.2 36,79.6 38.6,90 37,100 34,108",
        "36,106 45,112.4 60,111",
        "70,60 0,60",
    )
    upper = curve("0,131 10,132 22,131 36.6,127", "36.2,107 50,60 0,60")
    flank = curve("25.2,124 24.6,138 23.6,157 24.8,169 27.6,180.2", "36.8,182.4 36.4,124")
    lower = curve("0,191 8,186 18,181.4 28,180 38,182.6", "38,120 0,120")
    buttock = curve("38,211.4 30,217.6 20,221.4 9,220.6 0,215", "0,170 38,170")
    return [
        ("shoulder", shoulder),
        ("upper back", upper),
        ("flank", flank),
        ("lower back", lower),
        ("buttock", buttock),
    ]


def _arm() -> list[SiteShape]:
    """Sites from the shoulder to the fingers."""
    knuckles = curve("60,224.6 68,226 74,228.4 80,228.6 85,226.6 83.4,218 81.6,209 90,200", "40,190 40,224.6")
    return [
        ("elbow", limb_segment((53.4, 145), (57.4, 161.4), 14, 1.6)),
        ("wrist", limb_segment((69.9, 199.4), (72.6, 208.6), 11, 1.2)),
        ("upper arm", limb_segment((40, 90), (55.4, 153), 26)),
        ("forearm", limb_segment((55.4, 153), (71.2, 204), 18)),
        ("hand", knuckles),
        ("finger", curve("60,200 110,200", "110,260 60,260")),
    ]


def _leg() -> list[SiteShape]:
    """Sites from the buttock to the heel."""
    return [
        ("knee", limb_segment((20, 277.4), (20.6, 305.4), 19.8, 3)),
        ("ankle", limb_segment((21.2, 367), (21.4, 385), 18, 2)),
        ("thigh", limb_segment((20, 190), (20, 291), 20)),
        ("lower leg", limb_segment((20, 291), (21, 376), 19)),
        ("foot", limb_segment((21, 376), (22, 410), 20)),
    ]
