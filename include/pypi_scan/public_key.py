"""The public key on the CDN, ``pypi_datasets/index/minisign.pub``: what readers verify every scan with."""

from pypi_scan.manifest import SCANS_PREFIX
from pypi_scan.publish import Cdn, PublishError, publish_bytes, read_object

PUBLIC_KEY = f"{SCANS_PREFIX}/index/minisign.pub"


class AnotherKeyError(PublishError):
    """The CDN shows another public key than the one that is to sign."""


def check_public_key(cdn: Cdn, public_key: str) -> bool:
    """Say whether this public key, the content of its file, is on the CDN.

    Raises AnotherKeyError if another one is: by that, readers would take what is signed now for forged. Raises
    PublishError if the origin cannot be read.
    """
    published = read_object(cdn, PUBLIC_KEY)
    if published is None:
        return False
    # The first line is a comment that whoever made the file was free to choose.
    if published.split()[-1:] != [public_key.split()[-1].encode()]:
        raise AnotherKeyError(
            f"{cdn.url(PUBLIC_KEY)} is not the public key of the signing connection, and nothing was published: "
            "put the right secret key into the connection; or, if the key was changed on purpose, tell your readers "
            "and delete that object"
        )
    return True


def publish_public_key(cdn: Cdn, public_key: str) -> None:
    """Put the public key on the CDN if it is not there; raises what check_public_key raises."""
    if not check_public_key(cdn, public_key):
        publish_bytes(cdn, PUBLIC_KEY, public_key.encode())
