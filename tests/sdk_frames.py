"""Frames of the long connection by the vendor's own classes, for a test of ours.

usage: sdk_frames.py make SEED COUNT   prints frames, one JSON object a line
       sdk_frames.py read              reads such lines (with `hex` only) and prints what the SDK's classes see

A line has the frame's bytes as `hex` and its values. A payload is `payload`, in hex, or null where there is none. Numbers
are texts, because JSON readers may cut those of 64 bits. The frames of one split message follow one another in any
order and have `message`, what they are together, in hex.
"""

import json
import random
import sys

from lark_oapi.ws.pb.pbbp2_pb2 import Frame

TEXTS = ["", "a", "周会 🎉", "\u0000\u001f\u007f", "e\u0301\u202e", "=" * 300, "line\nline", '{"a":"\\"}']


def values(frame, data):
    def optional(name):
        return getattr(frame, name) if frame.HasField(name) else None

    payload = optional("payload")
    return {
        "hex": data.hex(),
        "seq_id": str(frame.SeqID),
        "log_id": str(frame.LogID),
        "service": frame.service,
        "method": frame.method,
        "headers": [[header.key, header.value] for header in frame.headers],
        "payload_encoding": optional("payload_encoding"),
        "payload_type": optional("payload_type"),
        "payload": None if payload is None else payload.hex(),
        "log_id_new": optional("LogIDNew"),
    }


def number(draw, bits):
    """Any number of so many bits: small ones, edges, and others."""
    return draw.choice([0, 1, 127, 128, (1 << bits) - 1, 1 << (bits - 1), draw.getrandbits(bits)])


def signed(draw):
    return draw.choice([0, 1, -1, 2**31 - 1, -(2**31), draw.randint(-(2**31), 2**31 - 1)])


def payload_of(draw):
    kind = draw.randrange(5)
    if kind == 0:
        return b""
    if kind == 1:
        return draw.randbytes(draw.randrange(400))
    if kind == 2:
        return draw.choice(TEXTS).encode()
    if kind == 3 and draw.randrange(20) == 0:
        return draw.randbytes(draw.randrange(1 << 20))
    return json.dumps({"event": draw.choice(TEXTS), "n": draw.random()}, ensure_ascii=False).encode()


def any_frame(draw):
    frame = Frame()
    frame.SeqID, frame.LogID = number(draw, 64), number(draw, 64)
    frame.service = signed(draw)
    frame.method = draw.choice([0, 1, signed(draw)])
    for _ in range(draw.randrange(8)):
        header = frame.headers.add()
        header.key = draw.choice(["type", "message_id", "sum", "seq", "trace_id", "biz_rt", *TEXTS])
        header.value = draw.choice(["event", "card", "ping", "pong", "1", *TEXTS])
    for name in ["payload_encoding", "payload_type", "LogIDNew"]:
        if draw.randrange(3) == 0:
            setattr(frame, name, draw.choice(TEXTS))
    if draw.randrange(4):
        frame.payload = payload_of(draw)
    return frame


def control(draw, kind):
    frame = Frame()
    frame.SeqID = frame.LogID = frame.method = 0
    frame.service = 33554678
    header = frame.headers.add()
    header.key, header.value = "type", kind
    if kind == "pong" and draw.randrange(3):
        frame.payload = json.dumps({"PingInterval": draw.randrange(1, 600)}).encode()
    return frame


def split_message(draw, name):
    """An event in one to twenty parts, some of which may be empty, in any order."""
    message = payload_of(draw)
    count = draw.randrange(1, 21)
    cuts = sorted(draw.randrange(len(message) + 1) for _ in range(count - 1))
    pieces = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)])]
    frames = []
    for seq, piece in enumerate(pieces):
        frame = Frame()
        frame.SeqID, frame.LogID, frame.service, frame.method = number(draw, 64), number(draw, 64), 33554678, 1
        named = {"type": "event", "message_id": name, "sum": count, "seq": seq, "trace_id": draw.choice(TEXTS)}
        for key, value in named.items():
            header = frame.headers.add()
            header.key, header.value = key, str(value)
        frame.payload = piece
        frames.append(frame)
    draw.shuffle(frames)
    return message, frames


def show(frame, **more):
    print(json.dumps({**values(frame, frame.SerializeToString()), **more}))


def make(seed, count):
    draw = random.Random(seed)
    for index in range(count):
        kind = draw.randrange(10)
        if kind < 6:
            show(any_frame(draw))
        elif kind == 6:
            show(control(draw, "ping"))
        elif kind == 7:
            show(control(draw, "pong"))
        else:
            message, frames = split_message(draw, f"m{index}")
            for frame in frames:
                show(frame, message=message.hex())


def read():
    for line in sys.stdin:
        data = bytes.fromhex(json.loads(line)["hex"])
        frame = Frame()
        # Raises where a required field is missing.
        frame.ParseFromString(data)
        if not frame.IsInitialized():
            raise SystemExit(f"a required field is missing: {data.hex()}")
        print(json.dumps(values(frame, data)))


if sys.argv[1] == "make":
    make(int(sys.argv[2]), int(sys.argv[3]))
else:
    read()
