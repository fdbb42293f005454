"""How a solver of Caffe trains, as [train] says it; what that cannot say is noted, with its field."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gpunet.errors import ConfigError
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.schema import ENUMERATIONS
from gpunet.formats.caffe.wiring import Parameter
from gpunet.net.config import TrainConfig
from gpunet.net.fields import problem
from gpunet.net.net import Net
from gpunet.net.words import listed

TYPES = {"SGD": "momentum", "Nesterov": "nesterov", "AdaGrad": "adagrad", "RMSProp": "rmsprop", "Adam": "adam"}
"""Optimizers by what Caffe calls them; AdaDelta is none here."""

OLD_TYPES = dict(zip(ENUMERATIONS["SolverType"].values(), (*list(TYPES)[:4], "AdaDelta", "Adam"), strict=True))
"""Today's types by the first version's."""

BIASES = ("b", "shift")


@dataclass
class Training:
    """`said` under [train], and `left`: what cannot be said there, a line each."""

    said: dict[str, Any] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def config(self) -> TrainConfig:
        """The same as TrainConfig; numbers that it does not take are left out, and noted."""
        for name, value in list(self.said.items()):
            if wrong := problem(TrainConfig, name, value):
                self.left.append(wrong)
                del self.said[name]
        try:
            return TrainConfig(**self.said)
        except ConfigError as error:
            self.left.append(str(error))
            return TrainConfig()


def training(
    solver: Message | None,
    net: Net,
    learning: Mapping[str, Parameter],
    *,
    batch: int = 0,
    images: int | None = None,
) -> Training:
    """How a net is trained.

    `solver`    None where there is only the net, whose layers say how far they learn
    `learning`  that, by parameter
    `batch`     images of a step, as the data layer says; 0 where it does not
    `images`    to learn from, to count epochs by; None: not known
    """
    made = Training()
    learnt = {name: how for name, how in learning.items() if name in _learnt(net)}
    made.said |= _rates(learnt, made.left)
    if solver is not None:
        _rule(solver, made)
        _decay(solver, learnt, made)
        _schedule(solver, made)
        batch *= max(1, solver.one("iter_size", 1))
        _length(solver, batch, images, made)
        strange = [f"line {line}, {name} is no field that Caffe has" for name, line in solver.all_strange()]
        made.left += strange
    if batch:
        made.said["batch"] = batch
    return made


def _learnt(net: Net) -> set[str]:
    return {f"{node.name}.{one.name}" for node in net.nodes for one in net.weights(node) if one.learnt}


def _rule(solver: Message, made: Training) -> None:
    """The optimizer and its numbers."""
    kind = solver.one("type", "SGD")
    if "solver_type" in solver:
        kind = OLD_TYPES.get(solver.one("solver_type", "SGD"), "?")
    momentum = solver.one("momentum", 0.0)
    optimizer = TYPES.get(kind)
    if optimizer is None:
        made.left.append(f"type {kind}: there is no such optimizer here; there are {listed(TYPES)}")
        optimizer = "momentum"
    if optimizer == "momentum" and not momentum:
        optimizer = "sgd"
    made.said |= {"optimizer": optimizer}
    if "base_lr" in solver:
        made.said["learning_rate"] = solver.one("base_lr", 0.01)
    numbers = {
        "momentum": {"momentum": momentum},
        "nesterov": {"momentum": momentum},
        "adagrad": {"eps": solver.one("delta", 1e-8)},
        "rmsprop": {"alpha": solver.one("rms_decay", 0.99), "eps": solver.one("delta", 1e-8)},
        "adam": {"beta1": momentum, "beta2": solver.one("momentum2", 0.999), "eps": solver.one("delta", 1e-8)},
    }
    made.said |= numbers.get(optimizer, {})
    if (most := solver.one("clip_gradients", -1.0)) > 0:
        made.said["clip_norm"] = most
    if (seed := solver.one("random_seed", -1)) >= 0:
        made.said["seed"] = seed


def _decay(solver: Message, learnt: Mapping[str, Parameter], made: Training) -> None:
    """Weight decay: that of all, of weights alone, or as many times that as is said of each."""
    if not (decay := solver.one("weight_decay", 0.0)):
        return
    if (kind := solver.one("regularization_type", "L2")) != "L2":
        made.left.append(f"regularization_type {kind}: decay is that of squares, L2, here")
        return
    made.said["weight_decay"] = decay
    factors = {name: how.decay for name, how in learnt.items() if how.rate}
    of_weights = {name: 0.0 if _ending(name) in BIASES else 1.0 for name in factors}
    if factors == of_weights and 0.0 in factors.values():
        made.said["decay"] = "weights"
    elif {*factors.values()} - {1.0}:
        made.said["decay_factors"] = _by_pattern(factors)


def _schedule(solver: Message, made: Training) -> None:
    """The shape of the rate: Caffe counts it in steps."""
    policy, gamma, power = solver.one("lr_policy", "fixed"), solver.one("gamma", 0.0), solver.one("power", 0.0)
    steps = [f"{step} steps" for step in solver.many("stepvalue")]
    shapes: dict[str, dict[str, Any]] = {
        "fixed": {},
        "step": {"schedule": "step", "every": f"{solver.one('stepsize', 0)} steps", "gamma": gamma},
        "multistep": {"schedule": "step", "milestones": tuple(steps), "gamma": gamma} if steps else {},
        "exp": {"schedule": "step", "every": "1 steps", "gamma": gamma},
        "inv": {"schedule": "inverse", "gamma": gamma, "power": power},
        "poly": {"schedule": "polynomial", "power": power},
    }
    if policy not in shapes:
        made.left.append(f"lr_policy {policy}: there is no such schedule here; there are {listed(shapes)}")
        return
    try:
        TrainConfig(**shapes[policy])
    except ConfigError as error:
        made.left.append(f"lr_policy {policy}: {error}")
    else:
        made.said |= shapes[policy]


def _length(solver: Message, batch: int, images: int | None, made: Training) -> None:
    """Epochs are counted by the images that there are to learn from."""
    if not (steps := solver.one("max_iter", 0)):
        return
    told = f"max_iter is {steps:,} steps, and epochs are counted here"
    if not batch:
        made.left.append(f"{told}: no data layer says the images of a step")
        return
    if images is None:
        made.left.append(f"{told}: give --images N, how many images there are to learn from")
        return
    made.said["epochs"] = max(1, round(steps / -(-images // batch)))


def _rates(learnt: Mapping[str, Parameter], left: list[str]) -> dict[str, Any]:
    """Which layers are frozen, and the factors of rates: those of most, then those of the others."""
    layers: dict[str, list[float]] = {}
    for name, how in learnt.items():
        layers.setdefault(name.rpartition(".")[0], []).append(how.rate)
    frozen = [layer for layer, rates in layers.items() if not any(rates)]
    rates = {name: how.rate for name, how in learnt.items() if name.rpartition(".")[0] not in frozen}
    if still := [name for name, rate in rates.items() if not rate]:
        told = ", ".join(still[:5])
        left.append(f"lr_mult 0 of {told}: a layer is frozen as a whole here, and the others of its parameters learn")
    factors = _by_pattern({name: rate for name, rate in rates.items() if rate > 0})
    said: dict[str, Any] = {"rate_factors": factors} if factors else {}
    return said | ({"freeze": tuple(frozen)} if frozen else {})


def _by_pattern(numbers: Mapping[str, float]) -> dict[str, float]:
    """Factors of parameters by patterns: that of most, that of most biases, and those of the others by name."""
    kinds = {name: _ending(name) == "b" for name in numbers}
    usual = {
        of: Counter(number for name, number in numbers.items() if kinds[name] == of).most_common(1)[0][0]
        for of in {*kinds.values()}
    }
    weights = usual.get(False, 1.0)
    factors = {"*": weights} if weights != 1 else {}
    factors |= {"*.b": usual[True]} if usual.get(True, weights) != weights else {}
    return factors | {name: number for name, number in numbers.items() if number != usual[kinds[name]]}


def _ending(parameter: str) -> str:
    return parameter.rpartition(".")[2]
