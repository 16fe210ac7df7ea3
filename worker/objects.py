"""Objects in and out of PostgreSQL, a statement or two for each type whatever the size of the batch."""

from collections import defaultdict
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection

from shared.domain import credentials as credential_domain
from shared.domain import keys as key_domain
from shared.domain import model_lists, team_models
from shared.domain import users as user_domain
from shared.domain import webhooks as webhook_domain
from shared.domain.decision import ObjectRef
from shared.domain.model_lists import GROUP_TYPE, Group
from shared.domain.models import OBJECT_TYPE, REVISION_TYPE, Model, revision_ref
from shared.store import credentials, destinations, keys, models, teams, users, webhooks
from shared.store.rows import packed
from worker.batch import Batch, Objects


def load(connection: Connection, to_change: Iterable[ObjectRef], touched: Iterable[ObjectRef]) -> Objects:
    """What the tasks change and what they only read, locked in one order; ``None`` where there is none yet."""
    own = set(to_change)
    objects: Objects = dict.fromkeys(sorted(own.union(touched)))
    for load_some in _LOADERS:
        load_some(connection, objects, own)
    return objects


def save(connection: Connection, batch: Batch, head_revision: int) -> None:
    """The last state of every object that changed, and each version that models went through."""
    for save_some in _SAVERS:
        save_some(connection, batch, head_revision)


def _ids(objects: Iterable[ObjectRef], object_type: str) -> list[str]:
    return [ref.object_id for ref in objects if ref.object_type == object_type]


def _name_belongings_of_users(connection: Connection, objects: Objects, own: set[ObjectRef]) -> None:
    """What goes with users that go. Whoever gives them more waits, or is waited for, in the users' lines."""
    user_ids = _ids(objects, user_domain.BELONGINGS_TYPE)
    if not user_ids:
        return
    found = [team_models.team_ref(row.team_id) for row in connection.execute(users.memberships(user_ids))]
    found += [key_domain.ref(row.token) for row in connection.execute(keys.of_users(user_ids))]
    own.update(found)
    objects.update(dict.fromkeys(found))


def _name_listings_of_groups(connection: Connection, objects: Objects, own: set[ObjectRef]) -> None:
    """What lists the names of models that are renamed. A model's name is its own task's to change, so it stays.

    The groups are locked, in one order, so that of two models that leave one of them the second sees that it is last.
    """
    wanted = {model_lists.model_and_new_name(ref.object_id): ref for ref in objects if ref.object_type == GROUP_TYPE}
    if not wanted:
        return
    names = {row.model_id: row for row in connection.execute(models.shown_names([model_id for model_id, _ in wanted]))}
    refs = {
        model_id: ref
        for (model_id, new_name), ref in wanted.items()
        if model_id in names and names[model_id].name != new_name
    }
    if not refs:
        return
    connection.execute(keys.lock_names([f"group/{names[one].team_id or ''}/{names[one].name}" for one in refs]))
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for row in connection.execute(models.on_whose_lists(list(refs))):
        found[row.model_id][row.kind].add(row.object_id)
    for model_id, ref in refs.items():
        of = found[model_id]
        objects[ref] = Group(others=frozenset(of["other"]), hidden_in=frozenset(of["hidden_in"]))
        listing = [ObjectRef(kind, object_id) for kind in ("team", "key", "user") for object_id in of[kind]]
        own.update(listing)
        for holder in listing:
            objects.setdefault(holder, None)


def _load_teams(connection: Connection, objects: Objects, own: set[ObjectRef]) -> None:
    """In one statement, so in one order: if one of them is to be changed, all are locked as if they were."""
    team_ids = _ids(objects, team_models.TEAM_TYPE)
    if team_ids:
        to_change = any(ref in own for ref in objects if ref.object_type == team_models.TEAM_TYPE)
        for row in connection.execute(teams.by_ids_locked(team_ids, to_change=to_change)):
            objects[team_models.team_ref(row.team_id)] = teams.from_row(row)


def _load_models(connection: Connection, objects: Objects, _own: set[ObjectRef]) -> None:
    """After the teams are locked: a model that came to a team meanwhile goes with it."""
    model_ids, team_ids = _ids(objects, OBJECT_TYPE), _ids(objects, team_models.BELONGINGS_TYPE)
    if team_ids:
        rows = connection.execute(models.of_teams_locked(), {"model_ids": model_ids, "team_ids": team_ids})
    elif model_ids:
        rows = connection.execute(models.by_ids_locked(), {"model_ids": model_ids})
    else:
        return
    for row in rows:
        objects[ObjectRef(OBJECT_TYPE, row.model_id)] = models.from_row(row)


def _load_team_names(connection: Connection, objects: Objects, _own: set[ObjectRef]) -> None:
    team_ids = _ids(objects, team_models.NAMES_TYPE)
    if not team_ids:
        return
    names: dict[str, dict[str, str]] = {team_id: {} for team_id in team_ids}
    for row in connection.execute(teams.own_names(team_ids)):
        names[row.team_id][row.model_id] = row.public_name
    objects.update({team_models.names_ref(team_id): found for team_id, found in names.items()})


def _load_keys(connection: Connection, objects: Objects, own: set[ObjectRef]) -> None:
    """Those that are named, and those of teams that go, or that somebody leaves."""
    team_ids = _ids(objects, team_models.BELONGINGS_TYPE) + _ids(objects, team_models.KEYS_TYPE)
    if team_ids:
        own = own.union(key_domain.ref(row.token) for row in connection.execute(keys.of_teams(team_ids)))
    tokens = sorted({*_ids(objects, key_domain.OBJECT_TYPE), *_ids(own, key_domain.OBJECT_TYPE)})
    if tokens:
        to_change = any(ref.object_type == key_domain.OBJECT_TYPE for ref in own)
        for row in connection.execute(keys.by_tokens_locked(tokens, to_change=to_change)):
            objects[key_domain.ref(row.token)] = keys.from_row(row)


def _load_users(connection: Connection, objects: Objects, own: set[ObjectRef]) -> None:
    user_ids = sorted(_ids(objects, user_domain.OBJECT_TYPE))
    if user_ids:
        to_change = any(ref.object_type == user_domain.OBJECT_TYPE for ref in own)
        for row in connection.execute(users.by_ids_locked(user_ids, to_change=to_change)):
            objects[user_domain.ref(row.user_id)] = users.from_row(row)


def _load_holders_of_names(connection: Connection, objects: Objects, _own: set[ObjectRef]) -> None:
    """Names are locked before they are looked for: two batches must not both find that one is free."""
    aliases, emails = _ids(objects, key_domain.ALIAS_TYPE), _ids(objects, user_domain.EMAIL_TYPE)
    if not aliases and not emails:
        return
    names = [*map(key_domain.alias_ref, aliases), *map(user_domain.email_ref, emails)]
    connection.execute(keys.lock_names([name.line for name in names]))
    holders: dict[ObjectRef, set[str]] = {name: set() for name in names}
    for row in connection.execute(keys.with_aliases(aliases)) if aliases else ():
        holders[key_domain.alias_ref(row.key_alias)].add(row.token)
    for row in connection.execute(users.with_emails(emails)) if emails else ():
        holders[user_domain.email_ref(row.email)].add(row.user_id)
    objects.update({name: frozenset(found) for name, found in holders.items()})


def _load_revisions(connection: Connection, objects: Objects, _own: set[ObjectRef]) -> None:
    """Also names the credentials of earlier versions, since a rollback needs them."""
    wanted = [_model_id_and_version(object_id) for object_id in _ids(objects, REVISION_TYPE)]
    if not wanted:
        return
    for row in connection.execute(models.last_with_versions(wanted)):
        model = None if row.state is None else msgspec.convert(row.state, Model)
        objects[revision_ref(row.model_id, row.version)] = model
        if model is not None and model.credential_name is not None:
            objects.setdefault(credential_domain.ref(model.credential_name), None)


def _load_credentials(connection: Connection, objects: Objects, own: set[ObjectRef]) -> None:
    for to_change in (True, False):
        names = sorted(
            ref.object_id
            for ref in objects
            if ref.object_type == credential_domain.OBJECT_TYPE and (ref in own) == to_change
        )
        if names:
            for row in connection.execute(credentials.by_names_locked(names, to_change=to_change)):
                objects[credential_domain.ref(row.credential_name)] = credentials.from_row(row)


def _load_credential_users(connection: Connection, objects: Objects, _own: set[ObjectRef]) -> None:
    """After the credentials are locked: a model that took one meanwhile is seen."""
    names = _ids(objects, credential_domain.USERS_TYPE)
    if not names:
        return
    users: defaultdict[str, set[str]] = defaultdict(set)
    for row in connection.execute(credentials.users(names)):
        users[row.credential_name].add(row.model_id)
    objects.update({credential_domain.users_ref(name): frozenset(users[name]) for name in names})


def _load_webhooks(connection: Connection, objects: Objects, _own: set[ObjectRef]) -> None:
    webhook_ids = _ids(objects, webhook_domain.OBJECT_TYPE)
    if webhook_ids:
        for row in connection.execute(webhooks.by_ids_locked(webhook_ids)):
            objects[webhook_domain.ref(row.webhook_id)] = webhooks.from_row(row)


def _save_models(connection: Connection, batch: Batch, head_revision: int) -> None:
    changed = batch.changed_of(OBJECT_TYPE)
    kept = [models.at_revision(model, head_revision + order) for model, order in changed.values() if model is not None]
    removed = [model_id for model_id, (model, _) in changed.items() if model is None]
    if kept:
        connection.execute(models.save(), packed(kept))
    if removed:
        connection.execute(models.remove(), {"model_ids": removed})
    if batch.revisions:
        revisions = [msgspec.structs.replace(row, revision=head_revision + row.revision) for row in batch.revisions]
        connection.execute(models.keep_revisions(), packed(revisions))


def _save_teams(connection: Connection, batch: Batch, head_revision: int) -> None:
    changed = batch.changed_of(team_models.TEAM_TYPE)
    kept = [teams.at_revision(state, head_revision + order) for state, order in changed.values() if state]
    removed = [team_id for team_id, (state, _) in changed.items() if state is None]
    if kept:
        connection.execute(teams.save(), packed(kept))
    if removed:
        connection.execute(teams.remove(removed))


def _save_keys(connection: Connection, batch: Batch, head_revision: int) -> None:
    changed = batch.changed_of(key_domain.OBJECT_TYPE)
    kept = [keys.at_revision(state, head_revision + order) for state, order in changed.values() if state]
    removed = [token for token, (state, _) in changed.items() if state is None]
    if removed:
        connection.execute(keys.remove(removed))
    if kept:
        connection.execute(keys.save(), packed(kept))


def _save_users(connection: Connection, batch: Batch, head_revision: int) -> None:
    changed = batch.changed_of(user_domain.OBJECT_TYPE)
    kept = [users.at_revision(state, head_revision + order) for state, order in changed.values() if state]
    removed = [user_id for user_id, (state, _) in changed.items() if state is None]
    if kept:
        connection.execute(users.save(), packed(kept))
    if removed:
        connection.execute(users.remove(removed))


def _save_credentials(connection: Connection, batch: Batch, head_revision: int) -> None:
    changed = batch.changed_of(credential_domain.OBJECT_TYPE)
    kept = [credentials.at_revision(state, head_revision + order) for state, order in changed.values() if state]
    removed = [name for name, (state, _) in changed.items() if state is None]
    if kept:
        connection.execute(credentials.save(), packed(kept))
    if removed:
        connection.execute(credentials.remove(removed))


def _save_webhooks(connection: Connection, batch: Batch, _head_revision: int) -> None:
    """The last state of every endpoint that changed. One that now leads elsewhere, or is on again, starts afresh."""
    changed = batch.changed_of(webhook_domain.OBJECT_TYPE)
    kept: list[webhook_domain.Webhook] = [webhook for webhook, _ in changed.values() if webhook is not None]
    removed = [webhook_id for webhook_id, (webhook, _) in changed.items() if webhook is None]
    if kept:
        connection.execute(webhooks.save(), packed(kept))
    if removed:
        connection.execute(webhooks.remove(removed))
    afresh = [
        webhook.webhook_id
        for webhook in kept
        if _is_afresh(batch.before(webhook_domain.ref(webhook.webhook_id)), webhook)
    ]
    if afresh:
        connection.execute(destinations.forget_failures([f"webhook:{webhook_id}" for webhook_id in afresh]))


def _is_afresh(before: webhook_domain.Webhook | None, after: webhook_domain.Webhook) -> bool:
    return before is not None and (before.url != after.url or (after.enabled and not before.enabled))


def _model_id_and_version(object_id: str) -> tuple[str, int]:
    version, _, model_id = object_id.partition("@")
    return model_id, int(version)


# A row for each type of object, or of list, that decisions look at. Locks are taken in this order in every transaction:
# team, model, credential, key, user, webhook, and by id inside one type. A loader finds its refs among the keys of
# ``objects`` and fills in their states; ``own`` are those to be locked against everybody, the others only against
# change. Lists come after what they are lists of, and may add the objects they name.
_LOADERS = (
    _name_listings_of_groups,
    _name_belongings_of_users,
    _load_teams,
    _load_models,
    _load_team_names,
    _load_revisions,
    _load_credentials,
    _load_credential_users,
    _load_keys,
    _load_users,
    _load_holders_of_names,
    _load_webhooks,
)
_SAVERS = (_save_teams, _save_models, _save_credentials, _save_keys, _save_users, _save_webhooks)
