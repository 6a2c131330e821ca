#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The M-channel from Python, by ctypes: a class, and two programs.

  mchan.py URI           answers each message with itself, for ever
  mchan.py URI WORD...   sends the words and prints what comes back

MCHAN_LIBRARY names another libmchan.so.0.
"""
import ctypes as c
import errno
import os
import select
import sys

UP, PEER_LOST, SUSPENDING, RESUMED, GAP, DROPPED, PROTO_ERROR, STRANGER = range(8)
RELIABLE, LATEST, DATAGRAM = range(3)
READABLE, WRITABLE = 1, 2


class Msg(c.Structure):
    _fields_ = [("data", c.c_char_p), ("size", c.c_size_t), ("tag", c.c_uint16),
                ("delivery", c.c_uint8), ("key", c.c_uint8)]


class Info(c.Structure):
    _fields_ = [("sequence", c.c_uint64), ("attachment", c.c_uint32),
                ("tag", c.c_uint16), ("delivery", c.c_uint8), ("key", c.c_uint8),
                ("maybe_repeated", c.c_bool)]


class Event(c.Structure):
    _fields_ = [("type", c.c_int), ("attachment", c.c_uint32),
                ("session", c.c_uint64), ("resumed", c.c_bool),
                ("first", c.c_uint64), ("last", c.c_uint64),
                ("reason", c.c_char * 96)]


lib = c.CDLL(os.environ.get("MCHAN_LIBRARY", "libmchan.so.0"))
lib.mchan_close.argtypes = [c.c_void_p]
lib.mchan_recv.restype = c.c_ssize_t
lib.mchan_recv.argtypes = [c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p]
lib.mchan_message_max.restype = c.c_size_t
for name in ("send", "next_event"):
    getattr(lib, "mchan_" + name).argtypes = [c.c_void_p, c.c_void_p]
for name in ("fd", "message_max"):
    getattr(lib, "mchan_" + name).argtypes = [c.c_void_p]
lib.mchan_arm.argtypes = [c.c_void_p, c.c_uint]


class Channel:
    """One end.  It has a fileno(), for select() and asyncio."""

    def __init__(self, uri, listen=False):
        self._handle = c.c_void_p()
        make = lib.mchan_listen if listen else lib.mchan_open
        self._check(make(c.byref(self._handle), uri.encode(), None))

    @staticmethod
    def _check(result):
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def close(self):
        lib.mchan_close(self._handle)
        self._handle = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def fileno(self):
        return lib.mchan_fd(self._handle)

    def send(self, data, tag=0, delivery=RELIABLE, key=0):
        """False if there is no room or nobody there."""
        message = Msg(data, len(data), tag, delivery, key)
        error = lib.mchan_send(self._handle, c.byref(message))
        if error in (-errno.EAGAIN, -errno.ENOTCONN):
            return False
        return self._check(error) == 0

    def messages(self):
        """All that are there, as (data, info)."""
        while True:
            data = c.create_string_buffer(lib.mchan_message_max(self._handle))
            info = Info()
            size = lib.mchan_recv(self._handle, data, len(data), c.byref(info))
            if size < 0:
                return
            yield data.raw[:size], info

    def events(self):
        event = Event()
        while self._handle and lib.mchan_next_event(self._handle, c.byref(event)):
            yield event

    def wait(self, what=READABLE):
        """Sleeps in select(), so that Control-C is heard."""
        while not self._check(lib.mchan_arm(self._handle, what)):
            select.select([self], [], [])


def echo(channel):
    while True:
        channel.wait()
        for event in channel.events():
            if event.type == PROTO_ERROR:
                print(event.reason.decode(), file=sys.stderr)
        for data, info in channel.messages():
            channel.send(data, info.tag)


def ask(channel, words):
    sent = back = 0
    while back < len(words):
        channel.wait()
        for _ in channel.events():
            pass
        while sent < len(words) and channel.send(words[sent].encode()):
            sent += 1
        for data, _ in channel.messages():
            print(data.decode())
            back += 1


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: mchan.py URI [WORD...]")
    with Channel(sys.argv[1], listen=len(sys.argv) == 2) as channel:
        if len(sys.argv) == 2:
            echo(channel)
        else:
            ask(channel, sys.argv[2:])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
