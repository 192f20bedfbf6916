"""Bundles to and from a dataset repository of the Hugging Face hub: one file, its card, and the same strict import.

What comes from the hub is treated as a file from anybody: its size is looked at before it is fetched, it lies in a
temporary folder, and `bundles.inspect` decides whether any of it is taken in. Who somebody is on the hub the hub's own
client finds out (HF_TOKEN, or the login that it keeps); no token passes through here.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from .. import demo, limits
from ..errors import BadInput, Cancelled, HeadroomError, StoreError
from ..kinds import Model, Unit
from ..machine import free_disk, is_full, size
from ..models.hub import answered, behind, refused
from ..store import bundles
from ..store.live import Store
from . import readme

if TYPE_CHECKING:
    from huggingface_hub import HfApi

FILE = "headroom.zip"  # what a bundle is called on the hub, unless asked otherwise
PATIENCE = 10.0  # seconds until the hub counts as silent
Tick = Callable[[int, int], None]  # bytes so far, of how many; may raise Cancelled

_NAME = re.compile(r"(?!.*(\.\.|--))[A-Za-z0-9]([\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)  # of an owner, of a repository
_FILE = re.compile(r"(?!.*(\.\.|//))[\w][\w. /+-]{0,199}\.zip", re.ASCII)
_EXPECTED = "Write OWNER/NAME, OWNER/NAME/FILE.zip where there are several bundles, or the address of its page."


@dataclass(frozen=True)
class Address:
    """A bundle on the hub."""

    repo: str  # OWNER/NAME
    file: str = ""  # empty: the only bundle there
    revision: str | None = None  # commit, tag or branch

    @classmethod
    def parse(cls, text: str, revision: str | None = None) -> Address:
        """Read OWNER/NAME, OWNER/NAME/FILE.zip, or the address of a dataset's page or file.

        Raises:
            BadInput: if it is none of these, or of another server than the hub.
        """
        rest = text.strip().removesuffix("/")
        for start in (f"{_endpoint()}/datasets/", "https://huggingface.co/datasets/", "hf://datasets/", "datasets/"):
            rest = rest.removeprefix(start)
        owner, _, rest = rest.partition("/")
        name, _, rest = rest.partition("/")
        how, _, inner = rest.partition("/")
        if how in ("tree", "blob", "resolve") and inner:
            told, _, rest = inner.partition("/")
            revision = revision or told
        if not (_NAME.fullmatch(owner) and _NAME.fullmatch(name) and (not rest or _FILE.fullmatch(rest))):
            raise BadInput(f"'{text.strip()[:200]}' is no dataset repository of the hub. {_EXPECTED}")
        if revision is not None and not re.fullmatch(r"(?!.*\.\.)[\w][\w./-]{0,199}", revision, re.ASCII):
            raise BadInput(f"'{revision[:200]}' is no revision. Name a commit, a tag or a branch.")
        return cls(f"{owner}/{name}", rest, revision)

    def __str__(self) -> str:
        return f"{self.repo}/{self.file}" if self.file else self.repo


@dataclass(frozen=True)
class Found:
    """A bundle that the hub has, as it says before anything is fetched."""

    address: Address  # with its file
    commit: str
    bytes: int


@dataclass(frozen=True)
class Pushed:
    """What was uploaded, and where it can be looked at."""

    url: str
    commit: str


@dataclass(frozen=True)
class Parcel:
    """What is to be uploaded: a bundle and its card."""

    manifest: bundles.Manifest
    content: bytes
    card: str


# --- to the hub -----------------------------------------------------------------------------------


def pack(store: Store, units: Iterable[Unit[Any]], address: Address, license: str = "",
         left_out: Mapping[str, int] | None = None) -> Parcel:
    """The bundle of some results with the shapes of their models, and its card; nothing is sent.

    Args:
        left_out: what the bundle says of results that stayed at home (`bundles.carried`).
        license: the hub's name of the licence under which the results are given away, such as `cc-by-4.0`.

    Raises:
        BadInput, StoreError: as `bundles.export`; or if it is larger than what `pull` takes.
    """
    demo.refuse("push results")
    if address.revision is not None:
        raise BadInput("Results are pushed to the main branch. Leave the revision out.")
    if license and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,60}", license):
        raise BadInput(f"'{license[:60]}' is no licence as the hub names them. Write for instance cc-by-4.0 or mit.")
    wanted = set(units)
    wanted |= {shape for unit in wanted if (shape := Model(unit.model)) not in wanted and store.get(shape) is not None}
    content = io.BytesIO()
    manifest = bundles.export(content, store, wanted, left_out)
    n_bytes = content.tell()
    if n_bytes > limits.HUB_BYTES:
        raise StoreError(f"This bundle has {size(n_bytes)}; one of up to {size(limits.HUB_BYTES)} can be pulled again. "
                         "Push fewer results at a time (--model, --kind, --task).")
    card = readme.card(manifest, sorted(wanted, key=lambda unit: unit.sort_key), store, address.repo,
                       address.file or FILE, n_bytes, license)
    return Parcel(manifest, content.getvalue(), card)


def push(parcel: Parcel, address: Address, private: bool = False) -> Pushed:
    """Upload a bundle and its card in one commit; the repository is made where there is none.

    Raises:
        BadInput: nobody is logged in; the repository is public and `private` is asked for; it has a README.md that
            Headroom did not write; or the hub does not take the card's licence.
        StoreError: the hub refuses or cannot be reached: nothing is changed there.
    """
    demo.refuse("push results")
    from huggingface_hub import CommitOperationAdd, get_token

    api, repo = _api(), address.repo
    if not get_token():
        raise BadInput("Nobody is logged in to the hub here. Make a token that may write, then `hf auth login` or set "
                       "HF_TOKEN.")
    with _sentences(f"'{repo}'", writing=True):
        there = _known(api, repo)
        if there is None:
            api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        elif private and there.private is False:
            raise BadInput(f"'{repo}' is public already. Name another repository, or leave --private out.")
        elif any(s.rfilename == readme.NAME for s in there.siblings or ()) and not _ours(there):
            raise BadInput(f"'{repo}' has a {readme.NAME} that Headroom did not write, and would lose it. Name another "
                           "repository.")
        done = api.create_commit(
            repo, [CommitOperationAdd(address.file or FILE, parcel.content),
                   CommitOperationAdd(readme.NAME, parcel.card.encode())], repo_type="dataset",
            commit_message=f"{len(parcel.manifest.entries)} results of "
                           f"{', '.join(parcel.manifest.model_names)}"[:200])
    return Pushed(f"{api.endpoint}/datasets/{repo}", done.oid)


def _known(api: HfApi, repo: str) -> Any:
    """What the hub says of a repository; None where it says that there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.dataset_info(repo, timeout=PATIENCE)
    except RepositoryNotFoundError:
        return None


def _ours(info: Any) -> bool:
    """Whether a repository's card is one that Headroom wrote."""
    return bool(info.card_data) and info.card_data.get("library_name") == readme.LIBRARY


# --- from the hub ---------------------------------------------------------------------------------


def look(address: Address) -> Found:
    """Which file would be fetched, of which commit, and how large it is.

    Raises:
        BadInput: no such repository, revision or file; or several bundles, of which one has to be named.
        StoreError: no bundle in it, or one that is too large; or the hub refuses or cannot be reached.
    """
    demo.refuse("read bundles")
    with _sentences(f"'{address.repo}'"):
        info = _api().dataset_info(address.repo, revision=address.revision, files_metadata=True, timeout=PATIENCE)
        sizes = {s.rfilename: s.size for s in info.siblings or () if _FILE.fullmatch(s.rfilename)}
    names = sorted(sizes)
    if not names:
        raise StoreError(f"'{address.repo}' is no repository of Headroom's: it holds no bundle (*.zip).")
    some = ", ".join(f"{address.repo}/{name}" for name in names[:5]) + ", ..." * (len(names) > 5)
    if address.file and address.file not in names:
        raise BadInput(f"'{address.repo}' has no bundle '{address.file}'. It has: {some}.")
    if not address.file and len(names) > 1:
        raise BadInput(f"'{address.repo}' holds {len(names)} bundles. Name one of: {some}.")
    file = address.file or names[0]
    n_bytes = sizes[file]
    if type(n_bytes) is not int or not isinstance(info.sha, str):
        raise StoreError(f"The hub does not say how large '{address.repo}/{file}' is, so it was not fetched. Download "
                         "it yourself, and import the file.")
    if n_bytes > limits.HUB_BYTES:
        raise StoreError(f"'{address.repo}/{file}' has {size(n_bytes)}; a bundle from the hub may have up to "
                         f"{size(limits.HUB_BYTES)}. Nothing was fetched.")
    return Found(Address(address.repo, file, address.revision), info.sha, n_bytes)


def download(found: Found, folder: Path, tick: Tick = lambda done, total: None) -> Path:
    """Fetch a bundle that was looked at into a folder.

    Args:
        tick: called with how far it is; what it raises ends the work.

    Raises:
        StoreError: another size than was said, no room, or the hub refuses or cannot be reached.
    """
    demo.refuse("read bundles")
    if (free := free_disk(folder)) < found.bytes:
        raise StoreError(f"No room for '{found.address}' in {folder}: it has {size(found.bytes)}, and {size(free)} are "
                         "free. TMPDIR names another place.")
    with _sentences(f"'{found.address}'"):
        file = Path(_api().hf_hub_download(found.address.repo, found.address.file, repo_type="dataset",
                                           revision=found.commit, local_dir=folder, tqdm_class=_watch(found, tick)))
    if (n_bytes := file.stat().st_size) != found.bytes:
        raise StoreError(f"'{found.address}' came with {n_bytes:,} bytes, where the hub had said {found.bytes:,}. "
                         "Nothing was imported. Try again.")
    return file


@contextmanager
def pulled(address: Address, store: Store, tick: Tick = lambda done, total: None) -> Iterator[bundles.Contents]:
    """A bundle of the hub, fetched to a temporary place, checked and compared with a store as a file is.

    Its results are read from there, so it is taken in (`bundles.take_in`) inside.

    Raises:
        BadInput, StoreError: as `look`, `download` and `bundles.inspect`.
    """
    found = look(address)
    with tempfile.TemporaryDirectory(prefix="headroom-") as folder:
        yield bundles.inspect(download(found, Path(folder), tick), store)


class Fetch:
    """A bundle on its way from the hub, in a thread of its own, so that nobody waits for it.

    The file lies in a temporary folder, which goes with this object.
    """

    def __init__(self, text: str, revision: str | None = None) -> None:
        """Raises: BadInput: if the text is no address, or in a demo."""
        demo.refuse("read bundles")
        self.address = Address.parse(text, revision)
        self._way = _Way(Path(tempfile.mkdtemp(prefix="headroom-")))
        self.drop = weakref.finalize(self, self._way.drop)
        threading.Thread(target=self._way.go, args=(self.address,), name=f"fetching {self.address}",
                         daemon=True).start()

    @property
    def ended(self) -> bool:
        return self._way.ended

    @property
    def file(self) -> Path | None:
        """Where it lies, once it is here."""
        return self._way.file

    @property
    def error(self) -> HeadroomError | None:
        """Why it did not come; None while it is on its way."""
        return self._way.error

    @property
    def done(self) -> int:
        """Bytes that are here."""
        return self._way.done

    @property
    def total(self) -> int:
        """Bytes that it has; 0 until the hub has said how many."""
        return self._way.total

    def stop(self) -> None:
        """Let it end soon; its folder goes at once."""
        self.drop()


class _Way:
    """What the thread of a `Fetch` knows: not the fetch itself, which may be forgotten meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done, self.total = folder, 0, 0
        self.file: Path | None = None
        self.error: HeadroomError | None = None
        self.unwanted = threading.Event()

    @property
    def ended(self) -> bool:
        return self.file is not None or self.error is not None

    def go(self, address: Address) -> None:
        try:
            self.file = download(look(address), self.folder, self._tick)
        except HeadroomError as error:
            self.error = error
        except Exception as error:  # a thread has nobody else to tell
            self.error = StoreError(f"Something unforeseen: {type(error).__name__}. Download '{address}' yourself, and "
                                    "import the file.")
        if self.unwanted.is_set():
            self._remove()

    def drop(self) -> None:
        self.unwanted.set()
        if self.ended:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _tick(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if self.unwanted.is_set():
            raise Cancelled("Stopped on request.")


def _watch(found: Found, tick: Tick) -> type[tqdm[Any]]:
    """A progress bar that draws nothing: it tells how far a download is, and ends one that grows beyond measure."""

    class Watch(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self.seen = 0
            tick(0, found.bytes)

        def update(self, n: float | None = 1) -> None:
            self.seen += int(n or 0)
            if self.seen > limits.HUB_BYTES:
                raise StoreError(f"'{found.address}' sends more than the {found.bytes:,} bytes that the hub had said. "
                                 "Nothing was imported.")
            tick(min(self.seen, found.bytes), found.bytes)

    return Watch


# --- what the hub answers ---------------------------------------------------------------------------


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def _api() -> HfApi:
    from huggingface_hub import HfApi

    return HfApi(endpoint=_endpoint())


@contextmanager
def _sentences(what: str, writing: bool = False) -> Iterator[None]:
    """What goes wrong with the hub, in a sentence of ours: its own say too much, and none of them is passed on."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RevisionNotFoundError

    cannot = f"{what} cannot be {'written' if writing else 'fetched'}"
    try:
        yield
    except HeadroomError:
        raise
    except HFValidationError as error:
        raise BadInput(f"{what} is no dataset repository of the hub. {_EXPECTED}") from error
    except GatedRepoError as error:
        raise StoreError(f"{what} is gated: accept its terms on the hub, then `hf auth login`.") from error
    except RevisionNotFoundError as error:
        raise BadInput(f"{what} has no such revision on the hub. Name a commit, a tag or a branch of it.") from error
    except (OSError, HTTPError, ValueError, RuntimeError) as error:  # those of the hub's client are among them
        if writing and str(error).startswith("Invalid metadata"):
            raise BadInput("The hub does not take the card's header. Check the licence: it has to be one that the hub "
                           "knows, such as cc-by-4.0.") from error
        status = answered(error)
        if status is None and is_full(error):
            raise StoreError(f"{cannot}: there is no space left in {tempfile.gettempdir()}. TMPDIR names another "
                             "place.") from error
        if told := refused(error, what, writing):
            raise (BadInput if status == 404 else StoreError)(told) from error
        if "Consistency check failed" in str(error):
            raise StoreError(f"{cannot}: it came with another size than the hub had said. Try again.") from error
        if not any(isinstance(one, OSError | HTTPError) for one in behind(error)):
            raise StoreError(f"{cannot}: the hub's client failed ({type(error).__name__}). Try again, or carry a file: "
                             "`export` writes one, `import` reads it.") from error
        raise StoreError(f"{cannot}: the hub cannot be reached. With no network here, carry a file: `export` writes "
                         "one, `import` reads it.") from error
