"""The engine as a Faust worker: group membership, fetching, the way to the partitions.

It may import what `engine` may, and is the only room that imports Faust. Read in this order: `owner` (who has the
partitions), `fetch_schedule` (what is fetched next), `consumer` (fetches, and hands whole batches on), `transport`
(what Faust is given in place of its own parts), `app` (starts and stops a task per partition), `process`, `watchdog`.
"""

import os

# Before anything of Faust is imported: its compiled stream inlines Consumer.ack, which is replaced here.
os.environ.setdefault("NO_CYTHON", "1")
