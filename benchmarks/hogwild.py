"""Ways to accumulate gradients across threads: speed, memory, what is lost, and what training makes of it.

Each network trains with every accumulation and thread number: images a second, bytes of gradients, and the loss by
epoch and by time. `lost` is the share of adds that vanish when the threads do nothing but add vectors of ones of the
network's size. "digits" trains with five seeds and counts right answers on a fifth held out. "sparse" is the setting
of the Hogwild! paper: a linear model of which an update touches few elements.
VGG-16 runs 3 steps of 4 images only if named: its activations and gradients take some 3 GB."""

import time

import numpy as np
from harness import charts, networks, report
from harness.report import console
from harness.timing import Budget

from fastconv import hogwild, nn, train

WAYS = [(mode, "sync") for mode in hogwild.MODES] + [(mode, "async") for mode in hogwild.MODES[1:]]
EPOCHS = {"lenet": 1, "cifar": 1 / 4, "vgg16": 0}  # of --epochs
# The sparse model: features, examples, features that an example has, and examples between two looks at the weights.
SPARSE = {"features": 1_000_000, "examples": 200_000, "each": 20, "batch": 20_000}


def arguments():
    parse = report.parser(__doc__, max_seconds=600, options=("threads",))
    every = ["lenet", "cifar", "digits", "sparse"]
    parse.add_argument("networks", nargs="*", default=every, help="lenet, cifar, digits, sparse, vgg16")
    parse.add_argument("--epochs", type=int, default=8, help="epochs of lenet and sparse; cifar has a quarter")
    return parse.parse_args()


def measure(name, mode, update, threads, epochs):
    """One training from the same start."""
    net, x, y, batch_size = networks.TASKS[name]()
    epochs = max(1, int(epochs * EPOCHS[name]))
    history = train.fit(net, x, y, epochs=epochs, batch_size=batch_size, lr=0.01, momentum=0.9, accumulation=mode,
                        update=update, parallel="images", num_threads=threads, progress=False)  # fmt: skip
    return {
        "images/s": len(x) / min(history.times),
        "gradient MB": history.settings["gradient_bytes"] / 1e6,
        "losses": history.losses,
        "times": history.times,
    }


def lost_share(name, mode, threads):
    """1 - what arrived / what was sent, of vectors of ones as long as the network's parameters."""
    size = sum(value.size for value in networks.TASKS[name]()[0].state().values())
    ones = np.broadcast_to(np.ones(size, np.float32), (max(8, 20_000_000 // size), size))
    shared = np.zeros(size, np.float32)
    hogwild.accumulate(shared, ones, mode=mode, num_threads=threads)
    return float(1 - shared.sum(dtype=float) / ones.size)


def digits(mode, update, threads, epochs):
    """Five trainings of a network of two convolutions; `right` is the share of right answers in the worst of them."""
    _, x, y, batch_size = networks.lenet()
    held = np.concatenate([np.flatnonzero(y == digit)[::5] for digit in range(10)])
    kept = np.setdiff1d(np.arange(len(y)), held)
    right, histories = [], []
    for seed in range(5):
        net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10), seed=seed)  # fmt: skip
        history = train.fit(net, x[kept], y[kept], epochs=epochs, batch_size=batch_size, lr=0.05, momentum=0.9,
                            accumulation=mode, update=update, parallel="images", num_threads=threads, seed=seed,
                            progress=False)  # fmt: skip
        right.append(float((net(x[held]).argmax(1) == y[held]).mean()))
        histories.append(history)
    worst = histories[int(np.argmin(right))]
    return {
        "images/s": len(kept) / min(worst.times),
        "gradient MB": worst.settings["gradient_bytes"] / 1e6,
        "losses": worst.losses,
        "times": worst.times,
        "right": min(right),
    }


def sparse(mode, threads, epochs):
    """Least squares by stochastic gradient descent on a sparse linear model; every batch's updates are accumulated,
    and only that is timed."""
    n, examples, each, batch = SPARSE.values()
    rng = np.random.default_rng(0)
    truth, at = rng.standard_normal(n).astype(np.float32), rng.integers(0, n, (examples, each))
    values = rng.standard_normal((examples, each)).astype(np.float32)
    targets = (truth[at] * values).sum(1)
    weights, losses, times = np.zeros(n, np.float32), [], []
    for _ in range(epochs):
        loss = seconds = 0.0
        for first in range(0, examples, batch):
            part = slice(first, first + batch)
            errors = (weights[at[part]] * values[part]).sum(1) - targets[part]
            loss += float((errors**2).sum())
            updates, where = errors[:, None] * values[part], at[part]
            start = time.perf_counter()
            hogwild.accumulate(weights, updates, indices=where, scale=-0.02, mode=mode, num_threads=threads)
            seconds += time.perf_counter() - start
        losses.append(loss / examples)
        times.append(seconds)
    return {"images/s": examples / min(times), "gradient MB": 0.0, "losses": losses, "times": times}


def main():
    args = arguments()
    result = report.Report("hogwild", args, compares=False)
    cases = [
        (name, mode, update, threads)
        for name in args.networks
        for mode, update in WAYS
        for threads in args.threads
        if name != "sparse" or update == "sync"
    ]
    budget = Budget(args.max_seconds, len(cases))
    for name, mode, update, threads in report.Progressed(cases, "trainings"):
        if not budget.share():
            continue
        if name == "sparse":
            figures, lost = sparse(mode, threads, args.epochs), float("nan")
        elif name == "digits":
            figures, lost = digits(mode, update, threads, 2 * args.epochs), float("nan")
        else:
            figures = measure(name, mode, update, threads, args.epochs)
            lost = lost_share(name, mode, threads) if name != "vgg16" else float("nan")
        result.add(network=name, accumulation=mode, update=update, threads=threads, lost=lost, **figures)
    print_table(result)
    draw(result)
    result.save()
    result.close(budget)


def print_table(result):
    titles = ("network", "accumulation", "update", "threads", "images/s", "x", "gradient MB", "lost", "loss",
              "right")  # fmt: skip
    table = report.table(titles)
    alone = {}
    for row in result.rows:
        way = row["network"], row["accumulation"], row["update"]
        alone.setdefault(way, row["images/s"])
        table.add_row(*way, str(row["threads"]), f"{row['images/s']:,.0f}", f"{row['images/s'] / alone[way]:.2f}",
                      f"{row['gradient MB']:.2f}", f"{row['lost']:.2%}",
                      f"{row['losses'][-1]:.4f}", f"{row['right']:.2%}" if "right" in row else "")  # fmt: skip
    console.print(table)
    console.print("x: against the same with one thread; an image of sparse is an example\n", style="dim")


def draw(result):
    """A page: speeds, and the loss by epoch and by time, for each network."""
    names = list(dict.fromkeys(row["network"] for row in result.rows))
    figure, axes = charts.panels(f"Accumulating across threads on {result.machine}, {result.date}", 3 * len(names),
                                 width=6, columns=3)  # fmt: skip
    for i, name in enumerate(names):
        rows = [row for row in result.rows if row["network"] == name]
        labels = [f"{row['accumulation']} {row['update']}" for row in rows]
        colour = charts.colours(list(dict.fromkeys(labels)))
        speed, by_epoch, by_time = axes[3 * i : 3 * i + 3]
        for row, label in zip(rows, labels, strict=True):
            speed.plot([row["threads"]], [row["images/s"]], "o", color=colour[label])
            if row["threads"] == max(row["threads"] for row in rows):
                by_epoch.plot(row["losses"], color=colour[label], label=label)
                by_time.plot(np.cumsum(row["times"])[: len(row["losses"])], row["losses"][: len(row["times"])],
                             color=colour[label])  # fmt: skip
        speed.set(title=f"{name}: images a second", xlabel="threads", ylim=(0, None))
        by_epoch.set(title="loss, most threads", xlabel="epoch", yscale="log")
        by_time.set(title="loss by time", xlabel="seconds", yscale="log")
        by_epoch.legend()
    charts.save(figure, result.path(".png", "speed and loss of every way"))


if __name__ == "__main__":
    with report.checked():
        main()
