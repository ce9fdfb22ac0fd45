"""Vega3DAdapter: an ``nn.Module`` around an untouched host.

The host is never forked, patched, subclassed or hooked. Its own encoders produce its visual tokens. These are
fused with the features of the generator and of further streams, and passed back through the public argument
``mm_encoder_outputs`` of ``forward`` and ``generate``.

The frozen encoders are *not* part of the model: plain objects outside the module tree, which never reach a
state dict, an optimizer, DDP, ZeRO or PEFT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)
from vega3d import registry
from vega3d._utils import moved
from vega3d.backbones.base import Backbone
from vega3d.backbones.loading import agreed, agreed_streams
from vega3d.config import Vega3DConfig
from vega3d.errors import BackboneError, InputError
from vega3d.fusion.base import build
from vega3d.fusion.encode import Encoding, Item, fuse_items, generator_maps, stream_maps, zero_term
from vega3d.grid import FeatureMap
from vega3d.hosts.base import MODALITIES, Modality, family_of, unwrapped
from vega3d.hosts.forwarding import HostSurface
from vega3d.hosts.keywords import forward_keywords, generate_keywords, reject_unknown
from vega3d.inputs.clip import (
    ACCEPTED,
    GRIDS,
    PIXELS,
    Clip,
    clips_of,
    consumed_grids,
    require_left_padding,
    require_one_source,
    take_media,
    with_token_ids,
)
from vega3d.media.frame_plan import FramePlan, frame_plan
from vega3d.pretrained import Pretrained, describe

__getattr__ = moved.names(
    __name__,
    {
        "load_backbone": "vega3d.backbones.loading:load_backbone",
        "load_host": "vega3d.hosts.loading:load_host",
        "load_streams": "vega3d.backbones.loading:load_streams",
    },
)


class Vega3DAdapter(Pretrained, HostSurface):
    """A Qwen-VL with the features of a frozen video generator fused into its visual tokens.

    Args:
        host: a loaded ``Qwen2VLForConditionalGeneration``, ``Qwen2_5_VL...`` or ``Qwen3VL...``.
        config: settings; the default starts as the identity.
        backbone: the frozen generator. None is allowed if only weights are handled; the width is then taken
            from ``config.backbone.channels``.
        streams: further frozen encoders, in the order of ``config.semantic_streams``. None need be given if
            only weights are handled, as for ``backbone``.

    Raises:
        HostError: the host's family is unknown, or it does not take pre-encoded media.
        ConfigError: the width of an encoder is missing, or the fusion does not support further streams.
    """

    def __init__(
        self,
        host: nn.Module,
        config: Vega3DConfig | None = None,
        backbone: Backbone | None = None,
        streams: Sequence[Backbone] = (),
    ) -> None:
        super().__init__()
        self.host = host = unwrapped(host)
        self.family = family_of(host)
        config = config or Vega3DConfig()
        width = self.family.width(host.config)
        generator = agreed(config.backbone, backbone)
        further = agreed_streams(config.semantic_streams, tuple(streams))
        self.vega3d_config = dataclasses.replace(
            config, backbone=generator, semantic_streams=further, host=describe(host, width)
        )
        kind = registry.resolve("fusions", config.fusion.type)
        self._extra: tuple[int, ...] = tuple(settings.channels for settings in further)
        self._names = tuple(registry.backbone_name(settings) for settings in (generator, *further))
        projector, fusion = build(kind, width, config.fusion.hidden, generator.channels, self._extra)
        self.projector, self.fusion = projector.to(self.device), fusion.to(self.device)
        self._cells: int = kind.cells
        self.backbone, self.streams = backbone, tuple(streams)
        self.trained = False
        self.train(bool(host.training))  # a host in eval mode stays in it

    # ---------------------------------------------------------------- encoding

    def encode(
        self,
        *,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        generative_clips: Sequence[Clip] | None = None,
        **text: Any,
    ) -> Encoding:
        """Fuse all images and videos of a batch.

        Args:
            pixel_values: the host's patches of all images, as its processor gives them.
            pixel_values_videos: the same for videos.
            image_grid_thw: (n_images, 3).
            video_grid_thw: (n_videos, 3).
            generative_clips: clips of all images and videos for the generator, as the processor gives them.
            text: text inputs of the same batch, which are accepted but ignored. In place of clips it may hold
                decoded frames, ``generative_images`` and ``generative_videos``, and ``image_groups``.

        Returns:
            The fused media, with a fusion report for each image and video.

        Raises:
            InputError: the inputs of host and generator do not belong together.
            BackboneError: an encoder is missing.
            StoreError: stored features come from another generator than the loaded one.
        """
        reject_unknown("encode", text, forward_keywords(self.host) | ACCEPTED)
        given = {
            "pixel_values": pixel_values,
            "pixel_values_videos": pixel_values_videos,
            "image_grid_thw": image_grid_thw,
            "video_grid_thw": video_grid_thw,
            "generative_clips": generative_clips,
        }
        return self._encode(take_media(text | given, self._plan))

    def _encode(self, media: dict[str, Any]) -> Encoding:
        outputs: dict[str, Any] = {}
        items: list[Item] = []
        maps: list[FeatureMap] = []
        for modality in MODALITIES:
            if clips := clips_of(modality, media):
                pixels, grid_thw = media[PIXELS[modality]], media[GRIDS[modality]]
                outputs[modality], new, generated = self._run_encoders(modality, pixels, grid_thw, clips)
                items, maps = items + new, maps + generated
        if not items:
            return Encoding({}, (), {}, ())
        tokens, reports = fuse_items(items, self.projector, self.fusion, self._cells, self._names)
        for kind, output in outputs.items():
            fused = [rows for item, rows in zip(items, tokens, strict=True) if item.modality == kind]
            output.pooler_output = tuple(fused)
        grid_names = [name for modality, name in GRIDS.items() if modality in outputs]
        grids = {name: media[name] for name in grid_names}
        return Encoding(outputs, reports, grids, tuple(maps))

    def _run_encoders(
        self, modality: Modality, pixels: Tensor, grid_thw: Tensor, clips: list[Clip]
    ) -> tuple[Any, list[Item], list[FeatureMap]]:
        """Run the host's encoder and the frozen ones.

        Returns:
            The host's output, its tokens paired with the maps that describe them, and the generator's maps.
        """
        if len(self.streams) != len(self._extra):
            title, expected = "Missing encoders of semantic streams.", f"{len(self._extra)} loaded streams"
            fix = "adapter.streams = load_streams(adapter.vega3d_config), from vega3d.backbones.loading"
            raise BackboneError(title, got=f"{len(self.streams)} streams", expected=expected, fix=fix)
        counts = {index: len(links) for clip in clips for index, links in clip.members}  # frames of the host
        lengths = [counts[index] for index in range(len(grid_thw))]
        grids = self.family.grids(self.host.config, modality, grid_thw, lengths)
        with torch.autocast(self.device.type, enabled=False):  # a trainer's precision is not the features'
            maps = generator_maps(self.backbone, clips)
            further = [stream_maps(stream, clips) for stream in self.streams]
        linked_maps = {
            index: (clip_maps, links)
            for clip, clip_maps in zip(clips, zip(maps, *further, strict=True), strict=True)
            for index, links in clip.members
        }
        output = self.family.encode(self.host, modality, pixels, grid_thw)
        items = [
            Item(modality, semantic, grid, *linked_maps[index])
            for index, (semantic, grid) in enumerate(zip(output.pooler_output, grids, strict=True))
        ]
        return output, items, maps

    def _plan(self, host: Sequence[int]) -> FramePlan:
        return frame_plan(self.vega3d_config.backbone, host)

    # ---------------------------------------------------------------- running

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        mm_token_type_ids: Tensor | None = None,
        second_per_grid_ts: Any = None,
        generative_clips: Sequence[Clip] | None = None,
        labels: Tensor | None = None,
        encoding: Encoding | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the host's ``forward`` with fused visual tokens.

        Args:
            input_ids: (B, L).
            attention_mask: (B, L).
            pixel_values: see ``encode``.
            pixel_values_videos: see ``encode``.
            image_grid_thw: see ``encode``.
            video_grid_thw: see ``encode``.
            mm_token_type_ids: (B, L); derived from ``input_ids`` if missing.
            second_per_grid_ts: seconds of one time step of each video (Qwen2.5-VL).
            generative_clips: see ``encode``.
            labels: (B, L), -100 at tokens without a loss.
            encoding: a result of ``encode``, instead of media.
            kwargs: any other argument of the host's ``forward``.

        Returns:
            The output of the host.

        Raises:
            UnknownKeywordError: the host does not accept a keyword.
        """
        reject_unknown("forward", kwargs, forward_keywords(self.host) | ACCEPTED)
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "pixel_values": pixel_values,
            "pixel_values_videos": pixel_values_videos,
            "image_grid_thw": image_grid_thw,
            "video_grid_thw": video_grid_thw,
            "mm_token_type_ids": mm_token_type_ids,
            "second_per_grid_ts": second_per_grid_ts,
            "generative_clips": generative_clips,
            "labels": labels,
        }
        prepared = self._prepare(given | kwargs, encoding)
        return self._with_zero_term(self.host(**prepared), prepared)

    @property
    def base_model(self) -> Callable[..., Any]:
        """The wrapped model without its output head, as for transformers' models; TRL scores with it."""
        return self._without_head

    def _without_head(self, *, encoding: Encoding | None = None, **kwargs: Any) -> Any:
        reject_unknown("base_model", kwargs, forward_keywords(self.host) | ACCEPTED)
        prepared = self._prepare(kwargs, encoding)
        return self._with_zero_term(self.host.base_model(**prepared), prepared)

    @torch.no_grad()
    def generate(
        self, inputs: Tensor | None = None, *arguments: Any, encoding: Encoding | None = None, **kwargs: Any
    ) -> Any:
        """Run the host's ``generate``; media are encoded once, whatever the search strategy.

        Args:
            inputs: (B, L) token ids, in place of ``input_ids``.
            arguments: further positional arguments of the host's ``generate``.
            encoding: a result of ``encode``, instead of media; it can be reused any number of times.
            kwargs: the processor's output, and any option of the host's ``generate``.

        Raises:
            UnknownKeywordError: neither the host nor its generation config has a keyword.
            InputError: the batch is padded on the right.
        """
        loop = kwargs.get("custom_generate")
        if not isinstance(loop, str):  # a loop from a folder or the hub, whose keywords are its own
            reject_unknown("generate", kwargs, generate_keywords(self.host, loop) | ACCEPTED)
        require_left_padding(kwargs.get("attention_mask"))
        prepared = self._prepare(with_token_ids(inputs, kwargs), encoding)
        return self.host.generate(*((None, *arguments) if arguments else ()), **prepared)

    def _prepare(self, given: dict[str, Any], encoding: Encoding | None) -> dict[str, Any]:
        """Build the host's arguments: text as given, media encoded."""
        media = take_media(given, self._plan)
        prepared = {name: value for name, value in given.items() if value is not None}
        require_one_source(media, encoding is not None, prepared)
        if encoding is None:
            prepared |= (grids := consumed_grids(media, prepared))
            encoding = self._encode({name: value for name, value in media.items() if name not in grids})
        if encoding.outputs:
            if "mm_token_type_ids" not in prepared and "input_ids" not in prepared:
                title, fix = "Missing mm_token_type_ids.", "pass it as the processor returned it"
                expected = "(B, L): 0 text, 1 image, 2 video; or input_ids, from which it is derived"
                raise InputError(title, got="no input_ids", expected=expected, fix=fix)
            if "mm_token_type_ids" not in prepared:
                types = self.family.token_types(self.host.config, prepared["input_ids"])
                prepared["mm_token_type_ids"] = types
            prepared |= encoding.grids | {"mm_encoder_outputs": encoding.fresh()}
        return prepared

    def _with_zero_term(self, outputs: Any, prepared: dict[str, Any]) -> Any:
        """In training without media, make outputs give every new parameter a gradient of zero."""
        is_step = self.training and torch.is_grad_enabled()
        self.trained |= is_step
        if not is_step or "mm_encoder_outputs" in prepared:
            return outputs
        channels = self.vega3d_config.backbone.channels
        zero = zero_term(self.projector, self.fusion, channels, self._cells, self._extra)
        first = outputs[0] + zero.to(outputs[0])  # the loss, or the logits, or the last hidden states
        if isinstance(outputs, tuple):
            return (first, *outputs[1:])
        outputs[next(iter(outputs))] = first
        return outputs

    def _replicate_for_data_parallel(self) -> NoReturn:
        """Refuse DataParallel, which gives every replica all clips of the batch.

        Raises:
            InputError: always.
        """
        title = "Invalid use of the adapter: DataParallel cannot share clips out."
        got, expected = "several visible GPUs and one process", "one process for each GPU"
        fix = "torchrun --nproc-per-node N ..., or CUDA_VISIBLE_DEVICES=0"
        raise InputError(title, got=got, expected=expected, fix=fix)

    # ---------------------------------------------------------------- the frozen encoders

    trained: bool
    """True once projector and fusion come from a checkpoint, or have taken part in a training step."""

    backbone: Backbone | None
    """The frozen generator, outside the module tree; None if none is loaded."""

    streams: tuple[Backbone, ...]
    """The frozen encoders of the semantic streams, outside the module tree."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("backbone", "streams"):
            return super().__setattr__(name, value)
        encoders = tuple(value) if name == "streams" else (value,) if value is not None else ()
        channels = self._extra if name == "streams" else (self.vega3d_config.backbone.channels,)
        widths = tuple(encoder.spec.channels for encoder in encoders)
        if encoders and widths != channels:
            title = "Invalid width of a frozen encoder: it does not fit its projector."
            got, expected = (f"{', '.join(map(str, sizes))} channels" for sizes in (widths, channels))
            fix = "use the encoders that the checkpoint names, in its order, or train new projectors"
            raise BackboneError(title, got=got, expected=expected, fix=fix)
        # never registered as a module, not even if it is an nn.Module
        self.__dict__[name] = encoders if name == "streams" else value
        return None
