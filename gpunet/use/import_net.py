"""Nets of other frameworks without weights, and how they are trained, as configs here."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from gpunet.errors import ConfigError, DataError
from gpunet.formats.foreign import Asked
from gpunet.formats.known import read_foreign
from gpunet.net.config import Config, TrainConfig, dump
from gpunet.net.net import Net
from gpunet.program.volume import Volume
from gpunet.system.files import write_whole
from gpunet.use.entering import Mean, Order, as_asked, asking, entered_as, renamed_lines, turned_for
from gpunet.values.visible import told_path


@dataclass(frozen=True, repr=False)
class ImportedNet:
    """A net of another framework, as gpunet has it.

    `config`  the net, as images enter it, and how it is trained
    `said`    what was done, a line each
    """

    config: Config
    said: tuple[str, ...]

    @property
    def net(self) -> Net:
        """The net alone."""
        return self.config.net

    def __repr__(self) -> str:
        return f"<ImportedNet {self.net.name}: {len(self.net.nodes)} layers>"

    def __str__(self) -> str:
        return "\n".join(self.said)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the config, as plan, train and all commands take it. Raises DataError where that is not possible."""
        write_whole(Path(path), dump(self.config).encode())


def import_net(
    path: str | PathLike[str],
    *,
    net: str | PathLike[str] | None = None,
    out: str | PathLike[str] | None = None,
    input: Volume | str | tuple[int, int, int] | None = None,
    mean: Mean = (),
    scale: float | None = None,
    order: Order | None = None,
    images: int | None = None,
) -> ImportedNet:
    """A net of another framework without weights: a .prototxt of Caffe, of a net or of a solver.

    `net`      the .prototxt of the net, where a solver's is not beside it
    `out`      a file to write the config into
    `input`    like "224x224x3", where the net leaves it open, or another is wanted
    `mean, scale, order`  how images enter, where the net does not say it: see `import_weights`
    `images`   to learn from: a solver counts steps, and epochs are counted here

    Raises DataError, naming all that cannot be said here with its layer and field.
    """
    asked = asking(net, input=input, mean=mean, scale=scale, order=order, images=images)
    if net is not None and asked.definition is None:
        raise ConfigError(f"the net of a solver is a .prototxt; got {told_path(net)}")
    found = bring_net(Path(path), asked)
    if out is not None:
        found.save(out)
    return found


def bring_net(path: Path, asked: Asked) -> ImportedNet:
    """The net in a foreign file; as `import_net`."""
    foreign = as_asked(read_foreign(path, asked), asked)
    if foreign.net is None:
        raise DataError(foreign.lacks.get("net") or f"{path} holds weights, and does not say their net")
    config, foreign = turned_for(Config(foreign.net, foreign.train or TrainConfig()), foreign)
    config, line = entered_as(config, foreign.images)
    told = f"{path}: {foreign.format}, {len(config.net.nodes):,} layers, {config.net.parameters:,} parameters"
    said = (told, *foreign.notes, *renamed_lines(foreign.renamed), line)
    return ImportedNet(config, said)
