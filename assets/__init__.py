"""What a browser loads. This file makes the directory a part of the wheel (`dpo/assets`); see dpo/resources.py."""
