"""Frames of MP3 files, which libsndfile does not follow to the end.

libsndfile trusts the first frame. Of a variable bit rate without a length there it reads a part; of
two files joined it reads the first; a file that was cut keeps its length. All without an error.
"""

from __future__ import annotations

from parp_fairseq.files import PathLike

# Layer III: kilobits a second by the header's index, for MPEG 1 and for MPEG 2 and 2.5.
_KBIT_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBIT_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = (44_100, 48_000, 32_000)
_MPEG_1 = 3
_SAMPLE_RATE = 16_000
# A first frame that counts the others holds its mark within these bytes.
_MARK_WITHIN = 48


def mp3_frames(path: PathLike) -> tuple[float, bool]:
    """Follow all frames of an MP3 file, also behind tags and from one joined file to the next.

    Returns:
        How many samples at 16 kHz it has at least, and whether the file ends inside a frame or
        has fewer frames than its first one counts.
    """
    with open(path, "rb") as handle:
        data = handle.read()
    at, frames, counted = 0, 0, 0
    seconds = frame = 0.0
    while at + 4 <= len(data):
        behind = _behind_tag(data, at)
        if behind > at:
            at = behind
            continue
        size, samples, hertz = _frame(data, at)
        if not size:
            break
        if not frames:
            counted = _counted_frames(data[at : at + _MARK_WITHIN])
        frame = samples / hertz
        seconds += frame
        frames += 1
        at += size
    # The first frame may hold no sound. Delay and padding, up to three frames more, are cut away.
    enough = max(0.0, seconds - 4 * frame) * _SAMPLE_RATE
    return enough, frames > 0 and (at > len(data) or frames - 1 < counted)


def _behind_tag(data: bytes, at: int) -> int:
    """Where a tag or a run of zeros at `at` ends; `at` where there is none."""
    if data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        a, b, c, d = data[at + 6 : at + 10]
        footer = 10 if data[at + 5] & 0x10 else 0
        return at + 10 + (a << 21 | b << 14 | c << 7 | d) + footer
    if data[at : at + 3] == b"TAG":
        return at + 128
    if data[at : at + 8] == b"APETAGEX":
        header = 32 if data[at + 23 : at + 24] >= b"\x20" else 0
        return at + header + int.from_bytes(data[at + 12 : at + 16], "little")
    while data[at : at + 1] == b"\0":
        at += 1
    return at


def _frame(data: bytes, at: int) -> tuple[int, int, int]:
    """Bytes, samples and rate of the frame at `at`; zeros where there is none."""
    if data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return 0, 0, 1
    version = data[at + 1] >> 3 & 3
    kbit, rate, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or kbit in (0, 15) or rate == 3:
        return 0, 0, 1
    samples = 1152 if version == _MPEG_1 else 576
    hertz = _RATES[rate] >> (0 if version == _MPEG_1 else 1 if version == 2 else 2)
    bits = 1000 * (_KBIT_1 if version == _MPEG_1 else _KBIT_2)[kbit]
    return samples // 8 * bits // hertz + padding, samples, hertz


def _counted_frames(start: bytes) -> int:
    """Frames that a first frame counts; 0 where it does not."""
    at = max(start.find(b"Xing"), start.find(b"Info"))
    if at < 0 or not start[at + 7] & 1:
        return 0
    return int.from_bytes(start[at + 8 : at + 12], "big")
