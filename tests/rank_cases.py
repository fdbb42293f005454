"""Runs of a few steps by ranks or in parts, told by a checksum of all that they end in; `python -m tests.rank_cases
FILE` under mpiexec runs the cases in that file as ranks, and in as many parts, and writes what came out beside it."""

import json
import sys
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from gpunet import Augment, Learning, Model, Net, load
from gpunet.compile.wire import wire_bytes
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.program.shares import share
from gpunet.ranks.communicator import Communicator
from gpunet.train.diverged import diverged

PLAIN = "INPUT[7x7x2] -> CONV3-3 -> RELU -> POOL2(fit=pad) -> DROPOUT(p=0.3) -> CONV3-4 -> RELU -> FC-5"
WIDE = "INPUT[7x7x2] -> CONV3-12 -> RELU -> FC-40 -> RELU -> FC-5"
DEEP = "INPUT[9x9x2] -> CONV3-8 -> RELU -> POOL2(fit=pad) -> FC-60 -> RELU -> DROPOUT(p=0.3) -> FC-301 -> RELU -> FC-70"
"""All of its fully connected layers have weights enough to be divided, and the second one's outputs are odd."""

NORMED = "INPUT[7x7x2] -> CONV3-3(bias=false) -> BN -> RELU -> CONV3-4(S=2) -> BN -> RELU -> GAP -> FC-5"


@dataclass(frozen=True)
class Case:
    """A net, how it learns, and the images of each of its steps, over and over."""

    net: str = PLAIN
    optimizer: str = "momentum"
    dtype: str = "float32"
    device: str = "cpu"
    sizes: tuple[int, ...] = (8, 8, 5, 1)
    steps: int = 60
    augment: bool = False
    clip_norm: float | None = None
    frozen: tuple[str, ...] = ()
    debug: bool = False
    overflows: bool = False
    options: tuple[tuple[str, Any], ...] = ()


def run(case: Case, ranks: Communicator | None = None, parts: int = 1) -> dict[str, Any]:
    """What a case ends in."""
    net = load(case.net)
    if case.augment:
        net = Net(net.input, net.nodes, augment=Augment(pad=1, flip=True, contrast=0.2))
    learning = Learning(OPTIMIZERS[case.optimizer](), freeze=case.frozen, clip_norm=case.clip_norm)
    batch = max(case.sizes)
    options = dict(case.options) if ranks else {}
    if ranks is not None and case.device != "cpu":
        ranks.goes_beside = lambda device: True  # type: ignore[method-assign]  # the emulator does it when it is awaited
    with Model(
        net,
        batch,
        _device(case.device),
        optimizer=learning,
        dtype=case.dtype,
        seed=5,
        ranks=ranks,
        parts=parts,
        debug=case.debug,
        **options,
    ) as model:
        if case.overflows:
            return {"said": _said(model, batch, ranks)}
        rng = np.random.default_rng(1)
        losses, correct, before = [], 0, ranks.sent_bytes if ranks else 0
        for step in range(case.steps):
            n = case.sizes[step % len(case.sizes)]
            images = rng.integers(0, 256, (n, *net.image.shape)).astype(np.uint8)
            labels = rng.integers(0, net.classes, n)
            own = slice(*share(n, ranks.size, ranks.rank)) if ranks else slice(None)
            losses.append(model.step(images[own], labels[own], n))
            correct += model.correct
        sent = ranks.sent_bytes - before if ranks else 0
        digest = sha256()
        values = {name: model.state[name] for name in model.state}
        for name in sorted(values):
            digest.update(name.encode() + values[name].tobytes())
        planned = 0
        if ranks:
            sizes = [case.sizes[step % len(case.sizes)] for step in range(case.steps)]
            planned = sum(wire_bytes(model.plan.program, ranks.rank, n) for n in sizes)
        return {
            "digest": digest.hexdigest(),
            "losses": losses,
            "correct": correct,
            "arena": model.arena_bytes,
            "planned": model.plan.arena_bytes,
            "sent": planned,
            "really_sent": sent,
            "norms": {name: float(np.linalg.norm(value)) for name, value in values.items()},
        }


def _said(model: Model, batch: int, ranks: Communicator | None) -> str:
    """What is told of a step in which the last image, the last rank's, is too large for float32."""
    images = np.random.default_rng(1).random((batch, *model.net.image.shape), np.float32)
    images[-1] = 3e38
    own = slice(*share(batch, ranks.size, ranks.rank)) if ranks else slice(None)
    labels = np.zeros(batch, int)[own]
    loss = model.step(images[own], labels, batch)
    return str(diverged(model, "step 1", loss, images[own], labels, 0.1))


def _device(name: str) -> Any:
    if name == "cpu":
        return "cpu"
    from gpunet.devices.cuda.device import CudaDevice
    from tests.emulator.driver import EmulatorDriver

    return CudaDevice(EmulatorDriver())


def main(path: Path) -> None:
    from gpunet.ranks.crew import meet

    crew = meet(lambda message: print(message, file=sys.stderr))
    assert crew is not None
    ranks = crew.communicator
    found = [run(_case(words), ranks) for words in json.loads(path.read_text())]
    told = ranks.tell(found)
    if ranks.rank == 0:  # with as many threads of BLAS, by which its bits differ
        cases = [_case(words) for words in json.loads(path.read_text())]
        alike = [run(case, parts=1 if _joins(case) else ranks.size) for case in cases]
        path.with_suffix(".out").write_text(json.dumps([*told, alike]))
    crew.leave()


def _joins(case: Case) -> bool:
    """Whether something is done for the images of all ranks at once, as one device does."""
    return not {("sync_bn", True), ("split_fc", True)}.isdisjoint(case.options)


def _case(words: dict[str, Any]) -> Case:
    options = tuple((name, value) for name, value in words.pop("options"))
    words = {name: tuple(value) if isinstance(value, list) else value for name, value in words.items()}
    return Case(**words, options=options)


def as_words(case: Case) -> dict[str, Any]:
    return asdict(case)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
