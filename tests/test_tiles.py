"""Values as shades, and small images as one large."""

import numpy as np
import pytest

from gpunet.report.tiles import GAP, GROUND, SMALLEST, columns_for, shades, squared, tiled, viewable


def test_shades_go_from_the_lowest_to_the_highest_value() -> None:
    assert shades(np.array([[-2.0, 0.0], [6.0, 2.0]])).tolist() == [[0, 0.25], [1, 0.5]]
    assert shades(np.array([1.0, 3.0, 9.0]), low=0, high=6).tolist() == pytest.approx([1 / 6, 0.5, 1])
    assert shades(np.array([7.0, 7.0])).tolist() == [0.5, 0.5]
    assert shades(np.array([np.nan, 1.0, 2.0, np.inf])).tolist() == [0, 0, 1, 0]
    assert shades(np.array([np.nan])).tolist() == [0]


def test_tiles_stand_row_by_row_and_empty_places_are_white() -> None:
    tiles = np.zeros((3, 2, 4))
    tiles[1], tiles[2, 0, 0] = 1.0, np.nan
    image = tiled(tiles, columns=2)
    larger = SMALLEST // 4
    h, w = 2 * larger, 4 * larger
    assert image.shape == (2 * h + 3 * GAP, 2 * w + 3 * GAP, 3)
    assert image[0, 0].tolist() == list(GROUND)
    assert (image[GAP : GAP + h, GAP : GAP + w] == 0).all()
    assert (image[GAP : GAP + h, 2 * GAP + w : 2 * GAP + 2 * w] == 1).all()
    assert (image[2 * GAP + h : 2 * GAP + h + larger, GAP : GAP + larger] == GROUND).all()  # NaN
    assert (image[3 * GAP + h :, 3 * GAP + w :] == 1).all()


@pytest.mark.parametrize(
    ("count", "width", "height"), [(1, 9, 9), (7, 100, 50), (96, 12, 8), (400, 30, 30), (5, 1, 99)]
)
def test_the_number_of_columns_makes_tiles_as_large_as_can_be(count: int, width: float, height: float) -> None:
    def side(columns: int) -> float:
        return min(width / columns, height / -(-count // columns))

    found = columns_for(count, width, height)
    assert side(found) >= 0.99 * max(side(columns) for columns in range(1, count + 1))


def test_values_fill_a_square_and_nan_what_is_left() -> None:
    found = squared(np.arange(7.0))
    assert found.shape == (3, 3) and found.ravel()[:7].tolist() == list(range(7)) and np.isnan(found.ravel()[7:]).all()
    assert squared(np.arange(6.0)).shape == (2, 3)


def test_images_of_any_depth_can_be_seen() -> None:
    rgb = np.arange(24, dtype=np.uint8).reshape(1, 2, 4, 3)
    assert viewable(rgb) == pytest.approx(rgb / 255)
    assert viewable(rgb.astype(np.float32)).max() == 1 and viewable(rgb.astype(np.float32)).shape == (1, 2, 4, 3)
    assert viewable(rgb[..., :1]).shape == (1, 2, 4) and viewable(rgb[..., :1]).max() == 1
    assert viewable(rgb[..., :2]).shape == (1, 2, 4)
