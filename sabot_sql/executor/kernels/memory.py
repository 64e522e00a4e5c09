"""Machine instructions that Python has no word for: unaligned loads, prefetch, byte order and the 128-bit product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sabot_sql.executor.kernels.compile import JIT

if JIT:

    def _load(result: Any, data: Any, at: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            at = builder.bitcast(builder.gep(array.data, [args[1]]), context.get_value_type(result).as_pointer())
            loaded = builder.load(at)
            loaded.align = 1
            return loaded

        return result(data, types.int64), codegen

    @intrinsic
    def load64(typing: Any, data: Any, at: Any) -> Any:
        """load64(uint8[n], i) -> uint64: the eight bytes from position i, little endian."""
        return _load(types.uint64, data, at)

    @intrinsic
    def load32(typing: Any, data: Any, at: Any) -> Any:
        """load32(uint8[n], i) -> uint32: the four bytes from position i, little endian."""
        return _load(types.uint32, data, at)

    @intrinsic
    def store64(typing: Any, data: Any, at: Any, word: Any) -> Any:
        """store64(uint8[n], i, uint64): write the eight bytes from position i, little endian."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            number = context.get_value_type(types.uint64)
            builder.store(args[2], builder.bitcast(builder.gep(array.data, [args[1]]), number.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(data, types.int64, types.uint64), codegen

    @intrinsic
    def prefetch(typing: Any, data: Any, at: Any) -> Any:
        """prefetch(array, i): ask for the cache line of element i ahead of its use."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, args[0])
            at = builder.bitcast(builder.gep(array.data, [args[1]]), cgutils.voidptr_t)
            number = cgutils.int32_t
            declared = cgutils.ir.FunctionType(cgutils.ir.VoidType(), [cgutils.voidptr_t, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0")
            builder.call(function, [at, number(0), number(3), number(1)])
            return context.get_dummy_value()

        return types.void(data, types.int64), codegen

    @intrinsic
    def multiply_high(typing: Any, a: Any, b: Any) -> Any:
        """multiply_high(uint64, uint64) -> uint64: the upper half of the 128-bit product."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            wide = cgutils.ir.IntType(128)
            product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
            return builder.trunc(builder.lshr(product, wide(64)), cgutils.ir.IntType(64))

        return types.uint64(types.uint64, types.uint64), codegen

    @intrinsic
    def swap_bytes(typing: Any, word: Any) -> Any:
        """swap_bytes(uint64) -> uint64: the bytes in reverse order, so that words compare as their bytes do."""

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bswap(args[0])

        return types.uint64(types.uint64), codegen

else:

    def load64(data: Any, at: Any) -> Any:
        return np.uint64(int.from_bytes(bytes(data[at : at + 8]), "little"))

    def load32(data: Any, at: Any) -> Any:
        return np.uint32(int.from_bytes(bytes(data[at : at + 4]), "little"))

    def store64(data: Any, at: Any, word: Any) -> Any:
        data[at : at + 8] = list(int(word).to_bytes(8, "little"))

    def prefetch(data: Any, at: Any) -> Any:
        return None

    def multiply_high(a: Any, b: Any) -> Any:
        return np.uint64((int(a) * int(b)) >> 64)

    def swap_bytes(word: Any) -> Any:
        return np.uint64(int.from_bytes(int(word).to_bytes(8, "little"), "big"))
