"""Opening video files so that the file that is named is the only one that is read.

FFmpeg also reads lists that name other files (ffconcat, HLS, DASH, SDP) and takes some names for addresses.
Only containers that hold their own pictures are opened here, and only under a local path.
"""

from __future__ import annotations

import io
import os
from typing import Any

CONTAINERS = (
    # video
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo"),
    *("flv", "asf", "ogg", "gif", "apng", "mxf", "nut", "ivf", "obu", "h264", "hevc", "m4v", "mjpeg", "dv"),
    *("rm", "wtv", "gxf", "yuv4mpegpipe"),
    # sound alone, for an error that says so
    *("wav", "mp3", "flac", "aac"),
)
"""Demuxers of FFmpeg that read nothing but the file that they are given."""


def open_video(file: str | os.PathLike[str] | io.BytesIO) -> Any:
    """Open a container of ``av`` for reading; titles that are not UTF-8 are replaced.

    Raises:
        av.error.FFmpegError: the file is not a video, or its container is not among ``CONTAINERS``.
    """
    import av

    # A log callback in Python (older torchvision asks PyAV for one) needs the interpreter's lock, which
    # the thread that closes a decoder holds while it waits for the decoder's threads: a deadlock.
    av.logging.set_level(None)
    # An absolute path begins with no protocol: "concat:a|b" in the current folder is a file of that name.
    source = file if isinstance(file, io.BytesIO) else os.path.abspath(file)
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    return av.open(source, metadata_errors="replace", container_options=options)
