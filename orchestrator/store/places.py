"""Which files a path or a URL means: a local folder, or a place that fsspec knows."""

from __future__ import annotations

from pathlib import Path

from espalier.orchestrator.store.files import Files
from espalier.orchestrator.store.local_files import LocalFiles
from espalier.orchestrator.store.remote_files import RemoteFiles


def open_files(root: str | Path) -> Files:
    """The files under `root`: a path, or a URL that fsspec knows such as `s3://bucket/sweep`."""
    text = str(root)
    if text.startswith("file://"):
        return LocalFiles(text.removeprefix("file://"))
    return RemoteFiles(text) if "://" in text else LocalFiles(text)
