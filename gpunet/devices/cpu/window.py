"""Which windows see something, along one axis: shared by convolution and pooling."""


def positions(size: int, first: int, last: int, offset: int, S: int, P: int) -> tuple[int, int]:
    """Those output positions of first:last whose window, at `offset` from its start, lies inside an axis of `size`.

    Half-open; empty (both ends equal, within first:last) where none does. Position p looks at p*S - P + offset.
    """
    begin = min(max(first, -((offset - P) // S)), last)
    end = max(begin, min(last, (size - 1 + P - offset) // S + 1))
    return begin, end
