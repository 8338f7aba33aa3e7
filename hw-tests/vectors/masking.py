"""How the encoders of Python's standard library write a few values: what the mask over a command's output has to find.

usage: python3 hw-tests/vectors/masking.py > hw-tests/vectors/masking.json

Values and forms are byte strings, written as texts of the characters of the same numbers (ISO 8859-1). A form holds exactly the bytes
that its value determines.
"""

import base64
import binascii
import html
import json
import re
import urllib.parse

# Quotes, signs of URLs and markup, what is not ASCII, not UTF-8, or several lines.
VALUES = [
    b"hunter2",
    b"s3cr3t-T0ken_for.tests~only",
    b"p\"q\\r/s&t<u>v'w %+x",
    "gr\u00fcn \U0001f511 key".encode(),
    b"\x00\x01\xfe\xff\x80binary\x1b",
    b"-----BEGIN X-----\nMIIabcdefgh\nijklmnop12\n-----END X-----\n",
    bytes(range(32, 127)),
]


def characters(value):
    """As text: what is not UTF-8 stands for the characters of the same numbers."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def fixed(outputs):
    """The run of characters that is the same in every output."""
    same = [len(set(column)) == 1 for column in zip(*outputs)]
    runs = [match.span() for match in re.finditer(b"\x01+", bytes(same))]
    start, end = max(runs, key=lambda run: run[1] - run[0])
    return outputs[0][start:end]


def among_neighbours(encode, value, before):
    """What stays of an encoding, whatever bytes stand before the value and behind it; and at the end, padded or not."""
    neighbours = [bytes([byte ^ turn for turn in (0, 85, 170, 255, 51)]) for byte in range(256)]
    heads = [other[:before] for other in neighbours]
    yield fixed([encode(head + value + other) for head, other in zip(heads, neighbours)])
    ends = [encode(head + value) for head in heads] if before else [encode(value)] * 2
    yield fixed(ends)
    yield fixed([end.rstrip(b"=") for end in ends])


def bits(value):
    for name, encode, offsets in [
        ("base64.b64encode", base64.b64encode, 3),
        ("base64.urlsafe_b64encode", base64.urlsafe_b64encode, 3),
        ("base64.b32encode", base64.b32encode, 5),
    ]:
        for before in range(offsets):
            for form in among_neighbours(encode, value, before):
                yield f"{name} with {before} bytes before", form
    yield "binascii.hexlify", binascii.hexlify(value)
    yield "binascii.hexlify, upper case", binascii.hexlify(value).upper()


def percent(value):
    quote, plus = urllib.parse.quote, urllib.parse.quote_plus
    encoders = {
        "quote, nothing safe": lambda v: quote(v, safe=""),
        "quote": quote,
        "quote as encodeURIComponent": lambda v: quote(v, safe="!*'()"),
        "quote as encodeURI": lambda v: quote(v, safe="!*'();/?:@&=+$,#"),
        "quote_plus as application/x-www-form-urlencoded": lambda v: plus(v, safe="*").replace("~", "%7E"),
    }
    both = {name: (encode(value), encode(encode(value))) for name, encode in encoders.items()}
    every = "".join(f"%{byte:02X}" for byte in value)
    both["every byte"] = (every, quote(every))
    for name, (once, twice) in both.items():
        for times, form in [("", once), (", twice", twice)]:
            lower = re.sub(r"%(25)?[0-9A-F]{2}", lambda escape: escape.group().lower(), form)
            yield f"{name}{times}", form.encode()
            yield f"{name}{times}, lower case", lower.encode()


def upper(text):
    return re.sub(r"\\u[0-9a-f]{4}", lambda escape: "\\u" + escape.group()[2:].upper(), text)


def backslash(value):
    text = characters(value)
    for name, ascii in [("json.dumps", True), ("json.dumps, ensure_ascii=False", False)]:
        plain = json.dumps(text, ensure_ascii=ascii)[1:-1]
        forms = [(name, plain), (f"{name}, slashes escaped", plain.replace("/", "\\/"))]
        if not ascii:
            go = plain
            for sign in "<>&":
                go = go.replace(sign, f"\\u{ord(sign):04x}")
            forms.append((f"{name}, <, > and & escaped", go))
        units = text.encode("utf-16-be").hex()
        forms.append(("every UTF-16 unit", "".join("\\u" + units[at : at + 4] for at in range(0, len(units), 4))))
        for name, form in forms:
            yield name, form.encode()
            yield f"{name}, upper case", upper(form).encode()


def entities(value):
    text = value.decode(errors="surrogateescape")
    escaped = html.escape(text)
    for name, form in [
        ("html.escape, quote=False", html.escape(text, quote=False)),
        ("html.escape", escaped),
        ("html.escape, &#39;", escaped.replace("&#x27;", "&#39;")),
        ("html.escape, &#039;", escaped.replace("&#x27;", "&#039;")),
        ("html.escape, &apos;", escaped.replace("&#x27;", "&apos;")),
        ("html.escape, &#39; and &#34;", escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")),
    ]:
        yield name, form.encode(errors="surrogateescape")
    for name, write in [("decimal", "&#{};"), ("hexadecimal", "&#x{:x};"), ("upper case", "&#x{:X};"), ("capital X", "&#X{:X};")]:
        text = characters(value)
        yield f"every character, {name}", "".join(write.format(ord(c)) for c in text).encode()
        signs = "".join(write.format(ord(c)) if c in "&<>\"'" else c for c in text)
        yield f"signs, {name}", signs.encode()


def raw(value):
    yield "as it is", value
    if b"\n" in value:
        yield "as a terminal prints it", value.replace(b"\n", b"\r\n")
    for line in value.split(b"\n")[1:]:
        if not line.startswith(b"-----"):
            yield "a line of it", line


def forms(value):
    # Line breaks at its end are how it was stored.
    value = value.rstrip(b"\r\n")
    seen = set()
    for encoder in (raw, bits, percent, backslash, entities):
        for name, form in encoder(value):
            if len(form) >= 6 and form not in seen:
                seen.add(form)
                yield name, form.decode("latin-1")


if __name__ == "__main__":
    vectors = [{"value": value.decode("latin-1"), "forms": list(forms(value))} for value in VALUES]
    print(json.dumps(vectors, indent=1))
