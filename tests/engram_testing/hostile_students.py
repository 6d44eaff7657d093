"""Networks that attack whoever runs them, each made on the spot, with the rule of the gate that stops it.

`ATTACKS` lists them. Those that no gate can tell, since only loading or a stimulus shows them, have no rule: they are for the
limits of the process that runs students, and say what they do there. `tests/engram_replay/test_gate.py` checks the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx
from engram_testing import hostile_networks as net
from engram_testing.hostile_networks import BOOL, FLOAT, INT64, computing, holding, model, node, stored, tensor, value
from numpy.typing import NDArray
from onnx import TensorProto, helper


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile network."""

    name: str
    make: Callable[[], bytes] = field(repr=False)
    rule: str | None
    """The rule that refuses it, "" if it is refused as no network at all; `None` if it passes the gate."""
    does: str = ""
    """What one that passes does to the process that has it, if it is not refused there: `load fails`, `load takes time`,
    `run fails`, `run takes time` or `run takes memory`."""
    stimulus: Mapping[str, NDArray[np.generic]] = field(default_factory=dict, repr=False)
    """The inputs with which it does so when it is run, by name."""

    def __str__(self) -> str:
        return self.name


Make = Callable[[], onnx.ModelProto | bytes]


def _bytes_of(make: Make) -> Callable[[], bytes]:
    def made() -> bytes:
        found = make()
        return found if isinstance(found, bytes) else found.SerializeToString()

    return made


def _refused(rule: str, **attacks: Make) -> Iterable[Attack]:
    for name, make in attacks.items():
        yield Attack(name.replace("_", " "), _bytes_of(make), rule)


HUGE: Final = stored("s", [1 << 40])
X: Final = value("x")
YES: Final = value("yes", [], BOOL)

_STORED: Final = (
    *_refused(
        "external-data",
        a_file_of_the_system_by_a_relative_path=lambda: holding(net.elsewhere("../../../../etc/passwd")),
        a_file_of_the_system_by_its_whole_path=lambda: holding(net.elsewhere("/etc/passwd")),
        a_file_behind_a_link=lambda: holding(net.elsewhere("link.bin")),
        an_address_in_memory=lambda: holding(net.elsewhere("*/_ORT_MEM_ADDR_/*", offset=94 * 10**12)),
        a_file_beside_it=lambda: holding(net.elsewhere("ok.bin")),
        the_space_behind_a_file=lambda: holding(net.elsewhere("ok.bin", offset=1 << 40)),
        a_constant_in_another_file=lambda: computing("Constant", [], value=net.elsewhere("w.bin")),
        a_default_of_a_function_in_another_file=net.default_elsewhere,
        a_branch_with_a_constant_in_another_file=lambda: model(
            [net.chosen(net.branch([node("Constant", [], ["z"], value=net.elsewhere("w.bin"))]))], inputs=[X, YES]
        ),
    ),
    *_refused(
        "tensor-data",
        four_bytes_for_a_million_numbers=lambda: holding(tensor([1_000_000], bytes(4))),
        an_axis_of_negative_length=lambda: holding(tensor([-4], bytes(16))),
        two_axes_of_negative_length=lambda: holding(tensor([-2, -2], bytes(16))),
        more_bytes_than_numbers=lambda: holding(tensor([1], bytes(400))),
        a_truth_value_that_is_seven=lambda: holding(tensor([1], b"\7", kind=BOOL)),
        numbers_listed_twice=lambda: holding(net.listed_twice()),
        a_part_of_a_tensor=lambda: holding(net.segmented()),
        no_numbers_at_all=lambda: holding(tensor([3])),
    ),
    *_refused(
        "tensor-size",
        lengths_whose_product_overflows=lambda: holding(tensor([1 << 33, 1 << 33], bytes(16))),
        a_constant_of_more_than_it_holds=lambda: computing("Constant", [], value=tensor([1 << 40], bytes(4))),
        an_empty_tensor_with_an_endless_axis=lambda: holding(tensor([0, 1 << 62])),
        a_hundred_thousand_axes=lambda: holding(tensor([1] * 100_000, bytes(4))),
        a_declared_input_of_terabytes=lambda: model([node("Neg", ["x"], ["y"])], inputs=[value("x", [1 << 40])]),
        a_declared_axis_of_negative_length=lambda: model([node("Neg", ["x"], ["y"])], inputs=[value("x", [-2])]),
    ),
    *_refused(
        "tensor-type",
        stored_texts=lambda: model(
            [node("Neg", ["x"], ["y"])], initializers=[helper.make_tensor("t", TensorProto.STRING, [1], [b"text"])]
        ),
        texts_as_input=lambda: model([node("Identity", ["x"], ["y"])], inputs=[value("x", ["n"], TensorProto.STRING)]),
        complex_numbers=lambda: holding(tensor([1], bytes(8), kind=TensorProto.COMPLEX64)),
        numbers_of_no_type=lambda: holding(tensor([1], bytes(4), kind=0)),
        numbers_of_a_type_that_is_not=lambda: holding(tensor([1], bytes(4), kind=9999)),
        a_type_as_attribute=lambda: computing(
            "Optional", [], type=helper.make_tensor_type_proto(elem_type=FLOAT, shape=[1])
        ),
    ),
    *_refused(
        "sparse",
        a_sparse_initializer=lambda: net.changed(
            holding(tensor([1], bytes(4))), lambda made: made.graph.sparse_initializer.append(net.sparse([1 << 40]))
        ),
        a_sparse_constant=lambda: computing("Constant", [], sparse_value=net.sparse([1 << 40])),
    ),
)

_MESSAGES: Final = (
    *_refused(
        "nesting",
        thirty_branches_within_branches=lambda: net.nested_branches(30),
        ten_thousand_branches_within_branches=lambda: net.bottomless_branches(10_000),
        functions_within_branches_within_functions=lambda: net.functions_in_branches(9),
        forty_functions_within_functions=lambda: net.functions_in_a_row(40),
    ),
    *_refused(
        "too-many-fields",
        eight_million_empty_nodes=lambda: net.empty_nodes(8_000_000),
        a_node_of_a_million_inputs=lambda: model([node("Sum", ["x"] * 1_000_000, ["y"])]),
        nodes_of_many_outputs=lambda: net.split_often(2_000, 80),
        an_attribute_of_a_million_numbers=lambda: computing("ReduceSum", ["x"], axes=range(1_000_000)),
    ),
    *_refused(
        "too-many-nodes",
        a_chain_of_fifty_thousand_nodes=lambda: net.chain(50_000),
        a_chain_of_five_thousand_nodes=lambda: net.chain(5_000),
    ),
    *_refused(
        "too-many-values",
        a_node_of_two_thousand_inputs=lambda: model([node("Sum", ["x"] * 2_000, ["y"])]),
        a_node_of_a_hundred_thousand_attributes=lambda: net.changed(
            net.passing(), lambda made: [made.graph.node[0].attribute.add() for _ in range(100_000)]
        ),
        two_thousand_inputs=lambda: model([node("Neg", ["x"], ["y"])], inputs=[X, *map(value, map(str, range(2_000)))]),
    ),
    *_refused(
        "too-many-tensors",
        twenty_thousand_tensors=lambda: holding(*(tensor([1], bytes(4), name=f"w{index}") for index in range(20_000))),
    ),
    *_refused(
        "too-many-bytes",
        many_small_numbers_that_spread_out=lambda: net.packed_zeros(70_000_000),
        few_small_numbers_that_spread_out=lambda: net.packed_zeros(9_000_000),
    ),
    *_refused(
        "too-much-text",
        twenty_million_bytes_of_notes=lambda: net.changed(
            net.passing(), lambda made: helper.set_model_props(made, {"notes": "x" * 20_000_000})
        ),
    ),
    *_refused("unknown-field", a_part_of_another_version=lambda: net.passing().SerializeToString() + b"\xf2\x06\x01x"),
    *_refused(
        "",
        a_name_that_is_no_text=lambda: net.passing().SerializeToString().replace(b"\x01x", b"\x01\xff"),
        a_group=lambda: net.passing().SerializeToString() + b"\x3b\x3c",
        a_number_where_a_graph_belongs=lambda: b"\x38\x01" + net.passing().SerializeToString(),
        a_number_without_an_end=lambda: net.passing().SerializeToString() + b"\x08" + b"\xff" * 20,
        half_a_network=lambda: net.passing().SerializeToString()[:-9],
        nothing=lambda: b"",
        zeros=lambda: bytes(1000),
    ),
    *_refused(
        "opset",
        operators_of_the_future=lambda: model([node("Neg", ["x"], ["y"])], opset=99),
        operators_of_the_past=lambda: model([node("Neg", ["x"], ["y"])], opset=7),
        operators_of_no_version=lambda: net.changed(net.passing(), lambda made: made.ClearField("opset_import")),
        operators_of_two_versions=lambda: net.changed(
            net.passing(), lambda made: made.opset_import.append(helper.make_opsetid("ai.onnx", 13))
        ),
    ),
    *_refused(
        "ir-version",
        a_file_of_the_future=lambda: net.changed(net.passing(), lambda made: setattr(made, "ir_version", 99)),
    ),
    *_refused(
        "training",
        training_beside_the_network=lambda: net.changed(
            net.passing(), lambda made: made.training_info.add().algorithm.CopyFrom(made.graph)
        ),
        a_normalization_that_trains=lambda: computing(
            "BatchNormalization", ["x", *"wwww"], stored("w", [1], np.float32), training_mode=1
        ),
    ),
)

_GRAPHS: Final = (
    *_refused(
        "loop",
        a_loop_without_an_end=lambda: net.loop(node("Identity", ["a"], ["b"])),
        a_loop_that_doubles_memory=lambda: net.loop(node("Concat", ["a", "a"], ["b"], axis=0)),
        a_scan=net.scan,
        a_loop_in_a_branch=lambda: model(
            [net.chosen(net.branch([net.loop(node("Neg", ["a"], ["b"])).graph.node[0]], "y"), out="r")],
            inputs=[X, YES, value("ever", [], BOOL)],
            outputs=[value("r", None)],
        ),
    ),
    *_refused(
        "random",
        random_numbers=lambda: computing("RandomNormal", [], shape=[4]),
        dropout_that_drops=lambda: computing(
            "Dropout", ["x", "", "train"], stored("train", True, np.bool_), name="drop"
        ),
        dropout_that_drops_if_told=lambda: model([node("Dropout", ["x", "", "yes"], ["y"])], inputs=[X, YES]),
    ),
    *_refused(
        "operator",
        an_operator_of_somebody=lambda: model([node("Evil", ["x"], ["y"], domain="ai.evil")], domains=["ai.evil"]),
        an_operator_of_the_runtime=lambda: model(
            [node("Gelu", ["x"], ["y"], domain="com.microsoft")], domains=["com.microsoft"]
        ),
        an_operator_that_read_beyond_its_input=lambda: model(
            [node("ArrayFeatureExtractor", ["x", "s"], ["y"], domain="ai.onnx.ml")],
            initializers=[HUGE],
            domains=["ai.onnx.ml"],
        ),
        a_regular_expression=lambda: computing("RegexFullMatch", ["x"], pattern="(a*)*b"),
        a_sequence=lambda: computing("SequenceConstruct", ["x", "x"]),
        a_picture=lambda: computing("ImageDecoder", ["x"]),
        a_graph_in_an_operator_without_branches=lambda: computing(
            "Relu", ["x"], body=net.branch([node("Identity", ["x"], ["z"])])
        ),
    ),
    *_refused(
        "function-bomb",
        functions_that_unfold_to_eight_million_nodes=lambda: net.function_bomb([node("Neg", ["a"], ["b"])], 24),
        functions_that_unfold_to_nothing=lambda: net.function_bomb([], 16),
        a_heavy_function_called_often=lambda: net.heavy_function(10_000, 500),
    ),
    *_refused(
        "recursive-function",
        a_function_that_calls_itself=lambda: model(
            [net.call("f", "x", "y")], functions=[net.function("f", [net.call("f", "a", "b")])], domains=["own"]
        ),
        a_function_that_calls_itself_in_a_branch=net.recursive_in_a_branch,
        two_functions_that_call_each_other=lambda: model(
            [net.call("f", "x", "y")],
            functions=[net.function("f", [net.call("g", "a", "b")]), net.function("g", [net.call("f", "a", "b")])],
            domains=["own"],
        ),
    ),
    *_refused(
        "function",
        a_function_in_place_of_an_operator=lambda: model(
            [node("Relu", ["x"], ["y"])],
            functions=[net.function("Relu", [node("Neg", ["a"], ["b"])], domain="")],
        ),
        a_function_in_place_of_an_operator_by_its_other_name=lambda: model(
            [node("Relu", ["x"], ["y"])],
            functions=[net.function("Relu", [node("Neg", ["a"], ["b"])], domain="ai.onnx")],
        ),
        two_functions_of_one_name=lambda: model(
            [net.call("f", "x", "y")],
            functions=[net.function("f", [node(name, ["a"], ["b"])]) for name in ("Neg", "Abs")],
            domains=["own"],
        ),
    ),
    *_refused(
        "cycle",
        two_nodes_that_wait_for_each_other=lambda: model([node("Add", "xb", ["y"]), node("Neg", ["y"], ["b"])]),
    ),
    *_refused(
        "undefined",
        an_input_from_nowhere=lambda: computing("Add", ["x", "nobody"]),
        an_output_from_nowhere=lambda: model([node("Neg", ["x"], ["z"])]),
        an_attribute_from_nowhere=lambda: net.changed(
            computing("Softmax", ["x"], axis=0),
            lambda made: setattr(made.graph.node[0].attribute[0], "ref_attr_name", "a"),
        ),
        an_input_from_another_branch=lambda: model(
            [
                net.chosen(net.branch([node("Neg", ["x"], ["z"])]), out="a"),
                net.chosen(net.branch([node("Neg", ["z"], ["q"])], "q")),
            ],
            inputs=[X, YES],
        ),
    ),
    *_refused(
        "duplicate-name",
        two_nodes_of_one_output=lambda: model([node("Neg", ["x"], ["y"]), node("Abs", ["x"], ["y"])]),
        two_initializers_of_one_name=lambda: model(
            [node("Add", "xw", ["y"])], initializers=[tensor([1], bytes(4)), tensor([2], bytes(8))]
        ),
        a_branch_that_hides_a_value=lambda: model(
            [net.chosen(net.branch([node("Neg", ["x"], ["x"])], "x"))], inputs=[X, YES]
        ),
        an_attribute_given_twice=lambda: model([net.two_attributes()]),
    ),
    *_refused("signature", a_sequence_as_input=net.sequence_input),
    *_refused(
        "index",
        an_index_outside_of_its_axis=lambda: model(
            [node("Gather", ["x", "s"], ["y"])], inputs=[value("x", [4])], initializers=[stored("s", [99_999])]
        ),
        an_index_before_its_axis=lambda: model(
            [node("Gather", ["x", "s"], ["y"])], inputs=[value("x", [4])], initializers=[stored("s", -5)]
        ),
        an_index_outside_of_a_shape=lambda: model(
            [node("Shape", ["x"], ["n"]), node("Gather", ["n", "s"], ["y"])],
            inputs=[value("x", [4, 4])],
            outputs=[value("y", None, INT64)],
            initializers=[stored("s", 2)],
        ),
    ),
)

_SIZES: Final = (
    *_refused(
        "tensor-size",
        a_terabyte_of_ones=lambda: computing("ConstantOfShape", ["s"], HUGE),
        an_input_expanded_to_gigabytes=lambda: model(
            [node("Expand", ["x", "s"], ["y"])], inputs=[value("x", [1])], initializers=[stored("s", [1 << 34])]
        ),
        an_input_of_any_shape_expanded_to_gigabytes=lambda: model(
            [node("Expand", ["x", "s"], ["y"])], inputs=[value("x", None)], initializers=[stored("s", [1 << 34])]
        ),
        a_constant_repeated_to_gigabytes=lambda: model(
            [node("Tile", ["w", "s"], ["t"]), node("ReduceSum", ["t"], ["r"]), node("Add", ["x", "r"], ["y"])],
            initializers=[stored("w", np.ones(1024), np.float32), stored("s", [1 << 21])],
        ),
        a_long_range=lambda: model(
            [node("Range", "abc", ["y"])],
            outputs=[value("y", None, INT64)],
            initializers=[stored("a", 0), stored("b", 1 << 40), stored("c", 1)],
        ),
        a_range_of_tiny_steps=lambda: model(
            [node("Range", "abc", ["y"])],
            initializers=[stored(name, number, np.float32) for name, number in {"a": 0, "b": 1e30, "c": 1e-30}.items()],
        ),
        a_range_backwards=lambda: model(
            [node("Range", "abc", ["y"])],
            outputs=[value("y", None, INT64)],
            initializers=[stored("a", 1 << 62), stored("b", -(1 << 62)), stored("c", -1)],
        ),
        wide_padding=lambda: computing("Pad", ["x", "s"], stored("s", [1 << 35, 1 << 35])),
        wide_padding_that_is_computed=lambda: model(
            [
                node("Mul", ["a", "a"], ["b"]),
                node("Concat", ["b", "b"], ["s"], axis=0),
                node("Pad", ["x", "s"], ["y"]),
            ],
            initializers=[stored("a", [1 << 20])],
        ),
        a_picture_resized_by_size=lambda: model(
            [node("Resize", ["x", "", "", "s"], ["y"])],
            inputs=[value("x", [1, 1, 2, 2])],
            initializers=[stored("s", [1, 1, 1 << 20, 1 << 20])],
        ),
        a_picture_resized_by_scale=lambda: model(
            [node("Resize", ["x", "", "s"], ["y"])],
            inputs=[value("x", [1, 1, 2, 2])],
            initializers=[stored("s", [1, 1, 1e9, 1e9], np.float32)],
        ),
        an_input_reshaped_to_terabytes=lambda: computing("Reshape", ["x", "s"], HUGE),
        a_table_of_ones_and_zeros=lambda: model(
            [node("OneHot", ["n", "d", "v"], ["y"])],
            inputs=[value("n", ["n"], INT64)],
            initializers=[stored("d", 1 << 40), stored("v", [0, 1], np.float32)],
        ),
        a_table_of_a_depth_that_is_no_whole_number=lambda: model(
            [node("OneHot", ["n", "d", "v"], ["y"])],
            inputs=[value("n", ["n"], INT64)],
            initializers=[stored("d", 1e12, np.float32), stored("v", [0, 1], np.float32)],
        ),
        a_size_that_is_computed=lambda: model(
            [
                node("Cast", ["a"], ["f"], to=FLOAT),
                node("Pow", ["f", "p"], ["b"]),
                node("Cast", ["b"], ["c"], to=INT64),
                node("ReduceProd", ["c"], ["s"]),
                node("ConstantOfShape", ["s"], ["y"]),
            ],
            initializers=[stored("a", [1024, 1024]), stored("p", 2)],
        ),
        an_identity_of_terabytes=lambda: model(
            [node("ConstantOfShape", ["s"], ["c"]), node("EyeLike", ["c"], ["y"])],
            initializers=[stored("s", [1 << 20, 1 << 20])],
        ),
        a_window_of_terabytes=lambda: computing("HannWindow", ["s"], stored("s", 1 << 40)),
        a_constant_doubled_forty_times=lambda: net.doubled(40, "w", stored("w", [1], np.float32)),
        an_input_of_free_length_doubled_forty_times=lambda: net.doubled(40),
        a_sum_of_a_row_and_a_column=lambda: net.outer_product("Add", 1 << 20),
        a_choice_of_a_row_and_a_column=lambda: net.outer_product("Equal", 1 << 20),
        a_product_of_a_row_and_a_column=lambda: net.outer_product("MatMul", 1 << 20),
        a_product_of_a_row_and_a_column_by_letters=lambda: net.outer_product("Einsum", 1 << 20),
        a_convolution_with_wide_padding=lambda: net.convolved("Conv", pads=[1 << 35, 1 << 35]),
        a_transposed_convolution_with_wide_strides=lambda: net.convolved("ConvTranspose", strides=[1 << 33]),
        a_transposed_convolution_of_a_told_shape=lambda: net.convolved("ConvTranspose", output_shape=[1 << 35]),
        a_pool_with_wide_padding=lambda: net.convolved("AveragePool", kernel_shape=[3], pads=[1 << 35, 1 << 35]),
        many_picks_of_one_row=lambda: model(
            [
                node("ConstantOfShape", ["s"], ["picks"], value=stored("zero", [0])),
                node("Gather", ["w", "picks"], ["y"]),
            ],
            initializers=[stored("s", [1 << 20]), stored("w", np.ones((1, 4096)), np.float32)],
        ),
        forty_axes=lambda: computing("Unsqueeze", ["x", "s"], stored("s", list(range(32)))),
        a_bomb_in_a_branch=lambda: model(
            [net.chosen(net.branch([node("ConstantOfShape", ["s"], ["z"])]))], inputs=[X, YES], initializers=[HUGE]
        ),
        a_bomb_in_a_branch_that_is_never_taken=lambda: model(
            [net.chosen(net.branch([node("ConstantOfShape", ["s"], ["z"])]))],
            initializers=[HUGE, stored("yes", False, np.bool_)],
        ),
        a_bomb_through_a_function=lambda: model(
            [net.call("f", "s", "y")],
            functions=[net.function("f", [node("ConstantOfShape", ["a"], ["b"])])],
            initializers=[HUGE],
            domains=["own"],
        ),
        a_bomb_through_an_attribute_of_a_function=net.bomb_in_an_attribute,
    ),
    *_refused("constant-size", many_large_constants=lambda: net.many_constants(20, 1 << 26)),
)


def _passing(name: str, make: Make, does: str, **stimulus: NDArray[np.generic]) -> Attack:
    return Attack(name, _bytes_of(make), None, does, stimulus)


def _made_as_told() -> onnx.ModelProto:
    return model([node("ConstantOfShape", ["x"], ["y"])], inputs=[value("x", [1], INT64)])


def _picked_as_told() -> onnx.ModelProto:
    return model(
        [node("Gather", ["w", "x"], ["y"])],
        inputs=[value("x", [1], INT64)],
        initializers=[stored("w", [1, 2, 3], np.float32)],
    )


_PASSING: Final = (
    _passing("as many ones as it is told", _made_as_told, "run takes memory", x=np.array([1 << 40])),
    _passing(
        "a range as long as it is told",
        lambda: model(
            [node("Range", ["a", "x", "c"], ["y"])],
            inputs=[value("x", [], INT64)],
            outputs=[value("y", None, INT64)],
            initializers=[stored("a", 0), stored("c", 1)],
        ),
        "run takes memory",
        x=np.array(1 << 40),
    ),
    _passing(
        "a row and a column of free length",
        lambda: model(
            [node("Unsqueeze", ["x", "s"], ["c"]), node("Mul", ["x", "c"], ["y"])], initializers=[stored("s", [1])]
        ),
        "run takes memory",
        x=np.ones(1 << 18, np.float32),
    ),
    _passing(
        "as many ones as a logarithm says",
        lambda: model(
            [node("Exp", ["a"], ["f"]), node("Cast", ["f"], ["s"], to=INT64), node("ConstantOfShape", ["s"], ["y"])],
            inputs=[],
            initializers=[stored("a", [28], np.float32)],
        ),
        "run takes memory",
    ),
    _passing("an index that it is told", _picked_as_told, "run fails", x=np.array([99_999])),
    _passing(
        "products that take hours",
        lambda: net.squares(2_000, 4_096),
        "run takes time",
        x=np.ones((1, 1), np.float32),
    ),
    _passing(
        "constants that take minutes",
        lambda: model(
            [
                node("ConstantOfShape", ["s"], ["v0"]),
                *(node("MatMul", [f"v{index}", f"v{index}"], [f"v{index + 1}"]) for index in range(28)),
                node("ReduceSum", ["v28"], ["r"]),
                node("Add", ["x", "r"], ["y"]),
            ],
            initializers=[stored("s", [4_096, 4_096])],
        ),
        "load takes time",
    ),
    _passing(
        "shapes that do not fit",
        lambda: model([node("Add", "xw", ["y"])], inputs=[value("x", [3])], initializers=[tensor([4], bytes(16))]),
        "load fails",
    ),
    _passing("an attribute that its operator does not have", lambda: computing("Relu", ["x"], evil=1), "load fails"),
    _passing("an operator with too many inputs", lambda: computing("Relu", ["x", "x"]), "load fails"),
    _passing("an operator newer than its version", lambda: model([node("Gelu", ["x"], ["y"])], opset=13), "load fails"),
)

ATTACKS: Final = (*_STORED, *_MESSAGES, *_GRAPHS, *_SIZES, *_PASSING)
