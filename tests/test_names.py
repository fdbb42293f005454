"""Names where there is little room."""

from gpunet.report.names import shortened, told_apart

DOTS = "\N{HORIZONTAL ELLIPSIS}"
LONG = "a class with a name that is far too long to be written"


def test_names_are_shortened_in_the_middle() -> None:
    assert shortened("inception3a_conv2", 9) == f"ince{DOTS}onv2" and shortened("conv2", 5) == "conv2"
    assert [len(shortened(LONG, most)) for most in range(2, 20)] == list(range(2, 20))
    assert shortened("two\nlines", 20) == r"two\nlines"


def test_names_that_differ_in_the_middle_stay_told_apart() -> None:
    assert told_apart(["cat", "class_09_species"], 16) == ["cat", "class_09_species"]
    assert told_apart([f"{LONG} {n} {LONG}" for n in (9, 17)], 12) == [f"{DOTS}9{DOTS}", f"{DOTS}17{DOTS}"]
    assert told_apart(["class_09_species", "class_17_species", "cat"], 10) == [
        f"0: cla{DOTS}ies",
        f"1: cla{DOTS}ies",
        "cat",
    ]


def test_names_that_are_the_same_stay_the_same() -> None:
    assert told_apart(["run", "run"], 9) == ["run", "run"]
    assert len(set(told_apart([LONG, LONG], 9))) == 1
