"""Images and labels to learn from: what a data set is, who reads which format, and where they are fetched from."""

from gpunet.data.arrays import load_npz
from gpunet.data.batches import batches
from gpunet.data.dataset import AnySplit, Dataset, Split
from gpunet.data.digits import digits
from gpunet.data.find import load
from gpunet.data.loader import loader

__all__ = ["AnySplit", "Dataset", "Split", "batches", "digits", "load", "load_npz", "loader"]
