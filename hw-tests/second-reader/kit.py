"""Runs the second reader over hw-tests/vectors/vaults (README.md there) and prints n of N.

usage: kit.py VAULTS AT-LEAST

Of the vaults that are opened with the recovery code: what is refused, and what is read, has to be what they say. The reasons are
not compared. Fails when one disagrees, or when there are fewer than AT-LEAST.
"""

import base64
import contextlib
import sys
import tempfile
from pathlib import Path

from reader import reading
from refuse import Scope, Vault


def parse(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    header, _, changes = path.read_text().partition("\n\n")
    first, *lines = header.splitlines()
    if first != "touchlease vault kit 1":
        raise SystemExit(f"{path}: not of this kit")
    names: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        names.setdefault(name, []).append(value)
    return names, changes.splitlines()


def change(folder: Path, line: str) -> None:
    kind, name, *rest = line.split(" ")
    path = folder / name
    if kind == "+":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(rest[0] if rest else "", validate=True))
    elif kind == "-":
        path.unlink()
    elif kind == ">":
        (folder / rest[0]).parent.mkdir(parents=True, exist_ok=True)
        path.rename(folder / rest[0])
    elif kind == "<":
        path.write_bytes(path.read_bytes()[: int(rest[0])])
    elif kind == "~":
        data, at, new = bytearray(path.read_bytes()), int(rest[0]), bytes.fromhex(rest[1])
        data[at : at + len(new)] = new
        path.write_bytes(data)
    else:
        raise SystemExit(f"a change of an unknown kind: {line}")


def outcome(folder: Path, code: str, secrets: list[str]) -> dict[str, bytes | None]:
    """The value of each secret; None for one that is refused, with its scope, or with the whole vault."""
    read: dict[str, bytes | None] = dict.fromkeys(secrets)
    scopes = {}
    with contextlib.suppress(ValueError), reading("the vault"):
        vault = Vault(folder)
        recovery = vault.recovery_key(code)
        for entry in vault.roster["scopes"]:
            with contextlib.suppress(ValueError), reading("a scope"):
                scopes[entry["name"]] = Scope(vault, entry, recovery)
    for secret in secrets:
        scope, _, name = secret.partition("/")
        with contextlib.suppress(ValueError), reading(secret):
            [(number, record)] = scopes[scope].find(name.encode())
            read[secret] = scopes[scope].record(name.encode(), number, *record)[1].field()
    return read


def expected(says: str, values: dict[str, bytes]) -> dict[str, bytes | None]:
    refused: set[str] = set()
    for part in [] if says == "fine" else says.split(", ") if ", " in says else says.split(","):
        what, name, *_ = [*part.split(), ""]
        refused |= {secret for secret in values if what == "vault" or (what == "scope" and secret.startswith(f"{name}/"))
                    or (what == "secret" and secret == name)}
    return {secret: None if secret in refused else value for secret, value in values.items()}


def main() -> int:
    vaults, at_least, memory = Path(sys.argv[1]), int(sys.argv[2]), Path("/dev/shm")
    base, first_lines = parse(vaults / "base-vault.txt")
    values = {line.split(" ")[0]: base64.b64decode(line.split(" ")[1]) for line in base["secret"]}
    agreed = tried = 0
    for path in sorted(vaults.glob("*.txt")):
        header, lines = parse(path)
        if path.name == "base-vault.txt" or header["door"] != ["recovery"]:
            continue
        tried += 1
        theirs = values | {line.split(" ")[0]: base64.b64decode(line.split(" ")[1]) for line in header.get("secret", [])}
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            for line in first_lines + lines:
                change(Path(folder), line)
            got = outcome(Path(folder), base["recovery"][0], list(theirs))
        if got == expected(header["expect"][0], theirs):
            agreed += 1
        else:
            print(f"{path.name}: expected {header['expect'][0]}; secrets read: {sum(value is not None for value in got.values())}")
    print(f"second reader, {agreed} of {tried} vaults")
    return 0 if agreed == tried >= at_least else 1


if __name__ == "__main__":
    sys.exit(main())
