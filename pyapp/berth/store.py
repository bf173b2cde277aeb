"""The containers on disk: `containers/NAME/container.toml`, read, written, listed, renamed and removed.

Only files are handled here; whether a container runs, and the lock that keeps two changes apart, are the engine's.
A file is replaced whole or not at all: after a crash, a full disk or a power cut the old one is there, unharmed.
"""

import contextlib
import errno
import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping

import msgspec
import tomli_w
from msgspec.structs import fields, replace

from berth import rules
from berth.errors import BerthError, MissingError, UsageError
from berth.home import Home
from berth.kernel.files import note_file
from berth.spec import SPEC_VERSION, Spec, checked

__all__ = [
    "Home",
    "last_end",
    "list_names",
    "load_spec",
    "migrate",
    "read_text",
    "remember_end",
    "remove",
    "rename",
    "replace_file",
    "save_spec",
    "saved_unless",
    "spec_from_toml",
    "sync_folder",
    "to_toml",
]

Document = dict[str, object]

# Version N to the function that turns a document of version N into one of version N + 1.
MIGRATIONS: Mapping[int, Callable[[Document], Document]] = {}

_NAMED_LETTERS = 1 << 20  # a device, or a file by mistake, may have no end

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
}  # what TOML's users call what msgspec names as JSON does
_ADVICE = {
    errno.ENOSPC: "no room is left there; free some and try again",
    errno.EDQUOT: "the quota there is used up; free some room and try again",
    errno.EROFS: "that file system is read-only; remount it or set BERTH_HOME to another folder",
    errno.EACCES: "only root may do that; try again as root",
    errno.EPERM: "only root may do that; try again as root",
    errno.ENOENT: "No such file or directory; check the path",
    errno.EIO: "the storage reports an error; copy your data away and check it",
}


def load_spec(home: Home, name: str) -> Spec:
    """The saved Spec of container `name`, brought up to the present version in memory.

    Raises BerthError where there is none, or its file can't be read or understood; names file and key.
    """
    path = home.spec(rules.name("container", name))
    try:
        text = _read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(_missing(home, name)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BerthError(f"{path}: it can't be read: {_reason(error)}") from error
    # The folder names the container: a rename that was cut short leaves the old name in the file.
    return replace(spec_from_toml(text, path), name=name)


def spec_from_toml(text: str, path: str) -> Spec:
    """The Spec that `text`, the content of the file `path`, describes.  Raises BerthError naming file and key."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib lets int()'s ValueError and deep nesting through
        raise BerthError(f"{path}: this is not TOML ({_one_line(error)}); correct it or remove the file") from error
    document = migrate(document, path)
    _refuse_unknown_keys(document, path)
    try:
        return checked(msgspec.convert(document, Spec))
    except msgspec.ValidationError as error:
        raise BerthError(f"{path}: {_invalid(error)}; correct it there") from error
    except UsageError as error:
        raise BerthError(f"{path}: {error}") from error


def migrate(
    document: Document,
    path: str,
    migrations: Mapping[int, Callable[[Document], Document]] = MIGRATIONS,
    present: int = SPEC_VERSION,
) -> Document:
    """`document` as version `present` would have written it; a file without a version is of the first.

    Raises BerthError where the file at `path` was written by a later Berth.
    """
    version = document.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BerthError(f"{path}: version must be a whole number from 1 to {present}; correct it there")
    if version > present:
        raise BerthError(
            f"{path}: a later Berth wrote this (version {version}, this one reads up to {present}); update Berth"
        )
    for step in range(version, present):
        document = migrations[step](document)
    return {**document, "version": present}


def to_toml(spec: Spec) -> str:
    """The content of a container.toml: what differs from the defaults, and always the version."""
    document = msgspec.to_builtins(spec)
    return tomli_w.dumps({"version": spec.version, **document})


def save_spec(home: Home, spec: Spec) -> None:
    """Write `spec` to its container.toml, atomically and down to the disk, making the folders above it.

    A file that says the same already is left alone: every start saves, and flash is slow to sync.
    Raises UsageError for a Spec that could not be read back, BerthError where the disk refuses; the old file is intact.
    """
    content = to_toml(checked(spec)).encode()
    path = home.spec(spec.name)
    if _content_of(path) == content:
        return
    folder = home.container(spec.name)
    made = not os.path.isdir(folder)
    try:
        os.makedirs(home.state, mode=0o700, exist_ok=True)
        os.makedirs(home.containers, mode=0o700, exist_ok=True)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        replace_file(path, content)
    except OSError as error:
        if made and os.path.isdir(folder):
            _remove_if_empty(folder)
        raise BerthError(f"container {rules.quoted(spec.name)} was not saved in {folder}: {_reason(error)}") from error


@contextlib.contextmanager
def saved_unless(failure: type[BerthError], home: Home, spec: Spec) -> Iterator[None]:
    """Save `spec`, and put back what was saved before on a `failure` of what is done with it.

    Raises as `save_spec` does.
    """
    before = _content_of(home.spec(spec.name))
    save_spec(home, spec)
    try:
        yield
    except failure:
        with contextlib.suppress(OSError):
            if before is None:
                os.unlink(home.spec(spec.name))
                _remove_if_empty(home.container(spec.name))
            else:
                replace_file(home.spec(spec.name), before)
        raise


def list_names(home: Home) -> tuple[str, ...]:
    """The names of all saved containers, sorted.  Raises BerthError where the state folder can't be read."""
    try:
        with os.scandir(home.containers) as entries:
            folders = [entry.name for entry in entries if _is_name(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except OSError as error:
        raise BerthError(f"{home.containers} can't be listed: {_reason(error)}") from error
    return tuple(sorted(name for name in folders if os.path.isfile(home.spec(name))))


def rename(home: Home, old: str, new: str) -> None:
    """Give container `old` the name `new`, also where others start after it.

    Raises BerthError where there is no `old`, `new` is taken, or the disk refuses.
    """
    spec = load_spec(home, old)
    rules.name("container", new)
    if new == old:
        raise BerthError(f"container {rules.quoted(old)} has this name already; give another one")
    if os.path.lexists(home.container(new)):
        raise BerthError(f"there is a container {rules.quoted(new)} already; choose another name or remove that one")
    try:
        os.rename(home.container(old), home.container(new))
        sync_folder(home.containers)
    except OSError as error:
        raise BerthError(f"container {rules.quoted(old)} was not renamed: {_reason(error)}") from error
    save_spec(home, replace(spec, name=new))
    for other in list_names(home):
        try:
            waiting = load_spec(home, other)
        except BerthError:  # what is wrong with that one is told when it is asked for
            continue
        if old in (*waiting.start_after, waiting.gateway):
            after = tuple(new if name == old else name for name in waiting.start_after)
            gateway = new if waiting.gateway == old else waiting.gateway
            save_spec(home, replace(waiting, start_after=after, gateway=gateway))


def remove(home: Home, name: str) -> None:
    """Remove all that is kept about container `name`; its root file system is not touched.

    Raises BerthError where there is none or the disk refuses.
    """
    folder = home.container(rules.name("container", name))
    # Out of the way in one step first, so that a crash half-way leaves no half container; a dot begins no name.
    doomed = home.container(f".{name}.removed")
    try:
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(folder, doomed)
        sync_folder(home.containers)
        shutil.rmtree(doomed)
    except FileNotFoundError:
        raise MissingError(_missing(home, name)) from None
    except OSError as error:
        raise BerthError(f"container {rules.quoted(name)} was not removed: {_reason(error)}") from error


def remember_end(home: Home, name: str, how: str) -> None:
    """Note for `last_end` how container `name` ended; a container that was never saved has no place for it.

    Not synced, because a stop waits for it.  Raises OSError; nothing is lost but the note.
    """
    note_file(f"{home.container(name)}/last-end", f"{how}\n".encode())


def last_end(home: Home, name: str) -> str | None:
    """How container `name` last ended, in words; None where that is not known."""
    try:
        return _read(f"{home.container(name)}/last-end").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def read_text(path: str) -> str:
    """The text of a file that the user named, as `--conf` or `--env-file`.  Raises UsageError naming it."""
    try:
        text = _read(path, _NAMED_LETTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{rules.quoted(path)} can't be read: {_reason(error)}") from error
    if len(text) > _NAMED_LETTERS:
        raise UsageError(f"{rules.quoted(path)} is longer than any configuration; give the right file")
    return text


def _read(path: str, most: int = -1) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(most)


def _content_of(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def replace_file(path: str, content: bytes) -> None:
    """Put `content` at `path` by way of a new file beside it, down to the disk.  Raises OSError.

    See rename(2), fsync(2).
    """
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.rename(beside, path)
    except OSError:
        os.unlink(beside)
        raise
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    """Write to the disk what was renamed, made or removed in the folder `path`.  Raises OSError.  See fsync(2)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_empty(folder: str) -> None:
    try:
        os.rmdir(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EROFS):
            raise


def _is_name(name: str) -> bool:
    try:
        rules.name("container", name)
    except UsageError:
        return False
    return True


def _missing(home: Home, name: str) -> str:
    from difflib import get_close_matches  # much memory in every process, and only mistakes need it

    near = get_close_matches(name, list_names(home), 1)
    advice = f"did you mean {near[0]}?" if near else '"berth list" shows those there are'
    return f"there is no container {rules.quoted(name)}; {advice}"


def _refuse_unknown_keys(document: Document, path: str) -> None:
    known = [field.name for field in fields(Spec)]
    for key in document:
        if key not in known:
            from difflib import get_close_matches

            near = get_close_matches(key, known, 1)
            advice = f"did you mean {near[0]}?" if near else "remove it, or move it to the table [extra]"
            raise BerthError(f"{path}: {rules.quoted(key)} is no key of a container; {advice}")


def _invalid(error: msgspec.ValidationError) -> str:
    """msgspec's complaint in TOML's words, its place first: "Expected `int`, got `str` - at `$.memory`" has it last."""
    import re  # as above

    complaint, found, place = str(error).partition(" - at ")
    if complaint.startswith("Expected"):  # else what it quotes are names
        complaint = complaint.replace("got `float`", "got a number that is not whole")
        complaint = re.sub("`([^`]*)`", lambda quoted: _kinds(quoted[1]), complaint)
    complaint = complaint.replace("`", "")
    key = place.replace("`", "").removeprefix("$.") if found else "the file"
    return f"{key} is wrong ({complaint[:1].lower()}{complaint[1:]})"


def _kinds(names: str) -> str:
    return " or ".join(_KINDS.get(name, name) for name in names.split(" | ") if name != "null")


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8; give a text file"
    return _ADVICE.get(error.errno or 0) or f"{error.strerror}; look at {error.filename or 'it'}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "it is nested too deeply"
