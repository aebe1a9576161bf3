"""Several processes that share every batch: the training is that of one process."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import FIELDS, make_trainer, rows

from scoreda.diffusion.training import Ranks, process_group
from scoreda.diffusion.training.samples import Batch

HERE = Path(__file__).parent
SETTINGS = dict(steps=24, validate_every=4, accumulate=2, ema_extra=[0.5], learned_weighting=True, checkpoint_minutes=0)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def together(processes, code, *arguments):
    """Run Python code in processes that find each other as those of `torchrun` do; return their exit codes."""
    shared = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), WORLD_SIZE=str(processes))
    shared |= dict(OMP_NUM_THREADS="1", GLOO_SOCKET_IFNAME="lo")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=os.environ | shared | dict(RANK=str(rank), LOCAL_RANK=str(rank)),
            cwd=HERE,
        )
        for rank in range(processes)
    ]
    return [process.wait(timeout=120) for process in started]


TRAIN = """
import sys, tiny_training as t
from scoreda.diffusion.training import process_group
with process_group():
    trainer = t.make_trainer(sys.argv[1], **eval(sys.argv[2]))
    if sys.argv[3] == "resume":
        trainer.resume()
    trainer.run()
"""


def assert_same_curve(a, b):
    for one, other in zip(rows(a), rows(b), strict=True):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-7)


def test_that_two_processes_have_the_loss_curve_of_one(tmp_path):
    make_trainer(tmp_path / "one", **SETTINGS).run()
    assert together(2, TRAIN, tmp_path / "two", SETTINGS, "start") == [0, 0]
    assert len(rows(tmp_path / "two")) == 6
    assert_same_curve(tmp_path / "one", tmp_path / "two")
    one, two = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("one", "two"))
    for name, w in one["average"].items():
        torch.testing.assert_close(two["average"][name], w, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_that_two_processes_continue_what_one_began(tmp_path):
    make_trainer(tmp_path / "one", **SETTINGS).run()
    trainer = make_trainer(tmp_path / "two", **SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupt_at(12))
    assert together(2, TRAIN, tmp_path / "two", SETTINGS, "resume") == [0, 0]
    assert_same_curve(tmp_path / "one", tmp_path / "two")


def interrupt_at(step):
    def callback(trainer, row):
        if row["step"] == step:
            trainer.save()
            raise KeyboardInterrupt

    return callback


# Shares of a batch.


REFUSED = """
import sys
from scoreda.diffusion.training import Ranks, process_group
from scoreda.errors import ScoredaError

def refuse():
    raise ScoredaError("the folder is another run's")

with process_group():
    done = []
    Ranks.current().lead(lambda: done.append(Ranks.current().rank))
    assert done == ([0] if Ranks.current().first else [])
    try:
        Ranks.current().lead(refuse)
    except ScoredaError as error:
        sys.exit(7 if str(error) == "the folder is another run's" else 1)
"""


def test_that_what_the_first_process_refuses_all_refuse_in_the_same_words():
    assert together(2, REFUSED) == [7, 7]


def test_that_a_process_of_its_own_leads():
    done = []
    Ranks().lead(lambda: done.append(True))
    assert done == [True]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_that_shares_are_equal_and_make_up_the_batch(size):
    parts = [torch.arange(8)[Ranks(rank, size).share(8)] for rank in range(size)]
    assert torch.equal(torch.cat(parts), torch.arange(8))
    assert {len(part) for part in parts} == {8 // size}


def test_that_a_batch_that_cannot_be_shared_is_refused_with_one_that_can():
    with pytest.raises(ValueError, match="`batch` = 10 cannot be shared by 4 processes. Pass batch=12"):
        Ranks(0, 4).share(10)


def test_that_parts_of_a_batch_keep_what_belongs_together():
    batch = Batch(FIELDS[:7], torch.arange(7.0), FIELDS[7:14], known=FIELDS[:7] > 0)
    parts = list(batch.parts(3))
    assert torch.equal(torch.cat([part.ratio for part in parts]), batch.ratio)
    assert torch.equal(torch.cat([part.known for part in parts]), batch.known)
    assert [part.condition for part in parts] == [None] * 3


def test_that_without_torchrun_a_process_is_alone():
    with process_group("cpu") as device:
        assert (device, Ranks.current()) == (torch.device("cpu"), Ranks(0, 1))
