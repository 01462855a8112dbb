"""What mirror_verify finds and repairs, with the real bandersnatch and the demo's upstream."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import pytest

from demo.upstream import UpstreamServer
from pypi_scan import mirror_verify
from pypi_scan.mirror import Mirror
from pypi_scan.mirror_verify import PARTS, VerifyError, VerifyReport, due_part, part_of, verify_mirror
from pypi_scan.names import mirror_path
from pypi_scan.settings import Settings
from pypi_scan.sync import sync_mirror
from pypi_scan.sync_lock import sync_lock

PACKAGES = ["demo-old-versions", "demo-table", "demo-text", "demo-units"]
ALLOWLIST = (
    "[plugins]\nenabled =\n    allowlist_project\n    {}\n[allowlist]\npackages =\n    {}\n[latest_release]\nkeep = 1\n"
)


@dataclass
class World:
    """An upstream, and a mirror of some of its packages; all of it is one part."""

    server: UpstreamServer
    settings: Settings

    @property
    def web(self) -> Path:
        return self.settings.mirror_root / "web"

    def file(self, name: str) -> Path:
        """Return the first file of a package's first release."""
        files = next(iter(Mirror(self.settings.mirror_root).document(name).releases.values()))
        return self.web / mirror_path(files[0].url)

    def content(self) -> dict[Path, str]:
        """Digests of all that is served."""
        files = [path for path in self.web.rglob("*") if path.is_file() and path.name != "last-modified"]
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def verify(self) -> VerifyReport:
        return verify_mirror(self.settings)


@pytest.fixture
def world(upstream_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(mirror_verify, "PARTS", 1)
    (tmp_path / "extra.conf").write_text(ALLOWLIST.format("", "\n    ".join(PACKAGES)))
    with UpstreamServer(Path(shutil.copytree(upstream_tree, tmp_path / "upstream"))) as server:
        settings = Settings(
            mirror_root=tmp_path / "mirror",
            state_dir=tmp_path / "state",
            scans_dir=tmp_path / "scans",
            upstream_url=server.url,
            bandersnatch_extra_config=tmp_path / "extra.conf",
            mirror_source="unused",
            cdn_bucket="unused",
            cdn_public_url="unused",
        )
        sync_mirror(settings)
        yield World(server, settings)


def test_what_is_damaged_or_missing_is_repaired_beside_an_interrupted_sync(world: World) -> None:
    before = world.content()
    todo = world.settings.mirror_root / "todo"
    todo.write_text("30000099\nDemo.Left 30000099\n")
    damaged = world.file("demo-table")
    damaged.write_bytes(bytes(reversed(damaged.read_bytes())))
    world.file("demo-units").unlink()
    (world.web / "json" / "demo-text").write_text("{")
    shutil.rmtree(world.web / "simple" / "demo-old-versions")
    unknown = damaged.with_name("left.tmp")
    unknown.write_bytes(b"x")

    report = world.verify()
    assert [line.split("/")[0] for line in report.repaired] == [
        "demo-old-versions: page simple",
        "demo-table: damaged packages",
        "demo-text: document json",
        "demo-units: missing packages",
    ]
    assert (report.packages, report.left, report.excused) == (4, [], [])
    assert report.unknown == [str(unknown.relative_to(world.web))]
    unknown.unlink()
    assert world.content() == before
    assert todo.read_text() == "30000099\nDemo.Left 30000099\n"
    again = world.verify()
    release_files = sum(path.is_relative_to(world.web / "packages") for path in before)
    assert (again.repaired, again.unknown, again.files) == ([], [], release_files)


def test_what_upstream_does_not_give_stays_as_it_is_and_fails(world: World) -> None:
    damaged = world.file("demo-table")
    damaged.write_bytes(b"damaged")
    world.server.faults[f"/{damaged.relative_to(world.web)}"] = HTTPStatus.NOT_FOUND
    with pytest.raises(VerifyError, match=r"1 things in part 0 .* the first: demo-table: damaged packages/.*000\.json"):
        world.verify()
    assert damaged.read_bytes() == b"damaged"

    (world.settings.state_dir / "gone.json").write_text('{"demo-table": 1}')
    report = world.verify()
    assert (len(report.excused), report.left) == (1, [])
    assert damaged.read_bytes() == b"damaged"


def test_what_upstream_gives_otherwise_than_its_digest_does_not_replace_a_file(world: World, tmp_path: Path) -> None:
    damaged = world.file("demo-table")
    damaged.write_bytes(b"damaged")
    (tmp_path / "upstream" / "web" / damaged.relative_to(world.web)).write_bytes(b"tampered with")
    with pytest.raises(VerifyError):
        world.verify()
    assert damaged.read_bytes() == b"damaged"
    assert list(damaged.parent.iterdir()) == [damaged]  # and nothing of the attempt


def test_files_that_the_filters_leave_out_are_not_missed(world: World, tmp_path: Path) -> None:
    (tmp_path / "extra.conf").write_text(ALLOWLIST.format("latest_release", "\n    ".join(PACKAGES)))
    old = [path for path in (world.web / "packages").rglob("*") if path.is_file() and "old_versions" in path.name]
    assert len(old) > 2
    for path in old:
        path.unlink()
    assert 0 < len(world.verify().repaired) < len(old)
    assert 0 < sum(path.exists() for path in old) < len(old)


def test_without_damage_a_running_sync_is_not_waited_for(world: World) -> None:
    with sync_lock(world.settings.mirror_root, "pypi_sync"):
        assert world.verify().repaired == []


def test_each_part_has_its_turn(tmp_path: Path) -> None:
    for part in range(3):
        assert due_part(tmp_path) == part
        (tmp_path / f"{part:03}.json").write_text("{}")
    assert {part_of(f"package-{number}") for number in range(3000)} == set(range(PARTS))
