"""The one settings structure, read once when a process starts."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

PREFIX = "POINTSMAN_"

# Kubernetes injects these into every container of a namespace with a service named pointsman (docker-links style).
_INJECTED = ("SERVICE_HOST", "SERVICE_PORT", "PORT")

_SCHEMES = {
    "database_url": ("postgresql", "postgres"),
    "redis_url": ("redis", "rediss", "unix"),
    "slack_webhook_url": ("https", "http"),
}


class Misconfigured(Exception):
    """The process cannot start: says what is wrong, where it was read and how to mend it. Exit code 78 (EX_CONFIG)."""


class Secret:
    """A setting that never shows by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


Seconds = Annotated[float, Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every setting; the variable of a field is its name in capitals behind ``POINTSMAN_``.

    A field of type ``Secret`` can also be read from a file named by the variable with ``_FILE`` appended.
    """

    database_url: Annotated[
        Secret, Meta(description="PostgreSQL 14 or newer, as `postgresql://user:password@host:5432/name`.")
    ]
    redis_url: Annotated[
        Secret,
        Meta(description="Redis or Valkey, as `redis://host:6379/0`, `rediss://…` or `unix:///path/to.sock?db=0`."),
    ]
    master_key: Annotated[
        Secret, Meta(description="The admin's key: begins with `sk-`, at least 16 characters, from a random source.")
    ]
    encryption_keys: Annotated[
        Secret,
        Meta(description="The keyring, `id:base64,id:base64`: 32 random bytes each. The first seals, all open."),
    ]
    allow_weak_master_key: Annotated[
        bool, Meta(description="Accept a short or well-known master key. For test suites that insist on `sk-1234`.")
    ] = False
    listen: Annotated[str, Meta(pattern=r"^\S+:\d{1,5}$", description="Address and port of the API.")] = (
        "127.0.0.1:4000"
    )
    default_wait: Annotated[
        float,
        Meta(
            ge=0,
            le=30,
            description="Seconds a write waits for its task when the client says nothing. 0 answers 202 at once; "
            "10 makes LiteLLM's own clients work unchanged.",
        ),
    ] = 0
    max_wait: Annotated[
        float, Meta(gt=0, le=300, description="The longest wait, in seconds, that a client can ask for.")
    ] = 30
    max_body_bytes: Annotated[
        int, Meta(ge=1024, le=64 * 1024 * 1024, description="Larger request bodies are answered 413.")
    ] = 1024 * 1024
    max_waiters: Annotated[
        int,
        Meta(ge=1, description="Requests of one API process that may wait or stream at a time; more are answered 429."),
    ] = 2000
    batch_size: Annotated[int, Meta(ge=1, le=1000, description="Tasks that one transaction applies at most.")] = 100
    max_attempts: Annotated[
        int, Meta(ge=1, le=100, description="Attempts after which a task that keeps breaking off is ended as failed.")
    ] = 5
    require_if_match: Annotated[
        bool,
        Meta(
            description="Refuse (428) changes to objects that are there (models, credentials, webhooks, teams, users, "
            "keys) if they carry no `If-Match`."
        ),
    ] = False
    retention_days: Annotated[
        float,
        Meta(ge=1, description="Days for which ended tasks, their idempotency keys and their deliveries are kept."),
    ] = 30
    worker_processes: Annotated[int, Meta(ge=1, le=256, description="Processes of one apply worker.")] = 2
    delivery_threads: Annotated[
        int, Meta(ge=2, le=512, description="Calls that one deliver worker makes at a time; slow ones do not count.")
    ] = 64
    sweep_interval: Annotated[
        Seconds, Meta(description="Seconds between two sweeps, which ring for whatever nobody rings for.")
    ] = 2
    stall_after: Annotated[
        Seconds, Meta(description="Seconds without progress on due work after which readiness turns red.")
    ] = 30
    webhook_allow: Annotated[
        str,
        Meta(
            description="Networks, comma separated, that webhooks may reach although they are private: `10.1.0.0/16`."
        ),
    ] = ""
    webhook_schedule: Annotated[
        tuple[Seconds, ...],
        Meta(
            min_length=1,
            description="Seconds between the attempts of one delivery, comma separated; about three days by default.",
        ),
    ] = (5, 30, 300, 1800, 7200, 18000, 36000, 50400, 72000, 72000)
    store_models: Annotated[
        bool, Meta(description="Whether models may be added, changed and removed; `false` refuses as LiteLLM does.")
    ] = True
    team_models: Annotated[
        bool, Meta(description="Whether models may belong to teams; `false` refuses every write that names a team.")
    ] = True
    failures_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            description="Wrong keys that one source may try in a minute; then keys that did not work from there before "
            "are answered 429, unseen. 0 sets no limit.",
        ),
    ] = 60
    key_writes_per_minute: Annotated[
        int,
        Meta(ge=0, description="Writes in a minute with one virtual key; more are answered 429. 0 sets no limit."),
    ] = 6000
    source_writes_per_minute: Annotated[
        int,
        Meta(
            ge=0,
            description="Writes in a minute with virtual keys from one source; more are answered 429. 0 sets no limit.",
        ),
    ] = 30000
    config: Annotated[
        str,
        Meta(
            description="A LiteLLM `config.yaml`: its models are listed, not editable, and read again when it changes."
        ),
    ] = ""
    webhook_disable_after: Annotated[
        Seconds, Meta(description="Seconds of nothing but failures after which a webhook endpoint is switched off.")
    ] = 5 * 24 * 3600
    slack_webhook_url: Annotated[
        Secret | None, Meta(description="Slack incoming webhook that is told of `POINTSMAN_SLACK_EVENTS`.")
    ] = None
    audit_signing_key: Annotated[
        Secret | None,
        Meta(description="Signs the audit log's heads: the base64 of 32 bytes, from `pointsman audit keygen`."),
    ] = None
    audit_heads_file: Annotated[
        str,
        Meta(
            description="Signed heads are appended here, a line each. Keep it where the database's owner cannot write."
        ),
    ] = ""
    audit_heads_url: Annotated[
        Secret | None, Meta(description="Signed heads are posted to this URL; `POINTSMAN_WEBHOOK_ALLOW` holds for it.")
    ] = None
    audit_heads_interval: Annotated[
        Seconds, Meta(description="Seconds between two signed heads, if the log has grown in between.")
    ] = 60
    slack_teams: Annotated[
        Secret | None,
        Meta(description="Slack incoming webhooks of teams, `team=https://…`, comma separated: told of their own too."),
    ] = None
    slack_events: Annotated[
        tuple[str, ...], Meta(description="What Slack is told of, comma separated: types, `model.*`, or `*`.")
    ] = (
        "model.created",
        "model.updated",
        "model.deleted",
        "model.blocked",
        "task.failed",
        "task.poisoned",
        "webhook.disabled",
        "secret.unreadable",
    )
    slack_window: Annotated[
        float,
        Meta(ge=1, le=3600, description="After a Slack message, seconds in which events are gathered for the next."),
    ] = 60
    log_format: Annotated[
        Literal["auto", "json", "console"], Meta(description="`auto` is console in a terminal and JSON elsewhere.")
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least that is logged.")
    ] = "info"

    @property
    def heads_interval_s(self) -> float | None:
        """How often the audit log's heads are signed and written out; None if they are not.

        The schedule, which asks, needs no key for it.
        """
        return self.audit_heads_interval if self.audit_heads_file or self.audit_heads_url else None

    @property
    def listen_host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def listen_port(self) -> int:
        return int(self.listen.rpartition(":")[2])


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings. An empty variable counts as absent.

    Raises:
        Misconfigured: names every variable that is missing or cannot be used, all in one message.
    """
    hints = get_type_hints(Settings, include_extras=True)
    defaults = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, hint in hints.items():
        variable = variable_of(name)
        try:
            text = _read(environment, variable, is_secret=_is_secret(hint))
            if text:
                values[name] = _convert(text, hint)
            elif defaults[name].required:
                problems.append(f"{variable} is not set. {_description(hint)}")
        except (ValueError, OSError) as error:
            problems.append(f"{variable} cannot be used: {error}. {_description(hint)}")
    if problems:
        raise Misconfigured("\n".join(problems))
    settings = Settings(**values)
    _check_urls(settings)
    _check_master_key(settings)
    return settings


def only(environment: Mapping[str, str], field: str) -> Secret | None:
    """One setting of type ``Secret``, for commands that need no other. Raises Misconfigured."""
    variable = variable_of(field)
    try:
        text = _read(environment, variable, is_secret=True)
    except (ValueError, OSError) as error:
        raise Misconfigured(f"{variable} cannot be used: {error}") from None
    return Secret(text) if text else None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """One warning for each ``POINTSMAN_`` variable that is no setting, with the likely meant one."""
    known = {variable_of(field.name) for field in msgspec.structs.fields(Settings)}
    known |= {f"{variable_of(name)}_FILE" for name, hint in _hints().items() if _is_secret(hint)}
    warnings: list[str] = []
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known or name.removeprefix(PREFIX).startswith(_INJECTED):
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        warnings.append(f"{name} is no setting" + (f"; did you mean {close[0]}?" if close else ""))
    return warnings


def variable_of(field: str) -> str:
    return PREFIX + field.upper()


def _hints() -> dict[str, Any]:
    return get_type_hints(Settings, include_extras=True)


def _read(environment: Mapping[str, str], variable: str, *, is_secret: bool) -> str | None:
    text = environment.get(variable, "").strip()
    path = environment.get(f"{variable}_FILE", "").strip() if is_secret else ""
    if text and path:
        raise ValueError(f"{variable}_FILE is set as well; keep one of the two")
    return Path(path).read_text(encoding="utf-8").strip() if path else text


def _convert(text: str, hint: Any) -> Any:
    if _is_secret(hint):
        return Secret(text)
    kind = get_args(hint)[0]
    value: Any = [part.strip() for part in text.split(",") if part.strip()] if get_origin(kind) is tuple else text
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _is_secret(hint: Any) -> bool:
    kind = get_args(hint)[0]
    return kind is Secret or Secret in get_args(kind)


def _description(hint: Any) -> str:
    return next(
        (meta.description or "" for meta in get_args(hint)[1:] if isinstance(meta, Meta) and meta.description), ""
    )


def _check_urls(settings: Settings) -> None:
    """A URL holds passwords: it is named, never shown."""
    for name, schemes in _SCHEMES.items():
        url: Secret | None = getattr(settings, name)
        if url is not None and not _is_url(url.reveal(), schemes):
            hint = _description(_hints()[name])
            raise Misconfigured(f"{variable_of(name)} cannot be used: it is no URL of the kind expected. {hint}")


def _is_url(text: str, schemes: tuple[str, ...]) -> bool:
    scheme, separator, rest = text.partition("://")
    try:
        # Behind the last @: a password may hold what would end the host elsewhere.
        port = urlsplit("//" + rest.rpartition("@")[2]).port
    except ValueError:
        return False
    return bool(separator and rest) and scheme.lower().partition("+")[0] in schemes and port != 0


def _check_master_key(settings: Settings) -> None:
    key = settings.master_key.reveal()
    if not key.startswith("sk-"):
        raise Misconfigured("POINTSMAN_MASTER_KEY must begin with `sk-`, as LiteLLM's clients expect.")
    if not settings.allow_weak_master_key and (len(key) < 16 or len(set(key)) < 8):
        raise Misconfigured(
            "POINTSMAN_MASTER_KEY is too short or too simple: anybody could guess it. Make one with "
            "`python3 -c 'import secrets; print(\"sk-\" + secrets.token_urlsafe(32))'`, or, for a test only, set "
            "POINTSMAN_ALLOW_WEAK_MASTER_KEY=true."
        )
