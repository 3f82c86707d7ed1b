"""`python -m dpo` is `dpo`."""

from dpo.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
