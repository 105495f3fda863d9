"""pymilter's milter that does nothing, on the machine's own Python: `/usr/bin/python3 pymilter_null.py SOCKET`."""

import os
import sys

import Milter


class Null(Milter.Base):
    """Sees what ours sees: headers, and no body."""

    @Milter.noreply
    def header(self, _name: str, _value: str) -> int:
        return Milter.CONTINUE

    @Milter.nocallback
    def body(self, _chunk: bytes) -> int:
        return Milter.CONTINUE

    def eoh(self) -> int:
        return Milter.ACCEPT


os.umask(0)
Milter.factory = Null
print("ready", flush=True)
Milter.runmilter("null", f"unix:{sys.argv[1]}", 60)
