"""Row counts and sizes as they are shown."""


def count(rows: int) -> str:
    """A row count as it is shown: exact below a million, three digits above.

    Example:
        >>> count(120_000), count(1_900_000), count(84_000_000)
        ('120,000', '1.9 M', '84.0 M')
    """
    for unit, size in (("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if rows >= size:
            return f"{rows / size:,.1f} {unit}"
    return f"{rows:,}"


def size_text(num_bytes: int) -> str:
    """A size as it is shown.

    Example:
        >>> size_text(1 << 30), size_text(1500)
        ('1.0 GiB', '1.5 KiB')
    """
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
