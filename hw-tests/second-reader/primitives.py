"""What docs/format.md takes from elsewhere: HPKE and HKDF (RFC 9180, RFC 5869), SSHSIG, canonical JSON (RFC 8785).

Nothing here knows of vaults. Whatever has to be refused raises Refused with the reason.
"""

import base64
import json
import hashlib
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
USER_PRESENT, USER_VERIFIED, ATTESTED, EXTENSIONS = 0x01, 0x04, 0x40, 0x80


class Refused(Exception):
    """What the page says has to be refused."""


def need(condition: object, reason: str) -> None:
    if not condition:
        raise Refused(reason)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


class Bytes:
    """Reads from the front; refuses to read past the end, and what is left over at it."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.what = data, what

    def take(self, count: int) -> bytes:
        need(len(self.data) >= count, f"{self.what}: cut short")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def field(self) -> bytes:
        return self.take(self.number(4))

    def end(self) -> None:
        need(not self.data, f"{self.what}: bytes left over")

    def mpint(self) -> int:
        number = self.field()
        minimal = number and number[0] < 0x80 and (number[0] or number[1:2] >= b"\x80")
        need(minimal, f"{self.what}: not a positive integer in its shortest form")
        return int.from_bytes(number, "big")


def canonical(data: bytes, what: str) -> Any:
    """Of RFC 8785 what the page allows: integers of at most 2^53 - 1, no other numbers."""
    def integer(text: str) -> int:
        need(len(text) < 18 and abs(int(text)) < 1 << 53, f"{what}: a number over 2^53 - 1")
        return int(text)

    def other(_: str) -> None:
        raise Refused(f"{what}: a number that is no integer")
    try:
        value = json.loads(data.decode(), parse_int=integer, parse_float=other, parse_constant=other)
        again = canonical_bytes(value)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what}: not JSON: {error}") from error
    need(again == data, f"{what}: not canonical")
    return value


def canonical_bytes(value: Any) -> bytes:
    # All names of ours are ASCII, so their order by code points is that by UTF-16 units.
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def base64url(text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        raise Refused("not base64url") from error
    need(base64.urlsafe_b64encode(data).decode().rstrip("=") == text, "base64url in another form")
    return data


def public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    need(len(point) == 65 and point[0] == 4, "not an uncompressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise Refused("a point that is not on P-256") from error


def point_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def extract(salt: bytes, ikm: bytes) -> bytes:
    mac = hmac.HMAC(salt or bytes(32), hashes.SHA256())
    mac.update(ikm)
    return mac.finalize()


def expand(key: bytes, info: bytes, length: int = 32) -> bytes:
    return HKDFExpand(hashes.SHA256(), length, info).derive(key)


KEM = b"KEM" + (0x0010).to_bytes(2, "big")
HPKE = b"HPKE" + bytes.fromhex("001000010003")


def labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def derive_key_pair(ikm: bytes) -> ec.EllipticCurvePrivateKey:
    """RFC 9180, 7.1.3, for P-256."""
    prk = labeled_extract(KEM, b"", b"dkp_prk", ikm)
    for counter in range(256):
        scalar = int.from_bytes(labeled_expand(KEM, prk, b"candidate", bytes([counter]), 32), "big")
        if 0 < scalar < ORDER:
            return ec.derive_private_key(scalar, ec.SECP256R1())
    raise Refused("no key pair of 256 candidates")


def hpke_open(private: ec.EllipticCurvePrivateKey, enc: bytes, info: bytes, aad: bytes, text: bytes) -> bytes:
    """RFC 9180, base mode, single shot (4.1, 5.1): DHKEM(P-256), HKDF-SHA256, ChaCha20-Poly1305."""
    shared = private.exchange(ec.ECDH(), public_key(enc))
    eae = labeled_extract(KEM, b"", b"eae_prk", shared)
    secret = labeled_expand(KEM, eae, b"shared_secret", enc + point_of(private), 32)
    context = b"\0" + labeled_extract(HPKE, b"", b"psk_id_hash", b"") + labeled_extract(HPKE, b"", b"info_hash", info)
    prk = labeled_extract(HPKE, secret, b"secret", b"")
    key = labeled_expand(HPKE, prk, b"key", context, 32)
    nonce = labeled_expand(HPKE, prk, b"base_nonce", context, 12)
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, text, aad)
    except InvalidTag as error:
        raise Refused("does not open with this key") from error


@dataclass
class Signer:
    """Who signed: the point of the key, and the flags that a FIDO2 key signed; None for a plain key."""

    point: bytes
    flags: int | None


def sshsig(armored: bytes, namespace: bytes, message: bytes, application: bytes, origin: bytes) -> Signer:
    """Verifies an SSHSIG (OpenSSH, PROTOCOL.sshsig) over the message, of a plain P-256 key or one of PROTOCOL.u2f's
    webauthn kind with this application (relying party) and origin."""
    first, last = b"-----BEGIN SSH SIGNATURE-----\n", b"\n-----END SSH SIGNATURE-----\n"
    need(armored.startswith(first) and armored.endswith(last), "signature: not an armored SSHSIG")
    try:
        body = base64.b64decode(armored[len(first) : -len(last)].replace(b"\n", b""), validate=True)
    except ValueError as error:
        raise Refused("signature: not base64") from error
    lines = base64.b64encode(body)
    again = b"\n".join(lines[at : at + 70] for at in range(0, len(lines), 70))
    need(armored == first + again + last, "signature: armored in another way")
    blob = Bytes(body, "signature")
    need(blob.take(6) == b"SSHSIG" and blob.number(4) == 1, "signature: not an SSHSIG of version 1")
    key, space, reserved, hashed, signature = (blob.field() for _ in range(5))
    blob.end()
    need((space, reserved, hashed) == (namespace, b"", b"sha512"), "signature: another namespace or hash")
    digest = hashlib.sha512(message).digest()
    signed = b"SSHSIG" + field(space) + field(reserved) + field(hashed) + field(digest)

    public, made = Bytes(key, "signature's key"), Bytes(signature, "signature")
    kind, curve, point = public.field(), public.field(), public.field()
    need(curve == b"nistp256", "signature: another curve")
    flags = None
    expected = {b"sk-ecdsa-sha2-nistp256@openssh.com": b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
                b"ecdsa-sha2-nistp256": b"ecdsa-sha2-nistp256"}.get(kind)
    need(expected and made.field() == expected, "signature: another type")
    numbers = Bytes(made.field(), "signature")
    r, s = numbers.mpint(), numbers.mpint()
    numbers.end()
    if kind.startswith(b"sk-"):
        need(public.field() == application, "signature: for another relying party")
        flags, counter = made.number(1), made.take(4)
        need(made.field() == origin, "signature: another origin")
        client, extensions = made.field(), made.field()
        need(bool(flags & EXTENSIONS) == bool(extensions) and not flags & ATTESTED, "signature: flags that contradict it")
        challenge = base64.urlsafe_b64encode(signed).rstrip(b"=")
        exact = b'{"type":"webauthn.get","challenge":"' + challenge + b'","origin":"' + origin + b'"}'
        need(client == exact, "signature: over another text")
        signed = sha256(application) + bytes([flags]) + counter + extensions + sha256(client)
    public.end()
    made.end()
    try:
        public_key(point).verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise Refused("signature: not by this key over these bytes") from error
    return Signer(point, flags)
