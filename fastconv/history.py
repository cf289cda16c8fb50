"""What train.fit returns."""

from dataclasses import dataclass, field


@dataclass
class History:
    """A training, epoch by epoch: the mean loss and the share of right answers while training (None where the targets
    are not labels), and the seconds that passed. `settings` says how it was trained, and how many bytes gradients and
    momentum took."""

    settings: dict
    losses: list = field(default_factory=list)
    accuracy: list = field(default_factory=list)
    times: list = field(default_factory=list)

    def plot(self, path=None):
        """Draws losses against epochs and against time; saves the figure to `path` if given, and returns it.

        Raises ImportError where matplotlib is not installed."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 3.5), layout="constrained")
        elapsed = [sum(self.times[: i + 1]) for i in range(len(self.times))]
        for axis, at, label in zip(figure.subplots(1, 2), (range(1, len(elapsed) + 1), elapsed),
                                   ("epochs", "seconds"), strict=True):  # fmt: skip
            axis.plot(at, self.losses, "o-", markersize=3)
            axis.set(xlabel=label, ylabel="mean loss", yscale="log")
            axis.grid(alpha=0.3)
        if path is not None:
            figure.savefig(path)
        return figure

    def __str__(self):
        lines = [f"{'epoch':>5}{'loss':>10}{'accuracy':>10}{'seconds':>9}"]
        for i, (loss, right, seconds) in enumerate(zip(self.losses, self.accuracy, self.times, strict=True)):
            lines.append(f"{i + 1:>5}{loss:>10.4f}{'' if right is None else f'{right:.2%}':>10}{seconds:>9.2f}")
        return "\n".join(lines)
