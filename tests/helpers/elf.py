# SPDX-License-Identifier: MIT
"""What a program asks of the dynamic linker, read from its segments (elf(5)).

  elf = Elf(path)        elf.interpreter: the dynamic linker, None in a static program
  elf.needed             [soname ...] that are loaded before the program runs
  elf.may_load           what its notes of dlopen(3) say (systemd.io/ELF_DLOPEN_METADATA), each [{"soname": [...], ...}]
"""
import json
import struct

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
DT_NEEDED, DT_STRTAB = 1, 5
NOTE_OWNER, NOTE_TYPE = b"FDO\0", 0x407C0C0A


class Elf:
    def __init__(self, path):
        with open(path, "rb") as f:
            self._data = f.read()
        if self._data[:4] != b"\x7fELF":
            raise ValueError(f"{path}: no ELF file")
        self._wide, self._order = self._data[4] == 2, "<" if self._data[5] == 1 else ">"
        self._segments = list(self._read_segments())
        interpreter = [self._part(s) for s in self._segments if s[0] == PT_INTERP]
        self.interpreter = interpreter[0].rstrip(b"\0").decode() if interpreter else None
        self.needed = list(self._read_needed())
        self.may_load = [entry for note in self._read_notes() for entry in json.loads(note.rstrip(b"\0"))]

    def _unpack(self, layout, at):
        return struct.unpack_from(self._order + layout, self._data, at)

    def _read_segments(self):
        """(type, offset, address, bytes)"""
        start, = self._unpack("Q", 32) if self._wide else self._unpack("I", 28)
        size, n = self._unpack("HH", 54 if self._wide else 42)
        for at in range(start, start + size * n, size):
            if self._wide:
                kind, _, offset, address, _, length = self._unpack("IIQQQQ", at)
            else:
                kind, offset, address, _, length = self._unpack("IIIII", at)
            yield kind, offset, address, length

    def _part(self, segment):
        return self._data[segment[1]:segment[1] + segment[3]]

    def _read_needed(self):
        word = "Q" if self._wide else "I"
        pairs = [pair for s in self._segments if s[0] == PT_DYNAMIC
                 for pair in struct.iter_unpack(f"{self._order}2{word}", self._part(s))]
        for table in [value for tag, value in pairs if tag == DT_STRTAB]:
            offset, = [table - s[2] + s[1] for s in self._segments if s[0] == PT_LOAD and 0 <= table - s[2] < s[3]]
            for name in [value for tag, value in pairs if tag == DT_NEEDED]:
                yield self._data[offset + name:self._data.index(b"\0", offset + name)].decode()

    def _read_notes(self):
        for _, offset, _, length in [s for s in self._segments if s[0] == PT_NOTE]:
            at = offset
            while at < offset + length:
                owner_bytes, text_bytes, kind = self._unpack("III", at)
                owner, text = at + 12, at + 12 + (owner_bytes + 3) // 4 * 4
                if (self._data[owner:owner + owner_bytes], kind) == (NOTE_OWNER, NOTE_TYPE):
                    yield self._data[text:text + text_bytes]
                at = text + (text_bytes + 3) // 4 * 4
