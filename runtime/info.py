"""What a bundle is, checked."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from typing import Any

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.model import load
from edge_adapt.runtime.self_check import self_check


def info(model: str | os.PathLike[str]) -> dict[str, Any]:
    """What a bundle says of itself, after a check: every entry against its SHA-256, and the graphs against the numbers that they
    gave when they were exported. The graphs run in a child process, on the CPU: a file from anywhere may be looked at.

    Args:
        model: a path, or the name of a bundled model.

    Returns:
        what docs/bundle-format.md calls the fields of the manifest, and `file`, `kind` (`meta-model`, `classifier` or
        `regressor`), `size` and `entries` in bytes, `classifier` (labels, shots, steps, losses and the leave-one-out estimate;
        None for others), of a regressor `regressor` (values, shots, steps, losses and leave-one-out errors),
        `self_check`, the largest relative errors of the golden vectors, or None where there are none, and `confined`, what held
        in the child process, of `limits`, `landlock` and `seccomp`; a bundled model needs none.

    Raises:
        BundleError: the file is missing or damaged, is no bundle, or does not compute here what it should.
    """
    graphs = load(model, trust="unknown").graphs
    bundle = graphs.bundle
    bundle.verify()
    manifest = asdict(replace(bundle.manifest, golden=None))
    sizes = bundle.sizes
    facts: dict[str, Any] = {"file": str(bundle.path), "kind": _kind(bundle)}
    facts |= {key: value for key, value in manifest.items() if key not in ("golden", "graphs")}
    facts |= {"size": bundle.path.stat().st_size, "entries": sizes, "classifier": None}
    if facts["kind"] == "regressor":
        record, targets = bundle.record, bundle.adaptation().support_targets.tolist()
        facts["regressor"] = {
            "values": record.targets,
            "shots": [
                {"name": shot.name, "sha256": shot.sha256, "values": read}
                for shot, read in zip(record.shots, targets, strict=True)
            ],
            "steps": record.steps,
            "losses": record.losses,
            "errors": record.errors and asdict(record.errors),
        }
    elif bundle.is_adapted:
        record = bundle.record
        facts["classifier"] = {
            "labels": record.labels,
            "shots": [asdict(shot) for shot in record.shots],
            "steps": record.steps,
            "losses": record.losses,
            "leave_one_out": record.leave_one_out,
        }
    return facts | {"self_check": self_check(graphs) or None, "confined": graphs.confined}


def _kind(bundle: Bundle) -> str:
    if not bundle.is_adapted:
        return "meta-model"
    return "classifier" if bundle.manifest.task == "classification" else "regressor"
