"""Classes that come one after another: `add` in a loop beside what others do, on one stream of classes.

    python benchmarks/continual.py [--mini-imagenet FOLDER --lists FOLDER --model BUNDLE]
        [--omniglot OMNIGLOT.zip --base TRAIN.txt VAL.txt --classes TEST.txt] [--plot FILE.png]

mini-ImageNet is the class-incremental protocol of TOPIC (Tao et al., "Few-Shot Class-Incremental Learning", CVPR 2020,
https://arxiv.org/abs/2004.10956): 60 base classes, 8 sessions of 5 new classes with 5 shots each, and 100 test images of every
class so far. FOLDER has a folder a WordNet id; the lists are TOPIC's, which CEC's repository has in data/index_list/mini_imagenet
(https://github.com/icoz69/CEC-CVPR2021): session_1.txt to session_9.txt and test.csv. The classes come in the order of their ids.
The backbone of BUNDLE is to know the base classes' training images alone, which are those of session_1.txt:

    while IFS= read -r line; do name=${line#*train/}; mkdir -p base/${name%/*}; cp FOLDER/$name base/$name; done < session_1.txt
    edge-adapt train base -o run --method pretrain --backbone edge --image-size 84 --crop-size 64 --centred --augment \\
        --learning-rate 0.2 --minutes 40 --threads 1
    edge-adapt train base -o head --method head-only --start-from run && edge-adapt export head -o base.edge

Omniglot: the base characters, which the bundle `characters` was trained on, and 9 sessions of the test characters, 5 shots and 15
queries each. That is more classes than the runtime takes, so that the graph of `adapt` is called by itself there; a stream of 200
test characters, which it takes, goes beside.

Everything learns from the same shots: of a base class --base-shots, of those to come all. Names are those of Avalanche
(https://avalanche.continualai.org): an experience is a session; stream accuracy is that on the test images of all classes so far;
forgetting of an experience is its accuracy when it was learned less that at the end, and stands for all but the last by its mean;
backward transfer is its negative.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks import streaming_heads as heads
from benchmarks.measuring import machine, table, with_one_thread
from edge_adapt.runtime.data.dataset import open_classes
from edge_adapt.runtime.graphs import Graphs, embedded_or_raise
from edge_adapt.runtime.images.folders import ImageFile, open_folder
from edge_adapt.runtime.model import MetaModel, load_model
from edge_adapt.runtime.progress import Progress

SESSIONS, SHOTS, OF_CHARACTERS, RUNTIME_CLASSES, SEED = 9, 5, 20, 200, 0


@dataclass(frozen=True)
class Experience:
    """Some classes that come together: features of their shots and queries [I, D], and the label of each [I]."""

    shots: NDArray[np.float32]
    labels: NDArray[np.int64]
    queries: NDArray[np.float32]
    query_labels: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """How many."""
        return len(np.unique(self.labels))


@dataclass(frozen=True)
class Outcome:
    """Of one learner on a stream of E experiences.

    Attributes:
        right: how many queries of an experience (column) were right after learning another (row) [E, E]; 0 above the diagonal.
        counts: of the queries of each [E].
        seconds: of processor time that learning a class took, in each experience [E].
        nbytes: that it kept at the end.
    """

    right: NDArray[np.int64]
    counts: NDArray[np.int64]
    seconds: tuple[float, ...]
    nbytes: int

    @property
    def stream_accuracy(self) -> NDArray[np.float64]:
        """On all classes so far, after each experience [E]."""
        accuracy: NDArray[np.float64] = self.right.sum(1) / self.counts.cumsum()
        return accuracy

    @property
    def forgetting(self) -> float:
        """The mean over the experiences but the last of how much of their accuracy went."""
        accuracy = self.right / self.counts
        return float((np.diag(accuracy) - accuracy[-1])[:-1].mean())

    @property
    def of_base_and_new(self) -> tuple[float, float]:
        """The accuracy at the end, on the classes of the first experience and on the others."""
        return self.right[-1, 0] / self.counts[0], self.right[-1, 1:].sum() / self.counts[1:].sum()


def run(learner: heads.Streaming, stream: Sequence[Experience]) -> Outcome:
    """Learn one experience after another, and be asked about all so far after each."""
    right, seconds = np.zeros((len(stream), len(stream)), np.int64), []
    for number, experience in enumerate(stream):
        began = time.process_time()
        learner.learn(experience.shots, experience.labels)
        seconds.append((time.process_time() - began) / experience.classes)
        for earlier, asked in enumerate(stream[: number + 1]):
            right[number, earlier] = (learner.predict(asked.queries) == asked.query_labels).sum()
    counts = np.array([len(experience.queries) for experience in stream])
    return Outcome(right, counts, tuple(seconds), learner.nbytes)


Files = tuple[Sequence[ImageFile], Sequence[ImageFile]]
"""Of a class: its shots and its queries."""


def embedded(graphs: Graphs, sessions: Sequence[Sequence[Files]]) -> list[Experience]:
    """What `embed` gives, each image alone; a shot as the model looks at shots."""
    total = sum(len(files) for session in sessions for of_class in session for files in of_class)
    with Progress("embedding", total, "images", show=True) as bar:

        def rows(files: Sequence[ImageFile], as_shots: bool) -> Iterator[NDArray[np.float32]]:
            for image in embedded_or_raise(graphs.embed_all(files, as_shots=as_shots)):
                bar.advance()
                yield image.features

        stream, first = [], 0
        for session in sessions:
            labels = np.arange(first, first + len(session))
            shots = np.stack([row for files, _ in session for row in rows(files, True)])
            queries = np.stack([row for _, files in session for row in rows(files, False)])
            of_shots, of_queries = (labels.repeat([len(of_class[k]) for of_class in session]) for k in (0, 1))
            stream.append(Experience(shots, of_shots, queries, of_queries))
            first += len(session)
    return stream


def mini_imagenet(folder: Path, lists: Path, base_shots: int) -> list[list[Files]]:
    """The sessions of TOPIC's lists."""
    files = {Path(file.name).name: file for of_class in open_folder(folder).classes.values() for file in of_class}
    with (lists / "test.csv").open(newline="") as opened:
        tested: dict[str, list[ImageFile]] = {}
        for row in csv.DictReader(opened):
            tested.setdefault(row["label"], []).append(files[row["filename"]])
    sessions: list[list[Files]] = []
    for number in range(1, SESSIONS + 1):
        shots: dict[str, list[ImageFile]] = {}
        for line in (lists / f"session_{number}.txt").read_text().split():
            *_, label, name = line.split("/")
            shots.setdefault(label, []).append(files[name])
        most = base_shots if number == 1 else SHOTS
        sessions.append([(of_class[:most], tested[label]) for label, of_class in sorted(shots.items())])
    return sessions


def omniglot(path: Path, base: Sequence[Path], classes: Sequence[Path], limit: int | None) -> list[list[Files]]:
    """The base characters, if any, and the test characters in random order, `limit` of them at most; 5 shots of each."""
    random = np.random.default_rng(SEED)

    def split(files: Sequence[ImageFile]) -> Files:
        order = [files[position] for position in random.permutation(len(files))]
        return order[:SHOTS], order[SHOTS:]

    new = list(open_classes(path, classes).classes.values())
    order = random.permutation(len(new))[:limit]
    in_sessions = np.array_split(order, SESSIONS if base else len(order) // OF_CHARACTERS)
    sessions = [[split(new[number]) for number in session] for session in in_sessions]
    known = [split(files) for files in open_classes(path, base).classes.values()] if base else []
    return [known, *sessions] if known else sessions


def compare(model: MetaModel, stream: Sequence[Experience], name: str) -> dict[str, Outcome]:
    """Print a table of all learners on a stream."""
    classes = sum(experience.classes for experience in stream)
    ours = heads.Ours(model) if classes <= RUNTIME_CLASSES else heads.OursBeyondTheLimit(model)
    learners: Mapping[str, heads.Streaming] = {
        "`add` in a loop" if isinstance(ours, heads.Ours) else "`adapt` to all so far": ours,
        "nearest class mean": heads.NearestClassMean(),
        "streaming LDA": heads.StreamingLDA(),
        "ridge on random features": heads.RandomFeatures(),
        "naive steps": heads.NaiveSteps(),
    }
    outcomes = {of: run(learner, stream) for of, learner in learners.items()}
    shots = ", ".join(str(len(experience.shots)) for experience in stream)
    print(f"\n{name}: {classes} classes in {len(stream)} experiences, of {shots} shots. Accuracy in percent.\n")
    if isinstance(ours, heads.Ours):
        print(f"Adding in a loop is adapting once, bit for bit: {ours.is_that_of_adapting_once()}.\n")
    header = [
        *("", "first", "last", "average", "base / new at the end", "forgetting"),
        *("time a new class", "kept"),
    ]
    print(table(header, [[of, *row(outcome)] for of, outcome in outcomes.items()]), flush=True)
    return outcomes


def row(outcome: Outcome) -> list[str]:
    """Of the table of `compare`."""
    accuracy, (base, new) = 100 * outcome.stream_accuracy, outcome.of_base_and_new
    return [
        *(f"{of:.1f}" for of in (accuracy[0], accuracy[-1], accuracy.mean())),
        f"{100 * base:.1f} / {100 * new:.1f}",
        f"{100 * outcome.forgetting:.1f}",
        f"{1000 * np.mean(outcome.seconds[1:]):.1f} ms",
        f"{outcome.nbytes / 1e6:.2f} MB",
    ]


def draw(streams: Mapping[str, tuple[Sequence[Experience], Mapping[str, Outcome]]], output: Path) -> None:
    """Stream accuracy by the number of classes so far, a panel a stream."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(streams), 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, (stream, outcomes)) in zip(
        figure.subplots(1, len(streams), squeeze=False)[0], streams.items(), strict=True
    ):
        classes = np.cumsum([experience.classes for experience in stream])
        for of, outcome in outcomes.items():
            axes.plot(classes, 100 * outcome.stream_accuracy, "o-", markersize=3, label=of.replace("`", ""))
        axes.set(title=name, xlabel="classes so far", ylabel="accuracy on all of them, percent")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(output)


def main() -> None:
    """Print a table a stream."""
    parser = argparse.ArgumentParser(description="Learn classes that come one after another.")
    parser.add_argument("--mini-imagenet", type=Path, metavar="FOLDER")
    parser.add_argument("--lists", type=Path, metavar="FOLDER", help="TOPIC's lists of sessions and test images.")
    parser.add_argument("--model", help="A bundle that was trained on the base classes of mini-ImageNet alone.")
    parser.add_argument("--base-shots", type=int, default=25, help="Of a base class of mini-ImageNet, of 500.")
    parser.add_argument("--omniglot", type=Path, metavar="OMNIGLOT.zip")
    parser.add_argument("--base", type=Path, nargs="*", default=[], metavar="FILE", help="The base characters.")
    parser.add_argument("--classes", type=Path, nargs="*", default=[], metavar="FILE", help="The characters to come.")
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    arguments = parser.parse_args()
    with_one_thread()
    print(machine("onnxruntime", "numpy"))
    planned: dict[str, tuple[str, Callable[[], list[list[Files]]]]] = {}
    if arguments.mini_imagenet:
        if not (arguments.lists and arguments.model):
            parser.error("--mini-imagenet needs --lists and --model.")
        planned["mini-ImageNet"] = (
            arguments.model,
            lambda: mini_imagenet(arguments.mini_imagenet, arguments.lists, arguments.base_shots),
        )
    if arguments.omniglot:
        source = arguments.omniglot, arguments.base, arguments.classes
        planned["Omniglot, within the runtime's limit"] = (
            "characters",
            lambda: omniglot(source[0], [], source[2], RUNTIME_CLASSES),
        )
        if arguments.base:
            planned["Omniglot, on the base characters"] = "characters", lambda: omniglot(*source, None)
    drawn = {}
    for name, (bundle, sessions) in planned.items():
        model = load_model(bundle, "cpu", threads=1)
        stream = embedded(model.graphs, sessions())
        drawn[name] = stream, compare(model, stream, name)
    if arguments.plot:
        draw(drawn, arguments.plot)


if __name__ == "__main__":
    main()
