"""Keeps programs running: starts them, restarts what dies, ends all in order."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli import EXIT_MISCONFIGURED
from cli.stack.interrupts import Interrupts
from cli.stack.processes import Process, Program
from cli.stack.register import Register

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 5.0
_STEADY_AFTER_S = 10.0
_POLL_S = 0.03
_LARGEST_LOG_BYTES = 10 * 1024 * 1024
_SHOWN_LINES = 15


class StartFailed(Exception):
    """The stack did not come up: says which part and shows the end of its log."""


class Interrupted(Exception):
    """Somebody asked for the end."""


@dataclass(slots=True)
class _Supervised:
    """A program, and its present run if it has one."""

    program: Program
    process: Process | None = None
    started_at: float = 0.0
    delay_s: float = 0.0
    due_at: float = 0.0
    deaths: int = 0
    exit_code: int | None = None


class Supervisor:
    """Programs are started in groups; the groups end in the reverse order of their start."""

    def __init__(self, logs: Path, register: Register, interrupts: Interrupts, say: Callable[[str], None]) -> None:
        self._logs = logs
        self._register = register
        self._interrupts = interrupts
        self._say = say
        self._groups: list[list[_Supervised]] = []

    def start(self, programs: Sequence[Program]) -> None:
        group = [_Supervised(program) for program in programs]
        self._groups.append(group)
        for supervised in group:
            self._run(supervised)
        self._record()

    def pid(self, name: str) -> int | None:
        """The present process of a program; None while it is down."""
        found = [one.process.pid for one in self._all() if one.process and one.program.name == name]
        return found[0] if found else None

    def run_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Tend the children until ``condition`` holds.

        Raises:
            StartFailed: it does not hold in time, or a child says that it never will.
            Interrupted: somebody asked for the end.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._tend()
            self._refuse_misconfigured()
            if time.monotonic() > deadline:
                raise StartFailed(self._explain(timeout_s))
            self._wait(_POLL_S)

    def run_once(self, program: Program, timeout_s: float) -> None:
        """Run a program to its end beside the others.

        Raises:
            StartFailed: it failed, or did not end in time.
            Interrupted: somebody asked for the end.
        """
        process = Process(program, self._log_of(program))
        try:
            self.run_until(lambda: process.exit_code() is not None, timeout_s)
        finally:
            process.kill()
        if process.exit_code() != 0:
            raise StartFailed(f"`{program.name}` failed.\n{self._tail(program)}")

    def run_forever(self, look: Callable[[], None], every_s: float) -> None:
        """Tend the children, and ``look`` now and then, until somebody asks for the end: raises ``Interrupted``."""
        look_at = time.monotonic() + every_s
        while True:
            self._tend()
            due = [one.due_at for one in self._all() if one.process is None]
            self._wait(max(0.0, min([look_at, *due]) - time.monotonic()))
            if time.monotonic() >= look_at:
                look()
                look_at = time.monotonic() + every_s

    def replace(self, name: str, why: str) -> None:
        """Kill a program that is alive and does not do its work; it starts again like any that died."""
        for one in self._all():
            if one.program.name == name and one.process:
                self._say(f"{name} {why}; it is ended")
                one.process.kill()

    def end(self) -> None:
        """End all children, the last started group first. Asking again meanwhile cuts the present group's grace."""
        while self._groups:
            _end_group([one.process for one in self._groups[-1] if one.process], self._interrupts)
            self._groups.pop()
        self._register.remove()

    def _all(self) -> list[_Supervised]:
        return [one for group in self._groups for one in group]

    def _run(self, one: _Supervised) -> None:
        log = self._log_of(one.program)
        if log.exists() and log.stat().st_size > _LARGEST_LOG_BYTES:
            log.rename(log.with_suffix(".log.1"))
        one.process = Process(one.program, log)
        one.started_at = time.monotonic()

    def _tend(self) -> None:
        """Notice deaths and start again what is due."""
        now = time.monotonic()
        changed = False
        for one in self._all():
            if one.process and (code := one.process.exit_code()) is not None:
                self._bury(one, code, now)
                changed = True
            if one.process is None and one.due_at <= now:
                self._run(one)
                changed = True
        if changed:
            self._record()

    def _bury(self, one: _Supervised, code: int, now: float) -> None:
        one.process = None
        one.exit_code = code
        one.deaths += 1
        one.delay_s = next_delay_s(one.delay_s, now - one.started_at)
        one.due_at = now + one.delay_s
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._say(f"{one.program.name} ended ({ending}); it starts again in {one.delay_s:g} s")

    def _wait(self, timeout_s: float | None) -> None:
        if not self._interrupts.asked:
            self._interrupts.wait(timeout_s)
        if self._interrupts.asked:
            raise Interrupted

    def _record(self) -> None:
        self._register.write([one.process for one in self._all() if one.process])

    def _refuse_misconfigured(self) -> None:
        for one in self._all():
            if one.exit_code == EXIT_MISCONFIGURED:
                raise StartFailed(f"`{one.program.name}` cannot start.\n{self._tail(one.program)}")

    def _explain(self, timeout_s: float) -> str:
        failing = [one for one in self._all() if one.deaths] or self._groups[-1]
        tails = "\n".join(f"{one.program.name}:\n{self._tail(one.program)}" for one in failing)
        return f"It was not ready within {timeout_s:g} s.\n{tails}"

    def _log_of(self, program: Program) -> Path:
        return self._logs / f"{program.name}.log"

    def _tail(self, program: Program) -> str:
        log = self._log_of(program)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:] if log.exists() else []
        return "\n".join([*(f"  {line}" for line in lines), f"All of it is in {log}"])


def next_delay_s(previous_s: float, lived_s: float) -> float:
    """How long to wait before the next start: doubles while a program keeps dying young."""
    if previous_s == 0 or lived_s >= _STEADY_AFTER_S:
        return _FIRST_DELAY_S
    return min(previous_s * 2, _LONGEST_DELAY_S)


def _end_group(processes: Sequence[Process], interrupts: Interrupts) -> None:
    for process in processes:
        process.stop()
    asked = interrupts.asked
    deadline = time.monotonic() + max((process.program.grace_s for process in processes), default=0.0)
    while any(process.exit_code() is None for process in processes):
        if time.monotonic() > deadline or interrupts.asked > asked:
            break
        interrupts.wait(_POLL_S)
    for process in processes:
        process.kill()
