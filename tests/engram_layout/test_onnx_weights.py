"""The weights of a network are planned by its fields: the numbers are those that the onnx package reads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from engram_testing.series_reader import check_planned, fuzz, numbers, plan_bytes, series_of
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engram_layout import ArraySegment, OpaqueSegment
from engram_layout.onnx_weights import plan_onnx

DATA = Path(__file__).parents[1] / "data" / "onnx_real"
NETWORKS = ["silero_vad_16k_op15", "basic_pitch_nmp"]


def tensors_of(graph: onnx.GraphProto) -> Iterator[tuple[str, np.ndarray]]:
    """All tensors of 2 KiB or more, by the series that they are."""
    for field in graph.initializer:
        if len(field.raw_data) >= 2048:
            yield f"/initializers/{field.name}", numpy_helper.to_array(field)
    for node in graph.node:
        for attribute in node.attribute:
            for tensor in [attribute.t, *attribute.tensors]:
                if len(tensor.raw_data) >= 2048:
                    yield f"/constants/{node.output[0]}", numpy_helper.to_array(tensor)
            for inner in [attribute.g, *attribute.graphs]:
                yield from tensors_of(inner)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_weights_of_a_real_network_are_those_that_onnx_reads(name: str):
    data = (DATA / f"{name}.onnx").read_bytes()
    planned = plan_bytes(plan_onnx, data)
    check_planned(planned, size=len(data))
    assert planned.warnings == ()
    series = series_of(planned)
    expected = list(tensors_of(onnx.load_from_string(data).graph))
    assert len(series) == len(expected) > 5
    for name, array in expected:
        found = [one for key, one in series.items() if key.split(" #")[0] == name]
        assert any(one.info.shape == array.shape and (numbers(data, one) == array).all() for one in found), name


@pytest.mark.parametrize(("name", "least"), [(NETWORKS[0], 0.9), (NETWORKS[1], 0.59)])
def test_most_of_a_real_network_is_in_arrays(name: str, least: float):
    data = (DATA / f"{name}.onnx").read_bytes()
    segments = plan_bytes(plan_onnx, data).plan.segments
    covered = sum(segment.length for segment in segments if isinstance(segment, ArraySegment))
    assert covered / len(data) > least


def test_the_facts_of_a_real_network_are_metadata():
    metadata = plan_bytes(plan_onnx, (DATA / "silero_vad_16k_op15.onnx").read_bytes()).metadata
    model = onnx.load(DATA / "silero_vad_16k_op15.onnx", load_external_data=False)
    assert metadata["onnx.ir_version"] == model.ir_version
    assert metadata["onnx.opset"] == model.opset_import[0].version
    assert metadata["onnx.producer"] == model.producer_name


TYPES = {
    TensorProto.FLOAT: "<f4",
    TensorProto.FLOAT16: "<f2",
    TensorProto.DOUBLE: "<f8",
    TensorProto.INT8: "|i1",
    TensorProto.UINT8: "|u1",
    TensorProto.INT64: "<i8",
    TensorProto.BOOL: "|b1",
    TensorProto.BFLOAT16: "|V2",
}


def network(*tensors: onnx.TensorProto, nodes: tuple[onnx.NodeProto, ...] = ()) -> bytes:
    graph = helper.make_graph(list(nodes), "net", [], [], initializer=list(tensors))
    return helper.make_model(graph, producer_name="a laboratory").SerializeToString()


def tensor(kind: int, shape: tuple[int, ...], name: str = "w", raw: bytes | None = None) -> onnx.TensorProto:
    item = int(TYPES.get(kind, "<f4")[2:])
    content = (
        np.random.default_rng(2).integers(0, 2, int(np.prod(shape)) * item, np.uint8).tobytes() if raw is None else raw
    )
    return TensorProto(dims=shape, data_type=kind, name=name, raw_data=content)


@pytest.mark.parametrize(("kind", "dtype"), TYPES.items())
def test_every_type_of_numbers_has_its_own(kind: int, dtype: str):
    data = network(tensor(kind, (3, 1000)))
    (series,) = series_of(plan_bytes(plan_onnx, data)).values()
    assert (series.info.name, series.info.dtype, series.info.shape) == ("/initializers/w", dtype, (3, 1000))
    assert numbers(data, series).tobytes() == tensor(kind, (3, 1000)).raw_data


def test_a_name_that_comes_again_is_numbered():
    inner = helper.make_graph([], "inner", [], [], initializer=[tensor(1, (900,))])
    constant = helper.make_node("Constant", [], ["c"], value=tensor(1, (700,), ""))
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    data = network(tensor(1, (600,)), nodes=(constant, branch))
    series = series_of(plan_bytes(plan_onnx, data))
    assert sorted(series) == ["/constants/c", "/initializers/w", "/initializers/w #2", "/initializers/w #3"]


def test_what_is_not_plain_numbers_has_no_series():
    listed = helper.make_tensor("listed", TensorProto.FLOAT, [900], np.arange(900.0))
    outside = tensor(1, (900,), raw=b"")
    outside.data_location = TensorProto.EXTERNAL
    halves = tensor(TensorProto.INT4, (9000,), raw=bytes(4500))
    planned = plan_bytes(plan_onnx, network(listed, outside, halves, tensor(1, (5,))))
    assert series_of(planned) == {}
    assert planned.plan.description is not None


def nested(depth: int) -> bytes:
    graph = helper.make_graph([], "g", [], [], initializer=[tensor(1, (600,))])
    for _ in range(depth):
        graph = helper.make_graph([helper.make_node("Loop", [], ["y"], body=graph)], "g", [], [])
    return helper.make_model(graph).SerializeToString()


def test_graphs_are_followed_to_a_bounded_depth():
    assert len(series_of(plan_bytes(plan_onnx, nested(10)))) == 1
    assert "nested" in plan_bytes(plan_onnx, nested(30)).warnings[0]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(network(tensor(1, (900,), raw=bytes(3604))), id="more bytes than its shape"),
        pytest.param(network(tensor(1, (901,), raw=bytes(3600))), id="fewer bytes than its shape"),
        pytest.param(network(tensor(1, (2**62, 2**62), raw=bytes(3600))), id="shape beyond all bounds"),
        pytest.param(network(tensor(1, (-900, -1), raw=bytes(3600))), id="negative shape"),
        pytest.param(network(tensor(1, (1,) * 900, raw=bytes(3600))), id="nine hundred axes"),
        pytest.param(network(tensor(1, (900,))) + b"\x0b\x0c", id="a group"),
        pytest.param(network(tensor(1, (900,))) + b"\x3a\xff\x7f", id="a graph beyond the end"),
        pytest.param(network(tensor(1, (900,)))[2:], id="no version"),
    ],
)
def test_a_network_that_lies_is_opaque(data: bytes):
    planned = plan_bytes(plan_onnx, data)
    assert planned.plan.segments == (OpaqueSegment(0, len(data)),)
    assert planned.warnings


def test_a_network_that_is_cut_off_is_opaque():
    data = network(tensor(1, (600,)), tensor(10, (3, 700), "v"))
    last = data.rindex(b"net") - 2
    for length in range(last):
        planned = plan_bytes(plan_onnx, data[:length])
        check_planned(planned, size=length)
        assert series_of(planned) == {}


def test_two_thousand_mutated_networks_are_opaque_or_described_within_the_file():
    constant = helper.make_node("Constant", [], ["c"], value=tensor(1, (700,), ""))
    data = network(tensor(1, (600,)), tensor(10, (3, 700), "v"), nodes=(constant,))
    outcomes = fuzz(plan_onnx, data, header_bytes=60)
    assert min(outcomes.values()) > 100
    fuzz(plan_onnx, data, header_bytes=len(data), count=1000)


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_behind_the_first_are_opaque_or_covered(content: bytes):
    for data in (b"\x08\x0a" + content, b"\x08\x0a\x3a\x80\x10" + content.ljust(2048, b"\x0a")):
        check_planned(plan_bytes(plan_onnx, data), size=len(data))


def test_a_real_network_is_planned_without_reading_its_weights():
    class Counting(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.read_bytes += len(found)
            return found

    data = network(tensor(1, (4_000_000,)))
    file = Counting(data)
    assert series_of(plan_onnx(file, size=len(data), path=DATA))
    assert file.read_bytes < 1_000_000
