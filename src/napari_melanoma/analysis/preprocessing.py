"""A photograph as a network of a bundle sees it: the one way there, in learning, tuning and use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.io.fitting import fit_input

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.core.preprocessing import PreprocessingConfig


def network_input(rgb: NDArray[np.uint8], side: int, config: PreprocessingConfig) -> NDArray[np.uint8]:
    """Prepare a photograph and fit it to the network's square.

    Hairs are sought, and the light is judged, in a square of ``config.working_size`` whatever ``side`` is: the images
    that are learnt from are kept at another size than those that are answered, and both must be treated alike. What is
    found there is done to the photograph at the larger of both sizes, so that no detail is lost.

    ``rgb``: uint8 sRGB (row, column, channel), upright, of any size. ``side``: of the square, in pixels. Returns uint8
    (side, side, channel).
    """
    if not config.is_on:
        return fit_input(rgb, side)
    if config.remove_hair:
        from napari_melanoma.analysis.hair import fill_hair, hair_mask

        hair = hair_mask(fit_input(rgb, config.working_size))
        rgb = fill_hair(fit_input(rgb, max(side, config.working_size)), hair)
    square = fit_input(rgb, side)
    if config.color_constancy:
        from napari_melanoma.analysis.color_constancy import light_gains, scaled_channels

        square = scaled_channels(square, light_gains(fit_input(rgb, config.working_size), config.grey_power))
    return square
