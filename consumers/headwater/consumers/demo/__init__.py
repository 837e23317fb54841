"""`headwater demo`: a real pipeline, run twice, and what headwater answers about it."""

from __future__ import annotations

from headwater.consumers.demo.story import DEFAULT_FOLDER, tell

__all__ = ["DEFAULT_FOLDER", "tell"]
