"""Values of minds as messages, and messages as values; both ends of a stream of minds use these functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

import numpy as np

from engram.v1 import replay_pb2 as pb
from engram.v1.arrays import Assembler, dtype_of, element_type_of, header_of
from engram.v1.values import fitting
from engram_format.catalog import AnyArray, Scalar
from engram_format.errors import InvalidInput
from engram_format.ports import MindPort, Perturbation, PortRole

_ROLES: dict[PortRole, pb.PortRole.ValueType] = {
    "stimulus": pb.PORT_ROLE_STIMULUS,
    "noise": pb.PORT_ROLE_NOISE,
    "constant": pb.PORT_ROLE_CONSTANT,
    "state": pb.PORT_ROLE_STATE,
    "response": pb.PORT_ROLE_RESPONSE,
}
_ROLES_BACK = {number: role for role, number in _ROLES.items()}
_EXECUTION = ("form", "threads", "optimisation", "prepacking")


def message_of_port(port: MindPort) -> pb.Port:
    """Say what a port takes or gives."""
    return pb.Port(
        name=port.name,
        role=_ROLES[port.role],
        element_type=element_type_of(port.name, port.dtype),
        step_shape=map(_axis, port.step_shape),
        unit=port.unit,
        channels=port.channels,
        distribution=port.distribution,
    )


def _axis(length: int | str | None) -> pb.Port.Axis:
    if isinstance(length, int):
        return pb.Port.Axis(fixed=length)
    return pb.Port.Axis() if length is None else pb.Port.Axis(symbol=length)


def port_of(message: pb.Port) -> MindPort:
    """Return a port."""
    if message.role not in _ROLES_BACK:
        raise InvalidInput(f"port {message.name!r} has a role unknown to this version of Engram: upgrade it")
    return MindPort(
        name=message.name,
        role=_ROLES_BACK[message.role],
        dtype=dtype_of(message.name, message.element_type),
        step_shape=tuple(
            axis.fixed if axis.HasField("fixed") else axis.symbol if axis.HasField("symbol") else None
            for axis in message.step_shape
        ),
        unit=message.unit,
        channels=tuple(message.channels),
        distribution=message.distribution,
    )


def messages_of_arrays(arrays: Mapping[str, AnyArray]) -> list[pb.Array]:
    """Say arrays with their elements; for those that fit in one message."""
    return [
        pb.Array(header=header_of(name, array), data=array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        for name, array in arrays.items()
    ]


def arrays_of(messages: Iterable[pb.Array]) -> dict[str, AnyArray]:
    """Return arrays by name; raises `InvalidInput` where header and elements do not belong together."""
    arrays = Assembler()
    for message in messages:
        arrays.begin(message.header)
        arrays.fill(message.data)
    return arrays.finish()


def message_of_execution(execution: Mapping[str, Scalar]) -> pb.Execution:
    """Say how minds are run; raises `InvalidInput` for a name that is no part of it."""
    if unknown := sorted(execution.keys() - set(_EXECUTION)):
        raise InvalidInput(f"{unknown[0]!r} is no part of an execution: give some of {', '.join(_EXECUTION)}")
    message = pb.Execution()
    for name, value in execution.items():
        with fitting(f"the execution's {name} {value!r:.100}"):
            setattr(message, name, value)
    return message


def execution_of(message: pb.Execution) -> dict[str, Scalar]:
    """Return what a message says of how minds are run; what is not set is left out."""
    told: dict[str, Scalar] = {}
    if message.form:
        told["form"] = message.form
    if message.threads:
        told["threads"] = message.threads
    if message.optimisation:
        told["optimisation"] = message.optimisation
    if message.HasField("prepacking"):
        told["prepacking"] = message.prepacking
    return told


def set_perturbation(target: pb.TickRequest.Open | pb.TickRequest.Fork, perturbation: Perturbation | None) -> None:
    """Ask for changes of the states with which minds begin."""
    if perturbation is None:
        return
    with fitting(f"the {perturbation}"):
        target.perturbation.seed = perturbation.seed
        if perturbation.scale is not None:
            target.perturbation.scale = perturbation.scale


def perturbation_of(message: pb.TickRequest.Open | pb.TickRequest.Fork) -> Perturbation | None:
    """Return the changes that are asked for."""
    if not message.HasField("perturbation"):
        return None
    told = message.perturbation
    return Perturbation(told.seed, told.scale if told.HasField("scale") else None)


class Lane:
    """One stimulus or response on a stream: its elements as bytes and back, for a session of a number of minds."""

    __slots__ = ("_dtype", "_minds", "_port", "_shape", "_step_bytes")

    def __init__(self, port: MindPort, *, minds: int) -> None:
        self._port = port
        self._minds = minds
        self._dtype = port.dtype.newbyteorder("<")
        self._shape = port.fixed_shape
        self._step_bytes = -1 if port.step_bytes is None else minds * port.step_bytes

    def shape(self, data: bytes, steps: int, told: pb.Shape | None) -> tuple[int, ...]:
        """Return the shape (step, mind, *step shape) of the array that bytes hold.

        Raises `InvalidInput` where the bytes are not as many as the shape says, or a free axis has no length.
        """
        if self._shape is not None:
            shape, expected = (steps, self._minds, *self._shape), steps * self._step_bytes
        else:
            shape = (steps, self._minds, *self._told(told))
            expected = math.prod(shape) * self._dtype.itemsize
        if len(data) != expected:
            raise InvalidInput(
                f"{self._port.role} {self._port} of {self._minds} minds and {steps} steps has {expected} bytes, "
                f"and {len(data)} arrived: send all"
            )
        return shape

    def array(self, data: bytes, steps: int, told: pb.Shape | None) -> AnyArray:
        """Return the array that bytes hold, read-only and without copying them; raises as `shape` does."""
        return np.frombuffer(data, self._dtype).reshape(self.shape(data, steps, told))

    def data(self, array: AnyArray) -> bytes:
        """Return the elements of an array in C order, little-endian."""
        return np.asarray(array, self._dtype).tobytes()

    def _told(self, shape: pb.Shape | None) -> tuple[int, ...]:
        lengths = () if shape is None else tuple(shape.lengths)
        wanted = self._port.step_shape
        if len(lengths) != len(wanted) or any(
            told < 0 or (isinstance(length, int) and told != length)
            for told, length in zip(lengths, wanted, strict=True)
        ):
            raise InvalidInput(f"{self._port.role} {self._port} has free axes: tell its step shape, not {lengths}")
        return lengths


class Lanes:
    """The stimuli or the responses of a session, in the order of the ports."""

    __slots__ = ("_free", "_lanes", "step_bytes")

    step_bytes: int | None
    """Bytes of one step of all minds; `None` where an axis is free."""

    def __init__(self, ports: Sequence[MindPort], *, minds: int) -> None:
        self._lanes = [Lane(port, minds=minds) for port in ports]
        known = [port.step_bytes for port in ports if port.step_bytes is not None]
        self.step_bytes = minds * sum(known) if len(known) == len(ports) else None
        self._free = any(port.fixed_shape is None for port in ports)

    def shapes(self, data: Sequence[bytes], steps: int, told: Sequence[pb.Shape]) -> list[tuple[int, ...]]:
        """Return the shapes of the arrays that a message holds.

        Raises `InvalidInput` for no steps, and for arrays too many, too few or of a wrong size.
        """
        return [lane.shape(held, steps, shape) for lane, held, shape in self._each(data, steps, told)]

    def arrays(self, data: Sequence[bytes], steps: int, told: Sequence[pb.Shape]) -> list[AnyArray]:
        """Return the arrays that a message holds, read-only; raises as `shapes` does."""
        return [lane.array(held, steps, shape) for lane, held, shape in self._each(data, steps, told)]

    def _each(
        self, data: Sequence[bytes], steps: int, told: Sequence[pb.Shape]
    ) -> Iterable[tuple[Lane, bytes, pb.Shape | None]]:
        if len(data) != len(self._lanes) or (self._free and len(told) != len(data)):
            raise InvalidInput(
                f"{len(data)} arrays with {len(told)} shapes arrived where {len(self._lanes)} are due: send one for each port"
            )
        if steps < 1:
            raise InvalidInput("a step of no steps does nothing: send at least one")
        return zip(self._lanes, data, told if self._free else repeat(None), strict=False)

    def data(self, arrays: Sequence[AnyArray]) -> list[bytes]:
        """Return the elements of arrays as a message holds them."""
        return [lane.data(array) for lane, array in zip(self._lanes, arrays, strict=True)]

    def told(self, arrays: Sequence[AnyArray]) -> list[pb.Shape]:
        """Return the step shapes that go with arrays; none where no port has a free axis."""
        return [pb.Shape(lengths=array.shape[2:]) for array in arrays] if self._free else []
