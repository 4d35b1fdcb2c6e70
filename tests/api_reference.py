"""Writes docs/api.md from the docstrings of the public names.

python -m tests.api_reference
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import edge_adapt

DOCUMENT = Path(__file__).parents[1] / "docs" / "api.md"

GROUPS = {
    "On a device": (
        *("adapt", "load", "load_model", "load_classifier", "MetaModel", "Classifier", "Prediction", "SupportSet"),
        *("regress", "Regressor", "Measurement"),
        *(
            "edit",
            "check",
            "Finding",
            "pack",
            "unpack",
            "pull",
            "bake",
            "info",
            "models",
            "suggest_model",
            "evaluate_classifier",
            "ClassifierEvaluation",
            "evaluate_regressor",
            "RegressorEvaluation",
        ),
        *("bench", "Benchmark", "Latency", "doctor", "Diagnosis", "DeviceCheck"),
    ),
    "Data": ("load_dataset", "ImageDataset", "DataSource", "Preprocessing"),
    "On a workstation": (
        "train",
        "resume",
        "TrainingConfig",
        "ChosenRecipe",
        "Start",
        "Compute",
        "Reading",
        "FeatureTeacher",
    ),
    "Measuring": (
        "evaluate",
        "Evaluation",
        "EvaluationProtocol",
        "Sampling",
        "report",
        "Report",
        "report_classifier",
        "ClassifierReport",
        "compare",
    ),
    "Bundles": ("export_bundle", "wrap", "ModelCard", "Precision", "Provenance", "ExtractorSettings", "HeadSettings"),
    "Errors": (
        *("EdgeAdaptError", "ImageError", "DataError", "BundleError", "ProviderError", "MissingDependencyError"),
        "ConfinementWarning",
    ),
}
"""Every public name; tests/test_api.py compares with `edge_adapt.__all__`."""

META = ("Learner", "Adaptation", "meta_train", "OuterLoop", "Tasks", "TaskDistribution")
"""Every name of `edge_adapt.meta`."""

COMMANDS = {
    "adapt": "adapt",
    "check": "check",
    "classify": "Classifier.classify",
    "info": "info",
    "models": "models",
    "add": "Classifier.add",
    "remove": "Classifier.remove",
    "rename": "Classifier.rename",
    "merge": "Classifier.merge",
    "correct": "Classifier.correct",
    "undo": "Classifier.undo",
    "redo": "Classifier.redo",
    "log": "Classifier.history",
    "strip": "Classifier.strip",
    "pack": "pack",
    "unpack": "unpack",
    "pull": "pull",
    "bake": "bake",
    "bench": "bench",
    "doctor": "doctor",
    "train": "train",
    "compare": "compare",
    "evaluate": "evaluate",
    "report": "report",
    "export": "export_bundle",
    "wrap": "wrap",
}
"""What a command is in Python; `demo` is for looking at, `serve` for programs in any language, and `web` for browsers."""

HEAD = """# Python

`import edge_adapt` imports next to nothing; each name is imported when it is first used, and those of the workstation need the
extra `[train]`. What a command does, a function or method does:

"""


def reference() -> str:
    """Every public name in Markdown."""
    from edge_adapt import meta

    rows = "\n".join(f"| `edge-adapt {command}` | `{name}` |" for command, name in COMMANDS.items())
    sections = [
        f"## {title}\n\n" + "\n".join(_section(name, getattr(edge_adapt, name)) for name in names)
        for title, names in GROUPS.items()
    ]
    sections.append("## `edge_adapt.meta`\n\n" + "\n".join(_section(name, getattr(meta, name)) for name in META))
    return f"{HEAD}| command | Python |\n|---|---|\n{rows}\n\n" + "\n".join(sections)


def _section(name: str, value: Any) -> str:
    signature = "" if inspect.isclass(value) and issubclass(value, Exception) else _signature(value)
    parts = [f"### `{name}`", f"    {name}{signature}" if signature else "", _text(value)]
    if inspect.isclass(value) and not issubclass(value, Exception):
        parts += [_member(name, key, getattr(value, key)) for key in _members(value)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _members(of: type) -> list[str]:
    """Public methods and properties of a class of ours that have something to say."""
    fields = {field.name for field in dataclasses.fields(of)} if dataclasses.is_dataclass(of) else set()
    return [
        key
        for key, value in vars(of).items()
        if not key.startswith("_") and key not in fields and inspect.getdoc(_plain(value))
    ]


def _plain(value: Any) -> Any:
    return getattr(value, "func", None) or getattr(value, "fget", None) or getattr(value, "__func__", value)


def _member(owner: str, key: str, value: Any) -> str:
    signature = _signature(value) if callable(value) else ""
    return f"#### `{owner}.{key}`\n\n" + (f"    {key}{signature}\n\n" if signature else "") + _text(_plain(value))


def _signature(value: Any) -> str:
    signature = re.sub(r"<function .*? at 0x\w+>", "...", str(inspect.signature(value)))
    signature = signature.replace("'", "").replace("(self, ", "(").replace("(self)", "()")
    if len(signature) < 100:
        return signature
    arguments, _, returned = signature[1:].rpartition(")")
    return "(\n        " + ",\n        ".join(_split(arguments)) + f",\n    ){returned}"


def _split(arguments: str) -> list[str]:
    """Arguments between the commas that are in no brackets."""
    found, depth = [""], 0
    for character in arguments:
        depth += (character in "[(") - (character in "])")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [argument.strip() for argument in found]


def _text(value: Any) -> str:
    """A docstring, its sections of arguments as lists."""
    lines, inside = [], False
    for line in (inspect.getdoc(value) or "").splitlines():
        if line in ("Args:", "Raises:", "Returns:", "Attributes:"):
            lines += [f"*{line}*", ""]
            inside = True
        elif inside and line.startswith("    ") and not line.startswith("     "):
            lines.append(f"- {line.strip()}")
        elif inside and line.strip():
            lines.append(f"  {line.strip()}" if line.startswith("     ") else line)
        else:
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    DOCUMENT.write_text(reference(), encoding="utf-8")
