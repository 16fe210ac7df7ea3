"""The refusals: a rule says no. One small class each, with a stable code and the field that is to blame."""

from typing import ClassVar, Literal

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with one field; ``field`` is a dotted path and never carries a value."""

    field: str
    message: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A refusal as a value: stored with the task and shown on the wire."""

    code: str
    message: str
    param: str | None = None
    errors: tuple[FieldError, ...] = ()


class Refusal(Exception):
    """Ends a request or a task, once, with a problem that its sender can act on."""

    code: ClassVar[str]
    param: str | None = None
    errors: tuple[FieldError, ...] = ()

    def problem(self) -> Problem:
        return Problem(code=self.code, message=str(self), param=self.param, errors=self.errors)


class InvalidRequest(Refusal):
    """The body does not say what it must; nothing was accepted."""

    code = "invalid_request"

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors
        self.param = errors[0].field


class InvalidHeader(Refusal):
    code = "invalid_header"

    def __init__(self, header: str, message: str) -> None:
        super().__init__(f"{header}: {message}")
        self.param = header


class InvalidQuery(Refusal):
    code = "invalid_query"

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(f"{parameter}: {message}")
        self.param = parameter


class UnusableQuery(Refusal):
    """Well formed, but asks for something that there is not; LiteLLM answers 400 here, not 422."""

    code = "unusable_query"

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.param = parameter


class NotAuthenticated(Refusal):
    code = "not_authenticated"


class UnknownKey(Refusal):
    """No such key, or none any more. The words are LiteLLM's (contract 2.2)."""

    code = "unknown_key"
    param = "key"

    def __init__(self) -> None:
        super().__init__("Authentication Error, Invalid proxy server token passed.")


class KeyExpired(Refusal):
    code = "key_expired"
    param = "key"

    def __init__(self) -> None:
        super().__init__("Authentication Error - Expired Key.")


class KeyBlocked(Refusal):
    """The key, or the team to which it belongs, is blocked."""

    code = "key_blocked"
    param = "key"

    def __init__(self, what: Literal["Key", "Team"]) -> None:
        super().__init__(f"{what} is blocked. Update via `/{what.lower()}/unblock` if you're an admin.")


class RouteNotAllowed(Refusal):
    """The key's ``allowed_routes`` leave this path out. Clients look for these words (contract 2.2)."""

    code = "route_not_allowed"

    def __init__(self, path: str) -> None:
        super().__init__(f"Virtual key is not allowed to call this route. Tried to access route: {path}")


class TeamModelsOff(Refusal):
    code = "team_models_off"
    param = "model_info.team_id"

    def __init__(self) -> None:
        super().__init__("Models of teams are switched off here: leave `team_id` out.")


class NotPermitted(Refusal):
    code = "not_permitted"

    def __init__(self, *, role: str, operation: str) -> None:
        super().__init__(f"User does not have permission for {operation}. Your role={role}.")


class ModelExists(Refusal):
    code = "model_exists"
    param = "model_info.id"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"A model with id={model_id} already exists.")


class ModelNotFound(Refusal):
    """Worded so that every known client takes it as "gone" (contract 7.0)."""

    code = "model_not_found"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"model not found: Model with id={model_id} not found in db")


class ModelNotListed(Refusal):
    """What ``/model/info`` says of an unknown id: its clients expect 400 and these words (contract 1.4)."""

    code = "model_not_listed"
    param = "litellm_model_id"

    def __init__(self, model_id: str) -> None:
        super().__init__(f"Model id = {model_id} not found on litellm proxy")


class ModelGroupNotFound(Refusal):
    code = "model_group_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"The model `{name}` does not exist or is not accessible")


class VersionNotFound(Refusal):
    code = "version_not_found"
    param = "version"

    def __init__(self, model_id: str, version: int) -> None:
        super().__init__(f"Model with id={model_id} has no version {version}.")


class ModelInConfig(Refusal):
    """Must not read like "gone": the model is there and stays."""

    code = "model_in_config"

    def __init__(self, model_id: str) -> None:
        super().__init__(
            f"Can't edit model. Model with id={model_id} is in the configuration file; change it there, or store "
            "another one via `/model/new`."
        )


class ModelStorageOff(Refusal):
    code = "model_storage_off"

    def __init__(self) -> None:
        super().__init__("Set `'STORE_MODEL_IN_DB='True'` in your env to enable this feature.")


class SecretNeeded(Refusal):
    code = "secret_needed"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: to send calls elsewhere, give the model's secret again")
        self.param = field


class PreconditionFailed(Refusal):
    code = "precondition_failed"
    param = "If-Match"

    def __init__(self) -> None:
        super().__init__("If-Match: the object has changed since; read it again.")


class UnknownTeam(Refusal):
    """A model or a key names it."""

    code = "unknown_team"

    def __init__(self, team_id: str, param: str = "model_info.team_id") -> None:
        super().__init__(f"Team id={team_id} does not exist in db")
        self.param = param


class TeamNotFound(Refusal):
    """Worded so that every known client takes it as "gone" (contract 1.7)."""

    code = "team_not_found"
    param = "team_id"

    def __init__(self, team_id: str) -> None:
        super().__init__(f"Team not found, passed team_id={team_id}: it doesn't exist in db")


class TeamExists(Refusal):
    code = "team_exists"
    param = "team_id"

    def __init__(self, team_id: str) -> None:
        super().__init__(f"A team with id={team_id} already exists.")


class AlreadyMember(Refusal):
    """Terraform's providers take these words for success (contract 7.3)."""

    code = "already_member"
    param = "member"

    def __init__(self, who: str) -> None:
        super().__init__(f"team_member_already_in_team: {who} is in the team already.")


class MemberNotFound(Refusal):
    code = "member_not_found"
    param = "user_id"

    def __init__(self, who: str) -> None:
        super().__init__(f"User not found in team: {who}")


class AdminOnly(Refusal):
    """A part of a change that the sender could otherwise make."""

    code = "admin_only"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: only a proxy admin may set or change this")
        self.param = field


class UnknownCredential(Refusal):
    """A model names it. Must not read as if the model were gone."""

    code = "unknown_credential"
    param = "litellm_params.litellm_credential_name"

    def __init__(self, name: str) -> None:
        super().__init__(f"litellm_params.litellm_credential_name: there is no credential named {name}")


class CredentialNotFound(Refusal):
    code = "credential_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Credential not found. Got credential name: {name}")


class CredentialExists(Refusal):
    code = "credential_exists"
    param = "credential_name"

    def __init__(self, name: str) -> None:
        super().__init__(f"A credential named {name} already exists.")


class CredentialInUse(Refusal):
    """Names the models that use it, as many as fit a sentence."""

    code = "credential_in_use"
    MAX_NAMED = 20

    def __init__(self, name: str, model_ids: frozenset[str]) -> None:
        named = sorted(model_ids)[: self.MAX_NAMED]
        more = f" and {len(model_ids) - len(named)} more" if len(model_ids) > len(named) else ""
        super().__init__(f"Credential {name} is used by these models: {', '.join(named)}{more}")


class KeyNotFound(Refusal):
    """Never names what was asked for: it may be the key itself (contract 1.9)."""

    code = "key_not_found"
    param = "key"

    def __init__(self) -> None:
        super().__init__("Key not found in database")


class KeyExists(Refusal):
    code = "key_exists"
    param = "key"

    def __init__(self) -> None:
        super().__init__("This key exists already.")


class KeyAliasTaken(Refusal):
    code = "key_alias_taken"
    param = "key_alias"

    def __init__(self, alias: str) -> None:
        super().__init__(f"Unique key aliases across all keys required; a key with alias '{alias}' exists already.")


class UserNotFound(Refusal):
    """Worded so that every known client takes it as "gone" (contract 1.9)."""

    code = "user_not_found"
    param = "user_id"

    def __init__(self, who: str) -> None:
        super().__init__(f"User {who} not found")


class UserExists(Refusal):
    code = "user_exists"
    param = "user_id"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"A user with id={user_id} exists already.")


class UserEmailTaken(Refusal):
    code = "user_email_taken"
    param = "user_email"

    def __init__(self, email: str) -> None:
        super().__init__(f"A user with e-mail address {email} exists already.")


class BeyondOwnRights(Refusal):
    """A key cannot be given what the one in use does not have."""

    code = "beyond_own_rights"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: goes beyond what the key that is used for this request may do")
        self.param = field


class TaskNotFound(Refusal):
    code = "task_not_found"

    def __init__(self) -> None:
        super().__init__("Task not found.")


class TaskNotFailed(Refusal):
    code = "task_not_failed"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only a failed or cancelled task can be tried again; this one is {status}.")


class PreconditionRequired(Refusal):
    code = "precondition_required"
    param = "If-Match"

    def __init__(self) -> None:
        super().__init__("If-Match: is required here; send the ETag of what you read.")


class AuditEntryNotFound(Refusal):
    code = "audit_entry_not_found"

    def __init__(self, entry_id: str) -> None:
        super().__init__(f"Audit log with ID {entry_id} not found")


class UnreadableSecret(Refusal):
    """A sealed value does not open. Names the place and the key, and nothing of the value."""

    code = "unreadable_secret"

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.param = field


class KeyringDiffers(Refusal):
    code = "keyring_differs"

    def __init__(self, wanted: str, found: str) -> None:
        super().__init__(
            f"The worker seals with the key {found!r}, and the API that accepted this with {wanted!r}. "
            "Give both the same POINTSMAN_ENCRYPTION_KEYS and ask again."
        )


class IdempotencyKeyReused(Refusal):
    code = "idempotency_key_reused"
    param = "Idempotency-Key"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was already used with another request.")


class WebhookRefused(Refusal):
    code = "webhook_refused"

    def __init__(self, reason: str, param: str = "Webhook-Url") -> None:
        super().__init__(f"{param}: {reason}")
        self.param = param


class DestinationRefused(Refusal):
    """A model would send its calls, and the secret with them, to where only an admin may point."""

    code = "destination_refused"

    def __init__(self, param: str, reason: str) -> None:
        super().__init__(f"{param}: {reason}")
        self.param = param


class WebhookNotFound(Refusal):
    code = "webhook_not_found"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"Webhook {webhook_id} not found")


class DeliveryNotFound(Refusal):
    code = "delivery_not_found"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"Delivery {delivery_id} not found")


class BodyTooLarge(Refusal):
    code = "body_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The body is larger than {limit_bytes} bytes.")


class HeadTooLarge(Refusal):
    code = "head_too_large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"The request line and the headers are together larger than {limit_bytes} bytes.")


class TooManyWaiters(Refusal):
    code = "too_many_waiters"

    def __init__(self) -> None:
        super().__init__("Too many requests are waiting here already; poll the task instead.")


class Unavailable(Refusal):
    """The database cannot be reached: nothing was accepted, and trying again is safe."""

    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("The database cannot be reached right now. Nothing was accepted; try again.")


class Poisoned(Refusal):
    """A task broke off at every attempt and was ended so that its object's line moves on."""

    code = "poisoned"

    def __init__(self, attempts: int) -> None:
        super().__init__(
            f"The task broke off {attempts} times and was given up. An operator finds why in the worker's log."
        )
