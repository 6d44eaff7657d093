"""The operators that are replayed, by name; every other is refused.

All are of ONNX's own domain, deterministic on one thread, and bounded by the sizes of their inputs and outputs. Left out are:

- `Loop` and `Scan`, which nothing bounds, and the operators that draw random numbers, unless the limits allow them;
- operators on texts, sequences and optional values, which no student needs and which bring their own parsers;
- those for pictures that pick where the data says (`RoiAlign`, `GridSample`, `MaxUnpool`, `NonMaxSuppression`, ...), and
  `ImageDecoder`: the places where runtimes have read outside of their buffers;
- those of training, and those that were withdrawn before the oldest version that is replayed;
- all other domains. `ai.onnx.ml` had such reads in two operators; `com.microsoft` changes from release to release, and what it
  fuses can be exported in ONNX's own operators.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import onnx

from engram_replay.gate.limits import Gate, Rule, shown
from engram_replay.gate.walk import FunctionKey, all_nodes, called_by

REPLAYED: Final = frozenset(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
    BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow
    Cast CastLike Ceil Celu CenterCropPad Clip Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose
    Cos Cosh CumProd CumSum DFT DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear
    Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor
    GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax
    Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization MelWeightMatrix Min Mish Mod Mul
    Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear
    RMSNormalization RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RotaryEmbedding Round
    STFT ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
    Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Where Xor
    """.split()  # noqa: SIM905 - a table to be read
)
LOOPS: Final = frozenset({"Loop", "Scan"})
RANDOM: Final = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def check_operators(model: onnx.ModelProto, functions: Container[FunctionKey], gate: Gate) -> None:
    """Refuse a network with an operator that is not replayed, in whatever branch or function it stands."""
    limits = gate.limits
    allowed = (
        REPLAYED | (LOOPS if limits.allow_loops else frozenset()) | (RANDOM if limits.allow_random else frozenset())
    )
    for node in all_nodes(model):
        key = called_by(node)
        domain, operator, _ = key
        if key in functions or (not domain and operator in allowed):
            continue
        place = f"in node {shown(node.name)} ({shown(f'{domain}.{operator}' if domain else operator)[1:-1]})"
        if not domain and operator in LOOPS:
            raise gate.refusal(
                Rule.LOOP,
                f"repeats a part of itself {place}",
                remedy="export it for one step, or have the operator allow loops",
            )
        if not domain and operator in RANDOM:
            raise gate.refusal(
                Rule.RANDOM,
                f"draws random numbers {place}, so no replay would equal another",
                remedy="make its noise an input",
            )
        raise gate.refusal(
            Rule.OPERATOR,
            f"uses an operator that is not replayed {place}",
            remedy="export it for inference, with operators of ONNX itself on tensors of numbers",
        )
