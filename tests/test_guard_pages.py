"""No nest reads or writes outside its arrays: every argument ends, or begins, at a page that may not be touched, and so
do the blocks that nests take for scratch. A stray access kills the process, so each ISA runs in one of its own: this
file as a program."""

import ctypes
import itertools
import mmap
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support import INSTALLED, ISAS, ROOT, whole

import fastconv as fc
from fastconv import reference
from fastconv.algorithms import ALGORITHMS
from fastconv.products import ALGORITHMS as PRODUCTS
from fastconv.shapes import conv_shape

PAGE = mmap.PAGESIZE
WAYS = list(itertools.product((np.float32, np.float64), (True, False)))  # dtypes, and where the page is
CONVOLUTIONS = [
    ((2, 5, 7, 9), (11, 5, 3, 3), {"padding": 1}),
    ((1, 3, 6, 6), (20, 3, 3, 3), {"padding": 1, "stride": 2}),
    ((1, 19, 5, 5), (33, 19, 1, 1), {}),
    ((1, 33, 7, 7), (65, 33, 1, 1), {}),
    ((1, 16, 3, 3), (40, 16, 3, 3), {"padding": 1}),
    ((1, 19, 5, 9), (1, 19, 1, 1), {}),
    ((1, 19, 5, 9), (3, 19, 1, 1), {}),
    ((1, 24, 7, 7), (128, 24, 1, 1), {}),  # transposed, and its filters cut in parts
    ((15, 5, 5, 4), (20, 5, 3, 3), {"padding": 1}),  # small images
    ((1, 4, 9, 8), (4, 1, 3, 3), {"groups": 4}),
    ((1, 3, 6, 31), (20, 3, 3, 3), {"padding": 1}),
    ((2, 3, 7, 46), (7, 3, 3, 3), {"padding": 1, "stride": 2}),
    ((2, 3, 7, 7), (3, 1, 3, 3), {"groups": 3, "padding": 1}),
    ((1, 3, 8, 21), (3, 1, 3, 3), {"groups": 3, "padding": 1, "stride": 2}),
    ((1, 3, 9, 20), (3, 1, 5, 2), {"groups": 3, "stride": (1, 3), "padding": (2, 1)}),
    ((1, 2, 9, 8), (3, 2, 2, 3), {"dilation": 2}),
    ((1, 3, 13, 5), (17, 3, 3, 1), {"padding": (1, 0)}),
    ((1, 3, 5, 13), (17, 3, 1, 3), {"padding": (0, 1)}),
    ((1, 3, 20, 21), (5, 3, 11, 9), {"padding": 5}),
    ((1, 5, 18, 17), (5, 1, 5, 5), {"padding": 2, "groups": 5}),
    ((1, 150, 5, 6), (300, 150, 3, 3), {"padding": 1}),  # weights beyond a fused group's
    ((1, 16, 40, 41), (70, 16, 3, 3), {"padding": 1}),  # these take more scratch than is rounded up to: 4 KB
    ((3, 70, 20, 41), (70, 1, 3, 3), {"padding": 1, "groups": 70}),
]
kept = []


def fenced(array, at_end):
    """The array in memory of its own that ends (or begins) where a forbidden page begins (or ends); at_end None: no
    page is forbidden. What nests keep for scratch is released, so that the next call's ends where it asked for."""
    fc.release_memory()
    pages = -(-array.nbytes // PAGE) + 2
    memory = mmap.mmap(-1, pages * PAGE)
    kept.append(memory)
    whole_map = np.frombuffer(memory, np.uint8)
    start = (pages - 1) * PAGE - array.nbytes if at_end else PAGE
    fence = whole_map.ctypes.data + ((pages - 1) * PAGE if at_end else 0)
    view = whole_map[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    if at_end is None:
        return view
    if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(PAGE), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    return view


def run_everything(ways=WAYS):
    """Calls with arguments fenced in ways (dtype, at_end); the number of calls."""
    calls = 0
    for dtype, at_end in ways:
        for m, n, k in itertools.product((1, 5, 15, 61), (1, 7, 33, 140), (1, 9, 40)):
            a, b = whole((m, k), 1), whole((k, n), 2)
            expected = a @ b
            out = fenced(np.zeros((m, n), dtype), at_end)
            for ta, tb in itertools.product((False, True), repeat=2):
                fenced_a = fenced((a.T if ta else a).astype(dtype), at_end)
                fenced_b = fenced((b.T if tb else b).astype(dtype), at_end)
                for algorithm in PRODUCTS:
                    fc.release_memory()
                    fc.gemm(fenced_a, fenced_b, out=out, trans_a=ta, trans_b=tb, algorithm=algorithm)
                    np.testing.assert_array_equal(out, expected)
                    calls += 1
        for (x, weight, parameters), layout in itertools.product(CONVOLUTIONS, ("NCHW", "NHWC")):
            x, weight, bias = whole(x, 1), whole(weight, 2), whole(weight[:1], 3)
            expected = reference.conv2d(x, weight, bias, **parameters)
            if layout == "NHWC":
                x, weight, expected = (np.moveaxis(array, 1, 3) for array in (x, weight, expected))
            x, weight, bias = (fenced(array.astype(dtype), at_end) for array in (x, weight, bias))
            out = fenced(np.zeros(expected.shape, dtype), at_end)
            able = {row.name for row in fc.explain_conv2d(x.shape, weight.shape, layout=layout, **parameters).rows
                    if row.refusal is None}  # fmt: skip
            for row in ALGORITHMS:
                if row.name in able:
                    fc.release_memory()
                    fc.conv2d(x, weight, bias, layout=layout, algorithm=row.name, out=out, **parameters)
                    np.testing.assert_allclose(out, expected, rtol=0, atol=0 if row.strict else 0.05)
                    calls += 1
            grad, options = fenced(expected.astype(dtype), at_end), {**parameters, "layout": layout}
            out = fenced(np.zeros(x.shape, dtype), at_end)
            fc.conv2d_input_grad(grad, weight, x.shape, strict=True, out=out, **options)
            np.testing.assert_array_equal(out, reference.conv2d_input_grad(expected, weight, x.shape, **options))
            out = fenced(np.zeros(weight.shape, dtype), at_end)
            kernel = weight.shape[2:] if layout == "NCHW" else weight.shape[1:3]
            shape = conv_shape(x.shape, weight.shape, layout=layout, **parameters)
            expected = reference.conv2d_weight_grad(x, expected, kernel, **options)
            for row in ALGORITHMS:
                if row.weight_grad is not None and not row.weight_grad.refuse(shape):
                    fc.release_memory()
                    fc.conv2d_weight_grad(x, grad, kernel, algorithm=row.name, out=out, **options)
                    np.testing.assert_allclose(out, expected, rtol=0, atol=0 if row.strict else 1)
                    calls += 1
            fc.conv2d_bias_grad(grad, layout=layout)
            calls += 2
            lowering = {name: value for name, value in parameters.items() if name != "groups"} | {"layout": layout}
            cols = fc.im2col(x, kernel, **lowering)
            np.testing.assert_array_equal(cols, reference.im2col(x, kernel, **lowering))
            fc.col2im(fenced(cols, at_end), x.shape, kernel, **lowering)
            calls += 2
        calls += run_layers(dtype, at_end)
    return calls


def run_layers(dtype, at_end):
    """The other operations of a convnet and their gradients."""

    def some(*shape):
        return fenced(whole(shape, 1).astype(dtype), at_end)

    calls = 0
    for n in (1, 7, 33, 260):
        x, y, labels = some(3, n), some(3, n), fenced(np.zeros(3, np.int64), at_end)
        for call in (fc.relu_grad, fc.sigmoid_grad, fc.softmax_grad):
            call(x, y)
        for call in (fc.relu, fc.sigmoid, fc.softmax):
            call(x)
        fc.cross_entropy_grad(x, labels)
        fc.binary_cross_entropy_grad(x, fenced(np.ones((3, n), dtype), at_end))
        for rows in (1, 3, 11):
            fc.linear(some(rows, n), some(19, n), some(19))
            fc.linear_grad(some(rows, 19), some(rows, n), some(19, n))
        calls += 14
    for channels, layout in itertools.product((1, 5, 40), ("NCHW", "NHWC")):
        x = some(2, 7, 6, channels) if layout == "NHWC" else some(2, channels, 7, 6)
        for kernel, parameters in ((2, {}), (3, {"stride": 2, "padding": 1}), ((1, 2), {"stride": 1})):
            grad = fenced(fc.max_pool2d(x, kernel, layout=layout, **parameters), at_end)
            fc.max_pool2d_grad(grad, x, kernel, layout=layout, out=some(*x.shape), **parameters)
            fc.avg_pool2d(x, kernel, layout=layout, out=grad, **parameters)
            fc.avg_pool2d_grad(grad, x.shape, kernel, layout=layout, out=some(*x.shape), **parameters)
            calls += 4
    return calls


def run_fenced(code, fence, **environment):
    """The finished process of `python -c code`, in which `fence` puts a page behind each block of scratch."""
    path = f"{INSTALLED}{os.pathsep}{ROOT / 'tests'}"
    environment = {**os.environ, "LD_PRELOAD": str(fence), "PYTHONPATH": path, **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def fence(tmp_path_factory):
    """tests/fence.c, compiled."""
    library = tmp_path_factory.mktemp("fence") / "fence.so"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler or sys.platform != "linux":
        pytest.skip("needs a C compiler, and Linux")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", ROOT / "tests/fence.c", "-o", library], check=True)
    return library


@pytest.mark.parametrize("isa", ISAS)
def test_nothing_outside_the_arrays_is_touched(isa, fence):
    done = run_fenced("import test_guard_pages as g; print(g.run_everything())", fence, FASTCONV_ISA=isa)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000


@pytest.mark.parametrize(
    "code",
    [
        "a = g.fenced(g.np.ones(3, g.np.float32), True); print(flush=True);"
        "g.np.lib.stride_tricks.as_strided(a, (4,)).sum()",
        "p = g.ctypes.c_void_p(); assert not g.ctypes.CDLL(None).posix_memalign(g.ctypes.byref(p), 4096, 160);"
        "g.ctypes.memset(p, 0, 160); print(flush=True); g.ctypes.memset(p, 0, 161)",
    ],
    ids=["arrays", "scratch"],
)
def test_the_guard_guards(code, fence):
    """A read or a write of one element too many dies here, so the test above would notice it."""
    done = run_fenced(f"import test_guard_pages as g; {code}", fence)
    assert done.stdout == "\n", done.stderr
    assert done.returncode < 0
