"""The log of GNU parallel (``--joblog``), which the published datasets have always had."""

from pool import Ended

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


def row(seq: int, name: str, ended: Ended, received: int) -> str:
    """Return the row of the package `name`, `seq`-th of its shard, of which `received` bytes of record came back.

    Where none came back the job has failed, also if its process has not: ``parallel --resume-failed`` goes by this.
    """
    exit_code = ended.exit_code or int(not ended.signal and not received)
    cells = (
        str(seq),
        ":",  # GNU parallel's name for the machine it runs on
        f"{ended.started:14.3f}",
        f"{ended.seconds:10.3f}",
        "0",
        str(received),
        str(exit_code),
        str(ended.signal),
        f"scan {name}",
    )
    return "\t".join(cells) + "\n"
