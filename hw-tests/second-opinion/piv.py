"""Lets programs of others, made for YubiKeys, use the emulated ones from the factory on: each as its manual says.

Run under hw-tests/with-readers, with the packages of requirements.txt, and the programs below in PATH.
"""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from glob import glob

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

# What was looked at. Another version is another opinion: look at what it says, and write it down here.
VERSIONS = {
    ("ykman", "--version"): "5.9.2",
    ("yubico-piv-tool", "--version"): "2.2.0",
    ("opensc-tool", "--info"): "0.23.0",
    ("age", "--version"): "1.1.1",
    ("age-plugin-yubikey", "--version"): "0.5.1",
}

FACTORY_PIN, PIN, PUK = "123456", "741085", "87654321"
FACTORY_KEY = "010203040506070801020304050607080102030405060708"
YUBICO = x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.8")


class Card:
    """An emulated YubiKey, new from the factory, in its reader; out again afterwards."""

    def __init__(self, name):
        self.path = os.environ[name]

    def __enter__(self):
        self.tell("reset")
        self.tell("grant")
        self.tell("plug")
        self.touches()
        return self

    def __exit__(self, *_):
        self.tell("pull")

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as key:
            key.settimeout(120)
            key.connect(self.path)
            key.sendall(f"{command}\n".encode())
            return key.makefile().readline().strip()

    def touches(self):
        """How many touches it got since this was asked last."""
        given = int(re.search(r"given=(\d+)", self.tell("counts"))[1])
        since, self.given = given - getattr(self, "given", 0), given
        return since

    def root(self):
        with open(f"{self.path}.pem", "rb") as file:
            return x509.load_pem_x509_certificate(file.read())

    def check_attestation(self, of_slot, of_f9, policies):
        certificate, authority = read_certificate(of_slot), read_certificate(of_f9)
        certificate.verify_directly_issued_by(authority)
        authority.verify_directly_issued_by(self.root())
        said = certificate.extensions.get_extension_for_oid(YUBICO).value.value
        expect(said == bytes(policies), f"policies {said.hex()}")
        return certificate


def expect(holds, what):
    if not holds:
        raise AssertionError(what)


def read_certificate(path):
    with open(path, "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


def run(*command, fails=False):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    expect((done.returncode != 0) == fails, f"{' '.join(command)}: exit status {done.returncode}: {said}")
    return said


def typed(command, answers):
    """Runs a command on a terminal, and types the answers to the secrets it asks for; what was on the screen."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    screen, waiting, seen, end = "", list(answers), 0, time.monotonic() + 120
    try:
        while True:
            expect(time.monotonic() < end, f"{' '.join(command)}: not asked: {waiting}: {screen}")
            if select.select([terminal], [], [], 0.01)[0]:
                try:
                    screen += os.read(terminal, 4096).decode(errors="replace")
                except OSError:  # the terminal's other side is closed
                    break
            # Echo is switched off after the question is shown, and what was typed before that is thrown away (TCSAFLUSH).
            if waiting and waiting[0][0] in screen[seen:] and not termios.tcgetattr(terminal)[3] & termios.ECHO:
                seen = len(screen)
                os.write(terminal, f"{waiting.pop(0)[1]}\n".encode())
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    finally:
        os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    expect(status == 0 and not waiting, f"{' '.join(command)}: exit status {status}, not asked: {waiting}: {screen}")
    return screen


def verify(public_key, signature, data):
    with open(signature, "rb") as made, open(data, "rb") as signed:
        public_key.verify(made.read(), signed.read(), ec.ECDSA(SHA256()))


def ykman():
    """PIN, PUK and management key away from the factory's, a key for a touch and the PIN each time, its attestation."""
    with Card("EMUKEY_YUBIKEY") as card:
        # By the reader's name: without one it tries every reader that could be a YubiKey, for seconds each.
        tool = lambda *arguments, **more: run("ykman", "--reader", "Yubico YubiKey CCID 00 00", *arguments, **more)
        piv = lambda *arguments, **more: tool("piv", *arguments, **more)
        told = tool("info")
        expect(all(word in told for word in ("YubiKey 5A", "5.7.1", "Serial number: 24")), told)
        warned = piv("info")
        for reference in ("PIN", "PUK", "Management key"):
            expect(f"Using default {reference}!" in warned, warned)
        expect("AES192" in warned, warned)
        piv("access", "change-pin", "-P", FACTORY_PIN, "-n", PIN)
        piv("access", "change-puk", "-p", "12345678", "-n", PUK)
        piv("access", "change-management-key", "--generate", "--protect", "-a", "aes256", "-m", FACTORY_KEY, "-P", PIN)
        policies = ("--pin-policy", "always", "--touch-policy", "always")
        piv("keys", "generate", "-a", "eccp256", *policies, "-P", PIN, "82", "82.pub")
        piv("keys", "attest", "82", "82.pem")
        piv("certificates", "export", "f9", "f9.pem")
        card.check_attestation("82.pem", "f9.pem", (3, 2))
        wrong = piv("certificates", "generate", "-P", FACTORY_PIN, "-s", "CN=touched", "82", "82.pub", fails=True)
        expect("2 tries left" in wrong and card.touches() == 0, wrong)
        made = piv("certificates", "generate", "-P", PIN, "-s", "CN=touched", "82", "82.pub")
        expect("Touch your YubiKey" in made and card.touches() == 1, made)
        card.tell("deny")
        piv("certificates", "generate", "-P", PIN, "-s", "CN=untouched", "82", "82.pub", fails=True)
        told = piv("info")
        expect("protected by PIN" in told and "AES256" in told and "CN=touched" in told and "default" not in told, told)


def yubico_piv_tool():
    """A key in each kind of slot that signs and agrees, an object, another management key, a wrong PIN."""
    with Card("EMUKEY_YUBIKEY_SECOND") as card:
        tool = lambda *arguments, **more: run("yubico-piv-tool", "-r", "OTP+CCID", *arguments, **more)
        tool("-a", "read-certificate", "-s", "f9", "-o", "f9.pem")
        for slot in ("9a", "9c", "9d", "82", "95"):
            policies = ("--pin-policy", "always", "--touch-policy", "always")
            tool("-a", "generate", "-s", slot, "-A", "ECCP256", *policies, "-o", "slot.pub")
            tool("-a", "attest", "-s", slot, "-o", "slot.pem")
            card.check_attestation("slot.pem", "f9.pem", (3, 2))
            tool("-a", "import-certificate", "-s", slot, "-i", "slot.pem")
            for test in ("test-signature", "test-decipher"):
                tool("-P", FACTORY_PIN, "-a", "verify-pin", "-a", test, "-s", slot, "-i", "slot.pem")
            expect(card.touches() == 2, f"slot {slot}")
        tool("-a", "set-chuid", "-a", "set-ccc")
        tool("-a", "set-mgm-key", "-n", PUK * 6)
        tool("-a", "set-chuid", fails=True)
        tool(f"--key={PUK * 6}", "-a", "set-chuid")
        expect("2 tries left" in tool("-P", PIN, "-a", "verify-pin", fails=True), "tries")
        told = tool("-a", "status")
        expect("Version:\t5.4.3" in told and told.count("ECCP256") == 5 and "PIN tries left:\t2" in told, told)
        for action in ("verify-pin", "change-puk"):
            for _ in range(3):
                tool("-P", "000000", "-N", "000000", "-a", action, fails=True)
        tool("-a", "reset")
        expect("ECCP256" not in tool("-a", "status"), "reset")


def signs(module, card):
    """Signs in slot 9A, made with management tools of Yubico, through a PKCS#11 module."""
    tool = lambda *arguments: run("yubico-piv-tool", "-r", "OTP+CCID", *arguments)
    pkcs11 = lambda *arguments, **more: run("pkcs11-tool", "--module", module, "--slot-index", "0", *arguments, **more)
    tool("-a", "generate", "-s", "9a", "-A", "ECCP256", "--touch-policy", "always", "-o", "9a.pub")
    tool("-a", "attest", "-s", "9a", "-o", "9a.pem")
    tool("-a", "import-certificate", "-s", "9a", "-i", "9a.pem")
    with open("data", "w") as file:
        file.write("what is signed")
    sign = ("--sign", "--mechanism", "ECDSA-SHA256", "--id", "01", "--signature-format", "openssl", "-i", "data", "-o", "signature")
    pkcs11("--login", "--pin", FACTORY_PIN, *sign)
    expect(card.touches() == 1, "touches")
    verify(read_certificate("9a.pem").public_key(), "signature", "data")
    pkcs11("--login", "--pin", PIN, *sign, fails=True)
    card.tell("deny")
    pkcs11("--login", "--pin", FACTORY_PIN, *sign, fails=True)
    expect(card.touches() == 0, "touches")
    return pkcs11("--login", "--pin", FACTORY_PIN, "--list-objects")


def libykcs11():
    """Yubico's PKCS#11 module."""
    with Card("EMUKEY_YUBIKEY_SECOND") as card:
        told = signs(glob("/usr/lib/*/libykcs11.so*")[0], card)
        expect("X.509 Certificate for PIV Attestation 9a" in told, told)


def opensc():
    """OpenSC's PKCS#11 module, for which it is any PIV card."""
    with Card("EMUKEY_YUBIKEY_SECOND") as card:
        told = signs(glob("/usr/lib/*/opensc-pkcs11.so")[0], card)
        expect("PIV AUTH key" in told, told)


def age():
    """An identity in a retired slot; a file for it is opened with PIN and touch."""
    with Card("EMUKEY_YUBIKEY_SECOND") as card:
        policies = ("--pin-policy", "always", "--touch-policy", "always")
        new = [("Choose a new PIN/PUK", PIN), ("Repeat the PIN/PUK", PIN)]
        asked = [("Enter PIN", FACTORY_PIN), ("Enter current PUK", "12345678"), *new, ("Enter PIN", PIN)]
        screen = typed(["age-plugin-yubikey", "--generate", "--slot", "1", *policies], asked)
        expect(card.touches() == 1, "touches")
        with open("identity", "w") as file:
            file.write(re.search(r"AGE-PLUGIN-YUBIKEY-\w+", screen)[0])
        recipient = run("age-plugin-yubikey", "--list").split()[-1]
        with open("plain", "w") as file:
            file.write("what is sealed")
        run("age", "-r", recipient, "-o", "sealed", "plain")
        typed(["age", "-d", "-i", "identity", "-o", "opened", "sealed"], [("Enter PIN", PIN)])
        with open("opened") as file:
            expect(file.read() == "what is sealed" and card.touches() == 1, "opened")


def main():
    for command, version in VERSIONS.items():
        said = run(*command)
        expect(version in said, f"{' '.join(command)} is not {version}: {said}")
    programs = (ykman, yubico_piv_tool, libykcs11, opensc, age)
    agreed = 0
    for program in programs:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                program()
                agreed += 1
                print(f"{program.__name__}: agrees")
            except Exception as error:
                print(f"{program.__name__}: {error!r}")
            os.chdir("/")
    print(f"second opinion, PIV: {agreed} of {len(programs)} programs")
    sys.exit(agreed != len(programs))


main()
