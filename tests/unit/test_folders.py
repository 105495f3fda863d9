"""Where state and caches are unless a setting says it: in the user's folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.settings.folders import cache_folder, state_folder
from streams.settings.worker import Settings, read_settings


def test_the_folders_of_the_environment_are_taken() -> None:
    assert state_folder({"XDG_STATE_HOME": "/states"}) == Path("/states/tes")
    assert cache_folder({"XDG_CACHE_HOME": "/caches"}) == Path("/caches/tes")


@pytest.mark.parametrize("given", [{}, {"XDG_STATE_HOME": "", "XDG_CACHE_HOME": ""}, {"XDG_STATE_HOME": "relative"}])
def test_without_them_they_are_below_the_home_folder(given: dict[str, str]) -> None:
    assert state_folder(given) == Path.home() / ".local" / "state" / "tes"
    assert cache_folder(given) == Path.home() / ".cache" / "tes"


def test_a_setting_comes_before_the_user_s_folders(tmp_path: Path) -> None:
    assert cache_folder({"TES_CACHE_DIR": "jars", "XDG_CACHE_HOME": "/caches"}) == Path("jars")
    assert read_settings({"TES_CACHE_DIR": "jars"}).cache_dir == "jars"
    assert Settings(state_dir=str(tmp_path)).state_path == tmp_path / "tes"


def test_a_worker_keeps_its_state_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert Settings(app_id="other").state_path == tmp_path / "tes" / "other"
