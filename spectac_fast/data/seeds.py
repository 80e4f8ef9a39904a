"""Seeds from words: the same on every machine and in every version of Python, unlike `hash`."""

from __future__ import annotations

import hashlib


def stable_seed(text: str) -> int:
    """A signed 64-bit seed from a text: its BLAKE2b digest of 8 bytes, little-endian."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
