"""Downloads source distributions by pip's own means: `pip download` would run what is in them before it lets go.

python3 -m packing.sdists FOLDER NAME VERSION HASH,HASH...      in the workshop, whose pip is always Debian 13's
"""

import shutil
import sys
from pathlib import Path

from pip._internal.commands.download import DownloadCommand
from pip._internal.network.download import Downloader
from pip._internal.operations.prepare import get_file_url, get_http_url
from pip._internal.utils.hashes import Hashes
from pip._internal.utils.temp_dir import global_tempdir_manager
from pip._vendor.packaging.specifiers import SpecifierSet


def download(folder: Path, name: str, version: str, hashes: list[str]) -> None:
    """Put the source distribution of `name` with one of the SHA-256 `hashes` into `folder`; exit where there is none.

    Index, certificates and proxies are what pip's configuration says.
    """
    command = DownloadCommand("download", "")
    options, _ = command.parse_args(["--quiet", "--no-cache-dir", "--no-binary=:all:"])
    locked = Hashes({"sha256": hashes})
    with command.main_context(), global_tempdir_manager():
        session = command.get_default_session(options)
        finder = command._build_package_finder(options, session)
        found = finder.find_best_candidate(name, SpecifierSet(f"=={version}"), locked).best_candidate
        if found is None:
            sys.exit(f"{name} {version}: pip finds no source distribution of it")
        if found.link.is_file:
            file = get_file_url(found.link, hashes=locked)
        else:
            file = get_http_url(found.link, Downloader(session, "off", resume_retries=1), hashes=locked)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path, folder / found.link.filename)


if __name__ == "__main__":
    download(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4].split(","))
