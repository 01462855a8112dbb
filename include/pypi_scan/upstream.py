"""The index that the mirror follows, asked as bandersnatch asks it.

bandersnatch is no library with a stable interface: what is used of it is used in programs that may fail.
"""

from configparser import SectionProxy

from bandersnatch.master import Master


def upstream(config: SectionProxy) -> Master:
    """Return the upstream of a bandersnatch configuration, of which `config` is the section ``mirror``."""
    return Master(
        config["master"],
        config.getfloat("timeout"),
        config.getfloat("global-timeout"),
        config.get("proxy"),
        config.getboolean("allow-non-https"),
    )
