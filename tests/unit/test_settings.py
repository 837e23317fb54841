"""Settings come from the nearest file and the environment; what is wrong is named with its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.emitter import MemorySink, configure, failures, step
from headwater.emitter.report import guarded
from headwater.emitter.settings import RedactionRules, Settings, SpoolLimits, load, stated_profile
from headwater.schemas.errors import Misconfigured


def written(folder: Path, text: str) -> Path:
    path = folder / "headwater.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_a_file_the_defaults_hold_relative_to_the_working_folder(tmp_path: Path) -> None:
    assert load({}, tmp_path) == Settings(
        log=tmp_path / ".headwater/log", spool_folder=tmp_path / ".headwater/spool"
    )


def test_everything_that_can_be_said_is_read(tmp_path: Path) -> None:
    source = written(
        tmp_path,
        """
        project: crm
        log: data/log
        store: postgresql://h/db
        mode: spool+fsync
        profile: regulated
        adopt: false
        verify_inputs: sampled
        raw_values: [country, plan]
        spool: {max_bytes: 2 GiB, segment_bytes: 1048576, folder: fast/spool}
        drain_on_exit_s: 2.5
        sync_timeout_s: 30
        redact: {keys: [patient_id], patterns: ['MRN-\\d+']}
        stacks: {local: {artifacts: here}}
        """,
    )
    settings = load({}, tmp_path)
    assert settings.document["stacks"] == {"local": {"artifacts": "here"}}
    assert settings == Settings(
        project="crm",
        log=tmp_path / "data/log",
        store="postgresql://h/db",
        mode="spool+fsync",
        profile="regulated",
        adopt=False,
        verify_inputs="sampled",
        raw_values=("country", "plan"),
        spool=SpoolLimits(max_bytes=2 << 30, segment_bytes=1 << 20),
        redact=RedactionRules(keys=("patient_id",), patterns=("MRN-\\d+",)),
        spool_folder=tmp_path / "fast/spool",
        drain_on_exit_s=2.5,
        sync_timeout_s=30.0,
        document=settings.document,
        source=source,
    )


def test_the_nearest_file_upward_is_used_and_its_log_is_relative_to_it(tmp_path: Path) -> None:
    written(tmp_path, "project: outer\nlog: the/log")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert load({}, inner).log == tmp_path / "the/log"
    written(tmp_path / "a", "project: nearer")
    assert load({}, inner).project == "nearer"


def test_a_named_file_wins_over_the_nearest(tmp_path: Path) -> None:
    written(tmp_path, "project: nearest")
    (tmp_path / "other.yaml").write_text("project: named")
    assert load({"HEADWATER_CONFIG": "other.yaml"}, tmp_path).project == "named"
    with pytest.raises(Misconfigured, match=r"HEADWATER_CONFIG.*absent\.yaml"):
        load({"HEADWATER_CONFIG": "absent.yaml"}, tmp_path)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    written(tmp_path, "project: file\nmode: memory\nlog: below")
    environ = {
        "HEADWATER_PROJECT": "environment",
        "HEADWATER_MODE": "spool",
        "HEADWATER_LOG": "elsewhere",
        "HEADWATER_ADOPT": "0",
        "HEADWATER_PROFILE": "regulated",
        "HEADWATER_SPOOL_MAX_BYTES": "5 MiB",
        "HEADWATER_VERIFY_INPUTS": "full",
        "HEADWATER_STORE": "sqlite:///x.db",
    }
    inner = tmp_path / "inner"
    inner.mkdir()
    settings = load(environ, inner)
    assert (settings.project, settings.mode, settings.adopt) == ("environment", "spool", False)
    assert (settings.profile, settings.spool.max_bytes) == ("regulated", 5 << 20)
    assert (settings.verify_inputs, settings.store) == ("full", "sqlite:///x.db")
    # A path from the environment is relative to where the command was typed.
    assert settings.log == inner / "elsewhere"


def test_variables_are_filled_in_at_any_depth(tmp_path: Path) -> None:
    written(
        tmp_path,
        "project: ${TEAM}-${STAGE:-dev}\n"
        "stacks: {s: [{url: '${URL:-http://u:8080/x}'}]}\n"
        "store: '$${TEAM} costs ${EMPTY:-5} $$'\n"
        "raw_values: ['a${BLANK}']",
    )
    settings = load({"TEAM": "crm", "EMPTY": "", "BLANK": ""}, tmp_path)
    assert settings.project == "crm-dev"
    assert settings.document["stacks"] == {"s": [{"url": "http://u:8080/x"}]}
    assert settings.store == "${TEAM} costs 5 $"
    assert settings.raw_values == ("a",)


def test_an_absolute_log_and_a_file_url_stay_where_they_are(tmp_path: Path) -> None:
    for text in (f"log: {tmp_path}/abs", f"log: file://{tmp_path}/abs"):
        written(tmp_path, text)
        assert load({}, tmp_path).log == tmp_path / "abs"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mode: sync", "sync"),
        ("mode: turbo", "'turbo' is not one of memory, spool, spool+fsync"),
        ("log: kafka://b1:9092", "names no topic"),
        ("log: kafka:///events", "names no topic"),
        ("log: kafka://b1:9092/..", "'..' is no name of a topic"),
        ("log: kafka://u:secret@b1:9092/t", "the URL holds a user or a password"),
        ("drain_on_exit_s: soon", "drain_on_exit_s: 'soon' is not a number of seconds"),
        ("sync_timeout_s: -1", "sync_timeout_s: -1 is not a number of seconds"),
        ("spool: {folder: 's3://b/c'}", "spool.folder: 's3://b/c' is not a folder"),
        ("log: s3://bucket/log", "s3://"),
        ("log: 5", "log: 5 is not a text"),
        ("project: ''", "project: '' is not a text"),
        ("profile: strict", "profile: 'strict'"),
        ("adopt: maybe", "adopt: 'maybe' is not true or false"),
        ("verify_inputs: 3", "verify_inputs: 3"),
        ("raw_values: country", "raw_values: 'country' is not a list"),
        ("spool: {max_size: 5}", "spool.max_size is no setting (known: max_bytes, segment_bytes, folder)"),
        ("spool: 5", "spool must be a mapping"),
        ("spool: {max_bytes: lots}", "spool.max_bytes: 'lots' is not a number of bytes"),
        ("spool: {segment_bytes: 10}", "spool.segment_bytes: 10 is not at least 4096 bytes"),
        ("spool: {max_bytes: true}", "spool.max_bytes"),
        ("redact: {key: [a]}", "redact.key is no setting"),
        ("redact: {patterns: ['(']}", "redact.patterns: '(' is no regular expression"),
        ("redact: {keys: [5]}", "redact.keys"),
        ("project: ${NOT_SET}", "project: the variable NOT_SET is not set"),
        ("spool: {max_bytes: '${NOT_SET}'}", "spool.max_bytes: the variable NOT_SET is not set"),
        ("redact: {keys: ['--']}", "redact.keys: '--' is not a key with a letter or a digit in it"),
        ("- a list", "must be a mapping"),
        ("project: [", "is no YAML"),
    ],
)
def test_what_is_wrong_is_named_with_key_and_file(tmp_path: Path, text: str, said: str) -> None:
    source = written(tmp_path, text)
    with pytest.raises(Misconfigured) as caught:
        load({}, tmp_path)
    assert said in str(caught.value)
    assert str(source) in str(caught.value)


@pytest.mark.parametrize("name", ["HEADWATER_MODE", "HEADWATER_PROFILE", "HEADWATER_SPOOL_MAX_BYTES"])
def test_what_is_wrong_in_the_environment_is_named_by_its_variable(tmp_path: Path, name: str) -> None:
    with pytest.raises(Misconfigured, match=name):
        load({name: "nonsense"}, tmp_path)


def test_what_is_refused_names_what_is_supported(tmp_path: Path) -> None:
    for environ in ({"HEADWATER_MODE": "sync"}, {"HEADWATER_LOG": "s3://b/t"}):
        with pytest.raises(Misconfigured) as caught:
            load(environ, tmp_path)
        assert "spool" in caught.value.remedy or "folder" in caught.value.remedy


def test_an_empty_file_and_a_bare_off_mean_the_defaults(tmp_path: Path) -> None:
    written(tmp_path, "")
    assert load({}, tmp_path).project == "default"
    written(tmp_path, "verify_inputs: off")
    assert load({}, tmp_path).verify_inputs == "off"


def test_what_others_need_stays_as_it_was_written_when_its_variable_is_not_set(tmp_path: Path) -> None:
    source = written(
        tmp_path,
        "store: postgresql://${DB_HOST}/${DB}\nstacks: {prod: [{url: '${URL}$$'}], dev: {url: '${DB}'}}",
    )
    settings = load({"DB": "d"}, tmp_path)
    assert settings.store == "postgresql://${DB_HOST}/${DB}"
    assert settings.document["stacks"] == {"prod": [{"url": "${URL}$$"}], "dev": {"url": "d"}}
    assert settings.unset == {"store": "DB_HOST", "stacks.prod[0].url": "URL"}
    settings.require("stacks.dev")
    settings.require("sto")
    for needed, said in (("store", "store: the variable DB_HOST"), ("stacks.prod", "prod[0].url: the var")):
        with pytest.raises(Misconfigured) as caught:
            settings.require(needed)
        assert said in str(caught.value)
        assert str(source) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "environ", "profile"),
    [
        ("profile: regulated\nmode: turbo", {}, "regulated"),
        ("profile: ${P:-regulated}\nproject: ${NOT_SET}", {}, "regulated"),
        ("profile: regulated\nproject: [", {}, "regulated"),
        ("profile: ${NOT_SET}", {}, "default"),
        ("mode: turbo", {"HEADWATER_PROFILE": "regulated"}, "regulated"),
        ("profile: regulated", {"HEADWATER_PROFILE": "default"}, "default"),
        ("mode: turbo", {}, "default"),
        ("- profile: regulated", {}, "default"),
        ("", {"HEADWATER_CONFIG": "absent.yaml"}, "default"),
    ],
)
def test_the_profile_is_known_however_wrong_the_rest_is(
    tmp_path: Path, text: str, environ: dict[str, str], profile: str
) -> None:
    written(tmp_path, text)
    assert stated_profile(environ, tmp_path) == profile


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder whose settings are this process's own; afterwards an emitter that works."""
    monkeypatch.chdir(tmp_path)
    for name in ("HEADWATER_PROFILE", "HEADWATER_CONFIG", "HEADWATER_LOG"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    configure(Settings(project="crm"), MemorySink())


@pytest.mark.parametrize("stated", ["file", "environment"])
def test_a_wrong_setting_does_not_switch_the_regulated_profile_off(
    here: Path, stated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stated == "file":
        written(here, "profile: regulated\nlog: s3://b/t")
    else:
        monkeypatch.setenv("HEADWATER_PROFILE", "regulated")
        monkeypatch.setenv("HEADWATER_LOG", "s3://b/t")
    ran = []

    @step
    def train() -> None:
        ran.append(1)

    with pytest.raises(Misconfigured, match="s3"):
        configure()
    for _ in range(2):
        with pytest.raises(Misconfigured, match="s3"):
            train()
    assert ran == []


def test_a_wrong_setting_stops_no_step_of_the_default_profile(here: Path) -> None:
    written(here, "log: s3://b/t")
    with pytest.raises(Misconfigured):
        configure()
    before = failures().get("settings test", 0)
    with guarded("settings test"):
        load()
    assert failures()["settings test"] == before + 1


def test_a_failure_is_remembered_until_its_surroundings_change(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = written(here, "project: crm\nmode: turbo")
    errors = []
    for _ in range(2):
        with pytest.raises(Misconfigured, match="turbo") as caught:
            load()
        errors.append(caught.value)
    assert errors[0] is errors[1]
    monkeypatch.setenv("HEADWATER_MODE", "memory")
    assert load().mode == "memory"
    monkeypatch.delenv("HEADWATER_MODE")
    source.write_text("project: crm\nmode: spool+fsync")
    assert load().mode == "spool+fsync"
