"""Secrets become "[redacted]" wherever a user can have put them; what only looks similar stays."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.emitter.failure import MAX_MESSAGE, failure_of
from headwater.emitter.redaction import REDACTED, Redactor
from headwater.emitter.settings import RedactionRules
from headwater.schemas.events import (
    Asset,
    AssetAliased,
    AssetConsumed,
    AssetCreated,
    AssetDescribed,
    AssetErased,
    AssetOwned,
    AssetRecalled,
    AssetRef,
    AssetTagged,
    Code,
    Column,
    Environment,
    Event,
    Failure,
    Identifier,
    MetricPoint,
    MetricsLogged,
    Owner,
    PipelineFailed,
    PipelineStarted,
    StepCompleted,
    StepFailed,
    StepStarted,
)
from headwater.schemas.rendering import encode
from tests.support.spool import START_US, run_named

RUN = run_named("train")
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"
LOOKS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    JWT,
    PEM,
    "ghp_" + "a1B2" * 9,
    "gho_" + "a1B2" * 9,
    "ghs_" + "a1B2" * 9,
    "github_pat_" + "a1B2_" * 9,
    "glpat-" + "a1B2" * 5,
    "xoxb-1234567890-abcdefghij",
    "sk-proj-" + "a1B2" * 10,
    "sk_live_" + "a1B2" * 6,
    "AIza" + "a1B2-" * 7,
    "hf_" + "a1B2" * 9,
    "Bearer abcdef123456",
]
KEYS = [
    *("password", "PASSWORD", "db_password", "dbPassword", "DB-PASSWD", "user.pwd", "passphrase", "secret"),
    *("client_secret", "clientSecret", "token", "hf_token", "accessToken", "api_key", "apiKey", "API-KEY"),
    *("apikey", "OPENAI_API_KEY", "credential", "aws_credentials", "private_key", "privateKey"),
    *("Authorization", "AWS_SECRET_ACCESS_KEY", "access_key", "PGPASSWORD", "dbpasswd", "clientsecret"),
    *("auth", "AccountKey", "signing_key", "encryption-key", "connection_string", "Cookie", "cookies"),
]
ORDINARY = [
    *("max_tokens", "tokens", "tokenizer", "pad_token", "eos_token", "token_pattern", "token_type", "monkey"),
    *("key", "primary_key", "keyboard", "secretary", "compass", "passenger", "author", "api", "capital"),
    *("num_tokens", "special_token", "token_classification", "access", "private"),
]


def started(**parameters: Any) -> StepStarted:
    return StepStarted(time=START_US, run=RUN, parameters=parameters)


def redacted(**parameters: Any) -> dict[str, Any]:
    return dict(Redactor().redact(started(**parameters)).parameters)


@pytest.mark.parametrize("key", KEYS)
def test_a_text_under_a_secret_key_goes(key: str) -> None:
    assert redacted(**{key: "hunter2", "depth": "6"}) == {key: REDACTED, "depth": "6"}


@pytest.mark.parametrize("key", ORDINARY)
def test_a_text_under_a_similar_key_stays(key: str) -> None:
    assert redacted(**{key: "hunter2"}) == {key: "hunter2"}


def test_numbers_stay_unless_the_whole_key_is_the_name_of_a_secret() -> None:
    given_ = {"max_tokens": 512, "token_budget": 7, "api_key_count": 2, "use_token": True, "token": None}
    assert redacted(**given_) == given_
    assert redacted(password=1234, pin={"secret": 99}) == {"password": REDACTED, "pin": {"secret": REDACTED}}


def test_everything_below_a_secret_key_goes_and_numbers_stay() -> None:
    assert redacted(credentials={"user": "me", "hosts": ["a", {"b": "c"}], "port": 5432}) == {
        "credentials": {"user": REDACTED, "hosts": [REDACTED, {"b": REDACTED}], "port": 5432}
    }


@pytest.mark.parametrize("secret", LOOKS, ids=lambda text: text[:12])
def test_what_looks_like_a_secret_goes_and_its_surroundings_stay(secret: str) -> None:
    found = redacted(note=f"before {secret} after")["note"]
    assert secret not in found
    assert found.startswith("before ")
    assert found.endswith(" after")
    assert REDACTED in found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres://me:hunter2@host:5432/db", f"postgres://{REDACTED}@host:5432/db"),
        ("postgres://me:p@ss@host/db", f"postgres://{REDACTED}@host/db"),
        ("https://a1b2c3d4e5f6a7b8c9@github.com/x", f"https://{REDACTED}@github.com/x"),
        ("ssh://git@github.com/x.git", "ssh://git@github.com/x.git"),
        ("s3://lake/users@2024.csv", "s3://lake/users@2024.csv"),
        ("me@example.com", "me@example.com"),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Credential=AK%2F1&X-Amz-Date=2&X-Amz-Signature=ab12",
            f"https://b.s3.amazonaws.com/k?X-Amz-Credential={REDACTED}&X-Amz-Date=2&X-Amz-Signature={REDACTED}",
        ),
        (
            "https://x.blob.core/c?sv=2020&sig=Ab%2B&se=1",
            f"https://x.blob.core/c?sv=2020&sig={REDACTED}&se=1",
        ),
        ("host=h password=hunter2 port=5", f"host=h password={REDACTED} port=5"),
        ("{'api_key': 'hunter2', 'n': 1}", f"{{'api_key': '{REDACTED}', 'n': 1}}"),
        ("postgresql://u:p/w@h:5432/d", f"postgresql://{REDACTED}@h:5432/d"),
        ("postgresql://u:p?w#x@h/d", f"postgresql://{REDACTED}@h/d"),
        ("amqp://u:a/b@c@h/v@1", f"amqp://{REDACTED}@h/v@1"),
        ('"redis://:p/w@h" and me@x.com', f'"redis://{REDACTED}@h" and me@x.com'),
        ("http://h:8080/a@b", "http://h:8080/a@b"),
        ("http://[::1]:8080/a@b", "http://[::1]:8080/a@b"),
        ("kafka://b1:9092,b2:9092/topic@2", "kafka://b1:9092,b2:9092/topic@2"),
        ("Authorization: Basic dTpw, next", f"Authorization: {REDACTED}, next"),
        ("{'Authorization': 'Basic dTpw', 'n': 1}", f"{{'Authorization': '{REDACTED}', 'n': 1}}"),
        (r"{\"Authorization\": \"Token 9f\"}", rf"{{\"Authorization\": \"{REDACTED}\"}}"),
        (r"{\"password\": \"a\\b\", \"n\": 1}", rf"{{\"password\": \"{REDACTED}\", \"n\": 1}}"),
        ("Proxy-Authorization: Negotiate YII=", f"Proxy-Authorization: {REDACTED}"),
        ('Authorization: Digest username="u", response="6629"\nnext', f"Authorization: {REDACTED}\nnext"),
        ("Cookie: session=a1; user=b2\nnext", f"Cookie: {REDACTED}\nnext"),
        ("get(url, auth=('u', 'pw'), n=1)", f"get(url, auth={REDACTED}, n=1)"),
        ("token=123456789:AAF-x_y rest", f"token={REDACTED} rest"),
        ("password=2024-hunter2;", f"password={REDACTED};"),
        ("token=5, secret: 0.5", "token=5, secret: 0.5"),
        ("PGPASSWORD=hunter2 psql", f"PGPASSWORD={REDACTED} psql"),
        ("dbpassword: hunter2", f"dbpassword: {REDACTED}"),
        ("accessToken=abc", f"accessToken={REDACTED}"),
        ("AccountName=n;AccountKey=ab+/==;E=x", f"AccountName=n;AccountKey={REDACTED};E=x"),
        ("SharedAccessKey=ab==", f"SharedAccessKey={REDACTED}"),
        ("secret_key=abc", f"secret_key={REDACTED}"),
        ('password="correct horse battery" n=1', f'password="{REDACTED}" n=1'),
        ("password='it\\'s mine', n=1", f"password='{REDACTED}', n=1"),
        ("{'password': '1234'}", f"{{'password': '{REDACTED}'}}"),
        ('password="unclosed here', f'password="{REDACTED} here'),
        ("max_tokens=512, token_pattern=(x)", "max_tokens=512, token_pattern=(x)"),
        ("asia-northeast1", "asia-northeast1"),
    ],
)
def test_a_text_keeps_everything_but_its_secret(text: str, expected: str) -> None:
    assert redacted(value=text) == {"value": expected}
    assert Redactor().text(expected) == expected


def test_words_that_end_as_a_secret_does_are_secrets() -> None:
    given_ = {"PGPASSWORD": "x", "dbpassword": "x", "clientsecret": 7, "account_key": "x", "cookies": ["x"]}
    assert all(value in (REDACTED, [REDACTED]) for value in redacted(**given_).values())
    assert redacted(auth=("u", "pw"), connection_string="x") == {
        "auth": (REDACTED, REDACTED),
        "connection_string": REDACTED,
    }
    about = {
        "auth_type": "basic",
        "auth_url": "https://h",
        "author": "me",
        "connection": "odbc",
        "keyed": "k",
    }
    assert redacted(**about) == about


@pytest.mark.parametrize("key", ["пароль", "Güte", "mot_de_passé"])
def test_own_keys_may_be_written_in_any_script(key: str) -> None:
    redactor = Redactor(RedactionRules(keys=(key,)))
    for spelled in (key, key.upper(), f"my_{key}"):
        assert redactor.redact(started(**{spelled: "x", "n": "y"})).parameters == {
            spelled: REDACTED,
            "n": "y",
        }


def test_a_long_text_without_secrets_is_looked_through_in_time_that_grows_with_its_length() -> None:
    # Each of these restarts a look at every repetition.
    for part in ("a://b:c", "password='", "auth=(", "cookie=a;", "h:1,"):
        Redactor().text(part * (200_000 // len(part)))


@pytest.mark.parametrize("from_end", [False, True])
def test_a_secret_that_the_cut_of_a_long_message_goes_through_leaves_nothing(from_end: bool) -> None:
    secret = "password=" + "0123456789-hunter2-" * 4
    for shift in range(0, len(secret), 7):
        before = MAX_MESSAGE // 2 - shift
        filler = "x " * MAX_MESSAGE
        cut = (
            f"{filler}{secret} {'y' * (before - 1)}"
            if from_end
            else f"{'y' * (before - 1)} {secret} {filler}"
        )
        message = failure_of(ValueError(cut)).message
        assert "hunter" not in Redactor().text(message)
        assert "0123" not in Redactor().text(message)


def test_an_event_without_secrets_is_the_same_object() -> None:
    event = started(depth=6, name="churn", max_tokens=5)
    assert Redactor().redact(event) is event


def test_ids_versions_and_jobs_are_never_touched() -> None:
    asset = Asset(namespace="n", name="a", version=f"bytes1:{JWT}", type="token", tags={"password": "x"})
    clean = Redactor(RedactionRules(patterns=(".*",))).redact(
        AssetCreated(time=START_US, run=RUN, asset=asset)
    )
    assert (clean.run, clean.asset.version, clean.asset.type) == (RUN, asset.version, "token")
    assert clean.asset.tags == {"password": REDACTED}


def test_own_keys_and_patterns_are_redacted_too() -> None:
    redactor = Redactor(RedactionRules(keys=("patient_id", "iban"), patterns=(r"\bMRN-\d{4}\b",)))
    clean = redactor.redact(started(patientId="p-1", my_iban="DE1", note="see MRN-1234", patient="p", id="i"))
    assert clean.parameters == {
        "patientId": REDACTED,
        "my_iban": REDACTED,
        "note": f"see {REDACTED}",
        "patient": "p",
        "id": "i",
    }


S = "hunter2 " + LOOKS[0]
REF = AssetRef(namespace="n", name="a", version="v")
EVERYWHERE: list[Event] = [
    PipelineStarted(
        time=1,
        run=RUN,
        parameters={"a": {"b": [S]}},
        code=Code(function=S, repository_url=S, path=S, git_branch=S),
        environment=Environment(digest="d", python=S, platform=S, packages={"p": S}),
    ),
    PipelineFailed(time=1, run=RUN, failure=Failure(type="E", message=S, traceback=S)),
    StepStarted(time=1, run=RUN, parameters={"a": S}, code=Code(function=S)),
    StepCompleted(
        time=1,
        run=RUN,
        inputs=(AssetRef(namespace=S, name=S),),
        lineage=((REF, (AssetRef(namespace="n", name=S),)),),
    ),
    StepFailed(
        time=1, run=RUN, failure=Failure(type="E", message=S), outputs=(AssetRef(namespace="n", name=S),)
    ),
    AssetConsumed(time=1, run=RUN, asset=AssetRef(namespace="n", name=S), argument=S),
    AssetCreated(
        time=1,
        run=RUN,
        asset=Asset(
            namespace=S,
            name=S,
            version="v",
            type="Dataset",
            parents=(AssetRef(namespace="n", name=S),),
            location=S,
            format=S,
            columns=(Column(name=S, description=S, fields=(Column(name="b", description=S),)),),
            column_metrics={"a": {"top": [S]}},
            tags={"t": S},
            properties={"p": {"q": S}},
            owner=S,
            description=S,
            symlinks=(Identifier(namespace=S, name=S),),
            details={"headwater_model": {"x": S}},
            extraction_error=S,
        ),
    ),
    MetricsLogged(time=1, run=RUN, points=(MetricPoint(key=S, value=1.0, step=0, time=1),)),
    AssetTagged(time=1, asset=REF, tags={"t": S}, actor=S),
    AssetAliased(time=1, asset=REF, alias=S),
    AssetRecalled(time=1, asset=AssetRef(namespace="n", name=S), reason=S),
    AssetErased(time=1, asset=REF, reason=S, location=S),
    AssetDescribed(time=1, asset=REF, description=S),
    AssetOwned(time=1, asset=REF, owners=(Owner(name=S, role=S),)),
]


@pytest.mark.parametrize("event", EVERYWHERE, ids=lambda event: type(event).__name__)
def test_no_text_of_any_event_is_forgotten(event: Event) -> None:
    clean = Redactor().redact(event)
    assert LOOKS[0].encode() not in encode(clean)
    assert LOOKS[0] not in repr(clean)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in an event the secret stands."""
    if isinstance(value, str):
        return [path] if LOOKS[0] in value else []
    if dataclasses.is_dataclass(value):
        return [
            p for f in dataclasses.fields(value) for p in _places(getattr(value, f.name), (*path, f.name))
        ]
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in _places(item, (*path, key))]
    if isinstance(value, tuple | list):
        return [p for index, item in enumerate(value) for p in _places(item, (*path, index))]
    return []


def _only(value: Any, kept: tuple[Any, ...], path: tuple[Any, ...] = ()) -> Any:
    """`value` with the secret in one place alone."""
    if isinstance(value, str):
        return value if path == kept else value.replace(S, "plain")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {
            f.name: _only(getattr(value, f.name), kept, (*path, f.name)) for f in dataclasses.fields(value)
        }
        return dataclasses.replace(value, **changes)
    if isinstance(value, dict):
        return {key: _only(item, kept, (*path, key)) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_only(item, kept, (*path, index)) for index, item in enumerate(value))
    return value


def test_a_secret_in_one_place_alone_does_not_slip_through_the_quick_search() -> None:
    for event in EVERYWHERE:
        for place in _places(event):
            alone = _only(event, place)
            assert LOOKS[0] in repr(alone), place
            assert LOOKS[0] not in repr(Redactor().redact(alone)), (type(event).__name__, place)


@settings(max_examples=300, deadline=None)
@given(
    key=st.sampled_from(KEYS),
    before=st.sampled_from(["", "my_", "x-", "Some ", "ü."]),
    after=st.sampled_from(["", "_v2", "-1", " new", ".ö"]),
)
def test_the_quick_search_finds_every_key_that_the_thorough_one_redacts(
    key: str, before: str, after: str
) -> None:
    event = started(**{f"{before}{key}{after}": "hunter2"})
    quick = Redactor().redact(event)
    thorough = Redactor(RedactionRules(patterns=("$^",))).redact(event)
    assert quick == thorough


def test_texts_that_json_cannot_spell_are_looked_through() -> None:
    assert redacted(note="\ud800", password="x") == {"note": "\ud800", "password": REDACTED}
    assert redacted(wide=1 << 80, password="x") == {"wide": 1 << 80, "password": REDACTED}
