"""What each engine beside Spark writes for a table: three topics, from which one materialiser fills table, ledger and dead letter queue.

| topic            | a record's value, JSON                                                                                |
|------------------|-------------------------------------------------------------------------------------------------------|
| <results>        | a row of the result, all of its columns; the newest record of a group is its row. Without a value:    |
|                  | the row of this key is gone, as two sessions that have become one; the key, JSON, has `rta_start` and |
|                  | `rta_end`, microseconds since the epoch, and the other keys by their names in the result              |
| <results>.counts | partition, next (the offset after the newest event that is counted), consumed, used, late, quarantined |
| <results>.bad    | partition, offset and reason of a bad event                                                           |

Counts are those since the beginning. Each topic has one partition, so the order is that of the engine.
"""

from __future__ import annotations

from typing import Final

START: Final = "rta_start"
END: Final = "rta_end"
COUNTS: Final = ".counts"
BAD: Final = ".bad"
