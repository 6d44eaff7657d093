"""One node as the rules of its operator see it, and the table of those rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import onnx

from engram_replay.gate.limits import Gate, shown
from engram_replay.gate.tensors import check_size
from engram_replay.gate.values import FREE, Free, Length, Shape, Value, least


@dataclass(frozen=True, slots=True)
class Call:
    """A node with what is known of its inputs, and its attributes with those of the function around it filled in."""

    node: onnx.NodeProto
    inputs: Sequence[Value | None]
    """`None` for an input that is left out."""
    attributes: Mapping[str, onnx.AttributeProto]
    opset: int
    gate: Gate
    certain: bool
    """It is run whenever the network is: it stands in no branch or loop."""

    def value(self, index: int) -> Value:
        """Return an input; nothing is known of one that is left out."""
        found = self.inputs[index] if index < len(self.inputs) else None
        return found if found is not None else Value()

    def has(self, index: int) -> bool:
        """Tell whether the input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def number(self, name: str, default: int) -> int:
        """Return a whole number among the attributes."""
        return self.attributes[name].i if name in self.attributes else default

    def numbers(self, name: str) -> list[int] | None:
        """Return a list of whole numbers among the attributes, or `None` if it is left out."""
        return list(self.attributes[name].ints) if name in self.attributes else None

    def text(self, name: str, default: str) -> str:
        """Return a text among the attributes."""
        return self.attributes[name].s.decode(errors="replace") if name in self.attributes else default

    def listed(self, index: int) -> list[int | None] | None:
        """Return the whole numbers that an input lists, those that are not known as `None`."""
        items = self.value(index).listed()
        return None if items is None else [item if type(item) is int else None for item in items]

    def axis(self, default: int, rank: int, *, name: str = "axis") -> int | None:
        """Return the axis that an attribute names, counted from the front; `None` if there is no such axis."""
        return position(self.number(name, default), rank)

    def check_at_least(self, shape: Sequence[Length], element_type: int) -> None:
        """Refuse the node if a value that it makes, at least of that shape, is too large."""
        name = f"node {shown(self.node.name)} ({shown(self.node.op_type)[1:-1]}) that makes a tensor"
        check_size(tuple(least(length) for length in shape), element_type, name, self.gate)


def position(axis: int, rank: int) -> int | None:
    """Return an axis counted from the front, or `None` if a value of that rank has none such."""
    return axis % rank if -rank <= axis < rank else None


def positions(axes: Sequence[int | None] | None, rank: int) -> list[int] | None:
    """Return several axes, or `None` if one of them is not known, not there, or named twice."""
    if axes is None:
        return None
    found = [None if axis is None else position(axis, rank) for axis in axes]
    known = [axis for axis in found if axis is not None]
    return known if len(known) == len(found) == len(set(known)) else None


def free_axes(numbers: Sequence[int | None]) -> Shape | None:
    """Return the shape that a list of lengths stands for; `None` if one of them is negative."""
    if any(number is not None and number < 0 for number in numbers):
        return None
    return tuple(FREE if number is None else number for number in numbers)


def number_of(length: int | Free) -> int | None:
    """Return a length as an item: `None` if it is free."""
    return length if isinstance(length, int) else None


Meaning: TypeAlias = Callable[[Call], Sequence[Value] | Value]
MEANINGS: Final[dict[str, Meaning]] = {}
"""What is known of an operator's outputs, by its name; of outputs that it leaves out nothing is known."""


def means(operators: str) -> Callable[[Meaning], Meaning]:
    """Enter a rule for operators, whose names are separated by blanks."""

    def enter(meaning: Meaning) -> Meaning:
        MEANINGS.update(dict.fromkeys(operators.split(), meaning))
        return meaning

    return enter
