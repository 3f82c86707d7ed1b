"""DPO workbench."""
