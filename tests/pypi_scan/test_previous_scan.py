"""The scan that a dataset is compared with: the last before it in time, and its editions from where they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pypi_scan.index import load_index
from pypi_scan.index.model import make_index
from pypi_scan.previous_scan import fetch_previous_scan, previous_scan
from pypi_scan.publish import Cdn, PublishError, publish_directory
from pypi_scan.signing import SigningKey, new_key_pair

KEY = SigningKey(new_key_pair()[0])


@pytest.fixture
def publish(make_scan: Callable[..., Any], cdn: Cdn, tmp_path: Path) -> Callable[..., Any]:
    """Plan, pack and publish a scan of one package; returns it."""

    def make(scan_id: str, *, partial: bool = False, public: bool = True) -> Any:
        if (tmp_path / "mirror").exists():
            (tmp_path / "mirror").rename(tmp_path / f"mirror-{len(list(tmp_path.iterdir()))}")
        scan = make_scan({"a": None})
        plan = msgspec.structs.replace(scan.plan, scan_id=scan_id, as_of=f"{scan_id}T00:00:00Z", partial=partial)
        directory = scan.directory.with_name(f"made-{scan_id}")
        scan.directory.rename(directory)
        directory = directory.rename(directory.with_name(scan_id))
        (directory / "plan.json").write_bytes(msgspec.json.encode(plan))
        scan = type(scan)(directory, plan, scan.division)
        scan.results("0001").accept()
        scan.pack(key=KEY)
        if public:
            publish_directory(cdn, directory / "dataset", f"pypi_datasets/{scan_id}", immutable=True)
        return scan

    return make


def test_the_last_full_scan_before_it_in_time(publish: Callable[..., Any], cdn: Cdn) -> None:
    scans = [publish(scan_id) for scan_id in ("2026-05-01", "2026-03-01", "2026-01-01")]  # as a backfill may run them
    publish("2026-04-01", partial=True)
    publish("2026-03-15", public=False)
    index = load_index(cdn)

    def before(scan_id: str, *, partial: bool = False) -> str | None:
        plan = msgspec.structs.replace(scans[0].plan, as_of=f"{scan_id}T00:00:00Z", partial=partial)
        found = previous_scan(plan, index)
        return found.scan_id if found else None

    assert before("2026-06-01") == "2026-05-01"
    assert before("2026-05-01") == "2026-03-01"
    assert before("2026-04-15") == "2026-03-01"
    assert before("2026-01-01") is None
    assert before("2026-06-01", partial=True) is None


def test_of_two_scans_of_one_moment_it_is_the_later_one(publish: Callable[..., Any], cdn: Cdn) -> None:
    plan = publish("2026-01-01").plan
    (scan,) = load_index(cdn).scans
    twice = [msgspec.structs.replace(scan, scan_id=f"2026-01-01-{number}") for number in (10, 9)]
    index = make_index(cdn.public_url, twice)
    found = previous_scan(msgspec.structs.replace(plan, as_of="2026-02-01T00:00:00Z"), index)
    assert found
    assert found.scan_id == "2026-01-01-10"


def test_the_editions_are_taken_from_this_host_or_from_the_cdn(publish: Callable[..., Any], cdn: Cdn) -> None:
    first, second = publish("2026-01-01"), publish("2026-02-01")
    scans = first.directory.parent
    found = fetch_previous_scan(cdn, scans, "2026-02-01", KEY)
    assert found
    assert (found.scan_id, found.directory) == ("2026-01-01", first.directory / "dataset")
    packed = (first.directory / "dataset" / "packages.parquet").read_bytes()
    (first.directory / "dataset" / "packages.parquet").unlink()
    found = fetch_previous_scan(cdn, scans, "2026-02-01", KEY)
    assert found
    assert found.directory == second.directory / "previous"
    assert (found.directory / "packages.parquet").read_bytes() == packed
    assert fetch_previous_scan(cdn, scans, "2026-01-01", KEY) is None


def test_what_is_not_as_its_manifest_says_is_not_compared_with(publish: Callable[..., Any], cdn: Cdn) -> None:
    first = publish("2026-01-01")
    publish("2026-02-01")
    (first.directory / "dataset" / "packages.parquet").unlink()
    cdn.client.put_object(Bucket=cdn.bucket, Key="pypi_datasets/2026-01-01/packages.parquet", Body=b"forged")
    with pytest.raises(PublishError, match="is not what its manifest says"):
        fetch_previous_scan(cdn, first.directory.parent, "2026-02-01", KEY)
    assert json.loads((first.directory / "plan.json").read_bytes())["scan_id"] == "2026-01-01"


def test_what_is_not_signed_with_our_key_is_not_compared_with(publish: Callable[..., Any], cdn: Cdn) -> None:
    first = publish("2026-01-01")
    publish("2026-02-01")
    (first.directory / "dataset" / "packages.parquet").unlink()
    assert fetch_previous_scan(cdn, first.directory.parent, "2026-02-01", SigningKey(new_key_pair()[0])) is None
    manifest = "pypi_datasets/2026-01-01/manifest.json"
    content = cdn.client.get_object(Bucket=cdn.bucket, Key=manifest)["Body"].read()
    cdn.client.put_object(Bucket=cdn.bucket, Key=manifest, Body=content.replace(b'"2026-01-01"', b'"2026-01-01" '))
    assert fetch_previous_scan(cdn, first.directory.parent, "2026-02-01", KEY) is None
