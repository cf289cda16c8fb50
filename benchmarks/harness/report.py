"""What a script says: its arguments, progress, tables, and the JSON, CSV and PNG files it leaves."""

import argparse
import csv
import json
import sys
from contextlib import contextmanager
from math import exp, log
from pathlib import Path
from time import perf_counter

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from harness import check, machine, peers

BUSY = 0.5  # a load average above which figures deserve a warning
CROWDED = 0.6  # of n times the peak of one thread: clocks alone do not fall that far with all cores at work
WIDE = 170  # columns of a table that nobody looks at in a terminal

console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
errors = Console(stderr=True, highlight=False)


def parser(description, max_seconds, options=("threads", "dtype", "quick"), dtype="float32"):
    """The arguments that the scripts share; those not in `options` keep their defaults."""
    parse = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parse.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder of the files it writes")
    parse.add_argument("--max-seconds", type=float, default=max_seconds, help="what is left then is skipped")
    parse.set_defaults(threads=sorted({1, machine.cores()}), dtype=names(dtype), quick=False)
    if "threads" in options:
        every = ",".join(map(str, parse.get_default("threads")))
        parse.add_argument("--threads", type=numbers, default=every, help="thread numbers, with commas")
    if "dtype" in options:
        parse.add_argument("--dtype", type=names, default=dtype, help="float32, float64 or both, with commas")
    if "quick" in options:
        parse.add_argument("--quick", action="store_true", help="fewer bursts of each contestant: figures are rough")
    return parse


def names(text):
    return text.split(",")


def numbers(text):
    return [int(part) for part in text.split(",")]


def threads_text(n):
    return f"{n} thread" if n == 1 else f"{n} threads"


def geometric_mean(values):
    values = list(values)
    return exp(sum(map(log, values)) / len(values)) if values else float("nan")


class Progressed:
    """Passes items through; shows how far it is on a terminal, or in a line every ten seconds elsewhere."""

    def __init__(self, items, label):
        self.items, self.label = list(items), label

    def __iter__(self):
        if errors.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
            with Progress(*columns, console=errors, transient=True) as progress:
                yield from progress.track(self.items, description=self.label)
            return
        last = perf_counter()
        for i, item in enumerate(self.items):
            if perf_counter() - last > 10:
                last = perf_counter()
                errors.print(f"{self.label}: {i} of {len(self.items)}")
            yield item


def table(columns):
    """A rich table: the first column to the left, figures to the right."""
    made = Table(header_style="bold", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left", no_wrap=True)
    return made


class Report:
    """One script's run: environment and limits first, rows as they come, files at the end."""

    def __init__(self, name, args, compares=True):
        self.name, self.out, self.rows, self.files = name, args.out, [], []
        self.environment = {"freed memory kept": machine.keep_freed_memory(), **machine.environment()}
        self.measured_for = args.dtype, args.threads
        self.limits = machine.measure_limits(*self.measured_for)
        isa = self.environment["fastconv"]["isa"]
        self.machine = f"{self.environment['fastconv']['cpu']}, {machine.cores()} cores, {isa}"
        self.date = self.environment["date"][:10]
        console.print(f"[bold]{name}[/bold] on {self.machine}, {self.date}\n{self.limits}")
        load = self.environment["load average"][0]
        if load > BUSY:
            console.print(f"[yellow]load average {load}: others run here, so the figures are rough[/yellow]")
        if compares and peers.missing():
            console.print(f"[yellow]not installed, so not compared: {', '.join(peers.missing())}[/yellow]")

    def add(self, **row):
        self.rows.append(row)

    def refresh_limits(self):
        """Measures the limits again after the work, in case others had the machine at the start."""
        self.limits = self.limits.at_least(machine.measure_limits(*self.measured_for))
        for (dtype, n), peak in self.limits.peak.items():
            alone = self.limits.peak.get((dtype, 1), 0.0)
            if peak < CROWDED * n * alone:
                console.print(
                    f"[yellow]the {dtype} peak of {n} threads measured only {peak:.0f} GF/s where one has {alone:.0f}: "
                    "others hold cores, and shares of that peak mean little[/yellow]"
                )

    def path(self, suffix, describes):
        """Where a file named after the script goes; it will be in the list at the end."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{self.name}{suffix}"
        self.files.append((path, describes))
        return path

    def save(self):
        """Writes JSON and CSV."""
        facts = {**self.environment, "limits": self.limits.as_dict()}
        content = {"environment": facts, "rows": self.rows}
        self.path(".json", "every figure, with the environment").write_text(json.dumps(content, indent=1))
        with self.path(".csv", "the same as a table").open("w", newline="") as file:
            for key, value in facts.items():
                file.write(f"# {key}: {json.dumps(value)}\n")
            fields = list(dict.fromkeys(key for row in self.rows for key in row))
            writer = csv.DictWriter(file, fields, restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def close(self, budget=None):
        """Names what was skipped and what was written."""
        if budget and budget.skipped:
            console.print(f"[yellow]{budget.skipped} cases skipped: --max-seconds was over[/yellow]")
        console.print("\n[bold]written[/bold]")
        for path, describes in self.files:
            console.print(f"  {path}  {describes}")


@contextmanager
def checked():
    """Ends the script with exit code 1 on a wrong answer."""
    try:
        yield
    except check.WrongAnswer as wrong:
        errors.print(f"[bold red]wrong answer[/bold red] {wrong}")
        raise SystemExit(1) from None
