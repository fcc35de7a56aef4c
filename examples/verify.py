#!/usr/bin/env python3
"""Verifies a store of Gatehouse recordings, and prints what is in them.

    verify.py STORE KEY [--kept CHECKPOINT] [--frames]

STORE is a directory, KEY a file with the verifier key. It was written from
recorder/FORMAT.md alone and shares no code with Gatehouse. Each problem is a
line "OBJECT: what is wrong"; the exit code is 3 if there is one. Of the standard
library's absentees it needs Debian's python3-zstandard and python3-cryptography.
"""
import argparse, base64, contextlib, datetime, hashlib, io, os, re, struct, sys

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = b"gatehouse piece 1\n"
MAX_HEADER, MAX_BODY, WINDOW = 4096, 129 << 20, 1 << 20
KINDS = "open request verdict pending decision head treatments data outcome notice close".split()
problems = []

class Malformed(Exception): pass

def problem(name, what):
    problems.append(name)
    print(f"{name}: {what}")

def read(name):
    path = os.path.join(store, name)
    return open(path, "rb").read() if os.path.isfile(path) else None

def sha256(b):
    return hashlib.sha256(b).digest()

# Elements: tag, length, value.
def uvarint(b, at=0):
    n = shift = 0
    while True:
        if at >= len(b) or shift > 63:
            raise Malformed("number")
        n |= (b[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if b[at - 1] < 0x80:
            return n, at

def elements(b):
    found, at = {}, 0
    while at < len(b):
        tag, at = uvarint(b, at)
        size, at = uvarint(b, at)
        if size > len(b) - at:
            raise Malformed("element")
        found.setdefault(tag, []).append(b[at:at + size])
        at += size
    return found

class Header:
    def __init__(self, b):
        e = elements(b)
        number = lambda tag: uvarint(e[tag][0])[0] if tag in e else 0
        text = lambda tag: e.get(tag, [b""])[0].decode()
        self.session, self.start, self.sequence = text(1), number(2), number(3)
        self.previous = e.get(4, [b""])[0]
        self.first, self.frames, self.size, self.last, self.encryption = number(5), number(6), number(9), 11 in e, text(15)
        if not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", self.session) or self.size > MAX_BODY:
            raise Malformed("header")

    def name(self):
        days = self.start // (86400 * 10**9)
        day = datetime.date(1970, 1, 1) + datetime.timedelta(days)
        return f"sessions/{day:%Y/%m/%d}/{self.session}/{self.sequence:06d}.piece"

# Signed notes and keys.
class Key:
    def __init__(self, text):
        self.text = text.strip()
        self.name, hash, data = self.text.split("+", 2)
        raw = base64.b64decode(data, validate=True)
        self.hash = sha256(self.name.encode() + b"\n" + raw)[:4]
        if raw[0] != 1 or self.hash.hex() != hash or base64.b64encode(raw).decode() != data:
            raise Malformed("verifier key")
        self.public = Ed25519PublicKey.from_public_bytes(raw[1:])

    def signed(self, note):
        """Returns the text of a note if this key signed it."""
        text, _, signatures = note.rpartition(b"\n\n")
        for line in signatures.decode().splitlines():
            dash, name, data = (line.split(" ") + ["", ""])[:3]
            raw = base64.b64decode(data)
            if (dash, name, raw[:4]) == ("\u2014", self.name, self.hash) and base64.b64encode(raw).decode() == data:
                with contextlib.suppress(InvalidSignature):
                    self.public.verify(raw[4:], text + b"\n")
                    return text.decode() + "\n"

def rotation(note):
    lines = note.decode().split("\n\n")[0].split("\n")
    if len(lines) != 4 or lines[0] != "gatehouse key rotation 1":
        raise Malformed("rotation")
    old, new = Key(lines[2]), Key(lines[3])
    if not (old.name == new.name == lines[1] and old.hash != new.hash and old.signed(note) and new.signed(note)):
        raise Malformed("rotation is not signed by both keys")
    return old, new

def trust(trusted, rotations):
    """Follows rotations, forward and backward, from the trusted keys."""
    for _ in rotations:
        for _, old, new in rotations:
            if (old.text in trusted) != (new.text in trusted):
                trusted[old.text], trusted[new.text] = old, new

def open_checkpoint(note, trusted, rotations):
    for key in trusted.values():
        text = key.signed(note)
        if text is None:
            continue
        origin, size, root = text.split("\n")[:3]
        if origin != key.name or not re.fullmatch("0|[1-9][0-9]{0,12}", size):
            raise Malformed("checkpoint")
        for index, old, new in rotations:
            if old.text == key.text and int(size) > index or new.text == key.text and int(size) <= index:
                return None
        return int(size), base64.b64decode(root)
    return None

# The log.
def tile_name(level, n, width):
    groups = [f"{n % 1000:03d}"]
    while n >= 1000:
        n //= 1000
        groups.insert(0, f"x{n % 1000:03d}")
    return f"log/tile/{level}/" + "/".join(groups) + (f".p/{width}" if width < 256 else "")

def root_of(hashes):
    stack = []  # roots of perfect trees, with their sizes
    for h in hashes:
        size = 1
        while stack and stack[-1][0] == size:
            h, size = sha256(b"\x01" + stack.pop()[1] + h), size * 2
        stack.append((size, h))
    h = stack.pop()[1] if stack else sha256(b"")
    while stack:
        h = sha256(b"\x01" + stack.pop()[1] + h)
    return h

def bundle(n, width):
    """Returns the entries of a bundle; None if it is missing or malformed."""
    b = read(tile_name("entries", n, width))
    entries, at = [], 0
    while b is not None and at < len(b):
        size = int.from_bytes(b[at:at + 2], "big")
        if at + 2 + size > len(b):
            return None
        entries.append(b[at + 2:at + 2 + size])
        at += 2 + size
    return entries if b is not None and len(entries) == width else None

def read_log(size):
    entries = []
    for n in range((size + 255) // 256):
        width = min(256, size - n * 256)
        found = bundle(n, width)
        if found is None:
            problem(tile_name("entries", n, width), "missing, or not so many entries")
            return None
        entries += found
    return entries

def check_tiles(hashes):
    level = 0
    while hashes:
        for n in range((len(hashes) + 255) // 256):
            part = hashes[n * 256:n * 256 + 256]
            name = tile_name(level, n, len(part))
            if read(name) != b"".join(part):
                problem(name, "not the hashes of what is below")
        hashes = [root_of(hashes[i:i + 256]) for i in range(0, len(hashes) - 255, 256)]
        level += 1

# Recordings.
def frames(header, body):
    with zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(io.BytesIO(body)) as r:
        data = r.read(header.size + 1)
    at = 0
    if len(data) != header.size:
        raise Malformed("body is not as long as the header says")
    while at < len(data):
        size, kind, time, exchange = struct.unpack_from("<IBqQ", data, at)
        if size < 17 or size > len(data) - at - 4:
            raise Malformed("frame")
        yield kind, time, exchange, data[at + 21:at + 4 + size]
        at += 4 + size

def check_piece(name, b, show):
    size = int.from_bytes(b[18:22], "little")
    if b[:18] != MAGIC or len(b) < 22 or size > MAX_HEADER or 22 + size > len(b):
        raise Malformed("not a piece")
    h = Header(b[22:22 + size])
    if h.name() != name:
        raise Malformed("it is " + h.name())
    if h.encryption:
        return  # without an identity
    index, closed = h.first, False
    for kind, time, exchange, payload in frames(h, b[22 + size:]):
        if (kind == 1) != (index == 0) or closed:
            raise Malformed(f"frame {index} is out of place")
        closed, index = kind == 11, index + 1
        if show:
            what = KINDS[kind - 1] if 0 < kind <= len(KINDS) else f"kind {kind}"
            print(f"{h.session} {index - 1} {time} #{exchange} {what}", payload[:120])
    if index != h.first + h.frames or closed != h.last:
        raise Malformed("frames are not as the header says")

def check_sessions(entries, show):
    logged, chains = {}, {}
    for e in map(elements, entries):
        if 1 not in e:
            continue
        name, digest = e[1][0].decode(), e[2][0]
        folder, file = name.rsplit("/", 1)
        chain = chains.setdefault(folder, dict(next=0, frames=0, digest=b"", last=False, ended=False))
        if name in logged:
            problem(name, "logged twice")
        logged[name] = digest
        if file == "manifest.json":
            chain["ended"] = True
            if not chain["last"]:
                problem(name, "logged before the last piece")
            continue
        h = Header(e[3][0])
        if (h.name(), h.sequence, h.previous, h.first, False) != (name, chain["next"], chain["digest"], chain["frames"], chain["last"]):
            problem(name, "does not follow the piece before")
        chain.update(next=h.sequence + 1, frames=h.first + h.frames, digest=digest, last=h.last)
    for name, digest in logged.items():
        b = read(name)
        if b is None:
            problem(name, "missing")
        elif sha256(b) != digest:
            problem(name, "altered")
        elif name.endswith(".piece"):
            try:
                check_piece(name, b, show)
            except (Malformed, struct.error, zstandard.ZstdError) as e:
                problem(name, f"logged so, but {e}")
    for folder, _, files in os.walk(os.path.join(store, "sessions")):
        for file in files:
            name = os.path.relpath(os.path.join(folder, file), store)
            if name not in logged and not file.endswith(".partial"):
                problem(name, "not in the log")
    return len(logged), sum(not c["ended"] for c in chains.values())

def main():
    global store
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("store", "key", "--kept"):
        p.add_argument(name)
    p.add_argument("--frames", action="store_true")
    args = p.parse_args()
    store = args.store
    trusted = {k.text: k for k in [Key(open(args.key).read())]}
    note = read("log/checkpoint") or b""
    size, n, rotations = note.split(b"\n")[1:2], 0, []
    size = int(size[0]) if size and size[0].isdigit() else 0  # not believed yet: reading ends with what there is
    while n * 256 < size and (entries := bundle(n, min(256, size - n * 256))) is not None:
        for i, e in enumerate(map(elements, entries)):
            if 4 in e:
                rotations.append((n * 256 + i, *rotation(e[4][0])))
        n += 1
    trust(trusted, rotations)
    checkpoint = open_checkpoint(note, trusted, rotations)
    if checkpoint is None:
        problem("log/checkpoint", "missing, or not signed by the log's key")
        return 3
    size, root = checkpoint
    entries = read_log(size)
    if entries is None:
        return 3
    hashes = [sha256(b"\x00" + e) for e in entries]
    if root_of(hashes) != root:
        problem("log/checkpoint", "the entries are not those that it states")
        for n in range((size + 255) // 256):
            part = hashes[n * 256:n * 256 + 256]
            if read(tile_name(0, n, len(part))) != b"".join(part):
                problem(tile_name("entries", n, len(part)), "it does not agree with its tile")
        return 3
    check_tiles(hashes)
    if args.kept:
        kept = open_checkpoint(open(args.kept, "rb").read(), trusted, rotations)
        if kept is None or kept[0] > size or root_of(hashes[:kept[0]]) != kept[1]:
            problem("log/checkpoint", "older than the kept checkpoint, or of another history")
    objects, running = check_sessions(entries, args.frames)
    print(f"{'Not verified' if problems else 'Verified'}: {size} entries, {objects} objects, {running} sessions without an end.")
    return 3 if problems else 0

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Malformed, ValueError, KeyError, IndexError) as e:
        print(f"log: malformed: {e!r}")
        sys.exit(3)
