"""The training behind the page: gpunet's own Trainer, in the main thread, which the page starts, pauses and changes.

A pause is a wait between two steps. A change of the rate and its like stops the run there, as Ctrl-C would, and goes on
with it from its state in memory, as `gpunet train --resume` does from a file: no bit depends on when that was. Another
net, batch or optimizer begins another run, with the weights that fit; a reset begins one without.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np

from gpunet.data.dataset import Dataset
from gpunet.devices import free_bytes
from gpunet.errors import ConfigError, GpunetError, ModelError
from gpunet.live.asked import Asked
from gpunet.live.controls import changed_anew, changed_at_once, settings_of
from gpunet.live.opened import Made, Opened, log_change, made_for, open_run
from gpunet.live.told import Told
from gpunet.net.config import Config
from gpunet.profile.measure import profile
from gpunet.train.metrics import EpochMetrics
from gpunet.train.stop import Stop, Stopped
from gpunet.train.trainer import Progress, Trainer, Watcher

WAIT = 0.1
"""Seconds after which a wait looks whether Ctrl-C was heard."""

MEASURED = 3
"""Steps that are timed."""

Answer = Future[dict[str, Any]]


@dataclass(frozen=True)
class Next:
    """What comes next: a run of this config, in this plan.

    `state`   of a trainer, to go on from in `folder`, with `values`; without it `values` are weights to begin with
    `note`    what was changed
    """

    config: Config
    made: Made | None = None
    state: dict[str, Any] | None = None
    values: dict[str, np.ndarray] | None = None
    folder: Path | None = None
    note: dict[str, Any] | None = None
    resume: Path | None = None


class Leave(Exception):
    """The run is left between two steps; `then` comes next, None: nothing."""

    def __init__(self, then: Next | None) -> None:
        super().__init__("the run is left")
        self.then = then


class Session(Watcher):
    """Runs of a config one after the other, until it is closed.

    `data_of`   gives the data of a config; raises where a net cannot use them
    `prepared`  a config as `gpunet train` settles it, by its data
    `device`    "cpu", "cuda", ...
    `out`       the folder of the first run; None: runs/NET-1, -2, ...
    `resume`    the folder of a run to go on with
    """

    def __init__(
        self,
        config: Config,
        data_of: Callable[[Config], Dataset],
        prepared: Callable[[Config], Config],
        device: str,
        *,
        out: Path | None = None,
        resume: Path | None = None,
    ) -> None:
        self.told = Told()
        self._out = out
        self._device = device
        self._data_of = data_of
        self._prepared = prepared
        self._next: Next | None = Next(config, resume=resume)
        self._asked: Queue[tuple[dict[str, Any], Answer]] = Queue()
        self._config = config  # of the run that is open, or was to be
        self._run: Opened | None = None
        self._going = False
        self._steps_left = 0
        self._stop = Stop()
        self._promised: list[Answer] = []  # that come once the next run is open

    def ask(self, asked: Asked) -> Answer:
        """Have the training do what is asked for between two steps; the answer, or what was wrong, comes later.

        From any thread.
        """
        future: Answer = Future()
        self._asked.put((dict(asked), future))
        return future

    def run(self) -> int:
        """Train in the main thread as the page says, until it is closed or a signal is heard; returns the exit code."""
        try:
            with self._stop:
                while self._next is not None:
                    then, self._next = self._next, None
                    try:
                        self._one_run(then)
                    except Leave as left:
                        self._next = left.then
            return 0
        except Stopped as stopped:
            return stopped.exit_code
        finally:
            self._say(state="closed")
            self._refuse_the_rest()

    def _one_run(self, then: Next) -> None:
        """A run from its opening to its end, and the wait behind it. Raises Leave, Stopped."""
        self._config = then.config
        try:
            with self._opened(then) as run:
                self._run = run
                if not run.trainer.finished:
                    self._idle()
                    self._train(run)
                tested = run.test()
                words = "" if tested is None else f"test accuracy {tested:.2%}"
                self._wait("finished", words, test_accuracy=tested)
        except GpunetError as error:
            self._run = None
            self._wait("failed", str(error))
        finally:
            self._run = None

    @contextmanager
    def _opened(self, then: Next) -> Iterator[Opened]:
        data = self._data_of(then.config)
        config, made = (then.config, then.made) if then.made else made_for(then.config, self._device)
        with open_run(config, data, made, resume=then.resume) as run:
            if then.state is not None:
                run.go_on(then.state, then.values or {}, then.folder)
            elif then.values is not None:
                run.take(then.values)
            if then.note is not None and run.path is not None:
                log_change(run.path, then.note)
            self._tell_opened(run, same=then.state is not None)
            yield run

    def _train(self, run: Opened) -> None:
        """The steps that are left, kept in the run's folder. Raises Leave, Stopped or GpunetError."""
        with run.kept(self._out) as folder:
            self._out = None
            run.trainer.watchers = (folder, self, self._stop)
            self.told.say(run=str(folder.path))
            try:
                run.trainer.run()
            except (Leave, Stopped):
                folder.checkpoint()
                raise
            except GpunetError:
                folder.rescue()
                raise

    # -- a Watcher ---------------------------------------------------------------------------------

    def stepped(self, progress: Progress) -> None:
        self.told.step(progress)
        if self._steps_left:
            self._steps_left -= 1
            self._going = self._steps_left > 0
        self.paused()

    def paused(self) -> None:
        with suppress(Empty):
            while True:
                self._do(*self._asked.get_nowait())
        if not self._going:
            self._idle()

    def finished_epoch(self, trainer: Trainer, metrics: EpochMetrics) -> None:
        self.told.epoch(metrics)

    # -- what is asked for -------------------------------------------------------------------------

    def _idle(self) -> None:
        """Do what is asked for until the training is to go on."""
        started = self._run is not None and self._run.trainer.model.steps > 0
        if not self._going:
            self._wait("paused" if started else "ready")
        self._say(state="running", message="")

    def _say(self, **said: Any) -> None:
        """Say what is so now, and answer whoever waited for that."""
        self.told.say(**said)
        for answer in self._promised:
            answer.set_result({"done": True})
        self._promised.clear()

    def _wait(self, state: str, message: str | None = None, **said: Any) -> None:
        """Do what is asked for, in that state. Raises Leave, Stopped; returns where the training is to go on."""
        if message is not None:
            said["message"] = message
        self._going = False
        self._say(state=state, **said)
        while not self._going:
            self._stop.paused()
            with suppress(Empty):
                self._do(*self._asked.get(timeout=WAIT))

    def _do(self, asked: dict[str, Any], answer: Answer) -> None:
        try:
            answer.set_result(self._done(asked))
        except Leave:
            self._promised.append(answer)
            raise
        except (GpunetError, MemoryError) as error:
            answer.set_exception(error)

    def _done(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Do one thing. Raises Leave where the run is left for it, GpunetError where it cannot be done."""
        what = asked.get("do")
        if what == "stop":
            raise Leave(None)
        if what in ("reset", "net"):
            raise Leave(self._anew(asked))
        run = self._needed()
        if what in ("start", "pause", "step"):
            self._go(str(what), run)
        elif what == "change":
            raise Leave(self._changed(run, asked))
        elif what == "weights":
            return run.write_weights(Path(asked["folder"]))
        elif what == "measure":
            return _measured(run)
        else:
            raise ConfigError("the page asked for what there is not; load it again")
        return {"done": True}

    def _go(self, what: str, run: Opened) -> None:
        if what != "pause" and run.trainer.finished:
            raise ConfigError("the run has done all its epochs: raise the epochs, or begin again by Reset")
        self._going = what != "pause"
        self._steps_left = 1 if what == "step" else 0

    def _changed(self, run: Opened, asked: dict[str, Any]) -> Next:
        """The same run with other settings, from where it is. Raises GpunetError where these cannot be."""
        config = changed_at_once(run.config, asked)
        if config.train.epochs < run.trainer.epoch - (run.trainer.step == 0):
            raise ConfigError(f"the run is in epoch {run.trainer.epoch} already: raise the epochs")
        config, made = made_for(config, self._device)
        state, values = run.state()
        state["schedule"]["reduced"] *= config.train.learning_rate / run.config.train.learning_rate
        changes = {name: value for name, value in asked.items() if name != "do"}
        return Next(config, made, state, values, run.path, {"step": state["steps"], **changes})

    def _anew(self, asked: dict[str, Any]) -> Next:
        """Another run; unless it is a reset, with the weights that fit. Raises GpunetError where it cannot be."""
        config = self._prepared(changed_anew(self._config, asked))
        self._data_of(config)  # a net that cannot use them is told, and the run goes on
        config, made = made_for(config, self._device)
        keeps = self._run is not None and asked["do"] == "net"
        values = dict(self._run.model.parameters) if keeps and self._run is not None else None
        self._going, self._steps_left = False, 0
        return Next(config, made, values=values)

    def _needed(self) -> Opened:
        if self._run is None:
            raise ModelError("there is no training; see the message above, and give another net or other data")
        return self._run

    def _tell_opened(self, run: Opened, *, same: bool) -> None:
        """Say what is open; `same`: the run before, with other settings, whose curves go on."""
        model, data, net = run.trainer.model, run.trainer.data, run.config.net
        if not same:
            self.told.begin(run.trainer.rows, run.points())
        self.told.say(
            net=net.name,
            run=None if run.path is None else str(run.path),
            settings=settings_of(run.config.train),
            device=model.plan.device,
            classes=data.classes or [str(label) for label in range(net.classes)],
            image=list(net.image.shape),
            layers=[
                {"name": node.name, "type": node.layer.type, "output": str(net.volumes[node.name])}
                for node in net.nodes
            ],
            arena_bytes=model.arena_bytes,
            total_bytes=model.plan.total_bytes,
            free_bytes=free_bytes(model.plan.device),
            judged_by="test" if data.validation is None else "validation",
            message="; ".join(run.notes),
            test_accuracy=None,
        )

    def _refuse_the_rest(self) -> None:
        with suppress(Empty):
            while True:
                _, answer = self._asked.get_nowait()
                answer.set_exception(ModelError("the training has ended"))


def _measured(run: Opened) -> dict[str, Any]:
    """Milliseconds of a step by phase, on random images and in an arena of its own: the run is not touched."""
    options = {name: value for name, value in run.made.settings.items() if name != "device"}
    told, device = run.config.train, run.made.plan.device
    found = profile(run.config.net, told.batch, device, steps=MEASURED, budget=told.budget, **options)
    phases: dict[str, float] = {}
    for op in found.ops:
        phases[op.op.phase] = phases.get(op.op.phase, 0.0) + op.ms
    return {"step_ms": found.step_ms, "phases": phases}
