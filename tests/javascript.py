"""What runs in the browser, run by a JavaScript engine: ops one by one, whole nets, and the ways of a picture."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from py_mini_racer import MiniRacer

from gpunet.formats.browser import engine
from tests.op_calls import Call

NAMES = {"float32": "Float32Array", "float64": "Float64Array", "uint8": "Uint8Array", "int32": "Int32Array"}

HELP = """
var onmessage;
function arrayOf(text, kind) {
  const bytes = new Uint8Array(text.length * 3 / 4 - (text.match(/=*$/)[0].length));
  decode(text, bytes, 0);
  return new kind(bytes.buffer);
}
"""


class Engine:
    """The worker's script in an engine without a browser."""

    def __init__(self) -> None:
        self._engine = MiniRacer()
        self._engine.eval(engine().replace('"use strict";', f'"use strict";{HELP}', 1))

    def run(self, text: str) -> Any:
        """What an expression gives, by way of JSON; numbers that JSON has no word for are None."""
        return json.loads(self._engine.eval(f"JSON.stringify({text})"))

    def bytes(self, text: str) -> bytes:
        """The bytes of an expression that gives a typed array."""
        return bytes(self._engine.eval(f"new Uint8Array(({text}).buffer.slice(0))"))

    def do(self, text: str) -> None:
        self._engine.eval(f"{text}; 0")

    def close(self) -> None:
        """An engine that was not closed keeps Python from ending."""
        self._engine.close()

    def run_op(self, call: Call, in_place: dict[int, int]) -> list[np.ndarray]:
        """The outputs of an op; `in_place` as `run_op` of tests.ops takes it."""
        given = [None if one is None else _tensor(np.asarray(one)) for one in call.inputs]
        self.do(f"var given = [{', '.join(one or 'null' for one in given)}]")
        outputs = [np.full(spec[0], np.nan, spec[1]) if isinstance(spec, tuple) else spec for spec in call.outputs]
        made = [f"given[{in_place[i]}]" if i in in_place else _tensor(one) for i, one in enumerate(outputs)]
        self.do(f"var made = [{', '.join(made)}]")
        scratch = ", null" * len(call.scratch)
        numbers = {name: _number(value) for name, value in call.attributes.items()}
        self.do(f"OPS.{call.op}(...given, ...made{scratch}{f', {json.dumps(numbers)}' if numbers else ''})")
        return [
            np.frombuffer(self.bytes(f"made[{i}].data"), one.dtype).reshape(one.shape) for i, one in enumerate(outputs)
        ]


@contextmanager
def started() -> Iterator[Engine]:
    engine = Engine()
    try:
        yield engine
    finally:
        engine.close()


def text_of(values: np.ndarray) -> str:
    """An expression for a typed array of these values."""
    content = b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return f"arrayOf('{content}', {NAMES[values.dtype.name]})"


def opened_page(engine: Engine, html: bytes) -> dict[str, Any]:
    """Put the net of a page into `program`, and return what the page says of it."""
    about: dict[str, Any] = json.loads(re.findall(rb'id="net">(.*?)</script>', html)[0])
    engine.do(f"net = {json.dumps(about)}; program = new Program(net.plan, OPS)")
    engine.do("weights = new Weights(net.weights, program)")
    for piece in re.findall(rb'class="weights">(.*?)</script>', html):
        engine.do(f"weights.take('{piece.decode()}')")
    engine.do("weights.finish()")
    return about


def _tensor(values: np.ndarray) -> str:
    return f"{{shape: {list(values.shape)}, data: {text_of(values)}}}"


def _number(value: Any) -> Any:
    return value if isinstance(value, str) else float(value)
