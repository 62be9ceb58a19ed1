"""Numbers as people read them: the same digits everywhere, whatever the locale."""

from __future__ import annotations

import math

from sysgym.bench.statistics import Interval

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float | None, digits: int = 4, *, trim: bool = False) -> str:
    """A number with so many significant digits and a thousands separator; `trim` leaves out zeros at its end.

    >>> number(77.24656), number(10.2), number(10.2, trim=True), number(0.000123456), number(1234567.8), number(None)
    ('77.25', '10.20', '10.2', '0.0001235', '1,234,568', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -5:
        return f"{value:.{digits - 1}e}"
    text = f"{value:,.{max(0, digits - 1 - exponent)}f}"
    return text.rstrip("0").rstrip(".") if trim and "." in text else text


def interval(value: Interval | None, digits: int = 4) -> str:
    """An estimate with its interval, such as `77.25 [52, 110]`."""
    if value is None:
        return "-"
    return f"{number(value.estimate, digits)} [{number(value.low, 3)}, {number(value.high, 3)}]"


def fixed(value: float, digits: int = 3) -> str:
    """A number with so many digits behind the point, and no minus before a zero.

    >>> fixed(-0.0001), fixed(0.4561), fixed(-1.25, 1)
    ('0.000', '0.456', '-1.2')
    """
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def ratio(value: Interval | None) -> str:
    """A ratio with its interval, all to the same digit, since it is its distance from 1 that is read.

    >>> ratio(Interval(1.0389, 1.0027, 2.1))
    '1.039 [1.003, 2.100]'
    """
    return "-" if value is None else f"{fixed(value.estimate)} [{fixed(value.low)}, {fixed(value.high)}]"


def percent(share: float | None) -> str:
    """A share as a percentage, such as `12.5 %`."""
    return "-" if share is None else f"{number(100 * share, 3, trim=True)} %"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them.

    >>> duration(0.00042), duration(75), duration(5400)
    ('420 µs', '1.25 min', '1.5 h')
    """
    if not seconds:
        return "-"
    size, unit = next((pair for pair in _UNITS if seconds >= pair[0]), _UNITS[-1])
    return f"{number(seconds / size, 3, trim=True)} {unit}"


def count(value: float) -> str:
    """A large number in short.

    >>> count(500000), count(256)
    ('500k', '256')
    """
    size, prefix = next((pair for pair in _PREFIXES if abs(value) >= pair[0]), (1.0, ""))
    return f"{number(value / size, 3, trim=True)}{prefix}"


def rank(shared: int, interval: tuple[int, int]) -> str:
    """A rank that ties share, with its range where that is wider.

    >>> rank(1, (1, 1)), rank(2, (1, 3))
    ('1', '2 (1 to 3)')
    """
    low, high = interval
    return str(shared) if low == high == shared else f"{shared} ({low} to {high})"
