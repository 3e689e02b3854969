"""What the processes of tests/test_parallel.py do: a module of its own, for they import it."""

import functools
import os
import socket

import torch
from kept_runs import TINY

from mankit.networks import small_resnet
from mankit.rules import local_net
from mankit.scaling.locked import Locked
from mankit.scaling.parallel import Data
from mankit.scaling.pipeline import Blocks
from mankit.scaling.torchrun import joined
from mankit.studies.together import train_together
from mankit.training import local_step, make_optimizer, train

STEPS = 3
KEPT = TINY.but(augment=False, epochs=2)
RULES = {
    "dgl": ("dgl", {"head": "1c2f"}),
    "infopro": ("infopro", {"head": "0c1f"}),
    "no decoder": ("infopro", {"head": "0c1f", "lam_x": 0.0}),  # it has weights without gradients
    "man": ("man", {"head": "0c1f", "decay": 0.5}),
    "man over infopro": ("man", {"head": "0c1f", "base": "infopro", "decay": 0.5}),
    "bias": ("man", {"head": "0c1f", "branches": "bias"}),
}
# rule, the EMA's order, an optimizer a block
CASES = [("dgl", "before", False), ("dgl", "before", True), ("infopro", "before", False), ("infopro", "before", True)]
CASES += [("man", order, per) for order in ("before", "after") for per in (False, True)]
CASES += [(name, "before", False) for name in ("no decoder", "man over infopro", "bias")]
SOME = [case for case in CASES if case[0] in ("dgl", "infopro", "man") and not case[2]]


def net_of(name, K=5, dtype=torch.float32):
    rule, options = RULES[name]
    torch.manual_seed(0)
    layers, classifier = small_resnet((2, 2, 1), (4, 6, 8), classes=4)
    return local_net(layers, classifier, rule, K, image_shape=(3, 8, 8), classes=4, **options).to(dtype)


def batches(dtype, n=8):
    g = torch.Generator().manual_seed(1)
    return [
        (torch.rand(n, 3, 8, 8, generator=g, dtype=dtype), torch.randint(4, (n,), generator=g)) for _ in range(STEPS)
    ]


def trained(net, batch_step, per_block=False, dtype=torch.float32, team=None):
    """Everything that a checkpoint holds after some steps, by name; gathered, where there is a team."""
    made = make_optimizer(net, per_block=per_block)
    optimizers = made if per_block else [made]
    steps = train(net, made, batches(dtype), lambda step: 0.05 / (step + 1), batch_step)
    losses = torch.stack([step.losses for step in steps]).sum(0)
    if team:
        team.gather(net, optimizers, losses)
    names = {p: name for name, p in net.named_parameters()}
    moments = {f"momentum of {names[p]}": s["momentum_buffer"] for o in optimizers for p, s in o.state.items()}
    return {"losses": losses, **net.state_dict(), **moments}


def everything(folder):
    """All of these in one process group after another, for a process is slow to start."""
    refusals(folder)
    train_together(folder / "kept", KEPT, "blocks")
    another_port()
    with joined("blocks"):
        for case in CASES:
            keep(folder, Blocks(), "blocks", case)
            keep(folder, Data(), "data", case, torch.float64)
        keep(folder, Locked(), "locked", SOME[-2])
        keep(folder, Blocks(step=own_step), "own", SOME[-2])


def by_four(folder):
    """Some cases, for four processes."""
    with joined("blocks"):
        for case in SOME:
            keep(folder, Blocks(), "blocks", case)


def keep(folder, team, kind, case, dtype=torch.float32):
    """Train a case on a team; the first process keeps what came out."""
    name, order, per = case
    step = functools.partial(team.batch_step, ema_update=order)
    left = trained(net_of(name, dtype=dtype), step, per, dtype, team)
    if team.rank == 0:
        torch.save(left, folder / f"{kind}-{'-'.join(map(str, case))}.pt")


def own_step(stage, optimizers, x, y):
    """A stage's step as a reader may write it."""
    h, losses = stage.normalize(x), []
    for block, head in zip(stage.blocks, stage.heads, strict=True):
        h, loss = local_step(block, head, h, x, y)
        losses.append(loss)
    stage.send(h)
    for head, next_block in zip(stage.heads, stage.blocks[1:], strict=False):
        head.after_step(next_block)
    optimizers[0].step()
    optimizers[0].zero_grad()
    return torch.stack(losses)


def refusals(folder):
    """What each process hears when they aren't alike, and when a batch or a network can't be shared out."""
    rank, heard = int(os.environ["RANK"]), []

    def hear(call):
        try:
            call()
            heard.append("nothing")
        except ValueError as error:
            heard.append(str(error))

    def differ():
        with joined("data", same={"lr": 0.1 * (1 + rank)}):
            pass

    hear(differ)
    another_port()
    with joined("data") as team:
        hear(lambda: team.check(net_of("dgl"), 7))
        barlow = net_of("dgl")
        barlow.heads[0].views = 2
        hear(lambda: team.check(barlow, 8))
        hear(lambda: Blocks().check(net_of("dgl", K=1), 8))
    torch.save(heard, folder / f"heard-{rank}.pt")
    another_port()


def on_ranks(function, n, folder):
    """Call function(folder) in n processes, with torchrun's variables."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(4)]  # one for each time that they meet
    ports = " ".join(str(s.getsockname()[1]) for s in sockets)
    for s in sockets:
        s.close()
    torch.multiprocessing.spawn(_as_rank, (n, ports, function, folder), nprocs=n)


def another_port():
    """Where the processes meet next."""
    os.environ["MASTER_PORT"], _, os.environ["PORTS"] = os.environ["PORTS"].partition(" ")


def _as_rank(rank, n, ports, function, folder):
    variables = {"RANK": rank, "WORLD_SIZE": n, "LOCAL_RANK": rank, "MASTER_ADDR": "localhost", "PORTS": ports}
    os.environ |= {name: str(value) for name, value in variables.items()} | {"TORCHELASTIC_RUN_ID": "a test"}
    another_port()
    torch.set_num_threads(1)
    function(folder)
