"""One network that runs many students at once: every value gets an axis of minds in front.

What a caller gives and takes is `(minds, *shape in the student)`. A weight that a student has for itself is stacked along the
axis of minds; one that all students share is kept once, and a product with it takes the rows of all minds together.

A product with stacked weights takes each row by itself, `(minds, rows, 1, k) x (minds, 1, k, m)`. The runtime computes one row
in another way than several, so the bits of a mind would else depend on how many rows it has; and one row is what a mind mostly
has, for which this is also the fastest way, since no weights are rearranged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from engram_format.errors import InvalidInput
from engram_replay.architecture import Length, Weights, values_of


class CannotStack(InvalidInput):
    """These students cannot be one network; each can still be run by itself."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor in the network that is being made."""

    name: str
    rank: int
    """Its axes in the student, without the one of minds."""
    own: bool
    """Whether it has the axis of minds in front: all but what is made of shared tensors only."""


class Network:
    """A network in the making: values by their names in the student, and nodes and tensors of the new network."""

    def __init__(
        self,
        tensors: Mapping[str, Sequence[onnx.TensorProto]],
        *,
        minds: int,
        own: Collection[str],
        lengths: Mapping[str, tuple[Length, ...]],
        pinned: Collection[str] = (),
    ) -> None:
        """Begin a network for `minds` students.

        `tensors` are what the students hold, by name and in the order of the students; those in `own` are stacked, the others
        taken from the first student. `lengths` are the axes of all values as the student declares them, and `pinned` the
        symbols among them that stand for one step.
        """
        self.minds = minds
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._held = tensors
        self._own = frozenset(own)
        self._lengths = lengths
        self._pinned = pinned
        self._values: dict[str, Value] = {}
        self._kept: dict[tuple[str, str], Value] = {}
        self._taken = {*tensors, *lengths}

    def lengths(self, name: str) -> tuple[Length, ...]:
        """Return the axes of a value in the student, those of one step as 1; raises `CannotStack` if they are not known."""
        if name not in self._lengths:
            raise CannotStack(f"it is not known how many axes {name[:80]!r} has")
        return tuple(1 if length in self._pinned else length for length in self._lengths[name])

    def put(self, name: str, value: Value) -> None:
        """Let a value be what the student calls `name`."""
        self._values[name] = value

    def holds(self, name: str) -> bool:
        """Say whether the student holds a value as a tensor, rather than computing it."""
        return name in self._held

    def value(self, name: str, *, rank: int = 0) -> Value:
        """Return a value by its name in the student; a stacked one with axes of length 1 before its own, to have `rank`."""
        if self.holds(name):
            return self.weights(
                name, lambda weights: weights.reshape((1,) * (rank - weights.ndim) + weights.shape), form=f"{rank}"
            )
        if name not in self._values:
            raise CannotStack(f"{name[:80]!r} is used before it is computed")
        return self.raised(self._values[name], rank)

    def raised(self, value: Value, rank: int) -> Value:
        """Give a value axes of length 1 behind the one of minds, as aligning it with one of more axes needs."""
        if not value.own or value.rank >= rank:
            return value
        axes = np.arange(1, 1 + rank - value.rank)
        return self.emit("Unsqueeze", [value, self.constant(axes)], rank=rank)

    def weights(self, name: str, change: Callable[[Weights], Weights], *, form: str) -> Value:
        """Return a tensor that the students hold, each student's array changed; `form` is a name for the change."""
        if (name, form) not in self._kept:
            own = name in self._own
            arrays = [change(values_of(tensor)) for tensor in (self._held[name] if own else self._held[name][:1])]
            self._kept[name, form] = self._keep(np.stack(arrays) if own else arrays[0], rank=arrays[0].ndim, own=own)
        return self._kept[name, form]

    def is_stacked(self, name: str) -> bool:
        """Say whether each student has a tensor of its own by this name."""
        return name in self._own

    def known(self, name: str) -> list[int]:
        """Return whole numbers that the student holds; raises `CannotStack` if it computes them."""
        if not self.holds(name) or name in self._own:
            raise CannotStack(f"{name[:80]!r} is computed as it runs")
        return [int(number) for number in values_of(self._held[name][0]).ravel()]

    def constant(self, numbers: ArrayLike) -> Value:
        """Return whole numbers as a tensor of the network."""
        array = np.asarray(numbers, np.int64)
        key = ("", f"{array.tolist()}")
        if key not in self._kept:
            self._kept[key] = self._keep(array, rank=array.ndim, own=False)
        return self._kept[key]

    def emit(self, operator: str, inputs: Sequence[Value], *, rank: int, **attributes: object) -> Value:
        """Add a node with one output, which has the axis of minds if any input has."""
        return self.emit_several(operator, inputs, ranks=[rank], **attributes)[0]

    def emit_several(
        self, operator: str, inputs: Sequence[Value], *, ranks: Sequence[int], **attributes: object
    ) -> list[Value]:
        """Add a node with an output for each rank, all with the axis of minds if any input has."""
        own = any(value.own for value in inputs)
        outputs = [Value(self.unused(operator), rank, own) for rank in ranks]
        names = [value.name for value in inputs], [value.name for value in outputs]
        node = helper.make_node(operator, *names)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return outputs

    def name_output(self, name: str) -> None:
        """Let a value be an output of the network, under its name in the student."""
        value = self.value(name)
        if self.holds(name) or not value.own:
            raise CannotStack(f"output {name[:80]!r} comes from weights alone: replay these students one by one")
        if value.name != name:
            self.nodes.append(helper.make_node("Identity", [value.name], [name]))

    def unused(self, stem: str) -> str:
        """Return a name that nothing in the network has, and take it."""
        number = len(self._taken)
        while f"{stem} {number}" in self._taken:
            number += 1
        self._taken.add(f"{stem} {number}")
        return f"{stem} {number}"

    def split(self, value: Value, lengths: Sequence[int]) -> list[Value]:
        """Cut a value along its last axis."""
        return self.emit_several("Split", [value, self.constant(lengths)], ranks=[value.rank] * len(lengths), axis=-1)

    def product(self, left: Value, right: Value) -> Value:
        """Return the product of a value with the axis of minds and a matrix, by the rules for vectors and for axes in front."""
        if not right.own and right.rank <= 2:
            # The runtime takes the rows of all minds as one matrix, with packed weights, as it does for a student alone.
            return self.emit("MatMul", [left, right], rank=left.rank + right.rank - 2)
        row, column = left.rank == 1, right.rank == 1
        if row:
            left = self.emit("Unsqueeze", [left, self.constant([1])], rank=2)
        if column:
            right = self.emit("Unsqueeze", [right, self.constant([2])], rank=2)
        rank = max(left.rank, right.rank)
        left, right = self.raised(left, rank), self.raised(right, rank)
        # Each row is a matrix of its own, see above.
        rows = self.emit("Unsqueeze", [left, self.constant([-2])], rank=rank + 1)
        matrix = self.emit("Unsqueeze", [right, self.constant([-3])], rank=rank + 1)
        product = self.emit("MatMul", [rows, matrix], rank=rank + 1)
        product = self.emit("Squeeze", [product, self.constant([-2])], rank=rank)
        if row:
            product = self.emit("Squeeze", [product, self.constant([-2])], rank=rank - 1)
        if column:
            product = self.emit("Squeeze", [product, self.constant([-1])], rank=product.rank - 1)
        return product

    def _keep(self, array: Weights, *, rank: int, own: bool) -> Value:
        name = self.unused("tensor")
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return Value(name, rank, own)
