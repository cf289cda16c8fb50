"""A photograph through the lecture's filters, and through a layer of 96 filters like AlexNet's first."""

from itertools import product
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from harness import charts, check
from harness.layers import Layer, to_nchw
from harness.report import console
from matplotlib import cbook

import fastconv as fc

BLUR = np.array([[0.075, 0.124, 0.075], [0.124, 0.204, 0.124], [0.075, 0.124, 0.075]], np.float32)  # the lecture's
BLURS = 25  # passes after which the blur shows at the size of the page
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601

# The bank: 8 orientations x 2 wave lengths x edge or bar x 3 colour axes = 96 filters of 11 x 11 x 3, the
# kinds that AlexNet's first layer learnt (Krizhevsky, Sutskever, Hinton 2012, figure 3).
SIZE, STRIDE = 11, 4
ORIENTATIONS = np.arange(8) * np.pi / 8
WAVE_LENGTHS = (4.5, 8.5)  # pixels
PHASES = {"edge": np.pi / 2, "bar": 0.0}
COLOUR_AXES = {"light - dark": (1, 1, 1), "red - green": (1, -1, 0), "yellow - blue": (0.5, 0.5, -1)}


def photograph():
    """Matplotlib's sample photograph, Rear Admiral Grace Hopper: (606, 512, 3) in 0..1."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return plt.imread(file, format="jpg").astype(np.float32) / 255


def filtered(photo):
    """[(caption, picture)] of the photograph and what filter2d makes of it."""
    start = perf_counter()
    once = fc.filter2d(photo, BLUR, border="reflect")
    milliseconds = (perf_counter() - start) * 1e3
    often = once
    for _ in range(BLURS - 1):
        often = fc.filter2d(often, BLUR, border="reflect")
    grey = photo @ LUMA
    across = fc.filter2d(grey, fc.filters.sobel_x().astype(np.float32), border="reflect")
    down = fc.filter2d(grey, fc.filters.sobel_y().astype(np.float32), border="reflect")
    height, width = grey.shape
    return [
        (f"the photograph, {width} x {height}", photo),
        (f"the blur, once: {milliseconds:.1f} ms", once),
        (f"the blur, {BLURS} times", often),
        ("across: [-1 0 1; -2 0 2; -1 0 1]", across),
        ("down: the same, transposed", down),
        ("length of the gradient", np.hypot(across, down)),
    ]


def draw_filtered(pictures, path):
    figure, axes = plt.subplots(2, 3, figsize=(11.5, 9.6))
    figure.suptitle(
        "A photograph through the lecture's filters, by fastconv.filter2d",
        x=0.01,
        ha="left",
        fontsize=13,
        fontweight="bold",
    )
    for axis, (caption, picture) in zip(axes.flat, pictures, strict=True):
        bound = np.percentile(abs(picture), 99.5)
        if picture.ndim == 3:
            axis.imshow(picture.clip(0, 1))
        elif picture.min() < 0:
            axis.imshow(picture, cmap="RdBu_r", vmin=-bound, vmax=bound)
        else:
            axis.imshow(picture, cmap="magma", vmin=0, vmax=bound)
        axis.set_title(caption)
        axis.set_axis_off()
    charts.save(figure, path)


def bank():
    """The 96 filters, (96, 11, 11, 3): waves under a Gaussian, along a colour axis, without mean, of length 1."""
    at = np.arange(SIZE) - SIZE // 2
    y, x = np.meshgrid(at, at, indexing="ij")
    filters = []
    for angle, colour, length, phase in product(ORIENTATIONS, COLOUR_AXES.values(), WAVE_LENGTHS, PHASES.values()):
        wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / length - phase)
        window = np.exp(-(x**2 + y**2) / (2 * (0.45 * length) ** 2))
        plane = window * (wave - (window * wave).sum() / window.sum())
        cell = plane[..., None] * np.array(colour, float)
        filters.append(cell / np.linalg.norm(cell))
    return np.stack(filters).astype(np.float32)


def mosaic(cells, gap, ground):
    """(count, h, w, ...) cells in rows of 12 with gaps between them: a row is an orientation."""
    columns = len(COLOUR_AXES) * len(WAVE_LENGTHS) * len(PHASES)
    height, width = cells.shape[1] + gap, cells.shape[2] + gap
    rows = len(cells) // columns
    page = np.full((rows * height + gap, columns * width + gap, *cells.shape[3:]), ground, np.float32)
    for i, cell in enumerate(cells):
        top, left = (i // columns) * height + gap, (i % columns) * width + gap
        page[top : top + cells.shape[1], left : left + cells.shape[2]] = cell
    return page


def draw_bank(filters, path):
    cells = 0.5 + 0.5 * filters / abs(filters).max(axis=(1, 2, 3), keepdims=True)
    title = f"96 filters of {SIZE} x {SIZE} x 3: waves under a Gaussian, without mean, of length 1"
    _draw_mosaic(mosaic(cells, gap=2, ground=1.0), title, path)


def draw_responses(y, path, seconds):
    maps = np.moveaxis(y[0], -1, 0)
    maps = maps / np.percentile(abs(maps), 99, axis=(1, 2), keepdims=True)
    height, width = maps.shape[1:]
    title = f"Their 96 responses, {width} x {height}, each to its own scale: fastconv.conv2d, {seconds * 1e3:.1f} ms"
    _draw_mosaic(mosaic(0.5 + 0.5 * maps.clip(-1, 1), gap=8, ground=1.0), title, path)


def _draw_mosaic(page, title, path):
    height, width = page.shape[:2]
    figure, axis = plt.subplots(figsize=(11.5, 10.9 * height / width + 0.9))
    axis.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation="nearest" if page.ndim == 3 else "antialiased")
    captions = [
        f"{colour}\n{kind}, {length:g} px" for colour, length, kind in product(COLOUR_AXES, WAVE_LENGTHS, PHASES)
    ]
    axis.set_xticks((np.arange(len(captions)) + 0.5) * width / len(captions), captions, fontsize=7.5)
    degrees = [f"{np.degrees(angle):g}°" for angle in ORIENTATIONS]
    axis.set_yticks((np.arange(len(degrees)) + 0.5) * height / len(degrees), degrees, fontsize=8)
    axis.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axis.spines[:].set_visible(False)
    axis.grid(visible=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    charts.save(figure, path)


def respond(photo, filters):
    """The layer's responses (1, P, Q, 96), checked, and the seconds of the second call."""
    x = photo[None]
    fc.conv2d(x, filters, stride=STRIDE, layout="NHWC")
    start = perf_counter()
    y = fc.conv2d(x, filters, stride=STRIDE, layout="NHWC")
    seconds = perf_counter() - start
    layer = Layer("96 filters", 1, 3, *photo.shape[:2], len(filters), SIZE, SIZE, stride=(STRIDE, STRIDE))
    check.check_conv(layer, *(to_nchw(array, "NHWC") for array in (x, filters)), {"conv2d": to_nchw(y, "NHWC")})
    return y, seconds


def show(result):
    """Writes the three pages."""
    photo = photograph()
    draw_filtered(filtered(photo), result.path("_filters.png", "a photograph, blurred, and its gradients"))
    filters = bank()
    y, seconds = respond(photo, filters)
    draw_bank(filters, result.path("_bank.png", "96 filters of 11 x 11 x 3: oriented colour edges and bars"))
    draw_responses(y, result.path("_responses.png", "the photograph through these filters: 96 response maps"), seconds)
    flops = 2 * y.size * filters[0].size
    console.print(
        f"A {photo.shape[1]} x {photo.shape[0]} photograph, blurred and differentiated; then through 96 filters of "
        f"11 x 11 x 3, stride 4: {flops / 1e9:.2f} GFLOP in {seconds * 1e3:.1f} ms, "
        f"{flops / seconds / 1e9:.0f} GF/s.\n"
    )
