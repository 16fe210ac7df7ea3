"""Signals as a condition to wait for: the supervisor's loop sleeps until one comes."""

import contextlib
import os
import select
import signal
from types import FrameType, TracebackType
from typing import Any, Self

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """INT, TERM and HUP ask for the end and are counted; the death of a child only wakes."""

    def __init__(self) -> None:
        self.asked = 0
        self._previous: dict[signal.Signals, Any] = {}
        self._read, self._write = -1, -1

    def __enter__(self) -> Self:
        self._read, self._write = _pipe()
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _ENDING:
            # Under nohup HUP is ignored, and shall stay so.
            if number is not signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._ask)
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _wake)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, timeout_s: float | None) -> None:
        """Sleep until a signal comes or the time is over."""
        select.select([self._read], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked += 1


def _wake(_number: int, _frame: FrameType | None) -> None:
    """The byte in the pipe is all that is wanted."""


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends
