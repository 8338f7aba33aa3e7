//! From a request to a lease. Start at [`issue::issue`]: it is the page.

pub mod card;
pub mod change;
pub mod clock;
pub mod collapse;
pub mod enrol;
pub mod export;
pub mod failure;
pub mod grant;
pub mod issue;
mod key_failure;
pub mod ledger;
mod making;
pub mod merge;
pub mod office;
pub mod older;
pub mod policy;
pub mod record;
pub mod recover;
pub mod request;
pub mod requester;
pub mod roster;
pub mod task;
pub mod text;
pub mod token;
mod touch;
pub mod unlock;
pub mod writer;
