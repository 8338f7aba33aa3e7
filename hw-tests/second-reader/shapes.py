"""The JSON of docs/format.md, value by value: statements (section "The roster") and clear parts (section "Records")."""

import re
import unicodedata
from collections.abc import Callable
from typing import Any

from primitives import base64url, need, public_key, sha256

Check = Callable[[Any], bool]


def is_name(name: Any) -> bool:
    if not isinstance(name, str) or not 0 < len(name.encode(errors="replace")) <= 128 or unicodedata.normalize("NFC", name) != name:
        return False
    kinds = [unicodedata.category(letter)[0] for letter in name]
    return kinds[0] in "LN" and all(kind in "LMN" or letter in "_-.+@=" for kind, letter in zip(kinds, name, strict=True))


def digits(count: int) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(r"[0-9a-f]{%d}" % count, value) is not None


def number(least: int, most: int = (1 << 53) - 1) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def one_of(*values: Any) -> Check:
    return lambda value: any(type(value) is type(each) and value == each for each in values)


def or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def ascending(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value)) and value == sorted(set(value))


def encoded(least: int, most: int) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]+", value) is not None and least <= len(base64url(value)) <= most
    return check


def is_point(value: Any) -> bool:
    return encoded(65, 65)(value) and public_key(base64url(value)) is not None


def of(**members: Check) -> Check:
    """An object with exactly these members."""
    def check(value: Any) -> bool:
        return isinstance(value, dict) and value.keys() == members.keys() and all(member(value[name]) for name, member in members.items())
    return check


def each(check: Check, least: int = 0) -> Check:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(check, value))


CREDENTIAL = of(id=encoded(1, 1023), public_key=is_point)
KEY = of(kind=one_of("fido2"), name=is_name, profile=one_of("pin", "touch-only"), lease=CREDENTIAL, which=CREDENTIAL)
FIDO2_SLOT = of(kind=one_of("fido2"), id=digits(32), key=digits(64), public=is_point, salt=digits(64), half=or_null(digits(64)))
RECOVERY_SLOT = of(kind=one_of("recovery"), id=digits(32))
SCOPE = of(id=digits(32), name=is_name, epoch=number(1), commitment=digits(64),
           slots=each(lambda slot: FIDO2_SLOT(slot) or RECOVERY_SLOT(slot)))
STATEMENT = of(v=one_of(1), at=number(0), vault=digits(64), name=is_name, previous=ascending(digits(64)), random=or_null(digits(64)),
               recovery=is_point, keys=each(KEY, 1), scopes=each(SCOPE))
DELIVERIES = ["env", "file", "proxy", "signer"]
HEADER = of(name=lambda text: isinstance(text, str), prefix=lambda text: isinstance(text, str))
RULES = of(deliveries=lambda value: isinstance(value, list) and value != [] and value == [each for each in DELIVERIES if each in value],
           hosts=ascending(lambda host: isinstance(host, str) and host != ""), single_line=one_of(True, False), ttl=or_null(number(1, 28800)),
           header=or_null(HEADER), uses=or_null(number(1, (1 << 32) - 1)))
CLEAR = of(v=one_of(1), id=digits(32), scope=digits(32), key=digits(64), name=is_name, version=number(1), changed=number(0), rules=RULES)


def unlike(values: list[Any]) -> bool:
    return len(set(values)) == len(values)


def statement(read: Any, what: str) -> None:
    """The form of a statement, and that it does not contradict itself."""
    need(STATEMENT(read), f"{what}: not in the form of a statement")
    keys, scopes = read["keys"], read["scopes"]
    need(unlike([key["name"] for key in keys]), f"{what}: two keys of one name")
    credentials = [key[part][value] for key in keys for part in ("lease", "which") for value in ("id", "public_key")]
    need(unlike(credentials), f"{what}: a credential twice")
    need(unlike([scope["name"] for scope in scopes]) and unlike([scope["id"] for scope in scopes]), f"{what}: a scope twice")
    need(unlike([slot["id"] for scope in scopes for slot in scope["slots"]]), f"{what}: a slot twice")
    from_lease = {key_id(key) for key in keys}
    for scope in scopes:
        theirs = [slot["key"] for slot in scope["slots"] if slot["kind"] == "fido2"]
        need(len(scope["slots"]) - len(theirs) == 1, f"{what}: a scope without exactly one recovery slot")
        need(unlike(theirs), f"{what}: two slots of one key in a scope")
        need(from_lease.issuperset(theirs), f"{what}: a slot of a key that is not enrolled")


def key_id(key: dict) -> str:
    """How slots name a key."""
    return sha256(base64url(key["lease"]["public_key"])).hex()


def follows(after: dict, before: dict, what: str) -> None:
    """What a statement may not change against one before it."""
    earlier = {scope["id"]: scope for scope in before["scopes"]}
    for scope in after["scopes"]:
        old = earlier.get(scope["id"])
        if old is None:
            continue
        need(scope["epoch"] >= old["epoch"], f"{what}: an earlier epoch")
        one_key = (scope["epoch"] == old["epoch"]) == (scope["commitment"] == old["commitment"])
        need(one_key, f"{what}: another key in one epoch, or one key in two")
    slots = {slot["id"]: (scope["id"], slot) for scope in before["scopes"] for slot in scope["slots"]}
    for scope in after["scopes"]:
        for slot in scope["slots"]:
            old = slots.get(slot["id"])
            need(old in (None, (scope["id"], slot)), f"{what}: a slot was altered")
            kept = old is not None and slot["kind"] == "recovery"
            need(not kept or after["recovery"] == before["recovery"], f"{what}: the recovery slot of another recovery key")


def clear(read: Any, what: str) -> None:
    """The clear part of a record."""
    need(CLEAR(read), f"{what}: its clear part is not in its form")
    rules = read["rules"]
    need(bool(rules["hosts"]) == ("proxy" in rules["deliveries"]), f"{what}: hosts without the proxy, or the proxy without hosts")
    need(rules["header"] is None or rules["hosts"], f"{what}: a header without the proxy")


def value(data: bytes, read: dict, what: str) -> None:
    need(0 < len(data) <= 1 << 20, f"{what}: a value of no size that is allowed")
    breaks = any(byte in data for byte in b"\r\n\0")
    need(not breaks or not (read["rules"]["single_line"] or "proxy" in read["rules"]["deliveries"]), f"{what}: a value of several lines")
