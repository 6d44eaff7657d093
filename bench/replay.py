"""Replay: many minds in one message, against one stream for each, against Triton and MLServer, and against the runtime alone.

    python bench/replay.py [--folder DIR] [--rounds 5] [--without-peers]

One student, a GRU of 64-256-64 (`replay_models`), everywhere; an `engram serve` over a directory, clients in this process. Sides
that are compared take turns in each round; the numbers are medians of rounds. `--folder` keeps the peers' environments.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnxruntime
import replay_models
from measuring import machine, verdict
from mlserver import running_mlserver
from numpy.typing import NDArray
from peers import Peer, stepped_over_oip
from triton_peer import running_triton

import engram_client
from engram_client.archive import Archive
from engram_format.address import Address

STUDENT = Address("bench", "replay", path="gru.onnx")
MANY = 64
WHOLE_STEPS = 10_000
_Floats = NDArray[np.float32]


def main() -> None:
    """Measure and print, ratio by ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the peers' environments are kept; a temporary folder else")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000, help="steps of one measurement")
    parser.add_argument("--without-peers", action="store_true", help="leave out Triton and MLServer")
    options = parser.parse_args()
    print(machine())
    with ExitStack() as held:
        work = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="engram-replay-")))
        student = replay_models.write_students(work)["gru"]
        url = served(held, work, student)
        archive = held.enter_context(engram_client.open(url))
        many_minds(archive, rounds=options.rounds, steps=options.steps)
        one_stream_each(url, rounds=options.rounds, steps=options.steps // 10)
        whole_replay(archive, student, rounds=options.rounds, through="gRPC, stimulus and outputs included")
        with engram_client.open(work / "archive", identity=work / "identity.txt") as embedded:
            whole_replay(embedded, student, rounds=options.rounds, through="the embedded door")
        first_output(archive, student, work, rounds=options.rounds)
        if not options.without_peers:
            folder = (options.folder or work / "peers").resolve()
            folder.mkdir(parents=True, exist_ok=True)
            ours = Peer("engram serve", url.removeprefix("grpc://"), str(STUDENT))
            peers = [
                held.enter_context(running_triton(folder, student)),
                held.enter_context(running_mlserver(folder, student)),
            ]
            against_peers(archive, ours, peers, folder, rounds=options.rounds, steps=options.steps)
    print(machine())


def served(held: ExitStack, work: Path, student: Path) -> str:
    """Serve an archive that holds the student; return the service's URL."""
    engram = [sys.executable, "-m", "engram_client.cli", "--identity", str(work / "identity.txt")]
    archive = str(work / "archive")
    for command in (
        ["init"],
        ["vault", "create", STUDENT.vault],
        ["deposit", str(student), "--to", str(STUDENT)],
    ):
        subprocess.run([*engram, "--archive", archive, *command], check=True, capture_output=True)
    service = subprocess.Popen(
        [*engram, "--archive", archive, "serve", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    held.callback(service.wait)
    held.callback(service.terminate)
    if service.stdout is None:
        raise AssertionError("the service was started with a pipe")
    for line in service.stdout:
        if "grpc://" in line:
            return line[line.index("grpc://") :].split()[0]
    raise SystemExit("engram serve did not start")


def p50_us(step: Callable[[], object], *, steps: int) -> float:
    """Return the median time of a step."""
    for _ in range(20):
        step()
    taken = []
    for _ in range(steps):
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def noise(*shape: int) -> _Floats:
    """Return a stimulus."""
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def tick_p50(archive: Archive, minds: int, *, steps: int) -> float:
    """Return the median time of a tick of so many minds."""
    with archive.open_minds(STUDENT, minds=minds) as opened:
        stimulus = noise(1, minds, replay_models.CHANNELS)
        return p50_us(lambda: opened.tick(stimulus), steps=steps)


def many_minds(archive: Archive, *, rounds: int, steps: int) -> None:
    """Compare ticks of 1, 16, 64 and 256 minds."""
    counts = (1, 16, 64, 256)
    seen: dict[int, list[float]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            seen[count].append(tick_p50(archive, count, steps=max(steps // (1 + count // 64), 50)))
    for count, targets in ((16, 1.25), (64, 2.1), (256, None)):
        ratio = statistics.median(many / one for many, one in zip(seen[count], seen[1], strict=True))
        print(
            f"tick of {count:3} minds {statistics.median(seen[count]):6.0f} us, of 1 {statistics.median(seen[1]):6.0f} us: "
            f"{verdict(ratio, at_most=targets)}",
            flush=True,
        )


def one_stream_each(url: str, *, rounds: int, steps: int) -> None:
    """Compare 64 minds in one message with 64 streams of one mind each, on the same service."""
    ratios = []
    for _ in range(rounds):
        with engram_client.open(url) as archive, archive.open_minds(STUDENT, minds=MANY) as opened:
            stimulus = noise(1, MANY, replay_models.CHANNELS)
            together = (
                MANY * 1e6 / p50_us(lambda opened=opened, stimulus=stimulus: opened.tick(stimulus), steps=steps * 2)
            )
        apart = streams_apart(url, steps=steps)
        ratios.append(together / apart)
        print(f"  64 minds in one message {together:8.0f} mind-steps/s, in 64 streams {apart:6.0f}", flush=True)
    print(f"one message over 64 streams: {verdict(statistics.median(ratios), at_least=10)}", flush=True)


def streams_apart(url: str, *, steps: int) -> float:
    """Return the mind-steps a second of 64 streams that step as fast as they are answered, from eight channels."""
    stimulus = noise(1, 1, replay_models.CHANNELS)
    start = threading.Barrier(MANY + 1)

    def one(archive: Archive) -> None:
        with archive.open_minds(STUDENT) as opened:
            opened.tick(stimulus)
            start.wait()
            for _ in range(steps):
                opened.tick(stimulus)

    with ExitStack() as held:
        archives = [held.enter_context(engram_client.open(url)) for _ in range(8)]
        threads = [threading.Thread(target=one, args=(archives[number % 8],)) for number in range(MANY)]
        for thread in threads:
            thread.start()
        start.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        return MANY * steps / (time.perf_counter() - began)


def session(student: bytes | Path) -> onnxruntime.InferenceSession:
    """Load a student as replays do: one thread, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    source = student if isinstance(student, bytes) else str(student)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def rest(minds: int = 1) -> _Floats:
    """Return the state in which minds begin."""
    return np.zeros((1, minds, replay_models.SIZES["gru"]), np.float32)


def whole_replay(archive: Archive, student: Path, *, rounds: int, through: str) -> None:
    """Compare a replay of 10,000 steps through a door with one call of the runtime."""
    stimulus = noise(WHOLE_STEPS, replay_models.CHANNELS)
    alone = session(student)
    expected = alone.run(["y"], {"x": stimulus[:, None], "h0": rest()})[0][:, 0]
    ratios, ours = [], []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        alone.run(["y", "h1"], {"x": stimulus[:, None], "h0": rest()})
        runtime = time.perf_counter() - began
        began = time.perf_counter()
        answer = archive.replay(STUDENT, {"x": stimulus}).outputs["y"]
        ours.append(time.perf_counter() - began)
        ratios.append(ours[-1] / runtime)
        if answer.tobytes() != expected.tobytes():
            raise SystemExit("the replay has other bits than the runtime")
    # The first replay loads the student; the others find it loaded.
    print(
        f"replay of {WHOLE_STEPS} steps through {through} {statistics.median(ours[1:]) * 1e3:5.0f} ms, over the runtime alone: "
        f"{verdict(statistics.median(ratios[1:]), at_most=1.1)}; the same bits",
        flush=True,
    )


def first_output(archive: Archive, student: Path, work: Path, *, rounds: int) -> None:
    """Compare opening a student that is not loaded, and its first output, with onnxruntime and a file."""
    original = student.read_bytes()
    ours, runtime = [], []
    stimulus = noise(1, 1, replay_models.CHANNELS)
    for number in range(rounds * 2):
        # Another name in the file makes it another student, which no process has loaded.
        fresh = work / f"fresh-{number}.onnx"
        model = replay_models.gru(100 + number, replay_models.SIZES["gru"])
        fresh.write_bytes(model.SerializeToString())
        address = STUDENT.of(fresh.name)
        put(archive, address, fresh)
        time.sleep(0.3)
        began = time.perf_counter()
        session(fresh).run(["y", "h1"], {"x": stimulus, "h0": rest()})
        runtime.append(time.perf_counter() - began)
        began = time.perf_counter()
        with archive.open_minds(address) as opened:
            opened.tick(stimulus)
            ours.append(time.perf_counter() - began)
    more = statistics.median(ours) - statistics.median(runtime)
    print(
        f"first output of a student of {len(original) / 1e6:.1f} MB: out of the archive {statistics.median(ours) * 1e3:.1f} ms, "
        f"from a file {statistics.median(runtime) * 1e3:.1f} ms; more by, in ms: {verdict(more * 1e3, at_most=25)}",
        flush=True,
    )


def put(archive: Archive, address: Address, path: Path) -> None:
    """Deposit a file."""
    from engram_client.transfer import deposit_files

    deposit_files(archive, [path], to=address, message="", author="bench")


def against_peers(
    archive: Archive, ours: Peer, peers: Sequence[Peer], folder: Path, *, rounds: int, steps: int
) -> None:
    """Compare a step of one mind with state: our tick, and each peer over the protocol that it speaks, through its own client."""
    ticks: list[float] = []
    over_oip: list[float] = []
    theirs: dict[str, dict[bool, list[float]]] = {peer.name: {False: [], True: []} for peer in peers}
    digests = set()
    for _ in range(rounds):
        ticks.append(tick_p50(archive, 1, steps=steps))
        seen = stepped_over_oip(folder, ours, stream=True, seconds=1.5)
        over_oip.append(seen["p50_us"])
        digests.add(seen["sha256_of_first_responses"])
        for peer in peers:
            for bare in (False, True):
                seen = stepped_over_oip(folder, peer, stream="Triton" in peer.name, seconds=1.5, bare=bare)
                theirs[peer.name][bare].append(seen["p50_us"])
                digests.add(seen["sha256_of_first_responses"])
    print(
        f"tick of one mind {statistics.median(ticks):.0f} us, over the Open Inference Protocol {statistics.median(over_oip):.0f}"
    )
    for name, sides in theirs.items():
        for bare, values in sides.items():
            client = "its stubs alone" if bare else "tritonclient"
            ratio = statistics.median(tick / other for tick, other in zip(ticks, values, strict=True))
            print(f"  {name}, {client}: {statistics.median(values):.0f} us; tick over it {verdict(ratio, at_most=0.6)}")
    print(f"  the same bits from all: {'yes' if len(digests) == 1 else 'NO'}", flush=True)


if __name__ == "__main__":
    main()
