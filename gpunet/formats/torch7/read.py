"""The net in a .t7 of Torch7: modules within modules, said in the order in which they run.

Such a file does not say how large the images are; whoever imports it does.
"""

from pathlib import Path

from gpunet.data.raw import clean_name, opened
from gpunet.errors import DataError
from gpunet.formats.foreign import NOTHING, Asked, Foreign
from gpunet.formats.graph import Graph
from gpunet.formats.layout import TORCH
from gpunet.formats.torch7.objects import ERRORS, Module, Reader
from gpunet.formats.torch7.sayer import Sayer
from gpunet.formats.values import Making, Value

NAME = "Torch7"
WITHIN = ("model", "net", "network", "modelG")
"""Where checkpoints keep the net."""


def read(path: Path, asked: Asked = NOTHING) -> Foreign:
    """The net and its weights. Raises DataError for anything else, naming all modules that cannot be said."""
    input = asked.input
    with opened(path) as (file, size):
        content = file.read(size)
    try:
        found = Reader(content).read()
    except ERRORS as error:
        raise DataError(f"{path} is cut short, damaged, or no .t7 of {NAME} ({clean_name(str(error))})") from None
    where, module = _net(found)
    if module is None:
        raise DataError(f"{path} holds no module of {NAME}'s nn: save the model itself, torch.save('model.t7', model)")
    if input is None:
        raise DataError(f"{path} does not say the size of its images, no .t7 does; give it, like --input 224x224x3")
    making = Making(Graph(path, path.stem), input, TORCH)
    outputs = Sayer(making).say(module, (Value("input", input),)) or ()
    ends: list[str] = []
    with making.saying("the output", module.kind):
        ends = [making.ends(value) for value in outputs]
    net = making.graph.net(ends)
    names = {f"{node.name}.{one.name}": f"{node.name}.{one.name}" for node in net.trunk for one in net.weights(node)}
    return Foreign(path, NAME, making.graph.arrays, TORCH, names, net, notes=(*where, *making.graph.notes))


def _net(found: object) -> tuple[list[str], Module | None]:
    """The module that is the net, and where it was found where that is one level down."""
    if isinstance(found, Module):
        return [], found
    inside = found.items() if isinstance(found, dict) else ()
    there = {str(key): value for key, value in inside if isinstance(value, Module)}
    chosen = next((key for key in (*WITHIN, *list(there)[: len(there) == 1]) if key in there), None)
    return ([], None) if chosen is None else ([f"the net is that under {clean_name(chosen)!r}"], there[chosen])
