# SPDX-License-Identifier: MIT
"""A network of the test's own, with a name server and doors to a Faktory server, for tests of names.

  nameserver.need()              skips the test where namespaces cannot be had; else this process is in new ones: an
                                 interface lo that nobody else has, and own /etc/resolv.conf and /etc/hosts
  names = NameServer(directory)  on port 53 there. names.tell("a.test", "127.0.0.2", "::1"); names.silent = True;
                                 names.asked counts questions; names.hosts("127.0.0.9 b.test")
  Door("127.0.0.2", 7419, port)  whoever connects there is connected to 127.0.0.1:port; .n_accepted; close() cuts all
"""
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import threading

import tap

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
A, AAAA = 1, 28
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source, target, flags):
    _check(_libc.mount(source.encode(), target.encode(), None, flags, None), f"mount {target}")


def need():
    """New ones each time; this process stays in the last."""
    reason = None
    for path in ("/etc/resolv.conf", "/etc/hosts"):
        if not os.path.exists(path):
            reason = f"there is no {path} to be replaced"
    if not reason and _libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        reason = f"no namespaces: {os.strerror(ctypes.get_errno())}"
    try:
        if not reason:
            _mount("none", "/", MS_REC | MS_PRIVATE)
    except OSError as e:
        reason = f"no mounts of one's own: {e.strerror}"
    tap.need("namespaces", reason)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


class NameServer:
    ADDRESS = "127.0.0.53"

    def __init__(self, directory):
        self.silent, self.asked, self._names, self._mounted, self._directory = False, 0, {}, [], directory
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.ADDRESS, 53))
        self._replace("/etc/resolv.conf", f"nameserver {self.ADDRESS}\n")
        self._replace("/etc/hosts", "127.0.0.1 localhost\n")
        threading.Thread(target=self._serve, daemon=True).start()

    def _replace(self, path, text):
        own = os.path.join(self._directory, os.path.basename(path))
        new = not os.path.exists(own)
        with open(own, "w") as f:
            f.write(text)
        if new:
            _mount(own, os.path.realpath(path), MS_BIND)
            self._mounted.append(os.path.realpath(path))

    def hosts(self, *lines):
        self._replace("/etc/hosts", "".join(f"{line}\n" for line in ("127.0.0.1 localhost", *lines)))

    def tell(self, name, *addresses):
        self._names[name] = addresses

    def close(self):
        self._socket.close()
        for path in self._mounted:
            _check(_libc.umount2(path.encode(), MNT_DETACH), f"umount {path}")

    def _answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind, = struct.unpack(">H", question[at + 1:at + 3])
        name = ".".join(labels).lower()
        packed = []
        for address in self._names.get(name, ()):
            if (":" in address) == (kind == AAAA) and kind in (A, AAAA):
                packed.append(socket.inet_pton(socket.AF_INET6 if kind == AAAA else socket.AF_INET, address))
        flags = 0x8180 if name in self._names else 0x8183
        # A day to live: whoever asks anew does so by itself.
        records = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 86400, len(p)) + p for p in packed)
        return question[:2] + struct.pack(">HHHHH", flags, 1, len(packed), 0, 0) + question[12:at + 5] + records

    def _serve(self):
        while True:
            try:
                question, peer = self._socket.recvfrom(512)
                self.asked += 1
                if not self.silent:
                    self._socket.sendto(self._answer(question), peer)
            except OSError as e:
                if e.errno == errno.EBADF:
                    return


class Door:
    def __init__(self, address, port, inner_port):
        self.n_accepted, self._inner_port, self._open = 0, inner_port, []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=64)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                outer, _ = self._listener.accept()
            except OSError:
                return
            self.n_accepted += 1
            try:
                inner = socket.create_connection(("127.0.0.1", self._inner_port))
            except OSError:
                outer.close()
                continue
            self._open += [outer, inner]
            threading.Thread(target=self._copy, args=(outer, inner), daemon=True).start()

    @staticmethod
    def _copy(outer, inner):
        """Until one of them ends."""
        other = {outer: inner, inner: outer}
        try:
            while True:
                for s in select.select(list(other), [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        raise OSError
                    other[s].sendall(data)
        except (OSError, ValueError):
            for s in other:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        for s in (self._listener, *self._open):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
