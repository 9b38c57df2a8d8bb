"""DNS messages made and read by hand, where dig will not do: broken ones, many on one connection, quick ones."""

import random
import socket
import struct

from .traffic import socket_in

TYPES = {"A": 1, "NS": 2, "SOA": 6, "PTR": 12, "HINFO": 13, "TXT": 16, "AAAA": 28, "SRV": 33, "ANY": 255}
RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}


def encode_name(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.strip(".").split(".") if x) + b"\0"


def query(name, qtype="A", qclass=1, opcode=0, ident=None, rd=True):
    ident = random.randrange(65536) if ident is None else ident
    flags = opcode << 11 | (0x100 if rd else 0)
    return struct.pack("!6H", ident, flags, 1, 0, 0, 0) + encode_name(name) + struct.pack("!2H", TYPES.get(qtype, qtype), qclass)


def reverse(addr):
    return ".".join(reversed(addr.split("."))) + ".in-addr.arpa"


class Message:
    """Header, question and the addresses among the answers."""

    def __init__(self, data):
        self.data = data
        self.ident, self.flags, self.n_question, self.n_answer, self.n_authority, self.n_additional = struct.unpack("!6H", data[:12])
        self.rcode, self.tc, self.aa = RCODES.get(self.flags & 15, self.flags & 15), bool(self.flags & 0x200), bool(self.flags & 0x400)
        self.qr, self.opcode = bool(self.flags & 0x8000), self.flags >> 11 & 15
        at, self.question, self.addresses, self.names, self.records = 12, None, [], [], []
        for _ in range(self.n_question):
            self.question, at = self.name(at)
            at += 4
        for section, count in (("answer", self.n_answer), ("authority", self.n_authority), ("additional", self.n_additional)):
            for _ in range(count):
                owner, at = self.name(at)
                kind, _, ttl, size = struct.unpack("!2HIH", data[at:at + 10])
                at += 10
                self.records.append((section, owner, kind, ttl, data[at:at + size]))
                if section == "answer" and kind == TYPES["A"]:
                    self.addresses.append(socket.inet_ntoa(data[at:at + 4]))
                if section == "answer" and kind == TYPES["PTR"]:
                    self.names.append(self.name(at)[0])
                at += size

    def name(self, at):
        labels, end, hops = [], None, 0
        while self.data[at] != 0:
            if self.data[at] >= 0xC0:
                end = end or at + 2
                at, hops = (self.data[at] & 0x3F) << 8 | self.data[at + 1], hops + 1
                assert hops < 64, "a compression loop"
                continue
            labels.append(self.data[at + 1:at + 1 + self.data[at]].decode())
            at += 1 + self.data[at]
        return ".".join(labels) + ".", end or at + 1


def ask(place, data, server, port=53, timeout=1):
    """One datagram there and the answer back as a Message; None when there is none in time."""
    with socket_in(place, timeout=timeout) as s:
        s.connect((server, port))
        s.send(data)
        try:
            return Message(s.recv(65536))
        except (TimeoutError, ConnectionError):
            return None


def tcp_exchange(s, *queries):
    """Sends the queries at once and reads as many answers, in the order in which they come."""
    s.sendall(b"".join(struct.pack("!H", len(q)) + q for q in queries))
    answers = []
    for _ in queries:
        size = struct.unpack("!H", read(s, 2))[0]
        answers.append(Message(read(s, size)))
    return answers


def read(s, n):
    got = b""
    while len(got) < n:
        chunk = s.recv(n - len(got))
        if not chunk:
            raise ConnectionError("closed by the server")
        got += chunk
    return got
