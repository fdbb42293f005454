"""Nets and solvers as text, .prototxt: the net, how images enter it, and how it is trained; no weights."""

from pathlib import Path

from gpunet.errors import DataError
from gpunet.formats.caffe.entering import beside
from gpunet.formats.caffe.foreign import made
from gpunet.formats.caffe.message import Message
from gpunet.formats.caffe.schema import fields
from gpunet.formats.caffe.text import read_text
from gpunet.formats.caffe.wiring import messages
from gpunet.formats.foreign import NOTHING, Asked, Foreign


def read(path: Path, asked: Asked = NOTHING) -> Foreign:
    """The net that a file says, or a solver's, with its training. Raises DataError for anything else."""
    message = read_text(path, "NetParameter")
    if messages(message) or message.many("input"):
        return made(path, "Caffe's prototxt", message, {}, asked, told=path)
    if not {name for name, _ in message.strange} & fields("SolverParameter").keys():
        raise DataError(f"{path} has no layers, and no field of a solver: it is no net of Caffe")
    solver = read_text(path, "SolverParameter")
    net, told = _net_of(path, solver, asked.definition)
    return made(path, "Caffe's solver", net, {}, asked, told=told, solver=solver)


def definition(path: Path) -> Message:
    """The net that a file says. Raises DataError for anything else."""
    message = read_text(path, "NetParameter")
    if not messages(message):
        raise DataError(f"{path} has no layers: give the .prototxt of the net")
    return message


def _net_of(path: Path, solver: Message, given: Path | None) -> tuple[Message, Path]:
    """The net that a solver trains, and the file that says it."""
    if given is not None:
        return definition(given), given
    within = solver.many("net_param") or solver.many("train_net_param")
    if within:
        return within[-1], path
    named = solver.one("net", "") or solver.one("train_net", "")
    if not named:
        raise DataError(f"{path} is a solver and names no net; give it as --net, a .prototxt")
    found = beside(path, named)
    if found is None:
        raise DataError(f"{path} trains the net {named}, which is not beside it; put it there, or give it as --net")
    return definition(found), found
