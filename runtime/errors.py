"""What edge-adapt raises. Each message is one sentence that names the file, the fault and, where there is one, the remedy.

The command line prints that sentence and exits with status 1; a program catches `EdgeAdaptError`.
"""

from __future__ import annotations

from edge_adapt.runtime.words import sentence

_TOO_LITTLE_MEMORY = (
    "bad_alloc",  # ONNX Runtime's C++
    "failed to map segment",  # of a library that is loaded
    "cannot allocate memory",
    "can't start new thread",  # which has no room for its stack
    "without exception set",  # Python where an extension forgets to say that it got none
)
"""What an error says of it that is no MemoryError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice."""
    if isinstance(error, MemoryError):
        return True
    kinds = (ImportError, RuntimeError, SystemError)
    return isinstance(error, kinds) and any(words in str(error).lower() for words in _TOO_LITTLE_MEMORY)


class EdgeAdaptError(Exception):
    """Anything that a user can cause or repair.

    As a text it is fit for any terminal and log, whatever names it quotes: on one line, controls escaped, what is long cut short.
    """

    def __str__(self) -> str:
        return sentence(super().__str__())


class ImageError(EdgeAdaptError):
    """An image that cannot be read."""


class DataError(EdgeAdaptError):
    """A folder or zip of labelled images, or a support set made from one, that cannot be used."""


class BundleError(EdgeAdaptError):
    """An `.edge` file that is damaged, of another version, hostile, or of the wrong kind."""


class ProviderError(EdgeAdaptError):
    """An execution provider that does not come up."""


class MissingDependencyError(EdgeAdaptError):
    """A package that this verb needs is not installed."""


class ConfinementWarning(UserWarning):
    """A stranger's file runs in a process that this system cannot keep from the user's own files."""
