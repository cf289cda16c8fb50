"""What `python -m fastconv tune` has measured: a file of choices, {what was measured: the fastest algorithm}, in
$XDG_CACHE_HOME/fastconv, or ~/.cache/fastconv. `choose` of fastconv/algorithms.py asks it where FASTCONV_TUNED=1 was
set at import; otherwise nobody reads it.

The file is never trusted: one that is corrupt, too large or of another version of fastconv is ignored with a warning,
and a choice counts only where it names a row that `auto` may take for that shape. It is replaced as a whole, so that
readers see the old one or the new one; of two writers at once the last one's choices stay."""

import json
import os
import stat
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import fastconv
from fastconv.config import cpu_model

IN_USE = os.environ.get("FASTCONV_TUNED") == "1"
MOST_CHOICES = 4096  # the oldest go first
MOST_BYTES = 2 << 20  # of the file: twice what so many choices take
LONGEST = 400  # characters of a key or a name


def path():
    """Where the file is, or would be."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(home)) / "fastconv" / "tuned-v1.json"


def key(shape, itemsize, isa):
    """What a choice depends on, in words."""
    sides = ",".join(f"{before}+{after}" for before, after in shape.padding)
    sizes = (shape.input_shape, shape.weight_shape, shape.stride, shape.dilation)
    x, weight, stride, dilation = ("x".join(map(str, size)) for size in sizes)
    return (
        f"{cpu_model()}, {isa}, float{8 * itemsize}, {shape.layout}, {x} * {weight}, "
        f"stride {stride}, padding {sides}, dilation {dilation}, groups {shape.groups}"
    )


def _open(name, flags):
    """Does not wait for what a pipe of that name may one day say."""
    return os.open(name, flags | os.O_NONBLOCK)


def load():
    """The choices in the file, oldest first; none, with a warning, if it is not what `remember` writes."""
    try:
        with open(path(), "rb", opener=_open) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is no plain file")
            if status.st_size > MOST_BYTES:
                raise ValueError(f"it is larger than {MOST_BYTES} bytes")
            return _checked(json.loads(file.read(status.st_size)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        warnings.warn(f"fastconv: {path()} is ignored: {error}", RuntimeWarning, stacklevel=2)
        return {}


def _checked(content):
    """The choices of the file's content; ValueError if any part of it is not as it should be."""
    if not isinstance(content, dict) or content.keys() != {"fastconv", "choices"}:
        raise ValueError("it is not a file of choices")
    if content["fastconv"] != fastconv.__version__:
        raise ValueError(f"it was written by fastconv {content['fastconv']!r:.40}, this is {fastconv.__version__}")
    choices = content["choices"]
    if not isinstance(choices, dict) or len(choices) > MOST_CHOICES:
        raise ValueError(f"its choices are not an object of at most {MOST_CHOICES} members")
    for text in (*choices, *choices.values()):
        if not isinstance(text, str) or len(text) > LONGEST:
            raise ValueError("a choice is not a pair of short strings")
    return choices


def remember(new):
    """Adds choices to the file, or replaces those of the same keys. Raises OSError if it cannot be written."""
    choices = load()
    for name in new:
        choices.pop(name, None)
    choices = dict(list((choices | new).items())[-MOST_CHOICES:])
    place = path()
    place.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=place.parent, prefix=place.name)
    try:
        with open(handle, "w", encoding="ascii") as file:
            json.dump({"fastconv": fastconv.__version__, "choices": choices}, file, indent=0)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


@lru_cache(maxsize=1)
def _loaded():
    return load()


def choice(shape, itemsize, isa):
    """The name that was measured to be the fastest, or None: read once a process, and only if IN_USE."""
    return _loaded().get(key(shape, itemsize, isa)) if IN_USE else None
