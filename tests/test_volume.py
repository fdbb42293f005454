"""The output-size rule and its three fit policies, on the figures of the notes."""

import pytest

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
    with pytest.raises(ShapeError, match=r"F=3, S=2, P=0 does not fit 10x10 \(gives 4\.5\); use S=1, or fit='pad'"):
        window_output(Volume(10, 10, 3), 8, F=3, S=2, P=0)
    with pytest.raises(ShapeError, match=r"gives 2\.33"):
        window_output(Volume(5, 5, 1), 8, F=3, S=3, P=1)


def test_what_an_error_suggests_does_fit():
    for size in range(4, 20):
        for F, S, P in ((3, 2, 0), (2, 3, 0), (5, 3, 2), (3, 4, 1)):
            try:
                window_output(Volume(size, size, 1), 1, F, S, P)
            except ShapeError as error:
                message = str(error)
                for letter, value in [
                    word.strip(",").split("=") for word in message.split("use ")[1].split() if word[0] in "PS"
                ]:
                    fixed = {"F": F, "S": S, "P": P, letter: int(value)}
                    window_output(Volume(size, size, 1), 1, **fixed)


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


def test_a_window_larger_than_the_padded_input_is_an_error_under_every_policy():
    for fit in ("error", "pad", "crop"):
        with pytest.raises(ShapeError, match="F=7 is larger than the input of 3 with P=1"):
            output_size(3, 7, 1, 1, fit)


@pytest.mark.parametrize("text", ["32x32", "a", "", "32x32x0", "1e3x2x3", (1, 2), "-1x2x3", None])
def test_what_is_no_volume_is_refused(text):
    with pytest.raises((ConfigError, ShapeError)):
        Volume.parse(text)


def test_a_volume_reads_what_it_prints():
    assert Volume.parse(str(Volume(3, 5, 7))) == Volume(3, 5, 7) == Volume.parse([3, 5, 7])
    assert Volume(224, 224, 64).values == 3_211_264
