"""int16 recordings against the lossless audio codecs FLAC and WavPack: ratio, and MB coded per second of processor time.

    python bench/lossless.py [--seconds 20] [--rounds 5] [--set FOLDER] [--folder DIR]...

Takes the generated recording of the test set, and every file in `tests/data` and in each folder given in which our planner finds
int16 samples (ABF, EDF, BrainVision). FLAC works at level 5 on groups of 8 channels, its limit, through libsndfile in this
process; WavPack is the command of Debian in its default mode, on all channels at once, and once more on groups of 8 (its
processor time is that of the child, less what it takes for a single sample). Engram codes the
frames of a deposit, from the bytes as they lie in the file, the choice of the codecs included. All are decoded and compared.
Every codec codes a recording twice in a row and is measured the second time, when its code and the samples are in the caches:
recordings of one frame take a millisecond.
"""

from __future__ import annotations

import argparse
import io
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import test_set
from int16_files import Recording, recordings
from measuring import machine, program, verdict
from numpy.typing import NDArray
from real_files import files_in

from engram_format.frame import decode_frame
from engram_store.array_encoder import ArrayEncoder

_GROUP = 8
_RATE_HZ = 30_000
"""What the codecs are told; they code the same at any rate."""
_FLAC_LEVEL = 5 / 8
_ROUNDS = 5

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Coded:
    """What a codec made of a recording."""

    size: int
    cpu_s: float


def flac(samples: Samples) -> Coded:
    """Code groups of channels with FLAC."""
    size, cpu_s = 0, 0.0
    for part in groups(samples):
        out = io.BytesIO()
        start = time.process_time()
        soundfile.write(out, part, _RATE_HZ, format="FLAC", subtype="PCM_16", compression_level=_FLAC_LEVEL)
        cpu_s += time.process_time() - start
        size += len(out.getvalue())
        out.seek(0)
        require(np.array_equal(soundfile.read(out, dtype="int16", always_2d=True)[0], part), "FLAC")
    return Coded(size, cpu_s)


def wavpack(samples: Samples, work: Path, *, start_cpu_s: float) -> Coded:
    """Code all channels at once with WavPack."""
    original_file, coded = work / "samples.raw", work / "samples.wv"
    original_file.write_bytes(samples.tobytes())
    before = _children_cpu_s()
    layout = f"--raw-pcm={_RATE_HZ},16,{samples.shape[1]},le"
    command = [program("wavpack", remedy="'apt-get install wavpack'"), "-q", "-y", layout, str(original_file)]
    subprocess.run([*command, "-o", str(coded)], check=True, capture_output=True)
    cpu_s = _children_cpu_s() - before
    decoded = subprocess.run(["wvunpack", "-q", "-r", str(coded), "-o", "-"], check=True, capture_output=True).stdout
    require(decoded == samples.tobytes(), "WavPack")
    return Coded(coded.stat().st_size, max(cpu_s - start_cpu_s, 1e-4))


def total(parts: Iterable[Coded]) -> Coded:
    """Add up what was coded separately."""
    done = list(parts)
    return Coded(sum(part.size for part in done), sum(part.cpu_s for part in done))


def engram(recording: Recording) -> Coded:
    """Code the frames with the codecs that a deposit would choose."""
    start = time.process_time()
    encoders = {array.name: ArrayEncoder(array) for array, _ in recording.frames}
    coded = [next(encoders[array.name].candidates(frame)) for array, frame in recording.frames]
    cpu_s = time.process_time() - start
    require(all(decode_frame(one) == frame for one, (_, frame) in zip(coded, recording.frames, strict=True)), "Engram")
    return Coded(sum(map(len, coded)), cpu_s)


def groups(samples: Samples) -> Iterator[Samples]:
    """Yield groups of up to 8 channels."""
    for first in range(0, samples.shape[1], _GROUP):
        yield np.ascontiguousarray(samples[:, first : first + _GROUP])


def require(is_same: bool, codec: str) -> None:  # noqa: FBT001 - it reads as what it says
    """Leave the benchmark if a codec did not return what it was given."""
    if not is_same:
        raise SystemExit(f"{codec} did not return the samples that it was given")


def compare(recording: Recording, work: Path, *, rounds: int) -> None:
    """Print one row: ratios, speeds, and what they come to."""
    start_cpu_s = statistics.median(
        wavpack(np.zeros((1, 1), np.int16), work, start_cpu_s=0).cpu_s for _ in range(rounds)
    )
    tools: dict[str, Callable[[], Coded]] = {
        "FLAC": lambda: total(map(flac, recording.parts)),
        "WavPack": lambda: total(wavpack(part, work, start_cpu_s=start_cpu_s) for part in recording.parts),
        "WavPack by 8": lambda: total(
            wavpack(group, work, start_cpu_s=start_cpu_s) for part in recording.parts for group in groups(part)
        ),
        "Engram": lambda: engram(recording),
    }
    results: dict[str, list[Coded]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, code in tools.items():
            code()
            results[name].append(code())
    size = sum(part.nbytes for part in recording.parts)
    ratio = {
        name: (recording.bytes_in_file if name == "Engram" else size) / found[0].size for name, found in results.items()
    }
    speed = {name: size / 1e6 / statistics.median(one.cpu_s for one in found) for name, found in results.items()}
    cells = "".join(f"{ratio[name]:8.3f}{speed[name]:7.0f}" for name in tools)
    better, faster = (max(values["FLAC"], values["WavPack"]) for values in (ratio, speed))
    shapes = "+".join(f"{len(part)}x{part.shape[1]}" for part in recording.parts)
    print(f"{recording.name:28}{shapes:>15}{cells}", end="   ")
    print(f"ratio / better of FLAC, WavPack {verdict(ratio['Engram'] / better, at_least=0.97)}", end="; ")
    print(f"speed / faster {verdict(speed['Engram'] / faster, at_least=3)}", flush=True)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the generated recording")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--set", type=Path, help="what bench/test_set.py has written; made anew by default")
    parser.add_argument("--folder", type=Path, action="append", default=[], help="more real files; may be repeated")
    options = parser.parse_args()
    print(machine())
    print(f"{'':28}{'time x channel':>15}{'FLAC MB/s':>15}{'WavPack':>15}{'WavPack by 8':>15}{'Engram':>15}")
    with tempfile.TemporaryDirectory(prefix="engram-bench-") as name:
        work = Path(name)
        files = options.set or work / "set"
        if options.set is None:
            test_set.write(files, seconds=options.seconds)
        for recording in recordings([files / "first" / test_set.CONTIGUOUS, *files_in(options.folder)]):
            compare(recording, work, rounds=options.rounds)
    print(machine())


if __name__ == "__main__":
    main()
