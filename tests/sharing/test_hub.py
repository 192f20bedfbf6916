"""Bundles on the hub: what is pushed is pulled, each answer has its sentence, and no token is written anywhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import limits
from backend.__main__ import BAD_INPUT, DONE, FAILED, main
from backend.errors import BadInput, Cancelled, StoreError
from backend.kinds import Evaluation, HeadImportance
from backend.sharing import hub as sharing
from backend.sharing.hub import Address
from backend.store import bundles
from backend.store.live import Store
from tests.pages import made_up
from tests.sharing.stub import TOKEN, Hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the hub's client, to itself
ROOT = Path(__file__).parents[2]
INFO = made_up.model_info(2, 3, name="small")
MODEL = made_up.model_id(INFO)
REPO = "someone/results"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "here") as opened:
        setups = made_up.setups(MODEL, ["antonym", "plural"], (0, 5))
        made_up.fill(opened, [*map(Evaluation, setups), *map(made_up.importance, setups[2:])], INFO)
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "there") as opened:
        yield opened


def pushed(store: Store, repo: str = REPO, private: bool = False, **more: str) -> sharing.Pushed:
    address = Address.parse(repo)
    return sharing.push(sharing.pack(store, store.units(), address, **more), address, private)


def bundle(store: Store) -> bytes:
    return sharing.pack(store, store.units(), Address.parse(REPO)).content


# --- there and back -------------------------------------------------------------------------------


def test_what_is_pushed_is_what_is_pulled(hub: Hub, store: Store, other: Store, scratch: Path):
    done = pushed(store)
    assert done.url == f"{hub.url}/datasets/{REPO}"
    assert set(hub.repositories[REPO].commits[-1][1]) == {sharing.FILE, "README.md"}
    assert len(hub.repositories[REPO].commits) == 1, "the bundle and its card come in one commit"
    seen: list[tuple[int, int]] = []
    with sharing.pulled(Address.parse(REPO), other, lambda *at: seen.append(at)) as contents:
        assert other.units() == []
        assert set(contents.new) == set(store.units())
        bundles.take_in(contents, other)
    assert other.units() == store.units()
    assert all(other.get(unit) == store.get(unit) for unit in store.units())
    n_bytes = len(hub.repositories[REPO].commits[-1][1][sharing.FILE])
    assert seen[-1] == (n_bytes, n_bytes)
    assert list(scratch.iterdir()) == []


def test_the_same_results_pushed_again_leave_what_is_there(hub: Hub, store: Store):
    pushed(store)
    first = hub.repositories[REPO].commits[-1][1]
    pushed(store)
    assert hub.repositories[REPO].commits[-1][1] == first


def test_an_earlier_commit_can_be_pulled(hub: Hub, store: Store, other: Store):
    first = pushed(store).commit
    extra = Evaluation(made_up.setup(MODEL, "capital"))
    made_up.fill(store, [extra], INFO)
    pushed(store)
    with sharing.pulled(Address.parse(REPO, first), other) as contents:
        assert extra not in contents.new
    with sharing.pulled(Address.parse(f"https://huggingface.co/datasets/{REPO}/tree/main"), other) as contents:
        assert extra in contents.new
    with pytest.raises(BadInput, match="no such revision"):
        sharing.look(Address.parse(REPO, "v2"))


def test_the_shapes_of_models_go_along_whatever_is_chosen(hub: Hub, store: Store, other: Store):
    address = Address.parse(REPO)
    sharing.push(sharing.pack(store, store.units("head_importance"), address), address)
    with sharing.pulled(address, other) as contents:
        assert {unit.KIND for unit in contents.new} == {"head_importance", "model"}


def test_a_private_repository_stays_private_and_a_public_one_is_not_mistaken_for_one(hub: Hub, store: Store):
    pushed(store, private=True)
    assert hub.repositories[REPO].private
    pushed(store, private=True)
    hub.made("someone/open", {"notes.txt": b"hello"})
    with pytest.raises(BadInput, match="is public already"):
        pushed(store, "someone/open", private=True)


def test_somebody_s_own_readme_is_not_written_over(hub: Hub, store: Store):
    hub.made(REPO, {"README.md": b"# My life's work"})
    with pytest.raises(BadInput, match=r"README\.md that Headroom did not write"):
        pushed(store)
    assert hub.repositories[REPO].commits[-1][1] == {"README.md": b"# My life's work"}


def test_of_several_bundles_one_is_named(hub: Hub, store: Store, other: Store):
    pushed(store, f"{REPO}/first.zip")
    pushed(store, f"{REPO}/second.zip")
    with pytest.raises(BadInput, match=f"holds 2 bundles. Name one of: {REPO}/first.zip, {REPO}/second.zip"):
        sharing.look(Address.parse(REPO))
    with pytest.raises(BadInput, match=r"has no bundle 'third\.zip'. It has: "):
        sharing.look(Address.parse(f"{REPO}/third.zip"))
    with sharing.pulled(Address.parse(f"{REPO}/second.zip"), other) as contents:
        assert len(contents.new) == len(store.units())


@pytest.mark.parametrize(("text", "read"), [
    ("someone/results", Address("someone/results")),
    (" someone/results/ ", Address("someone/results")),
    ("datasets/some.one/re_sults-1", Address("some.one/re_sults-1")),
    ("hf://datasets/someone/results", Address("someone/results")),
    ("https://huggingface.co/datasets/someone/results/tree/v1", Address("someone/results", "", "v1")),
    ("https://huggingface.co/datasets/someone/results/blob/main/all.zip",
     Address("someone/results", "all.zip", "main")),
    ("someone/results/sub/all.zip", Address("someone/results", "sub/all.zip")),
])
def test_an_address_is_read_as_people_have_it(text: str, read: Address):
    assert Address.parse(text) == read


@pytest.mark.parametrize("text", ["", "results", "someone/", "../etc/passwd", "someone/results/../../x.zip",
                                  "a/b/c.bin", "https://example.org/datasets/someone/results", "someone/re sults",
                                  "a/b//c.zip", "https://huggingface.co/someone/model-not-dataset", "a--b/c",
                                  "someone/results?x=1"])
def test_what_is_no_address_is_refused(text: str):
    with pytest.raises(BadInput, match="no dataset repository of the hub"):
        Address.parse(text)


# --- what the hub answers -------------------------------------------------------------------------

ANSWERS = {
    "401": (r"status 401\. It asks who you are", FAILED),
    "403": (r"status 403\. You may not read it", FAILED),
    "404": (r"status 404\. It has nothing of that name", BAD_INPUT),
    "429": (r"status 429\. It has been asked too often", FAILED),
    "500": (r"status 500\. The fault is the hub's own", FAILED),
    "503": (r"status 503\. The fault is the hub's own", FAILED),
    "html": (r"something else than data\). Check HF_ENDPOINT", FAILED),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_answer_of_the_hub_has_its_own_sentence(hub: Hub, store: Store, tmp_path: Path, capsys, answer: str):
    repo, (sentence, code) = f"someone/answers-{answer}", ANSWERS[answer]
    assert main(["pull", repo, "--store", str(tmp_path / "there"), "--no-shipped"]) == code
    said = capsys.readouterr().err
    assert re.search(sentence, said)
    assert f"'{repo}' cannot be fetched" in said
    assert main(["push", repo, "--store", str(store.folder), "--no-shipped"]) == code
    said = capsys.readouterr().err
    assert re.search(sentence.replace("You may not read it", "Your token may not write there"), said)
    assert f"'{repo}' cannot be written" in said
    assert "reached" not in said
    assert TOKEN not in said


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("status", [403, 429, 500])
def test_an_upload_that_is_refused_halfway_changes_nothing(hub: Hub, store: Store, method: str, status: int):
    before = hub.made(REPO, {sharing.FILE: b"earlier"}).commits[-1]
    hub.closed = method, status
    with pytest.raises(StoreError, match=f"cannot be written: the hub answered with status {status}"):
        pushed(store)
    assert hub.repositories[REPO].commits == [before]


@pytest.mark.parametrize("status", [403, 500])
def test_a_file_that_is_refused_is_said_to_be(hub: Hub, store: Store, other: Store, scratch: Path, status: int):
    pushed(store)
    found = sharing.look(Address.parse(REPO))
    hub.closed = "GET", status
    with pytest.raises(StoreError, match=f"'{REPO}/{sharing.FILE}' cannot be fetched.*{status}"):
        sharing.download(found, scratch)
    assert other.units() == []


def test_a_hub_that_does_not_answer_cannot_be_reached(hub: Hub, store: Store, other: Store, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for work in (lambda: sharing.look(Address.parse(REPO)), lambda: pushed(store)):
        with pytest.raises(StoreError, match=r"the hub cannot be reached. With no network here, carry a file"):
            work()


def test_what_is_no_repository_of_ours_says_so(hub: Hub, store: Store, tmp_path: Path, capsys):
    hub.made("someone/books", {"train.parquet": b"x", "README.md": b"# Books"})
    with pytest.raises(BadInput, match="status 404"):
        sharing.look(Address.parse("someone/nothing"))
    with pytest.raises(StoreError, match=r"no repository of Headroom's: it holds no bundle"):
        sharing.look(Address.parse("someone/books"))
    hub.made("someone/zips", {"photos.zip": b"PK, as they say"})
    assert main(["pull", "someone/zips", "--store", str(tmp_path / "there")]) == FAILED
    assert "not a bundle" in capsys.readouterr().err


def test_nobody_s_results_are_pushed(hub: Hub, store: Store, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(BadInput, match="Nobody is logged in to the hub here"):
        pushed(store)
    assert hub.asked == []


@pytest.mark.parametrize("license", ["made-up", "MIT license\nviewer: true"])
def test_a_licence_that_the_hub_does_not_know_is_refused(hub: Hub, store: Store, license: str):
    with pytest.raises(BadInput, match="licence"):
        pushed(store, license=license)
    assert not hub.repositories.get(REPO, hub.made("someone/none")).commits


# --- sizes and damage -----------------------------------------------------------------------------


def test_what_is_too_large_is_not_fetched(hub: Hub, store: Store, monkeypatch, scratch: Path):
    pushed(store)
    hub.said_sizes[sharing.FILE] = limits.HUB_BYTES + 1
    with pytest.raises(StoreError, match=r"may have up to 1\.07 GB\. Nothing was fetched"):
        sharing.look(Address.parse(REPO))
    hub.said_sizes[sharing.FILE] = None
    with pytest.raises(StoreError, match="does not say how large"):
        sharing.look(Address.parse(REPO))
    assert not [path for _, path, _ in hub.asked if "/resolve/" in path]
    hub.said_sizes.clear()
    monkeypatch.setattr(limits, "HUB_BYTES", 1000)
    with pytest.raises(StoreError, match="Push fewer results at a time"):
        bundle(store)


def test_what_sends_more_than_it_said_is_cut_off(hub: Hub, store: Store, other: Store, monkeypatch, scratch: Path):
    n_bytes = len(bundle(store))
    hub.made(REPO, {sharing.FILE: bundle(store) + bytes(n_bytes)})
    hub.said_sizes[sharing.FILE] = n_bytes
    with pytest.raises(StoreError, match="where the hub had said"), sharing.pulled(Address.parse(REPO), other):
        pass
    monkeypatch.setattr(limits, "HUB_BYTES", n_bytes + 1)
    with pytest.raises(StoreError, match="sends more than"), sharing.pulled(Address.parse(REPO), other):
        pass
    hub.said_sizes.clear()
    hub.told_later[sharing.FILE] = 100
    monkeypatch.setattr(limits, "HUB_BYTES", 10**9)
    with pytest.raises(StoreError, match="another size than the hub had said"), sharing.pulled(
            Address.parse(REPO), other):
        pass
    assert other.units() == []
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("share", [0.3, 0.99])
def test_a_damaged_bundle_is_refused_and_leaves_nothing(hub: Hub, store: Store, other: Store, scratch: Path,
                                                        share: float):
    whole = bundle(store)
    place = int(share * len(whole))
    hub.made("someone/flipped", {sharing.FILE: whole[:place] + bytes(9) + whole[place + 9:]})
    hub.made("someone/cut", {sharing.FILE: whole[:place]})
    for repo in ("someone/flipped", "someone/cut"):
        with pytest.raises(StoreError), sharing.pulled(Address.parse(repo), other):
            pass
    assert other.units() == []
    assert list(scratch.iterdir()) == []


def test_a_hub_s_strange_file_names_are_none_of_ours(hub: Hub, store: Store):
    hub.made(REPO, {"../../outside.zip": bundle(store), "/etc/x.zip": b"", "a//b.zip": b""})
    with pytest.raises(StoreError, match="holds no bundle"):
        sharing.look(Address.parse(REPO))


def test_no_room_is_said_before_anything_is_fetched(hub: Hub, store: Store, scratch: Path, monkeypatch):
    pushed(store)
    monkeypatch.setattr(sharing, "free_disk", lambda folder: 10)
    with pytest.raises(StoreError, match="No room for"):
        sharing.download(sharing.look(Address.parse(REPO)), scratch)
    assert not [path for _, path, _ in hub.asked if "/resolve/" in path]


# --- in a thread ----------------------------------------------------------------------------------


def ended(fetch: sharing.Fetch) -> sharing.Fetch:
    until = time.monotonic() + 20
    while not fetch.ended and time.monotonic() < until:
        time.sleep(0.01)
    return fetch


def test_a_bundle_comes_while_nobody_waits_and_goes_with_who_asked(hub: Hub, store: Store, scratch: Path):
    pushed(store)
    hub.go.clear()
    fetch = sharing.Fetch(REPO)
    assert not fetch.ended
    hub.go.set()
    assert ended(fetch).error is None
    assert fetch.file is not None
    assert fetch.file.read_bytes() == hub.repositories[REPO].commits[-1][1][sharing.FILE]
    assert fetch.done == fetch.total == fetch.file.stat().st_size
    del fetch
    assert list(scratch.iterdir()) == []


def test_a_fetch_is_stopped_and_says_what_went_wrong(hub: Hub, store: Store, scratch: Path):
    pushed(store)
    hub.go.clear()
    fetch = sharing.Fetch(REPO)
    fetch.stop()
    hub.go.set()
    assert isinstance(ended(fetch).error, Cancelled)
    assert fetch.file is None
    until = time.monotonic() + 5
    while list(scratch.iterdir()) and time.monotonic() < until:
        time.sleep(0.01)
    assert list(scratch.iterdir()) == []
    assert "status 403" in str(ended(sharing.Fetch("someone/answers-403")).error)
    with pytest.raises(BadInput):
        sharing.Fetch("no address")


# --- on the command line --------------------------------------------------------------------------


def test_push_and_pull_are_commands(hub: Hub, store: Store, other: Store, capsys):
    here, there = (["--store", str(one.folder), "--no-shipped"] for one in (store, other))
    assert main(["push", REPO, *here, "--dry-run"]) == DONE
    said = capsys.readouterr().out
    assert said.startswith("---\nlibrary_name: headroom\n")
    assert "Nothing was sent." in said
    assert hub.asked == []
    assert main(["push", REPO, *here, "--license", "cc-by-4.0", "--without", "head_importance"]) == DONE
    assert f"are at {hub.url}/datasets/{REPO}, commit " in capsys.readouterr().out
    assert b'license: "cc-by-4.0"' in hub.repositories[REPO].commits[-1][1]["README.md"]
    assert main(["pull", REPO, *there, "--dry-run"]) == DONE
    assert "5 results of small: 5 new" in capsys.readouterr().out
    assert other.units() == []
    assert main(["pull", REPO, *there]) == DONE
    assert "Imported 5 results" in capsys.readouterr().out
    assert not other.units("head_importance")
    assert main(["pull", REPO, *there, "--revision", "0123abc"]) == BAD_INPUT
    assert main(["push", REPO, *here, "--model", "nobody"]) == BAD_INPUT


def test_what_differs_is_replaced_on_request_only(hub: Hub, store: Store, other: Store, capsys):
    pushed(store)
    unit = store.units("head_importance")[0]
    elsewhere = HeadImportance(unit.setup.with_(seed=3))  # type: ignore[union-attr]
    other.put(unit, made_up.record(elsewhere, INFO))
    there = ["--store", str(other.folder), "--no-shipped"]
    assert main(["pull", REPO, *there, "--dry-run"]) == FAILED
    assert main(["pull", REPO, *there]) == FAILED
    assert "Nothing was imported: 1 results differ" in capsys.readouterr().err
    assert other.units() == [unit]
    assert main(["pull", REPO, *there, "--replace"]) == DONE
    assert other.get(unit) == store.get(unit)


def test_a_token_is_written_nowhere(hub: Hub, store: Store, tmp_path: Path):
    """The command as people run it, with the hub's own client told by the environment alone."""
    def run(*args: str) -> str:
        done = subprocess.run([sys.executable, "-m", "backend", *args, "--no-shipped"], cwd=ROOT, capture_output=True,
                              text=True, env={**os.environ, "HUGGING_FACE_HUB_TOKEN": TOKEN, "HEADROOM_DEBUG": ""})
        return done.stdout + done.stderr

    said = run("push", REPO, "--store", str(store.folder))
    said += run("pull", REPO, "--store", str(tmp_path / "there"))
    assert "Imported 7 results" in said
    said += run("pull", "someone/answers-403", "--store", str(tmp_path / "there"))
    assert "status 403" in said
    assert {who for _, path, who in hub.asked if not path.startswith("/lfs/")} == {f"Bearer {TOKEN}"}, "it was used"
    assert TOKEN not in said
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and TOKEN.encode() in file.read_bytes()]
    for content in hub.repositories[REPO].commits[-1][1].values():
        assert TOKEN.encode() not in content


def test_in_a_demo_nothing_is_pushed_or_pulled(hub: Hub, store: Store, other: Store, monkeypatch):
    parcel = sharing.pack(store, store.units(), Address.parse(REPO))
    found = sharing.Found(Address(REPO, sharing.FILE), "0" * 40, 10)
    monkeypatch.setenv("HEADROOM_DEMO", "1")
    for work in (lambda: sharing.pack(store, store.units(), Address.parse(REPO)),
                 lambda: sharing.push(parcel, Address.parse(REPO)), lambda: sharing.look(Address.parse(REPO)),
                 lambda: sharing.download(found, other.folder), lambda: sharing.Fetch(REPO)):
        with pytest.raises(BadInput, match="This server is a demo"):
            work()
    assert hub.asked == []
