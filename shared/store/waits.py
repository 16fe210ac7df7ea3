"""Parts of the statement that claims tasks: what of other lines a task waits for."""

from sqlalchemy import ARRAY, ColumnElement, FromClause, Text, exists, func, literal, or_, select

from shared.store.tables import api_key, model, model_revision


def may_change_use_of_credential(
    deletion: FromClause, other: FromClause, is_open: ColumnElement[bool], is_earlier: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Whether a model that uses the credential, or used it in a version that is to come back, has an earlier task.

    Or its team one that ends it.
    """
    is_user = model.c.credential_name == deletion.c.object_id
    users = select(literal("model/") + model.c.model_id).where(is_user)
    its_team = literal("team/") + model.c.team_id
    ends = or_(other.c.line == its_team, its_team == func.any(other.c.needs))
    goes = exists().where(is_user, ends).correlate(deletion, other)
    is_rollback = other.c.operation == "model.rollback"
    return or_(
        exists().where(is_open, is_earlier, other.c.line.in_(users.correlate(deletion))),
        exists().where(is_open, is_earlier, other.c.operation == "team.delete", goes),
        exists().where(is_open, is_earlier, is_rollback, ever_used(other, deletion)),
    )


def has_belongings_with_tasks(
    deletion: FromClause, other: FromClause, is_open: ColumnElement[bool], is_earlier: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Whether a model or a key of the teams that are to be deleted has an earlier task.

    Index: ix_model_team_id, ix_api_key_team_id.
    """
    need = func.unnest(deletion.c.needs).column_valued("need")
    others = func.array(select(func.substr(need, len("team/") + 1)).scalar_subquery(), type_=ARRAY(Text))
    team_ids = func.array_append(others, deletion.c.object_id, type_=ARRAY(Text))
    return or_(
        *(
            exists().where(
                is_open, is_earlier, owned.c.team_id == func.any(team_ids), other.c.line == literal(kind) + owned.c[key]
            )
            for kind, owned, key in (("model/", model, "model_id"), ("key/", api_key, "token"))
        )
    )


def ever_used(of_model: FromClause, of_credential: FromClause) -> ColumnElement[bool]:
    """Whether any version of the one task's model used the other's credential. Index: the revisions' primary key."""
    used = exists().where(
        model_revision.c.model_id == of_model.c.object_id,
        model_revision.c.state["credential_name"].astext == of_credential.c.object_id,
    )
    return used.correlate(of_model, of_credential)
