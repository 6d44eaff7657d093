"""The bounds that the gate holds a network to, and the refusals that name its rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engram_replay.refusal import Refused


class Rule(StrEnum):
    """What a network breaks; sent to clients, so names are never changed and the list only grows."""

    TOO_MANY_BYTES = "too-many-bytes"
    """The file is larger than may be loaded, or its lists of small numbers would be once they are spread out."""
    TOO_MANY_FIELDS = "too-many-fields"
    """The message has more parts than a network of the largest size, so that reading it would take too much memory."""
    TOO_MUCH_TEXT = "too-much-text"
    """Names, documentation and metadata are longer than any network needs."""
    UNKNOWN_FIELD = "unknown-field"
    """The message has a part that this version of ONNX does not know, so nobody can say what it makes a runtime do."""
    NESTING = "nesting"
    """Branches and functions lie within one another too deep."""
    EXTERNAL_DATA = "external-data"
    """A tensor is kept in another file, which the runtime would open."""
    SPARSE = "sparse"
    """A tensor is stored sparse, so that a few bytes may stand for any size."""
    TRAINING = "training"
    """The network brings training with it."""
    OPSET = "opset"
    """The operators are of a version that is not replayed."""
    IR_VERSION = "ir-version"
    """The file is of a version that is not replayed."""
    OPERATOR = "operator"
    """An operator is not among those that are replayed."""
    LOOP = "loop"
    """An operator repeats a part of the network, perhaps without an end."""
    RANDOM = "random"
    """An operator draws random numbers, so no replay would equal another."""
    FUNCTION = "function"
    """A function is defined twice, or takes the name of an operator."""
    RECURSIVE_FUNCTION = "recursive-function"
    """A function calls itself, perhaps through others."""
    FUNCTION_BOMB = "function-bomb"
    """With its functions written out, the network has too many nodes."""
    TOO_MANY_NODES = "too-many-nodes"
    TOO_MANY_VALUES = "too-many-values"
    """A node has too many inputs, outputs or attributes, or the network has too many inputs or outputs."""
    TOO_MANY_TENSORS = "too-many-tensors"
    DUPLICATE_NAME = "duplicate-name"
    """Two values have one name."""
    UNDEFINED = "undefined"
    """A name stands for no value."""
    CYCLE = "cycle"
    """A node uses what is made only after it."""
    TENSOR_TYPE = "tensor-type"
    """A tensor is of texts, of complex numbers, or of no type."""
    TENSOR_DATA = "tensor-data"
    """A tensor's data is not what its shape and type ask for."""
    TENSOR_SIZE = "tensor-size"
    """A tensor that is stored, declared or computed is too large whatever the stimulus."""
    CONSTANT_SIZE = "constant-size"
    """The tensors that do not depend on the stimulus are too large together."""
    INDEX = "index"
    """A constant index lies outside of the axis that it picks from."""
    SIGNATURE = "signature"
    """The inputs and outputs cannot be those of a student."""


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What a network may be. The defaults hold for any student that one core steps in real time, with much room."""

    max_bytes: int = 512 * 2**20
    """Of the file; reading it takes as much again."""
    max_listed: int = 64 * 2**20
    """Bytes that numbers listed one by one take when read, up to eight times those in the file; weights are raw data instead."""
    max_fields: int = 250_000
    """Parts of the message: sixty for each of 4,096 nodes, where exporters write ten to twenty; one costs about 1 us and 200 B."""
    max_text: int = 16 * 2**20
    """Bytes of names, documentation and metadata together; exporters write the program's source into these."""
    max_nodes: int = 4096
    """With branches counted and functions written out: ten times those of the networks that we have met."""
    max_depth: int = 16
    """Branches within branches, and functions within functions; what exporters write has three or four."""
    max_values: int = 1024
    """Inputs, outputs or attributes of one node; inputs or outputs of the network."""
    max_tensors: int = 16_384
    """Stored in the file, in initializers and attributes."""
    max_rank: int = 32
    """Axes of a tensor."""
    max_tensor_elements: int = 2**28
    max_tensor_bytes: int = 512 * 2**20
    """Of one tensor, stored or computed: no more than the largest file could store."""
    max_constant_bytes: int = 2 * 2**30
    """Of all tensors that do not depend on the stimulus, which a runtime may compute when loading and then keeps."""
    min_opset: int = 13
    max_opset: int = 28
    min_ir_version: int = 3
    max_ir_version: int = 14
    allow_loops: bool = False
    """Let `Loop` and `Scan` pass: for networks from trusted hands, since nothing bounds how often they repeat."""
    allow_random: bool = False
    """Let operators pass that draw random numbers: such a replay cannot be verified."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The limits, and the name that the network has in refusals."""

    what: str
    limits: GateLimits

    def refusal(self, rule: Rule, wrong: str, *, remedy: str) -> Refused:
        """Return the error that says what is `wrong` with the network and what to do about it."""
        return Refused(f"{self.what} {wrong}: {remedy}", rule=rule)


def shown(name: str) -> str:
    """Return a name from the network as a message shows it: quoted, and no longer than a line bears."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
