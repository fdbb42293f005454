"""Plans that are hard to place and whose optimum is known: a full rectangle of time x bytes, cut into buffers.

Guillotine cuts of one rectangle leave no hole, so its height is the optimum and every step is full to the brim. Long
and short lives, large and small buffers are mixed, as in the benchmarks of MiniMalloc (Moffitt 2023).
"""

from random import Random

from gpunet.memory.arena import Buffer

Rectangle = tuple[int, int, int, int]
"""first step, last step, lowest unit, highest unit; both half-open."""


def hard_plan(seed: int, count: int, *, steps: int = 400, units: int = 20_000, alignment: int = 256) -> list[Buffer]:
    """About `count` buffers, shuffled, whose lowest arena has exactly units*alignment bytes."""
    random = Random(seed)
    whole: list[Rectangle] = [(0, steps, 0, units)]
    while len(whole) < count:
        position = _pick(whole, random)
        first, last, low, high = whole[position]
        across_time = last - first > 1 and (high - low < 2 or random.random() < 0.5)
        if across_time:
            cut = random.randint(first + 1, last - 1)
            whole[position] = (first, cut, low, high)
            whole.append((cut, last, low, high))
        elif high - low > 1:
            cut = random.randint(low + 1, high - 1)
            whole[position] = (first, last, low, cut)
            whole.append((first, last, cut, high))
    random.shuffle(whole)
    return [
        # up to alignment - 1 bytes less than the room it was cut from: rounding up must be part of the placement
        Buffer(f"b{i}", (high - low) * alignment - random.randrange(alignment), first, last)
        for i, (first, last, low, high) in enumerate(whole)
    ]


def _pick(rectangles: list[Rectangle], random: Random) -> int:
    """The largest of a few: so that the areas spread over some orders of magnitude, but not all of them."""
    some = [random.randrange(len(rectangles)) for _ in range(3)]
    return max(some, key=lambda i: (rectangles[i][1] - rectangles[i][0]) * (rectangles[i][3] - rectangles[i][2]))
