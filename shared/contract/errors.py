"""The catalogue of errors: for every problem its status, LiteLLM's type, a title and what to do about it."""

from typing import Any

import msgspec

from shared.domain.problems import Problem

CONTENT_TYPE = "application/problem+json"


class ErrorKind(msgspec.Struct, frozen=True):
    status: int
    litellm_type: str
    title: str
    help: str


CATALOGUE: dict[str, ErrorKind] = {
    "invalid_request": ErrorKind(
        422, "invalid_request_error", "The request body is not valid", "Mend the fields named in `errors`."
    ),
    "invalid_header": ErrorKind(
        400, "invalid_request_error", "A request header is not valid", "Mend the header named in `param`."
    ),
    "invalid_query": ErrorKind(
        422, "invalid_request_error", "A query parameter is not valid", "Mend the parameter named in `param`."
    ),
    "unusable_query": ErrorKind(
        400,
        "invalid_request_error",
        "A query parameter cannot be used like this",
        "Mend the parameter named in `param`.",
    ),
    "not_authenticated": ErrorKind(
        401, "auth_error", "No valid key was given", "Send a key as `Authorization: Bearer sk-…` or `x-api-key: sk-…`."
    ),
    "unknown_key": ErrorKind(401, "token_not_found_in_db", "There is no such key", "Check the key for typing errors."),
    "key_expired": ErrorKind(401, "expired_key", "The key has expired", "Have it regenerated, or a new one made."),
    "key_blocked": ErrorKind(401, "auth_error", "The key is blocked", "Ask an admin to unblock it."),
    "route_not_allowed": ErrorKind(
        403, "auth_error", "The key may not call this route", "Use a key whose `allowed_routes` name it."
    ),
    "team_models_off": ErrorKind(
        403, "auth_error", "Models of teams are switched off", "An operator can set `POINTSMAN_TEAM_MODELS=true`."
    ),
    "too_many_requests": ErrorKind(
        429, "rate_limit_error", "Too many requests", "Try again after `Retry-After`; the limits can be set."
    ),
    "not_permitted": ErrorKind(403, "auth_error", "The key may not do this", "Use a key whose role allows it."),
    "model_exists": ErrorKind(
        409, "invalid_request_error", "The model exists already", "Update it, or choose another `model_info.id`."
    ),
    "model_not_found": ErrorKind(404, "not_found_error", "There is no such model", "Check the id."),
    "model_not_listed": ErrorKind(
        400, "not_found_error", "There is no such model", "Check the id; LiteLLM's clients expect status 400 here."
    ),
    "model_group_not_found": ErrorKind(
        404, "not_found_error", "There is no such model group", "`GET /models` lists those that there are."
    ),
    "version_not_found": ErrorKind(
        404, "not_found_error", "The model has no such version", "`GET /model/{id}/history` lists its versions."
    ),
    "model_in_config": ErrorKind(
        400,
        "validation_error",
        "The model belongs to the configuration file",
        "Change the file; it is read again by itself.",
    ),
    "model_storage_off": ErrorKind(
        500, "internal_server_error", "Storing models is switched off", "Set `POINTSMAN_STORE_MODELS=true`."
    ),
    "secret_needed": ErrorKind(
        403, "auth_error", "The secret is needed again", "Send the model's secret together with its new destination."
    ),
    "precondition_failed": ErrorKind(
        412, "invalid_request_error", "The object has changed", "Read it again and use its new `ETag`."
    ),
    "unknown_team": ErrorKind(
        400, "invalid_request_error", "There is no such team", "Create the team first, or leave `team_id` out."
    ),
    "team_not_found": ErrorKind(404, "not_found_error", "There is no such team", "Check the id."),
    "team_exists": ErrorKind(
        409, "invalid_request_error", "The team exists already", "Change it instead, or choose another id."
    ),
    "already_member": ErrorKind(
        400, "team_member_already_in_team", "The members are in the team already", "Nothing is left to do."
    ),
    "member_not_found": ErrorKind(
        404, "not_found_error", "There is no such member", "Check the user id, or the e-mail address."
    ),
    "admin_only": ErrorKind(
        403, "auth_error", "This is for proxy admins", "Leave the field out, or ask a proxy admin."
    ),
    "unknown_credential": ErrorKind(
        400, "invalid_request_error", "There is no such credential", "Create it first with `POST /credentials`."
    ),
    "credential_not_found": ErrorKind(404, "not_found_error", "There is no such credential", "Check the name."),
    "credential_exists": ErrorKind(
        409, "invalid_request_error", "The credential exists already", "Change it with PATCH, or choose another name."
    ),
    "credential_in_use": ErrorKind(
        409, "invalid_request_error", "The credential is in use", "Give the named models other credentials first."
    ),
    "key_not_found": ErrorKind(404, "not_found_error", "There is no such key", "Check the key, its hash or its alias."),
    "key_exists": ErrorKind(
        409, "invalid_request_error", "The key exists already", "Leave `key` out, and one is drawn."
    ),
    "key_alias_taken": ErrorKind(409, "bad_request_error", "Another key has this alias", "Choose another `key_alias`."),
    "user_not_found": ErrorKind(404, "not_found_error", "There is no such user", "Check the id."),
    "user_exists": ErrorKind(
        409, "invalid_request_error", "The user exists already", "Update it, or choose another `user_id`."
    ),
    "user_email_taken": ErrorKind(
        409, "invalid_request_error", "Another user has this e-mail address", "Update that user instead."
    ),
    "beyond_own_rights": ErrorKind(
        403,
        "auth_error",
        "A key cannot be given more than the one in use has",
        "Ask for less, or use a key that may do as much.",
    ),
    "task_not_found": ErrorKind(
        404, "not_found_error", "There is no such task", "Check the id; tasks of others are not shown."
    ),
    "task_not_failed": ErrorKind(
        409, "invalid_request_error", "The task cannot be tried again", "Submit the change anew instead."
    ),
    "precondition_required": ErrorKind(
        428,
        "invalid_request_error",
        "A precondition is required",
        "Read the object and send its `ETag` as `If-Match` (`POINTSMAN_REQUIRE_IF_MATCH` is on).",
    ),
    "audit_entry_not_found": ErrorKind(404, "not_found_error", "There is no such audit entry", "Check the id."),
    "unreadable_secret": ErrorKind(
        500,
        "internal_server_error",
        "A stored secret cannot be read",
        "Put the named key back into `POINTSMAN_ENCRYPTION_KEYS`; `pointsman keys verify` lists what cannot be read.",
    ),
    "keyring_differs": ErrorKind(
        409,
        "invalid_request_error",
        "API and worker have different keyrings",
        "Give every process the same `POINTSMAN_ENCRYPTION_KEYS`, then ask again.",
    ),
    "not_found": ErrorKind(
        404, "not_found_error", "There is nothing here", "Check the path against the OpenAPI document."
    ),
    "method_not_allowed": ErrorKind(
        405, "invalid_request_error", "The method is not allowed here", "The `Allow` header names those that are."
    ),
    "idempotency_key_reused": ErrorKind(
        422,
        "invalid_request_error",
        "The idempotency key was used with another request",
        "Take a new key for a new request.",
    ),
    "webhook_refused": ErrorKind(
        422,
        "invalid_request_error",
        "The webhook URL is refused",
        "Use a public http(s) URL; an operator can allow networks with `POINTSMAN_WEBHOOK_ALLOW`.",
    ),
    "destination_refused": ErrorKind(
        422,
        "invalid_request_error",
        "The destination is refused",
        "Use a public http(s) URL; an admin may name others.",
    ),
    "webhook_not_found": ErrorKind(
        404, "not_found_error", "There is no such webhook endpoint", "`GET /webhooks` lists those that there are."
    ),
    "delivery_not_found": ErrorKind(
        404,
        "not_found_error",
        "There is no such delivery",
        "`GET /webhooks/{id}/deliveries` lists those that are kept.",
    ),
    "body_too_large": ErrorKind(
        413, "invalid_request_error", "The body is too large", "The limit is `POINTSMAN_MAX_BODY_BYTES`."
    ),
    "head_too_large": ErrorKind(
        431, "invalid_request_error", "The head of the request is too large", "Send fewer or shorter headers."
    ),
    "unsupported_media_type": ErrorKind(
        415, "invalid_request_error", "The body is not JSON", "Send `Content-Type: application/json`."
    ),
    "too_many_waiters": ErrorKind(
        429, "rate_limit_error", "Too many requests are waiting", "Poll the task, or try again after `Retry-After`."
    ),
    "unavailable": ErrorKind(
        503,
        "no_db_connection",
        "The database cannot be reached",
        "Try again after `Retry-After`; nothing was accepted.",
    ),
    "poisoned": ErrorKind(
        500, "internal_server_error", "The task broke off every time", "Find the task's id in the worker's log."
    ),
    "internal_error": ErrorKind(
        500, "internal_server_error", "Something went wrong inside", "Report the `request_id`; the log has the cause."
    ),
}


def body(problem: Problem, *, request_id: str | None = None, detail_object: bool = False) -> dict[str, Any]:
    """LiteLLM's error envelope with the members of RFC 9457 beside it.

    ``detail_object`` gives ``detail`` the form ``{"error": …}``, which clients of ``/model/info`` look into.
    """
    kind = CATALOGUE[problem.code]
    members: dict[str, Any] = {
        "error": {
            "message": problem.message,
            "type": kind.litellm_type,
            "param": problem.param,
            "code": str(kind.status),
        },
        "type": f"urn:pointsman:problem:{problem.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": {"error": problem.message} if detail_object else problem.message,
    }
    if problem.errors:
        members["errors"] = msgspec.to_builtins(problem.errors)
    if request_id is not None:
        members["request_id"] = request_id
    return members
