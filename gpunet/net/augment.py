"""How images of bytes become the input of a net: a window of them, perhaps mirrored, recoloured, and normalized.

The window, the mirror image and the colours are drawn anew for every image of a training step; a net that is tested or
used gets the middle, as it is.
"""

from dataclasses import dataclass, fields
from typing import Annotated, Literal, get_args

from gpunet.errors import ConfigError, ShapeError
from gpunet.net.fields import Range, problem, respelt, sizes_in
from gpunet.program.volume import Volume

Normalization = Literal["imagenet", "cifar10", "cifar100", "mnist"]

NORMALIZATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
}
"""Mean and standard deviation of each map over the images to learn from, which are 0..1."""

assert tuple(NORMALIZATIONS) == get_args(Normalization)

Amount = Annotated[float, Range(0, 1)]
Maps = tuple[float, ...]


@dataclass(frozen=True)
class Augment:
    """What is done to uint8 images on the device; float images enter a net as they are.

    `size`       height and width of the images that come, like "256x256"; None: those of the net's input
    `pad`        zeros (black) on each side of them before a window of the net's input is cut out
    `flip`       half of them are mirrored, left to right
    `contrast, brightness, saturation`
                 each factor is drawn from 1 - amount to 1 + amount; saturation is for three maps
    `normalize`  a name of NORMALIZATIONS, for `mean` and `std`
    `mean, std`  one number, or one for each map: what enters is (p*scale + shift - mean) / std, with the scale and
                 shift of the net, which are 1/255 and 0 unless said

    Raises ConfigError naming every field that is out of range or does not go with another.
    """

    size: tuple[int, int] | None = None
    pad: Annotated[int, Range(0, 1000)] = 0
    flip: bool = False
    contrast: Amount = 0.0
    brightness: Amount = 0.0
    saturation: Amount = 0.0
    normalize: Normalization | None = None
    mean: Maps | None = None
    std: Maps | None = None

    def __post_init__(self) -> None:
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        wrong = [problem(type(self), name, value) for name, value in said.items() if value is not None]
        if not any(wrong):
            if self.size is not None:
                object.__setattr__(self, "size", sizes_in(self.size))
            for name, word in respelt(type(self), said).items():
                object.__setattr__(self, name, word)
            wrong = [self._clash]
        if any(wrong):
            raise ConfigError("; ".join(filter(None, wrong)))

    @property
    def _clash(self) -> str | None:
        """What does not go together."""
        for name in ("mean", "std"):
            if self.normalize is not None and getattr(self, name) is not None:
                return f"{name} and normalize both say how pixels are normalized; keep one of them"
        if self.std is not None and min(self.std, default=1) <= 0:
            return f"std must hold numbers above 0; got {list(self.std)}"
        return None

    @property
    def changes(self) -> bool:
        """Whether images of a training step differ from those of a test, beside their size."""
        return bool(self.pad or self.size or self.flip or self.contrast or self.brightness or self.saturation)

    def image(self, input: Volume) -> Volume:
        """The volume of the images that come to a net with this input. Raises ConfigError or ShapeError."""
        image = input if self.size is None else Volume(*self.size, input.D)
        if self.pad >= min(input.H, input.W):
            raise ShapeError(f"pad must be smaller than the net's input, {input}; got {self.pad}")
        for have, need in ((image.H, input.H), (image.W, input.W)):
            if have + 2 * self.pad < need:
                raise ShapeError(
                    f"size {image.H}x{image.W} with {self.pad} zeros on each side is smaller than the net's input, "
                    f"{input}; use larger images, or a pad of {-(-(need - have) // 2)}"
                )
        self._check_maps(input.D)
        return image

    def _check_maps(self, D: int) -> None:
        if self.saturation and D != 3:
            raise ConfigError(f"saturation is for three maps; the net takes {D}")
        for name, numbers in zip(("mean", "std"), self.statistics, strict=True):
            if len(numbers) not in (1, D):
                said = f"normalize = {self.normalize!r}" if self.normalize else name
                raise ConfigError(f"{said} holds {len(numbers)} numbers; the net takes {D} maps")

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation, one number for all maps or one for each."""
        if self.normalize is not None:
            return NORMALIZATIONS[self.normalize]
        return (0.0,) if self.mean is None else self.mean, (1.0,) if self.std is None else self.std

    def normal(self, scale: float, shift: float) -> tuple[list[float], list[float]]:
        """A pixel p of map 0, 1 or any other enters as p*scale + shift: three scales, three shifts."""
        means, deviations = ([*numbers, *[numbers[-1]] * 3][:3] for numbers in self.statistics)
        pairs = list(zip(means, deviations, strict=True))
        return [scale / std for _, std in pairs], [(shift - mean) / std for mean, std in pairs]
