"""The graph of a student that draws its own spikes from noise that is handed to it: the equations of `renewal`, node by node.

The state `since` keeps for each remembered spike `SPAN` less its age, so that zeros are a cell that never fired, and rest is all
zeros as in every other student. Comparisons, look-ups and sums are written as products and elementwise operators, because
students of one architecture then run as one network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from engram_fidelity.distill.renewal import CEILING, KNOTS, PIVOT, REMEMBERED, SPAN, Spiking
from engram_fidelity.graph import F32, Graph

STATES: Final = ("state", "since", "latent")
"""The states: of the recurrent network, of the cells' own spikes, of the shared noise. `latent` only where there are latents."""


def spiking_graph(weights: Spiking, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a student as ONNX; inputs `stimulus`, `noise` and states, outputs `rate`, `spikes` and states after the bin."""
    cells, hidden = weights.cells, weights.recurrent.hidden
    graph = Graph("spiking", doc="A recurrent network whose cells draw their spikes, each given its own past.")
    graph.take("stimulus", weights.channels, doc="one bin, in the recording's unit")
    graph.take("noise", weights.noise, doc="uniform numbers in [0, 1): in each sub-step one a cell, then one a latent")
    graph.take("state", hidden)
    graph.take("since", cells * REMEMBERED, doc=f"{SPAN} less the age of each remembered spike in sub-steps")
    if weights.latents:
        graph.take("latent", weights.latents, doc="noise that all cells hear")
    drive = _drive(graph, weights)
    _hold_constants(graph, weights)
    since, latent = "since", "latent" if weights.latents else ""
    rates, spikes = [], []
    for part in range(weights.sub_steps):
        last = part == weights.sub_steps - 1
        first = part * (cells + weights.latents)
        if latent:
            latent = _latent(graph, part, latent, first + cells, weights, after="latent_out" if last else "")
        log_hazard = _log_hazard(graph, part, drive, since, latent, cells)
        likely = _firing(graph, part, log_hazard)
        fired = _fired(graph, part, likely, _columns(graph, f"draw{part}", "noise", first, first + cells))
        since = _remembered(graph, part, since, fired, after="since_out" if last else "")
        rates.append(likely)
        spikes.append(fired)
    graph.add("Sum", rates, "rate")
    graph.add("Sum", spikes, "spikes")
    graph.give("rate", cells, doc="expected count in the bin, each sub-step's given those before it")
    graph.give("spikes", cells, doc="count drawn in the bin")
    graph.give("state_out", hidden)
    graph.give("since_out", cells * REMEMBERED)
    if weights.latents:
        graph.give("latent_out", weights.latents)
    return graph.finish(metadata)


def _drive(graph: Graph, weights: Spiking) -> str:
    """Add the recurrent network and its read-out: (minds, sub-steps x cells)."""
    taken = graph.silu("taken", graph.dense("entry", "stimulus", weights.entry, weights.entry_bias))
    hidden = graph.gru("gru", taken, "state", "state_out", weights.recurrent)
    inner = graph.silu("inner", graph.dense("inner.sum", hidden, weights.inner, weights.inner_bias))
    both = graph.add("Concat", [hidden, inner], "both", axis=1)
    return graph.dense("drive", both, weights.outer, weights.outer_bias)


def _hold_constants(graph: Graph, weights: Spiking) -> None:
    rising, rising_at, falling, falling_at = _hats_of_since()
    cells = weights.cells
    for name, value in (
        ("hats.rising", rising),
        ("hats.rising_at", rising_at),
        ("hats.falling", falling),
        ("hats.falling_at", falling_at),
        ("history.table", _spread(weights.tables)),
        ("history.gain", _spread(np.concatenate([weights.gain[:, np.newaxis], _none(weights)], axis=1))),
        ("one", np.ones(1)),
        ("pivot", np.full(1, PIVOT)),
        ("ceiling", np.full(1, CEILING)),
        ("since.older", np.kron(np.eye(cells), np.eye(REMEMBERED, k=1))),
        ("since.fired", np.kron(np.eye(cells), np.ones((1, REMEMBERED)))),
        ("since.youngest", np.tile([SPAN - 1.0] + [0.0] * (REMEMBERED - 1), cells)),
    ):
        graph.hold(name, value)
    graph.whole("columns.axis", 1)
    graph.whole("since.axis", 2)
    graph.whole("hats.flat", 0, cells * REMEMBERED * len(KNOTS))
    if weights.latents:
        graph.hold("latent.kept", np.full(1, weights.kept))
        graph.hold("latent.innovation", np.full(1, weights.innovation))
        graph.hold("latent.half", np.full(1, 0.5))
        graph.hold("latent.loadings", weights.loadings)
        graph.hold("latent.offset", weights.latent_offset)


def _none(weights: Spiking) -> F32:
    """Return the gain of all but the last spike: none."""
    return np.zeros((weights.cells, REMEMBERED - 1, len(KNOTS)), np.float32)


def _spread(tables: F32) -> F32:
    """Return tables (cell, remembered, knot) as a product's right side, (cell x remembered x knot, cell)."""
    cells = len(tables)
    spread = np.zeros((cells, tables[0].size, cells), np.float32)
    for cell in range(cells):
        spread[cell, :, cell] = tables[cell].ravel()
    return spread.reshape(-1, cells)


def _hats_of_since() -> tuple[F32, F32, F32, F32]:
    """Return slopes and offsets of the rising and the falling side of each knot's hat, over `SPAN` less the age."""
    knots = np.array(KNOTS, np.float64)
    before, behind = np.append(0.0, knots[:-1]), np.append(knots[1:], SPAN + 1.0)
    rising, falling = 1 / (knots - before), 1 / (behind - knots)
    parts = (-rising, (SPAN - before) * rising, falling, (behind - SPAN) * falling)
    first, second, third, fourth = (np.asarray(part, np.float32) for part in parts)
    return first, second, third, fourth


def _columns(graph: Graph, name: str, value: str, start: int, stop: int) -> str:
    bounds = [graph.whole(f"{name}.start", start), graph.whole(f"{name}.stop", stop)]
    return graph.add("Slice", [value, *bounds, "columns.axis"], name)


def _latent(graph: Graph, part: int, latent: str, first: int, weights: Spiking, *, after: str) -> str:
    """Add one sub-step of the shared noise."""
    uniform = _columns(graph, f"latent{part}.uniform", "noise", first, first + weights.latents)
    centred = graph.add("Sub", [uniform, "latent.half"], f"latent{part}.centred")
    new = graph.add("Mul", [centred, "latent.innovation"], f"latent{part}.new")
    kept = graph.add("Mul", [latent, "latent.kept"], f"latent{part}.kept")
    return graph.add("Add", [kept, new], after or f"latent{part}")


def _log_hazard(graph: Graph, part: int, drive: str, since: str, latent: str, cells: int) -> str:
    """Add what the drive, the cells' own past and the latents come to."""
    own = f"history{part}"
    apart = graph.add("Unsqueeze", [since, "since.axis"], f"{own}.since")
    rising = graph.add("Mul", [apart, "hats.rising"], f"{own}.rising.by")
    rising = graph.add("Add", [rising, "hats.rising_at"], f"{own}.rising")
    falling = graph.add("Mul", [apart, "hats.falling"], f"{own}.falling.by")
    falling = graph.add("Add", [falling, "hats.falling_at"], f"{own}.falling")
    hats = graph.add("Relu", [graph.add("Min", [rising, falling], f"{own}.lower")], f"{own}.hats")
    flat = graph.add("Reshape", [hats, "hats.flat"], f"{own}.flat")
    table = graph.add("MatMul", [flat, "history.table"], f"{own}.table")
    gain = graph.add("Add", [graph.add("MatMul", [flat, "history.gain"], f"{own}.gain"), "one"], f"{own}.factor")
    own_drive = _columns(graph, f"drive{part}", drive, part * cells, (part + 1) * cells)
    driven = graph.add("Mul", [graph.add("Add", [own_drive, "pivot"], f"drive{part}.over"), gain], f"drive{part}.by")
    summed = graph.add("Add", [graph.add("Sub", [driven, "pivot"], f"drive{part}.gained"), table], f"hazard{part}.own")
    if not latent:
        return summed
    heard = graph.add("MatMul", [latent, "latent.loadings"], f"latent{part}.heard")
    heard = graph.add("Add", [heard, "latent.offset"], f"latent{part}.centre")
    return graph.add("Add", [summed, heard], f"hazard{part}.log")


def _firing(graph: Graph, part: int, log_hazard: str) -> str:
    """Add the probability of a spike."""
    own = f"firing{part}"
    room = graph.add("Softplus", [graph.add("Sub", ["ceiling", log_hazard], f"{own}.over")], f"{own}.room")
    hazard = graph.add("Exp", [graph.add("Sub", ["ceiling", room], f"{own}.under")], f"{own}.hazard")
    silent = graph.add("Exp", [graph.add("Neg", [hazard], f"{own}.minus")], f"{own}.silent")
    return graph.add("Sub", ["one", silent], own)


def _fired(graph: Graph, part: int, likely: str, uniform: str) -> str:
    """Add 1 where the uniform number is below the probability, else 0."""
    over = graph.add("Relu", [graph.add("Sub", [likely, uniform], f"fired{part}.over")], f"fired{part}.positive")
    return graph.add("Cast", [graph.add("Cast", [over], f"fired{part}.truth", to=9)], f"fired{part}", to=1)


def _remembered(graph: Graph, part: int, since: str, fired: str, *, after: str) -> str:
    """Add a sub-step's ageing: a cell that fired has a youngest spike, and its others move on by one place."""
    own = f"since{part}"
    aged = graph.add("Relu", [graph.add("Sub", [since, "one"], f"{own}.less")], f"{own}.aged")
    older = graph.add("MatMul", [aged, "since.older"], f"{own}.older")
    moved = graph.add("Add", [older, "since.youngest"], f"{own}.moved")
    change = graph.add("Sub", [moved, aged], f"{own}.change")
    where = graph.add("MatMul", [fired, "since.fired"], f"{own}.where")
    return graph.add("Add", [aged, graph.add("Mul", [where, change], f"{own}.by")], after or own)
