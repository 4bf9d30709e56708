# SPDX-License-Identifier: MIT
# Reads the requests in tests/requests, whose format stands at the head of the files.
import collections
import re

from suite import ROOT

Case = collections.namedtuple("Case", "name status keep body bytes")

ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "0": b"\0", "\\": b"\\", "{": b"{", "}": b"}"}
PART = re.compile(
    r"\\x(?P<hexadecimal>[0-9a-f]{2})|\\(?P<escape>.)|\{(?P<name>[A-Z]+)\}"
    r"|\{(?P<text>(?:\\.|\{[A-Z]+\}|[^{}\\])*)\*(?P<count>\d+)\}|(?P<plain>[^\\{}]+)",
    re.DOTALL,
)


def expand(text, lets):
    out, at = b"", 0
    while at < len(text):
        part = PART.match(text, at)
        assert part, f"cannot read {text[at:]!r}"
        if part["hexadecimal"]:
            out += bytes([int(part["hexadecimal"], 16)])
        elif part["escape"]:
            out += ESCAPES[part["escape"]]
        elif part["name"]:
            out += lets[part["name"]]
        elif part["count"]:
            out += expand(part["text"], lets) * int(part["count"])
        else:
            out += part["plain"].encode()
        at = part.end()
    return out


def read(name):
    """The cases of tests/requests/<name>.txt; keep and body are None where the file has none."""
    lets, cases = {}, []
    for line in (ROOT / f"tests/requests/{name}.txt").read_text().split("\n"):
        if line.startswith("let "):
            name, value = line[4:].split(" = ", 1)
            lets[name] = expand(value, lets)
        elif line and not line.startswith("#"):
            verdict, rest = line.split(" | ", 1)
            status, *keep = verdict.split()
            title, *body, data = re.split(r" \| ", rest.replace(" | | ", " |  | "), maxsplit=1 + len(keep))
            case = Case(
                title,
                int(status),
                keep == ["keep"] if keep else None,
                expand(body[0], lets) if keep else None,
                expand(data, lets),
            )
            cases.append(case)
    assert cases
    return cases
