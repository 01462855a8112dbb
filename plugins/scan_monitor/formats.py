"""How pages write figures, and text from outside."""

from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def count(number: int) -> str:
    """Write a whole number: 700,000."""
    return f"{number:,}"


def size(number: float) -> str:
    """Write a number of bytes in a unit of powers of ten, of three digits: 1.25 GB."""
    power = 0
    while number >= 999.5 and power < len(_UNITS) - 1:
        number /= 1000
        power += 1
    return f"{number:.3g} {_UNITS[power]}" if power else f"{number:.0f} B"


def duration(seconds: float) -> str:
    """Write a time span in its two largest units: 3 d 4 h, 12 min 30 s, 1.5 s."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def share(part: float, whole: float) -> str:
    """Write a part of a whole in percent: 12.5 %, a dash for a part of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def instant(seconds: float) -> str:
    """Write a time, in seconds since the epoch, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def visible(value: Any) -> Any:
    """Write what a browser does not show, or obeys, such as a change of the writing direction, as its escape sequence.

    Line ends and tabs stay; what is no text, or was made by a template, is returned as it is.
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in value)
