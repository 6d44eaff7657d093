"""`engram replay --minds` and `engram mind`, over a real archive and a real service."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from engram_testing.students import gru, self_exciting, spiking
from onnx import TensorProto, helper

import engram_client
from engram_client.cli import cli
from engram_client.cli.replay_minds import run_minds
from engram_client.embedded import create_archive
from engram_format.address import Address
from engram_format.arrays import digest_arrays
from engram_server.config import ServeConfig
from engram_server.engine import open_archive
from engram_server.rpc.serve import serving
from engram_store.identity import new_identity, save_identity

SILERO = Path(__file__).parents[1] / "data" / "onnx_real" / "silero_vad_16k_op15.onnx"
GRU = "retina/bars:gru.onnx"
SPIKING = "retina/spikes:spiking.onnx"
TOLD = 'seed = 5\n[outputs.counts]\ndistribution = "rate"\n[outputs.spikes]\ndistribution = "bernoulli"\n'
STEPS = 20


def leaky_sum() -> bytes:
    """`level_out` = 0.5 `level` + `x`, `y` = 2 `level_out`; all (1, 3), and no axis of minds."""
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["level", "half"], ["kept"]),
            helper.make_node("Add", ["kept", "x"], ["level_out"]),
            helper.make_node("Mul", ["level_out", "two"], ["y"]),
        ],
        "leaky_sum",
        [tensor("x", TensorProto.FLOAT, [1, 3]), tensor("level", TensorProto.FLOAT, [1, 3])],
        [tensor("y", TensorProto.FLOAT, [1, 3]), tensor("level_out", TensorProto.FLOAT, [1, 3])],
        initializer=[
            helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An archive in a folder and the service that keeps it."""
    folder = tmp_path_factory.mktemp("minds")
    identity, place = new_identity(), str(folder / "archive")
    save_identity(folder / "identity.txt", identity)
    create_archive(place, identity=identity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENGRAM_IDENTITY", str(folder / "identity.txt"))
        patch.setenv("ENGRAM_AUTHOR", "ada")
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("ENGRAM_ARCHIVE", place)
        run("vault", "create", "retina")
        for name, data in {"gru": gru(), "leaky": leaky_sum(), "silero": SILERO.read_bytes()}.items():
            (folder / f"{name}.onnx").write_bytes(data)
        np.save(folder / "stim.npy", drive())
        run("deposit", *folder.glob("*.onnx"), folder / "stim.npy", "--to", "retina/bars")
        (folder / "spiking.onnx").write_bytes(spiking())
        (folder / "spiking.toml").write_text(TOLD)
        run("deposit", folder / "spiking.onnx", "--contract", folder / "spiking.toml", "--to", "retina/spikes")
        (folder / "noisy.onnx").write_bytes(self_exciting())
        (folder / "noisy.toml").write_text('[inputs.noise]\nrole = "noise"\n')
        run("deposit", folder / "noisy.onnx", "--contract", folder / "noisy.toml", "--to", "retina/noisy")
        with serving(ServeConfig(port=0, grace_s=2), open_archive(place, identity=identity)) as port:
            service = f"grpc://127.0.0.1:{port}"
            patch.setenv("ENGRAM_ARCHIVE", service)
            yield {"directory": place, "grpc": service}


@pytest.fixture
def engram(places):
    return run


@pytest.fixture(params=["directory", "grpc"])
def each_door(request, places, monkeypatch):
    monkeypatch.setenv("ENGRAM_ARCHIVE", places[request.param])


def run(*args, status: int = 0):
    result = CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="engram")
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def told(*args):
    return json.loads(run(*args, "--json").stdout)


def drive() -> np.ndarray:
    return np.random.default_rng(5).standard_normal((STEPS, 64)).astype(np.float32)


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


def outputs(path: Path, name: str = "y") -> np.ndarray:
    return np.load(path)[name]


def kept(address: str) -> dict[str, np.ndarray]:
    sink = io.BytesIO()
    with engram_client.open(os.environ["ENGRAM_ARCHIVE"], identity=os.environ["ENGRAM_IDENTITY"]) as archive:
        sink.write(b"".join(archive.read(Address.parse(address))))
    sink.seek(0)
    return dict(np.load(sink))


class TestReplay:
    def test_a_stimulus_is_given_to_all_minds(self, engram, each_door, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", drive())
        engram("replay", GRU, "--stimulus", stimulus, "-o", tmp_path / "one.npz")
        report = told("replay", GRU, "--stimulus", stimulus, "--minds", 4, "-o", tmp_path / "four.npz")
        assert report["outputs"] == [{"name": "y", "dtype": "float32", "shape": [STEPS, 4, 64]}]
        assert (report["receipt"]["replay.minds"], report["receipt"]["replay.steps"]) == (4, STEPS)
        four = outputs(tmp_path / "four.npz")
        for mind in range(4):
            assert np.array_equal(four[:, mind], outputs(tmp_path / "one.npz"))

    def test_each_mind_may_have_its_own(self, engram, tmp_path):
        own = np.random.default_rng(6).standard_normal((STEPS, 3, 64)).astype(np.float32)
        engram("replay", GRU, "--stimulus", saved(tmp_path / "own.npy", own), "--minds", 3, "-o", tmp_path / "out.npz")
        for mind in range(3):
            stimulus = saved(tmp_path / f"{mind}.npy", own[:, mind])
            engram("replay", GRU, "--stimulus", stimulus, "-o", tmp_path / f"{mind}.npz")
            assert np.array_equal(outputs(tmp_path / "out.npz")[:, mind], outputs(tmp_path / f"{mind}.npz"))

    def test_a_perturbation_is_repeated_by_its_seed(self, engram, tmp_path):
        command = ("replay", GRU, "--stimulus", "retina/bars:stim.npy", "--minds", 8, "--force")
        for name, option in {"a": "seed=1", "b": "seed=1,scale=1e-3", "c": "seed=2"}.items():
            engram(*command, "--perturb-state", option, "-o", tmp_path / f"{name}.npz")
        engram(*command, "-o", tmp_path / "still.npz")
        a, b, c, still = (outputs(tmp_path / f"{name}.npz") for name in ("a", "b", "c", "still"))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
        assert np.array_equal(a[:, 0], still[:, 0])
        assert len(np.unique(a[0], axis=0)) == 8
        assert np.abs(a - still).max() < 0.01

    def test_save_keeps_outputs_receipt_and_what_they_were_made_from(self, engram, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", drive())
        report = told("replay", GRU, "--stimulus", stimulus, "--minds", 2, "--perturb-state", "seed=3", "--save")
        receipt, artifact = report["receipt"], report["saved"]
        assert artifact["kind"] == "replay"
        assert artifact["metadata"] == receipt
        assert receipt["perturbation.seed"] == 3
        assert digest_arrays(kept(artifact["address"])) == receipt["outputs.sha256"]
        beside = artifact["address"].removesuffix(".npz")
        assert digest_arrays(kept(f"{beside}.state.npz")) == receipt["initial_state.sha256"]
        assert np.array_equal(kept(f"{beside}.stimulus.npz")["x"], drive())
        kinds = {path: told("show", f"{beside}.{path}.npz")["sha256"] for path in ("stimulus", "state")}
        assert artifact["made_from"] == [receipt["student.sha256"], kinds["state"], kinds["stimulus"]]

    def test_a_student_is_verified_by_its_golden_trace(self, engram, each_door):
        assert told("replay", "verify", GRU)["likeness"] == "bit"
        lines = engram("replay", "verify", GRU).stdout.splitlines()
        assert lines[0].split() == ["bit", told("show", GRU)["address"]]
        assert lines[1].split() == ["output", "y", "bit"]
        refused = engram("replay", "verify", "retina/bars:silero.onnx", status=1)
        assert "has no golden trace to verify: its constant 'sr' has no value" in refused.stderr

    def test_a_replay_of_many_minds_is_verified(self, engram, tmp_path):
        own = np.random.default_rng(8).standard_normal((STEPS, 3, 64)).astype(np.float32)
        for stimulus in (saved(tmp_path / "own.npy", own), "retina/bars:stim.npy"):
            kept = told(*("replay", GRU, "--stimulus", stimulus, "--minds", 3, "--perturb-state", "seed=4", "--save"))[
                "saved"
            ]["address"]
            verdict = told("replay", "verify", kept)
            assert (verdict["likeness"], verdict["detail"]) == ("bit", "")
            assert verdict["outputs"][0]["largest"] == 0
        refused = engram("replay", "verify", kept, "--reference", status=1)
        assert "many minds" in refused.stderr

    def test_a_mind_draws_alike_alone_and_among_others(self, engram, each_door, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", drive()[:, :3])
        whole = told("replay", SPIKING, "--stimulus", stimulus, "--sample", 5, "-o", tmp_path / "whole.npz")
        assert whole["receipt"]["sample.seed"] == 5
        for minds in (1, 4):
            out = tmp_path / f"{minds}.npz"
            report = told("replay", SPIKING, "--stimulus", stimulus, "--minds", minds, "--sample", 5, "-o", out)
            assert {"name": "spikes.drawn", "dtype": "bool", "shape": [STEPS, minds, 3]} in report["outputs"]
            for name in ("counts.drawn", "spikes.drawn"):
                assert np.array_equal(outputs(out, name)[:, 0], outputs(tmp_path / "whole.npz", name))
        four = outputs(tmp_path / "4.npz", "spikes.drawn")
        assert not np.array_equal(four[:, 0], four[:, 1])

    def test_without_a_seed_it_is_the_contracts(self, engram, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", drive()[:, :3])
        by_option = told("replay", SPIKING, "--stimulus", stimulus, "--sample", "5")["receipt"]
        for command in (
            ("replay", SPIKING, "--stimulus", stimulus, "--sample"),
            ("replay", "--sample", SPIKING, "--stimulus", stimulus),
            ("replay", SPIKING, "--sample", "--stimulus", stimulus, "--minds", 1),
        ):
            receipt = told(*command)["receipt"]
            assert receipt["sample.seed"] == 5
            if "replay.minds" not in receipt:
                assert receipt == by_option

    def test_draws_of_many_minds_are_kept_and_verified(self, engram, each_door, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", drive()[:, :3])
        report = told("replay", SPIKING, "--stimulus", stimulus, "--minds", 3, "--sample", "--save")
        drawn = {name: array for name, array in kept(report["saved"]["address"]).items() if name.endswith(".drawn")}
        assert digest_arrays(drawn) == report["receipt"]["drawn.sha256"]
        verdict = told("replay", "verify", report["saved"]["address"])
        assert (verdict["likeness"], verdict["detail"]) == ("bit", "")
        assert {one["name"] for one in verdict["outputs"]} >= {"counts", "counts.drawn", "spikes.drawn"}

    def test_what_cannot_be_drawn_is_said(self, engram, tmp_path):
        stimulus = "retina/bars:stim.npy"
        nothing = "every response of the student is continuous"
        for more in ((), ("--minds", 2)):
            assert nothing in engram("replay", GRU, "--stimulus", stimulus, "--sample", 1, *more, status=1).stderr
        assert "has no seed: give one" in engram("replay", GRU, "--stimulus", stimulus, "--sample", status=1).stderr
        group = ("replay", GRU, GRU, "--group", "--stimulus", stimulus, "--sample", "1")
        assert "leave out --group" in engram(*group, status=2).stderr
        wrong = engram("replay", GRU, "--stimulus", stimulus, "--sample=half", status=2)
        assert "'half' is no seed" in wrong.stderr

    def test_a_kept_stimulus_is_not_kept_again(self, engram):
        report = told("replay", GRU, "--stimulus", "retina/bars:stim.npy", "--minds", 2, "--save")
        beside = report["saved"]["address"].removesuffix(".npz")
        engram("show", f"{beside}.stimulus.npz", status=1)

    def test_a_network_without_an_axis_for_minds_runs_as_many(self, engram, tmp_path):
        stimulus = np.arange(3 * 12, dtype=np.float32).reshape(12, 3)
        place = saved(tmp_path / "x.npy", stimulus)
        engram("replay", "retina/bars:leaky.onnx", "--stimulus", place, "--minds", 5, "-o", tmp_path / "y.npz")
        level, wanted = np.zeros(3, np.float32), []
        for x in stimulus:
            level = level * np.float32(0.5) + x
            wanted.append(2 * level)
        given = outputs(tmp_path / "y.npz")
        assert given.shape[:2] == (12, 5)
        for mind in range(5):
            assert np.array_equal(given[:, mind].reshape(12, 3), wanted)

    def test_constants_come_with_the_stimulus(self, engram, tmp_path):
        speech = np.random.default_rng(7).normal(0, 0.1, (10, 512)).astype(np.float32)
        np.savez(tmp_path / "s.npz", input=speech, sr=np.array(16_000, np.int64))
        command = ("replay", "retina/bars:silero.onnx", "--stimulus", tmp_path / "s.npz")
        engram(*command, "-o", tmp_path / "one.npz")
        engram(*command, "--minds", 3, "-o", tmp_path / "three.npz")
        one, three = (outputs(tmp_path / f"{name}.npz", "output") for name in ("one", "three"))
        for mind in range(3):
            assert np.array_equal(three[:, mind].ravel(), one.ravel())

    @pytest.mark.parametrize(
        ("option", "sentence"),
        [
            ("seed", "is not seed=N"),
            ("seed=x", "is not seed=N"),
            ("seed=1,size=2", "0 to 1"),
            ("seed=1,scale=3", "0 to 1"),
        ],
    )
    def test_a_perturbation_that_cannot_be_is_a_usage_error(self, engram, option, sentence):
        result = engram(
            "replay", GRU, "--stimulus", "retina/bars:stim.npy", "--minds", 2, "--perturb-state", option, status=2
        )
        assert sentence in result.stderr

    @pytest.mark.parametrize("shape", [(STEPS, 63), (STEPS, 3, 64), (STEPS,), (0, 64), (STEPS, 2, 2, 64)])
    def test_a_stimulus_that_does_not_fit_is_one_sentence(self, engram, tmp_path, shape):
        stimulus = saved(tmp_path / "wrong.npy", np.zeros(shape, np.float32))
        result = engram("replay", GRU, "--stimulus", stimulus, "--minds", 2, status=1)
        assert result.stderr.count("\n") == 1
        assert "'x'" in result.stderr or "steps" in result.stderr

    def test_a_stimulus_of_other_names_is_one_sentence(self, engram, tmp_path):
        np.savez(tmp_path / "wrong.npz", z=drive())
        result = engram("replay", GRU, "--stimulus", tmp_path / "wrong.npz", "--minds", 2, status=1)
        assert "the stimulus has 'z'" in result.stderr


class TestMind:
    def test_minds_are_saved_and_resumed_exactly(self, engram, each_door, tmp_path):
        first, second = (saved(tmp_path / f"{i}.npy", part) for i, part in enumerate(np.split(drive(), [8])))
        whole = saved(tmp_path / "whole.npy", drive())
        engram("replay", GRU, "--stimulus", whole, "--minds", 3, "--perturb-state", "seed=9", "-o", tmp_path / "w.npz")
        report = told(
            *("mind", "save", GRU, "--stimulus", first, "--minds", 3, "--perturb-state", "seed=9"),
            *("--to", "retina/bars:minds/eight.npz", "-o", tmp_path / "a.npz"),
        )
        assert report["saved"]["address"].endswith(":minds/eight.npz")
        assert (report["saved"]["metadata"]["mind.step"], report["saved"]["metadata"]["mind.count"]) == (8, 3)
        checkpoint = report["saved"]["address"]
        report = told("mind", "resume", checkpoint, "--stimulus", second, "--save", "-o", tmp_path / "b.npz")
        assert report["saved"]["metadata"]["mind.step"] == STEPS
        assert report["saved"]["address"].startswith("retina/bars@")
        assert report["outputs"] == [{"name": "y", "dtype": "float32", "shape": [STEPS - 8, 3, 64]}]
        parts = np.concatenate([outputs(tmp_path / "a.npz"), outputs(tmp_path / "b.npz")])
        assert np.array_equal(parts, outputs(tmp_path / "w.npz"))
        assert told("mind", "resume", checkpoint, "--stimulus", second)["saved"] is None

    def test_a_fork_makes_several_minds_of_one(self, engram):
        checkpoint = told("mind", "save", GRU, "--stimulus", "retina/bars:stim.npy", "--minds", 1)["saved"]["address"]
        alike = told("mind", "fork", checkpoint, "--minds", 4, "--to", "retina/forks")["saved"]
        assert (alike["metadata"]["mind.count"], alike["metadata"]["mind.step"]) == (4, STEPS)
        one, four = kept(checkpoint)["h0"], kept(alike["address"])["h0"]
        assert np.array_equal(four, np.repeat(one, 4, axis=0))
        other = told(
            *("mind", "fork", checkpoint, "--minds", 4, "--perturb-state", "seed=1", "--to", "retina/forks:o.npz")
        )["saved"]
        perturbed = kept(other["address"])["h0"]
        assert np.array_equal(perturbed[0], one[0])
        assert len(np.unique(perturbed[:, 0], axis=0)) == 4
        chosen = told("mind", "fork", other["address"], "--mind", 2, "--minds", 2, "--to", "retina/forks")["saved"]
        assert np.array_equal(kept(chosen["address"])["h0"], perturbed[[2, 2]])

    def test_one_of_several_minds_must_be_chosen(self, engram):
        checkpoint = told("mind", "save", GRU, "--stimulus", "retina/bars:stim.npy", "--minds", 2)["saved"]["address"]
        result = engram("mind", "fork", checkpoint, "--minds", 4, "--to", "retina/forks", status=1)
        assert "say which one with --mind" in result.stderr
        engram("mind", "fork", checkpoint, "--mind", 2, "--minds", 4, "--to", "retina/forks", status=1)

    def test_what_is_no_state_cannot_be_resumed(self, engram):
        result = engram("mind", "resume", GRU, "--stimulus", "retina/bars:stim.npy", status=1)
        assert "holds no state of minds" in result.stderr

    def test_a_place_with_a_version_is_refused(self, engram):
        result = engram("mind", "save", GRU, "--stimulus", "retina/bars:stim.npy", "--to", "retina/bars@1", status=1)
        assert "without a version" in result.stderr

    def test_plain_output_names_what_was_done(self, engram):
        result = engram("mind", "save", GRU, "--stimulus", "retina/bars:stim.npy", "--minds", 2)
        lines = dict(line.split(None, 1) for line in result.stdout.splitlines() if not line.startswith("output"))
        assert lines["mind.count"] == "2"
        assert lines["saved"].startswith("retina/bars@")


class TestNoise:
    """A student that draws its own events from noise."""

    NOISY = "retina/noisy:noisy.onnx"
    DRIVE = np.random.default_rng(8).standard_normal((STEPS, 4)).astype(np.float32)

    def spikes(self, path: Path) -> np.ndarray:
        return outputs(path, "spikes")

    def test_one_mind_and_many_take_the_same_noise(self, engram, each_door, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", self.DRIVE)
        engram("replay", self.NOISY, "--stimulus", stimulus, "--sample", 3, "-o", tmp_path / "one.npz")
        report = told(
            "replay",
            self.NOISY,
            "--stimulus",
            stimulus,
            "--minds",
            4,
            "--sample",
            3,
            "-o",
            tmp_path / "four.npz",
            "--save",
        )
        assert [one["name"] for one in report["outputs"]] == ["spikes"]
        assert report["receipt"]["sample.seed"] == 3
        one, four = self.spikes(tmp_path / "one.npz"), self.spikes(tmp_path / "four.npz")
        assert np.array_equal(one.reshape(STEPS, 3), four[:, 0])
        assert len({four[:, mind].tobytes() for mind in range(4)}) == 4
        verdict = told("replay", "verify", report["saved"]["address"])
        assert verdict["likeness"] == "bit"

    def test_minds_that_are_kept_and_forked_go_on_with_their_noise(self, engram, each_door, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", self.DRIVE)
        first, rest = saved(tmp_path / "first.npy", self.DRIVE[:8]), saved(tmp_path / "rest.npy", self.DRIVE[8:])
        engram("replay", self.NOISY, "--stimulus", stimulus, "--minds", 3, "--sample", 3, "-o", tmp_path / "all.npz")
        kept = told("mind", "save", self.NOISY, "--stimulus", first, "--sample", 3)["saved"]["address"]
        forked = told("mind", "fork", kept, "--minds", 3, "--to", "retina/noisy:forks.npz")["saved"]["address"]
        engram("mind", "resume", kept, "--stimulus", rest, "-o", tmp_path / "one.npz")
        engram("mind", "resume", forked, "--stimulus", rest, "-o", tmp_path / "forks.npz")
        engram("mind", "resume", kept, "--stimulus", rest, "--sample", 4, "-o", tmp_path / "other.npz")
        wanted = self.spikes(tmp_path / "all.npz")[8:, :1]
        assert np.array_equal(self.spikes(tmp_path / "one.npz"), wanted)
        forks = self.spikes(tmp_path / "forks.npz")
        assert np.array_equal(forks[:, :1], wanted)
        assert len({forks[:, mind].tobytes() for mind in range(3)}) == 3
        assert not np.array_equal(self.spikes(tmp_path / "other.npz"), wanted)

    def test_a_seed_is_asked_for_and_refused_where_nothing_takes_noise(self, engram, tmp_path):
        stimulus = saved(tmp_path / "stim.npy", self.DRIVE)
        for command in (["replay"], ["replay", "--minds", 2], ["mind", "save"]):
            refused = engram(*command, self.NOISY, "--stimulus", stimulus, status=1)
            assert "give one to sample from, such as --sample 1" in refused.output
        given = saved(tmp_path / "gru.npy", drive())
        refused = engram("mind", "save", GRU, "--stimulus", given, "--sample", 3, status=1)
        assert "takes no noise" in refused.output


def test_long_work_shows_how_far_it_is(monkeypatch, capsys):
    from engram_client.cli import replay_minds
    from engram_format.ports import MindPort

    class Slow:
        minds = 2
        ports = (MindPort("x", "stimulus", np.dtype("<f4"), (3,)),)

        def tick(self, stimulus):
            return {"y": stimulus["x"] * 2}

    monkeypatch.setattr(replay_minds, "_SILENT_S", 0.0)
    monkeypatch.setattr(replay_minds, "_TICK_STEPS", 1)
    out = run_minds(Slow(), {"x": np.ones((20, 3), np.float32)})
    assert out["y"].shape == (20, 2, 3)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "replaying 2 minds: 10 % (2 of 20 steps)"
    assert len(said) == 10


@pytest.mark.parametrize("place", ["retina", "retina/bars@1", "retina/bars:x.npz"])
@pytest.mark.parametrize("engine", ["here", "ray"])
def test_a_replay_is_kept_in_a_memory_and_nowhere_else(engram, place, engine):
    asked = ("replay", GRU, "--stimulus", "retina/bars:stim.npy", "--engine", engine, "--save-to", place)
    assert "is no place for a replay" in engram(*asked, status=1).stderr
