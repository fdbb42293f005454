"""Where the data sets that `gpunet data` fetches come from: the only addresses in gpunet.

Sums and sizes: CIFAR's MD5 sums are on its page; those of MNIST, Fashion-MNIST and STL-10 are the ones that torchvision
checks, for Fashion-MNIST also in its README. MNIST's own page gives out no files any more: they come, with the sums of
the originals, from the mirror that PyTorch keeps.
"""

from dataclasses import dataclass, field

from gpunet.data.cifar import CIFAR10, CIFAR100

MIB = 1 << 20


@dataclass(frozen=True)
class Remote:
    """A file of the network: its address, MD5 sum and size."""

    url: str
    md5: str
    nbytes: int

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """A data set: files that are kept as they are, or one archive of which some members are kept.

    `members`  most bytes of each member by its path in the archive; empty: no archive
    `texts`    small files written beside them
    """

    title: str
    home: str
    files: tuple[Remote, ...]
    members: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def kept(self) -> list[str]:
        """The names of the files that make the data set."""
        return [path.rpartition("/")[2] for path in self.members] or [file.name for file in self.files]


IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
TORONTO = "https://www.cs.toronto.edu/~kriz"
CLOTHES = "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot"


def _four(base: str, sums: str, sizes: tuple[int, ...]) -> tuple[Remote, ...]:
    return tuple(Remote(base + name, md5, size) for name, md5, size in zip(IDX, sums.split(), sizes, strict=True))


SOURCES = {
    "cifar10": Source(
        "CIFAR-10",
        f"{TORONTO}/cifar.html",
        (Remote(f"{TORONTO}/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 170_052_171),),
        {f"cifar-10-batches-bin/{name}": 32 * MIB for name in (*CIFAR10.files, CIFAR10.names)},
    ),
    "cifar100": Source(
        "CIFAR-100",
        f"{TORONTO}/cifar.html",
        (Remote(f"{TORONTO}/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", 168_513_733),),
        {f"cifar-100-binary/{name}": 160 * MIB for name in (*CIFAR100.files, CIFAR100.names)},
    ),
    "mnist": Source(
        "MNIST",
        "http://yann.lecun.com/exdb/mnist/",
        _four(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "f68b3c2dcbeaaa9fbdd348bbdeb94873 d53e105ee54ea40749a09fcbcd1e9432 "
            "9fb629c4189551a2d022fa330f9573f3 ec29112dd5afa0611ce80d1b7f02629c",
            (9_912_422, 28_881, 1_648_877, 4_542),
        ),
    ),
    "fashion-mnist": Source(
        "Fashion-MNIST",
        "https://github.com/zalandoresearch/fashion-mnist",
        _four(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe "
            "bef4ecab320f06d8554ea6380940ec79 bb300cfdad3c16e7a12a480ee83cd310",
            (26_421_880, 29_515, 4_422_102, 5_148),
        ),
        texts={"class_names.txt": CLOTHES.replace(" ", "\n").replace("_", " ") + "\n"},
    ),
    "stl10": Source(
        "STL-10",
        "https://cs.stanford.edu/~acoates/stl10/",
        (
            Remote(
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "91f7769df0f17e558f3565bffb0c7dfb",
                2_640_397_119,
            ),
        ),
        {
            f"stl10_binary/{name}": 256 * MIB
            for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt")
        },
    ),
}
