"""Students by the names that clients of the Open Inference Protocol give: addresses, with the version in them or beside them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from engram_format.address import Address, AnyAddress, ContentAddress, parse_any
from engram_format.catalog import Artifact
from engram_format.errors import EngramError, ErrorKind, InvalidInput, NotFound
from engram_replay.contract import Contract, Port, Role
from engram_replay.residents import StudentSource
from engram_server.engine.minds import Minds
from engram_server.rpc.inference_axes import Axes

_FRESH_S: Final = 1.0
"""How long the newest version stays the newest without asking the archive again."""
_FIXED_S: Final = 60.0
"""How long a version that is named is not asked for again: it does not change, but it can be erased."""
_MAX_KNOWN: Final = 1024


@dataclass(frozen=True)
class Model:
    """A student in one version of its memory, and what of its contract every request asks for."""

    artifact: Artifact
    source: StudentSource
    contract: Contract

    @cached_property
    def name(self) -> str:
        """The address without its version."""
        return str(self.artifact.address.at(None))

    @cached_property
    def version(self) -> str:
        """The number of the memory's version."""
        return str(self.artifact.address.version or "")

    @cached_property
    def inputs(self) -> Mapping[str, Port]:
        """What a request may bring, by name: stimuli, noise and constants."""
        return {port.name: port for port in (*self.contract.driven, *self.contract.constants)}

    @cached_property
    def given(self) -> Mapping[str, Port]:
        """What a request may bring whose noise is drawn here."""
        return {name: port for name, port in self.inputs.items() if port.role is not Role.NOISE}

    def needed(self, *, draws: bool) -> tuple[str, ...]:
        """Return the inputs that a request must bring, whose noise is drawn here or not: those without a value of their own."""
        return tuple(name for name, port in (self.given if draws else self.inputs).items() if port.value is None)

    @cached_property
    def stimuli(self) -> tuple[Axes, ...]:
        """The stimuli, in the order of the contract."""
        return self.driven[: len(self.contract.stimuli)]

    @cached_property
    def driven(self) -> tuple[Axes, ...]:
        """The stimuli, then the noise, in the order of the contract."""
        return tuple(Axes.of(port) for port in self.contract.driven)

    @cached_property
    def responses(self) -> Mapping[str, Axes]:
        """The responses by name, in the order of the contract."""
        return {port.name: Axes.of(port) for port in self.contract.responses}

    @cached_property
    def states(self) -> Mapping[str, Axes]:
        """The states by the name of the input, in the order of the contract."""
        return {port.name: Axes.of(port, is_state=True) for port in self.contract.states}

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """What a response may bring: responses, and the outputs that replace states."""
        return (*self.responses, *(axes.port.after for axes in self.states.values()))


def address_of(name: str, version: str) -> AnyAddress:
    """Return the address that a name and a version give; an empty version is the name's own, or the newest.

    Raises `NotFound` for a name that is no artifact's address, as for any model that is not there, and `InvalidInput` for a
    version that is no number or another one than the name's.
    """
    try:
        address = parse_any(name)
    except InvalidInput as error:
        raise NotFound(f"there is no model {name!r:.200}: name a student as vault/memory[@version]:path") from error
    if isinstance(address, ContentAddress):
        return address
    if address.path is None:
        raise NotFound(f"there is no model {name!r}: name a student as vault/memory[@version]:path")
    if not version:
        return address
    if not (version.isascii() and version.isdigit() and len(version) <= 9 and int(version)):
        raise InvalidInput(f"model version {version!r:.40} is no version of a memory: give a number from 1, or none")
    if address.version not in (None, int(version)):
        raise InvalidInput(f"model {name!r} is asked for in version {version}: give the version once")
    return address.at(int(version))


class Models:
    """The students that were asked for, with their contracts. Used from one event loop."""

    def __init__(self, minds: Callable[[], Minds], *, clock: Callable[[], float]) -> None:
        """`minds` are asked for when they are first needed; `clock` tells seconds."""
        self._minds = minds
        self._clock = clock
        self._known: OrderedDict[AnyAddress, tuple[float, Model]] = OrderedDict()
        self._refused: OrderedDict[str, str] = OrderedDict()

    async def find(self, address: AnyAddress) -> Model:
        """Return a student, loading it if that was not done; raises `NotFound`, or what says why it is refused."""
        found = self._known.get(address)
        if found is not None and self._clock() < found[0]:
            self._known.move_to_end(address)
            return found[1]
        return await self.load(address)

    async def load(self, address: AnyAddress) -> Model:
        """Return a student as `find` does, but ask the archive and the student's process in any case."""
        minds = self._minds()
        try:
            artifact, source = await minds.source(address)
            contract = await minds.host.contract(source)
        except EngramError as error:
            self._note_refusal(address, error)
            raise
        model = Model(artifact, source, contract)
        self._refused.pop(model.name, None)
        is_fixed = isinstance(address, ContentAddress) or address.version is not None
        until = self._clock() + (_FIXED_S if is_fixed else _FRESH_S)
        self._known[address] = (until, model)
        self._known.move_to_end(address)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        return model

    @property
    def refused(self) -> Mapping[str, str]:
        """Why students were refused when they were last loaded, by address without version."""
        return self._refused

    def _note_refusal(self, address: AnyAddress, error: EngramError) -> None:
        self._known.pop(address, None)
        if isinstance(address, Address) and error.kind in (ErrorKind.PRECONDITION, ErrorKind.INVALID):
            self._refused[str(address.at(None))] = str(error)
            if len(self._refused) > _MAX_KNOWN:
                self._refused.popitem(last=False)
