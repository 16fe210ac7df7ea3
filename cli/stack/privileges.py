"""PostgreSQL refuses to run as root. This runs it as somebody else, without opening any folder to anybody."""

import os
import pwd
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from shared.runtime.settings import Misconfigured

# The bits of CAP_DAC_READ_SEARCH and CAP_DAC_OVERRIDE. The first lets its holder pass and read folders that are closed
# to it, the second also write; containers usually grant only the second.
_PASSAGES = ((2, "dac_read_search"), (1, "dac_override"))


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom a server runs as."""

    uid: int
    gid: int

    def take(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


def server_owner(data: Path) -> Owner | None:
    """None to run as the present user, which is right for everybody but root.

    For root it is the owner of data that exist, so that a folder made by a plain user can be used, else ``nobody``.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and (status := data.stat()).st_uid != 0:
        return Owner(status.st_uid, status.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise Misconfigured(_advice("there is no user `nobody` to run it")) from None
    return Owner(nobody.pw_uid, nobody.pw_gid)


def as_owner(owner: Owner | None, argv: Sequence[str], death_signal: signal.Signals) -> tuple[str, ...]:
    """The command that runs ``argv`` as ``owner``.

    The folders above the binaries and the data may be closed to that user (a checkout in a private folder, a virtual
    environment under /root), so it gets one ambient capability, to pass them, and loses all others for good. Without
    ``no_setuid_fixup`` the kernel ignores the capability in access(2), which PostgreSQL calls on its own binary.
    A change of user clears the parent's death signal, so it is asked for again.
    """
    if owner is None:
        return tuple(argv)
    setpriv = which("setpriv")
    if setpriv is None:
        raise Misconfigured(
            _advice("`setpriv` (package util-linux), which would run it as another user, is not installed")
        )
    passage = _passage()
    return (
        setpriv,
        f"--reuid={owner.uid}",
        f"--regid={owner.gid}",
        "--clear-groups",
        f"--inh-caps=+{passage}",
        f"--ambient-caps=+{passage}",
        f"--bounding-set=-all,+{passage}",
        "--securebits=+no_setuid_fixup",
        "--no-new-privs",
        f"--pdeathsig={death_signal.name.removeprefix('SIG')}",
        "--",
        *argv,
    )


def _passage() -> str:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^CapPrm:\s*([0-9a-f]+)$", status, re.MULTILINE)
    permitted = int(found[1], 16) if found else 0
    for bit, name in _PASSAGES:
        if permitted >> bit & 1:
            return name
    raise Misconfigured(_advice("this root has neither CAP_DAC_READ_SEARCH nor CAP_DAC_OVERRIDE"))


def _advice(reason: str) -> str:
    return (
        f"PostgreSQL does not run as root, and {reason}. Run `pointsman up` as a plain user (with a --data-dir of its "
        "own), or name a PostgreSQL server in POINTSMAN_DATABASE_URL."
    )
