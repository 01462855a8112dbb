"""Two operations on the CDN that only the index needs."""

from botocore.exceptions import BotoCoreError, ClientError

from pypi_scan.publish import Cdn, PublishError


def object_sizes(cdn: Cdn, prefix: str) -> dict[str, int]:
    """Return the sizes in bytes of the objects directly below `prefix` (with a trailing slash), by name.

    Raises PublishError if they cannot be listed.
    """
    sizes = {}
    try:
        pages = cdn.client.get_paginator("list_objects_v2").paginate(Bucket=cdn.bucket, Prefix=prefix, Delimiter="/")
        for page in pages:
            sizes.update({each["Key"].removeprefix(prefix): each["Size"] for each in page.get("Contents", ())})
    except (BotoCoreError, ClientError) as error:
        raise PublishError(f"listing {prefix} failed: {error}; check the CDN connection and its origin") from error
    return sizes


def delete_object(cdn: Cdn, key: str) -> None:
    """Delete an object that may be there; raises PublishError."""
    try:
        cdn.client.delete_object(Bucket=cdn.bucket, Key=key)
    except (BotoCoreError, ClientError) as error:
        raise PublishError(f"deleting {key} failed: {error}; check that the CDN connection's key may delete") from error
