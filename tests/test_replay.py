"""Steps are bound once and replayed as a graph: the same bits as op by op, whatever changes from step to step."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpunet
from gpunet import Augment, Learning, Model, Net
from gpunet.compile.ways import Ways
from gpunet.devices.cuda.device import CudaDevice
from gpunet.model.model import STEP
from gpunet.model.replay import MOST_GRAPHS
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.profile.measure import profile
from tests.emulator.driver import EmulatorDriver, EmulatorError
from tests.test_ways import planned

PLAIN = "CONV3-4 -> RELU -> POOL2 -> FC-5"
NETS = {
    "plain": PLAIN,
    "batch norm": "CONV3-4(bias=false) -> BN -> RELU -> POOL2 -> FC-5",
    "dropout": "CONV3-4 -> RELU -> DROPOUT -> POOL2 -> FC-6 -> RELU -> DROPOUT -> FC-5",
    "branches": "CONV3-4 -> { ID + CONV3-4 } -> RELU -> POOL2 -> FC-5",
}

TOO_LARGE = np.float32(1e38)
"""Finite, but no sum of such values is."""


def made(layers: str, augment: Augment | None = None) -> Net:
    net = gpunet.load(f"INPUT[8x6x3] -> {layers}")
    return Net("8x6x3", net.nodes, augment=augment)


def trained(device: CudaDevice, net: Net, graph: bool, **options: Any) -> tuple[list[float], list[bytes], int, int]:
    """Losses, everything that lasts, steps and images seen, after steps in which all changes that may."""
    rng = np.random.default_rng(3)
    sizes = [5, 5, 3, 5, 3, 5, 5, 5]
    batches = [(rng.integers(0, 256, (n, *net.image.shape), np.uint8), rng.integers(0, 5, n, np.int32)) for n in sizes]
    floats = rng.standard_normal((5, *net.input.shape)).astype(np.float32)
    with Model(net, 5, device, seed=2**40 + 1, graph=graph, **options) as model:
        losses = []
        for number, (images, labels) in enumerate(model.ahead(iter(batches))):
            model.learning_rate = 0.1 / (1 + number)
            losses.append(model.step(images, labels))
            if number == 3:
                losses.append(model.evaluate(images, labels)[0])
            if number in (4, 5):
                losses.append(model.step(TOO_LARGE * floats, labels=np.arange(5)))
                losses.append(model.step(floats, labels=np.arange(5)))
        return losses, [values.tobytes() for values in model.state.values()], model.steps, model.seen


EVERY = [(NETS["plain"], optimizer) for optimizer in OPTIMIZERS]
OTHERS = [(layers, optimizer) for layers in NETS.values() for optimizer in ("momentum", "adamw") if layers != PLAIN]


@pytest.mark.parametrize(("layers", "optimizer"), EVERY + OTHERS)
def test_a_graph_changes_no_bit(cuda_device: CudaDevice, layers: str, optimizer: str) -> None:
    """Rates, sizes of batches, buffers, floats in place of bytes, a loss that is NaN: all that may change does."""
    net = made(layers, Augment(pad=1, flip=True, brightness=0.2) if layers == PLAIN else None)
    learning = Learning(optimizer, rate_factors={"fc1": 0.3}, clip_norm=5.0 if layers == PLAIN else None)
    by_op = trained(cuda_device, net, False, optimizer=learning)
    replayed = trained(cuda_device, net, True, optimizer=learning)
    np.testing.assert_array_equal(replayed[0], by_op[0])
    assert replayed[1:] == by_op[1:]
    assert (~np.isfinite(by_op[0])).sum() == 2 and by_op[2] == 8 + 2
    if isinstance(cuda_device.driver, EmulatorDriver):
        assert cuda_device.driver.graphs_run >= 4


@pytest.mark.parametrize("ways", [Ways(5000, micro_batch=2), Ways(5000, ("pool1.y",), "pool1.y", 2)], ids=str)
def test_a_graph_of_rounds_changes_no_bit(cuda_device: CudaDevice, ways: Ways) -> None:
    net = made(NETS["dropout"])
    plan = planned(net, 5, "cuda", ways)
    by_op, replayed = (trained(cuda_device, net, graph, plan=plan) for graph in (False, True))
    np.testing.assert_array_equal(replayed[0], by_op[0])
    assert replayed[1:] == by_op[1:]


# ---- when there is a graph ----


@pytest.fixture
def emulated() -> Iterator[CudaDevice]:
    device = CudaDevice(EmulatorDriver())
    yield device
    device.close()


def batch(n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    return np.full((n, 8, 6, 3), 7, np.uint8), np.arange(n)


def test_the_first_step_of_each_size_runs_op_by_op_and_the_later_ones_as_a_graph(emulated: CudaDevice) -> None:
    driver = emulated.driver
    with Model(made(PLAIN), 5, emulated) as model:
        runs = []
        for n in (5, 5, 3, 3, 5, 3):
            model.step(*batch(n))
            runs.append(driver.graphs_run)
    assert runs == [0, 1, 1, 2, 3, 4]


def test_whoever_looks_at_single_ops_gets_no_graph(emulated: CudaDevice) -> None:
    with Model(made(PLAIN), 5, emulated, debug=True) as model:
        for _ in range(3):
            model.step(*batch())
    with Model(made(PLAIN), 5, emulated, graph=False) as model:
        for _ in range(3):
            model.step(*batch())
    with Model(made(PLAIN), 5, emulated) as model:
        for _ in range(3):
            model.gradients(*batch())
            list(model.outputs(batch()[0]))
            model.first_fault(*batch())
            for _, call in model.calls(*batch()):
                call()
    assert emulated.driver.graphs_run == 0


def test_there_are_only_so_many_graphs(emulated: CudaDevice) -> None:
    """Each takes memory beside the arena."""
    most = MOST_GRAPHS + 3
    with Model(made(PLAIN), most, emulated) as model:
        for _ in range(3):
            for n in range(1, most + 1):
                model.forward(batch(n)[0])
    assert emulated.driver.graphs_run == 2 * MOST_GRAPHS


def test_ops_are_bound_once(emulated: CudaDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later steps call no op: what it launches is known."""
    bound: list[str] = []

    def watched(name: str, op: Callable[..., None]) -> Callable[..., None]:
        def call(*arrays: Any, **numbers: float) -> None:
            bound.append(name)
            op(*arrays, **numbers)

        return call

    ops = {name: watched(name, op) for name, op in emulated.ops.items()}
    monkeypatch.setattr(emulated, "_ops", ops)
    with Model(made(PLAIN), 5, emulated, graph=False, optimizer="adam") as model:
        model.step(*batch())
        first = len(bound)
        launched = len(emulated.driver.launched)
        model.learning_rate = 0.5
        model.step(*batch())
        assert len(bound) == first == len(model.plan.program.ops)
        assert len(emulated.driver.launched) == 2 * launched


# ---- what the host waits for ----


@pytest.mark.parametrize("graph", [False, True])
def test_the_whole_step_is_asked_for_and_the_next_batch_too_before_the_host_reads_the_loss(
    emulated: CudaDevice, graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    driver = emulated.driver
    monkeypatch.setattr(driver, "launched", _Noted(notes))
    read = driver.copy_out
    monkeypatch.setattr(driver, "copy_out", lambda *where: (notes.append("read"), read(*where))[1])

    def source() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for _ in range(6):
            notes.append("next batch")
            yield batch()

    with Model(made(PLAIN), 5, emulated, graph=graph) as model:
        for images, labels in model.ahead(source()):
            notes.clear()
            model.step(images, labels)
            assert notes[-1] == "read" and notes.count("read") == 1
            assert notes.index("update.momentum_update") < notes.index("read")
            if "next batch" in notes:  # there is none behind the last one
                last = max(place for place, note in enumerate(notes) if note == "update.momentum_update")
                assert last < notes.index("next batch") < notes.index("read")


@pytest.mark.parametrize("graph", [False, True])
def test_a_batch_is_sent_behind_the_step_that_used_its_buffer_last(
    emulated: CudaDevice, graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU may be two steps behind the host: what is sent waits for the mark before the step under way, no earlier."""
    notes: list[str] = []
    driver = emulated.driver
    monkeypatch.setattr(driver, "launched", _Noted(notes))
    monkeypatch.setattr(driver, "event", lambda: notes.append("mark") or len(notes))
    behind: list[int] = []
    monkeypatch.setattr(driver, "send", lambda pointer, values, after: behind.append(after) or (pointer, values.copy()))
    monkeypatch.setattr(driver, "wait_for", lambda sent: driver.copy_in(*sent))
    before: list[int] = []  # where in the notes the work of each step begins
    with Model(made(PLAIN), 5, emulated, graph=graph) as model:
        for images, labels in model.ahead(iter([batch()] * 5)):
            before.append(len(notes))
            model.step(images, labels)
    assert len(behind) == len(before) == 5
    assert behind[1:] == [start + 1 for start in before[:-1]]


class _Noted(list[str]):
    """A list that notes what is appended somewhere else."""

    def __init__(self, notes: list[str]):
        super().__init__()
        self._notes = notes

    def append(self, name: str) -> None:
        self._notes.append(name)


def test_a_loss_that_is_no_number_updates_nothing_on_any_device(device: Any) -> None:
    """Running statistics and caches stay, too, and it is no step taken; the next step is as if it had never been."""
    images, labels = np.random.default_rng(1).standard_normal((4, 8, 6, 3)).astype(np.float32), np.arange(4)
    ends = []
    for broken in (False, True):
        with Model(made(NETS["batch norm"]), 4, device, optimizer="adam", seed=1) as model:
            model.step(images, labels)
            before = {name: values.tobytes() for name, values in model.state.items()}
            if broken:
                for _ in range(2):
                    assert not np.isfinite(model.step(TOO_LARGE * images, labels))
                    assert {name: values.tobytes() for name, values in model.state.items()} == before
                assert (model.steps, model.seen) == (1, 4)
            loss = model.step(images, labels)
            ends.append((loss, {name: values.tobytes() for name, values in model.state.items()}))
    assert ends[0] == ends[1]


# ---- the emulator is as strict as a GPU ----


def test_what_a_capture_does_not_allow_is_an_error_in_the_emulator(emulated: CudaDevice) -> None:
    driver = emulated.driver
    memory = driver.allocate(1024)
    values = np.zeros(4, np.float32)
    for forbidden in (
        lambda: driver.copy_in(memory.pointer, values),
        lambda: driver.copy_out(memory.pointer, values),
        lambda: driver.fill(memory.pointer, 0, 16),
        driver.synchronize,
    ):
        with pytest.raises(EmulatorError, match="while a graph is captured"):
            driver.capture([forbidden])
        driver.synchronize()  # the capture is over


def test_a_capture_of_work_that_was_never_begun_is_an_error_in_the_emulator(emulated: CudaDevice) -> None:
    with Model(made(PLAIN), 5, emulated) as model:
        images, _ = batch()
        model.forward(images)
        calls = [call for _, _, calls in model._bound._chosen(4, 0, STEP, True) for call in calls]
        with pytest.raises(EmulatorError, match="never been begun"):
            emulated.capture(calls)


def test_a_profile_measures_memory_with_the_graph_in_place(emulated: CudaDevice) -> None:
    """What a graph holds outside of the arena belongs to the reserve."""
    driver = emulated.driver
    made_so_far = profile(
        made(PLAIN), 3, emulated, steps=1, meter=lambda: {"device": driver.graphs_run}, reserve="1MiB"
    ).memory
    assert made_so_far.before["device"] == 0
    # steps of 3 and of 2 images from each of two buffers, an evaluation of each: the first of six is no graph
    assert made_so_far.peak["device"] >= 2 * (6 - 2 + 1)
