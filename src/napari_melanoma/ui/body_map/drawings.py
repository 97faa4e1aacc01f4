"""The drawings of the body map: the body from front and back, and details of face, mouth, hands, soles and toes."""

from __future__ import annotations

import math

from qtpy.QtGui import QPainterPath, QTransform

from napari_melanoma.data.body_sites import LEFT, RIGHT
from napari_melanoma.ui.body_map.outlines import (
    BodyDrawing,
    BodyPart,
    BodyRegion,
    Point,
    SiteShape,
    add_mirror_image,
    body_edge,
    capsule,
    close_half_outline,
    curve,
    draw_lines,
    ear_outline,
    ellipse,
    finger_outlines,
    head_outline,
    limb_segment,
    midline_regions,
    mirror_path,
    occiput_outline,
    paired_regions,
    trunk_outline,
    unit_vector,
    unite_paths,
)

# Points are in SVG notation: "x,y x,y ...", with x = 0 on the midline and y downward. Most shapes are drawn at positive
# x and completed by their mirror image.
_FRONT_FOOT = "27.6,389 31.6,393.4 34.2,397 32.6,399.4 24,399.6 17.6,398.6 16.2,393"
_FRONT_TOES = (  # root, tip, and the widths there
    ((19.6, 396), (19.4, 399.8), (5.4, 5.2)),
    ((24.2, 397), (24.5, 400.6), (4.2, 3.8)),
    ((27.6, 396.8), (28.2, 400), (3.9, 3.5)),
    ((30.6, 396), (31.4, 398.9), (3.6, 3.2)),
    ((33, 394.6), (34, 397.2), (3.3, 2.9)),
)


def draw_front() -> BodyDrawing:
    """Draw the front, 400 units high; the patient's left is at positive x."""
    outline = trunk_outline(_FRONT_FOOT)
    tips = [*finger_outlines(), *(capsule(*toe) for toe in _FRONT_TOES)]
    whole = unite_paths(outline, *tips, *(mirror_path(tip) for tip in tips))
    sites = [*_front_midline(), *paired_regions([*_front_torso(), *_front_arm(), *_front_leg()], LEFT)]
    ears = add_mirror_image(ear_outline())
    parts = (
        BodyPart(whole, tuple(sites), body_edge(_FRONT_FOOT)),
        BodyPart(ears, tuple(paired_regions([("ear", ear_outline())], LEFT)), ears),
        BodyPart(head_outline(), tuple(_front_head()), head_outline()),
    )
    return BodyDrawing(
        "front",
        "Front",
        parts,
        add_mirror_image(_front_lines()),
        add_mirror_image(_front_creases()),
        ("right", "left"),
        is_detail=False,
    )


def _front_lines() -> QPainterPath:
    """Draw the strong lines: face, nipples, navel."""
    face = draw_lines(
        *("4.2,22.2 8,20.6 13,21.8", "4.6,26.6 8.4,25 12.4,26.6", "4.6,26.6 8.6,28 12.4,26.6"),
        *("2.2,27 2.6,33 3.8,36.6 1.4,38", "0,43.7 3,43.3 6,43.4", "0,46.9 1.8,46.8 3.4,46.2"),
    )
    return unite_paths(
        face, ellipse((8.5, 26.6), 1.1, 1.1), ellipse((18.6, 105), 1.8, 1.8), ellipse((0, 165), 1.7, 2.8)
    )


def _front_creases() -> QPainterPath:
    """Draw the faint lines: collarbone, ribs, groin, kneecap, shin, ankle, palm, toenails."""
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


def _front_head() -> list[BodyRegion]:
    """Create the sites of the head; the face is a single site here, as it has its own drawing."""
    hairline = "-30,18 -17.6,16.6 -11,10.4 0,8.6 11,10.4 17.6,16.6 30,18"
    brows = "-30,22.6 -12,21.2 0,22.8 12,21.2 30,22.6"
    scalp, forehead = (curve(edge, "30,-9 -30,-9") for edge in (hairline, brows))
    return midline_regions(("scalp", scalp), ("forehead", forehead), ("face", head_outline()))


def _front_midline() -> list[BodyRegion]:
    """Create the sites on the midline of the trunk."""
    sternum = curve("-4.6,67 4.6,67", "4.6,67 4.2,100 3.8,124", "0,127 -3.8,124")
    belly = curve("-3.8,123.6 3.8,123.6", "3.8,123.6 4.3,150 4.2,199", "-4.2,199 -4.3,150 -3.8,123.6")
    shield = curve("0,196.2 5.6,197.8 7.4,202.6 4.8,211 0,220 -4.8,211 -7.4,202.6 -5.6,197.8")
    return midline_regions(("genital", shield), ("chest", sternum), ("abdomen", belly))


def _front_torso() -> list[SiteShape]:
    """Create the sites of neck, shoulder and trunk at positive x."""
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


def _front_arm() -> list[SiteShape]:
    """Create the sites from the shoulder to the fingers."""
    knuckles = curve("60,226 69,227.4 76,229 83,227 84.6,218 82,209 90,200", "40,190 40,226")
    return _arm(("palm", knuckles))


def _arm(hand: SiteShape) -> list[SiteShape]:
    """Create the sites from the shoulder to the fingers; ``hand``: the visible side of the hand."""
    return [
        ("elbow", limb_segment((53.4, 145), (57.4, 161.4), 14, 1.6)),
        ("wrist", limb_segment((69.9, 199.4), (72.6, 208.6), 11, 1.2)),
        ("upper arm", limb_segment((40, 90), (55.4, 153), 26)),
        ("forearm", limb_segment((55.4, 153), (71.2, 204), 18)),
        hand,
        ("finger", curve("60,200 110,200", "110,260 60,260")),
    ]


def _front_leg() -> list[SiteShape]:
    """Create the sites from the groin to the toes."""
    toes = curve("10,395.4 20,395 28,395 33,392.6 40,388", "40,410 10,410")
    return [
        ("knee", limb_segment((20, 277.4), (20.6, 305.4), 19.8, 3)),
        ("ankle", limb_segment((21.2, 367), (21.4, 384), 18, 2)),
        ("toe", toes),
        ("thigh", limb_segment((20, 190), (20, 291), 20)),
        ("lower leg", limb_segment((20, 291), (21, 376), 19)),
        ("foot", limb_segment((21, 376), (22, 410), 20)),
    ]


_BACK_FOOT = "26.8,388 28.8,391.4 31.8,394.4 32.4,396.8 29.4,398.2 25.8,399 21,400.2 16.8,398.8 15.4,394.4 15.8,390"


def draw_back() -> BodyDrawing:
    """Draw the back, 400 units high; the patient's right is at positive x."""
    outline = trunk_outline(_BACK_FOOT)
    whole = unite_paths(outline, *finger_outlines(), *(mirror_path(finger) for finger in finger_outlines()))
    sites = [*_back_midline(), *paired_regions([*_back_torso(), *_back_arm(), *_back_leg()], RIGHT)]
    ears = add_mirror_image(ear_outline())
    parts = (
        BodyPart(whole, tuple(sites), body_edge(_BACK_FOOT)),
        BodyPart(ears, tuple(paired_regions([("ear", ear_outline())], RIGHT)), ears),
        BodyPart(occiput_outline(), tuple(midline_regions(("scalp", occiput_outline()))), occiput_outline()),
    )
    return BodyDrawing(
        "back", "Back", parts, draw_lines(), add_mirror_image(_back_creases()), ("left", "right"), is_detail=False
    )


def _back_creases() -> QPainterPath:
    """Draw the faint lines: scapula, dimples, gluteal cleft, popliteal fossa, calf, Achilles tendon, knuckles."""
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


def _back_midline() -> list[BodyRegion]:
    """Create the sites on the midline."""
    nape = curve("-30,40 30,40", "30,62 18,65.6 8,67.8 0,70.4 -8,67.8 -18,65.6 -30,62")
    upper = curve("-4.2,60 4.2,60", "4.2,60 3.8,100 3.8,131", "3.8,131 -3.8,131", "-3.8,131 -3.8,100 -4.2,60")
    lower = curve("-3.8,120 3.8,120", "3.8,120 4,160 5.6,186", "0,190 -5.6,186", "-5.6,186 -4,160 -3.8,120")
    return midline_regions(
        ("perianal", ellipse((0, 208), 7.6, 13)), ("nape", nape), ("upper back", upper), ("lower back", lower)
    )


def _back_torso() -> list[SiteShape]:
    """Create the sites of shoulder, back and buttock at positive x."""
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


def _back_arm() -> list[SiteShape]:
    """Create the sites from the shoulder to the fingers."""
    knuckles = curve("60,224.6 68,226 74,228.4 80,228.6 85,226.6 83.4,218 81.6,209 90,200", "40,190 40,224.6")
    return _arm(("hand", knuckles))


def _back_leg() -> list[SiteShape]:
    """Create the sites from the buttock to the heel."""
    return [
        ("knee", limb_segment((20, 277.4), (20.6, 305.4), 19.8, 3)),
        ("ankle", limb_segment((21.2, 367), (21.4, 385), 18, 2)),
        ("thigh", limb_segment((20, 190), (20, 291), 20)),
        ("lower leg", limb_segment((20, 291), (21, 376), 19)),
        ("foot", limb_segment((21, 376), (22, 410), 20)),
    ]


_HEAD = "0,0 15.4,1.8 30.6,10.4 41.4,26.6 45.9,46 45.3,66 42.4,84 35.8,101 25,115.4 12,124.2 0,126.4"
_EAR = "43.6,57 48,50.8 53.4,52 55,61 52.4,73 47.8,81.6 42.6,80"
_HAIRLINE = "-60,47 -46.6,42.6 -41.6,37 -34,26.4 -17,20 0,18.2 17,20 34,26.4 41.6,37 46.6,42.6 60,47"
_NECK = "27,96 25.6,116 26,128 31,141"


def draw_face() -> BodyDrawing:
    """Draw the face, 142 units high; the patient's left is at positive x."""
    head, ears, neck = close_half_outline(_HEAD), add_mirror_image(curve(_EAR)), _neck()
    throat = curve("0,90 50,90", "50,150 0,150")
    parts = (
        BodyPart(neck, tuple(paired_regions([("neck", throat)], LEFT)), _sides_of_neck()),
        BodyPart(ears, tuple(paired_regions([("ear", curve(_EAR))], LEFT)), ears),
        BodyPart(head, tuple(_face_sites()), head),
    )
    return BodyDrawing("face", "Face", parts, add_mirror_image(_face_lines()), add_mirror_image(_face_creases()))


def draw_mouth() -> BodyDrawing:
    """Draw the open mouth."""
    lips = close_half_outline("0,-12.4 4.6,-15.2 10,-14.4 19,-7.6 26,0 19,9.6 10,15.4 0,17")
    cavity = close_half_outline("0,-8.2 9.6,-8.8 18,-3.8 21.2,0.2 14,7.6 7,10.2 0,10.8")
    teeth = draw_lines("0,-4.4 8,-4.8 15.6,-2", "3.6,-8.4 3.6,-4.6", "9.4,-8.6 9,-4.6")
    tongue = draw_lines("0,4.4 5,2.2 10,4.4 12.6,8")
    parts = (BodyPart(lips, tuple(midline_regions(("mouth", cavity), ("lip", lips))), lips),)
    return BodyDrawing("mouth", "Mouth", parts, unite_paths(cavity), add_mirror_image(unite_paths(teeth, tongue)), ())


def _neck() -> QPainterPath:
    return close_half_outline(f"0,96 {_NECK} 24,143.6 14,146 0,147")


def _sides_of_neck() -> QPainterPath:
    return add_mirror_image(draw_lines(_NECK))


def _face_sites() -> list[BodyRegion]:
    """Create the sites of the face; the cheeks are the area that the sites before them leave free."""
    scalp = curve(_HAIRLINE, "60,-9 -60,-9")
    brow = curve("-40,51 -30,50.4 -19,46.8 -8,50.6 0,55 8,50.6 19,46.8 30,50.4 40,51", "40,0 -40,0")
    nose = close_half_outline("0,53.6 4.8,56 5.6,66 9.6,76 12,82.6 10.6,88.6 5,91.6 0,92.4")
    lips = close_half_outline("0,97 4.6,95.5 10.4,99 17.6,103.8 11.4,109.8 5.6,112.8 0,113.2")
    chin = close_half_outline("0,111 9,112.6 16.4,115 21.6,120.6 24,129 14,138 0,140")
    temple = curve("34,20 35.6,36 35.4,50 36.6,66 52,68", "60,60 60,20")
    lids = curve("8,60.4 11.4,54.6 19.4,51.8 28.6,53.6 34,60.8 28,65.6 20,67 12,65.4")
    cheek = curve("0,0 60,0", "60,140 0,140")
    return [
        *midline_regions(("scalp", scalp), ("lip", lips), ("nose", nose)),
        *paired_regions([("temple", temple), ("eyelid", lids)], LEFT),
        *midline_regions(("forehead", brow), ("chin", chin)),
        *paired_regions([("cheek", cheek)], LEFT),
    ]


def _face_lines() -> QPainterPath:
    """Draw the strong lines: eyes, nose and mouth."""
    lines = draw_lines(
        "8,51.2 13,48.5 20,47.3 26.8,48.7 31.4,51.6",
        "9.8,60.6 14,56.6 20,55 26.4,57 31,61",
        "16.9,56.4 16.4,59.8 17.6,63.4",
        "23.7,56.2 24.2,59.8 23,63.6",
        "9.8,60.6 14.6,63.2 20.4,64 26.6,63 31,61",
        "7.4,79.6 10.6,82 10.2,86.4 6.8,88",
        "6.8,88 4.7,86.9 3,88.7 1.4,89.9 0,90.1",
        "0,98.9 1.4,98.3 4.4,97.5 9.6,100.8 15.6,103.8",
        "0,104.6 4.4,103.8 9.6,104.4 15.6,103.8",
        "0,111 5,110.6 10.4,108.2 15.6,103.8",
    )
    return unite_paths(lines, ellipse((20.3, 59.6), 2.2, 2.2))


def _face_creases() -> QPainterPath:
    """Draw the faint lines: eyelid crease, bridge of the nose, folds at nose and chin, inner ear, neck muscles."""
    return draw_lines(
        "10.6,56.2 18.8,52.6 29,56.4",
        "6.4,55 5.2,64 6.6,73.6",
        "12.4,84.6 16.4,91.6 18.4,99",
        "1.6,93 1.8,96.4",
        "0,116.2 4,116 7.4,114.6",
        "47,57 51,57.6 51.4,64 48.8,70 49,75",
        "46.8,63 48.4,66.4 46.6,69.6",
        "22,118 18.6,130 14,140.6",
    )


Digit = tuple[Point, Point, Point]  # root, tip, and the widths there
_LITTLE_SIDE = "21.4,104 20.6,92 17,76 14,60"
_KNUCKLES = "14.2,50 19.6,44.4 28,41.6 36,41.8 42.8,45.6"
_INDEX_SIDE, _THUMB_SIDE = "45.6,54 46.4,60", "49.4,74 46.6,84 42,93 41,104"
_FINGERS: tuple[Digit, ...] = (
    ((17.8, 52), (10.6, 21.6), (8.4, 6.4)),
    ((25, 47), (21.4, 9.6), (9, 7)),
    ((33.2, 46), (33.6, 5), (9.2, 7.2)),
    ((41, 50), (45.8, 11), (9, 6.8)),
    ((45, 80), (62.4, 51.6), (12, 8)),
)
_JOINTS = (0.4, 0.72)  # positions along a finger, as shares of its length
_SOLE = (
    "26,100 33.6,97.4 37,89 36,75 37.4,60 41.4,46 42.8,34 39.8,25 31,20.6 20,19 12,22 9.2,32 11.4,46 "
    "16.6,59 18,72 16.2,86 18.8,96.6"
)
_TOES: tuple[Digit, ...] = (
    ((16.2, 20), (14.8, 9.6), (11.2, 10)),
    ((24.6, 18), (25, 7), (7, 6.2)),
    ((30.8, 20), (31.8, 9.8), (6.4, 5.6)),
    ((35.8, 23), (37.6, 14), (6, 5.2)),
    ((39.8, 28), (42.2, 20), (5.8, 5)),
)


def draw_hands() -> BodyDrawing:
    """Draw the backs of both hands with the fingers up, 104 units high; the patient's left is at positive x."""
    knuckles = curve("0,52 14,50 24,46.6 34,45.6 43,49.6 50,58 51,70 46,77 52,88 80,88", "80,-9 0,-9")
    wrist = curve("0,93 31,95.4 60,93", "60,120 0,120")
    rest = curve("0,0 80,0", "80,120 0,120")
    hand = curve(f"{_LITTLE_SIDE} {_KNUCKLES} {_INDEX_SIDE} {_THUMB_SIDE}")
    skin = _both([hand, *(capsule(*finger) for finger in _FINGERS)])
    rims = _both([draw_lines(_LITTLE_SIDE, _INDEX_SIDE, _THUMB_SIDE), *(_rim(finger) for finger in _FINGERS)])
    nails = _both([_nail(finger, 0.62, 0.1) for finger in _FINGERS])
    parts = (
        BodyPart(skin, tuple(paired_regions([("wrist", wrist), ("finger", knuckles), ("hand", rest)], LEFT)), rims),
        BodyPart(nails, tuple(paired_regions([("nail", knuckles)], LEFT)), draw_lines()),
    )
    tendons = draw_lines("24,52 26.6,66 29,78", "32.4,52 32.2,64 32,78", "40,54 37.4,66 35,78", "18.4,58 22.4,70 26,80")
    creases = unite_paths(*(_joint(finger, share) for finger in _FINGERS for share in _JOINTS), tendons)
    return BodyDrawing("hands", "Hands", parts, draw_lines(), add_mirror_image(creases))


def draw_soles() -> BodyDrawing:
    """Draw both soles with the toes up, 100 units high; the patient's left is at positive x."""
    roots = curve("0,20.6 12,18.6 20,16.4 28,17.4 35,20.6 41,27 60,34", "60,-9 0,-9")
    rest = curve("0,0 60,0", "60,120 0,120")
    skin = _both([curve(_SOLE), *(capsule(*toe) for toe in _TOES)])
    parts = (
        BodyPart(skin, tuple(paired_regions([("toe", roots), ("sole", rest)], LEFT)), add_mirror_image(curve(_SOLE))),
    )
    creases = draw_lines(
        "11.4,41 20,46 29.6,44.6 36.6,38.6",
        "11.6,32 16.4,38 18,44",
        "21,56 25,66 25.4,76 22,86",
        "20.6,88.6 26.6,91.6 32.4,88.4",
    )
    return BodyDrawing("soles", "Soles", parts, draw_lines(), add_mirror_image(creases))


def draw_toes() -> BodyDrawing:
    """Draw the toes from the front, for their nails, 64 units high; the patient's left is at positive x."""
    digits = [capsule(*toe) for toe in _TOES]
    foot = curve("17.4,66 14,56 11,44 9.2,32 12,22 20,19 31,20.6 39.8,25 42.8,34 40.4,46 36,58 33.4,66 25.4,68.6")
    roots = curve("0,25 12,24 20,22 28,23 35,26 41,31 60,36", "60,-9 0,-9")
    rest = curve("0,0 60,0", "60,120 0,120")
    skin = _both([foot, *digits])
    nails = _both([_nail(toe, 0.66, -0.1) for toe in _TOES])
    parts = (
        BodyPart(skin, tuple(paired_regions([("toe", roots), ("foot", rest)], LEFT)), draw_lines()),
        BodyPart(nails, tuple(paired_regions([("nail", rest)], LEFT)), draw_lines()),
    )
    tendons = draw_lines(
        "17.6,28 19,40 21,50", "25.6,28 25.6,40 25.4,50", "31.6,29 30.6,40 29.4,50", "36.4,32 34.6,42 33,50"
    )
    return BodyDrawing("toes", "Toes", parts, draw_lines(), add_mirror_image(tendons)).transformed(
        QTransform.fromScale(1, -1)
    )


def _both(shapes: list[QPainterPath]) -> QPainterPath:
    """Unite shapes and their mirror images."""
    return unite_paths(*shapes, *(mirror_path(shape) for shape in shapes))


def _nail(digit: Digit, width: float, back: float) -> QPainterPath:
    """Draw the nail at the tip of a digit.

    ``width``: share of the digit's width. ``back``: where the nail begins, as a share of the length from the
    tip back to the root; negative beyond the tip.
    """
    root, tip, (_, tip_width) = digit
    return capsule(_between(root, tip, 1 - back), _between(root, tip, 1.03), (tip_width * width, tip_width * width))


def _rim(digit: Digit) -> QPainterPath:
    """Draw the free edge of a digit."""
    root, tip, (root_width, tip_width) = digit
    x, y = unit_vector(root, tip)
    start, end = _between(root, tip, 0.3), _between(root, tip, 1 + 0.5 * tip_width / math.dist(root, tip))

    def offset(point: Point, distance: float) -> Point:
        return point[0] + distance * y, point[1] - distance * x

    first_side = [offset(start, root_width / 2), offset(tip, tip_width / 2)]
    second_side = [offset(tip, -tip_width / 2), offset(start, -root_width / 2)]
    return curve([*first_side, end, *second_side], closed=False)


def _joint(digit: Digit, share: float) -> QPainterPath:
    """Draw the crease across a digit at a share of its length."""
    root, tip, (root_width, tip_width) = digit
    axis = unit_vector(root, tip)
    half = 0.3 * (root_width + share * (tip_width - root_width))
    x, y = _between(root, tip, share)
    start, end = (x - half * axis[1], y + half * axis[0]), (x + half * axis[1], y - half * axis[0])
    return curve([start, (x + 1.1 * axis[0], y + 1.1 * axis[1]), end], closed=False)


def _between(start: Point, end: Point, share: float) -> Point:
    """Return the point at a share of the way from one point to another."""
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
