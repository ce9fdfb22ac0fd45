"""Benchmarks by name: one file each here, or one file in a third party's package.

Nothing is imported before it is asked for. Third parties register a `Benchmark` under the entry-point group
``vega3d.benchmarks``. A `Task` of version 0.1 under ``vega3d.tasks`` is still scored.
"""

from __future__ import annotations

from vega3d import registry
from vega3d._utils.moved import warn
from vega3d.errors import ConfigError, unknown_choice
from vega3d.evaluation.benchmark import Benchmark, Protocol


def benchmark_names() -> list[str]:
    """All names of benchmarks, sorted."""
    return sorted({*registry.names("benchmarks"), *registry.plug_ins("tasks")})


def load_benchmark(name: str) -> Benchmark:
    """The benchmark of a name, ours or a third party's.

    Raises:
        ConfigError: unknown name, or the entry point is not a `Benchmark`.
    """
    if name in registry.names("benchmarks") or name not in (tasks := registry.plug_ins("tasks")):
        benchmark = registry.resolve("benchmarks", name)
    else:
        warn("The entry-point group vega3d.tasks", "vega3d.benchmarks")
        loaded = tasks[name].load()
        benchmark = loaded.benchmark if isinstance(loaded, Protocol) else loaded
    if not isinstance(benchmark, Benchmark):
        expected, fix = "an instance of vega3d.evaluation.Benchmark", "let the entry point name a Benchmark"
        got = f"an object of type {type(benchmark).__name__}"
        raise ConfigError(f"Invalid benchmark {name!r}.", got=got, expected=expected, fix=fix)
    return benchmark


def load_protocol(name: str) -> Protocol:
    """The protocol of a name such as ``scanqa/leo``.

    Raises:
        ConfigError: unknown name, or the entry point is not a `Benchmark`.
    """
    first = name.partition("/")[0]
    known = benchmark_names()
    for benchmark in (name, first):
        for protocol in load_benchmark(benchmark).protocols if benchmark in known else ():
            if protocol.name == name:
                return protocol
    raise unknown_choice("task", name, protocol_names())


def protocol_names() -> list[str]:
    """All names that `load_protocol` accepts, sorted."""
    return sorted(protocol.name for benchmark in load_all()[0] for protocol in benchmark.protocols)


def load_all() -> tuple[list[Benchmark], dict[str, str]]:
    """All benchmarks that load, and by name the reasons of those that do not."""
    loaded, broken = [], {}
    for name in benchmark_names():
        try:
            loaded.append(load_benchmark(name))
        except Exception as error:  # a third party's module may raise anything
            broken[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return loaded, broken
