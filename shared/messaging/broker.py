"""The Celery configuration; the why of each setting is in docs/running.md."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from celery import Celery
from kombu.entity import Queue

HARD_LIMIT_S = 60
SOFT_LIMIT_S = 45
PURGE_EVERY_S = 60.0
VISIBILITY_TIMEOUT_S = 3 * HARD_LIMIT_S

APPLY_QUEUE = "pointsman.apply"
DELIVER_QUEUE = "pointsman.deliver"


def celery_app(redis_url: str, *, sweep_interval_s: float = 2.0, heads_interval_s: float | None = None) -> Celery:
    """The application that the API rings with, workers serve and the schedule drives. Connects to nothing yet."""
    app = Celery("pointsman", set_as_current=False)
    app.conf.update(_settings(redis_url, sweep_interval_s))
    if heads_interval_s is not None:
        app.conf.beat_schedule["heads"] = _every(heads_interval_s, "pointsman.heads", DELIVER_QUEUE)
    return app


def _settings(redis_url: str, sweep_interval_s: float) -> dict[str, Any]:
    return {
        "broker_url": broker_url(redis_url),
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "broker_pool_acquire_timeout": 2,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 2,
        # The message is a doorbell: the row holds the work, so nothing waits for an acknowledgement of a result.
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure_or_timeout": True,
        "task_publish_retry": False,
        "task_soft_time_limit": SOFT_LIMIT_S,
        "task_time_limit": HARD_LIMIT_S,
        "task_default_queue": APPLY_QUEUE,
        "task_queues": [Queue(APPLY_QUEUE), Queue(DELIVER_QUEUE)],
        "task_create_missing_queues": False,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_soft_shutdown_timeout": 10,
        "worker_enable_soft_shutdown_on_idle": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": min(sweep_interval_s, 5),
        "beat_schedule": {
            "sweep": _every(sweep_interval_s, "pointsman.sweep", APPLY_QUEUE),
            "purge": _every(PURGE_EVERY_S, "pointsman.purge", APPLY_QUEUE),
        },
    }


def _every(interval_s: float, task_name: str, queue_name: str) -> dict[str, Any]:
    # One that waited longer is of no use: the next one does the same.
    options = {"queue": queue_name, "expires": max(interval_s, 5)}
    return {"task": task_name, "schedule": interval_s, "options": options}


def broker_url(redis_url: str) -> str:
    """kombu spells a Unix socket ``redis+socket:///path?virtual_host=0``."""
    parts = urlsplit(redis_url)
    if parts.scheme != "unix":
        return redis_url
    database = dict(parse_qsl(parts.query)).get("db", "0")
    return f"redis+socket://{parts.path}?virtual_host={database}"
