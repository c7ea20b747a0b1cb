"""Machine code for loops over channels, made by LLVM when it is first needed.

A kernel is written in Python with `Value`s, which stand for sizes, pointers to float32 and vectors of float32
numbers; what their operators do is recorded and compiled for this machine's processor. PyTorch has no
operation for what such kernels do in one pass, and no compiler need be installed: llvmlite brings LLVM.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from llvmlite import binding as llvm
from llvmlite import ir
from torch import Tensor

LANES = 16
"""Numbers of the longest vectors: a register of AVX-512, two of AVX2, four of NEON."""

REGISTERS = 32 if llvm.get_host_cpu_features().get("avx512f") else 8
"""Vectors of `LANES` numbers that this machine's registers hold: 16 of AVX2 are 8 such, 32 of NEON too."""

BYTES = 4
NAME = "kernel"
_SIZE, _NUMBER = ir.IntType(64), ir.FloatType()
_FUSED = ("contract",)
"""A product and a sum may become one operation, which rounds once; nothing else is reordered."""

Kernel = Callable[..., None]
"""Takes tensors (float32, on the CPU) or addresses for its pointers, then its sizes, none of them 0."""


@dataclass(frozen=True)
class Value:
    """A size, a pointer, a vector, or the outcome of a comparison, in a function under construction."""

    builder: ir.IRBuilder
    raw: Any

    def _raw(self, other: Value | float) -> Any:
        """Another value, or a number as a value of this kind."""
        if isinstance(other, Value):
            return other.raw
        kind = self.raw.type
        return ir.Constant(kind, int(other)) if kind == _SIZE else _vector(other, kind.count)

    def _with(self, other: Value | float, of_sizes: str, of_vectors: str) -> Value:
        right = self._raw(other)
        if self.raw.type == _SIZE:
            return Value(self.builder, getattr(self.builder, of_sizes)(self.raw, right))
        return Value(self.builder, getattr(self.builder, of_vectors)(self.raw, right, flags=_FUSED))

    def __add__(self, other: Value | float) -> Value:
        """The sum; of a pointer, what lies so many numbers after it."""
        if self.raw.type.is_pointer:
            size = other.raw if isinstance(other, Value) else ir.Constant(_SIZE, int(other))
            return Value(self.builder, self.builder.gep(self.raw, [size], source_etype=_NUMBER))
        return self._with(other, "add", "fadd")

    def __sub__(self, other: Value | float) -> Value:
        return self._with(other, "sub", "fsub")

    def __mul__(self, other: Value | float) -> Value:
        return self._with(other, "mul", "fmul")

    def __or__(self, other: Value) -> Value:
        return Value(self.builder, self.builder.or_(self.raw, other.raw))

    def over(self, divisor: Value | int) -> Value:
        """A size divided by another, without the remainder."""
        return Value(self.builder, self.builder.udiv(self.raw, self._raw(divisor)))

    def below(self, size: Value | int) -> Value:
        """Whether 0 <= self < size; of sizes, of which those below 0 wrap round to very large ones."""
        return Value(self.builder, self.builder.icmp_unsigned("<", self.raw, self._raw(size)))

    def exceeds(self, other: Value | float) -> Value:
        """Whether it is larger; never if one is NaN."""
        compare = self.builder.icmp_signed if self.raw.type == _SIZE else self.builder.fcmp_ordered
        return Value(self.builder, compare(">", self.raw, self._raw(other)))

    def equals(self, number: float) -> Value:
        """Whether a vector's numbers are this one."""
        return Value(self.builder, self.builder.fcmp_ordered("==", self.raw, self._raw(number)))

    def differs(self, number: float) -> Value:
        """Whether a vector's numbers are not this one, or NaN."""
        return Value(self.builder, self.builder.fcmp_unordered("!=", self.raw, self._raw(number)))

    def is_nan(self) -> Value:
        """Whether a vector's numbers are NaN."""
        return Value(self.builder, self.builder.fcmp_unordered("uno", self.raw, self.raw))

    def choose(self, one: Value, other: Value | float) -> Value:
        """`one` where this comparison holds, else `other`."""
        return Value(self.builder, self.builder.select(self.raw, one.raw, one._raw(other)))


def _vector(value: float, lanes: int) -> ir.Constant:
    return ir.Constant(ir.VectorType(_NUMBER, lanes), [float(value)] * lanes)


class Code:
    """A function under construction that takes `pointers` to float32 numbers, then `sizes`.

    Its vectors have `lanes` numbers.
    """

    def __init__(self, pointers: int, sizes: int, lanes: int) -> None:
        self.lanes, self._vector = lanes, ir.VectorType(_NUMBER, lanes)
        self._module, self._kinds = ir.Module(), (pointers, sizes)
        arguments = [_NUMBER.as_pointer()] * pointers + [_SIZE] * sizes
        function = ir.Function(self._module, ir.FunctionType(ir.VoidType(), arguments), NAME)
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.arguments = [Value(self.builder, argument) for argument in function.args]

    @contextmanager
    def loop(self, count: Value | int) -> Iterator[Value]:
        """The code built inside runs for 0, 1, ... up to `count` - 1, and at least once."""
        builder, before = self.builder, self.builder.block
        end = count.raw if isinstance(count, Value) else ir.Constant(_SIZE, count)
        body, after = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(body)
        builder.position_at_end(body)
        index = builder.phi(_SIZE)
        index.add_incoming(ir.Constant(_SIZE, 0), before)
        yield Value(builder, index)
        following = builder.add(index, ir.Constant(_SIZE, 1))
        index.add_incoming(following, builder.block)
        builder.cbranch(builder.icmp_unsigned("<", following, end), body, after)
        builder.position_at_end(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """The code built inside runs if a comparison of sizes holds."""
        with self.builder.if_then(condition.raw):
            yield

    def number(self, value: float) -> Value:
        """A vector of one number."""
        return Value(self.builder, _vector(value, self.lanes))

    def load(self, pointer: Value) -> Value:
        """The vector that a pointer points to."""
        place = self.builder.bitcast(pointer.raw, self._vector.as_pointer())
        return Value(self.builder, self.builder.load(place, align=BYTES, typ=self._vector))

    def load_size(self, pointer: Value, place: Value | int) -> Value:
        """The `place`-th of some sizes (int64) that begin where a pointer points to."""
        sizes = self.builder.bitcast(pointer.raw, _SIZE.as_pointer())
        index = place.raw if isinstance(place, Value) else ir.Constant(_SIZE, place)
        at = self.builder.gep(sizes, [index], source_etype=_SIZE)
        return Value(self.builder, self.builder.load(at, align=2 * BYTES, typ=_SIZE))

    def load_one(self, pointer: Value) -> Value:
        """A vector of the one number that a pointer points to."""
        one = self.builder.load(pointer.raw, align=BYTES, typ=_NUMBER)
        first = self.builder.insert_element(
            ir.Constant(self._vector, ir.Undefined), one, ir.Constant(_SIZE, 0)
        )
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return Value(self.builder, self.builder.shuffle_vector(first, first, lanes))

    def store(self, pointer: Value, vector: Value) -> None:
        """Write a vector where a pointer points to."""
        place = self.builder.bitcast(pointer.raw, self._vector.as_pointer())
        self.builder.store(vector.raw, place, align=BYTES)

    def store_mark(self, pointer: Value, condition: Value) -> None:
        """Write one number: 1 if a comparison of vectors holds anywhere, else 0."""
        bits = self.builder.bitcast(condition.raw, ir.IntType(self.lanes))
        anywhere = self.builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(self.lanes), 0))
        mark = self.builder.select(anywhere, ir.Constant(_NUMBER, 1.0), ir.Constant(_NUMBER, 0.0))
        self.builder.store(mark, pointer.raw, align=BYTES)

    def is_marked(self, pointer: Value) -> Value:
        """Whether the number that a pointer points to is more than 0."""
        one = self.builder.load(pointer.raw, align=BYTES, typ=_NUMBER)
        return Value(self.builder, self.builder.fcmp_ordered(">", one, ir.Constant(_NUMBER, 0.0)))

    def largest(self, vectors: Sequence[Value]) -> tuple[Value, Value]:
        """The largest of some vectors, NaN where any is, and which it is, the first of equal ones."""
        best, which = vectors[0], self.number(0.0)
        for index, vector in enumerate(vectors[1:], start=1):
            takes = vector.exceeds(best) | vector.is_nan()
            best, which = takes.choose(vector, best), takes.choose(self.number(float(index)), which)
        return best, which

    def pooled_relu(self, vectors: Sequence[Value]) -> tuple[Value, Value]:
        """The ReLU of the largest, NaN where any is, and which it is, or -1 where the ReLU is 0."""
        best, which = self.largest(vectors)
        active = best.exceeds(0.0) | best.is_nan()
        return active.choose(best, self.number(0.0)), active.choose(which, self.number(-1.0))

    def spread(self, value: Value, which: Value, count: int) -> list[Value]:
        """The adjoint of `pooled_relu`: the value at the place that `which` says, 0 at the others."""
        nothing = self.number(0.0)
        return [which.equals(float(index)).choose(value, nothing) for index in range(count)]

    def total(self) -> Total:
        """A vector that is added to in loops, beginning with 0."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(self._vector)
        self.builder.store(self.number(0.0).raw, place)
        return Total(self.builder, place)

    def compile(self) -> Kernel:
        """End the function, and make machine code of it for this processor."""
        self.builder.ret_void()
        machine = _machine()
        module = llvm.parse_assembly(str(self._module))
        module.verify()
        tuning = llvm.create_pipeline_tuning_options(speed_level=1)
        passes = llvm.create_pass_builder(machine, tuning)
        passes.getModulePassManager().run(module, passes)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        pointers, sizes = self._kinds
        kinds = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * sizes
        function = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(NAME))
        return _checked(function, pointers, sizes, engine)


@dataclass(frozen=True)
class Total:
    """A vector that is added to in loops."""

    builder: ir.IRBuilder
    place: Any

    def add(self, vector: Value) -> None:
        """Add a vector."""
        self.builder.store((self.value + vector).raw, self.place)

    @property
    def value(self) -> Value:
        """The total so far."""
        return Value(self.builder, self.builder.load(self.place))


def _checked(
    function: Callable[..., None], pointers: int, sizes: int, engine: llvm.ExecutionEngine
) -> Kernel:
    """The function of tensors; the engine lives as long as it, with the machine code."""

    def call(*arguments: Tensor | int, _engine: llvm.ExecutionEngine = engine) -> None:
        tensors, numbers = arguments[:pointers], arguments[pointers:]
        if len(tensors) < pointers or len(numbers) != sizes:
            raise TypeError(
                f"a kernel of {pointers} tensors and {sizes} sizes was given {len(arguments)} arguments"
            )
        for tensor in tensors:
            if isinstance(tensor, Tensor) and (tensor.dtype, tensor.device.type) != (torch.float32, "cpu"):
                raise TypeError(
                    f"a kernel was given {tensor.dtype} on {tensor.device}: it takes float32 on the CPU"
                )
        function(*[value.data_ptr() if isinstance(value, Tensor) else value for value in arguments])

    return call


def _machine() -> llvm.TargetMachine:
    """This machine's processor with its widest vectors. Each engine needs one of its own, and owns it."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        features["prefer-256-bit"] = False
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3, jit=True
    )
