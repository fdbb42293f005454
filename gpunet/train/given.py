"""What people give as a net: all that `gpunet.load` takes, and also the files of weights and folders of runs that say
theirs."""

from dataclasses import replace
from pathlib import Path

from gpunet.errors import ConfigError
from gpunet.net.config import Config, load_config
from gpunet.net.tokens import START
from gpunet.system import resources
from gpunet.values.visible import told_path, typable


def given_config(text: str) -> Config:
    """As `load_config`; of the folder of a run the config in it, of a file of weights that of their net.

    Raises ConfigError for a file of another framework, which says what it is and how it is brought here, and whatever
    `load_config` raises.
    """
    path = _path(text)
    if path is None:
        return load_config(text)
    from gpunet.formats.known import format_of, way_in
    from gpunet.train.weights import CONFIG, said_config

    if path.is_dir():
        return load_config(path / CONFIG if (path / CONFIG).is_file() else text)
    if not path.is_file():  # a pipe, which is read once
        return load_config(text)
    if way := way_in(path):
        raise ConfigError(f"{path} is no net of gpunet's; {way}")
    if format_of(path) is None:
        return load_config(text)
    beside = path.parent / CONFIG
    config = said_config(path)
    return replace(config, train=load_config(beside).train) if beside.is_file() else config


def require_no_weights(text: str) -> None:
    """Raise ConfigError where what is given as a net to be trained is a run, or weights, that somebody has already."""
    path = _path(text)
    if path is None:
        return
    from gpunet.formats.known import foreign_format, format_of, way_in
    from gpunet.train.weights import CONFIG

    told = typable(path)
    if path.is_dir() and (path / CONFIG).is_file():
        config = typable(path / CONFIG)
        raise ConfigError(
            f"{path} is the folder of a run: --resume {told} goes on with it, --weights {told} starts from its "
            f"weights, and {config} is its net"
        )
    if path.is_file() and (found := format_of(path)):
        if not found.weights:
            raise ConfigError(f"{path} is no net of gpunet's; {way_in(path)}")
        whose = f"weights of {found.name}" if foreign_format(path) else "weights"
        raise ConfigError(f"{path} is a file of {whose}, no net: --weights {told} starts from them")


def _path(text: str) -> Path | None:
    """The path that a text is, where there is something and `load_config` would take it for no other thing."""
    if text in resources.config_names() or "->" in text or text.endswith(".toml") or text.strip().startswith(START):
        return None
    path = told_path(text)
    try:
        return path if path.exists() else None
    except (OSError, ValueError):  # longer than a name can be, or with a NUL in it
        return None
