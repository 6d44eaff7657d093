"""What every door reads of a recording for training, and how a deposited student answers."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from engram_testing import students, trained
from engram_testing.deposits import put

from engram_client.demo.retina import NWB_FILE, RETINA_BARS_NWB, load_held_out, load_training
from engram_client.demo.retina_nwb import load_published
from engram_client.fidelity.reading import allow_training, experiment_sha256, read_experiment
from engram_client.fidelity.students import ArchiveStudent
from engram_client.transfer import deposit_files
from engram_format.address import Address
from engram_format.catalog import Kind
from engram_format.errors import Denied, Exhausted, InvalidInput, Precondition
from engram_replay.contract_file import parse_contract

PLACE = Address("lab", "trained")
RETINA = PLACE.of("retina_bars.nwb")


@pytest.fixture(scope="module")
def retina(archive):
    deposit_files(archive, [RETINA_BARS_NWB], to=PLACE, message="", author="a test")
    return RETINA


@pytest.fixture
def deposited(archive, tmp_path, request):
    """Deposit a small recording with something missing or wrong; return its address."""

    def deposit(**changed) -> Address:
        path = trained.recording(tmp_path / f"made-{len(list(tmp_path.iterdir()))}.nwb", **changed)
        name = "".join(char for char in request.node.name if char.isalnum())[:60]
        return deposit_files(archive, [path], to=Address("lab", name), message="", author="a test").address.of(
            path.name
        )

    return deposit


def test_the_retina_is_read_bit_for_bit_as_the_demonstration_has_it(archive, retina):
    told = []
    experiment = read_experiment(archive, retina, warn=told.append)
    training, held_out = load_training(segments=50), load_held_out()
    assert np.array_equal(np.stack([one.stimulus for one in experiment.once]), training.stimulus)
    assert np.array_equal(np.concatenate([one.counts for one in experiment.once]), training.spikes)
    (repeated,) = experiment.repeated
    assert np.array_equal(repeated.stimulus, held_out.stimulus[0])
    assert np.array_equal(repeated.counts, held_out.spikes)
    assert (repeated.stimulus_id, repeated.stimulus.dtype, told) == ("repeated", np.float32, [])
    assert (experiment.unit, len(experiment.channels), experiment.cells) == ("brightness", 31, tuple("012345"))
    assert experiment_sha256(experiment) == "a5093191fa5d9814cba56773362cfd418821012a45410406bbee356e8303addb"


def test_the_retina_is_read_bit_for_bit_in_the_published_bins(archive, retina):
    experiment = read_experiment(archive, retina, bin_s=1 / 600)
    published = load_published()
    assert np.array_equal(np.stack([one.stimulus for one in experiment.once]), np.stack(published.stimulus[:50]))
    assert np.array_equal(np.concatenate([one.counts for one in experiment.once]), np.stack(published.spikes[:50]))
    assert np.array_equal(experiment.repeated[0].counts, np.stack(published.spikes[50:]))
    assert np.array_equal(experiment.repeated[0].stimulus, published.stimulus[50])


def test_a_recording_with_units_stimulus_and_trials_is_an_experiment(archive, deposited):
    experiment = read_experiment(archive, deposited(), bin_s=0.01)
    assert [(one.stimulus_id, one.repeats, one.bins) for one in experiment.trials] == [("a", 3, 40), ("b", 1, 40)]
    assert (experiment.cells, experiment.unit) == (("10", "11", "12"), "V")
    frames = trained.stimulus()
    assert np.array_equal(experiment.trials[0].stimulus, np.repeat(frames[:20], 2, axis=0) * np.float32(0.5))
    for cell, times in enumerate(trained.spike_times()):
        for repeat, start in enumerate((0.0, 0.8, 1.2)):
            wanted, _ = np.histogram((times - start) / 0.01, bins=np.arange(41))
            assert np.array_equal(experiment.trials[0].counts[repeat, :, cell], wanted)


def test_timestamps_serve_as_a_rate_does(archive, deposited):
    by_rate = read_experiment(archive, deposited(), bin_s=0.01)
    by_times = read_experiment(archive, deposited(timestamps=True), bin_s=0.01)
    for one, other in zip(by_rate.trials, by_times.trials, strict=True):
        assert np.allclose(one.stimulus, other.stimulus, atol=1e-6)
        assert np.array_equal(one.counts, other.counts)


def test_trials_without_a_stimulus_id_are_stimuli_of_their_own_and_that_is_told(archive, deposited):
    told = []
    experiment = read_experiment(archive, deposited(ids=None), warn=told.append)
    assert [one.stimulus_id for one in experiment.trials] == ["trial-0", "trial-1", "trial-2", "trial-3"]
    assert "no column stimulus_id" in told[0]


def test_numbers_serve_as_stimulus_ids(archive, deposited):
    experiment = read_experiment(archive, deposited(ids=(1, 22, 1, 1)))
    assert [(one.stimulus_id, one.repeats) for one in experiment.trials] == [("1", 3), ("22", 1)]


def test_a_session_without_trials_is_cut_into_segments_and_that_is_told(archive, deposited):
    told = []
    experiment = read_experiment(archive, deposited(trials=False), warn=told.append)
    assert [(one.stimulus_id, one.repeats, one.bins) for one in experiment.trials] == [("segment-0", 1, 320)]
    assert "has no trials" in told[0]


def test_a_trial_that_outlasts_the_stimulus_is_cut_and_that_is_told(archive, deposited):
    told = []
    address = deposited(lasts_s=(0.4, 0.4, 0.4, 0.9))
    experiment = read_experiment(archive, address, bin_s=0.01, warn=told.append)
    assert experiment.repeated[0].bins == 40
    assert any("trial 3" in line and "outlasts the stimulus" in line for line in told)


def test_recorded_counts_serve_as_spike_times_do(archive, deposited):
    counts = np.random.default_rng(3).integers(0, 3, (320, 2)).astype(np.int16)
    address = deposited(units=False, counts_hz=200.0, counts=counts)
    experiment = read_experiment(archive, address, bin_s=0.01)
    assert np.array_equal(experiment.trials[1].counts[0], counts[80:160].reshape(40, 2, 2).sum(axis=1))
    with pytest.raises(InvalidInput, match="of which no bins of 0.0075 s can be made"):
        read_experiment(archive, address, bin_s=0.0075)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"stimuli": ()}, "has no stimulus: add what was shown as a TimeSeries to /stimulus/presentation"),
        ({"stimuli": ("movie", "sound")}, "2 stimulus series: name one with --stimulus: /stimulus/presentation/movie"),
        ({"units": False}, "has no units with spike_times: add a units table"),
        ({"units": False, "counts_hz": 200.0, "counts": np.full((320, 2), -1)}, "count of -1"),
        ({"units": False, "counts_hz": 200.0, "counts": np.full((320, 2), 0.5)}, "no whole numbers"),
        ({"units": False, "counts_hz": 200.0, "counts": np.ones((300, 2))}, "does not end within it"),
        ({"starts": (0.0, 0.4, 0.8, 1.7)}, "trial 3 at 1.7 s does not lie in the stimulus"),
        ({"ids": ("a", "b", "b", "a")}, "trial 1 and trial 2 both have stimulus_id 'b' and saw different stimuli"),
        ({"shown": np.full((80, 4), np.nan)}, "holds NaN or infinity"),
        ({"lasts_s": (0.001,) * 4}, "no trial lasts a bin"),
    ],
)
def test_a_recording_that_holds_no_experiment_is_refused_in_one_sentence(archive, deposited, changed, why):
    with pytest.raises(InvalidInput, match=why) as caught:
        read_experiment(archive, deposited(**changed))
    assert "\n" not in str(caught.value)


def test_a_stimulus_series_can_be_named(archive, deposited):
    address = deposited(stimuli=("movie", "sound"))
    named = [read_experiment(archive, address, stimulus=name) for name in ("movie", "/stimulus/presentation/movie")]
    assert experiment_sha256(named[0]) == experiment_sha256(named[1])
    with pytest.raises(
        InvalidInput, match="no series 'film' of numbers as a stimulus: it has /stimulus/presentation/m"
    ):
        read_experiment(archive, address, stimulus="film")


def test_arrays_of_a_npz_serve_too(archive, tmp_path):
    stimulus = np.random.default_rng(2).standard_normal((3, 50, 4)).astype(np.float32)
    stimulus[2] = stimulus[0]
    counts = np.random.default_rng(3).integers(0, 3, (3, 50, 2)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", stimulus=stimulus, counts=counts, bin_s=0.005, stimulus_id=[4, 5, 4])
    np.savez(tmp_path / "b.npz", stimulus=stimulus, bin_s=0.005)
    version = deposit_files(
        archive, [tmp_path / "a.npz", tmp_path / "b.npz"], to=Address("lab", "arrays"), message="", author="a test"
    )
    experiment = read_experiment(archive, version.address.of("a.npz"))
    assert [(one.stimulus_id, one.repeats) for one in experiment.trials] == [("4", 2), ("5", 1)]
    assert np.array_equal(experiment.trials[0].counts, counts[[0, 2]])
    assert np.array_equal(experiment.trials[1].stimulus, stimulus[1])
    with pytest.raises(InvalidInput, match="has no array 'counts'"):
        read_experiment(archive, version.address.of("b.npz"))


def test_a_recording_of_units_alone_says_what_is_missing(archive):
    version = deposit_files(archive, [NWB_FILE], to=Address("lab", "units"), message="", author="a test")
    with pytest.raises(InvalidInput, match="has no stimulus: add what was shown as a TimeSeries"):
        read_experiment(archive, version.address.of(NWB_FILE.name))


def test_a_trial_of_ages_is_refused_before_anything_is_made_for_it(archive, deposited):
    with pytest.raises(Exhausted, match="makes an experiment of"):
        read_experiment(archive, deposited(starts=(0.0, 0.4, 0.8, 1e9), lasts_s=(0.4, 0.4, 0.4, 1e200)))
    with pytest.raises(InvalidInput, match="hold no number of bins"):
        read_experiment(archive, deposited(starts=(0.0, 0.4, 0.8, 1e9), lasts_s=(0.4, 0.4, 0.4, 1.7e308)))


def test_a_stimulus_of_complex_numbers_is_refused(archive, tmp_path):
    path = trained.recording(tmp_path / "complex.nwb")
    with h5py.File(path, "a") as file:
        rate = file["/stimulus/presentation/movie/starting_time"].attrs["rate"]
        del file["/stimulus/presentation/movie/data"]
        file["/stimulus/presentation/movie/data"] = np.ones((80, 4), np.complex64)
    assert rate == trained.FRAME_HZ
    version = deposit_files(archive, [path], to=Address("lab", "complex"), message="", author="a test")
    with pytest.raises(InvalidInput, match="complex numbers|has no stimulus"):
        read_experiment(archive, version.address.of(path.name))


INDEX, TIMES = "/units/spike_times_index", "/stimulus/presentation/movie/timestamps"


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        (INDEX, np.array([np.nan, 40, 130.5]), "is no row of whole numbers"),
        (INDEX, np.zeros((3, 0), np.int64), "is no row of whole numbers"),
        (INDEX, np.array([-5, 40, 130]), "does not rise"),
        (INDEX, np.array([40, 2**63 + 5, 2**63 + 9], np.uint64), "does not rise, or ends beyond the spike times"),
        (INDEX, np.ones(2**16 + 1, np.uint8), "has 65537 units, more than 65536"),
        (TIMES, np.zeros((80, 3)), "are not one for each of its samples"),
    ],
)
def test_arrays_that_do_not_say_where_or_when_are_refused_before_they_are_read(
    archive, tmp_path, request, name, values, why
):
    path = trained.recording(tmp_path / "wrong.nwb", timestamps=True)
    with h5py.File(path, "a") as file:
        kept = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=values).attrs.update(kept)
    place = Address("lab", "".join(char for char in request.node.name if char.isalnum())[:60])
    version = deposit_files(archive, [path], to=place, message="", author="a test")
    with pytest.raises((InvalidInput, Exhausted), match=why):
        read_experiment(archive, version.address.of(path.name))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"stimulus_id": [1.0, np.nan]}, "holds NaN or infinity"),
        ({"stimulus_id": [1j, 2j]}, "is not one number for each of 2 trials"),
        ({"stimulus_id": [1, 2, 3]}, "is not one number for each of 2 trials"),
        ({"bin_s": [0.005, 0.005]}, "is not one number"),
        ({"counts": np.zeros((10_001, 1, 1), np.uint8)}, "has 10001 trials, more than 10000"),
    ],
)
def test_a_npz_whose_numbers_are_none_is_refused(archive, tmp_path, changed, why):
    arrays = {"stimulus": np.ones((2, 50, 4)), "counts": np.zeros((2, 50, 2), np.uint8), "bin_s": 0.005, **changed}
    np.savez(tmp_path / "wrong.npz", **arrays)
    place = Address("lab", "".join(char for char in why if char.isalnum()) + str(len(str(changed))))
    version = deposit_files(archive, [tmp_path / "wrong.npz"], to=place, message="", author="a test")
    with pytest.raises((InvalidInput, Exhausted), match=why):
        read_experiment(archive, version.address.of("wrong.npz"))


def test_plain_bytes_are_no_recording(archive):
    with pytest.raises(Precondition):
        read_experiment(archive, put(archive, PLACE.of("notes.txt"), b"notes"))


@pytest.mark.parametrize(
    "consent",
    [{}, {"consent.duo": "GRU"}, {"consent.duo": "GRU,NMDS"}, {"consent.model_training": True}],
)
def test_training_without_consent_is_denied_in_one_sentence(archive, consent):
    address = put(archive, PLACE.of(f"{len(json.dumps(consent))}.bin"), b"x", kind=Kind.RECORDING, metadata=consent)
    with pytest.raises(Denied, match=r"consent does not allow to train models on lab/trained@\d+:\d+.bin"):
        allow_training(archive.artifact(address))


def test_training_under_consent_that_is_not_understood_is_denied(archive, retina):
    artifact = replace(archive.artifact(retina), metadata={"consent.duo": "GRU", "consent.future": True})
    with pytest.raises(Denied, match="what is said of consent is not understood"):
        allow_training(artifact)


def test_training_with_consent_is_allowed(archive):
    said = {"consent.duo": "GRU", "consent.model_training": True}
    allow_training(archive.artifact(put(archive, PLACE.of("yes.bin"), b"x", kind=Kind.RECORDING, metadata=said)))


STIMULUS = np.random.default_rng(11).standard_normal((40, 3)).astype(np.float32)


def told(text: str) -> dict[str, object]:
    return dict(parse_contract(text, what="spiking.toml").to_metadata())


@pytest.fixture(scope="module")
def spiking(archive):
    said = told(
        'sampling_interval_s = 0.005\n[inputs.x]\nchannels = ["a", "b", "c"]\n'
        '[outputs.counts]\ndistribution = "rate"\n[outputs.level]\nunit = "Hz"\n'
    )
    return put(archive, PLACE.of("spiking.onnx"), students.spiking(), kind=Kind.STUDENT, metadata=said)


def test_a_student_expects_what_its_network_answers_and_draws_what_the_engine_draws(archive, spiking):
    student = ArchiveStudent(archive, spiking, bin_s=0.005)
    both = np.repeat(STIMULUS[:, np.newaxis], 2, axis=1)
    replayed = archive.replay(spiking, {"": STIMULUS}, sample=9)
    expected = student.expected(STIMULUS, seed=1)
    assert np.array_equal(expected, replayed.outputs["counts"].reshape(40, 3))
    assert np.array_equal(
        student.sample(STIMULUS, repeats=1, seed=9)[0], replayed.outputs["counts.drawn"].reshape(40, 3)
    )
    counts = student.sample(STIMULUS, repeats=2, seed=9)
    assert (counts.dtype, counts.shape) == (np.uint8, (2, 40, 3))
    assert np.array_equal(counts, student.sample(both[:, 0], repeats=2, seed=9))
    assert not np.array_equal(counts[0], counts[1])
    assert (student.channels, student.cells, student.channel_names) == (3, 3, ("a", "b", "c"))


def test_repeats_are_the_minds_that_the_engine_would_number(archive):
    said = told('[outputs.spikes]\ndistribution = "bernoulli"\n')
    address = put(archive, PLACE.of("hazard.onnx"), students.hazard(), kind=Kind.STUDENT, metadata=said)
    both = np.repeat(STIMULUS[:, np.newaxis], 5, axis=1)
    drawn = archive.replay(address, {"": both}, sample=4).outputs["spikes.drawn"]
    counts = ArchiveStudent(archive, address, bin_s=0.005).sample(STIMULUS, repeats=5, seed=4)
    assert np.array_equal(counts, drawn.transpose(1, 0, 2))


def test_long_stimuli_are_answered_in_parts_as_they_are_whole(archive, spiking):
    long = np.random.default_rng(1).standard_normal((9001, 3)).astype(np.float32)
    student = ArchiveStudent(archive, spiking, bin_s=0.005)
    replayed = archive.replay(spiking, {"": long}, sample=2)
    assert np.array_equal(student.expected(long, seed=0), replayed.outputs["counts"].reshape(9001, 3))
    assert np.array_equal(student.sample(long, repeats=3, seed=2)[0], replayed.outputs["counts.drawn"].reshape(9001, 3))


def test_a_rate_in_hertz_is_multiplied_by_the_bin(archive, spiking):
    student = ArchiveStudent(archive, spiking, bin_s=0.005, response="level")
    positive = np.abs(STIMULUS)
    levels = archive.replay(spiking, {"": positive}).outputs["level"].reshape(40, 3)
    assert np.allclose(student.expected(positive, seed=0), levels * 0.005)
    many = np.tile(positive, (50, 1))
    counts = student.sample(many, repeats=20, seed=0)
    assert counts.mean() == pytest.approx(student.expected(many, seed=0).mean(), rel=0.1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"bin_s": 0.01}, "takes a step every 0.005 s, and the recording is in bins of 0.01 s"),
        ({"bin_s": 0.005, "response": "x"}, "none can be meant as rates of cells"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(archive, spiking, options, why):
    with pytest.raises(InvalidInput, match=why):
        ArchiveStudent(archive, spiking, **options)


def test_a_student_of_other_electrodes_is_refused(archive, spiking, retina, deposited):
    student = ArchiveStudent(archive, spiking, bin_s=0.005)
    with pytest.raises(
        InvalidInput, match="has 3 channels and the recording has 31: bring a student of this preparation"
    ):
        student.check(read_experiment(archive, retina))
    frames = trained.stimulus()[:, :3]
    with pytest.raises(InvalidInput, match="calls number 0 of its channels 'a' where the recording has '0'"):
        student.check(read_experiment(archive, deposited(shown=frames)))
    with pytest.raises(InvalidInput, match="read both in the same"):
        student.check(read_experiment(archive, deposited(shown=frames), bin_s=0.01))
    with pytest.raises(InvalidInput, match="has 3 channels and was shown a stimulus of shape"):
        student.expected(np.ones((4, 5), np.float32), seed=0)


def test_a_response_that_is_no_rate_is_refused(archive, spiking):
    student = ArchiveStudent(archive, spiking, bin_s=0.005, response="level")
    with pytest.raises(InvalidInput, match="numbers that are no rates, NaN or below 0"):
        student.expected(STIMULUS, seed=0)


def test_more_answers_than_memory_should_hold_are_refused(archive, spiking):
    with pytest.raises(Exhausted, match="1000000000 answers of .* to 40 bins are more than memory should hold"):
        ArchiveStudent(archive, spiking, bin_s=0.005).sample(STIMULUS, repeats=10**9, seed=0)
