"""Help and groups of options without rich, whose markdown takes as long to import as all else."""

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """Lists its options under their headings (``rich_help_panel``)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write a section per heading, in the order of the options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                # Typer adds the type of the Python parameter, which says nothing to users.
                sections["Arguments"].append((param.metavar or str(param.name).upper(), record[1]))
            else:
                heading = getattr(param, "rich_help_panel", None) or "Options"
                sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


class Commands(TyperGroup):
    """Lists its commands with all that they are for, and names interruptions."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command is for; Typer would cut it off at the end of a line."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, " ".join((item.help or "").split()))
                    for name, item in self.commands.items()
                ]
            )

    def invoke(self, ctx: Any) -> Any:
        """Say what an interruption leaves; Typer would make an exit code of it without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo(
                "interrupted; results that were complete stay, nothing half-made is left", err=True
            )
            raise typer.Exit(130) from None
