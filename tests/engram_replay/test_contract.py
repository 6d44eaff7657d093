"""A student's contract: told from the network where there is no choice, completed by what is said, and kept as metadata."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from engram_testing import students
from hypothesis import given

from engram_format.errors import InvalidInput
from engram_format.manifest import check_metadata
from engram_replay import Tensor
from engram_replay.contract import Contract, Distribution, Port, Role
from engram_replay.contract_file import parse_contract
from engram_replay.contract_inference import infer
from engram_replay.loader import load_student
from engram_replay.told import NO_AXIS, Told, ToldPort

F32 = np.dtype(np.float32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def tensor(name: str, *shape: int | str | None, dtype: str = "float32") -> Tensor:
    return Tensor(name, np.dtype(dtype), shape)


def tensors(data: bytes) -> tuple[list[Tensor], list[Tensor]]:
    """Return a network's inputs and outputs as the runtime tells them."""
    types = {"tensor(float)": "float32", "tensor(int64)": "int64"}
    session = load_student(data).session
    sides = (session.get_inputs(), session.get_outputs())
    inputs, outputs = ([tensor(node.name, *node.shape, dtype=types[node.type]) for node in side] for side in sides)
    return inputs, outputs


def contract_of(data: bytes, told: Told | None = None) -> Contract:
    inputs, outputs = tensors(data)
    return infer(inputs, outputs, metadata={}, told=told)


def axes(contract: Contract) -> dict[str, tuple[int | None, int | None]]:
    """Return time and minds axis by name."""
    return {port.name: (port.time_axis, port.minds_axis) for port in contract.ports}


# --- what the network tells


def test_the_four_usual_students_are_told_by_their_networks():
    found = {kind: contract_of(getattr(students, kind)()) for kind in ("gru", "reservoir", "tcn", "transformer")}
    assert axes(found["gru"]) == {"x": (0, 1), "h0": (None, 1), "y": (0, 1)}
    assert axes(found["reservoir"]) == {"x": (None, 0), "h0": (None, 0), "y": (None, 0)}
    assert axes(found["tcn"]) == {"x": (2, 0), "ctx": (None, 0), "y": (2, 0)}
    assert axes(found["transformer"]) == {"x": (None, 0), "y": (None, 0)}
    assert {kind: contract.states[0].after for kind, contract in found.items() if contract.states} == {
        "gru": "h1",
        "reservoir": "h1",
        "tcn": "ctx1",
    }
    assert [found["gru"].stimuli[0].step_shape, found["tcn"].stimuli[0].step_shape] == [(64,), (64,)]


def test_silero_is_told_as_far_as_its_network_says_and_complete_with_a_file(silero_bytes):
    inferred = contract_of(silero_bytes)
    assert axes(inferred) == {"input": (None, 0), "sr": (None, None), "state": (None, 1), "output": (None, 0)}
    assert [port.role for port in inferred.ports] == [Role.STIMULUS, Role.CONSTANT, Role.STATE, Role.RESPONSE]
    assert inferred.states[0].after == "stateN"
    assert inferred.constants[0].value is None
    told = parse_contract(
        """{"sampling_interval_s": 0.032,
            "inputs": {"input": {"minds_axis": 0, "shape": ["batch", 576]}, "state": {"minds_axis": 1}, "sr": {"value": 16000}},
            "outputs": {"output": {"distribution": "bernoulli", "channels": ["speech"]}}}""",
        what="silero.json",
    )
    complete = contract_of(silero_bytes, told)
    assert axes(complete) == axes(inferred)
    assert complete.stimuli[0].step_shape == (576,)
    assert complete.constants[0].value == 16000
    assert complete.responses[0].distribution is Distribution.BERNOULLI
    assert complete.sampling_interval_s == 0.032
    assert complete.takes_minds
    assert not complete.takes_steps


def test_basic_pitch_has_no_axis_that_its_symbols_tell_until_it_is_said(basic_pitch):
    session = basic_pitch.session
    inputs = [tensor(node.name, *node.shape) for node in session.get_inputs()]
    outputs = [tensor(node.name, *node.shape) for node in session.get_outputs()]
    assert set(axes(infer(inputs, outputs, metadata={})).values()) == {(None, None)}
    told = Told(inputs=(ToldPort("serving_default_input_2:0", minds_axis=0),))
    assert set(axes(infer(inputs, outputs, metadata={}, told=told)).values()) == {(None, 0)}


def test_states_whose_outputs_sort_the_other_way_are_not_swapped():
    inputs = [tensor("x", "B", 4), tensor("a_state", "B", 8), tensor("b_state", "B", 8)]
    outputs = [tensor("new_b_state", "B", 8), tensor("new_a_state", "B", 8), tensor("y", "B", 2)]
    for order in (1, -1):
        contract = infer(inputs[::order], outputs, metadata={})
        assert {port.name: port.after for port in contract.states} == {
            "a_state": "new_a_state",
            "b_state": "new_b_state",
        }
    crossed = Told(inputs=(ToldPort("a_state", after="new_b_state"), ToldPort("b_state", after="new_a_state")))
    contract = infer(inputs, outputs, metadata={}, told=crossed)
    assert {port.name: port.after for port in contract.states} == {"a_state": "new_b_state", "b_state": "new_a_state"}


def test_one_state_is_said_and_the_other_told_by_its_name():
    inputs = [tensor("x", 1, 4), tensor("h0", 1, 8), tensor("odd", 1, 8)]
    outputs = [tensor("even", 1, 8), tensor("hn", 1, 8), tensor("y", 1, 2)]
    contract = infer(inputs, outputs, metadata={}, told=Told(inputs=(ToldPort("odd", after="even"),)))
    assert {port.name: port.after for port in contract.states} == {"h0": "hn", "odd": "even"}
    assert [port.name for port in contract.responses] == ["y"]
    by_network = infer(inputs, outputs, metadata={"engram.state.odd": "even", "engram.state.h0": "hn"})
    assert by_network.states == contract.states


def test_an_input_that_reads_like_state_may_be_said_to_be_a_stimulus():
    inputs, outputs = [tensor("state", "B", 4)], [tensor("y", "B", 2)]
    with pytest.raises(InvalidInput, match="not clear which output is the next value of state 'state'"):
        infer(inputs, outputs, metadata={})
    contract = infer(inputs, outputs, metadata={}, told=Told(inputs=(ToldPort("state", role=Role.STIMULUS),)))
    assert [port.name for port in contract.stimuli] == ["state"]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        pytest.param([tensor("x", 1, 31)], [tensor("y", 1, 6)], id="a fixed batch of one is no axis of minds"),
        pytest.param(
            [tensor("x", "B", 4), tensor("h0", 1, 8)], [tensor("y", "B", 2), tensor("hn", 1, 8)], id="a state without"
        ),
        pytest.param([tensor("x", "T", 4)], [tensor("y", 2)], id="a response without time"),
        pytest.param([tensor("x", "p", "q", 4)], [tensor("y", "p", "q", 2)], id="symbols that say nothing"),
        pytest.param([tensor("x", "B", "batch", 4)], [tensor("y", "B", "batch", 2)], id="two that could be minds"),
        pytest.param([tensor("x", None, 4)], [tensor("y", None, 2)], id="no symbol"),
        pytest.param([tensor("x", "T", "B")], [tensor("y", "u", 3)], id="one left for two"),
        pytest.param([tensor("x", "batch*seq", 4)], [tensor("y", "batch*seq", 2)], id="a product of both"),
    ],
)
def test_what_is_ambiguous_is_one_mind_and_one_step_a_call(inputs, outputs):
    assert set(axes(infer(inputs, outputs, metadata={})).values()) == {(None, None)}


def test_axes_that_are_said_lead_to_those_that_are_not():
    inputs, outputs = [tensor("x", "p", "q", 4)], [tensor("y", "q", "p", 2)]
    told = Told(inputs=(ToldPort("x", time_axis=1, minds_axis=0),))
    assert axes(infer(inputs, outputs, metadata={}, told=told)) == {"x": (1, 0), "y": (0, 1)}


def test_an_axis_that_is_denied_is_denied_everywhere():
    inputs, outputs = [tensor("x", "B", "T", 4)], [tensor("y", "B", "T", 2)]
    told = Told(inputs=(ToldPort("x", time_axis=NO_AXIS),))
    assert axes(infer(inputs, outputs, metadata={}, told=told)) == {"x": (None, 0), "y": (None, 0)}


# --- what contradicts the network


STEP = (
    [tensor("x", "B", 4), tensor("h0", "B", 8), tensor("sr", dtype="int64")],
    [tensor("y", "B", 2), tensor("hn", "B", 8)],
)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"inputs": {"X": {}}}, "speaks of 'X', and the inputs of the student are 'x', 'h0', 'sr'"),
        ({"outputs": {"z": {}}}, "speaks of 'z', and the outputs of the student are 'y', 'hn'"),
        ({"inputs": {"x": {"dtype": "float64"}}}, "'x' is float64, and the student has 'x' float32"),
        (
            {"inputs": {"x": {"shape": ["B", 5]}}},
            r"gives 'x' the shape \['B', 5\], and the student has 'x' float32 \(B, 4\)",
        ),
        ({"inputs": {"x": {"shape": ["B"]}}}, r"gives 'x' the shape \['B'\]"),
        ({"inputs": {"x": {"shape": ["B", "K"]}}}, r"gives 'x' the shape \['B', 'K'\]"),
        ({"inputs": {"x": {"minds_axis": 2}}}, "'x' has its minds_axis at 2 of 2 axes"),
        ({"inputs": {"x": {"minds_axis": 1}}}, "'x' has its minds_axis where the network is always 4 long"),
        (
            {"inputs": {"x": {"minds_axis": 0, "shape": [3, 4]}}},
            "'x' has its minds_axis where the network is always 3 long",
        ),
        ({"inputs": {"x": {"time_axis": 0, "minds_axis": 0}}}, "'x' has time and minds along one axis"),
        ({"inputs": {"x": {"minds_axis": 0}, "h0": {"minds_axis": None}}}, "'x' has a minds_axis and 'h0' has none"),
        ({"inputs": {"h0": {"time_axis": 0, "minds_axis": None}}}, "state 'h0' has a time_axis"),
        ({"inputs": {"h0": {"after": "nowhere"}}}, "there is no state from 'h0' to 'nowhere'"),
        ({"inputs": {"h0": {"after": "y"}}}, "cannot take the value of 'y'"),
        ({"inputs": {"h0": {"role": "stimulus", "after": "hn"}}}, "'h0' is told as stimulus and has a next value"),
        ({"inputs": {"x": {"role": "state"}}}, "not clear which output is the next value of state 'x'"),
        ({"inputs": {"x": {"role": "response"}}}, "only outputs are responses"),
        ({"inputs": {"x": {"role": "constant"}}}, "'x' is no single value"),
        ({"inputs": {"x": {"value": 1}}}, "'x' is no single value"),
        ({"inputs": {"sr": {"value": 0.5}}}, "'sr' has the value 0.5: .* exactly of type int64"),
        ({"inputs": {"sr": {"value": True}}}, "'sr' has the value True"),
        ({"inputs": {"x": {"distribution": "rate"}}}, "only responses of floating point"),
        ({"inputs": {"x": {"channels": ["a"]}}}, "has 1 names for 4 channels"),
        ({"inputs": {"x": {"channels": ["a", "a", "b", "c"]}}}, "names a channel twice"),
        ({"outputs": {"y": {"role": "state"}}}, "output 'y' is told as a state"),
        ({"outputs": {"y": {"after": "hn"}}}, "say 'after' of the state's input"),
        ({"outputs": {"hn": {"unit": "V"}}}, "'hn' is the next value of a state, and told as a response"),
    ],
)
def test_a_contract_that_contradicts_the_network_is_refused(told, message):
    with pytest.raises(InvalidInput, match=message):
        infer(*STEP, metadata={}, told=parse_contract(json.dumps(told), what="a file"))


def test_a_fixed_batch_of_one_cannot_be_said_to_be_minds():
    told = Told(inputs=(ToldPort("x", minds_axis=0),))
    with pytest.raises(InvalidInput, match="always 1 long: take it away, and each call takes one mind"):
        infer([tensor("x", 1, 4)], [tensor("y", 1, 2)], metadata={}, told=told)


# --- as metadata


@st.composite
def contracts(draw):
    names = draw(st.lists(TEXTS, min_size=6, max_size=6, unique=True))
    minds, time = draw(st.booleans()), draw(st.booleans())
    lengths = st.one_of(st.none(), TEXTS, st.integers(0, 2**40))

    def port(name: str, role: Role, *, moves: bool, **rest) -> Port:
        shape = draw(st.lists(lengths, max_size=3))
        axis: dict[str, int] = {}
        for wanted, key in ((minds, "minds_axis"), (time and moves, "time_axis")):
            if wanted:
                place = draw(st.integers(0, len(shape)))
                axis = {other: at + (at >= place) for other, at in axis.items()} | {key: place}
                shape.insert(place, draw(st.one_of(st.none(), TEXTS)))
        made = Port(name, role, F32, tuple(shape), **axis, unit=draw(TEXTS), **rest)
        last = made.step_shape[-1] if made.step_shape else 1
        count = draw(st.integers(0, 4)) if not isinstance(last, int) else last if last < 5 else 0
        return Port(
            name,
            role,
            F32,
            tuple(shape),
            **axis,
            unit=made.unit,
            channels=tuple(f"c.{n}" for n in range(count)),
            **rest,
        )

    value = draw(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)))
    taken = {key: axis for axis, key in enumerate(["minds_axis"] * minds + ["time_axis"] * time)}
    noise = Port(names[5], Role.NOISE, F32, (*[None] * len(taken), 3), **taken)
    return Contract(
        (
            port(names[0], Role.STIMULUS, moves=True),
            *([noise] if draw(st.booleans()) else []),
            Port(names[1], Role.CONSTANT, np.dtype(np.int32), (), value=value),
            port(names[2], Role.STATE, moves=False, after=names[3] or "after"),
            port(names[4], Role.RESPONSE, moves=True, distribution=draw(st.sampled_from(Distribution))),
        ),
        sampling_interval_s=draw(st.one_of(st.none(), st.floats(1e-9, 1e9))),
        seed=draw(st.one_of(st.none(), st.integers(0, 2**63 - 1))),
    )


@given(contracts())
def test_a_contract_comes_back_from_metadata(contract):
    metadata = contract.to_metadata()
    assert check_metadata(metadata) == metadata
    assert all(name.startswith("contract.") for name in metadata)
    assert Contract.from_metadata({"other": 1, **metadata}) == contract
    assert Told.from_metadata(metadata) == contract.told()


def test_names_of_tensors_may_hold_anything():
    odd = "a.b/c:\"0'\n→"
    contract = infer([tensor(odd, "B", 'T" ]')], [tensor(odd + ".out", "B", 'T" ]')], metadata={})
    assert Contract.from_metadata(contract.to_metadata()) == contract
    told = Told(inputs=(ToldPort(odd, unit="µV"),))
    assert infer([tensor(odd, "B", 4)], [tensor("y", "B", 4)], metadata={}, told=told).stimuli[0].unit == "µV"


def test_a_whole_contract_is_told_again_to_its_network():
    for data in (
        students.gru(hidden=8),
        students.tcn(channels=4),
        students.reservoir(hidden=8),
        students.transformer(),
    ):
        contract = contract_of(data)
        kept = Told.from_metadata(contract.to_metadata())
        assert contract_of(data, kept) == contract


def test_no_contract_in_metadata_is_none():
    assert Contract.from_metadata({"contractor": "x", "subject.id": "y"}) is None
    assert Told.from_metadata({}) is None


BASE = {
    "contract.inputs.0.name": "x",
    "contract.inputs.0.role": "stimulus",
    "contract.inputs.0.dtype": "float32",
    "contract.inputs.0.shape": '["B",4]',
    "contract.inputs.0.time_axis": "none",
    "contract.inputs.0.minds_axis": 0,
    "contract.outputs.0.name": "y",
    "contract.outputs.0.role": "response",
    "contract.outputs.0.dtype": "float32",
    "contract.outputs.0.shape": '["B",2]',
    "contract.outputs.0.time_axis": "none",
    "contract.outputs.0.minds_axis": 0,
}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("contract.inputs.0.shape", '["B", 4]', "'shape' of metadata 'contract.inputs.0' is .* without blanks"),
        ("contract.inputs.0.shape", "[true,4]", "'shape' of metadata 'contract.inputs.0' holds True"),
        ("contract.inputs.0.shape", "[-1,4]", "holds -1"),
        ("contract.inputs.0.shape", "{}", "write a list in JSON"),
        ("contract.inputs.0.dtype", "<f4", "'dtype' of metadata 'contract.inputs.0' is '<f4'"),
        ("contract.inputs.0.dtype", "object", "is 'object'"),
        (
            "contract.inputs.0.role",
            "Stimulus",
            "is 'Stimulus': write one of stimulus, noise, constant, state, response",
        ),
        ("contract.inputs.0.minds_axis", True, "is True: write the number of an axis"),
        ("contract.inputs.0.minds_axis", -1, "is -1: write the number of an axis"),
        ("contract.inputs.0.minds_axis", 0.0, "is 0.0: write the number of an axis"),
        ("contract.inputs.0.value", "16000", "'value' of metadata 'contract.inputs.0' is '16000'"),
        ("contract.inputs.0.value", float("inf"), "is inf: write a number"),
        ("contract.inputs.0.colour", "red", "has the unknown key 'colour'"),
        ("contract.inputs.00.unit", "V", "'contract.inputs.00.unit' is no part of a contract"),
        ("contract.inputs.2.name", "z", "the inputs of a contract are not numbered from 0 on"),
        ("contract.inputs.1.unit", "V", "'contract.inputs.1' does not say the name"),
        ("contract.outputs.1.name", "y", "the outputs of a contract name 'y' twice"),
        ("contract.outputs.0.name", 3, "'contract.outputs.0' does not say the name"),
        ("contract.seed", -1, "'contract.seed' is -1"),
        ("contract.seed", True, "'contract.seed' is True"),
        ("contract.sampling_interval_s", 0, "'contract.sampling_interval_s' is 0"),
        ("contract.version", 2, "'contract.version' is no part of a contract"),
    ],
)
def test_metadata_that_are_no_contract_are_refused(name, value, message):
    assert Contract.from_metadata(BASE) is not None
    with pytest.raises(InvalidInput, match=message):
        Contract.from_metadata(BASE | {name: value})


@pytest.mark.parametrize("missing", ["role", "dtype", "shape", "time_axis", "minds_axis"])
def test_metadata_that_say_a_part_are_no_whole_contract(missing):
    part = {name: value for name, value in BASE.items() if name != f"contract.inputs.0.{missing}"}
    assert Told.from_metadata(part) is not None
    with pytest.raises(InvalidInput, match="the contract of input 'x' does not say"):
        Contract.from_metadata(part)


# --- as a file


def test_toml_says_the_same_as_json():
    toml = """
        sampling_interval_s = 0.005
        seed = 7
        [inputs."a.b"]
        minds_axis = 1
        time_axis = "none"
        shape = ["T", "B", 31]
        [outputs.y]
        distribution = "rate"
        unit = "Hz"
    """
    as_json = {
        "sampling_interval_s": 0.005,
        "seed": 7,
        "inputs": {"a.b": {"minds_axis": 1, "time_axis": None, "shape": ["T", "B", 31]}},
        "outputs": {"y": {"distribution": "rate", "unit": "Hz"}},
    }
    assert parse_contract(toml, what="f.toml") == parse_contract(json.dumps(as_json), what="f.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "f is no JSON"),
        ("x = = 1", "f is no TOML"),
        ("[]", "f is no TOML"),
        ('{"a": 1}', "f has the unknown key 'a'"),
        ('{"seed": 1, "seed": 2}', "f has the key 'seed' twice"),
        ('{"seed": 1.5}', "'seed' of f is 1.5"),
        ('{"sampling_interval_s": NaN}', "NaN is no number"),
        ('{"sampling_interval_s": 1' + "0" * 400 + "}", "'sampling_interval_s' of f is 1000"),
        ('{"inputs": {"x": {"value": 1' + "0" * 400 + "}}}", "'value' of 'x' in 'inputs' of f is 1000"),
        ("seed = 1" + "0" * 5000, "f is no TOML"),
        ('{"inputs": []}', "'inputs' of f is no map"),
        ('{"inputs": {"x": 3}}', "'x' in 'inputs' of f is no object"),
        ('{"inputs": {"x": {"colour": 1}}}', "'x' in 'inputs' of f has the unknown key 'colour'"),
        ('{"inputs": {"x": {"unit": null}}}', "'unit' of 'x' in 'inputs' of f is None: write a text"),
        (
            '{"inputs": {"x": {"channels": "abc"}}}',
            "'channels' of 'x' in 'inputs' of f is 'abc': write a list of names",
        ),
        ('{"inputs": {"x": {"shape": [1.5]}}}', "'shape' of 'x' in 'inputs' of f holds 1.5"),
        ("[" * 100_000, "f is no TOML"),
        ('{"a":' * 100_000, "f is no JSON"),
        (" " * 2_000_000, "has 2000000 characters"),
    ],
)
def test_a_file_that_is_no_contract_is_refused_by_name(text, message):
    with pytest.raises(InvalidInput, match=message):
        parse_contract(text, what="f")


WORDS = st.sampled_from(
    [
        "name",
        "role",
        "dtype",
        "shape",
        "time_axis",
        "minds_axis",
        "after",
        "unit",
        "channels",
        "value",
        "distribution",
        "x",
    ]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXTS,
    st.lists(st.one_of(st.none(), st.integers(), TEXTS), max_size=3),
)


@given(
    st.dictionaries(TEXTS, st.dictionaries(WORDS, VALUES, max_size=4), max_size=3),
    st.dictionaries(TEXTS, VALUES, max_size=2),
)
def test_any_file_is_a_contract_or_refused(inputs, rest):
    text = json.dumps({"inputs": inputs, **rest})
    try:
        told = parse_contract(text, what="f")
    except InvalidInput:
        return
    assert Told.from_metadata(told.to_metadata()) == (told if told != Told() else None)


@given(
    st.dictionaries(
        st.builds("contract.{}.{}.{}".format, st.sampled_from(["inputs", "outputs"]), st.integers(0, 2), WORDS),
        st.one_of(st.booleans(), st.integers(), st.floats(), TEXTS, st.just("[1,null]")),
        max_size=8,
    )
)
def test_any_metadata_are_a_contract_or_refused(metadata):
    for read in (Told.from_metadata, Contract.from_metadata):
        try:
            found = read(metadata)
        except InvalidInput:
            continue
        assert (found is None) == (not metadata)
        if found is not None:
            assert read(found.to_metadata()) == found
