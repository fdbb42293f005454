"""Where volumes meet in Keras: layers that merge, and arithmetic of tensors and numbers."""

from gpunet.formats.keras.activations import activated
from gpunet.formats.keras.call import Call, Saying
from gpunet.formats.keras.settings import axis_is_of_maps, number
from gpunet.formats.values import Cannot, Making, Value
from gpunet.layers.layer import Layer
from gpunet.layers.merge import Add, Concat, Maximum, Multiply


def merge(layer: Layer) -> Saying:
    """How a layer that merges is said."""

    def saying(making: Making, call: Call) -> Value:
        return _joined(making, call.name, layer, call.values)

    return saying


def average(making: Making, call: Call) -> Value:
    count = len(call.values)
    return _joined(making, call.name, Add((1 / count,) * count), call.values)


def concatenate(making: Making, call: Call) -> Value:
    values = call.values
    axis_is_of_maps({"axis": call.settings.get("axis", call.settings.get("concat_axis", -1))}, values[0])
    if any(value.rank == 2 and not value.single for value in values):
        raise Cannot("it puts flattened volumes behind one another, and volumes are joined along their maps here")
    return _joined(making, call.name, Concat(), values)


def _joined(making: Making, name: str, layer: Layer, values: list[Value]) -> Value:
    return making.layer(name, layer, *values, rank=max(value.rank for value in values))


def merged(making: Making, call: Call) -> Value:
    """Merge of Keras 1, which says by its mode what it does."""
    mode = str(call.settings.get("mode", "sum"))
    saying = {"sum": merge(Add()), "mul": merge(Multiply()), "max": merge(Maximum()), "ave": average}
    saying |= {"concat": concatenate}
    if mode not in saying:
        raise Cannot(f"mode={mode} is not there")
    return saying[mode](making, call)


# -- arithmetic of tensors and numbers


def arithmetic(operation: str) -> Saying:
    """x + y and so on of tensors, or of one and a number, as functions have it."""

    def saying(making: Making, call: Call) -> Value:
        values = call.values
        if len(values) == len(call.given):
            if operation not in MERGES:
                raise Cannot("a quotient of volumes is not there")
            return _joined(making, call.name, MERGES[operation], values)
        first, second = call.given
        if operation not in ("add", "multiply") and not isinstance(first, Value):
            raise Cannot("a number comes first")
        (times,) = (one for one in (first, second) if isinstance(one, int | float))
        ways = {"add": (1.0, times), "subtract": (1.0, -times), "multiply": (times, 0.0)}
        scale, shift = ways[operation] if operation != "divide" else (1 / times, 0.0)
        return making.scaled(call.name, values[0], (scale,), (shift,))

    return saying


MERGES: dict[str, Layer] = {"add": Add(), "subtract": Add((1.0, -1.0)), "multiply": Multiply()}
"""Of tensors alone; there is no quotient of two."""


def operation(making: Making, call: Call) -> Value:
    """A function of TensorFlow, as Keras 2 wrote it."""
    function = str(call.settings.get("function", "")).rpartition(".")[2].strip("_")
    known = {"mul": "multiply", "sub": "subtract", "truediv": "divide", "add": "add"}
    known |= {name: name for name in ("multiply", "subtract", "divide")}
    if function in known:
        return arithmetic(known[function])(making, call)
    return activated(making, call.name, call.value, function, call.version)


def weighted(making: Making, call: Call) -> Value:
    """Of Keras's Inception-ResNet: the first plus the second times a number."""
    return _joined(making, call.name, Add((1.0, number(call.settings, "scale"))), call.values)
