"""What `make demo` runs: a photograph through filters, VGG-16 through every algorithm, and the lecture's question.

Needs the extra "bench" (matplotlib, rich). Writes pictures, charts, JSON and CSV to --out and names them."""

from time import perf_counter

from harness import report
from harness.report import console
from tour import lecture, pictures, vgg

# Of the seconds that the pictures leave; what remains beside them goes into drawing.
VGG_SHARE, LECTURE_SHARE = 0.45, 0.45


def main():
    start = perf_counter()
    args = report.parser(__doc__, max_seconds=60, options=()).parse_args()
    result = report.Report("demo", args, compares=False)
    console.rule("[bold]1  A photograph through filters", align="left")
    pictures.show(result)
    left = args.max_seconds - (perf_counter() - start)
    console.rule("[bold]2  VGG-16 through every algorithm", align="left")
    vgg.show(result, max(args.threads), VGG_SHARE * left)
    console.rule("[bold]3  The lecture's question", align="left")
    lecture.show(result, LECTURE_SHARE * left)
    result.save()
    result.close()
    console.print(f"\n{perf_counter() - start:.0f} seconds")


if __name__ == "__main__":
    with report.checked():
        main()
