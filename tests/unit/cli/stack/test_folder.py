import base64
import stat
from pathlib import Path

import pytest

from cli.stack.folder import Folder
from shared.runtime.settings import Misconfigured


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    with Folder(tmp_path / "deep" / "data") as folder:
        assert _mode(folder.path) == 0o700


def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with Folder(tmp_path) as folder:
        assert _mode(folder.path) == 0o700


def test_keys_are_made_once_and_are_private(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        first = folder.keys({})
    with Folder(tmp_path) as folder:
        second = folder.keys({})
    assert first == second
    assert {_mode(tmp_path / name) for name in ("master_key", "encryption_keys")} == {0o600}


def test_two_folders_have_different_keys(tmp_path: Path) -> None:
    with Folder(tmp_path / "a") as a, Folder(tmp_path / "b") as b:
        assert not set(a.keys({}).values()) & set(b.keys({}).values())


def test_keys_have_the_form_that_the_settings_want(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        keys = folder.keys({})
    assert keys["POINTSMAN_MASTER_KEY"].startswith("sk-")
    assert len(keys["POINTSMAN_MASTER_KEY"]) == 46
    key_id, _, key = keys["POINTSMAN_ENCRYPTION_KEYS"].partition(":")
    assert key_id == "k1"
    assert len(base64.b64decode(key, validate=True)) == 32


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_a_key_of_the_environment_wins_and_is_not_kept(tmp_path: Path, suffix: str) -> None:
    with Folder(tmp_path) as folder:
        keys = folder.keys({f"POINTSMAN_MASTER_KEY{suffix}": "sk-from-the-environment"})
    assert list(keys) == ["POINTSMAN_ENCRYPTION_KEYS"]
    assert not (tmp_path / "master_key").exists()


def test_a_folder_in_use_is_refused_and_its_holder_named(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        holder = (folder.path / "lock").read_text().strip()
        with (
            pytest.raises(Misconfigured, match=f"in use by another `pointsman up` .process {holder}."),
            Folder(tmp_path),
        ):
            pass


def test_a_folder_that_was_left_can_be_taken_again(tmp_path: Path) -> None:
    with Folder(tmp_path):
        pass
    with Folder(tmp_path) as folder:
        assert folder.path == tmp_path


def test_a_folder_full_of_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(Misconfigured, match="holds other things"), Folder(tmp_path):
        pass
    assert _mode(tmp_path) == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="--data-dir"), Folder(tmp_path / "file" / "data"):
        pass
