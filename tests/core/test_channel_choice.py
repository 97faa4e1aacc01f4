"""The choice of three channels of fluorescence: as text, by name, and its errors."""

from __future__ import annotations

import pytest

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.errors import ConfigError, InputError

CHANNELS = ("CD8 (Opal 540)", "DAPI", "CK", "CK 7", "Autofluorescence")


@pytest.mark.parametrize("text", ["DAPI,CD8,CK", "DAPI=200:4000,CD8=0.125:7,CK=1.5:30.25", "a b=-1:1234567.25,c,d"])
def test_text_is_the_same_after_reading(text: str) -> None:
    assert ChannelChoice.from_text(text).label == text


def test_the_last_of_fewer_channels_is_repeated() -> None:
    assert ChannelChoice.from_text("DAPI").label == "DAPI,DAPI,DAPI"
    assert ChannelChoice.from_text("DAPI, CK=1:2").label == "DAPI,CK=1:2,CK=1:2"
    assert ChannelChoice.from_text("DAPI,CK").description == "DAPI red, CK green and blue"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one to three names"),
        ("a,b,c,d", "one to three names"),
        ("a,,b", "one to three names"),
        ("a=1", "NAME=LOW:HIGH"),
        ("a=5:5", "low < high"),
        ("a=0:inf", "expected numbers"),
    ],
)
def test_malformed_text(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChannelChoice.from_text(text)


def test_channels_are_found_by_name_start_and_number() -> None:
    choice = ChannelChoice.from_text("dapi,cd8,3")
    assert choice.find(CHANNELS, "slide.tif") == (1, 0, 2)
    assert ChannelChoice.from_text("CK").find(CHANNELS, "slide.tif") == (2, 2, 2)  # an exact name before its start
    assert ChannelChoice.from_text("P16,p16,P21").find(("p16", "P16", "p21"), "slide.tif") == (1, 0, 2)


@pytest.mark.parametrize("name", ["PanCK", "6", "C"])
def test_a_missing_or_ambiguous_channel_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=rf"slide\.tif has no channel {name}\. Its channels: CD8 \(Opal 540\), DAPI"):
        ChannelChoice.from_text(f"DAPI,{name}").find(CHANNELS, "slide.tif")
