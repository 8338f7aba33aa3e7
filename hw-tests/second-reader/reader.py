"""A second reader of vaults, written from docs/format.md alone: reader.py VAULT [SCOPE/NAME] < RECOVERY-CODE

Verifies the roster, opens every scope, and lists the secrets with versions and rules, or prints one's value.
At most 300 lines: what only a key's holder can do wrong (JSON's members, order, padding) is for refuse.py.
"""
import base64
import contextlib
import hashlib
import json
import sys
from collections import namedtuple
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as xchacha20_poly1305
from pyhpke import AEADId, CipherSuite, KDFId, KEMId

HPKE = CipherSuite.new(KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
FIDO2, PLAIN = b"sk-ecdsa-sha2-nistp256@openssh.com", b"ecdsa-sha2-nistp256"

def need(condition, reason):
    if not condition:
        raise ValueError(reason)
@contextlib.contextmanager
def reading(what):
    """Whatever cannot be read, for whatever reason, is refused, and says what it was."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}: {error or type(error).__name__}") from error

def sha256(data):
    return hashlib.sha256(data).digest()
def base64url(text):
    return base64.urlsafe_b64decode(text + "==")
def canonical(value):
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
def fields(*parts):
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
def label(name, *parts):
    return f"touchlease v1 {name}".encode() + fields(*parts)
def expand(key, info):
    return HKDFExpand(hashes.SHA256(), 32, info).derive(key)
def unbox(key, data, front):
    # The first `front` bytes of data are the box's aad.
    return xchacha20_poly1305(data[front + 24 :], data[:front], data[front : front + 24], key)

class Bytes:
    """Takes from the front of bytes."""
    def __init__(self, left):
        self.left = left
    def take(self, count):
        need(len(self.left) >= count, "cut short")
        taken, self.left = self.left[:count], self.left[count:]
        return taken
    def number(self, count):
        return int.from_bytes(self.take(count), "big")
    def field(self):
        return self.take(self.number(4))
    def items(self, size):
        return [self.take(size) for _ in range(self.number(4))]

def signer(armored, text, namespace):
    """The point of the key that made this SSHSIG, and the flags that it signed: none for a plain key."""
    body = Bytes(base64.b64decode(b"".join(armored.split(b"\n")[1:-2]))[10:])
    key, _, _, _, made = (Bytes(body.field()) for _ in range(5))
    kind, _, point, _ = key.field(), key.field(), key.field(), made.field()
    numbers = Bytes(made.field())
    r, s = (int.from_bytes(numbers.field(), "big") for _ in range(2))
    rs = fields(*(number.to_bytes(number.bit_length() // 8 + 1, "big") for number in (r, s)))
    hashed = (namespace, b"", b"sha512")
    signed = b"SSHSIG" + fields(*hashed, hashlib.sha512(text).digest())
    flags, key, again = b"", fields(PLAIN, b"nistp256", point), fields(PLAIN, rs)
    if kind == FIDO2:
        flags, counter, _, _, extensions = made.take(1), made.take(4), *(made.field() for _ in range(3))
        need(flags[0] & 0xC0 == (0x80 if extensions else 0), "flags that contradict what was signed")
        challenge = base64.urlsafe_b64encode(signed).decode().rstrip("=")
        client = f'{{"type":"webauthn.get","challenge":"{challenge}","origin":"touchlease"}}'.encode()
        signed = sha256(b"touchlease:lease") + flags + counter + extensions + sha256(client)
        key = fields(FIDO2, b"nistp256", point, b"touchlease:lease")
        again = fields(b"webauthn-" + FIDO2, rs) + flags + counter + fields(b"touchlease", client, extensions)
    # There is one form: what was read is written again.
    body = base64.b64encode(b"SSHSIG\0\0\0\1" + fields(key, *hashed, again))
    lines = [body[at : at + 70] for at in range(0, len(body), 70)]
    begin, end = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
    need(armored.split(b"\n") == [begin, *lines, end, b""], "no signature of this text in the one form")
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    public.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    return point, flags
def signers(statement):
    """Who may sign what follows, in their order: points, and the flags that they have to set."""
    return {base64url(key[part]["public_key"]): {"pin": 5, "touch-only": 1}.get(key.get("profile"), 0)
            for key in statement["keys"] for part in ("lease", "sign") if part in key}
def is_for(vault, key):
    """Anybody can seal to a PIV key, which therefore says by a signature for which vault it was enrolled."""
    said = {name: key[name] for name in ("firmware", "open", "serial", "sign")} | {"v": 1, "vault": vault}
    signed = signer(key["enrolment"].encode(), canonical(said), b"touchlease-enrol")
    return signed == (base64url(key["sign"]["public_key"]), b"")

class Vault:
    """A vault whose roster is verified: `statements`, `roster` the one in force, `epochs` of the scopes."""
    def __init__(self, folder):
        self.folder, self.statements = folder.absolute(), {}
        with reading("the folder"):
            need(self.file("format") == b"touchlease vault 1\n", "not of version 1")
            for path in folder.glob("roster/[!.]*.json"):
                self.statements[path.stem] = json.loads(path.read_bytes().decode())
            need(all(statement["v"] in (1, 2) for statement in self.statements.values()), "a newer statement")
        for digest in self.statements:
            with reading(f"roster/{digest}"):
                self.verify(digest)
        statements = self.statements.values()
        ends = self.statements.keys() - {before for each in statements for before in each["previous"]}
        need(len(ends) == 1, f"roster: {len(ends)} ends")
        self.roster = self.statements[ends.pop()]
        self.id = bytes.fromhex(self.roster["vault"])
        self.epochs = {(scope["id"], scope["epoch"], scope["commitment"])
                       for statement in statements for scope in statement["scopes"]}

    def file(self, path, kind="", digest=None):
        data = (self.folder / path).read_bytes()
        need(not kind or data[:8] == f"TL1{kind}\n".encode(), f"{path} is not a file of its kind")
        need(digest in (None, sha256(data)), f"{path} has another digest")
        return data

    def verify(self, digest):
        """Form, signature, and that who signed was named by the statement before."""
        statement = self.statements[digest]
        data = self.file(f"roster/{digest}.json", digest=bytes.fromhex(digest))
        need(canonical(statement) == data, "not canonical")
        point, flags = signer(self.file(f"roster/{digest}.sig"), data, b"touchlease-vault")
        befores, vault = [self.statements[before] for before in statement["previous"]], statement["vault"]
        need(all(is_for(vault, key) for key in statement["keys"] if "sign" in key), "a key of another vault")
        if not befores:
            made = (sha256(bytes.fromhex(statement["random"]) + point).hex(), point)
            need(made == (vault, next(iter(signers(statement)))), "not begun by its first key")
        for before in befores or [statement]:
            need(before["vault"] == vault, "of another vault than the one before it")
            known = signers(before) | ({base64url(before["recovery"]): 0} if befores else {})
            need(bool(flags) == (known[point] > 0), "signed in another form than its key signs")
            need(not flags or flags[0] & known[point] == known[point], "signed without touch or PIN")

    def recovery_key(self, code):
        plain = code.upper().translate(str.maketrans("OIL", "011", "- \n"))
        number = sum(CROCKFORD.index(digit) << 5 * place for place, digit in enumerate(reversed(plain)))
        secret = (number >> 20).to_bytes(20, "big")
        check = sha256(b"touchlease v1 recovery checksum" + secret).hex()[:5]
        need(len(plain) == 36 and check == f"{number & 0xFFFFF:05x}", "not a code, by its length or checksum")
        extract = HKDF(hashes.SHA256(), 32, self.id, label("recovery", self.id))
        pair = HPKE.kem.derive_key_pair(extract.derive(secret))
        need(pair.public_key.to_public_bytes() == base64url(self.roster["recovery"]), "not this vault's code")
        return pair.private_key

Head = namedtuple("Head", "in_force digest root parents knows")
def place(name):
    """The numbers of the children on the way to a name."""
    return tuple(int.from_bytes(sha256(name)[:8], "big") >> 58 - 6 * depth & 63 for depth in range(10))
def joined(mine, theirs, knows, head):
    """Versions of a name by change: of what is joined so far, which `knows` changes, and of one more head."""
    kept = {change: each for change, each in mine.items() if change in theirs or change not in head.knows}
    kept |= {change: version for change, version in theirs.items() if change not in knows}
    need(len(kept) < 256, "over 255 versions of a name")
    records = {change: version for change, version in kept.items() if version[1]}
    return records or dict(sorted(kept.items(), key=lambda item: (item[1][0], item[0]))[-1:]) or mine
def brought(mine, theirs, knows):
    """What a head under an earlier key adds to a name: versions with a record, by changes made of them."""
    return {sha256(label("brought", change, *version[1]))[:16]: version for change, version in theirs.items()
            if version[1] and change not in knows and version[1] not in [other[1] for other in mine.values()]}

class Scope:
    """A scope opened with the recovery key: `keys` by commitment, and `secrets`: versions by name."""
    def __init__(self, vault, entry, recovery):
        self.vault, self.text, self.id = vault, entry["id"], bytes.fromhex(entry["id"])
        self.keys, self.secrets, self.refused = {}, {}, {}
        epoch, self.in_force = entry["epoch"], bytes.fromhex(entry["commitment"])
        slot = next(slot["id"] for slot in entry["slots"] if slot["kind"] == "recovery")
        data = vault.file(f"slots/{slot}.{entry['commitment']}", "seal")
        aad = canonical({"epoch": epoch, "scope": self.text, "slot": slot, "vault": vault.roster["vault"]})
        opener = HPKE.create_recipient_context(data[8:73], recovery, b"touchlease v1 scope key")
        self.take_in(epoch, opener.open(data[73:], aad))
        need(self.in_force in self.keys, "what opens is not the scope's key")
        if epoch > 1:
            data = vault.file(f"scopes/{self.text}/{entry['commitment']}", "carr")
            old = Bytes(unbox(expand(self.keys[self.in_force], label("carry", vault.id, self.id)), data, 8))
            while old.left:
                self.take_in(old.number(8), old.take(32))
        self.join(self.heads())

    def take_in(self, epoch, key):
        commitment = expand(key, label("commit", self.vault.id, self.id, epoch.to_bytes(8, "big")))
        need((self.text, epoch, commitment.hex()) in self.vault.epochs, "a scope key that no statement names")
        self.keys[commitment] = key

    def open(self, kind, digest):
        """A head, page or node: the whole file, and what is in its box."""
        name = digest.hex()
        path = f"heads/{self.text}/{name}" if kind == "head" else f"index/{self.text}/{name[:2]}/{name}"
        with reading(path):
            data = self.vault.file(path, kind, digest)
            front = 41 + 32 * data[40] if kind == "head" else 40
            key = expand(self.keys[data[8:40]], label("index", self.vault.id, self.id))
            return data, Bytes(unbox(key, data, front))

    def heads(self):
        """Those that stand, those under the key in force first."""
        paths = self.vault.folder.glob(f"heads/{self.text}/[!.]*")
        ours = [path.name for path in paths if self.vault.file(path, "head")[8:40] in self.keys]
        heads = [self.head(bytes.fromhex(name)) for name in ours]
        heads = [head for head in heads if not any(head.digest in other.parents for other in heads)]
        need(any(head.in_force for head in heads), "no head under the key in force")
        return sorted(heads, key=lambda head: (not head.in_force, head.digest))

    def head(self, digest):
        """In force it knows its own change and those of the heads that it names, directly or on pages."""
        data, plain = self.open("head", digest)
        parents = [data[at : at + 32] for at in range(41, 41 + 32 * data[40], 32)]
        root, change, recent, pages = plain.field(), plain.take(16), plain.items(48), plain.items(32)
        for page in pages:
            below = self.open("page", page)[1]
            recent += below.items(48)
            pages += [earlier for earlier in below.items(32) if earlier not in pages]
        in_force, changes = data[8:40] == self.in_force, {change, *(each[32:] for each in recent)}
        return Head(in_force, digest, root, *((parents, changes) if in_force else ([], set())))

    def join(self, heads):
        knows = set()
        for head in heads:
            self.places, others = {}, set().union(*(other.knows for other in heads if other is not head))
            for name, theirs in self.walk(Bytes(head.root), (), others):
                mine = self.secrets.get(name, {})
                theirs = theirs if head.in_force else brought(mine, theirs, knows)
                self.secrets[name] = joined(mine, theirs, knows, head) if mine else theirs
            knows |= head.knows

    def walk(self, plain, at, others):
        """Names and versions of a node. A child that another head replaced need not be there."""
        kind, count = plain.number(1), plain.number(4)
        for _ in range(count):
            if kind:
                number, digest, change = plain.number(1), plain.take(32), plain.take(16)
                need(self.places.setdefault(digest, (*at, number)) == (*at, number), "a node in two places")
                try:
                    yield from list(self.walk(self.open("node", digest)[1], (*at, number), others))
                except ValueError as error:
                    if change not in others:
                        self.refused[*at, number] = error
            else:
                name, versions = plain.field(), {}
                for _ in range(plain.number(1)):
                    number, change, kept = plain.number(8), plain.take(16), plain.number(1)
                    versions[change] = (number, (plain.take(16), plain.take(32)) if kept else None)
                need(versions and at == place(name)[: len(at)], "a name that does not belong there")
                yield name, versions

    def find(self, name):
        """The versions that there are of a secret: several where it was written apart."""
        for at, error in self.refused.items():
            need(at != place(name)[: len(at)], error)
        return [version for version in self.secrets.get(name, {}).values() if version[1]]

    def record(self, name, number, record, digest):
        """Clear part and value of one version."""
        tag = sha256(name).hex()
        path = f"records/{self.text}/{tag[:3]}/{tag[3:11]}-{record.hex()}"
        with reading(path):
            data = self.vault.file(path, "reco", digest)
            text = Bytes(data[8:]).field()
            clear = json.loads(text.decode())
            stated = (clear["id"], clear["scope"], clear["name"].encode(), clear["version"])
            need(stated == (record.hex(), self.text, name, number), "another record's clear part")
            need(canonical(clear) == text, "not canonical")
            key, info = bytes.fromhex(clear["key"]), label("record", self.vault.id, self.id, record)
            return clear, Bytes(unbox(expand(self.keys[key], info), data, 12 + len(text)))

def main(vault_type=Vault, scope_type=Scope):
    vault, wanted, secrets = vault_type(Path(sys.argv[1])), sys.argv[2:], {}
    recovery = vault.recovery_key(sys.stdin.readline())
    for entry in vault.roster["scopes"]:
        with reading(f"scope {entry['name']}"):
            scope = scope_type(vault, entry, recovery)
            need(wanted or not scope.refused, "; ".join(map(str, scope.refused.values())))
        secrets |= {f"{entry['name']}/{name.decode()}": (scope, name) for name in scope.secrets}
    for secret in wanted or sorted(secrets):
        with reading(secret):
            scope, name = secrets[secret]
            versions = scope.find(name)
            need(not wanted or len(versions) == 1, f"{len(versions)} versions, not one")
            for number, record in versions:
                clear, plain = scope.record(name, number, *record)
                rules = canonical(clear["rules"]).decode()
                print(plain.field().decode() if wanted else f"{secret} version {number} {rules}")

if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"refused: {error}")
