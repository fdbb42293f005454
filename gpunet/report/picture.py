"""A figure that a notebook shows by itself, also where nobody has imported pyplot. Imports matplotlib."""

from matplotlib.figure import Figure

from gpunet.report.canvas import as_png


class Picture(Figure):
    """A matplotlib Figure like any other."""

    def _repr_png_(self) -> bytes:
        return as_png(self)
