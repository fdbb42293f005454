"""How each kind of value looks: the one list of it, for everything that is `gpunet.values.shown.Shown`.

A look is made when somebody looks, and imports what its kind of value needs, but no more.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from gpunet.memory.size import format_bytes
from gpunet.report.look import Look, Rows
from gpunet.values.shown import Shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def look(value: Shown) -> Look:
    """How a value looks. Raises TypeError for one whose class is in no line of LOOKS."""
    for kind in type(value).__mro__:
        if (name := f"{kind.__module__.removeprefix('gpunet.')}.{kind.__name__}") in LOOKS:
            return LOOKS[name](value)
    raise TypeError(f"gpunet.report.looks does not know how a {type(value).__name__} looks")


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
    from gpunet.report.figures import number
    from gpunet.report.profile_json import profile_json
    from gpunet.report.profile_table import op_table, profile_parts

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


def _prediction(found: Any) -> Look:
    from gpunet.report.predicted import as_plain, layer_table, prediction_line, prediction_parts

    def draw() -> "Figure":
        from gpunet.report.bars import draw_prediction

        return draw_prediction(found)

    return Look(
        f"<Prediction for {prediction_line(found)}>",
        lambda: prediction_parts(found),
        lambda: layer_table(found),
        lambda: as_plain(found),
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


def _check(check: Any) -> Look:
    from gpunet.report.gradient_table import gradient_json, gradient_parts, tensor_table, verdict_lines

    def draw() -> "Figure":
        from gpunet.report.bars import draw_check

        return draw_check(check)

    return Look(
        f"<GradientCheck {check.net.name}, batch {check.batch}, on {check.device}: {verdict_lines(check)[0]}>",
        lambda: gradient_parts(check),
        lambda: tensor_table(check),
        lambda: gradient_json(check),
        draw,
        {"tensors": lambda said: said["tensors"]},
    )


def _rates(tests: Any) -> Look:
    from gpunet.report.rate_lines import outcome, rate_parts, rate_rows, rate_table, rates_json

    def draw() -> "Figure":
        from gpunet.report.rate_picture import draw_rates

        return draw_rates(tests)

    return Look(
        f"<RateTests {tests.net}: {outcome(tests)}>",
        lambda: rate_parts(tests),
        lambda: rate_table(tests),
        lambda: rates_json(tests),
        draw,
        {"steps": rate_rows},
    )


def _rate(test: Any) -> Look:
    from gpunet.train.lr_find import RateTests

    found = _rates(RateTests((test,)))
    return replace(found, line=found.line.replace("RateTests", "RateTest", 1))


def _judged(judged: Any) -> Look:
    from gpunet.report.evaluation_table import class_table, evaluation_json, evaluation_parts, image_rows, outcome

    names = [str(label) for label in range(judged.classes)]

    def draw() -> "Figure":
        from gpunet.report.confusion import draw_confusion

        return draw_confusion(judged.confusion(), names, "labels and predictions")

    return Look(
        f"<Judged {len(judged):,} images: {outcome(judged)}>",
        lambda: evaluation_parts(judged, names)[1:],
        lambda: class_table(judged, names),
        lambda: evaluation_json(judged, names),
        draw,
        {"classes": lambda said: said["classes"], "images": lambda said: image_rows(judged)},
    )


def _scores(scored: Any) -> Look:
    from gpunet.report.slide_table import crops, score_json, score_table

    labels = scored.top()
    names = [f"class {label}" for label in range(scored.scores.shape[-1])]  # titles of pictures

    def draw() -> "Figure":
        from gpunet.report.heat_map import MOST, draw

        return draw(None, scored, labels[:MOST], names)

    return Look(
        f"<ScoreMap {crops(scored)}, {len(names):,} classes>",
        lambda: [crops(scored), "", score_table(scored, names, labels)],
        lambda: score_table(scored, names, labels),
        lambda: score_json(scored, names, range(len(names))),
        draw,
        {"classes": lambda said: said["classes"]},
    )


def _dataset(dataset: Any) -> Look:
    from gpunet.report.dataset_table import (
        class_counts,
        class_names,
        dataset_json,
        dataset_line,
        dataset_parts,
        dataset_table,
    )

    def draw() -> "Figure":
        from gpunet.report.bars import Panel, draw_bars

        return draw_bars(class_names(dataset), [Panel("images", class_counts(dataset))], dataset_line(dataset))

    return Look(
        f"<Dataset {dataset_line(dataset)}>",
        lambda: dataset_parts(dataset),
        lambda: dataset_table(dataset),
        lambda: dataset_json(dataset),
        draw,
        {"classes": lambda said: said["classes"]},
    )


def _imported(found: Any) -> Look:
    from gpunet.report.import_table import import_json, import_line, import_parts, import_table

    def draw() -> "Figure":
        from gpunet.report.bars import draw_imported

        return draw_imported(found)

    return Look(
        f"<Imported {import_line(found)}>",
        lambda: import_parts(found),
        lambda: import_table(found.match),
        lambda: import_json(found),
        draw,
        {"parameters": lambda said: said["parameters"]},
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
    "planning.prediction.Prediction": _prediction,
    "profile.measure.Profile": _profile,
    "model.model.Model": _model,
    "train.history.History": _history,
    "train.judge.Judged": _judged,
    "train.lr_find.RateTest": _rate,
    "train.lr_find.RateTests": _rates,
    "use.gradients.GradientCheck": _check,
    "use.importing.Imported": _imported,
    "use.sliding.ScoreMap": _scores,
    "data.dataset.Dataset": _dataset,
}
"""Makes the look of a value, by where its class is. A new kind of value to be shown gets a line here."""
