"""How a program of this directory ends that did not succeed: what job.py tells the control host apart by."""

FAILED = 1  # as the last line of its output says
OUT_OF_ROOM = 73  # on a disk of this machine
OUT_OF_MEMORY = 74
SCANNER_BROKEN = 70  # the scanner, not the packages: trying again would give the same
