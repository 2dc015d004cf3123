"""Compare contracts, and propose new ones: ``python -m ops.contract``."""

import click

from device import cli
from ops.contract.check import check
from ops.contract.infer import infer


@click.group(cls=cli.Group, help=__doc__, context_settings=cli.HELP_OPTIONS)
def main() -> None:
    """Group the commands."""


main.add_command(check)
main.add_command(infer)

if __name__ == "__main__":
    main(prog_name="python -m ops.contract")
