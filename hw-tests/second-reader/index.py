"""Heads, pages, nodes, and the join of several states: sections "The index" and "Several heads" of docs/format.md."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from primitives import Bytes, need, sha256
from shapes import is_name

Load = Callable[[bytes, int], "Leaf | Branch"]
DEEPEST = 10


@dataclass(frozen=True)
class Version:
    """One version of a secret. `record`: the record's id and its file's digest; None for a tombstone."""

    number: int
    change: bytes
    record: tuple[bytes, bytes] | None


Leaf = dict[bytes, list[Version]]


@dataclass
class Branch:
    children: dict[int, "Child"]


@dataclass
class Child:
    """A node in its place. Read when it is needed; without digest and change when it was joined and is in no file."""

    digest: bytes | None
    change: bytes | None
    node: Leaf | Branch | None = None

    def open(self, load: Load, depth: int) -> Leaf | Branch:
        if self.node is None:
            self.node = load(self.digest or b"", depth)
        return self.node

    def walk(self, load: Load, path: tuple[int, ...] = ()) -> Iterator[tuple[bytes, list[Version]]]:
        """All entries; refuses a name that does not belong where it is."""
        node = self.open(load, len(path))
        if isinstance(node, Branch):
            for number, child in node.children.items():
                yield from child.walk(load, (*path, number))
            return
        for name, versions in node.items():
            need(all(place(name, depth) == number for depth, number in enumerate(path)), f"{name.decode()}: in another's place")
            yield name, versions


@dataclass
class Head:
    in_force: bool
    parents: list[bytes]
    root: bytes
    change: bytes
    recent: list[bytes]
    earlier: list[bytes]


@dataclass
class State:
    """A state, the changes that it knows, and the changes of the heads it is made of."""

    root: Child
    knows: set[bytes]
    made_of: list[bytes]
    in_force: bool


def place(name: bytes, depth: int) -> int:
    """The number of a name's child at this depth."""
    return int.from_bytes(sha256(name)[:8], "big") << 6 * depth >> 58 & 63


def parse_head(clear: bytes, plain: bytes, what: str, in_force: bytes) -> Head:
    parents = [clear[41 + 32 * i : 73 + 32 * i] for i in range(clear[40])]
    reader = Bytes(plain, what)
    need(len(plain) % 256 == 0, f"{what}: not padded to a multiple of 256")
    root, change = reader.field(), reader.take(16)
    recent = [(reader.take(32), reader.take(16)) for _ in range(reader.number(4))]
    earlier = [reader.take(32) for _ in range(reader.number(4))]
    need(len(reader.data) < 256 and not any(reader.data), f"{what}: padded in another way")
    need(len(recent) - len(parents) < 64, f"{what}: heads that belong on a page")
    made_from = {digest for digest, _ in recent}
    need(made_from.issuperset(parents) or bytes(32) in made_from, f"{what}: a parent that it was not made from")
    return Head(clear[8:40] == in_force, parents, root, change, [change for _, change in recent], earlier)


def parse_page(plain: bytes, what: str) -> tuple[set[bytes], list[bytes]]:
    """The changes of a page's heads, and the pages before it."""
    reader = Bytes(plain, what)
    changes = {reader.take(48)[32:] for _ in range(reader.number(4))}
    earlier = [reader.take(32) for _ in range(reader.number(4))]
    reader.end()
    return changes, earlier


def parse_node(plain: bytes, depth: int, what: str) -> Leaf | Branch:
    reader = Bytes(plain, what)
    kind, count = reader.number(1), reader.number(4)
    need(kind in (0, 1), f"{what}: neither leaf nor branch")
    if kind == 1:
        need(depth < DEEPEST, f"{what}: a branch below depth {DEEPEST}")
        children = [(reader.number(1), Child(reader.take(32), reader.take(16))) for _ in range(count)]
        reader.end()
        numbers = [number for number, _ in children]
        need(numbers == sorted(set(numbers)) and all(number < 64 for number in numbers), f"{what}: children out of order")
        return Branch(dict(children))
    need(count <= 32 or depth == DEEPEST, f"{what}: a leaf of more than 32 entries")
    entries = [(reader.field(), parse_versions(reader, what)) for _ in range(count)]
    reader.end()
    names = [name for name, _ in entries]
    need(names == sorted(set(names)), f"{what}: entries out of order")
    need(all(is_name(name.decode(errors="replace")) for name in names), f"{what}: no name of a secret")
    return dict(entries)


def parse_versions(reader: Bytes, what: str) -> list[Version]:
    versions = []
    for _ in range(reader.number(1)):
        number, change, kind = reader.number(8), reader.take(16), reader.number(1)
        need(number and kind in (0, 1), f"{what}: no version of a secret")
        versions.append(Version(number, change, (reader.take(16), reader.take(32)) if kind else None))
    need(versions, f"{what}: a name without a version")
    changes = [version.change for version in versions]
    need(changes == sorted(set(changes)), f"{what}: versions out of order")
    need(len(versions) == 1 or all(version.record for version in versions), f"{what}: a tombstone beside a version")
    return versions


def join(left: State, right: State, load: Load) -> State:
    """The join of two states, those under the key in force first."""
    if right.made_of[0] in left.knows:
        return left
    if right.in_force and right.knows.issuperset(left.made_of):
        return right
    root = join_children(left.root, right.root, left, right, load, 0)
    return State(root, left.knows | (right.knows if right.in_force else set()), left.made_of + right.made_of, True)


def join_children(one: Child, other: Child, left: State, right: State, load: Load, depth: int) -> Child:
    if (one.digest and one.digest == other.digest) or (other.change and other.change in left.knows):
        return one
    if right.in_force and one.change and one.change in right.knows:
        return other
    first, second = one.open(load, depth), other.open(load, depth)
    if isinstance(first, dict) and isinstance(second, dict):
        names = first.keys() | second.keys()
        both = {name: join_versions(first.get(name), second.get(name), left, right) for name in names}
        return Child(None, None, both)
    joined = dict(spread(first, depth))
    for number, child in spread(second, depth).items():
        mine = joined.get(number)
        joined[number] = join_children(mine, child, left, right, load, depth + 1) if mine else child
    return Child(None, None, Branch(joined))


def spread(node: Leaf | Branch, depth: int) -> dict[int, Child]:
    """A branch's children; for a leaf those that its entries would have in a branch."""
    if isinstance(node, Branch):
        return node.children
    leaves: dict[int, Leaf] = {}
    for name, versions in node.items():
        leaves.setdefault(place(name, depth), {})[name] = versions
    return {number: Child(None, None, leaf) for number, leaf in leaves.items()}


def join_versions(mine: list[Version] | None, theirs: list[Version] | None, left: State, right: State) -> list[Version]:
    if mine is None or theirs is None:
        return mine or theirs or []
    have = {version.change for version in mine}
    also = {version.change for version in theirs}
    kept = [version for version in mine if version.change in also or version.change not in right.knows or not right.in_force]
    kept += [version for version in theirs if version.change not in left.knows and version.change not in have]
    if any(version.record for version in kept):
        kept = [version for version in kept if version.record]
    else:
        kept = sorted(kept, key=lambda version: (version.number, version.change))[-1:]
    return sorted(kept or mine, key=lambda version: version.change)
