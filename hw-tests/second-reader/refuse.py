"""What reader.py leaves open: docs/format.md to the letter, refuse.py VAULT [SCOPE/NAME] < RECOVERY-CODE

Only the holder of a key can sign a statement, and only the holder of a scope key seal a head, a node or a record, that is not in its
form. Whoever has them can read and write the vault anyway, and a program of ours never does it: a reader refuses all the same.
"""

import contextlib
import functools
import ipaddress
import re
import sys
import unicodedata

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import reader
from reader import Bytes, base64url, canonical, need, sha256

DIGEST, ID = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{32}")
LARGEST = (1 << 53) - 1


def fits(value, form):
    """Whether JSON has this form: alternatives, a range of integers, a pattern, a test, the form of each item or of all members."""
    match form:
        case tuple():
            return any(fits(value, each) for each in form)
        case range():
            return type(value) is int and value in form
        case re.Pattern():
            return isinstance(value, str) and form.fullmatch(value) is not None
        case [each]:
            return isinstance(value, list) and all(fits(item, each) for item in value)
        case dict():
            # A name with ? behind it may be missing.
            forms = {name.rstrip("?"): each for name, each in form.items()}
            needed = {name for name in form if not name.endswith("?")}
            members = isinstance(value, dict) and needed <= value.keys() <= forms.keys()
            return members and all(fits(value[name], forms[name]) for name in value)
    return form(value) if callable(form) else type(value) is type(form) and value == form


def is_name(text):
    kinds = [unicodedata.category(letter)[0] for letter in text] if isinstance(text, str) else []
    return (bool(kinds) and kinds[0] in "LN" and len(text.encode()) <= 128 and unicodedata.normalize("NFC", text) == text
            and all(kind in "LMN" or letter in "_-.+@=" for kind, letter in zip(kinds, text, strict=True)))


def is_encoded(text, sizes):
    encoded = isinstance(text, str) and re.fullmatch("[A-Za-z0-9_-]+", text)
    need(encoded and reader.base64.urlsafe_b64encode(base64url(text)).decode().rstrip("=") == text, "not base64url")
    return len(base64url(text)) in sizes


def is_point(text):
    need(is_encoded(text, [65]) and base64url(text)[0] == 4, "no uncompressed point")
    return bool(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), base64url(text)))


def is_text(value):
    return isinstance(value, str) and value != ""


def ascending(values):
    return list(values) == sorted(set(values))


CREDENTIAL = {"id": lambda text: is_encoded(text, range(1, 1024)), "public_key": is_point}
FIDO2_KEY = {"kind": "fido2", "name": is_name, "profile": ("pin", "touch-only"), "lease": CREDENTIAL, "which": CREDENTIAL}
PIV_SLOT = {"slot": tuple(f"{slot:02x}" for slot in range(0x82, 0x96)), "public_key": is_point, "pin": "always", "touch": "always",
            "seen": ("attested", "metadata")}
PIV_KEY = {"kind": "piv", "name": is_name, "serial": range(1 << 32), "firmware": [range(256)], "open": PIV_SLOT, "sign": PIV_SLOT,
           "enrolment": is_text}
FIDO2_SLOT = {"kind": "fido2", "id": ID, "key": DIGEST, "public": is_point, "salt": DIGEST, "half": (None, DIGEST)}
SCOPE = {"id": ID, "name": is_name, "epoch": range(1, LARGEST + 1), "commitment": DIGEST,
         "slots": [(FIDO2_SLOT, {"kind": "piv", "id": ID, "key": DIGEST}, {"kind": "recovery", "id": ID})]}
STATEMENT = {"v": (1, 2), "at": range(LARGEST + 1), "vault": DIGEST, "name": is_name, "previous": [DIGEST], "random": (None, DIGEST),
             "recovery": is_point, "keys": [(FIDO2_KEY, PIV_KEY)], "scopes": [SCOPE]}
DELIVERIES = ["env", "file", "proxy", "signer"]
HEADER = {"name": re.compile("[a-z0-9!#$%&'*+.^_`|~-]{1,64}"), "prefix": lambda value: isinstance(value, str)}
METHOD, PARAMETER = re.compile("(?!(CONNECT|TRACE|TRACK)$)[A-Z-]{1,24}"), re.compile("[A-Za-z0-9_.-]{1,64}")
TARGET = re.compile(r"(http://)?(\[([0-9a-f:.]+)\]|[a-z0-9.-]{1,253})(:([1-9][0-9]{0,4}))?")
PATH = re.compile("/[]!$%&'()*+,./0-9:;=@A-Z[_a-z~-]{0,511}")
PLACES = ({"basic": {"user": (None, re.compile("[ -9;-~]{1,128}"))}}, {"query": {"name": PARAMETER}}, {"cookie": {"name": PARAMETER}})


def some(form):
    return lambda value: isinstance(value, list) and value and fits(value, [form]) and ascending(value)


def is_host(text):
    match = TARGET.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[5] or 1) > 65535 or match[1] and match[5] is None:
        return False
    labels, number = match[2].split("."), re.compile("[0-9]*|0x.*")
    if match[3] or number.fullmatch(labels[-1]):
        with contextlib.suppress(ValueError):
            address = match[3] or match[2]
            return str((ipaddress.IPv6Address if match[3] else ipaddress.IPv4Address)(address)) == address
        return False
    return all(re.fullmatch("(?!-)[a-z0-9-]{1,63}(?<!-)", label) for label in labels)


def is_path(text):
    escapes = re.findall("%(.{0,2})", text) if isinstance(text, str) and PATH.fullmatch(text) else [""]
    if not all(re.fullmatch("[2-7][0-9A-Fa-f]", each) and chr(int(each, 16)) not in "./\\;%\x7f" for each in escapes):
        return False
    *inner, last = text[1:].split("/")
    segments = [*inner, *filter(None, [last])]
    return all(each.split(";")[0] not in ("", ".", "..") and ("*" not in each or each == "*") for each in segments)


HOST = r"([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])(:[1-9][0-9]*)?"
ISSUER = re.compile(rf"https://{HOST}(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
CLAIM = re.compile("[A-Za-z0-9_.:/-]{1,64}")
PLAIN = re.compile(r"[!#-&(-+\--:<-_a-~]{1,512}")
PRINCIPAL = re.compile("[A-Za-z0-9_][A-Za-z0-9._@+-]{0,63}")
NAMESPACE = re.compile("(?!(?i:touchlease))[A-Za-z0-9][A-Za-z0-9._@+/-]{0,63}")
HARDWARE = {"firmware": [range(256)], "pin": ("always",), "seen": ("attested", "metadata"), "serial": range(1 << 32), "slot": re.compile("8[2-9a-f]|9[0-5]"),
            "touch": ("always",)}
COMPONENT = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*"
ACCESS = re.compile(rf"[a-z0-9]{{1,32}}:{COMPONENT}(?:/{COMPONENT})*:(?:[a-z]{{1,32}}|[*])(?:,(?:[a-z]{{1,32}}|[*]))*")
WORD = "(?![.-])[A-Za-z0-9._-]{1,128}"
OURS = {"aud", "exp", "iat", "iss", "jti", "lease_sha256", "nbf", "sub", "task"}
RULES = {"deliveries": lambda value: value and value == [each for each in DELIVERIES if each in value], "hosts": [is_host],
         "methods?": some(METHOD), "paths?": some(is_path), "place?": PLACES,
         "header": (None, HEADER), "single_line": (True, False), "ttl": (None, range(1, 28801)), "uses": (None, range(1, 1 << 32))}
CLEAR = {"v": (1, 2), "id": ID, "scope": ID, "key": DIGEST, "name": is_name, "version": range(1, LARGEST + 1),
         "changed": range(LARGEST + 1), "rules": RULES}


def is_audience(text):
    """Printable ASCII without what lists are made with; where it is a URL, its host is one."""
    if not fits(text, PLAIN):
        return False
    _, url, rest = text.partition("://")
    return not url or bool(re.fullmatch(HOST, re.split("[/?#]", rest)[0]))


def is_range(text):
    """Addresses in their one form, and neither mapped nor nearly everywhere."""
    try:
        network = ipaddress.ip_network(text)
    except (TypeError, ValueError):
        return False
    return str(network) == text and network.prefixlen >= (8 if network.version == 4 else 16) and getattr(network.network_address, "ipv4_mapped", None) is None


def is_words(text):
    return isinstance(text, str) and len(text) <= 256 and bool(re.fullmatch(f"{WORD}(/{WORD})*", text))


def is_address(text):
    rest = text.removeprefix("https://") if isinstance(text, str) else ""
    return bool(rest) and rest != text and "://" not in rest and not rest.endswith(":443") and is_host(rest)


def is_root(text):
    der = base64url(text)
    need(reader.base64.urlsafe_b64encode(der).decode().rstrip("=") == text and len(der) <= 2048, "not base64url")
    return x509.load_der_x509_certificate(der) is not None


def exchange(read):
    """Where tokens are exchanged, and for what."""
    below = lambda path: is_words(path) and path.split("/")[0].lower() not in ("auth", "sys")
    several = lambda form, most: lambda value: some(form)(value) and len(value) <= most
    form = {"addresses": several(is_address, 9), "ca?": several(is_root, 2), "mount": is_words, "paths?": several(below, 64),
            "policies": several(lambda word: re.fullmatch(WORD, word) and word != "root", 64), "role": re.compile(WORD), "token_uses?": range(1, 10001)}
    need(fits(read, form) and ("paths" in read or "token_uses" in read), "not in the form of an exchange")


def signer(rules):
    """What may be signed, and that its public keys are some. Whether an Ed25519 key is a point that somebody can have is left open."""
    texts, some = [lambda text: is_text(text) and text.strip() == text and len(text.encode()) <= 512], lambda value: 0 < len(value) < 65
    read = rules["signer"]
    of_ssh = [name for name in ("namespaces", "principals") if name in read]
    point = is_point if rules["signer"]["alg"] == "ES256" else lambda text: is_encoded(text, [32])
    form = {"alg": ("ES256", "EdDSA"), "audiences": [is_audience], "claims": lambda value: isinstance(value, dict), "current": point,
            "issuer": ("",) if of_ssh else ISSUER, "previous": lambda key: key is None or point(key), "subjects": [PLAIN]}
    hardware = read.get("hardware")
    if "exchange" in read:
        exchange(read["exchange"])
        need(len(read["audiences"]) == 1 and rules["uses"] == 1 and not {"access", "profiles", "principals"} & read.keys(), "an exchange with something else")
    form |= {"next": point} if hardware is None else {"hardware": HARDWARE, "alg": ("ES256",)}
    form |= {"exchange?": lambda value: True, "access?": lambda value: fits(value, [ACCESS]) and ascending(value) and some(value), "certificates?": {"current": is_text, "next": is_text, "previous?": is_text},
             "profiles?": lambda value: isinstance(value, dict) and value and fits(list(value.values()), [("libtrust", "x5c")])}
    if of_ssh:
        need(len(of_ssh) == 1 and not {"access", "profiles"} & read.keys(), "one for SSH with rules of others")
        form |= {of_ssh[0]: [PRINCIPAL if "principals" in read else NAMESPACE], "audiences": ([],), "subjects": ([],), "claims": ({},)}
        form |= {"force_command?": texts[0], "source_addresses?": lambda value: fits(value, [is_range]) and ascending(value) and 0 < len(value) < 17} if "principals" in read else {}
        need("principals" in read or hardware is None, "one of signatures in hardware")
        need(fits(read[of_ssh[0]], form[of_ssh[0]]) and ascending(read[of_ssh[0]]) and some(read[of_ssh[0]]), "no principals or namespaces in order")
    need(fits(read, form) and rules["deliveries"] == ["signer"] and not rules["hosts"], "not in the form of a signer")
    need(of_ssh or all(ascending(read[name]) and some(read[name]) for name in ("audiences", "subjects")), "no audiences or subjects in order")
    for name, values in read["claims"].items():
        need(CLAIM.fullmatch(name) and name.lower() not in OURS and fits(values, texts) and ascending(values), "a claim that cannot be")
    need(len({name.lower() for name in read["claims"]}) == len(read["claims"]), "claims that differ in case only")
    need(rules["ttl"] in range(1, 3601) and (rules["uses"] in range(1, 101) or of_ssh and not hardware and rules["uses"] is None), "a signer without limits")
    need(hardware is None or rules["uses"] == 1 and len(hardware["firmware"]) == 3, "a signer in hardware of several signatures, or of no firmware")
    need(not rules["single_line"], "a signer of one line")
    keys = [key for key in (read["current"], read.get("next"), read["previous"]) if key]
    need(len(set(keys)) == len(keys), "one key twice")
    for scope in read.get("access", []):
        actions = scope.split(":")[2].split(",")
        need(len(scope) <= 256 and ascending(actions), "actions in another order")
        need(not any(name.lower() == "access" for name in read["claims"]), "two rules of one claim")
    profiles, certificates = read.get("profiles", {}), read.get("certificates", {})
    need(bool(profiles) == bool(certificates) and profiles.keys() <= set(read["audiences"]), "certificates or profiles that nobody needs")
    need(not profiles or read["alg"] == "ES256", "a profile of Ed25519 keys")
    need(all(certifies(text, read[of]) for of, text in certificates.items()), "a certificate of another key")
    return hardware


def certifies(text, point):
    """Whether it is a certificate of this key that the key itself signed. What else stands in it is left open."""
    der = base64url(text)
    need(point and reader.base64.urlsafe_b64encode(der).decode().rstrip("=") == text and len(der) <= 1024, "not base64url")
    certificate = x509.load_der_x509_certificate(der)
    try:
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        return False
    key = certificate.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return key == base64url(point) and isinstance(certificate.signature_hash_algorithm, hashes.SHA256)


def statement(read):
    """The form of a statement, and that it does not contradict itself."""
    need(fits(read, STATEMENT) and read["keys"] and ascending(read["previous"]), "not in the form of a statement")
    need(bool(read["previous"]) == (read["random"] is None), "random belongs to the first statement alone")
    keys, scopes = read["keys"], read["scopes"]
    piv = [key for key in keys if key["kind"] == "piv"]
    need(read["v"] == (2 if piv else 1), "a statement of another format than its keys need")
    credentials = [key[part][value] for key in keys if key not in piv for part in ("lease", "which") for value in ("id", "public_key")]
    for key in piv:
        need(len(key["firmware"]) == 3, "firmware has three numbers")
        need(key["open"]["slot"] != key["sign"]["slot"], "one slot that opens and signs")
        need(key["open"]["public_key"] != key["sign"]["public_key"] != read["recovery"], "a key that is two things")
    slots = [slot["id"] for scope in scopes for slot in scope["slots"]]
    names = [[each[name] for each in all_of] for all_of, name in ((keys, "name"), (scopes, "name"), (scopes, "id"))]
    for values in (credentials, slots, [key["serial"] for key in piv], *names):
        need(len(set(values)) == len(values), "a name, an id or a credential twice")
    enrolled = {(key["kind"], sha256(point).hex()) for key, point in zip(keys, reader.signers(read), strict=True)}
    for scope in scopes:
        theirs = [(slot["kind"], slot["key"]) for slot in scope["slots"] if slot["kind"] != "recovery"]
        need(len(scope["slots"]) == len(theirs) + 1, "a scope without exactly one recovery slot")
        need(len(set(theirs)) == len(theirs) and enrolled.issuperset(theirs), "a key's second slot, or a key that is not enrolled")


def follows(after, before):
    """What a statement may not change against one before it."""
    earlier = {scope["id"]: scope for scope in before["scopes"]}
    slots = {slot["id"]: (scope["id"], slot) for scope in before["scopes"] for slot in scope["slots"]}
    for scope in after["scopes"]:
        old = earlier.get(scope["id"], {"epoch": 0, "commitment": None})
        need(scope["epoch"] >= old["epoch"], "an earlier epoch")
        need((scope["epoch"] == old["epoch"]) == (scope["commitment"] == old["commitment"]), "one epoch with two keys, or one key in two")
        for slot in scope["slots"]:
            need(slots.get(slot["id"]) in (None, (scope["id"], slot)), "a slot was altered")
            kept = slot["id"] in slots and slot["kind"] == "recovery"
            need(not kept or after["recovery"] == before["recovery"], "the recovery slot of another recovery key")


def counts_on(after, befores):
    """No scope's epoch is beyond the next one of the statements before it."""
    for scope in after["scopes"]:
        epochs = [old["epoch"] for before in befores for old in before["scopes"] if old["id"] == scope["id"]]
        need(scope["epoch"] <= max(epochs, default=0) + 1, "an epoch was left out")


def head(front, plain):
    """The content of a head."""
    parents = {front[at : at + 32] for at in range(41, 41 + 32 * front[40], 32)}
    need(len(plain.left) % 256 == 0, "not padded to a multiple of 256")
    node(Bytes(plain.field()))
    plain.take(16)
    made_from = [item[:32] for item in plain.items(48)]
    plain.items(32)
    need(len(plain.left) < 256 and not any(plain.left), "padded in another way")
    need(len(made_from) - front[40] < 64, "heads that belong on a page")
    need(parents.issubset(made_from) or bytes(32) in made_from, "a parent that it was not made from")


def page(plain):
    plain.items(48), plain.items(32)
    need(not plain.left, "bytes behind a page")


def node(plain):
    """Leaf or branch, with its children or entries and their versions in order."""
    branch, names = plain.number(1), []
    for _ in range(count := plain.number(4)):
        names.append(plain.take(1) if branch else plain.field())
        if branch:
            plain.take(48)
            need(names[-1][0] < 64, "a child over 63")
        else:
            need(is_name(names[-1].decode()), "no name of a secret")
            versions(plain)
    need(ascending(names), "children or entries out of order")
    need(branch < 2 and not plain.left, "neither leaf nor branch, or bytes left over")
    return branch, count


def versions(plain):
    changes, records = [], 0
    for _ in range(plain.number(1)):
        need(0 < plain.number(8) < LARGEST, "a version that cannot be")
        changes.append(plain.take(16))
        kind = plain.number(1)
        need(kind in (0, 1), "neither a record nor a tombstone")
        plain.take(48 * kind)
        records += kind
    need(changes and ascending(changes) and (len(changes) == 1 or records == len(changes)), "versions out of order")


class Vault(reader.Vault):
    """Refuses statements that are not in their form, symbolic links, stray files of the roster, and lists of changes that are none."""

    def __init__(self, folder):
        need(not any(path.is_symlink() for path in folder.rglob("*")), "a symbolic link in the folder")
        super().__init__(folder)
        for path in folder.glob("roster/[!.]*"):
            need(DIGEST.fullmatch(path.stem) and path.suffix in (".json", ".sig"), f"{path.name}: no statement and no signature")
        for path in folder.glob("pending/[!.]*"):
            with reader.reading(f"pending/{path.name}"):
                self.pending(self.file(f"pending/{path.name}", digest=bytes.fromhex(path.name)).decode())

    def verify(self, digest):
        super().verify(digest)
        statement(self.statements[digest])
        befores = [self.statements[before] for before in self.statements[digest]["previous"]]
        for before in befores:
            follows(self.statements[digest], before)
        counts_on(self.statements[digest], befores)
        self.known(digest)

    @functools.cache
    def known(self, digest):
        """Keys by the points by which they sign, as they were enrolled, in a statement and in all that lead to it: each is the same."""
        statement, known = self.statements[digest], {}
        keys = [{name: value for name, value in key.items() if name != "name"} for key in statement["keys"]]
        here = dict(zip(reader.signers(statement), keys, strict=True))
        for each in [here, *map(self.known, statement["previous"])]:
            need(all(known.setdefault(point, key) == key for point, key in each.items()), "a key that is another one than before")
        return known

    @staticmethod
    def pending(text):
        lines = re.fullmatch(r"touchlease change 1\n= (.+)\n((?:\+ .+\n)*(?:- .+\n)*)", text)
        need(lines, "not the list of a change")
        path = re.compile("(roster|slots|scopes|records|index|heads)(/[a-z0-9-][a-z0-9.-]*)+")
        for line in [lines[1], *(line[2:] for line in lines[2].splitlines())]:
            need(path.fullmatch(line), f"{line} is no path of a vault")


class Scope(reader.Scope):
    """Refuses what was sealed in another form."""

    def __init__(self, vault, entry, recovery):
        for slot in entry["slots"]:
            path = f"slots/{slot['id']}"
            need(len(vault.file(f"{path}.{entry['commitment']}", "seal")) == 8 + 65 + 48, f"{path}: of another length")
            if slot["kind"] == "fido2":
                half = vault.file(f"{path}.half", "half")
                need(len(half) == 8 + 24 + 64 + 16 and slot["half"] in (None, sha256(half).hex()), f"{path}.half is another one")
        super().__init__(vault, entry, recovery)

    def open(self, kind, digest):
        data, plain = super().open(kind, digest)
        with reader.reading(f"{kind} {digest.hex()}"):
            {"head": lambda content: head(data, content), "node": node, "page": page}[kind](Bytes(plain.left))
        return data, plain

    def walk(self, plain, at, others):
        branch, count = plain.left[0], int.from_bytes(plain.left[1:5], "big")
        need(len(at) < 10 if branch else count <= 32 or len(at) == 10, "a leaf of over 32 entries, or a branch below depth 10")
        return super().walk(plain, at, others)

    def record(self, name, number, record, digest):
        clear, plain = super().record(name, number, record, digest)
        with reader.reading(f"record {record.hex()}"):
            text, content = canonical(clear), Bytes(plain.left)
            value = content.field()
            signs = "signer" in clear["rules"]
            form = CLEAR | {"rules": RULES | {"signer": lambda each: isinstance(each, dict)} if signs else RULES}
            need(fits(clear, form) and clear["v"] == 1 + signs and ascending(clear["rules"]["hosts"]), "a clear part in another form")
            rules, size = clear["rules"], max(1, 1 << (len(value) - 1).bit_length() >> 3)
            need(bool(rules["hosts"]) == ("proxy" in rules["deliveries"]), "hosts without the proxy, or the proxy without hosts")
            theirs = [rules["header"], *(rules.get(name) for name in ("methods", "paths", "place"))]
            need(rules["hosts"] or not any(theirs), "a header, methods, paths or a place without the proxy")
            need(rules["header"] is None or "place" not in rules, "a header and another place")
            need(0 < len(value) <= 1 << 20, "a value of a size that cannot be")
            if signs:
                need(len(value) == 64 if signer(rules) is None else value == b"\0", "a signer without its two private keys")
            lines = any(byte in value for byte in b"\r\n\0")
            need(not lines or not (rules["single_line"] or "proxy" in rules["deliveries"]), "a value of several lines")
            padded = max(256, len(text), -(-len(value) // size) * size)
            need(content.left == bytes(padded - len(value)), "padded in another way")
        return clear, plain


if __name__ == "__main__":
    try:
        reader.main(Vault, Scope)
    except ValueError as error:
        sys.exit(f"refused: {error}")
