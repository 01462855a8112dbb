"""The public key on the CDN: there once, and never replaced by mistake."""

import pytest

from pypi_scan.public_key import PUBLIC_KEY, AnotherKeyError, check_public_key, publish_public_key
from pypi_scan.publish import Cdn, publish_bytes, read_object
from pypi_scan.signing import new_key_pair


def test_the_key_is_published_once(cdn: Cdn) -> None:
    _, public_key = new_key_pair()
    assert not check_public_key(cdn, public_key)
    publish_public_key(cdn, public_key)
    assert check_public_key(cdn, public_key)
    assert read_object(cdn, "pypi_datasets/index/minisign.pub") == public_key.encode()
    head = cdn.client.head_object(Bucket=cdn.bucket, Key=PUBLIC_KEY)
    assert (head["ContentType"], head["CacheControl"]) == ("text/plain; charset=utf-8", "public, max-age=300")

    puts: list[str] = []
    cdn.client.meta.events.register("before-call.s3.PutObject", lambda model, **_: puts.append(model.name))
    publish_public_key(cdn, public_key)
    assert puts == []


def test_another_key_is_not_replaced(cdn: Cdn) -> None:
    (_, published), (_, ours) = new_key_pair(), new_key_pair()
    publish_public_key(cdn, published)
    for function in (check_public_key, publish_public_key):
        with pytest.raises(AnotherKeyError, match=r"https://cdn\.example/.*/minisign\.pub is not the public key of"):
            function(cdn, ours)
    assert read_object(cdn, PUBLIC_KEY) == published.encode()


def test_what_is_no_key_is_not_replaced(cdn: Cdn) -> None:
    publish_bytes(cdn, PUBLIC_KEY, b"")
    with pytest.raises(AnotherKeyError):
        publish_public_key(cdn, new_key_pair()[1])


def test_the_comment_of_a_key_is_free(cdn: Cdn) -> None:
    _, public_key = new_key_pair()
    publish_bytes(cdn, PUBLIC_KEY, f"untrusted comment: ours\n{public_key.split()[-1]}\n".encode())
    assert check_public_key(cdn, public_key)
