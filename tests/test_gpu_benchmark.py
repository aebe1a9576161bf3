"""The benchmark for GPUs, where there is none: what can be known of it before its first contact with one."""

import csv
import gc
import subprocess
import sys
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gpu
import numpy as np
import pytest
import torch
from gpu_rows import analyses, meters, works
from gpu_rows.meters import Counted, Figure, Sizes, Task
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import TensorWeakRef

from scoreda.diffusion import Compiled

SCRIPT = Path(gpu.__file__)
CPU = torch.device("cpu")
TINY = Sizes(16, 64, (2,), 1, 2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_that_the_benchmark_for_gpus_runs_without_one_and_says_what_it_did_not_measure():
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len([line for line in lines if line.startswith("ceiling")]) == 3
    assert all(line.endswith("not measured") for line in lines)
    measured = [line for line in lines if line.count("not measured") == 1 and "members/s" in line]
    assert len(measured) == 2  # a small ensemble, in float32 and in bfloat16
    assert len([line for line in lines if "sd off float32, largest" in line]) == 1
    assert [line.count("not measured") for line in lines if "one graph" in line] == [2] * 6
    assert len([line for line in lines if line.startswith("Score-4D") and line.count("not measured") == 1]) == 2
    assert "failed" not in "".join(lines)


# A CUDA graph on the processor


class Graph(TorchDispatchMode):
    """What CUDA does with a captured function: runs its operations again where their tensors lie.

    Tensors made in the capture are the graph's own; the others are read where they are, and must still be there.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.where, self.own, self.kept = [], {}, set(), []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.own |= set(map(id, tensors_of(out))) - self.where.keys() - set(map(id, tensors_of((args, kwargs))))
        for tensor in tensors_of((args, kwargs, out)):
            self.kept.append(tensor)  # as long as the capture lasts, no other tensor may have its id
            self.where[id(tensor)] = TensorWeakRef(tensor)
        named = partial(tree_map_only, torch.Tensor, lambda tensor: Name(id(tensor)))
        self.calls.append((func, named(args), named(kwargs or {}), named(out)))
        return out

    @contextmanager
    def capture(self):
        with self:
            yield
        self.kept.clear()

    def replay(self):
        gc.collect()
        now = {name: tensor() for name, tensor in self.where.items() if name not in self.own}
        assert all(tensor is not None for tensor in now.values()), "a replay reads memory that was freed"
        for func, args, kwargs, out in self.calls:
            known = partial(tree_map_only, Name, now.__getitem__)
            names = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Name)]
            now |= zip(names, tensors_of(func(*known(args), **known(kwargs))), strict=True)
        for name in self.own:
            if (tensor := self.where[name]()) is not None:
                tensor.copy_(now[name])


class Name(int):
    """Stands for a tensor in a recorded call."""


def tensors_of(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.fixture
def graphs(monkeypatch):
    monkeypatch.setattr(analyses, "STEPS", 4)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    streams = dict(Stream=lambda: stream, current_stream=lambda: stream, stream=nullcontext)
    for name, stub in dict(CUDAGraph=Graph, graph=Graph.capture, **streams).items():
        monkeypatch.setattr(torch.cuda, name, stub)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_that_a_replayed_graph_is_the_eager_analysis_of_its_noise_and_observation(graphs, kind):
    graph, eager = analyses.OneGraph(CPU, 3, kind), analyses.eager(CPU, 3, kind)
    y = analyses.observations()
    first, second = (eager(seen, generator(k)) for k, seen in enumerate((y, -y)))
    assert np.abs(first - second).max() > 1
    np.testing.assert_allclose(graph(y, generator(0)), first, atol=1e-6)
    np.testing.assert_allclose(graph(-y, generator(1)), second, atol=1e-6)


def test_that_a_graph_whose_memory_was_freed_is_found_out(graphs):
    graph = analyses.OneGraph(CPU, 3, "float32")
    del graph.visited
    with pytest.raises(AssertionError, match="freed"):
        graph(analyses.observations(), generator())


class OnDevice(TorchDispatchMode):
    """Refuses tensors of another device, and values that the host reads."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        assert func is not torch.ops.aten._local_scalar_dense.default
        assert {tensor.device.type for tensor in tensors_of((args, kwargs, out))} <= {"meta"}, func
        return out


def test_that_the_sampling_loop_neither_reads_values_nor_leaves_its_device():
    meta = torch.device("meta")
    guided = analyses.guidance(analyses.prior(CPU, "float32"), torch.zeros(20))
    guided.denoiser.to(meta)
    for name in ("y", "R", "present"):
        setattr(guided.observed, name, getattr(guided.observed, name).to(meta))
    x, visited = torch.randn(5, 1, 40, device=meta), analyses.times(meta)
    with torch.no_grad(), OnDevice():
        assert analyses.sampled(guided, x, visited).shape == x.shape
    with pytest.raises(AssertionError), OnDevice():
        x + torch.ones(1)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_that_a_compiled_analysis_is_the_eager_one(monkeypatch, kind):
    monkeypatch.setattr(analyses, "Compiled", partial(Compiled, backend="eager"))
    y = analyses.observations()
    found, expected = (make(CPU, 2, kind)(y, generator()) for make in (analyses.compiled, analyses.eager))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_that_analyses_stay_near_the_climate_state_that_is_observed():
    y = analyses.observations()
    members = analyses.eager(CPU, 16, "float32")(y, generator())[:, 0]
    assert np.abs(members).max() < 5
    assert np.sqrt(((members[:, ::2].mean(0) - y) ** 2).mean()) < 2 * analyses.OBS_VARIANCE**0.5


# What is counted


def test_that_operations_are_counted_as_torch_counts_them_and_those_of_derivatives_too():
    denoiser, x, t = analyses.prior(CPU, "float32"), torch.randn(3, 1, 40), torch.tensor(0.5)
    with torch.no_grad(), FlopCounterMode(display=False) as theirs, Counted() as ours:
        denoiser(x, t)
    assert ours.flops == theirs.get_total_flops() > 0
    guided = analyses.guidance(denoiser, torch.zeros(20))
    with torch.no_grad(), Counted() as both:
        guided(x, t)
    # The derivative of a convolution by its input costs what the convolution does; the noise level has no derivative.
    assert 1.9 * ours.flops < both.flops <= 2 * ours.flops


def test_that_bytes_are_those_read_and_written_and_views_move_none():
    x = torch.zeros(100)
    with Counted() as counted:
        x[::2] + x[1::2]
    assert counted.bytes == 3 * 50 * 4


@pytest.mark.parametrize("kind, flags", [("float32", ("highest", False)), ("tf32", ("high", True))])
def test_that_products_and_convolutions_are_in_one_precision_and_the_settings_come_back(monkeypatch, kind, flags):
    settings = lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    before = settings()
    with pytest.raises(KeyError), meters.precision(kind):
        assert settings() == flags
        raise KeyError
    assert settings() == before == ("highest", True)


# What is written


def only(monkeypatch, *works):
    """Leave only some works, in tiny sizes, on a machine that has both devices."""
    for name in ("ceilings", "forward_passes", "lorenz96", "cycles_of_score4d", "analyses"):
        if getattr(gpu, name) not in works:
            monkeypatch.setattr(gpu, name, lambda device, sizes: [])
    monkeypatch.setattr(gpu, "FULL", dict(cpu=TINY, cuda=TINY))


def written(folder):
    with open(folder / "gpu.csv", newline="") as file:
        return {(row["work"], row["unit"]): row for row in csv.DictReader(file)}


ONE, OTHER = (analyses.title(N, "float32") for N in (16, 64))


def measures(*works, cut=False):
    """Stands for the works of a GPU and of a processor: a thousand members a second there, ten here."""

    def figures(device, sizes):
        for work in works:
            yield Figure(work, "members/s", {"cuda": 1000.0, "cpu": 10.0}[device.type])
        if cut and device.type == "cuda":
            raise KeyboardInterrupt

    return figures


@pytest.fixture
def gpu_csv(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "gpu.csv")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return tmp_path


def test_that_the_columns_of_one_device_are_measured_beside_those_of_the_other(monkeypatch, gpu_csv):
    monkeypatch.setattr(gpu, "measured", measures(ONE, OTHER))
    gpu.main(["--device", "cpu"])
    before = written(gpu_csv)
    assert {before[work, "members/s"]["cuda"] for work in (ONE, OTHER)} == {"not measured"}
    assert before[gpu.LAST, ""]["cuda"] == "not measured"
    monkeypatch.setattr(gpu, "measured", measures(OTHER, ONE))
    gpu.main(["--device", "cuda"])
    after = written(gpu_csv)
    assert after.keys() == before.keys() and list(after)[-1] == (gpu.LAST, "")
    assert [(after[work, "members/s"]["cpu"], after[work, "members/s"]["cuda"]) for work in (ONE, OTHER)] == [
        ("10", "1000")
    ] * 2
    assert after[gpu.LAST, ""]["cuda"] == "16 members"


def test_that_a_call_that_is_cut_short_leaves_what_it_has_and_what_was_there(monkeypatch, gpu_csv):
    monkeypatch.setattr(gpu, "measured", measures(ONE, OTHER))
    gpu.main([])
    monkeypatch.setattr(gpu, "measured", measures("new", cut=True))
    before = written(gpu_csv)
    with pytest.raises(KeyboardInterrupt):
        gpu.main([])
    assert written(gpu_csv) == before | {
        ("new", "members/s"): before[ONE, "members/s"] | dict(work="new", cpu="not measured")
    }


def test_that_a_share_stays_with_its_cell():
    known = [dict(work="w", unit="u", cpu="5", cpu_share="50 %", cuda="7", cuda_share="70 %")]
    rows = [dict(work="w", unit="u", cpu="not measured", cpu_share="", cuda="8", cuda_share="")]
    assert gpu.beside(rows, known) == [dict(work="w", unit="u", cpu="5", cpu_share="50 %", cuda="8", cuda_share="")]


def test_that_a_gpu_that_is_not_there_is_refused_and_nothing_is_written(monkeypatch, gpu_csv, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--device", "cuda"])
    assert "sees no GPU" in capsys.readouterr().err and not list(gpu_csv.iterdir())


# What fails


def fails(device, N, kind):
    raise torch.cuda.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB.")


def test_that_a_way_that_fails_costs_its_own_rows_only_and_the_table_is_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(analyses.WAYS, "float32", analyses.Way(fails, "float32"))
    only(monkeypatch, gpu.analyses)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "gpu.csv")
    gpu.main([])
    cells = {key: row["cpu"] for key, row in written(tmp_path).items()}
    assert cells["analysis, 2 members, float32", "members/s"] == "failed: CUDA out of memory."
    assert float(cells["analysis, 2 members, bfloat16", "members/s"]) > 0
    assert "cpu | analysis, 2 members, float32 | members/s | failed: CUDA out of memory." in capsys.readouterr().err


def test_that_a_failure_says_what_led_to_it():
    def measure():
        try:
            fails(CPU, 2, "float32")
        finally:
            raise RuntimeError("the capture failed")
            yield

    (figure,) = meters.attempted(Task("work", "unit", measure))
    assert figure == Figure("work", "unit", "failed: the capture failed <- CUDA out of memory.")


def test_that_what_a_failed_work_held_is_free_again():
    held = []

    def measure():
        big = torch.zeros(1000)
        held.append(StorageWeakRef(big.untyped_storage()))
        fails(CPU, 2, "float32")
        yield

    assert len(list(meters.attempted(Task("work", "unit", measure)))) == 1
    assert held[0].expired()


# What is made of the figures


def found(**members_per_second):
    """Figures by device, way and N, as in cpu_float32_16=3."""
    by_device = {"cpu": {}, "cuda": {}}
    for name, value in members_per_second.items():
        device, way, N = name.split("_")
        key = analyses.title(int(N), way), "members/s"
        by_device[device][key] = Figure(*key, value)
    return by_device


@pytest.mark.parametrize(
    "figures, answer",
    [
        (dict(cpu_float32_16=3.0), "not measured"),
        (dict(cpu_float32_16=3.0, cuda_float32_64=9.0), "not measured"),
        (dict(cpu_float32_16=3.0, cpu_float32_64=3.0, cuda_float32_16=1.0, cuda_float32_64=2.0), "above 64 members"),
        (dict(cpu_float32_16=3.0, cpu_float32_64=3.0, cuda_float32_16=1.0, cuda_tf32_64=4.0), "64 members"),
        (dict(cpu_float32_16=3.0, cpu_bfloat16_16=5.0, cuda_float32_16=4.0), "above 16 members"),
        (dict(cpu_float32_16=3.0, cuda_float32_16="failed: no memory", cuda_tf32_16=4.0), "16 members"),
        (dict(cpu_float32_16=3.0, cpu_float32_64=3.0, cuda_float32_16=4.0, cuda_float32_64=2.0), "above 64 members"),
    ],
)
def test_that_the_gpu_is_compared_with_the_best_way_of_the_processor(figures, answer):
    assert gpu.crossover(found(**figures), {16, 64, 1024}) == answer


def test_that_a_rate_is_given_as_a_share_of_its_measured_ceiling():
    ceiling = Figure(meters.product("float32"), "TFLOP/s", 50.0)
    rate = Figure("network, 4 members, float32", "TFLOP/s", 5.0, meters.product("float32"))
    of_cuda = {figure[:2]: figure for figure in (ceiling, rate)}
    lines = {line["work"]: line for line in gpu.table({"cuda": of_cuda})}
    assert lines[rate.work]["cuda_share"] == "10 %" and lines[rate.work]["cpu"] == "not measured"
    assert lines[ceiling.work]["cuda_share"] == ""
    failed = {**of_cuda, ceiling[:2]: ceiling._replace(value="failed: no memory")}
    assert {line["work"]: line for line in gpu.table({"cuda": failed})}[rate.work]["cuda_share"] == ""


def test_that_a_gpu_computes_in_tf32_too_and_every_precision_has_its_ceiling():
    assert meters.kinds(torch.device("cuda")) == ("float32", "tf32", "bfloat16")
    for device in map(torch.device, gpu.DEVICES):
        ceilings = {task.work for task in works.ceilings(device, TINY)}
        assert {meters.product(analyses.WAYS[name].kind) for name in analyses.OF_DEVICE[device.type]} <= ceilings


@pytest.mark.parametrize("device", gpu.DEVICES)
def test_that_what_takes_long_to_compile_is_tried_with_few_members_and_before_the_graphs(device):
    sizes = TINY._replace(members=(2, 4, 8), compiled=(4,))
    tasks = [task.work for task in analyses.analyses(torch.device(device), sizes)]
    fused = [work for work in tasks if work.endswith("compiled")]
    assert fused == [analyses.title(4, way) for way in analyses.OF_DEVICE[device] if "compiled" in way] != []
    assert len(tasks) == 3 * (len(analyses.OF_DEVICE[device]) - len(fused)) + len(fused)
    if device == "cuda":
        assert tasks[-4:] == [fused[-1], *(analyses.title(N, "bfloat16, one graph") for N in (2, 4, 8))]
