"""What Aura is told about the rest of PyPI: the files of aura_dataset.tgz, cut down to what one shard can ask for."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from program import ProgramError

STATS = "pypi_stats.json"
DEPENDENCIES = "reverse_dependencies.json"


@dataclass(frozen=True)
class Datasets:
    """Names are canonical everywhere.

    `popular` are (name, downloads) down to a threshold, most downloaded first; `downloads` holds the packages of the
    shard below it, `dependents` the names of the packages that require a package of the shard. `digests` are the sha256
    of the files, by file name.
    """

    popular: tuple[tuple[str, int], ...]
    downloads: dict[str, int]
    dependents: dict[str, list[str]]
    digests: dict[str, str]


def load_datasets(directory: Path, names: set[str], threshold: int) -> Datasets:
    """Read ``pypi_stats.json`` and ``reverse_dependencies.json`` in `directory`, for the packages `names`.

    A package counts as popular from `threshold` downloads on. Raises ProgramError if a file is not what it should be.
    """
    popular: list[tuple[str, int]] = []
    downloads: dict[str, int] = {}
    try:
        with (directory / STATS).open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                name, count = _canonical(entry["package_name"]), int(entry["downloads"])
                if count >= threshold:
                    popular.append((name, count))
                elif name in names:
                    downloads[name] = count
        everything = json.loads((directory / DEPENDENCIES).read_bytes())
        dependents = {name: everything[name] for name in names & everything.keys()}
        digests = {name: _sha256(directory / name) for name in (DEPENDENCIES, STATS)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProgramError(f"the dataset in {directory} cannot be used ({error!r}); ship aura_dataset again") from error
    return Datasets(tuple(popular), downloads, dependents, digests)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
