"""What DANDI would refuse is said before, with the command that mends it."""

from __future__ import annotations

import pytest

from engram_layout.dandi import missing_fields

COMPLETE = {
    "subject.id": "rat-7",
    "subject.species": "Rattus norvegicus",
    "subject.sex": "F",
    "subject.age": "P90D",
    "session.start_time": "2026-01-31T10:00:00+00:00",
}


def test_a_complete_recording_has_nothing_to_add():
    assert missing_fields(COMPLETE) == ()


def test_a_missing_species_is_asked_for_with_the_command_that_adds_it():
    metadata = {name: value for name, value in COMPLETE.items() if name != "subject.species"}
    assert missing_fields(metadata) == (
        "subject.species is missing: add it with 'engram annotate ADDRESS --set subject.species=\"Rattus norvegicus\"'",
    )


def test_a_recording_that_says_nothing_lacks_all_of_it():
    assert [sentence.split()[0] for sentence in missing_fields({})] == [
        "subject.id",
        "subject.species",
        "subject.sex",
        "subject.age",
        "session.start_time",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject.species", "http://purl.obolibrary.org/obo/NCBITaxon_10116"),
        ("subject.species", "Canis lupus familiaris"),
        ("subject.sex", "O"),
        ("subject.age", "P10W/P12W"),
        ("subject.age", "P1Y2M"),
        ("subject.age", "P3W/"),
        ("subject.age", "PT12H"),
        ("session.start_time", "2026-01-31T10:00:00.123456-05:00"),
        ("session.start_time", "2026-01-31 10:00"),
    ],
)
def test_every_form_that_dandi_takes_is_taken(name: str, value: str):
    assert missing_fields(COMPLETE | {name: value}) == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subject.species", "rat"),
        ("subject.species", "mus musculus"),
        ("subject.sex", "male"),
        ("subject.age", "90"),
        ("subject.age", "P"),
        ("subject.age", "PT"),
        ("subject.age", "P90D/x"),
        ("session.start_time", "yesterday"),
    ],
)
def test_another_form_is_named(name: str, value: str):
    (sentence,) = missing_fields(COMPLETE | {name: value})
    assert sentence.startswith(f"{name} is {value!r} and should be ")


def test_a_date_of_birth_stands_for_an_age():
    metadata = {name: value for name, value in COMPLETE.items() if name != "subject.age"}
    assert missing_fields(metadata | {"subject.date_of_birth": "2025-10-01"}) == ()
