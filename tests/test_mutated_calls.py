"""Right calls with one argument broken: whatever is wrong, in whichever function, the exception is of the right class
and its message names the argument; nothing is allocated, started or changed before, and the right call works after.

The calls and the ways to break them are those of public_calls.py and breakage.py. `make fuzz` makes 20,000."""

import faulthandler
import types

import numpy as np
import pytest
from breakage import says
from fuzzing import fuzzed
from hypothesis import given, note
from hypothesis import strategies as st
from public_calls import CALLS, calls

import fastconv as fc
from fastconv import nn, train
from fastconv.nn.layer import Misfit


@pytest.fixture(autouse=True)
def no_hang():
    """A call that never returns ends the run, saying where it is."""
    faulthandler.dump_traceback_later(600, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def bytes_of(arguments):
    """The content of small array arguments."""
    return {name: value.tobytes() for name, value in arguments.items()
            if isinstance(value, np.ndarray) and value.size < 2**20}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
@fuzzed(quick=3, share=1 / 50)
@given(data=st.data())
def test_the_calls_are_right(name, data):
    """So what the other test sees refused is refused for what was broken."""
    call = data.draw(calls(name))
    if call.immense:
        with pytest.raises(MemoryError):
            call.function(**call.arguments)
    else:
        call.function(**call.arguments)


@fuzzed(quick=800, share=2)
@given(data=st.data())
def test_one_broken_argument(data):
    name = data.draw(st.sampled_from(sorted(CALLS)))
    call = data.draw(calls(name))
    argument = data.draw(st.sampled_from(sorted(call.broken)))
    broken = data.draw(st.sampled_from(call.broken[argument]))
    note(f"{name}({argument}={broken.value!r}) should raise {broken.error.__name__}")
    before = bytes_of(call.arguments)
    with pytest.raises((TypeError, ValueError)) as raised:
        call.function(**{**call.arguments, argument: broken.value})
    assert raised.type is broken.error or (raised.type is Misfit and broken.error is ValueError)
    assert says(str(raised.value), (argument, *broken.names)), str(raised.value)
    assert bytes_of(call.arguments) == before
    if not call.immense:
        call.function(**call.arguments)


def test_every_public_function_is_called():
    """Functions without arguments are right however they are called."""
    unbreakable = {"get_num_threads", "release_memory", "show_config", "filters.sobel_x", "filters.sobel_y", "Plan",
                   "nn.ReLU", "nn.Sigmoid", "nn.Softmax", "nn.Flatten", "nn.GlobalAvgPool"}  # fmt: skip
    public = {name for name in fc.__all__ if not isinstance(getattr(fc, name), types.ModuleType)}
    public |= {f"nn.{name}" for name in nn.__all__}
    public |= {f"filters.{name}" for name in ("gaussian", "sobel_x", "sobel_y", "box")}
    public |= {f"train.{name}" for name in ("fit", "gradients") if hasattr(train, name)}
    assert public - unbreakable <= CALLS.keys()
    for name in unbreakable:
        assert name not in CALLS
