"""Say which scanner a scan with these options would use, without scanning.

Prints one JSON line: {"scanner", "version", "python", "settings"}, as scan_shard.py has them in ``scanner.json``.
"""

import argparse
import sys

import jsonl
import program
import scanner_identity


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0] if __doc__ else None)
    scanner_identity.add_options(parser)
    return parser.parse_args()


def main() -> None:
    settings = scanner_identity.read_settings(_arguments())
    line = jsonl.line(scanner_identity.identity(scanner_identity.load_engine(), settings))
    sys.stdout.buffer.write(line)


if __name__ == "__main__":
    program.run(main)
