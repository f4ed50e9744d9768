"""Server-sent events -> their data fields, incrementally. In: byte chunks as they come. Out: whole events.

Pure, so that it is tested without a server; follows the WHATWG rules that chat endpoints use (data lines joined by
a line feed, comments and other fields passed over, CR LF or LF).
"""

from __future__ import annotations


class Events:
    """Feed bytes, get the data of each event that is now complete. `waiting` is what an unfinished event holds."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    @property
    def waiting(self) -> int:
        """Bytes held back until their line or event ends."""
        return len(self._rest) + sum(map(len, self._data))

    def feed(self, chunk: bytes) -> list[bytes]:
        if b"\n" not in chunk:
            self._rest += chunk
            return []
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found: list[bytes] = []
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            if not line:
                if self._data:
                    found.append(b"\n".join(self._data))
                    self._data = []
            elif line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        return found

    def end(self) -> list[bytes]:
        """What a server left without its closing blank line; a cut line is included, and its JSON will not parse."""
        return self.feed(b"\n\n")
