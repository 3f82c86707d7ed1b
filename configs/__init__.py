"""Presets. This file makes the directory a part of the wheel (`dpo/configs`); see dpo/resources.py."""
