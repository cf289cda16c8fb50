"""`python -m fastconv info`: what was built and what runs. `python -m fastconv tune`: measures convolutions, so that
plans may take the fastest algorithm of this machine (set FASTCONV_TUNED=1)."""

import argparse
import sys
from pathlib import Path

import fastconv
from fastconv import tuned, tuning


def sizes(text):
    """1x64x56x56 as a tuple."""
    return tuple(int(size) for size in text.split("x"))


def layers_of(file, layout):
    """(input shape, weight shape, parameters) of each line `name N C H W K R S stride padding groups [count]`."""
    lines = (line.split("#")[0].split() for line in Path(file).read_text().splitlines())
    for line in filter(None, lines):
        try:
            N, C, H, W, K, R, S, stride, padding, groups = map(int, line[1:11])
        except ValueError:
            raise ValueError(f"{file}: expected `name N C H W K R S stride padding groups`, "
                             f"got {' '.join(line)!r}") from None  # fmt: skip
        if groups < 1:
            raise ValueError(f"{file}: groups must be at least 1, got {' '.join(line)!r}")
        shapes = ((N, C, H, W), (K, C // groups, R, S))
        if layout == "NHWC":
            shapes = ((N, H, W, C), (K, R, S, C // groups))
        yield *shapes, {"stride": stride, "padding": padding, "groups": groups}


def given(args):
    """The parameters that the command line names."""
    named = {name: getattr(args, name) for name in ("stride", "padding", "dilation", "groups")}
    return {name: value for name, value in named.items() if value is not None}


def tune(args):
    """Measures what the arguments name and prints it."""
    layers = layers_of(args.file, args.layout) if args.file else [(args.input, args.weight, given(args))]
    for x, weight, parameters in layers:
        times = tuning.tune(x, weight, args.dtype, layout=args.layout, **parameters)
        figures = ", ".join(f"{name} {seconds * 1e3:.3f} ms" for name, seconds in times.items())
        print(f"{'x'.join(map(str, x))} * {'x'.join(map(str, weight))}: {figures}", flush=True)
    print(f"remembered in {tuned.path()}; plans use it where FASTCONV_TUNED=1 is set")


def main():
    parser = argparse.ArgumentParser(prog="python -m fastconv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="ISA, OpenMP and threads in use and available")
    measured = commands.add_parser("tune", help="measure one convolution, or those of a file")
    measured.add_argument("input", type=sizes, nargs="?", help="x's shape in the layout: 1x64x56x56")
    measured.add_argument("weight", type=sizes, nargs="?", help="the weight's: 64x64x3x3")
    measured.add_argument("--file", help="a file of lines `name N C H W K R S stride padding groups` instead")
    measured.add_argument("--layout", default="NCHW", choices=["NCHW", "NHWC"])
    measured.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    for name in ("stride", "padding", "dilation", "groups"):
        measured.add_argument(f"--{name}", type=int, help="as conv2d's")
    args = parser.parse_args()
    if args.command == "info":
        fastconv.show_config()
        return
    if args.file is None and args.weight is None:
        measured.error("give two shapes, or --file")
    if args.file is not None and (args.input or given(args)):
        measured.error("a --file says shapes and parameters itself")
    try:
        tune(args)
    except (OSError, ValueError, MemoryError) as error:
        sys.exit(f"fastconv tune: {error}")


if __name__ == "__main__":
    main()
