"""Which addresses of this machine something listens on, as the kernel lists them."""

from pathlib import Path

_LISTEN = "0A"  # the state in /proc/net/tcp


def listening_addresses(port: int) -> set[str]:
    """Return the addresses on which something listens at this TCP port; an IPv6 address as the kernel writes it."""
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            _, local, _, state, *_ = line.split()
            address, _, local_port = local.partition(":")
            if state == _LISTEN and int(local_port, 16) == port:
                found.add(".".join(map(str, bytes.fromhex(address)[::-1])) if table == "tcp" else address)
    return found
