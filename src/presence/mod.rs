//! What a person sees, and what a person says: screens, the queue of prompts, and the brakes on them.
//!
//! A key is armed only while a prompt is on a screen that the requester does not own; where none is open, on the requester's own
//! terminal when it is run there in the foreground. [`Prompt`] is the guard of that state: while it lives, its text stands on a screen; when it is
//! dropped, the screen is told and the next prompt may open.

mod brake;
mod desk;
mod prompt;
mod screen;
#[cfg(test)]
mod tests;
mod turn;

pub use desk::{Desk, PromptError, Showing, Whose};
pub use prompt::Prompt;
pub use screen::{Attached, ScreenKind, Whereabouts};
pub use turn::Turn;
