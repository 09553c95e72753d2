"""Our meta-training, all tasks of an episode as one batch, against the usual loop over tasks.

    python -m benchmarks meta_training_speed [--episodes 20] [--steps 1 5]

Both do the same work: second-order MAML of the same network from the same weights on the same points, with the same
Adam, clipping and decay. That their losses agree is checked, not assumed. The loop is learn2learn's where that can
be imported (`MAML(module).clone().adapt(loss)`, Arnold et al. 2020); else the same written with
`torch.autograd.grad(create_graph=True)`, and the output says so.

learn2learn 0.2.0 as released does not compile for Python 3.11: its C was made by an old Cython. In an environment of
its own: unpack the source, delete learn2learn/data/*.c, `pip install 'cython<3'`, `setup.py build_ext --inplace`.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.recording.spread import middle
from searchers.morphling.maml import Tasks, meta_train
from searchers.morphling.mlp import HIDDEN, initial_weights, predict

Learner = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`[k, d]` points and `[k]` values to adapt to, `[p, d]` points asked → `[p]` predictions of the adapted model."""


@dataclass(frozen=True)
class Work:
    """What both do; the numbers of tasks and points are `meta_train`'s own defaults, and its shots Morphling's use.

    Args:
        steps: of the inner loop.
        episodes: outer steps.
        shots: points that the inner loop adapts to.
        asked: further points that the outer loss is taken on.
        tasks: in an episode.
        columns: features of a configuration.
        rows: configurations of a task.
        step_size: of the inner loop.
        meta_step_size: of Adam.
    """

    steps: int
    episodes: int
    shots: int = 10
    asked: int = 64
    tasks: int = 32
    columns: int = 10
    rows: int = 256
    step_size: float = 0.05
    meta_step_size: float = 1e-3

    @property
    def task_steps(self) -> int:
        """Inner steps of all tasks."""
        return self.steps * self.episodes * self.tasks

    def made_up(self) -> Tasks:
        """Tasks of random smooth values: what they are does not change how long they take."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.rows, self.columns, generator=generator)
        slopes = torch.randn(2 * self.tasks, self.columns, generator=generator)
        names = tuple(f"x{i}" for i in range(self.columns))
        return Tasks(x, torch.sigmoid(slopes @ x.T), names)

    def start(self) -> dict[str, Tensor]:
        """The weights that both start from."""
        return initial_weights(self.columns, torch.Generator().manual_seed(1))


def batched(work: Work) -> list[float]:
    """Ours: the loss of each episode."""
    losses: list[float] = []
    meta_train(
        work.made_up(),
        work.start(),
        step_size=work.step_size,
        meta_step_size=work.meta_step_size,
        shots=work.shots,
        episodes=work.episodes,
        generator=torch.Generator().manual_seed(2),
        schedules=[torch.ones(work.steps, work.shots)],
        tasks_per_episode=work.tasks,
        points_asked=work.asked,
        progress=lambda _, loss: losses.append(loss),
    )
    return losses


def looped(work: Work, learner: Callable[[Work], tuple[Learner, list[Tensor]]]) -> list[float]:
    """One task after another: the loss of each episode."""
    tasks, generator = work.made_up(), torch.Generator().manual_seed(2)
    adapted, parameters = learner(work)
    optimizer = torch.optim.Adam(parameters, lr=work.meta_step_size)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, work.episodes)
    losses = []
    for _ in range(work.episodes):
        torch.randint(1, (1,), generator=generator)  # meta_train draws its schedule: so both draw the same points
        points, values = tasks.draw(work.tasks, work.shots + work.asked, generator)
        optimizer.zero_grad()
        loss = torch.zeros(())
        for x, y in zip(points, values, strict=True):
            loss = loss + ((adapted(x[: work.shots], y[: work.shots], x) - y) ** 2).mean()
        loss = loss / work.tasks
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        decay.step()
        losses.append(loss.item())
    return losses


def by_autograd(work: Work) -> tuple[Learner, list[Tensor]]:
    """The loop's inner part in plain torch, and the weights that the outer step moves."""
    theta = {name: value.requires_grad_() for name, value in work.start().items()}

    def adapted(x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
        weights = theta
        for _ in range(work.steps):
            loss = ((predict(weights, x) - y) ** 2).mean()
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            pairs = zip(weights.items(), gradients, strict=True)
            weights = {name: value - work.step_size * gradient for (name, value), gradient in pairs}
        return predict(weights, asked)

    return adapted, list(theta.values())


def by_learn2learn(work: Work) -> tuple[Learner, list[Tensor]]:
    """The same by learn2learn."""
    from learn2learn.algorithms import MAML

    start = work.start()
    layers = [nn.Linear(*start[f"w{i}"].shape) for i in range(3)]
    with torch.no_grad():
        for i, layer in enumerate(layers):
            layer.weight.copy_(start[f"w{i}"].T)
            layer.bias.copy_(start[f"b{i}"])
    module = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.Flatten(0))
    maml = MAML(module, lr=work.step_size, first_order=False)

    def adapted(x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
        clone = maml.clone()
        for _ in range(work.steps):
            clone.adapt(((clone(x) - y) ** 2).mean())
        return clone(asked)

    return adapted, list(maml.parameters())


def rival() -> tuple[str, Callable[[Work], tuple[Learner, list[Tensor]]]]:
    """What ours is compared with, in words and as a function."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries that learn2learn brings along
            import learn2learn
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision that was built for another torch
        return "learn2learn not installed: the loop that it runs, by torch.autograd.grad", by_autograd
    return f"learn2learn {learn2learn.__version__}", by_learn2learn


def compare(work: Work, repeats: int) -> Iterator[tuple[float, float, float]]:
    """Seconds of ours, seconds of the loop, and how far their losses are apart; in turn, so that both share noise."""
    _, learner = rival()
    for _ in range(repeats):
        start = perf_counter()
        ours = batched(work)
        between = perf_counter()
        theirs = looped(work, learner)
        end = perf_counter()
        yield between - start, end - between, max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 5], help="of the inner loop")
    parser.add_argument("--episodes", type=int, default=20, help="outer steps that are timed")
    parser.add_argument("--repeats", type=int, default=5, help="comparisons, of which the median is shown")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    for steps in asked.steps:
        work = Work(steps, asked.episodes)
        list(compare(Work(steps, 2), 1))  # first calls compile and allocate
        found = list(compare(work, asked.repeats))
        ours, theirs = (work.task_steps / statistics.median(one) for one in list(zip(*found, strict=True))[:2])
        ratios = [loop_s / batch_s for batch_s, loop_s, _ in found]
        spread = middle(ratios, ".1f", between="–")
        rows.append([str(steps), f"{ours:,.0f}", f"{theirs:,.0f}", spread, f"{max(d for *_, d in found):.0e}"])
        print(" | ".join(rows[-1]), flush=True)
    header = (
        "inner steps",
        "ours, task-steps/s",
        "the loop, task-steps/s",
        "× (least–most)",
        "losses differ by at most",
    )
    work = Work(1, asked.episodes)
    about = (
        f"Against: {rival()[0]}. {work.tasks} tasks an episode, {work.shots} points to adapt to and {work.asked} more "
        f"to be judged by, {work.columns} columns, two hidden layers of {HIDDEN}; one thread, median of "
        f"{asked.repeats} runs in turn of {asked.episodes} episodes."
    )
    put(asked.out, "Speed of meta-training", Origin.here(__name__, arguments), f"{about}\n\n{markdown(header, rows)}")
