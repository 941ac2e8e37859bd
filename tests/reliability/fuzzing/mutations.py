"""Damaged and hostile contents made from good ones; the same for the same random state."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

Mutation = "Callable[[bytes, Random], bytes]"
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_TEXTS = (
    "", " ", ".", "..", "../../outside", "/outside", "C:\\outside", "a\nb", "a\0b", "a\x1b[31mb", "\ufeff",
    "Mu\u0308ller", "M\u00fcller", "CON", "-rf", "x" * 255, "x" * 100_000, "%s{}", "os.system", "nan", "1e400",
    "\ud800", "os", "builtins.exec", "hf://../../outside", "9" * 5000, "\u202etxt.exe",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, 10**30, -(10**30), 0.5, -0.0, 1e308, float("nan"), float("inf"), [],
    {}, [None], [[]], [0, 0, 0], [-1] * 3, [10**9] * 3, [2**40] * 4, {"a": 1}, [1, 2], list(range(1000)), {"0": []},
)  # fmt: skip


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """Flip, overwrite, insert, remove, repeat or cut off bytes, once to four times."""
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        place, length = random.randrange(len(data) + 1), min(random.choice((1, 2, 4, 8, 64, 1024)), len(data) + 1)
        # Headers decide more than the voxels behind them.
        place = place if random.random() < 0.4 else min(place, random.randrange(1, 1024))
        kind = random.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            data[place : place + length] = random.randbytes(length)
        elif kind == 2:
            width = random.choice(["<B", "<H", "<I", "<Q", ">H", ">I", ">Q"])
            number = random.choice(_NUMBERS) % (1 << 8 * struct.calcsize(width))
            data[place : place + struct.calcsize(width)] = struct.pack(width, number)
        elif kind == 3:
            data[place:place] = random.randbytes(length)
        elif kind == 4:
            del data[place : place + length]
        elif kind == 5:
            data[place:place] = data[place : place + length] * random.choice((1, 2, 100))
        elif random.random() < 0.5:
            del data[place:]
    return bytes(data)


def mutate_value(value: Any, random: Random) -> Any:
    """Replace, remove or rename one entry somewhere in nested dictionaries and lists; the given value stays."""
    places = list(_places(value))
    if not places or random.random() < 0.02:
        return random.choice(_VALUES)
    path = random.choice(places)
    return _change(value, path, random)


def mutate_json(content: bytes, random: Random) -> bytes:
    """Change values, the spelling of numbers, keys, nesting, the encoding, or bytes."""
    kind = random.randrange(10)
    if kind < 6:
        changed = json.loads(content)
        for _ in range(random.choice((1, 1, 2, 4))):
            changed = mutate_value(changed, random)
        return json.dumps(changed).encode("utf-8", "surrogatepass")
    text = content.decode()
    if kind == 6:  # numbers that Python's json reads, or fails at
        places = [place for place, letter in enumerate(text) if letter.isdigit()] or [0]
        place = random.choice(places)
        number = random.choice(("1e400", "-1e400", "NaN", "Infinity", "9" * 5000, "0x1", "1_0", "-0", "1e-400"))
        return (text[:place] + number + text[place + 1 :]).encode()
    if kind == 7:  # a key twice, or nesting
        depth = random.choice((100, 5_000, 200_000))
        nested = random.choice(("[" * depth, '{"a":' * depth, "[" * depth + "]" * depth))
        place = text.find(":") + 1
        return random.choice((text.replace("{", '{"a": 1, "a": 2, ', 1), text[:place] + nested, nested)).encode()
    if kind == 8:
        encoded = text.encode(random.choice(("utf-8-sig", "utf-16", "utf-32")))
        return random.choice(
            (encoded, b"\xff\xfe" + content, content.replace(b'"', b'"\xff', 3), b"", b"null", b"\0" * 64)
        )
    return mutate_bytes(content, random)


def mutate_lines(content: bytes, random: Random) -> bytes:
    """Change, repeat, swap or remove lines and cells of a text, its encoding, or bytes."""
    lines = content.decode().split("\n")
    kind, number = random.randrange(7), random.randrange(len(lines))
    if kind == 0:
        cells = lines[number].split(",")
        cells[random.randrange(len(cells))] = random.choice((*_TEXTS, '"', '"a\nb"', "a,b"))
        lines[number] = ",".join(cells)
    elif kind == 1:
        lines[number:number] = [lines[number]] * random.choice((1, 50))
    elif kind == 2:
        del lines[number]
    elif kind == 3:
        lines[number] = random.choice((*_TEXTS, '"' * 3, "," * 1000, "#" * 9))
    elif kind == 4:
        return random.choice((b"", b"\0", b"\xff\xfe", "\n".join(lines).encode("utf-16"), b"\xef\xbb\xbf" + content))
    elif kind == 5:
        return "\r".join(lines).encode()
    else:
        return mutate_bytes(content, random)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def mutate_json_lines(content: bytes, random: Random) -> bytes:
    """As `mutate_json` for one line of many, or as `mutate_lines`."""
    lines = content.split(b"\n")
    if random.random() < 0.3:
        return mutate_lines(content, random)
    number = random.randrange(max(1, len(lines) - 1))
    lines[number] = mutate_json(lines[number], random).replace(b"\n", b" ")
    return b"\n".join(lines)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*path, key)
        yield from _places(entry, (*path, key))


def _change(value: Any, path: tuple[Any, ...], random: Random) -> Any:
    key, *rest = path
    changed = dict(value) if isinstance(value, dict) else list(value)
    if rest:
        changed[key] = _change(changed[key], tuple(rest), random)
        return changed
    kind = random.randrange(8)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(changed, dict):
        changed[random.choice(_TEXTS)] = changed.pop(key)
    elif kind < 4:
        changed[key] = random.choice(_TEXTS)
    elif kind == 4 and isinstance(changed[key], (int, float)) and not isinstance(changed[key], bool):
        changed[key] *= random.choice((-1, 0, 0.5, 1000, 10**9))
    elif kind == 5:
        changed[key] = [changed[key]]
    else:
        changed[key] = random.choice(_VALUES)
    return changed
