"""Speak some texts with espeak-ng: a job in JSON on stdin, 16-bit samples on stdout.

A program of its own, with nothing but the standard library: espeak-ng keeps state from one text to
the next that no call of its API clears, so what it says is a function of its input only in a
fresh process.

Output: per text the number of samples (4 bytes, little-endian), then the samples (int16,
little-endian) at the rate that heads the stream (4 bytes).
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys

_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_CHARACTERS, _UTF8 = 1, 1
_RATE, _VOLUME, _PITCH, _RANGE, _WORDGAP = 1, 2, 3, 4, 7
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def main() -> int:
    """Serve the one job on stdin; 1 with a line on stderr where espeak-ng refuses it."""
    job = json.load(sys.stdin)
    speech = bytearray()

    @_CALLBACK
    def collect(samples, count, _events):
        if samples and count > 0:
            speech.extend(ctypes.string_at(samples, 2 * count))
        return 0

    espeak = ctypes.CDLL(job["library"])
    rate = espeak.espeak_Initialize(_SYNCHRONOUS, 0, job["data"].encode(), _DONT_EXIT)
    if rate <= 0:
        print(f"espeak-ng does not start with the data in {job['data']}", file=sys.stderr)
        return 1
    if hasattr(espeak, "espeak_ng_SetRandSeed"):
        espeak.espeak_ng_SetRandSeed(ctypes.c_long(job["seed"]))
    espeak.espeak_SetSynthCallback(collect)
    if espeak.espeak_SetVoiceByName(job["voice"].encode()) != 0:
        print(f"espeak-ng has no voice {job['voice']}", file=sys.stderr)
        return 1
    espeak.espeak_SetParameter(_PITCH, job["pitch"], 0)
    espeak.espeak_SetParameter(_RANGE, job["range"], 0)
    out = sys.stdout.buffer
    out.write(struct.pack("<i", rate))
    for text, words_per_minute in job["texts"]:
        speech.clear()
        espeak.espeak_SetParameter(_RATE, words_per_minute, 0)
        data = text.encode()
        status = espeak.espeak_Synth(data, len(data) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        if status != 0 or not speech:
            print(f"espeak-ng does not speak {text!r}", file=sys.stderr)
            return 1
        out.write(struct.pack("<i", len(speech) // 2))
        out.write(speech)
    return 0


if __name__ == "__main__":
    sys.exit(main())
