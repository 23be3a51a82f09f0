# SPDX-License-Identifier: MIT
"""The development server seen and disturbed from outside: its log, its rules of misbehaviour, and the
control socket (JSON, one object a line in each direction) through which tests reach both.

A rule is an object. It applies to the next command that fits, "times" times (default 1; 0 = always),
after it let "skip" of them pass:
  which:  "verb": "FETCH" (default any; "HI" is the greeting, "HELLO" its answer), "contains": text in the
          line, "conn": number, "wid": wid
  what ("do"):
    "die"    the connection ends after "at" bytes of the reply (default 0; from the end if negative);
             "how": "rst" (default) or "fin"; "execute": false = the command is not carried out either
    "drop"   the connection ends when "at" bytes (1) of the command have come; it is never carried out
    "late"   the reply comes "seconds" late; "before": true delays the command itself
    "hang"   the command is carried out, its reply waits for {"cmd": "release"}
    "error"  -ERR "text" in place of the reply; "execute": true carries the command out all the same;
             "close": true ends the connection after it
    "say"    the raw "text" in place of the reply; "execute" as above
    "half"   ACK and FAIL: the reservation is forgotten in memory only, then -ERR "text" (a storage error)
    "split"  the reply in pieces, "pause" seconds between them (0.002): "at": [positions] or "each"; "hang": true = each
             piece but the first waits for {"cmd": "release"}
Several rules can fit one command; all are used.

Commands of the control socket ({"cmd": ..., ...}; the answer is an object, {"error": text} if refused):
  rule RULE -> {"rule": id}        rules -> what is left of them        clear: forget all rules
  release                          state: counts and counters           jobs: every set and queue
  find {"jid"} -> {"set", "job"}   log {"since"} -> {"log": [...], "next"}
  conns: open connections, "phase": "hang" where a rule waits          kick {"conn" | "wid" | neither = all, "how"}
  say {"conn"... , "text"}: bytes nobody asked for          deaf {"conn"..., "on"}: stop hearing it
  blackhole {"conn"..., "on"}: the kernel drops what comes there, unacknowledged, as if the network were cut;
      with neither conn nor wid also what would open a connection
  refuse {"on"}: the port is closed        accept {"on": false}: connections stay in the backlog
  freeze {"on"}: nothing is greeted, carried out or answered
  quiet {"wid", "state": "quiet" | "terminate"}: as the button of the web page
  tick {"what": "scan" | "reap" | "beats"}: now; "scan" takes retries and scheduled jobs not yet due with "all", "reap"
      stops with "hold" in the middle, between taking a reservation and failing its job, until {"cmd": "release"}
  set {option: value}              now -> {"ns": CLOCK_MONOTONIC}
Log entries: {"n", "conn", "wid", "ns", "what": "open" | "command" | "close", ...}; a command has "verb", "line"
(its first 4096 bytes), "size", and once answered "reply" (first 4096 bytes) and "reply_ns".
"""
import asyncio
import ctypes
import itertools
import json
import socket
import struct
import time

import gojson

LINE_MAX = 4096
LOG_MAX = 300000
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # one instruction: return 0 (bpf(2))


class Mischief:
    def __init__(self, server):
        self.server = server
        self.rules, self.entries, self.first = {}, [], 0
        self.ids = itertools.count(1)
        self.released = asyncio.Event()

    # --- the log

    def log(self, c, what, ns=None, **more):
        entry = {"n": self.first + len(self.entries), "conn": c.number, "wid": c.worker.wid if c.worker else "",
                 "ns": ns or time.monotonic_ns(), "what": what, **more}
        self.entries.append(entry)
        if len(self.entries) > LOG_MAX:
            del self.entries[:LOG_MAX // 2]
            self.first += LOG_MAX // 2
        return entry

    def command(self, c, verb, line):
        text = line[:LINE_MAX].decode("utf-8", "replace")
        return self.log(c, "command", ns=c.line_at, verb=verb, line=text, size=len(line))

    # --- the rules

    def _fits(self, rule, c, verb, line):
        return (rule.get("verb", verb) == verb and rule.get("conn", c.number) == c.number
                and ("wid" not in rule or (c.worker and c.worker.wid == rule["wid"]))
                and rule.get("contains", "").encode() in line)

    def _use(self, c, verb, line, do=lambda do: do != "drop"):
        found = []
        for number, rule in list(self.rules.items()):
            if not do(rule["do"]) or not self._fits(rule, c, verb, line):
                continue
            if rule.get("skip", 0) > 0:
                rule["skip"] -= 1
                continue
            found.append(rule)
            if rule.get("times", 1) == 1:
                del self.rules[number]
            elif rule.get("times", 1) > 1:
                rule["times"] -= 1
        return {rule["do"]: rule for rule in found}

    def drops(self, c, end):
        """The next command is in the buffer, wholly (up to END) or in part: does the connection end here?"""
        line = bytes(c.buffer[:end] if end >= 0 else c.buffer)
        verb = line.partition(b" ")[0].strip().decode("utf-8", "replace")
        for number, rule in list(self.rules.items()):
            if rule["do"] == "drop" and self._fits(rule, c, verb, line) and len(line) + (end >= 0) >= rule.get("at", 1):
                self._use(c, verb, line, lambda do: do == "drop")
                c.close(rule.get("how", "rst") == "rst")
                return True
        return False

    async def answer(self, c, verb, line, reply):
        """Carry out (REPLY may be a coroutine) and answer, or what the rules make of it."""
        entry = self.command(c, verb, line) if verb != "HI" else None
        if not self.rules:
            c.phase = "run"
            pieces = await reply if asyncio.iscoroutine(reply) else reply
            await c.write(pieces)
        else:
            pieces = await self._misbehave(c, verb, line, reply)
        if entry is not None:
            entry["reply"] = b"".join(piece[:LINE_MAX] for piece in pieces)[:LINE_MAX].decode("utf-8", "replace")
            entry["reply_ns"] = time.monotonic_ns()

    async def _hang(self, c):
        c.phase = "hang"
        self.released.clear()
        await self.released.wait()

    async def _misbehave(self, c, verb, line, reply):
        use = self._use(c, verb, line)
        late, instead = use.get("late"), use.get("half") or use.get("say") or use.get("error")
        c.phase = "run"
        if late and late.get("before"):
            await asyncio.sleep(late["seconds"])
        execute = not instead or instead.get("execute", False)
        if "die" in use:
            execute = use["die"].get("execute", True)
        pieces = ()
        if not asyncio.iscoroutine(reply):
            pieces = reply
        elif execute:
            pieces = await reply
        else:
            reply.close()
        if "half" in use:
            self.server.manager.held.pop(gojson.loads(line.partition(b" ")[2])["jid"], None)
        if instead:
            text = instead.get("text", "NOREPLICAS Not enough good replicas to write.")
            pieces = (text.encode() if instead["do"] == "say" else f"-ERR {text}\r\n".encode(),)
        if late and not late.get("before"):
            await asyncio.sleep(late["seconds"])
        if "hang" in use:
            await self._hang(c)
        whole = b"".join(pieces)
        if "die" in use:
            whole = whole[:use["die"].get("at", 0)]
            pieces = (whole,) if whole else ()
        if "split" in use:
            at = use["split"].get("at", "each")
            cuts = range(1, len(whole)) if at == "each" else [i % len(whole) for i in at if 0 < abs(i) < len(whole)]
            for a, b in zip([0, *cuts], [*cuts, len(whole)]):
                if a and use["split"].get("hang"):
                    await self._hang(c)
                await c.write((whole[a:b],))
                await asyncio.sleep(use["split"].get("pause", 0.002))
        else:
            await c.write(pieces)
        if "die" in use:
            c.close(use["die"].get("how", "rst") == "rst")
        elif instead and instead.get("close"):
            c.close()
        return (whole,)


class Control:
    def __init__(self, server):
        self.server, self.mischief, self.refusing = server, server.mischief, False

    async def serve(self, reader, writer):
        try:
            while line := await reader.readline():
                try:
                    words = json.loads(line)
                    result = getattr(self, "on_" + words.pop("cmd"))(words)
                    result = await result if asyncio.iscoroutine(result) else result
                except Exception as e:  # a test's mistake must not end the server
                    result = {"error": f"{type(e).__name__}: {e}"}
                writer.write(json.dumps(result or {}).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        writer.close()

    def _chosen(self, words):
        return [c for c in list(self.server.connections.values()) if words.get("conn", c.number) == c.number
                and ("wid" not in words or (c.worker and c.worker.wid == words["wid"]))]

    def on_rule(self, rule):
        if rule["do"] not in ("die", "drop", "late", "hang", "error", "say", "half", "split"):
            raise ValueError(f"no such rule: {rule['do']}")
        number = next(self.mischief.ids)
        self.mischief.rules[number] = rule
        return {"rule": number}

    def on_rules(self, words):
        return {"rules": self.mischief.rules}

    def on_clear(self, words):
        self.mischief.rules.clear()

    def on_release(self, words):
        self.mischief.released.set()

    def on_state(self, words):
        store = self.server.store
        return {**{name: len(members) for name, members in store.sets.items()}, **store.counters,
                "queued": sum(map(len, store.queues.values())), "connections": self.server.open,
                "sockets": len(self.server.connections), "fetching": len(self.server.waiters),
                "workers": {wid: {"connections": len(w.connections), "state": w.state, "pid": w.pid, "rss_kb": w.rss}
                            for wid, w in self.server.workers.items()}}

    def on_jobs(self, words):
        store = self.server.store
        out = {name: [json.loads(member.text()) for _, (_, member) in sorted(members.items(), key=lambda x: x[1][0])]
               for name, members in store.sets.items() if words.get("set", name) == name}
        if words.get("set", "queues") == "queues":
            out["queues"] = {name: [json.loads(job.text()) for job in jobs] for name, jobs in store.queues.items()}
        return out

    def on_find(self, words):
        store = self.server.store
        for name in ("working", "retries", "dead", "scheduled"):
            for _, member in store.sets[name].values():
                if getattr(member, "job", member).jid == words["jid"]:
                    return {"set": name, "job": json.loads(member.text())}
        for jobs in store.queues.values():
            for job in jobs:
                if job.jid == words["jid"]:
                    return {"set": "queued", "job": json.loads(job.text())}
        return {"set": None, "job": None}

    def on_log(self, words):
        m = self.mischief
        entries = m.entries[max(words.get("since", 0) - m.first, 0):]
        return {"log": entries, "next": m.first + len(m.entries)}

    def on_conns(self, words):
        return {"conns": [{"conn": c.number, "wid": c.worker and c.worker.wid, "pid": c.worker and c.worker.pid,
                           "phase": c.phase, "received": c.received, "pending": len(c.buffer),
                           "port": c.sock.getpeername()[1]} for c in self._chosen(words) if not c.closed]}

    def on_kick(self, words):
        chosen = self._chosen(words)
        for c in chosen:
            c.kick(words.get("how", "rst") == "rst")
        return {"kicked": len(chosen)}

    async def on_say(self, words):
        for c in self._chosen(words):
            await self.server.loop.sock_sendall(c.sock, words["text"].encode())

    def on_deaf(self, words):
        for c in self._chosen(words):
            (c.can_read.clear if words.get("on", True) else c.can_read.set)()

    def on_blackhole(self, words):
        sockets = [c.sock for c in self._chosen(words)]
        if "conn" not in words and "wid" not in words:
            sockets.append(self.server.listener)
        for sock in sockets:
            if words.get("on", True):
                sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(DROP_ALL)))
            else:
                sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)

    def on_refuse(self, words):
        on = words.get("on", True)
        if on and not self.refusing:
            self.server.unlisten()
        elif self.refusing and not on:
            self.server.listen(self.server.port)
        self.refusing = on

    def on_accept(self, words):
        self.server.accepting(words.get("on", True))

    def on_freeze(self, words):
        (self.server.gate.clear if words.get("on", True) else self.server.gate.set)()

    def on_quiet(self, words):
        self.server.workers[words["wid"]].signal(("", "quiet", "terminate").index(words.get("state", "quiet")))

    def on_tick(self, words):
        if words["what"] == "scan":
            names = ("scheduled", "retries")
            for name in names if words.get("all") else ():
                members = self.server.store.sets[name]
                members.update({number: (0, member) for number, (_, member) in members.items()})
            for name in names:
                self.server.manager.requeue_due(name)
        elif words["what"] == "reap" and words.get("hold"):
            self.mischief.released.clear()
            self.server.loop.create_task(self.server.manager.reap_with_a_pause(self.mischief.released.wait))
        elif words["what"] == "reap":
            return {"reaped": self.server.manager.reap()}
        else:
            self.server.reap_beats()

    def on_set(self, words):
        for name, value in words.items():
            if not hasattr(self.server.options, name):
                raise ValueError(f"no such option: {name}")
            setattr(self.server.options, name, value)

    def on_now(self, words):
        return {"ns": time.monotonic_ns()}
