"""Sizes and times in words that fit a phone's screen."""


def size(number: int) -> str:
    """Return a number of bytes in five letters at most, as `--memory` takes it: 512M, 1.5G."""
    amount, unit = float(number), "B"
    for larger in "KMGTP":
        if amount < 999.5:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f}{unit}".replace(".0", "") if amount < 9.95 else f"{amount:.0f}{unit}"


def duration(seconds: float) -> str:
    """Return a time in six letters at most: 12s, 5m03s, 3h07m, 12d4h, 400d."""
    whole = int(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes == 0:
        return f"{whole}s"
    if hours == 0:
        return f"{minutes}m{whole % 60:02d}s"
    if days == 0:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{days}d{hours % 24}h" if days < 100 else f"{days}d"
