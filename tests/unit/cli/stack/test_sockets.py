import os
import stat
from pathlib import Path

import pytest

from cli.stack.sockets import Sockets, sockets_of
from shared.runtime.settings import Misconfigured

_LONG = Path("/data") / ("x" * 100)


def _longest(sockets: Sockets) -> int:
    return max(len(os.fsencode(path)) for path in (sockets.postgres / ".s.PGSQL.5432", sockets.valkey))


def test_sockets_lie_in_the_data_folder() -> None:
    assert sockets_of(Path("/srv/pointsman")).folder == Path("/srv/pointsman/run")


@pytest.mark.parametrize("length", range(60, 110))
def test_no_socket_path_is_longer_than_the_kernel_allows(length: int) -> None:
    assert _longest(sockets_of(Path("/") / ("x" * length), Path("/tmp"))) <= 107


def test_length_is_counted_in_bytes() -> None:
    assert sockets_of(Path("/") / ("ä" * 50), Path("/tmp")).folder.parent == Path("/tmp")


def test_a_data_folder_keeps_its_sockets_place_and_shares_it_with_no_other() -> None:
    temporary = Path("/tmp")
    assert sockets_of(_LONG, temporary) == sockets_of(_LONG, temporary)
    assert sockets_of(_LONG, temporary) != sockets_of(_LONG / "other", temporary)


def test_a_folder_for_temporary_files_that_is_too_deep_is_not_used() -> None:
    assert sockets_of(_LONG, _LONG).folder.parent == Path("/tmp")


def test_folders_are_private_and_go_away(tmp_path: Path) -> None:
    sockets = Sockets(tmp_path / "run")
    sockets.prepare()
    sockets.valkey.touch()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (sockets.folder, sockets.postgres)} == {0o700}
    sockets.remove()
    assert not sockets.folder.exists()


def test_what_an_earlier_run_left_is_no_obstacle(tmp_path: Path) -> None:
    sockets = Sockets(tmp_path / "run")
    sockets.prepare()
    sockets.prepare()
    assert sockets.postgres.is_dir()


def test_an_open_folder_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)
    with pytest.raises(Misconfigured, match="private folder"):
        Sockets(tmp_path / "run").prepare()


def test_a_link_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured, match="private folder"):
        Sockets(tmp_path / "run").prepare()
