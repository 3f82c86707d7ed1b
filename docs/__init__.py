"""What the Docs page shows. This file makes the directory a part of the wheel (`dpo/docs`); see dpo/resources.py."""
