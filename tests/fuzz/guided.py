"""Fuzzes targets for some time, guided by what code an input reaches: ``python -m tests.fuzz.guided SECONDS [TARGET]``.

Without a target each gets an equal share. What reached new code is kept in ``.fuzz/corpus`` for the next time; an input
that breaks a promise is left in ``.fuzz/crashes``, and the exit status is not 0. ``make fuzz`` starts it.
"""

import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["pypi_scan", "shard"]):
    from demo.upstream import build_upstream

    from .mutation import mutate
    from .targets import make_targets
    from .world import PROJECT, make_world

_KEPT = PROJECT / ".fuzz"
_IN_MEMORY = Path("/dev/shm")  # each input is a few files, and what accepts them waits until they are on the disk
_LIMITS = ["-timeout=20", "-rss_limit_mb=2500", "-max_len=200000", "-verbosity=0", "-print_final_stats=1"]


def fuzz(name: str, seconds: int, root: Path) -> None:
    """Fuzz a target in the world below `root`; ends the process."""
    world = pickle.loads((root / "world.pickle").read_bytes())
    target = next(target for target in make_targets(world, root / "targets") if target.name == name)
    corpus, crashes = _KEPT / "corpus" / name, _KEPT / "crashes" / name
    for directory in (corpus, crashes):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    options = [*_LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={crashes}/", str(corpus)]
    atheris.Setup([sys.argv[0], *options], target.run, custom_mutator=_mutate)
    atheris.Fuzz()


def _mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change the structure of an input or, as often, its bytes as the engine sees fit."""
    return mutate(data, Random(seed))[:max_size] if seed % 2 else atheris.Mutate(data, max_size)


def _main(seconds: int, name: str | None = None) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_IN_MEMORY if _IN_MEMORY.is_dir() else None) as temporary:
        root = Path(temporary)
        build_upstream(root / "upstream", root / "cache", real_packages=False)
        world = make_world(root / "upstream", root / "world")
        (root / "world.pickle").write_bytes(pickle.dumps(world))
        names = [target.name for target in make_targets(world, root / "targets")]
        if name:
            if name not in names:
                sys.exit(f"error: there is no target {name}; it is one of {', '.join(names)}")
            names = [name]
        share = max(1, seconds // len(names))
        failed = []
        for one in names:
            print(f"fuzzing {one} for {share} seconds", flush=True)
            command = [sys.executable, "-m", "tests.fuzz.guided", str(share), one, temporary]
            if subprocess.run(command, check=False).returncode:
                failed.append(one)
    print(f"failed: {', '.join(failed) or 'none'}; what failed is in .fuzz/crashes")
    return len(failed)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        fuzz(sys.argv[2], int(sys.argv[1]), Path(sys.argv[3]))
    sys.exit(_main(int(sys.argv[1]), *sys.argv[2:]))
