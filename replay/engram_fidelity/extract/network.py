"""An extracted ensemble as a student: one ONNX network that answers with the mean of its members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engram_fidelity.distill.outcome import Distilled, rate_contract
from engram_fidelity.experiment import Experiment
from engram_fidelity.extract.ensemble import FLOOR, Ensemble
from engram_fidelity.extract.extraction import Extracted
from engram_fidelity.extract.history import History
from engram_format.catalog import Scalar

if TYPE_CHECKING:
    from engram_fidelity.graph import Graph

F32 = NDArray[np.float32]


def as_student(extracted: Extracted, like: Experiment, *, metadata: Mapping[str, Scalar]) -> Distilled:
    """Return the student, with a contract that has the bins, channels, cells and unit of the experiment `like`."""
    states = ("state",) if extracted.history.lags > 1 else ()
    network = graph_of(extracted.ensemble, extracted.history, channels=len(like.channels))
    return Distilled(network, rate_contract(like, states=states), metadata)


def graph_of(ensemble: Ensemble, history: History, *, channels: int) -> bytes:
    """Return the network: `stimulus` and, where the past counts, `state` (lags - 1, channel), the stimuli before, oldest first."""
    from engram_fidelity.graph import Graph

    graph = Graph("extracted", doc="The mean of an ensemble of networks over a stimulus and its past.")
    value = graph.take("stimulus", channels)
    if history.lags > 1:
        value = _past(graph, value, history, channels)
    inner, bias, outer, outer_bias = _side_by_side(ensemble)
    value = graph.add("Tanh", [graph.dense("inner", value, inner, bias)], "hidden")
    value = graph.add("Softplus", [graph.dense("outer", value, outer, outer_bias)], "each")
    mean = np.tile(np.diag(ensemble.gains / ensemble.members), (ensemble.members, 1))
    graph.dense("rate", value, mean.astype(np.float32), (FLOOR * ensemble.gains).astype(np.float32))
    graph.give("rate", len(ensemble.gains))
    if history.lags > 1:
        graph.give("state_out", history.lags - 1, channels)
    return graph.finish()


def _past(graph: Graph, value: str, history: History, channels: int) -> str:
    """Add the windows over the past; return the name of the features (minds, channel times window)."""
    state = graph.take("state", history.lags - 1, channels)
    now = graph.add("Unsqueeze", [value, graph.whole("middle", 1)], "now")
    whole = graph.add("Concat", [state, now], "whole", axis=1)
    names = [graph.whole(name, number) for name, number in (("from", 1), ("to", history.lags), ("along", 1))]
    graph.add("Slice", [whole, *names], "state_out")
    by_channel = graph.add("Transpose", [whole], "by_channel", perm=[0, 2, 1])
    seen = graph.add("MatMul", [by_channel, graph.hold("windows", history.windows[::-1])], "seen")
    return graph.add("Flatten", [seen], "features", axis=1)


def _side_by_side(ensemble: Ensemble) -> tuple[F32, F32, F32, F32]:
    """Return the members' layers as one: hidden units beside each other, each heard by the cells of its own member."""
    members, features, hidden = ensemble.inner.shape
    cells = ensemble.outer.shape[2]
    inner = ensemble.inner / ensemble.scale[:, None]
    bias = ensemble.inner_bias[:, 0] - np.einsum("f,mfh->mh", ensemble.mean, inner)
    outer = np.zeros((members, hidden, members, cells))
    for member in range(members):
        outer[member, :, member] = ensemble.outer[member]
    parts = (
        inner.transpose(1, 0, 2).reshape(features, -1),
        bias.reshape(-1),
        outer.reshape(members * hidden, members * cells),
        ensemble.outer_bias.reshape(-1),
    )
    inner_all, bias_all, outer_all, outer_bias = (np.ascontiguousarray(part, np.float32) for part in parts)
    return inner_all, bias_all, outer_all, outer_bias
