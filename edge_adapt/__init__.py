"""Few-shot adaptation on the device: teach a small image model new classes from a few photos.

    import edge_adapt

    model = edge_adapt.load("characters")
    mine = model.adapt({"cat": ["a.jpg", "b.jpg"], "dog": ["c.jpg"]})
    print(mine.classify("new.jpg").label)
    mine.save("mine.edge")

What runs on a device is in `edge_adapt.runtime`; meta-training and export need the extra `[train]`. Names are imported when they
are first used, so that a device never imports PyTorch and `--help` imports next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edge_adapt.runtime import __version__

if TYPE_CHECKING:
    from edge_adapt.bundles.from_extractor import ExtractorSettings, HeadSettings, wrap
    from edge_adapt.bundles.from_run import export_bundle
    from edge_adapt.bundles.provenance import Provenance
    from edge_adapt.evaluation import evaluate
    from edge_adapt.export.baked import bake
    from edge_adapt.export.gates.precision import Precision
    from edge_adapt.methods.feature_teacher import FeatureTeacher
    from edge_adapt.reports.classifier.report import ClassifierReport, report_classifier
    from edge_adapt.reports.model.report import Report, report
    from edge_adapt.reports.runs import compare
    from edge_adapt.runtime.adaptation import adapt, regress
    from edge_adapt.runtime.bench import Benchmark, Latency, bench
    from edge_adapt.runtime.bundle.card import ModelCard
    from edge_adapt.runtime.checking import check
    from edge_adapt.runtime.classifier.check import Finding
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.classifier.prediction import Prediction
    from edge_adapt.runtime.classifier.support import SupportSet
    from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
    from edge_adapt.runtime.data.episodes import EvaluationProtocol, Sampling
    from edge_adapt.runtime.data.source import DataSource
    from edge_adapt.runtime.doctor import DeviceCheck, Diagnosis, doctor
    from edge_adapt.runtime.editing import edit
    from edge_adapt.runtime.errors import (
        BundleError,
        ConfinementWarning,
        DataError,
        EdgeAdaptError,
        ImageError,
        MissingDependencyError,
        ProviderError,
    )
    from edge_adapt.runtime.evaluation import Evaluation
    from edge_adapt.runtime.folder_evaluation import ClassifierEvaluation, evaluate_classifier
    from edge_adapt.runtime.images.preprocessing import Preprocessing
    from edge_adapt.runtime.info import info
    from edge_adapt.runtime.model import MetaModel, load, load_classifier, load_model, models
    from edge_adapt.runtime.model_choice import suggest_model
    from edge_adapt.runtime.packing import pack, unpack
    from edge_adapt.runtime.pulling import pull
    from edge_adapt.runtime.regressor.regressor import Measurement, Regressor
    from edge_adapt.runtime.value_evaluation import RegressorEvaluation, evaluate_regressor
    from edge_adapt.training.compute import Compute
    from edge_adapt.training.config import TrainingConfig
    from edge_adapt.training.recipes import ChosenRecipe
    from edge_adapt.training.start import Reading, Start
    from edge_adapt.training.train import resume, train

__all__ = [
    "Benchmark",
    "BundleError",
    "ChosenRecipe",
    "Classifier",
    "ClassifierEvaluation",
    "ClassifierReport",
    "Compute",
    "ConfinementWarning",
    "DataError",
    "DataSource",
    "DeviceCheck",
    "Diagnosis",
    "EdgeAdaptError",
    "Evaluation",
    "EvaluationProtocol",
    "ExtractorSettings",
    "FeatureTeacher",
    "Finding",
    "HeadSettings",
    "ImageDataset",
    "ImageError",
    "Latency",
    "Measurement",
    "MetaModel",
    "MissingDependencyError",
    "ModelCard",
    "Precision",
    "Prediction",
    "Preprocessing",
    "Provenance",
    "ProviderError",
    "Reading",
    "Regressor",
    "RegressorEvaluation",
    "Report",
    "Sampling",
    "Start",
    "SupportSet",
    "TrainingConfig",
    "__version__",
    "adapt",
    "bake",
    "bench",
    "check",
    "compare",
    "doctor",
    "edit",
    "evaluate",
    "evaluate_classifier",
    "evaluate_regressor",
    "export_bundle",
    "info",
    "load",
    "load_classifier",
    "load_dataset",
    "load_model",
    "models",
    "pack",
    "pull",
    "regress",
    "report",
    "report_classifier",
    "resume",
    "suggest_model",
    "train",
    "unpack",
    "wrap",
]

_HOME = {
    "Benchmark": "runtime.bench",
    "BundleError": "runtime.errors",
    "ChosenRecipe": "training.recipes",
    "Classifier": "runtime.classifier.classifier",
    "ClassifierEvaluation": "runtime.folder_evaluation",
    "ClassifierReport": "reports.classifier.report",
    "Compute": "training.compute",
    "DataError": "runtime.errors",
    "DataSource": "runtime.data.source",
    "DeviceCheck": "runtime.doctor",
    "Diagnosis": "runtime.doctor",
    "EdgeAdaptError": "runtime.errors",
    "Evaluation": "runtime.evaluation",
    "EvaluationProtocol": "runtime.data.episodes",
    "ExtractorSettings": "bundles.from_extractor",
    "FeatureTeacher": "methods.feature_teacher",
    "Finding": "runtime.classifier.check",
    "HeadSettings": "bundles.from_extractor",
    "ImageDataset": "runtime.data.dataset",
    "ImageError": "runtime.errors",
    "Latency": "runtime.bench",
    "Measurement": "runtime.regressor.regressor",
    "MetaModel": "runtime.model",
    "MissingDependencyError": "runtime.errors",
    "ModelCard": "runtime.bundle.card",
    "Precision": "export.gates.precision",
    "Prediction": "runtime.classifier.prediction",
    "Preprocessing": "runtime.images.preprocessing",
    "Provenance": "bundles.provenance",
    "ProviderError": "runtime.errors",
    "ConfinementWarning": "runtime.errors",
    "Reading": "training.start",
    "Regressor": "runtime.regressor.regressor",
    "RegressorEvaluation": "runtime.value_evaluation",
    "Report": "reports.model.report",
    "Sampling": "runtime.data.episodes",
    "Start": "training.start",
    "SupportSet": "runtime.classifier.support",
    "TrainingConfig": "training.config",
    "adapt": "runtime.adaptation",
    "bake": "export.baked",
    "bench": "runtime.bench",
    "check": "runtime.checking",
    "pack": "runtime.packing",
    "pull": "runtime.pulling",
    "unpack": "runtime.packing",
    "compare": "reports.runs",
    "doctor": "runtime.doctor",
    "edit": "runtime.editing",
    "evaluate": "evaluation",
    "evaluate_classifier": "runtime.folder_evaluation",
    "evaluate_regressor": "runtime.value_evaluation",
    "export_bundle": "bundles.from_run",
    "info": "runtime.info",
    "load": "runtime.model",
    "load_classifier": "runtime.model",
    "load_dataset": "runtime.data.dataset",
    "load_model": "runtime.model",
    "models": "runtime.model",
    "regress": "runtime.adaptation",
    "report": "reports.model.report",
    "report_classifier": "reports.classifier.report",
    "resume": "training.train",
    "suggest_model": "runtime.model_choice",
    "train": "training.train",
    "wrap": "bundles.from_extractor",
}

_TRAINING = ("bundles.", "export.", "methods.", "training.")


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'edge_adapt' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"edge_adapt.{home}"), name)
    except ModuleNotFoundError as error:
        from edge_adapt.extras import TRAINING_PACKAGES, missing

        if home.startswith(_TRAINING) and error.name in TRAINING_PACKAGES:
            raise missing(name, error.name, "bake" if name == "bake" else "train") from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
