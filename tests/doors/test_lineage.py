"""Where an artifact comes from and what came of it, through every door."""

from __future__ import annotations

import hashlib

import pytest
from engram_testing.deposits import put

from engram_client.lineage import lineage_of
from engram_format.address import Address, ContentAddress
from engram_format.catalog import Kind
from engram_format.errors import InvalidInput

PLACE = Address("lab", "lineage")
GONE = hashlib.sha256(b"kept nowhere").hexdigest()


def made(archive, name, kind, *origins, place=PLACE):
    digests = tuple(one if isinstance(one, str) else one.sha256 for one in origins)
    return archive.artifact(put(archive, place.of(name), name.encode(), kind=kind, made_from=digests))


@pytest.fixture(scope="module")
def line(archive):
    """Two recordings, a student, its certificate and two replays; another student of the recording in another memory."""
    recording = made(archive, "a.rec", Kind.RECORDING)
    stimulus = made(archive, "b.npy", Kind.FILE, GONE)
    student = made(archive, "students/c.onnx", Kind.STUDENT, recording)
    certificate = made(archive, "d.json", Kind.CERTIFICATE, student, recording)
    report = made(archive, "e.html", Kind.FILE, certificate)
    replays = [made(archive, f"replays/{number}.npz", Kind.REPLAY, student, stimulus) for number in range(2)]
    cousin = made(archive, "f.onnx", Kind.STUDENT, recording, place=Address("lab", "cousins"))
    return {
        "recording": recording,
        "student": student,
        "certificate": certificate,
        "report": report,
        "replays": replays,
        "cousin": cousin,
    }


def paths(steps):
    return [(step.distance, step.artifact.address.path if step.artifact else None) for step in steps]


def test_a_student_is_followed_to_its_recording_its_certificate_and_its_replays(archive, line):
    found = lineage_of(archive, line["student"])
    assert paths(found.made_from) == [(1, "a.rec")]
    assert paths(found.led_to) == [(1, "d.json"), (1, "replays/0.npz"), (1, "replays/1.npz"), (2, "e.html")]
    assert (found.searched, found.is_whole) == ("lab/lineage", True)


def test_a_replay_is_followed_back_also_to_what_nobody_keeps(archive, line):
    found = lineage_of(archive, line["replays"][1])
    assert paths(found.made_from) == [(1, "students/c.onnx"), (1, "b.npy"), (2, "a.rec"), (2, None)]
    assert found.made_from[-1].sha256 == GONE
    assert found.led_to == ()


def test_results_in_other_memories_are_found_where_they_are_asked_for(archive, line):
    here = lineage_of(archive, line["recording"])
    everywhere = lineage_of(archive, line["recording"], everywhere=True)
    assert "f.onnx" not in dict(map(reversed, paths(here.led_to)))
    assert (1, "f.onnx") in paths(everywhere.led_to)
    assert everywhere.searched == ""


def test_an_origin_in_another_memory_is_found_by_its_content(archive, line):
    assert paths(lineage_of(archive, line["cousin"]).made_from) == [(1, "a.rec")]


def test_an_origin_that_the_newest_version_no_longer_has_is_found_in_an_older_one(archive):
    place = Address("lab", "replaced")
    first = made(archive, "r.rec", Kind.RECORDING, place=place)
    student = made(archive, "s.onnx", Kind.STUDENT, first, place=place)
    put(archive, place.of("r.rec"), b"recorded again", kind=Kind.RECORDING)
    (step,) = lineage_of(archive, student).made_from
    assert (step.sha256, step.artifact.sha256) == (first.sha256, first.sha256)


def test_a_circle_ends(archive):
    place = Address("lab", "circle")
    one, two = (hashlib.sha256(name.encode()).hexdigest() for name in ("one", "two"))
    first = made(archive, "one", Kind.FILE, two, place=place)
    made(archive, "two", Kind.FILE, one, place=place)
    found = lineage_of(archive, first)
    assert paths(found.made_from) == [(1, "two")]
    assert paths(found.led_to) == [(1, "two")]
    assert found.is_whole


def test_a_long_line_is_told_as_far_as_it_is_followed(archive):
    place, last = Address("lab", "long"), None
    line = []
    for number in range(12):
        last = made(archive, f"{number:02}", Kind.FILE, *([last] if last else []), place=place)
        line.append(last)
    back = lineage_of(archive, line[-1])
    assert [step.artifact.address.path for step in back.made_from] == [f"{number:02}" for number in range(10, 2, -1)]
    assert not back.is_whole
    assert not lineage_of(archive, line[0]).is_whole
    assert lineage_of(archive, line[5]).is_whole


def test_artifacts_are_found_by_what_they_were_made_from(archive, line):
    student = line["student"].sha256
    found = [one.address.path for one in archive.find([f"made_from={student}"], scope=PLACE)]
    assert found == ["d.json", "replays/0.npz", "replays/1.npz"]
    others = {one.address.path for one in archive.find([f"made_from!={student}"], scope=PLACE)}
    assert others == {"a.rec", "b.npy", "students/c.onnx", "e.html"}
    part = [one.address.path for one in archive.find([f"made_from~{GONE[:20]}"], scope=PLACE)]
    assert part == ["b.npy"]
    assert archive.artifact(ContentAddress(student)).address.path == "students/c.onnx"


def test_a_search_by_origin_keeps_the_rules_of_searches(archive, line):
    with pytest.raises(InvalidInput, match="newest"):
        list(archive.find([f"made_from={GONE}"], scope=PLACE.at(1)))
