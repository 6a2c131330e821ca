# SPDX-License-Identifier: Apache-2.0
"""A guest that owns its end of a channel and keeps to no rule it does not want
to: frames, records and messages made by hand, over "unix:" and over "shm:".

    guest = Stranger(path, "shm")      # Connected, and attached if 'hello'.
    guest.send(REPORT, report(n_requests=10))
    guest.put(size=1 << 31, kind=7)    # Whatever a header may say.

Nothing here is taken from the project's own code, so that both can't be wrong
in the same way."""
import array
import mmap
import os
import socket
import struct
import time

HELLO, WELCOME, REFUSED, BYE, BEAT, BEAT_REPLY, REPORT, NOTICE, NOTE = range(1, 10)
KIND_RELIABLE, KIND_HELLO, KIND_BYE, KIND_ACK, KIND_PAD = range(1, 6)

U64_MAX = (1 << 64) - 1
I64_MAX = (1 << 63) - 1
I64_MIN = -(1 << 63)


def make_crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = make_crc_table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def cbor_head(major, value):
    for size, code, letter in ((1 << 8, 24, "B"), (1 << 16, 25, "H"),
                               (1 << 32, 26, "I"), (1 << 64, 27, "Q")):
        if value < 24:
            return bytes([major << 5 | value])
        if value < size:
            return bytes([major << 5 | code]) + struct.pack(">" + letter, value)
    raise ValueError(value)


def cbor(value):
    if isinstance(value, int):
        return cbor_head(0, value) if value >= 0 else cbor_head(1, -1 - value)
    if isinstance(value, bytes):
        return cbor_head(2, len(value)) + value
    if isinstance(value, str):
        return cbor_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return cbor_head(4, len(value)) + b"".join(map(cbor, value))
    return cbor_head(5, len(value)) + b"".join(
        cbor(key) + cbor(member) for key, member in value.items())


def now_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def hello(claims="", version_min=1, version_max=1, software="stranger 1"):
    return cbor({1: version_min, 2: version_max, 3: software, 4: ["httplog"],
                 5: claims, 6: now_ns()})


def beat(number=1, origin_ns=None, offset_ns=0, offset_error_ns=1000):
    return cbor({1: number, 2: now_ns() if origin_ns is None else origin_ns,
                 3: offset_ns, 4: offset_error_ns})


def epoch_fields(epoch, start_ns, end_ns, n_requests, n_violations,
                 threshold_us, worst_us, at_ns):
    return {1: epoch, 2: start_ns, 3: end_ns, 4: n_requests, 5: n_violations,
            6: threshold_us, 7: worst_us, 8: at_ns, 9: at_ns, 10: at_ns}


def report(epoch=1, start_ns=None, end_ns=None, n_requests=10, n_violations=0,
           threshold_us=3000, worst_us=1000, at_ns=None, util_permille=100):
    end = now_ns() if end_ns is None else end_ns
    start = max(0, end - 500000000) if start_ns is None else start_ns
    return cbor({**epoch_fields(epoch, start, end, n_requests, n_violations,
                                threshold_us, worst_us, end if at_ns is None else at_ns),
                 11: util_permille, 12: 0})


def notice(epoch=1, start_ns=None, end_ns=None, n_requests=10, n_violations=10,
           threshold_us=3000, worst_us=9000, at_ns=None):
    end = now_ns() if end_ns is None else end_ns
    start = max(0, end - 500000000) if start_ns is None else start_ns
    return cbor({**epoch_fields(epoch, start, end, n_requests, n_violations,
                                threshold_us, worst_us, end if at_ns is None else at_ns),
                 11: 10})


def note(type="org.example/1", data=b"x", number=1, made_ns=None, sent_ns=None):
    now = now_ns()
    return cbor({1: type, 2: data, 3: number, 4: now if made_ns is None else made_ns,
                 5: now if sent_ns is None else sent_ns})


def frame(sync, kind, payload=b"", tag=0, sequence=0, attachment=0, size=None):
    body = struct.pack("<IBBHII", len(payload) if size is None else size, kind, 0,
                       tag, sequence & 0xffffffff, attachment) + payload
    return struct.pack("<II", sync, crc32c(body)) + body


class Lost(Exception):
    """The broker closed the channel, or never answered."""


class Stranger:
    SYNC = 0x600dcafe

    def __init__(self, path, scheme="shm", attach=True, patience=10):
        self.scheme = scheme
        self.patience = patience
        self.sequence = 0
        self.attachment = 0
        self.memory = None
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience)
        self.socket.connect(str(path))
        try:
            if scheme == "shm":
                self.map()
            else:
                self.inbox = b""
                preamble = b"mchan\0\0\1" + struct.pack("<I", self.SYNC)
                self.socket.sendall(preamble + struct.pack("<I", crc32c(preamble)))
            if attach:
                self.attach()
        except (OSError, Lost):
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()
        if self.memory:
            self.memory.close()
            self.memory = None
            os.close(self.memfd)

    def attach(self, session=0, attachment=0, sent=0, delivered=0, message_max=8192):
        self.put(KIND_HELLO, struct.pack("<HHIQIIQQQ", 1, 0, message_max, session,
                                         attachment, 0, sent, delivered, 0))
        kind, _, payload = self.take(self.patience)
        if kind != KIND_HELLO:
            raise Lost("no HELLO but %d" % kind)
        self.session, self.attachment = struct.unpack_from("<QI", payload, 8)
        return self

    def greet(self, **more):
        self.send(HELLO, hello(**more))
        return self

    # Any record.

    def send(self, tag, payload):
        """A message in good order."""
        self.sequence += 1
        self.put(KIND_RELIABLE, payload, tag, self.sequence, self.attachment)

    def put(self, kind, payload=b"", tag=0, sequence=0, attachment=0, size=None):
        if self.scheme == "shm":
            before = self.head
            self.put_record(kind, payload, tag, sequence, attachment, size)
            # Wakes nobody asked for fill the socket, and then one that was asked
            # for does not get through: who floods so is only deaf to itself.
            event = self.word(128)
            if event & 1 and before <= event - 1 < self.head:
                self.wake()
        else:
            self.socket.sendall(frame(self.SYNC, kind, payload, tag, sequence,
                                      attachment, size))

    def take(self, seconds=0.0):
        """(kind, tag, payload) of the broker's next record."""
        end = time.monotonic() + seconds
        take = self.take_record if self.scheme == "shm" else self.take_frame
        while True:
            found = take()
            if found:
                return found
            if time.monotonic() > end:
                raise Lost("nothing came")
            time.sleep(0.0002)

    def wait_for(self, tag, seconds=10.0):
        end = time.monotonic() + seconds
        while True:
            kind, found, payload = self.take(max(0, end - time.monotonic()))
            if kind == KIND_RELIABLE and found == tag:
                return payload

    def is_over(self):
        """True if the broker closed its end."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65536):
                pass
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.socket.settimeout(self.patience)

    # Shared memory.

    def map(self):
        data, ancillary, _, _ = self.socket.recvmsg(16, socket.CMSG_SPACE(4))
        if len(data) < 16:
            raise Lost("no memory came")
        fds = array.array("i")
        fds.frombytes(ancillary[0][2][:4])
        self.memfd = fds[0]
        self.ring = struct.unpack_from("<I", data, 8)[0]
        self.memory = mmap.mmap(self.memfd, 4096 + 2 * self.ring)
        self.head = self.tail = 0

    def word(self, at):
        return struct.unpack_from("<Q", self.memory, at)[0]

    def set_word(self, at, value):
        struct.pack_into("<Q", self.memory, at, value)

    def wake(self):
        self.socket.setblocking(False)
        try:
            self.socket.send(b"\0")
        except BlockingIOError:
            pass  # It has wakes enough to read.
        except OSError as error:
            raise Lost(str(error)) from error
        finally:
            self.socket.settimeout(self.patience)

    def has_room(self, size):
        return self.head + 2 * size + 128 - self.word(0) <= self.ring

    def put_record(self, kind, payload, tag, sequence, attachment, size):
        need = (16 + len(payload) + 15) // 16 * 16
        end = time.monotonic() + self.patience
        while not self.has_room(need):
            if time.monotonic() > end or self.is_over():
                raise Lost("the ring stays full")
            time.sleep(0.001)
        at = self.head % self.ring
        if need > self.ring - at:
            # What lies at the ring's start is of the last lap: a broker that keeps
            # up would read it.
            self.store(self.head, self.ring - at - 16, KIND_PAD, 0, 0, 0, b"",
                       self.ring - at)
            self.head += self.ring - at
        self.store(self.head, len(payload) if size is None else size, kind, tag,
                   sequence, attachment, payload, need)
        self.head += need

    def store(self, position, size, kind, tag, sequence, attachment, payload, need):
        base = 4096 + self.ring
        at = base + position % self.ring
        self.set_word(base + (position + need) % self.ring, 0)
        self.memory[at + 16:at + 16 + len(payload)] = payload
        self.set_word(at + 8, sequence & 0xffffffff | attachment << 32)
        self.set_word(at, size | kind << 32 | tag << 48)

    def take_record(self):
        at = 4096 + self.tail % self.ring
        first = self.word(at)
        if not first:
            return None
        size, kind = first & 0xffffffff, first >> 32 & 0xff
        payload = bytes(self.memory[at + 16:at + 16 + size])
        self.tail += (16 + size + 15) // 16 * 16
        self.set_word(256, self.tail)
        return self.take_record() if kind == KIND_PAD else (kind, first >> 48, payload)

    # A stream.

    def take_frame(self):
        self.socket.setblocking(False)
        try:
            more = self.socket.recv(65536)
            if not more:
                raise Lost("closed")
            self.inbox += more
        except BlockingIOError:
            pass
        except OSError as error:
            raise Lost(str(error)) from error
        finally:
            self.socket.settimeout(self.patience)
        if self.inbox.startswith(b"mchan"):
            if len(self.inbox) < 16:
                return None
            self.inbox = self.inbox[16:]
        if len(self.inbox) < 24:
            return None
        size, kind, _, tag = struct.unpack_from("<IBBH", self.inbox, 8)
        if len(self.inbox) < 24 + size:
            return None
        payload, self.inbox = self.inbox[24:24 + size], self.inbox[24 + size:]
        return kind, tag, payload
