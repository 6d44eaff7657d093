"""Operators that work on each element by itself, or keep the shape of their first input."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from engram_replay.gate.calls import Call, means
from engram_replay.gate.limits import Rule, shown
from engram_replay.gate.values import WHOLE_TYPES, Items, Shape, Value, broadcast, lengths, small, with_items


def each(call: Call, function: Callable[..., Any] | None, *, element_type: int, first: int = 0) -> Value:
    """Return the outcome of a function on the elements of the inputs from `first`, which are broadcast to one shape."""
    inputs = [call.value(index) for index in range(len(call.inputs))]
    shape = broadcast(value.shape for value in inputs[first:])
    if function is None or shape is None or not element_type:
        return Value(element_type, shape)
    return Value(element_type, shape, _items(function, inputs, shape, element_type))


def _items(function: Callable[..., Any], inputs: Sequence[Value], shape: Shape, element_type: int) -> Items | None:
    dims = lengths(shape)
    given = [value.blank for value in inputs]
    if dims is None or not small(dims) or any(items is None for items in given):
        return None
    if all(value.items is None for value in inputs):
        return None

    def known(*items: Any) -> Any:  # noqa: ANN401 - elements are of any type
        return None if None in items else function(*items)

    try:
        found = np.frompyfunc(known, len(given), 1)(*given)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return with_items(element_type, np.asarray(found, dtype=object).reshape(dims)).items


def _divide(a: Any, b: Any) -> Any:  # noqa: ANN401
    """Divide as runtimes do: whole numbers towards zero."""
    if not isinstance(a, int):
        return a / b
    return -(-a // b) if (a < 0) != (b < 0) else a // b


def _power(a: Any, b: Any) -> Any:  # noqa: ANN401
    """Raise a whole number to a small power; other outcomes differ from runtime to runtime in their last bit."""
    return a**b if a == int(a) and b in range(65) else None


_ARITHMETIC: Final[dict[str, Callable[..., Any]]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _divide,
    "Pow": _power,
    "Neg": operator.neg,
    "Abs": abs,
    "Floor": math.floor,
    "Ceil": math.ceil,
    "Min": min,
    "Max": max,
    "Sum": lambda *items: sum(items),
    "Relu": lambda a: max(a, 0),
    "Sqrt": math.sqrt,
}
_COMPARISON: Final[dict[str, Callable[..., Any]]] = {
    "Equal": operator.eq,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "And": lambda a, b: a and b,
    "Or": lambda a, b: a or b,
    "Xor": operator.ne,
    "Not": operator.not_,
}


@means(" ".join(_ARITHMETIC))
def _arithmetic(call: Call) -> Value:
    function = _ARITHMETIC[call.node.op_type]
    if len(call.inputs) == 1 and call.node.op_type in ("Min", "Max", "Sum"):
        return call.value(0)
    return each(call, function, element_type=call.value(0).type)


@means(" ".join(_COMPARISON))
def _comparison(call: Call) -> Value:
    return each(call, _COMPARISON[call.node.op_type], element_type=TensorProto.BOOL)


@means("IsNaN IsInf")
def _test(call: Call) -> Value:
    return Value(TensorProto.BOOL, call.value(0).shape)


@means("Mod")
def _remainder(call: Call) -> Value:
    whole = call.value(0).type in WHOLE_TYPES and not call.number("fmod", 0)
    return each(call, operator.mod if whole else None, element_type=call.value(0).type)


@means("BitShift BitwiseAnd BitwiseOr BitwiseXor PRelu Mean")
def _unfollowed(call: Call) -> Value:
    return each(call, None, element_type=call.value(0).type)


@means("Where")
def _where(call: Call) -> Value:
    return each(call, lambda chosen, a, b: a if chosen else b, element_type=call.value(1).type)


@means("Clip")
def _clip(call: Call) -> Value:
    return Value(call.value(0).type, call.value(0).shape)


@means("Identity")
def _identity(call: Call) -> Value:
    return call.value(0)


@means("Cast")
def _cast(call: Call) -> Value:
    return _converted(call.value(0), call.number("to", 0))


@means("CastLike")
def _cast_like(call: Call) -> Value:
    return _converted(call.value(0), call.value(1).type)


def _converted(value: Value, element_type: int) -> Value:
    if value.items is None or not element_type:
        return Value(element_type, value.shape)
    items = value.items
    if element_type in WHOLE_TYPES:
        items = np.frompyfunc(lambda item: None if item is None else math.trunc(item), 1, 1)(items)
    return with_items(element_type, np.asarray(items, dtype=object).reshape(value.items.shape))


@means("Dropout")
def _dropout(call: Call) -> Sequence[Value]:
    if call.has(2) and not call.gate.limits.allow_random and call.value(2).listed() != [False]:
        raise call.gate.refusal(
            Rule.RANDOM,
            f"draws random numbers in node {shown(call.node.name)} (Dropout), so no replay would equal another",
            remedy="export it for inference",
        )
    return call.value(0), Value(TensorProto.BOOL, call.value(0).shape)


@means("BatchNormalization")
def _batch_normalization(call: Call) -> Value:
    if call.number("training_mode", 0):
        raise call.gate.refusal(
            Rule.TRAINING,
            f"trains in node {shown(call.node.name)} (BatchNormalization)",
            remedy="export it for inference",
        )
    return replace(call.value(0), items=None)


@means(
    """
    Acos Acosh Asin Asinh Atan Atanh BitwiseNot Celu Cos Cosh CumProd CumSum Elu Erf Exp Gelu GroupNormalization HardSigmoid
    HardSwish Hardmax InstanceNormalization LRN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization
    MeanVarianceNormalization Mish RMSNormalization Reciprocal ReverseSequence RotaryEmbedding Round ScatterElements ScatterND
    Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Swish Tan Tanh ThresholdedRelu Trilu
    """
)
def _kept(call: Call) -> Value:
    return Value(call.value(0).type, call.value(0).shape)


@means("QuantizeLinear")
def _quantized(call: Call) -> Value:
    element_type = call.value(2).type if call.has(2) else call.number("output_dtype", 0) or TensorProto.UINT8
    return Value(element_type, call.value(0).shape)


@means("DequantizeLinear")
def _dequantized(call: Call) -> Value:
    return Value(call.number("output_dtype", 0) or call.value(1).type, call.value(0).shape)


@means("DynamicQuantizeLinear")
def _dynamically_quantized(call: Call) -> Sequence[Value]:
    shape = call.value(0).shape
    return Value(TensorProto.UINT8, shape), Value(TensorProto.FLOAT, ()), Value(TensorProto.UINT8, ())
