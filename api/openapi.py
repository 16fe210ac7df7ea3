"""The OpenAPI document: routes and parameters as Litestar sees them, the rest as each handler describes itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import groupby
from typing import Any, cast

import msgspec
from litestar import Litestar, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import (
    Components,
    Example,
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
    Tag,
)

from api import shapes
from shared.contract.audit import AuditEntryView, AuditPage
from shared.contract.credentials import CredentialChange, CredentialList, CredentialView, NewCredential
from shared.contract.errors import CATALOGUE, CONTENT_TYPE, body
from shared.contract.keys import (
    KeyAliases,
    KeyChange,
    KeyInfo,
    KeyNamed,
    KeyPage,
    KeyRegeneration,
    KeyRow,
    KeysDeleted,
    KeysToDelete,
    NewKey,
)
from shared.contract.models import ModelChange, ModelHistory, ModelId, ModelIdToBlock, ModelPage, NewModel, Rollback
from shared.contract.tasks import TaskFilter, TaskPage, TasksCancelled, TasksRetried, TaskView
from shared.contract.teams import (
    MemberChange,
    MembersInBulk,
    MembersToAdd,
    MemberToDelete,
    NewTeam,
    OneTeam,
    PermissionChange,
    TeamChange,
    TeamIds,
    TeamModels,
)
from shared.contract.users import (
    NewUser,
    UserChange,
    UserChanged,
    UserInfo,
    UserPage,
    UserRow,
    UserRowAlone,
    UsersToDelete,
)
from shared.contract.webhooks import (
    DeliveryPage,
    EndpointPage,
    EndpointView,
    NewWebhook,
    ReplayRequest,
    WebhookChange,
    WebhookDeliveryView,
)
from shared.domain.problems import Problem

Scalar = type[str] | type[int]

_DESCRIPTION = """\
Sets the points of an LLM gateway fleet: which deployment a model name leads to. Speaks LiteLLM's management API.

A write is accepted durably, answered 202 with a task, and applied by a worker, once and in order. Follow the task at
its `Location`, or send `Prefer: wait=10` to be answered with the finished row."""

_TAGS = {
    "models": "Deployments, in LiteLLM's shapes.",
    "credentials": "Shared provider secrets by name.",
    "keys": "Virtual keys: who may do what, and for how long.",
    "users": "Who stands behind keys, and in which role.",
    "teams": "Who works together, and which models they may call.",
    "tasks": "How far accepted changes have come.",
    "audit": "Who changed what, and when.",
    "encryption": "The keys that seal secrets.",
    "webhooks": "Endpoints, what was sent to them, and how callbacks are signed.",
    "health": "For probes. These routes need no key.",
}
_SCALARS: Mapping[type, str] = {str: "string", int: "integer"}
_KEY_HEADERS = ("x-litellm-api-key", "x-api-key", "api-key", "x-goog-api-key", "ocp-apim-subscription-key")
_SUBMISSION_HEADERS = {
    "Prefer": "`wait=N` waits up to N seconds for the finished row; `respond-async` answers 202 at once (RFC 7240).",
    "Idempotency-Key": "The same key and body again is the same task; kept for at least 24 hours.",
    "Webhook-Url": "Called, signed per Standard Webhooks, when this task has ended.",
    "litellm-changed-by": "On whose behalf; shown in the audit log beside the key's own user.",
    "X-Request-ID": "Kept with the task and shown in the audit log; drawn if it is missing.",
}
_IF_MATCH = "The `ETag` of the object as you know it: if it has changed since, the change is refused."
_TASK_HEADERS = {
    "Location": "The task.",
    "ETag": "Of the object as this change left it; absent while the task is open, and after a deletion.",
    "Preference-Applied": "Which part of `Prefer` was heeded.",
    "Idempotency-Replayed": "`true` if this request was accepted before, as the task that is answered.",
}
_OPEN_TASK_HEADERS = _TASK_HEADERS | {
    "Retry-After": "Seconds after which to look again; absent once the task has ended.",
}
_OF_EVERY_ROUTE = (
    # Whatever is looked up may hold a character that PostgreSQL's text does not.
    "invalid_query",
    "not_authenticated",
    "unknown_key",
    "key_expired",
    "key_blocked",
    "route_not_allowed",
    "too_many_requests",
    "internal_error",
    "unavailable",
)
_REFUSALS_OF_SUBMISSIONS = (
    "invalid_request",
    "invalid_header",
    "idempotency_key_reused",
    "webhook_refused",
    "body_too_large",
    "unsupported_media_type",
    "not_permitted",
    "poisoned",
)
_COMPONENTS: Sequence[type[msgspec.Struct]] = (
    NewModel,
    shapes.ModelRow,
    shapes.ModelList,
    shapes.Deletion,
    shapes.ModelGroups,
    shapes.ModelName,
    shapes.ModelNames,
    ModelChange,
    ModelHistory,
    ModelId,
    ModelIdToBlock,
    ModelPage,
    Rollback,
    NewCredential,
    CredentialChange,
    CredentialView,
    CredentialList,
    shapes.CredentialChanged,
    NewKey,
    KeyChange,
    KeyRegeneration,
    KeysToDelete,
    KeyNamed,
    KeyRow,
    KeyInfo,
    KeyPage,
    KeyAliases,
    KeysDeleted,
    NewUser,
    UserChange,
    UsersToDelete,
    UserRow,
    UserRowAlone,
    UserChanged,
    UserInfo,
    UserPage,
    NewTeam,
    TeamChange,
    TeamIds,
    OneTeam,
    MembersToAdd,
    MembersInBulk,
    MemberChange,
    MemberToDelete,
    TeamModels,
    PermissionChange,
    shapes.TeamRow,
    shapes.TeamUpdated,
    shapes.TeamMembersAdded,
    shapes.MemberUpdated,
    shapes.TeamMemberDeleted,
    shapes.TeamDeletion,
    shapes.TeamInfo,
    shapes.ListedTeam,
    shapes.TeamPage,
    shapes.TeamPermissions,
    TaskView,
    TaskPage,
    TaskFilter,
    TasksCancelled,
    TasksRetried,
    AuditEntryView,
    AuditPage,
    shapes.KeysRotated,
    NewWebhook,
    WebhookChange,
    ReplayRequest,
    shapes.WebhookRow,
    shapes.WebhookDeleted,
    shapes.WebhookReplayed,
    EndpointView,
    EndpointPage,
    WebhookDeliveryView,
    DeliveryPage,
    shapes.SigningSecret,
    shapes.ReadinessReport,
    shapes.Problem,
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a route that is no problem."""

    shape: type[msgspec.Struct] | Scalar
    text: str
    is_list: bool = False
    """Whether it is a bare list of this shape."""
    headers: Mapping[str, str] = {}
    media_type: str = "application/json"


def config(version: str) -> OpenAPIConfig:
    schemes = {"bearer": SecurityScheme(type="http", scheme="bearer", description="A key: `sk-…`")} | {
        name: SecurityScheme(type="apiKey", security_scheme_in="header", name=name) for name in _KEY_HEADERS
    }
    return OpenAPIConfig(
        title="Pointsman",
        version=version,
        description=_DESCRIPTION,
        tags=[Tag(name=name, description=text) for name, text in _TAGS.items()],
        security=[{name: []} for name in schemes],
        components=Components(security_schemes=dict(schemes)),
        use_handler_docstrings=True,
        openapi_router=_NoRoutes("/", route_handlers=[]),
    )


def document(app: Litestar) -> dict[str, Any]:
    """The whole document. Schemas are msgspec's, so that they say what the decoders do."""
    found = app.openapi_schema.to_schema()
    _, schemas = msgspec.json.schema_components(_COMPONENTS, ref_template="#/components/schemas/{name}")
    found["components"]["schemas"] = dict(sorted(schemas.items()))
    return found


def described(
    answers: Mapping[int, Answer],
    *,
    problems: Iterable[str] = (),
    headers: Mapping[str, str] | None = None,
    body: type[msgspec.Struct] | None = None,
    is_open: bool = False,
) -> type[Operation]:
    """What it answers, the problems beyond those of every route, the headers it looks at, and its body, if any."""
    codes = problems if is_open else (*problems, *_OF_EVERY_ROUTE)
    return _operation(answers, codes, _header_parameters(headers or {}), _request_body(body), is_open=is_open)


def change(
    body: type[msgspec.Struct] | None, row: type[msgspec.Struct] | Scalar, problems: Iterable[str]
) -> type[Operation]:
    """A write to an object that is there, which may say which version of it it means."""
    codes = (*problems, "precondition_failed", "precondition_required")
    return submission(body, row, codes, {"If-Match": _IF_MATCH})


def submission(
    body: type[msgspec.Struct] | None,
    row: type[msgspec.Struct] | Scalar,
    problems: Iterable[str],
    headers: Mapping[str, str] | None = None,
) -> type[Operation]:
    """A write: its body, which the handler reads as bytes, and what every submission has in common."""
    answers = {
        200: Answer(shape=row, text="Carried out while the client waited: the finished row.", headers=_TASK_HEADERS),
        202: Answer(shape=TaskView, text="Accepted, and committed: the task.", headers=_OPEN_TASK_HEADERS),
    }
    codes = (*problems, *_REFUSALS_OF_SUBMISSIONS, *_OF_EVERY_ROUTE)
    parameters = _header_parameters(_SUBMISSION_HEADERS | dict(headers or {}))
    return _operation(answers, codes, parameters, _request_body(body), is_open=False)


def _request_body(body: type[msgspec.Struct] | None) -> RequestBody | None:
    if body is None:
        return None
    if any(field.required for field in msgspec.structs.fields(body)):
        return RequestBody(content={"application/json": OpenAPIMediaType(schema=_ref(body))}, required=True)
    # No body, and ``null``, are an empty object.
    schema = Schema(one_of=[_ref(body), Schema(type=OpenAPIType.NULL)])
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=schema)}, required=False)


def _operation(
    answers: Mapping[int, Answer],
    codes: Iterable[str],
    parameters: list[Parameter],
    body: RequestBody | None,
    *,
    is_open: bool,
) -> type[Operation]:
    @dataclass
    class DescribedOperation(Operation):
        """Litestar passes what it found by itself; what it cannot know replaces it."""

        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *parameters]
            self.request_body = body
            self.responses = {str(status): _response(answer) for status, answer in answers.items()}
            self.responses |= _problem_responses(codes, beside=self.responses)
            if is_open:
                self.security = []

    return DescribedOperation


def _header_parameters(headers: Mapping[str, str]) -> list[Parameter]:
    return [
        Parameter(name=name, param_in="header", required=False, description=text, schema=Schema(type="string"))  # pyright: ignore[reportArgumentType]
        for name, text in headers.items()
    ]


def _response(answer: Answer) -> OpenAPIResponse:
    text = Schema(type="string")  # pyright: ignore[reportArgumentType]
    scalar = _SCALARS.get(answer.shape)
    schema = Schema(type=scalar) if scalar else _ref(cast("type[msgspec.Struct]", answer.shape))  # pyright: ignore[reportArgumentType]
    if answer.is_list:
        schema = Schema(type="array", items=schema)  # pyright: ignore[reportArgumentType]
    return OpenAPIResponse(
        description=answer.text,
        headers={name: OpenAPIHeader(schema=text, description=of) for name, of in answer.headers.items()},
        content={answer.media_type: OpenAPIMediaType(schema=schema)},
    )


def _problem_responses(codes: Iterable[str], *, beside: Mapping[str, Any]) -> dict[str, OpenAPIResponse]:
    def status_of(code: str) -> int:
        return CATALOGUE[code].status

    by_status = groupby(sorted(codes, key=status_of), key=status_of)
    return {
        str(status): _problem_response(status, list(same)) for status, same in by_status if str(status) not in beside
    }


def _problem_response(status: int, codes: list[str]) -> OpenAPIResponse:
    titles = "; ".join(f"{CATALOGUE[code].title} (`{code}`)" for code in codes)
    examples = {code: Example(value=_example(code)) for code in codes}
    content = {CONTENT_TYPE: OpenAPIMediaType(schema=_ref(shapes.Problem), examples=dict(examples))}
    return OpenAPIResponse(description=f"{HTTPStatus(status).phrase}: {titles}.", content=content)


def _example(code: str) -> msgspec.Raw:
    """Encoded, because Litestar would leave out what is null."""
    return msgspec.Raw(msgspec.json.encode(body(Problem(code=code, message=CATALOGUE[code].title))))


def _ref(shape: type[msgspec.Struct]) -> Reference:
    return Reference(ref=f"#/components/schemas/{shape.__name__}")


class _NoRoutes(Router):
    """Keeps Litestar's own pages out: they answer unknown paths in HTML, and load their scripts from elsewhere."""

    def register(self, value: Any) -> list[Any]:  # noqa: ARG002
        return []
