"""Foreign text in messages of ours: names of files and fields, and what libraries say of them."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Text that stays in its line on any terminal, whatever name or content a file has.

    >>> print(printable("a\nb\udcff"))
    a\nb\udcff
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int) -> str:
    """A text, or so many characters of its beginning.

    >>> shortened("abcdef", 6), shortened("abcdef", 3)
    ('abcdef', 'abc ...')
    """
    return text if len(text) <= most else f"{text[:most]} ..."
