"""The output-size rule and its three fit policies, on the figures of the notes."""

import re

import pytest

from gpunet import Conv
from gpunet.errors import ConfigError, ShapeError
from gpunet.program.volume import Volume, output_size, window_output


@pytest.mark.parametrize(
    ("size", "F", "S", "P", "out"),
    [
        (7, 3, 1, 0, 5),
        (7, 3, 2, 0, 3),
        (5, 3, 1, 1, 5),
        (5, 3, 2, 1, 3),
        (227, 11, 4, 0, 55),
        (11, 5, 2, 0, 4),
        (224, 2, 2, 0, 112),
    ],
)
def test_windows_that_fit_take_the_notes_number_of_positions(size, F, S, P, out):
    for fit in ("error", "pad", "crop"):
        assert output_size(size, F, S, P, fit) == out


def test_a_window_that_does_not_fit_says_what_would():
    with pytest.raises(
        ShapeError,
        match=r"F=3, S=2, P=0 does not fit 10x10, as \(W - F \+ 2P\)/S \+ 1 = 4\.5: 11 or 9 would fit, or S=1, or fit=",
    ):
        window_output(Volume(10, 10, 3), 8, F=3, S=2, P=0)
    with pytest.raises(ShapeError, match=r"= 2\.33333: 7 or 4 would fit"):
        window_output(Volume(5, 5, 1), 8, F=3, S=3, P=1)
    with pytest.raises(ShapeError, match=r"as \(H - F \+ 2P\)/S \+ 1 = 4\.5: 11x9 or 9x9 would fit"):
        window_output(Volume(10, 9, 3), 8, F=3, S=2, P=0)
    with pytest.raises(
        ShapeError, match=r"\(W - F \+ 2P\)/S \+ 1 = 54\.25: 227 or 223 would fit, or P=0x3x0x3, or S=3"
    ):
        Conv(96, F=11, S=4, P=0).output(Volume(224, 224, 3))


@pytest.mark.parametrize("four_sides", [False, True])
def test_what_an_error_suggests_does_fit(four_sides):
    for H, W in ((size, size + more) for size in range(4, 20) for more in (0, 3)):
        for F, S, P, dilation in ((3, 2, 0, 1), (2, 3, 0, 1), (5, 3, 2, 1), (3, 4, 1, 1), (2, 3, 0, 2)):
            try:
                window_output(Volume(H, W, 1), 1, F, S, P, "error", dilation, four_sides)
            except ShapeError as error:
                told = str(error).split("= ")[1]
                for letter, value in re.findall(r"([PS])=([\dx]+)", told):
                    sizes = tuple(map(int, value.split("x")))
                    fixed = {"F": F, "S": S, "P": P, letter: sizes if len(sizes) > 1 else sizes[0]}
                    window_output(Volume(H, W, 1), 1, **fixed, dilation=dilation)
                for size in re.findall(r"(\d[\dx]*)(?= or| would)", told):
                    rows, columns = [*map(int, size.split("x"))] * (1 if "x" in size else 2)
                    window_output(Volume(rows, columns, 1), 1, F, S, P, "error", dilation)


def test_pad_rounds_up_and_crop_rounds_down():
    assert output_size(10, 3, 2, 0, "crop") == 4
    assert output_size(10, 3, 2, 0, "pad") == 5


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize(("F", "S", "P"), [(2, 3, 1), (3, 2, 1), (1, 4, 0), (2, 2, 1), (3, 5, 2)])
def test_pad_covers_the_input_with_no_window_wholly_in_the_padding(size, F, S, P):
    if size + 2 * P < F:
        return
    windows = output_size(size, F, S, P, "pad")
    assert (windows - 1) * S - P < size
    if S <= F:
        assert (windows - 1) * S - P + F >= size


def test_a_window_larger_than_the_padded_input_is_there_once_under_pad_and_else_an_error():
    for fit in ("error", "crop"):
        with pytest.raises(
            ShapeError, match=r"F=7 is larger than the input of 3 with P=1 on both sides; .*, or fit='pad'"
        ):
            output_size(3, 7, 1, 1, fit)
    for size, F, S, P in ((3, 7, 1, 1), (2, 3, 2, 0), (2, 5, 3, 0), (1, 7, 1, 2)):
        assert output_size(size, F, S, P, "pad") == 1


@pytest.mark.parametrize("text", ["32x32", "a", "", "32x32x0", "1e3x2x3", (1, 2), "-1x2x3", None])
def test_what_is_no_volume_is_refused(text):
    with pytest.raises((ConfigError, ShapeError)):
        Volume.parse(text)


def test_a_volume_reads_what_it_prints():
    assert Volume.parse(str(Volume(3, 5, 7))) == Volume(3, 5, 7) == Volume.parse([3, 5, 7])
    assert Volume(224, 224, 64).values == 3_211_264
