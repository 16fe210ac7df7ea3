"""Every route, what it is asked for, and who may: the matrix that ``test_access_matrix`` walks.

Rows say it in names of principals and not by the table of rights, which is what they test.
"""

from collections.abc import Callable
from typing import Any

import msgspec

Json = dict[str, Any]
Names = frozenset[str]

CREDENTIAL, IN_USE = "spare-credential", "shared-credential"
"""One that nothing needs, and that of all models."""


def names(*given: str) -> Names:
    return frozenset(given)


ADMIN = names("adam")
READERS = names("adam", "vera")
LEAD = names("ann")
"""Of team A, as an internal user; ``ivy`` is another admin of it, who may only look."""
INSIDE = names("ann", "mia", "ivy", "team key")
EVERYBODY = names("adam", "vera", "ann", "mia", "ivy", "uma", "team key", "ann elsewhere")
"""``uma`` is in no team; with ``ann elsewhere`` ann acts in another team only."""
VIEWERS = names("vera", "ivy")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Objects that belong together: of team A, of team B, of nobody, or that do not exist."""

    team: str
    model: str
    name: str
    """The public name of the model."""
    key: str
    user: str
    task: str
    entry: str
    credential: str = CREDENTIAL


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One route. Whoever is in ``may`` succeeds; of the others, whoever ``sees`` the object is refused with 403.

    To all others it is as if the object did not exist. The keys are those of the targets: ``a b none``.
    """

    method: str
    path: str
    body: Callable[[Target], Json | None] = lambda _: None
    query: Callable[[Target], Json] = lambda _: {}
    may: dict[str, Names]
    sees: dict[str, Names]
    status: int
    is_safe: bool
    """Changes nothing, or nothing that another request could miss."""
    is_one_command: bool
    """The object that is asked for is the one that the task is about."""

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


def _of_teams(a: Names, b: Names = READERS) -> dict[str, Names]:
    return {"a": a, "b": b}


def _alike(who: Names) -> dict[str, Names]:
    """Whatever it is asked for, which is nothing that belongs to anybody."""
    return {"none": who}


MODELS = {"a": INSIDE | READERS, "b": READERS, "none": EVERYBODY}
TEAMS = _of_teams(INSIDE | READERS)
KEYS = {"a": READERS | names("ann", "ivy", "mia"), "b": READERS, "none": READERS}
TASKS = {"a": READERS | names("mia"), "b": READERS, "none": READERS}
USERS = {"a": READERS | names("mia"), "b": READERS, "none": READERS}

BY_LEADS = {"a": ADMIN | LEAD, "b": ADMIN, "none": ADMIN}
BY_LEADS_OF_TEAMS = _of_teams(ADMIN | LEAD, ADMIN)
BY_ADMINS = {"a": ADMIN, "b": ADMIN, "none": ADMIN}
KEYS_BY_OWNERS = {"a": ADMIN | LEAD | names("mia"), "b": ADMIN, "none": ADMIN}


def _reads(
    path: str,
    sees: dict[str, Names],
    query: Callable[[Target], Json] = lambda _: {},
) -> Row:
    return Row(
        method="GET", path=path, query=query, may=sees, sees=sees, status=200, is_safe=True, is_one_command=False
    )


def _writes(
    path: str,
    body: Callable[[Target], Json | None],
    may: dict[str, Names],
    sees: dict[str, Names],
    *,
    method: str = "POST",
    status: int = 202,
) -> Row:
    is_one_command = status == 202 and not path.startswith("/tasks/")
    return Row(
        method=method,
        path=path,
        body=body,
        may=may,
        sees=sees,
        status=status,
        is_safe=False,
        is_one_command=is_one_command,
    )


def _new_model(target: Target) -> Json:
    info = {} if target.team == "" else {"team_id": target.team}
    return {"model_name": "fresh", "litellm_params": {"model": "openai/gpt"}, "model_info": info}


def _model(target: Target) -> Json:
    return {"id": target.model}


def _model_id(target: Target) -> Json:
    return {"model_id": target.model}


def _team(target: Target, **more: Any) -> Json:
    return {"team_id": target.team, **more}


def _key(target: Target) -> Json:
    return {"key": target.key}


def _changed_model(target: Target) -> Json:
    return {"model_info": {"id": target.model, "note": "x"}}


def _rollback(_: Target) -> Json:
    return {"version": 1}


def _nothing(_: Target) -> Json:
    return {}


MODEL_ROWS = [
    _writes("/model/new", _new_model, BY_LEADS, {"a": INSIDE | READERS, "b": READERS, "none": EVERYBODY}),
    _writes("/model/update", _changed_model, BY_LEADS, MODELS),
    _writes("/model/{model_id}/update", lambda _: {"model_info": {"note": "x"}}, BY_LEADS, MODELS, method="PATCH"),
    _writes("/model/delete", _model, BY_LEADS, MODELS),
    _writes("/model/block", _model_id, BY_ADMINS, MODELS),
    _writes("/model/unblock", _model_id, BY_ADMINS, MODELS),
    _writes("/model/{model_id}/rollback", _rollback, BY_ADMINS, MODELS),
    _reads("/model/{model_id}/history", MODELS),
    *(_reads(path, MODELS, lambda t: {"litellm_model_id": t.model}) for path in ("/model/info", "/v1/model/info")),
    *(_reads(path, MODELS) for path in ("/models/{name}", "/v1/models/{name}")),
    *(_reads(path, _alike(EVERYBODY)) for path in ("/models", "/v1/models")),
    _reads("/v2/model/info", _of_teams(INSIDE | READERS), lambda t: {"teamId": t.team}),
    _reads("/model_group/info", _alike(EVERYBODY)),
]

CREDENTIAL_ROWS = [
    _writes(
        "/credentials",
        lambda _: {"credential_name": "c-2", "credential_info": {}, "credential_values": {"api_key": "sk-x"}},
        _alike(ADMIN),
        _alike(READERS),
    ),
    _writes(
        "/credentials/{credential_name}",
        lambda _: {"credential_info": {"a": 1}},
        _alike(ADMIN),
        _alike(READERS),
        method="PATCH",
    ),
    _writes("/credentials/{credential_name}", lambda _: None, _alike(ADMIN), _alike(READERS), method="DELETE"),
    _reads("/credentials", _alike(READERS)),
    _reads("/credentials/{credential_name}", _alike(READERS)),
    _reads("/credentials/by_name/{credential_name}", _alike(READERS)),
    _reads("/credentials/by_model/{model_id}", BY_ADMINS | {"a": READERS, "b": READERS, "none": READERS}),
]

MEMBER = {"role": "user", "user_id": "newcomer"}
TEAM_ROWS = [
    _writes("/team/new", lambda _: {"team_alias": "new"}, _alike(ADMIN), _alike(EVERYBODY)),
    _writes("/team/update", lambda t: _team(t, team_alias="x"), BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/team/delete", lambda t: {"team_ids": [t.team]}, _of_teams(ADMIN, ADMIN), TEAMS),
    _writes("/team/block", _team, _of_teams(ADMIN, ADMIN), TEAMS),
    _writes("/team/unblock", _team, _of_teams(ADMIN, ADMIN), TEAMS),
    _writes("/team/member_add", lambda t: _team(t, member=MEMBER), BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/team/bulk_member_add", lambda t: _team(t, members=[MEMBER]), BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/team/member_update", lambda t: _team(t, user_id=t.user, role="admin"), BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/team/member_delete", lambda t: _team(t, user_id=t.user), BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/team/model/add", lambda t: _team(t, models=["gpt"]), BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/team/model/delete", lambda t: _team(t, models=["gpt"]), BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/team/permissions_update", lambda t: _team(t, team_member_permissions=[]), BY_LEADS_OF_TEAMS, TEAMS),
    _reads("/team/info", TEAMS, _team),
    _reads("/team/permissions_list", TEAMS, _team),
    *(_reads(path, _alike(EVERYBODY)) for path in ("/team/list", "/v2/team/list", "/team/available")),
]

FOR_ONESELF = ADMIN | names("ann", "mia", "uma")
KEY_ROWS = [
    _writes(
        "/key/generate",
        lambda t: {} if t.team == "" else {"team_id": t.team},
        {"a": ADMIN | LEAD, "b": ADMIN, "none": FOR_ONESELF},
        {"a": INSIDE | READERS, "b": READERS, "none": EVERYBODY},
    ),
    _writes("/key/service-account/generate", _team, BY_LEADS_OF_TEAMS, TEAMS),
    _writes("/key/update", lambda t: {"key": t.key, "tags": ["x"]}, KEYS_BY_OWNERS, KEYS),
    _writes("/key/delete", lambda t: {"keys": [t.key]}, KEYS_BY_OWNERS, KEYS),
    _writes("/key/block", _key, BY_LEADS, KEYS),
    _writes("/key/unblock", _key, BY_LEADS, KEYS),
    # Whoever regenerates a key holds it afterwards.
    *(
        _writes(path, body, BY_ADMINS | {"a": ADMIN | names("mia")}, KEYS)
        for path, body in (("/key/regenerate", _key), ("/key/{key}/regenerate", _nothing))
    ),
    _reads("/key/info", KEYS, _key),
    *(_reads(path, _alike(EVERYBODY)) for path in ("/key/list", "/key/aliases")),
]

USER_ROWS = [
    _writes("/user/new", lambda _: {"user_id": "fresh-user"}, _alike(ADMIN), _alike(EVERYBODY)),
    _writes("/user/update", lambda t: {"user_id": t.user, "user_alias": "x"}, BY_ADMINS, USERS),
    _writes("/user/delete", lambda t: {"user_ids": [t.user]}, BY_ADMINS, USERS),
    *(_reads(path, USERS, lambda t: {"user_id": t.user}) for path in ("/user/info", "/v2/user/info")),
    _reads("/user/list", _alike(EVERYBODY)),
]

OWN_TASKS = {"a": ADMIN | names("mia"), "b": ADMIN, "none": ADMIN}
TASK_ROWS = [
    _reads("/tasks/{task_id}", TASKS),
    _reads("/tasks/{task_id}/events", TASKS),
    _reads("/tasks", _alike(EVERYBODY)),
    _writes("/tasks/{task_id}/cancel", lambda _: None, OWN_TASKS, TASKS, status=200),
    # What it asks for is judged anew: mia may try it again as she may ask for it.
    _writes("/tasks/{task_id}/retry", lambda _: None, BY_ADMINS, TASKS),
    *(
        _writes(
            path, lambda _: {"operation": "model.create"}, _alike(EVERYBODY - VIEWERS), _alike(EVERYBODY), status=200
        )
        for path in ("/tasks/cancel", "/tasks/retry")
    ),
]

OTHER_ROWS = [
    _reads("/audit", _alike(READERS)),
    _reads("/audit/{entry_id}", {"a": READERS, "b": READERS, "none": READERS}),
    _reads("/webhooks/secret", _alike(EVERYBODY - VIEWERS)),
]

ROWS: list[Row] = [*MODEL_ROWS, *CREDENTIAL_ROWS, *TEAM_ROWS, *KEY_ROWS, *USER_ROWS, *TASK_ROWS, *OTHER_ROWS]

NEED_NO_KEY = {f"GET /health/{name}" for name in ("liveness", "liveliness", "readiness")}
