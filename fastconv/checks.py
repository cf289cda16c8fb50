"""What is accepted as a number, a flag or a name: the one place that turns a parameter into a Python value or refuses
it. TypeError for a wrong type, ValueError for a wrong value; the message names the parameter. shapes.py checks what
describes shapes."""

from numbers import Real
from operator import index


def _is_bool(value):
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # NumPy's


def to_int(value, name):
    """An integer, NumPy's included; TypeError for bools, floats and everything else."""
    if type(value) is int:
        return value
    if _is_bool(value):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None


def to_count(value, name, least=1, most=None):
    """An integer of at least `least` and, if that is given, at most `most`."""
    count = to_int(value, name)
    if count < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    if most is not None and count > most:
        raise ValueError(f"{name} must be at most {most}, got {value!r}")
    return count


def to_real(value, name):
    """A float of a real number, NumPy's included; no bools, no strings."""
    if type(value) is float:
        return value
    if not isinstance(value, Real) or _is_bool(value):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large for a float") from None


def to_flag(value, name):
    """True or False."""
    if value is True or value is False:
        return value
    if not _is_bool(value):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def to_choice(value, name, choices):
    """One of these strings."""
    if isinstance(value, str) and value in choices:
        return value
    listed = (" or " if len(choices) == 2 else ", ").join(map(repr, choices))
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"{name} must be {'' if len(choices) == 2 else 'one of '}{listed}, got {value!r}")
