"""How kernels are compiled: on first use, for their declared types only, kept on disk.

A kernel declares the types it takes. Inputs are declared read-only (`I64`, `U64`, `F64`, `U8`, ...), because Arrow's buffers
are; numba takes a writable array for a read-only parameter, so one compilation serves both. What a kernel fills is declared
writable (`OUT_I64`, ...). Nothing is compiled at import: the first call loads the machine code from the cache (about 2 ms) or
compiles it. Small functions that kernels call are marked `inline`: they have no code of their own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba import types

F = TypeVar("F", bound=Callable[..., Any])

JIT = not numba.config.DISABLE_JIT
OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
ALLOCATORS = frozenset(("empty", "zeros", "ones", "full"))

KERNELS: dict[str, Kernel] = {}

_lock = threading.Lock()
_config_lock = threading.Lock()
_cache_dir: Path | None = None


def _array(dtype: Any, readonly: bool, ndim: int = 1) -> Any:
    return types.Array(dtype, ndim, "C", readonly=readonly)


I64, OUT_I64 = _array(types.int64, True), _array(types.int64, False)
U64, OUT_U64 = _array(types.uint64, True), _array(types.uint64, False)
F64, OUT_F64 = _array(types.float64, True), _array(types.float64, False)
U8, OUT_U8 = _array(types.uint8, True), _array(types.uint8, False)
WORDS, OUT_WORDS = _array(types.int64, True, 2), _array(types.int64, False, 2)
i64, u64, f64, u8, void = types.int64, types.uint64, types.float64, types.uint8, types.void


def cache_in(folder: Path) -> None:
    """Keep machine code in `folder` from now on. Without this call kernels are compiled anew by every process."""
    global _cache_dir
    _cache_dir = folder


class Kernel:
    """A function with its signatures; compiled (or loaded from the cache) when it is first called."""

    def __init__(self, function: Callable[..., Any], signatures: tuple[Any, ...]) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        self.function = function
        self.signatures = signatures
        self.dispatcher: Any = None
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__wrapped__ = function

    def __call__(self, *args: Any) -> Any:
        if self.dispatcher is None:
            self.load()
        return self.dispatcher(*args)

    def load(self) -> None:
        """Have the machine code ready."""
        with _lock:
            if self.dispatcher is not None:
                return
            if not JIT:
                self.dispatcher = _interpreted(self.function)
                return
            dispatcher = _dispatcher(self.function)
            with _one_process():
                if _cache_dir is not None:
                    with caching_in(_cache_dir):
                        dispatcher.enable_caching()
                for signature in self.signatures:
                    dispatcher.compile(signature)
            dispatcher.disable_compile()
            self.dispatcher = dispatcher


def kernel(*signatures: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel with the numba signatures it is compiled for."""

    def declare(function: Callable[..., Any]) -> Kernel:
        declared = Kernel(function, signatures)
        KERNELS[declared.name] = declared
        return declared

    return declare


def inline(function: F) -> F:
    """A function that only kernels call; it becomes part of each."""
    if not JIT:
        return function
    compiled: F = _dispatcher(function)
    return compiled


def _dispatcher(function: Callable[..., Any]) -> Any:
    """The function ready to be compiled. Unless it allocates an array itself, arrays are passed on without counting
    references: numba's counters are atomic and cost more than the work of a short inner loop."""
    allocates = not ALLOCATORS.isdisjoint(function.__code__.co_names)
    return numba.njit(**OPTIONS, _nrt=allocates)(function)


def _interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The kernel as plain Python (NUMBA_DISABLE_JIT=1), with arithmetic that wraps as machine words do."""

    def call(*args: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*args)

    return call


@contextlib.contextmanager
def caching_in(folder: Path) -> Iterator[None]:
    """Have `enable_caching` take `folder`; for one thread at a time."""
    # numba reads the folder from its global configuration, which belongs to the process's other users of numba
    with _config_lock:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)
        try:
            yield
        finally:
            numba.config.CACHE_DIR = before


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Let one process at a time compile into the cache: two that write the same index file would mix up their code."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    if _cache_dir is None:
        yield
        return
    handle = os.open(_cache_dir / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
