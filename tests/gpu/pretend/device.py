"""A CUDA device that is not there: tensors that say `cuda:0`, are computed with on the CPU, and refuse what CUDA refuses.

Each operation of PyTorch goes through `_dispatch`. Tensors of two devices raise, as do `.numpy()` and a generator of the other
device. What it cannot know: speed, what a kernel of CUDA rounds or does not support, and memory, but for a limit on one tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
import torch._dynamo  # which optimizers import, and which takes `torch.Generator` for a class
from torch import Tensor
from torch._ops import OpOverload
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from tests.gpu.pretend import NAME

CUDA = torch.device("cuda", 0)

_optimizer = sys.modules[Optimizer.__module__]  # `torch.optim.optimizer`, whose name is hidden by that of a function

aten = torch.ops.aten

_CROSSES = {aten.copy_.default, aten._to_copy.default, aten._foreach_copy_.default, aten.is_same_size.default}
"""What takes tensors of both devices."""

_INDEXES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""What takes indices of the CPU for a tensor of CUDA, but not the other way round."""

_WAITS = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
}
"""What the CPU has to see the result of."""

_NO_KERNEL = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "is_same_size", "_unsafe_view"}
"""What computes nothing, beside views."""

_real_tensor = torch.tensor


@dataclass
class Counts:
    """What the device was asked for.

    Attributes:
        launches: operations that start a kernel; some of CUDA's start more than one.
        waits: for a result, by the CPU.
    """

    launches: int = 0
    waits: int = 0


COUNTS = Counts()
"""Since the process began."""

_largest_tensor: list[int] = []


@contextmanager
def largest_tensor(size: int) -> Iterator[None]:
    """A tensor of more bytes than `size` is out of memory."""
    _largest_tensor.append(size)
    try:
        yield
    finally:
        _largest_tensor.pop()


class PretendedTensor(Tensor):
    """Says that it lies on CUDA; `held`, on the CPU, has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> PretendedTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=CUDA,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"PretendedTensor({self.held})"

    def tolist(self) -> Any:
        COUNTS.waits += 1
        return _held(self.detach()).tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:  # type: ignore[override]
        return _tensor(data, **{"dtype": self.dtype, "device": self.device, **options})

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if id(self) not in memo:
            copied: Tensor = PretendedTensor(_held(self.detach()).clone(memory_format=torch.preserve_format))
            is_parameter = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(copied, self.requires_grad) if is_parameter else copied
        kept: Tensor = memo[id(self)]
        return kept

    def __reduce_ex__(self, protocol: Any) -> Any:
        """What `torch.save` keeps: the values."""
        return _held(self.detach()).clone().__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _dispatch(operation, args, kwargs or {})


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what makes tensors, too."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (kwargs and kwargs.get("device") is not None) or PretendedTensor in types:
            return _dispatch(operation, args, kwargs or {})
        return operation(*args, **(kwargs or {}))


_RealGenerator = torch.Generator


class _CudaGenerator(torch.Generator):
    """Draws on the CPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA


_drawing_on_cuda: dict[int, torch.Generator] = {}
"""Those generators, by the address of what they draw from: an operation gets another object around it."""


def _address(generator: Any) -> int:
    found: int = generator._cdata
    return found


def _generator(device: torch.device | str = "cpu") -> torch.Generator:
    if torch.device(device).type != "cuda":
        return _RealGenerator(device)
    made = _CudaGenerator()
    _drawing_on_cuda[_address(made)] = made
    return made


def _tensor(data: Any, *, device: torch.device | str | None = None, **options: Any) -> Tensor:
    made = _real_tensor(data, **options)
    return made if device is None else made.to(device)


def _dispatch(operation: OpOverload, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run it on the CPU, if CUDA would take it."""
    given = tree_leaves((args, kwargs))
    pretended = [one for one in given if isinstance(one, PretendedTensor)]
    to = torch.device(kwargs["device"]).type if kwargs.get("device") is not None else None
    if not pretended and to != "cuda":
        return operation(*args, **kwargs)
    _refuse_other_devices(operation, args, given, bool(pretended))
    kernel = not operation.is_view and operation._schema.name.removeprefix("aten::").rstrip("_") not in _NO_KERNEL
    COUNTS.launches += kernel
    COUNTS.waits += operation in _WAITS
    held_args, held_kwargs = tree_map(_held, (args, kwargs))
    if operation is aten._pin_memory.default:
        return args[0]
    if to is not None:
        held_kwargs["device"] = torch.device("cpu")
    held_kwargs.pop("pin_memory", None)
    result = operation(*held_args, **held_kwargs)
    if to == "cpu":
        COUNTS.waits += operation is aten._to_copy.default
        return result
    if operation is aten.copy_.default and not isinstance(args[0], PretendedTensor):
        COUNTS.waits += 1
        return args[0]
    sizes = [one.numel() * one.element_size() for one in tree_leaves(result) if isinstance(one, Tensor)]
    if _largest_tensor and max(sizes, default=0) > _largest_tensor[-1]:
        raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {max(sizes)} bytes.")
    return return_and_correct_aliasing(operation, args, kwargs, tree_map(_wrapped, result))  # type: ignore[no-untyped-call]


def _refuse_other_devices(operation: OpOverload, args: Any, given: list[Any], any_pretended: bool) -> None:
    """Raise as CUDA does for what lies elsewhere; a tensor without dimensions is a number."""
    for one in given:
        elsewhere = isinstance(one, Tensor) and not isinstance(one, PretendedTensor) and one.dim() > 0
        allowed = operation in _CROSSES or (operation in _INDEXES and isinstance(args[0], PretendedTensor))
        if elsewhere and any_pretended and not allowed:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found cuda:0 and cpu ({operation}, {tuple(one.shape)})"
            )
        if isinstance(one, _RealGenerator) and _address(one) not in _drawing_on_cuda:
            raise RuntimeError(f"Expected a 'cuda' device type for generator but found 'cpu' ({operation})")


def _held(one: Any) -> Any:
    return one.held if isinstance(one, PretendedTensor) else one


def _wrapped(one: Any) -> Any:
    return PretendedTensor(one) if isinstance(one, Tensor) and not isinstance(one, PretendedTensor) else one


def _nothing(*_: Any, **__: Any) -> None:
    pass


MEMORY = 80 * 2**30

_OF_TORCH_CUDA: dict[str, Callable[..., Any]] = {
    "_is_in_bad_fork": lambda: False,
    "_lazy_init": _nothing,
    "current_device": lambda: 0,
    "device_count": lambda: 1,
    "empty_cache": _nothing,
    "get_device_name": lambda device=None: NAME,
    "is_available": lambda: True,
    "is_bf16_supported": lambda including_emulation=True: True,
    "is_initialized": lambda: True,
    "manual_seed": _nothing,
    "manual_seed_all": _nothing,
    "mem_get_info": lambda device=None: (MEMORY, MEMORY),
    "set_device": _nothing,
    "synchronize": _nothing,
}
"""What `torch.cuda` says."""


@contextmanager
def pretended() -> Iterator[None]:
    """There is a CUDA device."""
    overwriting = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, function in _OF_TORCH_CUDA.items():
            stack.enter_context(patch.object(torch.cuda, name, function))
        stack.enter_context(patch.object(torch, "Generator", _generator))
        stack.enter_context(patch.object(torch, "tensor", _tensor))
        # Optimizers take many parameters in one launch, if they know what kind of tensors these are.
        kinds = [*_optimizer._foreach_supported_types, PretendedTensor]
        stack.enter_context(patch.object(_optimizer, "_foreach_supported_types", kinds))
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwriting)
        stack.enter_context(_Mode())  # type: ignore[no-untyped-call]
        yield
