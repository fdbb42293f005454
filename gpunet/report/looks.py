"""How each kind of value looks: the one list of it, for everything that is `gpunet.values.shown.Shown`.

A look is made when somebody looks, and imports what its kind of value needs, but no more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from rich.table import Table

from gpunet.errors import ConfigError
from gpunet.memory.size import format_bytes
from gpunet.report.sheet import Sheet
from gpunet.values.shown import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Part = Table | str

Rows = Sequence[Mapping[str, Any]]
"""Of a DataFrame."""


@dataclass(frozen=True)
class Look:
    """How one value looks.

    `line`     what `repr` says
    `parts`    makes all there is to say
    `heart`    which of the parts is the table
    `to_dict`  makes plain values
    `draw`     makes the picture, once matplotlib is known to be there
    `rows`     make rows of numbers out of the plain values, by what there is a row for
    """

    line: str
    parts: Callable[[], list[Part]]
    heart: Callable[[], Table]
    to_dict: Callable[[], dict[str, Any]]
    draw: Callable[[], "Figure"]
    rows: Mapping[str, Callable[[dict[str, Any]], Rows]]

    def sheet(self) -> Sheet:
        """All there is to say."""
        return Sheet(self.parts())

    def table(self) -> Sheet:
        """The table alone."""
        return Sheet([self.heart()])

    def to_json(self, indent: int | None) -> str:
        """The plain values as JSON; a number that is infinite or NaN, which JSON has no word for, is null."""
        import json

        return json.dumps(_plain(self.to_dict()), indent=indent, allow_nan=False)

    def plot(self) -> "Figure":
        """The picture. Raises ConfigError without matplotlib."""
        from gpunet.report.canvas import require_matplotlib

        require_matplotlib("plot()")
        return self.draw()

    def to_dataframe(self, rows: str | None) -> Any:
        """Rows of numbers as a DataFrame. Raises ConfigError without pandas, and for rows that there are not."""
        made = self.rows.get(next(iter(self.rows)) if rows is None else rows)
        if made is None:
            raise ConfigError(f"there is no row for each of {rows!r} here; there is for {', '.join(self.rows)}")
        try:
            import pandas
        except ImportError:
            raise ConfigError("to_dataframe() needs pandas, which is not installed: pip install pandas") from None
        return pandas.DataFrame(list(made(self.to_dict())))


def look(value: Shown) -> Look:
    """How a value looks. Raises TypeError for one whose class is in no line of LOOKS."""
    for kind in type(value).__mro__:
        if (name := f"{kind.__module__.removeprefix('gpunet.')}.{kind.__name__}") in LOOKS:
            return LOOKS[name](value)
    raise TypeError(f"gpunet.report.looks does not know how a {type(value).__name__} looks")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value


# -- one for each kind of value --------------------------------------------------------------------


def _plan(plan: Any) -> Look:
    from gpunet.report import table
    from gpunet.report.as_json import plan_json

    def draw() -> "Figure":
        from gpunet.report.plot import draw

        return draw(plan)

    return Look(
        f"<Plan {table.cost_line(plan)}>",
        lambda: table.plan_parts(plan.of, plan, table.verdict(plan).rstrip("; ")),
        lambda: table.layer_table(plan.of, plan),
        lambda: plan_json(plan.of, plan),
        draw,
        {"layers": lambda said: said["layers"], "tensors": lambda said: said["tensors"]},
    )


def _fit(fit: Any) -> Look:
    from gpunet.report.fit_look import fit_line, fit_table

    def draw() -> "Figure":
        from gpunet.report.bars import draw_fit

        return draw_fit(fit)

    return Look(
        f"<Fit {fit_line(fit)}>",
        lambda: [fit_line(fit), "", fit_table(fit)],
        lambda: fit_table(fit),
        lambda: asdict(fit),
        draw,
        {"fits": lambda said: [said]},
    )


def _survey(survey: Any) -> Look:
    from gpunet.report.as_json import fit_json
    from gpunet.report.table import fit_parts, fit_table

    def draw() -> "Figure":
        from gpunet.report.bars import draw_survey

        return draw_survey(survey)

    chosen = survey.chosen
    return Look(
        f"<Survey {format_bytes(survey.budget_bytes)}: batch {chosen.batch:,}, {len(survey.ladder)} rungs>",
        lambda: fit_parts([survey]),
        lambda: fit_table([survey]),
        lambda: fit_json([survey])[0],
        draw,
        {"rungs": lambda said: said["ladder"]},
    )


def _description(described: Any) -> Look:
    from gpunet.report.description_json import description_json
    from gpunet.report.description_table import description_parts, field_table

    def draw() -> "Figure":
        from gpunet.report.bars import draw_description

        return draw_description(described)

    net = described.net
    return Look(
        f"<Description {net.name}: {len(described.layers)} layers, {net.parameters:,} parameters, "
        f"{described.multiply_adds:,} multiply-adds, {len(described.hints)} hints>",
        lambda: description_parts(described),
        lambda: field_table(described),
        lambda: description_json(described),
        draw,
        {"layers": lambda said: list(_flat(said["layers"]))},
    )


def _profile(profile: Any) -> Look:
    from gpunet.report.profile_json import profile_json
    from gpunet.report.profile_table import number, op_table, profile_parts

    def draw() -> "Figure":
        from gpunet.report.bars import draw_profile

        return draw_profile(profile)

    speed = f"{number(profile.step_ms)} ms a step, {profile.images_per_second:,.1f} images/s"
    return Look(
        f"<Profile {profile.plan.net}, batch {profile.plan.batch:,}, on {profile.plan.device}: {speed}>",
        lambda: profile_parts(profile),
        lambda: op_table(profile),
        lambda: profile_json(profile),
        draw,
        {"layers": lambda said: said["layers"], "ops": lambda said: said["ops"]},
    )


def _model(model: Any) -> Look:
    from gpunet.report.model_look import model_json, model_line, model_parts, parameter_table

    def draw() -> "Figure":
        from gpunet.report.plot import draw

        return draw(model.plan)

    return Look(
        f"<Model {model_line(model)}>",
        lambda: model_parts(model),
        lambda: parameter_table(model),
        lambda: model_json(model),
        draw,
        {"parameters": lambda said: said["parameters"]},
    )


def _history(history: Any) -> Look:
    from gpunet.report.history_look import history_json, history_line, history_parts, history_table

    def draw() -> "Figure":
        from gpunet.report.curves import draw_curves

        return draw_curves([history])

    return Look(
        f"<History {history_line(history)}>",
        lambda: history_parts(history),
        lambda: history_table(history),
        lambda: history_json(history),
        draw,
        {"epochs": lambda said: said["epochs"], "steps": lambda said: said["steps"]},
    )


def _flat(rows: Rows) -> Iterator[dict[str, Any]]:
    """Rows in which what lies within a value has a column of its own: field.rows.size."""
    for row in rows:
        flat: dict[str, Any] = {}
        for key, value in row.items():
            inner = next(_flat([value])) if isinstance(value, Mapping) else None
            flat |= {key: value} if inner is None else {f"{key}.{name}": one for name, one in inner.items()}
        yield flat


LOOKS: dict[str, Callable[[Any], Look]] = {
    "memory.plan.Plan": _plan,
    "planning.fitter.Fit": _fit,
    "planning.fitter.Survey": _survey,
    "description.description.Description": _description,
    "profile.measure.Profile": _profile,
    "model.model.Model": _model,
    "train.history.History": _history,
}
"""Makes the look of a value, by where its class is. A new kind of value to be shown gets a line here."""
