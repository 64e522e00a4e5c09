"""Functions that are written while the program runs: loaded from the cache of machine code, compiled only where asked.

Numba keeps the code of a function by the file that it stands in. A generated one stands in no file: it is given this one's
name, so nothing that could be run is written to disk but machine code, and a new version of this file makes all of it void.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from sabot_sql.executor.kernels.compile import JIT, OPTIONS, caching_in


class Generated:
    """A function made of source text.

    Args:
        name: of the function in `source`; it must say what `source` is, as code is kept under it.
        source: one function definition; it may use `int64`, `uint64` and `float64`.
        signature: the numba signature it is compiled for. What it fills must not overlap anything else it is given.
    """

    def __init__(self, name: str, source: str, signature: Any) -> None:
        self.name = name
        self.signature = signature
        scope: dict[str, Any] = {"__name__": __name__, "int64": np.int64, "uint64": np.uint64, "float64": np.float64}
        exec(compile(source, __file__, "exec"), scope)
        self.function: Callable[..., Any] = scope[name]

    def load(self, folder: Path) -> Callable[..., Any] | None:
        """The machine code that is kept in `folder`; None where there is none for this processor. Never compiles."""
        if not JIT:
            return None
        dispatcher = self._dispatcher(folder)
        # what Dispatcher.compile does before it compiles
        with global_compiler_lock:
            found = dispatcher._cache.load_overload(self.signature, dispatcher.targetctx)
            if found is None:
                return None
            dispatcher.targetctx.insert_user_function(found.entry_point, found.fndesc, [found.library])
            dispatcher.add_overload(found)
        dispatcher.disable_compile()
        called: Callable[..., Any] = dispatcher
        return called

    def compile(self, folder: Path) -> None:
        """Compile it into `folder`; takes tenths of a second to seconds, and the interpreter's lock for most of it."""
        self._dispatcher(folder).compile(self.signature)

    def _dispatcher(self, folder: Path) -> Any:
        dispatcher = numba.njit(**OPTIONS, _nrt=False)(self.function)
        with caching_in(folder):
            dispatcher.enable_caching()
        return dispatcher
