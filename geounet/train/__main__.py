"""``python -m geounet.train CONFIG.toml --out runs/NAME [--resume]``."""

import argparse
import sys
from pathlib import Path

from geounet.errors import GeounetError
from geounet.train.config import load_config


def main() -> int:
    """Parse, train; 1 if the configuration or the data are at fault."""
    parser = argparse.ArgumentParser(prog="python -m geounet.train", description=__doc__)
    parser.add_argument("config", type=Path, help="TOML file, such as configs/landcover-rgb.toml")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config)
        from geounet.train.run import run

        run(config, arguments.out, arguments.resume, lambda line: print(line, file=sys.stderr))
    except GeounetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
