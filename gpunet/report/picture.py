"""A figure that a notebook shows by itself, also where nobody has imported pyplot. Imports matplotlib."""

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib Figure like any other; `as_png` makes its bytes for a notebook."""

    def __init__(self, as_png: Callable[[Figure], bytes], **settings: Any) -> None:
        super().__init__(**settings)
        self._as_png = as_png

    def _repr_png_(self) -> bytes:
        return self._as_png(self)
