"""What metadata say of consent; what is not said is not allowed."""

from __future__ import annotations

import pytest

from engram_format.consent import MODIFIERS, PERMISSIONS, Consent, Withdrawal, consent_lines
from engram_format.errors import InvalidInput


def test_nothing_said_permits_nothing():
    consent = Consent.of({"subject.species": "Homo sapiens"})
    assert consent == Consent()
    assert not consent.permits_use
    assert not consent.permits_model_training
    assert not consent.permits_reidentification
    assert consent_lines({"subject.species": "Homo sapiens"}) == []


@pytest.mark.parametrize("duo", ["GRU,IRB", "DUO:0000042,DUO:0000021", "gru, DUO_0000021", "IRB , GRU"])
def test_codes_are_ids_or_short_names(duo):
    consent = Consent.of({"consent.duo": duo})
    assert (consent.permission, consent.modifiers) == ("GRU", ("IRB",))
    assert consent.codes == ("DUO:0000042", "DUO:0000021")
    assert consent.permits_use
    assert not consent.permits_model_training


@pytest.mark.parametrize("code", [*PERMISSIONS, *PERMISSIONS.values()])
def test_every_permission_is_known(code):
    assert PERMISSIONS[Consent.of({"consent.duo": code}).permission] in (code, PERMISSIONS.get(code))


@pytest.mark.parametrize("code", [*MODIFIERS, *MODIFIERS.values()])
def test_every_modifier_is_known(code):
    (name,) = Consent.of({"consent.duo": f"NRES,{code}"}).modifiers
    assert MODIFIERS[name] in (code, MODIFIERS.get(code))


def test_training_is_permitted_where_it_is_said_and_nothing_bars_it():
    said = {"consent.duo": "GRU", "consent.model_training": True}
    assert Consent.of(said).permits_model_training
    assert Consent.of(said | {"consent.model_training": "true"}).permits_model_training
    assert not Consent.of(said | {"consent.duo": "GRU,NMDS"}).permits_model_training
    assert not Consent.of(said | {"consent.withdrawal": "withdrawn"}).permits_model_training
    assert not Consent.of({"consent.model_training": True}).permits_model_training
    assert not Consent.of(said).permits_reidentification
    assert Consent.of(said | {"consent.reidentification": True}).permits_reidentification


def test_all_that_is_known_is_read():
    consent = Consent.of(
        {"consent.duo": "HMB", "consent.withdrawal": "impossible", "consent.obc": "OBC-GDPR-ULT 1.1.0"}
    )
    assert consent.withdrawal is Withdrawal.IMPOSSIBLE
    assert consent.obc == "OBC-GDPR-ULT 1.1.0"


@pytest.mark.parametrize(
    ("metadata", "advice"),
    [
        ({"consent.duo": "IRB"}, "exactly one permission"),
        ({"consent.duo": "GRU,HMB"}, "exactly one permission"),
        ({"consent.duo": "GRU,IRB,IRB"}, "each code once"),
        ({"consent.duo": ""}, "NRES"),
        ({"consent.duo": 42}, "GRU,IRB"),
        ({"consent.duo": "GRUU"}, "GRU"),
        ({"consent.duo": "DUO:0000099"}, "GRU"),
        ({"consent.duo": "DUO:42"}, "GRU"),
        ({"consent.model_training": "yes"}, "true or false"),
        ({"consent.model_training": 1}, "true or false"),
        ({"consent.reidentification": "perhaps"}, "true or false"),
        ({"consent.withdrawal": True}, "possible, impossible, withdrawn"),
        ({"consent.obc": ""}, "OBC-GDPR-ULT"),
        ({"consent.model_trainig": True}, "consent.model_training"),
        ({"consent.x": True}, "consent."),
    ],
)
def test_what_is_not_known_is_refused_with_what_to_write(metadata, advice):
    with pytest.raises(InvalidInput) as refused:
        Consent.of(metadata)
    assert advice in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "nothing is permitted" in consent_lines(metadata)[0][1]


def test_lines_say_what_one_may_do():
    assert consent_lines({"consent.duo": "GRU,IRB", "consent.model_training": True}) == [
        ("consent", "GRU (DUO:0000042), IRB (DUO:0000021)"),
        ("may train models", "yes"),
        ("may reidentify", "no"),
    ]
    assert consent_lines({"consent.withdrawal": "withdrawn"}) == [("consent", "withdrawn: nothing is permitted")]
    assert "nothing is permitted" in consent_lines({"consent.model_training": True})[0][1]
