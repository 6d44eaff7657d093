"""Students of one architecture that differ in their weights, as one network.

Two forms, each with an id that belongs to the execution profile, since forms differ in the last digits:

- `stacked-2`: every weight is stacked along an axis of minds, and each row is multiplied by itself (`widening`). The bits of a
  mind depend neither on how many minds there are (two or more), nor on which ones and in which order, nor on how many rows
  each has. A mind is run again alone as a group of two of itself.
- `shared-1`: weights that are bit for bit the same in all students are kept once, and take the rows of all minds together as a
  student alone would; only the others are stacked. The bits of a mind depend on which weights are shared, and on nothing else
  of its company, so a record of this form names them (`Choice.shared`).

In both, every input and output is `(minds, *shape in the student)`, and a free batch axis stays free. One call is one step: a
time axis of recurrent operators gets the length 1.

Stacking saves calls, not bytes: each mind's own weights are still read in each step. Measured on one core with one row a mind,
64 students of 64 units run 6 times as fast stacked as one by one; students of 1 MB are bound by memory and gain little, unless
they share most of it, and then 8 to 12 times.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import helper, shape_inference

from engram_format.errors import InvalidInput
from engram_replay.architecture import Architecture, Length, lengths_of, read_architecture, values_of
from engram_replay.cells import CELLS
from engram_replay.execution import Form
from engram_replay.operators import add_operator
from engram_replay.widening import CannotStack, Network, Value

__all__ = [
    "CannotStack",
    "Choice",
    "architecture_of",
    "choose",
    "shared_base",
    "shared_weights",
    "stack",
]

MINDS_METADATA: Final = "engram.stack.minds"
FORM_METADATA: Final = "engram.stack.form"
SHARED_METADATA: Final = "engram.stack.shared"
"""What a stacked network's own metadata say of it: how many minds, the form's id, the places of the shared weights."""

_OLDEST_OPSET: Final = 13
_MAX_BYTES: Final = 512 << 20
"""The weights of one network together; a message of the format holds less than 2 GiB."""
_SMALL_BYTES: Final = 256 << 10
"""Own weights of a student below which a call costs more than reading them."""
_SMALL_WIDTH: Final = 128
_FEW_ROWS: Final = {Form.STACKED: 4, Form.SHARED: 16}
"""Rows of each mind up to which a form pays: with more, a call for each student does more work than it costs."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How a group of students should be run, and why."""

    form: Form
    reason: str
    """A sentence without a full stop."""
    network: bytes | None = None
    """The network of all students; `None` where they run one by one."""
    shared: tuple[str, ...] = ()
    """The weights that the form `shared-1` keeps once, by their places, as `shared_weights` returns them."""


def architecture_of(model: onnx.ModelProto) -> str:
    """Return the digest of a network without its weights: 64 hex digits, equal for students that may be stacked.

    See `architecture`. Raises `InvalidInput` for a network that keeps tensors in other files.
    """
    return read_architecture(model).digest


def stack(models: Sequence[onnx.ModelProto]) -> bytes:
    """Return one network that runs all students, in their order, in the form `stacked-2`.

    The networks have passed the gate: their shapes are inferred here. Raises `CannotStack` for fewer than two students, for
    students of different architectures, and, naming the node, where they compute what is not known to keep minds apart.
    """
    group = _group(models)
    return _widen(models, group, form=Form.STACKED, shared=())


def shared_weights(models: Sequence[onnx.ModelProto]) -> tuple[str, ...]:
    """Return the weights that are the same bits in all students, by their places: "0" is the first that a node uses, and so on.

    Places are the same in all students of an architecture, and names need not be. Raises `CannotStack` where the students are
    of different architectures.
    """
    group = _group(models)
    return _places(group[0], _shared(group))


def shared_base(models: Sequence[onnx.ModelProto], *, shared: Collection[str] | None = None) -> bytes | None:
    """Return one network that runs all students in the form `shared-1`, or `None` if they share less than half their bytes.

    With `shared`, the places that a record gives, just these weights are kept once, however much that is: so a student can be
    run again, as a group of two of itself, with the bits that it had in company. Raises `InvalidInput` for a place that has no
    weight or one that students differ in, and `CannotStack` as `stack` does.
    """
    group = _group(models)
    same = _shared(group)
    if shared is None:
        if not same or 2 * _bytes(group[0], same) < _bytes(group[0], group[0].weights):
            return None
        return _widen(models, group, form=Form.SHARED, shared=same)
    named = dict(zip(_places(group[0], same), same, strict=True))
    if not set(shared) <= set(named):
        wrong = min(set(shared) - set(named))
        raise InvalidInput(
            f"there is no weight {wrong[:80]!r} that these students share: name some of {', '.join(named)}"
        )
    return _widen(models, group, form=Form.SHARED, shared=[named[place] for place in shared])


def choose(models: Sequence[onnx.ModelProto], *, rows: int = 1) -> Choice:
    """Choose the form for a group of students, each with so many rows in a step, by their sizes alone.

    Students that cannot be stacked run one by one, and the reason names the node; nothing is raised for them.
    """
    if len(models) < 2:
        return Choice(Form.SOLO, "one student runs by itself: there is nothing to group")
    try:
        group = _group(models)
        same = _shared(group)
        form, reason = _by_size(group, same, rows=rows)
        if form is Form.SOLO:
            return Choice(form, reason)
        shared = same if form is Form.SHARED else ()
        return Choice(form, reason, _widen(models, group, form=form, shared=shared), _places(group[0], shared))
    except CannotStack as error:
        return Choice(Form.SOLO, f"{len(models)} students run one by one: {error}")


def _by_size(group: Sequence[Architecture], same: Collection[str], *, rows: int) -> tuple[Form, str]:
    first, many = group[0], f"{len(group)} students"
    total, width = _bytes(first, first.weights), _width(first)
    own = total - _bytes(first, same)
    if not own:
        return Form.SOLO, f"{many} are one and the same: minds of one student are rows of one call"
    shared = 2 * own <= total and own <= _SMALL_BYTES
    if not shared and own > _SMALL_BYTES and width > _SMALL_WIDTH:
        return Form.SOLO, (
            f"{many} run one by one: each has {_size(own)} of weights for itself in layers of {width} units, and reading them "
            f"takes longer than a call, which is all that stacking saves (up to {_size(_SMALL_BYTES)} or {_SMALL_WIDTH} units)"
        )
    form = Form.SHARED if shared else Form.STACKED
    if rows > _FEW_ROWS[form]:
        return Form.SOLO, (
            f"{many} run one by one: with {rows} rows each, a call costs little beside its computing (up to {_FEW_ROWS[form]} "
            "rows are computed together)"
        )
    if shared:
        return form, (
            f"{many} run as one network on a shared base: of {_size(total)} of weights each has {_size(own)} for itself"
        )
    return form, (
        f"{many} run as one network with stacked weights: with {_size(total)} of weights in layers of {width} units, a call "
        "for each would cost more than its computing"
    )


def _group(models: Sequence[onnx.ModelProto]) -> list[Architecture]:
    """Take the students apart; they are two or more, of one architecture."""
    if len(models) < 2:
        # The runtime takes a single stack of weights for a plain matrix, and multiplies rows together again.
        raise CannotStack("a stack is of two students or more: give one that is alone twice")
    group = [read_architecture(model) for model in models]
    kinds = len({architecture.digest for architecture in group})
    if kinds > 1:
        raise CannotStack(f"they are of {kinds} architectures: group those that differ in their weights only")
    return group


def _shared(group: Sequence[Architecture]) -> tuple[str, ...]:
    columns = zip(*(architecture.weights for architecture in group), strict=True)
    return tuple(
        names[0]
        for names in columns
        if all(
            _same(group[0].tensors[names[0]], other.tensors[name])
            for other, name in zip(group[1:], names[1:], strict=True)
        )
    )


def _places(architecture: Architecture, names: Collection[str]) -> tuple[str, ...]:
    return tuple(str(place) for place, name in enumerate(architecture.weights) if name in names)


def _same(one: onnx.TensorProto, other: onnx.TensorProto) -> bool:
    if one.raw_data and other.raw_data:
        return one.raw_data == other.raw_data
    return values_of(one).tobytes() == values_of(other).tobytes()


def _widen(
    models: Sequence[onnx.ModelProto], group: Sequence[Architecture], *, form: Form, shared: Collection[str]
) -> bytes:
    first, model = group[0], models[0]
    own = [name for name in first.weights if name not in shared]
    total = _bytes(first, shared) + len(group) * _bytes(first, own)
    if total > _MAX_BYTES:
        raise CannotStack(
            f"they have {_size(total)} of weights and at most {_size(_MAX_BYTES)} are stacked: make groups"
        )
    opset = max((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), default=0)
    if opset < _OLDEST_OPSET:
        raise CannotStack(f"they are of opset {opset}: convert them to opset {_OLDEST_OPSET} or later")
    lengths = _lengths(model, first)
    pinned = _steps(first, lengths)
    network = Network(_columns(group), minds=len(group), own=own, lengths=lengths, pinned=pinned)
    for value in first.inputs:
        network.put(value.name, Value(value.name, len(network.lengths(value.name)), own=True))
    for node in first.nodes:
        add_operator(network, node)
    for value in model.graph.output:
        network.name_output(value.name)

    def widened(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
        shape = [network.minds, *network.lengths(value.name)]
        return helper.make_tensor_value_info(value.name, value.type.tensor_type.elem_type, shape)

    graph = helper.make_graph(
        network.nodes,
        model.graph.name or "students",
        [widened(value) for value in first.inputs],
        [widened(value) for value in model.graph.output],
        initializer=network.tensors,
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=model.ir_version, producer_name="engram"
    )
    said = {FORM_METADATA: form.value, MINDS_METADATA: str(len(group))}
    if form is Form.SHARED:
        said[SHARED_METADATA] = " ".join(_places(first, shared))
    helper.set_model_props(made, {**_common_metadata(models), **said})
    return made.SerializeToString(deterministic=True)


def _columns(group: Sequence[Architecture]) -> dict[str, list[onnx.TensorProto]]:
    """Return the students' tensors by their names in the first one."""
    every = zip(*(architecture.tensors.items() for architecture in group), strict=True)
    return {column[0][0]: [tensor for _, tensor in column] for column in every}


def _lengths(model: onnx.ModelProto, first: Architecture) -> dict[str, tuple[Length, ...]]:
    """Return the axes of every value that a student takes, holds or computes, where they can be inferred."""
    if model.functions or any(
        attribute.HasField("g") or attribute.graphs for node in first.nodes for attribute in node.attribute
    ):
        raise CannotStack("they hold functions, branches or loops: replay these students one by one")
    try:
        graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    except (shape_inference.InferenceError, ValueError) as error:
        raise CannotStack("their shapes do not fit one another: check one of them with onnx.checker") from error
    declared = {value.name: lengths_of(value) for value in (*graph.value_info, *graph.output, *first.inputs)}
    known = {name: lengths for name, lengths in declared.items() if lengths is not None}
    return known | {name: tuple(tensor.dims) for name, tensor in first.tensors.items()}


def _steps(first: Architecture, lengths: Mapping[str, tuple[Length, ...]]) -> set[str]:
    """Return the symbols of time axes."""
    times = [lengths.get(node.input[0], (None,))[0] for node in first.nodes if node.op_type in CELLS]
    return {time for time in times if isinstance(time, str)}


def _common_metadata(models: Sequence[onnx.ModelProto]) -> dict[str, str]:
    """Return what all students say of themselves alike, such as their contract."""
    said = [{entry.key: entry.value for entry in model.metadata_props} for model in models]
    return {key: value for key, value in said[0].items() if all(other.get(key) == value for other in said[1:])}


def _bytes(architecture: Architecture, names: Collection[str]) -> int:
    tensors = (architecture.tensors[name] for name in names)
    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize for tensor in tensors
    )


def _width(architecture: Architecture) -> int:
    """Return the shorter side of the largest matrix of weights: the number of units of a recurrent layer."""
    shapes = (architecture.tensors[name].dims for name in architecture.weights)
    return max((min(shape[-2:]) for shape in shapes if len(shape) > 1), default=0)


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"
