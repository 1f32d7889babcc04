"""Downloads the jars that a lock file names, checks them, and keeps them for every stack.

jgo does the downloading. It honours the proxy variables of the environment, and a mirror or a
local repository named in jgo's own settings file.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tenacity

from kafka_pg_pipeline.local.errors import LocalStackError
from kafka_pg_pipeline.local.files import explaining, locked, make_private_directory, require_space
from kafka_pg_pipeline.local.lockfile import LockedJar, read_lock

Progress = Callable[[str], None]

_log = logging.getLogger(__name__)
_PARALLEL_DOWNLOADS = 6
_ATTEMPTS = 3
_PROGRESS_STEP = 10
_TIMEOUT_SECONDS = 20
_NEEDED_MEGABYTES = 150
_CACHE_CURE = "set KAFKA_PG_CACHE to a directory of yours with room"
_DOWNLOAD_CURE = (
    "check the network and the proxy variables (HTTPS_PROXY), or name a mirror as 'central' "
    "under [repositories] in ~/.config/jgo.conf, or unpack Apache Kafka and set KAFKA_HOME, "
    "or use a running one (KAFKA_BOOTSTRAP_SERVERS); what was downloaded is kept"
)


class _CorruptDownloadError(Exception):
    """The bytes received are not those of the lock file."""


def default_cache() -> Path:
    """Return the directory of everything that stacks share: ``KAFKA_PG_CACHE`` or the user's."""
    if named := os.environ.get("KAFKA_PG_CACHE"):
        return Path(named).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "kafka_pg"


def fetch_kafka_jars(
    kafka_version: str, *, cache: Path | None = None, progress: Progress | None = None
) -> list[Path]:
    """Return the jars of a Kafka version, downloading those that are missing or damaged.

    Args:
        kafka_version: A version that has a lock file.
        cache: Where jars are kept; ``default_cache()`` when None.
        progress: Told what is being done, in a few words.

    Returns:
        The paths in the order of the lock file; each file has the locked checksum.

    Raises:
        LocalStackError: A jar cannot be had, or is another one than was locked.
    """
    return fetch_jars(read_lock(kafka_version), cache=cache, progress=progress)


def fetch_jars(
    locked_jars: Sequence[LockedJar],
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """The same for the jars of any lock."""
    root = default_cache() if cache is None else cache
    with explaining(root, cure=_CACHE_CURE):
        make_private_directory(root)
        jars = make_private_directory(root / "jars")
        with locked(root / ".lock"):
            missing = [jar for jar in locked_jars if not jar.matches(jars / jar.relative_path)]
            if missing:
                _download_all(missing, jars, progress or _ignore)
    return [jars / jar.relative_path for jar in locked_jars]


def _ignore(_: str) -> None:
    """Report nothing."""


def _download_all(missing: Sequence[LockedJar], jars: Path, progress: Progress) -> None:
    require_space(jars, megabytes=_NEEDED_MEGABYTES, cure=_CACHE_CURE)
    settings = _load_jgo_settings()
    progress(f"downloading {len(missing)} jars of Apache Kafka (once)")
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".staging-") as staging:
        download = _build_download(Path(staging), settings)
        with ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool:
            futures = [pool.submit(_fetch, jar, jars, download, settings) for jar in missing]
            try:
                for count, future in enumerate(futures, start=1):
                    future.result()
                    if count % _PROGRESS_STEP == 0:
                        progress(f"downloaded {count} of {len(missing)} jars")
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _load_jgo_settings() -> Any:
    try:
        from jgo.config import GlobalSettings
    except ImportError as exc:
        raise LocalStackError(
            "the local Kafka needs the extra 'local': pip install 'kafka-pg-pipeline[local]'"
        ) from exc
    return GlobalSettings.load()


def _build_download(staging: Path, settings: Any) -> Callable[[LockedJar], Path]:
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    resolver = PythonResolver()
    context = MavenContext(
        resolver=resolver,
        repo_cache=staging,
        remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
        timeout=_TIMEOUT_SECONDS,
    )

    def download(jar: LockedJar) -> Path:
        (staging / jar.relative_path).unlink(missing_ok=True)
        component = context.project(jar.group, jar.artifact).at_version(jar.version)
        path = resolver.download(component.artifact())
        if path is None or not jar.matches(path):
            raise _CorruptDownloadError
        return path

    return download


def _fetch(
    jar: LockedJar, jars: Path, download: Callable[[LockedJar], Path], settings: Any
) -> None:
    target = jars / jar.relative_path
    target.parent.mkdir(parents=True, exist_ok=True)
    installed = Path(settings.repo_cache) / jar.relative_path
    if jar.matches(installed):
        staged = target.with_suffix(".part")
        shutil.copyfile(installed, staged)
        staged.replace(target)
        return
    _download_with_retries(jar, download).replace(target)
    _log.debug("downloaded %s", jar.file_name)


def _download_with_retries(jar: LockedJar, download: Callable[[LockedJar], Path]) -> Path:
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.3, max=3),
        retry=tenacity.retry_if_not_exception_type((LocalStackError, OSError))
        | tenacity.retry_if_exception(_is_network_error),
        reraise=True,
    )
    try:
        return retrying(download, jar)
    except _CorruptDownloadError as exc:
        raise LocalStackError(
            f"{jar.file_name} as downloaded is not the file that the lock names (SHA-256 differs); "
            "a proxy or mirror may have changed it; " + _DOWNLOAD_CURE
        ) from exc
    except Exception as exc:
        if isinstance(exc, OSError) and not _is_network_error(exc):
            raise
        raise LocalStackError(
            f"cannot download {jar.file_name} ({type(exc).__name__}); {_DOWNLOAD_CURE}"
        ) from exc


def _is_network_error(error: BaseException) -> bool:
    import requests

    return isinstance(error, requests.RequestException)
