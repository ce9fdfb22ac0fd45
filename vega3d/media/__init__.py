"""From a file to frames: pictures, decoding, sampling, frame plans, overlays."""
