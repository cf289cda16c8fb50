"""Every kernel of the table (`fc_kernels` in csrc/kernels.h), of every ISA and dtype, is executed by the suite: in a
process of its own, each slot's pointer becomes one to a stub that counts and jumps on, and some modules run."""

import ctypes
import json
import mmap
import platform
import re
import shutil
import struct
import subprocess
import sys

import pytest
from support import ISAS, ROOT, run_python, use_isa

from fastconv._loops import kernels

MODULES = ["test_kernels.py", "test_fft.py", "test_layer_nests.py", "test_pooling.py", "test_activations.py",
           "test_lowering.py::test_im2col", "test_accuracy.py", "test_conv2d.py::test_reals_within_the_error_bound",
           "test_conv2d.py::test_tiles_and_vectors_that_end_early", "test_conv2d.py::test_direct_tiles_of_every_height",
           "test_gradients.py::test_weight_gradients_by_algorithms_that_rewrite_the_sum"]  # fmt: skip
kept = []  # the stubs' memory
COMPILER = shutil.which("gcc") or shutil.which("cc")


def code_of_kernels():
    """Where the machine code of the module of kernels lies."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "r-xp" in line and kernels.__file__ in line:
                return range(*(int(end, 16) for end in line.split()[0].split("-")))
    raise OSError(f"{kernels.__file__} is not mapped")


def table_of(itemsize):
    """The address of the kernel table in use."""
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, (ctypes.py_object,)
    capsule = kernels.__pyx_capi__["kernels_for"]
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_ssize_t)(get(capsule, name(capsule)))(itemsize)


def count_calls(words):
    """{(isa, itemsize, word): a function that gives its calls} of the slots in use, all of which count from now on."""
    page, counters = mmap.PAGESIZE, {}
    code, mprotect = code_of_kernels(), ctypes.CDLL(None).mprotect
    for isa in ISAS:
        for itemsize in (4, 8):
            with use_isa(isa):
                address = table_of(itemsize)
            start = address // page * page
            mprotect(ctypes.c_void_p(start), ctypes.c_size_t(address + 8 * words - start), 3)
            table = (ctypes.c_uint64 * words).from_address(address)
            stubs = mmap.mmap(-1, 32 * words, prot=7)
            kept.append(stubs)
            at = ctypes.addressof(ctypes.c_char.from_buffer(stubs))
            for word, target in enumerate(table):
                if target in code:
                    # inc qword [the next 8 bytes]; jmp [the 8 bytes after them]: relative to each instruction's end
                    stub = struct.pack("<3si2si3xQQ", b"\x48\xff\x05", 16 - 7, b"\xff\x25", 24 - 13, 0, target)
                    stubs[32 * word : 32 * word + 32] = stub
                    table[word] = at + 32 * word
                    counters[isa, itemsize, word] = ctypes.c_uint64.from_address(at + 32 * word + 16)
    return counters


def run_counted(words):
    """Runs the modules and prints the slots that nobody called, and how many there are."""
    counters = count_calls(words)
    failed = pytest.main(["-q", "-p", "no:cacheprovider", *MODULES])
    idle = [slot for slot, counter in counters.items() if counter.value == 0]
    print("\n" + json.dumps([int(failed), len(counters), idle]))


def words_and_names(folder):
    """The table's words, and [(word, name)] of where its members begin, as the compiler has them."""
    names = re.findall(r"^    \.(\w+) =", (ROOT / "csrc/kernels.c").read_text(), re.M)
    offsets = "".join(f'printf("%zu {name}\\n", offsetof(fc_kernels, {name}) / 8);' for name in names)
    main = f'int main(void) {{ printf("%zu\\n", sizeof(fc_kernels) / 8); {offsets} }}'
    source, program = folder / "table.c", folder / "table"
    source.write_text(f'#include <stddef.h>\n#include <stdio.h>\n#include "kernels.h"\n{main}')
    subprocess.run([COMPILER, f"-I{ROOT / 'csrc'}", source, "-o", program], check=True)
    words, *members = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    return int(words), [(int(word), name) for word, name in map(str.split, members)]


@pytest.mark.skipif(not COMPILER or sys.platform != "linux" or platform.machine() != "x86_64", reason="x86-64 stubs")
def test_every_slot_of_every_isa_is_executed(tmp_path):
    words, members = words_and_names(tmp_path)
    done = run_python(f"import test_slots; test_slots.run_counted({words})", timeout=300)
    assert done.returncode == 0, done.stderr
    failed, count, idle = json.loads(done.stdout.splitlines()[-1])
    assert not failed, done.stdout[-3000:]
    assert count > 100 * len(ISAS)
    name = lambda word: [f"{name}+{word - first}" for first, name in members if first <= word][-1]  # noqa: E731
    assert not [(isa, itemsize, name(word)) for isa, itemsize, word in idle]
