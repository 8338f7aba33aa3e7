"""A second reader of vaults, written from docs/format.md alone. It writes nothing.

usage: reader.py VAULT [--code CODE] [--list] [--get scope/NAME]

Without the code: what can be verified without a key ("The folder", "The roster", the forms of "Slots and scope keys", "A change").
With the recovery code ("The recovery code"): every scope's keys, heads, nodes, pages and records as well. Exit status 1 and the
reason when something has to be refused. JSON is checked in shapes.py, the sections "The index" and "Several heads" are in index.py,
and what is taken from RFCs and OpenSSH is in primitives.py.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha20_poly1305
from nacl.exceptions import CryptoError

import shapes
from index import Branch, Child, Head, State, Version, join, parse_head, parse_node, parse_page, place
from primitives import (USER_PRESENT, USER_VERIFIED, Bytes, Refused, base64url, canonical, canonical_bytes, derive_key_pair,
                        expand, extract, field, hpke_open, need, point_of, sha256, sshsig)

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DIGEST = re.compile(r"[0-9a-f]{64}")


def label(name: str, *parts: bytes) -> bytes:
    """Conventions."""
    return f"touchlease v1 {name}".encode() + b"".join(map(field, parts))


def unbox(key: bytes, aad: bytes, box: bytes, what: str) -> bytes:
    """Conventions: `box`."""
    try:
        return xchacha20_poly1305(box[24:], aad, box[:24], key)
    except (CryptoError, ValueError) as error:
        raise Refused(f"{what}: does not open with its key") from error


def code_bytes(text: str) -> bytes:
    """The recovery code: 20 bytes."""
    plain = text.upper().replace("-", "").replace(" ", "").translate(str.maketrans("OIL", "011"))
    need(len(plain) == 36 and all(digit in CROCKFORD for digit in plain), "the code is not 36 characters of its alphabet")
    number = 0
    for digit in plain:
        number = number << 5 | CROCKFORD.index(digit)
    code = (number >> 20).to_bytes(20, "big")
    check = int.from_bytes(sha256(b"touchlease v1 recovery checksum" + code)[:3], "big") >> 4
    need(number & 0xFFFFF == check, "the code's checksum is another")
    return code


class Vault:
    """A vault whose roster is verified. `roster` is the statement in force, `epochs` the commitments of each scope."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path in folder.rglob("*"):
            need(not path.is_symlink(), f"{path.relative_to(folder)}: a symbolic link")
        need(self.file("format") == b"touchlease vault 1\n", "format: not version 1")
        self.statements = self.read_statements()
        self.epochs: dict[str, dict[bytes, int]] = {}
        for statement in self.statements.values():
            for scope in statement["scopes"]:
                self.epochs.setdefault(scope["id"], {})[bytes.fromhex(scope["commitment"])] = scope["epoch"]
        named = {digest for statement in self.statements.values() for digest in statement["previous"]}
        ends = [statement for digest, statement in self.statements.items() if digest not in named]
        need(len(ends) == 1, f"roster: {len(ends)} ends")
        self.roster = ends[0]
        self.id = bytes.fromhex(self.roster["vault"])
        self.check_pending()

    def file(self, path: str, kind: bytes = b"") -> bytes:
        try:
            data = (self.folder / path).read_bytes()
        except OSError as error:
            raise Refused(f"{path}: {error.strerror}") from error
        magic = b"TL1" + kind + b"\n" if kind else b""
        need(data.startswith(magic), f"{path}: not a file of its kind")
        return data

    def named_by_digest(self, path: str, kind: bytes = b"") -> bytes:
        data = self.file(path, kind)
        need(sha256(data).hex() == Path(path).stem, f"{path}: its name is not its digest")
        return data

    def names(self, folder: str) -> list[str]:
        """What is in a folder but temporary files."""
        path = self.folder / folder
        return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".")) if path.is_dir() else []

    # The roster

    def read_statements(self) -> dict[str, dict]:
        read: dict[str, dict] = {}
        for name in self.names("roster"):
            digest, _, kind = name.partition(".")
            need(DIGEST.fullmatch(digest) and kind in ("json", "sig"), f"roster/{name}: no statement and no signature")
            if kind == "json":
                read[digest] = canonical(self.file(f"roster/{name}"), f"roster/{name}")
        need(read, "roster: no statement")
        # Another version is said before anything else is looked at.
        for digest, statement in read.items():
            need(isinstance(statement, dict) and statement.get("v") == 1, f"roster/{digest}: of another version")
        for digest, statement in read.items():
            self.named_by_digest(f"roster/{digest}.json")
            shapes.statement(statement, f"roster/{digest}")
        for digest, statement in read.items():
            need(all(before in read for before in statement["previous"]), f"roster/{digest}: a statement before it is missing")
            befores = [read[before] for before in statement["previous"]]
            self.check_statement(digest, statement, befores)
        return read

    def check_statement(self, digest: str, statement: dict, befores: list[dict]) -> None:
        what = f"roster/{digest}"
        signer = sshsig(self.file(f"{what}.sig"), b"touchlease-vault", self.file(f"{what}.json"), b"touchlease:lease", b"touchlease")
        if not befores:
            need(statement["random"] is not None, f"{what}: a first statement without random")
            first = base64url(statement["keys"][0]["lease"]["public_key"])
            made = sha256(bytes.fromhex(statement["random"]) + first)
            need(made.hex() == statement["vault"], f"{what}: the vault's id is not made of its random and its first key")
            need(signer.point == first, f"{what}: not signed by its first key")
        need(not befores or statement["random"] is None, f"{what}: random in a statement that is not the first")
        for before in befores or [statement]:
            need(before["vault"] == statement["vault"], f"{what}: of another vault than the one before it")
            self.check_signer(what, signer.point, signer.flags, before)
        for before in befores:
            shapes.follows(statement, before, what)

    @staticmethod
    def check_signer(what: str, point: bytes, flags: int | None, before: dict) -> None:
        """The key that signed is one that the statement before names, and was touched as its profile asks."""
        if flags is None:
            need(point == base64url(before["recovery"]), f"{what}: signed by a plain key that is not the recovery key")
            return
        keys = [key for key in before["keys"] if base64url(key["lease"]["public_key"]) == point]
        need(keys, f"{what}: signed by a key that is not enrolled")
        need(flags & USER_PRESENT, f"{what}: signed without a touch")
        need(flags & USER_VERIFIED or keys[0]["profile"] != "pin", f"{what}: signed without the PIN")

    # Slots and scope keys, as far as no key is needed

    def check_sealed(self, scope: dict) -> None:
        for slot in scope["slots"]:
            path = f"slots/{slot['id']}.{scope['commitment']}"
            need(len(self.file(path, b"seal")) == 8 + 65 + 48, f"{path}: of another length")
            if slot["kind"] == "fido2":
                half = self.file(f"slots/{slot['id']}.half", b"half")
                need(len(half) == 8 + 24 + 64 + 16, f"slots/{slot['id']}.half: of another length")
                need(slot["half"] in (None, sha256(half).hex()), f"slots/{slot['id']}.half: not the one that the statement names")
        if scope["epoch"] > 1:
            self.file(f"scopes/{scope['id']}/{scope['commitment']}", b"carr")

    # A change

    def check_pending(self) -> None:
        """A list of a change says what to remove, nothing about what is read; but it has to be one."""
        for name in self.names("pending"):
            text = self.named_by_digest(f"pending/{name}").decode(errors="replace")
            lines = re.fullmatch(r"touchlease change 1\n= (.+)\n((?:\+ .+\n)*(?:- .+\n)*)", text)
            need(lines, f"pending/{name}: not the list of a change")
            for path in [lines[1], *(line[2:] for line in lines[2].splitlines())]:
                first, *rest = path.split("/")
                good = first in ("roster", "slots", "scopes", "records", "index", "heads") and rest
                need(good and all(re.fullmatch(r"[a-z0-9-][a-z0-9.-]*", part) for part in rest), f"pending/{name}: a path outside")


class Scope:
    """A scope opened with the recovery key: its keys by commitment, and the state that its heads make."""

    def __init__(self, vault: Vault, scope: dict, recovery: ec.EllipticCurvePrivateKey) -> None:
        self.vault, self.roster, self.id = vault, scope, bytes.fromhex(scope["id"])
        self.in_force = bytes.fromhex(scope["commitment"])
        self.keys = {self.in_force: self.open_slot(recovery)}
        if scope["epoch"] > 1:
            self.open_carry()
        self.state = self.join_heads()

    def commitment(self, key: bytes, epoch: int) -> bytes:
        return expand(key, label("commit", self.vault.id, self.id, epoch.to_bytes(8, "big")))

    def open_slot(self, recovery: ec.EllipticCurvePrivateKey) -> bytes:
        slot = next(slot for slot in self.roster["slots"] if slot["kind"] == "recovery")
        path = f"slots/{slot['id']}.{self.roster['commitment']}"
        sealed = self.vault.file(path, b"seal")[8:]
        need(len(sealed) == 65 + 48, f"{path}: of another length")
        aad = canonical_bytes({"epoch": self.roster["epoch"], "scope": self.roster["id"], "slot": slot["id"], "vault": self.vault.id.hex()})
        try:
            key = hpke_open(recovery, sealed[:65], b"touchlease v1 scope key", aad, sealed[65:])
        except Refused as error:
            raise Refused(f"{path}: {error}") from error
        need(self.commitment(key, self.roster["epoch"]) == self.in_force, f"{path}: what opens has another commitment")
        return key

    def open_carry(self) -> None:
        path = f"scopes/{self.roster['id']}/{self.roster['commitment']}"
        box = self.vault.file(path, b"carr")
        key = expand(self.keys[self.in_force], label("carry", self.vault.id, self.id))
        carried = Bytes(unbox(key, box[:8], box[8:], path), path)
        while carried.data:
            epoch, earlier = carried.number(8), carried.take(32)
            commitment = self.commitment(earlier, epoch)
            need(self.vault.epochs[self.roster["id"]].get(commitment) == epoch, f"{path}: a key that no statement names")
            need(epoch < self.roster["epoch"] and commitment not in self.keys, f"{path}: a key that is not an earlier one")
            self.keys[commitment] = earlier

    # The index

    def sealed_index(self, path: str, kind: bytes) -> tuple[bytes, bytes]:
        """What is before the box, and what is in it."""
        data = self.vault.named_by_digest(path, kind)
        clear = 8 + 32 + (1 + 32 * data[40] if kind == b"head" and len(data) > 40 else 0)
        need(data[8:40] in self.keys, f"{path}: under a key that the vault does not have")
        key = expand(self.keys[data[8:40]], label("index", self.vault.id, self.id))
        return data[:clear], unbox(key, data[:clear], data[clear:], path)

    def index_path(self, digest: bytes) -> str:
        return f"index/{self.roster['id']}/{digest.hex()[:2]}/{digest.hex()}"

    def heads(self) -> dict[bytes, Head]:
        """The heads in the folder that stand ("Several heads"), by digest."""
        heads: dict[bytes, Head] = {}
        for name in self.vault.names(f"heads/{self.roster['id']}"):
            path = f"heads/{self.roster['id']}/{name}"
            if self.vault.named_by_digest(path, b"head")[8:40] not in self.keys:
                continue
            clear, plain = self.sealed_index(path, b"head")
            heads[bytes.fromhex(name)] = parse_head(clear, plain, path, self.in_force)
        followed = {(parent, head.in_force) for head in heads.values() for parent in head.parents}
        return {digest: head for digest, head in heads.items()
                if (digest, True) not in followed and (head.in_force or (digest, False) not in followed)}

    def knows(self, head: Head) -> set[bytes]:
        """The changes of all heads that this one was made from, and its own."""
        known, pages, seen = {head.change, *head.recent}, list(head.earlier), set()
        while pages:
            page = pages.pop()
            if page not in seen:
                seen.add(page)
                changes, earlier = parse_page(self.sealed_index(self.index_path(page), b"page")[1], page.hex())
                known |= changes
                pages += earlier
        return known

    def join_heads(self) -> State:
        heads = self.heads()
        ordered = sorted(heads.items(), key=lambda item: (not item[1].in_force, item[0]))
        need(ordered and ordered[0][1].in_force, f"scope {self.roster['name']}: no head under the key in force")
        states = [State(Child(None, head.change, parse_node(head.root, 0, digest.hex())), self.knows(head), [head.change], head.in_force)
                  for digest, head in ordered]
        state = states[0]
        for other in states[1:]:
            state = join(state, other, self.load)
        return state

    def load(self, digest: bytes, depth: int) -> object:
        return parse_node(self.sealed_index(self.index_path(digest), b"node")[1], depth, digest.hex())

    def entries(self) -> Iterator[tuple[str, list[Version]]]:
        for name, versions in sorted(self.state.root.walk(self.load)):
            yield name.decode(), [version for version in versions if version.record]

    def find(self, name: str) -> list[Version]:
        """The versions of one secret; what is damaged elsewhere in the tree is not looked at."""
        child, depth = self.state.root, 0
        while isinstance(node := child.open(self.load, depth), Branch):
            need(place(name.encode(), depth) in node.children, f"{name}: no such secret")
            child, depth = node.children[place(name.encode(), depth)], depth + 1
        versions = [version for version in node.get(name.encode(), []) if version.record]
        need(versions, f"{name}: no such secret")
        return versions

    # Records

    def record(self, name: str, version: Version) -> tuple[dict, bytes]:
        """The clear part and the value."""
        tag, record_id = sha256(name.encode()).hex(), version.record[0].hex()
        path = f"records/{self.roster['id']}/{tag[:3]}/{tag[3:11]}-{record_id}"
        data = self.vault.file(path, b"reco")
        need(sha256(data) == version.record[1], f"{path}: not the file that the index names")
        reader = Bytes(data[8:], path)
        text = reader.field()
        clear = canonical(text, path)
        shapes.clear(clear, path)
        need((clear["id"], clear["scope"], clear["name"], clear["version"]) == (record_id, self.roster["id"], name, version.number),
             f"{path}: its clear part is another record's")
        scope_key = self.keys.get(bytes.fromhex(clear["key"]))
        need(scope_key, f"{path}: under a key that the vault does not have")
        key = expand(scope_key, label("record", self.vault.id, self.id, version.record[0]))
        plain = Bytes(unbox(key, data[: len(data) - len(reader.data)], reader.data, path), path)
        value = plain.field()
        shapes.value(value, clear, path)
        eighth = max(1, (1 << (len(value) - 1).bit_length()) // 8)
        padded = max(256, len(text), -(-len(value) // eighth) * eighth)
        need(plain.data == bytes(padded - len(value)), f"{path}: padded in another way")
        return clear, value


def recovery_pair(vault: Vault, code: str) -> ec.EllipticCurvePrivateKey:
    """The recovery code; refuses one that is not this vault's."""
    pair = derive_key_pair(expand(extract(vault.id, code_bytes(code)), label("recovery", vault.id)))
    need(point_of(pair) == base64url(vault.roster["recovery"]), "the code is not the recovery code in force")
    return pair


def open_scopes(vault: Vault, code: str) -> dict[str, Scope]:
    """Every scope by its name."""
    recovery = recovery_pair(vault, code)
    return {scope["name"]: Scope(vault, scope, recovery) for scope in vault.roster["scopes"]}


def main() -> int:
    parser = argparse.ArgumentParser(description="Reads a vault from docs/format.md alone.")
    parser.add_argument("vault", type=Path)
    parser.add_argument("--code", help="the recovery code")
    parser.add_argument("--list", action="store_true", help="names, versions and rules")
    parser.add_argument("--get", metavar="scope/NAME", help="one value, to standard output")
    arguments = parser.parse_args()
    try:
        vault = Vault(arguments.vault)
        for scope in vault.roster["scopes"]:
            vault.check_sealed(scope)
        scopes = open_scopes(vault, arguments.code) if arguments.code else {}
        found = 0
        for scope_name, scope in sorted(scopes.items()):
            for name, versions in scope.entries():
                for version in versions:
                    clear, value = scope.record(name, version)
                    found += 1
                    if arguments.list:
                        print(f"{scope_name}/{name} version {version.number} {canonical_bytes(clear['rules']).decode()}")
                    if arguments.get == f"{scope_name}/{name}":
                        need(len(versions) == 1, f"{arguments.get}: {len(versions)} versions, written apart")
                        sys.stdout.buffer.write(value)
                        return 0
        need(not arguments.get, f"{arguments.get}: no such secret, or no code")
    except Refused as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    print(f"vault {vault.id.hex()}: {len(vault.statements)} statements, {len(scopes)} scopes opened, {found} records", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
