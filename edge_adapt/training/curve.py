"""The picture of a run's metrics."""

from __future__ import annotations

import io
import textwrap

from edge_adapt.training.checkpoint import Checkpoint

_TITLE = 105
"""Characters that a line of the title has room for."""


def draw(checkpoint: Checkpoint) -> bytes:
    """A PNG: training loss on the left axis, training and validation accuracy and what exports on the right one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    records, exported = checkpoint.records, checkpoint.exported
    figure = Figure(figsize=(8, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    loss_axis = figure.add_subplot()
    accuracy_axis = loss_axis.twinx()
    iterations = [record.iteration for record in records]
    loss_axis.semilogy(iterations, [record.loss for record in records], color="tab:gray", label="training loss")
    accuracy_axis.plot(
        iterations,
        [100 * record.accuracy for record in records],
        color="tab:blue",
        alpha=0.5,
        label="training accuracy",
    )
    measured = [(record.iteration, 100 * record.validation) for record in records if record.validation is not None]
    if measured:
        label = f"validation accuracy ({measured[-1][1]:.1f}%)"
        accuracy_axis.plot(*zip(*measured, strict=True), "o-", color="tab:orange", markersize=3, label=label)
    if exported.validation is not None:
        label = f"exports: step {exported.iteration:,} ({exported.validation:.1%})"
        accuracy_axis.plot(
            exported.iteration,
            100 * exported.validation,
            "o",
            color="black",
            fillstyle="none",
            markersize=10,
            label=label,
        )
    config = checkpoint.config
    title = f"{config.method.name} on {config.backbone}"
    loss_axis.set_title("\n".join([title, *textwrap.wrap(checkpoint.trained_on, _TITLE, max_lines=1)]), fontsize=10)
    loss_axis.set(xlabel="outer step", ylabel="loss (nats)")
    loss_axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    accuracy_axis.set_ylabel("accuracy (%)")
    loss_axis.grid(alpha=0.3)
    lines = [*loss_axis.get_lines(), *accuracy_axis.get_lines()]
    labels = [str(line.get_label()) for line in lines]
    loss_axis.legend(lines, labels, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)  # below the axis
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
