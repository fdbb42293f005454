"""How images, values or bytes are divided among several: as equal as can be, the first ones get what is left over."""


def share(count: int, parts: int, part: int) -> tuple[int, int]:
    """[first, last) of `count` things for part 0 <= part < parts; with fewer things than parts the last ones get none.

    The order is kept, so parts laid behind one another are the whole.
    """
    each, left = divmod(count, parts)
    first = part * each + min(part, left)
    return first, first + each + (part < left)


def shares(count: int, parts: int) -> list[tuple[int, int]]:
    """The shares of all parts that get any."""
    return [share(count, parts, part) for part in range(min(count, parts))]


def largest(count: int, parts: int) -> int:
    """The most that a part gets."""
    return -(-count // parts)
