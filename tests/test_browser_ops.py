"""The ops of the browser against those of the CPU device, in a JavaScript engine."""

import re
from collections import Counter
from collections.abc import Iterator
from inspect import signature
from typing import Any

import numpy as np
import pytest

from gpunet import ConfigError, load
from gpunet.compile.lower import lower
from gpunet.devices import open_device
from gpunet.formats.browser import BrowserTarget, browser_ops, browser_plan
from gpunet.layers.relu import ReLU
from gpunet.net.net import Net
from gpunet.system.resources import browser_modules
from tests.graphs import random_graph
from tests.javascript import Engine, started, text_of
from tests.op_calls import FILES, Draw

CPU = open_device("cpu")
PLACES = {
    name: file for file, text in browser_modules().items() for name in re.findall(r"^export function (\w+)", text, re.M)
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with started() as engine:
        yield engine


@pytest.mark.parametrize("op", browser_ops())
def test_an_op_gives_what_the_cpu_gives(engine: Engine, op: str, rng: np.random.Generator) -> None:
    for _ in range(5):
        case = Draw(rng).call(op)
        if "training" in case.attributes:
            case.attributes["training"] = 0
        with np.errstate(all="ignore"):
            wanted = case.run(CPU)
        for in_place in ({}, *case.aliases):
            for expected, found in zip(wanted, engine.run_op(case, in_place), strict=True):
                if found.dtype == np.float32 and expected.ndim == 4:  # the choices of `augment` are scratch to others
                    _assert_near(found, expected, f"{case.attributes} {in_place}")


def _assert_near(found: np.ndarray, expected: np.ndarray, words: str) -> None:
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * scale, err_msg=words)


@pytest.mark.parametrize("lanes", [True, False])
def test_products_four_at_a_time_and_without(engine: Engine, rng: np.random.Generator, lanes: bool) -> None:
    engine.do("var arena = makeArena(1 << 16)" if lanes else "var arena = new ArrayBuffer(1 << 16); lanes = null")
    for _ in range(25):
        rows, filters, length = (int(n) for n in rng.integers(1, (14, 14, 40)))
        a, b, bias = (
            rng.standard_normal(shape).astype(np.float32) for shape in ((rows, length), (filters, length), filters)
        )
        engine.do(f"var a = new Float32Array(arena, 4, {a.size}); a.set({text_of(a)})")
        engine.do(f"var b = new Float32Array(arena, {8 + a.nbytes}, {b.size}); b.set({text_of(b)})")
        assert engine.run("hasLanes(a, b)") == lanes
        engine.do(
            f"var y = {{data: new Float32Array({rows * (filters + 3)}).fill(9), start: 1, stride: {filters + 3}}}"
        )
        engine.do("var from = (data) => ({data, start: 0})")
        engine.do(f"product(from(a), from(b), y, {rows}, {filters}, {length}, {text_of(bias)}, 0)")
        found = np.frombuffer(engine.bytes("y.data"), np.float32).reshape(rows, -1)
        _assert_near(found[:, 1 : filters + 1], a @ b.T + bias, f"{rows} {filters} {length}")
        assert (found[:, 0] == 9).all() and (found[:, filters + 1 :] == 9).all()


@pytest.mark.parametrize("op", browser_ops())
def test_an_op_has_the_parameters_that_it_has_on_the_cpu(op: str) -> None:
    text = browser_modules()[PLACES[op]]
    (given,) = re.findall(rf"^export function {op}\(([^)]*)\)", text, re.MULTILINE)
    arrays, *_ = re.split(r",? *(?:\{|\bnumbers$)", given)  # what comes last is no array
    wanted = [one.name for one in signature(CPU.ops[op]).parameters.values() if one.kind is not one.KEYWORD_ONLY]
    assert arrays.replace("...", "").split(", ") == wanted


def test_every_op_that_a_net_can_have_when_it_predicts_is_there() -> None:
    nets = [random_graph(np.random.default_rng(seed), layers=10) for seed in range(15)]
    found = Counter(op.name for net in nets for op in _ops(net))
    assert set(found) <= set(browser_ops())
    emitted = _emitted_when_predicting()
    assert emitted <= set(browser_ops()), emitted - set(browser_ops())
    assert len(emitted) > 30


def _ops(net: Net) -> Any:
    options = dict(batch=1, mode="infer", dtype="float32", optimizer="sgd", scratch_limit_bytes=0)
    return lower(net, target=BrowserTarget(), **options).ops


def _emitted_when_predicting() -> set[str]:
    """The ops of the CPU whose names end as those do that are called forward, but for those of losses, of training and
    of what is fused on other devices."""
    elsewhere = {"softmax_forward", "hinge_forward", "max_pool_forward", "max_pool_by_axis_forward"}
    elsewhere |= {"conv_relu_forward", "conv_pool_forward", "conv_norm_forward", "batch_norm_relu_forward"}
    elsewhere |= {"cast_forward"}  # of halves
    merges = {"add", "add_scaled", "scaled", "multiply", "maximum", "shuffle"}
    named = {name for name in FILES if name.endswith(("_forward", "_infer"))} | merges
    return (named | {"image_to_float", "augment"}) - elsewhere


def test_a_net_with_another_op_is_refused_by_name() -> None:
    class Mine(ReLU):
        op = "mine_forward"

        def forward(self, emit: Any, *inputs: Any) -> Any:
            y = emit.activation("y", inputs[0].shape[1:])
            emit.op("mine_forward", inputs, (y,))
            return y

    from gpunet import add_op
    from gpunet.devices.outside import remove_op

    def mine_forward(x: np.ndarray, y: np.ndarray) -> None:
        np.maximum(x, 0, out=y)

    add_op(mine_forward)
    last = load("INPUT[3x3x1] -> FC-2").nodes[0].layer
    try:
        with pytest.raises(ConfigError, match=r"not there in the browser: \w+ \(mine_forward\), \w+ \(mine_forward\)"):
            browser_plan(Net("3x3x1", [Mine(), last, Mine()]))
    finally:
        remove_op("mine_forward")


def test_no_two_modules_have_a_name_in_common() -> None:
    """They are joined to one script, in which the second would stand for both."""
    declared = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
    apart = {"net"}  # of the page and of its worker, which are never joined
    names = Counter(name for text in browser_modules().values() for name in declared.findall(text))
    assert [name for name, count in names.items() if count > 1 and name not in apart] == []
