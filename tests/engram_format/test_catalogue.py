"""Pages of the catalogue, and conditions that are asked of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.catalog import Kind
from engram_format.catalogue import PAGE_BYTES, CataloguePage, CatalogueRow, cut_rows, facts_of
from engram_format.condition import Condition, marks
from engram_format.encoding import decode, encode
from engram_format.errors import FormatError, InvalidInput
from engram_format.frame import MAX_FRAME_BYTES
from engram_format.ids import Digest
from engram_format.series import Contiguous, Description, Series, SeriesInfo

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.sampled_from(["subject.species", "subject.age", "n", "size", "é"])
SCALARS = st.one_of(TEXTS, st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans())
ROWS = st.builds(
    CatalogueRow,
    path=TEXTS.filter(bool),
    kind=st.sampled_from(Kind),
    size=st.integers(0, 2**62),
    sha256=st.binary(min_size=32, max_size=32).map(Digest),
    time_ns=st.integers(-(2**63), 2**63 - 1),
    stored_size=st.integers(0, 2**62),
    frames=st.integers(0, 2**40),
    mode=st.integers(0, 0o7777),
    made_from=st.lists(st.binary(min_size=32, max_size=32).map(Digest), max_size=2).map(tuple),
    metadata=st.dictionaries(NAMES, SCALARS, max_size=4),
    facts=st.dictionaries(
        NAMES, st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True).map(tuple), max_size=2
    ),
)
PAGES = st.lists(ROWS, max_size=8, unique_by=lambda row: row.path).map(lambda rows: sorted(rows, key=lambda r: r.path))
OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"])
VALUES = st.one_of(SCALARS.map(str), st.sampled_from(['"3"', "3", "2.5", "true", "Rattus"]))


def artifact(path="a.nwb", **values) -> CatalogueRow:
    fixed = {
        "kind": Kind.RECORDING,
        "size": 10,
        "sha256": Digest(bytes(32)),
        "time_ns": 0,
        "stored_size": 8,
        "frames": 1,
    }
    return CatalogueRow(path=path, **(fixed | values))


def fulfils(condition: str, row: CatalogueRow) -> bool:
    page = CataloguePage.from_bytes(CataloguePage.of([row]).to_bytes())
    return bool(marks(page, [Condition.parse(condition)], kind=None, vault="lab", memory="bars", version=12)[0])


def series(name: str, **values) -> Series:
    return Series(SeriesInfo(name=name, dtype="<i2", shape=(1000, 4), **values), Contiguous(0))


@given(PAGES)
def test_a_page_comes_back_as_it_was(rows):
    back = list(CataloguePage.from_bytes(CataloguePage.of(rows).to_bytes()).rows())
    assert repr([plain(row) for row in back]) == repr([plain(row) for row in rows])


def plain(row: CatalogueRow) -> CatalogueRow:
    """With its names in one order, since pages keep none."""
    return CatalogueRow(
        **{name: getattr(row, name) for name in CatalogueRow.__slots__}
        | {"metadata": dict(sorted(row.metadata.items())), "facts": dict(sorted(row.facts.items()))}
    )


@given(PAGES, NAMES, OPERATORS, VALUES.filter(lambda text: text.strip() and text.strip()[0] not in "\"'"))
def test_a_page_answers_as_each_of_its_values_does(rows, name, op, value):
    condition = Condition.parse(f"{name}{op}{value}")
    page = CataloguePage.from_bytes(CataloguePage.of(rows).to_bytes())
    marked = condition.marks(page, vault="v", memory="m", version=1)
    equal = Condition.parse(f"{name}={value}") if op == "!=" else condition
    for row, mark in zip(rows, marked, strict=True):
        held = [*([row.metadata[name]] if name in row.metadata else []), *row.facts.get(name, ())]
        if name == "size":
            held.append(row.size)
        assert mark == (any(map(equal.holds, held)) != (op == "!="))


@given(PAGES, st.data())
def test_a_damaged_page_is_refused_or_is_a_page(rows, data):
    whole = bytearray(CataloguePage.of(rows).to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))
    try:
        page = CataloguePage.from_bytes(bytes(whole[:cut]))
    except FormatError:
        return
    assert len(list(page.rows())) == len(page)
    assert CataloguePage.from_bytes(page.to_bytes()).paths == page.paths


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (1, 2),
        (2, b"\x05\0\0\0"),
        (3, b"\xff"),
        (4, b"\x63"),
        (5, bytes(7)),
        (6, b""),
        (7, b"\xff" * 8),
        (9, bytes(5)),
        (10, bytes(31)),
        (11, b"\x01\0\0\0"),
        (12, bytes(32)),
        (13, [["n", "integer", bytes(4), b"\x01\0\0\0", b"", bytes(8)]]),
        (13, [["n", "integer", bytes(4), bytes(4), b"", bytes(7)]]),
        (13, [["n", "wish", bytes(4), bytes(4), b"", bytes(8)]]),
        (13, [["n", "integer", bytes(8), bytes(8), b"", bytes(8)]]),
        (13, [["n", "flag", bytes(4), bytes(4), b"", b"\x02"]]),
        (13, [["n", "text", bytes(4), bytes(4), b"\x02\0\0\0", b"a"]]),
        (14, [["n", "integer", b"\x01\0\0\0", bytes(4), b"", bytes(8)]]),
        (14, [5]),
        (15, 1),
    ],
)
def test_a_page_whose_columns_do_not_fit_is_refused(field, value):
    fields = decode(ONE_ROW, what="a page")
    with pytest.raises(FormatError):
        CataloguePage.from_bytes(encode(fields | {field: value}))


ONE_ROW = CataloguePage.of([artifact("b")]).to_bytes()


def test_a_page_whose_paths_are_not_sorted_is_refused():
    with pytest.raises(FormatError, match="not sorted"):
        CataloguePage.from_bytes(CataloguePage.of([artifact("b"), artifact("a")]).to_bytes())


@given(st.lists(st.integers(0, 262_144), min_size=1, max_size=40))
def test_rows_are_cut_into_pages_that_fit_a_frame_and_none_is_lost(sizes):
    rows = [artifact(f"{number:03}", metadata={"text": "x" * size}) for number, size in enumerate(sizes)]
    parts = list(cut_rows(rows))
    assert list(itertools.chain(*parts)) == rows
    for part in parts:
        size = len(CataloguePage.of(part).to_bytes())
        assert size <= MAX_FRAME_BYTES
        assert size <= PAGE_BYTES or len(part) == 1


def test_no_artifact_is_too_large_for_a_page():
    described = Description(
        "hdf5", tuple(series(f"/{number}" + "é" * 250, unit=f"{number}" + "u" * 200) for number in range(10_000))
    )
    origins = tuple(Digest(bytes(32)) for _ in range(1024))
    row = artifact("p" * 1024, made_from=origins, metadata={"t": "x" * 262_000}, facts=facts_of(described))
    assert len(row.facts["series.name"]) > 100
    assert len(CataloguePage.of([row]).to_bytes()) < 1.5 * 2**20 < MAX_FRAME_BYTES


def test_facts_are_what_the_series_of_a_recording_say_each_value_once():
    described = Description(
        "nwb",
        (
            series("/acquisition/A", sampling_rate=20_000.0, unit="V", role="acquisition"),
            series("/acquisition/B", sampling_rate=20_000.0, unit="V", role="acquisition"),
            series("/stimulus/C"),
        ),
    )
    assert facts_of(described) == {
        "family": ("nwb",),
        "series.name": ("/acquisition/A", "/acquisition/B", "/stimulus/C"),
        "series.dtype": ("<i2",),
        "series.samples": (1000,),
        "series.channels": (4,),
        "series.sampling_rate": (20_000.0,),
        "series.duration": (0.05,),
        "series.unit": ("V",),
        "series.role": ("acquisition",),
    }
    assert facts_of(None) == {}


@pytest.mark.parametrize(
    "condition",
    [
        "subject.species=Rattus norvegicus",
        "subject.species='Rattus norvegicus'",
        'subject.species = "Rattus norvegicus"',
        "subject.species~RATTUS",
        "subject.age!=P60D",
        "depth=900",
        "depth=900.0",
        "depth>=9e2",
        "depth<1000",
        "n>-3",
        "n=5",
        "n='5'",
        "n~5",
        "done=true",
        "missing!=1",
        "series.sampling_rate>=20000",
        "series.sampling_rate<1000",
        "path~A.NWB",
        "path=a.nwb",
        "kind=recording",
        "size>9",
        "size<=10",
        "memory=bars",
        "vault=lab",
        "version>9",
        "time>=2020-01-01",
        "time~2020-09-13",
        "sha256~0000",
        "equation~a=b",
    ],
)
def test_a_condition_that_holds(condition):
    row = artifact(
        time_ns=1_600_000_000 * 10**9,
        metadata={
            "subject.species": "Rattus norvegicus",
            "subject.age": "P61D",
            "depth": 900.0,
            "n": 5,
            "done": True,
            "equation": "a=b",
        },
        facts={"series.sampling_rate": (20_000.0, 50.0)},
    )
    assert fulfils(condition, row)
    if Condition.parse(condition).op == "=":
        assert not fulfils(condition.replace("=", "!=", 1), row)


@pytest.mark.parametrize("condition", ["n='5.0'", "n=True", "done=1", "depth>nan", "missing~a", "time<2030", "x>=0"])
def test_a_condition_that_does_not_hold(condition):
    row = artifact(metadata={"n": 5, "done": True, "depth": 900.0, "x": float("nan")})
    assert not fulfils(condition, row)


def test_large_integers_are_compared_exactly():
    row = artifact(metadata={"n": 2**53 + 1})
    assert fulfils(f"n={2**53 + 1}", row)
    assert not fulfils(f"n={2**53}", row)
    assert not fulfils(f"n>{10**30}", row)


@pytest.mark.parametrize("text", ["", "=", "species", "=Rattus", "a=", "a='b", 'a="', "~x", "a" * 5000 + "=1"])
def test_a_condition_that_cannot_be_read_is_one_sentence(text):
    with pytest.raises(InvalidInput) as refused:
        Condition.parse(text)
    assert "condition" in str(refused.value)
    assert "\n" not in str(refused.value)


@given(NAMES, OPERATORS, VALUES.filter(lambda text: text.strip() and not set("\"'") & set(text)))
def test_a_condition_is_written_as_it_is_read(name, op, value):
    condition = Condition.parse(f"{name}{op}{value}")
    assert Condition.parse(str(condition)) == condition


def test_a_kind_is_asked_for_beside_conditions():
    page = CataloguePage.of([artifact("a"), artifact("b", kind=Kind.STUDENT)])
    marked = marks(page, [], kind=Kind.STUDENT, vault="v", memory="m", version=1)
    np.testing.assert_array_equal(marked, [False, True])
