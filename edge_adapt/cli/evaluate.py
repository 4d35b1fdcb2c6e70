"""The command `evaluate`: over episodes for a model, on labelled images for a classifier of one's own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.folder_evaluation import ClassifierEvaluation
    from edge_adapt.runtime.graphs import Trust
    from edge_adapt.runtime.sessions import Provider

MOST_CONFUSIONS = 10
"""Confusions that the text output shows."""


@click.command(
    epilog=words.examples(
        "edge-adapt evaluate characters omniglot.zip --classes test.txt --rotations --way 20",
        "edge-adapt evaluate model.edge photos --support-files 'train_*' --query-files 'test_*'",
        "edge-adapt evaluate mine.edge labelled_photos",
        "edge-adapt evaluate gauge.edge more.csv",
    ),
)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@options.classes("Measure on the classes whose path ends with a line of FILE")
@options.rotations
@options.reads_a_data_set
@options.way(5, True, "Classes in an episode.")
@options.shot
@click.option(
    "--query",
    "n_query",
    type=click.IntRange(min=1),
    default=15,
    show_default=True,
    metavar="Q",
    help="Query images of a class, at most.",
)
@options.episodes(1000, "Episodes to draw.")
@options.picks_files
@options.steps(None, "as in training", "Gradient steps.")
@click.option("--all-layers", is_flag=True, help="Adapt all layers, as MAML does in training; only of a training run.")
@options.seed("The same seed draws the same episodes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; shares are fractions, not percent.")
@options.runs_a_bundle
@click.pass_context
def evaluate(
    ctx: click.Context,
    model: str,
    data: str,
    classes: tuple[str, ...],
    rotations: bool,
    cache: str | None,
    skip_bad: bool,
    n_way: int,
    n_shot: int,
    n_query: int,
    episodes: int,
    support_files: str | None,
    query_files: str | None,
    steps: int | None,
    all_layers: bool,
    seed: int,
    as_json: bool,
    provider: Provider,
    threads: int | None,
    trust: Trust,
) -> None:
    """Measure accuracy on the images in DATA.

    MODEL is a bundle, the name of a bundled model, or the folder of a training run; its accuracy is the mean over random
    episodes, each query image on its own, with a 95% confidence interval. If MODEL is a classifier that `edge-adapt adapt`
    wrote, DATA has a sub-folder for each of its classes, and `_other` where there are images of none; the answer is how many of
    those images it gets right, and what it takes for what. If MODEL reads values, DATA is a CSV as `adapt` takes it; the answer
    is how far off the readings are.
    """
    from edge_adapt import evaluation as verbs
    from edge_adapt.cli import readings
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.data.episodes import EvaluationProtocol
    from edge_adapt.runtime.data.source import DataSource
    from edge_adapt.runtime.model import load
    from edge_adapt.runtime.regressor.regressor import Regressor

    loaded = None if verbs.is_run(model) else load(model, provider, threads, trust)
    if isinstance(loaded, Regressor):
        options.refuse_episodes(ctx, model)
        readings.evaluate(loaded, model, data, skip_bad, as_json)
        return
    if isinstance(loaded, Classifier):
        options.refuse_episodes(ctx, model)
        _evaluate_classifier(loaded, model, data, classes, skip_bad, as_json)
        return

    protocol = EvaluationProtocol(
        n_way=n_way,
        n_shot=n_shot,
        n_query=n_query,
        episodes=episodes,
        steps=steps,
        seed=seed,
        support_files=support_files,
        query_files=query_files,
    )
    source = DataSource(data, classes, rotations, cache, skip_bad)
    result = verbs.evaluate(
        loaded or model, source, protocol, all_layers=all_layers, provider=provider, threads=threads, progress=True
    )
    if as_json:
        measured = {"accuracy": result.accuracy, "ci95": result.ci95}
        words.print_json(measured | asdict(result.protocol) | {"model": model})
        return
    words.say(
        f"{result.accuracy:.2%} +- {result.ci95:.2%} (95% confidence over {words.plural(episodes, 'episode')}), "
        f"{n_way}-way {n_shot}-shot, up to {n_query} queries a class, {words.plural(result.protocol.steps or 0, 'step')}"
        f"{' on all layers' if all_layers else ''}, seed {seed}"
    )


def _evaluate_classifier(
    classifier: Classifier, model: str, data: str, classes: tuple[str, ...], skip_bad: bool, as_json: bool
) -> None:
    from edge_adapt.runtime.folder_evaluation import evaluate_classifier

    result = evaluate_classifier(classifier, data, classes, progress=True, skip_bad=skip_bad)
    low, high = result.interval
    if not as_json:
        _print_classifier_evaluation(result)
        return
    words.print_json(
        {
            "accuracy": result.accuracy,
            "ci95": (high - low) / 2,
            "episodes": None,
            "n_way": len(classifier.labels),
            "n_shot": None,
            "n_query": None,
            "steps": classifier.adaptation.steps,
            "seed": None,
            "support_files": None,
            "query_files": None,
            "model": model,
            "interval": result.interval,
            "images": result.images,
            "refused": result.refused,
            "others": result.others,
            "others_refused": result.others_refused,
            "accuracy_of_rest": result.accuracy_of_rest,
            "in_support": result.in_support,
            "classes": {entry.label: {"images": entry.images, "right": entry.right} for entry in result.classes},
            "confusions": [asdict(confusion) for confusion in result.confusions],
        }
    )


def _print_classifier_evaluation(result: ClassifierEvaluation) -> None:
    words.say(words.classifier_accuracy(result))
    if result.refused:
        rest = "" if result.accuracy_of_rest is None else f"; of the rest {result.accuracy_of_rest:.2%} are right"
        words.say(f"{words.plural(result.refused, 'image')} taken for unknown{rest}.")
    if result.others:
        words.say(f"Of {words.plural(result.others, 'image')} of no class, {result.others_refused} taken for unknown.")
    if result.in_support:
        words.say(
            f"{words.plural(result.in_support, 'image')} of these taught the classifier; "
            "expect less on new ones, and measure on those."
        )
    width = max(len("class"), *(len(entry.label) for entry in result.classes))
    click.echo(f"\n{'class':<{width}}  images  right")
    for entry in result.classes:
        words.say(f"{entry.label:<{width}}  {entry.images:>6}  {entry.right:>5}  {entry.right / entry.images:>6.1%}")
    if result.confusions:
        click.echo("\nconfusions")
    for confusion in result.confusions[:MOST_CONFUSIONS]:
        words.say(f"{confusion.label} taken for {confusion.predicted}: {words.plural(confusion.images, 'time')}")
    hidden = len(result.confusions) - MOST_CONFUSIONS
    if hidden > 0:
        words.say(f"and {words.plural(hidden, 'rarer confusion')} (all of them with --json)")
