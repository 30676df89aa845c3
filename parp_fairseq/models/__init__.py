"""Model `parp_whisper`."""

from parp_fairseq.models.whisper_encoder import WhisperEncoder, WhisperEncoderConfig

__all__ = ["WhisperEncoder", "WhisperEncoderConfig"]
