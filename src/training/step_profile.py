"""Where the time of a training step goes: a trace that https://ui.perfetto.dev opens, and the largest shares."""

from collections.abc import Callable
from pathlib import Path

from torch import nn
from torch.profiler import profile, record_function, schedule

from src.files import whole_file

SKIPPED, TRACED = 4, 5  # steps, the first ones being slower
LEAST_STEPS = SKIPPED + TRACED
LARGEST = 10  # operators that are printed


def profiled(after_step: Callable[[], None], network: nn.Module, path: Path) -> Callable[[], None]:
    """Trace `TRACED` steps after the first ones into a file; return what to call after each step.

    Parts of the network are named in the trace. What is returned raises UserError when the file cannot be written.
    """
    clock = f"self_{'device' if next(network.parameters()).is_cuda else 'cpu'}_time_total"
    for name, part in network.named_children():
        _name_in_trace(name, part)

    def write(trace: profile) -> None:
        with whole_file(path) as unfinished:
            trace.export_chrome_trace(str(unfinished))
        ours = {"ProfilerStep*", *(name for name, _ in network.named_children())}  # what lies between the operators
        times = {event.key: getattr(event, clock) for event in trace.key_averages() if event.key not in ours}
        total = sum(times.values())
        print(f"\n{TRACED} steps traced into {path}, for ui.perfetto.dev; the largest shares:")
        for key in sorted(times, key=times.__getitem__, reverse=True)[:LARGEST]:
            print(f"{times[key] / total:7.1%}  {key}", flush=True)

    plan = schedule(skip_first=SKIPPED - 1, wait=0, warmup=1, active=TRACED, repeat=1)
    trace = profile(schedule=plan, on_trace_ready=write)
    trace.start()

    def step() -> None:
        after_step()
        trace.step()

    return step


def _name_in_trace(name: str, part: nn.Module) -> None:
    spans: list[record_function] = []

    def enter(*_: object) -> None:
        spans.append(record_function(name))
        spans[-1].__enter__()

    def leave(*_: object) -> None:
        spans.pop().__exit__(None, None, None)

    part.register_forward_pre_hook(enter)
    part.register_forward_hook(leave)
