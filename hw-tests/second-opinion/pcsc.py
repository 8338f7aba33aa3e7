"""Compares our core with the PyPI package fido2 over PC/SC: each opens what the other made.

Run under hw-tests/with-readers, with the packages of requirements.txt; SECOND_OPINION is our program.
"""

import hashlib
import json
import os
import subprocess
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode

from fido2.cose import ES256
from fido2.ctap2 import ClientPin, Ctap2
from fido2.pcsc import CtapPcscDevice

PIN = "7410-rig"
LEASE, WHICH = "touchlease:lease", "touchlease:which"
SALT = b"\x5a" * 32
HASH = b"\x11" * 32
PERMISSION = ClientPin.PERMISSION


def ours(*arguments):
    program = os.environ["SECOND_OPINION"]
    return subprocess.run([program, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


class Card:
    """The card in the contact reader; closed afterwards, as our side wants it for itself."""

    def __enter__(self):
        self.device = next(CtapPcscDevice.list_devices("Emulated Contact Reader"))
        self.ctap = Ctap2(self.device)
        self.pin = ClientPin(self.ctap)
        return self

    def __exit__(self, *_):
        self.device.close()

    def proof(self, permission, rp_id):
        token = self.pin.get_pin_token(PIN, permission, rp_id)
        return self.pin.protocol.authenticate(token, HASH)

    def make(self, rp_id, extensions):
        made = self.ctap.make_credential(
            HASH,
            {"id": rp_id, "name": rp_id},
            {"id": b"theirs", "name": "theirs", "displayName": "theirs"},
            [{"type": "public-key", "alg": -7}],
            extensions=extensions,
            pin_uv_param=self.proof(PERMISSION.MAKE_CREDENTIAL, rp_id),
            pin_uv_protocol=self.pin.protocol.VERSION,
        )
        data = made.auth_data.credential_data
        point = b"\x04" + data.public_key[-2] + data.public_key[-3]
        return {"id": encoded(data.credential_id), "public_key": encoded(point)}

    def secret(self, credential):
        protocol = self.pin.protocol
        proof = self.proof(PERMISSION.GET_ASSERTION, LEASE)
        agreement, shared = self.pin._get_shared_secret()
        salt = protocol.encrypt(shared, SALT)
        answer = self.ctap.get_assertion(
            LEASE,
            HASH,
            [{"type": "public-key", "id": decoded(credential["id"])}],
            extensions={"hmac-secret": {1: agreement, 2: salt, 3: protocol.authenticate(shared, salt), 4: protocol.VERSION}},
            pin_uv_param=proof,
            pin_uv_protocol=protocol.VERSION,
        )
        point = decoded(credential["public_key"])
        answer.verify(HASH, ES256({1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]}))
        return hashlib.sha256(protocol.decrypt(shared, answer.auth_data.extensions["hmac-secret"])).hexdigest()


def encoded(data):
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text):
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def main():
    enrolled = json.loads(ours("enrol", "EMUKEY_CONTACT"))
    with Card() as card:
        theirs = enrolled | {
            "name": "theirs",
            "lease": card.make(LEASE, {"hmac-secret": True, "credProtect": 3}),
            "which": card.make(WHICH, {"credProtect": 1}),
        }
    agreed = 0
    for key in (enrolled, theirs):
        we = ours("ask", json.dumps(key), SALT.hex())
        with Card() as card:
            they = card.secret(key["lease"])
        print(f"credential {key['name']}: we {we}, fido2 {they}")
        agreed += we == they
    print(f"second opinion, fido2: {agreed} of 2 credentials")
    sys.exit(agreed != 2)


main()
