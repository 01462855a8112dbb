"""Makes the secrets of the stack at its first start; one that is there is never replaced.

Each service has a directory, a volume of its own, and so sees its own secrets only: ``control`` has what Airflow needs,
the others the part of it that is theirs, and each worker its host key. Files are readable for the user that the service
runs as, and for nobody else.
"""

import argparse
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from pypi_scan.signing import new_key_pair

POSTGRES_UID = 0  # its entry point reads the password before it gives up being root
REDIS_UID = 999
WORKER_UID = 1000


class Secrets:
    """A directory of files that only the user `uid` can read."""

    def __init__(self, directory: Path, uid: int) -> None:
        self._directory, self._uid = directory, uid
        directory.mkdir(exist_ok=True)
        directory.chmod(0o700)
        for path in (directory, *directory.iterdir()):  # the user may be another one than last time
            os.chown(path, uid, uid)

    def keep(self, name: str, make: Callable[[], str]) -> str:
        """Return the content of the file `name`, which is `make()` if there was none before."""
        path = self._directory / name
        if not path.exists():
            self.write(name, make())
        return path.read_text(encoding="ascii")

    def write(self, name: str, content: str) -> None:
        """Write the file `name` whole, in the place of one that is there."""
        descriptor, temporary = tempfile.mkstemp(dir=self._directory, prefix=f".{name}.")  # with mode 0600
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chown(temporary, self._uid, self._uid)
        Path(temporary).replace(self._directory / name)


def make_secrets(root: Path, control_uid: int, owners: dict[str, int]) -> None:
    """Make what is missing of the directory ``control`` below `root` and of each of `owners` (directory -> user).

    The directories are those of the services: ``postgres``, ``redis``, ``store``, and any that begin with ``worker``.
    """
    control = Secrets(root / "control", control_uid)
    control.keep("fernet_key", lambda: Fernet.generate_key().decode())
    for name in ("jwt_secret", "api_secret_key"):
        control.keep(name, lambda: secrets.token_hex(32))
    control.keep("admin_password", lambda: secrets.token_urlsafe(16))
    control.keep("minisign.key", lambda: new_key_pair()[0])
    postgres = control.keep("postgres_password", lambda: secrets.token_hex(24))
    redis = control.keep("redis_password", lambda: secrets.token_hex(24))
    store = control.keep("store_key", lambda: f"{secrets.token_hex(10)},{secrets.token_hex(20)}")
    worker_key = control.keep("worker_key", _new_ssh_key)

    Secrets(root / "postgres", owners["postgres"]).write("password", postgres)
    Secrets(root / "redis", owners["redis"]).write("redis.conf", f"dir /data\nrequirepass {redis}\n")
    Secrets(root / "store", owners["store"]).write("key", store)
    for worker in sorted(name for name in owners if name.startswith("worker")):
        own = Secrets(root / worker, owners[worker])
        own.write("authorized_keys", _public_ssh_key(worker_key))
        control.write(f"{worker}.host_key.pub", _public_ssh_key(own.keep("host_key", _new_ssh_key)))


def _new_ssh_key() -> str:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _public_ssh_key(private: str) -> str:
    public = load_ssh_private_key(private.encode(), None).public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + "\n"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Make the secrets of the stack that are not there yet.")
    parser.add_argument("root", type=Path, help="the directory of the services' directories")
    parser.add_argument("--control-uid", type=int, required=True, help="the user that Airflow runs as")
    arguments = parser.parse_args()
    control = arguments.control_uid
    workers = {path.name: WORKER_UID for path in arguments.root.glob("worker*")}
    owners = {"postgres": POSTGRES_UID, "redis": REDIS_UID, "store": control, **workers}
    make_secrets(arguments.root, control, owners)


if __name__ == "__main__":
    main()
