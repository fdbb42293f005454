"""A model is used by one thread at a time, and never where half of a step was taken: it says so instead.

An update that is broken off, as by Ctrl-C, leaves some layers of this step and others of the one before. Nothing could
tell that from a trained net, so such a model refuses to run and to be read until what the step changes is set again.
"""

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from gpunet.errors import ModelError
from gpunet.layers.scaling import SCALING
from gpunet.memory.plan import Plan

FEW = 3
"""Names that are told."""


class Whole:
    """Whether a model that runs in `plan` may be used: `torn` has the names of what must be set again before."""

    def __init__(self, plan: Plan) -> None:
        updates = [op for op in plan.program.ops if op.phase == "update"]
        changed = {t.name for op in updates for t in op.outputs if t.kind.persistent}
        self._changed = frozenset(changed - {SCALING})  # which suits any step
        self._net = plan.net
        self._lock = Lock()
        self.torn: frozenset[str] = frozenset()

    def begin(self) -> None:
        """What is learnt is about to change: until `end` some of it is of a step before."""
        self.torn = self._changed

    def end(self) -> None:
        """All of it has changed, and the step is counted."""
        self.torn = frozenset()

    def set_again(self, *names: str) -> None:
        """These hold what they are meant to."""
        self.torn -= set(names)

    def use(self) -> Lock:
        """What to hold, by `with`, while the model is at work. Raises ModelError while it is held.

        Two threads that both found it free take turns: the system's own lock is the only one that Ctrl-C cannot leave
        locked, and it cannot refuse.
        """
        if self._lock.locked():
            raise ModelError(
                f"{self._net} is at work already: a model does one thing at a time; give each thread, and each "
                "generator of batches that runs a model, one of its own"
            )
        return self._lock

    def require(self, *names: str) -> None:
        """Raise ModelError where one of these, or anything at all, is of another step than the rest."""
        torn = self.torn.intersection(names) if names else self.torn
        if torn:
            some = sorted(self.torn)[:FEW]
            more = f" and {len(self.torn) - FEW} more" if len(self.torn) > FEW else ""
            raise ModelError(
                f"a step of {self._net} was broken off in its updates, so some layers are of that step and others of "
                f"the one before; set {', '.join(some)}{more} again: from a file of weights or a checkpoint, by "
                "model.parameters[name] = values, or anew by model.parameters.draw(seed)"
            )


class Guarded(Protocol):
    """What has a Whole."""

    _whole: Whole


Self = TypeVar("Self", bound=Guarded)
Given = ParamSpec("Given")
Result = TypeVar("Result")


def alone(method: Callable[Concatenate[Self, Given], Result]) -> Callable[Concatenate[Self, Given], Result]:
    """The method of a model, run by one thread at a time and while the model is whole. Raises ModelError otherwise."""

    @wraps(method)
    def guarded(self: Self, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        with self._whole.use():
            self._whole.require()
            return method(self, *args, **kwargs)

    return guarded
