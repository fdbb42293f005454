"""A run that is open: its plan, its model on a device, its trainer and its folder, as `gpunet train` makes them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors.numpy import save

from gpunet.data.dataset import Dataset
from gpunet.devices import free_bytes
from gpunet.errors import DataError
from gpunet.memory.plan import Plan
from gpunet.model.making import require_fit
from gpunet.model.model import Model
from gpunet.net.config import Config, dump, dump_net
from gpunet.optimize.span import parse_span
from gpunet.planning.planner import plan
from gpunet.report.as_json import as_text, plan_json
from gpunet.train.checkpoint import latest
from gpunet.train.environment import environment
from gpunet.train.folder import STEPS, RunFolder, held, open_folder
from gpunet.train.history import read_rows
from gpunet.train.last_look import TEST, has_looked, look_at_test
from gpunet.train.metrics import StepMetrics
from gpunet.train.resume import resume as resume_from
from gpunet.train.settings import train_settings
from gpunet.train.start import start_from_weights
from gpunet.train.trainer import Trainer
from gpunet.train.weights import WEIGHTS, restore_weights

CHANGES = "changes.jsonl"
"""What the page changed in a run, in its folder, a line each: the step, and the settings as they were from there on."""

MOST_IMAGES, MOST_IMAGE_BYTES = 2000, 1 << 26
"""That the page looks at, of those to validate with."""

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Made:
    """A plan that fits, and the options of `gpunet.plan` that it was made with."""

    plan: Plan
    settings: dict[str, Any]


def made_for(config: Config, device: str) -> tuple[Config, Made]:
    """The plan of a run, as `gpunet train` makes it, and the config with the budget that it was made for.

    Raises BudgetError, naming the batch that would fit.
    """
    net, told = config.net, config.train
    settings = train_settings(told) | {"device": device, "tuned": True}
    made = plan(net, told.batch, budget=told.budget, **settings)
    free = free_bytes(device) if told.budget is None else None
    if free is not None and made.total_bytes > free:
        made = plan(net, told.batch, budget=max(free, 1), **settings)
    require_fit(net, made, **settings)
    budget = made.budget_bytes if told.budget is None else told.budget
    return replace(config, train=told.changed(budget=budget)), Made(made, settings)


@dataclass
class Opened:
    """`path` is the run's folder, None before its first step; `notes` are lines for people about how it began.

    `last`  what a run that is over goes on from, as its model has the chosen weights by then
    """

    config: Config
    made: Made
    model: Model
    trainer: Trainer
    path: Path | None = None
    notes: list[str] = field(default_factory=list)
    last: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None
    _written: set[Path] = field(default_factory=set)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """All that the run goes on from: the trainer's state, and copies of what lasts."""
        return self.last or (self.trainer.state(), dict(self.model.state))

    def go_on(self, state: dict[str, Any], values: Values, path: Path | None) -> None:
        """Go on from the state of the same run with other settings."""
        for name in self.model.state:
            if name in values and values[name].shape == self.model.state[name].shape:
                self.model.state[name] = values[name]
        self.trainer.restore(state)
        self.path = path

    def take(self, weights: Values) -> None:
        """Begin with those of the weights of another net that fit: of the same name and shape."""
        kept = [name for name, tensor in self.model.parameters.tensors.items() if _fits(name, tensor.shape, weights)]
        for name in kept:
            self.model.parameters[name] = weights[name]
        self.notes.append(f"{len(kept)} of {len(self.model.parameters)} parameters kept")

    @contextmanager
    def kept(self, out: Path | None) -> Iterator[RunFolder]:
        """The folder that the run is kept in while it trains, at its first start a new one: `out` where it is given."""
        told = self.config.train
        self.path = self.path or open_folder(out, self.config.net.name)
        with held(self.path):
            folder = RunFolder(
                self.path,
                dump(self.config),
                as_text(plan_json(self.config.net, self.made.plan)) + "\n",
                environment=environment(self.model.device),
                every=None if told.checkpoint_every is None else parse_span(told.checkpoint_every),
            )
            try:
                yield folder
            finally:
                folder.close()

    def test(self) -> float | None:
        """The accuracy on the test images of the chosen weights, which the model has then; they are looked at once."""
        data, trainer = self.trainer.data, self.trainer
        if self.path is None or not trainer.rows:
            return None
        if data.validation is None:
            return trainer.rows[-1].test_accuracy
        self.last = self.state()
        with suppress(DataError, OSError, ValueError, KeyError):
            if data.has_test and not has_looked(trainer, self.path):
                return look_at_test(trainer, self.path).accuracy
            restore_weights(self.model, self.path / WEIGHTS)
            return float(json.loads((self.path / TEST).read_text("utf-8"))["test_accuracy"]) if data.has_test else None
        return None

    def points(self) -> list[list[float]]:
        """The steps that the folder tells of, for the curve."""
        if self.path is None:
            return []
        with suppress(DataError):
            rows = read_rows(self.path / STEPS, StepMetrics)
            return [[row.step, row.loss, row.accuracy, row.learning_rate, row.images_per_second] for row in rows]
        return []

    def write_weights(self, folder: Path) -> dict[str, Any]:
        """Write the weights as they are now, and once the images to look at, for the process that looks at them."""
        began = perf_counter()
        data, net = self.trainer.data, self.config.net
        images, split = folder / f"images-{id(self)}.npz", data.test if data.validation is None else data.validation
        if images not in self._written:
            count = max(1, min(MOST_IMAGES, len(split), MOST_IMAGE_BYTES // max(1, int(np.prod(split.shape)))))
            taken, labels = split.take(np.arange(count))
            np.savez(images, images=taken, labels=labels)
            self._written.add(images)
        about = {"net": net.name, "config": dump_net(net), "classes": data.classes, "white": data.white}
        fresh = folder / "weights.new"  # whole once it has its name; the disk need not be waited for
        fresh.write_bytes(save(dict(self.model.parameters), metadata={"gpunet": json.dumps(about)}))
        fresh.replace(folder / "weights.safetensors")
        return {
            "weights": str(folder / "weights.safetensors"),
            "images": str(images),
            "step": self.model.steps,
            "seconds": perf_counter() - began,
        }


@contextmanager
def open_run(
    config: Config, data: Dataset, made: Made, *, resume: Path | None = None, graph: bool = True
) -> Iterator[Opened]:
    """A run in its plan, drawn by its seed, from the weights that its config names, or as `resume` has left it."""
    told = config.train
    with ExitStack() as stack:
        model = stack.enter_context(
            Model(
                config.net,
                device=made.plan.device,
                optimizer=told.learning,
                seed=told.seed,
                learning_rate=told.learning_rate,
                plan=made.plan,
                graph=graph,
            )
        )
        trainer = Trainer(
            model,
            data,
            epochs=told.epochs,
            seed=told.seed,
            schedule=told.shape,
            warmup=told.warmup_steps(-(-len(data.train) // told.batch)),
            patience=told.early_stop,
        )
        run = Opened(config, made, model, trainer)
        if resume is not None:
            checkpoint, damaged = latest(resume)
            run.path = resume
            run.notes += [*damaged, *resume_from(trainer, checkpoint, skip_broken=told.skip_broken)]
            run.notes.append(f"going on after step {model.steps:,}")
        elif told.weights is not None:
            run.notes += start_from_weights(model, told)
        yield run


def log_change(path: Path, note: Mapping[str, Any]) -> None:
    """Write down what was changed in a run, in its folder."""
    with (path / CHANGES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(note)) + "\n")


def _fits(name: str, shape: tuple[int, ...], weights: Values) -> bool:
    return name in weights and weights[name].shape == tuple(shape)
