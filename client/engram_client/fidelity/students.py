"""A deposited student that is asked for spikes: run by the archive's own engine, sandboxed, through either door."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from engram_client.contract import contract_in, ports_of
from engram_client.sampling import counts_drawn, drawn_from
from engram_fidelity.binning import as_counts
from engram_fidelity.experiment import Counts, Experiment, Stimulus
from engram_format.address import Address, AnyAddress
from engram_format.catalog import AnyArray, Artifact, Kind
from engram_format.errors import Exhausted, InvalidInput
from engram_format.ports import MindPort, for_minds

if TYPE_CHECKING:
    from engram_client.archive import Archive, Minds

_MESSAGE_BYTES: Final = 2**19
"""What one tick takes or gives: well below a mebibyte."""
_MOST_STEPS: Final = 4096
_MOST_DRAWN: Final = 2**20
"""Counts that are drawn at once, at most, but for those of one step."""
_MAX_BYTES: Final = 2**29
"""Answers that are held at once."""
_FREE_RUNS: Final = 64
"""Runs over which the expectation of a student that hears its own spikes is averaged."""
_MOST_EXPECTED: Final = 1024
"""What the sampler draws from at most."""
_HERTZ: Final = frozenset({"hz", "hertz", "1/s", "s^-1", "spikes/s", "spikes per second"})
_SPIKES: Final = "spikes"
_INTERVAL: Final = 1e-6


class ArchiveStudent:
    """A student in an archive as a `RateResponder`: it answers from the state of rest, in counts per bin.

    Its response is the one that its contract says to be `rate` or `bernoulli`, else the one in Hz, else the only one;
    `response` names another. A rate in Hz, by its unit or by a name such as `rate_hz`, is multiplied by the bin. Of a student
    without noise of its own all repeats have the same expectation, so that one mind runs, and repeat `r` is drawn as the engine
    draws for mind `r`. A student with an input of role `noise` draws inside its network, each repeat a mind with noise of its
    own; its counts are its output `spikes`.
    """

    def __init__(self, archive: Archive, address: AnyAddress, *, bin_s: float, response: str | None = None) -> None:
        """Open a student; raises `InvalidInput` where it steps by another interval or does not answer with rates."""
        self._archive = archive
        self.artifact: Artifact = archive.artifact(address)
        self.bin_s = bin_s
        self._at: Address = self.artifact.address
        if self.artifact.kind is Kind.RECORDING:
            raise InvalidInput(
                f"{self._at} is a recording, no student: name an ONNX network that answers to a stimulus"
            )
        self._ports, interval = _ports(archive, self.artifact)
        if interval is not None and not math.isclose(interval, bin_s, rel_tol=_INTERVAL):
            raise InvalidInput(
                f"{self._at} takes a step every {interval:g} s, and the recording is in bins of {bin_s:g} s: read the recording "
                f"in bins of {interval:g} s"
            )
        stimuli = [port for port in self._ports if port.role == "stimulus"]
        if len(stimuli) != 1 or stimuli[0].fixed_shape is None:
            raise InvalidInput(
                f"{self._at} takes {len(stimuli)} stimuli, or one without a fixed shape: bring one of channels"
            )
        self._stimulus = stimuli[0]
        self._has_noise = any(str(port.role) == "noise" for port in self._ports)
        self._response = self._chosen(response)
        self._spikes = self._spikes_port() if self._has_noise else None

    @property
    def channels(self) -> int:
        """How many values one bin of its stimulus has."""
        return math.prod(self._stimulus.fixed_shape or ())

    @property
    def cells(self) -> int:
        """How many cells answer."""
        return math.prod(self._response.fixed_shape or ())

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of its channels, empty where its contract has none."""
        return self._stimulus.channels

    @property
    def cell_names(self) -> tuple[str, ...]:
        """Names of its cells, empty where its contract has none."""
        return self._response.channels

    def check(self, experiment: Experiment) -> None:
        """Raise `InvalidInput` unless the student is one of these channels, cells and bins."""
        if not math.isclose(experiment.bin_s, self.bin_s, rel_tol=_INTERVAL):
            raise InvalidInput(
                f"{self._at} steps in bins of {self.bin_s:g} s and the recording is in bins of {experiment.bin_s:g} s: "
                "read both in the same"
            )
        for what, has, named, wanted in (
            ("channels", self.channels, self.channel_names, experiment.channels),
            ("cells", self.cells, self.cell_names, experiment.cells),
        ):
            if has != len(wanted):
                raise InvalidInput(
                    f"{self._at} has {has} {what} and the recording has {len(wanted)}: bring a student of this preparation"
                )
            if named and named != wanted:
                first = next(
                    number for number, (own, other) in enumerate(zip(named, wanted, strict=True)) if own != other
                )
                raise InvalidInput(
                    f"{self._at} calls number {first} of its {what} {named[first]!r} where the recording has {wanted[first]!r}: "
                    "bring a student of this preparation"
                )

    def expected(self, stimulus: Stimulus, *, seed: int) -> Stimulus:
        """Return the expected count of each cell in each bin, (time, cell), float32.

        Of a student with noise, the mean over free runs of its rate given its own past, or of its spikes if it tells no rate.
        """
        if self._has_noise:
            self._check_size(len(stimulus), _FREE_RUNS)
            answered = self._free_runs(stimulus, repeats=_FREE_RUNS, seed=seed)[self._response.name]
            rates = answered.reshape(len(stimulus), _FREE_RUNS, -1).mean(axis=1, dtype=np.float64)
            return self._counts_per_bin(rates)
        rates = np.concatenate([answered[self._response.name] for _, answered in self._run(stimulus)])
        return self._counts_per_bin(rates.reshape(len(stimulus), -1))

    def sample(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Counts:
        """Answer a stimulus (time, channel) freely, `repeats` times from the state of rest: (repeat, time, cell)."""
        self._check_size(len(stimulus), repeats)
        if self._spikes is not None:
            drawn = self._free_runs(stimulus, repeats=repeats, seed=seed)[self._spikes.name]
            return self._as_counts(drawn.reshape(len(stimulus), repeats, -1))
        counts = np.empty((repeats, len(stimulus), self.cells), np.uint8)
        drawing = _MOST_DRAWN // (repeats * self.cells) or 1
        for first, part in self._run(
            stimulus, steps=drawing, then=lambda *step: self._drawn(*step, repeats=repeats, seed=seed)
        ):
            drawn = part[""]
            counts[:, first : first + len(drawn)] = self._as_counts(drawn)
        return counts

    def _drawn(
        self, minds: Minds, first: int, answered: Mapping[str, AnyArray], *, repeats: int, seed: int
    ) -> Mapping[str, AnyArray]:
        """Draw counts (step, repeat, cell) from what one mind answers: all repeats have its rates."""
        if self._response.distribution == "continuous":
            rates = self._counts_per_bin(answered[self._response.name].reshape(len(answered[self._response.name]), -1))
            each = np.broadcast_to(rates[:, np.newaxis], (len(rates), repeats, rates.shape[1]))
            return {"": counts_drawn(each, seed=seed, first_step=first)}
        every = {
            name: np.broadcast_to(array, (len(array), repeats, *array.shape[2:])) for name, array in answered.items()
        }
        drawn = drawn_from(minds, every, seed=seed, first_step=first)[f"{self._response.name}.drawn"]
        return {"": drawn.reshape(len(drawn), repeats, -1)}

    def _run(
        self,
        stimulus: Stimulus,
        *,
        steps: int = _MOST_STEPS,
        then: Callable[[Minds, int, Mapping[str, AnyArray]], Mapping[str, AnyArray]] = lambda _minds, _first, array: (
            array
        ),
    ) -> Iterator[tuple[int, Mapping[str, AnyArray]]]:
        """Run one mind from rest, yielding the first bin of each part and what `then` makes of its responses."""
        driven = self._driven(stimulus, minds=1)
        steps = min(steps, self._steps_at_once())
        with self._archive.open_minds(self._at, minds=1) as minds:
            for first in range(0, len(driven), steps):
                answered = minds.tick({self._stimulus.name: driven[first : first + steps]})
                yield first, then(minds, first, answered)

    def _check_size(self, bins: int, repeats: int) -> None:
        """Raise `Exhausted` where answers would be more than memory should hold."""
        each = self.channels * 4 + self.cells * 16 if self._has_noise else self.cells
        if bins * repeats * each > _MAX_BYTES:
            raise Exhausted(
                f"{repeats} answers of {self._at} to {bins} bins are more than memory should hold ({_MAX_BYTES} bytes): ask for "
                "fewer, or for a shorter stimulus"
            )

    def _free_runs(self, stimulus: Stimulus, *, repeats: int, seed: int) -> Mapping[str, AnyArray]:
        """Return the outputs (step, mind, ...) of minds that each hear noise of their own."""
        driven = np.ascontiguousarray(self._driven(stimulus, minds=repeats))
        if not any(port.role == "state" for port in self._ports):
            # A whole replay would take the axis of minds for time, of which such a network knows nothing.
            steps = max(1, self._steps_at_once() // repeats)
            with self._archive.open_minds(self._at, minds=repeats, sample=seed) as minds:
                parts = [
                    minds.tick({self._stimulus.name: driven[first : first + steps]})
                    for first in range(0, len(driven), steps)
                ]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return self._archive.replay(self._at, {self._stimulus.name: driven}, sample=seed).outputs

    def _driven(self, stimulus: Stimulus, *, minds: int) -> AnyArray:
        shape = self._stimulus.fixed_shape or ()
        if stimulus.ndim != 2 or stimulus.shape[1] != self.channels or not len(stimulus):
            raise InvalidInput(
                f"{self._at} has {self.channels} channels and was shown a stimulus of shape {stimulus.shape}: bring (time, channel)"
            )
        given = stimulus.astype(self._stimulus.dtype).reshape(len(stimulus), *shape)
        return for_minds(given, self._stimulus, minds=minds)

    def _steps_at_once(self) -> int:
        taken = self._stimulus.step_bytes or 1
        given = sum(port.step_bytes or 0 for port in self._ports if port.role == "response")
        return max(1, min(_MOST_STEPS, _MESSAGE_BYTES // max(taken, given)))

    def _counts_per_bin(self, rates: NDArray[np.generic]) -> Stimulus:
        expected = np.asarray(rates, np.float64) * (self.bin_s if _is_in_hertz(self._response) else 1.0)
        if not np.isfinite(expected).all() or (expected < 0).any():
            raise InvalidInput(
                f"{self._at} answers {self._response.name!r} with numbers that are no rates, NaN or below 0: name another response"
            )
        if (expected > _MOST_EXPECTED).any():
            raise InvalidInput(
                f"{self._at} expects more than {_MOST_EXPECTED} spikes in a bin from {self._response.name!r}: say its unit in the "
                "contract, or name another response"
            )
        return expected.astype(np.float32)

    def _as_counts(self, drawn: AnyArray) -> Counts:
        """Return (step, repeat, cell) as counts (repeat, step, cell)."""
        try:
            columns = [as_counts(drawn[..., cell], cell=self._cell(cell)) for cell in range(drawn.shape[2])]
        except InvalidInput as error:
            raise InvalidInput(f"what {self._at} answers is no count: {error}") from error
        return np.ascontiguousarray(np.stack(columns, axis=2).transpose(1, 0, 2))

    def _cell(self, number: int) -> str:
        return self.cell_names[number] if self.cell_names else str(number)

    def _chosen(self, named: str | None) -> MindPort:
        """Return the response that tells rates."""
        responses = [port for port in self._ports if port.role == "response"]
        if self._has_noise:  # what it draws itself is told by its rate, or else by many runs
            responses = [port for port in responses if port.name != _SPIKES] or responses
        if named is not None:
            chosen = [port for port in responses if port.name == named]
        else:
            chosen = [port for port in responses if port.distribution != "continuous"]
            chosen = chosen or [port for port in responses if _is_in_hertz(port)]
            chosen = chosen or [port for port in responses if port.name == "rate"] or responses
        if len(chosen) != 1 or chosen[0].fixed_shape is None:
            names = ", ".join(port.name for port in responses)
            raise InvalidInput(
                f"{self._at} has the responses {names}, of which {'none' if not chosen else 'more than one'} can be meant as "
                'rates of cells: say distribution = "rate" of one in its contract'
            )
        return chosen[0]

    def _spikes_port(self) -> MindPort:
        found = [port for port in self._ports if port.role == "response" and port.name == _SPIKES]
        if not found:
            raise InvalidInput(
                f"{self._at} takes noise and has no response 'spikes': give it the counts that it draws as one"
            )
        return found[0]


def _ports(archive: Archive, artifact: Artifact) -> tuple[tuple[MindPort, ...], float | None]:
    """Return what a student takes and gives, and its interval; of one without a contract, as its minds tell it."""
    contract = contract_in(artifact.metadata)
    if contract is not None:
        return ports_of(contract), contract.sampling_interval_s
    with archive.open_minds(artifact.address, minds=1, sample=0) as minds:
        return minds.ports, minds.sampling_interval_s


def _is_in_hertz(port: MindPort) -> bool:
    """Tell whether a response is a rate in Hz; what counts are drawn from is in counts for each step."""
    return port.distribution == "continuous" and (
        port.unit.lower() in _HERTZ if port.unit else port.name.lower().endswith("_hz")
    )
