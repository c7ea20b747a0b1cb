"""Which files a path or a URL means: a local folder, an object store, or another place that fsspec knows."""

from __future__ import annotations

from pathlib import Path

from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.fsspec_files import FsspecFiles
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.object_files import SCHEMES, ObjectFiles


def open_files(root: str | Path) -> Files:
    """The files under `root`: a path, or a URL such as `s3://bucket/sweep`."""
    text = str(root)
    scheme, separator, path = text.partition("://")
    if not separator:
        return LocalFiles(text)
    if scheme == "file":
        return LocalFiles(path)
    return ObjectFiles(text) if scheme in SCHEMES else FsspecFiles(text)
