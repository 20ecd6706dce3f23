"""What is remembered of a file counts while the file's times stay as they are.

That holds only for a file that has been left alone for a while: two changes one right after the
other may have the same time.
"""

import time

_SETTLED_NS = 2 * 10**9


def settled(*times: int) -> bool:
    """Whether a file's next change will show in these times.

    Args:
        *times: when the file was changed, in nanoseconds since 1970. A time in the future counts as
            settled: the clock of a file server may go ahead, and would never be trusted.
    """
    now = time.time_ns()
    return all(abs(now - changed) > _SETTLED_NS for changed in times)
