"""A step is whole, or the model says so until what is learnt is set again; and a model serves one thread at a time."""

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from gpunet import ConfigError, Learning, Model, ModelError, Net, ShapeError, load
from gpunet.devices.cpu.device import CpuDevice
from gpunet.devices.cpu.threads import share
from gpunet.train.weights import restore_weights, save_weights
from tests.runs import BATCH, NET, images
from tests.test_cpu_device import blas_threads

Values = dict[str, np.ndarray]
IMAGES, LABELS = images().train.take(np.arange(BATCH))
BROKEN_OFF = "was broken off in its updates, so some layers are of that step and others of the one before; set "


def model_of(net: Net = NET, device: Any = "cpu", **options: Any) -> Model:
    return Model(net, BATCH, device, seed=5, learning_rate=0.05, **options)


def values_of(model: Model) -> Values:
    return dict(model.state)


def read(model: Model) -> Values | None:
    """All that the model holds; None where it says that it is not whole."""
    try:
        return values_of(model)
    except ModelError:
        return None


def same(found: Values, wanted: Values) -> bool:
    return all(np.array_equal(found[name], wanted[name]) for name in wanted)


class Breaking(CpuDevice):
    """A CPU whose op number `at`, counted from the moment it is set, raises instead of being run; 0: none does."""

    at = 0

    @property
    def ops(self) -> dict[str, Callable[..., None]]:  # type: ignore[override]
        return {name: self._breaking(op) for name, op in super().ops.items()}

    def _breaking(self, op: Callable[..., None]) -> Callable[..., None]:
        def run(*arrays: Any, **numbers: Any) -> None:
            self.at -= 1
            if self.at == 0:
                raise KeyboardInterrupt
            op(*arrays, **numbers)

        return run


def test_a_step_that_is_broken_off_at_any_op_is_whole_or_said() -> None:
    device = Breaking()
    with model_of(device=device, optimizer="adam") as model:
        start, phases = values_of(model), [op.phase for op in model.plan.program.ops]
        model.step(IMAGES, LABELS)
        after = values_of(model)
        said = 0
        for at in range(1, len(phases) + 1):
            for name, values in start.items():
                model.state[name] = values
            model.steps, model.seen, device.at = 0, 0, at
            with pytest.raises(KeyboardInterrupt):
                model.step(IMAGES, LABELS)
            assert model.steps == 0
            found = read(model)
            if found is None:
                said += 1
            else:
                assert same(found, start)
                assert model.step(IMAGES, LABELS) and same(values_of(model), after)
    assert said == len(phases) - phases.index("update") > 3


def test_ctrl_c_between_any_two_lines_of_a_step_leaves_it_whole_or_said() -> None:
    with model_of() as model:
        start = values_of(model)
        lines, at = 0, 0

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal lines
            if event == "line" and frame.f_code.co_filename.endswith(("model.py", "whole.py", "bound.py", "replay.py")):
                lines += 1
                if lines == at:
                    raise KeyboardInterrupt
            return trace

        ended = False
        while not ended:
            at, lines = at + 1, 0
            for name, values in start.items():
                model.state[name] = values
            model.steps = model.seen = 0
            sys.settrace(trace)
            try:
                model.step(IMAGES, LABELS)
                ended = True
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            found = read(model)
            assert found is None or same(found, start) == (model.steps == 0)
    assert at > 50


@pytest.fixture
def torn() -> Iterator[Model]:
    """A model whose last update was broken off, with momentum."""
    device = Breaking()
    with model_of(device=device) as model:
        model.step(IMAGES, LABELS)
        device.at = len(model.plan.program.ops)
        with pytest.raises(KeyboardInterrupt):
            model.step(IMAGES, LABELS)
        yield model


USES: dict[str, Callable[[Model], Any]] = {
    "step": lambda model: model.step(IMAGES, LABELS),
    "forward": lambda model: model.forward(IMAGES),
    "evaluate": lambda model: model.evaluate(IMAGES, LABELS),
    "loss": lambda model: model.loss(IMAGES, LABELS),
    "gradients": lambda model: model.gradients(IMAGES, LABELS),
    "outputs": lambda model: list(model.outputs(IMAGES)),
    "calls": lambda model: [call() for _, call in model.calls(IMAGES, LABELS)],
    "first_fault": lambda model: model.first_fault(IMAGES, LABELS),
    "a parameter": lambda model: model.parameters["conv1.w"],
    "a cache": lambda model: model.state["conv1.w.v"],
}


@pytest.mark.parametrize("use", USES)
def test_every_use_of_a_torn_model_is_refused(torn: Model, use: str) -> None:
    with pytest.raises(ModelError, match=BROKEN_OFF + ".*again: from a file of weights"):
        USES[use](torn)


def test_names_that_must_be_set_are_told_and_some_are_not_enough(torn: Model) -> None:
    with pytest.raises(ModelError, match=r"set bn1\.mean, bn1\.scale, bn1\.scale\.v and 11 more again"):
        torn.forward(IMAGES)
    torn.parameters["conv1.w"] = np.ones((2, 3, 3, 1))
    assert torn.parameters["conv1.w"].sum() == 18  # set again, it may be read
    with pytest.raises(ModelError, match="and 9 more"):
        torn.forward(IMAGES)


def test_weights_from_a_file_mend_a_torn_model_which_then_is_as_a_new_one(torn: Model, tmp_path: Path) -> None:
    with model_of() as other:
        save_weights(tmp_path / "w", other.parameters, {})
        restore_weights(torn, tmp_path / "w")
        torn.steps, torn.seen = other.steps, other.seen
        assert torn.step(IMAGES, LABELS) == other.step(IMAGES, LABELS)
        assert same(values_of(torn), values_of(other))


def test_a_checkpoint_mends_a_torn_model_caches_and_all_in_any_order(torn: Model) -> None:
    with model_of() as other:
        other.step(IMAGES, LABELS)
        for name in reversed(list(other.state)):
            torn.state[name] = other.state[name]
        assert torn.steps == other.steps == 1
        torn.step(IMAGES, LABELS), other.step(IMAGES, LABELS)
        assert same(values_of(torn), values_of(other))


def test_drawing_anew_mends_a_torn_model(torn: Model) -> None:
    torn.parameters.draw(5)
    torn.steps = torn.seen = 0
    with model_of() as other:
        assert torn.step(IMAGES, LABELS) == other.step(IMAGES, LABELS)


def test_frozen_parameters_need_not_be_set_again() -> None:
    device = Breaking()
    with model_of(device=device, optimizer=Learning(freeze=["conv*", "bn*"])) as model:
        device.at = len(model.plan.program.ops)
        with pytest.raises(KeyboardInterrupt):
            model.step(IMAGES, LABELS)
        assert model.parameters["conv1.w"].any()
        for name in ("fc1.w", "fc1.b"):
            model.parameters[name] = np.zeros(model.parameters.tensors[name].shape)
        assert model.forward(IMAGES).shape == (3, 3)


def test_calls_that_are_not_all_made_leave_the_model_torn() -> None:
    with model_of() as model:
        for op, call in model.calls(IMAGES, LABELS):
            if op.phase == "update":
                break
            call()
        with pytest.raises(ModelError, match=BROKEN_OFF):
            model.forward(IMAGES)
    with model_of() as model:
        for _, call in model.calls(IMAGES, LABELS):
            call()
        assert model.forward(IMAGES).shape == (3, 3)


# -- threads ---------------------------------------------------------------------------------------


def in_thread(do: Callable[[], object]) -> BaseException | None:
    """What `do` raised in another thread."""
    raised: list[BaseException | None] = [None]

    def run() -> None:
        try:
            do()
        except BaseException as error:
            raised[0] = error

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return raised[0]


class Waiting(CpuDevice):
    """A CPU that stands still in the op `op` while `meanwhile` is called."""

    op = ""
    meanwhile: Callable[[], object]

    @property
    def ops(self) -> dict[str, Callable[..., None]]:  # type: ignore[override]
        return {name: self._waiting(name, op) for name, op in super().ops.items()}

    def _waiting(self, name: str, op: Callable[..., None]) -> Callable[..., None]:
        def run(*arrays: Any, **numbers: Any) -> None:
            if name == self.op:
                self.op = ""
                self.meanwhile()
            op(*arrays, **numbers)

        return run


@pytest.mark.parametrize("use", [*USES, "setting a parameter", "drawing", "closing"])
def test_a_second_thread_is_refused_and_the_first_is_not_disturbed(use: str) -> None:
    more: dict[str, Callable[[Model], Any]] = {
        "setting a parameter": lambda model: model.parameters.__setitem__("fc1.b", np.ones(3)),
        "drawing": lambda model: model.parameters.draw(0),
        "closing": lambda model: model.close(),
    }
    device, raised = Waiting(), []
    with model_of(device=device) as model, model_of() as other:
        device.meanwhile = lambda: raised.append(in_thread(lambda: (USES | more)[use](model)))
        device.op = "batch_norm_relu_backward"
        assert model.step(IMAGES, LABELS) == other.step(IMAGES, LABELS)
        assert isinstance(raised[0], ModelError) and "is at work already: a model does one thing at a time" in str(
            raised[0]
        )
        assert same(values_of(model), values_of(other))


def test_a_generator_of_batches_that_runs_the_model_is_refused() -> None:
    with model_of() as model:

        def hardest() -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for _ in range(3):
                model.forward(IMAGES)
                yield IMAGES, LABELS

        coming = model.ahead(hardest())
        model.step(*next(coming))  # which asks for the batch after it
        with pytest.raises(ModelError, match="each generator of batches that runs a model, one of its own"):
            next(coming)


def test_threads_that_take_turns_and_models_of_their_own_give_the_same_bits() -> None:
    net = load("INPUT[12x12x3] -> CONV3-16 -> RELU -> POOL2 -> CONV3-32 -> RELU -> FC-10")
    rng = np.random.default_rng(2)
    batch = rng.integers(0, 256, (32, 12, 12, 3), np.uint8), rng.integers(0, 10, 32)

    def learn() -> bytes:
        with Model(net, 32, "cpu", seed=1) as model:
            for _ in range(5):
                model.step(*batch)
            return b"".join(values.tobytes() for values in model.state.values())

    wanted, found = learn(), []
    threads = [threading.Thread(target=lambda: found.append(learn())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [wanted] * 3


def test_what_two_threads_share_out_takes_turns_and_blas_has_its_threads_again() -> None:
    before, inside, seen = blas_threads(), [], []

    def second() -> None:
        share([0], lambda item, worker: inside.append((blas_threads(), len(seen))))

    thread = threading.Thread(target=second)

    def first(item: int, worker: int) -> None:
        thread.start()
        thread.join(0.2)
        seen.append(blas_threads())

    share([0], first)
    thread.join(10)
    one = [1] * len(before)
    assert seen == [one] and inside == [(one, 1)] and blas_threads() == before


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (np.array([object()] * 3), ConfigError, "fc1.b holds numbers of float32; got values of 'object'"),
        (["a", "b", "c"], ConfigError, "fc1.b holds numbers of float32; got values of '<U1'"),
        (np.ones(3, complex), ConfigError, "got values of 'complex128'"),
        (np.zeros(3, "datetime64[s]"), ConfigError, "got values of 'datetime64"),
        ([1e300, 0, 0], ConfigError, "fc1.b holds numbers of float32; 1e.300 is above its range"),
        ([10**400, 0, 0], ConfigError, "got values of 'object'"),
        ([[1], [1, 2]], ShapeError, r"fc1.b has shape \(3,\); got no array"),
        (np.ones((3, 1)), ShapeError, r"fc1.b has shape \(3,\); got \(3, 1\)"),
    ],
)
def test_what_is_no_value_of_a_parameter_is_refused_and_changes_nothing(
    values: Any, kind: type[Exception], words: str
) -> None:
    with model_of() as model:
        before = values_of(model)
        with pytest.raises(kind, match=words):
            model.parameters["fc1.b"] = values
        assert same(values_of(model), before)


@pytest.mark.parametrize("values", [[1, 2, 3], np.array([True, False, True]), np.array([1.5, np.inf, np.nan])])
def test_integers_truths_and_what_is_no_number_are_values(values: Any) -> None:
    with model_of() as model:
        model.parameters["fc1.b"] = values
        assert np.array_equal(model.parameters["fc1.b"], np.asarray(values, np.float32), equal_nan=True)
