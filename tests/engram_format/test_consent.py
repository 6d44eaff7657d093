"""What is not said of consent is not allowed, and what is said wrongly is refused with what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_format.consent import MODIFIERS, NAMES, PERMISSIONS, Consent, Withdrawal, check_consent, consent_lines
from engram_format.errors import InvalidInput

scalars = st.text(max_size=30) | st.booleans() | st.integers() | st.floats()


def test_nothing_said_allows_nothing():
    consent = Consent.of({"subject.species": "Mus musculus"})
    assert consent == Consent()
    assert not any((consent.allows_use, consent.allows_model_training, consent.allows_reidentification))
    assert consent_lines(consent) == [
        ("may be used for", "nothing: consent.duo is not given"),
        ("model training", "denied"),
        ("re-identification", "denied"),
    ]


@pytest.mark.parametrize("name", [name for name in PERMISSIONS if name != "DS"])
def test_a_short_name_and_its_id_say_the_same(name):
    wanted = Consent(permission=name)
    assert Consent.of({"consent.duo": name}) == wanted
    assert Consent.of({"consent.duo": name.lower()}) == wanted
    assert Consent.of({"consent.duo": PERMISSIONS[name].duo}) == wanted
    assert Consent.of({"consent.duo": PERMISSIONS[name].duo.replace(":", "_")}) == wanted


def test_modifiers_follow_the_permission_in_any_order():
    consent = Consent.of({"consent.duo": "IRB, DUO:0000042 ,RTN"})
    assert (consent.permission, consent.modifiers) == ("GRU", ("IRB", "RTN"))
    assert [code.duo for code in consent.codes] == ["DUO:0000042", "DUO:0000021", "DUO:0000029"]
    assert consent_lines(consent)[0] == (
        "may be used for",
        "general research (GRU, DUO:0000042)\n"
        "needs approval by an ethics board (IRB, DUO:0000021)\n"
        "derived data must be returned (RTN, DUO:0000029)",
    )


def test_every_code_stands_in_one_table_only():
    ids = [code.duo for code in (*PERMISSIONS.values(), *MODIFIERS.values())]
    assert len(set(ids)) == len(ids) == 23
    assert not set(PERMISSIONS) & set(MODIFIERS)


@pytest.mark.parametrize("text", ["DS:MONDO:0005148", "ds:mondo_0005148", "DUO:0000007:MONDO:0005148"])
def test_a_disease_stands_behind_its_code(text):
    consent = Consent.of({"consent.duo": f"{text},NPU"})
    assert (consent.permission, consent.disease, consent.modifiers) == ("DS", "MONDO:0005148", ("NPU",))
    assert "research on one disease MONDO:0005148 (DS, DUO:0000007)" in consent_lines(consent)[0][1]


@pytest.mark.parametrize("given_value", [True, "true", "True"])
def test_training_and_reidentification_are_allowed_where_it_is_said(given_value):
    consent = Consent.of(
        {"consent.duo": "HMB", "consent.model_training": given_value, "consent.reidentification": given_value}
    )
    assert consent.allows_model_training
    assert consent.allows_reidentification
    assert dict(consent_lines(consent))["model training"] == "allowed"


def test_training_is_not_allowed_without_a_permission():
    assert not Consent.of({"consent.model_training": True}).allows_model_training


def test_withdrawn_consent_allows_nothing():
    consent = Consent.of({"consent.duo": "NRES", "consent.model_training": True, "consent.withdrawal": "withdrawn"})
    assert consent.withdrawal is Withdrawal.WITHDRAWN
    assert not any((consent.allows_use, consent.allows_model_training))
    assert consent_lines(consent)[:2] == [
        ("may be used for", "nothing: consent was withdrawn"),
        ("model training", "denied"),
    ]


def test_the_form_that_was_signed_is_told():
    told = dict(
        consent_lines(
            Consent.of({"consent.duo": "GRU", "consent.obc": "OBC-ULT 1.0.0", "consent.withdrawal": "impossible"})
        )
    )
    assert told["consent form"] == "OBC-ULT 1.0.0"
    assert told["withdrawal"].startswith("impossible")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"consent.duo": ""}, "write"),
        ({"consent.duo": "IRB"}, "exactly one permission .* write one of NRES, HMB, DS, POA, GRU"),
        ({"consent.duo": "GRU,HMB"}, "exactly one permission"),
        ({"consent.duo": "GRU,IRB,DUO:0000021"}, "each code once"),
        ({"consent.duo": "GRY"}, "'GRY', which is no code that is known: write GRU"),
        ({"consent.duo": "DUO:0000099"}, "no code that is known"),
        ({"consent.duo": "GRU;IRB"}, "no code that is known"),
        ({"consent.duo": 42}, "consent.duo is 42: write DUO codes"),
        ({"consent.duo": "G" * 300}, "write DUO codes"),
        ({"consent.duo": "DS"}, "as DS:MONDO:0005148"),
        ({"consent.duo": "DS:MONDO:12"}, "seven digits"),
        ({"consent.duo": "GRU:MONDO:0005148"}, "behind no other code"),
        ({"consent.duo": "GRU,NMDS", "consent.model_training": True}, "NMDS .* leave out one"),
        ({"consent.model_training": "yes"}, "write true or false"),
        ({"consent.reidentification": 1}, "write true or false"),
        ({"consent.withdrawal": "maybe"}, "write one of possible, impossible, withdrawn"),
        ({"consent.obc": ""}, "write which form"),
        ({"consent.modeltraining": True}, "write consent.model_training"),
        ({"consent.x": True}, "no statement of consent that is known"),
    ],
)
def test_a_wrong_statement_is_refused_with_what_to_write(metadata, says):
    with pytest.raises(InvalidInput, match=says):
        check_consent(metadata)


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=9).map("consent.{}".format), scalars, max_size=4))
def test_whatever_stands_there_is_understood_or_refused(metadata):
    try:
        consent = Consent.of(metadata)
    except InvalidInput:
        return
    assert not consent.allows_use or consent.permission in PERMISSIONS
    assert not consent.allows_model_training or metadata["consent.model_training"] not in (False, "false")
