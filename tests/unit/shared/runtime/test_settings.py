from pathlib import Path

import pytest

from shared.encryption.keyring import new_key
from shared.runtime.settings import Misconfigured, Secret, Settings, load, unknown_variables

KEY = "sk-for-tests-4f1d8a6c0b7e"
MINIMAL = {
    "POINTSMAN_DATABASE_URL": "postgresql://p@localhost/p",
    "POINTSMAN_REDIS_URL": "redis://localhost",
    "POINTSMAN_MASTER_KEY": KEY,
    "POINTSMAN_ENCRYPTION_KEYS": new_key("a"),
}


def loaded(**variables: str) -> Settings:
    return load(MINIMAL | {f"POINTSMAN_{name}": value for name, value in variables.items()})


def complaint(**variables: str) -> str:
    with pytest.raises(Misconfigured) as caught:
        loaded(**variables)
    return str(caught.value)


def test_four_variables_are_enough() -> None:
    settings = load(MINIMAL)
    assert settings.master_key.reveal() == KEY
    assert (settings.default_wait, settings.batch_size, settings.slack_webhook_url) == (0, 100, None)


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(Misconfigured) as caught:
        load({})
    assert [line.split()[0] for line in str(caught.value).splitlines()] == list(MINIMAL)
    assert "is not set. PostgreSQL 14 or newer" in str(caught.value)


def test_an_empty_variable_counts_as_absent() -> None:
    assert "POINTSMAN_REDIS_URL is not set" in complaint(REDIS_URL="  ")
    assert loaded(BATCH_SIZE="").batch_size == 100


def test_values_become_what_they_mean() -> None:
    settings = loaded(
        BATCH_SIZE="7", DEFAULT_WAIT="2.5", ALLOW_WEAK_MASTER_KEY="true", WEBHOOK_SCHEDULE="1, 2.5,3", LOG_FORMAT="json"
    )
    assert (settings.batch_size, settings.default_wait, settings.allow_weak_master_key) == (7, 2.5, True)
    assert settings.webhook_schedule == (1.0, 2.5, 3.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH_SIZE", "0"),
        ("BATCH_SIZE", "many"),
        ("DEFAULT_WAIT", "31"),
        ("SWEEP_INTERVAL", "0"),
        ("WEBHOOK_SCHEDULE", "1,-2"),
        ("WEBHOOK_SCHEDULE", ","),
        ("LOG_LEVEL", "loud"),
        ("LISTEN", "4000"),
        ("ALLOW_WEAK_MASTER_KEY", "yes"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_meaning(name: str, value: str) -> None:
    text = complaint(**{name: value})
    assert text.startswith(f"POINTSMAN_{name} cannot be used: '{value}'") or "cannot be used" in text
    assert text.rstrip().endswith(".")


def test_several_problems_are_said_together() -> None:
    assert len(complaint(BATCH_SIZE="0", LOG_LEVEL="loud").splitlines()) == 2


def test_a_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}-of-the-file\n", encoding="utf-8")
    settings = loaded(MASTER_KEY="", MASTER_KEY_FILE=str(file))
    assert settings.master_key.reveal() == f"{KEY}-of-the-file"


def test_a_secret_and_its_file_together_are_one_too_many(tmp_path: Path) -> None:
    assert "POINTSMAN_MASTER_KEY_FILE is set as well" in complaint(MASTER_KEY_FILE=str(tmp_path / "key"))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    assert "No such file" in complaint(MASTER_KEY="", MASTER_KEY_FILE=str(tmp_path / "nothing"))


@pytest.mark.parametrize("key", ["sk-1234", "sk-" + "a" * 40, "sk-abcdefg"])
def test_a_weak_master_key_is_refused_unless_it_is_allowed(key: str) -> None:
    text = complaint(MASTER_KEY=key)
    assert "POINTSMAN_MASTER_KEY is too short or too simple" in text
    assert key not in text
    assert loaded(MASTER_KEY=key, ALLOW_WEAK_MASTER_KEY="true").master_key.reveal() == key


def test_a_master_key_begins_as_clients_expect() -> None:
    assert "must begin with `sk-`" in complaint(MASTER_KEY="pk-for-tests-4f1d8a6c0b7e")


def test_no_secret_is_shown_by_accident() -> None:
    settings = load(MINIMAL)
    for shown in (repr(settings), str(settings.master_key), f"{settings.master_key}", repr([settings.database_url])):
        assert KEY not in shown
        assert "postgresql://" not in shown
    assert str(Secret("x")) == "Secret(***)"


def test_the_address_is_taken_apart() -> None:
    assert (loaded(LISTEN="0.0.0.0:80").listen_host, loaded(LISTEN="0.0.0.0:80").listen_port) == ("0.0.0.0", 80)
    assert loaded(LISTEN="[::1]:4000").listen_host == "::1"


def test_a_variable_that_is_no_setting_is_warned_about_with_a_suggestion() -> None:
    assert unknown_variables({"POINTSMAN_BATCHSIZE": "1"}) == [
        "POINTSMAN_BATCHSIZE is no setting; did you mean POINTSMAN_BATCH_SIZE?"
    ]
    assert unknown_variables({"POINTSMAN_ZZZ": "1"}) == ["POINTSMAN_ZZZ is no setting"]


@pytest.mark.parametrize(
    "name",
    [
        *MINIMAL,
        "POINTSMAN_MASTER_KEY_FILE",
        "POINTSMAN_SERVICE_HOST",
        "POINTSMAN_SERVICE_PORT_HTTP",
        "POINTSMAN_PORT_4000_TCP_ADDR",
        "PATH",
    ],
)
def test_known_injected_and_foreign_variables_are_not_warned_about(name: str) -> None:
    assert unknown_variables({name: "x"}) == []


def test_only_secrets_have_files() -> None:
    assert unknown_variables({"POINTSMAN_BATCH_SIZE_FILE": "x"})
