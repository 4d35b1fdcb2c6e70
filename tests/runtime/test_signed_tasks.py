"""Signed tasks: whose they are, that nothing of them was changed, and what is said where it is not so."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

import edge_adapt
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError, MissingDependencyError
from tests.command_line import complaint, succeeded
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.tiny_model import refusal

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

PEM = serialization.Encoding.PEM
PKCS8, SUBJECT = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo


class Keys(NamedTuple):
    """A private key and the public one that belongs to it."""

    private: Path
    public: Path


def keys(folder: Path, name: str) -> Keys:
    """New ones, in the files that `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write."""
    key = ed25519.Ed25519PrivateKey.generate()
    made = Keys(folder / f"{name}.pem", folder / f"{name}-public.pem")
    made.private.write_bytes(key.private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    made.public.write_bytes(key.public_key().public_bytes(PEM, SUBJECT))
    return made


@pytest.fixture
def ours(tmp_path: Path) -> Keys:
    return keys(tmp_path, "ours")


@pytest.fixture
def mine(classifier: Classifier, tmp_path: Path) -> Path:
    classifier.save(tmp_path / "mine.edge")
    return tmp_path / "mine.edge"


@pytest.fixture
def packed(mine: Path, ours: Keys, tmp_path: Path) -> Path:
    edge_adapt.pack(mine, tmp_path / "mine.task", sign=ours.private)
    return tmp_path / "mine.task"


def test_what_was_signed_comes_out_with_the_key_and_without(mine: Path, packed: Path, ours: Keys) -> None:
    again = mine.with_name("again.edge")
    for key in (ours.public, None):
        edge_adapt.unpack(packed, again, model=TINY, verify=key)
        assert again.read_bytes() == mine.read_bytes()


def test_the_signature_is_of_the_bytes_before_it_as_the_format_says(mine: Path, packed: Path, ours: Keys) -> None:
    data = packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        last = archive.infolist()[-1]
        signature = archive.read("signature")
    assert (last.filename, last.file_size) == ("signature", 64)
    assert data[last.header_offset + 39 :].startswith(signature)
    public = serialization.load_pem_public_key(ours.public.read_bytes())
    assert isinstance(public, ed25519.Ed25519PublicKey)
    public.verify(signature, data[: last.header_offset])  # raises where it is not
    edge_adapt.pack(mine, mine.with_name("plain.task"))
    assert mine.with_name("plain.task").read_bytes().startswith(data[: last.header_offset])
    edge_adapt.pack(mine, mine.with_name("twice.task"), sign=ours.private)
    assert mine.with_name("twice.task").read_bytes() == data


def test_another_key_or_none_is_refused_and_nothing_written(mine: Path, packed: Path, tmp_path: Path) -> None:
    theirs, output = keys(tmp_path, "theirs"), tmp_path / "a.edge"
    message = refusal(lambda: edge_adapt.unpack(packed, output, model=TINY, verify=theirs.public), BundleError)
    assert str(packed) in message and str(theirs.public) in message and "another key signed it" in message
    edge_adapt.pack(mine, packed)
    message = refusal(lambda: edge_adapt.unpack(packed, output, model=TINY, verify=theirs.public), BundleError)
    assert "is not signed" in message and "pack --sign" in message
    assert not output.exists()


def test_a_task_that_was_changed_with_care_is_refused(packed: Path, ours: Keys, tmp_path: Path) -> None:
    """All sums are right; the name of a class is another."""
    from tests import bundle_samples as samples

    entries = samples.read_zip(packed)
    entries["classifier.json"] = entries["classifier.json"].replace(b'"labels":["a"', b'"labels":["z"')
    packed.write_bytes(samples.zip_bytes(entries))
    edge_adapt.unpack(packed, tmp_path / "a.edge", model=TINY)
    refused = tmp_path / "b.edge"
    assert "was changed since" in refusal(
        lambda: edge_adapt.unpack(packed, refused, model=TINY, verify=ours.public), BundleError
    )
    entries["signature"] = b"\0" * 63
    packed.write_bytes(samples.zip_bytes(entries))
    with pytest.raises(BundleError):
        edge_adapt.unpack(packed, refused, model=TINY, verify=ours.public)
    assert not refused.exists()


def test_a_file_that_holds_no_such_key(mine: Path, packed: Path, ours: Keys, tmp_path: Path) -> None:
    other, locked = tmp_path / "rsa.pem", tmp_path / "locked.pem"
    other.write_bytes(rsa.generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, serialization.NoEncryption()))
    password = serialization.BestAvailableEncryption(b"secret")
    locked.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, password))
    output = tmp_path / "a.task"
    for key in (ours.public, other, mine):
        message = refusal(lambda key=key: edge_adapt.pack(mine, output, sign=key), EdgeAdaptError)  # type: ignore[misc]
        assert str(key) in message and "no private key of Ed25519" in message and "openssl genpkey" in message
    for key in (ours.private, mine):
        message = refusal(lambda key=key: edge_adapt.unpack(packed, output, model=TINY, verify=key), EdgeAdaptError)  # type: ignore[misc]
        assert str(key) in message and "no public key of Ed25519" in message and "-pubout" in message
    assert "locked by a passphrase" in refusal(lambda: edge_adapt.pack(mine, output, sign=locked), EdgeAdaptError)
    assert "cannot be read" in refusal(lambda: edge_adapt.pack(mine, output, sign=tmp_path), EdgeAdaptError)
    assert not output.exists()


def test_a_key_is_not_written_over(mine: Path, packed: Path, ours: Keys) -> None:
    before = ours.private.read_bytes(), ours.public.read_bytes()
    with pytest.raises(EdgeAdaptError, match="would be lost"):
        edge_adapt.pack(mine, ours.private, sign=ours.private)
    with pytest.raises(EdgeAdaptError, match="would be lost"):
        edge_adapt.unpack(packed, ours.public, model=TINY, verify=ours.public)
    assert (ours.private.read_bytes(), ours.public.read_bytes()) == before


def test_the_commands_do_the_same(mine: Path, packed: Path, ours: Keys, tmp_path: Path) -> None:
    succeeded(command("pack", mine, "-o", tmp_path / "a.task", "--sign", ours.private))
    assert (tmp_path / "a.task").read_bytes() == packed.read_bytes()
    unpack = ("unpack", packed, "-o", tmp_path / "a.edge", "--model", TINY, "--verify")
    assert f"signed by the owner of {ours.public}" in succeeded(command(*unpack, ours.public))
    assert "another key signed it" in complaint(command(*unpack, keys(tmp_path, "theirs").public))


def test_without_the_extra_it_says_how_to_get_it(mine: Path, ours: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.startswith("cryptography"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    message = refusal(
        lambda: edge_adapt.pack(mine, mine.with_name("a.task"), sign=ours.private), MissingDependencyError
    )
    assert 'pip install "edge-adapt[sign]"' in message
