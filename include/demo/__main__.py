"""``python -m demo run`` plays the whole pipeline once and stops; ``serve`` leaves it running."""

import argparse
import signal
import sys
import types
from pathlib import Path

from rich.console import Console

from demo.pipeline import play
from demo.processes import DemoError


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("command", choices=["run", "serve"])
    parser.add_argument("--directory", type=Path, default=Path(".demo"), help="where its state lies (default: .demo)")
    parser.add_argument("--workers", type=int, choices=range(1, 9), default=1, help="worker nodes (default: 1)")
    arguments = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    for number in (signal.SIGINT, signal.SIGTERM):  # also where the shell that started it lets it ignore Ctrl-C
        signal.signal(number, _interrupt)
    try:
        play(arguments.directory, console, workers=arguments.workers, stay=arguments.command == "serve")
    except DemoError as error:
        console.print(f"error: {error}", markup=False, style="red")
        if (logs := arguments.directory / "logs").is_dir():
            console.print(f"The logs of all servers are in {logs}.", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything the demo started has been stopped")
        return 130
    return 0


def _interrupt(signum: int, frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
