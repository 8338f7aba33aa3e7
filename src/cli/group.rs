//! A command that has commands of its own.

use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};

/// The commands of `C`, built only when one of them is asked for: clap's derive defers arguments, but builds nested commands at
/// every start.
#[derive(Debug)]
pub struct Group<C>(pub C);

impl<C: Subcommand> Args for Group<C> {
    fn augment_args(command: Command) -> Command {
        C::augment_subcommands(command)
            .subcommand_required(true)
            .arg_required_else_help(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        C::augment_subcommands_for_update(command)
    }
}

impl<C: Subcommand> FromArgMatches for Group<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        C::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}
