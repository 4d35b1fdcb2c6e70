"""The folder that a meta-training run leaves behind.

RUN/run.json         the configuration, the data, how the meta-batch was computed, and what exports
RUN/checkpoint.pt    the last state and the best, optimizer state and progress, written whole or not at all
RUN/sample.npz       a few hundred images, on which the exporter compares the bundle with PyTorch
RUN/metrics.csv      one line a record: iteration, seconds, loss, accuracy, validation accuracy, and which is the best
RUN/curve.png        a picture of metrics.csv
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from edge_adapt.backbones import BACKBONES, Normalization
from edge_adapt.backbones.timm import PREFIX as TIMM
from edge_adapt.backbones.timm import TimmBackbone
from edge_adapt.gradient_head import Initialization
from edge_adapt.learner import Centring, Embedding, MetaLearner
from edge_adapt.methods import METHODS
from edge_adapt.methods.method import OPTIONS
from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import MAX_STEPS
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.images import Preprocessing
from edge_adapt.tuning import Tuning

CHECKPOINT_VERSION = 1

MAX_META_BATCH = 100_000
"""Episodes in an outer step at most: more is a slip of the finger, and the first step would not end."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of a meta-training run, besides its data.

    Attributes:
        method: a name of `edge_adapt.methods.METHODS`.
        head: initialization of the gradient head, `prototype` or `zero`.
        backbone: a name of `edge_adapt.backbones.BACKBONES`, `timm:NAME`, or "custom" for a module passed to `train`.
        pretrained: begin with timm's pretrained weights.
        image_size: height and width of the images, pixels.
        grayscale: one channel instead of three.
        rotations: make four classes of each by quarter turns.
        centred: take the mean of the training images' features from the features, and bring them to length 1.
        n_way, n_shot, n_query: of the training episodes; `n_query` images a class.
        steps: of the inner loop; None takes the method's own number, which is 0 for methods without steps.
        first_order: take the inner gradients of an inner loop on all layers as constants.
        per_step_rates: learn a rate for each tensor and step in `maml`, in place of one a tensor.
        multi_step_loss: in training, count the query loss after every step of an inner loop on all layers, and less and less so.
        recompute: compute the steps of an inner loop on all layers again in the backward pass, to save memory.
        meta_batch: episodes in an outer step.
        batch_size: images in a step of `classify`.
        crop_size: height and width, in pixels, of the crops that `classify` trains on with `augment`; None takes `image_size`.
            Crops show things larger than whole images do, and smaller pixels make up for that (Touvron et al., "Fixing the
            train-test resolution discrepancy", NeurIPS 2019, https://arxiv.org/abs/1906.06423) and take less time.
        learning_rate: at its peak; it falls to zero along a cosine.
        augment: change the training images a little; see `edge_adapt.augmentation.augment`.
        iterations: outer steps to take; or
        minutes: time to take them in.
        patience: validations without a better one after which training stops before its budget is spent; None never does.
        seed: of initialization and episodes, 0 to 2^32 - 1.

    Raises:
        EdgeAdaptError: a value that cannot be; names the field.
    """

    method: str = "anil"
    head: Initialization = "prototype"
    backbone: str = "conv4"
    pretrained: bool = False
    image_size: int = 28
    grayscale: bool = False
    rotations: bool = False
    centred: bool = False
    n_way: int = 20
    n_shot: int = 1
    n_query: int = 5
    steps: int | None = None
    first_order: bool = False
    per_step_rates: bool = False
    multi_step_loss: bool = False
    recompute: bool = False
    meta_batch: int = 8
    batch_size: int = 128
    crop_size: int | None = None
    learning_rate: float = 0.002
    augment: bool = False
    iterations: int | None = None
    minutes: float | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("head", get_args(Initialization))):
            if getattr(self, name) not in known:
                raise EdgeAdaptError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}.")
        self._require_what_the_method_has()
        if self.pretrained and not self.backbone.startswith(TIMM):
            raise EdgeAdaptError(
                f"pretrained weights are timm's, and the backbone is {self.backbone}; choose one such as {TIMM}resnet18."
            )
        least = {"image_size": 1, "n_way": 2, "n_shot": 1, "n_query": 1, "steps": 0, "meta_batch": 1, "iterations": 1}
        for name, smallest in (least | {"batch_size": 2, "crop_size": 1, "patience": 1, "seed": 0}).items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise EdgeAdaptError(f"{name} is {value}; take {smallest} or more.")
        for name in ("learning_rate", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise EdgeAdaptError(f"{name} is {value}; take a number above 0.")
        for name, largest in (("steps", MAX_STEPS), ("meta_batch", MAX_META_BATCH), ("seed", 2**32 - 1)):
            if (getattr(self, name) or 0) > largest:
                raise EdgeAdaptError(f"{name} is {getattr(self, name)}; take {largest} or less.")

    def _require_what_the_method_has(self) -> None:
        method = METHODS[self.method]
        for option in sorted(OPTIONS - method.options):
            if getattr(self, option) != getattr(type(self), option):
                raise EdgeAdaptError(f"{option} is not for the method {self.method}; leave it out.")
        if self.patience is not None and not method.keeps_best:
            raise EdgeAdaptError(
                f"patience is not for the method {self.method}, which exports as it is at its end; leave it out."
            )
        if method.inner_loop and not self.inner_steps:
            raise EdgeAdaptError(f"steps is 0, and {self.method} is its steps; take 1 or more.")

    @property
    def inner_steps(self) -> int:
        """How many steps the inner loop takes."""
        return METHODS[self.method].default_steps if self.steps is None else self.steps

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the pixels of this model."""
        return Preprocessing(self.image_size, self.image_size, 1 if self.grayscale else 3)


@dataclass(frozen=True)
class Record:
    """One line of metrics.csv; `validation` is empty where none was measured."""

    iteration: int
    seconds: float
    loss: float
    accuracy: float
    validation: float | None


@dataclass(frozen=True)
class Snapshot:
    """A learner after some outer step.

    Attributes:
        iteration: outer steps done.
        validation: its accuracy on the validation classes, a fraction; None where none was measured.
        learner: state dict of the `MetaLearner`.
    """

    iteration: int
    validation: float | None
    learner: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a run.

    Attributes:
        config: the configuration.
        trained_on: what it is trained on, in words, for the bundle.
        tuning: how the meta-batch is computed; chosen once, then kept.
        iteration: outer steps done.
        seconds: spent on them, over all its stretches.
        learner: state dict of the `MetaLearner`.
        optimizer: state dict of Adam.
        records: metrics.csv up to here.
        window: loss and accuracy of the outer steps since the last record, for the next.
        objective: state dict of what is trained beside the learner, such as the classifier of `classify`.
        best: the learner where the validation accuracy was best; None without validation, or for a method that does not keep it.
        validated_on: what the validation accuracies are of, in words.
    """

    config: TrainingConfig
    trained_on: str
    tuning: Tuning
    iteration: int
    seconds: float
    learner: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    records: Sequence[Record]
    window: Sequence[tuple[float, float]] = ()
    objective: Mapping[str, Any] = field(default_factory=dict)
    best: Snapshot | None = None
    validated_on: str = ""

    @property
    def exported(self) -> Snapshot:
        """What is evaluated, exported and trained on from: the best, where one is kept, or the last state."""
        if self.best:
            return self.best
        at_end = self.records and self.records[-1].iteration == self.iteration
        return Snapshot(self.iteration, self.records[-1].validation if at_end else None, self.learner)


def build_learner(
    config: TrainingConfig, mean: torch.Tensor, std: torch.Tensor, backbone: nn.Module | None = None
) -> MetaLearner:
    """The untrained model of a configuration; `backbone` is needed where the configuration says "custom"."""
    method = METHODS[config.method]
    if backbone is None:
        backbone = _backbone_by_name(config, "group" if method.inner_loop else "batch")
    if method.inner_loop and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()):
        raise EdgeAdaptError(
            f"{config.method} adapts all layers, and under that the running statistics of BatchNorm fall to chance; "
            "use a backbone with GroupNorm, or the method anil."
        )
    if method.inner_loop and config.centred:
        raise EdgeAdaptError(
            f"{config.method} adapts all layers and takes the features as they are; leave out centred."
        )
    size = feature_size(backbone, config.preprocessing)
    centring = Centring(size) if config.centred else None
    if getattr(backbone, "pixel_mean", None) is not None:  # pretrained weights know pixels normalized in one way
        mean, std = torch.tensor(backbone.pixel_mean), torch.tensor(backbone.pixel_std)
    inner_loop = method.inner_loop(config, backbone) if method.inner_loop else None
    return MetaLearner(Embedding(backbone, mean, std, centring), method.head(config, size), inner_loop)


def _backbone_by_name(config: TrainingConfig, normalization: Normalization) -> nn.Module:
    channels = config.preprocessing.channels
    if config.backbone.startswith(TIMM):
        return TimmBackbone(config.backbone.removeprefix(TIMM), channels, config.pretrained)
    if config.backbone not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise EdgeAdaptError(
            f"{config.backbone!r} is not a backbone known by name ({known}, {TIMM}NAME); pass the module itself as backbone."
        )
    return BACKBONES[config.backbone](channels, normalization)


@torch.no_grad()
def feature_size(backbone: nn.Module, preprocessing: Preprocessing) -> int:
    """D: tries the backbone on two blank images, and leaves it in training mode.

    Raises:
        EdgeAdaptError: it fails on images of this size, or does not give one vector an image.
    """
    size = (preprocessing.height, preprocessing.width, preprocessing.channels)
    name = type(backbone).__name__
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    try:
        features = backbone.eval()(torch.zeros(2, size[2], *size[:2], device=device))
    except Exception as error:  # whatever a module raises
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise EdgeAdaptError(
            f"the backbone {name} fails on images of {size} (H, W, C) ({reason}); choose another image size."
        ) from error
    backbone.train()
    if features.dim() != 2 or len(features) != 2:
        raise EdgeAdaptError(
            f"the backbone {name} gives {list(features.shape)} for 2 images where [2, D] is needed; "
            "let it end in one vector an image."
        )
    return int(features.shape[1])


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Write checkpoint.pt, run.json, metrics.csv and curve.png, each atomically, the checkpoint first."""
    fields = {entry.name: getattr(checkpoint, entry.name) for entry in dataclasses.fields(checkpoint)}
    config, tuning = dataclasses.asdict(checkpoint.config), dataclasses.asdict(checkpoint.tuning)
    parts = {
        "version": CHECKPOINT_VERSION,
        "config": config,
        "tuning": tuning,
        "records": [dataclasses.astuple(record) for record in checkpoint.records],
        "best": vars(checkpoint.best) if checkpoint.best else None,
    }
    payload = {**fields, **parts}
    write_atomically(run / "checkpoint.pt", lambda stream: torch.save(payload, stream))
    exported = {"iteration": checkpoint.exported.iteration, "validation": checkpoint.exported.validation}
    described = {
        "trained_on": checkpoint.trained_on,
        "validated_on": checkpoint.validated_on,
        "exported": exported,
        "config": config,
        "tuning": tuning,
        "torch": torch.__version__,
    }
    write_atomically(run / "run.json", lambda stream: stream.write((json.dumps(described, indent=2) + "\n").encode()))
    write_atomically(run / "metrics.csv", lambda stream: stream.write(_csv(checkpoint)))
    write_atomically(run / "curve.png", lambda stream: stream.write(_curve(checkpoint)))


def stages_of(run: str | os.PathLike[str]) -> list[Path]:
    """The folders of the stages that have begun, in a run of several (see `edge_adapt.recipes`); `run` itself in others."""
    return sorted(path.parent for path in Path(run).glob("[0-9]-*/checkpoint.pt")) or [Path(run)]


def last_stage(run: str | os.PathLike[str]) -> Path:
    """The last of `stages_of`, which is what exports."""
    return stages_of(run)[-1]


def load_checkpoint(run: str | os.PathLike[str]) -> Checkpoint:
    """Read checkpoint.pt of a run.

    Raises:
        EdgeAdaptError: no checkpoint, damaged, or of another version.
    """
    path = last_stage(run) / "checkpoint.pt"
    if not path.is_file():
        raise EdgeAdaptError(f"{run}: there is no checkpoint.pt; give the folder that `edge-adapt train -o` wrote.")
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen unrelated types for a damaged file
        raise EdgeAdaptError(
            f"{path}: the checkpoint is damaged and cannot be read ({type(error).__name__}); train again."
        ) from error
    version = payload.pop("version", None) if isinstance(payload, dict) else None
    if version != CHECKPOINT_VERSION:
        raise EdgeAdaptError(
            f"{path}: the checkpoint has version {version}; this edge-adapt reads version {CHECKPOINT_VERSION}."
        )
    try:
        payload["config"] = TrainingConfig(**payload["config"])
        payload["tuning"] = Tuning(**payload["tuning"])
        payload["records"] = [Record(*values) for values in payload["records"]]
        payload["best"] = Snapshot(**payload["best"]) if payload.get("best") else None
        return Checkpoint(**payload)
    except (KeyError, TypeError, EdgeAdaptError) as error:
        raise EdgeAdaptError(
            f"{path}: the checkpoint is of another edge-adapt, or lacks a part ({str(error).rstrip('.')}); "
            "use the edge-adapt that wrote it, or train again."
        ) from error


def load_learner(run: str | os.PathLike[str], backbone: nn.Module | None = None) -> tuple[MetaLearner, Checkpoint]:
    """What a run exports, `Checkpoint.exported`, in evaluation mode, and its checkpoint.

    Args:
        run: the folder.
        backbone: an instance of the module that was trained, if it was one of the user's own.
    """
    checkpoint = load_checkpoint(run)
    state = checkpoint.exported.learner
    config = dataclasses.replace(checkpoint.config, pretrained=False)  # no need to fetch what the checkpoint holds
    learner = build_learner(config, state["embedding.mean"], state["embedding.std"], backbone)
    try:
        learner.load_state_dict(dict(state))
    except RuntimeError as error:
        raise misfit(run, checkpoint.config, backbone) from error
    return learner.eval(), checkpoint


def misfit(run: str | os.PathLike[str], config: TrainingConfig, backbone: nn.Module | None) -> EdgeAdaptError:
    """What to raise where a run's weights do not fit the backbone given, or the one that its configuration names."""
    if backbone is None:
        return EdgeAdaptError(
            f"{run}: the weights in the checkpoint are not those that {config.method} with {config.backbone} has in this "
            "edge-adapt; use the edge-adapt that wrote it, or train again."
        )
    return EdgeAdaptError(
        f"{run}: the checkpoint does not fit the backbone; pass an instance of the module that was trained."
    )


SAMPLE_CLASSES, SAMPLE_IMAGES = 20, 20


def sample_of(data: ImageDataset) -> ImageDataset:
    """Up to 20 images of up to 20 classes, spread over the data set."""
    chosen = range(0, len(data.class_names), max(1, len(data.class_names) // SAMPLE_CLASSES))[:SAMPLE_CLASSES]
    members = [data.images[data.starts[c] : data.starts[c + 1]][:SAMPLE_IMAGES] for c in chosen]
    starts = np.cumsum([0, *map(len, members)], dtype=np.int64)
    return ImageDataset(data.source, np.concatenate(members), tuple(data.class_names[c] for c in chosen), starts)


def save_sample(run: Path, data: ImageDataset) -> None:
    """Keep `sample_of` the data set."""
    sample = sample_of(data)
    write_atomically(
        run / "sample.npz",
        lambda stream: np.savez_compressed(
            stream, images=sample.images, starts=sample.starts, class_names=np.array(sample.class_names)
        ),
    )


def load_sample(run: str | os.PathLike[str]) -> ImageDataset:
    """The images that `save_sample` kept.

    Raises:
        EdgeAdaptError: the file is missing or damaged.
    """
    path = last_stage(run) / "sample.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = tuple(str(name) for name in arrays["class_names"])
            return ImageDataset(str(path), arrays["images"], names, arrays["starts"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EdgeAdaptError(f"{path} is missing or damaged ({error}); train again.") from error


def _csv(checkpoint: Checkpoint) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(entry.name for entry in dataclasses.fields(Record)), "best"])
    for record in checkpoint.records:
        validation = "" if record.validation is None else f"{record.validation:.4f}"
        best = "1" if checkpoint.best and record.iteration == checkpoint.best.iteration else ""
        writer.writerow(
            [
                record.iteration,
                f"{record.seconds:.1f}",
                f"{record.loss:.5f}",
                f"{record.accuracy:.4f}",
                validation,
                best,
            ]
        )
    return text.getvalue().encode()


def _curve(checkpoint: Checkpoint) -> bytes:
    """A PNG: training loss on the left axis, training and validation accuracy and what exports on the right one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    records, exported = checkpoint.records, checkpoint.exported
    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
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
    loss_axis.set(xlabel="outer step", ylabel="loss (nats)")
    accuracy_axis.set_ylabel("accuracy (%)")
    loss_axis.grid(alpha=0.3)
    lines = [*loss_axis.get_lines(), *accuracy_axis.get_lines()]
    loss_axis.legend(lines, [str(line.get_label()) for line in lines], loc="center right")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


Device = Literal["auto", "cpu", "cuda"]


def choose_device(device: Device) -> torch.device:
    """The training device; `auto` takes CUDA where it works.

    Raises:
        EdgeAdaptError: `cuda` was asked for and PyTorch has none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        why = (
            "this PyTorch is a CPU build"
            if torch.version.cuda is None
            else "PyTorch finds no working NVIDIA driver and GPU"
        )
        raise EdgeAdaptError(f"CUDA does not come up: {why}; take cpu, or install a CUDA build of PyTorch.")
    return torch.device("cuda" if available and device != "cpu" else "cpu")
