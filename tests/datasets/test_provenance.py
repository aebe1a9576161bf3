import shutil
import subprocess

import pytest

from scoreda import __version__
from scoreda.datasets import provenance as module
from scoreda.datasets.provenance import commit, derived, provenance, source

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]


@pytest.fixture
def checkout(tmp_path):
    """A repository of one commit; the commit is asked for anew."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    (tmp_path / "file").write_text("a")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*GIT, *words], cwd=tmp_path, check=True)
    yield tmp_path
    commit.cache_clear()


def test_that_a_checkout_names_its_commit_and_whether_files_have_changed(checkout):
    head = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout
    found = commit(checkout)
    assert len(found) >= 7 and head.startswith(found)
    (checkout / "file").write_text("b")
    assert commit(checkout) == found  # a process runs what it has loaded
    commit.cache_clear()
    assert commit(checkout) == f"{found}-dirty"


def test_that_what_is_no_checkout_has_no_commit(checkout):
    (checkout / "site-packages").mkdir()
    assert commit(checkout / "site-packages") == ""


@pytest.mark.parametrize("break_git", ["absent", "slow", "refuses"])
def test_that_a_git_that_does_not_tell_is_no_error(checkout, monkeypatch, break_git):
    if break_git == "absent":
        monkeypatch.setenv("PATH", "")
    elif break_git == "slow":
        monkeypatch.setattr(module, "TIMEOUT", 0)
    else:
        shutil.rmtree(checkout / ".git/objects")
    assert commit(checkout) == ""


def test_that_files_name_the_commit_where_there_is_one(monkeypatch):
    monkeypatch.setattr(module, "commit", lambda: "abc1234-dirty")
    assert provenance("a title", 1)["source"] == f"scoreda {__version__}, commit abc1234-dirty"
    assert derived({}, "a title")["source"] == f"scoreda {__version__}, commit abc1234-dirty"
    monkeypatch.setattr(module, "commit", lambda: "")
    assert source() == f"scoreda {__version__}"
