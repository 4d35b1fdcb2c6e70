"""The parts of the page that show images: the confusion matrix and the example episodes."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from html import escape

import numpy as np
from PIL import Image

from edge_adapt.reports.model.mistakes import Confusions, Example
from edge_adapt.runtime.data.dataset import ImageDataset

SIDE = 96
"""The larger side of a picture on the page at most, pixels."""

MOST_QUERIES, MOST_SUPPORT, MOST_PAIRS = 8, 5, 6
"""Pictures of a class in an episode, and confusions in the list, at most."""


def short_names(data: ImageDataset) -> list[str]:
    """The classes' names without the folders that all of them lie in."""
    names = data.class_names
    folders = [name.split("/")[:-1] for name in names]
    common = 0
    while all(len(folder) > common and folder[common] == folders[0][common] for folder in folders):
        common += 1
    return ["/".join(name.split("/")[common:]) for name in names]


def _breakable(name: str) -> str:
    """A name as HTML that may break where its parts do."""
    return re.sub("[/_]", r"\g<0><wbr>", escape(name))


def picture(data: ImageDataset, image: int, alternative: str) -> str:
    """An `<img>` of what the model sees, as PNG or JPEG, whichever is smaller."""
    pixels = np.asarray(data.images[image])
    shown = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    shown.thumbnail((SIDE, SIDE))
    encoded = []
    for kind, options in (("PNG", {"optimize": True}), ("JPEG", {"quality": 85})):
        stream = io.BytesIO()
        shown.save(stream, kind, **options)
        encoded.append((len(stream.getvalue()), kind.lower(), stream.getvalue()))
    _, kind, content = min(encoded)
    text = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{text}" alt="{escape(alternative)}">'


def example(shown: Example, data: ImageDataset) -> str:
    """A row a class: what was learned from, and what was answered; wrong answers first."""
    answers, every = shown.answers, short_names(data)
    names = [every[c] for c in answers.classes(data)]
    right, total = int(answers.right.sum()), len(answers.right)
    better = f"{shown.better:.0%} of the episodes went better" if shown.better else "no episode went better"
    rows = [
        f"<h3>{shown.kind.capitalize()} <small>{right} of {total} right; {better}</small></h3>"
        '<div class="row head"><div>class</div><div>learned from</div>'
        f"<div>asked: up to {MOST_QUERIES}, the wrong answers first</div></div>"
    ]
    for label, name in enumerate(names):
        support = answers.episode.support[answers.episode.support_labels == label]
        pictures = "".join(picture(data, int(i), f"support image of {_letter(label)}") for i in support[:MOST_SUPPORT])
        asked = np.flatnonzero(answers.episode.query_labels == label)
        asked = asked[np.argsort(answers.right[asked], kind="stable")]
        queries = "".join(_query(shown, data, int(query)) for query in asked[:MOST_QUERIES])
        rows.append(
            f'<div class="row"><div class="who"><span class="badge">{_letter(label)}</span>'
            f'<span class="name">{_breakable(name)}</span></div>'
            f'<div class="images support">{pictures}</div><div class="images queries">{queries}</div></div>'
        )
    shots = min(MOST_SUPPORT, int(np.bincount(answers.episode.support_labels).max()))
    return f'<div class="episode" style="--shots: {shots}">{"".join(rows)}</div>'


def _query(shown: Example, data: ImageDataset, query: int) -> str:
    answers = shown.answers
    label, given = _letter(int(answers.episode.query_labels[query])), _letter(int(answers.predicted[query]))
    sure = f"{answers.confidence[query]:.0%}"
    right = bool(answers.right[query])
    alternative = f"query of {label}, {'rightly' if right else 'wrongly'} taken for {given}, confidence {sure}"
    caption = f"{given} {sure}" if right else f"\N{BALLOT X} {given} {sure}"
    image = picture(data, int(answers.episode.query[query]), alternative)
    kind = "query" if right else "query wrong"
    return f'<figure class="{kind}">{image}<figcaption>{caption}</figcaption></figure>'


def _letter(label: int) -> str:
    return "ABCDEFGHIJ"[label]


def matrix(confusions: Confusions, data: ImageDataset) -> str:
    """The table of shares in percent, with a picture of each class."""
    every = short_names(data)
    names = [every[c] for c in confusions.classes]
    pictures = [picture(data, int(data.starts[c]), "") for c in confusions.classes]
    shares = confusions.shares
    strongest = max(0.1, float((shares - np.diag(np.diag(shares))).max()))
    head = "".join(
        f'<th scope="col" title="{escape(name)}">{image}{number}</th>'
        for number, (name, image) in enumerate(zip(names, pictures, strict=True), 1)
    )
    rows = []
    for row, (name, image) in enumerate(zip(names, pictures, strict=True)):
        cells = "".join(_cell(float(shares[row, column]), row == column, strongest) for column in range(len(names)))
        rows.append(
            f'<tr><th scope="row" title="{escape(name)}"><div><span class="number">{row + 1}</span>{image}'
            f'<span class="name">{escape(name)}</span></div></th>{cells}</tr>'
        )
    caption = "Rows: what it is. Columns: what it is taken for, % of the row's queries."
    return (
        f'<div class="scroll"><table class="matrix"><caption>{caption}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(share: float, own: bool, strongest: float) -> str:
    words = f"{100 * share:.0f}" if own or share >= 0.005 else ""
    heat = 0.35 * share if own else 0.7 * share / strongest
    return f'<td class="{"own" if own else "off"}" style="--heat: {heat:.2f}">{words}</td>'


def pairs(confusions: Confusions, data: ImageDataset) -> str:
    """The most frequent confusions of the matrix, as a list; empty where there are none."""
    items: Sequence[tuple[float, int, int]] = sorted(
        (
            (float(share), row, column)
            for (row, column), share in np.ndenumerate(confusions.shares)
            if row != column and share > 0
        ),
        reverse=True,
    )
    names, lines = short_names(data), []
    for share, row, column in items[:MOST_PAIRS]:
        label, predicted = int(confusions.classes[row]), int(confusions.classes[column])
        lines.append(
            f"<li><b>{100 * share:.1f}%</b>{picture(data, int(data.starts[label]), '')}"
            f'<span aria-hidden="true">\N{RIGHTWARDS ARROW}</span>{picture(data, int(data.starts[predicted]), "")}'
            f'<span class="name">{_breakable(names[label])} taken for {_breakable(names[predicted])}</span></li>'
        )
    return f'<ol class="pairs">{"".join(lines)}</ol>' if lines else ""
