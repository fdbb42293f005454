"""The digits that come with gpunet: 1,797 images of 8x8x1. DIGITS.md says whose they are."""

from gpunet.data.arrays import read_npz
from gpunet.data.dataset import Dataset, Split
from gpunet.system.resources import data_path

TEST_IMAGES = 360
"""The last ones, most of them by other writers than the rest."""

WHITE = 16
"""The value of a pixel that is all ink."""


def digits() -> Dataset:
    """Handwritten digits, uint8 from 0 to 16, in 10 classes: 1,437 to learn from, 360 to test on."""
    arrays = read_npz(data_path("digits.npz"))
    images, labels = arrays["images"], arrays["labels"]
    train, test = slice(None, -TEST_IMAGES), slice(-TEST_IMAGES, None)
    return Dataset("digits", Split(images[train], labels[train]), Split(images[test], labels[test]), white=WHITE)
