"""Images and labels to learn from: what a data set is, the bundled digits, and arrays from a file."""

from pathlib import Path

from gpunet.data.arrays import load_npz
from gpunet.data.batches import batches
from gpunet.data.dataset import Dataset, Split
from gpunet.data.digits import digits
from gpunet.errors import DataError

__all__ = ["Dataset", "Split", "batches", "digits", "load", "load_npz"]


def load(what: str) -> Dataset:
    """The data set called `what` ("digits"), or the one in the .npz file at that path.

    Raises DataError for a name that there is not, and for a file that cannot be used.
    """
    if what == "digits":
        return digits()
    if Path(what).exists() or Path(what).suffix or Path(what).name != what:
        return load_npz(what)
    raise DataError(f"there is no data set called {what!r} and no such file; use digits, or the path of an .npz file")
