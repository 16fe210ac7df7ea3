"""``/key``: making, changing and removing virtual keys (contract 1.9)."""

import secrets
from typing import Any

import msgspec
from litestar import Request, Response, Router, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.headers import expecting
from api.openapi import change, submission
from api.reads import Reads
from api.routes.bodies import json_body
from api.shown_once import shown_once
from api.submission import Asked, Submitter
from shared.contract import keys as contract
from shared.contract.keys import KeyChange, KeyNamed, KeyRegeneration, KeyRow, KeysDeleted, KeysToDelete, NewKey
from shared.contract.open_bodies import Open
from shared.domain.key_text import RANDOM_BYTES, new_key, token_named
from shared.domain.keys import BlockKey, UnblockKey, UpdateKey
from shared.domain.problems import FieldError, InvalidRequest, KeyNotFound
from shared.domain.rights import Principal, authorise
from shared.store import keys

_Request = Request[Principal, Any, Any]
_Submitter = NamedDependency[Submitter]
_TAGS = ["keys"]
_OF_NEW = ("key_exists", "key_alias_taken", "unknown_team", "beyond_own_rights")
_OF_CHANGE = ("key_not_found", "key_alias_taken", "unknown_team", "beyond_own_rights")


def draw_key() -> str:
    return new_key(secrets.token_bytes(RANDOM_BYTES))


@post(
    "/key/generate",
    opt={"operation": "key.create"},
    status_code=202,
    operation_class=submission(NewKey, KeyRow, _OF_NEW),
    summary="Make a key",
    tags=_TAGS,
)
async def generate_key(request: _Request, submitter: _Submitter) -> Response[Any]:
    """The answer, whether 200 or 202, holds the `key`: it is shown this once and never again.

    Whoever is no proxy admin makes keys for himself and, as an admin of a team, for the team; never with more rights
    than the key in use has.
    """
    body = contract.decode_new(await json_body(request))
    if not body.named.user_id and request.user.is_user and request.user.role != "proxy_admin":
        body = _owned_by(body, request.user.user_id)
    return await _make(request, submitter, body)


@post(
    "/key/service-account/generate",
    opt={"operation": "key.create"},
    status_code=202,
    operation_class=submission(NewKey, KeyRow, _OF_NEW),
    summary="Make a key of a team",
    tags=_TAGS,
)
async def generate_service_key(request: _Request, submitter: _Submitter) -> Response[Any]:
    """A key that belongs to a team and to no user, so that it stays when people go."""
    body = contract.decode_new(await json_body(request))
    if not body.named.team_id:
        raise InvalidRequest(FieldError("team_id", "is required"))
    return await _make(request, submitter, _owned_by(body, None))


@post(
    "/key/update",
    opt={"operation": "key.update"},
    status_code=202,
    operation_class=change(KeyChange, KeyRow, _OF_CHANGE),
    summary="Change a key",
    tags=_TAGS,
)
async def update_key(request: _Request, submitter: _Submitter) -> Response[Any]:
    """Changes what is named, and nothing else. The key is named by itself or by its hash."""
    body = contract.decode_change(await json_body(request))
    command = UpdateKey(token=token_named(body.named.key), fields=contract.to_fields(body))
    return await submitter.submit_change(request, "key.update", command)


@post(
    "/key/delete",
    opt={"operation": "key.delete"},
    status_code=202,
    operation_class=change(KeysToDelete, KeysDeleted, ("key_not_found",)),
    summary="Remove keys",
    tags=_TAGS,
)
async def delete_keys(request: _Request, submitter: _Submitter, reads: NamedDependency[Reads]) -> Response[Any]:
    """By themselves, their hashes or their aliases: all of them or, if one is missing, none."""
    authorise(request.user, "key.delete")
    body = contract.decode_deletion(await json_body(request))
    tokens = [token_named(key) for key in body.keys or ()]
    if body.key_aliases:
        tokens += await _tokens_of(reads, list(body.key_aliases))
    command = contract.to_delete(tokens)
    return await submitter.submit_change(request, "key.delete", command, len(command.tokens))


@post(
    "/key/block",
    opt={"operation": "key.block"},
    status_code=202,
    operation_class=change(KeyNamed, KeyRow, ("key_not_found",)),
    summary="Block a key",
    tags=_TAGS,
)
async def block_key(request: _Request, submitter: _Submitter) -> Response[Any]:
    """Whoever uses it is refused within two seconds, and so is what it has queued."""
    body = contract.decode_named(await json_body(request))
    command = BlockKey(token=token_named(body.key))
    return await submitter.submit_change(request, "key.block", command)


@post(
    "/key/unblock",
    opt={"operation": "key.unblock"},
    status_code=202,
    operation_class=change(KeyNamed, KeyRow, ("key_not_found",)),
    summary="Unblock a key",
    tags=_TAGS,
)
async def unblock_key(request: _Request, submitter: _Submitter) -> Response[Any]:
    body = contract.decode_named(await json_body(request))
    command = UnblockKey(token=token_named(body.key))
    return await submitter.submit_change(request, "key.unblock", command)


@post(
    "/key/regenerate",
    opt={"operation": "key.regenerate"},
    status_code=202,
    operation_class=change(KeyRegeneration, KeyRow, ("key_exists", *_OF_CHANGE)),
    summary="Replace a key",
    tags=_TAGS,
)
async def regenerate_key(request: _Request, submitter: _Submitter) -> Response[Any]:
    """The answer holds the new `key`, this once. With `grace_period` the old one is accepted until `revoke_at`."""
    body = contract.decode_regeneration(await json_body(request))
    if not body.named.key:
        raise InvalidRequest(FieldError("key", "is required"))
    return await _regenerate(request, submitter, body, body.named.key)


@post(
    "/key/{key:str}/regenerate",
    opt={"operation": "key.regenerate"},
    status_code=202,
    operation_class=change(KeyRegeneration, KeyRow, ("key_exists", *_OF_CHANGE)),
    summary="Replace the key that the path names",
    tags=_TAGS,
)
async def regenerate_key_of_path(request: _Request, key: FromPath[str], submitter: _Submitter) -> Response[Any]:
    """As `POST /key/regenerate`. Better name the key by its hash: paths are written into logs on the way."""
    body = contract.decode_regeneration(await json_body(request))
    return await _regenerate(request, submitter, body, key)


async def _make(request: _Request, submitter: Submitter, body: Open[NewKey]) -> Response[Any]:
    key = body.named.key or draw_key()
    command = contract.to_create(body, key)
    asked = Asked(operation="key.create", command=command, body=body, names_object=body.named.key is not None)
    return shown_once(await submitter.submit(request, asked), key=key)


async def _regenerate(
    request: _Request, submitter: Submitter, body: Open[KeyRegeneration], named: str
) -> Response[Any]:
    key = body.named.new_key or draw_key()
    command = expecting(request, contract.to_regenerate(body, token_named(named), key))
    recognised_by = (command.token, body, command.if_match)
    asked = Asked(operation="key.regenerate", command=command, body=recognised_by, names_object=True)
    return shown_once(await submitter.submit(request, asked), key=key)


async def _tokens_of(reads: Reads, aliases: list[str]) -> list[str]:
    """Raises KeyNotFound."""
    tokens = {row.key_alias: row.token for row in await reads.rows(keys.with_aliases(aliases))}
    if len(tokens) < len(set(aliases)):
        raise KeyNotFound
    return [tokens[alias] for alias in aliases]


def _owned_by(body: Open[NewKey], user_id: str | None) -> Open[NewKey]:
    return Open(msgspec.structs.replace(body.named, user_id=user_id), body.others)


router = Router(
    "/",
    route_handlers=[
        generate_key,
        generate_service_key,
        update_key,
        delete_keys,
        block_key,
        unblock_key,
        regenerate_key,
        regenerate_key_of_path,
    ],
)
