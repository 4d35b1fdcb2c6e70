"""Bundles: what is written is what is read, byte for byte."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from edge_adapt.runtime.bundle.bundle import (
    GRAPHS,
    Adaptation,
    Bundle,
    Golden,
    Manifest,
    Shot,
    write_bundle,
)
from edge_adapt.runtime.bundle.container import write_container
from edge_adapt.runtime.bundle.npy import array_from_npy, array_to_npy
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests import bundle_samples as samples
from tests.bundle_samples import same


@pytest.mark.parametrize(
    ("manifest", "adaptation"),
    [
        (samples.manifest(), None),
        (samples.manifest(), samples.adaptation()),
        (samples.manifest(golden=None, max_ways=None, max_support=3, accuracy=(), trained_on=""), samples.adaptation()),
        (samples.manifest(default_steps=0), samples.adaptation(steps=7, losses=(), leave_one_out=None)),
        (samples.regression_manifest(), None),
        (samples.regression_manifest(), samples.regression_adaptation()),
        (samples.manifest(precision="fp16"), samples.adaptation()),
        (samples.manifest(precision="int8"), None),
        (samples.manifest(preprocessing=Preprocessing(4, 6, 1, part=0.875, ground="light")), samples.adaptation()),
    ],
)
def test_a_bundle_reads_as_it_was_written(tmp_path: Path, manifest: Manifest, adaptation: Adaptation | None) -> None:
    path = tmp_path / "a.edge"
    write_bundle(path, manifest, samples.GRAPHS, adaptation)
    bundle = Bundle.open(path)
    bundle.verify()
    sums = {name: hashlib.sha256(samples.GRAPHS[name]).hexdigest() for name in GRAPHS}
    assert same(bundle.manifest, dataclasses.replace(manifest, graphs=sums))
    assert {name: bundle.graph(name) for name in GRAPHS} == samples.GRAPHS
    assert bundle.is_adapted == (adaptation is not None)
    if adaptation is not None:
        assert same(bundle.adaptation(), adaptation)
        assert bundle.labels() == adaptation.labels
        assert same(bundle.head_state(), dict(adaptation.head_state))


@given(st.dictionaries(st.text("az./", max_size=20).map("{}z".format), st.binary(max_size=50), max_size=5))
@settings(max_examples=25, deadline=None)
def test_the_container_is_what_zipfile_writes(entries: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    write_container(stream, entries.items())
    assert stream.getvalue() == samples.zip_bytes(entries)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order of dictionaries, the memory layout and byte order of arrays, and the name of the file."""
    write_bundle(tmp_path / "a.edge", samples.manifest(), samples.GRAPHS, samples.adaptation())
    adaptation = samples.adaptation()
    other = dataclasses.replace(
        adaptation,
        head_state={
            "count": adaptation.head_state["count"].astype(">i8"),
            "weight": np.asfortranarray(adaptation.head_state["weight"]),
        },
        support_features=np.repeat(adaptation.support_features, 2, axis=1)[:, ::2].astype(">f4"),
    )
    manifest = samples.manifest(graphs={"embed.onnx": "stale"})
    write_bundle(str(tmp_path / "b.edge"), manifest, dict(reversed(samples.GRAPHS.items())), other)
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()


ARRAYS = st.one_of(
    st_numpy.arrays(
        np.float32,
        st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    ),
    st_numpy.arrays(np.int64, st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
)


@given(ARRAYS)
@settings(max_examples=100, deadline=None)
def test_arrays_read_as_written_and_as_numpy_reads_them(array: np.ndarray[Any, np.dtype[Any]]) -> None:
    data = array_to_npy(array, "it")
    assert same(array_from_npy(data, "it"), array)
    assert same(np.load(io.BytesIO(data), allow_pickle=False), array)
    by_numpy = io.BytesIO()
    np.lib.format.write_array(by_numpy, np.ascontiguousarray(array).reshape(array.shape), version=(1, 0))
    assert same(array_from_npy(by_numpy.getvalue(), "it"), array)


LINES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20)


@given(labels=st.lists(LINES, min_size=1, max_size=8, unique=True), data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_labels_names_and_head_arrays_survive(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], data: st.DataObject
) -> None:
    extra = data.draw(st.lists(st.integers(0, len(labels) - 1), max_size=5))
    indices = [*range(len(labels)), *extra]
    adaptation = Adaptation(
        labels=tuple(labels),
        shots=tuple(Shot(index, data.draw(LINES), "0" * 64) for index in indices),
        steps=0,
        losses=(),
        leave_one_out=None,
        head_state={"weight": data.draw(ARRAYS), "count": data.draw(ARRAYS)},
        support_features=np.zeros((len(indices), 3), np.float32),
        support_targets=np.array(indices, np.int64),
    )
    path = tmp_path_factory.mktemp("any") / "a.edge"
    write_bundle(path, samples.manifest(max_ways=None), samples.GRAPHS, adaptation)
    assert same(Bundle.open(path).adaptation(), adaptation)


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """With everything else destroyed, labels and head state still come: `classify` never reads the support set."""
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation())
    raw = path.read_bytes()
    entries = samples.read_zip(path)
    for name in ("embed.onnx", "adapt.onnx", "support/features.npy", "support/targets.npy"):
        assert raw.count(entries[name]) == 1
        raw = raw.replace(entries[name], bytes(len(entries[name])))
    path.write_bytes(raw)
    bundle = Bundle.open(path)
    assert bundle.labels() == ("кот", "dog")
    assert same(bundle.head_state(), dict(samples.adaptation().head_state))
    assert bundle.graph("predict.onnx") == samples.GRAPHS["predict.onnx"]
    with pytest.raises(BundleError, match=r"embed\.onnx does not match its SHA-256"):
        bundle.graph("embed.onnx")
    with pytest.raises(BundleError, match=r"support/features\.npy does not match its SHA-256"):
        bundle.adaptation()


def test_an_open_bundle_does_not_hold_its_file_and_notices_another(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation())
    bundle = Bundle.open(path)
    write_bundle(path, bundle.manifest, samples.GRAPHS, samples.adaptation(labels=("one", "two")))
    with pytest.raises(BundleError, match=r"classifier\.json is damaged"):
        bundle.labels()
    assert Bundle.open(path).labels() == ("one", "two")


def test_a_meta_model_is_not_a_classifier(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS)
    bundle = Bundle.open(path)
    for read in (bundle.labels, bundle.head_state, bundle.adaptation):
        with pytest.raises(BundleError, match="is a meta-model that knows no classes yet; adapt it first"):
            read()


def test_golden_images_are_blown_up_by_nearest_repetition() -> None:
    pixels = np.arange(2 * 3 * 3 * 1, dtype=np.uint8).reshape(2, 3, 3, 1)
    nothing = np.zeros((2, 0), np.float32)
    images = Golden(pixels, np.arange(2), nothing, nothing, 0.1).images(Preprocessing(7, 5, 1))
    assert images.shape == (2, 7, 5, 1)
    assert images.flags.c_contiguous
    for image, y, x in np.ndindex(2, 7, 5):
        assert images[image, y, x] == pixels[image, y * 3 // 7, x * 3 // 5]


@pytest.mark.parametrize(
    ("manifest", "graphs", "adaptation", "fault"),
    [
        (samples.manifest(), {"embed.onnx": samples.GRAPHS["embed.onnx"]}, None, "it takes the graphs"),
        (samples.manifest(), samples.GRAPHS | {"adapt.onnx": b"\xff"}, None, "adapt.onnx is malformed"),
        (samples.manifest(task="ranking"), samples.GRAPHS, None, '"task"'),
        (samples.manifest(name="two\nlines"), samples.GRAPHS, None, '"name"'),
        (samples.manifest(license="half \ud800"), samples.GRAPHS, None, '"license"'),
        (samples.manifest(head_state=("a", "a")), samples.GRAPHS, None, "twice"),
        (samples.manifest(head_state=("../a",)), samples.GRAPHS, None, "cannot name a tensor"),
        (samples.manifest(head_state=("features",)), samples.GRAPHS, None, "cannot name a tensor"),
        (samples.manifest(max_ways=1), samples.GRAPHS, samples.adaptation(), "at most 1"),
        (samples.manifest(max_support=2), samples.GRAPHS, samples.adaptation(), "at most 2"),
        (samples.manifest(trained_on="x" * 5_000_000), samples.GRAPHS, None, "the format allows"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a", "a")), "'a' twice"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a", "")), "a name in"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a", "b", "c")), "a label without a shot"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a",)), '"label"'),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(losses=(1.0,)), "1 losses for 2 steps"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(losses=(1.0, float("nan"))), "not finite"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(leave_one_out=1.5), '"leave_one_out"'),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(head_state={}), "weight, count"),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(head_state={"weight": np.array(np.nan, np.float32), "count": np.array(1)}),
            "head/weight.npy holds a NaN or an infinity",
        ),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(head_state={"weight": np.array(1.0), "count": np.array(1)}),
            "head/weight.npy is float64",
        ),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(support_features=np.zeros((3, 4), np.float32)),
            "support/features.npy is float32 [3, 4], and the shots need float32 [3, 3]",
        ),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(support_targets=np.array([0, 1, 0])),
            "support/targets.npy disagrees",
        ),
        (samples.manifest(), samples.GRAPHS, samples.regression_adaptation(), "the task is classification"),
        (samples.regression_manifest(), samples.GRAPHS, samples.adaptation(), "the task is regression"),
        (samples.manifest(precision="fp8"), samples.GRAPHS, None, "precision"),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(
    tmp_path: Path, manifest: Manifest, graphs: dict[str, bytes], adaptation: Adaptation | None, fault: str
) -> None:
    with pytest.raises(BundleError, match=re.escape(fault)) as refusal:
        write_bundle(tmp_path / "a.edge", manifest, graphs, adaptation)
    assert str(refusal.value).startswith(str(tmp_path / "a.edge"))
    assert not list(tmp_path.iterdir())
