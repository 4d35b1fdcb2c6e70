"""Signatures by Ed25519 (RFC 8032), with keys in PEM files as OpenSSL writes them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_adapt.runtime.errors import BundleError, EdgeAdaptError, MissingDependencyError
from edge_adapt.runtime.words import install

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_MOST_BYTES = 64 * 1024  # of a key, which has about 120


def sign(message: bytes, key: str | os.PathLike[str]) -> bytes:
    """The signature of a message, 64 bytes, by a private key. The same key and message give the same bytes.

    Raises:
        MissingDependencyError: the extra [sign] is not installed.
        EdgeAdaptError: the file holds no such key.
    """
    private: Ed25519PrivateKey = _key(key, "private")
    return private.sign(message)


def require_signature(message: bytes, signature: bytes, key: str | os.PathLike[str], path: str) -> None:
    """Raise unless the signature is that of this message by the private key that belongs to this public one.

    Args:
        message, signature: what the file holds.
        key: the public key.
        path: the file, as messages call it.

    Raises:
        BundleError: another key has signed it, or it was changed since.
        MissingDependencyError: the extra [sign] is not installed.
        EdgeAdaptError: the file of the key holds none.
    """
    public: Ed25519PublicKey = _key(key, "public")
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, message)
    except InvalidSignature:
        raise BundleError(
            f"{path} is not what the owner of {os.fspath(key)} signed: another key signed it, or it was changed since; "
            f"do not use it."
        ) from None


def _key(path: str | os.PathLike[str], kind: str) -> Any:
    """The "private" or "public" key that a PEM file holds."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MissingDependencyError(
            f"signatures need cryptography, which is not installed; {install('sign')} brings it."
        ) from error
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(_MOST_BYTES)
    except OSError as error:
        raise EdgeAdaptError(f"{name} cannot be read ({error.strerror or error}); give the file of a key.") from error
    try:
        if kind == "private":
            key: object = serialization.load_pem_private_key(data, None)
        else:
            key = serialization.load_pem_public_key(data)
    except TypeError:
        raise EdgeAdaptError(
            f"{name} is locked by a passphrase; `openssl pkey -in {name} -out KEY.pem` writes it without one."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey if kind == "private" else ed25519.Ed25519PublicKey):
        make = (
            "genpkey -algorithm ed25519 -out KEY.pem"
            if kind == "private"
            else "pkey -in KEY.pem -pubout -out PUBLIC.pem"
        )
        raise EdgeAdaptError(f"{name} holds no {kind} key of Ed25519 in PEM; `openssl {make}` writes one.")
    return key
