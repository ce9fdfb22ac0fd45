"""``vega3d export | merge | push``: the trained parts of a run as folders, or on the hub."""

from __future__ import annotations

import argparse

from vega3d.cli._command import Commands


def add_parser(commands: Commands) -> None:
    """Register the commands."""
    export = commands.add(
        _export,
        help="split a run's checkpoint into a vega3d checkpoint and a plain PEFT folder",
        description="Write projector and fusion as a vega3d checkpoint, LoRA as a plain PEFT folder for the "
        "bare host (OUT/lora), a fully trained host as an ordinary one (OUT/host).",
        epilog="example: vega3d export out/rooms_pico_lora/final out/mine",
    )
    merge = commands.add(
        _merge,
        help="add LoRA to the weights of its host",
        description="Write OUT/host, an ordinary host with everything that was trained in it, and OUT, the "
        "vega3d checkpoint that belongs to it.",
        epilog="example: vega3d merge out/rooms_pico_lora/final out/merged",
    )
    push = commands.add(
        _push,
        help="upload a checkpoint to the hub",
        description="Upload projector, fusion and LoRA as one commit; a host that was trained itself goes to "
        "the repository --host.",
        epilog="example: vega3d push out/rooms_pico_lora/final me/rooms-lora --private",
    )
    for add in (export, merge):
        add("checkpoint", help="a checkpoint of a run, or its folder final")
        add("out", help="folder to write")
    push("checkpoint", help="a checkpoint of a run, its folder final, an export or a merge")
    push("repo", help="id of the repository; made if it is not there")
    push("--host", help="id under which others find the host; needed if it is a folder here")
    push("--private", action="store_true", help="repositories that are made are private")


def _export(arguments: argparse.Namespace) -> None:
    """Export, print the folder."""
    from vega3d.training.export import export

    print(export(arguments.checkpoint, arguments.out))


def _merge(arguments: argparse.Namespace) -> None:
    """Merge, print the folder."""
    from vega3d.training.export import merge

    print(merge(arguments.checkpoint, arguments.out))


def _push(arguments: argparse.Namespace) -> None:
    """Push, print the commits' addresses."""
    from vega3d.training.export import push

    private = True if arguments.private else None
    print(*push(arguments.checkpoint, arguments.repo, host=arguments.host, private=private), sep="\n")
