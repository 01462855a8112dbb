"""The demo's upstream PyPI: a small package index with a history, and the server that bandersnatch mirrors it from."""

from demo.upstream.build import (
    UpstreamError,
    UpstreamSummary,
    build_upstream,
    publish_release,
    remove_project,
    set_status,
    yank_release,
)
from demo.upstream.server import UpstreamServer

__all__ = [
    "UpstreamError",
    "UpstreamServer",
    "UpstreamSummary",
    "build_upstream",
    "publish_release",
    "remove_project",
    "set_status",
    "yank_release",
]
