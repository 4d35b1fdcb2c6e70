"""The report about a classifier as one HTML page."""

from __future__ import annotations

from edge_adapt.reports.classifier.mistakes import ClassifierReport, Shown, matrix, unknown, wrong
from edge_adapt.reports.pages import environment, file_name, thumbnail
from edge_adapt.runtime.classifier.estimate import wilson_interval
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.folder_evaluation import Answer

SIDE = 160
"""The larger side of a picture on the page at most, pixels."""

ICON = 64
"""The larger side of a picture that stands for a class at most, pixels."""


def page(report: ClassifierReport) -> str:
    """The whole document: `page.html`, filled in. The images that it shows are read again."""
    answers, evaluation = report.answers, report.evaluation
    name, data_name = file_name(str(report.classifier.graphs.bundle.path)), file_name(report.data)
    first = {answer.label: answer for answer in reversed(answers)}
    return (
        environment()
        .get_template("classifier/page.html")
        .render(
            report=report,
            title=f"{name} on {data_name}",
            name=name,
            data_name=data_name,
            matrix=matrix(answers, report.classifier.labels),
            icons={label: thumbnail(answer.image.load((ICON, ICON)).image, ICON) for label, answer in first.items()},
            names={OTHER: "of no class"},
            classes=[(entry, *wilson_interval(entry.right, entry.images)) for entry in evaluation.classes],
            wrong=[_pictures(shown) for shown in wrong(answers)],
            wrong_total=sum(answer.known and not answer.right for answer in answers),
            unknown=[_pictures(shown) for shown in unknown(answers)],
        )
    )


def _pictures(shown: Shown) -> tuple[Shown, list[tuple[Answer, str]]]:
    """Answers with the pictures that they are to."""
    return shown, [(answer, thumbnail(answer.image.load((SIDE, SIDE)).image, SIDE)) for answer in shown.answers]
