"""Networks that would do more than compute are refused, each under the name of the rule that it breaks."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from engram_testing.hostile_networks import BOOL, chain, computing, model, node, passing, stored, tensor, value
from engram_testing.hostile_students import ATTACKS, Attack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engram_format.errors import ErrorKind, InvalidInput
from engram_replay.gate import GateLimits, Refused, Rule, check_network
from engram_replay.loader import load_student

NETWORKS = sorted((Path(__file__).parents[1] / "data" / "onnx_real").glob("*.onnx"))
REFUSED = [attack for attack in ATTACKS if attack.rule is not None]
PASSING = [attack for attack in ATTACKS if attack.rule is None]


def rule_against(data: bytes, limits: GateLimits | None = None) -> str | None:
    """Return the rule that a network breaks, "" if it is none, or `None` if it passes."""
    try:
        check_network(data, what="the student", limits=limits or GateLimits())
    except Refused as refusal:
        return refusal.rule
    except InvalidInput:
        return ""
    return None


def serialized(made: onnx.ModelProto) -> bytes:
    return made.SerializeToString()


@pytest.mark.parametrize("attack", REFUSED, ids=str)
def test_an_attack_is_refused_at_once_and_by_name(attack: Attack):
    data = attack.make()
    before = time.process_time()
    with pytest.raises((Refused, InvalidInput)) as caught:
        check_network(data, what="the student")
    assert time.process_time() - before < 2
    error = caught.value
    assert (error.rule if isinstance(error, Refused) else "") == attack.rule
    assert str(error).startswith("the student ")
    assert ": " in str(error)
    assert len(str(error)) < 500


@pytest.mark.parametrize("attack", PASSING, ids=str)
def test_what_only_a_run_shows_passes(attack: Attack):
    assert rule_against(attack.make()) is None


def test_attacks_take_little_memory(tmp_path: Path):
    """The largest files among them have 70 MB; what the gate takes comes on top of those."""
    for index, attack in enumerate(REFUSED):
        (tmp_path / f"{index}.onnx").write_bytes(attack.make())
    script = """
import sys
from pathlib import Path
from engram_format.errors import EngramError
from engram_replay.gate import check_network
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        check_network(path.read_bytes(), what="it")
    except EngramError:
        continue
    raise SystemExit(f"{path} passed")
# Not getrusage: the kernel's peak there counts what the process was before it became this program.
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
    limited = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
    )
    assert limited.returncode == 0, limited.stdout + limited.stderr
    assert int(limited.stdout) < 500 * 1024  # in KiB


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_real_networks_pass(path: Path):
    assert len(check_network(path.read_bytes(), what="it").graph.node) > 100


def test_a_refusal_is_a_precondition_that_was_not_met():
    with pytest.raises(Refused) as caught:
        check_network(serialized(computing("RandomNormal", [], shape=[4])), what="student 01ab")
    assert caught.value.kind is ErrorKind.PRECONDITION
    assert caught.value.rule is Rule.RANDOM
    assert str(caught.value) == (
        "student 01ab draws random numbers in node '' (RandomNormal), so no replay would equal another: "
        "make its noise an input"
    )


def test_every_rule_is_broken_by_an_attack():
    assert {attack.rule for attack in REFUSED} - {""} == set(Rule)


def test_the_operator_may_allow_loops_and_random_numbers():
    loops = [attack for attack in REFUSED if attack.rule == "loop"]
    assert loops
    assert all(rule_against(attack.make(), GateLimits(allow_loops=True)) is None for attack in loops)
    draws = [attack for attack in REFUSED if attack.rule == "random"]
    assert all(rule_against(attack.make(), GateLimits(allow_random=True)) is None for attack in draws)


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (GateLimits(max_bytes=50), "too-many-bytes"),
        (GateLimits(max_fields=30), "too-many-fields"),
        (GateLimits(max_text=10), "too-much-text"),
        (GateLimits(max_nodes=4), "too-many-nodes"),
        (GateLimits(max_opset=20), "opset"),
        (GateLimits(min_ir_version=11), "ir-version"),
        (GateLimits(max_values=0), "too-many-values"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_the_operator_may_set_the_bounds(limits: GateLimits, rule: str):
    assert rule_against(serialized(chain(5))) is None
    assert rule_against(serialized(chain(5)), limits) == rule


def test_a_network_of_as_many_nodes_as_allowed_passes():
    assert rule_against(serialized(chain(4096))) is None
    assert rule_against(serialized(chain(4097))) == "too-many-nodes"


def test_a_tensor_as_large_as_allowed_passes():
    limits = GateLimits(max_tensor_bytes=4000)
    for size, rule in {1000: None, 1001: "tensor-size"}.items():
        made = computing("ConstantOfShape", ["s"], stored("s", [size]))
        assert rule_against(serialized(made), limits) == rule
        kept = model([node("Add", "xw", ["y"])], initializers=[tensor([size], bytes(4 * size))])
        assert rule_against(serialized(kept), limits) == rule


def test_an_axis_that_is_declared_free_by_a_minus_one_passes():
    made = model(
        [node("Concat", ["x", "x"], ["y"], axis=0)], inputs=[value("x", [-1, 4])], outputs=[value("y", [-1, 4])]
    )
    assert rule_against(serialized(made)) is None


def test_dropout_that_drops_nothing_passes():
    made = computing("Dropout", ["x", "", "train"], stored("train", False, np.bool_))
    assert rule_against(serialized(made)) is None
    assert rule_against(serialized(computing("Dropout", ["x"]))) is None


def test_an_index_outside_of_its_axis_passes_where_it_may_never_be_used():
    inputs = [value("x", [4]), value("yes", [], BOOL)]
    branch = onnx.helper.make_graph([node("Gather", ["x", "s"], ["z"])], "b", [], [value("z", None)])
    other = onnx.helper.make_graph([node("Identity", ["x"], ["e"])], "c", [], [value("e", None)])
    made = model(
        [node("If", ["yes"], ["y"], then_branch=branch, else_branch=other)],
        inputs=inputs,
        initializers=[stored("s", [9])],
    )
    assert rule_against(serialized(made)) is None


def test_functions_that_unfold_within_the_bounds_pass():
    inner = onnx.helper.make_function(
        "own", "f", ["a"], ["b"], [node("Neg", ["a"], ["b"])], [onnx.helper.make_opsetid("", 21)]
    )
    nodes = [node("f", ["x"], ["z"], domain="own"), node("f", ["z"], ["y"], domain="own")]
    made = model(nodes, functions=[inner], domains=["own"])
    assert rule_against(serialized(made)) is None
    assert rule_against(serialized(made), GateLimits(max_nodes=3)) == "function-bomb"


def test_numbers_that_grow_without_an_end_are_given_up():
    names = ["a", *(f"v{index}" for index in range(200))]
    nodes = [node("Mul", [one, one], [other]) for one, other in pairwise(names)]
    made = model([*nodes, node("Reshape", ["x", names[-1]], ["y"])], initializers=[stored("a", [3])])
    assert rule_against(serialized(made)) is None


def test_files_of_other_kinds_are_no_networks():
    for data in (
        b"\x89PNG\r\n\x1a\n" * 20,
        b"PK\x03\x04" * 20,
        b"\x89HDF\r\n\x1a\n" * 20,
        b"a,b\n1,2\n" * 20,
        b"\x80\x02}q",
    ):
        with pytest.raises(InvalidInput, match="is no ONNX network"):
            check_network(data, what="it")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return a network with some bytes replaced, taken out, put in or moved."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(0, 40))
        match draw(st.sampled_from(["replace", "remove", "insert", "repeat", "flip"])):
            case "replace":
                data[at : at + size] = draw(st.binary(min_size=size, max_size=size))
            case "remove":
                del data[at : at + size]
            case "insert":
                data[at:at] = draw(st.binary(max_size=20))
            case "repeat":
                data[at:at] = data[at : at + size]
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_a_damaged_network_passes_or_is_refused(path: Path, data: st.DataObject):
    rule_against(data.draw(damaged(path.read_bytes())))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
@pytest.mark.parametrize(
    "attack", [attack for attack in REFUSED if attack.rule in ("tensor-size", "loop")][::6], ids=str
)
def test_a_damaged_attack_passes_or_is_refused(attack: Attack, data: st.DataObject):
    rule_against(data.draw(damaged(attack.make())))


def outside(name: str) -> onnx.TensorProto:
    made = onnx.TensorProto(name=name, data_type=onnx.TensorProto.UINT8, dims=[16])
    made.data_location = onnx.TensorProto.EXTERNAL
    made.external_data.add(key="location", value="identity.txt")
    return made


def test_a_network_that_would_read_another_file_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "identity.txt").write_bytes(b"a secret, 16 B..")
    monkeypatch.chdir(tmp_path)
    kind = onnx.TensorProto.UINT8
    made = model(
        [node("Add", "xw", ["y"])],
        inputs=[value("x", [16], kind)],
        outputs=[value("y", [16], kind)],
        initializers=[outside("w")],
    )
    with pytest.raises(Refused, match="keeps tensor 'w' in another file"):
        load_student(serialized(made))


def test_the_runtime_reports_to_nobody(tmp_path: Path):
    script = "import engram_replay, sys; import onnxruntime; onnxruntime.InferenceSession(sys.stdin.buffer.read())"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", script], input=serialized(passing()), env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
