"""Configs: a net and how to train it, in TOML that is read strictly; and what `gpunet.load` finds.

    title = "..."              name = "..."            source = "where the net comes from"
    input = "32x32x3"          scale = 0.0039          shift = 0.0            fit = "error"
    net = "[CONV3-64 -> RELU]*2 -> FC-10"
    [words]                    words of its own for the notation: C = "CONV(bias=false) -> BN -> RELU"
    [[layer]]                  instead of net: type, perhaps name and inputs, and the layer's fields
    [augment]                  the fields of Augment: what is done to images of bytes; without it scale and shift alone
    [loss]                     type, and the loss's fields; without it softmax cross-entropy
    [train]                    the fields of TrainConfig

Every key that is unknown, of the wrong type or out of range is reported, all at once, each with its line.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

from gpunet.errors import ConfigError, GpunetError
from gpunet.net.document import Document
from gpunet.net.fields import Amount, Length, Line, OneOf, Portion, Range, problem, respelt, types_of
from gpunet.net.layer_text import MOST_NAME
from gpunet.net.net import Net
from gpunet.net.pattern import parse
from gpunet.net.reader import checked, read_augment, read_layers, read_loss, read_settings
from gpunet.net.tokens import START
from gpunet.net.words import listed, nearest, shown
from gpunet.optimize.learning import Decay, Learning
from gpunet.optimize.optimizers import OPTIMIZERS, Optimizer, optimizer
from gpunet.optimize.optimizers import strangers as strangers_of_optimizer
from gpunet.optimize.patience import UNITS, Patience, patience
from gpunet.optimize.schedules import SCHEDULES, Metric, Plateau, Schedule, schedule
from gpunet.optimize.schedules import strangers as strangers_of_schedule
from gpunet.optimize.span import parse_span
from gpunet.program.algorithm import MATHS
from gpunet.program.program import DTYPES
from gpunet.system import resources
from gpunet.values.visible import told_path, typable, visible

Fraction = Annotated[float, Range(0, 1, open=("most",))]

SETTINGS = tuple(dict.fromkeys(name for kind in OPTIMIZERS.values() for name in kind.settings()))
"""The settings of all optimizers; each is a field of TrainConfig."""

SHAPES = tuple(dict.fromkeys(name for kind in SCHEDULES.values() for name in kind.settings()))
"""The settings of all schedules; each is a field of TrainConfig."""

HOW = tuple(entry.name for entry in fields(Learning) if entry.name != "optimizer")
"""How parameters learn beside the optimizer; each is a field of TrainConfig."""

MAY_BE_NONE = (
    *SETTINGS,
    *SHAPES,
    "clip_value",
    "clip_norm",
    "validation",
    "patience",
    "min_delta",
    "patience_growth",
    "weights",
    "budget",
    "reserve",
    "max_cost",
    "max_cost_flops",
    "checkpoint_every",
    "size",
)
"""The fields of TrainConfig that need not be said."""

VALIDATION = "10%"
"""Of the images to learn from, where nobody says how many are to validate with."""


def _strangers(optimizer: str, schedule: str, said: Iterable[str]) -> dict[str, str]:
    """The settings among `said` that optimizer or schedule do not have, each with the words that say so.

    Of one that there is not, nobody knows what it has.
    """
    said = list(said)
    found: dict[str, str] = {}
    if optimizer in tuple(OPTIMIZERS):
        found |= strangers_of_optimizer(optimizer, [key for key in said if key in SETTINGS])
    if schedule in tuple(SCHEDULES):
        found |= strangers_of_schedule(schedule, [key for key in said if key in SHAPES])
    return found


@dataclass(frozen=True)
class TrainConfig:
    """How a net is trained.

    `data`      the name of a data set, or a path
    `momentum, weight_decay, alpha, beta1, beta2, eps`
                settings of the optimizer; None: what the optimizer says
    `freeze`    layers that learn nothing, by name or pattern: see gpunet.optimize.learning.Learning
    `rate_factors, decay, decay_factors, clip_value, clip_norm`
                factors of the learning rate by name or pattern of layers or parameters, what weight decay is meant for,
                its factors, the most that values of gradients and the norm of them all may be: see there
    `schedule`  of the learning rate, one of gpunet.optimize.schedules
    `every, milestones, gamma, power, least_rate, metric, factor, wait`
                settings of the schedule; None or (): what the schedule says
    `warmup`    how long the learning rate rises at first, like "500 steps" or "2 epochs"
    `validation`
                images of those to learn from that the best epoch is chosen by, like "10%" or 200; 0: it is chosen by
                the test images; None: VALIDATION
    `patience, min_delta, patience_growth`
                when the run ends because nothing better comes: see gpunet.optimize.patience
    `spare_outputs`
                whether the net may tell apart more classes than the data have
    `dtype`     of activations: see gpunet.planning.planner.plan
    `math`      which algorithms convolutions may run by, exact or direct: see gpunet.planning.planner.plan
    `weights, fresh`
                a file of weights that it starts from, and the layers that are drawn all the same
    `budget`    memory that it may take, like "6GiB" or in bytes; None: what is free
    `size, skip_broken`
                of pictures in folders: what they are brought to, like "224x224"; whether broken ones are left out
    `reserve, without, max_cost, max_cost_flops, micro_batches, ghost_rounds`
                how it is made to fit: see gpunet.planning.planner.plan
    `checkpoint_every`
                how often a checkpoint is kept beside those of each epoch, like "1000 steps" or "30 minutes"

    Raises ConfigError naming every field that is out of range, and every setting that the optimizer or the schedule
    does not have.
    """

    data: Annotated[str, Line(1000)] = "digits"
    epochs: Annotated[int, Range(1, 1_000_000)] = 10
    batch: Annotated[int, Range(1, 2**31 - 1)] = 64
    optimizer: Annotated[str, OneOf(tuple(OPTIMIZERS))] = "momentum"
    learning_rate: Annotated[float, Range(0, 1_000_000, open=("least",))] = 0.01
    momentum: Fraction | None = None
    weight_decay: Annotated[float, Range(0, 1_000_000)] | None = None
    alpha: Fraction | None = None
    beta1: Fraction | None = None
    beta2: Fraction | None = None
    eps: Annotated[float, Range(1e-30, 1)] | None = None
    freeze: tuple[Annotated[str, Line(100)], ...] = ()
    rate_factors: dict[Annotated[str, Line(100)], Annotated[float, Range(0, 1_000_000, open=("least",))]] = field(
        default_factory=dict
    )
    decay: Decay = "all"
    decay_factors: dict[Annotated[str, Line(100)], Annotated[float, Range(0, 1_000_000)]] = field(default_factory=dict)
    clip_value: Annotated[float, Range(0, 1_000_000, open=("least",))] | None = None
    clip_norm: Annotated[float, Range(0, 1_000_000, open=("least",))] | None = None
    schedule: Annotated[str, OneOf(tuple(SCHEDULES))] = "constant"
    every: Annotated[int, Range(1, 1_000_000)] | Annotated[str, Length(("steps", "epochs"))] | None = None
    milestones: tuple[Annotated[int, Range(1, 1_000_000)] | Annotated[str, Length(("steps", "epochs"))], ...] = ()
    power: Annotated[float, Range(0, 100, open=("least",))] | None = None
    gamma: Annotated[float, Range(0, 1, open=("least",))] | None = None
    least_rate: Annotated[float, Range(0, 1_000_000)] | None = None
    metric: Metric | None = None
    factor: Annotated[float, Range(0, 1, open=("least",))] | None = None
    wait: Annotated[int, Range(0, 1_000_000)] | None = None
    warmup: Annotated[int, Length(("steps", "epochs"))] | Annotated[str, Length(("steps", "epochs"))] = 0
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    validation: Annotated[int, Portion()] | Annotated[str, Portion()] | None = None
    patience: Annotated[int, Range(1, 1_000_000)] | Annotated[str, Length(UNITS)] | None = None
    min_delta: Annotated[float, Range(0, 1)] | None = None
    patience_growth: Annotated[float, Range(1, 1_000_000, open=("least",))] | None = None
    spare_outputs: bool = False
    dtype: Annotated[str, OneOf(DTYPES)] = "float32"
    math: Annotated[str, OneOf(MATHS)] = "exact"
    weights: Annotated[str, Line(1000)] | None = None
    fresh: tuple[Annotated[str, Line(100)], ...] = ()
    budget: Annotated[int, Amount()] | Annotated[str, Amount()] | None = None
    size: Annotated[str, Line(20)] | None = None
    skip_broken: bool = False
    reserve: Annotated[int, Amount()] | Annotated[str, Amount()] | None = None
    without: tuple[Annotated[str, Line(100)], ...] = ()
    max_cost: Annotated[float, Range(0, 10)] | None = None
    max_cost_flops: Annotated[float, Range(0, 10)] | None = None
    micro_batches: bool = False
    ghost_rounds: bool = False
    checkpoint_every: (
        Annotated[int, Length(("steps", "minutes"))] | Annotated[str, Length(("steps", "minutes"))] | None
    ) = None

    def __post_init__(self) -> None:
        said = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        said = {name: value for name, value in said.items() if value is not None or name not in MAY_BE_NONE}
        for name, word in respelt(type(self), said).items():
            object.__setattr__(self, name, word)
        wrong = [problem(type(self), name, value) for name, value in said.items()]
        wrong += _strangers(
            self.optimizer, self.schedule, (name for name, value in said.items() if value != ())
        ).values()
        if any(wrong):
            raise ConfigError("; ".join(filter(None, wrong)))
        self._require_order(self.shape, self.early_stop)

    @property
    def rule(self) -> Optimizer:
        """The optimizer with its settings."""
        return optimizer(self.optimizer, **{name: getattr(self, name) for name in SETTINGS})

    @property
    def learning(self) -> Learning:
        """How parameters learn: the optimizer with its settings, what is frozen, and the like."""
        return Learning(self.rule, **{name: getattr(self, name) for name in HOW})

    @property
    def shape(self) -> Schedule:
        """The schedule with its settings."""
        return schedule(self.schedule, **{name: getattr(self, name) for name in SHAPES})

    @property
    def early_stop(self) -> Patience | None:
        """When the run ends because nothing better comes; None: never."""
        return patience(self.patience, self.min_delta, self.patience_growth)

    def _require_order(self, shape: Schedule, ending: Patience | None) -> None:
        """Raise ConfigError where a run would end before the rate of a plateau could fall."""
        if not isinstance(shape, Plateau) or ending is None or ending.growth or ending.span.unit != "epochs":
            return
        if ending.span.number <= shape.wait:
            raise ConfigError(
                f"patience, {ending.span.number} epochs, ends the run before the rate of the schedule plateau falls: "
                f"its wait is {shape.wait} epochs; make patience longer, or wait shorter"
            )

    def warmup_steps(self, steps_per_epoch: int) -> int:
        """The steps of the warm-up."""
        return parse_span(self.warmup).steps(steps_per_epoch)

    def settled(self) -> "TrainConfig":
        """The same with every setting of the optimizer and of the schedule said, and what is to validate with."""
        validation = VALIDATION if self.validation is None else self.validation
        return replace(self, **asdict(self.rule), **asdict(self.shape), validation=validation)

    def changed(self, **given: Any) -> "TrainConfig":
        """A copy with other values; with another optimizer or schedule, settings it does not have are left behind."""
        given |= respelt(TrainConfig, given)
        rule = OPTIMIZERS.get(given.get("optimizer", self.optimizer))
        shape = SCHEDULES.get(given.get("schedule", self.schedule))
        left: dict[str, Any] = {name: None for name in SETTINGS if rule and name not in rule.settings()}
        left |= {name: getattr(TrainConfig, name) for name in SHAPES if shape and name not in shape.settings()}
        return replace(self, **(left | given))


@dataclass(frozen=True)
class Config:
    """A net, how to train it, what it is called in full and where it comes from."""

    net: Net
    train: TrainConfig = TrainConfig()
    title: str = ""
    source: str = ""
    scale_said: bool = field(default=False, compare=False)
    """Whether the scale of the net's pixels was said; else it is that of pictures, whose white is 255."""


def load(what: str | os.PathLike[str]) -> Net:
    """The net of a shipped config ("vgg16"), of a TOML file, or of a pattern ("INPUT[32x32x3] -> FC-10").

    Raises ConfigError or ShapeError, which say what is wrong and where.
    """
    return load_config(what).net


def load_config(what: str | os.PathLike[str]) -> Config:
    """Like `load`, with how to train the net; a pattern is trained as TrainConfig() says.

    The name of a shipped net may be written in capitals and with dashes. A text that is none is a path if it ends in
    .toml, a pattern if it has an arrow or begins with INPUT, and a path again if it has a separator or exists.
    """
    if not isinstance(what, str | os.PathLike):
        raise ConfigError(f"a net is a shipped name, a path or a pattern; got {shown(what)}")
    text = os.fspath(what)
    shipped = resources.config_names()
    if isinstance(what, str) and (name := _shipped(text, shipped)):
        return _read(resources.config_path(name))
    if text.endswith(".prototxt"):
        told = f"is a file of Caffe: gpunet import {typable(text)} makes a config of it"
        raise ConfigError(f"{visible(text)} {told}" if _is_path(text) else f"there is no file {visible(text)}")
    if isinstance(what, str) and not text.endswith(".toml"):
        if "->" in text or re.match(rf"\s*{START}\s*(\[|$)", text):
            return _from_pattern(text)
        if not _is_path(text):
            raise ConfigError(
                f"there is no net called {shown(text)}{nearest(text, shipped)}\n"
                f"shipped nets: {listed(shipped)}; or give the path of a .toml file, or a pattern like "
                f"'{START}[32x32x3] -> FC-10'"
            )
    return _read(told_path(text))


def dump(config: Config) -> str:
    """A config as TOML with everything said, each layer with name, inputs and fields. Loading it gives an equal one.

    Only the settings that the config leaves to its optimizer and its schedule are not said; `TrainConfig.settled` has
    them all.
    """
    top = {key: value for key in ("title", "source") if (value := getattr(config, key))}
    train = {key: value for key, value in asdict(config.train).items() if value is not None and value not in ((), {})}
    return _dumped(config.net, top, {"train": train})


def dump_net(net: Net) -> str:
    """A net as `dump` writes it, and nothing of its training."""
    return _dumped(net, {}, {})


def _dumped(net: Net, top: dict[str, Any], tables: dict[str, Any]) -> str:
    import tomli_w  # only where a config is written

    plain = {"name": net.name, "input": str(net.input), "fit": net.fit, "scale": net.scale, "shift": net.shift}
    layers = [
        {"type": node.layer.type, "name": node.name, "inputs": list(node.inputs)}
        | ({} if node.head is None else {"head": node.head})
        | {key: value for key, value in asdict(node.layer).items() if value is not None and value != ()}
        for node in net.nodes
    ]
    loss = {"type": net.loss.type} | asdict(net.loss)
    said = asdict(net.augment).items() if net.augment else ()
    augment = {"augment": {key: value for key, value in said if value is not None}} if net.augment else {}
    text = tomli_w.dumps(top | plain | augment | {"loss": loss} | tables | {"layer": layers})
    short_list = r'\[\n((?: +(?:"\w+"|[\d.e-]+),\n)+)\]'  # goes on one line
    return re.sub(short_list, lambda items: f"[{' '.join(items[1].split())[:-1]}]", text)


def _is_path(text: str) -> bool:
    if any(separator in text for separator in (os.sep, os.altsep) if separator):
        return True
    try:
        return text != "" and told_path(text).exists()
    except (OSError, ValueError):  # longer than a name can be, or with a NUL in it
        return False


def _shipped(text: str, shipped: Sequence[str]) -> str | None:
    """The shipped net that is meant: "vgg16", and "VGG-16" where no file is called so."""

    def plain(name: str) -> str:
        return re.sub("[-_ ]", "", name.lower())

    if text in shipped or _is_path(text):
        return text if text in shipped else None
    return next((name for name in shipped if plain(name) == plain(text)), None)


def _from_pattern(text: str) -> Config:
    pattern = parse(text)
    if pattern.input is None:
        raise ConfigError(f"the input volume is not said; begin with {START}[32x32x3] -> ...")
    try:
        return Config(Net(pattern.input, pattern.layers))
    except GpunetError as error:
        raise type(error)(str(pattern.pointed(error) or error)) from None


def parse_config(text: str, where: str) -> Config:
    """The config in a text that `dump` made; `where` it was found, for messages. Raises ConfigError or ShapeError."""
    return _read(told_path(where), text.encode("utf-8", "surrogatepass"))


def _read(path: Path, data: bytes | None = None) -> Config:
    """The config of a file. Raises ConfigError with everything that is wrong in it, each with its line."""
    document = Document(path, data)
    settings = read_settings(document)
    layers = read_layers(document, settings)
    augment = read_augment(document, layers.input)
    loss = read_loss(document)
    train = _train(document)
    document.check()
    name = settings.name or visible(path.stem)[:MOST_NAME]
    try:
        net = Net(
            layers.input,
            layers.nodes,
            name=name,
            fit=settings.fit,
            scale=settings.scale,
            shift=settings.shift,
            augment=augment,
            loss=loss,
        )
    except GpunetError as error:
        layers.point(document, error)
        raise type(error)(document.said()) from None
    return Config(net, train, settings.title, settings.source, "scale" in document.values)


def _train(document: Document) -> TrainConfig:
    table = document.values.get("train", {})
    if not isinstance(table, dict):
        document.wrong(("train",), f"train must be a table, [train]; got {shown(table)}")
        return TrainConfig()
    for key in table:
        if key not in types_of(TrainConfig):
            document.unknown(("train", key), "[train]", types_of(TrainConfig))
    said = checked(document, ("train",), table, TrainConfig)
    if any(key in table and key not in said for key in ("optimizer", "schedule")):
        return TrainConfig()  # whose settings they are is not known
    names = said.get("optimizer", TrainConfig.optimizer), said.get("schedule", TrainConfig.schedule)
    for key, wrong in _strangers(*names, said).items():
        document.wrong(("train", key), wrong)
        del said[key]
    try:
        return TrainConfig(**said)
    except ConfigError as error:
        document.wrong(("train", _meant(str(error), table)), str(error))
        return TrainConfig()


def _meant(words: str, table: dict[str, Any]) -> str:
    """The key of a table that a message begins with, else that of the schedule."""
    return next((key for key in table if words.startswith(key)), "schedule")
